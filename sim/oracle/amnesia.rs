//! AmnesiacMute (21): a node whose disk was wiped, or put back as it was, says nothing under its old id.
//!
//! It may ask its peers whether they know it, in a heartbeat that tells nothing of any group. Once one has told it that
//! it is not the one that was known, not even that; and once a process knew so from its disk, every later one does.

use chronon_core::node::{Answer, Effect, Message, Phase, QueryAnswer, WorkAnswer};
use chronon_core::types::NodeId;

use super::few::Few;
use super::{Counts, Kind, Observed, Oracle, Violation};
use crate::time::WorldTime;

/// The oracle.
#[derive(Clone, Debug, Default)]
pub struct AmnesiacMute {
    /// Nodes whose disks were lost.
    lost: Few<NodeId, Lost>,
    compared: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    /// The process that runs has learned it.
    has_learned: bool,
    /// The process that runs has shown what its disk says.
    has_started: bool,
    /// A process learned it from its disk alone.
    is_written: bool,
}

impl AmnesiacMute {
    fn judge(&mut self, node: NodeId, effects: &[Effect], found: &mut Vec<Violation>) {
        let has_learned = self.lost.or_default(node).has_learned;
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
                Effect::Answer { answer: QueryAnswer::State { .. }, .. } => Some("an answer to a question"),
                Effect::Execute { .. } => Some("an attempt at a side effect"),
                Effect::Worked {
                    answer: WorkAnswer::Granted(_) | WorkAnswer::Renewed | WorkAnswer::Recorded,
                    ..
                } => Some("a grant to a worker, or word that its end is recorded"),
                Effect::Reply { .. }
                | Effect::Answer { .. }
                | Effect::Disk(_)
                | Effect::Worked { .. }
                | Effect::Found { .. }
                | Effect::Meet { .. }
                | Effect::Halt(_) => None,
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
            Observed::DiskLost { node } => self.lost.insert(*node, Lost::default()),
            Observed::Start { node, .. } => {
                if let Some(lost) = self.lost.get_mut(*node) {
                    *lost = Lost { is_written: lost.is_written, ..Lost::default() };
                }
            }
            Observed::Step { node, effects, status, .. } => {
                self.judge(*node, effects, found);
                let lost = self.lost.or_default(*node);
                lost.has_learned = status.amnesia.is_some();
                if status.phase == Phase::Running && !std::mem::replace(&mut lost.has_started, true) {
                    if lost.is_written && !lost.has_learned {
                        let what = "a process knew from this disk that it was lost, and this one does not"
                            .to_owned();
                        found.push(Violation::new("AmnesiacMute", what).at(*node));
                    }
                    lost.is_written |= lost.has_learned;
                }
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
