//! The fault plan: what goes wrong, with whom, when, for how long and how much. Data, laid out before the run.

mod draw;

use std::fmt;

use chronon_core::engine::{DiskOp, FileId};
use chronon_core::types::NodeId;

pub use draw::{PlanShape, draw_plan};

use crate::net::{DropRule, Endpoint};
use crate::time::WorldTime;
use crate::units::show_span;

/// One fault.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// When it begins.
    pub at: WorldTime,
    /// What it is.
    pub what: FaultKind,
}

/// What can go wrong. Spans are in nanoseconds of world time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FaultKind {
    /// A process dies, and comes back on what its disk kept.
    Crash {
        /// Whose.
        node: NodeId,
        /// How long it is away.
        down_ns: u64,
    },
    /// A process dies right after it submits one disk operation, before whatever else its step wanted done.
    CrashAtDiskOp {
        /// Whose.
        node: NodeId,
        /// The operation, counted from 1 from when the fault begins.
        nth: u64,
        /// Which operations are counted.
        aim: Aim,
        /// How long it is away.
        down_ns: u64,
    },
    /// Every process dies at once.
    PowerLoss {
        /// When the first is back.
        down_ns: u64,
        /// Between node 1 and node 2, and so on.
        apart_ns: u64,
    },
    /// A process does not run for a while; what reaches it waits, and it then runs with everything late.
    Pause {
        /// Whose.
        node: NodeId,
        /// How long.
        for_ns: u64,
    },
    /// Links carry nothing.
    Cut {
        /// Which, each from one endpoint to another.
        links: Vec<(Endpoint, Endpoint)>,
        /// How long.
        for_ns: u64,
    },
    /// Links lose more than the network's model says.
    Lossy {
        /// Which, each from one endpoint to another.
        links: Vec<(Endpoint, Endpoint)>,
        /// The share, in parts per million.
        loss_ppm: u32,
        /// How long.
        for_ns: u64,
    },
    /// Links hold everything back, and then deliver it.
    Clog {
        /// Which, each from one endpoint to another.
        links: Vec<(Endpoint, Endpoint)>,
        /// How long.
        for_ns: u64,
    },
    /// Links deliver, beside what they carry, what was sent on them long before, lost or not.
    Echo {
        /// Which, each from one endpoint to another.
        links: Vec<(Endpoint, Endpoint)>,
        /// How long.
        for_ns: u64,
    },
    /// Messages of one kind are dropped.
    Drop {
        /// Which.
        rule: DropRule,
        /// How long.
        for_ns: u64,
    },
    /// A disk completes nothing for a while.
    DiskStall {
        /// Whose.
        node: NodeId,
        /// How long.
        for_ns: u64,
    },
    /// A disk operation fails. The node stops, and somebody starts it again.
    DiskError {
        /// Whose.
        node: NodeId,
        /// The operation, counted from 1 from when the fault begins, as operations complete.
        nth: u64,
        /// Which operations are counted.
        aim: Aim,
        /// How long it is away.
        down_ns: u64,
    },
    /// A flush that was durable, and that the next one names, is no longer what was written.
    Rot {
        /// Whose.
        node: NodeId,
        /// How.
        how: Damage,
        /// Which flush, counted from 1 from the newest of those whose loss the design survives.
        nth: u64,
    },
    /// A disk has no space left but so much.
    DiskFull {
        /// Whose.
        node: NodeId,
        /// Bytes that are left when it begins.
        room: u64,
        /// How long.
        for_ns: u64,
    },
    /// A read gives other bytes than lie there, once.
    Misread {
        /// Whose.
        node: NodeId,
        /// The read, counted from 1 from when the fault begins, as reads complete.
        nth: u64,
        /// Which reads are counted.
        aim: Aim,
        /// What it gives.
        gives: Misread,
    },
    /// Copies of the manifest are no longer what was written.
    RotManifest {
        /// Whose.
        node: NodeId,
        /// The copy, counted from 1 from the beginning of the file.
        copy: u64,
        /// How.
        how: Damage,
    },
    /// A snapshot in force is no longer what was written.
    RotSnapshot {
        /// Whose.
        node: NodeId,
        /// How.
        how: Damage,
        /// Which, counted from 1 by their groups, of those whose loss the design survives.
        nth: u64,
    },
    /// A chunk of an archive is no longer what was written.
    RotArchive {
        /// Whose.
        node: NodeId,
        /// How.
        how: Damage,
        /// Which, counted from 1 from the newest, of those that another voter has as well.
        nth: u64,
    },
    /// A disk is wiped, and formatted like a new one, once every peer knows its node.
    Wipe {
        /// Whose.
        node: NodeId,
        /// How long its process is away.
        down_ns: u64,
    },
    /// A disk is put back as it was when the fault began, if every peer knows by then that it went farther.
    PutBack {
        /// Whose.
        node: NodeId,
        /// How long after it began.
        for_ns: u64,
        /// How long its process is away then.
        down_ns: u64,
    },
    /// A wall clock jumps.
    ClockJump {
        /// Whose.
        node: NodeId,
        /// How far, in nanoseconds; negative is back.
        by_ns: i64,
    },
    /// A wall clock stands still for a while, and then goes on from there.
    ClockFreeze {
        /// Whose.
        node: NodeId,
        /// How long.
        for_ns: u64,
    },
}

/// What becomes of a flush on a disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Damage {
    /// One bit of it is another one.
    Bit,
    /// 512 bytes of it are others.
    Sector,
    /// 4096 bytes of it are others.
    Block,
    /// The disk said that it was written, and it was not.
    Lost,
    /// The write of another flush went to its place.
    Stray,
    /// One block of it cannot be read.
    Unreadable,
}

impl Damage {
    /// Every one and its word.
    pub const WORDS: [(Self, &'static str); 6] = [
        (Self::Bit, "bit"),
        (Self::Sector, "sector"),
        (Self::Block, "block"),
        (Self::Lost, "lost"),
        (Self::Stray, "stray"),
        (Self::Unreadable, "unreadable"),
    ];

    /// Whether all but a block of the flush stays as it was.
    pub fn leaves_a_block(self) -> bool {
        !matches!(self, Self::Lost | Self::Stray)
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        let known = Self::WORDS.into_iter().find(|(damage, _)| *damage == self);
        known.expect("every one has a word").1
    }
}

/// What a read gives that lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Misread {
    /// One bit is another one.
    Bit,
    /// The bytes are those of another place.
    Stray,
}

impl Misread {
    /// Every one and its word.
    pub const WORDS: [(Self, &'static str); 2] = [(Self::Bit, "bit"), (Self::Stray, "stray")];

    /// The word for it.
    pub fn word(self) -> &'static str {
        let known = Self::WORDS.into_iter().find(|(misread, _)| *misread == self);
        known.expect("every one has a word").1
    }
}

/// Disk operations to count. Most are the journal's: what happens seldom is met only by aiming at it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Aim {
    /// All of them.
    Any,
    /// Those on the manifest.
    Manifest,
    /// Those on files of snapshots.
    Snapshot,
    /// Those on segments of the journal.
    Segment,
    /// Those on chunks of archives.
    Archive,
}

impl Aim {
    /// Every one that names a file, and its word.
    pub const WORDS: [(Self, &'static str); 4] = [
        (Self::Manifest, "manifest"),
        (Self::Snapshot, "snapshot"),
        (Self::Segment, "segment"),
        (Self::Archive, "archive"),
    ];

    /// Whether `op` is counted.
    pub fn takes(self, op: &DiskOp) -> bool {
        let file = match op {
            DiskOp::Allocate { file, .. }
            | DiskOp::Put { file, .. }
            | DiskOp::Write { file, .. }
            | DiskOp::Read { file, .. } => Some(file),
            DiskOp::Barrier { .. } => None,
        };
        match self {
            Self::Any => true,
            Self::Manifest => matches!(file, Some(FileId::Manifest)),
            Self::Snapshot => matches!(file, Some(FileId::Snapshot(_))),
            Self::Segment => matches!(file, Some(FileId::Segment(_))),
            Self::Archive => matches!(file, Some(FileId::Archive { .. })),
        }
    }

    /// The word for the file, when there is one.
    pub fn word(self) -> Option<&'static str> {
        Self::WORDS.into_iter().find(|(aim, _)| *aim == self).map(|(_, word)| word)
    }
}

impl FaultKind {
    /// Whether copies of what was promised are lost by it.
    pub fn takes_copies(&self) -> bool {
        matches!(
            self,
            Self::Rot { .. }
                | Self::RotSnapshot { .. }
                | Self::RotArchive { .. }
                | Self::Wipe { .. }
                | Self::PutBack { .. }
        )
    }

    /// The word for it in scenarios and summaries.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Crash { .. } => "crash",
            Self::CrashAtDiskOp { .. } => "crash_at_disk_op",
            Self::PowerLoss { .. } => "power_loss",
            Self::Pause { .. } => "pause",
            Self::Cut { .. } => "cut",
            Self::Lossy { .. } => "lossy",
            Self::Clog { .. } => "clog",
            Self::Echo { .. } => "echo",
            Self::Drop { .. } => "drop",
            Self::DiskStall { .. } => "disk_stall",
            Self::DiskError { .. } => "disk_error",
            Self::Rot { .. } => "rot",
            Self::DiskFull { .. } => "disk_full",
            Self::Misread { .. } => "misread",
            Self::RotManifest { .. } => "rot_manifest",
            Self::RotSnapshot { .. } => "rot_snapshot",
            Self::RotArchive { .. } => "rot_archive",
            Self::Wipe { .. } => "wipe",
            Self::PutBack { .. } => "put_back",
            Self::ClockJump { .. } => "clock_jump",
            Self::ClockFreeze { .. } => "clock_freeze",
        }
    }

    /// How long it lasts, or how long whom it kills is away; `None` of what is over at once.
    pub fn span_mut(&mut self) -> Option<&mut u64> {
        match self {
            Self::Crash { down_ns, .. }
            | Self::CrashAtDiskOp { down_ns, .. }
            | Self::DiskError { down_ns, .. }
            | Self::Wipe { down_ns, .. }
            | Self::PowerLoss { down_ns, .. } => Some(down_ns),
            Self::Pause { for_ns, .. }
            | Self::Cut { for_ns, .. }
            | Self::Lossy { for_ns, .. }
            | Self::Clog { for_ns, .. }
            | Self::Echo { for_ns, .. }
            | Self::Drop { for_ns, .. }
            | Self::DiskFull { for_ns, .. }
            | Self::PutBack { for_ns, .. }
            | Self::ClockFreeze { for_ns, .. }
            | Self::DiskStall { for_ns, .. } => Some(for_ns),
            Self::Rot { .. }
            | Self::Misread { .. }
            | Self::RotManifest { .. }
            | Self::RotSnapshot { .. }
            | Self::RotArchive { .. }
            | Self::ClockJump { .. } => None,
        }
    }

    /// Whether processes die of it.
    pub fn kills(&self) -> bool {
        matches!(
            self,
            Self::Crash { .. }
                | Self::CrashAtDiskOp { .. }
                | Self::DiskError { .. }
                | Self::PowerLoss { .. }
                | Self::Wipe { .. }
                | Self::PutBack { .. }
        )
    }

    /// Every word, and what it stands for.
    pub const WORDS: [(&'static str, &'static str); 21] = [
        ("crash", "a process dies and restarts on what its disk kept"),
        ("crash_at_disk_op", "a process dies between two given disk operations"),
        ("power_loss", "every process dies at once"),
        ("pause", "a process stands still, then runs with everything late"),
        ("cut", "links carry nothing: symmetric, one-way or partial partitions, clients included"),
        ("lossy", "links lose a share of their messages"),
        ("clog", "links hold messages back, then deliver them"),
        ("echo", "links deliver again what was sent on them long before"),
        ("drop", "messages of one kind are dropped"),
        ("disk_stall", "a disk completes nothing for a while"),
        ("disk_error", "a disk operation fails: a write, a barrier, a read or an allocation"),
        ("rot", "a flush on a disk rots, was never written, was overwritten by another, or cannot be read"),
        ("disk_full", "no space is left on a disk"),
        ("misread", "a read gives other bytes than lie there, once"),
        ("rot_manifest", "a copy of the manifest rots, or cannot be read"),
        ("rot_snapshot", "a snapshot rots, was never written, was overwritten, or cannot be read"),
        ("rot_archive", "a chunk of an archive rots, was never written, was overwritten, or cannot be read"),
        ("wipe", "a disk is wiped, and formatted like a new one"),
        ("put_back", "a disk is put back as it was some time ago"),
        ("clock_jump", "a wall clock jumps forward or back"),
        ("clock_freeze", "a wall clock stands still for a while, and goes on from there"),
    ];
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word();
        match self {
            Self::Crash { node, down_ns } => write!(f, "{word} node {node}, down {}", show_span(*down_ns)),
            Self::CrashAtDiskOp { node, nth, aim, down_ns } | Self::DiskError { node, nth, aim, down_ns } => {
                let of = aim.word().map_or_else(String::new, |file| format!(" on a {file}"));
                write!(f, "{word} node {node}, op {nth}{of} from now, down {}", show_span(*down_ns))
            }
            Self::PowerLoss { down_ns, apart_ns } => {
                write!(f, "{word} down {}, back {} apart", show_span(*down_ns), show_span(*apart_ns))
            }
            Self::Pause { node, for_ns }
            | Self::DiskStall { node, for_ns }
            | Self::ClockFreeze { node, for_ns } => {
                write!(f, "{word} node {node} for {}", show_span(*for_ns))
            }
            Self::Cut { links, for_ns } | Self::Clog { links, for_ns } | Self::Echo { links, for_ns } => {
                write!(f, "{word}{} for {}", Links(links), show_span(*for_ns))
            }
            Self::Lossy { links, loss_ppm, for_ns } => {
                write!(f, "{word} {loss_ppm} ppm{} for {}", Links(links), show_span(*for_ns))
            }
            Self::Drop { rule, for_ns } => write!(f, "{word} {rule:?} for {}", show_span(*for_ns)),
            Self::Rot { node, how, nth } => {
                write!(f, "{word} node {node}, {}, the last flush but {}", how.word(), nth - 1)
            }
            Self::DiskFull { node, room, for_ns } => {
                write!(f, "{word} node {node}, {room} bytes left, for {}", show_span(*for_ns))
            }
            Self::Misread { node, nth, aim, gives } => {
                let of = aim.word().map_or_else(String::new, |file| format!(" of a {file}"));
                write!(f, "{word} node {node}, read {nth}{of} from now, {}", gives.word())
            }
            Self::RotManifest { node, copy, how } => {
                write!(f, "{word} node {node}, copy {copy}, {}", how.word())
            }
            Self::RotSnapshot { node, how, nth } => {
                write!(f, "{word} node {node}, {}, the one of group {nth} of those that may", how.word())
            }
            Self::RotArchive { node, how, nth } => {
                write!(f, "{word} node {node}, {}, chunk {nth} from the newest of those that may", how.word())
            }
            Self::Wipe { node, down_ns } => write!(f, "{word} node {node}, down {}", show_span(*down_ns)),
            Self::PutBack { node, for_ns, down_ns } => {
                let (ago, down) = (show_span(*for_ns), show_span(*down_ns));
                write!(f, "{word} node {node} after {ago}, down {down}")
            }
            Self::ClockJump { node, by_ns } => write!(
                f,
                "{word} node {node} by {}{}",
                if *by_ns < 0 { "-" } else { "" },
                show_span(by_ns.unsigned_abs())
            ),
        }
    }
}

struct Links<'a>(&'a [(Endpoint, Endpoint)]);

impl fmt::Display for Links<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (from, to) in self.0 {
            write!(f, " {from}>{to}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chronon_core::engine::{DiskOp, DiskOpId, FileId};
    use chronon_core::types::{Blob, GroupId};

    use super::Aim;

    #[test]
    fn an_aim_takes_the_operations_of_its_file() {
        let id = DiskOpId(1);
        let chunk = FileId::Archive { group: GroupId::new(1), number: 3 };
        let ops = [FileId::Manifest, FileId::Snapshot(3), FileId::Segment(3), chunk].map(|file| {
            let data = Blob::default();
            DiskOp::Write { id, file, offset: 0, data }
        });
        let taken = |aim: Aim| ops.each_ref().map(|op| aim.takes(op));
        assert_eq!(taken(Aim::Any), [true, true, true, true]);
        assert_eq!(taken(Aim::Manifest), [true, false, false, false]);
        assert_eq!(taken(Aim::Snapshot), [false, true, false, false]);
        assert_eq!(taken(Aim::Segment), [false, false, true, false]);
        assert_eq!(taken(Aim::Archive), [false, false, false, true]);
        assert!(Aim::Any.takes(&DiskOp::Barrier { id }) && !Aim::Manifest.takes(&DiskOp::Barrier { id }));
    }
}
