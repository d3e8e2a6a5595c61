//! What is ordered about consumer groups: to pause, to begin at another place, to be gone.

use chronon_core::events::{Disposition, EventsAnswer, EventsCommand, Mode, Settlement, Start, TopicConfig};
use chronon_core::types::Op;

use super::tests::{ANNE, BERT, Seen, Told, group, options, processing, ready, topic};

fn pauses(told: &mut Told, pauses: bool) -> Option<&'static str> {
    let pause = EventsCommand::PauseGroup { topic: topic(), group: group(), pauses };
    told.does(pause, EventsAnswer::GroupChanged { options: options(Mode::Shared), is_paused: pauses })
}

fn seeks(told: &mut Told, seq: u64) -> Option<&'static str> {
    let seek = EventsCommand::Seek { topic: topic(), group: group(), to: Start::At(seq) };
    told.does(seek, EventsAnswer::Sought { seq, closed: 0 })
}

fn deletes(told: &mut Told) -> Option<&'static str> {
    let delete = EventsCommand::DeleteGroup { topic: topic(), group: group(), force: true };
    told.does(delete, EventsAnswer::GroupDeleted { closed: 1, dead: 0 })
}

fn acks_of(told: &mut Told, granted: Op) -> Option<&'static str> {
    told.settles(
        ANNE,
        vec![Settlement { seq: 0, attempt: 1, granted, disposition: Disposition::Ack }],
        Vec::new(),
    )
}

#[test]
fn nothing_is_granted_while_a_group_pauses() {
    let mut told = Told::new(Mode::Shared);
    told.accepts("a", 0);
    assert_eq!(told.grants(ANNE, (0, 0), 1), None);
    let until = told.ms + 500;
    assert_eq!(pauses(&mut told, true), None);
    let open = || vec![("a", 0, ready(0), processing(ANNE, 1, until))];
    let mut seen = Seen::of(open());
    seen.is_paused = true;
    assert_eq!(told.shows(&seen), None);
    assert_eq!(told.shows(&Seen::of(open())), Some("PauseHolds"), "it is not shown to pause");
    assert_eq!(told.acks(ANNE, 0, 1), None, "what is open may be settled");
    told.accepts("b", 1);
    assert_eq!(told.grants(BERT, (1, 1), 1), Some("PauseHolds"));
    assert_eq!(pauses(&mut told, false), None);
    assert_eq!(told.grants(BERT, (1, 1), 1), None);
}

#[test]
fn what_was_granted_before_a_seek_never_counts_and_nothing_before_its_place_is_granted() {
    let mut told = Told::new(Mode::Shared);
    told.accepts("a", 0);
    told.accepts("b", 1);
    assert_eq!(told.grants(ANNE, (0, 0), 1), None);
    let granted = told.op();
    assert_eq!(seeks(&mut told, 0), None);
    assert_eq!(acks_of(&mut told, granted), Some("GenerationHolds"));
    assert_eq!(told.grants(ANNE, (0, 0), 1), None, "once more");
    let granted = told.op();
    assert_eq!(acks_of(&mut told, granted), None);
    assert_eq!(seeks(&mut told, 1), None);
    assert_eq!(told.grants(ANNE, (0, 0), 1), Some("GenerationHolds"), "it was passed over");
}

#[test]
fn a_group_that_was_deleted_is_gone_and_what_it_was_granted_never_counts() {
    let mut told = Told::new(Mode::Shared);
    told.accepts("a", 0);
    assert_eq!(told.grants(ANNE, (0, 0), 1), None);
    let granted = told.op();
    assert_eq!(deletes(&mut told), None);
    assert_eq!(told.shows(&Seen::of(vec![("a", 0, ready(0), None)])), Some("GenerationHolds"));
    assert_eq!(acks_of(&mut told, granted), Some("GenerationHolds"));
}

#[test]
fn nothing_is_granted_while_a_topic_pauses() {
    let mut told = Told::new(Mode::Shared);
    told.accepts("a", 0);
    let opens = |revision, is_paused| EventsCommand::Open {
        topic: topic(),
        config: TopicConfig { revision, is_paused, ..TopicConfig::default() },
        id: 1,
    };
    assert_eq!(told.does(opens(2, true), EventsAnswer::Opened), None);
    assert_eq!(told.does(opens(1, false), EventsAnswer::Opened), None, "an earlier revision changes nothing");
    assert_eq!(told.grants(ANNE, (0, 0), 1), Some("PauseHolds"));
    assert_eq!(told.does(opens(3, false), EventsAnswer::Opened), None);
    assert_eq!(told.grants(ANNE, (0, 0), 1), None);
}

#[test]
fn a_topic_that_was_closed_is_gone_and_is_never_opened_again() {
    let mut told = Told::new(Mode::Shared);
    told.accepts("a", 0);
    let closes = EventsCommand::Close { topic: topic(), id: 1 };
    assert_eq!(told.does(closes, EventsAnswer::Closed { scheduled: 0, ready: 1, dead: 0 }), None);
    assert_eq!(told.shows(&Seen::of(vec![("a", 0, ready(0), None)])), Some("GenerationHolds"), "it is there");
    let opens = |id| EventsCommand::Open { topic: topic(), config: TopicConfig::default(), id };
    assert_eq!(told.does(opens(1), EventsAnswer::Opened), Some("GenerationHolds"));
    assert_eq!(told.does(opens(2), EventsAnswer::Opened), None);
    told.accepts("b", 0);
}
