//! One non-blocking TCP connection: bytes in, frames out of them, bytes to be written.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;

use bytes::BytesMut;
use chronon_core::codec::CodecError;
use chronon_core::codec::frame::{Frame, FrameError, read_frame};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("the other side closed it")]
    Closed,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Body(#[from] CodecError),
    #[error("a frame of kind {kind}, which has no place here")]
    Kind { kind: u16 },
}

/// A connection and its buffers. The owner bounds `outgoing`.
#[derive(Debug)]
pub(super) struct Connection {
    token: Token,
    address: SocketAddr,
    stream: TcpStream,
    incoming: BytesMut,
    pub(super) outgoing: Vec<u8>,
    written: usize,
    readable: bool,
    writable: bool,
}

impl Connection {
    /// A connection that exists already.
    pub(super) fn accepted(
        mut stream: TcpStream,
        address: SocketAddr,
        token: Token,
        registry: &Registry,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self::new(stream, address, token, true))
    }

    /// Begins to connect; the first writable event tells that it succeeded.
    pub(super) fn dial(address: SocketAddr, token: Token, registry: &Registry) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self::new(stream, address, token, false))
    }

    fn new(stream: TcpStream, address: SocketAddr, token: Token, connected: bool) -> Self {
        Self {
            token,
            address,
            stream,
            incoming: BytesMut::new(),
            outgoing: Vec::new(),
            written: 0,
            readable: connected,
            writable: connected,
        }
    }

    pub(super) fn token(&self) -> Token {
        self.token
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether reading might give something.
    pub(super) fn is_readable(&self) -> bool {
        self.readable
    }

    /// Takes a readiness event.
    pub(super) fn ready(&mut self, event: &mio::event::Event) {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        if event.is_writable() && !self.writable {
            self.writable = true;
            // Only a connection that was dialled begins unwritable; a failure to set this costs speed alone.
            let _ = self.stream.set_nodelay(true);
        }
    }

    /// Reads what has arrived, up to a bound, so that one connection cannot keep the others waiting.
    pub(super) fn receive(&mut self, scratch: &mut [u8]) -> Result<(), ConnectionError> {
        let mut budget = READ_BYTES_MAX;
        while self.readable && budget > 0 {
            match self.stream.read(scratch) {
                Ok(0) => return Err(ConnectionError::Closed),
                Ok(count) => {
                    self.incoming.extend_from_slice(&scratch[..count]);
                    budget = budget.saturating_sub(count);
                    // A short read has emptied the socket: what comes later raises a new event.
                    self.readable = count == scratch.len();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The next whole frame that was received.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, ConnectionError> {
        Ok(read_frame(&mut self.incoming)?)
    }

    /// Bytes not yet taken by the socket.
    pub(super) fn backlog(&self) -> usize {
        self.outgoing.len() - self.written
    }

    /// Writes as much as the socket takes.
    pub(super) fn flush(&mut self) -> Result<(), ConnectionError> {
        while self.writable && self.backlog() > 0 {
            match self.stream.write(&self.outgoing[self.written..]) {
                Ok(0) => return Err(ConnectionError::Closed),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if self.backlog() == 0 {
            self.outgoing.clear();
            self.written = 0;
            self.outgoing.shrink_to(OUTGOING_BYTES_KEPT);
        } else if self.written > OUTGOING_BYTES_KEPT {
            self.outgoing.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }
}

/// Bytes that one read takes at most.
pub(super) const SCRATCH_BYTES: usize = 256 << 10;
/// Bytes read from one connection before the others have their turn.
const READ_BYTES_MAX: usize = 1 << 20;
/// Room that an empty buffer keeps.
const OUTGOING_BYTES_KEPT: usize = 1 << 20;
