//! What was published, read back from the log: states hold only where it is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use chronon_core::codec;
use chronon_core::events::{EventsCommand, NewEvent, Stored};
use chronon_core::kernel::commands;
use chronon_core::types::{GroupId, Op, Timestamp};

use super::topics::{Refused, Topics, refused};

/// The entries that were read last.
#[derive(Debug)]
pub(super) struct Payloads {
    topics: Arc<Topics>,
    cache: Mutex<Cache>,
}

/// An entry of the log.
#[derive(Debug)]
struct Accepted {
    at: Timestamp,
    /// By command.
    events: Vec<Vec<NewEvent>>,
}

#[derive(Debug, Default)]
struct Cache {
    entries: BTreeMap<(GroupId, Op), (Arc<Accepted>, usize)>,
    order: VecDeque<(GroupId, Op)>,
    bytes: usize,
}

impl Payloads {
    pub(super) fn new(topics: Arc<Topics>) -> Self {
        Self { topics, cache: Mutex::default() }
    }

    /// The event as it was published.
    pub(super) async fn get(&self, group: GroupId, stored: Stored) -> Result<NewEvent, Refused> {
        self.accepted(group, stored).await.map(|(_, event)| event)
    }

    /// When it was accepted, and the event.
    pub(super) async fn accepted(
        &self,
        group: GroupId,
        stored: Stored,
    ) -> Result<(Timestamp, NewEvent), Refused> {
        let entry = match self.cached(group, stored.op) {
            Some(entry) => entry,
            None => self.read(group, stored.op).await?,
        };
        let events = entry.events.get(stored.index as usize);
        let event = events.and_then(|events| events.get(stored.item as usize));
        event
            .map(|event| (entry.at, event.clone()))
            .ok_or_else(|| Refused::Unavailable(format!("group {group} has no event at {stored:?}")))
    }

    fn cached(&self, group: GroupId, op: Op) -> Option<Arc<Accepted>> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.entries.get(&(group, op)).map(|(entry, _)| Arc::clone(entry))
    }

    async fn read(&self, group: GroupId, op: Op) -> Result<Arc<Accepted>, Refused> {
        let entry = self.topics.cluster.look_up(group, op).await.map_err(|failure| refused(&failure))?;
        let unreadable = |_| Refused::Unavailable(format!("op {op} of group {group} holds no commands"));
        let commands = commands(entry.payload()).map_err(unreadable)?;
        let events = |body: &[u8]| match codec::decode(body) {
            Ok(EventsCommand::Publish { events, .. } | EventsCommand::Occur { events, .. }) => events,
            Ok(EventsCommand::Recur { event, .. }) => vec![event],
            _ => Vec::new(),
        };
        let accepted = Arc::new(Accepted {
            at: entry.header().timestamp(),
            events: commands.iter().map(|command| events(command.body.as_slice())).collect(),
        });
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.put((group, op), Arc::clone(&accepted), entry.payload().len());
        Ok(accepted)
    }
}

impl Cache {
    fn put(&mut self, place: (GroupId, Op), entry: Arc<Accepted>, bytes: usize) {
        if self.entries.insert(place, (entry, bytes)).is_none() {
            self.order.push_back(place);
            self.bytes += bytes;
        }
        while self.bytes > CACHE_BYTES
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.entries.remove(&oldest).map_or(0, |(_, bytes)| bytes);
        }
    }
}

/// Bytes of the entries that are kept, as the log has them.
const CACHE_BYTES: usize = 64 << 20;
