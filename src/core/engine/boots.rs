//! Starts of a data directory, and how an older or another copy of it is told.
//!
//! A disk that was wiped, or put back as it was, has forgotten what its node promised, and does not know it. But peers have
//! taken note, durably, of the node's last start and of how far its journal went. A directory whose own starts do not
//! lead there is not the one that they know.
//!
//! A start is announced once some peer was heard that knows nothing against it, and only then has anybody to take note of
//! it. So a disk that nobody hears may start as often as it likes: it grows into none that somebody knows.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::types::{BootId, NodeId, u64_of};

/// One start of this directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::engine) struct Boot {
    pub id: BootId,
    /// The number of the last flush that was found by the first start behind the last one announced: by this one, or by one that
    /// was silent.
    pub found: u64,
    /// Peers may know of it.
    pub is_announced: bool,
}

/// The starts of this directory that were announced, ascending: the first one, and the last few; and the one that goes on.
#[derive(Clone, Debug, Default, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::engine) struct Boots {
    kept: Vec<Boot>,
    /// Some are kept no more, of those between the first two.
    has_dropped: bool,
}

/// Starts that are kept.
const KEPT: usize = 16;

/// What one node knows of another's disk: a start of it, and the last flush of which it heard that it was durable.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Witnessed {
    /// The start.
    pub boot: BootId,
    /// The flush.
    pub flush: u64,
}

notation_struct!("witnessed" => Witnessed { boot, flush });

/// A disk is not what a peer knows that it was: it has forgotten what its node promised.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Amnesia {
    /// The peer that knows better.
    pub by: NodeId,
    /// What it knows, as an operator reads it.
    pub what: String,
}

impl Boots {
    /// As many starts as are ever kept.
    pub(in crate::engine) fn fullest() -> Self {
        let mut boots = Self::default();
        for nonce in 0..=u64_of(KEPT) {
            boots.begin(nonce, 0);
            boots.announce();
        }
        boots
    }

    /// The start that the process runs in, or the last one before it reads the disk.
    pub(in crate::engine) fn last(&self) -> BootId {
        self.kept.last().map_or(BootId::default(), |boot| boot.id)
    }

    /// Another start, which found this flush as the last one. One that was never announced gives way to it.
    pub(in crate::engine) fn begin(&mut self, nonce: u64, found: u64) {
        let id = BootId { incarnation: self.last().incarnation.next(), nonce };
        let silent = self.kept.pop_if(|last| !last.is_announced);
        if self.kept.len() == KEPT {
            self.kept.remove(1);
            self.has_dropped = true;
        }
        let found = silent.map_or(found, |silent| silent.found);
        self.kept.push(Boot { id, found, is_announced: false });
    }

    pub(in crate::engine) fn is_announced(&self) -> bool {
        self.kept.last().is_some_and(|last| last.is_announced)
    }

    /// The last start may be told to peers once this is durable.
    pub(in crate::engine) fn announce(&mut self) {
        if let Some(last) = self.kept.last_mut() {
            last.is_announced = true;
        }
    }

    /// Holds what a peer knows of this node against the starts of this directory, of which the last has written flushes up to
    /// `reached`.
    ///
    /// # Errors
    /// A sentence for the operator when this is not the disk that the peer knows, or not as it was then.
    pub(in crate::engine) fn judge(&self, known: Witnessed, reached: u64) -> Result<(), String> {
        let Witnessed { boot, flush } = known;
        let start = boot.incarnation;
        if start > self.last().incarnation {
            let own = self.last().incarnation;
            return Err(format!("it has heard start {start}, and this is only start {own}"));
        }
        if boot == self.last() && flush > reached {
            return Err(format!(
                "it has heard that flush {flush} was durable in this start, which is at flush {reached}"
            ));
        }
        let between =
            |first: &Boot, second: &Boot| first.id.incarnation < start && start < second.id.incarnation;
        let was_dropped = match self.kept.as_slice() {
            [first, second, ..] => self.has_dropped && between(first, second),
            _ => false,
        };
        let is_own = self.kept.iter().any(|own| own.id == boot);
        if boot.is_known() && !is_own && !was_dropped {
            return Err(format!("the start {start} that it has heard was made on another copy of the disk"));
        }
        // One that is kept no more is believed by what the next one found.
        match self.kept.iter().find(|own| own.id.incarnation > start) {
            Some(next) if next.found < flush => Err(format!(
                "it has heard that flush {flush} was durable in start {start}, and start {} found none above {}",
                next.id.incarnation, next.found
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;

    use super::{Boots, KEPT, Witnessed};
    use crate::types::{BootId, Incarnation};

    /// A directory that started so often, and found ten flushes more each time.
    fn started(times: u64) -> Boots {
        let mut boots = Boots::default();
        for start in 0..times {
            boots.begin(nonce(start + 1), 10 * start);
            boots.announce();
        }
        boots
    }

    /// Of a process that has written a thousand flushes.
    fn judge(boots: &Boots, known: Witnessed) -> Result<(), String> {
        boots.judge(known, 1_000)
    }

    fn nonce(start: u64) -> u64 {
        start * 1_000_003
    }

    fn heard(start: u64, flush: u64) -> Witnessed {
        Witnessed { boot: BootId { incarnation: Incarnation::new(start), nonce: nonce(start) }, flush }
    }

    #[test]
    fn a_directory_that_went_on_is_the_one_that_was_known() {
        let boots = started(40);
        assert_eq!(boots.kept.len(), KEPT);
        assert_eq!(judge(&boots, Witnessed::default()), Ok(()), "nobody has heard of it");
        for start in 1..40 {
            assert_eq!(judge(&boots, heard(start, 10 * start)), Ok(()), "start {start}");
        }
        assert_eq!(judge(&boots, heard(40, 1_000)), Ok(()), "this process wrote them");
        assert!(judge(&boots, heard(40, 1_001)).is_err(), "it was put back with its memory");
    }

    #[test]
    fn a_directory_with_fewer_starts_is_an_old_one() {
        let error = judge(&started(3), heard(4, 0)).expect_err("start 4 was heard");
        assert!(error.contains("start 4") && error.contains("start 3"), "{error}");
    }

    #[test]
    fn a_start_that_counts_alike_is_told_by_what_it_drew() {
        for start in [30, 38] {
            let mut other = heard(start, 0);
            other.boot.nonce += 1;
            let error = judge(&started(40), other).expect_err("the peer heard another one");
            assert!(error.contains("another copy"), "{error}");
        }
    }

    #[test]
    fn starts_that_nobody_heard_of_lead_nowhere() {
        let mut old = started(3);
        for start in 4..100 {
            old.begin(nonce(start) + 1, 10 * start);
        }
        assert_eq!(old.kept.len(), 4);
        assert_eq!(judge(&old, heard(3, 30)), Ok(()), "start 4 found 40 flushes");
        for known in [heard(3, 41), heard(4, 0), heard(20, 0)] {
            assert!(judge(&old, known).is_err(), "{known}");
        }
        let mut wiped = Boots::default();
        for start in 1..100 {
            wiped.begin(nonce(start) + 1, start);
        }
        assert!(judge(&wiped, heard(1, 0)).is_err() && judge(&wiped, heard(7, 0)).is_err());
    }

    #[test]
    fn starts_as_nobody_writes_them_are_judged_as_well() {
        let nonsense = Boots { kept: Vec::new(), has_dropped: true };
        assert!(judge(&nonsense, heard(1, 0)).is_err());
        assert_eq!(judge(&nonsense, Witnessed::default()), Ok(()));
    }

    #[test]
    fn a_directory_without_the_flushes_of_a_start_is_one_from_before_them() {
        for start in [2, 20, 39] {
            let error = judge(&started(40), heard(start, 10_000)).expect_err("they are missing");
            assert!(error.contains("flush 10000"), "{error}");
        }
    }
}
