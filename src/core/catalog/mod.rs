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
}

/// A topic.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Topic {
    /// Numbers topics from 1 in the order in which they were made.
    pub number: u32,
    /// How many partitions it has.
    pub partitions: u32,
    /// How it behaves.
    pub config: TopicConfig,
    /// Where its events are posted, by name.
    pub endpoints: Vec<Endpoint>,
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
pub struct CatalogState(PersistentMap<String, Topic>);

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
        CatalogState(topics): &mut CatalogState,
        event: Event<'_>,
        _ctx: &mut ApplyContext<'_>,
    ) -> Result<Bytes, CatalogError> {
        let Event::Command(body) = event else { return Err(CatalogError::Malformed) };
        let topic = match codec::decode(body).map_err(|_| CatalogError::Malformed)? {
            CatalogCommand::Create { name, partitions, config } => create(topics, name, partitions, config)?,
            CatalogCommand::Alter { name, config } => {
                let topic = topics.get_mut(&name).ok_or(CatalogError::UnknownTopic(name))?;
                topic.config = TopicConfig { revision: topic.config.revision + 1, ..config };
                topic.clone()
            }
            CatalogCommand::SetEndpoint { topic, endpoint } => {
                let topic = topics.get_mut(&topic).ok_or(CatalogError::UnknownTopic(topic))?;
                set_endpoint(&mut topic.endpoints, endpoint)?;
                topic.clone()
            }
            CatalogCommand::RemoveEndpoint { topic, endpoint } => {
                let topic = topics.get_mut(&topic).ok_or(CatalogError::UnknownTopic(topic))?;
                let place = topic.endpoints.iter().position(|known| known.name == endpoint);
                topic.endpoints.remove(place.ok_or(CatalogError::UnknownEndpoint(endpoint))?);
                topic.clone()
            }
        };
        Ok(Bytes::from(codec::encode(&topic)))
    }

    fn query(
        &self,
        CatalogState(topics): &CatalogState,
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

    fn snapshot(&self, CatalogState(topics): &CatalogState, from: Cursor, out: &mut Chunk) -> Option<Cursor> {
        let after = from.get::<String>();
        let rest = topics.range(after.as_ref().map_or(Bound::Unbounded, Bound::Excluded));
        write_rows(rest.map(|(name, topic)| (name, (name.clone(), topic.clone()))), out)
    }

    fn restore(
        &self,
        CatalogState(topics): &mut CatalogState,
        _from: Schema,
        chunk: &[u8],
    ) -> Result<(), CatalogError> {
        let rows: Vec<(String, Topic)> = read_rows(chunk).map_err(|NoRows| CatalogError::Malformed)?;
        for (name, topic) in rows {
            topics.insert(name, topic);
        }
        Ok(())
    }
}

fn create(
    topics: &mut PersistentMap<String, Topic>,
    name: String,
    partitions: u32,
    config: TopicConfig,
) -> Result<Topic, CatalogError> {
    check_name("a topic's name", &name).map_err(|_| CatalogError::BadName)?;
    if !(1..=PARTITIONS_MAX).contains(&partitions) {
        return Err(CatalogError::BadPartitions);
    }
    match topics.get(&name) {
        Some(topic) if topic.partitions == partitions => return Ok(topic.clone()),
        Some(topic) => {
            return Err(CatalogError::Exists { name: name.to_string(), partitions: topic.partitions });
        }
        None => {}
    }
    let number = u32::try_from(topics.len()).unwrap_or(u32::MAX);
    if number >= TOPICS_MAX {
        return Err(CatalogError::TooMany);
    }
    let (config, endpoints) = (TopicConfig { revision: 1, ..config }, Vec::new());
    let topic = Topic { number: number + 1, partitions, config, endpoints };
    topics.insert(name, topic.clone());
    Ok(topic)
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
/// Topics that one answer holds.
const ROWS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use super::{Catalog, CatalogError, CatalogState, Endpoint, create, set_endpoint};
    use crate::events::TopicConfig;
    use crate::kernel::{ChrApplication, Cursor};
    use crate::types::Nanos;

    #[test]
    fn a_topic_is_made_once_and_keeps_its_partitions() {
        let CatalogState(mut topics) = CatalogState::default();
        let made = create(&mut topics, "a".to_string(), 4, TopicConfig::default()).expect("a new topic");
        assert_eq!((made.number, made.config.revision), (1, 1));
        let again =
            create(&mut topics, "a".to_string(), 4, TopicConfig { strict: true, ..made.config.clone() });
        assert_eq!(again, Ok(made));
        let other = create(&mut topics, "a".to_string(), 5, TopicConfig::default());
        assert_eq!(other, Err(CatalogError::Exists { name: "a".to_string(), partitions: 4 }));
        let none = create(&mut topics, "b".to_string(), 0, TopicConfig::default());
        assert_eq!(none, Err(CatalogError::BadPartitions));
        assert_eq!(create(&mut topics, String::new(), 1, TopicConfig::default()), Err(CatalogError::BadName));
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
    fn a_snapshot_in_slices_gives_the_same_state() {
        let mut state = CatalogState::default();
        for number in 0..2000 {
            create(&mut state.0, format!("topic-{number}"), 1, TopicConfig::default()).expect("a new topic");
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
