//! The oracle of events tells what is wrong, each by its name, and lets what is right be.

mod claims;
mod generations;
mod plans;

use std::collections::BTreeMap;

use chronon_core::codec;
use chronon_core::events::{
    DeadLetter, Deliveries, Delivery, DeliveryState, Disposition, Due, EventName, EventState, EventView,
    EventsAnswer, EventsCommand, EventsQuery, EventsView, Expires, GrantPlace, GroupOptions, GroupView,
    KeptFrom, KeptView, MemberId, Mode, NewEvent, PartitionView, Published, RecurringView, Settled,
    Settlement, Start, Stored, TopicConfig,
};
use chronon_core::kernel::Outcome;
use chronon_core::types::{Blob, Nanos, Op, Timestamp};

use super::Compared;
use super::book::Book;
use super::broken::Broken;

/// What is told of a topic of one group, by hand: an entry each millisecond.
pub(super) struct Told {
    book: Book,
    compared: Compared,
    pub(super) ms: u64,
    /// When which event was accepted.
    accepted: BTreeMap<u64, u64>,
}

impl Told {
    /// A topic whose names are remembered for a second, and a consumer group with two members of two credits, for ten seconds.
    pub(super) fn new(mode: Mode) -> Self {
        let mut told = Self {
            book: Book::default(),
            compared: Compared::default(),
            ms: 1000,
            accepted: BTreeMap::new(),
        };
        let config = TopicConfig { revision: 1, dedup_window: Nanos::from_secs(1), ..TopicConfig::default() };
        assert_eq!(
            told.does(EventsCommand::Open { topic: topic(), config, id: 1 }, EventsAnswer::Opened),
            None
        );
        for member in [ANNE, BERT] {
            let attach = EventsCommand::Attach {
                topic: topic(),
                group: group(),
                options: options(mode),
                insists: true,
                member,
                credits: 2,
                lease: Nanos::from_secs(10),
            };
            let attached = EventsAnswer::Attached { options: options(mode), open: Deliveries::default() };
            assert_eq!(told.does(attach, attached), None);
        }
        told
    }

    /// The op at which it is.
    pub(super) fn op(&self) -> Op {
        Op::new(self.ms)
    }

    pub(super) fn entry(&mut self, at_ms: u64, wakes: bool) {
        self.ms = at_ms;
        let now = Timestamp::from_nanos(at_ms * MS);
        self.book.entry(self.op(), now, wakes, &mut self.compared);
        if wakes {
            self.book.woken(None);
        }
    }

    pub(super) fn does(&mut self, command: EventsCommand, answer: EventsAnswer) -> Option<&'static str> {
        self.entry(self.ms + 1, false);
        let outcome = Outcome::Done(Blob::from(codec::encode(&answer)));
        name_of(self.book.command(0, &codec::encode(&command), &outcome, &mut self.compared))
    }

    pub(super) fn publishes(&mut self, id: &str, due: Due, result: Published) -> Option<&'static str> {
        self.publishes_for(id, due, None, result)
    }

    fn publishes_for(
        &mut self,
        id: &str,
        due: Due,
        expires: Option<Expires>,
        result: Published,
    ) -> Option<&'static str> {
        if let Published::Accepted { offset, .. } = result {
            self.accepted.insert(offset, self.ms + 1);
        }
        let events = vec![new_event(id, due, expires)];
        self.does(EventsCommand::Publish { topic: topic(), events }, EventsAnswer::Published(vec![result]))
    }

    /// An event is accepted that is due at once.
    pub(super) fn accepts(&mut self, id: &str, offset: u64) {
        let due_ms = (self.ms + 1) as i64;
        assert_eq!(self.publishes(id, Due::In(0), Published::Accepted { offset, due_ms }), None);
    }

    /// An event is accepted that is due at a time to come.
    pub(super) fn schedules(&mut self, id: &str, offset: u64, due_ms: i64) {
        assert_eq!(self.publishes(id, Due::At(due_ms), Published::Accepted { offset, due_ms }), None);
    }

    pub(super) fn settles(
        &mut self,
        member: MemberId,
        settlements: Vec<Settlement>,
        granted: Vec<Delivery>,
    ) -> Option<&'static str> {
        let results = vec![Settled::Done; settlements.len()];
        let after = GrantPlace::default();
        let settle =
            EventsCommand::Settle { topic: topic(), group: group(), member, settlements, after: Some(after) };
        let granted = Deliveries { deliveries: granted, more: false };
        self.does(settle, EventsAnswer::Settled { results, granted, floor: 0 })
    }

    /// A member hears of a delivery that is granted now.
    pub(super) fn grants(
        &mut self,
        member: MemberId,
        (seq, offset): (u64, u64),
        attempt: u32,
    ) -> Option<&'static str> {
        let grant = GrantPlace { op: Op::new(self.ms + 1), seq };
        let until = Timestamp::from_nanos((self.ms + 500) * MS);
        let delivery = Delivery { grant, attempt, until, offset, due_ms: 0, stored: stored(0) };
        self.settles(member, Vec::new(), vec![delivery])
    }

    pub(super) fn acks(&mut self, member: MemberId, seq: u64, attempt: u32) -> Option<&'static str> {
        let (granted, disposition) = (Op::new(self.ms + 1), Disposition::Ack);
        self.settles(member, vec![Settlement { seq, attempt, granted, disposition }], Vec::new())
    }

    /// The states are looked at.
    pub(super) fn shows(&mut self, seen: &Seen<'_>) -> Option<&'static str> {
        let accepted = &self.accepted;
        let ask = |question| match question {
            EventsQuery::Partition { .. } => EventsView::Partition(seen.partition()),
            EventsQuery::Event { event, .. } => {
                let found = seen.events.iter().find(|(id, ..)| name(id) == event);
                EventsView::Event(found.map(|(_, offset, state, delivery)| EventView {
                    offset: *offset,
                    accepted_at: Timestamp::default(),
                    state: *state,
                    open: None,
                    deliveries: delivery.iter().map(|state| (group(), state.clone())).collect(),
                }))
            }
            EventsQuery::Unplanned => EventsView::Recurring(seen.unplanned.clone()),
            EventsQuery::Kept { from, .. } => {
                let mut rows = seen.kept.clone();
                for row in &mut rows {
                    row.stored = accepted.get(&row.offset).copied().map_or(row.stored, stored);
                }
                if let KeptFrom::Time(at) = from {
                    rows.retain(|row| row.at >= seen.found_from.unwrap_or(at));
                }
                EventsView::Kept { rows, is_end: true }
            }
            other => panic!("{other:?} is not asked"),
        };
        name_of(self.book.audit(ask, &mut self.compared))
    }
}

/// A partition as it is shown.
pub(super) struct Seen<'a> {
    events: Vec<(&'a str, u64, EventState, Option<DeliveryState>)>,
    next_seq: u64,
    scheduled: u64,
    floor: u64,
    members: u32,
    is_paused: bool,
    kept: Vec<KeptView>,
    unplanned: Vec<RecurringView>,
    /// What is kept since a time is told from this one on.
    found_from: Option<Timestamp>,
}

impl<'a> Seen<'a> {
    pub(super) fn of(events: Vec<(&'a str, u64, EventState, Option<DeliveryState>)>) -> Self {
        let is_scheduled = |state: &EventState| *state == EventState::Scheduled;
        let scheduled = events.iter().filter(|(_, _, state, _)| is_scheduled(state)).count() as u64;
        let is_cancelled = |state: &EventState| *state == EventState::Cancelled;
        let cancelled = events.iter().filter(|(_, _, state, _)| is_cancelled(state)).count() as u64;
        let next_seq = events.len() as u64 - scheduled - cancelled;
        let kept = events.iter().filter_map(|(_, offset, state, _)| match *state {
            EventState::Ready { seq } | EventState::Expired { seq } => Some(kept(seq, *offset)),
            EventState::Scheduled | EventState::Settled | EventState::Cancelled => None,
        });
        let mut kept: Vec<KeptView> = kept.collect();
        kept.sort_by_key(|row| row.seq);
        Self {
            events,
            next_seq,
            scheduled,
            floor: 0,
            members: 2,
            is_paused: false,
            kept,
            unplanned: Vec::new(),
            found_from: None,
        }
    }

    /// This schedule wants a plan.
    pub(super) fn that_wants(self, plan: RecurringView) -> Self {
        Self { unplanned: vec![plan], ..self }
    }

    /// The same, and the group pauses.
    pub(super) fn of_paused(self) -> Self {
        Self { is_paused: true, ..self }
    }

    fn partition(&self) -> PartitionView {
        let group = GroupView {
            name: group(),
            options: options(Mode::Shared),
            is_paused: self.is_paused,
            floor: self.floor,
            lag: 0,
            open: 0,
            resting: 0,
            dead: 0,
            dead_dropped: 0,
            expired: 0,
            members: self.members,
        };
        PartitionView {
            config: TopicConfig::default(),
            next_offset: self.events.len() as u64,
            next_seq: self.next_seq,
            scheduled: self.scheduled,
            ready: 0,
            kept: self.kept.len() as u64,
            kept_bytes: 0,
            first_seq: self.kept.first().map_or(self.next_seq, |row| row.seq),
            ids: 0,
            groups: vec![group],
        }
    }
}

/// An event that became ready long after it was due.
fn kept(seq: u64, offset: u64) -> KeptView {
    let at = Timestamp::from_nanos((1_000_000 + seq) * MS);
    KeptView { seq, offset, due_ms: 0, at, stored: stored(0), ended: false, delivery: None }
}

fn name_of(judged: Result<(), Broken>) -> Option<&'static str> {
    judged.err().map(|broken| broken.invariant)
}

pub(super) fn topic() -> String {
    "t".to_owned()
}

pub(super) fn group() -> String {
    "g".to_owned()
}

fn name(id: &str) -> EventName {
    EventName { partition_key: String::new(), message_id: id.to_owned() }
}

pub(super) fn new_event(id: &str, due: Due, expires: Option<Expires>) -> NewEvent {
    NewEvent {
        name: name(id),
        ordering_key: "k".to_owned(),
        due,
        expires,
        payload: Blob::default(),
        meta: Vec::new(),
        allow_duplicate: false,
    }
}

pub(super) fn options(mode: Mode) -> GroupOptions {
    GroupOptions {
        mode,
        start: Start::Earliest,
        ack_timeout: Nanos::from_millis(500),
        attempts_max: 2,
        rest: Nanos::default(),
        rest_max: Nanos::default(),
    }
}

pub(super) fn processing(member: MemberId, attempt: u32, until_ms: u64) -> Option<DeliveryState> {
    Some(DeliveryState::Processing { member, attempt, until: Timestamp::from_nanos(until_ms * MS) })
}

fn rests(attempts: u32) -> Option<DeliveryState> {
    let until = Timestamp::from_nanos(9000 * MS);
    Some(DeliveryState::FailedRetryable { attempts, until, why: String::new() })
}

fn dead() -> Option<DeliveryState> {
    let letter = DeadLetter { attempts: 2, at: Timestamp::default(), why: String::new() };
    Some(DeliveryState::FailedTerminal(letter))
}

pub(super) fn ready(seq: u64) -> EventState {
    EventState::Ready { seq }
}

const MS: u64 = 1_000_000;
pub(super) const ANNE: MemberId = MemberId(1);
pub(super) const BERT: MemberId = MemberId(2);
/// Where the log has an event that was accepted in the entry of this millisecond.
pub(super) const fn stored(ms: u64) -> Stored {
    Stored { op: Op::new(ms), index: 0, item: 0 }
}

#[test]
fn what_is_right_is_let_be() {
    let mut told = Told::new(Mode::Shared);
    told.schedules("a", 0, 1500);
    told.accepts("b", 1);
    assert_eq!(told.grants(ANNE, (0, 1), 1), None);
    let until = told.ms + 500;
    let waits = ("a", 0, EventState::Scheduled, None);
    assert_eq!(told.shows(&Seen::of(vec![waits, ("b", 1, ready(0), processing(ANNE, 1, until))])), None);
    assert_eq!(told.acks(ANNE, 0, 1), None);
    told.entry(1500, true);
    assert_eq!(told.grants(BERT, (1, 0), 1), None);
    let done = ("b", 1, EventState::Settled, None);
    assert_eq!(told.shows(&Seen::of(vec![("a", 0, ready(1), processing(BERT, 1, 2001)), done])), None);
    // Anne has been silent since, and is lost; Bert has not, and his delivery timed out.
    told.entry(5000, false);
    assert_eq!(told.settles(BERT, Vec::new(), Vec::new()), None);
    told.entry(11_500, true);
    assert_eq!(told.grants(BERT, (1, 0), 2), None);
    let again = ("a", 0, ready(1), processing(BERT, 2, 12_000));
    assert_eq!(
        told.shows(&Seen { members: 1, ..Seen::of(vec![again, ("b", 1, EventState::Settled, None)]) }),
        None
    );
}

#[test]
fn an_event_is_accepted_and_becomes_ready_once() {
    let mut told = Told::new(Mode::Shared);
    told.accepts("a", 0);
    let due_ms = (told.ms + 1) as i64;
    let result = Published::Accepted { offset: 7, due_ms };
    assert_eq!(told.publishes("b", Due::In(0), result), Some("FireOnce"), "an offset is left out");

    let mut told = Told::new(Mode::Shared);
    told.accepts("a", 0);
    assert_eq!(told.grants(ANNE, (0, 0), 1), None);
    assert_eq!(told.grants(BERT, (1, 0), 1), Some("FireOnce"), "it is ready in two places");
}

#[test]
fn nothing_is_early() {
    let mut told = Told::new(Mode::Shared);
    let early = Published::Accepted { offset: 0, due_ms: 1400 };
    assert_eq!(told.publishes("a", Due::At(1500), early), Some("NeverEarly"), "it is taken for due before");

    let mut told = Told::new(Mode::Shared);
    told.schedules("a", 0, 1500);
    assert_eq!(told.grants(ANNE, (0, 0), 1), Some("NeverEarly"), "it is granted before");

    let mut told = Told::new(Mode::Shared);
    told.schedules("a", 0, 1500);
    let seen = Seen::of(vec![("a", 0, ready(0), Some(DeliveryState::Buffered))]);
    assert_eq!(told.shows(&seen), Some("NeverEarly"), "it is seen ready before");
}

#[test]
fn what_waited_becomes_ready_in_the_order_in_which_it_was_due() {
    let mut told = Told::new(Mode::Shared);
    told.schedules("a", 0, 1600);
    told.schedules("b", 1, 1500);
    told.entry(1700, true);
    assert_eq!(told.grants(ANNE, (0, 0), 1), None);
    assert_eq!(told.grants(ANNE, (1, 1), 1), Some("FireBounded"));
}

#[test]
fn what_was_cancelled_stays_so() {
    let cancelled = || {
        let mut told = Told::new(Mode::Shared);
        told.schedules("a", 0, 1500);
        let cancel = EventsCommand::Cancel { topic: topic(), event: name("a") };
        assert_eq!(told.does(cancel, EventsAnswer::Cancelled { offset: 0 }), None);
        told.entry(1500, true);
        told
    };
    assert_eq!(cancelled().grants(ANNE, (0, 0), 1), Some("CancelWins"));
    let seen = Seen::of(vec![("a", 0, ready(0), Some(DeliveryState::Buffered))]);
    assert_eq!(cancelled().shows(&Seen { scheduled: 0, next_seq: 0, ..seen }), Some("CancelWins"));
    let cancel = EventsCommand::Cancel { topic: topic(), event: name("a") };
    let again = cancelled().does(cancel, EventsAnswer::Cancelled { offset: 0 });
    assert_eq!(again, Some("TerminalStays"));
    let (event, due) = (name("a"), Due::At(9000));
    let put_off = EventsCommand::Reschedule { topic: topic(), event, due };
    let put_off = cancelled().does(put_off, EventsAnswer::Rescheduled { offset: 0, due_ms: 9000 });
    assert_eq!(put_off, Some("TerminalStays"));
}

#[test]
fn another_event_is_not_cancelled_by_a_name() {
    let mut told = Told::new(Mode::Shared);
    told.schedules("a", 0, 1500);
    told.schedules("b", 1, 1500);
    let cancel = EventsCommand::Cancel { topic: topic(), event: name("a") };
    assert_eq!(told.does(cancel, EventsAnswer::Cancelled { offset: 1 }), Some("OwnerOnly"));
}

#[test]
fn no_event_is_lost_sight_of() {
    let accepted = || {
        let mut told = Told::new(Mode::Shared);
        told.schedules("a", 0, 1500);
        told
    };
    let waits = || Seen::of(vec![("a", 0, EventState::Scheduled, None)]);
    assert_eq!(accepted().shows(&waits()), None);
    assert_eq!(accepted().shows(&Seen { scheduled: 0, ..waits() }), Some("NeverSilent"), "it waits nowhere");
    let mut told = accepted();
    told.entry(1500, true);
    assert_eq!(told.shows(&waits()), Some("NeverSilent"), "it was due, and is not ready");
    let mut told = accepted();
    told.entry(1490, false);
    let nameless = Seen { events: vec![("b", 0, EventState::Scheduled, None)], ..waits() };
    assert_eq!(told.shows(&nameless), Some("NeverSilent"), "its name is not known");
    let mut told = accepted();
    told.entry(7000, false);
    told.book.healed();
    assert_eq!(told.shows(&waits()), Some("NeverSilent"), "nobody has woken the partition");
}

#[test]
fn what_is_not_due_is_known_by_its_name_beyond_the_window() {
    let scheduled = || {
        let mut told = Told::new(Mode::Shared);
        told.schedules("a", 0, 9000);
        told.entry(5000, true);
        told
    };
    let nameless = Seen { events: vec![("b", 0, EventState::Scheduled, None)], ..Seen::of(Vec::new()) };
    assert_eq!(scheduled().shows(&Seen { scheduled: 1, ..nameless }), Some("NeverSilent"));
    let again = Published::Accepted { offset: 1, due_ms: 9000 };
    assert_eq!(scheduled().publishes("a", Due::At(9000), again), Some("DedupHolds"));
}

#[test]
fn a_group_is_done_with_what_was_acknowledged_and_nothing_else() {
    let shown_after = |acked: bool| {
        let mut told = Told::new(Mode::Shared);
        told.accepts("a", 0);
        assert_eq!(told.grants(ANNE, (0, 0), 1), None);
        if acked {
            assert_eq!(told.acks(ANNE, 0, 1), None);
        }
        told.shows(&Seen::of(vec![("a", 0, ready(0), Some(DeliveryState::Processed))]))
    };
    assert_eq!(shown_after(true), None);
    assert_eq!(shown_after(false), Some("NeverSilent"));
}

#[test]
fn an_event_ends_with_what_its_groups_have_acknowledged() {
    let ended_after = |acked: bool| {
        let mut told = Told::new(Mode::Shared);
        told.accepts("a", 0);
        assert_eq!(told.shows(&Seen::of(vec![("a", 0, ready(0), Some(DeliveryState::Buffered))])), None);
        assert_eq!(told.grants(ANNE, (0, 0), 1), None);
        if acked {
            assert_eq!(told.acks(ANNE, 0, 1), None);
        }
        told.shows(&Seen::of(vec![("a", 0, EventState::Settled, None)]))
    };
    assert_eq!(ended_after(true), None);
    assert_eq!(ended_after(false), Some("NeverSilent"));
}

#[test]
fn who_is_silent_is_no_member_and_who_is_not_is_one() {
    let mut told = Told::new(Mode::Shared);
    assert_eq!(told.shows(&Seen { members: 1, ..Seen::of(Vec::new()) }), Some("NeverSilent"));
    told.entry(12_000, true);
    assert_eq!(told.shows(&Seen { members: 0, ..Seen::of(Vec::new()) }), None);
    assert_eq!(told.shows(&Seen::of(Vec::new())), Some("NeverSilent"));
}

#[test]
fn a_delivery_is_settled_by_the_attempt_that_is_open_and_by_whoever_has_it() {
    let granted_twice = || {
        let mut told = Told::new(Mode::Shared);
        told.accepts("a", 0);
        assert_eq!(told.grants(ANNE, (0, 0), 1), None);
        told.entry(1600, true);
        assert_eq!(told.grants(BERT, (0, 0), 2), None);
        told
    };
    assert_eq!(granted_twice().acks(BERT, 0, 2), None);
    assert_eq!(granted_twice().acks(ANNE, 0, 1), Some("OwnerOnly"), "an earlier attempt");
    assert_eq!(granted_twice().acks(ANNE, 0, 2), Some("OwnerOnly"), "somebody else's");
    let mut told = granted_twice();
    assert_eq!(told.acks(BERT, 0, 2), None);
    assert_eq!(told.acks(BERT, 0, 2), Some("TerminalStays"), "twice");
    assert_eq!(granted_twice().grants(ANNE, (0, 0), 3), Some("TerminalStays"), "one attempt too many");
}

#[test]
fn a_delivery_has_its_time() {
    let seen_after = |wakes_at: u64| {
        let mut told = Told::new(Mode::Shared);
        told.accepts("a", 0);
        assert_eq!(told.grants(ANNE, (0, 0), 1), None);
        assert_eq!(told.shows(&Seen::of(vec![("a", 0, ready(0), processing(ANNE, 1, 1500))])), None);
        told.entry(wakes_at, true);
        told.shows(&Seen::of(vec![("a", 0, ready(0), rests(1))]))
    };
    assert_eq!(seen_after(1500), None);
    assert_eq!(seen_after(1499), Some("OwnerOnly"));
}

#[test]
fn states_go_one_way() {
    let then = |before: (EventState, Option<DeliveryState>), after: (EventState, Option<DeliveryState>)| {
        let mut told = Told::new(Mode::Shared);
        told.accepts("a", 0);
        assert_eq!(told.shows(&Seen::of(vec![("a", 0, before.0, before.1)])), None);
        told.shows(&Seen { next_seq: 1, scheduled: 0, ..Seen::of(vec![("a", 0, after.0, after.1)]) })
    };
    let buffered = || Some(DeliveryState::Buffered);
    assert_eq!(then((ready(0), dead()), (ready(0), dead())), None);
    assert_eq!(then((ready(0), dead()), (ready(0), buffered())), Some("TerminalStays"));
    assert_eq!(then((ready(0), rests(2)), (ready(0), rests(1))), Some("TerminalStays"));
    assert_eq!(then((ready(0), Some(DeliveryState::Skipped)), (ready(0), buffered())), Some("TerminalStays"));
    assert_eq!(then((ready(0), buffered()), (EventState::Scheduled, None)), Some("OwnerOnly"));
    assert_eq!(then((ready(0), buffered()), (EventState::Cancelled, None)), Some("OwnerOnly"));
}

#[test]
fn a_name_is_accepted_once() {
    let mut told = Told::new(Mode::Shared);
    told.accepts("a", 0);
    let other = told.publishes("a", Due::In(0), Published::Duplicate { offset: 3 });
    assert_eq!(other, Some("DedupHolds"), "it is not that event");
    let due_ms = (told.ms + 1) as i64;
    let again = told.publishes("a", Due::In(0), Published::Accepted { offset: 1, due_ms });
    assert_eq!(again, Some("DedupHolds"), "it is accepted within the window");
}

#[test]
fn nobody_has_more_than_it_asked_for() {
    let mut told = Told::new(Mode::Shared);
    (0..3).for_each(|offset| told.accepts(["a", "b", "c"][offset as usize], offset));
    let seen = |last| {
        let open = |id, seq| (id, seq, ready(seq), processing(ANNE, 1, 2000));
        Seen::of(vec![open("a", 0), open("b", 1), ("c", 2, ready(2), last)])
    };
    assert_eq!(told.shows(&seen(Some(DeliveryState::Buffered))), None);
    assert_eq!(told.shows(&seen(processing(ANNE, 1, 2000))), Some("CreditRespected"));
}

#[test]
fn the_floor_stays_below_what_is_not_settled() {
    let shown_with = |floor| {
        let mut told = Told::new(Mode::Shared);
        told.accepts("a", 0);
        told.shows(&Seen { floor, ..Seen::of(vec![("a", 0, ready(0), rests(1))]) })
    };
    assert_eq!(shown_with(0), None);
    assert_eq!(shown_with(1), Some("FloorContiguous"));
}

#[test]
fn of_one_ordering_key_one_is_in_hand() {
    let shown = |first: Option<DeliveryState>, mode| {
        let mut told = Told::new(mode);
        told.accepts("a", 0);
        told.accepts("b", 1);
        told.shows(&Seen::of(vec![("a", 0, ready(0), first), ("b", 1, ready(1), processing(ANNE, 1, 2000))]))
    };
    assert_eq!(shown(dead(), Mode::Ordered), None);
    assert_eq!(shown(rests(1), Mode::Shared), None);
    assert_eq!(shown(rests(1), Mode::Ordered), Some("KeyOrder"));
    assert_eq!(shown(Some(DeliveryState::Buffered), Mode::Ordered), Some("KeyOrder"));
}

#[test]
fn nothing_is_delivered_when_it_is_of_no_use_any_more_nor_expires_before() {
    let useful = |told: &mut Told| {
        let due_ms = (told.ms + 1) as i64;
        let (expires, accepted) = (Some(Expires::At(2000)), Published::Accepted { offset: 0, due_ms });
        assert_eq!(told.publishes_for("a", Due::In(0), expires, accepted), None);
    };
    let expired = || EventState::Expired { seq: 0 };
    for (at_ms, broken) in [(1990, None), (1999, Some("ExpiryHolds"))] {
        let mut told = Told::new(Mode::Shared);
        useful(&mut told);
        told.entry(at_ms, false);
        assert_eq!(told.grants(ANNE, (0, 0), 1), broken, "granted at {at_ms}");
    }
    for (at_ms, broken) in [(1990, Some("ExpiryHolds")), (2000, None)] {
        let mut told = Told::new(Mode::Shared);
        useful(&mut told);
        told.entry(at_ms, true);
        assert_eq!(told.shows(&Seen::of(vec![("a", 0, expired(), Some(DeliveryState::Expired))])), broken);
    }
    let mut told = Told::new(Mode::Shared);
    useful(&mut told);
    told.entry(2001, true);
    let waits = told.shows(&Seen::of(vec![("a", 0, ready(0), Some(DeliveryState::Buffered))]));
    assert_eq!(waits, Some("ExpiryHolds"), "its time is over");
    let due_ms = (told.ms + 1) as i64;
    let accepted = Published::Accepted { offset: 1, due_ms };
    let over = told.publishes_for("b", Due::In(0), Some(Expires::At(900)), accepted);
    assert_eq!(over, Some("ExpiryHolds"), "it is of no use already");
}

#[test]
fn what_a_group_has_not_settled_is_let_go_by_no_bound() {
    let mut told = Told::new(Mode::Shared);
    told.accepts("a", 0);
    let waits = vec![("a", 0, ready(0), Some(DeliveryState::Buffered))];
    assert_eq!(told.shows(&Seen::of(waits)), None);
    let retain = EventsCommand::Retain { topic: topic(), age: None, bytes: None, below: Some(1) };
    assert_eq!(told.does(retain, EventsAnswer::Retained { events: 1, bytes: 1 }), None);
    let gone = vec![("a", 0, EventState::Expired { seq: 0 }, Some(DeliveryState::Expired))];
    assert_eq!(told.shows(&Seen::of(gone)), Some("ExpiryHolds"));
}

#[test]
fn what_is_kept_is_told_in_order_and_found_by_its_time() {
    let shown = |change: fn(&mut Seen<'_>)| {
        let mut told = Told::new(Mode::Shared);
        told.accepts("a", 0);
        told.accepts("b", 1);
        let buffered = || Some(DeliveryState::Buffered);
        let mut seen = Seen::of(vec![("a", 0, ready(0), buffered()), ("b", 1, ready(1), buffered())]);
        change(&mut seen);
        told.shows(&seen)
    };
    assert_eq!(shown(|_| {}), None);
    assert_eq!(shown(|seen| seen.kept.reverse()), Some("KeptInOrder"));
    assert_eq!(shown(|seen| seen.kept[0].at = seen.kept[1].at.next()), Some("KeptInOrder"));
    assert_eq!(shown(|seen| seen.kept[0].at = Timestamp::default()), Some("KeptInOrder"));
    assert_eq!(shown(|seen| seen.found_from = Some(Timestamp::default())), Some("KeptInOrder"));
}

#[test]
fn a_topic_does_not_go() {
    let mut told = Told::new(Mode::Shared);
    let gone = told.book.audit(|_| EventsView::Unknown, &mut told.compared);
    assert_eq!(name_of(gone), Some("NeverSilent"));
}
