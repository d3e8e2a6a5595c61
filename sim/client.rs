//! Simulated clients: one session of one client in one group, one request at a time.
//!
//! ```text
//!           wake: invoke, send              answer: return            repeat (sometimes)
//!   idle ------------------------> open ----------------------> idle ------------------> open again
//!                                   | wake: send to another node         the answer must be the same
//!                                   | too long: abandon, begin again under another name
//! ```
//!
//! What is heard out of turn (an answer that came already, a refusal that a later attempt has overtaken) is ignored.

use chronon_core::kernel::{Command, Outcome};
use chronon_core::node::{Answer, Reply, Request, Route};
use chronon_core::types::{Blob, ClientId, GroupId, GroupInit, NodeId, RequestNumber, SessionId};

use bytes::Bytes;

use crate::config::{Asks, ClientModel};
use crate::random::{Draw, Purpose, Randomness};
use crate::time::{MILLISECOND, WorldTime};
use crate::workload::Asking;

/// One session of a client.
#[derive(Clone, Debug)]
pub struct Session {
    /// Who asks what group.
    pub asks: Asks,
    /// The group's place among those of the run.
    pub group: usize,
    /// When it wants [`Session::wake`]; never when there is nothing to wait for.
    pub wake_at: Option<WorldTime>,
    randomness: Randomness,
    life: u32,
    id: ClientId,
    session: Option<SessionId>,
    number: u64,
    /// Requests so far, in all lives.
    asked: u64,
    hosts: Vec<NodeId>,
    target: usize,
    doing: Doing,
    plan: Plan,
    last: Option<Settled>,
}

/// What the session is at.
#[derive(Clone, Debug)]
enum Doing {
    Nothing,
    Asking(Open),
}

#[derive(Clone, Debug)]
struct Open {
    operation: u64,
    command: Command,
    attempts: u32,
    since: WorldTime,
    /// The answer it had; then this is a repetition.
    first: Option<Answer>,
}

#[derive(Clone, Debug)]
struct Settled {
    operation: u64,
    command: Command,
    answer: Answer,
}

/// What is left to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Plan {
    /// One request after the other.
    GoOn,
    /// Finish, and ask for the last answer once more.
    WindDown,
    /// Under a new name, one request.
    Probe,
    /// Nothing.
    Stop,
}

/// What a session did, in the order in which it did it.
#[derive(Clone, Debug)]
pub enum Note {
    /// It asks.
    Invoke {
        /// The operation.
        operation: u64,
        /// What it asks.
        command: Command,
    },
    /// It was answered.
    Return {
        /// The operation.
        operation: u64,
        /// What it asked.
        command: Command,
        /// The answer.
        answer: Answer,
    },
    /// It asked again, and was answered.
    Repeated {
        /// The operation.
        operation: u64,
        /// What it asked.
        command: Command,
        /// The answer it had.
        first: Answer,
        /// The answer it has.
        answer: Answer,
    },
    /// It gave up.
    Abandoned {
        /// The operation.
        operation: u64,
    },
}

/// What a session wants sent, and where.
pub type Outgoing = Option<(NodeId, Request)>;

impl Session {
    /// A session that has not registered. Its first request comes within a think time.
    pub fn new(
        client: u32,
        (group, init): (usize, &GroupInit),
        hosts: Vec<NodeId>,
        model: &ClientModel,
        randomness: Randomness,
    ) -> Self {
        let mut session = Self {
            asks: Asks { client, group: init.group },
            group,
            wake_at: None,
            randomness,
            life: 0,
            id: ClientId::new(0),
            session: None,
            number: 0,
            asked: 0,
            hosts,
            target: 0,
            doing: Doing::Nothing,
            plan: Plan::GoOn,
            last: None,
        };
        session.begin_again();
        let mut draw = session.draw(&[FIRST]);
        session.target = draw.below(session.hosts.len() as u64) as usize;
        session.wake_at = Some(WorldTime::ZERO.after(draw.below(model.think_ns.min(1000 * MILLISECOND) + 1)));
        session
    }

    /// Its id in this life.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// Its name in histories: another one in each life.
    pub fn process(&self) -> u64 {
        u64::from(self.life) << 32 | self.key()
    }

    /// The connection of this life: a new one in each.
    pub fn route(&self) -> Route {
        Route(self.process())
    }

    /// Who asks on `route`.
    pub fn asks_on(route: Route) -> Asks {
        let key = route.0 & u64::from(u32::MAX);
        Asks { client: (key >> 16) as u32, group: GroupId::new((key & u64::from(u16::MAX)) as u32) }
    }

    /// The same whoever else exists.
    fn key(&self) -> u64 {
        u64::from(self.asks.client) << 16 | u64::from(self.asks.group.get())
    }

    /// From now on it finishes what is open, asks for its last answer once more, and stops.
    pub fn wind_down(&mut self, now: WorldTime) {
        self.plan = Plan::WindDown;
        self.wake_at = Some(self.wake_at.map_or(now, |at| at.min(now.after(200 * MILLISECOND))));
    }

    /// Once stopped, it begins again under another name and makes one more request.
    pub fn probe(&mut self, now: WorldTime) {
        self.begin_again();
        self.plan = Plan::Probe;
        self.wake_at = Some(now);
    }

    /// Whether nothing is left to do.
    pub fn is_stopped(&self) -> bool {
        self.plan == Plan::Stop
    }

    /// What it waits for, for people.
    pub fn waits_for(&self) -> Option<(RequestNumber, u32)> {
        match &self.doing {
            Doing::Asking(open) => Some((open.command.number, open.attempts)),
            Doing::Nothing => None,
        }
    }

    /// Does what is due. `body` makes the next command; `operations` counts all operations of the run.
    pub fn wake(
        &mut self,
        now: WorldTime,
        model: &ClientModel,
        init: &GroupInit,
        operations: &mut u64,
        body: impl FnOnce(Asking, &mut Draw) -> Bytes,
        notes: &mut Vec<Note>,
    ) -> Outgoing {
        self.wake_at = None;
        match &self.doing {
            Doing::Asking(open) => {
                let patient = self.plan != Plan::GoOn;
                if !patient && now.since(open.since) >= model.give_up_ns {
                    self.abandon(now, notes);
                    return None;
                }
                self.target = (self.target + 1) % self.hosts.len();
                self.send(now, model, init)
            }
            Doing::Nothing => match self.plan {
                Plan::Stop => None,
                Plan::WindDown => {
                    let Some(last) = self.last.take() else {
                        self.plan = Plan::Stop;
                        return None;
                    };
                    self.repeat(last, now);
                    self.send(now, model, init)
                }
                Plan::GoOn | Plan::Probe => {
                    if let Some(last) = self.repeats_last(model) {
                        self.repeat(last, now);
                    } else if self.plan == Plan::GoOn && self.asked >= model.requests_max {
                        return None;
                    } else {
                        self.invoke(now, operations, body, notes);
                    }
                    self.send(now, model, init)
                }
            },
        }
    }

    /// Takes an answer.
    pub fn hear(
        &mut self,
        now: WorldTime,
        model: &ClientModel,
        from: NodeId,
        reply: Reply,
        notes: &mut Vec<Note>,
    ) {
        let Doing::Asking(open) = &mut self.doing else { return };
        if reply.client != self.id || reply.number != open.command.number {
            return;
        }
        match reply.answer {
            Answer::Committed { .. } => self.settle(now, model, reply.answer, notes),
            Answer::NotPrimary { primary, .. } => {
                let hint = self.hosts.iter().position(|&voter| voter == primary && voter != from);
                // A hint is followed at once, but not round and round between two nodes that name each other.
                let soon = match hint {
                    Some(target) if open.attempts % 4 != 0 => {
                        // `wake` moves on by one before it sends.
                        self.target = (target + self.hosts.len() - 1) % self.hosts.len();
                        MILLISECOND
                    }
                    _ => model.resend_ns / 4,
                };
                self.wake_at = Some(now.after(soon));
            }
            Answer::Busy
            | Answer::Full
            | Answer::UnknownGroup
            | Answer::Halted(_)
            | Answer::Declined { .. }
            | Answer::NotYet { .. } => self.wake_at = Some(now.after(model.resend_ns / 4)),
            Answer::TooLong { .. } => self.abandon(now, notes),
        }
    }

    fn settle(&mut self, now: WorldTime, model: &ClientModel, answer: Answer, notes: &mut Vec<Note>) {
        let Doing::Asking(Open { operation, command, first, .. }) =
            std::mem::replace(&mut self.doing, Doing::Nothing)
        else {
            return;
        };
        let evicted = matches!(answer, Answer::Committed { outcome: Outcome::Evicted, .. });
        match first {
            Some(first) => notes.push(Note::Repeated { operation, command, first, answer }),
            // An earlier attempt may have been executed before the session was evicted.
            None if evicted => notes.push(Note::Abandoned { operation }),
            None => {
                if let Answer::Committed { outcome: Outcome::Registered { session }, .. } = &answer {
                    self.session = Some(*session);
                }
                self.last = Some(Settled { operation, command: command.clone(), answer: answer.clone() });
                notes.push(Note::Return { operation, command, answer });
            }
        }
        if evicted && self.plan != Plan::WindDown {
            self.begin_again();
        }
        if self.plan == Plan::Probe && self.number > 0 {
            self.plan = Plan::Stop;
        }
        let mut draw = self.draw(&[THINK]);
        // Most requests follow soon; the mean is made up by longer breaks.
        let think =
            if draw.below(4) > 0 { draw.below(20 * MILLISECOND) } else { draw.below(8 * model.think_ns + 1) };
        let think = if self.plan == Plan::GoOn { think } else { MILLISECOND };
        self.wake_at = (self.plan != Plan::Stop).then(|| now.after(think));
    }

    /// Takes up the next request.
    fn invoke(
        &mut self,
        now: WorldTime,
        operations: &mut u64,
        body: impl FnOnce(Asking, &mut Draw) -> Bytes,
        notes: &mut Vec<Note>,
    ) {
        let command = match self.session {
            None => Command::register(self.id),
            Some(session) => {
                self.number += 1;
                let asking = Asking { client: self.asks.client, life: self.life, number: self.number };
                let body = Blob(body(asking, &mut self.draw(&[BODY])));
                Command { client: self.id, session, number: RequestNumber::new(self.number), body }
            }
        };
        self.asked += 1;
        *operations += 1;
        notes.push(Note::Invoke { operation: *operations, command: command.clone() });
        self.doing =
            Doing::Asking(Open { operation: *operations, command, attempts: 0, since: now, first: None });
    }

    fn repeat(&mut self, last: Settled, now: WorldTime) {
        let Settled { operation, command, answer } = last;
        self.doing = Doing::Asking(Open { operation, command, attempts: 0, since: now, first: Some(answer) });
    }

    /// The last request, if this is a moment to send it once more.
    fn repeats_last(&mut self, model: &ClientModel) -> Option<Settled> {
        let repeats = self.plan == Plan::GoOn && self.draw(&[REPEAT]).chance(model.repeat_ppm);
        if repeats { self.last.take() } else { None }
    }

    fn send(&mut self, now: WorldTime, model: &ClientModel, init: &GroupInit) -> Outgoing {
        let Doing::Asking(open) = &mut self.doing else { return None };
        open.attempts = open.attempts.saturating_add(1);
        let doubled = open.attempts.min(4) - 1;
        let request = Request { group: init.group, command: open.command.clone() };
        let attempts = u64::from(open.attempts);
        let wait = model.resend_ns << doubled;
        let jitter = self.draw(&[RESEND, attempts]).below(wait / 2 + 1);
        self.wake_at = Some(now.after(wait + jitter));
        Some((self.hosts[self.target], request))
    }

    fn abandon(&mut self, now: WorldTime, notes: &mut Vec<Note>) {
        if let Doing::Asking(open) = std::mem::replace(&mut self.doing, Doing::Nothing)
            && open.first.is_none()
        {
            notes.push(Note::Abandoned { operation: open.operation });
        }
        self.begin_again();
        self.wake_at = Some(now.after(10 * MILLISECOND));
    }

    fn begin_again(&mut self) {
        self.life += 1;
        let mut draw = self.draw(&[NAME]);
        self.id = ClientId::new(u128::from(draw.word()) << 64 | u128::from(draw.word()));
        self.session = None;
        self.number = 0;
        self.last = None;
        self.doing = Doing::Nothing;
    }

    fn draw(&self, about: &[u64]) -> Draw {
        let mut key = [u64::from(self.life), self.number, 0, 0];
        key[2..2 + about.len()].copy_from_slice(about);
        self.randomness.draw(Purpose::Client, self.key(), &key)
    }
}

const FIRST: u64 = 1;
const NAME: u64 = 2;
const BODY: u64 = 3;
const REPEAT: u64 = 4;
const RESEND: u64 = 5;
const THINK: u64 = 6;

#[cfg(test)]
mod tests;
