//! Members that come and go, on perfect disks and links.

use alloc::string::String;
use alloc::vec::Vec;

use super::tests::{Cluster, GROUP};
use crate::codec;
use crate::kernel::Command;
use crate::node::{Answer, Deed, Input, Order, Role, Route};
use crate::register::RegisterCommand;
use crate::types::{Blob, ClientId, Epoch, MembershipChange, NodeId, RequestNumber, SessionId};

impl Cluster {
    /// Orders it of the primary, and gives the answer.
    fn order(&mut self, change: MembershipChange) -> Answer {
        let primary = self.primary().expect("there is a primary");
        let order = Order { group: GROUP, deed: Deed::Change(change) };
        self.replies.clear();
        self.step(primary, Input::Order { route: Route(5), order });
        self.run(50);
        assert_eq!(self.replies.len(), 1, "one answer to one order");
        self.replies[0].answer.clone()
    }

    fn put(&mut self, session: SessionId, number: u64) {
        let body = RegisterCommand::Write {
            key: Blob::from(b"k".to_vec()),
            value: Blob::from(number.to_le_bytes().to_vec()),
        };
        let command = Command {
            client: ClientId::new(9),
            session,
            number: RequestNumber::new(number),
            body: Blob::from(codec::encode(&body)),
        };
        let answer = self.ask(command);
        assert!(matches!(answer, Answer::Committed { .. }), "{answer}");
    }

    fn role(&self, index: usize) -> Option<Role> {
        self.nodes[index].as_ref()?.group_status(GROUP).map(|status| status.role)
    }

    /// Voters and learners as a node knows them, and the epoch.
    fn members(&self, index: usize) -> (Epoch, Vec<u64>, Vec<u64>) {
        let node = self.nodes[index].as_ref().expect("it runs");
        let membership = node.membership(GROUP).expect("it has the group");
        let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.get()).collect();
        (membership.epoch, ids(&membership.voters), ids(&membership.learners))
    }

    fn applied_alike(&self, indexes: &[usize]) -> bool {
        let state = |index: &usize| {
            let status = self.nodes[*index].as_ref()?.group_status(GROUP)?;
            Some((status.applied, status.applied_digest))
        };
        let first = state(&indexes[0]);
        first.is_some() && indexes.iter().all(|index| state(index) == first)
    }
}

fn add(node: u64) -> MembershipChange {
    MembershipChange::AddLearner { node: NodeId::new(node), address: String::new() }
}

fn promote(node: u64) -> MembershipChange {
    MembershipChange::Promote { node: NodeId::new(node) }
}

fn remove(node: u64) -> MembershipChange {
    MembershipChange::Remove { node: NodeId::new(node) }
}

fn is_done(answer: &Answer) -> bool {
    matches!(answer, Answer::Committed { .. })
}

#[test]
fn a_node_learns_votes_and_takes_the_place_of_those_that_leave() {
    let mut cluster = Cluster::with_joining("register", 1, 2);
    cluster.run(1_000);
    let session = cluster.register(9);
    (1..=20).for_each(|number| cluster.put(session, number));
    assert_eq!(cluster.role(1), Some(Role::Outside));

    assert!(is_done(&cluster.order(add(2))));
    cluster.run(1_000);
    assert_eq!(cluster.role(1), Some(Role::Learner));
    assert!(cluster.applied_alike(&[0, 1]), "it has caught up");
    assert!(is_done(&cluster.order(promote(2))));
    cluster.put(session, 21);
    assert_eq!(cluster.members(1), (Epoch::new(2), [1, 2].into(), [].into()));

    assert!(is_done(&cluster.order(add(3))));
    cluster.run(1_000);
    let replace = MembershipChange::Replace { node: NodeId::new(2), by: NodeId::new(3) };
    assert!(is_done(&cluster.order(replace)));
    cluster.run(1_000);
    assert_eq!(cluster.role(1), Some(Role::Outside));
    cluster.put(session, 22);

    // The primary removes itself.
    assert_eq!(cluster.primary(), Some(0));
    assert!(is_done(&cluster.order(remove(1))));
    cluster.run(3_000);
    assert_eq!(cluster.role(0), Some(Role::Outside));
    assert_eq!(cluster.primary(), Some(2));
    cluster.stop(0);
    cluster.stop(1);
    cluster.put(session, 23);
    assert_eq!(cluster.members(2), (Epoch::new(5), [3].into(), [].into()));

    // All of it is on the disk.
    cluster.stop(2);
    cluster.start(2);
    cluster.run(3_000);
    assert_eq!(cluster.primary(), Some(2));
    cluster.put(session, 24);
}

#[test]
fn who_was_down_while_it_was_removed_hears_of_it_and_campaigns_no_more() {
    let mut cluster = Cluster::with_joining("register", 3, 0);
    cluster.run(1_000);
    let session = cluster.register(9);
    cluster.put(session, 1);
    let primary = cluster.primary().expect("there is one");
    let other = (primary + 1) % 3;
    cluster.stop(other);
    let id = crate::types::u64_of(other) + 1;
    assert!(is_done(&cluster.order(remove(id))));
    cluster.put(session, 2);
    cluster.start(other);
    cluster.run(5_000);
    assert_eq!(cluster.role(other), Some(Role::Outside));
    assert_eq!(cluster.primary(), Some(primary), "nobody was disturbed");
    cluster.put(session, 3);
}

#[test]
fn what_cannot_be_changed_is_declined() {
    let mut cluster = Cluster::with_joining("register", 1, 1);
    cluster.run(1_000);
    let declined = |answer: Answer| match answer {
        Answer::Declined { why } | Answer::NotYet { why } => why,
        other => panic!("not declined: {other}"),
    };
    assert!(declined(cluster.order(promote(2))).contains("node 2 is no learner"));
    assert!(declined(cluster.order(remove(1))).contains("0 voters would be left"));
    cluster.stop(1);
    assert!(is_done(&cluster.order(add(2))));
    let session = cluster.register(9);
    (1..=20).for_each(|number| cluster.put(session, number));
    assert!(declined(cluster.order(promote(2))).contains("lacks 22 entries"));
}
