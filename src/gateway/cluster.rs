//! The cluster as the gateway of one of its nodes sees it: commands go to whoever leads a group, questions to the own replica.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chronon_core::codec;
use chronon_core::engine::{At, Found, Sought};
use chronon_core::kernel::{Command, Outcome};
use chronon_core::node::{About, Answer, Freshness, Query, QueryAnswer, Reply, Request};
use chronon_core::types::{
    Blob, ClientId, Entry, GroupId, GroupInit, Nanos, NodeId, Op, RequestNumber, SessionId,
};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{sleep, timeout};

use super::link::{Ended, Link};
use crate::server::protocol::LookUp;

/// Where a gateway finds what.
#[derive(Clone, Debug)]
pub struct ClusterMap {
    /// The node that it belongs to.
    pub local: NodeId,
    /// Where nodes listen for requests, the own one among them.
    pub nodes: BTreeMap<NodeId, SocketAddr>,
    /// The groups of the cluster.
    pub groups: Vec<GroupInit>,
}

/// Why nothing came of a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The application refuses: its error, encoded as the applications that the binary ships do.
    #[error("refused")]
    Refused(Blob),
    /// Whether it was done is not known, or it was not.
    #[error("{0}")]
    Unavailable(String),
    /// It is too long.
    #[error("{0}")]
    TooLong(String),
    /// It waited too long for others before it: it was not done.
    #[error("{0}")]
    Overloaded(String),
}

/// The cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    map: ClusterMap,
    links: Mutex<BTreeMap<(NodeId, Use), Arc<Link>>>,
    /// Whose turn it is to look something up.
    looking_up: Mutex<()>,
    lanes: BTreeMap<GroupId, Lanes>,
}

/// Look-ups come one at a time, so they have connections of their own.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
enum Use {
    Requests,
    LookUps,
}

/// Sessions of a group, each of which has one command on its way.
#[derive(Debug)]
struct Lanes {
    free: Semaphore,
    idle: std::sync::Mutex<Vec<Session>>,
    /// Who led it when last heard of.
    primary: std::sync::Mutex<NodeId>,
}

#[derive(Debug)]
struct Session {
    client: ClientId,
    id: Option<SessionId>,
    number: RequestNumber,
}

impl Cluster {
    pub(super) fn new(map: ClusterMap) -> Self {
        let lanes = map.groups.iter().map(|init| (init.group, Lanes::new(map.local))).collect();
        Self { map, links: Mutex::default(), looking_up: Mutex::default(), lanes }
    }

    /// The node that the gateway belongs to.
    pub(super) fn local(&self) -> NodeId {
        self.map.local
    }

    /// Where nodes listen for requests, as far as it was told.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (NodeId, SocketAddr)> + '_ {
        self.map.nodes.iter().map(|(node, address)| (*node, *address))
    }

    /// All groups, each with its kind.
    pub(super) fn groups(&self) -> impl Iterator<Item = (GroupId, &str)> {
        self.map.groups.iter().map(|init| (init.group, init.kind.as_str()))
    }

    /// The groups of one kind, ascending.
    pub(super) fn groups_of(&self, kind: &str) -> Vec<GroupId> {
        let mut groups: Vec<GroupId> =
            self.map.groups.iter().filter(|init| init.kind == kind).map(|init| init.group).collect();
        groups.sort_unstable();
        groups
    }

    /// Waits until one more command to the group may be on its way.
    pub(super) async fn await_lane(&self, group: GroupId) {
        if let Some(lanes) = self.lanes.get(&group) {
            // Nobody closes it.
            let _permit = lanes.free.acquire().await;
        }
    }

    /// Has a command executed: the op that holds it, and the application's answer.
    pub(super) async fn command(&self, group: GroupId, body: Blob) -> Result<(Op, Blob), Failure> {
        let unknown = || Failure::Unavailable(format!("group {group} is not one of this cluster"));
        let lanes = self.lanes.get(&group).ok_or_else(unknown)?;
        let permit = timeout(REQUEST_TIMEOUT, lanes.free.acquire()).await;
        let crowded =
            |_| Failure::Overloaded(format!("commands to group {group} wait for too long; try again later"));
        let _permit = permit.map_err(crowded)?.map_err(|_| unknown())?;
        let mut session = lanes.take()?;
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        loop {
            if session.id.is_none() {
                let register = Command::register(session.client);
                match self.ask(group, lanes, register, deadline).await? {
                    (_, Outcome::Registered { session: id }) => session.id = Some(id),
                    (_, other) => return Err(Failure::Unavailable(format!("no session: {other:?}"))),
                }
            }
            let (client, number) = (session.client, session.number.next());
            let id = session.id.unwrap_or_default();
            let command = Command { client, session: id, number, body: body.clone() };
            // A session whose command has no answer is not used again: whether that is executed is not known.
            let (op, outcome) = self.ask(group, lanes, command, deadline).await?;
            session.number = number;
            return match outcome {
                Outcome::Done(answer) => {
                    lanes.give_back(session);
                    Ok((op, answer))
                }
                Outcome::Refused(error) => {
                    lanes.give_back(session);
                    Err(Failure::Refused(error))
                }
                Outcome::Evicted => {
                    session = Session::new()?;
                    continue;
                }
                Outcome::Registered { .. } | Outcome::OutOfOrder { .. } | Outcome::Skipped => {
                    Err(Failure::Unavailable(format!("group {group} answered {outcome:?}")))
                }
            };
        }
    }

    /// Asks until it is answered, at whoever leads.
    async fn ask(
        &self,
        group: GroupId,
        lanes: &Lanes,
        command: Command,
        deadline: Instant,
    ) -> Result<(Op, Outcome), Failure> {
        let mut why = String::from("nothing was heard");
        while Instant::now() < deadline {
            let node = lanes.primary();
            let request = Request { group, command: command.clone() };
            let reply = timeout(ATTEMPT_TIMEOUT, self.send(node, request)).await;
            match reply.map(|sent| sent.map(|reply| reply.answer)) {
                Ok(Ok(Answer::Committed { op, outcome })) => return Ok((op, outcome)),
                Ok(Ok(Answer::TooLong { max })) => {
                    return Err(Failure::TooLong(format!("a command has {max} bytes at most")));
                }
                Ok(Ok(Answer::NotPrimary { primary, .. })) if primary != node => {
                    why = format!("node {primary} leads group {group}");
                    lanes.turn_to(primary);
                    if !self.map.nodes.contains_key(&primary) {
                        why = format!(
                            "node {primary} leads group {group}, and `peers_requests` does not tell where it listens"
                        );
                        self.turn_elsewhere(lanes, node);
                        sleep(PAUSE).await;
                    }
                }
                Ok(Ok(answer)) => {
                    why = format!("node {node} answered {answer:?}");
                    if matches!(answer, Answer::NotPrimary { .. }) {
                        self.turn_elsewhere(lanes, node);
                    }
                    sleep(PAUSE).await;
                }
                Ok(Err(error)) => {
                    why = format!("node {node}: {error}");
                    self.turn_elsewhere(lanes, node);
                    sleep(PAUSE).await;
                }
                Err(_) => {
                    why = format!("node {node} did not answer in time");
                    self.turn_elsewhere(lanes, node);
                }
            }
        }
        Err(Failure::Unavailable(why))
    }

    async fn send(&self, node: NodeId, request: Request) -> Result<Reply, Ended> {
        self.link(node, Use::Requests).await?.request(request).await
    }

    fn turn_elsewhere(&self, lanes: &Lanes, from: NodeId) {
        let nodes: Vec<NodeId> = self.map.nodes.keys().copied().collect();
        let place = nodes.iter().position(|node| *node == from).map_or(0, |place| place + 1);
        if let Some(next) = nodes.get(place % nodes.len().max(1)) {
            lanes.turn_to(*next);
        }
    }

    /// Asks the own replica about a group's state, which is encoded as its application does; as of which op it answers.
    pub(super) async fn query(
        &self,
        group: GroupId,
        body: Blob,
        freshness: Freshness,
    ) -> Result<(Op, Blob), Failure> {
        let patience = match freshness {
            Freshness::Awaited { patience } => Duration::from_nanos(patience.as_nanos()),
            Freshness::Linearizable | Freshness::Stale => Duration::ZERO,
        };
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        loop {
            let query = Query { number: 0, group, about: About::State, body: body.clone(), freshness };
            let asked = async { self.link(self.map.local, Use::Requests).await?.query(query).await };
            let why = match timeout(patience + ATTEMPT_TIMEOUT, asked).await {
                Ok(Ok(QueryAnswer::State { op, body })) => return Ok((op, body)),
                Ok(Ok(QueryAnswer::TooLong { max })) => {
                    return Err(Failure::TooLong(format!("the answer is longer than {max} bytes")));
                }
                Ok(Ok(answer)) => format!("the node answered {answer:?}"),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the node did not answer in time".to_owned(),
            };
            if Instant::now() >= deadline {
                return Err(Failure::Unavailable(why));
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits for news, as [`Freshness::Awaited`].
    pub(super) async fn await_news(&self, group: GroupId, body: Blob) -> Result<(Op, Blob), Failure> {
        let patience = Nanos::from_millis(PATIENCE_MS);
        self.query(group, body, Freshness::Awaited { patience }).await
    }

    /// Reads an entry of a group's log, and with it what follows and has no more than `room` bytes, here or at other nodes.
    pub(super) async fn look_up(&self, group: GroupId, op: Op, room: u32) -> Result<Vec<Entry>, Failure> {
        let _turn = self.looking_up.lock().await;
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        let mut nodes: Vec<NodeId> = self.map.nodes.keys().copied().collect();
        nodes.sort_by_key(|node| *node != self.map.local);
        let mut why = String::new();
        while Instant::now() < deadline {
            for node in &nodes {
                let look_up = LookUp { group, sought: Sought { at: At::Op(op), room } };
                let asked = async { self.link(*node, Use::LookUps).await?.look_up(look_up).await };
                why = match timeout(ATTEMPT_TIMEOUT, asked).await {
                    Ok(Ok(Found::Entries(entries))) => return Ok(entries),
                    Ok(Ok(found)) => format!("node {node} says {found:?}"),
                    Ok(Err(error)) => format!("node {node}: {error}"),
                    Err(_) => {
                        // The next answer would be taken for that of the next question.
                        self.links.lock().await.remove(&(*node, Use::LookUps));
                        format!("node {node} did not answer in time")
                    }
                };
            }
            sleep(PAUSE).await;
        }
        Err(Failure::Unavailable(format!("op {op} of group {group} cannot be read: {why}")))
    }

    async fn link(&self, node: NodeId, of: Use) -> Result<Arc<Link>, Ended> {
        let mut links = self.links.lock().await;
        if let Some(link) = links.get(&(node, of)).filter(|link| !link.has_ended()) {
            return Ok(Arc::clone(link));
        }
        let address = self.map.nodes.get(&node).ok_or(Ended)?;
        let link = timeout(ATTEMPT_TIMEOUT, Link::connect(*address)).await;
        let link = Arc::new(link.map_err(|_| Ended)?.map_err(|_| Ended)?);
        links.insert((node, of), Arc::clone(&link));
        Ok(link)
    }
}

impl Lanes {
    fn new(primary: NodeId) -> Self {
        let primary = std::sync::Mutex::new(primary);
        Self { free: Semaphore::new(LANES), idle: std::sync::Mutex::default(), primary }
    }

    fn take(&self) -> Result<Session, Failure> {
        let idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        idle.map_or_else(Session::new, Ok)
    }

    fn give_back(&self, session: Session) {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(session);
    }

    fn primary(&self) -> NodeId {
        *self.primary.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn turn_to(&self, node: NodeId) {
        *self.primary.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = node;
    }
}

impl Session {
    fn new() -> Result<Self, Failure> {
        let mut drawn = [0; 16];
        getrandom::fill(&mut drawn)
            .map_err(|error| Failure::Unavailable(format!("no random bytes: {error}")))?;
        let client = ClientId::new(u128::from_le_bytes(drawn));
        Ok(Self { client, id: None, number: RequestNumber::default() })
    }
}

/// Encodes what an application is asked.
pub(super) fn encoded(question: &impl codec::wire::Encode) -> Blob {
    Blob::from(codec::encode(question))
}

/// Commands to one group that are on their way at once.
const LANES: usize = 16;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);
/// Who waits for news hears from its replica at least so often.
const PATIENCE_MS: u64 = 5000;
