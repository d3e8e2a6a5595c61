//! Applies committed entries, one after the other, in op order.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::codec;
use crate::kernel::application::{ApplyContext, ChrApplication, Emitted, Event, QueryContext, Schema};
use crate::kernel::command::{Command, Outcome, commands};
use crate::kernel::halt::{EventPlace, Guard, Halt};
use crate::kernel::outbox::Outbox;
use crate::kernel::sessions::{Admission, SESSION_BYTES_MAX, SessionMap};
use crate::kernel::side_effect::{Place, Report, SideEffectId};
use crate::types::{
    Blob, ClientId, Entry, EntryKind, GroupInit, Hash, Mark, Marks, Membership, Op, RequestNumber, Timestamp,
    u64_of,
};

/// Bytes of an application's answer, at most, to a command or a question: a frame holds it, and what tells whose it is.
pub const ANSWER_BYTES_MAX: u32 = 8 << 20;

/// A group's application, its sessions, and the digest of all that was applied.
#[derive(Clone)]
pub struct Executor<A: ChrApplication> {
    pub(in crate::kernel) application: A,
    pub(in crate::kernel) init: GroupInit,
    /// Who the group consists of: part of the replicated state.
    pub(in crate::kernel) membership: Membership,
    pub(in crate::kernel) state: A::State,
    /// The behaviour in force: part of the replicated state.
    pub(in crate::kernel) schema: Schema,
    pub(in crate::kernel) sessions: SessionMap,
    pub(in crate::kernel) outbox: Outbox,
    pub(in crate::kernel) applied: Op,
    pub(in crate::kernel) digest: Hash,
    /// What the log has skipped: part of the replicated state. Each is an operator's deed, so they stay few.
    pub(in crate::kernel) skipped: BTreeSet<EventPlace>,
    /// What the log will skip, as far as this replica knows.
    pub(in crate::kernel) skips: BTreeSet<EventPlace>,
    pub(in crate::kernel) guard: Guard,
}

/// A command that was applied, and what became of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Executed {
    /// Who asked.
    pub client: ClientId,
    /// The request.
    pub number: RequestNumber,
    /// The op at which it was first applied.
    pub op: Op,
    /// What became of it.
    pub outcome: Outcome,
}

impl<A: ChrApplication> Executor<A> {
    /// An executor that has applied nothing.
    pub fn new(application: A, init: GroupInit) -> Self {
        let state = application.genesis(&init);
        let sessions = SessionMap::new(init.sessions_max, SESSION_BYTES_MAX);
        let digest = init.genesis().hash();
        let (outbox, skipped, skips) = (Outbox::default(), BTreeSet::new(), BTreeSet::new());
        let (schema, applied, guard) = (Schema::FIRST, Op::GENESIS, Guard::NONE);
        let membership = Membership::founding(&init);
        Self {
            application,
            init,
            membership,
            state,
            schema,
            sessions,
            outbox,
            applied,
            digest,
            skipped,
            skips,
            guard,
        }
    }

    /// The same, whose application's panics are caught.
    #[must_use]
    pub fn guarded(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// Applies the next entry; appends what became of its commands to `executed`.
    ///
    /// # Errors
    /// Where and why the application cannot go on. The state is of no use from then on: see [`Executor::lose_state`].
    ///
    /// # Panics
    /// When the entry is not the next, or its payload is not a batch: whoever proposed it was wrong, and a replica
    /// that went on would differ from the others.
    pub fn apply(
        &mut self,
        entry: &Entry,
        executed: &mut Vec<Executed>,
        marks: &mut impl Marks,
    ) -> Result<(), Halt> {
        let (op, timestamp) = (entry.op(), entry.header().timestamp());
        assert!(op == self.applied.next(), "entries are applied in order: {op} after {}", self.applied);
        let first = executed.len();
        match entry.header().kind() {
            EntryKind::Commands => self.apply_commands(op, timestamp, entry.payload(), executed, marks)?,
            EntryKind::Wakeup => {
                // Whatever the application answers to a wake-up, nobody waits for it; its state is what counts.
                let _answer = self.execute(Event::Wakeup, op, 0, timestamp)?;
            }
            EntryKind::SideEffects => self.apply_reports(op, timestamp, entry.payload(), marks)?,
            EntryKind::Skip => self.apply_skip(op, entry.payload())?,
            EntryKind::Activation => self.apply_activation(op, entry.payload(), marks)?,
            EntryKind::Membership => self.apply_membership(op, entry.payload()),
            EntryKind::Redrive => self.apply_redrive(op, entry.payload(), marks),
            EntryKind::Discard => self.apply_discard(op, entry.payload(), marks),
            EntryKind::Genesis => panic!("the genesis has no slot"),
        }
        self.applied = op;
        self.extend_digest(op, &executed[first..]);
        Ok(())
    }

    /// The log skips the event at `place`, which is not applied yet: it will not be, and its command is answered with
    /// [`Outcome::Skipped`].
    pub fn expect_skip(&mut self, place: EventPlace) {
        self.skips.insert(place);
    }

    /// What [`Executor::expect_skip`] was told.
    pub fn skips(&self) -> &BTreeSet<EventPlace> {
        &self.skips
    }

    /// Forgets what a panic may have left half changed, and keeps what is right still: how much was applied, and its digest.
    pub fn lose_state(&mut self) {
        self.state = self.application.genesis(&self.init);
        self.schema = Schema::FIRST;
        self.sessions = SessionMap::new(self.init.sessions_max, SESSION_BYTES_MAX);
        self.outbox = Outbox::default();
    }

    fn apply_membership(&mut self, op: Op, payload: &Bytes) {
        match codec::decode(payload) {
            Ok(membership) => self.membership = membership,
            Err(error) => panic!("group {} op {op} is no membership: {error}", self.init.group),
        }
    }

    /// An operator has an event skipped. Whoever is here has done so, or has not panicked where the others did.
    fn apply_skip(&self, op: Op, payload: &Bytes) -> Result<(), Halt> {
        let place: EventPlace = match codec::decode(payload) {
            Ok(place) => place,
            Err(error) => panic!("group {} op {op} names no event: {error}", self.init.group),
        };
        if self.skipped.contains(&place) {
            return Ok(());
        }
        let what = format!(
            "the log skips event {} of op {}, which was executed here: this node runs another build than those that could \
             not execute it, or the application is not deterministic",
            place.index, place.op
        );
        Err(Halt { place: EventPlace { op, index: 0 }, skippable: false, what })
    }

    /// From here on the application behaves as this schema says. One that is in force, or was, changes nothing.
    fn apply_activation(&mut self, op: Op, payload: &Bytes, marks: &mut impl Marks) -> Result<(), Halt> {
        let to: Schema = match codec::decode(payload) {
            Ok(to) => to,
            Err(error) => panic!("group {} op {op} names no schema: {error}", self.init.group),
        };
        let place = EventPlace { op, index: 0 };
        if self.skips.contains(&place) {
            self.skipped.insert(place);
            return Ok(());
        }
        if to > A::SCHEMA {
            let what = format!("the log activates schema {to}, and this build knows {} at most", A::SCHEMA);
            return Err(Halt { place, skippable: false, what });
        }
        if to <= self.schema {
            return Ok(());
        }
        let (application, state, from) = (&self.application, &mut self.state, self.schema);
        let ran = self.guard.run(&mut || application.migrate(state, from, to));
        let panicked = |what| format!("the application panicked on its way to schema {to}: {what}");
        ran.map_err(|what| Halt { place, skippable: true, what: panicked(what) })?;
        marks.hit(Mark::SchemaActivated);
        self.schema = to;
        Ok(())
    }

    /// What became of side effects: the application hears of those that ended.
    fn apply_reports(
        &mut self,
        op: Op,
        timestamp: Timestamp,
        payload: &Bytes,
        marks: &mut impl Marks,
    ) -> Result<(), Halt> {
        let reports: Vec<Report> = match codec::decode(payload) {
            Ok(reports) => reports,
            Err(error) => panic!("group {} op {op} is no list of outcomes: {error}", self.init.group),
        };
        for (index, report) in (0_u32..).zip(reports) {
            let id = SideEffectId::of(&self.init, report.place);
            if let Some(outcome) = self.outbox.settle((op, id), report, marks) {
                let event = Event::SideEffect { id, outcome: &outcome };
                // As with a wake-up, nobody waits for an answer.
                let _answer = self.execute(event, op, index, timestamp)?;
            }
        }
        Ok(())
    }

    /// An operator has a dead side effect tried again. One that is dead no more is left as it is.
    fn apply_redrive(&mut self, op: Op, payload: &Bytes, marks: &mut impl Marks) {
        let is_done = self.outbox.redrive(op, self.side_effect_id(op, payload));
        marks.hit(if is_done { Mark::DeadRedriven } else { Mark::DeadNoMore });
    }

    /// An operator has a dead side effect forgotten. One that is dead no more is left as it is.
    fn apply_discard(&mut self, op: Op, payload: &Bytes, marks: &mut impl Marks) {
        let is_done = self.outbox.discard(self.side_effect_id(op, payload));
        marks.hit(if is_done { Mark::DeadDiscarded } else { Mark::DeadNoMore });
    }

    fn side_effect_id(&self, op: Op, payload: &Bytes) -> SideEffectId {
        match codec::decode(payload) {
            Ok(id) => id,
            Err(error) => panic!("group {} op {op} names no side effect: {error}", self.init.group),
        }
    }

    /// The answer to a command that was executed before and is its session's last.
    pub fn answered(&self, command: &Command) -> Option<(Op, Outcome)> {
        match self.sessions.admit(command) {
            Admission::Answered(op, outcome) => Some((op, outcome)),
            Admission::Execute | Admission::Refused(_) => None,
        }
    }

    /// Asks the state as it is.
    ///
    /// # Errors
    /// What the application said when it panicked.
    pub fn query(&self, request: A::QueryRequest) -> Result<A::QueryResponse, String> {
        let (mut request, mut response) = (Some(request), None);
        let ran = self.guard.run(&mut || {
            let mut ctx = QueryContext { op: self.applied };
            response = request.take().map(|request| self.application.query(&self.state, request, &mut ctx));
        });
        ran.map(|()| match response {
            Some(response) => response,
            None => panic!("a guard runs what it is given, once"),
        })
    }

    /// Whether the state has news for who asks this.
    ///
    /// # Errors
    /// What the application said when it panicked.
    pub fn has_news(&self, request: &A::QueryRequest) -> Result<bool, String> {
        let mut has_news = false;
        let ran = self.guard.run(&mut || has_news = self.application.has_news(&self.state, request));
        ran.map(|()| has_news)
    }

    /// When the application wants to be woken, in consensus time.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.application.next_wakeup(&self.state)
    }

    /// The behaviour in force.
    pub fn schema(&self) -> Schema {
        self.schema
    }

    /// The side effects that have not ended, and those that were given up.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The group's founding facts.
    pub fn init(&self) -> &GroupInit {
        &self.init
    }

    /// Who the group consists of, as of the highest op applied.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The application.
    pub fn application(&self) -> &A {
        &self.application
    }

    /// The application's state.
    pub fn state(&self) -> &A::State {
        &self.state
    }

    /// The highest op applied.
    pub fn applied(&self) -> Op {
        self.applied
    }

    /// Chained hash of (op, outcomes) over all that was applied.
    pub fn digest(&self) -> Hash {
        self.digest
    }

    fn apply_commands(
        &mut self,
        op: Op,
        timestamp: Timestamp,
        payload: &Bytes,
        executed: &mut Vec<Executed>,
        marks: &mut impl Marks,
    ) -> Result<(), Halt> {
        let commands = match commands(payload) {
            Ok(commands) => commands,
            Err(error) => panic!("group {} op {op} is not a batch of commands: {error}", self.init.group),
        };
        for (index, command) in (0_u32..).zip(commands) {
            let (op, outcome) = match self.sessions.admit(&command) {
                Admission::Answered(first, outcome) => {
                    let registers = command.number == RequestNumber::default();
                    marks.hit(if registers { Mark::RegisteredAgain } else { Mark::RetryCommitted });
                    (first, outcome)
                }
                Admission::Refused(outcome) => {
                    let evicted = outcome == Outcome::Evicted;
                    marks.hit(if evicted { Mark::EvictedRefused } else { Mark::OutOfOrderRefused });
                    (op, outcome)
                }
                Admission::Execute if command.number == RequestNumber::default() => {
                    if self.sessions.is_full() {
                        marks.hit(Mark::SessionEvicted);
                    }
                    (op, self.sessions.register(command.client, op, index))
                }
                Admission::Execute => {
                    let outcome =
                        self.execute(Event::Command(command.body.as_slice()), op, index, timestamp)?;
                    if matches!(outcome, Outcome::Refused(_)) {
                        marks.hit(Mark::CommandRefused);
                    }
                    self.sessions.record(&command, op, index, outcome.clone());
                    (op, outcome)
                }
            };
            executed.push(Executed { client: command.client, number: command.number, op, outcome });
        }
        Ok(())
    }

    fn execute(
        &mut self,
        event: Event<'_>,
        op: Op,
        index: u32,
        timestamp: Timestamp,
    ) -> Result<Outcome, Halt> {
        let place = EventPlace { op, index };
        if self.skips.contains(&place) {
            self.skipped.insert(place);
            return Ok(Outcome::Skipped);
        }
        let halt = |what| Halt { place, skippable: true, what };
        let first = self.outbox.emitted_at(op);
        let (group, emitted) = (&self.init, Emitted { first, side_effects: Vec::new() });
        let mut ctx = ApplyContext { group, op, index, timestamp, schema: self.schema, emitted };
        let (application, state, mut answer) = (&self.application, &mut self.state, None);
        let ran = self.guard.run(&mut || answer = Some(application.apply(state, event, &mut ctx)));
        ran.map_err(|what| halt(format!("the application panicked: {what}")))?;
        let emitted = ctx.emitted.side_effects;
        match answer {
            Some(Ok(answer)) => {
                let answer = bounded(Blob(answer)).map_err(halt)?;
                for (index, side_effect) in (first..).zip(emitted) {
                    self.outbox.put(Place { op, index }, side_effect);
                }
                Ok(Outcome::Done(answer))
            }
            // The state is as it was, and so is the outbox.
            Some(Err(error)) => {
                Ok(Outcome::Refused(bounded(Blob::from(codec::encode(&error))).map_err(halt)?))
            }
            None => panic!("a guard runs what it is given"),
        }
    }

    fn extend_digest(&mut self, op: Op, executed: &[Executed]) {
        let mut writer = codec::ByteWriter::with_capacity(64 + executed.len() * 64);
        writer.put(self.digest.as_bytes()).u64(op.get());
        for Executed { client, number, op, outcome } in executed {
            writer.u128(client.get()).u64(number.get()).u64(op.get());
            match outcome {
                Outcome::Registered { session } => writer.u8(0).u64(session.get()),
                Outcome::Done(body) => writer.u8(1).put(body.as_slice()),
                Outcome::Refused(body) => writer.u8(2).put(body.as_slice()),
                Outcome::Evicted => writer.u8(3),
                Outcome::OutOfOrder { expected } => writer.u8(4).u64(expected.get()),
                Outcome::Skipped => writer.u8(6),
            };
        }
        for place in self.outbox.above(op.previous().unwrap_or_default()) {
            let side_effect = self.outbox.get(place).map(|intent| codec::encode(&intent.side_effect));
            writer.u8(5).put(&side_effect.unwrap_or_default());
        }
        let dead = self.outbox.dead();
        if !dead.is_empty() || dead.dropped() > 0 {
            writer.u8(7).u64(u64_of(dead.len())).u64(dead.bytes()).u64(dead.dropped());
        }
        self.digest = Hash::of(writer.as_slice());
    }
}

/// An answer that a frame can hold.
fn bounded(answer: Blob) -> Result<Blob, String> {
    let bytes = answer.as_slice().len();
    if u64_of(bytes) > u64::from(ANSWER_BYTES_MAX) {
        return Err(format!("the application answers with {bytes} bytes; {ANSWER_BYTES_MAX} are allowed"));
    }
    Ok(answer)
}
