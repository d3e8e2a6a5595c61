//! How deliveries ended, on its way into partitions: what a member says while a command of it is on its way shares the next one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chronon_core::events::{Disposition, EventsAnswer, EventsCommand, MemberId, Settled, Settlement};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::gate::Gates;
use super::topics::{Partition, Refused, Topics};

/// A member of a consumer group in one partition.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(super) struct Membership {
    pub partition: i32,
    pub group: String,
    pub member: MemberId,
}

/// The ways of all members that have said something lately.
#[derive(Debug)]
pub(super) struct Settling {
    topics: Arc<Topics>,
    ways: Mutex<BTreeMap<Membership, mpsc::Sender<Waiting>>>,
    pub gates: Gates,
}

#[derive(Debug)]
struct Waiting {
    /// None says only that the member is there.
    settlement: Option<Settlement>,
    told: oneshot::Sender<Result<(Settled, u64), Failed>>,
}

#[derive(Clone, Debug)]
enum Failed {
    NotAMember,
    Other(String),
}

impl Settling {
    pub(super) fn new(topics: Arc<Topics>) -> Arc<Self> {
        Arc::new(Self { topics, ways: Mutex::default(), gates: Gates::default() })
    }

    /// Settles a delivery; what became of it, and the group's floor.
    pub(super) async fn settle(
        self: &Arc<Self>,
        of: &Membership,
        settlement: Option<Settlement>,
    ) -> Result<(Settled, u64), Refused> {
        let (told, answer) = oneshot::channel();
        let ends = settlement.as_ref().filter(|settlement| settlement.disposition != Disposition::InProgress);
        let place = ends.map(|settlement| (of.partition, settlement.seq));
        let mut waiting = Waiting { settlement, told };
        // A way that was closed for want of use is made again.
        loop {
            let way = self.way(of).await?;
            match way.send(waiting).await {
                Ok(()) => break,
                Err(mpsc::error::SendError(back)) => waiting = back,
            }
        }
        match answer.await {
            Ok(Ok(settled)) => {
                place.into_iter().for_each(|place| self.gates.settled(of.member, place));
                Ok(settled)
            }
            Ok(Err(Failed::NotAMember)) => Err(Refused::NotAMember),
            Ok(Err(Failed::Other(why))) => Err(Refused::Unavailable(why)),
            Err(_) => Err(Refused::Unavailable("the gateway stops".to_owned())),
        }
    }

    async fn way(self: &Arc<Self>, of: &Membership) -> Result<mpsc::Sender<Waiting>, Refused> {
        if let Some(way) = self.ways().get(of).filter(|way| !way.is_closed()) {
            return Ok(way.clone());
        }
        let partition = self.topics.partition(of.partition).await?;
        let mut ways = self.ways();
        if ways.len() >= WAYS_MAX {
            return Err(Refused::Overloaded(format!(
                "{WAYS_MAX} members of consumer groups settle deliveries here already; try again later"
            )));
        }
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run(Arc::clone(self), partition, of.clone(), queue));
        ways.insert(of.clone(), sender.clone());
        Ok(sender)
    }

    fn ways(&self) -> std::sync::MutexGuard<'_, BTreeMap<Membership, mpsc::Sender<Waiting>>> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(
    settling: Arc<Settling>,
    partition: Partition,
    of: Membership,
    mut queue: mpsc::Receiver<Waiting>,
) {
    let mut waiting = Vec::new();
    while let Ok(count @ 1..) = timeout(IDLE, queue.recv_many(&mut waiting, SETTLEMENTS_MAX)).await {
        tracing::trace!(count, "settlements");
        let (settlements, told): (Vec<_>, Vec<_>) =
            waiting.drain(..).map(|waiting| (waiting.settlement, waiting.told)).unzip();
        let command = EventsCommand::Settle {
            topic: partition.topic.name.clone(),
            group: of.group.clone(),
            member: of.member,
            settlements: settlements.iter().flatten().cloned().collect(),
            after: None,
        };
        let answer = match settling.topics.command(&partition, &command).await {
            Ok((_, EventsAnswer::Settled { results, floor, .. })) => Ok((results, floor)),
            Ok((_, other)) => Err(Failed::Other(format!("settlements were answered with {other:?}"))),
            Err(Refused::NotAMember) => Err(Failed::NotAMember),
            Err(other) => Err(Failed::Other(other.to_string())),
        };
        match answer {
            Ok((results, floor)) => {
                let mut results = results.into_iter();
                for (settlement, told) in settlements.iter().zip(told) {
                    let result = settlement.as_ref().and_then(|_| results.next()).unwrap_or(Settled::Done);
                    let _nobody_waits = told.send(Ok((result, floor)));
                }
            }
            Err(failed) => {
                for told in told {
                    let _nobody_waits = told.send(Err(failed.clone()));
                }
            }
        }
    }
    // Closed before it is forgotten: what comes now is given back to its sender, who makes another way.
    queue.close();
    settling.ways().remove(&of);
    while let Some(late) = queue.recv().await {
        let _nobody_waits = late.told.send(Err(Failed::Other("try again".to_owned())));
    }
}

/// Members that have said something lately, at most: an acknowledgement may name any member.
const WAYS_MAX: usize = 20_000;
/// Settlements that wait, at most: who settles more waits.
const QUEUE_MAX: usize = 4096;
/// Of one command.
const SETTLEMENTS_MAX: usize = 1024;
/// A way that nobody takes for so long is closed.
const IDLE: Duration = Duration::from_secs(60);
