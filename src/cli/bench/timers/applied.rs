//! Timers in one replica's state: what it costs a node to apply commands that publish, take back and put off events, and to fire
//! them; what they take of its memory; how long a snapshot of them takes to be written and to be restored.
//!
//! What is measured is [`Executor::apply`]: a command is decoded, its names are hashed, the name is remembered, the timer is set,
//! the answer is kept. Making the entries, and hashing them, is not.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use chronon_core::codec::{self, ByteWriter};
use chronon_core::events::{
    ALARMS_MAX, BATCH_MAX, Due, EventName, Events, EventsCommand, EventsQuery, EventsView, NewEvent,
    TopicConfig,
};
use chronon_core::kernel::{Batch, Command, Executed, Executor, Outcome};
use chronon_core::node::SNAPSHOT_PIECE_BYTES_MAX;
use chronon_core::types::{
    Blob, ClientId, ClusterId, Entry, EntryHeader, EntryKind, GroupId, GroupInit, NoMarks, NodeId,
    RequestNumber, SessionId, Timestamp, View,
};
use serde_json::{Value, json};

use super::drawn::{Drawn, NOW_MS, YEAR_MS};
use super::memory::Resident;

/// What was measured, with so many timers pending.
#[derive(Debug)]
pub(super) struct Applied {
    publish: Duration,
    cancel: Duration,
    reschedule: Duration,
    fire: Duration,
    changed: u64,
    pending: u64,
    /// Of the process, that filling the state took.
    resident_bytes: u64,
    snapshot_bytes: usize,
    written_in: Duration,
    restored_in: Duration,
}

/// A group's executor, and its only client.
struct Group {
    executor: Executor<Events>,
    last: EntryHeader,
    session: SessionId,
    number: u64,
    executed: Vec<Executed>,
    /// Spent in the executor.
    spent: Duration,
}

/// Publishes `timers` events, then changes and fires some of them.
pub(super) fn measure(timers: u64) -> anyhow::Result<Applied> {
    let mut drawn = Drawn::new();
    let before = Resident::now()?;
    let mut group = Group::with_topic(timers)?;
    for numbers in batches(timers) {
        let events = numbers.map(|number| event(number, drawn.due_ms())).collect();
        group.apply(&[EventsCommand::Publish { topic: TOPIC.to_owned(), events }])?;
    }
    let publish = group.taken();
    let resident_bytes = Resident::now()?.since(before);
    let (body, written_in, restored_in) = group.saved_and_restored()?;
    // Each is changed once: rescheduled ones are the odd ones.
    let changed = CHANGED_MAX.min(timers / 4);
    let mut order = drawn.scattered(timers / 2);
    for _ in batches(changed) {
        let cancel = |number: u64| EventsCommand::Cancel { topic: TOPIC.to_owned(), event: name(2 * number) };
        let commands: Vec<_> = order.by_ref().take(BATCH).map(cancel).collect();
        group.apply(&commands)?;
    }
    let cancel = group.taken();
    let mut order = drawn.scattered(timers / 2);
    for _ in batches(changed) {
        let put_off = |number: u64| {
            let (event, due) = (name(2 * number + 1), Due::At(drawn.due_ms()));
            EventsCommand::Reschedule { topic: TOPIC.to_owned(), event, due }
        };
        let commands: Vec<_> = order.by_ref().take(BATCH).map(put_off).collect();
        group.apply(&commands)?;
    }
    let reschedule = group.taken();
    let (pending, end) = (group.pending()?, Timestamp::from_nanos((NOW_MS + 2 * YEAR_MS) * NANOS_PER_MS));
    let entries = (changed / u64::from(ALARMS_MAX)).max(1);
    for turn in 0..entries {
        group.wake(Timestamp::from_nanos(end.as_nanos() + turn))?;
    }
    let fire = group.taken();
    let fired = pending - group.pending()?;
    anyhow::ensure!(
        fired == (entries * u64::from(ALARMS_MAX)).min(pending),
        "{fired} of {pending} have fired"
    );
    let each = |total: Duration, count: u64| total / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    let changes = batches(changed).map(|batch| batch.end - batch.start).sum::<u64>().max(1);
    Ok(Applied {
        publish: each(publish, timers),
        cancel: each(cancel, changes),
        reschedule: each(reschedule, changes),
        fire: each(fire, fired),
        changed: changes,
        pending: timers,
        resident_bytes,
        snapshot_bytes: body,
        written_in,
        restored_in,
    })
}

impl Applied {
    /// The lines of a table: what, how long each, in nanoseconds.
    pub(super) fn lines(&self) -> [(&'static str, u128); 4] {
        [
            ("publish", self.publish.as_nanos()),
            ("cancel", self.cancel.as_nanos()),
            ("reschedule", self.reschedule.as_nanos()),
            ("fire", self.fire.as_nanos()),
        ]
    }

    pub(super) fn bytes_each(&self) -> f64 {
        self.resident_bytes as f64 / self.pending as f64
    }

    pub(super) fn words(&self) -> String {
        format!(
            "an event that is not due, with the name by which it is known: {:.0} bytes resident; a snapshot of all: {:.1} MB, \
             written in {:.2} s, restored in {:.2} s",
            self.bytes_each(),
            self.snapshot_bytes as f64 / 1e6,
            self.written_in.as_secs_f64(),
            self.restored_in.as_secs_f64(),
        )
    }

    pub(super) fn json(&self) -> Value {
        let [publish, cancel, reschedule, fire] = self.lines().map(|(_, ns)| ns as f64);
        json!({
            "pending": self.pending,
            "changed": self.changed,
            "publish_ns": publish,
            "cancel_ns": cancel,
            "reschedule_ns": reschedule,
            "fire_ns": fire,
            "resident_bytes_each": self.bytes_each(),
            "snapshot_bytes": self.snapshot_bytes,
            "snapshot_written_s": self.written_in.as_secs_f64(),
            "snapshot_restored_s": self.restored_in.as_secs_f64(),
        })
    }
}

impl Group {
    fn with_topic(timers: u64) -> anyhow::Result<Self> {
        let init = GroupInit {
            cluster: ClusterId::new(1),
            group: GroupId::new(1),
            kind: "events".to_owned(),
            voters: vec![NodeId::new(1)],
            sessions_max: 1000,
            archive: None,
        };
        let last = init.genesis();
        let mut group = Self {
            executor: Executor::new(Events, init),
            last,
            session: SessionId::default(),
            number: 0,
            executed: Vec::new(),
            spent: Duration::ZERO,
        };
        group.apply_commands(&[Command::register(CLIENT)])?;
        if let Some(Executed { outcome: Outcome::Registered { session }, .. }) = group.executed.pop() {
            group.session = session;
        }
        let config = TopicConfig { pending_max: timers, dedup_ids_max: timers, ..TopicConfig::default() };
        group.apply(&[EventsCommand::Open { topic: TOPIC.to_owned(), config, id: 1 }])?;
        group.taken();
        Ok(group)
    }

    /// Applies an entry of these commands, each of which is to be done.
    fn apply(&mut self, commands: &[EventsCommand]) -> anyhow::Result<()> {
        let command = |command| {
            self.number += 1;
            let body = Blob(Bytes::from(codec::encode(command)));
            Command { client: CLIENT, session: self.session, number: RequestNumber::new(self.number), body }
        };
        let commands: Vec<Command> = commands.iter().map(command).collect();
        self.apply_commands(&commands)?;
        let refused = self.executed.drain(..).find(|executed| !matches!(executed.outcome, Outcome::Done(_)));
        anyhow::ensure!(refused.is_none(), "a command was not done: {refused:?}");
        Ok(())
    }

    fn apply_commands(&mut self, commands: &[Command]) -> anyhow::Result<()> {
        let mut batch = Batch::default();
        commands.iter().for_each(|command| batch.push(command));
        let time = self.last.timestamp().next().max(Timestamp::from_nanos(NOW_MS * NANOS_PER_MS));
        self.apply_entry(&Entry::next(&self.last, EntryKind::Commands, View::new(1), time, batch.finish()))
    }

    fn wake(&mut self, at: Timestamp) -> anyhow::Result<()> {
        self.apply_entry(&Entry::next(&self.last, EntryKind::Wakeup, View::new(1), at, Bytes::new()))
    }

    fn apply_entry(&mut self, entry: &Entry) -> anyhow::Result<()> {
        let began = Instant::now();
        let applied = self.executor.apply(entry, &mut self.executed, &mut NoMarks);
        self.spent += began.elapsed();
        self.last = *entry.header();
        applied.map_err(|halt| anyhow::anyhow!("the application halts: {}", halt.what))
    }

    fn taken(&mut self) -> Duration {
        std::mem::take(&mut self.spent)
    }

    fn pending(&self) -> anyhow::Result<u64> {
        match self.executor.query(EventsQuery::Partition { topic: TOPIC.to_owned() }) {
            Ok(EventsView::Partition(partition)) => Ok(partition.scheduled),
            other => anyhow::bail!("the partition is not seen: {other:?}"),
        }
    }

    /// The bytes of a snapshot, how long it took to write, and to restore.
    fn saved_and_restored(&self) -> anyhow::Result<(usize, Duration, Duration)> {
        let mut body = ByteWriter::default();
        let began = Instant::now();
        let mut writer = self.executor.snapshot(self.last);
        while writer.go_on(SNAPSHOT_PIECE_BYTES_MAX, &mut body) {}
        let written_in = began.elapsed();
        drop(writer);
        let began = Instant::now();
        let restored = Executor::restore(Events, self.executor.init().clone(), body.as_slice());
        let (restored, _) = restored.context("the bench restores its own snapshot")?;
        let restored_in = began.elapsed();
        anyhow::ensure!(restored.state() == self.executor.state(), "what was restored is another state");
        Ok((body.as_slice().len(), written_in, restored_in))
    }
}

/// The numbers from 0 up to, and without, `count`, in batches.
fn batches(count: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    (0..count).step_by(BATCH).map(move |from| from..(from + BATCH_MAX).min(count))
}

fn name(number: u64) -> EventName {
    EventName { partition_key: String::new(), message_id: format!("timer-{number}") }
}

fn event(number: u64, due_ms: i64) -> NewEvent {
    NewEvent {
        name: name(number),
        ordering_key: String::new(),
        due: Due::At(due_ms),
        expires: None,
        payload: Blob::default(),
        meta: Vec::new(),
        allow_duplicate: false,
    }
}

const CLIENT: ClientId = ClientId::new(1);
const TOPIC: &str = "bench";
/// Events, or changes of them, that go into one entry.
const BATCH: usize = BATCH_MAX as usize;
/// Events that are cancelled, that are rescheduled, and that are fired.
const CHANGED_MAX: u64 = 1_000_000;
const NANOS_PER_MS: u64 = 1_000_000;
