//! An engine alone on a disk, and one thread that drives both: what `chronon serve` has under its node.

use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;
use chronon_core::engine::{
    DiskOp, DiskOut, Engine, EngineConfig, EngineEvent, Identity, Opened, Record, VirtualDisk,
};
use chronon_core::types::{
    ClusterId, Entry, EntryHeader, EntryKind, GroupId, GroupInit, Monotonic, NoMarks, NodeId, Op, Ordinal,
    View,
};

/// One group of one voter.
pub(super) fn identity() -> Identity {
    let (cluster, node) = (ClusterId::new(0xb), NodeId::new(1));
    let (kind, voters) = ("register".to_owned(), vec![node]);
    let groups = vec![GroupInit { cluster, group: GROUP, kind, voters, sessions_max: 1 }];
    Identity { cluster, node, groups }
}

/// An engine that is open.
pub(super) struct Driver {
    engine: Engine,
    disk: Box<dyn VirtualDisk>,
    began: Instant,
    ops: Vec<DiskOp>,
    durable: Ordinal,
    parent: EntryHeader,
    /// Entries that were appended, and those whose fate is known.
    appended: u64,
}

impl Driver {
    /// Opens what the disk holds; `wait` sleeps until the disk may have completed something.
    pub(super) fn open(
        config: EngineConfig,
        disk: Box<dyn VirtualDisk>,
        wait: &mut impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<(Self, Opened)> {
        let identity = identity();
        let mut driver = Self {
            engine: Engine::new(config),
            disk,
            began: Instant::now(),
            ops: Vec::new(),
            durable: Ordinal::default(),
            parent: identity.groups[0].genesis(),
            appended: 0,
        };
        let out = &mut DiskOut { ops: &mut driver.ops, marks: &mut NoMarks };
        driver.engine.start(identity.cluster, identity.node, out);
        driver.submit();
        loop {
            if let Some(opened) = driver.poll()? {
                return Ok((driver, opened));
            }
            wait()?;
        }
    }

    /// Appends an entry; it waits for the next flush.
    pub(super) fn append(&mut self, payload: Bytes) -> anyhow::Result<()> {
        let (view, timestamp) = (View::new(1), self.parent.timestamp().next());
        let entry = Entry::next(&self.parent, EntryKind::Commands, view, timestamp, payload);
        self.parent = *entry.header();
        self.appended += 1;
        self.engine.writer().context("the engine has halted")?.append(Record::Entry(entry));
        Ok(())
    }

    /// Sends what was appended to the disk, as far as flushes may be in flight.
    pub(super) fn flush(&mut self) {
        let now = self.now();
        self.engine.flush(now, &mut DiskOut { ops: &mut self.ops, marks: &mut NoMarks });
        self.submit();
    }

    /// Whether a flush could go to the disk at once.
    pub(super) fn is_slot_free(&self) -> bool {
        self.engine.is_flush_slot_free()
    }

    /// Takes completions.
    pub(super) fn poll(&mut self) -> anyhow::Result<Option<Opened>> {
        let (mut done, mut opened) = (Vec::new(), None);
        self.disk.poll(&mut done);
        for done in done {
            let now = self.now();
            let out = &mut DiskOut { ops: &mut self.ops, marks: &mut NoMarks };
            match self.engine.on_done(now, done, out)? {
                Some(EngineEvent::Opened(found)) => opened = Some(found),
                Some(EngineEvent::Durable(through)) => self.durable = through,
                None => {}
            }
        }
        self.let_go()?;
        self.submit();
        if self.engine.wants_flush() {
            // It waited for a segment.
            self.flush();
        }
        Ok(opened)
    }

    /// Whether all that was appended is durable.
    pub(super) fn is_durable(&mut self) -> bool {
        let durable = self.durable;
        self.engine.writer().is_some_and(|writer| writer.last() <= durable)
    }

    /// Lets the journal free its oldest segment, as a snapshot of a small state would.
    fn let_go(&mut self) -> anyhow::Result<()> {
        if self.engine.pins().is_some() && self.engine.can_save_snapshot() {
            let out = &mut DiskOut { ops: &mut self.ops, marks: &mut NoMarks };
            self.engine.save_snapshot(GROUP, Op::new(self.appended), Bytes::from_static(&[7; 4096]), out);
        }
        let saved = self.engine.saved(GROUP);
        let out = &mut DiskOut { ops: &mut self.ops, marks: &mut NoMarks };
        Ok(self.engine.set_floors([(GROUP, saved)].into_iter(), out)?)
    }

    fn submit(&mut self) {
        self.ops.drain(..).for_each(|op| self.disk.submit(op));
        self.disk.kick();
    }

    fn now(&self) -> Monotonic {
        Monotonic::from_nanos(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

const GROUP: GroupId = GroupId::new(0);
