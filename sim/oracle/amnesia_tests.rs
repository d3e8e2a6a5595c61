use chronon_core::engine::Amnesia;
use chronon_core::node::{Effect, GroupBeat, Heartbeat, Message, NodeStatus, Phase};
use chronon_core::types::{CommitIndex, GroupId, NodeId, Op, View};

use super::{AmnesiacMute, Observed, Oracle};
use crate::time::WorldTime;

const NODE: NodeId = NodeId::new(2);

fn beat(groups: Vec<GroupBeat>) -> Effect {
    let beat = Heartbeat {
        boot: Default::default(),
        sequence: 1,
        heard_boot: Default::default(),
        heard_sequence: 0,
        witnessed: Default::default(),
        flush: 0,
        full: false,
        schema: chronon_core::kernel::Schema::FIRST,
        clock: Default::default(),
        groups,
    };
    Effect::Send { to: NodeId::new(1), message: Message::Heartbeat(beat) }
}

fn says_something() -> Effect {
    let (group, view) = (GroupId::new(0), View::new(1));
    beat(vec![GroupBeat {
        group,
        view,
        leads: true,
        commit: CommitIndex::None,
        head: Op::GENESIS,
        released: Op::GENESIS,
        complete_to: Op::GENESIS,
    }])
}

/// Whether these effects of the node, one step each, break the promise, after its disk was lost.
fn breaks(steps: &[(Effect, bool)]) -> bool {
    let mut oracle = AmnesiacMute::default();
    let mut found = Vec::new();
    let mut see = |seen: &Observed<'_>| oracle.observe(WorldTime::ZERO, seen, &mut found);
    see(&Observed::DiskLost { node: NODE });
    see(&Observed::Start { node: NODE, boot: 2 });
    for (effect, has_learned) in steps {
        let amnesia = Amnesia { by: NodeId::new(1), what: "start 2 was heard".to_owned() };
        let amnesia = has_learned.then_some(amnesia);
        let status = NodeStatus { phase: Phase::Running, amnesia, ..NodeStatus::default() };
        let effects = std::slice::from_ref(effect);
        see(&Observed::Step { node: NODE, effects, status: &status, changed: &[] });
    }
    !found.is_empty()
}

#[test]
fn a_lost_disk_may_ask_whether_it_is_known_and_say_no_more() {
    assert!(!breaks(&[(beat(Vec::new()), false), (beat(Vec::new()), false)]));
    assert!(breaks(&[(says_something(), false)]));
}

#[test]
fn once_it_is_told_it_says_nothing_at_all() {
    assert!(!breaks(&[(beat(Vec::new()), true)]), "it learned in that very step");
    assert!(breaks(&[(beat(Vec::new()), true), (beat(Vec::new()), true)]));
}

#[test]
fn what_a_process_knew_from_its_disk_the_next_one_knows() {
    let forgets = |knows: &[bool]| {
        let mut oracle = AmnesiacMute::default();
        let mut found = Vec::new();
        oracle.observe(WorldTime::ZERO, &Observed::DiskLost { node: NODE }, &mut found);
        for (boot, knows) in (2..).zip(knows) {
            let amnesia = Amnesia { by: NodeId::new(1), what: "start 2 was heard".to_owned() };
            let amnesia = knows.then_some(amnesia);
            let status = NodeStatus { phase: Phase::Running, amnesia, ..NodeStatus::default() };
            oracle.observe(WorldTime::ZERO, &Observed::Start { node: NODE, boot }, &mut found);
            let seen = Observed::Step { node: NODE, effects: &[], status: &status, changed: &[] };
            oracle.observe(WorldTime::ZERO, &seen, &mut found);
        }
        !found.is_empty()
    };
    assert!(!forgets(&[false, true, true]));
    assert!(forgets(&[true, false]));
}
