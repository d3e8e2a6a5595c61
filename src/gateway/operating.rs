//! What operators ask of nodes: how they are, and who is to lead, and who is a member. Each question has a connection of its own, for these come rarely.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use chronon_core::codec;
use chronon_core::codec::frame::{read_frame, write_frame};
use chronon_core::codec::wire::Decode;
use chronon_core::node::{Answer, Deed, Order, Reply};
use chronon_core::types::{GroupId, MembershipChange, NodeId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::cluster::Cluster;
use super::topics::Refused;
use crate::server::members;
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
                Some((node, address)) => match order(address, Order { group, deed: Deed::Lead(to) }).await {
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

impl Cluster {
    /// Every group, as the node says that is farthest in it.
    pub(super) async fn group_reports(&self) -> Result<Vec<GroupReport>, Refused> {
        let statuses = self.statuses().await;
        let reports = || statuses.values().flatten();
        let groups: BTreeSet<u32> =
            reports().flat_map(|report| report.groups.iter().map(|group| group.group)).collect();
        if groups.is_empty() {
            return Err(Refused::Unavailable("no node tells of its groups".to_owned()));
        }
        Ok(groups.into_iter().filter_map(|group| farthest(reports(), GroupId::new(group)).cloned()).collect())
    }

    /// Asks for a change of a group's members: nothing once it is made, or what it waits for.
    ///
    /// # Errors
    /// When it cannot be.
    pub(super) async fn change(
        &self,
        group: GroupId,
        change: &MembershipChange,
    ) -> Result<Option<String>, Refused> {
        let statuses = self.statuses().await;
        let known = farthest(statuses.values().flatten(), group)
            .ok_or_else(|| Refused::NotFound(format!("no node knows a group {group}")))?;
        if members::is_done(known, change) {
            return Ok(None);
        }
        let primary = known.primary.map(NodeId::new);
        let leader = self.nodes().find(|(node, _)| Some(*node) == primary);
        let Some((node, address)) = leader else {
            return Ok(Some(format!("nobody within reach is known to lead group {group}")));
        };
        let waits_for = match order(address, Order { group, deed: Deed::Change(change.clone()) }).await {
            Ok(Answer::Committed { .. }) => return Ok(None),
            // The entry may be committed, and the word of it lost.
            Ok(Answer::Declined { .. }) if self.is_done(group, change).await => return Ok(None),
            Ok(Answer::Declined { why }) => {
                return Err(Refused::Invalid(format!("group {group}, {change}: {why}")));
            }
            Ok(Answer::NotYet { why }) => why,
            Ok(Answer::Busy) => format!("node {node} is busy, or its group is being changed already"),
            Ok(answer) => format!("node {node} answered {answer:?}"),
            Err(error) => format!("node {node}: {error}"),
        };
        Ok(Some(waits_for))
    }

    async fn is_done(&self, group: GroupId, change: &MembershipChange) -> bool {
        let statuses = self.statuses().await;
        farthest(statuses.values().flatten(), group).is_some_and(|known| members::is_done(known, change))
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

async fn order(address: SocketAddr, order: Order) -> io::Result<Answer> {
    let mut question = Vec::new();
    write_one(ORDER, &order, &mut question);
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
