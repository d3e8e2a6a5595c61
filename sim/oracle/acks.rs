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
    voters: Vec<NodeId>,
    /// By view: the highest op that each voter, in their order, was heard to acknowledge in it.
    heard: BTreeMap<u64, Vec<u64>>,
    /// How many commits were judged.
    pub compared: u64,
}

impl Acks {
    pub(super) fn new(init: &GroupInit) -> Self {
        Self { voters: init.voters.clone(), heard: BTreeMap::new(), compared: 0 }
    }

    /// An acknowledgement of `from` in `view`, up to `op`, reaches a node.
    pub(super) fn hear(&mut self, from: NodeId, view: u64, op: u64) {
        let Some(place) = self.voters.iter().position(|voter| *voter == from) else { return };
        let heard = self.heard.entry(view).or_insert_with(|| vec![0; self.voters.len()]);
        heard[place] = heard[place].max(op);
        while self.heard.len() > VIEWS_KEPT {
            self.heard.pop_first();
        }
    }

    /// `node` shows, as the primary of `view`, that `op` is committed, which nobody has shown before.
    pub(super) fn commit(&mut self, node: NodeId, view: u64, op: u64) -> Result<(), Broken> {
        self.compared += 1;
        let heard = self.heard.get(&view).into_iter().flatten();
        let others =
            heard.zip(&self.voters).filter(|(highest, voter)| **voter != node && **highest >= op).count();
        let (acks, quorum) = (others + 1, self.voters.len() / 2 + 1);
        if acks >= quorum {
            return Ok(());
        }
        let voters = self.voters.len();
        let what = format!(
            "op {op} is committed in view {view} on the word of {acks} of {voters} voters in that view"
        );
        Err(Broken::new("OwnAcks", what))
    }
}

/// Views whose acknowledgements are remembered: a primary that was deposed may commit late.
const VIEWS_KEPT: usize = 16;
