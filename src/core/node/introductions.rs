//! Beats between nodes, and what a node may say to whom: each is introduced to the others whenever it has started.

use alloc::vec::Vec;

use super::group::Group;
use super::heartbeat::{GroupBeat, Heard, Heartbeat, OwnFacts};
use super::{Effect, Effects, Life, Message, Node, Running};
use crate::consensus::vsr::Beat;
use crate::engine::{Amnesia, DiskOut, Engine};
use crate::kernel::ChrApplication;
use crate::types::{GroupId, Mark, Marks, NodeId};

impl<A: ChrApplication, M: Marks> Node<A, M> {
    pub(super) fn on_heartbeat(&mut self, from: NodeId, beat: &Heartbeat, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        if running.amnesia.is_some() {
            return;
        }
        if !running.heartbeats.is_peer(from) {
            // Who is to join does not know whom: it is found.
            if !running.groups.iter().any(|group| group.replica.is_outside()) {
                return;
            }
            self.marks.hit(Mark::StrangerMet);
            running.heartbeats.meet(from, self.engine.witnessed(from));
        }
        if let Err(what) = self.engine.judge(beat.witnessed) {
            return self.fall_mute(Amnesia { by: from, what }, effects);
        }
        let when = (self.now.monotonic, self.config.timeouts.trust());
        let heard = running.heartbeats.hear(when, from, beat, &mut self.marks);
        if heard == Heard::Stale {
            return;
        }
        if heard == Heard::Restarted {
            self.marks.hit(Mark::PeerRestarted);
            running.waiting.values_mut().for_each(|waiting| waiting.beats.retain(|of, _| *of != from));
            self.for_each_group(effects, |group, turn| group.on_peer_restarted(turn, from));
        }
        self.write_introductions(from, effects);
        // Who has no name yet says so again and again: only who has one answers.
        let waits_for_an_answer = match heard {
            Heard::First | Heard::Restarted => true,
            Heard::Unnamed => self.engine.is_announced(),
            Heard::GoesOn | Heard::Stale => false,
        };
        if waits_for_an_answer {
            self.send_heartbeat(from, effects);
        }
        self.let_groups_arrive(effects);
        for GroupBeat { group, view, leads, commit, head, released, complete_to } in
            beat.groups.iter().copied()
        {
            let beat = Beat { view, leads, commit, head, released, complete_to };
            if let Life::Running(running) = &mut self.life
                && let Some(waiting) = running.waiting.get_mut(&group)
            {
                waiting.beats.insert(from, beat);
            }
            self.with_group(group, effects, |group, turn| group.on_beat(turn, from, beat));
        }
    }

    /// Lets the engine write what a peer that was heard changes: this start has a name from now on, and that of the peer, if it
    /// is proven, is to be noted.
    fn write_introductions(&mut self, from: NodeId, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        let to_note = running.heartbeats.to_note(from);
        let out = &mut DiskOut { ops: &mut self.disk_ops, marks: &mut self.marks };
        let announced = self.engine.announce(out);
        let noted = to_note.map_or(Ok(()), |noted| self.engine.witness(self.now.monotonic, from, noted, out));
        if let Err(error) = announced.and(noted) {
            return self.halt_over(error, effects);
        }
        self.emit_disk_ops(effects);
    }

    /// The disk is not what a peer knows that it was: the node says nothing from here on.
    fn fall_mute(&mut self, amnesia: Amnesia, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        self.marks.hit(Mark::DiskDisowned);
        running.amnesia = Some(amnesia.clone());
        let out = &mut DiskOut { ops: &mut self.disk_ops, marks: &mut self.marks };
        if let Err(error) = self.engine.disown(amnesia, out) {
            return self.halt_over(error, effects);
        }
        self.emit_disk_ops(effects);
        // They settle once more, and let go of the side effects that they had under way.
        self.for_each_group(effects, |_, _| ());
    }

    pub(super) fn send_heartbeats(&mut self, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        running.next_beat = self.now.monotonic.after(self.config.timeouts.heartbeat);
        for to in running.heartbeats.peers() {
            self.send_heartbeat(to, effects);
        }
    }

    fn send_heartbeat(&mut self, to: NodeId, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        let Running { groups, heartbeats, amnesia: None, .. } = running.as_mut() else { return };
        let shared =
            groups.iter().filter(|group| !group.is_arriving() && group.replica.membership().concerns(to));
        let own =
            OwnFacts { flush: self.engine.durable_flush(), full: self.engine.is_full(), schema: A::SCHEMA };
        let beat = heartbeats.beat(self.now, to, own, shared.map(Group::beat), &mut self.marks);
        effects.push(Effect::Send { to, message: Message::Heartbeat(beat) });
    }

    /// Tells peers of this start, and of theirs, once what they will rely on is durable: they wait for it.
    pub(super) fn introduce(&mut self, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        let is_new = self.engine.is_announced() && running.heartbeats.announce();
        if !is_new && !running.heartbeats.is_noting() {
            return;
        }
        let mut told = running.heartbeats.peers();
        told.retain(|peer| running.heartbeats.set_noted(*peer, self.engine.witnessed(*peer)) || is_new);
        told.into_iter().for_each(|peer| self.send_heartbeat(peer, effects));
    }

    /// Sends to a peer that knows this start of this node; what others would be told is lost, like a message that is.
    pub(super) fn send(&mut self, to: NodeId, message: Message, effects: &mut Effects) {
        match &self.life {
            Life::Running(running) if running.may_speak_to(to) => effects.push(Effect::Send { to, message }),
            _ => self.marks.hit(Mark::NotIntroduced),
        }
    }

    /// Groups take part once this node is known to a quorum of their voters: before, nobody would hear them. So does a replica that
    /// has become a voter.
    pub(super) fn let_groups_arrive(&mut self, effects: &mut Effects) {
        let Life::Running(running) = &self.life else { return };
        let Running { groups, heartbeats, amnesia: None, .. } = running.as_ref() else { return };
        let me = self.config.node;
        let knows_me = |voter: NodeId| voter == me || heartbeats.is_introduced_to(voter);
        // Who does not vote has nobody to convince.
        let may_arrive = |group: &&Group<A>| !group.replica.votes() || group.is_quorum(knows_me);
        let arrive = groups.iter().filter(|group| group.is_arriving()).filter(may_arrive);
        let arrive: Vec<GroupId> = arrive.map(Group::id).collect();
        for id in arrive {
            self.with_group(id, effects, |group, turn| group.arrive(turn));
        }
        self.let_new_voters_take_part(effects);
    }

    /// See [`crate::consensus::vsr::VsrNode::waits_to_vote`].
    pub(super) fn let_new_voters_take_part(&mut self, effects: &mut Effects) {
        let Life::Running(running) = &self.life else { return };
        let Running { groups, heartbeats, amnesia: None, .. } = running.as_ref() else { return };
        let me = self.config.node;
        let knows_me = |voter: NodeId| voter == me || heartbeats.is_introduced_to(voter);
        let is_known = |group: &&Group<A>| group.replica.waits_to_vote() && group.is_quorum(knows_me);
        let known: Vec<GroupId> = groups.iter().filter(is_known).map(Group::id).collect();
        for id in known {
            self.with_group(id, effects, |group, turn| group.replica.take_part(turn));
        }
    }
}

impl<A: ChrApplication> Running<A> {
    /// Meets the members of a group's new membership, and lets go of nodes that no group concerns any more.
    pub(super) fn meet_members(&mut self, index: usize, me: NodeId, engine: &mut Engine) {
        let group = &mut self.groups[index];
        let membership = group.replica.membership();
        group.met = membership.epoch;
        for node in membership.members().filter(|node| *node != me) {
            self.heartbeats.meet(node, engine.witnessed(node));
        }
        let is_outside = self.groups.iter().any(|group| group.replica.is_outside());
        let (groups, waiting) = (&self.groups, &self.waiting);
        let is_kept = |peer| {
            is_outside
                || groups.iter().any(|group| group.replica.membership().concerns(peer))
                || waiting.values().any(|waiting| waiting.members.contains(&peer))
        };
        self.heartbeats.keep(is_kept);
        engine.keep_witnessed(is_kept);
    }

    /// Whether `peer` knows this start of this node, and no peer has known its disk otherwise.
    pub(super) fn may_speak_to(&self, peer: NodeId) -> bool {
        self.amnesia.is_none() && self.heartbeats.is_introduced_to(peer)
    }
}
