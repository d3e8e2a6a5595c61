//! What is promised of recurring schedules: plans without gaps, in time.

use chronon_core::events::{Due, EventsAnswer, EventsCommand, Mode, Published, RecurringView, Rule};
use chronon_core::types::Op;

use super::{Seen, Told, new_event, stored, topic};

#[test]
fn a_schedule_is_planned_without_gaps_and_asks_for_more_in_time() {
    let (schedule, revision) = ("s".to_owned(), Op::new(5));
    let recurs = |told: &mut Told| {
        let rule = Rule::Every { ms: 100 };
        let event = new_event("", Due::In(0), None);
        let recur = EventsCommand::Recur { topic: topic(), schedule: schedule.clone(), rule, event };
        told.does(recur, EventsAnswer::Recurs { revision, until_ms: 1000, withdrawn: Vec::new() })
    };
    let occurs = |told: &mut Told, after_ms, until_ms| {
        let occur = EventsCommand::Occur {
            topic: topic(),
            schedule: schedule.clone(),
            revision,
            after_ms,
            until_ms,
            events: Vec::new(),
        };
        told.does(occur, EventsAnswer::Occurred { until_ms, published: Vec::new() })
    };
    let wants = || RecurringView {
        topic: topic(),
        name: schedule.clone(),
        rule: Rule::Every { ms: 100 },
        made: stored(0),
        revision,
        until_ms: 1000,
        is_paused: false,
        planned: Vec::new(),
    };
    let mut told = Told::new(Mode::Shared);
    assert_eq!(recurs(&mut told), None);
    let occur = EventsCommand::Occur {
        topic: topic(),
        schedule: schedule.clone(),
        revision,
        after_ms: 1000,
        until_ms: 5000,
        events: vec![new_event("o", Due::At(5000), None)],
    };
    let published = vec![Published::Accepted { offset: 0, due_ms: 5000 }];
    assert_eq!(told.does(occur, EventsAnswer::Occurred { until_ms: 5000, published }), None);
    let forget = EventsCommand::Forget { topic: topic(), schedule: schedule.clone() };
    let forgotten = EventsAnswer::Forgotten { withdrawn: Vec::new() };
    assert_eq!(told.does(forget, forgotten), Some("PlannedOnce"), "what it has planned stays");

    let mut told = Told::new(Mode::Shared);
    assert_eq!(recurs(&mut told), None);
    assert_eq!(occurs(&mut told, 900, 1500), Some("PlannedOnce"), "it was planned up to 1000");
    assert_eq!(occurs(&mut told, 1000, 1500), None);
    assert_eq!(occurs(&mut told, 1000, 1500), Some("PlannedOnce"), "the same again");
    told.entry(1400, true);
    assert_eq!(told.shows(&Seen::of(Vec::new())), None);
    told.entry(1600, true);
    assert_eq!(told.shows(&Seen::of(Vec::new())), Some("PlannedOnce"), "it wants a plan, and is silent");
    assert_eq!(told.shows(&Seen::of(Vec::new()).that_wants(wants())), None);
    let pause = EventsCommand::Pause { topic: topic(), schedule: schedule.clone(), pauses: true };
    let paused = EventsAnswer::Recurs { revision: Op::new(9), until_ms: 1600, withdrawn: Vec::new() };
    assert_eq!(told.does(pause, paused), None);
    let wants = Seen::of(Vec::new()).that_wants(wants());
    assert_eq!(told.shows(&wants), Some("PlannedOnce"), "it pauses");
}
