//! Handlers of a partition, one after the other; and long courses of commands, whose snapshots must give the same state.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::command::EventsCommand as Command;
use super::{
    Delivery, DeliveryState, Disposition, Due, EventName, EventState, EventView, EventsAnswer, EventsError,
    EventsQuery, EventsState, EventsView, Expires, GrantPlace, GroupOptions, KeptFrom, MemberId, Mode,
    Moment, NewEvent, Published, Refusal, Settled, Settlement, Start, TopicConfig,
};
use crate::types::{Blob, Nanos, Op, Timestamp};

const MS: u64 = 1_000_000;
pub(super) const LEASE: Nanos = Nanos::from_millis(10_000);

/// A partition of topic `t`, and a log that only it has.
pub(super) struct Lone {
    pub(super) state: EventsState,
    op: u64,
    now_ms: u64,
}

impl Lone {
    pub(super) fn new(config: TopicConfig) -> Self {
        Self::keeping(0, config)
    }

    /// Keeps so many events that have ended.
    pub(super) fn keeping(kept_max: u64, config: TopicConfig) -> Self {
        let config = TopicConfig { kept_max, ..config };
        let mut lone = Self { state: EventsState::default(), op: 0, now_ms: 1000 };
        lone.ask(Command::Open { topic: "t".to_string(), config, id: 1 }).expect("a new topic");
        lone
    }

    fn moment(&mut self) -> Moment {
        self.op += 1;
        Moment { now: Timestamp::from_nanos(self.now_ms * MS + self.op), op: Op::new(self.op) }
    }

    pub(super) fn ask(&mut self, command: Command) -> Result<EventsAnswer, EventsError> {
        let moment = self.moment();
        self.state.execute(command, 0, moment)
    }

    /// Time passes, and everything that is due happens.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some(at) = self.state.agenda.next().filter(|at| at.as_nanos() <= end * MS) {
            self.now_ms = self.now_ms.max(at.as_nanos() / MS);
            let mut moment = self.moment();
            moment.now = moment.now.max(at);
            self.state.ring(moment);
        }
        self.now_ms = end;
    }

    pub(super) fn publish(&mut self, id: &str, key: &str, due: Due) -> Published {
        let events = vec![event(id, key, due)];
        match self.ask(Command::Publish { topic: "t".to_string(), events }) {
            Ok(EventsAnswer::Published(mut results)) => results.remove(0),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn attach(
        &mut self,
        group: &str,
        member: u128,
        credits: u32,
        options: GroupOptions,
    ) -> Vec<Delivery> {
        let (topic, group, member) = ("t".to_string(), group.to_string(), MemberId(member));
        let insists = true;
        match self.ask(Command::Attach { topic, group, options, insists, member, credits, lease: LEASE }) {
            Ok(EventsAnswer::Attached { open, .. }) => open.deliveries,
            other => panic!("{other:?}"),
        }
    }

    /// Offsets and attempts of what a claim gives.
    fn claim(&mut self, group: &str, member: u128, count: u32) -> Vec<(u64, u32)> {
        let (topic, group, member) = ("t".to_string(), group.to_string(), MemberId(member));
        let (options, insists) = (options(Mode::Shared), true);
        match self.ask(Command::Claim { topic, group, options, insists, member, count, lease: LEASE }) {
            Ok(EventsAnswer::Claimed { granted, .. }) => {
                granted.deliveries.iter().map(|granted| (granted.offset, granted.attempt)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn settle(
        &mut self,
        group: &str,
        member: u128,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Settled>, EventsError> {
        let open = self.deliveries(group, member);
        let grant_of = |seq| open.iter().find(|open| open.grant.seq == seq).map(|open| open.grant.op);
        let settlements = settlements.into_iter().map(|settlement| Settlement {
            granted: settlement.granted.max(grant_of(settlement.seq).unwrap_or_default()),
            ..settlement
        });
        let settlements = settlements.collect();
        let (topic, group, member) = ("t".to_string(), group.to_string(), MemberId(member));
        match self.ask(Command::Settle { topic, group, member, settlements, after: None })? {
            EventsAnswer::Settled { results, .. } => Ok(results),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn open(&self, group: &str, member: u128) -> Vec<(u64, u32)> {
        let (topic, group, member) = ("t".to_string(), group.to_string(), MemberId(member));
        let after = GrantPlace::default();
        match self.state.view(&EventsQuery::Deliveries { topic, group, member, after }) {
            EventsView::Deliveries(open) => {
                open.deliveries.iter().map(|open| (open.offset, open.attempt)).collect()
            }
            EventsView::NotAMember => Vec::new(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn event(&self, id: &str) -> EventView {
        let event = name(id);
        match self.state.view(&EventsQuery::Event { topic: "t".to_string(), event }) {
            EventsView::Event(Some(event)) => event,
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn name(id: &str) -> EventName {
    EventName { partition_key: String::new(), message_id: id.to_string() }
}

pub(super) fn event(id: &str, key: &str, due: Due) -> NewEvent {
    let (ordering_key, payload) = (key.to_string(), Blob::from(b"x".to_vec()));
    let (meta, expires) = (Vec::new(), None);
    NewEvent { name: name(id), ordering_key, due, expires, payload, meta, allow_duplicate: false }
}

pub(super) fn options(mode: Mode) -> GroupOptions {
    GroupOptions {
        mode,
        start: Start::Earliest,
        ack_timeout: Nanos::from_millis(500),
        attempts_max: 3,
        rest: Nanos::from_millis(100),
        rest_max: Nanos::from_millis(1000),
    }
}

pub(super) fn settlement(seq: u64, attempt: u32, disposition: Disposition) -> Settlement {
    Settlement { seq, attempt, granted: Op::GENESIS, disposition }
}

pub(super) fn nack() -> Disposition {
    Disposition::Nack { rest: None, why: "no".to_string() }
}

#[test]
fn an_event_is_delivered_when_it_is_due_and_never_before() {
    let mut lone = Lone::new(TopicConfig::default());
    lone.attach("g", 1, 10, options(Mode::Shared));
    assert_eq!(lone.publish("a", "", Due::At(2000)), Published::Accepted { offset: 0, due_ms: 2000 });
    assert_eq!(lone.publish("b", "", Due::At(5)), Published::Accepted { offset: 1, due_ms: 5 });
    assert_eq!(lone.open("g", 1), [(1, 1)]);
    lone.pass(999);
    assert_eq!(lone.open("g", 1), [(1, 2)], "b was not settled in time");
    assert_eq!(lone.event("a").state, EventState::Scheduled);
    lone.pass(1);
    assert!(lone.open("g", 1).contains(&(0, 1)));
}

#[test]
fn a_name_is_accepted_once_until_its_window_is_over() {
    let config = TopicConfig { dedup_window: Nanos::from_secs(60), ..TopicConfig::default() };
    let mut lone = Lone::new(config);
    lone.attach("g", 1, 10, options(Mode::Shared));
    lone.publish("a", "", Due::In(0));
    assert_eq!(lone.publish("a", "", Due::In(0)), Published::Duplicate { offset: 0 });
    lone.settle("g", 1, vec![settlement(0, 1, Disposition::Ack)]).expect("a member");
    lone.pass(59_000);
    assert_eq!(lone.publish("a", "", Due::In(0)), Published::Duplicate { offset: 0 });
    lone.pass(2_000);
    assert!(matches!(lone.publish("a", "", Due::In(0)), Published::Accepted { offset: 1, .. }));
}

#[test]
fn the_name_of_an_open_event_is_never_forgotten() {
    let config = TopicConfig { dedup_ids_max: 2, ..TopicConfig::default() };
    let mut lone = Lone::new(config);
    lone.publish("a", "", Due::At(1 << 40));
    lone.publish("b", "", Due::At(1 << 40));
    let refused = Published::Refused(Refusal::TooManyIds { max: 2 });
    assert_eq!(lone.publish("c", "", Due::In(0)), refused);
    lone.ask(Command::Cancel { topic: "t".to_string(), event: name("b") }).expect("not due yet");
    assert!(matches!(lone.publish("c", "", Due::In(0)), Published::Accepted { .. }));
    assert_eq!(lone.publish("a", "", Due::In(0)), Published::Duplicate { offset: 0 });
}

#[test]
fn what_fails_too_often_is_a_dead_letter_and_comes_back_when_it_is_redriven() {
    let mut lone = Lone::new(TopicConfig::default());
    lone.attach("g", 1, 10, options(Mode::Shared));
    lone.publish("a", "", Due::In(0));
    for attempt in 1..=3 {
        assert_eq!(lone.open("g", 1), [(0, attempt)]);
        assert_eq!(lone.settle("g", 1, vec![settlement(0, attempt, nack())]), Ok(vec![Settled::Done]));
        lone.pass(250);
    }
    assert_eq!(lone.open("g", 1), []);
    let deliveries = lone.event("a").deliveries;
    assert!(
        matches!(&deliveries[0].1, DeliveryState::FailedTerminal(dead) if dead.attempts == 3 && dead.why == "no")
    );
    let redrive = Command::Redrive { topic: "t".to_string(), group: "g".to_string(), letters: vec![0, 7] };
    assert_eq!(lone.ask(redrive), Ok(EventsAnswer::Revived(1)));
    assert_eq!(lone.open("g", 1), [(0, 1)]);
    lone.settle("g", 1, vec![settlement(0, 1, Disposition::Ack)]).expect("a member");
    assert_eq!(lone.event("a").state, EventState::Settled);
}

#[test]
fn an_answer_to_an_earlier_attempt_is_refused() {
    let mut lone = Lone::new(TopicConfig::default());
    lone.attach("g", 1, 10, options(Mode::Shared));
    lone.publish("a", "", Due::In(0));
    lone.pass(700);
    assert_eq!(lone.open("g", 1), [(0, 2)], "the first attempt was not settled in time");
    let stale = lone.settle("g", 1, vec![settlement(0, 1, Disposition::Ack)]).expect("a member");
    assert_eq!(stale, [Settled::Stale { why: "attempt 2 is open, and not 1".to_string() }]);
    assert_eq!(lone.settle("g", 2, Vec::new()), Err(EventsError::NotAMember));
}

#[test]
fn an_answer_from_before_a_redrive_is_refused() {
    let mut lone = Lone::new(TopicConfig::default());
    lone.attach("g", 1, 10, GroupOptions { attempts_max: 1, ..options(Mode::Shared) });
    lone.publish("a", "", Due::In(0));
    let before = lone.deliveries("g", 1)[0].grant.op;
    lone.pass(600);
    let redrive = Command::Redrive { topic: "t".to_string(), group: "g".to_string(), letters: vec![0] };
    assert_eq!(lone.ask(redrive), Ok(EventsAnswer::Revived(1)));
    assert_eq!(lone.open("g", 1), [(0, 1)], "attempts count anew");
    let late = Settlement { granted: before, ..settlement(0, 1, Disposition::Ack) };
    let (topic, group, settlements) = ("t".to_string(), "g".to_string(), vec![late]);
    let late = Command::Settle { topic, group, member: MemberId(1), settlements, after: None };
    let answer = lone.ask(late).expect("a member");
    assert!(
        matches!(answer, EventsAnswer::Settled { results, .. } if matches!(&results[0], Settled::Stale { .. }))
    );
}

#[test]
fn what_a_silent_member_had_goes_to_others() {
    let mut lone = Lone::new(TopicConfig::default());
    let patient = GroupOptions { ack_timeout: Nanos::from_secs(3600), ..options(Mode::Shared) };
    lone.attach("g", 1, 1, patient.clone());
    lone.publish("a", "", Due::In(0));
    lone.attach("g", 2, 1, patient);
    assert_eq!((lone.open("g", 1).len(), lone.open("g", 2).len()), (1, 0));
    lone.pass(9_000);
    lone.settle("g", 2, Vec::new()).expect("it says that it is there");
    lone.pass(2_000);
    assert_eq!(lone.open("g", 2), [(0, 2)]);
}

#[test]
fn of_one_ordering_key_one_is_open_and_a_retry_holds_it_up() {
    let mut lone = Lone::new(TopicConfig::default());
    lone.attach("g", 1, 10, options(Mode::Ordered));
    for (id, key) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a")] {
        lone.publish(id, key, Due::In(0));
    }
    assert_eq!(lone.open("g", 1), [(0, 1), (2, 1)]);
    lone.settle("g", 1, vec![settlement(0, 1, nack()), settlement(2, 1, Disposition::Ack)])
        .expect("a member");
    assert_eq!(lone.open("g", 1), []);
    lone.pass(101);
    assert_eq!(lone.open("g", 1), [(0, 2)]);
    let why = "never".to_string();
    lone.settle("g", 1, vec![settlement(0, 2, Disposition::Term { why })]).expect("a member");
    assert_eq!(lone.open("g", 1), [(1, 1)], "a dead letter holds its key up no more");
    lone.settle("g", 1, vec![settlement(1, 1, Disposition::Ack)]).expect("a member");
    assert_eq!(lone.open("g", 1), [(3, 1)]);
}

#[test]
fn a_group_that_comes_later_begins_with_the_oldest_that_is_kept_or_with_the_next() {
    let mut lone = Lone::new(TopicConfig::default());
    lone.attach("g", 1, 10, options(Mode::Shared));
    (0..3).for_each(|n| drop(lone.publish(&format!("{n}"), "", Due::In(0))));
    lone.settle("g", 1, vec![settlement(1, 1, Disposition::Ack)]).expect("a member");
    assert_eq!(lone.attach("early", 1, 10, options(Mode::Shared)).len(), 2, "1 has ended already");
    let latest = GroupOptions { start: Start::Latest, ..options(Mode::Shared) };
    assert_eq!(lone.attach("late", 1, 10, latest).len(), 0);
    lone.publish("3", "", Due::In(0));
    assert_eq!(lone.open("early", 1).len(), 3);
    assert_eq!(lone.open("late", 1), [(3, 1)]);
}

#[test]
fn a_member_that_insists_on_other_options_is_refused_and_one_that_does_not_is_told_of_them() {
    let mut lone = Lone::new(TopicConfig::default());
    lone.attach("g", 1, 10, options(Mode::Ordered));
    let mut attach = |insists| {
        let (topic, group, member) = ("t".to_string(), "g".to_string(), MemberId(2));
        let options = options(Mode::Shared);
        lone.ask(Command::Attach { topic, group, options, insists, member, credits: 1, lease: LEASE })
    };
    assert_eq!(attach(true), Err(EventsError::OtherOptions("g".to_string())));
    let told = attach(false).expect("it takes the group as it is");
    assert!(matches!(told, EventsAnswer::Attached { options, .. } if options.mode == Mode::Ordered));
}

#[test]
fn what_had_ended_before_a_group_came_and_expires_as_its_dead_letter_stays_one() {
    let mut lone = Lone::keeping(1, TopicConfig::default());
    lone.attach("first", 1, 10, options(Mode::Shared));
    let events = vec![NewEvent { expires: Some(Expires::After(500)), ..event("a", "", Due::In(0)) }];
    lone.ask(Command::Publish { topic: "t".to_string(), events }).expect("it is accepted");
    lone.settle("first", 1, vec![settlement(0, 1, Disposition::Ack)]).expect("a member");
    lone.attach("later", 1, 10, options(Mode::Shared));
    let term = Disposition::Term { why: "no".to_string() };
    lone.settle("later", 1, vec![settlement(0, 1, term)]).expect("a member");
    lone.pass(1000);
    for id in ["b", "c", "d"] {
        lone.publish(id, "", Due::In(0));
        let seqs = lone.open("later", 1).iter().map(|(offset, _)| *offset).collect::<Vec<u64>>();
        for group in ["first", "later"] {
            let acks = seqs.iter().map(|seq| settlement(*seq, 1, Disposition::Ack)).collect();
            lone.settle(group, 1, acks).expect("a member");
        }
    }
    let (topic, group) = ("t".to_string(), "later".to_string());
    let EventsView::Dead(dead) = lone.state.view(&EventsQuery::Dead { topic, group, from: 0 }) else {
        panic!("the group is there");
    };
    assert_eq!(dead.iter().map(|letter| letter.offset).collect::<Vec<u64>>(), [0]);
}

#[test]
fn who_claims_gets_what_is_buffered_and_nothing_before_it_claims_again() {
    let mut lone = Lone::new(TopicConfig::default());
    assert_eq!(lone.claim("g", 1, 2), [], "the group is made by it");
    (0..4).for_each(|n| drop(lone.publish(&format!("{n}"), "", Due::In(0))));
    assert_eq!(lone.open("g", 1), [], "it waits until it is asked for");
    assert_eq!(lone.claim("g", 1, 2), [(0, 1), (1, 1)]);
    assert_eq!(lone.claim("g", 1, 1), [(2, 1)], "what it has already is not told again");
    lone.settle("g", 1, vec![settlement(0, 1, Disposition::Ack)]).expect("a member");
    assert_eq!(lone.open("g", 1), [(1, 1), (2, 1)]);
    lone.settle("g", 1, vec![settlement(1, 1, nack())]).expect("a member");
    lone.pass(60_000);
    assert_eq!(lone.open("g", 1), [], "it fell silent");
    assert_eq!(lone.claim("g", 2, 1000), [(1, 2), (2, 2), (3, 1)]);
    let (topic, group, member) = ("t".to_string(), "g".to_string(), MemberId(2));
    let (options, insists) = (options(Mode::Shared), true);
    let none = Command::Claim { topic, group, options, insists, member, count: 0, lease: LEASE };
    let refused = lone.ask(none).expect_err("it asks for nothing");
    assert_eq!(refused.to_string(), "count must be 1 to 1000");
}

#[test]
fn a_member_without_credits_keeps_what_it_has_and_is_granted_nothing() {
    let mut lone = Lone::new(TopicConfig::default());
    lone.attach("g", 1, 1, options(Mode::Shared));
    (0..2).for_each(|n| drop(lone.publish(&format!("{n}"), "", Due::In(0))));
    assert_eq!(lone.attach("g", 1, 0, options(Mode::Shared)).len(), 1);
    lone.settle("g", 1, vec![settlement(0, 1, Disposition::Ack)]).expect("a member");
    assert_eq!(lone.open("g", 1), []);
    let buffered = EventsQuery::Buffered { topic: "t".to_string(), group: "g".to_string() };
    assert!(lone.state.has_news(&buffered));
    assert_eq!(lone.state.view(&buffered), EventsView::Buffered(true));
    assert_eq!(lone.attach("g", 1, 1, options(Mode::Shared)).len(), 1);
    assert!(!lone.state.has_news(&buffered));
    assert_eq!(lone.state.view(&buffered), EventsView::Buffered(false));
}

#[test]
fn what_has_ended_is_kept_for_a_group_that_comes_later() {
    let mut lone = Lone::keeping(2, TopicConfig::default());
    lone.attach("g", 1, 10, options(Mode::Shared));
    (0..4).for_each(|n| drop(lone.publish(&format!("{n}"), "", Due::In(0))));
    let all = (0..4).map(|seq| settlement(seq, 1, Disposition::Ack)).collect();
    lone.settle("g", 1, all).expect("a member");
    assert_eq!(lone.event("1").state, EventState::Settled);
    assert_eq!(lone.event("3").state, EventState::Ready { seq: 3 });
    lone.attach("early", 1, 10, options(Mode::Shared));
    assert_eq!(lone.open("early", 1), [(2, 1), (3, 1)]);
    lone.publish("4", "", Due::In(0));
    lone.settle("g", 1, vec![settlement(4, 1, Disposition::Ack)]).expect("a member");
    assert_eq!(lone.open("early", 1).len(), 3, "what a slow group has not settled is kept");
    let all = (2..5).map(|seq| settlement(seq, 1, Disposition::Ack)).collect();
    lone.settle("early", 1, all).expect("a member");
    assert_eq!(lone.event("2").state, EventState::Settled);
    assert_eq!(lone.event("4").state, EventState::Ready { seq: 4 });
}

#[test]
fn a_duplicate_that_was_allowed_is_due_by_itself() {
    let mut lone = Lone::new(TopicConfig::default());
    assert_eq!(lone.publish("a", "", Due::At(3000)), Published::Accepted { offset: 0, due_ms: 3000 });
    let events = vec![NewEvent { allow_duplicate: true, ..event("a", "", Due::At(2000)) }];
    lone.ask(Command::Publish { topic: "t".to_string(), events }).expect("it is allowed");
    lone.pass(1500);
    assert_eq!(lone.event("a").state, EventState::Scheduled);
    lone.pass(1000);
    assert_eq!(lone.event("a").state, EventState::Ready { seq: 1 });
}

#[test]
fn events_that_are_not_due_are_told_the_next_one_first() {
    let mut lone = Lone::new(TopicConfig::default());
    for (id, due_ms) in [("a", 9000), ("b", 7000), ("c", 8000), ("d", 7000)] {
        lone.publish(id, "", Due::At(due_ms));
    }
    let told = |after| match lone.state.view(&EventsQuery::Scheduled { topic: "t".to_string(), after }) {
        EventsView::Scheduled(rows) => rows.iter().map(|row| (row.due_ms, row.offset)).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(told(None), [(7000, 1), (7000, 3), (8000, 2), (9000, 0)]);
    assert_eq!(told(Some((7000, 1))), [(7000, 3), (8000, 2), (9000, 0)]);
}

#[test]
fn an_event_that_is_not_due_can_be_taken_back_or_put_off_and_one_that_is_due_cannot() {
    let mut lone = Lone::new(TopicConfig::default());
    lone.publish("a", "", Due::At(2000));
    let (topic, event) = ("t".to_string(), name("a"));
    let put_off = Command::Reschedule { topic: topic.clone(), event: event.clone(), due: Due::At(3000) };
    assert_eq!(lone.ask(put_off), Ok(EventsAnswer::Rescheduled { offset: 0, due_ms: 3000 }));
    lone.pass(1500);
    assert_eq!(lone.event("a").state, EventState::Scheduled);
    lone.pass(500);
    assert_eq!(lone.event("a").state, EventState::Ready { seq: 0 });
    let taken = lone.ask(Command::Cancel { topic, event });
    assert_eq!(taken, Err(EventsError::NotScheduled("ready".to_string())));
}

/// The question of who watches an event.
fn watch(id: &str, known: Option<EventView>) -> EventsQuery {
    EventsQuery::Watch { topic: "t".to_string(), event: name(id), known }
}

#[test]
fn who_watches_an_event_waits_for_as_long_as_its_fate_is_the_one_that_is_known() {
    let mut lone = Lone::keeping(10, TopicConfig::default());
    lone.publish("a", "", Due::In(50));
    let scheduled = Some(lone.event("a"));
    assert!(lone.state.has_news(&watch("a", None)));
    assert!(!lone.state.has_news(&watch("a", scheduled.clone())));
    lone.publish("b", "", Due::In(50));
    assert!(!lone.state.has_news(&watch("a", scheduled.clone())));
    lone.pass(60);
    assert!(lone.state.has_news(&watch("a", scheduled)));
    assert!(!lone.state.has_news(&watch("unknown", None)));
}

#[test]
fn what_is_ready_is_listed_from_any_place_with_where_it_stands_in_a_group() {
    let mut lone = Lone::keeping(10, TopicConfig::default());
    for id in ["a", "b", "c"] {
        lone.publish(id, "", Due::In(0));
    }
    let open = lone.attach("g", 1, 2, options(Mode::Shared));
    let listed = |lone: &Lone, group: &str, from| {
        let (topic, group) = ("t".to_string(), group.to_string());
        match lone.state.view(&EventsQuery::Kept { topic, group, from: KeptFrom::Seq(from) }) {
            EventsView::Kept { rows, .. } => rows,
            other => panic!("{other:?}"),
        }
    };
    let rows = listed(&lone, "g", 0);
    assert_eq!(rows.iter().map(|row| (row.seq, row.offset)).collect::<Vec<_>>(), [(0, 0), (1, 1), (2, 2)]);
    assert!(matches!(rows[1].delivery, Some(DeliveryState::Processing { .. })), "{rows:?}");
    assert_eq!(rows[2].delivery, Some(DeliveryState::Buffered));
    assert_eq!(open.len(), 2);
    let rest = listed(&lone, "", 2);
    assert_eq!(rest.iter().map(|row| (row.seq, row.delivery.clone())).collect::<Vec<_>>(), [(2, None)]);
    let (topic, group) = ("t".to_string(), "other".to_string());
    let from = KeptFrom::Seq(0);
    assert_eq!(lone.state.view(&EventsQuery::Kept { topic, group, from }), EventsView::Unknown);
}

fn first(config: &TopicConfig) -> Lone {
    let mut lone = Lone::keeping(100, config.clone());
    for id in ["a", "b", "c"] {
        lone.publish(id, "", Due::In(0));
        lone.pass(100);
    }
    lone
}

pub(super) fn kept(lone: &Lone, from: KeptFrom) -> Vec<u64> {
    match lone.state.view(&EventsQuery::Kept { topic: "t".to_string(), group: String::new(), from }) {
        EventsView::Kept { rows, is_end: true } => rows.iter().map(|row| row.seq).collect(),
        other => panic!("{other:?}"),
    }
}

fn publish_useful(lone: &mut Lone, id: &str, delay_ms: u64, useful_ms: i64) -> Published {
    let expires = Some(Expires::At(i64::try_from(lone.now_ms).expect("soon") + useful_ms));
    let events = vec![NewEvent { expires, ..event(id, "", Due::In(delay_ms)) }];
    match lone.ask(Command::Publish { topic: "t".to_string(), events }) {
        Ok(EventsAnswer::Published(mut results)) => results.remove(0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_expires_is_delivered_no_more_and_its_fate_says_so() {
    let mut lone = Lone::keeping(10, TopicConfig::default());
    let refused = Published::Refused(Refusal::ExpiresTooEarly);
    assert_eq!(publish_useful(&mut lone, "too early", 500, 400), refused);
    assert_eq!(publish_useful(&mut lone, "over", 0, -1), refused);
    for (id, useful_ms) in [("open", 300), ("buffered", 300), ("in time", 300), ("nobody's", 5000)] {
        assert!(matches!(publish_useful(&mut lone, id, 50, useful_ms), Published::Accepted { .. }));
    }
    let late = Command::Reschedule { topic: "t".to_string(), event: name("open"), due: Due::In(400) };
    assert!(matches!(lone.ask(late), Err(EventsError::ExpiresEarlier(_))));
    lone.attach("g", 1, 1, GroupOptions { ack_timeout: Nanos::from_secs(60), ..options(Mode::Shared) });
    lone.pass(100);
    assert_eq!(lone.open("g", 1), [(0, 1)]);
    lone.pass(300);
    // What was open and what waited have expired; what is of use still comes next.
    assert_eq!(lone.open("g", 1), [(3, 1)]);
    let stale = lone.settle("g", 1, vec![settlement(0, 1, Disposition::Ack)]).expect("a member");
    assert!(matches!(stale[..], [Settled::Stale { .. }]), "{stale:?}");
    for id in ["open", "buffered", "in time"] {
        let view = lone.event(id);
        assert!(matches!(view.state, EventState::Expired { .. }), "{view:?}");
        assert_eq!(view.deliveries, [("g".to_string(), DeliveryState::Expired)]);
    }
    lone.settle("g", 1, vec![settlement(3, 1, Disposition::Ack)]).expect("a member");
    lone.pass(10_000);
    assert!(matches!(lone.event("nobody's").state, EventState::Ready { .. }), "it was processed in time");
    assert_eq!(lone.restored(), lone.state);
}

#[test]
fn what_expires_as_a_dead_letter_stays_one_and_is_not_redriven() {
    let mut lone = Lone::keeping(0, TopicConfig::default());
    publish_useful(&mut lone, "poison", 0, 300);
    lone.attach("g", 1, 5, options(Mode::Shared));
    lone.attach("other", 2, 5, GroupOptions { ack_timeout: Nanos::from_secs(60), ..options(Mode::Shared) });
    lone.settle("g", 1, vec![settlement(0, 1, Disposition::Term { why: "no".to_string() })])
        .expect("a member");
    lone.pass(400);
    assert!(matches!(lone.event("poison").state, EventState::Expired { .. }));
    let revive = |discards| {
        let (topic, group, letters) = ("t".to_string(), "g".to_string(), vec![0]);
        if discards {
            Command::Discard { topic, group, letters }
        } else {
            Command::Redrive { topic, group, letters }
        }
    };
    assert_eq!(lone.ask(revive(false)), Ok(EventsAnswer::Revived(0)));
    assert_eq!(kept(&lone, KeptFrom::Seq(0)), [0]);
    assert_eq!(lone.ask(revive(true)), Ok(EventsAnswer::Revived(1)));
    assert_eq!(kept(&lone, KeptFrom::Seq(0)), []);
}

#[test]
fn what_is_kept_is_found_by_place_and_by_time() {
    let lone = first(&TopicConfig::default());
    assert_eq!(kept(&lone, KeptFrom::Seq(1)), [1, 2]);
    let at = |ms: u64| KeptFrom::Time(Timestamp::from_nanos(ms * MS));
    assert_eq!(kept(&lone, at(0)), [0, 1, 2]);
    assert_eq!(kept(&lone, at(1050)), [1, 2]);
    assert_eq!(kept(&lone, at(1150)), [2]);
    assert_eq!(kept(&lone, at(9000)), []);
}

#[test]
fn what_is_too_old_or_too_much_goes_and_what_a_group_has_not_settled_stays() {
    let age = TopicConfig { retain_age: Some(Nanos::from_millis(250)), ..TopicConfig::default() };
    let mut lone = first(&age);
    assert_eq!(kept(&lone, KeptFrom::Seq(0)), [1, 2], "nobody is there whom it waits for");
    assert!(matches!(lone.event("a").state, EventState::Expired { .. }));
    lone.attach("g", 1, 5, GroupOptions { ack_timeout: Nanos::from_secs(60), ..options(Mode::Shared) });
    lone.pass(1000);
    assert_eq!(kept(&lone, KeptFrom::Seq(0)), [1, 2], "a group has them in hand");
    lone.settle("g", 1, vec![settlement(1, 1, Disposition::Ack)]).expect("a member");
    assert_eq!(kept(&lone, KeptFrom::Seq(0)), [2]);
    assert_eq!(lone.event("b").state, EventState::Settled);
    let config = TopicConfig { revision: 1, expires_unsettled: true, ..age };
    lone.ask(Command::Open { topic: "t".to_string(), config, id: 1 }).expect("another configuration");
    assert_eq!((kept(&lone, KeptFrom::Seq(0)), lone.open("g", 1)), (vec![], vec![]));
    assert!(matches!(lone.event("c").state, EventState::Expired { .. }));

    let lone = first(&TopicConfig { retain_bytes: Some(2), ..TopicConfig::default() });
    assert_eq!(kept(&lone, KeptFrom::Seq(0)), [1, 2]);
}

#[test]
fn an_operator_lets_go_of_what_is_below_a_place() {
    let mut lone = first(&TopicConfig::default());
    let retain = Command::Retain { topic: "t".to_string(), age: None, bytes: None, below: Some(2) };
    assert_eq!(lone.ask(retain.clone()), Ok(EventsAnswer::Retained { events: 2, bytes: 2 }));
    assert_eq!(lone.ask(retain), Ok(EventsAnswer::Retained { events: 0, bytes: 0 }));
    assert_eq!(kept(&lone, KeptFrom::Seq(0)), [2]);
    let options = GroupOptions { start: Start::At(1), ..options(Mode::Shared) };
    assert_eq!(lone.attach("g", 1, 5, options).len(), 1, "a group begins with the oldest that is kept");
}
