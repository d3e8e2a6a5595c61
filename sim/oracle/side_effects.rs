//! Side effects (50-57): what is executed was committed, by whom it may be, under one key; and it takes effect once. What is given up
//! is kept, and tried again when an operator says so.
//!
//! It watches every application that emits side effects. Of a post office it knows more: each letter has a body of its own, which a
//! client has asked for.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chronon_core::builtin::{BuiltinQuery, BuiltinView};
use chronon_core::codec;
use chronon_core::kernel::{
    Attempt, AttemptResult, DeadPage, DeadRow, FencingToken, Outcome, Place, Report, SideEffectId,
};
use chronon_core::node::{Answer, Effect, NodeStatus, Role, WorkAnswer};
use chronon_core::post::{Letter, PostAnswer, PostCommand};
use chronon_core::types::{Blob, GroupId, GroupInit, Hash, NodeId, Op};

use super::courses::{Courses, Turn};
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
    dead_kept: u64,
    granted: u64,
    recorded: u64,
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
    courses: Courses,
    /// What workers were granted.
    granted: BTreeSet<(Place, u32, FencingToken)>,
    /// The highest token that a sink has accepted.
    accepted: FencingToken,
    /// How often each took effect, under whatever key.
    took_effect: BTreeMap<Place, u64>,
}

/// What was seen of one side effect.
#[derive(Clone, Debug)]
struct Seen {
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
            Observed::Applied { group, entry } => {
                if let Some(Facts { courses, init, .. }) = self.groups.get_mut(group) {
                    courses.learn(entry, |place| SideEffectId(key_of(init, place)));
                }
            }
            Observed::ToldOfTheDead { node, group, op, page } => {
                let Some(facts) = self.groups.get(group) else { return };
                let judged = facts.told_of_the_dead(*op, page, &mut self.compared);
                found.extend(judged.err().map(|broken| broken.at(*node).of(*group)));
            }
            Observed::Recorded { node, group, op, attempt, result } => {
                let Some(facts) = self.groups.get(group) else { return };
                let judged = facts.recorded(*op, attempt, result, &mut self.compared);
                found.extend(judged.err().map(|broken| broken.at(*node).of(*group)));
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
                let Some(facts) = self.groups.get(group) else { return };
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
            "DeadKept",
            "GrantedOnce",
            "EndRecorded",
            "EffectEventually",
            "EffectOnce",
        ]
    }

    fn count(&self, counts: &mut Counts) {
        counts.add("EffectFromCommit", self.compared.from_commit);
        counts.add("FenceMonotone", self.compared.fence);
        counts.add("NoStartAfterAck", self.compared.start_after_ack);
        counts.add("KeyStable", self.compared.key);
        counts.add("DeadKept", self.compared.dead_kept);
        counts.add("GrantedOnce", self.compared.granted);
        counts.add("EndRecorded", self.compared.recorded);
        counts.add("EffectEventually", self.compared.eventually);
        counts.add("EffectOnce", self.compared.once);
    }

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(self.clone())
    }
}

impl SideEffects {
    fn step(&mut self, node: NodeId, effect: &Effect, status: &NodeStatus, found: &mut Vec<Violation>) {
        let (group, attempts) = match effect {
            Effect::Execute { group, attempt } => (*group, std::slice::from_ref(attempt)),
            Effect::Worked { group, answer: WorkAnswer::Granted(attempts), .. } => {
                (*group, attempts.as_slice())
            }
            _ => return,
        };
        let boot = self.boots.get(&node).copied().unwrap_or_default();
        let Some(facts) = self.groups.get_mut(&group) else { return };
        let is_grant = matches!(effect, Effect::Worked { .. });
        for attempt in attempts {
            let judged = facts
                .begins((node, boot), attempt, status, &mut self.compared)
                .and_then(|()| if is_grant { facts.granted(attempt, &mut self.compared) } else { Ok(()) });
            found.extend(judged.err().map(|broken| broken.at(node).of(group)));
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
            courses: Courses::default(),
            granted: BTreeSet::new(),
            accepted: FencingToken(0),
            took_effect: BTreeMap::new(),
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
        let new = Seen { attempts_max, attempts: 0, effects: 0, refusals: 0 };
        let seen = self.letters.entry(*id).or_insert(new);
        seen.attempts = seen.attempts.max(*number);
        self.courses.begin(*id, *place, side_effect);
        if !self.courses.is_known(own.applied) {
            return Ok(());
        }
        compared.start_after_ack += 1;
        let what = match self.courses.last_turn(*id, own.applied) {
            None => return Ok(()),
            Some((op, Turn::Ended(_))) => format!("ended at op {op}, and attempt {number} begins after that"),
            Some((op, Turn::Forgotten)) => {
                format!("was forgotten at op {op}, and attempt {number} begins after that")
            }
            Some((op, Turn::Redriven)) => {
                let before = self.courses.last_end(*id, own.applied).map_or(0, |report| report.attempt);
                if *number > before {
                    return Ok(());
                }
                format!("was redriven at op {op} after {before} attempts, and attempt {number} begins again")
            }
        };
        Err(Violation::new("NoStartAfterAck", format!("side effect {place} {what}")))
    }

    /// A worker is granted an attempt.
    fn granted(&mut self, attempt: &Attempt, compared: &mut Compared) -> Result<(), Violation> {
        let Attempt { place, number, token, .. } = *attempt;
        compared.granted += 1;
        if self.granted.insert((place, number, token)) {
            return Ok(());
        }
        let what = format!("attempt {number} at side effect {place} is granted twice under token {token}");
        Err(Violation::new("GrantedOnce", what))
    }

    /// A worker is told that how an attempt ended is recorded.
    fn recorded(
        &self,
        op: Op,
        attempt: &Attempt,
        result: &AttemptResult,
        compared: &mut Compared,
    ) -> Result<(), Violation> {
        if !self.courses.is_known(op) {
            return Ok(());
        }
        compared.recorded += 1;
        let Attempt { id, place, number, .. } = *attempt;
        let noted = self.courses.end_of(id, number);
        if noted == Some(result) {
            return Ok(());
        }
        let what = format!(
            "a worker is told that the end of attempt {number} at side effect {place} is recorded, {result:?}; the log says \
             {noted:?}"
        );
        Err(Violation::new("EndRecorded", what))
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
        &self,
        letter: SideEffectId,
        op: Op,
        shown: &Letter,
        compared: &mut Compared,
    ) -> Result<(), Violation> {
        if !self.courses.is_known(op) {
            return Ok(());
        }
        compared.eventually += 1;
        // One that is tried again is shown as given up until it ends once more.
        let expected = self.courses.last_end(letter, op).map_or(Letter::UnderWay, letter_of);
        if *shown == expected {
            return Ok(());
        }
        let seen = self.letters.get(&letter);
        let what =
            format!("as of op {op} letter {letter:?} is shown as {shown:?}, not as {expected:?}: {seen:?}");
        Err(Violation::new("EffectEventually", what))
    }

    /// A replica shows what was given up, as of `op`.
    fn told_of_the_dead(&self, op: Op, page: &DeadPage, compared: &mut Compared) -> Result<(), Violation> {
        if !self.courses.is_known(op) {
            return Ok(());
        }
        let mut shown: BTreeMap<SideEffectId, &DeadRow> = page.rows.iter().map(|row| (row.id, row)).collect();
        let mut count = 0;
        for (id, since, report) in self.courses.dead(op) {
            count += 1;
            let Some(row) = shown.remove(&id) else {
                if page.next.is_some() {
                    continue;
                }
                let what = format!(
                    "as of op {op} side effect {id:?} has been dead since op {since}, and is not shown"
                );
                return Err(Violation::new("DeadKept", what));
            };
            compared.dead_kept += 1;
            let told = (row.place, row.since, row.attempts, Some(&row.why));
            if told != (report.place, since, report.attempt, why_of(report)) {
                let what = format!(
                    "as of op {op} a dead side effect is shown as {row:?}; its end at op {since}: {report:?}"
                );
                return Err(Violation::new("DeadKept", what));
            }
        }
        if let Some((id, row)) = shown.first_key_value() {
            let what = format!("as of op {op} side effect {id:?} is shown as dead, and is not: {row:?}");
            return Err(Violation::new("DeadKept", what));
        }
        if count != page.count {
            let what =
                format!("as of op {op} {count} side effects are dead, and {} are said to be", page.count);
            return Err(Violation::new("DeadKept", what));
        }
        Ok(())
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
        if let Some(id) = self.courses.is_tried_again() {
            let what =
                format!("side effect {id:?} was redriven, and came to no end: {:?}", self.letters.get(&id));
            return Err(Violation::new("EffectEventually", what));
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

/// What was said last of one that was given up.
fn why_of(report: &Report) -> Option<&Blob> {
    match &report.result {
        AttemptResult::Done(_) => None,
        AttemptResult::Refused(why) | AttemptResult::Failed { why, .. } => Some(why),
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
