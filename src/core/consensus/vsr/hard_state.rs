//! What a replica has promised, as the journal keeps it, and the log that follows from it after a start.

use alloc::vec::Vec;

use bytes::Bytes;

use super::log::{Base, Log};
use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::codec::{self, CodecError};
use crate::engine::{RecoveredEntry, RecoveredLog};
use crate::types::{EntryHeader, Mark, Marks, Membership, Op, Ordinal, View};

/// The promise: view, log view, and the headers that a view-change message of that view carries. One record.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(super) struct HardState {
    pub view: View,
    pub log_view: View,
    /// Every op up to here was known to be committed.
    pub commit: Op,
    /// The header at `commit`, and all above it, ascending.
    pub suffix: Vec<EntryHeader>,
    /// Who the members are in the epoch of the view.
    pub membership: Membership,
}

/// What a replica knows after a start.
#[derive(Clone, Debug)]
pub(super) struct Recovered {
    /// `None` when the replica never promised anything: it has never said a word.
    pub promise: Option<HardState>,
    pub log: Log,
    pub commit: Op,
}

impl HardState {
    pub(super) fn to_bytes(&self) -> Bytes {
        Bytes::from(codec::encode(self))
    }
}

/// Puts promise and records together, on top of `snapshot`: the header of the last entry that a snapshot covers, or the
/// genesis. The log reaches below the snapshot as far as the journal does: peers may ask for it.
///
/// # Errors
/// When the promise is unreadable although its checksum held: another build wrote it.
pub(super) fn recover(
    snapshot: EntryHeader,
    recovered: &RecoveredLog,
    marks: &mut impl Marks,
) -> Result<Recovered, CodecError> {
    let promise: Option<(Ordinal, HardState)> = match &recovered.hard_state {
        Some((ordinal, bytes)) => Some((*ordinal, codec::decode(bytes)?)),
        None => None,
    };
    let mut log = rebuild(lowest_base(&snapshot, recovered), promise.as_ref(), recovered);
    if !log.contains(snapshot.op(), snapshot.hash()) {
        log = rebuild(Base::entry(snapshot), promise.as_ref(), recovered);
    }
    log.cover(snapshot.op());
    if log.first_missing_above(snapshot.op()).is_some() {
        marks.hit(Mark::RestartWithoutPayload);
    }
    let faulty = |(_, entry): &(Ordinal, RecoveredEntry)| matches!(entry, RecoveredEntry::Faulty(_));
    if recovered.entries.values().any(faulty) {
        marks.hit(Mark::RestartWithFaultyEntry);
    }
    let promise = promise.map(|(_, state)| state);
    let promised_commit = promise.as_ref().map_or(Op::GENESIS, |state| state.commit);
    let commit = promised_commit.max(recovered.commit.op_or_genesis()).min(log.head_op()).max(snapshot.op());
    Ok(Recovered { promise, log, commit })
}

/// The lowest entry that the journal links with the snapshot.
fn lowest_base(snapshot: &EntryHeader, recovered: &RecoveredLog) -> Base {
    let mut base = Base::entry(*snapshot);
    let (mut op, mut hash) = (snapshot.op(), snapshot.hash());
    while let Some((_, entry)) = recovered.entries.get(&op).filter(|(_, entry)| entry.header().hash() == hash)
    {
        let (Some(below), Some(parent)) = (op.previous(), Base::parent_of(entry.header())) else { break };
        (op, hash, base) = (below, entry.header().parent(), parent);
    }
    base
}

/// Follows the chain up from `base`. Where the header suffix and an older record differ, the suffix is right: it was
/// promised after that record was written. A record newer than the promise is right in its turn.
fn rebuild(base: Base, promise: Option<&(Ordinal, HardState)>, recovered: &RecoveredLog) -> Log {
    let promised_at = promise.map_or(Ordinal::new(0), |(ordinal, _)| *ordinal);
    let suffix: &[EntryHeader] = promise.map_or(&[], |(_, state)| &state.suffix);
    let first_promised = suffix.first().map(|header| header.op());
    let mut log = Log::new(base);
    loop {
        let op = log.head_op().next();
        let record = recovered.entries.get(&op);
        let newer = record.filter(|(ordinal, _)| *ordinal > promised_at);
        let promised = suffix.iter().find(|header| header.op() == op);
        let below_promise = first_promised.is_none_or(|first| op < first);
        match (newer, promised, record) {
            (Some((ordinal, entry)), _, _) if log.can_follow(entry.header()) => {
                log.append_recovered(*ordinal, entry)
            }
            (_, Some(header), Some((ordinal, entry)))
                if log.can_follow(header) && entry.header().hash() == header.hash() =>
            {
                log.append_recovered(*ordinal, entry);
            }
            (_, Some(header), _) if log.can_follow(header) => log.append_header(*header),
            (_, None, Some((ordinal, entry))) if below_promise && log.can_follow(entry.header()) => {
                log.append_recovered(*ordinal, entry);
            }
            _ => return log,
        }
    }
}
