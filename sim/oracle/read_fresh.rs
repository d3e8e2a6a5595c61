//! ReadFresh (35): a linearizable read beside the log covers everything that was acknowledged before it began.

use std::collections::BTreeMap;

use chronon_core::node::{Answer, Freshness};
use chronon_core::types::{GroupId, Op};

use super::few::Few;
use super::{Counts, Kind, Observed, Oracle, Violation};
use crate::time::WorldTime;

/// What each read must cover, by what clients and readers had been told when it began.
#[derive(Clone, Debug, Default)]
pub struct ReadFresh {
    /// The highest op that anybody was told of.
    told: Few<GroupId, Op>,
    /// Reads that are open, and what they are to cover.
    open: BTreeMap<u64, Op>,
    compared: u64,
}

impl Oracle for ReadFresh {
    fn observe(&mut self, _at: WorldTime, seen: &Observed<'_>, found: &mut Vec<Violation>) {
        match seen {
            Observed::Return { group, answer: Answer::Committed { op, .. }, .. } => self.tell(*group, *op),
            Observed::Asked { read, group, freshness: Freshness::Linearizable, .. } => {
                let least = *self.told.or_default(*group);
                self.open.insert(*read, least);
            }
            Observed::Told { node, read, group, op, .. } => {
                let Some(least) = self.open.remove(read) else { return };
                self.compared += 1;
                if *op < least {
                    let what = format!("a read shows op {op}, and op {least} was told before it began");
                    found.push(Violation::new("ReadFresh", what).at(*node).of(*group));
                }
                self.tell(*group, *op);
            }
            _ => {}
        }
    }

    fn wants(&self, kind: Kind) -> bool {
        kind == Kind::Rest
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["ReadFresh"]
    }

    fn count(&self, counts: &mut Counts) {
        counts.add("ReadFresh", self.compared);
    }

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(self.clone())
    }
}

impl ReadFresh {
    fn tell(&mut self, group: GroupId, op: Op) {
        let told = self.told.or_default(group);
        *told = op.max(*told);
    }
}
