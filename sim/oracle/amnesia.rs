//! AmnesiacMute (21): a node whose disk was wiped, or put back as it was, says nothing under its old id.
//!
//! It may ask its peers whether they know it, in a heartbeat that tells nothing of any group. Once one has told it that
//! it is not the one that was known, not even that.

use chronon_core::node::{Answer, Effect, Message};
use chronon_core::types::NodeId;

use super::few::Few;
use super::{Counts, Kind, Observed, Oracle, Violation};
use crate::time::WorldTime;

/// The oracle.
#[derive(Clone, Debug, Default)]
pub struct AmnesiacMute {
    /// Nodes whose disks were lost; whether the process that runs has learned it.
    lost: Few<NodeId, bool>,
    compared: u64,
}

impl AmnesiacMute {
    fn judge(&mut self, node: NodeId, effects: &[Effect], found: &mut Vec<Violation>) {
        let has_learned = *self.lost.or_default(node);
        for effect in effects {
            let what = match effect {
                Effect::Send { message: Message::Heartbeat(beat), .. } if beat.groups.is_empty() => {
                    has_learned
                        .then_some("a heartbeat, after it has learned that its disk is not what it was")
                }
                Effect::Send { message: Message::Heartbeat(_), .. } => {
                    Some("a heartbeat that tells of groups")
                }
                Effect::Send { .. } => Some("a message"),
                Effect::Reply { reply, .. } if matches!(reply.answer, Answer::Committed { .. }) => {
                    Some("an answer that something is committed")
                }
                Effect::Reply { .. } | Effect::Disk(_) | Effect::Halt(_) => None,
            };
            self.compared += u64::from(!matches!(effect, Effect::Disk(_)));
            found.extend(what.map(|what| {
                let what = format!("its disk was lost, and it sends {what}: {effect:?}");
                Violation::new("AmnesiacMute", what).at(node)
            }));
        }
    }
}

impl Oracle for AmnesiacMute {
    fn observe(&mut self, _at: WorldTime, seen: &Observed<'_>, found: &mut Vec<Violation>) {
        match seen {
            Observed::DiskLost { node } => self.lost.insert(*node, false),
            Observed::Start { node, .. } => {
                if let Some(has_learned) = self.lost.get_mut(*node) {
                    *has_learned = false;
                }
            }
            Observed::Step { node, effects, status, .. } => {
                self.judge(*node, effects, found);
                self.lost.insert(*node, status.amnesia.is_some());
            }
            _ => {}
        }
    }

    fn wants(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Lost | Kind::Rest)
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["AmnesiacMute"]
    }

    fn count(&self, counts: &mut Counts) {
        counts.add("AmnesiacMute", self.compared);
    }

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(self.clone())
    }
}
