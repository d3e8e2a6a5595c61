//! Many questions over one connection to one node.

use std::net::SocketAddr;
use std::time::Duration;

use chronon_core::codec;
use chronon_core::node::Query;

use super::link::Link;
use super::{ClientError, check_length};
use crate::server::protocol::{ANSWERS, Answered, GREETING, Packer, QUERIES};

/// Asks one node for the state of its groups, many questions at a time.
#[derive(Debug)]
pub struct Reader {
    address: SocketAddr,
    link: Link,
    questions: Packer,
}

impl Reader {
    /// Connects.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when that takes longer than `timeout`, or cannot be done.
    pub fn connect(address: SocketAddr, timeout: Duration) -> Result<Self, ClientError> {
        let link = Link::connect(address, timeout).map_err(|error| unreachable(address, &error))?;
        Ok(Self { address, link, questions: Packer::new(QUERIES) })
    }

    /// Queues a question for the next [`Reader::poll`].
    ///
    /// # Errors
    /// [`ClientError::TooLong`].
    pub fn ask(&mut self, query: &Query) -> Result<(), ClientError> {
        check_length(&query.body)?;
        self.link.pack(&mut self.questions, query);
        Ok(())
    }

    /// Sends what is queued, and takes the answers that have arrived; none when nothing comes within a short while. Who gets
    /// no answer for long asks elsewhere.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when the connection is of no more use.
    pub fn poll(&mut self) -> Result<Vec<Answered>, ClientError> {
        let Self { address, link, questions } = self;
        link.send(questions).map_err(|error| unreachable(*address, &error))?;
        let mut answers = Vec::new();
        for frame in link.receive().map_err(|error| unreachable(*address, &error))? {
            match frame.kind {
                ANSWERS => {
                    let told: Vec<Answered> =
                        codec::decode(&frame.body).map_err(|error| unreachable(*address, &error))?;
                    answers.extend(told);
                }
                GREETING => {}
                kind => return Err(unreachable(*address, &format!("it sent a frame of kind {kind}"))),
            }
        }
        Ok(answers)
    }
}

fn unreachable(address: SocketAddr, error: &dyn std::fmt::Display) -> ClientError {
    ClientError::Unreachable { address, what: error.to_string() }
}
