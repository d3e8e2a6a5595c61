//! Events on their way into partitions: those that come while commands are on their way share the next one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chronon_core::events::{BATCH_MAX, EventsAnswer, EventsCommand, NewEvent, Published};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};

use super::topics::{Partition, Refused, Topics};

/// The ways into all partitions that were published to.
#[derive(Debug)]
pub(super) struct Publishing {
    topics: Arc<Topics>,
    ways: Mutex<BTreeMap<i32, mpsc::Sender<Waiting>>>,
    /// For events that have no answer yet, in KiB.
    room: Semaphore,
}

/// What becomes of an event for which there is no room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum WhenFull {
    /// It waits: its stream holds up its publisher.
    Wait,
    /// It is refused: nothing holds up a publisher who asks for one at a time, many times at once.
    Refuse,
}

#[derive(Debug)]
struct Waiting {
    event: NewEvent,
    told: oneshot::Sender<Result<Published, String>>,
}

impl Publishing {
    pub(super) fn new(topics: Arc<Topics>) -> Self {
        Self { topics, ways: Mutex::default(), room: Semaphore::new(ROOM_KIB) }
    }

    /// Publishes an event, together with others that come at the same time.
    pub(super) async fn publish(
        &self,
        partition: &Partition,
        event: NewEvent,
        when_full: WhenFull,
    ) -> Result<Published, Refused> {
        let _room = self.room_for(size(&event), when_full).await?;
        let (told, answer) = oneshot::channel();
        let gone = |_| Refused::Unavailable("the gateway stops".to_owned());
        let way = self.way(partition);
        way.send(Waiting { event, told }).await.map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))?.map_err(Refused::Unavailable)
    }

    /// Publishes events by one entry of the partition's log: all of them, or none that is not refused by itself.
    pub(super) async fn publish_all(
        &self,
        partition: &Partition,
        events: Vec<NewEvent>,
    ) -> Result<Vec<Published>, Refused> {
        let _room = self.room_for(events.iter().map(size).sum(), WhenFull::Refuse).await?;
        publish(&self.topics, partition, events).await
    }

    async fn room_for(&self, bytes: usize, when_full: WhenFull) -> Result<SemaphorePermit<'_>, Refused> {
        let kib = u32::try_from(bytes.div_ceil(1024).min(ROOM_KIB)).unwrap_or(u32::MAX);
        let room = match when_full {
            WhenFull::Wait => self.room.acquire_many(kib).await.ok(),
            WhenFull::Refuse => self.room.try_acquire_many(kib).ok(),
        };
        room.ok_or_else(|| {
            Refused::Overloaded(format!(
                "{} MiB of events wait for their answers already; publish again later",
                ROOM_KIB >> 10
            ))
        })
    }

    fn way(&self, partition: &Partition) -> mpsc::Sender<Waiting> {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let way = ways.entry(partition.id).or_insert_with(|| {
            let (sender, queue) = mpsc::channel(QUEUE_MAX);
            tokio::spawn(run(Arc::clone(&self.topics), partition.clone(), queue));
            sender
        });
        way.clone()
    }
}

/// Takes what waits as soon as one more command may be on its way.
async fn run(topics: Arc<Topics>, partition: Partition, mut queue: mpsc::Receiver<Waiting>) {
    let mut held: Option<Waiting> = None;
    loop {
        let first = match held.take() {
            Some(held) => held,
            None => match queue.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        topics.cluster.await_lane(partition.group).await;
        let mut bytes = size(&first.event);
        let mut waiting = vec![first];
        while waiting.len() < EVENTS_MAX
            && let Ok(next) = queue.try_recv()
        {
            bytes += size(&next.event);
            if bytes > BYTES_MAX {
                held = Some(next);
                break;
            }
            waiting.push(next);
        }
        let (topics, partition) = (Arc::clone(&topics), partition.clone());
        tokio::spawn(async move {
            let (events, told): (Vec<_>, Vec<_>) =
                waiting.into_iter().map(|waiting| (waiting.event, waiting.told)).unzip();
            match publish(&topics, &partition, events).await {
                Ok(results) => {
                    for (told, result) in told.into_iter().zip(results) {
                        let _nobody_waits = told.send(Ok(result));
                    }
                }
                Err(error) => {
                    for told in told {
                        let _nobody_waits = told.send(Err(error.to_string()));
                    }
                }
            }
        });
    }
}

async fn publish(
    topics: &Topics,
    partition: &Partition,
    events: Vec<NewEvent>,
) -> Result<Vec<Published>, Refused> {
    let count = events.len();
    let command = EventsCommand::Publish { topic: partition.topic.name.clone(), events };
    match topics.command(partition, &command).await? {
        (_, EventsAnswer::Published(results)) if results.len() == count => Ok(results),
        (_, other) => Err(Refused::Unavailable(format!("{count} events were answered with {other:?}"))),
    }
}

/// What decides to which partition an event goes.
pub(super) fn routing_key(event: &NewEvent) -> &str {
    let NewEvent { ordering_key, name, .. } = event;
    [ordering_key, &name.partition_key].into_iter().find(|key| !key.is_empty()).unwrap_or(&name.message_id)
}

fn size(event: &NewEvent) -> usize {
    let meta: usize = event.meta.iter().map(|(key, value)| key.len() + value.len() + 16).sum();
    event.payload.as_slice().len() + event.name.message_id.len() + event.name.partition_key.len() + meta + 64
}

/// For all events that have no answer yet.
const ROOM_KIB: usize = 128 << 10;
/// Events that wait for a command, at most: who publishes more waits.
const QUEUE_MAX: usize = 4096;
/// Events of one command.
const EVENTS_MAX: usize = BATCH_MAX as usize / 4;
/// Bytes of the events of one command, unless one alone is longer.
const BYTES_MAX: usize = 256 << 10;
