//! Old messages that come again: each link remembers some of what it carried, and repeats it while it echoes.
//!
//! A network that doubles a message delivers both copies within a few round trips. Here a copy comes many views later,
//! when most of what it speaks of is no longer so. Only links that some fault will make echo remember anything.

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
    /// Faults that make it echo at present.
    at_work: u32,
    sent: u64,
    /// By kind, so that what is said seldom is not crowded out.
    kept: Arc<BTreeMap<MessageKind, Vec<T>>>,
}

impl<T: Clone> Echoes<T> {
    /// The links that `plan` makes echo, with nothing to remember yet.
    pub fn new(plan: &[Fault], randomness: Randomness) -> Self {
        let mut links = BTreeMap::new();
        for fault in plan {
            let FaultKind::Echo { links: named, .. } = &fault.what else { continue };
            for (from, to) in named {
                let key = randomness.key(Purpose::Echo, from.word()).and(to.word());
                let silent = Link { key, at_work: 0, sent: 0, kept: Arc::default() };
                links.entry((*from, *to)).or_insert(silent);
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

    /// One fault less does.
    pub fn end(&mut self, from: Endpoint, to: Endpoint) {
        if let Some(link) = self.links.get_mut(&(from, to)) {
            link.at_work = link.at_work.saturating_sub(1);
        }
    }

    /// Nothing echoes any more.
    pub fn heal(&mut self) {
        self.links.clear();
    }

    /// How many messages came again.
    pub fn count(&self) -> u64 {
        self.echoed
    }

    /// A link carries `message`; the older one that comes with it, if the link echoes.
    pub fn carried(&mut self, from: Endpoint, to: Endpoint, kind: MessageKind, message: &T) -> Option<T> {
        let link = self.links.get_mut(&(from, to))?;
        let mut draw = link.key.draw(&[link.sent]);
        link.sent += 1;
        let mut older = None;
        if link.at_work > 0 && draw.chance(ECHO_PPM) {
            let kinds = link.kept.len() as u64;
            let kept = (kinds > 0).then(|| link.kept.values().nth(draw.below(kinds) as usize)).flatten();
            older = kept.map(|kept| draw.pick(kept).clone());
            self.echoed += u64::from(older.is_some());
        }
        let kept = Arc::make_mut(&mut link.kept).entry(kind).or_default();
        if kept.len() < KEPT_OF_A_KIND_MAX {
            kept.push(message.clone());
        } else if draw.chance(REPLACE_PPM) {
            // The ages of what is kept are spread: from just now to many times what is kept.
            let at = draw.below(KEPT_OF_A_KIND_MAX as u64) as usize;
            kept[at] = message.clone();
        }
        older
    }
}

/// How often a message that a link carries brings an older one along.
const ECHO_PPM: u32 = 500_000;
/// Messages of one kind that a link remembers.
const KEPT_OF_A_KIND_MAX: usize = 32;
/// How often a message takes the place of one that is remembered.
const REPLACE_PPM: u32 = 250_000;

#[cfg(test)]
mod tests {
    use chronon_core::types::NodeId;

    use super::{Echoes, KEPT_OF_A_KIND_MAX};
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

    #[test]
    fn a_link_repeats_what_it_carried_only_while_it_echoes() {
        let mut echoes = echoes();
        let carry = |echoes: &mut Echoes<u64>, messages: std::ops::Range<u64>| -> Vec<(u64, u64)> {
            let older = |m| echoes.carried(A, B, MessageKind::Prepare, &m).map(|older| (m, older));
            messages.filter_map(older).collect()
        };
        assert_eq!(carry(&mut echoes, 0..100), []);
        echoes.begin(A, B);
        let came_again = carry(&mut echoes, 100..300);
        assert!((70..130).contains(&came_again.len()), "half of 200, not {}", came_again.len());
        assert!(came_again.iter().all(|(with, older)| older < with), "what comes again was sent before");
        assert!(came_again.iter().any(|(with, older)| older + 2 * KEPT_OF_A_KIND_MAX as u64 <= *with));
        assert_eq!(echoes.count(), came_again.len() as u64);
        echoes.end(A, B);
        assert_eq!(carry(&mut echoes, 300..400), []);
    }

    #[test]
    fn what_is_said_seldom_is_not_crowded_out() {
        let mut echoes = echoes();
        echoes.carried(A, B, MessageKind::DoViewChange, &7);
        assert!((100..10_000).all(|m| echoes.carried(A, B, MessageKind::Prepare, &m).is_none()));
        echoes.begin(A, B);
        let again = (0..40).filter(|m| echoes.carried(A, B, MessageKind::Prepare, m) == Some(7)).count();
        assert!(again >= 4, "one echo of two is of the other kind: {again} of 40");
    }

    #[test]
    fn other_links_remember_nothing() {
        let mut echoes = echoes();
        echoes.begin(B, A);
        assert!((0..100).all(|m| echoes.carried(B, A, MessageKind::Prepare, &m).is_none()));
    }
}
