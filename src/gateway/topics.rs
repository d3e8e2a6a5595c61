//! Topics and their partitions, as the catalog tells them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chronon_core::builtin::{BuiltinError, BuiltinQuery, BuiltinView};
use chronon_core::catalog::{CatalogCommand, CatalogError, CatalogQuery, PARTITIONS_MAX, Topic};
use chronon_core::codec;
use chronon_core::events::{
    EventsAnswer, EventsCommand, EventsError, EventsQuery, EventsView, NAME_BYTES_MAX, TopicConfig,
};
use chronon_core::node::Freshness;
use chronon_core::types::{GroupId, Op};

use super::cluster::{Cluster, Failure, encoded};

/// The topics that this gateway has met, and how to reach their partitions.
#[derive(Debug)]
pub(super) struct Topics {
    pub cluster: Cluster,
    known: Mutex<BTreeMap<String, Arc<KnownTopic>>>,
    /// Whether a topic is made when somebody first publishes to it or consumes from it.
    makes: bool,
    catalog: GroupId,
    shares: Vec<GroupId>,
}

/// A topic.
#[derive(Debug)]
pub(super) struct KnownTopic {
    pub name: String,
    pub topic: Topic,
}

/// A partition: the topic's share of a group.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    pub topic: Arc<KnownTopic>,
    /// Unique in the cluster.
    pub id: i32,
    pub group: GroupId,
}

/// What a topic had that was deleted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gone {
    pub scheduled: u64,
    pub ready: u64,
    pub dead: u64,
}

/// Why nothing came of what a client wants.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The cluster does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// There is too much at once; it may be tried again.
    #[error("{0}")]
    Overloaded(String),
    /// The client is wrong.
    #[error("{0}")]
    Invalid(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It is no member of its consumer group any more.
    #[error("not a member of the consumer group any more: subscribe again")]
    NotAMember,
}

impl Topics {
    /// None when the cluster has no groups for events.
    pub(super) fn new(cluster: Cluster, makes: bool) -> Option<Self> {
        let catalog = *cluster.groups_of("catalog").first()?;
        let shares = cluster.groups_of("events");
        (!shares.is_empty()).then(|| Self { cluster, known: Mutex::default(), makes, catalog, shares })
    }

    /// A topic by its name; made if that is allowed.
    pub(super) async fn get(&self, name: &str) -> Result<Arc<KnownTopic>, Refused> {
        check_topic(name)?;
        if let Some(known) = self.known().get(name) {
            return Ok(Arc::clone(known));
        }
        if let Some(found) = self.find(name).await? {
            return Ok(found);
        }
        if !self.makes {
            return Err(Refused::NotFound(format!(
                "no such topic: {name}; `chronon topic create` makes one"
            )));
        }
        self.create(name, 0, TopicConfig::default()).await
    }

    /// Makes a topic, or finds that it is there; of as many partitions as there are groups for them when `partitions` is 0.
    pub(super) async fn create(
        &self,
        name: &str,
        partitions: u32,
        config: TopicConfig,
    ) -> Result<Arc<KnownTopic>, Refused> {
        check_topic(name)?;
        let most = u32::try_from(self.shares.len()).unwrap_or(u32::MAX).min(PARTITIONS_MAX);
        let partitions = if partitions == 0 { most } else { partitions };
        if partitions > most {
            return Err(Refused::Invalid(format!(
                "a topic of this cluster has {most} partitions at most, as many as there are groups of kind `events`"
            )));
        }
        let create = CatalogCommand::Create { name: name.to_owned(), partitions, config };
        self.change(name, &create).await
    }

    /// Has a topic behave otherwise, in each of its partitions.
    pub(super) async fn alter(&self, name: &str, config: TopicConfig) -> Result<Arc<KnownTopic>, Refused> {
        self.change_everywhere(name, &CatalogCommand::Alter { name: name.to_owned(), config }).await
    }

    /// Has a topic deliver nothing, or go on, in each of its partitions.
    pub(super) async fn pause(&self, name: &str, pauses: bool) -> Result<Arc<KnownTopic>, Refused> {
        self.change_everywhere(name, &CatalogCommand::Pause { name: name.to_owned(), pauses }).await
    }

    async fn change_everywhere(
        &self,
        name: &str,
        command: &CatalogCommand,
    ) -> Result<Arc<KnownTopic>, Refused> {
        let topic = self.change(name, command).await?;
        for partition in self.partitions(&topic) {
            self.tell(&partition).await?;
        }
        Ok(topic)
    }

    /// A topic that has to be there.
    pub(super) async fn existing(&self, name: &str) -> Result<Arc<KnownTopic>, Refused> {
        let unknown = || Refused::NotFound(format!("no such topic: {name}"));
        self.find(name).await?.ok_or_else(unknown)
    }

    /// All topics, by name.
    pub(super) async fn list(&self) -> Result<Vec<Arc<KnownTopic>>, Refused> {
        self.list_of(Freshness::Linearizable).await
    }

    /// All topics, by name, as far as the own replica has heard: it costs nobody else anything.
    pub(super) async fn list_as_known(&self) -> Result<Vec<Arc<KnownTopic>>, Refused> {
        self.list_of(Freshness::Stale).await
    }

    async fn list_of(&self, freshness: Freshness) -> Result<Vec<Arc<KnownTopic>>, Refused> {
        let mut topics = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.ask(CatalogQuery::TopicsAfter(after), freshness).await?;
            let Some((last, _)) = page.last() else { return Ok(topics) };
            after = last.clone();
            let there = page.into_iter().filter(|(_, topic)| !topic.is_going);
            topics.extend(there.map(|(name, topic)| self.note(&name, topic)));
        }
    }

    /// Topics that were deleted and have not gone yet, as far as the own replica has heard.
    pub(super) async fn going(&self) -> Result<Vec<Arc<KnownTopic>>, Refused> {
        let mut going = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.ask(CatalogQuery::TopicsAfter(after), Freshness::Stale).await?;
            let Some((last, _)) = page.last() else { return Ok(going) };
            after = last.clone();
            let page = page.into_iter().filter(|(_, topic)| topic.is_going);
            going.extend(page.map(|(name, topic)| Arc::new(KnownTopic { name, topic })));
        }
    }

    /// Deletes a topic: from then on nobody finds it.
    pub(super) async fn delete(&self, name: &str) -> Result<Gone, Refused> {
        let delete = CatalogCommand::Delete { name: name.to_owned() };
        let topic = self.order(&delete).await?;
        self.known().remove(name);
        self.see_off(&Arc::new(KnownTopic { name: name.to_owned(), topic })).await
    }

    /// Has the partitions of a topic go that was deleted, and then frees its name. It may be tried again and again.
    pub(super) async fn see_off(&self, topic: &Arc<KnownTopic>) -> Result<Gone, Refused> {
        let (name, id) = (topic.name.clone(), topic.topic.number);
        let mut gone = Gone::default();
        for partition in self.partitions(topic) {
            let close = encoded(&EventsCommand::Close { topic: name.clone(), id });
            let closed = self.cluster.command(partition.group, close).await;
            let (_, answer) = closed.map_err(|failure| refused(&failure))?;
            match codec::decode(answer.as_slice()) {
                Ok(EventsAnswer::Closed { scheduled, ready, dead }) => {
                    gone.scheduled += scheduled;
                    gone.ready += ready;
                    gone.dead += dead;
                }
                other => return Err(Refused::Unavailable(format!("a deletion was answered with {other:?}"))),
            }
        }
        match self.order(&CatalogCommand::Remove { name, number: id }).await {
            // Somebody else was quicker.
            Ok(_) | Err(Refused::NotFound(_)) => Ok(gone),
            Err(error) => Err(error),
        }
    }

    /// The group that holds the catalog.
    pub(super) fn catalog(&self) -> GroupId {
        self.catalog
    }

    /// Changes a topic that is there.
    pub(super) async fn change(
        &self,
        name: &str,
        command: &CatalogCommand,
    ) -> Result<Arc<KnownTopic>, Refused> {
        let topic = self.order(command).await?;
        Ok(self.note(name, topic))
    }

    async fn order(&self, command: &CatalogCommand) -> Result<Topic, Refused> {
        let done = self.cluster.command(self.catalog, encoded(command)).await;
        let (_, answer) = done.map_err(|failure| refused(&failure))?;
        codec::decode(answer.as_slice()).map_err(|error| Refused::Unavailable(error.to_string()))
    }

    /// A topic that is there.
    pub(super) async fn find(&self, name: &str) -> Result<Option<Arc<KnownTopic>>, Refused> {
        let found = self.ask(CatalogQuery::Topic(name.to_owned()), Freshness::Linearizable).await?;
        let found = found.into_iter().find(|(_, topic)| !topic.is_going);
        if found.is_none() {
            self.known().remove(name);
        }
        Ok(found.map(|(name, topic)| self.note(&name, topic)))
    }

    /// The partition of this id.
    pub(super) async fn partition(&self, id: i32) -> Result<Partition, Refused> {
        let unknown = || Refused::NotFound(format!("no such partition: {id}"));
        let number = u32::try_from(id).map_err(|_| unknown())?;
        let is_it = |topic: &Arc<KnownTopic>| topic.topic.number == number / PARTITIONS_MAX;
        let known = self.known().values().find(|topic| is_it(topic)).cloned();
        let topic = match known {
            Some(topic) => topic,
            None => self.list().await?.into_iter().find(is_it).ok_or_else(unknown)?,
        };
        let place = number % PARTITIONS_MAX;
        if place >= topic.topic.partitions {
            return Err(unknown());
        }
        Ok(self.nth(&topic, place))
    }

    /// The partitions of a topic, in order.
    pub(super) fn partitions(&self, topic: &Arc<KnownTopic>) -> Vec<Partition> {
        (0..topic.topic.partitions).map(|place| self.nth(topic, place)).collect()
    }

    /// All partitions of a topic when `id` is -1; otherwise the one of this id, or at this place of the topic: earlier clients count
    /// a topic's partitions from 0.
    pub(super) fn some_partitions(
        &self,
        topic: &Arc<KnownTopic>,
        id: i32,
    ) -> Result<Vec<Partition>, Refused> {
        let all = self.partitions(topic);
        if id == -1 {
            return Ok(all);
        }
        let by_place = usize::try_from(id).ok().and_then(|place| all.get(place)).cloned();
        let found = all.into_iter().find(|partition| partition.id == id).or(by_place);
        let unknown = || Refused::NotFound(format!("topic {} has no partition {id}", topic.name));
        Ok(vec![found.ok_or_else(unknown)?])
    }

    /// The partition of what has this key.
    pub(super) fn partition_of(&self, topic: &Arc<KnownTopic>, key: &str) -> Partition {
        let hash = chronon_core::types::Hash::of(key.as_bytes());
        let number = hash.as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
        let place = number % u64::from(topic.topic.partitions.max(1));
        self.nth(topic, u32::try_from(place).unwrap_or_default())
    }

    fn nth(&self, topic: &Arc<KnownTopic>, place: u32) -> Partition {
        // Topics begin with different groups, so that those of one partition are spread.
        let share = (topic.topic.number as usize + place as usize) % self.shares.len();
        let id = i32::try_from(topic.topic.number * PARTITIONS_MAX + place).unwrap_or(i32::MAX);
        Partition { topic: Arc::clone(topic), id, group: self.shares[share] }
    }

    /// Has a command executed by a partition, which is told of its topic if it has not met it.
    pub(super) async fn command(
        &self,
        partition: &Partition,
        command: &EventsCommand,
    ) -> Result<(Op, EventsAnswer), Refused> {
        let mut told = false;
        loop {
            match self.cluster.command(partition.group, encoded(command)).await {
                Ok((op, answer)) => {
                    let answer = codec::decode(answer.as_slice());
                    return answer
                        .map(|answer| (op, answer))
                        .map_err(|error| Refused::Unavailable(error.to_string()));
                }
                Err(Failure::Refused(error)) if !told && is_unknown_topic(error.as_slice()) => {
                    told = true;
                    // It may have been deleted, and even made again, since this gateway heard of it.
                    let topic = self.existing(&partition.topic.name).await?;
                    if topic.topic.number != partition.topic.topic.number {
                        let name = &topic.name;
                        return Err(Refused::Unavailable(format!(
                            "topic {name} is another one by now; try again"
                        )));
                    }
                    self.tell(partition).await?;
                }
                Err(failure) => return Err(refused(&failure)),
            }
        }
    }

    /// Tells a partition of its topic, and how that behaves.
    async fn tell(&self, partition: &Partition) -> Result<(), Refused> {
        let KnownTopic { name, topic } = &*partition.topic;
        let open =
            EventsCommand::Open { topic: name.clone(), config: topic.config.clone(), id: topic.number };
        let opened = self.cluster.command(partition.group, encoded(&open)).await;
        opened.map(|_| ()).map_err(|failure| refused(&failure))
    }

    /// Asks a partition about its state, and as of which op it is.
    pub(super) async fn view(
        &self,
        partition: &Partition,
        question: EventsQuery,
    ) -> Result<EventsView, Refused> {
        let asked = encoded(&BuiltinQuery::Events(question));
        let answer = self.cluster.query(partition.group, asked, Freshness::Linearizable).await;
        seen(answer).map(|(_, view)| view)
    }

    /// Asks a group of partitions about its state, as the own replica has it.
    pub(super) async fn glance(&self, group: GroupId, question: EventsQuery) -> Result<EventsView, Refused> {
        let asked = encoded(&BuiltinQuery::Events(question));
        seen(self.cluster.query(group, asked, Freshness::Stale).await).map(|(_, view)| view)
    }

    /// The groups that hold partitions.
    pub(super) fn groups(&self) -> Vec<GroupId> {
        self.shares.clone()
    }

    /// Waits for news of a group, and as of which op they are.
    pub(super) async fn news_of(
        &self,
        group: GroupId,
        question: EventsQuery,
    ) -> Result<(Op, EventsView), Refused> {
        let asked = encoded(&BuiltinQuery::Events(question));
        seen(self.cluster.await_news(group, asked).await)
    }

    /// Waits for news of a partition, and as of which op they are.
    pub(super) async fn news(
        &self,
        partition: &Partition,
        question: EventsQuery,
    ) -> Result<(Op, EventsView), Refused> {
        self.news_of(partition.group, question).await
    }

    async fn ask(
        &self,
        question: CatalogQuery,
        freshness: Freshness,
    ) -> Result<Vec<(String, Topic)>, Refused> {
        let asked = encoded(&BuiltinQuery::Catalog(question));
        let answer = self.cluster.query(self.catalog, asked, freshness).await;
        let (_, body) = answer.map_err(|failure| refused(&failure))?;
        match codec::decode(body.as_slice()) {
            Ok(BuiltinView::Topics(topics)) => Ok(topics),
            other => Err(Refused::Unavailable(format!("the catalog answered {other:?}"))),
        }
    }

    fn note(&self, name: &str, topic: Topic) -> Arc<KnownTopic> {
        let known = Arc::new(KnownTopic { name: name.to_owned(), topic });
        self.known().insert(name.to_owned(), Arc::clone(&known));
        known
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<KnownTopic>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_topic(name: &str) -> Result<(), Refused> {
    if name.is_empty() {
        return Err(Refused::Invalid("topic is required".to_owned()));
    }
    if name.len() > NAME_BYTES_MAX as usize {
        return Err(Refused::Invalid(format!("topic exceeds {NAME_BYTES_MAX} characters")));
    }
    Ok(())
}

fn is_unknown_topic(error: &[u8]) -> bool {
    matches!(codec::decode(error), Ok(BuiltinError::Events(EventsError::UnknownTopic(_))))
}

fn seen(answer: Result<(Op, chronon_core::types::Blob), Failure>) -> Result<(Op, EventsView), Refused> {
    let (op, body) = answer.map_err(|failure| refused(&failure))?;
    match codec::decode(body.as_slice()) {
        Ok(BuiltinView::Events(view)) => Ok((op, view)),
        other => Err(Refused::Unavailable(format!("a partition answered {other:?}"))),
    }
}

/// What a client is told of a failure.
pub(super) fn refused(failure: &Failure) -> Refused {
    match failure {
        Failure::Refused(error) => match codec::decode(error.as_slice()) {
            Ok(BuiltinError::Events(EventsError::NotAMember)) => Refused::NotAMember,
            Ok(
                error @ BuiltinError::Events(
                    EventsError::UnknownTopic(_)
                    | EventsError::TopicDeleted(_)
                    | EventsError::UnknownGroup(_)
                    | EventsError::UnknownEvent(_),
                ),
            ) => Refused::NotFound(error.to_string()),
            Ok(error @ BuiltinError::Catalog(CatalogError::UnknownTopic(_))) => {
                Refused::NotFound(error.to_string())
            }
            Ok(error) => Refused::Invalid(error.to_string()),
            Err(error) => Refused::Unavailable(error.to_string()),
        },
        Failure::TooLong(why) => Refused::Invalid(why.clone()),
        Failure::Overloaded(why) => Refused::Overloaded(why.clone()),
        Failure::Unavailable(why) => Refused::Unavailable(why.clone()),
    }
}
