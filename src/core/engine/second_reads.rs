//! Believes of the journal only what two reads say alike, where it matters.
//!
//! A read may lie once: a bit flips on its way, or another block comes. Where the journal seems torn or rotten, and where
//! it seems to end, it is read a second time. A segment of which that differs is read whole twice more, and of each block the
//! majority counts.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use crate::engine::disk::BLOCK_BYTES;
use crate::engine::log_reader::{Assembled, LogReader, ReadLog};
use crate::engine::segment_reads::{ReadSpan, Span};
use crate::types::{Mark, Marks, usize_of};

/// A journal that was read, as far as it is to be believed.
#[derive(Clone, Debug)]
pub(in crate::engine) struct SecondReads {
    reader: LogReader,
    /// No flush is longer.
    flush_bytes: usize,
    /// What follows from it, unless something of it differs by now.
    assembled: Option<Assembled>,
    /// Blocks of segments, by generation and offset, that were read often enough.
    confirmed: BTreeSet<(u64, u64)>,
    /// Segments of which something read a second time differs from the first, and their spans twice more.
    distrusted: Vec<Span>,
    /// What the reads on their way have given.
    taken: Vec<ReadSpan>,
}

/// What is to be done next.
#[derive(Debug)]
pub(in crate::engine) enum Next {
    /// Read these.
    Read(Vec<Span>),
    /// This is what the journal held.
    Over(Result<ReadLog, alloc::string::String>),
}

impl SecondReads {
    pub(in crate::engine) fn new(reader: LogReader, flush_bytes: usize) -> Self {
        let (assembled, confirmed) = (None, BTreeSet::new());
        Self { reader, flush_bytes, assembled, confirmed, distrusted: Vec::new(), taken: Vec::new() }
    }

    /// Takes a span that was read.
    pub(in crate::engine) fn take(&mut self, read: ReadSpan) {
        self.taken.push(read);
    }

    /// All that was asked for has been taken.
    pub(in crate::engine) fn next(&mut self, marks: &mut impl Marks) -> Next {
        let taken = core::mem::take(&mut self.taken);
        if self.distrusted.is_empty() {
            self.compare(taken);
        } else {
            self.settle(&taken, marks);
        }
        if !self.distrusted.is_empty() {
            return Next::Read(self.distrusted.iter().flat_map(|span| [*span; 2]).collect());
        }
        let assembled = self.assembled.get_or_insert_with(|| self.reader.assemble(marks));
        let is_confirmed = |span: &Span| blocks(span).all(|block| self.confirmed.contains(&block));
        let mut doubtful = self.reader.doubtful(assembled, self.flush_bytes);
        doubtful.retain(|span| !is_confirmed(span));
        if !doubtful.is_empty() {
            return Next::Read(doubtful);
        }
        let assembled = self.assembled.take();
        Next::Over(assembled.map_or_else(|| self.reader.assemble(marks).read, |assembled| assembled.read))
    }

    /// Distrusts a segment of which something is not as it was the first time: whatever the first read told of it may be
    /// wrong, and so may be what it did not tell.
    fn compare(&mut self, seconds: Vec<ReadSpan>) {
        for second in seconds {
            let first = self.reader.held(&second.span);
            let whole = Span::whole(&second.span.meta);
            if (&first.bytes, &first.unreadable) == (&second.bytes, &second.unreadable) {
                self.confirmed.extend(blocks(&second.span));
            } else if !self.distrusted.contains(&whole) {
                self.distrusted.push(whole);
            }
        }
    }

    /// Believes what two of three reads of a block say.
    fn settle(&mut self, twice_more: &[ReadSpan], marks: &mut impl Marks) {
        marks.hit(Mark::ReadsDiffer);
        self.distrusted.clear();
        let mut agreed = Vec::new();
        for pair in twice_more.chunks(2) {
            if let [second, third] = pair {
                agreed.push(majority([&self.reader.held(&second.span), second, third]));
            }
        }
        self.confirmed.extend(agreed.iter().flat_map(|read| blocks(&read.span)));
        self.reader = self.reader.with(&agreed);
        self.assembled = None;
    }
}

/// The blocks of a span.
fn blocks(span: &Span) -> impl Iterator<Item = (u64, u64)> {
    let generation = span.meta.generation;
    (span.from..span.to).step_by(BLOCK_BYTES).map(move |at| (generation, at))
}

/// What at least two of three reads of each block say; where all differ, the first that says anything.
fn majority(reads: [&ReadSpan; 3]) -> ReadSpan {
    let span = reads[0].span;
    let mut bytes = BytesMut::with_capacity(usize_of(span.to - span.from));
    let mut unreadable = Vec::new();
    for (_, at) in blocks(&span) {
        let said = reads.map(|read| block_of(read, at));
        let twice = said.iter().find(|one| said.iter().filter(|other| other == one).count() >= 2);
        match twice.cloned().unwrap_or_else(|| said.into_iter().flatten().next()) {
            Some(block) => bytes.extend_from_slice(&block),
            None => {
                unreadable.push(usize_of(at));
                bytes.extend_from_slice(&[0; BLOCK_BYTES]);
            }
        }
    }
    ReadSpan { span, bytes: bytes.freeze(), unreadable }
}

/// The block at `at` of its segment; none when it could not be read.
fn block_of(read: &ReadSpan, at: u64) -> Option<Bytes> {
    let from = usize_of(at - read.span.from);
    (!read.unreadable.contains(&usize_of(at))).then(|| read.bytes.slice(from..from + BLOCK_BYTES))
}
