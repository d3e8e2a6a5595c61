//! What operators ask of nodes: how they are, and who is to lead. Each question has a connection of its own, for these come rarely.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use chronon_core::codec;
use chronon_core::codec::frame::{read_frame, write_frame};
use chronon_core::codec::wire::Decode;
use chronon_core::node::{Answer, Deed, Order, Reply};
use chronon_core::types::{GroupId, NodeId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::cluster::Cluster;
use super::topics::Refused;
use crate::server::protocol::{GREETING, ORDER, REPLIES, STATUS_ANSWER, STATUS_QUESTION, write_one};
use crate::server::status::{GroupReport, StatusReport};

impl Cluster {
    /// What each node says of itself; nothing of those that do not answer in time.
    pub(super) async fn statuses(&self) -> BTreeMap<NodeId, Option<StatusReport>> {
        let asked = self.nodes().map(|(node, address)| {
            tokio::spawn(async move {
                let mut question = Vec::new();
                write_frame(STATUS_QUESTION, &[], &mut question);
                (node, ask(address, &question, STATUS_ANSWER).await.ok())
            })
        });
        let mut statuses = BTreeMap::new();
        for asked in asked.collect::<Vec<_>>() {
            if let Ok((node, status)) = asked.await {
                statuses.insert(node, status);
            }
        }
        statuses
    }

    /// Has a node lead a group: asks until it says that it does.
    pub(super) async fn transfer(&self, group: GroupId, to: NodeId) -> Result<(), Refused> {
        let deadline = Instant::now() + TRANSFER_TIMEOUT;
        loop {
            let statuses = self.statuses().await;
            let reports = || statuses.values().flatten();
            let known = farthest(reports(), group)
                .ok_or_else(|| Refused::NotFound(format!("no node knows a group {group}")))?;
            let primary = known.primary.map(NodeId::new);
            if primary == Some(to) && leads(statuses.get(&to), group) {
                return Ok(());
            }
            if !known.members.iter().any(|member| member.node == to.get() && member.votes) {
                return Err(Refused::Invalid(format!("node {to} is no voter of group {group}")));
            }
            let leader = primary.and_then(|node| self.nodes().find(|(other, _)| *other == node));
            let why = match leader {
                None => format!("nobody is known to lead group {group}"),
                Some((node, address)) => match order(address, group, to).await {
                    Ok(Answer::Declined { why }) if node != to => return Err(Refused::Invalid(why)),
                    Ok(answer) => format!("node {node} answered {answer:?}"),
                    Err(error) => format!("node {node}: {error}"),
                },
            };
            if Instant::now() >= deadline {
                return Err(Refused::Unavailable(why));
            }
            sleep(PAUSE).await;
        }
    }
}

/// What is said of a group by who is farthest in it, its primary first.
pub(super) fn farthest<'a>(
    reports: impl Iterator<Item = &'a StatusReport>,
    group: GroupId,
) -> Option<&'a GroupReport> {
    let said = reports.flat_map(|report| &report.groups).filter(|known| known.group == group.get());
    said.max_by_key(|known| (known.view, known.role == "primary"))
}

fn leads(report: Option<&Option<StatusReport>>, group: GroupId) -> bool {
    let known = report.and_then(|report| farthest(report.iter(), group));
    known.is_some_and(|known| known.role == "primary")
}

async fn order(address: SocketAddr, group: GroupId, to: NodeId) -> io::Result<Answer> {
    let mut question = Vec::new();
    write_one(ORDER, &Order { group, deed: Deed::Lead(to) }, &mut question);
    let replies: Vec<Reply> = ask(address, &question, REPLIES).await?;
    let reply = replies.into_iter().next();
    reply.map(|reply| reply.answer).ok_or_else(|| io::Error::other("it answered nothing"))
}

/// The body of the first frame of the kind `answer`.
async fn ask<T: Decode<()>>(address: SocketAddr, question: &[u8], answer: u16) -> io::Result<T> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(question).await?;
        let mut incoming = BytesMut::new();
        loop {
            while let Some(frame) = read_frame(&mut incoming).map_err(io::Error::other)? {
                match frame.kind {
                    kind if kind == answer => return codec::decode(&frame.body).map_err(io::Error::other),
                    GREETING => {}
                    kind => return Err(io::Error::other(format!("it sent a frame of kind {kind}"))),
                }
            }
            if stream.read_buf(&mut incoming).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    };
    timeout(ANSWER_TIMEOUT, asked).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// A node that does not answer for so long is silent.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);
