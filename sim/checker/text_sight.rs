//! Texts, as far as anybody looks at them.
//!
//! Of a text that grows only that counts which a `get` of the history can still see: a text that no text seen begins
//! with is as good as any other such text, until it is put anew. So a state is a place in the texts seen, or
//! *elsewhere*, and the answers seen say in which order appends were done, where any order of appends that nobody saw
//! is the same. This loses nothing: from equal states here, equal operations give equal answers.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Model, Timed};
use super::operations::TextOp;

/// A place in the texts seen: the first of them that begins so, and how much of it that is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub struct Place {
    text: usize,
    length: usize,
}

/// A call on a text with its answer, in places.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum SightOp {
    /// It was this.
    Get(Place),
    /// It is this now; `None` is elsewhere.
    Put(Option<Place>),
    /// The word of this number was appended.
    Append(usize),
}

/// The texts that a history saw.
#[derive(Debug)]
pub struct Sight<'a> {
    /// In order; none is the beginning of another.
    texts: Vec<&'a str>,
    /// The words appended, in order.
    words: Vec<&'a str>,
    /// Of each word, those that follow it directly in some text, in order: mostly none, or one.
    followers: Vec<Vec<usize>>,
}

impl<'a> Sight<'a> {
    /// What `operations` saw, and they themselves in its terms.
    pub fn of(operations: &'a [Timed<TextOp>]) -> (Self, Vec<Timed<SightOp>>) {
        let mut texts = BTreeSet::new();
        let mut words = BTreeSet::new();
        for timed in operations {
            match &timed.op {
                TextOp::Get(text) => drop(texts.insert(text.as_str())),
                TextOp::Append(word) => drop(words.insert(word.as_str())),
                TextOp::Put(_) => {}
            }
        }
        let mut texts: Vec<&str> = texts.into_iter().collect();
        let begins_next: Vec<bool> = (0..texts.len())
            .map(|at| texts.get(at + 1).is_some_and(|next| next.starts_with(texts[at])))
            .collect();
        let mut begins_next = begins_next.into_iter();
        texts.retain(|_| begins_next.next() == Some(false));
        let words: Vec<&str> = words.into_iter().collect();
        let followers = followers(&texts, &words);
        let sight = Self { texts, words, followers };
        let timed = operations.iter().map(|timed| Timed {
            op: sight.op(&timed.op),
            invoked: timed.invoked,
            returned: timed.returned,
        });
        let timed = timed.collect();
        (sight, timed)
    }

    fn op(&self, op: &TextOp) -> SightOp {
        match op {
            TextOp::Get(text) => match self.place(text) {
                Some(place) => SightOp::Get(place),
                None => unreachable!("what was seen begins one of the texts"),
            },
            TextOp::Put(text) => SightOp::Put(self.place(text)),
            TextOp::Append(word) => {
                SightOp::Append(self.words.partition_point(|other| other < &word.as_str()))
            }
        }
    }

    fn place(&self, text: &str) -> Option<Place> {
        let at = self.texts.partition_point(|other| *other < text);
        let found = self.texts.get(at).is_some_and(|other| other.starts_with(text));
        found.then_some(Place { text: at, length: text.len() })
    }

    fn beginning(&self, place: Place) -> &'a str {
        &self.texts[place.text][..place.length]
    }

    /// Whether somebody saw `other` right behind `word`.
    fn is_followed(&self, word: usize, other: usize) -> bool {
        self.followers[word].binary_search(&other).is_ok()
    }

    fn after(&self, place: Place, word: &str) -> Option<Place> {
        let length = place.length + word.len();
        if self.texts[place.text][place.length..].starts_with(word) {
            return Some(Place { text: place.text, length });
        }
        // Texts that begin alike stand together.
        let beginning = self.beginning(place);
        let behind = |text: &&str| match text.strip_prefix(beginning) {
            Some(rest) => rest < word,
            None => false,
        };
        let at = place.text + self.texts[place.text..].partition_point(behind);
        let found = self.texts.get(at)?.strip_prefix(beginning)?.starts_with(word);
        found.then_some(Place { text: at, length })
    }
}

/// Of each word, those that stand right behind it in a text.
fn followers(texts: &[&str], words: &[&str]) -> Vec<Vec<usize>> {
    let numbers: BTreeMap<&str, usize> = words.iter().copied().zip(0..).collect();
    let lengths: BTreeSet<usize> = words.iter().map(|word| word.len()).filter(|length| *length > 0).collect();
    let mut followers = vec![BTreeSet::new(); words.len()];
    for text in texts {
        // The words that end at each place, as far as the longest word back.
        let mut ends: Vec<Vec<usize>> = vec![Vec::new(); text.len() + 1];
        for at in 0..text.len() {
            let before = std::mem::take(&mut ends[at]);
            for length in &lengths {
                if let Some(word) = text.get(at..at + length).and_then(|word| numbers.get(word)) {
                    for first in &before {
                        followers[*first].insert(*word);
                    }
                    ends[at + length].push(*word);
                }
            }
        }
    }
    followers.into_iter().map(|behind| behind.into_iter().collect()).collect()
}

impl Model for Sight<'_> {
    /// `None` is elsewhere.
    type State = Option<Place>;
    type Op = SightOp;

    fn initial(&self) -> Option<Place> {
        self.place("")
    }

    fn step(&self, state: &Option<Place>, op: &SightOp) -> Option<Option<Place>> {
        match *op {
            SightOp::Get(place) => (*state == Some(place)).then_some(*state),
            SightOp::Put(place) => Some(place),
            SightOp::Append(word) => Some(state.and_then(|place| self.after(place, self.words[word]))),
        }
    }

    fn is_pure(&self, op: &SightOp) -> bool {
        match op {
            SightOp::Get(_) => true,
            SightOp::Append(word) => self.words[*word].is_empty(),
            SightOp::Put(_) => false,
        }
    }

    fn is_blind(&self, op: &SightOp) -> bool {
        matches!(op, SightOp::Put(_) | SightOp::Append(_))
    }

    fn overwrites(&self, op: &SightOp) -> bool {
        matches!(op, SightOp::Put(_))
    }

    fn matters_before(&self, first: &SightOp, owed: bool, then: &SightOp, _hint: u64) -> bool {
        use SightOp::{Append, Get, Put};
        match (*first, *then) {
            (Put(left), Get(found)) => left == Some(found),
            (Append(word), Get(found)) => self.beginning(found).ends_with(self.words[word]),
            (Put(_) | Append(_), Put(_)) | (Get(_), Get(_)) => false,
            (Put(_), Append(_)) => true,
            // Where nobody saw one after the other, both orders lead elsewhere.
            (Append(one), Append(other)) => {
                one != other && (self.is_followed(one, other) || self.is_followed(other, one))
            }
            (Get(found), Put(left)) => owed && left != Some(found),
            (Get(_), Append(word)) => owed && !self.words[word].is_empty(),
        }
    }

    fn is_hopeless(&self, state: &Option<Place>) -> bool {
        state.is_none()
    }

    fn after_anything(&self, op: &SightOp) -> Option<Option<Place>> {
        match op {
            SightOp::Get(place) => Some(Some(*place)),
            SightOp::Put(place) => Some(*place),
            SightOp::Append(_) => None,
        }
    }

    fn show(&self, state: &Option<Place>) -> String {
        match state {
            Some(place) => format!("{:?}", self.beginning(*place)),
            None => "a text that nobody saw".to_owned(),
        }
    }
}
