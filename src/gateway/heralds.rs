//! Who waits until a consumer group has something to grant: one question a partition and group at the own replica, however many wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chronon_core::events::{EventsQuery, EventsView};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::topics::{Partition, Refused, Topics};

type Name = (i32, String);

/// All that somebody has waited for lately.
#[derive(Debug, Default)]
pub(super) struct Heralds(Mutex<BTreeMap<Name, Arc<Herald>>>);

/// Tells those who wait for one consumer group in one partition.
#[derive(Debug, Default)]
pub(super) struct Herald {
    is_wanted: Notify,
    news: Notify,
}

impl Heralds {
    /// The one of a consumer group.
    pub(super) fn herald(
        self: &Arc<Self>,
        topics: &Arc<Topics>,
        partition: &Partition,
        group: &str,
    ) -> Result<Arc<Herald>, Refused> {
        let name = (partition.id, group.to_owned());
        let mut heralds = self.lock();
        if let Some(known) = heralds.get(&name) {
            return Ok(Arc::clone(known));
        }
        if heralds.len() >= HERALDS_MAX {
            return Err(Refused::Overloaded(format!(
                "workers wait for {HERALDS_MAX} consumer groups here already; try another node"
            )));
        }
        let herald = Arc::new(Herald::default());
        heralds.insert(name.clone(), Arc::clone(&herald));
        tokio::spawn(run(Arc::clone(self), Arc::clone(topics), partition.clone(), name, Arc::clone(&herald)));
        Ok(herald)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Arc<Herald>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Herald {
    /// Waits until there may be something.
    pub(super) async fn news(&self) {
        let news = self.news.notified();
        self.is_wanted.notify_one();
        news.await;
    }
}

async fn run(
    heralds: Arc<Heralds>,
    topics: Arc<Topics>,
    partition: Partition,
    name: Name,
    herald: Arc<Herald>,
) {
    loop {
        if timeout(IDLE, herald.is_wanted.notified()).await.is_err() {
            let mut known = heralds.lock();
            if Arc::strong_count(&herald) == UNWANTED {
                known.remove(&name);
                return;
            }
        }
        while Arc::strong_count(&herald) > UNWANTED {
            let (topic, group) = (partition.topic.name.clone(), name.1.clone());
            match topics.news(&partition, EventsQuery::Buffered { topic, group }).await {
                Ok((_, EventsView::Buffered(false))) => {}
                // Whoever claims from a group that is unknown makes it.
                Ok(_) => {
                    herald.news.notify_waiters();
                    break;
                }
                Err(error) => {
                    tracing::debug!(%error, partition = partition.id, "no news of a consumer group");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// A herald is held by its task and by the list.
const UNWANTED: usize = 2;
const HERALDS_MAX: usize = 10_000;
/// One that nobody wants for so long goes.
const IDLE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
