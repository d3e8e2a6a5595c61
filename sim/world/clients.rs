//! The clients' side of the world: requests, answers, and what the oracles hear of them.

use chronon_core::kernel::ChrApplication;
use chronon_core::node::{Answer, Input, Reply, Request, Route};

use super::{Item, World};
use crate::client::{Note, Session};
use crate::config::Asks;
use crate::net::{Endpoint, Subject};
use crate::oracle::{Observed, Violation};
use crate::trace::Entity;
use crate::workload::Workload;

impl<A: ChrApplication, W: Workload<A>> World<A, W> {
    pub(super) fn schedule_session(&mut self, index: usize) {
        let Some(wake_at) = self.sessions[index].wake_at else { return };
        let wake_at = wake_at.max(self.now);
        if self.session_timers[index].is_none_or(|at| wake_at < at) {
            self.session_timers[index] = Some(wake_at);
            self.agenda.put(wake_at, Item::Wake { session: index });
        }
    }

    pub(super) fn session_timer(&mut self, index: usize) {
        if self.session_timers[index] != Some(self.now) {
            return;
        }
        self.session_timers[index] = None;
        if self.sessions[index].wake_at.is_some_and(|at| at <= self.now) {
            self.wake(index);
        }
        self.schedule_session(index);
    }

    fn wake(&mut self, index: usize) {
        let init = &self.config.groups[self.sessions[index].group];
        let workload = &mut self.workload;
        let body = |asking, draw: &mut crate::random::Draw| workload.command(init, asking, draw);
        let (session, operations) = (&mut self.sessions[index], &mut self.operations);
        let outgoing = session.wake(self.now, &self.config.clients, init, operations, body, &mut self.notes);
        let route = session.route();
        let client = Endpoint::Client(session.asks.client);
        self.tell_notes(index);
        let Some((node, request)) = outgoing else { return };
        self.tally.requests += 1;
        let to = self.machine_of(node);
        let subject = Subject::of_request(&request);
        let request = || Item::Request { session: index, to, route, request: Box::new(request) };
        self.carry((client, Endpoint::Node(node)), subject, request);
    }

    pub(super) fn request_arrives(&mut self, session: usize, to: usize, route: Route, request: Request) {
        let client = Endpoint::Client(self.sessions[session].asks.client);
        if !self.net.is_cut(client, Endpoint::Node(self.nodes[to])) {
            self.step_node(to, Input::Client { route, request });
        }
    }

    /// A node answers on a route.
    pub(super) fn reply(&mut self, from: usize, route: Route, reply: Reply) {
        let asks = Session::asks_on(route);
        let node = self.nodes[from];
        let Ok(index) = self.sessions.binary_search_by_key(&asks, |session| session.asks) else {
            let what = format!("an answer goes to route {}, which no client has", route.0);
            self.judges.report(Violation::new("Addressed", what).at(node));
            return;
        };
        let client = Endpoint::Client(asks.client);
        let subject = Subject::of_reply(&reply);
        let reply = || Item::Reply { from, session: index, reply: Box::new(reply) };
        self.carry((Endpoint::Node(node), client), subject, reply);
    }

    pub(super) fn reply_arrives(&mut self, from: usize, index: usize, reply: Reply) {
        let node = self.nodes[from];
        let session = &mut self.sessions[index];
        if self.net.is_cut(Endpoint::Node(node), Endpoint::Client(session.asks.client)) {
            return;
        }
        let Asks { client, group } = session.asks;
        let numbers = [u64::from(group.get()), reply.number.get()];
        self.trace.note(self.now, Entity::Client(client), "heard", numbers, &reply);
        session.hear(self.now, &self.config.clients, node, reply, &mut self.notes);
        self.tell_notes(index);
        self.schedule_session(index);
    }

    fn tell_notes(&mut self, index: usize) {
        let session = &self.sessions[index];
        let (process, init) = (session.process(), &self.config.groups[session.group]);
        let group = init.group;
        for note in self.notes.drain(..) {
            let seen = match &note {
                Note::Invoke { operation, command } => {
                    Observed::Invoke { operation: *operation, process, group, command }
                }
                Note::Return { operation, command, answer } => {
                    self.tally.committed += 1;
                    if let Answer::Committed { outcome, .. } = answer
                        && let Err(what) = self.workload.answered(init, command.body.as_slice(), outcome)
                    {
                        self.judges.report(Violation::new("Workload", what).of(group));
                    }
                    Observed::Return { operation: *operation, process, group, command, answer }
                }
                Note::Repeated { operation, command, first, answer } => {
                    self.tally.repeated += 1;
                    Observed::Repeated { operation: *operation, process, group, command, first, answer }
                }
                Note::Abandoned { operation } => {
                    self.tally.abandoned += 1;
                    Observed::Abandoned { operation: *operation, process }
                }
            };
            self.judges.see(self.now, &seen);
        }
    }
}
