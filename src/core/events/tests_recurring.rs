//! Recurring schedules: what is planned, taken back, and planned again.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::command::EventsCommand as Command;
use super::tests::{Lone, event};
use super::{
    Due, EventName, EventState, EventsAnswer, EventsError, EventsQuery, EventsView, NewEvent, Published,
    Rule, TopicConfig,
};
use crate::types::Op;

impl Lone {
    fn recurs(&mut self, every_ms: u64) -> (Op, i64, Vec<u64>) {
        let (topic, schedule, rule) = ("t".to_string(), "s".to_string(), Rule::Every { ms: every_ms });
        match self.ask(Command::Recur { topic, schedule, rule, event: event("", "", Due::In(0)) }) {
            Ok(EventsAnswer::Recurs { revision, until_ms, withdrawn }) => (revision, until_ms, withdrawn),
            other => panic!("{other:?}"),
        }
    }

    /// Plans the next `count` instants, `every_ms` apart.
    fn plans(
        &mut self,
        (revision, after_ms): (Op, i64),
        every_ms: i64,
        count: i64,
    ) -> Result<i64, EventsError> {
        let new = |nth: i64| {
            let at = after_ms + nth * every_ms;
            let name = occurrence(at);
            NewEvent { name, ..event("", "", Due::At(at)) }
        };
        let (topic, schedule, events) = ("t".to_string(), "s".to_string(), (1..=count).map(new).collect());
        let until_ms = after_ms + count * every_ms;
        match self.ask(Command::Occur { topic, schedule, revision, after_ms, until_ms, events })? {
            EventsAnswer::Occurred { until_ms, published } => {
                assert!(published.iter().all(|result| matches!(result, Published::Accepted { .. })));
                Ok(until_ms)
            }
            other => panic!("{other:?}"),
        }
    }

    fn state_of(&self, name: EventName) -> Option<EventState> {
        match self.state.view(&EventsQuery::Event { topic: "t".to_string(), event: name }) {
            EventsView::Event(view) => view.map(|view| view.state),
            other => panic!("{other:?}"),
        }
    }

    /// The revision of the schedule that wants a plan, and up to when it has one.
    fn wanting(&self) -> (Op, i64) {
        match self.state.view(&EventsQuery::Unplanned) {
            EventsView::Recurring(rows) => (rows[0].revision, rows[0].until_ms),
            other => panic!("{other:?}"),
        }
    }

    fn wants_plans(&self) -> usize {
        assert_eq!(self.restored(), self.state);
        match self.state.view(&EventsQuery::Unplanned) {
            EventsView::Recurring(rows) => {
                assert_eq!(self.state.has_news(&EventsQuery::Unplanned), !rows.is_empty());
                rows.len()
            }
            other => panic!("{other:?}"),
        }
    }
}

fn occurrence(at_ms: i64) -> EventName {
    EventName { partition_key: String::new(), message_id: format!("s@{at_ms}") }
}

fn stale<T>() -> Result<T, EventsError> {
    Err(EventsError::StalePlan("s".to_string()))
}

#[test]
fn a_schedule_wants_its_next_plan_when_half_of_the_last_is_over() {
    let mut lone = Lone::new(TopicConfig::default());
    let (revision, until, withdrawn) = lone.recurs(100);
    assert_eq!((lone.wants_plans(), withdrawn.len()), (1, 0));
    let next = lone.plans((revision, until), 100, 4).expect("the first plan");
    assert_eq!(lone.wants_plans(), 0);
    assert_eq!(lone.plans((revision, until), 100, 4), stale(), "the same plan again");
    assert_eq!(lone.plans((revision, next), 100, 4), stale(), "it wants none");
    lone.pass(299);
    assert_eq!(lone.wants_plans(), 0);
    lone.pass(2);
    assert_eq!(lone.wants_plans(), 1);
    assert_eq!(lone.plans((Op::new(9999), next), 100, 4), stale(), "another revision");
    assert_eq!(lone.plans((revision, next + 5), 100, 4), stale(), "a gap");
    lone.plans((revision, next), 100, 4).expect("the next plan");
    assert!(matches!(lone.state_of(occurrence(until + 300)), Some(EventState::Ready { .. })));
    assert_eq!(lone.state_of(occurrence(until + 400)), Some(EventState::Scheduled));
}

#[test]
fn who_pauses_or_changes_a_schedule_takes_back_what_it_has_planned() {
    let mut lone = Lone::new(TopicConfig::default());
    let (revision, until, _) = lone.recurs(100);
    lone.plans((revision, until), 100, 4).expect("a plan");
    lone.pass(150);
    let pause = |pauses| Command::Pause { topic: "t".to_string(), schedule: "s".to_string(), pauses };
    match lone.ask(pause(true)) {
        Ok(EventsAnswer::Recurs { withdrawn, .. }) => assert_eq!(withdrawn, [1, 2, 3]),
        other => panic!("{other:?}"),
    }
    assert_eq!(lone.state_of(occurrence(until + 200)), Some(EventState::Cancelled));
    assert!(matches!(lone.state_of(occurrence(until + 100)), Some(EventState::Ready { .. })));
    lone.pass(1000);
    assert_eq!(lone.wants_plans(), 0, "it pauses");
    let Ok(EventsAnswer::Recurs { revision: resumed, until_ms, .. }) = lone.ask(pause(false)) else {
        panic!("it goes on")
    };
    assert!(resumed > revision && until_ms >= until + 1100, "it goes on from now");
    assert_eq!(lone.plans((revision, until + 400), 100, 4), stale(), "a plan from before");
    lone.plans((resumed, until_ms), 100, 2).expect("a plan");
    for pauses in [true, false] {
        lone.ask(pause(pauses)).expect("a schedule");
    }
    let (revision, after) = lone.wanting();
    let step = until_ms + 100 - after;
    lone.plans((revision, after), step, 1).expect("an instant that was taken back");
    assert_eq!(lone.state_of(occurrence(until_ms + 100)), Some(EventState::Scheduled));
    let (_, _, withdrawn) = lone.recurs(200);
    assert_eq!(withdrawn.len(), 1);
    let forget = Command::Forget { topic: "t".to_string(), schedule: "s".to_string() };
    assert!(matches!(lone.ask(forget.clone()), Ok(EventsAnswer::Forgotten { .. })));
    assert_eq!(lone.ask(forget), Err(EventsError::UnknownSchedule("s".to_string())));
    assert_eq!(lone.wants_plans(), 0);
}

#[test]
fn a_rule_that_has_no_more_instants_wants_nothing_more() {
    let mut lone = Lone::new(TopicConfig::default());
    let (revision, after_ms, _) = lone.recurs(100);
    let (topic, schedule, until_ms) = ("t".to_string(), "s".to_string(), i64::MAX);
    let over = Command::Occur { topic, schedule, revision, after_ms, until_ms, events: Vec::new() };
    assert!(matches!(lone.ask(over), Ok(EventsAnswer::Occurred { .. })));
    lone.pass(1_000_000);
    assert_eq!(lone.wants_plans(), 0);
}

#[test]
fn what_no_schedule_can_be_is_refused() {
    let mut lone = Lone::new(TopicConfig::default());
    let recur = |schedule: &str, rule, payload: usize| Command::Recur {
        topic: "t".to_string(),
        schedule: schedule.to_string(),
        rule,
        event: NewEvent { payload: alloc::vec![1; payload].into(), ..event("", "", Due::In(0)) },
    };
    let every = |ms| Rule::Every { ms };
    let cron = Rule::Cron { expression: String::new(), zone: "UTC".to_string() };
    let refused = [
        recur("", every(1000), 1),
        recur(&"s".repeat(81), every(1000), 1),
        recur("s", every(99), 1),
        recur("s", cron, 1),
        recur("s", every(1000), (64 << 10) + 1),
    ];
    for command in refused {
        let refused = lone.ask(command);
        assert!(
            matches!(refused, Err(EventsError::OutOfRange { .. } | EventsError::BadName { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(lone.wants_plans(), 0);
}
