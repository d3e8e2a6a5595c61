//! What was published, read back from the log: states hold only where it is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use chronon_core::codec;
use chronon_core::events::{EventsCommand, NewEvent, Stored};
use chronon_core::kernel::commands;
use chronon_core::types::{Entry, GroupId, Op, Timestamp};

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
        self.read(group, stored, 0).await.map(|(_, event)| event)
    }

    /// When it was accepted, and the event, for a reader who goes on from there: what follows it in the log is read with it.
    pub(super) async fn next(
        &self,
        group: GroupId,
        stored: Stored,
    ) -> Result<(Timestamp, NewEvent), Refused> {
        self.read(group, stored, READ_AHEAD).await
    }

    async fn read(
        &self,
        group: GroupId,
        stored: Stored,
        room: u32,
    ) -> Result<(Timestamp, NewEvent), Refused> {
        let entry = match self.cached(group, stored.op) {
            Some(entry) => entry,
            None => self.look_up(group, stored.op, room).await?,
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

    async fn look_up(&self, group: GroupId, op: Op, room: u32) -> Result<Arc<Accepted>, Refused> {
        let entries =
            self.topics.cluster.look_up(group, op, room).await.map_err(|failure| refused(&failure))?;
        let mut wanted = None;
        for entry in entries {
            let accepted = match Accepted::of(&entry) {
                Some(accepted) => Arc::new(accepted),
                None => continue,
            };
            if entry.op() == op {
                wanted = Some(Arc::clone(&accepted));
            }
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.put((group, entry.op()), accepted, entry.payload().len());
        }
        wanted.ok_or_else(|| Refused::Unavailable(format!("op {op} of group {group} holds no commands")))
    }
}

impl Accepted {
    /// None of an entry that holds no commands.
    fn of(entry: &Entry) -> Option<Self> {
        let events = |body: &[u8]| match codec::decode(body) {
            Ok(EventsCommand::Publish { events, .. } | EventsCommand::Occur { events, .. }) => events,
            Ok(EventsCommand::Recur { event, .. }) => vec![event],
            _ => Vec::new(),
        };
        let commands = commands(entry.payload()).ok()?;
        Some(Self {
            at: entry.header().timestamp(),
            events: commands.iter().map(|command| events(command.body.as_slice())).collect(),
        })
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

/// Bytes that are read along with an entry for who goes on from there.
const READ_AHEAD: u32 = 256 << 10;
/// Bytes of the entries that are kept, as the log has them.
const CACHE_BYTES: usize = 64 << 20;
