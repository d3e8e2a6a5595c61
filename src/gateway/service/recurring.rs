//! Recurring schedules.

use chronon_core::events::{
    Due, EventsCommand, EventsQuery, EventsView, NewEvent, Published, RecurringView, Rule,
};

use super::Api;
use super::convert;
use crate::gateway::planning::occurrence;
use crate::gateway::proto::cronos_db::{Event, PublishResponse};
use crate::gateway::proto::ext::{BackfillRequest, BackfillResponse, Recurring, SetRecurringRequest};
use crate::gateway::publishing::WhenFull;
use crate::gateway::recurrence;
use crate::gateway::topics::{Partition, Refused};

impl Api {
    pub(super) async fn set_schedule(&self, wanted: SetRecurringRequest) -> Result<Recurring, Refused> {
        let SetRecurringRequest { event, name, cron, zone, every_ms } = wanted;
        let event = event.ok_or_else(|| Refused::Invalid("event is required".to_owned()))?;
        if name.is_empty() {
            return Err(Refused::Invalid("name is required".to_owned()));
        }
        let rule = match (cron.is_empty(), every_ms) {
            (true, 1..) => Rule::Every { ms: every_ms },
            (false, 0) => {
                let zone = if zone.is_empty() { "UTC".to_owned() } else { zone };
                Rule::Cron { expression: cron, zone }
            }
            _ => return Err(Refused::Invalid("either cron or every_ms is required".to_owned())),
        };
        recurrence::check(&rule).map_err(Refused::Invalid)?;
        let topic = self.0.topics.get(&event.topic).await?;
        // Each occurrence has a name and a time of its own.
        let event = Event { message_id: name.clone(), schedule_ts: 1, delay_ms: 0, ..event };
        let event = convert::new_event(event, false)?;
        let partition = self.0.topics.partition_of(&topic, &name);
        let recur = EventsCommand::Recur { topic: topic.name.clone(), schedule: name.clone(), rule, event };
        self.0.topics.command(&partition, &recur).await?;
        self.schedule(&topic.name, &name).await.map(|(_, view)| told(&view))
    }

    pub(super) async fn list_schedules(&self, topic: &str) -> Result<Vec<Recurring>, Refused> {
        let known = self.0.topics.existing(topic).await?;
        let mut schedules = Vec::new();
        for partition in self.0.topics.partitions(&known) {
            let question = EventsQuery::Recurring { topic: topic.to_owned() };
            if let EventsView::Recurring(rows) = self.0.topics.view(&partition, question).await? {
                schedules.extend(rows.iter().map(told));
            }
        }
        schedules.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(schedules)
    }

    pub(super) async fn pause_schedule(
        &self,
        topic: &str,
        name: &str,
        pauses: bool,
    ) -> Result<Recurring, Refused> {
        let (partition, _) = self.schedule(topic, name).await?;
        let pause = EventsCommand::Pause { topic: topic.to_owned(), schedule: name.to_owned(), pauses };
        self.0.topics.command(&partition, &pause).await?;
        self.schedule(topic, name).await.map(|(_, view)| told(&view))
    }

    pub(super) async fn delete_schedule(&self, topic: &str, name: &str) -> Result<(), Refused> {
        let (partition, _) = self.schedule(topic, name).await?;
        let forget = EventsCommand::Forget { topic: topic.to_owned(), schedule: name.to_owned() };
        self.0.topics.command(&partition, &forget).await.map(|_| ())
    }

    /// One occurrence now: it has the name of this instant.
    pub(super) async fn trigger(&self, topic: &str, name: &str) -> Result<PublishResponse, Refused> {
        let (partition, schedule) = self.schedule(topic, name).await?;
        let template = self.0.payloads.get(partition.group, schedule.made).await?;
        let event = NewEvent { due: Due::In(0), ..occurrence(&schedule, &template, now_ms()) };
        let published = self.0.publishing.publish(&partition, event, WhenFull::Refuse).await?;
        Ok(convert::response(&partition, &published))
    }

    pub(super) async fn backfill(&self, wanted: BackfillRequest) -> Result<BackfillResponse, Refused> {
        let BackfillRequest { topic, name, from_ts, to_ts } = wanted;
        if from_ts < 1 || to_ts < from_ts || to_ts > now_ms() {
            return Err(Refused::Invalid(format!(
                "from_ts {from_ts} and to_ts {to_ts} are no time that is over: 1 <= from_ts <= to_ts <= now"
            )));
        }
        let (partition, schedule) = self.schedule(&topic, &name).await?;
        let template = self.0.payloads.get(partition.group, schedule.made).await?;
        let mut response = BackfillResponse::default();
        let mut after = from_ts - 1;
        loop {
            let instants =
                recurrence::instants(&schedule.rule, after, BACKFILLED_AT_ONCE).map_err(Refused::Invalid)?;
            let wanted = instants.iter().copied().filter(|at| *at <= to_ts);
            let events: Vec<NewEvent> = wanted.map(|at| occurrence(&schedule, &template, at)).collect();
            let (count, last) = (events.len(), instants.last().copied());
            if count > 0 {
                for published in self.0.publishing.publish_all(&partition, events).await? {
                    match published {
                        Published::Accepted { .. } => response.published_count += 1,
                        Published::Duplicate { .. } => response.duplicate_count += 1,
                        Published::Refused(why) => return Err(Refused::Invalid(why.to_string())),
                    }
                }
            }
            match last {
                Some(last) if count == BACKFILLED_AT_ONCE => after = last,
                _ => return Ok(response),
            }
            if response.published_count + response.duplicate_count >= BACKFILLED_MAX {
                return Err(Refused::Invalid(format!(
                    "{BACKFILLED_MAX} occurrences are done, up to {}, as many as one request may have",
                    recurrence::label(after)
                )));
            }
        }
    }

    /// A schedule, and the partition that it belongs to.
    async fn schedule(&self, topic: &str, name: &str) -> Result<(Partition, RecurringView), Refused> {
        let known = self.0.topics.existing(topic).await?;
        let partition = self.0.topics.partition_of(&known, name);
        let question = EventsQuery::Recurring { topic: topic.to_owned() };
        if let EventsView::Recurring(rows) = self.0.topics.view(&partition, question).await?
            && let Some(row) = rows.into_iter().find(|row| row.name == name)
        {
            return Ok((partition, row));
        }
        Err(Refused::NotFound(format!("topic {topic} has no schedule {name}")))
    }
}

fn told(view: &RecurringView) -> Recurring {
    let (cron, zone, every_ms) = match &view.rule {
        Rule::Cron { expression, zone } => (expression.clone(), zone.clone(), 0),
        Rule::Every { ms } => (String::new(), String::new(), *ms),
    };
    let next = if view.is_paused { Ok(Vec::new()) } else { recurrence::instants(&view.rule, now_ms(), NEXT) };
    let (topic, name, paused) = (view.topic.clone(), view.name.clone(), view.is_paused);
    Recurring { topic, name, cron, zone, every_ms, paused, next_ts: next.unwrap_or_default() }
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

/// Instants to come that are told of a schedule.
const NEXT: usize = 3;
const BACKFILLED_AT_ONCE: usize = 64;
const BACKFILLED_MAX: i32 = 10_000;
