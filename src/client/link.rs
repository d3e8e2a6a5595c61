//! A blocking connection to a node.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use chronon_core::codec::frame::{Frame, FrameError, read_frame, write_frame};
use chronon_core::codec::wire::Encode;
use chronon_core::node::Request;

use crate::server::protocol::{Packer, REQUESTS, write_one};

/// Why a link is of no more use.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("the node closed the connection")]
    Closed,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
}

/// A connection and its buffers.
#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    incoming: BytesMut,
    outgoing: Vec<u8>,
    requests: Packer,
    scratch: Vec<u8>,
}

impl Link {
    /// Connects. Nothing that blocks later does so for longer than `timeout`.
    pub(super) fn connect(address: SocketAddr, timeout: Duration) -> Result<Self, LinkError> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_read_timeout(Some(READ_WAIT))?;
        Ok(Self {
            stream,
            incoming: BytesMut::new(),
            outgoing: Vec::new(),
            requests: Packer::new(REQUESTS),
            scratch: vec![0; SCRATCH_BYTES],
        })
    }

    /// Queues an item in a packer of the caller's.
    ///
    /// # Panics
    /// When no frame holds the item: the caller has bounded it.
    pub(super) fn pack(&mut self, packer: &mut Packer, item: &impl Encode) {
        assert!(packer.push(item, &mut self.outgoing), "what is asked was measured before");
    }

    /// Sends what is queued, that in `packer` as well.
    pub(super) fn send(&mut self, packer: &mut Packer) -> Result<(), LinkError> {
        packer.finish(&mut self.outgoing);
        self.flush()
    }

    /// Queues a request for the next [`Link::flush`].
    ///
    /// # Panics
    /// As [`Link::pack`].
    pub(super) fn queue(&mut self, request: &Request) {
        assert!(self.requests.push(request, &mut self.outgoing), "what is asked was measured before");
    }

    /// Sends what is queued.
    pub(super) fn flush(&mut self) -> Result<(), LinkError> {
        self.requests.finish(&mut self.outgoing);
        self.stream.write_all(&self.outgoing)?;
        self.outgoing.clear();
        Ok(())
    }

    /// Sends a frame without a body.
    pub(super) fn ask(&mut self, kind: u16) -> Result<(), LinkError> {
        write_frame(kind, &[], &mut self.outgoing);
        self.flush()
    }

    /// Sends a frame with this body.
    pub(super) fn ask_for(&mut self, kind: u16, body: &impl Encode) -> Result<(), LinkError> {
        write_one(kind, body, &mut self.outgoing);
        self.flush()
    }

    /// The frames that have arrived; none when nothing comes within a short while.
    pub(super) fn receive(&mut self) -> Result<Vec<Frame>, LinkError> {
        match self.stream.read(&mut self.scratch) {
            Ok(0) => return Err(LinkError::Closed),
            Ok(count) => self.incoming.extend_from_slice(&self.scratch[..count]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        let mut frames = Vec::new();
        while let Some(frame) = read_frame(&mut self.incoming)? {
            frames.push(frame);
        }
        Ok(frames)
    }
}

/// How long a read waits: often enough to look at the clock.
const READ_WAIT: Duration = Duration::from_millis(10);
/// Bytes that one read takes at most.
const SCRATCH_BYTES: usize = 256 << 10;
