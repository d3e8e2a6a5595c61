use chronon_core::types::NodeId;

use super::{DropRule, Endpoint, MessageKind, NetModel, SimNet, Subject};
use crate::random::Randomness;
use crate::time::{MICROSECOND, MILLISECOND, WorldTime};

const A: Endpoint = Endpoint::Node(NodeId::new(1));
const B: Endpoint = Endpoint::Node(NodeId::new(2));
const CLIENT: Endpoint = Endpoint::Client(1);
const NOW: WorldTime = WorldTime::from_nanos(MILLISECOND);
const PERFECT: NetModel = NetModel { delay_ns: 500 * MICROSECOND, loss_ppm: 0, duplicate_ppm: 0 };

fn net(model: NetModel) -> SimNet {
    SimNet::new(3, 2, model, Randomness::new(5, 0))
}

fn about(kind: MessageKind, op: u64) -> Subject {
    Subject { kind, group: 1, view: 4, op, bytes: 0 }
}

#[test]
fn messages_arrive_later_and_overtake_each_other() {
    let mut net = net(PERFECT);
    let arrivals: Vec<_> = (0..200)
        .map(|op| net.fate(NOW, A, B, about(MessageKind::Prepare, op)).arrivals[0].expect("nothing is lost"))
        .collect();
    assert!(arrivals.iter().all(|&arrival| arrival > NOW));
    assert!(!arrivals.is_sorted(), "messages sent at once arrive in another order");
}

#[test]
fn the_model_loses_and_doubles_the_share_it_should() {
    let mut net = net(NetModel { loss_ppm: 100_000, duplicate_ppm: 50_000, ..PERFECT });
    let (mut lost, mut doubled) = (0, 0);
    for op in 0..20_000 {
        match net.fate(NOW, A, B, about(MessageKind::Prepare, op)).arrivals {
            [None, _] => lost += 1,
            [Some(_), Some(_)] => doubled += 1,
            [Some(_), None] => {}
        }
    }
    assert!((1800..2200).contains(&lost), "lost {lost}");
    assert!((750..1050).contains(&doubled), "doubled {doubled}");
    assert_eq!(net.losses_and_duplicates(), (lost, doubled));
}

#[test]
fn a_fate_does_not_depend_on_other_messages() {
    let model = NetModel { loss_ppm: 300_000, duplicate_ppm: 300_000, ..PERFECT };
    let (mut alone, mut crowded) = (net(model), net(model));
    for op in 0..300 {
        crowded.fate(NOW, B, A, about(MessageKind::PrepareOk, op));
        crowded.fate(NOW, A, CLIENT, about(MessageKind::Reply, op));
        let subject = about(MessageKind::Prepare, op);
        assert_eq!(alone.fate(NOW, A, B, subject), crowded.fate(NOW, A, B, subject), "op {op}");
    }
}

#[test]
fn the_same_message_sent_again_meets_another_fate() {
    let mut net = net(NetModel { loss_ppm: 500_000, ..PERFECT });
    let fates: Vec<_> = (0..64)
        .map(|_| net.fate(NOW, A, B, about(MessageKind::StartViewChange, 0)).arrivals[0].is_some())
        .collect();
    assert!(fates.contains(&true) && fates.contains(&false));
}

#[test]
fn cuts_are_one_way_and_add_up() {
    let mut net = net(PERFECT);
    net.cut(A, B);
    net.cut(A, B);
    net.mend(A, B);
    assert!(net.is_cut(A, B) && !net.is_cut(B, A));
    assert_eq!(net.fate(NOW, A, B, about(MessageKind::Prepare, 1)).arrivals, [None, None]);
    assert!(net.fate(NOW, B, A, about(MessageKind::Prepare, 1)).arrivals[0].is_some());
    net.mend(A, B);
    assert!(net.fate(NOW, A, B, about(MessageKind::Prepare, 1)).arrivals[0].is_some());
}

#[test]
fn a_clogged_link_holds_messages_until_it_clears() {
    let mut net = net(PERFECT);
    let until = NOW.after(700 * MILLISECOND);
    net.clog(A, B, until);
    for op in 0..50 {
        let arrival =
            net.fate(NOW, A, B, about(MessageKind::Prepare, op)).arrivals[0].expect("nothing is lost");
        assert!(arrival >= until && arrival < until.after(100 * MILLISECOND));
    }
}

#[test]
fn a_rule_drops_its_kind_only_and_only_so_often() {
    let mut net = net(PERFECT);
    let rule = DropRule {
        kind: Some(MessageKind::StartViewChange),
        from: None,
        to: Some(B),
        attempts: 1,
        bytes_min: 0,
        count: 2,
    };
    net.add_rule(1, rule);
    let mut passes = |to, kind, op| net.fate(NOW, A, to, about(kind, op)).arrivals[0].is_some();
    assert!(!passes(B, MessageKind::StartViewChange, 1), "the first sending is dropped");
    assert!(passes(B, MessageKind::StartViewChange, 1), "the second is not");
    assert!(passes(CLIENT, MessageKind::StartViewChange, 2), "another receiver's is not");
    assert!(passes(B, MessageKind::Prepare, 2), "another kind is not");
    assert!(!passes(B, MessageKind::StartViewChange, 2));
    assert!(passes(B, MessageKind::StartViewChange, 3), "after two, the rule is spent");
}

#[test]
fn healing_ends_every_fault() {
    let mut net = net(NetModel { loss_ppm: 1_000_000, ..PERFECT });
    net.cut(A, B);
    net.clog(A, B, NOW.after(u64::MAX / 2));
    net.heal();
    for op in 0..50 {
        let arrival =
            net.fate(NOW, A, B, about(MessageKind::Prepare, op)).arrivals[0].expect("nothing is lost");
        assert!(arrival < NOW.after(100 * MILLISECOND));
    }
}
