//! When no space is left: what is refused is what would need more, and what is there already goes on.
//!
//! ```text
//! an allocation finds no space  -> full: new commands are refused; the reserve is given back, and serves snapshots, so that
//!                                  segments can go, and their files serve the journal
//! the reserve can be made again -> not full any more
//! ```
//!
//! A file that is there never needs space to be written to. So a full disk changes nothing of what is durable, and stops
//! neither the journal nor a start.

use alloc::vec::Vec;

use crate::engine::disk::{DiskDone, DiskOp, DiskOpId, DiskOut, DiskOutcome, FileId};
use crate::types::{Mark, Marks, Monotonic, Nanos};

/// What the engine does about space.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Space {
    is_full: bool,
    /// Nothing is allocated until the next try.
    waits: bool,
    /// Nothing is cut until the next try either: not even that found space.
    cuts_wait: bool,
    tried_at: Option<Monotonic>,
    on_its_way: Option<(DiskOpId, Sizing)>,
    /// Files that hold nothing any more, and are to take no space.
    unused: Vec<FileId>,
}

/// A file of which the length changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sizing {
    /// The reserve gets this long.
    Reserve(u64),
    /// A file is cut to nothing.
    Nothing(FileId),
}

/// What a completion meant to the space there is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::engine) enum SpaceEvent {
    /// It was somebody else's.
    NotMine,
    /// It was a step on the way.
    Step,
    /// The reserve is there, this long.
    ReserveMade(u64),
}

/// Between two tries to find space.
const RETRY_AFTER: Nanos = Nanos::from_millis(1_000);

impl Space {
    /// Whether the last allocation that failed has not been made up for.
    pub(in crate::engine) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether a file may be allocated now.
    pub(in crate::engine) fn may_allocate(&self) -> bool {
        !self.waits && self.on_its_way.is_none()
    }

    /// An allocation found no space.
    pub(in crate::engine) fn found_none(&mut self, marks: &mut impl Marks) {
        marks.hit(Mark::DiskFull);
        self.is_full = true;
        self.waits = true;
    }

    /// The reserve is in force: it can be made again, so there is space.
    pub(in crate::engine) fn found(&mut self, marks: &mut impl Marks) {
        if self.is_full {
            marks.hit(Mark::DiskFullNoMore);
        }
        self.is_full = false;
    }

    /// Whether it is time to try again.
    pub(in crate::engine) fn tries(&mut self, now: Monotonic) -> bool {
        if self.tried_at.is_some_and(|at| now.since(at) < RETRY_AFTER) {
            return false;
        }
        self.tried_at = Some(now);
        self.waits = false;
        self.cuts_wait = false;
        true
    }

    /// `file` holds nothing any more.
    pub(in crate::engine) fn let_go(&mut self, file: FileId) {
        if !self.unused.contains(&file) {
            self.unused.push(file);
        }
    }

    /// `file` is to be used again.
    pub(in crate::engine) fn keep(&mut self, file: FileId) {
        self.unused.retain(|other| *other != file);
    }

    /// Cuts the next file that holds nothing.
    pub(in crate::engine) fn shrink(
        &mut self,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        if self.on_its_way.is_none()
            && !self.cuts_wait
            && let Some(file) = self.unused.pop()
        {
            self.size(file, 0, Sizing::Nothing(file), ids(), out);
        }
    }

    /// Makes the reserve, this long.
    pub(in crate::engine) fn make_reserve(
        &mut self,
        bytes: u64,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        self.size(FileId::Reserve, bytes, Sizing::Reserve(bytes), ids(), out);
    }

    /// Takes a completion.
    pub(in crate::engine) fn on_done(&mut self, done: &DiskDone, marks: &mut impl Marks) -> SpaceEvent {
        let done_with =
            self.on_its_way.take_if(|(id, _)| *id == done.id && done.outcome != DiskOutcome::Failed);
        match (done_with, &done.outcome) {
            (None, _) => SpaceEvent::NotMine,
            (Some((_, Sizing::Nothing(file))), DiskOutcome::Full) => {
                self.let_go(file);
                self.cuts_wait = true;
                SpaceEvent::Step
            }
            (Some((_, Sizing::Reserve(_))), DiskOutcome::Full) => {
                // Whoever needs space more may still find some.
                let waits = self.waits;
                self.found_none(marks);
                self.waits = waits;
                SpaceEvent::Step
            }
            (Some((_, Sizing::Reserve(bytes))), _) => SpaceEvent::ReserveMade(bytes),
            (Some((_, Sizing::Nothing(_))), _) => {
                self.waits = false;
                SpaceEvent::Step
            }
        }
    }

    fn size(
        &mut self,
        file: FileId,
        bytes: u64,
        what: Sizing,
        id: DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        out.push(DiskOp::Allocate { id, file, bytes });
        self.on_its_way = Some((id, what));
    }
}
