//! Recurring schedules: a gateway whose node leads a group tells it the next occurrences of those that want a plan.
//!
//! Which of several gateways is first does not matter: a plan that is not the next one of its schedule is refused.

use std::sync::Arc;
use std::time::Duration;

use chronon_core::events::{Due, EventName, EventsCommand, EventsQuery, EventsView, NewEvent, RecurringView};
use chronon_core::types::GroupId;
use tokio::time::sleep;

use super::payloads::Payloads;
use super::recurrence;
use super::topics::{Refused, Topics};
use crate::server::status::StatusCell;

/// Plans what is to come.
#[derive(Debug)]
pub(super) struct Planning {
    pub topics: Arc<Topics>,
    pub payloads: Arc<Payloads>,
    pub status: StatusCell,
}

impl Planning {
    /// Sees to the schedules of one group, as long as the gateway runs.
    pub(super) async fn run(self: Arc<Self>, group: GroupId) {
        loop {
            match self.topics.news_of(group, EventsQuery::Unplanned).await {
                Ok((_, EventsView::Recurring(wanting))) if !wanting.is_empty() => {
                    if self.status.leads(group) {
                        for schedule in &wanting {
                            if let Err(error) = self.plan(group, schedule).await {
                                tracing::debug!(%error, schedule = schedule.name, "a schedule is not planned");
                            }
                        }
                    }
                    sleep(PAUSE).await;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, %group, "no news of schedules");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn plan(&self, group: GroupId, schedule: &RecurringView) -> Result<(), Refused> {
        let topic = self.topics.existing(&schedule.topic).await?;
        let partition = self.topics.partition_of(&topic, &schedule.name);
        let template = self.payloads.get(group, schedule.made).await?;
        let instants =
            recurrence::instants(&schedule.rule, schedule.until_ms, AT_ONCE).map_err(Refused::Invalid)?;
        let until_ms = instants.last().copied().unwrap_or(i64::MAX);
        let events = instants.iter().map(|at| occurrence(schedule, &template, *at)).collect();
        let occur = EventsCommand::Occur {
            topic: schedule.topic.clone(),
            schedule: schedule.name.clone(),
            revision: schedule.revision,
            after_ms: schedule.until_ms,
            until_ms,
            events,
        };
        self.topics.command(&partition, &occur).await.map(|_| ())
    }
}

/// The event of a schedule at an instant, by which it is named.
pub(super) fn occurrence(schedule: &RecurringView, template: &NewEvent, at_ms: i64) -> NewEvent {
    let name = EventName {
        partition_key: String::new(),
        message_id: format!("{}@{}", schedule.name, recurrence::label(at_ms)),
    };
    let ordering_key =
        if template.ordering_key.is_empty() { schedule.name.clone() } else { template.ordering_key.clone() };
    NewEvent { name, ordering_key, due: Due::At(at_ms), allow_duplicate: false, ..template.clone() }
}

/// Instants of one plan.
const AT_ONCE: usize = 16;
const PAUSE: Duration = Duration::from_millis(200);
