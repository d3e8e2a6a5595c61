//! The catalog of the event database: which topics there are, and how each behaves. One group of a cluster is of this kind.
//!
//! A topic's partitions are shares of the groups of kind `events`, the first of which follows from its number. The catalog tells what
//! is to be; a partition's group is told by whoever publishes to it or consumes from it first.

mod endpoint;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Bound;

use bytes::Bytes;

use crate::codec;
use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::collections::PersistentMap;
use crate::events::{NAME_BYTES_MAX, TopicConfig, check_name};
use crate::kernel::{
    ApplyContext, ChrApplication, Chunk, Cursor, Event, NoRows, QueryContext, Schema, read_rows, write_rows,
};
use crate::types::{GroupInit, u64_of};
use endpoint::ENDPOINTS_MAX;
pub use endpoint::Endpoint;

/// A command to the catalog; its body is `codec::encode` of this.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum CatalogCommand {
    /// There is to be a topic. One that there is already stays as it is, if it has as many partitions.
    Create {
        /// Its name.
        name: String,
        /// How many partitions it has, for good.
        partitions: u32,
        /// How it behaves; the revision is the catalog's to give.
        config: TopicConfig,
    },
    /// A topic is to behave otherwise.
    Alter {
        /// Its name.
        name: String,
        /// How it behaves from now on; the revision is the catalog's to give.
        config: TopicConfig,
    },
    /// The events of a topic are to be posted there. An endpoint of this name is changed.
    SetEndpoint {
        /// The topic.
        topic: String,
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// They are not to be posted there any more. Its consumer group stays.
    RemoveEndpoint {
        /// The topic.
        topic: String,
        /// The endpoint's name.
        endpoint: String,
    },
    /// Nothing of a topic is to be delivered, or it is again.
    Pause {
        /// Its name.
        name: String,
        /// Whether it pauses.
        pauses: bool,
    },
    /// A topic is to go. It is nobody's any more, and stays here until its partitions have gone.
    Delete {
        /// Its name.
        name: String,
    },
    /// The partitions of a topic that goes have gone: its name is free.
    Remove {
        /// Its name.
        name: String,
        /// Its number.
        number: u32,
    },
}

/// A topic.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Topic {
    /// Numbers topics from 1 in the order in which they were made. No two ever have the same.
    pub number: u32,
    /// How many partitions it has.
    pub partitions: u32,
    /// How it behaves.
    pub config: TopicConfig,
    /// Where its events are posted, by name.
    pub endpoints: Vec<Endpoint>,
    /// It was deleted, and its partitions are to go.
    pub is_going: bool,
}

/// Why nothing was done.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode, thiserror::Error)]
#[bincode(crate = "crate::codec::wire")]
pub enum CatalogError {
    /// The body is not a command of the catalog.
    #[error("not a command of a catalog")]
    Malformed,
    /// The name is empty or too long.
    #[error("a topic's name must have 1 to {NAME_BYTES_MAX} bytes")]
    BadName,
    /// A topic has 1 to [`PARTITIONS_MAX`] partitions.
    #[error("a topic has 1 to {PARTITIONS_MAX} partitions")]
    BadPartitions,
    /// There is a topic of this name, with another number of partitions.
    #[error("topic {name} has {partitions} partitions, for good")]
    Exists {
        /// Its name.
        name: String,
        /// How many it has.
        partitions: u32,
    },
    /// There is no such topic.
    #[error("no such topic: {0}")]
    UnknownTopic(String),
    /// The topic was deleted, and is not gone yet.
    #[error("topic {0} is being deleted; its name is free once all its partitions have gone")]
    Going(String),
    /// There may be no such endpoint.
    #[error("no such endpoint may be: {0}")]
    BadEndpoint(String),
    /// The topic has no such endpoint.
    #[error("the topic has no endpoint {0}")]
    UnknownEndpoint(String),
    /// An endpoint keeps what its consumer group was made with.
    #[error(
        "endpoint {0} keeps its order, attempts, rests and timeout: its consumer group was made with them; target, concurrency, rate, breaker and secrets may change"
    )]
    EndpointStays(String),
    /// A topic has as many endpoints as it may.
    #[error("a topic has {max} endpoints at most")]
    TooManyEndpoints {
        /// How many.
        max: u64,
    },
    /// There are as many topics as there may be.
    #[error("there are {TOPICS_MAX} topics already, as many as there may be")]
    TooMany,
    /// As many topics were made as there are numbers.
    #[error("{NUMBERS_MAX} topics were made by now, as many as there are numbers for")]
    NoNumbers,
}

/// A question to the catalog.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum CatalogQuery {
    /// One topic.
    Topic(String),
    /// Topics behind this name, in alphabetical order; as many as an answer holds.
    TopicsAfter(String),
}

/// The application. It holds nothing itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Catalog;

/// All topics, by name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CatalogState {
    topics: PersistentMap<String, Topic>,
    /// Of the topic that was made last.
    last_number: u32,
}

/// A row of a snapshot. The first is the last number.
#[derive(Clone, Debug, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
enum Row {
    LastNumber(u32),
    Topic(String, Topic),
}

impl ChrApplication for Catalog {
    const SCHEMA: Schema = Schema(1);
    type State = CatalogState;
    type QueryRequest = CatalogQuery;
    type QueryResponse = Vec<(String, Topic)>;
    type Error = CatalogError;

    fn genesis(&self, _group: &GroupInit) -> CatalogState {
        CatalogState::default()
    }

    fn apply(
        &self,
        state: &mut CatalogState,
        event: Event<'_>,
        _ctx: &mut ApplyContext<'_>,
    ) -> Result<Bytes, CatalogError> {
        let Event::Command(body) = event else { return Err(CatalogError::Malformed) };
        let command = codec::decode(body).map_err(|_| CatalogError::Malformed)?;
        Ok(Bytes::from(codec::encode(&state.execute(command)?)))
    }

    fn query(
        &self,
        CatalogState { topics, .. }: &CatalogState,
        request: CatalogQuery,
        _ctx: &mut QueryContext,
    ) -> Vec<(String, Topic)> {
        match request {
            CatalogQuery::Topic(name) => {
                topics.get(&name).map(|topic| (name, topic.clone())).into_iter().collect()
            }
            CatalogQuery::TopicsAfter(name) => {
                let rows = topics.range(Bound::Excluded(&name)).take(ROWS_MAX);
                rows.map(|(name, topic)| (name.clone(), topic.clone())).collect()
            }
        }
    }

    fn snapshot(&self, state: &CatalogState, from: Cursor, out: &mut Chunk) -> Option<Cursor> {
        let after = from.get::<String>();
        // No topic has the empty name.
        let first = after.is_none().then(|| (String::new(), Row::LastNumber(state.last_number)));
        let rest = state.topics.range(after.as_ref().map_or(Bound::Unbounded, Bound::Excluded));
        let rest = rest.map(|(name, topic)| (name.clone(), Row::Topic(name.clone(), topic.clone())));
        write_rows(first.into_iter().chain(rest), out)
    }

    fn restore(&self, state: &mut CatalogState, _from: Schema, chunk: &[u8]) -> Result<(), CatalogError> {
        let rows: Vec<Row> = read_rows(chunk).map_err(|NoRows| CatalogError::Malformed)?;
        for row in rows {
            match row {
                Row::LastNumber(number) => state.last_number = number,
                Row::Topic(name, topic) => {
                    state.topics.insert(name, topic);
                }
            }
        }
        Ok(())
    }
}

impl CatalogState {
    fn execute(&mut self, command: CatalogCommand) -> Result<Topic, CatalogError> {
        match command {
            CatalogCommand::Create { name, partitions, config } => self.create(name, partitions, config),
            CatalogCommand::Alter { name, config } => {
                let topic = self.topic(name)?;
                let (revision, is_paused) = (topic.config.revision + 1, topic.config.is_paused);
                topic.config = TopicConfig { revision, is_paused, ..config };
                Ok(topic.clone())
            }
            CatalogCommand::Pause { name, pauses } => {
                let topic = self.topic(name)?;
                if topic.config.is_paused != pauses {
                    topic.config.revision += 1;
                }
                topic.config.is_paused = pauses;
                Ok(topic.clone())
            }
            CatalogCommand::Delete { name } => {
                let topic = self.topics.get_mut(&name).ok_or(CatalogError::UnknownTopic(name))?;
                topic.is_going = true;
                topic.endpoints.clear();
                Ok(topic.clone())
            }
            CatalogCommand::Remove { name, number } => {
                let is_it = |topic: &&Topic| topic.is_going && topic.number == number;
                if self.topics.get(&name).filter(is_it).is_none() {
                    return Err(CatalogError::UnknownTopic(name));
                }
                self.topics.remove(&name).ok_or(CatalogError::UnknownTopic(name))
            }
            CatalogCommand::SetEndpoint { topic, endpoint } => {
                let topic = self.topic(topic)?;
                set_endpoint(&mut topic.endpoints, endpoint)?;
                Ok(topic.clone())
            }
            CatalogCommand::RemoveEndpoint { topic, endpoint } => {
                let topic = self.topic(topic)?;
                let place = topic.endpoints.iter().position(|known| known.name == endpoint);
                topic.endpoints.remove(place.ok_or(CatalogError::UnknownEndpoint(endpoint))?);
                Ok(topic.clone())
            }
        }
    }

    fn create(&mut self, name: String, partitions: u32, config: TopicConfig) -> Result<Topic, CatalogError> {
        check_name("a topic's name", &name).map_err(|_| CatalogError::BadName)?;
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            return Err(CatalogError::BadPartitions);
        }
        match self.topics.get(&name) {
            Some(topic) if topic.is_going => return Err(CatalogError::Going(name)),
            Some(topic) if topic.partitions == partitions => return Ok(topic.clone()),
            Some(topic) => {
                return Err(CatalogError::Exists { name: name.to_string(), partitions: topic.partitions });
            }
            None => {}
        }
        if u64_of(self.topics.len()) >= u64::from(TOPICS_MAX) {
            return Err(CatalogError::TooMany);
        }
        if self.last_number >= NUMBERS_MAX {
            return Err(CatalogError::NoNumbers);
        }
        self.last_number += 1;
        let (config, endpoints) = (TopicConfig { revision: 1, ..config }, Vec::new());
        let topic = Topic { number: self.last_number, partitions, config, endpoints, is_going: false };
        self.topics.insert(name, topic.clone());
        Ok(topic)
    }

    /// A topic that is there to stay.
    fn topic(&mut self, name: String) -> Result<&mut Topic, CatalogError> {
        match self.topics.get_mut(&name) {
            Some(topic) if topic.is_going => Err(CatalogError::Going(name)),
            Some(topic) => Ok(topic),
            None => Err(CatalogError::UnknownTopic(name)),
        }
    }
}

fn set_endpoint(endpoints: &mut Vec<Endpoint>, endpoint: Endpoint) -> Result<(), CatalogError> {
    endpoint.check()?;
    match endpoints.binary_search_by(|known| known.name.cmp(&endpoint.name)) {
        Ok(place) => {
            let known = endpoints.get_mut(place).ok_or(CatalogError::Malformed)?;
            known.check_change(&endpoint)?;
            *known = endpoint;
        }
        Err(_) if u64_of(endpoints.len()) >= ENDPOINTS_MAX => {
            return Err(CatalogError::TooManyEndpoints { max: ENDPOINTS_MAX });
        }
        Err(place) => endpoints.insert(place, endpoint),
    }
    Ok(())
}

/// Partitions of a topic, at most.
pub const PARTITIONS_MAX: u32 = 1000;
/// Topics of a cluster: each group of kind `events` holds a partition of each.
const TOPICS_MAX: u32 = 10_000;
/// Topics that are ever made: a partition's id on the wire, which holds the topic's number, is signed and of 32 bits.
const NUMBERS_MAX: u32 = 2_000_000;
/// Topics that one answer holds.
const ROWS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use super::{Catalog, CatalogCommand, CatalogError, CatalogState, Endpoint, Topic, set_endpoint};
    use crate::events::TopicConfig;
    use crate::kernel::{ChrApplication, Cursor};
    use crate::types::Nanos;

    #[test]
    fn a_topic_is_made_once_and_keeps_its_partitions() {
        let mut state = CatalogState::default();
        let made = state.create("a".to_string(), 4, TopicConfig::default()).expect("a new topic");
        assert_eq!((made.number, made.config.revision), (1, 1));
        let again = state.create("a".to_string(), 4, TopicConfig { strict: true, ..made.config.clone() });
        assert_eq!(again, Ok(made));
        let other = state.create("a".to_string(), 5, TopicConfig::default());
        assert_eq!(other, Err(CatalogError::Exists { name: "a".to_string(), partitions: 4 }));
        let none = state.create("b".to_string(), 0, TopicConfig::default());
        assert_eq!(none, Err(CatalogError::BadPartitions));
        assert_eq!(state.create(String::new(), 1, TopicConfig::default()), Err(CatalogError::BadName));
    }

    #[test]
    fn an_endpoint_keeps_what_its_consumer_group_was_made_with() {
        let endpoint = |name: &str| Endpoint {
            name: name.to_string(),
            target: "https://hooks.example.com/in".to_string(),
            concurrency: 4,
            timeout: Nanos::from_secs(10),
            is_ordered: false,
            attempts_max: 5,
            rest: Nanos::from_secs(1),
            rest_max: Nanos::from_secs(60),
            secrets: Vec::new(),
            rate: 0,
            failures_max: 5,
        };
        let mut endpoints = Vec::new();
        for name in ["b", "a"] {
            assert_eq!(set_endpoint(&mut endpoints, endpoint(name)), Ok(()));
        }
        assert_eq!(endpoints, [endpoint("a"), endpoint("b")]);
        let moved = Endpoint { target: "topic:other".to_string(), concurrency: 1, rate: 9, ..endpoint("a") };
        assert_eq!(set_endpoint(&mut endpoints, moved.clone()), Ok(()));
        let slower = Endpoint { attempts_max: 6, ..moved.clone() };
        assert_eq!(set_endpoint(&mut endpoints, slower), Err(CatalogError::EndpointStays("a".to_string())));
        let bad = [
            Endpoint { name: String::new(), ..endpoint("c") },
            Endpoint { target: String::new(), ..endpoint("c") },
            Endpoint { concurrency: 0, ..endpoint("c") },
            Endpoint { rate: 1_000_001, ..endpoint("c") },
            Endpoint { failures_max: 1001, ..endpoint("c") },
            Endpoint { timeout: Nanos::from_secs(601), ..endpoint("c") },
            Endpoint { secrets: alloc::vec![String::new()], ..endpoint("c") },
        ];
        for bad in bad {
            let refused = set_endpoint(&mut endpoints, bad);
            assert!(matches!(refused, Err(CatalogError::BadEndpoint(_))), "{refused:?}");
        }
        assert_eq!(endpoints, [moved, endpoint("b")]);
        for more in 0..14 {
            assert_eq!(set_endpoint(&mut endpoints, endpoint(&format!("m{more}"))), Ok(()));
        }
        let refused = set_endpoint(&mut endpoints, endpoint("z"));
        assert_eq!(refused, Err(CatalogError::TooManyEndpoints { max: 16 }));
    }

    #[test]
    fn a_topic_that_was_deleted_goes_with_its_partitions_and_its_number_is_never_anothers() {
        let mut state = CatalogState::default();
        let (name, config) = ("a".to_string(), TopicConfig::default());
        let made = state.create(name.clone(), 1, config.clone()).expect("a new topic");
        let remove = |number| CatalogCommand::Remove { name: "a".to_string(), number };
        let unknown = Err(CatalogError::UnknownTopic(name.clone()));
        assert_eq!(state.execute(remove(1)), unknown, "it is there to stay");
        let going = Topic { is_going: true, ..made };
        for _ in 0..2 {
            assert_eq!(state.execute(CatalogCommand::Delete { name: name.clone() }), Ok(going.clone()));
        }
        let refused = Err(CatalogError::Going(name.clone()));
        assert_eq!(state.create(name.clone(), 1, config.clone()), refused);
        let pause = CatalogCommand::Pause { name: name.clone(), pauses: true };
        assert_eq!(state.execute(pause.clone()), refused);
        assert_eq!(state.execute(remove(2)), unknown, "another one");
        assert_eq!(state.execute(remove(1)), Ok(going));
        let mut again = state.create(name.clone(), 2, config.clone()).expect("its name is free");
        assert_eq!(again.number, 2);
        (again.config.is_paused, again.config.revision) = (true, 2);
        for _ in 0..2 {
            assert_eq!(state.execute(pause.clone()), Ok(again.clone()), "once");
        }
        let altered = state.execute(CatalogCommand::Alter { name, config }).expect("there");
        assert!(altered.config.is_paused, "an order of its own has it go on");
    }

    #[test]
    fn a_snapshot_in_slices_gives_the_same_state() {
        let mut state = CatalogState::default();
        for number in 0..2000 {
            state.create(format!("topic-{number}"), 1, TopicConfig::default()).expect("a new topic");
        }
        let (mut restored, mut cursor, mut slices) = (CatalogState::default(), Some(Cursor::START), 0);
        while let Some(from) = cursor {
            let mut slice = alloc::vec::Vec::new();
            cursor = Catalog.snapshot(&state, from, &mut slice);
            Catalog.restore(&mut restored, Catalog::SCHEMA, &slice).expect("its own slice");
            slices += 1;
        }
        assert!(slices > 1);
        assert_eq!(restored, state);
    }
}
