//! Old messages that come late, or again: each link remembers some of what was sent on it, and delivers it while it
//! echoes.
//!
//! A network that doubles a message delivers both copies within a few round trips, and one that loses it never does.
//! Here a message comes many views later, when most of what it speaks of is no longer so. Only links that some fault will
//! make echo remember anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::net::{Endpoint, MessageKind};
use crate::plan::{Fault, FaultKind};
use crate::random::{Key, Purpose, Randomness};

/// The memory of all links; `T` is a message as it travels.
#[derive(Clone, Debug)]
pub struct Echoes<T> {
    links: BTreeMap<(Endpoint, Endpoint), Link<T>>,
    echoed: u64,
}

#[derive(Clone, Debug)]
struct Link<T> {
    /// Of all draws about its echoes.
    key: Key,
    /// Faults that make it echo at present, and those that do or will.
    at_work: u32,
    left: u32,
    /// By kind, so that what is said seldom is not crowded out; and each message in a slot of its own choice, so that
    /// one more or less of them changes one slot.
    kept: Arc<BTreeMap<MessageKind, [Option<T>; SLOTS]>>,
}

impl<T: Clone> Echoes<T> {
    /// The links that `plan` makes echo, with nothing to remember yet.
    pub fn new(plan: &[Fault], randomness: Randomness) -> Self {
        let mut links = BTreeMap::new();
        for fault in plan {
            let FaultKind::Echo { links: named, .. } = &fault.what else { continue };
            for (from, to) in named {
                let key = randomness.key(Purpose::Echo, from.word()).and(to.word());
                let silent = Link { key, at_work: 0, left: 0, kept: Arc::default() };
                links.entry((*from, *to)).or_insert(silent).left += 1;
            }
        }
        Self { links, echoed: 0 }
    }

    /// One more fault makes this link echo.
    pub fn begin(&mut self, from: Endpoint, to: Endpoint) {
        if let Some(link) = self.links.get_mut(&(from, to)) {
            link.at_work += 1;
        }
    }

    /// One fault less does. After the last one the link remembers nothing.
    pub fn end(&mut self, from: Endpoint, to: Endpoint) {
        let Some(link) = self.links.get_mut(&(from, to)) else { return };
        link.at_work = link.at_work.saturating_sub(1);
        link.left = link.left.saturating_sub(1);
        if link.left == 0 {
            self.links.remove(&(from, to));
        }
    }

    /// Nothing echoes any more.
    pub fn heal(&mut self) {
        self.links.clear();
    }

    /// How many old messages were to come.
    pub fn count(&self) -> u64 {
        self.echoed
    }

    /// Whether what is sent on this link may come again.
    pub fn remembers(&self, from: Endpoint, to: Endpoint) -> bool {
        self.links.contains_key(&(from, to))
    }

    /// Somebody sends `message`, which may be lost; the older one that comes with it, if the link echoes. `sending` keys
    /// the draws about it.
    pub fn sent(
        &mut self,
        from: Endpoint,
        to: Endpoint,
        kind: MessageKind,
        sending: u64,
        message: &T,
    ) -> Option<T> {
        let link = self.links.get_mut(&(from, to))?;
        let mut draw = link.key.draw(&[sending]);
        let (own, replaces) = (draw.below(SLOTS as u64) as usize, draw.chance(REPLACES_PPM));
        let older = (link.at_work > 0).then(|| (draw.pick(&MessageKind::WORDS).0, draw.below(SLOTS as u64)));
        let older = older.and_then(|(other, echoed)| {
            link.kept.get(&other).and_then(|slots| slots[echoed as usize].clone())
        });
        self.echoed += u64::from(older.is_some());
        let is_empty = link.kept.get(&kind).is_none_or(|slots| slots[own].is_none());
        if is_empty || replaces {
            let slots = Arc::make_mut(&mut link.kept).entry(kind);
            slots.or_insert_with(|| std::array::from_fn(|_| None))[own] = Some(message.clone());
        }
        older
    }
}

/// Messages of one kind that a link remembers.
const SLOTS: usize = 32;
/// How often a message takes the place of an older one: the ages of what is kept are spread.
const REPLACES_PPM: u32 = 250_000;

#[cfg(test)]
mod tests {
    use chronon_core::types::NodeId;

    use super::Echoes;
    use crate::net::{Endpoint, MessageKind};
    use crate::plan::{Fault, FaultKind};
    use crate::random::Randomness;
    use crate::time::{SECOND, WorldTime};

    const A: Endpoint = Endpoint::Node(NodeId::new(1));
    const B: Endpoint = Endpoint::Node(NodeId::new(2));

    fn echoes() -> Echoes<u64> {
        let what = FaultKind::Echo { links: vec![(A, B)], for_ns: SECOND };
        Echoes::new(&[Fault { at: WorldTime::ZERO, what }], Randomness::new(5, 0))
    }

    fn carry(echoes: &mut Echoes<u64>, kind: MessageKind, message: u64) -> Option<u64> {
        echoes.sent(A, B, kind, message, &message)
    }

    #[test]
    fn a_link_repeats_what_it_carried_only_while_it_echoes() {
        let mut echoes = echoes();
        let prepares = |echoes: &mut Echoes<u64>, messages: std::ops::Range<u64>| -> Vec<(u64, u64)> {
            let older = |m| carry(echoes, MessageKind::Prepare, m).map(|older| (m, older));
            messages.filter_map(older).collect()
        };
        assert_eq!(prepares(&mut echoes, 0..200), []);
        echoes.begin(A, B);
        let came_again = prepares(&mut echoes, 200..1200);
        assert!((60..140).contains(&came_again.len()), "one of ten kinds, not {}", came_again.len());
        assert!(came_again.iter().all(|(with, older)| older < with), "what comes again was sent before");
        let ages = |least: u64| came_again.iter().filter(|(with, older)| with - older >= least).count();
        assert!(ages(200) >= 5 && ages(200) < came_again.len(), "some are old, some are not");
        assert_eq!(echoes.count(), came_again.len() as u64);
        assert!(echoes.remembers(A, B));
        echoes.end(A, B);
        assert_eq!(prepares(&mut echoes, 1200..1400), []);
        assert!(!echoes.remembers(A, B), "no fault makes it echo any more");
    }

    #[test]
    fn what_is_said_seldom_is_not_crowded_out() {
        let mut echoes = echoes();
        (0..20).for_each(|m| assert_eq!(carry(&mut echoes, MessageKind::DoViewChange, m), None));
        (100..10_000).for_each(|m| assert_eq!(carry(&mut echoes, MessageKind::Prepare, m), None));
        echoes.begin(A, B);
        let of_both = (10_000..10_400).filter_map(|m| carry(&mut echoes, MessageKind::Prepare, m));
        let again = of_both.filter(|older| *older < 20).count();
        assert!(again >= 5, "{again} of 400");
    }

    #[test]
    fn one_message_less_changes_few_echoes() {
        let (mut all, mut fewer) = (echoes(), echoes());
        [&mut all, &mut fewer].into_iter().for_each(|echoes| echoes.begin(A, B));
        carry(&mut all, MessageKind::Prepare, 0);
        let echo = |m| (carry(&mut all, MessageKind::Prepare, m), carry(&mut fewer, MessageKind::Prepare, m));
        let (mut told, mut differ) = (0, 0);
        for (one, other) in (1..2000).map(echo) {
            told += u32::from(one.is_some());
            differ += u32::from(one != other);
        }
        assert!(told > 100 && differ < 10, "{differ} of {told} echoes differ");
    }

    #[test]
    fn other_links_remember_nothing() {
        let mut echoes = echoes();
        echoes.begin(B, A);
        assert!((0..100).all(|m| echoes.sent(B, A, MessageKind::Prepare, m, &m).is_none()));
    }
}
