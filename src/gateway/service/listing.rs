//! Events of a topic by where they stand, a page at a time.

use chronon_core::events::{DeadView, DeliveryState, EventsQuery, EventsView, KeptFrom, KeptView, Stored};

use super::Api;
use super::convert::{self, signed};
use super::lifecycle::delivery_fate;
use crate::gateway::proto::ext::{ListByStateRequest, ListByStateResponse, ListedEvent};
use crate::gateway::topics::{Partition, Refused};

/// What is listed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Scheduled,
    /// Ready, and not settled by every consumer group.
    Ready,
    Buffered,
    Processing,
    FailedRetryable,
    Dead,
    /// Settled by the consumer group, or by all of them.
    Processed,
    /// Not settled by the consumer group while it was of use.
    Expired,
}

/// A row that is listed, once it was read.
struct Row {
    mark: Mark,
    seq: Option<u64>,
    offset: u64,
    due_ms: i64,
    stored: Stored,
    delivery: Option<DeliveryState>,
}

/// Where a row stands in its partition: by its place in the ready sequence, or when it is due and by its offset.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Mark {
    due_ms: i64,
    number: u64,
}

/// Where a page begins: in the partition at this place among those of the topic, behind this row.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Page {
    place: usize,
    last: Option<Mark>,
}

impl Api {
    pub(super) async fn list_in_state(
        &self,
        wanted: ListByStateRequest,
    ) -> Result<ListByStateResponse, Refused> {
        let ListByStateRequest { topic, state, consumer_group, limit, page } = wanted;
        let state = State::read(&state, !consumer_group.is_empty())?;
        let limit = if limit == 0 { ROWS } else { limit as usize }.min(ROWS_MAX);
        let mut page = Page::read(&page)?;
        let partitions = self.0.topics.partitions(&self.0.topics.existing(&topic).await?);
        let (mut events, mut bytes) = (Vec::new(), 0);
        for _ in 0..READS_MAX {
            let Some(partition) = partitions.get(page.place) else {
                return Ok(ListByStateResponse { events, next_page: String::new() });
            };
            let Some((rows, behind)) = self.read_rows(partition, state, &consumer_group, page.last).await?
            else {
                page = Page { place: page.place + 1, last: None };
                continue;
            };
            let mut is_cut = false;
            for row in rows {
                if events.len() == limit || bytes >= BYTES {
                    is_cut = true;
                    break;
                }
                page.last = Some(row.mark);
                let listed = self.listed(partition, &consumer_group, row).await?;
                bytes += listed.event.as_ref().map_or(0, |event| event.payload.len());
                events.push(listed);
            }
            if is_cut {
                break;
            }
            page.last = Some(behind);
            if events.len() == limit || bytes >= BYTES {
                break;
            }
        }
        Ok(ListByStateResponse { events, next_page: page.show() })
    }

    /// Rows of a partition behind a mark that are in a state, and the mark of the last that was looked at; none when nothing is there.
    async fn read_rows(
        &self,
        partition: &Partition,
        state: State,
        group: &str,
        last: Option<Mark>,
    ) -> Result<Option<(Vec<Row>, Mark)>, Refused> {
        let (topic, group) = (partition.topic.name.clone(), group.to_owned());
        let unknown = || Refused::NotFound(format!("no such consumer group: {group}"));
        let from = last.map_or(0, |mark| mark.number + 1);
        let question = match state {
            State::Scheduled => {
                EventsQuery::Scheduled { topic, after: last.map(|mark| (mark.due_ms, mark.number)) }
            }
            State::Dead => EventsQuery::Dead { topic, group: group.clone(), from },
            State::Ready
            | State::Buffered
            | State::Processing
            | State::FailedRetryable
            | State::Processed
            | State::Expired => EventsQuery::Kept { topic, group: group.clone(), from: KeptFrom::Seq(from) },
        };
        let (rows, behind) = match self.0.topics.view(partition, question).await? {
            EventsView::Scheduled(rows) => {
                let rows = rows.into_iter().map(|row| Row {
                    mark: Mark { due_ms: row.due_ms, number: row.offset },
                    seq: None,
                    offset: row.offset,
                    due_ms: row.due_ms,
                    stored: row.stored,
                    delivery: None,
                });
                let rows: Vec<Row> = rows.collect();
                let behind = rows.last().map(|row| row.mark);
                (rows, behind)
            }
            EventsView::Dead(rows) => {
                let rows: Vec<Row> = rows.into_iter().map(dead_row).collect();
                let behind = rows.last().map(|row| row.mark);
                (rows, behind)
            }
            EventsView::Kept { rows, .. } => {
                let behind = rows.last().map(|row| Mark { due_ms: 0, number: row.seq });
                let rows = rows.into_iter().filter(|row| state.is_of(row));
                (rows.map(ready_row).collect(), behind)
            }
            // Nobody has used the partition yet, or it has met no member of the group.
            EventsView::Unknown if !group.is_empty() => {
                let is_used = self.partition_view(partition).await?.is_some();
                return if is_used { Err(unknown()) } else { Ok(None) };
            }
            _ => return Ok(None),
        };
        Ok(behind.map(|behind| (rows, behind)))
    }

    async fn listed(&self, partition: &Partition, group: &str, row: Row) -> Result<ListedEvent, Refused> {
        let event = self.0.payloads.get(partition.group, row.stored).await?;
        Ok(ListedEvent {
            event: Some(convert::event(partition, row.offset, row.due_ms, event)),
            ready_seq: row.seq.map(signed).unwrap_or_default(),
            delivery: row.delivery.map(|state| delivery_fate(group, &state)),
        })
    }
}

fn dead_row(row: DeadView) -> Row {
    Row {
        mark: Mark { due_ms: 0, number: row.seq },
        seq: Some(row.seq),
        offset: row.offset,
        due_ms: 0,
        stored: row.stored,
        delivery: Some(DeliveryState::FailedTerminal(row.letter)),
    }
}

fn ready_row(row: KeptView) -> Row {
    Row {
        mark: Mark { due_ms: 0, number: row.seq },
        seq: Some(row.seq),
        offset: row.offset,
        due_ms: row.due_ms,
        stored: row.stored,
        delivery: row.delivery,
    }
}

impl State {
    fn read(text: &str, of_group: bool) -> Result<Self, Refused> {
        let state = match text {
            "SCHEDULED" => Self::Scheduled,
            "READY" => Self::Ready,
            "BUFFERED" => Self::Buffered,
            "PROCESSING" => Self::Processing,
            "FAILED_RETRYABLE" => Self::FailedRetryable,
            "DEAD" | "FAILED_TERMINAL" => Self::Dead,
            "PROCESSED" => Self::Processed,
            "EXPIRED" => Self::Expired,
            other => {
                return Err(Refused::Invalid(format!(
                    "state is {other:?}: it is SCHEDULED, READY, BUFFERED, PROCESSING, FAILED_RETRYABLE, DEAD, PROCESSED or EXPIRED"
                )));
            }
        };
        let asks_all = matches!(state, Self::Scheduled | Self::Ready | Self::Processed);
        if !of_group && !asks_all {
            return Err(Refused::Invalid(format!("consumer_group is required: it tells what is {text}")));
        }
        Ok(state)
    }

    fn is_of(self, row: &KeptView) -> bool {
        match (self, &row.delivery) {
            (Self::Ready, _) => !row.ended,
            (Self::Processed, None) => row.ended,
            (Self::Processed, Some(state)) => *state == DeliveryState::Processed,
            (Self::Buffered, Some(state)) => *state == DeliveryState::Buffered,
            (Self::Processing, Some(state)) => matches!(state, DeliveryState::Processing { .. }),
            (Self::Expired, Some(state)) => *state == DeliveryState::Expired,
            (Self::FailedRetryable, Some(state)) => matches!(state, DeliveryState::FailedRetryable { .. }),
            (
                Self::Scheduled
                | Self::Dead
                | Self::Buffered
                | Self::Processing
                | Self::FailedRetryable
                | Self::Expired,
                _,
            ) => false,
        }
    }
}

impl Page {
    fn read(text: &str) -> Result<Self, Refused> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let mut parts = text.split('.');
        let mut read = || -> Option<Self> {
            let place = parts.next()?.parse().ok()?;
            let last = match parts.next() {
                Some(due_ms) => Some(Mark {
                    due_ms: due_ms.parse().ok()?,
                    number: parts.next()?.parse().ok().filter(|number| *number < u64::MAX)?,
                }),
                None => None,
            };
            parts.next().is_none().then_some(Self { place, last })
        };
        read().ok_or_else(|| Refused::Invalid(format!("page {text:?} is none that an answer named")))
    }

    fn show(self) -> String {
        match self.last {
            Some(Mark { due_ms, number }) => format!("{}.{due_ms}.{number}", self.place),
            None => self.place.to_string(),
        }
    }
}

/// Events of a page.
const ROWS: usize = 100;
const ROWS_MAX: usize = 1000;
/// Bytes of their payloads, from which on a page has no further one: what clients take in one message is less than that and one more.
const BYTES: usize = 1 << 20;
/// Looks into partitions that one page takes: it ends with what was found by then.
const READS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::{Mark, Page, State};

    #[test]
    fn a_page_is_read_back_and_nonsense_is_named() {
        for last in [None, Some(Mark { due_ms: -5, number: u64::MAX - 1 })] {
            let page = Page { place: 3, last };
            assert_eq!(Page::read(&page.show()).ok(), Some(page));
        }
        assert_eq!(Page::read("").ok(), Some(Page::default()));
        for nonsense in ["a", "a.b", "1.2", "1.2.-3", "1.2.3.4"] {
            let error = Page::read(nonsense).expect_err("no page").to_string();
            assert!(error.contains(nonsense), "{error}");
        }
    }

    #[test]
    fn what_only_a_consumer_group_tells_takes_one() {
        assert_eq!(State::read("READY", false).ok(), Some(State::Ready));
        assert_eq!(State::read("DEAD", true).ok(), Some(State::Dead));
        assert!(State::read("DEAD", false).expect_err("no group").to_string().contains("consumer_group"));
        assert!(State::read("ready", true).expect_err("no state").to_string().contains("SCHEDULED, READY"));
    }
}
