//! Connections of clients: requests in, replies out.
//!
//! Whoever sends what is not a frame, or does not fetch its replies, is closed; a client that is slow to read is not
//! read from either until it has caught up, so that nothing piles up here.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use chronon_core::codec;
use chronon_core::codec::frame::Frame;
use chronon_core::engine::Found;
use chronon_core::node::{Order, Query, QueryAnswer, Reply, Request, Route, Work};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Registry, Token};

use super::connection::{Connection, ConnectionError};
use super::protocol::{
    ANSWERS, Answered, FOUND, GREETING, Greeting, LOOK_UP, LookUp, ORDER, Packer, QUERIES, REPLIES, REQUESTS,
    STATUS_ANSWER, STATUS_QUESTION, WORK, WORKED, Worked, write_one,
};
use super::status::StatusReport;

/// All clients of a node.
#[derive(Debug)]
pub(super) struct Clients {
    greeting: Greeting,
    clients: BTreeMap<Token, Client>,
}

/// What a client asked.
#[derive(Debug)]
pub(super) enum Question {
    Request { route: Route, request: Request },
    Query { route: Route, query: Query },
    Status { route: Route },
    LookUp { route: Route, look_up: LookUp },
    Order { route: Route, order: Order },
    Work { route: Route, work: Work },
}

#[derive(Debug)]
struct Client {
    connection: Connection,
    replies: Packer,
    answers: Packer,
}

impl Clients {
    pub(super) fn new(greeting: Greeting) -> Self {
        Self { greeting, clients: BTreeMap::new() }
    }

    /// Takes a connection that somebody opened, and tells it where it is.
    pub(super) fn accept(
        &mut self,
        stream: TcpStream,
        address: SocketAddr,
        token: Token,
        registry: &Registry,
    ) {
        if self.clients.len() >= CLIENTS_MAX {
            tracing::warn!(%address, "client refused: {CLIENTS_MAX} are connected already");
            return;
        }
        match Connection::accepted(stream, address, token, registry) {
            Ok(mut connection) => {
                write_one(GREETING, &self.greeting, &mut connection.outgoing);
                let (replies, answers) = (Packer::new(REPLIES), Packer::new(ANSWERS));
                self.clients.insert(token, Client { connection, replies, answers });
            }
            Err(error) => tracing::warn!(%address, %error, "client lost as it was accepted"),
        }
    }

    /// Passes a readiness event on.
    pub(super) fn ready(&mut self, event: &Event) {
        if let Some(client) = self.clients.get_mut(&event.token()) {
            client.connection.ready(event);
        }
    }

    /// Whether a connection has more to be read.
    pub(super) fn is_readable(&self) -> bool {
        self.clients.values().any(Client::is_readable)
    }

    /// Reads all clients and appends what they ask.
    pub(super) fn receive(&mut self, scratch: &mut [u8], questions: &mut Vec<Question>) {
        self.clients.retain(|token, client| match client.receive(*token, scratch, questions) {
            Ok(()) => true,
            Err(error) => client.closed(&error),
        });
    }

    /// Queues a reply. A client that has gone will ask again elsewhere.
    pub(super) fn reply(&mut self, route: Route, reply: &Reply) {
        if let Some(client) = self.client(route) {
            let is_packed = client.replies.push(reply, &mut client.connection.outgoing);
            assert!(is_packed, "the core bounds the replies of applications");
        }
    }

    /// Queues the answer to a query.
    pub(super) fn answer(&mut self, route: Route, number: u64, answer: QueryAnswer) {
        if let Some(client) = self.client(route) {
            let answered = Answered { number, answer };
            let is_packed = client.answers.push(&answered, &mut client.connection.outgoing);
            assert!(is_packed, "the core bounds the answers of applications");
        }
    }

    /// Answers a question for the node's status.
    pub(super) fn report(&mut self, route: Route, report: &StatusReport) {
        if let Some(client) = self.client(route) {
            write_one(STATUS_ANSWER, report, &mut client.connection.outgoing);
        }
    }

    /// Answers a worker.
    pub(super) fn worked(&mut self, route: Route, worked: &Worked) {
        if let Some(client) = self.client(route) {
            write_one(WORKED, worked, &mut client.connection.outgoing);
        }
    }

    /// Answers a question for an entry.
    pub(super) fn found(&mut self, route: Route, found: &Found) {
        if let Some(client) = self.client(route) {
            write_one(FOUND, found, &mut client.connection.outgoing);
        }
    }

    fn client(&mut self, route: Route) -> Option<&mut Client> {
        self.clients.get_mut(&Token(usize::try_from(route.0).ok()?))
    }

    /// Writes what is queued, one write a client.
    pub(super) fn flush(&mut self) {
        self.clients.retain(|_, client| {
            client.replies.finish(&mut client.connection.outgoing);
            client.answers.finish(&mut client.connection.outgoing);
            if let Err(error) = client.connection.flush() {
                return client.closed(&error);
            }
            let backlog = client.connection.backlog();
            if backlog > BACKLOG_BYTES_MAX {
                let address = client.connection.address();
                tracing::warn!(%address, "client closed: it left {backlog} bytes of replies unread");
            }
            backlog <= BACKLOG_BYTES_MAX
        });
    }
}

impl Client {
    fn is_readable(&self) -> bool {
        self.connection.is_readable() && self.connection.backlog() < BACKLOG_BYTES_PAUSE
    }

    fn receive(
        &mut self,
        token: Token,
        scratch: &mut [u8],
        questions: &mut Vec<Question>,
    ) -> Result<(), ConnectionError> {
        if !self.is_readable() {
            return Ok(());
        }
        // What came before the end of a connection still counts, and so does what was wrong with it.
        let received = self.connection.receive(scratch);
        let route = Route(token.0 as u64);
        while let Some(frame) = self.connection.next_frame()? {
            take(&frame, route, questions)?;
        }
        received
    }

    /// Tells why a client is closed; false, as it is not to be kept.
    fn closed(&self, error: &ConnectionError) -> bool {
        let address = self.connection.address();
        match error {
            ConnectionError::Closed | ConnectionError::Io(_) => {
                tracing::debug!(%address, "client gone: {error}")
            }
            ConnectionError::Frame(_) | ConnectionError::Body(_) | ConnectionError::Kind { .. } => {
                tracing::warn!(%address, "client closed: {error}");
            }
        }
        false
    }
}

fn take(frame: &Frame, route: Route, questions: &mut Vec<Question>) -> Result<(), ConnectionError> {
    match frame.kind {
        REQUESTS => {
            let requests: Vec<Request> = codec::decode(&frame.body)?;
            questions.extend(requests.into_iter().map(|request| Question::Request { route, request }));
            Ok(())
        }
        QUERIES => {
            let queries: Vec<Query> = codec::decode(&frame.body)?;
            questions.extend(queries.into_iter().map(|query| Question::Query { route, query }));
            Ok(())
        }
        STATUS_QUESTION => {
            questions.push(Question::Status { route });
            Ok(())
        }
        LOOK_UP => {
            questions.push(Question::LookUp { route, look_up: codec::decode(&frame.body)? });
            Ok(())
        }
        ORDER => {
            questions.push(Question::Order { route, order: codec::decode(&frame.body)? });
            Ok(())
        }
        WORK => {
            questions.push(Question::Work { route, work: codec::decode(&frame.body)? });
            Ok(())
        }
        kind => Err(ConnectionError::Kind { kind }),
    }
}

/// Clients connected at once.
const CLIENTS_MAX: usize = 1024;
/// A client with this much unread is not read from.
const BACKLOG_BYTES_PAUSE: usize = 1 << 20;
/// A client with this much unread is closed.
const BACKLOG_BYTES_MAX: usize = 64 << 20;
