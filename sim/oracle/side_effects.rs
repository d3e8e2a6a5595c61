//! Side effects (50-55): what is executed was committed, by whom it may be, under one key; and it takes effect once.
//!
//! It watches every application that emits side effects. Of a post office it knows more: each letter has a body of its own, which a
//! client has asked for.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chronon_core::builtin::{BuiltinQuery, BuiltinView};
use chronon_core::codec;
use chronon_core::consensus::VsrMessage;
use chronon_core::kernel::{Attempt, AttemptResult, FencingToken, Outcome, Place, Report, SideEffectId};
use chronon_core::node::{Answer, Effect, Message, NodeStatus, Role};
use chronon_core::post::{Letter, PostAnswer, PostCommand};
use chronon_core::types::{Entry, EntryKind, GroupId, GroupInit, Hash, NodeId, Op};

use super::{Counts, Kind, Observed, Oracle, Violation};
use crate::sink::Verdict;
use crate::time::WorldTime;

/// The oracle.
#[derive(Clone, Debug, Default)]
pub struct SideEffects {
    groups: BTreeMap<GroupId, Facts>,
    boots: BTreeMap<NodeId, u64>,
    /// Questions for letters that are open.
    asked: BTreeMap<u64, SideEffectId>,
    compared: Compared,
}

#[derive(Clone, Debug, Default)]
struct Compared {
    from_commit: u64,
    fence: u64,
    start_after_ack: u64,
    key: u64,
    eventually: u64,
    once: u64,
}

/// What is known of one group.
#[derive(Clone, Debug)]
struct Facts {
    init: GroupInit,
    is_post: bool,
    /// The bodies that clients have asked to be sent, of a post office.
    bodies: BTreeSet<Bytes>,
    /// Letters whose clients were told that they are under way.
    acknowledged: BTreeSet<SideEffectId>,
    /// Each token, and the process that acts under it.
    holders: BTreeMap<FencingToken, (NodeId, u64)>,
    letters: BTreeMap<SideEffectId, Seen>,
    by_body: BTreeMap<Bytes, SideEffectId>,
    /// Entries that were prepared, with the outcomes that they hold; `None` where two of them differ.
    ends: BTreeMap<Op, Option<(Hash, Vec<Report>)>>,
    /// What was committed up to here has been taken from them: a deposed primary may still prepare something else there.
    learned: Op,
    /// At which op each side effect ended, and its last report.
    ended: BTreeMap<Place, (Op, Report)>,
    /// The highest token that a sink has accepted.
    accepted: FencingToken,
    /// How often each took effect, under whatever key.
    took_effect: BTreeMap<Place, u64>,
}

/// What was seen of one side effect.
#[derive(Clone, Debug)]
struct Seen {
    place: Place,
    attempts_max: u32,
    /// The attempt with the highest number.
    attempts: u32,
    effects: u64,
    refusals: u64,
}

impl Oracle for SideEffects {
    fn observe(&mut self, _at: WorldTime, seen: &Observed<'_>, found: &mut Vec<Violation>) {
        match seen {
            Observed::Begin { groups, .. } => {
                self.groups = groups.iter().map(|init| (init.group, Facts::new(init))).collect();
            }
            Observed::Start { node, boot } => {
                self.boots.insert(*node, *boot);
            }
            Observed::Step { node, effects, status, .. } => {
                for effect in *effects {
                    self.step(*node, effect, status, found);
                }
            }
            Observed::Invoke { group, command, .. } => {
                if let Some(facts) = self.groups.get_mut(group).filter(|facts| facts.is_post)
                    && let Ok(PostCommand::Send { body, .. }) = codec::decode(command.body.as_slice())
                {
                    facts.bodies.insert(body.0);
                }
            }
            Observed::Return {
                group,
                answer: Answer::Committed { outcome: Outcome::Done(body), .. },
                ..
            } => {
                if let Some(facts) = self.groups.get_mut(group).filter(|facts| facts.is_post)
                    && let Ok(PostAnswer::Sent { letter }) = codec::decode(body.as_slice())
                {
                    facts.acknowledged.insert(letter);
                }
            }
            Observed::Executed { node, group, attempt, verdict } => {
                let Some(facts) = self.groups.get_mut(group) else { return };
                let judged = facts.executed(attempt, *verdict, &mut self.compared);
                found.extend(judged.err().map(|broken| broken.at(*node).of(*group)));
            }
            Observed::Asked { read, body, .. } => {
                if let Ok(BuiltinQuery::Letter { letter }) = codec::decode(body.as_slice()) {
                    self.asked.insert(*read, letter);
                }
            }
            Observed::Told { node, read, group, body, op } => {
                let Some(letter) = self.asked.remove(read) else { return };
                let Ok(BuiltinView::Letter(Some(shown))) = codec::decode(body.as_slice()) else { return };
                let Some(facts) = self.groups.get_mut(group) else { return };
                let judged = facts.told(letter, *op, &shown, &mut self.compared);
                found.extend(judged.err().map(|broken| broken.at(*node).of(*group)));
            }
            Observed::End => {
                for (group, facts) in &self.groups {
                    let judged = facts.all_ended(&mut self.compared);
                    found.extend(judged.err().map(|broken| broken.of(*group)));
                }
            }
            _ => {}
        }
    }

    fn wants(&self, kind: Kind) -> bool {
        !matches!(kind, Kind::Input | Kind::Disk | Kind::Lost)
    }

    fn invariants(&self) -> &'static [&'static str] {
        &[
            "EffectFromCommit",
            "FenceMonotone",
            "NoStartAfterAck",
            "KeyStable",
            "EffectEventually",
            "EffectOnce",
        ]
    }

    fn count(&self, counts: &mut Counts) {
        counts.add("EffectFromCommit", self.compared.from_commit);
        counts.add("FenceMonotone", self.compared.fence);
        counts.add("NoStartAfterAck", self.compared.start_after_ack);
        counts.add("KeyStable", self.compared.key);
        counts.add("EffectEventually", self.compared.eventually);
        counts.add("EffectOnce", self.compared.once);
    }

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(self.clone())
    }
}

impl SideEffects {
    fn step(&mut self, node: NodeId, effect: &Effect, status: &NodeStatus, found: &mut Vec<Violation>) {
        match effect {
            Effect::Send {
                message: Message::Group { group, body: VsrMessage::Prepare { entry, .. } },
                ..
            } => {
                if let Some(facts) = self.groups.get_mut(group) {
                    facts.prepared(entry);
                }
            }
            Effect::Execute { group, attempt } => {
                let boot = self.boots.get(&node).copied().unwrap_or_default();
                let Some(facts) = self.groups.get_mut(group) else { return };
                let judged = facts.begins((node, boot), attempt, status, &mut self.compared);
                found.extend(judged.err().map(|broken| broken.at(node).of(*group)));
            }
            _ => {}
        }
    }
}

impl Facts {
    fn new(init: &GroupInit) -> Self {
        Self {
            init: init.clone(),
            is_post: init.kind == "post",
            bodies: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            holders: BTreeMap::new(),
            letters: BTreeMap::new(),
            by_body: BTreeMap::new(),
            ends: BTreeMap::new(),
            learned: Op::GENESIS,
            ended: BTreeMap::new(),
            accepted: FencingToken(0),
            took_effect: BTreeMap::new(),
        }
    }

    /// A primary prepares an entry.
    fn prepared(&mut self, entry: &Entry) {
        let (op, hash) = (entry.op(), entry.hash());
        // Of a group that has emitted nothing there is nothing to end.
        if self.letters.is_empty() {
            self.learned = op.max(self.learned);
        }
        if op <= self.learned {
            return;
        }
        let reports = || match entry.header().kind() {
            EntryKind::SideEffects => codec::decode(entry.payload()).unwrap_or_default(),
            EntryKind::Genesis
            | EntryKind::Commands
            | EntryKind::Wakeup
            | EntryKind::Skip
            | EntryKind::Activation
            | EntryKind::Membership => Vec::new(),
        };
        let known = self.ends.entry(op).or_insert_with(|| Some((hash, reports())));
        if known.as_ref().is_some_and(|(known, _)| *known != hash) {
            *known = None;
        }
    }

    /// What a node that has applied so much knows to have ended.
    fn learn_ends(&mut self, applied: Op) {
        self.learned = applied.max(self.learned);
        let above = self.ends.split_off(&applied.next());
        let ends = std::mem::replace(&mut self.ends, above);
        for (op, end) in ends {
            for report in end.map(|(_, reports)| reports).unwrap_or_default() {
                let Some(seen) = self.letters.values().find(|seen| seen.place == report.place) else {
                    continue;
                };
                let is_last = match report.result {
                    AttemptResult::Done(_) | AttemptResult::Refused(_) => true,
                    AttemptResult::Failed { .. } => report.attempt >= seen.attempts_max,
                };
                if is_last {
                    self.ended.entry(report.place).or_insert((op, report));
                }
            }
        }
    }

    /// A process begins an attempt.
    fn begins(
        &mut self,
        process: (NodeId, u64),
        attempt: &Attempt,
        status: &NodeStatus,
        compared: &mut Compared,
    ) -> Result<(), Violation> {
        let Attempt { id, place, number, token, side_effect } = attempt;
        let Some(own) = status.groups.iter().find(|status| status.group == self.init.group) else {
            let what = format!("side effect {place} is executed by a node that has no such group");
            return Err(Violation::new("EffectFromCommit", what));
        };
        compared.from_commit += 1;
        let body = side_effect.body();
        if place.op > own.commit.op_or_genesis() || (self.is_post && !self.bodies.contains(&body.0)) {
            let what = format!("side effect {place} is executed, and nothing committed has emitted it");
            return Err(Violation::new("EffectFromCommit", what));
        }
        compared.fence += 1;
        if own.role != Role::Primary || token.0 != own.view.get() {
            let what =
                format!("side effect {place} is executed under token {} by no primary of that view", token.0);
            return Err(Violation::new("FenceMonotone", what));
        }
        let holder = *self.holders.entry(*token).or_insert(process);
        if holder != process {
            let what = format!("token {} is used by node {} and by node {}", token.0, holder.0, process.0);
            return Err(Violation::new("FenceMonotone", what));
        }
        compared.key += 1;
        let key = key_of(&self.init, *place);
        let first = if self.is_post { *self.by_body.entry(body.0.clone()).or_insert(*id) } else { *id };
        if id.0 != key || first != *id {
            let what = format!("side effect {place} has the key {id:?}; its attempts have the key {first:?}");
            return Err(Violation::new("KeyStable", what));
        }
        let attempts_max = side_effect.retry().attempts_max;
        let new = Seen { place: *place, attempts_max, attempts: 0, effects: 0, refusals: 0 };
        let seen = self.letters.entry(*id).or_insert(new);
        seen.attempts = seen.attempts.max(*number);
        self.learn_ends(own.applied);
        compared.start_after_ack += u64::from(!self.ended.is_empty());
        if let Some((op, _)) = self.ended.get(place).filter(|(op, _)| *op <= own.applied) {
            let what =
                format!("side effect {place} ended at op {op}, and attempt {number} begins after that");
            return Err(Violation::new("NoStartAfterAck", what));
        }
        Ok(())
    }

    /// An attempt reached its sink.
    fn executed(
        &mut self,
        attempt: &Attempt,
        verdict: Verdict,
        compared: &mut Compared,
    ) -> Result<(), Violation> {
        let place = attempt.place;
        let Some(seen) = self.letters.get_mut(&attempt.id) else {
            let what = format!("side effect {place} reaches its sink, and no node has begun it");
            return Err(Violation::new("EffectFromCommit", what));
        };
        seen.refusals += u64::from(verdict == Verdict::Refused);
        seen.effects += u64::from(verdict == Verdict::TookEffect);
        if matches!(verdict, Verdict::TookEffect | Verdict::Repeated | Verdict::Refused) {
            compared.fence += 1;
            if attempt.token < self.accepted {
                let (token, later) = (attempt.token, self.accepted);
                let what =
                    format!("a sink accepts side effect {place} under token {token}, after token {later}");
                return Err(Violation::new("FenceMonotone", what));
            }
            self.accepted = attempt.token;
        }
        compared.once += 1;
        let times = self.took_effect.entry(place).or_default();
        *times += u64::from(verdict == Verdict::TookEffect);
        if *times > 1 {
            let what = format!("side effect {place} took effect {times} times");
            return Err(Violation::new("EffectOnce", what));
        }
        Ok(())
    }

    /// A replica shows a letter, as of `op`.
    fn told(
        &mut self,
        letter: SideEffectId,
        op: Op,
        shown: &Letter,
        compared: &mut Compared,
    ) -> Result<(), Violation> {
        compared.eventually += 1;
        self.learn_ends(op);
        let seen = self.letters.get(&letter);
        let is_right = match (seen.and_then(|seen| self.ended.get(&seen.place)), shown) {
            (Some((ended_at, report)), shown) if *ended_at <= op => *shown == letter_of(report),
            (Some(_), shown) => *shown == Letter::UnderWay,
            // Two entries were prepared where it ended, or nobody else was told of any.
            (None, Letter::UnderWay) => true,
            (None, Letter::Delivered { .. }) => seen.is_some_and(|seen| seen.effects == 1),
            (None, Letter::GivenUp { attempts, .. }) => {
                seen.is_some_and(|seen| seen.has_ended() && seen.attempts >= *attempts)
            }
        };
        if is_right {
            return Ok(());
        }
        let what = format!("letter {letter:?} is shown as {shown:?}, and its sink knows better: {seen:?}");
        Err(Violation::new("EffectEventually", what))
    }

    /// The healed world is at rest: nothing that was promised is still to come.
    fn all_ended(&self, compared: &mut Compared) -> Result<(), Violation> {
        for letter in self.acknowledged.iter().chain(self.letters.keys()) {
            compared.eventually += 1;
            let seen = self.letters.get(letter);
            if !seen.is_some_and(Seen::has_ended) {
                let what = format!("letter {letter:?} was accepted, and came to no end: {seen:?}");
                return Err(Violation::new("EffectEventually", what));
            }
        }
        Ok(())
    }
}

impl Seen {
    fn has_ended(&self) -> bool {
        self.effects > 0 || self.refusals > 0 || self.attempts >= self.attempts_max
    }
}

/// What is to be shown of a letter of which this was the last report.
fn letter_of(report: &Report) -> Letter {
    let attempts = report.attempt;
    match report.result.clone() {
        AttemptResult::Done(answer) => Letter::Delivered { answer },
        AttemptResult::Refused(why) | AttemptResult::Failed { why, .. } => Letter::GivenUp { attempts, why },
    }
}

/// The key of what was emitted at a place, computed here.
fn key_of(init: &GroupInit, place: Place) -> Hash {
    let mut bytes = b"chronon side effect".to_vec();
    bytes.extend_from_slice(&init.cluster.get().to_le_bytes());
    bytes.extend_from_slice(&init.group.get().to_le_bytes());
    bytes.extend_from_slice(&place.op.get().to_le_bytes());
    bytes.extend_from_slice(&place.index.to_le_bytes());
    Hash::of(&bytes)
}
