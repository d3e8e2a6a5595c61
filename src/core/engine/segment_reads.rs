//! Reads segments in order, a few pieces ahead of what has come in, and around what cannot be read.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use crate::engine::disk::{BLOCK_BYTES, DiskDone, DiskOp, DiskOpId, DiskOut, DiskOutcome, FileId};
use crate::engine::manifest::SegmentMeta;
use crate::types::{Mark, Marks, u64_of, usize_of};

/// What is to be read, what is on its way, and what has come in.
#[derive(Clone, Debug)]
pub(in crate::engine) struct SegmentReads {
    segments: VecDeque<SegmentMeta>,
    /// Segments of which not everything was asked for, and from where the first of them is.
    unasked: VecDeque<SegmentMeta>,
    unasked_from: u64,
    /// In the order of their places.
    pieces: VecDeque<Piece>,
    /// Of the first of the segments.
    bytes: BytesMut,
    unreadable: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Piece {
    id: DiskOpId,
    slot: u32,
    offset: u64,
    bytes: u64,
    /// Times that it could not be read.
    failures: u32,
    outcome: Option<DiskOutcome>,
}

/// A segment that was read.
#[derive(Clone, Debug)]
pub(in crate::engine) struct ReadSegment {
    pub meta: SegmentMeta,
    pub bytes: Bytes,
    /// Blocks that could not be read, by their offset; zeros are there instead.
    pub unreadable: Vec<usize>,
}

impl SegmentReads {
    pub(in crate::engine) fn new(segments: &[SegmentMeta]) -> Self {
        let segments: VecDeque<_> = segments.iter().copied().collect();
        let (unasked, pieces) = (segments.clone(), VecDeque::new());
        let (bytes, unreadable) = (BytesMut::new(), Vec::new());
        Self { segments, unasked, unasked_from: 0, pieces, bytes, unreadable }
    }

    /// Whether every segment was given.
    pub(in crate::engine) fn is_over(&self) -> bool {
        self.segments.is_empty()
    }

    /// Asks for pieces, until as many are on their way as may be.
    pub(in crate::engine) fn read_ahead(
        &mut self,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        while self.pieces.len() < PIECES_AHEAD
            && let Some(meta) = self.unasked.front()
        {
            let offset = self.unasked_from;
            let (slot, bytes) = (meta.slot, PIECE_BYTES.min(meta.bytes - offset));
            self.unasked_from += bytes;
            if self.unasked_from == meta.bytes {
                self.unasked.pop_front();
                self.unasked_from = 0;
            }
            self.pieces.push_back(Piece::ask(ids(), slot, (offset, bytes), 0, out));
        }
    }

    /// Takes a completion, unless it belongs to somebody else.
    pub(in crate::engine) fn take(&mut self, done: DiskDone) {
        if let Some(piece) = self.pieces.iter_mut().find(|piece| piece.id == done.id) {
            piece.outcome = Some(done.outcome);
        }
    }

    /// The next segment, once all of it has come in.
    ///
    /// # Errors
    /// A sentence for the operator when it can never come.
    pub(in crate::engine) fn next_segment(
        &mut self,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<Option<ReadSegment>, String> {
        while let Some(outcome) = self.pieces.front_mut().and_then(|piece| piece.outcome.take()) {
            let (Some(piece), Some(meta)) = (self.pieces.pop_front(), self.segments.front().copied()) else {
                return Ok(None);
            };
            if self.bytes.is_empty() {
                self.bytes.reserve(usize_of(meta.bytes));
            }
            match outcome {
                DiskOutcome::Read(data) => self.bytes.extend_from_slice(data.as_slice()),
                DiskOutcome::Failed if piece.bytes > u64_of(BLOCK_BYTES) => {
                    self.ask_by_block(&piece, ids, out);
                }
                DiskOutcome::Failed if piece.failures < BLOCK_RETRIES_MAX => {
                    let (place, failures) = ((piece.offset, piece.bytes), piece.failures + 1);
                    self.pieces.push_front(Piece::ask(ids(), piece.slot, place, failures, out));
                }
                DiskOutcome::Failed => {
                    out.marks.hit(Mark::BlockUnreadable);
                    self.unreadable.push(self.bytes.len());
                    self.bytes.extend_from_slice(&[0; BLOCK_BYTES]);
                }
                DiskOutcome::Done | DiskOutcome::Missing | DiskOutcome::Full => {
                    return Err(format!("journal segment {}: {outcome}", meta.slot));
                }
            }
            if u64_of(self.bytes.len()) == meta.bytes {
                self.segments.pop_front();
                let bytes = core::mem::take(&mut self.bytes).freeze();
                let unreadable = core::mem::take(&mut self.unreadable);
                return Ok(Some(ReadSegment { meta, bytes, unreadable }));
            }
        }
        Ok(None)
    }

    /// Asks for a piece that cannot be read once more, each of its blocks alone.
    fn ask_by_block(
        &mut self,
        piece: &Piece,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        let block = u64_of(BLOCK_BYTES);
        for index in (0..piece.bytes / block).rev() {
            let place = (piece.offset + index * block, block);
            self.pieces.push_front(Piece::ask(ids(), piece.slot, place, 0, out));
        }
    }
}

impl Piece {
    fn ask(
        id: DiskOpId,
        slot: u32,
        (offset, bytes): (u64, u64),
        failures: u32,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Self {
        let asked = u32::try_from(bytes).unwrap_or(u32::MAX);
        out.push(DiskOp::Read { id, file: FileId::Segment(slot), offset, bytes: asked });
        Self { id, slot, offset, bytes, failures, outcome: None }
    }
}

/// Bytes that are asked for at once.
const PIECE_BYTES: u64 = 1 << 20;
/// Pieces that are on their way at most, unless one cannot be read.
const PIECES_AHEAD: usize = 4;
/// A block that cannot be read is asked for this many times more.
const BLOCK_RETRIES_MAX: u32 = 2;
