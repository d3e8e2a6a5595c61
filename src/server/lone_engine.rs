//! An engine alone on a disk, and one thread that drives both: what `chronon serve` has under its node, for measuring it
//! and for tests.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use bytes::Bytes;
use chronon_core::engine::{
    DiskOp, DiskOut, Engine, EngineConfig, EngineError, EngineEvent, Identity, Opened, Record, Sealed,
    SnapshotBody, VirtualDisk, archived_bytes,
};
use chronon_core::types::{
    Archiving, ClusterId, Entry, EntryHeader, EntryKind, GroupId, GroupInit, Monotonic, NoMarks, NodeId, Op,
    Ordinal, View,
};

/// One group of one voter, whose log it writes, and archives if asked to.
pub fn identity(archive: Option<Archiving>) -> Identity {
    let (cluster, node) = (ClusterId::new(0xb), NodeId::new(1));
    let (kind, voters) = ("register".to_owned(), vec![node]);
    let groups = vec![GroupInit { cluster, group: GROUP, kind, voters, sessions_max: 1, archive }];
    Identity { cluster, node, groups }
}

/// Why it cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LoneEngineError {
    /// The engine's own word.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It stopped before.
    #[error("the engine has halted")]
    Halted,
    /// The wait for the disk failed.
    #[error("cannot wait for the disk: {0}")]
    Wait(#[from] io::Error),
}

/// An engine that is open. It lets go of its oldest entries as soon as it may, as if snapshots were small.
pub struct LoneEngine {
    engine: Engine,
    disk: Box<dyn VirtualDisk>,
    began: Instant,
    ops: Vec<DiskOp>,
    /// The ordinal before that of the first entry.
    base: Ordinal,
    parent: EntryHeader,
    appended: u64,
    archive: Option<Archiving>,
    /// What is not archived yet, and how much that is.
    unarchived: VecDeque<Sealed>,
    unarchived_bytes: u64,
}

impl LoneEngine {
    /// Opens what the disk holds; entries are appended only where there are none yet. `wait` sleeps until the disk may have
    /// completed something.
    ///
    /// # Errors
    /// [`LoneEngineError`], also as the disk's fault.
    pub fn open(
        config: EngineConfig,
        disk: Box<dyn VirtualDisk>,
        wait: &mut impl FnMut() -> io::Result<()>,
    ) -> Result<(Self, Opened), LoneEngineError> {
        let identity = identity(None);
        let mut lone = Self {
            engine: Engine::new(config),
            disk,
            began: Instant::now(),
            ops: Vec::new(),
            base: Ordinal::default(),
            parent: identity.groups[0].genesis(),
            appended: 0,
            archive: None,
            unarchived: VecDeque::new(),
            unarchived_bytes: 0,
        };
        let out = &mut DiskOut { ops: &mut lone.ops, marks: &mut NoMarks };
        // It has no peers that would have to tell its starts apart.
        let nonce = 0;
        lone.engine.start(identity.cluster, identity.node, nonce, out);
        lone.submit();
        loop {
            if let Some(opened) = lone.poll()? {
                lone.archive = opened.identity.groups[0].archive;
                lone.base = lone.engine.writer().ok_or(LoneEngineError::Halted)?.last();
                return Ok((lone, opened));
            }
            wait()?;
        }
    }

    /// Appends an entry, which waits for the next flush; its header.
    ///
    /// # Errors
    /// [`LoneEngineError::Halted`].
    pub fn append(&mut self, payload: Bytes) -> Result<EntryHeader, LoneEngineError> {
        let (view, timestamp) = (View::new(1), self.parent.timestamp().next());
        let entry = Entry::next(&self.parent, EntryKind::Commands, view, timestamp, payload);
        self.parent = *entry.header();
        self.appended += 1;
        if self.archive.is_some() {
            self.unarchived.push_back((self.parent, Some(entry.payload().clone())));
            self.unarchived_bytes += archived_bytes(&self.parent);
        }
        self.engine.writer().ok_or(LoneEngineError::Halted)?.append(Record::Entry(entry));
        Ok(self.parent)
    }

    /// Sends what was appended to the disk, as far as flushes may be in flight.
    pub fn flush(&mut self) {
        let now = self.now();
        self.engine.flush(now, &mut DiskOut { ops: &mut self.ops, marks: &mut NoMarks });
        self.submit();
    }

    /// Whether a flush could go to the disk at once.
    pub fn is_slot_free(&self) -> bool {
        self.engine.is_flush_slot_free()
    }

    /// Whether the archive is so far behind that nothing is to be appended before it has caught up.
    pub fn lags(&self) -> bool {
        self.archive
            .is_some_and(|archive| self.unarchived_bytes > LAG_CHUNKS_MAX * u64::from(archive.chunk_bytes))
    }

    /// Takes completions.
    ///
    /// # Errors
    /// [`LoneEngineError::Engine`] when the disk failed.
    pub fn poll(&mut self) -> Result<Option<Opened>, LoneEngineError> {
        let (mut done, mut opened) = (Vec::new(), None);
        self.disk.poll(&mut done);
        for done in done {
            let now = self.now();
            let out = &mut DiskOut { ops: &mut self.ops, marks: &mut NoMarks };
            match self.engine.on_done(now, done, out)? {
                Some(EngineEvent::Opened(found)) => opened = Some(found),
                // Nobody lets it scrub, and it has no peers.
                Some(
                    EngineEvent::Durable(_)
                    | EngineEvent::Rotten { .. }
                    | EngineEvent::ChunkRead { .. }
                    | EngineEvent::PieceRead { .. }
                    | EngineEvent::Found { .. }
                    | EngineEvent::Received { .. },
                )
                | None => {}
            }
            self.hand_over();
        }
        self.seal();
        self.let_go()?;
        self.submit();
        if self.engine.wants_flush() {
            // It waited for a segment.
            self.flush();
        }
        Ok(opened)
    }

    /// Entries up to this op are durable.
    pub fn durable(&mut self) -> Op {
        let through = self.engine.writer().map_or(self.base, |writer| writer.durable());
        Op::new(through.get().saturating_sub(self.base.get()))
    }

    /// Whether all that was appended is durable.
    pub fn is_durable(&mut self) -> bool {
        self.durable().get() == self.appended
    }

    /// Lets the journal free its oldest segment, as a snapshot of a small state would.
    fn let_go(&mut self) -> Result<(), LoneEngineError> {
        if self.engine.pins().is_some() && self.engine.can_save_snapshot() {
            let durable = self.durable();
            let out = &mut DiskOut { ops: &mut self.ops, marks: &mut NoMarks };
            let mut body = SnapshotBody::new(EngineConfig::default().snapshot_chunk_bytes);
            body.put(&[7; 4096]);
            self.engine.save_snapshot(GROUP, durable, body, out);
        }
        let released = self.engine.released(GROUP);
        let out = &mut DiskOut { ops: &mut self.ops, marks: &mut NoMarks };
        Ok(self.engine.set_floors([(GROUP, released)].into_iter(), out)?)
    }

    /// Archives what is durable, a chunk at a time.
    fn seal(&mut self) {
        let Some(Archiving { chunk_bytes, .. }) = self.archive else { return };
        let out = &mut DiskOut { ops: &mut self.ops, marks: &mut NoMarks };
        if self.unarchived_bytes < u64::from(chunk_bytes) || !self.engine.archive_ready(GROUP, out) {
            return;
        }
        let mut bytes = 0;
        let is_short = |entry: &&Sealed| {
            let goes_on = bytes < u64::from(chunk_bytes);
            bytes += archived_bytes(&entry.0);
            goes_on
        };
        let entries = self.unarchived.iter().take_while(is_short).count();
        let durable = self.durable();
        if self.unarchived.get(entries - 1).is_none_or(|(header, _)| header.op() > durable) {
            return;
        }
        let chunk: Vec<Sealed> = self.unarchived.drain(..entries).collect();
        self.unarchived_bytes -= chunk.iter().map(|(header, _)| archived_bytes(header)).sum::<u64>();
        let out = &mut DiskOut { ops: &mut self.ops, marks: &mut NoMarks };
        self.engine.seal_chunk(GROUP, &chunk, out);
    }

    fn submit(&mut self) {
        self.hand_over();
        self.disk.kick();
    }

    fn hand_over(&mut self) {
        self.ops.drain(..).for_each(|op| self.disk.submit(op));
    }

    fn now(&self) -> Monotonic {
        Monotonic::from_nanos(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Chunks that the archive may be behind.
const LAG_CHUNKS_MAX: u64 = 16;
/// The group whose log is written.
pub const GROUP: GroupId = GroupId::new(0);
