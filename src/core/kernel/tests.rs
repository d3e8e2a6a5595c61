//! What the kernel promises an application, without a cluster around it.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{
    ApplyContext, Attempt, AttemptDone, AttemptResult, Batch, ChrApplication, Chunk, Command, Cursor, Event,
    EventPlace, Executed, Executor, FencingToken, Guard, Halt, Outcome, Pace, Place, QueryContext, Report,
    Retry, Schema, SideEffect, SideEffectId, SideEffectManager, SideEffectOutcome,
};
use crate::codec::{self, ByteWriter};
use crate::types::{
    Blob, ClientId, ClusterId, Entry, EntryHeader, EntryKind, GroupId, GroupInit, Monotonic, Nanos, NoMarks,
    NodeId, Op, RequestNumber, SessionId, Timestamp, View,
};

/// Emits as many side effects as a command says, and then refuses it if it says so; writes down what became of them.
#[derive(Clone)]
struct Emitter;

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Ends(Vec<(SideEffectId, SideEffectOutcome)>);

impl ChrApplication for Emitter {
    const SCHEMA: Schema = Schema(1);
    type State = Ends;
    type QueryRequest = u8;
    type QueryResponse = u8;
    type Error = u8;

    fn genesis(&self, _group: &GroupInit) -> Ends {
        Ends::default()
    }

    fn apply(&self, state: &mut Ends, event: Event<'_>, ctx: &mut ApplyContext<'_>) -> Result<Bytes, u8> {
        match event {
            Event::Command(&[count, refuses]) => {
                let ids = (0..count).map(|_| ctx.emit(side_effect())).collect::<Vec<_>>();
                if refuses > 0 { Err(refuses) } else { Ok(Bytes::from(codec::encode(&ids))) }
            }
            Event::SideEffect { id, outcome } => {
                state.0.push((id, outcome.clone()));
                Ok(Bytes::new())
            }
            Event::Command(_) | Event::Wakeup => Err(0),
        }
    }

    fn query(&self, _state: &Ends, request: u8, _ctx: &mut QueryContext) -> u8 {
        request
    }

    fn snapshot(&self, _state: &Ends, _from: Cursor, _out: &mut Chunk) -> Option<Cursor> {
        None
    }

    fn restore(&self, _state: &mut Ends, _from: Schema, _chunk: &[u8]) -> Result<(), u8> {
        Ok(())
    }
}

fn side_effect() -> SideEffect {
    let retry = Retry { attempts_max: 3, first: Nanos::from_secs(1), most: Nanos::from_secs(60) };
    SideEffect::new("there".to_string(), Blob::from(b"do it".to_vec()), retry).expect("a short one")
}

fn init() -> GroupInit {
    GroupInit {
        cluster: ClusterId::new(7),
        group: GroupId::new(3),
        kind: "emitter".to_string(),
        voters: vec![NodeId::new(1)],
        sessions_max: 4,
        archive: None,
    }
}

/// A log, and an executor that has applied all of it.
struct Applied {
    executor: Executor<Emitter>,
    last: EntryHeader,
}

impl Applied {
    fn new() -> Self {
        let mut applied = Self { executor: Executor::new(Emitter, init()), last: init().genesis() };
        applied.commands(&[Command::register(ClientId::new(1))]);
        applied
    }

    fn entry(&mut self, kind: EntryKind, payload: Bytes) -> Vec<Executed> {
        let timestamp = Timestamp::from_nanos(self.last.timestamp().as_nanos() + 1);
        let entry = Entry::next(&self.last, kind, View::new(1), timestamp, payload);
        self.last = *entry.header();
        let mut executed = Vec::new();
        self.executor.apply(&entry, &mut executed, &mut NoMarks).expect("it executes all");
        executed
    }

    /// Why the next entry cannot be applied.
    fn halt_at(&mut self, kind: EntryKind, payload: Vec<u8>) -> Halt {
        let time = self.last.timestamp().next();
        let entry = Entry::next(&self.last, kind, View::new(1), time, Bytes::from(payload));
        self.executor.apply(&entry, &mut Vec::new(), &mut NoMarks).expect_err("it cannot be applied")
    }

    fn commands(&mut self, commands: &[Command]) -> Vec<Executed> {
        let mut batch = Batch::default();
        commands.iter().for_each(|command| batch.push(command));
        self.entry(EntryKind::Commands, batch.finish())
    }

    fn emit(&mut self, number: u64, what: &[[u8; 2]]) -> Vec<Outcome> {
        let command = |(number, body): (u64, &[u8; 2])| Command {
            client: ClientId::new(1),
            session: SessionId::new(1),
            number: RequestNumber::new(number),
            body: Blob::from(body.to_vec()),
        };
        let commands: Vec<Command> = (number..).zip(what).map(command).collect();
        self.commands(&commands).into_iter().map(|executed| executed.outcome).collect()
    }

    fn report(&mut self, place: Place, attempt: u32, result: AttemptResult) {
        let payload = codec::encode(&vec![Report { place, attempt, result }]);
        self.entry(EntryKind::SideEffects, Bytes::from(payload));
    }

    fn order(&mut self, kind: EntryKind, id: SideEffectId) {
        self.entry(kind, Bytes::from(codec::encode(&id)));
    }

    fn dead(&self) -> usize {
        self.executor.outbox().dead().len()
    }

    fn pending(&self) -> Vec<Place> {
        self.executor.outbox().above(Op::GENESIS).collect()
    }
}

fn place(op: u64, index: u32) -> Place {
    Place { op: Op::new(op), index }
}

fn failed(rest_ms: u64) -> AttemptResult {
    AttemptResult::Failed { why: Blob::default(), rest: Nanos::from_millis(rest_ms) }
}

#[test]
fn side_effects_are_numbered_by_entry_and_those_of_a_refused_command_are_none() {
    let mut applied = Applied::new();
    let outcomes = applied.emit(1, &[[2, 0], [1, 9], [1, 0]]);
    assert_eq!(applied.pending(), [place(2, 0), place(2, 1), place(2, 2)]);
    let ids = |places: &[Place]| places.iter().map(|at| SideEffectId::of(&init(), *at)).collect::<Vec<_>>();
    assert_eq!(
        outcomes,
        [
            Outcome::Done(Blob::from(codec::encode(&ids(&[place(2, 0), place(2, 1)])))),
            Outcome::Refused(Blob::from(vec![9])),
            Outcome::Done(Blob::from(codec::encode(&ids(&[place(2, 2)])))),
        ]
    );
}

#[test]
fn the_application_hears_of_the_end_and_only_of_the_end() {
    let mut applied = Applied::new();
    applied.emit(1, &[[3, 0]]);
    applied.report(place(2, 0), 1, AttemptResult::Done(Blob::from(b"done".to_vec())));
    applied.report(place(2, 1), 1, AttemptResult::Refused(Blob::from(b"never".to_vec())));
    for attempt in 1..=3 {
        assert_eq!(applied.pending(), [place(2, 2)]);
        applied.report(place(2, 2), attempt, failed(0));
    }
    assert_eq!(applied.pending(), []);
    let id = |index| SideEffectId::of(&init(), place(2, index));
    let given_up =
        |attempts, why: &[u8]| SideEffectOutcome::GivenUp { attempts, why: Blob::from(why.to_vec()) };
    assert_eq!(
        applied.executor.state().0,
        [
            (id(0), SideEffectOutcome::Done(Blob::from(b"done".to_vec()))),
            (id(1), given_up(1, b"never")),
            (id(2), given_up(3, b"")),
        ]
    );
}

#[test]
fn what_was_given_up_is_tried_again_as_often_under_the_same_key_once_an_operator_says_so() {
    let mut applied = Applied::new();
    applied.emit(1, &[[1, 0]]);
    applied.report(place(2, 0), 1, AttemptResult::Refused(Blob::from(b"never".to_vec())));
    let id = SideEffectId::of(&init(), place(2, 0));
    assert_eq!(applied.executor.outbox().dead().get(id).map(|dead| dead.attempts), Some(1));
    applied.order(EntryKind::Redrive, id);
    assert_eq!((applied.pending(), applied.dead()), (vec![place(2, 0)], 0));
    applied.order(EntryKind::Redrive, id);
    applied.order(EntryKind::Discard, id);
    assert_eq!(applied.pending(), [place(2, 0)], "what is not dead is nothing to redrive or discard");
    for attempt in 2..=4 {
        assert_eq!(applied.pending(), [place(2, 0)]);
        applied.report(place(2, 0), attempt, failed(0));
    }
    assert_eq!((applied.pending(), applied.dead()), (vec![], 1), "three times, as often as at first");
    applied.order(EntryKind::Redrive, id);
    applied.report(place(2, 0), 5, AttemptResult::Done(Blob::from(b"done".to_vec())));
    let given_up =
        |attempts, why: &[u8]| (id, SideEffectOutcome::GivenUp { attempts, why: why.to_vec().into() });
    let done = (id, SideEffectOutcome::Done(Blob::from(b"done".to_vec())));
    assert_eq!(applied.executor.state().0, [given_up(1, b"never"), given_up(4, b""), done]);
    assert_eq!((applied.pending(), applied.dead()), (vec![], 0));
}

#[test]
fn what_is_discarded_is_never_tried_again() {
    let mut applied = Applied::new();
    applied.emit(1, &[[1, 0]]);
    applied.report(place(2, 0), 1, AttemptResult::Refused(Blob::default()));
    let id = SideEffectId::of(&init(), place(2, 0));
    applied.order(EntryKind::Discard, id);
    applied.order(EntryKind::Redrive, id);
    assert_eq!((applied.pending(), applied.dead()), (vec![], 0));
}

#[test]
fn a_redriven_side_effect_rests_as_after_its_first_failure() {
    let mut applied = Applied::new();
    applied.emit(1, &[[1, 0]]);
    (1..=3).for_each(|attempt| applied.report(place(2, 0), attempt, failed(0)));
    applied.order(EntryKind::Redrive, SideEffectId::of(&init(), place(2, 0)));
    applied.report(place(2, 0), 4, failed(0));
    let intent = applied.executor.outbox().get(place(2, 0));
    assert_eq!(intent.map(|intent| (intent.failures, intent.rest)), Some((4, Nanos::from_secs(1))));
}

#[test]
#[should_panic(expected = "attempt 2 is said to have ended")]
fn an_end_that_nobody_waits_for_stops_the_group() {
    let mut applied = Applied::new();
    applied.emit(1, &[[1, 0]]);
    applied.report(place(2, 0), 2, failed(0));
}

#[test]
fn a_snapshot_holds_what_has_not_ended_and_how_often_it_failed() {
    let mut applied = Applied::new();
    applied.emit(1, &[[2, 0]]);
    applied.report(place(2, 1), 1, failed(5));
    applied.emit(2, &[[3, 0]]);
    let id = |index| SideEffectId::of(&init(), place(4, index));
    (0..=2).for_each(|index| applied.report(place(4, index), 1, AttemptResult::Refused(Blob::default())));
    applied.order(EntryKind::Redrive, id(1));
    let before = applied.executor.clone();
    let last = applied.last;
    let mut writer = applied.executor.snapshot(last);
    let mut snapshot = ByteWriter::default();
    // What is applied while it is written is not in it.
    applied.emit(3, &[[1, 0]]);
    applied.report(place(2, 1), 2, failed(5));
    applied.order(EntryKind::Redrive, id(0));
    while writer.go_on(1, &mut snapshot) {}
    let (restored, at) = Executor::restore(Emitter, init(), snapshot.as_slice()).expect("its own snapshot");
    assert_eq!((at, restored.digest()), (last, before.digest()));
    let pending = |executor: &Executor<Emitter>| {
        let outbox = executor.outbox();
        outbox.above(Op::GENESIS).map(|at| (at, outbox.get(at).cloned())).collect::<Vec<_>>()
    };
    assert_eq!(pending(&restored), pending(&before));
    assert_eq!(restored.outbox().get(place(2, 1)).map(|intent| intent.failures), Some(1));
    let dead = |executor: &Executor<Emitter>| {
        let all = executor.outbox().dead();
        ([0, 1, 2].map(|index| all.get(id(index)).cloned()), all.bytes(), all.dropped())
    };
    assert_eq!(dead(&restored), dead(&before));
    assert_eq!((restored.outbox().dead().len(), restored.outbox().is_redriven(id(1))), (2, true));
}

#[test]
fn what_is_emitted_is_part_of_the_digest() {
    let digest = |count| {
        let mut applied = Applied::new();
        applied.emit(1, &[[count, 0]]);
        applied.executor.digest()
    };
    assert_ne!(digest(1), digest(2));
}

const PACE: Pace = Pace { in_flight_max: 2, attempt: Nanos::from_secs(10), entry_bytes_max: 1 << 20 };

/// A primary, at work.
struct Acting {
    applied: Applied,
    manager: SideEffectManager,
}

impl Acting {
    fn attend(&mut self, second: u64, token: Option<u64>) -> Vec<Attempt> {
        let now = Monotonic::from_nanos(second * 1_000_000_000);
        let mut attempts = Vec::new();
        let of = (self.applied.executor.init(), self.applied.executor.outbox());
        self.manager.attend((now, PACE), token.map(FencingToken), of, &mut attempts, &mut NoMarks);
        attempts
    }

    fn ended(&mut self, attempt: &Attempt, result: AttemptResult) {
        let Attempt { place, number, token, .. } = *attempt;
        self.manager.ended(AttemptDone { place, number, token, result }, PACE, &mut NoMarks);
    }

    /// What it has to report is committed and applied.
    fn commit_reports(&mut self) {
        assert!(self.manager.wants_to_report());
        let payload = self.manager.report(PACE);
        self.applied.entry(EntryKind::SideEffects, payload);
        assert!(!self.manager.wants_to_report());
    }
}

#[test]
fn a_primary_tries_each_side_effect_once_at_a_time_and_few_at_once() {
    let mut acting = Acting { applied: Applied::new(), manager: SideEffectManager::default() };
    acting.applied.emit(1, &[[3, 0]]);
    assert_eq!(acting.attend(0, None), []);
    let begun = acting.attend(0, Some(4));
    assert_eq!(begun.iter().map(|attempt| attempt.place).collect::<Vec<_>>(), [place(2, 0), place(2, 1)]);
    assert!(begun.iter().all(|attempt| attempt.token == FencingToken(4) && attempt.number == 1));
    assert_eq!(begun[0].id, SideEffectId::of(&init(), place(2, 0)));
    assert_eq!(acting.attend(1, Some(4)), []);
    acting.ended(&begun[0], AttemptResult::Done(Blob::default()));
    assert_eq!(acting.attend(2, Some(4)), [], "its end is not committed yet");
    acting.commit_reports();
    assert_eq!(acting.attend(2, Some(4))[0].place, place(2, 2));
}

#[test]
fn who_says_nothing_in_time_has_failed_and_who_failed_rests_longer_each_time() {
    let mut acting = Acting { applied: Applied::new(), manager: SideEffectManager::default() };
    acting.applied.emit(1, &[[1, 0]]);
    let first = acting.attend(0, Some(1));
    assert_eq!(acting.manager.deadline(PACE), Some(Monotonic::from_nanos(10_000_000_000)));
    assert_eq!(acting.attend(10, Some(1)), []);
    acting.ended(&first[0], AttemptResult::Done(Blob::default()));
    acting.commit_reports();
    assert_eq!(acting.applied.pending(), [place(2, 0)], "what came too late does not count");
    assert_eq!(acting.attend(10, Some(1)), [], "it rests for a second");
    let second = acting.attend(11, Some(1));
    assert_eq!(second[0].number, 2);
    acting.ended(&second[0], failed(0));
    acting.commit_reports();
    assert_eq!(acting.attend(12, Some(1)), []);
    assert_eq!(acting.manager.deadline(PACE), Some(Monotonic::from_nanos(14_000_000_000)));
    assert_eq!(acting.attend(14, Some(1))[0].number, 3);
}

#[test]
fn what_is_redriven_is_begun_once_and_the_late_end_of_an_earlier_attempt_ends_no_later_one() {
    let mut acting = Acting { applied: Applied::new(), manager: SideEffectManager::default() };
    acting.applied.emit(1, &[[1, 0]]);
    let first = acting.attend(0, Some(1)).pop().expect("it is begun");
    acting.ended(&first, AttemptResult::Refused(Blob::default()));
    // The primary looks at its outbox after both were applied, and not in between.
    acting.commit_reports();
    acting.applied.order(EntryKind::Redrive, first.id);
    let again = acting.attend(1, Some(1));
    assert_eq!(again.iter().map(|attempt| (attempt.id, attempt.number)).collect::<Vec<_>>(), [(first.id, 2)]);
    assert_eq!(acting.attend(1, Some(1)), [], "it is under way");
    acting.ended(&first, AttemptResult::Refused(Blob::default()));
    assert!(!acting.manager.wants_to_report());
    acting.ended(&again[0], AttemptResult::Refused(Blob::default()));
    acting.commit_reports();
    assert_eq!(acting.attend(2, Some(1)), []);
    acting.applied.order(EntryKind::Redrive, first.id);
    assert_eq!(acting.attend(3, Some(1)).len(), 1, "also when it looks in between");
    let begun = acting.attend(3, Some(2));
    assert_eq!(
        begun.iter().map(|attempt| attempt.number).collect::<Vec<_>>(),
        [3],
        "and so does the next primary"
    );
}

#[test]
fn an_entry_of_outcomes_is_no_longer_than_it_may_be_and_holds_one_at_least() {
    let mut acting = Acting { applied: Applied::new(), manager: SideEffectManager::default() };
    acting.applied.emit(1, &[[2, 0]]);
    let begun = acting.attend(0, Some(1));
    begun.iter().for_each(|attempt| acting.ended(attempt, failed(0)));
    let whole = acting.manager.clone().report(PACE).len();
    let entry_bytes_max = u32::try_from(whole).expect("two short reports");
    let pace = Pace { entry_bytes_max, ..PACE };
    assert_eq!(acting.manager.clone().report(pace).len(), whole);
    let first = acting.manager.report(Pace { entry_bytes_max: entry_bytes_max - 1, ..PACE });
    assert_eq!(codec::decode::<Vec<Report>>(&first).map(|reports| reports.len()), Ok(1));
    assert_eq!(
        codec::decode::<Vec<Report>>(&acting.manager.report(Pace { entry_bytes_max: 1, ..PACE }))
            .map(|reports| reports.len()),
        Ok(1)
    );
    assert!(!acting.manager.wants_to_report());
}

#[test]
fn an_answer_is_cut_so_that_its_report_fits_an_entry() {
    for (entry_bytes_max, most) in [(200, 200), (1 << 20, 4096 + 64)] {
        let mut acting = Acting { applied: Applied::new(), manager: SideEffectManager::default() };
        acting.applied.emit(1, &[[1, 0]]);
        let Attempt { place, number, token, .. } = acting.attend(0, Some(1))[0];
        let result = AttemptResult::Done(Blob::from(vec![7; 10_000]));
        let pace = Pace { entry_bytes_max, ..PACE };
        acting.manager.ended(AttemptDone { place, number, token, result }, pace, &mut NoMarks);
        let bytes = acting.manager.report(pace).len();
        assert!((most - 64..=most).contains(&bytes), "{bytes} bytes of {most}");
    }
}

#[test]
fn a_later_primary_tries_again_under_its_own_token_and_the_same_key() {
    let mut acting = Acting { applied: Applied::new(), manager: SideEffectManager::default() };
    acting.applied.emit(1, &[[1, 0]]);
    let first = acting.attend(0, Some(1));
    assert_eq!(acting.attend(0, None), []);
    acting.ended(&first[0], AttemptResult::Done(Blob::default()));
    assert!(!acting.manager.wants_to_report(), "it has no authority any more");
    let again = acting.attend(0, Some(3));
    assert_eq!((again[0].id, again[0].number, again[0].token), (first[0].id, 1, FencingToken(3)));
    acting.ended(&first[0], AttemptResult::Done(Blob::default()));
    assert!(!acting.manager.wants_to_report(), "this was an attempt under another token");
}

#[test]
fn what_is_no_side_effect_is_told() {
    let retry = Retry { attempts_max: 0, ..Retry::default() };
    let told =
        SideEffect::new("there".to_string(), Blob::default(), retry).map_err(|error| error.to_string());
    assert_eq!(told, Err("a side effect that is to be tried 0 times; 1 to 100000 are allowed".to_string()));
    let long = Blob::from(vec![0; 256 << 10]);
    let told = SideEffect::new("x".to_string(), long, Retry::default()).map_err(|error| error.to_string());
    assert_eq!(told, Err("a side effect of 262145 bytes, target and body; 262144 are allowed".to_string()));
}

/// As if the application panicked over everything.
const CURSED: Guard = Guard::new(|_| Err("cursed".to_string()));

fn event(op: u64, index: u32) -> EventPlace {
    EventPlace { op: Op::new(op), index }
}

fn emits(count: u8) -> Command {
    let (client, session, number) = (ClientId::new(1), SessionId::new(1), RequestNumber::new(1));
    Command { client, session, number, body: Blob::from(vec![count, 0]) }
}

/// What the next entry is, with one command.
fn entry_of(applied: &Applied, command: &Command) -> Entry {
    let mut batch = Batch::default();
    batch.push(command);
    let time = applied.last.timestamp().next();
    Entry::next(&applied.last, EntryKind::Commands, View::new(1), time, batch.finish())
}

#[test]
fn a_panic_is_told_with_its_place_and_applies_nothing() {
    let applied = Applied::new();
    let mut executor = applied.executor.clone().guarded(CURSED);
    let before = (executor.applied(), executor.digest());
    let halt = executor.apply(&entry_of(&applied, &emits(2)), &mut Vec::new(), &mut NoMarks);
    let what = "the application panicked: cursed".to_string();
    assert_eq!(halt, Err(Halt { place: event(2, 0), skippable: true, what }));
    assert_eq!((executor.applied(), executor.digest()), before);
}

#[test]
fn a_query_that_panics_is_told_what_panicked() {
    let applied = Applied::new();
    assert_eq!(applied.executor.query(7), Ok(7));
    let executor = applied.executor.clone().guarded(CURSED);
    assert_eq!(executor.query(7), Err("cursed".to_string()));
}

#[test]
fn what_the_log_skips_is_not_executed_and_its_retry_is_told_the_same() {
    let mut applied = Applied::new();
    applied.executor.expect_skip(event(2, 0));
    let skipped = applied.commands(&[emits(2)]);
    assert_eq!(skipped[0].outcome, Outcome::Skipped);
    assert!(applied.pending().is_empty(), "nothing was emitted");
    let again = applied.commands(&[emits(2)]);
    assert_eq!((again[0].op, &again[0].outcome), (Op::new(2), &Outcome::Skipped));
    // The skip itself, and once more, as an operator may ask twice.
    applied.entry(EntryKind::Skip, Bytes::from(codec::encode(&event(2, 0))));
    applied.entry(EntryKind::Skip, Bytes::from(codec::encode(&event(2, 0))));
    assert_eq!(applied.executor.applied(), Op::new(5));
}

#[test]
fn who_executed_what_the_log_skips_stands_still_for_good() {
    let mut applied = Applied::new();
    applied.commands(&[emits(0)]);
    let halt = applied.halt_at(EntryKind::Skip, codec::encode(&event(2, 0)));
    assert_eq!((halt.place, halt.skippable), (event(3, 0), false));
    assert!(halt.what.contains("skips event 0 of op 2"), "{}", halt.what);
}

#[test]
fn a_snapshot_tells_what_was_skipped() {
    let mut applied = Applied::new();
    applied.executor.expect_skip(event(2, 0));
    applied.commands(&[emits(2)]);
    let mut saved = ByteWriter::default();
    let mut writer = applied.executor.snapshot(applied.last);
    while writer.go_on(1, &mut saved) {}
    let (executor, _) = Executor::restore(Emitter, init(), saved.as_slice()).expect("its own");
    applied.executor = executor;
    applied.entry(EntryKind::Skip, Bytes::from(codec::encode(&event(2, 0))));
    assert_eq!(applied.executor.applied(), Op::new(3));
}

#[test]
fn an_answer_that_no_frame_holds_halts_the_group_where_it_is_given() {
    let mut log = Applied { executor: Executor::new(Emitter, init()), last: init().genesis() };
    let mut executor = Executor::new(Verbose, init());
    let register = entry_of(&log, &Command::register(ClientId::new(1)));
    executor.apply(&register, &mut Vec::new(), &mut NoMarks).expect("it registers");
    log.last = *register.header();
    let halt = executor.apply(&entry_of(&log, &emits(0)), &mut Vec::new(), &mut NoMarks);
    let halt = halt.expect_err("it is too long");
    assert_eq!(halt.place, event(2, 0));
    assert!(halt.what.contains("answers with 8388609 bytes; 8388608 are allowed"), "{}", halt.what);
}

/// Its answers are one byte too long.
#[derive(Clone)]
struct Verbose;

impl ChrApplication for Verbose {
    const SCHEMA: Schema = Schema(1);
    type State = ();
    type QueryRequest = u8;
    type QueryResponse = u8;
    type Error = u8;

    fn genesis(&self, _group: &GroupInit) {}

    fn apply(&self, _state: &mut (), _event: Event<'_>, _ctx: &mut ApplyContext<'_>) -> Result<Bytes, u8> {
        Ok(Bytes::from(vec![0; (8 << 20) + 1]))
    }

    fn query(&self, _state: &(), request: u8, _ctx: &mut QueryContext) -> u8 {
        request
    }

    fn snapshot(&self, _state: &(), _from: Cursor, _out: &mut Chunk) -> Option<Cursor> {
        None
    }

    fn restore(&self, _state: &mut (), _from: Schema, _chunk: &[u8]) -> Result<(), u8> {
        Ok(())
    }
}

#[test]
fn a_schema_that_this_build_does_not_know_halts_the_group_for_good() {
    let mut applied = Applied::new();
    let halt = applied.halt_at(EntryKind::Activation, codec::encode(&Schema(2)));
    assert_eq!((halt.place, halt.skippable), (event(2, 0), false));
    assert!(halt.what.contains("activates schema 2, and this build knows 1"), "{}", halt.what);
}

#[test]
fn a_schema_in_force_is_activated_once_more_without_effect() {
    let mut applied = Applied::new();
    applied.entry(EntryKind::Activation, Bytes::from(codec::encode(&Schema::FIRST)));
    assert_eq!((applied.executor.schema(), applied.executor.applied()), (Schema::FIRST, Op::new(2)));
}
