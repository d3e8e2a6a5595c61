//! What clients ask of partitions of the event database: each publishes, and consumes what it is granted.

use std::collections::BTreeMap;

use chronon_core::codec;
use chronon_core::events::{
    Deliveries, Disposition, Due, EventName, EventsAnswer, EventsCommand, EventsQuery, GrantPlace,
    GroupOptions, MemberId, Mode, NewEvent, Settled, Settlement, Start, TopicConfig,
};
use chronon_core::types::{Blob, GroupId, Nanos};

use super::Asking;
use crate::random::Draw;

/// What the clients of all groups know.
#[derive(Clone, Debug, Default)]
pub(super) struct EventClients {
    members: BTreeMap<(GroupId, MemberId), Known>,
    /// By group: publishes so far, so that names are new more often than not.
    published: BTreeMap<GroupId, u64>,
}

/// What a member knows of its deliveries.
#[derive(Clone, Debug, Default)]
struct Known {
    /// By grant: the attempt.
    open: BTreeMap<GrantPlace, u32>,
    is_attached: bool,
}

impl EventClients {
    pub(super) fn command(&mut self, group: GroupId, asking: Asking, draw: &mut Draw) -> EventsCommand {
        let topic = (*draw.pick(&TOPICS)).to_owned();
        if asking.number <= 2 {
            let topic = TOPICS[(asking.number % 2) as usize].to_owned();
            return EventsCommand::Open { topic, config: config() };
        }
        let member = member_of(asking);
        let is_attached = self.members.get(&(group, member)).is_some_and(|known| known.is_attached);
        match draw.below(20) {
            0..=6 => self.publish(group, topic, draw),
            7..=15 if is_attached => self.settle(group, member, draw),
            7..=16 => attach(member, draw),
            17 => EventsCommand::Cancel { topic, event: self.some_event(group, draw) },
            18 if draw.coin() => {
                let due = Due::In(draw.below(DELAY_MS_MAX));
                EventsCommand::Reschedule { topic, event: self.some_event(group, draw), due }
            }
            18 => EventsCommand::Detach { topic: topic_of(member), group: group_of(member), member },
            _ => {
                let letters = (0..4).map(|_| draw.below(60)).collect();
                let (topic, group) = (topic, (*draw.pick(&GROUPS)).to_owned());
                if draw.coin() {
                    EventsCommand::Redrive { topic, group, letters }
                } else {
                    EventsCommand::Discard { topic, group, letters }
                }
            }
        }
    }

    pub(super) fn question(&self, group: GroupId, draw: &mut Draw) -> EventsQuery {
        let topic = (*draw.pick(&TOPICS)).to_owned();
        match draw.below(6) {
            0 => EventsQuery::Partition { topic },
            1 => EventsQuery::Scheduled { topic, from: draw.below(50) },
            2 => EventsQuery::Dead { topic, group: (*draw.pick(&GROUPS)).to_owned(), from: 0 },
            3 => EventsQuery::Event { topic, event: self.some_event(group, draw) },
            _ => {
                let known: Vec<MemberId> =
                    self.members.keys().filter(|(of, _)| *of == group).map(|(_, member)| *member).collect();
                if known.is_empty() {
                    return EventsQuery::Topics;
                }
                let member = *draw.pick(&known);
                let (topic, group) = (topic_of(member), group_of(member));
                EventsQuery::Deliveries { topic, group, member, after: GrantPlace::default() }
            }
        }
    }

    /// Hears an answer.
    ///
    /// # Errors
    /// When it does not answer the question.
    pub(super) fn answered(&mut self, group: GroupId, body: &[u8], answer: &[u8]) -> Result<(), String> {
        let command = codec::decode(body).map_err(|error| format!("own command: {error}"))?;
        let answer = codec::decode(answer).map_err(|error| format!("a partition's answer: {error}"))?;
        match (command, answer) {
            (EventsCommand::Attach { member, .. }, EventsAnswer::Attached(open)) => {
                let known = self.members.entry((group, member)).or_default();
                (known.is_attached, known.open) = (true, BTreeMap::new());
                known.hear(&open);
                Ok(())
            }
            (
                EventsCommand::Settle { member, settlements, .. },
                EventsAnswer::Settled { results, granted, .. },
            ) => {
                if settlements.len() != results.len() {
                    return Err(format!("{} settlements have {} results", settlements.len(), results.len()));
                }
                let known = self.members.entry((group, member)).or_default();
                for (settlement, result) in settlements.iter().zip(&results) {
                    let goes_on =
                        settlement.disposition == Disposition::InProgress && *result == Settled::Done;
                    if !goes_on {
                        known.open.retain(|grant, attempt| {
                            (grant.seq, *attempt) != (settlement.seq, settlement.attempt)
                        });
                    }
                }
                known.hear(&granted);
                Ok(())
            }
            (EventsCommand::Detach { member, .. }, EventsAnswer::Detached) => {
                self.members.remove(&(group, member));
                Ok(())
            }
            (EventsCommand::Publish { events, .. }, EventsAnswer::Published(results))
                if events.len() == results.len() =>
            {
                Ok(())
            }
            (EventsCommand::Open { .. }, EventsAnswer::Opened)
            | (EventsCommand::Cancel { .. }, EventsAnswer::Cancelled { .. })
            | (EventsCommand::Reschedule { .. }, EventsAnswer::Rescheduled { .. })
            | (EventsCommand::Redrive { .. } | EventsCommand::Discard { .. }, EventsAnswer::Revived(_)) => {
                Ok(())
            }
            (command, answer) => Err(format!("{command:?} was answered with {answer:?}")),
        }
    }

    /// A command was refused: who is no member any more is to attach again.
    pub(super) fn refused(&mut self, group: GroupId, body: &[u8]) {
        if let Ok(EventsCommand::Settle { member, .. } | EventsCommand::Detach { member, .. }) =
            codec::decode(body)
        {
            self.members.remove(&(group, member));
        }
    }

    fn publish(&mut self, group: GroupId, topic: String, draw: &mut Draw) -> EventsCommand {
        let count = draw.between(1, 4);
        let events = (0..count).map(|_| self.new_event(group, draw)).collect();
        EventsCommand::Publish { topic, events }
    }

    fn new_event(&mut self, group: GroupId, draw: &mut Draw) -> NewEvent {
        let published = self.published.entry(group).or_default();
        *published += 1;
        // One in five is published before, or will have been.
        let number = if draw.below(5) == 0 { draw.below(*published + 1) } else { *published };
        let due = match draw.below(10) {
            0..=2 => Due::In(0),
            3 => Due::At(draw.below(1 << 40) as i64 - (1 << 39)),
            _ => Due::In(draw.below(DELAY_MS_MAX)),
        };
        let mut payload = number.to_le_bytes().to_vec();
        if draw.below(8) == 0 {
            payload.resize(draw.between(8, PAYLOAD_BYTES_MAX + 10) as usize, 0x5a);
        }
        NewEvent {
            name: name(number),
            ordering_key: format!("k{}", draw.below(4)),
            due,
            payload: Blob::from(payload),
            meta: vec![("of".to_owned(), "sim".to_owned())],
            allow_duplicate: draw.below(20) == 0,
        }
    }

    fn some_event(&self, group: GroupId, draw: &mut Draw) -> EventName {
        let published = self.published.get(&group).copied().unwrap_or_default();
        // The latest are those that may still wait.
        name(published.saturating_sub(draw.below(20)))
    }

    fn settle(&mut self, group: GroupId, member: MemberId, draw: &mut Draw) -> EventsCommand {
        let known = self.members.entry((group, member)).or_default();
        let mut settlements = Vec::new();
        for (grant, attempt) in &known.open {
            let disposition = match draw.below(12) {
                0..=6 => Disposition::Ack,
                7 | 8 => {
                    let rest = draw.coin().then(|| Nanos::from_millis(draw.below(500)));
                    Disposition::Nack { rest, why: "no".to_owned() }
                }
                9 => Disposition::Term { why: "never".to_owned() },
                10 => Disposition::InProgress,
                _ => continue,
            };
            settlements.push(Settlement { seq: grant.seq, attempt: *attempt, disposition });
        }
        let after = Some(known.open.last_key_value().map(|(grant, _)| *grant).unwrap_or_default());
        EventsCommand::Settle { topic: topic_of(member), group: group_of(member), member, settlements, after }
    }
}

impl Known {
    fn hear(&mut self, granted: &Deliveries) {
        self.open.extend(granted.deliveries.iter().map(|delivery| (delivery.grant, delivery.attempt)));
    }
}

fn attach(member: MemberId, draw: &mut Draw) -> EventsCommand {
    let group = group_of(member);
    let mode = if group == GROUPS[0] { Mode::Shared } else { Mode::Ordered };
    let options = GroupOptions {
        mode,
        start: *draw.pick(&[Start::Earliest, Start::Latest]),
        ack_timeout: Nanos::from_millis(900),
        attempts_max: 4,
        rest: Nanos::from_millis(100),
        rest_max: Nanos::from_millis(1000),
    };
    let (credits, lease) = (CREDITS, Nanos::from_millis(draw.between(1000, 5000)));
    EventsCommand::Attach { topic: topic_of(member), group, options, member, credits, lease }
}

fn config() -> TopicConfig {
    TopicConfig {
        revision: 1,
        payload_bytes_max: PAYLOAD_BYTES_MAX as u32,
        dedup_window: Nanos::from_secs(5),
        kept_max: 10,
        dead_max: 20,
        ..TopicConfig::default()
    }
}

/// Who begins again under another name is another member.
fn member_of(asking: Asking) -> MemberId {
    MemberId(u128::from(asking.client) << 32 | u128::from(asking.life))
}

fn topic_of(member: MemberId) -> String {
    TOPICS[(member.0 >> 33) as usize % TOPICS.len()].to_owned()
}

fn group_of(member: MemberId) -> String {
    GROUPS[(member.0 >> 32) as usize % GROUPS.len()].to_owned()
}

fn name(number: u64) -> EventName {
    EventName { partition_key: format!("p{}", number % 3), message_id: format!("m{number}") }
}

const TOPICS: [&str; 2] = ["orders", "mails"];
const GROUPS: [&str; 2] = ["shared", "ordered"];
const DELAY_MS_MAX: u64 = 3000;
const PAYLOAD_BYTES_MAX: u64 = 600;
/// Of each member.
pub(super) const CREDITS: u32 = 3;
