//! A commit rests on acknowledgements of its own view (OwnAcks): what was said in an earlier view was said of another
//! log, and an acknowledgement that comes late must not count for what lies there now (Liskov, Cowling 2012, section 4.1).
//!
//! An acknowledgement is seen when it reaches a node, and the highest op of each voter is kept, so the judge takes more
//! for acknowledged than a primary may.

use std::collections::BTreeMap;

use chronon_core::types::{GroupInit, NodeId};

use super::shadow::Broken;

/// The acknowledgements in one group.
#[derive(Clone, Debug)]
pub(super) struct Acks {
    nodes: Vec<NodeId>,
    voters: Vec<NodeId>,
    /// By view: the highest op that each node, in their order, was heard to acknowledge in it.
    heard: BTreeMap<u64, Vec<u64>>,
    /// The latest view whose acknowledgements are no longer remembered.
    forgotten: Option<u64>,
    /// How many commits were judged.
    pub compared: u64,
}

impl Acks {
    pub(super) fn new(init: &GroupInit, nodes: &[NodeId]) -> Self {
        Self {
            nodes: nodes.to_vec(),
            voters: init.voters.clone(),
            heard: BTreeMap::new(),
            forgotten: None,
            compared: 0,
        }
    }

    /// An acknowledgement of `from` in `view`, up to `op`, reaches a node.
    pub(super) fn hear(&mut self, from: NodeId, view: u64, op: u64) {
        let Some(place) = self.nodes.iter().position(|voter| *voter == from) else { return };
        let heard = self.heard.entry(view).or_insert_with(|| vec![0; self.nodes.len()]);
        heard[place] = heard[place].max(op);
        while self.heard.len() > VIEWS_KEPT {
            self.forgotten = self.heard.pop_first().map(|(view, _)| view);
        }
    }

    /// Whether `voter` stands behind `op` in `view`, which `primary` leads: by its word, or as that primary. True when
    /// the view is so old that its acknowledgements are forgotten.
    pub(super) fn backs(&self, voter: NodeId, primary: NodeId, view: u64, op: u64) -> bool {
        let forgotten = self.forgotten.is_some_and(|forgotten| view <= forgotten);
        let place = self.nodes.iter().position(|other| *other == voter);
        let said = self.heard.get(&view).zip(place).map(|(heard, place)| heard[place]);
        voter == primary || forgotten || said.is_some_and(|highest| highest >= op)
    }

    /// `node` shows, as the primary of `view`, that `op` is committed, which nobody has shown before; it makes these the voters,
    /// if it makes any.
    pub(super) fn commit(
        &mut self,
        node: NodeId,
        (view, op): (u64, u64),
        next: Option<&[NodeId]>,
    ) -> Result<(), Broken> {
        self.majority_backs(node, (view, op), &self.voters)?;
        next.map_or(Ok(()), |next| self.majority_backs(node, (view, op), next))?;
        self.compared += 1;
        Ok(())
    }

    /// The voters are others from here on.
    pub(super) fn enter(&mut self, voters: &[NodeId]) {
        self.voters = voters.to_vec();
    }

    fn majority_backs(&self, node: NodeId, (view, op): (u64, u64), voters: &[NodeId]) -> Result<(), Broken> {
        let acks = voters.iter().filter(|voter| self.backs(**voter, node, view, op)).count();
        if acks > voters.len() / 2 {
            return Ok(());
        }
        let voters = voters.len();
        let what = format!(
            "op {op} is committed in view {view} on the word of {acks} of {voters} voters in that view"
        );
        Err(Broken::new("OwnAcks", what))
    }
}

/// Views whose acknowledgements and logs are remembered: a primary that was deposed may commit late.
pub(super) const VIEWS_KEPT: usize = 16;
