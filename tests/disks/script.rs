//! What a disk is asked, laid out before the run.

use std::collections::BTreeSet;

use chronon_core::engine::{BLOCK_BYTES, DiskOp, DiskOpId, FileId};
use chronon_core::types::Blob;
use chronon_sim::random::{Draw, Purpose, Randomness};

/// One thing that is done.
#[derive(Debug)]
pub enum Step {
    Submit(DiskOp),
    /// Wait until nothing is in flight.
    Settle,
    /// Whatever is in flight is never heard of again.
    Crash,
}

/// A write's content: its number, over and over.
pub fn content(number: u64, blocks: u64) -> Blob {
    Blob::from(number.to_le_bytes().repeat(blocks as usize * BLOCK_BYTES / 8))
}

/// Operations such as an engine makes: whatever touches the same blocks waits for what is in flight there.
pub fn script(seed: u64) -> Vec<Step> {
    let mut draw = Randomness::new(seed, 0).draw(Purpose::Workload, 0, &[]);
    let mut writer = Writer { steps: Vec::new(), busy: BTreeSet::new(), last: 0 };
    for file in FILES {
        writer.submit(|id| DiskOp::Allocate { id, file, bytes: BLOCKS * BLOCK_BYTES as u64 });
    }
    writer.settle();
    for _ in 0..STEPS {
        writer.step(&mut draw);
    }
    writer.settle();
    // What is left is read back.
    for file in FILES {
        writer.read(file, 0, BLOCKS);
    }
    writer.settle();
    writer.steps
}

struct Writer {
    steps: Vec<Step>,
    /// Blocks that something in flight touches.
    busy: BTreeSet<(FileId, u64)>,
    last: u64,
}

impl Writer {
    fn step(&mut self, draw: &mut Draw) {
        let file = FILES[draw.below(FILES.len() as u64) as usize];
        // Some writes are longer than what a disk hands over at once.
        let most = if draw.below(20) == 0 { BLOCKS } else { 6 };
        let from = draw.below(BLOCKS);
        let blocks = 1 + draw.below(most.min(BLOCKS - from));
        match draw.below(100) {
            0..55 => {
                self.claim(file, from, blocks);
                let offset = from * BLOCK_BYTES as u64;
                let data = content(self.last + 1, blocks);
                self.submit(|id| DiskOp::Write { id, file, offset, data });
            }
            55..70 => self.read(file, from, blocks),
            70..88 => self.submit(|id| DiskOp::Barrier { id }),
            88..92 => self.settle(),
            92 => {
                self.claim(file, 0, BLOCKS);
                self.submit(|id| DiskOp::Allocate { id, file, bytes: BLOCKS * BLOCK_BYTES as u64 });
            }
            93 => {
                self.claim(file, 0, BLOCKS);
                let data = content(self.last + 1, BLOCKS);
                self.submit(|id| DiskOp::Put { id, file, data });
            }
            94 => self.read(MISSING, 0, 1),
            95 => self.read(file, BLOCKS - 1, 2),
            _ => {
                self.steps.push(Step::Crash);
                self.busy.clear();
            }
        }
    }

    fn read(&mut self, file: FileId, from: u64, blocks: u64) {
        self.claim(file, from, blocks);
        let (offset, bytes) = (from * BLOCK_BYTES as u64, blocks as u32 * BLOCK_BYTES as u32);
        self.submit(|id| DiskOp::Read { id, file, offset, bytes });
    }

    fn claim(&mut self, file: FileId, from: u64, blocks: u64) {
        let mut claimed = (from..from + blocks).map(|block| (file, block));
        if claimed.clone().any(|block| self.busy.contains(&block)) {
            self.settle();
        }
        self.busy.extend(&mut claimed);
    }

    fn settle(&mut self) {
        self.steps.push(Step::Settle);
        self.busy.clear();
    }

    fn submit(&mut self, op: impl FnOnce(DiskOpId) -> DiskOp) {
        self.last += 1;
        self.steps.push(Step::Submit(op(DiskOpId(self.last))));
    }
}

/// The manifest makes the directory one that can be opened.
pub const FILES: [FileId; 3] = [FileId::Manifest, FileId::Segment(0), FileId::Segment(7)];
const MISSING: FileId = FileId::Snapshot(9);
/// Blocks of each file.
pub const BLOCKS: u64 = 1100;
const STEPS: usize = 300;
