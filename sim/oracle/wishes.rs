//! A view is left only when a quorum of the voters wishes so (Undisturbed): one replica that hears nobody, or was away, does
//! not make the others move. Or one primary does that an operator has told to hand its group over.
//!
//! A wish is seen when it is sent, so the judge takes more for a wish than the replicas can: who moves needs no message
//! for its own.

use std::collections::{BTreeMap, BTreeSet};

use chronon_core::types::{GroupInit, NodeId, View};

use super::shadow::Broken;

/// The wishes in one group.
#[derive(Clone, Debug)]
pub(super) struct Wishes {
    /// The highest view that each voter wished for.
    wished: BTreeMap<NodeId, u64>,
    /// Whom primaries were told to hand the group over to, and the views that they handed it over to.
    asked: BTreeMap<NodeId, NodeId>,
    handed_over: BTreeSet<u64>,
    /// The highest view that any replica has shown.
    highest: u64,
    /// How many moves were judged.
    pub compared: u64,
}

impl Wishes {
    pub(super) fn new(init: &GroupInit) -> Self {
        let wished: BTreeMap<NodeId, u64> = init.voters.iter().map(|voter| (*voter, 0)).collect();
        // The first view, 1 + g mod N, begins by itself.
        let highest = 1 + u64::from(init.group.get()) % wished.len() as u64;
        let (asked, handed_over) = (BTreeMap::new(), BTreeSet::new());
        Self { wished, asked, handed_over, highest, compared: 0 }
    }

    /// Others vote from here on; the first view of their epoch begins by itself.
    pub(super) fn enter(&mut self, voters: &[NodeId], first_view: u64) {
        let wished = |voter: &NodeId| (*voter, self.wished.get(voter).copied().unwrap_or_default());
        self.wished = voters.iter().map(wished).collect();
        self.highest = self.highest.max(first_view);
    }

    /// `node` sends that it wishes for `view`.
    pub(super) fn wish(&mut self, node: NodeId, view: u64) {
        if let Some(wished) = self.wished.get_mut(&node) {
            *wished = view.max(*wished);
        }
    }

    /// An operator tells `node` to hand the group over to `to`.
    pub(super) fn ask(&mut self, node: NodeId, to: NodeId) {
        self.asked.insert(node, to);
    }

    /// `node` hands the group over to the primary of `view`: it was told so. Who that is.
    pub(super) fn hand_over(&mut self, node: NodeId, view: u64) -> Result<NodeId, Broken> {
        let place = View::new(view).in_epoch().saturating_sub(1) % self.wished.len() as u64;
        let to = self.wished.keys().copied().nth(place as usize).unwrap_or(node);
        self.compared += 1;
        self.handed_over.insert(view);
        if self.asked.get(&node) == Some(&to) {
            return Ok(to);
        }
        let what =
            format!("view {view} of node {to} is handed the group, and nobody asked node {node} for that");
        Err(Broken::new("Undisturbed", what))
    }

    /// `node` shows that it is in `view`.
    pub(super) fn show(&mut self, node: NodeId, view: u64) -> Result<(), Broken> {
        if view <= self.highest || self.handed_over.contains(&view) {
            self.highest = self.highest.max(view);
            return Ok(());
        }
        self.highest = view;
        self.compared += 1;
        let others = self.wished.iter().filter(|(voter, wished)| **voter != node && **wished >= view).count();
        let (wishes, quorum) = (others + 1, self.wished.len() / 2 + 1);
        if wishes >= quorum {
            return Ok(());
        }
        let voters = self.wished.len();
        let what = format!("view {view} is entered on the wish of {wishes} of {voters} voters");
        Err(Broken::new("Undisturbed", what))
    }
}
