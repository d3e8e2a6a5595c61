//! Choosing the log of a new view from a quorum of view-change messages (`consensus.md`, rules 5 and 6).
//!
//! Canonical headers are those of the highest log view: replicas of one log view hold prefixes of one log, so the
//! longest of them holds every op that view can have committed. Above the highest known commit, an op without a copy
//! anywhere is dropped, with all above it, once nacks prove that no quorum ever held it.

use alloc::vec::Vec;

use crate::consensus::DoViewChange;
use crate::types::{EntryHeader, Mark, Marks, Op, Quorums};

/// What the messages so far allow.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Choice {
    /// Too few messages, or too few to judge an op without a copy.
    Wait,
    /// The log of the view.
    Log(ChosenLog),
}

/// A log that a view starts with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ChosenLog {
    /// Every op up to here is committed.
    pub commit: Op,
    /// From an op that is committed to the head, ascending.
    pub headers: Vec<EntryHeader>,
    /// The replica whose headers these are.
    pub source: usize,
}

/// Chooses from the messages of one view, one slot a replica.
pub(super) fn choose(messages: &[Option<DoViewChange>], quorums: Quorums, marks: &mut impl Marks) -> Choice {
    let heard = || messages.iter().enumerate().filter_map(|(replica, m)| m.as_ref().map(|m| (replica, m)));
    let count = u32::try_from(heard().count()).unwrap_or(0);
    if count < quorums.view_change() {
        return Choice::Wait;
    }
    let Some((source, canonical)) = heard().max_by_key(|(_, m)| (m.log_view, m.head())) else {
        return Choice::Wait;
    };
    let Some(commit) = heard().map(|(_, m)| m.commit).max() else { return Choice::Wait };
    assert!(canonical.head() >= commit, "the log of the highest log view holds every commit, here {commit}");

    if heard().any(|(_, m)| m.head() > canonical.head()) {
        marks.hit(Mark::ShorterLogChosen);
    }

    // The lowest header is that of the commit: below it the new primary catches up before it adopts anything, so that
    // nothing at or below its commit is a header alone, but for what rotted.
    let from_commit = canonical.suffix.iter().map(|slot| slot.header).filter(|header| header.op() >= commit);
    let mut headers: Vec<EntryHeader> = from_commit.collect();
    for (index, header) in headers.iter().enumerate().filter(|(_, header)| header.op() > commit) {
        if heard().any(|(_, m)| m.holds(header)) {
            continue;
        }
        let nacks = u32::try_from(heard().filter(|(_, m)| m.nacks(header)).count()).unwrap_or(0);
        if nacks < quorums.nack() {
            return Choice::Wait;
        }
        marks.hit(Mark::NackTruncation);
        headers.truncate(index);
        break;
    }
    Choice::Log(ChosenLog { commit, headers, source })
}

impl DoViewChange {
    /// The highest op of the sender's log.
    fn head(&self) -> Op {
        self.suffix.last().map_or(self.commit, |slot| slot.header.op())
    }

    fn holds(&self, header: &EntryHeader) -> bool {
        self.suffix.iter().any(|slot| slot.present && slot.header.hash() == header.hash())
    }

    /// Whether the sender is sure that it never acknowledged the entry: its log ends below, holds another entry
    /// there, or holds the header alone and says so.
    fn nacks(&self, header: &EntryHeader) -> bool {
        match self.suffix.iter().find(|slot| slot.header.op() == header.op()) {
            Some(slot) if slot.header.hash() == header.hash() => slot.nack,
            Some(_) => true,
            None => header.op() > self.head(),
        }
    }

    /// Whether the suffix begins at the commit and is a chain.
    pub(super) fn is_consistent(&self) -> bool {
        let links = self.suffix.windows(2).all(|pair| match pair {
            [below, above] => chains(&below.header, &above.header),
            _ => true,
        });
        links
            && self.suffix.first().is_some_and(|slot| slot.header.op() == self.commit)
            && self.log_view <= self.view
    }
}

/// Whether `above` is the slot that follows `below`.
pub(super) fn chains(below: &EntryHeader, above: &EntryHeader) -> bool {
    above.op() == below.op().next() && above.parent() == below.hash()
}
