//! Reads spans of segments in order, a few pieces ahead of what has come in, and around what cannot be read.

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
    spans: VecDeque<Span>,
    /// What was not asked for yet.
    unasked: VecDeque<Span>,
    /// In the order of their places.
    pieces: VecDeque<Piece>,
    /// Of the first of the spans.
    bytes: BytesMut,
    unreadable: Vec<usize>,
}

/// Bytes of a segment, from one block's beginning to another's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::engine) struct Span {
    pub meta: SegmentMeta,
    pub from: u64,
    pub to: u64,
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

/// A span that was read.
#[derive(Clone, Debug)]
pub(in crate::engine) struct ReadSpan {
    pub span: Span,
    pub bytes: Bytes,
    /// Blocks that could not be read, by their offset in the file; zeros are there instead.
    pub unreadable: Vec<usize>,
}

impl Span {
    /// All of a segment, with what lies behind it where it may still grow.
    pub(in crate::engine) fn whole(meta: &SegmentMeta) -> Self {
        Self { meta: *meta, from: meta.from, to: meta.end.unwrap_or(meta.bytes) }
    }
}

impl SegmentReads {
    pub(in crate::engine) fn new(spans: impl Iterator<Item = Span>) -> Self {
        let spans: VecDeque<_> = spans.collect();
        let (unasked, pieces) = (spans.clone(), VecDeque::new());
        Self { spans, unasked, pieces, bytes: BytesMut::new(), unreadable: Vec::new() }
    }

    /// Whether every span was given.
    pub(in crate::engine) fn is_over(&self) -> bool {
        self.spans.is_empty()
    }

    /// Asks for pieces, until as many are on their way as may be.
    pub(in crate::engine) fn read_ahead(
        &mut self,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        while self.pieces.len() < PIECES_AHEAD
            && let Some(span) = self.unasked.front_mut()
        {
            let (slot, offset) = (span.meta.slot, span.from);
            let bytes = PIECE_BYTES.min(span.to - offset);
            span.from += bytes;
            if span.from == span.to {
                self.unasked.pop_front();
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

    /// The next span, once all of it has come in.
    ///
    /// # Errors
    /// A sentence for the operator when it can never come.
    pub(in crate::engine) fn next_span(
        &mut self,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<Option<ReadSpan>, String> {
        while let Some(outcome) = self.pieces.front_mut().and_then(|piece| piece.outcome.take()) {
            let (Some(piece), Some(span)) = (self.pieces.pop_front(), self.spans.front().copied()) else {
                return Ok(None);
            };
            let wanted = span.to - span.from;
            match outcome {
                DiskOutcome::Read(data) if u64_of(data.as_slice().len()) == wanted => {
                    self.spans.pop_front();
                    return Ok(Some(ReadSpan { span, bytes: data.0, unreadable: Vec::new() }));
                }
                DiskOutcome::Read(data) => self.bytes.extend_from_slice(data.as_slice()),
                DiskOutcome::Failed if piece.bytes > u64_of(BLOCK_BYTES) => {
                    self.ask_in_parts(&piece, ids, out);
                }
                DiskOutcome::Failed if piece.failures < BLOCK_RETRIES_MAX => {
                    let (place, failures) = ((piece.offset, piece.bytes), piece.failures + 1);
                    self.pieces.push_front(Piece::ask(ids(), piece.slot, place, failures, out));
                }
                DiskOutcome::Failed => {
                    out.marks.hit(Mark::BlockUnreadable);
                    self.unreadable.push(usize_of(piece.offset));
                    self.bytes.extend_from_slice(&[0; BLOCK_BYTES]);
                }
                DiskOutcome::Done | DiskOutcome::Missing | DiskOutcome::Full => {
                    return Err(format!("journal segment {}: {outcome}", span.meta.slot));
                }
            }
            if u64_of(self.bytes.len()) == wanted {
                self.spans.pop_front();
                let bytes = core::mem::take(&mut self.bytes).freeze();
                let unreadable = core::mem::take(&mut self.unreadable);
                return Ok(Some(ReadSpan { span, bytes, unreadable }));
            }
        }
        Ok(None)
    }

    /// Asks for a piece that cannot be read once more, in parts, and in the end for each block alone.
    fn ask_in_parts(
        &mut self,
        piece: &Piece,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        let part = if piece.bytes > PART_BYTES { PART_BYTES } else { u64_of(BLOCK_BYTES) };
        for from in (0..piece.bytes).step_by(usize_of(part)).collect::<Vec<_>>().into_iter().rev() {
            let place = (piece.offset + from, part.min(piece.bytes - from));
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

/// Bytes that are asked for at once: a segment as long as they usually are, so that nothing has to be put together.
const PIECE_BYTES: u64 = 32 << 20;
/// Parts of it that are asked for when it cannot be read.
const PART_BYTES: u64 = 1 << 20;
/// Pieces that are on their way at most, unless one cannot be read: two are read while one is looked at.
const PIECES_AHEAD: usize = 3;
/// A block that cannot be read is asked for this many times more.
const BLOCK_RETRIES_MAX: u32 = 2;
