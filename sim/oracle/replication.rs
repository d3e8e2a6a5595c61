//! Replication, told from disks and messages: what is durable where, what is committed, and what every message claims.
//!
//! ```text
//! disk ops -> shadow (what is durable) -+-> claims    what a message says, its sender had made durable
//!                                       +-> commits   a quorum held it, it never changes, every view keeps it
//! messages, statuses -------------------+             '-> sessions   a command is applied at one op
//!        '-------------------------------> wishes    a quorum wished for every view that is entered
//!        '-------------------------------> acks      a commit rests on acknowledgements of its own view
//! clients ---------------------------------> linearizability  some order explains every answer
//! ```

use std::collections::BTreeMap;

use chronon_core::consensus::VsrMessage;
use chronon_core::node::{Answer, Deed, Effect, GroupStatus, Input, Message, NodeStatus, Order, Phase, Role};
use chronon_core::types::{CommitIndex, EntryKind, GroupId, Hash, Membership, NodeId, View};

use super::acks::Acks;
use super::digests::Digests;
use super::few::Few;
use super::linearizability::History;
use super::replication_claims::{self as claims, Said};
use super::replication_commits::{Group, NewCommit};
use super::sessions::Sessions;
use super::shadow::{Broken, DiskShadow};
use super::wishes::Wishes;
use super::{Counts, Observed, Oracle, Stall, Violation};
use crate::journal::{self, Payload, Proven, Record, RecordKind};
use crate::time::WorldTime;

/// The oracle of replication and sessions.
#[derive(Clone, Debug, Default)]
pub struct Replication {
    disks: Few<NodeId, DiskShadow>,
    groups: Few<GroupId, Facts>,
    /// Nodes whose process has not shown its replicas yet.
    starting: Few<NodeId, bool>,
    proven: Proven,
    broken: Vec<Broken>,
    ordinal_wins: u64,
    log_view: u64,
    state_safety: u64,
    learner_never_counts: u64,
    caught_up_to_vote: u64,
    handed_over_whole: u64,
    stalls: u64,
}

#[derive(Clone, Debug)]
struct Facts {
    group: Group,
    sessions: Sessions,
    wishes: Wishes,
    acks: Acks,
    /// The entry that made each of its later members one.
    members_since: BTreeMap<NodeId, u64>,
    history: Option<History>,
    said: Few<NodeId, Said>,
    digests: Digests,
}

impl Replication {
    fn step(&mut self, node: NodeId, effects: &[Effect], status: &NodeStatus, changed: &[GroupStatus]) {
        if !changed.is_empty() {
            self.judge_start(node, status);
        }
        // The status shows already what follows from it.
        for effect in effects {
            if let Effect::Send {
                message: Message::Group { group, body: VsrMessage::HandOver { view } },
                ..
            } = effect
            {
                self.hands_over(node, *group, *view, status);
            }
        }
        for status in changed {
            self.judge_status(node, status);
        }
        for effect in effects {
            match effect {
                Effect::Send { message: Message::Group { group, body }, .. } => self.sent(node, *group, body),
                Effect::Send { message: Message::Heartbeat(beat), .. } => {
                    for beat in claims::led(beat) {
                        let durable = self.disks.get(node).and_then(|disk| disk.log(beat.group));
                        let judged = claims::judge_beat(beat, durable).and_then(|()| {
                            self.groups.get(beat.group).map_or(Ok(()), |f| f.claims(beat.commit))
                        });
                        self.broken.extend(judged.err().map(|broken| broken.of(beat.group)));
                    }
                }
                Effect::Reply { reply, .. } => {
                    if let Some(facts) = self.groups.get_mut(reply.group) {
                        let judged = facts.sessions.reply(reply, facts.group.commit());
                        self.broken.extend(judged.err().map(|broken| broken.of(reply.group)));
                    }
                }
                // What archives hold and say is judged by itself.
                Effect::Send {
                    message:
                        Message::RequestSnapshot(_)
                        | Message::RequestChunk(_)
                        | Message::ChunkPiece(_)
                        | Message::ChunkGone(_),
                    ..
                }
                // What is read is judged by what clients hear.
                | Effect::Answer { .. }
                // So are side effects.
                | Effect::Execute { .. }
                | Effect::Worked { .. }
                | Effect::Found { .. }
                | Effect::Meet { .. }
                | Effect::Disk(_)
                | Effect::Halt(_) => {}
                Effect::Send { message: Message::SnapshotChunk(chunk), .. } => {
                    let op = chunk.name.op.get();
                    let known = self.groups.get(chunk.group).map_or(Ok(()), |facts| facts.group.known(op));
                    self.broken.extend(known.err().map(|broken| broken.of(chunk.group)));
                }
            }
        }
    }

    /// A message of `from` reached a node.
    fn heard(&mut self, from: NodeId, group: GroupId, message: &VsrMessage) {
        let Some(facts) = self.groups.get_mut(group) else { return };
        match message {
            VsrMessage::DoViewChange(message) => facts.group.leave(from, message.view.get()),
            VsrMessage::PrepareOk { view, to, .. } => facts.acks.hear(from, view.get(), to.get()),
            _ => {}
        }
    }

    fn history(&mut self, group: GroupId) -> Option<&mut History> {
        self.groups.get_mut(group)?.history.as_mut()
    }

    /// A primary gives its view up for that of somebody who has all of its log. What it has committed by the same step, it has
    /// committed in the view that it gives up.
    fn hands_over(&mut self, node: NodeId, id: GroupId, view: View, status: &NodeStatus) {
        let Some(own) = status.groups.iter().find(|own| own.group == id) else { return };
        let (head, commit) = (own.head.get(), own.commit.op_or_genesis().get());
        let led = self.disks.get(node).and_then(|disk| disk.log(id)).map_or(0, |log| log.promised().view);
        self.raise(node, id, (led, commit), None);
        let Some(facts) = self.groups.get_mut(id) else { return };
        let judged = facts.wishes.hand_over(node, view.get()).and_then(|to| {
            self.handed_over_whole += 1;
            let has_all =
                self.disks.get(to).and_then(|disk| disk.log(id)).is_some_and(|log| log.reaches(head));
            if head == 0 || has_all {
                return Ok(());
            }
            let what = format!(
                "view {view} is node {to}'s, whose disk has not got to op {head}, the head of the log"
            );
            Err(Broken::new("HandedOverWhole", what))
        });
        self.broken.extend(judged.err().map(|broken| broken.of(id)));
    }

    /// A process that has read its disk goes on where the newest durable promise says (35b).
    fn judge_start(&mut self, node: NodeId, status: &NodeStatus) {
        let Some(starting) = self.starting.get_mut(node).filter(|_| status.phase == Phase::Running) else {
            return;
        };
        if !std::mem::take(starting) {
            return;
        }
        let Some(disk) = self.disks.get_mut(node) else { return };
        disk.started();
        for status in &status.groups {
            let Some(promise) = disk.log(status.group).and_then(|log| log.promise) else { continue };
            self.ordinal_wins += 1;
            if let Some(facts) = self.groups.get_mut(status.group) {
                let judged = facts.said.or_default(node).judge_start(promise, status.head.get());
                self.broken.extend(judged.err().map(|broken| broken.of(status.group)));
            }
            // A group of one needs nobody's word: it may have started its next view within the same step.
            let alone = self.groups.get(status.group).is_some_and(|facts| facts.group.is_alone());
            let moved_on = alone && status.log_view.get() > promise.log_view;
            let as_promised = status.log_view.get() == promise.log_view;
            // Nor does the first view of an epoch: whoever knows that the one before it is over is in it.
            let entered = status.log_view.epoch() > View::new(promise.view).epoch();
            if status.view.get() < promise.view || !(as_promised || moved_on || entered) {
                let what = format!(
                    "a start finds view {} with log view {}, and the newest durable promise is {promise}",
                    status.view, status.log_view
                );
                self.broken.push(Broken::new("OrdinalWins", what).of(status.group));
            }
        }
    }

    fn judge_status(&mut self, node: NodeId, status: &GroupStatus) {
        let Some(facts) = self.groups.get_mut(status.group) else { return };
        self.log_view += 1;
        let committed = |op| facts.group.committed(op);
        self.disks.or_default(node).save(status.group, status.saved.get(), committed);
        let judged = facts.wishes.show(node, status.view.get());
        self.broken.extend(judged.err().map(|broken| broken.of(status.group)));
        let normal = status.role != Role::ViewChange;
        if status.log_view > status.view || (normal && status.log_view != status.view) {
            let (view, log_view, role) = (status.view, status.log_view, status.role);
            let what = format!("view {view} with log view {log_view} as {role:?}");
            self.broken.push(Broken::new("LogView", what).of(status.group));
        }
        let commit = status.commit.op_or_genesis().get();
        let judged = if status.role == Role::Primary {
            self.learner_never_counts += 1;
            if !facts.group.may_vote(node, status.view.get()) {
                let what = format!("it leads view {} and is no voter", status.view);
                self.broken.push(Broken::new("LearnerNeverCounts", what).of(status.group));
            }
            self.raise(node, status.group, (status.view.get(), commit), None);
            Ok(())
        } else {
            facts.group.known(commit)
        };
        self.broken.extend(judged.err().map(|broken| broken.of(status.group)));
        let Some(facts) = self.groups.get_mut(status.group) else { return };
        let (op, commit) = (status.applied.get(), facts.group.commit());
        if let Some(before) = facts.digests.first(op, status.applied_digest, commit) {
            self.state_safety += 1;
            let judged = judge_digest(status, before);
            self.broken.extend(judged.err().map(|broken| broken.of(status.group)));
        }
    }

    /// `node` has committed so much as the primary of `view`, of which the last entry makes `next` the voters, if it makes any.
    fn raise(&mut self, node: NodeId, id: GroupId, (view, commit): (u64, u64), next: Option<&[NodeId]>) {
        let Some(facts) = self.groups.get_mut(id) else { return };
        let own = self.disks.get(node).and_then(|disk| disk.log(id));
        let alone = facts.group.is_alone();
        let own = |op| own.filter(|_| alone).and_then(|log| log.entry(op)).map(|entry| entry.hash);
        let Facts { group, sessions, history, acks, .. } = facts;
        let broken = &mut self.broken;
        if commit > group.commit() {
            let judged = acks.commit(node, (view, commit), next);
            broken.extend(judged.err().map(|broken| broken.of(id)));
        }
        let backs = |voter| acks.backs(voter, node, view, commit);
        let judged = group.raise((view, commit), next, own, backs, |NewCommit { op, payload }| {
            let Some(payload) = payload.filter(|payload| payload.is_commands) else { return };
            let Some(commands) = journal::commands(&payload.bytes) else {
                let what = format!("op {op} is committed, and is not a batch of commands");
                broken.push(Broken::new("ApplyOnce", what).of(id));
                return;
            };
            for (index, command) in commands.into_iter().enumerate() {
                let executes = sessions.commit(op, index, command);
                if let Some(history) = history.as_mut().filter(|_| executes) {
                    history.commit(op, command);
                }
            }
        });
        self.broken.extend(judged.err().map(|broken| broken.of(id)));
    }

    /// An epoch is over, and the next one has begun.
    fn epoch(&mut self, node: NodeId, group: GroupId, membership: &Membership, led: Option<View>) {
        let at = membership.at.get();
        self.judge_votes(group, membership);
        match led {
            Some(view) => self.raise(node, group, (view.get(), at), Some(&membership.voters)),
            None => {
                let known = self.groups.get(group).map_or(Ok(()), |facts| facts.group.known(at));
                self.broken.extend(known.err().map(|broken| broken.of(group)));
            }
        }
        if let Some(Facts { group, wishes, acks, members_since, .. }) = self.groups.get_mut(group) {
            members_since.retain(|member, _| membership.is_member(*member));
            let came = membership.learners.iter().filter(|learner| !group.votes(**learner));
            came.for_each(|learner| {
                members_since.entry(*learner).or_insert(at);
            });
            let first = membership.first_view.get();
            group.enter(&membership.voters, first);
            wishes.enter(&membership.voters, first);
            acks.enter(&membership.voters);
        }
    }

    /// Whoever gets a vote holds the log durably up to the entry that made it a member: it knows that it is one.
    fn judge_votes(&mut self, id: GroupId, membership: &Membership) {
        let Some(facts) = self.groups.get(id) else { return };
        for voter in membership.voters.iter().filter(|voter| !facts.group.votes(**voter)) {
            self.caught_up_to_vote += 1;
            let since = facts.members_since.get(voter).copied().unwrap_or_default();
            let log = self.disks.get(*voter).and_then(|disk| disk.log(id));
            let held = log.and_then(|log| log.entry(since)).map(|entry| entry.hash);
            if since == 0 || held != facts.group.committed(since) {
                let what = format!(
                    "node {voter} gets a vote by op {}, and its disk has not got to op {since}, which made it a member",
                    membership.at
                );
                self.broken.push(Broken::new("CaughtUpToVote", what).of(id));
            }
        }
    }

    fn sent(&mut self, node: NodeId, group: GroupId, message: &VsrMessage) {
        let Some(facts) = self.groups.get_mut(group) else { return };
        if let VsrMessage::DoViewChange(told) = message {
            self.learner_never_counts += 1;
            if !facts.group.may_vote(node, told.view.get()) {
                let what = "it tells a new primary of its log, and is no voter".to_owned();
                self.broken.push(Broken::new("LearnerNeverCounts", what).of(group));
            }
        }
        let durable = self.disks.get(node).and_then(|disk| disk.log(group));
        let judged = claims::judge(message, durable, facts.said.or_default(node));
        let judged = judged.and_then(|()| facts.judge_message(node, message));
        self.broken.extend(judged.err().map(|broken| broken.of(group)));
    }

    fn submitted(&mut self, node: NodeId, op: &chronon_core::engine::DiskOp) {
        let disk = self.disks.or_default(node);
        let Some(flush) = disk.submit(op, &mut self.proven, &mut self.broken) else { return };
        for record in &flush.records {
            if let (RecordKind::Entry(entry), Some(facts)) = (&record.kind, self.groups.get_mut(record.group))
            {
                facts.group.see_entry(entry.op, entry.hash, entry.parent, || entry.payload.clone());
            }
        }
    }

    fn judge_histories(&mut self, found: &mut Vec<Violation>) {
        for (group, facts) in self.groups.iter_mut() {
            for Broken { invariant, what, site, .. } in facts.history.iter_mut().flat_map(History::judge) {
                found.push(Violation { invariant, node: None, group: Some(group), what, site });
            }
        }
    }

    /// A group stands still for want of an entry: no voter that runs has it.
    fn judge_stall(&mut self, group: GroupId, op: u64, halted: &[NodeId]) -> Option<Violation> {
        self.stalls += 1;
        let entries =
            || self.disks.iter().filter_map(|(node, disk)| Some((node, disk.log(group)?.entry(op)?)));
        let faulty = entries().find(|(_, entry)| entry.may_be_faulty());
        let Some((_, lost)) = faulty else {
            let what = format!("it stands still for want of op {op}, which rotted nowhere");
            return Some(Violation::new("Heals", what).of(group));
        };
        let mut running = entries().filter(|(node, _)| !halted.contains(node));
        let (node, _) = running.find(|(_, entry)| entry.hash == lost.hash && entry.is_whole())?;
        let what = format!("it stands still for want of op {op}, which is whole on the disk of a voter");
        Some(Violation::new("Heals", what).at(node).of(group))
    }

    /// A record of `node` became durable.
    fn became_durable(groups: &mut Few<GroupId, Facts>, node: NodeId, record: &Record) -> Option<Broken> {
        let facts = groups.get_mut(record.group)?;
        match &record.kind {
            RecordKind::Entry(entry) => facts.group.hold(node, entry.op, entry.hash),
            RecordKind::Truncation(above) => {
                return facts.group.cut(node, *above).err().map(|broken| broken.of(record.group));
            }
            RecordKind::Promise { .. } => {}
        }
        None
    }
}

impl Facts {
    fn claims(&self, commit: CommitIndex) -> Result<(), Broken> {
        self.group.known(commit.op_or_genesis().get())
    }

    fn judge_message(&mut self, node: NodeId, message: &VsrMessage) -> Result<(), Broken> {
        match message {
            VsrMessage::Prepare { view, commit, entry } => {
                let header = entry.header();
                let (op, hash) = (header.op().get(), header.hash());
                self.group.see_entry(op, hash, header.parent(), || Payload {
                    is_commands: header.kind() == EntryKind::Commands,
                    bytes: entry.payload().clone(),
                });
                self.group.lead(view.get(), op, hash)?;
                self.claims(*commit)
            }
            VsrMessage::StartView { view, commit, headers, .. } => {
                self.group.known(commit.get())?;
                self.group.start(node, view.get(), headers)
            }
            VsrMessage::DoViewChange(message) => self.group.known(message.commit.get()),
            VsrMessage::Covered { to } => self.group.known(to.get()),
            VsrMessage::Entries { log_view, commit, entries } => {
                // Who is not introduced yet sends no prepares: its log is known by what it answers.
                for entry in entries.iter().filter(|entry| !commit.covers(entry.op())) {
                    self.group.tell(log_view.get(), entry.op().get(), entry.hash());
                }
                self.claims(*commit)?;
                let mut told = entries.iter().filter(|entry| commit.covers(entry.op()));
                told.try_for_each(|entry| self.group.told(entry.op().get(), entry.hash()))
            }
            VsrMessage::StartViewChange { view } => {
                self.wishes.wish(node, view.get());
                Ok(())
            }
            VsrMessage::PrepareOk { .. }
            // It was judged before what follows from it.
            | VsrMessage::HandOver { .. }
            | VsrMessage::RequestEntries { .. }
            | VsrMessage::RequestReadIndex { .. }
            | VsrMessage::ConfirmView { .. }
            | VsrMessage::ViewConfirmed { .. }
            | VsrMessage::ReadIndex { .. } => Ok(()),
        }
    }
}

/// Equal applied op means equal digest of all that was applied (1).
fn judge_digest(status: &GroupStatus, before: Hash) -> Result<(), Broken> {
    if before == status.applied_digest {
        return Ok(());
    }
    let what = format!(
        "applied up to op {} with digest {:?}, and another replica had {before:?} there",
        status.applied, status.applied_digest
    );
    Err(Broken::new("StateSafety", what))
}

impl Oracle for Replication {
    fn observe(&mut self, _at: WorldTime, seen: &Observed<'_>, found: &mut Vec<Violation>) {
        let node = match seen {
            Observed::Begin { groups, nodes, .. } => {
                for init in *groups {
                    let (sessions, said) = (Sessions::new(init), Few::default());
                    let (group, history, digests) =
                        (Group::new(init, nodes), History::new(init), Digests::default());
                    let wishes = Wishes::new(init);
                    let acks = Acks::new(init, nodes);
                    let members_since = BTreeMap::new();
                    let facts =
                        Facts { group, sessions, wishes, acks, members_since, history, said, digests };
                    self.groups.insert(init.group, facts);
                }
                return;
            }
            Observed::Start { node, .. } => {
                self.starting.insert(*node, true);
                self.disks.or_default(*node).start();
                return;
            }
            Observed::Rot { node, offset, flush, harmed, .. } => {
                self.disks.or_default(*node).rot(*offset, flush, harmed, &mut self.proven);
                return;
            }
            Observed::Input { node, input, .. } => {
                match input {
                    Input::Message { from, message: Message::Group { group, body } } => {
                        self.heard(*from, *group, body);
                    }
                    Input::Order { order: Order { group, deed: Deed::Lead(to) }, .. } => {
                        if let Some(facts) = self.groups.get_mut(*group) {
                            facts.wishes.ask(*node, *to);
                        }
                    }
                    _ => {}
                }
                return;
            }
            Observed::Step { node, effects, status, changed, .. } => {
                if effects.is_empty() && changed.is_empty() {
                    return;
                }
                self.step(*node, effects, status, changed);
                node
            }
            Observed::DiskSubmitted { node, op } => {
                self.submitted(*node, op);
                node
            }
            Observed::DiskCompleted { node, done } => {
                let Self { disks, groups, broken, .. } = self;
                let disk = disks.or_default(*node);
                let mut cut = None;
                disk.complete(done, broken, &mut |record| {
                    cut = cut.take().or(Self::became_durable(groups, *node, record));
                });
                broken.extend(cut);
                node
            }
            Observed::Crash { node, disk, .. } => {
                let Self { disks, groups, broken, .. } = self;
                let shadow = disks.or_default(*node);
                let mut cut = None;
                shadow.crash(disk, broken, &mut |record| {
                    cut = cut.take().or(Self::became_durable(groups, *node, record));
                });
                broken.extend(cut);
                node
            }
            Observed::Invoke { operation, group, command, .. } => {
                if let Some(history) = self.history(*group) {
                    history.invoke(*operation, command);
                }
                return;
            }
            Observed::Return { operation, group, answer: Answer::Committed { outcome, .. }, .. } => {
                if let Some(history) = self.history(*group) {
                    history.answer(*operation, outcome);
                }
                return;
            }
            Observed::Asked { group, read, body, freshness, .. } => {
                if let Some(history) = self.history(*group) {
                    history.ask(*read, body, *freshness);
                }
                return;
            }
            Observed::Told { group, read, op, body, .. } => {
                if let Some(history) = self.history(*group) {
                    history.tell(*read, *op, body);
                }
                return;
            }
            Observed::Epoch { node, group, membership, led } => {
                self.epoch(*node, *group, membership, *led);
                node
            }
            Observed::Stalled { stalls, halted } => {
                for Stall { group, op } in *stalls {
                    found.extend(self.judge_stall(*group, op.get(), halted));
                }
                self.judge_histories(found);
                return;
            }
            Observed::End => {
                self.judge_histories(found);
                return;
            }
            _ => return,
        };
        for Broken { invariant, group, what, site } in self.broken.drain(..) {
            found.push(Violation { invariant, node: Some(*node), group, what, site });
        }
    }

    fn invariants(&self) -> &'static [&'static str] {
        &[
            "StateSafety",
            "CommittedImmutable",
            "CommittedOnQuorum",
            "NoCommittedTruncate",
            "LeaderComplete",
            "ChainMatch",
            "DurableMonotone",
            "SendImpliesDurable",
            "Intersect",
            "Undisturbed",
            "OwnAcks",
            "LogView",
            "ViewChangeStable",
            "NoStraddle",
            "FaultySilent",
            "NackSound",
            "RotNotTruncated",
            "FlushPrefix",
            "NoGap",
            "OrdinalWins",
            "Linearizable",
            "ReadAsOf",
            "ApplyOnce",
            "SameReply",
            "EvictDeterministic",
            "ReplyOnlyCommitted",
            "StallNamed",
            "LearnerNeverCounts",
            "CaughtUpToVote",
            "HandedOverWhole",
        ]
    }

    fn count(&self, counts: &mut Counts) {
        counts.add("OrdinalWins", self.ordinal_wins);
        counts.add("LogView", self.log_view);
        counts.add("StateSafety", self.state_safety);
        counts.add("StallNamed", self.stalls);
        counts.add("LearnerNeverCounts", self.learner_never_counts);
        counts.add("CaughtUpToVote", self.caught_up_to_vote);
        counts.add("HandedOverWhole", self.handed_over_whole);
        for disk in self.disks.values() {
            counts.add("FlushPrefix", disk.compared.flush_prefix);
            counts.add("DurableMonotone", disk.compared.durable_monotone);
            counts.add("NoGap", disk.compared.no_gap);
        }
        for Facts { group, sessions, wishes, acks, said, history, .. } in self.groups.values() {
            if let Some(history) = history {
                counts.add("Linearizable", history.compared);
                counts.add("ReadAsOf", history.read_as_of);
                counts.add(super::GIVEN_UP, history.given_up);
            }
            counts.add("CommittedOnQuorum", group.compared.committed_on_quorum);
            counts.add("CommittedImmutable", group.compared.committed_immutable);
            counts.add("NoCommittedTruncate", group.compared.no_committed_truncate);
            counts.add("LeaderComplete", group.compared.leader_complete);
            counts.add("ChainMatch", group.compared.chain_match);
            counts.add("Intersect", group.compared.intersect);
            counts.add("Undisturbed", wishes.compared);
            counts.add("OwnAcks", acks.compared);
            counts.add("ApplyOnce", sessions.compared.apply_once);
            counts.add("SameReply", sessions.compared.same_reply);
            counts.add("EvictDeterministic", sessions.compared.evict_deterministic);
            counts.add("ReplyOnlyCommitted", sessions.compared.reply_only_committed);
            for said in said.values() {
                counts.add("SendImpliesDurable", said.compared.send_implies_durable);
                counts.add("ViewChangeStable", said.compared.view_change_stable);
                counts.add("NoStraddle", said.compared.no_straddle);
                counts.add("FaultySilent", said.compared.faulty_silent);
                counts.add("NackSound", said.compared.nack_sound);
                counts.add("RotNotTruncated", said.compared.rot_not_truncated);
            }
        }
    }

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(self.clone())
    }
}
