//! A connection to a node's port for requests, for many tasks at once.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use chronon_core::codec;
use chronon_core::codec::frame::{Frame, read_frame};
use chronon_core::engine::Found;
use chronon_core::node::{Query, QueryAnswer, Reply, Request};
use chronon_core::types::{ClientId, RequestNumber};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use crate::server::protocol::{
    ANSWERS, Answered, FOUND, LOOK_UP, LookUp, Packer, QUERIES, REPLIES, REQUESTS, write_one,
};

/// The connection. What waits for an answer when it ends hears that it has ended.
#[derive(Debug)]
pub(super) struct Link {
    outgoing: mpsc::Sender<Outgoing>,
    waiting: Arc<Mutex<Waiting>>,
}

/// The node is gone, or does not answer any more.
#[derive(Debug, thiserror::Error)]
#[error("the connection to the node has ended")]
pub(super) struct Ended;

#[derive(Debug)]
enum Outgoing {
    Request(Request),
    Query(Query),
    LookUp(LookUp),
}

#[derive(Debug, Default)]
struct Waiting {
    requests: BTreeMap<(ClientId, RequestNumber), oneshot::Sender<Reply>>,
    queries: BTreeMap<u64, oneshot::Sender<QueryAnswer>>,
    look_ups: VecDeque<oneshot::Sender<Found>>,
    last_query: u64,
    has_ended: bool,
}

impl Link {
    /// Connects; the connection lives until the node closes it or the link is dropped.
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let (outgoing, queue) = mpsc::channel(QUEUE_MAX);
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        tokio::spawn(write(writer, queue));
        tokio::spawn(read(reader, Arc::clone(&waiting)));
        Ok(Self { outgoing, waiting })
    }

    pub(super) fn has_ended(&self) -> bool {
        lock(&self.waiting).has_ended
    }

    /// Sends a request, and waits for its reply.
    pub(super) async fn request(&self, request: Request) -> Result<Reply, Ended> {
        let name = (request.command.client, request.command.number);
        let answer = self.expect(|waiting, sender| {
            prune(&mut waiting.requests);
            waiting.requests.insert(name, sender);
        })?;
        self.outgoing.send(Outgoing::Request(request)).await.map_err(|_| Ended)?;
        answer.await.map_err(|_| Ended)
    }

    /// Asks, and waits for the answer. The number is the link's to give.
    pub(super) async fn query(&self, mut query: Query) -> Result<QueryAnswer, Ended> {
        let answer = self.expect(|waiting, sender| {
            prune(&mut waiting.queries);
            waiting.last_query += 1;
            query.number = waiting.last_query;
            waiting.queries.insert(query.number, sender);
        })?;
        self.outgoing.send(Outgoing::Query(query)).await.map_err(|_| Ended)?;
        answer.await.map_err(|_| Ended)
    }

    /// Looks for an entry: one at a time, as the protocol says.
    pub(super) async fn look_up(&self, look_up: LookUp) -> Result<Found, Ended> {
        let answer = self.expect(|waiting, sender| waiting.look_ups.push_back(sender))?;
        self.outgoing.send(Outgoing::LookUp(look_up)).await.map_err(|_| Ended)?;
        answer.await.map_err(|_| Ended)
    }

    fn expect<T>(
        &self,
        note: impl FnOnce(&mut Waiting, oneshot::Sender<T>),
    ) -> Result<oneshot::Receiver<T>, Ended> {
        let mut waiting = lock(&self.waiting);
        if waiting.has_ended {
            return Err(Ended);
        }
        let (sender, answer) = oneshot::channel();
        note(&mut waiting, sender);
        Ok(answer)
    }
}

/// Forgets those whose time was up before they were answered, when there are many.
fn prune<K: Ord, T>(waiting: &mut BTreeMap<K, oneshot::Sender<T>>) {
    if waiting.len() >= WAITING_MANY && waiting.len().is_power_of_two() {
        waiting.retain(|_, sender| !sender.is_closed());
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes whatever has gathered, one write for all of it.
async fn write(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<Outgoing>) {
    let (mut requests, mut queries) = (Packer::new(REQUESTS), Packer::new(QUERIES));
    let (mut gathered, mut bytes) = (Vec::new(), Vec::new());
    while queue.recv_many(&mut gathered, GATHERED_MAX).await > 0 {
        for item in gathered.drain(..) {
            // What no frame holds was refused before: the cluster's limits are far below.
            let _fits = match item {
                Outgoing::Request(request) => requests.push(&request, &mut bytes),
                Outgoing::Query(query) => queries.push(&query, &mut bytes),
                Outgoing::LookUp(look_up) => {
                    write_one(LOOK_UP, &look_up, &mut bytes);
                    true
                }
            };
        }
        requests.finish(&mut bytes);
        queries.finish(&mut bytes);
        if let Err(error) = writer.write_all(&bytes).await {
            tracing::debug!(%error, "the connection to a node has ended");
            return;
        }
        bytes.clear();
    }
}

/// Hands every answer to who waits for it, until the connection ends.
async fn read(mut reader: OwnedReadHalf, waiting: Arc<Mutex<Waiting>>) {
    let mut incoming = BytesMut::with_capacity(READ_BYTES);
    loop {
        match reader.read_buf(&mut incoming).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let taken = loop {
            match read_frame(&mut incoming) {
                Ok(Some(frame)) => match take(&frame, &waiting) {
                    Ok(()) => {}
                    Err(error) => break Err(error.to_string()),
                },
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.to_string()),
            }
        };
        if let Err(error) = taken {
            tracing::warn!(error, "a node does not speak the protocol");
            break;
        }
    }
    *lock(&waiting) = Waiting { has_ended: true, ..Waiting::default() };
}

fn take(frame: &Frame, waiting: &Mutex<Waiting>) -> Result<(), codec::CodecError> {
    let mut waiting = lock(waiting);
    match frame.kind {
        REPLIES => {
            for reply in codec::decode::<Vec<Reply>>(&frame.body)? {
                if let Some(sender) = waiting.requests.remove(&(reply.client, reply.number)) {
                    let _nobody_waits = sender.send(reply);
                }
            }
        }
        ANSWERS => {
            for Answered { number, answer } in codec::decode::<Vec<Answered>>(&frame.body)? {
                if let Some(sender) = waiting.queries.remove(&number) {
                    let _nobody_waits = sender.send(answer);
                }
            }
        }
        FOUND => {
            let found = codec::decode(&frame.body)?;
            if let Some(sender) = waiting.look_ups.pop_front() {
                let _nobody_waits = sender.send(found);
            }
        }
        // Who is at the other end.
        _ => {}
    }
    Ok(())
}

/// Items that wait to be written, at most: who wants to send more waits.
const QUEUE_MAX: usize = 1024;
/// Answers that are waited for, from which on it is looked whether somebody still does.
const WAITING_MANY: usize = 4096;
/// Items that one write takes.
const GATHERED_MAX: usize = 256;
const READ_BYTES: usize = 64 << 10;
