//! What clients ask of partitions of the event database: each publishes, and consumes what it is granted.

use std::collections::{BTreeMap, BTreeSet};

use chronon_core::codec;
use chronon_core::events::{
    Deliveries, Disposition, Due, EventName, EventsAnswer, EventsCommand, EventsQuery, Expires, GrantPlace,
    GroupChange, GroupOptions, KeptFrom, MemberId, Mode, NewEvent, Published, Rule, Settled, Settlement,
    Start, TopicConfig,
};
use chronon_core::types::{Blob, GroupId, Nanos, Op, Timestamp};

use super::Asking;
use crate::config::EventsModel;
use crate::random::Draw;

/// What the clients of all groups know.
#[derive(Clone, Debug, Default)]
pub(super) struct EventClients {
    model: EventsModel,
    members: BTreeMap<(GroupId, MemberId), Known>,
    /// By group: publishes so far, so that names are new more often than not.
    published: BTreeMap<GroupId, u64>,
    /// By group: the latest time, in milliseconds, at which an event was said to be due without waiting.
    heard_ms: BTreeMap<GroupId, i64>,
    /// Of the recurring schedule of a topic: its revision, and up to when it is planned.
    recurring: BTreeMap<(GroupId, String), (Op, i64)>,
    /// Of topics, as far as is known: the number, the revision, and whether it pauses. One that was closed has no revision.
    topics: BTreeMap<(GroupId, String), (u32, u64, bool)>,
    /// Consumer groups that pause, as far as is known.
    paused: BTreeSet<(GroupId, String, String)>,
    /// By consumer group: what it has given up, by place in the ready sequence.
    dead: BTreeMap<(GroupId, String, String), BTreeSet<u64>>,
}

/// What a member knows of its deliveries.
#[derive(Clone, Debug, Default)]
struct Known {
    /// By grant: the event's offset, and the attempt.
    open: BTreeMap<GrantPlace, (u64, u32)>,
    is_attached: bool,
}

impl EventClients {
    pub(super) fn command(&mut self, group: GroupId, asking: Asking, draw: &mut Draw) -> EventsCommand {
        let topic = (*draw.pick(&TOPICS)).to_owned();
        if asking.number <= 2 {
            let topic = TOPICS[(asking.number % 2) as usize].to_owned();
            return EventsCommand::Open { config: config(&topic), topic, id: 1 };
        }
        let member = member_of(asking);
        let is_attached = self.members.get(&(group, member)).is_some_and(|known| known.is_attached);
        let model = self.model;
        if let Some(topic) = self.wants_opening(group, draw) {
            return self.open(group, topic, false, draw);
        }
        let mut choice = draw.below(1_000_000) as u32;
        let mut falls_on = |share: u32| {
            let falls = choice < share;
            choice = choice.saturating_sub(share);
            falls
        };
        if falls_on(model.publish_ppm) {
            self.publish(group, topic, draw)
        } else if falls_on(model.change_ppm) {
            self.change(group, topic, draw)
        } else if asking.number <= model.attach_after {
            self.publish(group, topic, draw)
        } else if asking.number <= model.credits_after && (!is_attached || falls_on(ATTACH_PPM)) {
            self.attach((member, 0), draw)
        } else if pulls(asking) && (!is_attached || falls_on(CLAIM_PPM)) {
            self.claim(member, draw)
        } else if !is_attached || falls_on(ATTACH_PPM) && !pulls(asking) {
            let credits = if draw.below(10) == 0 { 0 } else { CREDITS };
            self.attach((member, credits), draw)
        } else if falls_on(model.administer_ppm) {
            self.administer(group, draw)
        } else if falls_on(model.leave_ppm) {
            EventsCommand::Detach { topic: topic_of(member), group: group_of(member), member }
        } else if falls_on(RECUR_PPM) {
            self.recur(group, topic, draw)
        } else if falls_on(RETAIN_PPM) {
            let below = Some(draw.below(200));
            EventsCommand::Retain { topic, age: None, bytes: None, below }
        } else if falls_on(REVIVE_PPM) {
            self.revive(group, topic, draw)
        } else {
            self.settle(group, member, draw)
        }
    }

    pub(super) fn question(&self, group: GroupId, draw: &mut Draw) -> EventsQuery {
        let topic = (*draw.pick(&TOPICS)).to_owned();
        match draw.below(10) {
            9 => EventsQuery::Unplanned,
            7 => EventsQuery::Buffered { topic, group: (*draw.pick(&GROUPS)).to_owned() },
            5 => EventsQuery::Kept {
                topic,
                group: String::new(),
                from: KeptFrom::Time(self.some_time(group, draw)),
            },
            6 => EventsQuery::Kept {
                topic,
                group: (*draw.pick(&GROUPS)).to_owned(),
                from: KeptFrom::Seq(draw.below(40)),
            },
            0 => EventsQuery::Partition { topic },
            1 => EventsQuery::Scheduled { topic, after: None },
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

    /// What it does from here on.
    pub(super) fn begin(&mut self, model: EventsModel) {
        self.model = model;
    }

    /// Hears an answer.
    ///
    /// # Errors
    /// When it does not answer the question.
    pub(super) fn answered(&mut self, group: GroupId, body: &[u8], answer: &[u8]) -> Result<(), String> {
        let command = codec::decode(body).map_err(|error| format!("own command: {error}"))?;
        let answer = codec::decode(answer).map_err(|error| format!("a partition's answer: {error}"))?;
        match (command, answer) {
            (EventsCommand::Attach { member, .. }, EventsAnswer::Attached { open, .. }) => {
                let known = self.members.entry((group, member)).or_default();
                (known.is_attached, known.open) = (true, BTreeMap::new());
                known.hear(&open);
                Ok(())
            }
            (EventsCommand::Claim { member, .. }, EventsAnswer::Claimed { granted, .. }) => {
                let known = self.members.entry((group, member)).or_default();
                known.is_attached = true;
                known.hear(&granted);
                Ok(())
            }
            (
                EventsCommand::Settle { topic, group: consumers, member, settlements, .. },
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
                        known.open.retain(|grant, (_, attempt)| {
                            (grant.seq, *attempt) != (settlement.seq, settlement.attempt)
                        });
                    }
                    let is_given_up = match settlement.disposition {
                        Disposition::Term { .. } => true,
                        Disposition::Nack { .. } => settlement.attempt >= ATTEMPTS_MAX,
                        Disposition::Ack | Disposition::InProgress => false,
                    };
                    if is_given_up && *result == Settled::Done {
                        let dead = self.dead.entry((group, topic.clone(), consumers.clone())).or_default();
                        dead.insert(settlement.seq);
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
                for (event, result) in events.iter().zip(&results) {
                    if let (Due::In(0), Published::Accepted { due_ms, .. }) = (event.due, result) {
                        self.heard_ms.insert(group, *due_ms);
                    }
                }
                Ok(())
            }
            (
                EventsCommand::Recur { topic, .. } | EventsCommand::Pause { topic, .. },
                EventsAnswer::Recurs { revision, until_ms, .. },
            ) => {
                self.recurring.insert((group, topic), (revision, until_ms));
                Ok(())
            }
            (
                EventsCommand::Occur { topic, revision, events, .. },
                EventsAnswer::Occurred { until_ms, published },
            ) if events.len() == published.len() => {
                self.recurring.insert((group, topic), (revision, until_ms));
                Ok(())
            }
            (EventsCommand::Forget { topic, .. }, EventsAnswer::Forgotten { .. }) => {
                self.recurring.remove(&(group, topic));
                Ok(())
            }
            (
                EventsCommand::PauseGroup { topic, group: consumers, .. },
                EventsAnswer::GroupChanged { is_paused, .. },
            ) => {
                let paused = (group, topic, consumers);
                if is_paused {
                    self.paused.insert(paused)
                } else {
                    self.paused.remove(&paused)
                };
                Ok(())
            }
            (
                EventsCommand::DeleteGroup { topic, group: consumers, .. },
                EventsAnswer::GroupDeleted { .. },
            ) => {
                self.paused.remove(&(group, topic, consumers));
                Ok(())
            }
            (EventsCommand::Open { topic, config, id }, EventsAnswer::Opened) => {
                let known = self.topics.entry((group, topic)).or_default();
                *known = (*known).max((id, config.revision, config.is_paused));
                Ok(())
            }
            (EventsCommand::Close { topic, id }, EventsAnswer::Closed { .. }) => {
                let known = self.topics.entry((group, topic.clone())).or_default();
                *known = (*known).max((id + 1, 0, false));
                self.members.retain(|(of, member), _| *of != group || topic_of(*member) != topic);
                self.recurring.remove(&(group, topic));
                Ok(())
            }
            (EventsCommand::AlterGroup { .. }, EventsAnswer::GroupChanged { .. })
            | (EventsCommand::Seek { .. }, EventsAnswer::Sought { .. })
            | (EventsCommand::Cancel { .. }, EventsAnswer::Cancelled { .. })
            | (EventsCommand::Reschedule { .. }, EventsAnswer::Rescheduled { .. })
            | (EventsCommand::Redrive { .. } | EventsCommand::Discard { .. }, EventsAnswer::Revived(_))
            | (EventsCommand::Retain { .. }, EventsAnswer::Retained { .. }) => Ok(()),
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
        let count = draw.between(1, u64::from(self.model.batch));
        let mut events: Vec<NewEvent> = (0..count).map(|_| self.new_event(group, draw)).collect();
        // A command has room for one that is long.
        if draw.below(4) == 0 {
            let mut payload = events[0].payload.as_slice().to_vec();
            payload.resize(draw.between(8, PAYLOAD_BYTES_MAX + 10) as usize, 0x5a);
            events[0].payload = Blob::from(payload);
        }
        EventsCommand::Publish { topic, events }
    }

    fn new_event(&mut self, group: GroupId, draw: &mut Draw) -> NewEvent {
        let model = self.model;
        let published = self.published.entry(group).or_default();
        *published += 1;
        let number = if falls(model.again_ppm, draw) { draw.below(*published + 1) } else { *published };
        let due = match draw.below(10) {
            _ if falls(model.past_ppm, draw) => over(draw),
            0..=2 => Due::In(0),
            _ if model.together_ns > 0 => self.together(group),
            3 => Due::At(draw.below(1 << 42) as i64),
            _ => self.later(draw),
        };
        let payload = number.to_le_bytes().to_vec();
        NewEvent {
            name: name(number),
            ordering_key: format!("k{}", draw.below(4)),
            due,
            expires: falls(model.expires_ppm, draw).then(|| self.until(draw)),
            payload: Blob::from(payload),
            meta: vec![("of".to_owned(), "sim".to_owned())],
            allow_duplicate: draw.below(20) == 0,
        }
    }

    fn change(&self, group: GroupId, topic: String, draw: &mut Draw) -> EventsCommand {
        let event = self.some_event(group, draw);
        match draw.below(3) {
            0 => EventsCommand::Cancel { topic, event },
            _ if falls(self.model.past_ppm, draw) => {
                EventsCommand::Reschedule { topic, event, due: over(draw) }
            }
            _ => EventsCommand::Reschedule { topic, event, due: self.later(draw) },
        }
    }

    /// At the next of the times at which events are due together, as far as it is known what time it is.
    fn together(&self, group: GroupId) -> Due {
        let apart = i64::try_from(self.model.together_ns / NANOS_PER_MS).unwrap_or(i64::MAX).max(1);
        let heard = self.heard_ms.get(&group).copied().unwrap_or_default();
        Due::At((heard / apart + 1).saturating_mul(apart))
    }

    fn later(&self, draw: &mut Draw) -> Due {
        Due::In(draw.below(self.model.delay_ns / NANOS_PER_MS + 1))
    }

    fn until(&self, draw: &mut Draw) -> Expires {
        match draw.below(8) {
            0 => Expires::At(draw.below(1 << 42) as i64),
            _ => Expires::After(draw.below(4 * self.model.ack_timeout_ns / NANOS_PER_MS + 1)),
        }
    }

    /// A time of the last half minute, as far as is known.
    fn some_time(&self, group: GroupId, draw: &mut Draw) -> Timestamp {
        let heard = self.heard_ms.get(&group).copied().unwrap_or_default();
        let ms = u64::try_from(heard).unwrap_or_default().saturating_sub(draw.below(30_000));
        Timestamp::from_nanos(ms.saturating_mul(NANOS_PER_MS))
    }

    fn some_event(&self, group: GroupId, draw: &mut Draw) -> EventName {
        let published = self.published.get(&group).copied().unwrap_or_default();
        // The latest are those that may still wait.
        name(published.saturating_sub(draw.below(20)))
    }

    /// A recurring schedule is made, planned on, paused or forgotten.
    fn recur(&mut self, group: GroupId, topic: String, draw: &mut Draw) -> EventsCommand {
        let (schedule, known) = (RECURRING.to_owned(), self.recurring.get(&(group, topic.clone())).copied());
        let Some((revision, after_ms)) = known.filter(|_| draw.below(10) > 0) else {
            let event = self.new_event(group, draw);
            return EventsCommand::Recur { topic, schedule, rule: Rule::Every { ms: RECURRING_MS }, event };
        };
        match draw.below(10) {
            0 | 1 => EventsCommand::Pause { topic, schedule, pauses: draw.coin() },
            2 => EventsCommand::Forget { topic, schedule },
            _ => {
                let count = draw.below(6) as i64;
                let step = RECURRING_MS as i64;
                let occurrence = |nth: i64| {
                    let at = after_ms + nth * step;
                    NewEvent {
                        name: EventName { partition_key: String::new(), message_id: format!("every@{at}") },
                        ordering_key: RECURRING.to_owned(),
                        due: Due::At(at),
                        expires: None,
                        payload: Blob::from(b"again".to_vec()),
                        meta: Vec::new(),
                        allow_duplicate: false,
                    }
                };
                let (events, until_ms) =
                    ((1..=count).map(occurrence).collect(), after_ms + count.max(1) * step);
                EventsCommand::Occur { topic, schedule, revision, after_ms, until_ms, events }
            }
        }
    }

    /// A topic is opened that was closed; another one is to pause, or to go on.
    fn open(&self, group: GroupId, topic: String, is_paused: bool, draw: &mut Draw) -> EventsCommand {
        let known = self.topics.get(&(group, topic.clone())).copied();
        let (id, revision, _) = known.unwrap_or((1, 0, false));
        // Now and then whoever opens it has not heard that it was deleted.
        let id = if draw.below(4) == 0 { id.max(2) - 1 } else { id };
        let config = TopicConfig { revision: revision + 1, is_paused, ..config(&topic) };
        EventsCommand::Open { topic, config, id }
    }

    /// A topic that is not there, or pauses for long enough.
    fn wants_opening(&self, group: GroupId, draw: &mut Draw) -> Option<String> {
        let mut known = self.topics.iter().filter(|((of, _), _)| *of == group);
        let ((_, topic), _) = known.find(|(_, (_, revision, pauses))| *revision == 0 || *pauses)?;
        (draw.below(4) == 0).then(|| topic.clone())
    }

    /// A consumer group pauses, goes on, begins anew, behaves otherwise or is deleted. What pauses does not for long.
    fn administer(&self, group: GroupId, draw: &mut Draw) -> EventsCommand {
        let paused = self.paused.iter().find(|(of, ..)| *of == group).filter(|_| draw.below(3) > 0);
        if let Some((_, topic, consumers)) = paused {
            return EventsCommand::PauseGroup {
                topic: topic.clone(),
                group: consumers.clone(),
                pauses: false,
            };
        }
        let (topic, consumers) = ((*draw.pick(&TOPICS)).to_owned(), (*draw.pick(&GROUPS)).to_owned());
        match draw.below(12) {
            10 => {
                let is_paused = draw.below(4) > 0;
                self.open(group, topic, is_paused, draw)
            }
            11 if draw.coin() => {
                let id = self.topics.get(&(group, topic.clone())).map_or(1, |(id, ..)| *id);
                EventsCommand::Close { topic, id }
            }
            0 | 1 => EventsCommand::PauseGroup { topic, group: consumers, pauses: draw.below(4) > 0 },
            2..=6 => {
                let to = match draw.below(5) {
                    0 => Start::Earliest,
                    1 => Start::Latest,
                    2 => Start::Since(self.some_time(group, draw)),
                    _ => Start::At(draw.below(400)),
                };
                EventsCommand::Seek { topic, group: consumers, to }
            }
            7 => {
                let attempts_max = Some(draw.between(2, u64::from(ATTEMPTS_MAX) + 1) as u32);
                let rest = Some(Nanos::from_millis(draw.between(50, 300)));
                let change = GroupChange { attempts_max, rest, ..GroupChange::default() };
                EventsCommand::AlterGroup { topic, group: consumers, change }
            }
            _ => EventsCommand::DeleteGroup { topic, group: consumers, force: draw.below(4) > 0 },
        }
    }

    /// Dead letters are redriven, or discarded; now and then some that are none.
    fn revive(&mut self, group: GroupId, topic: String, draw: &mut Draw) -> EventsCommand {
        let consumers = (*draw.pick(&GROUPS)).to_owned();
        let dead = self.dead.entry((group, topic.clone(), consumers.clone())).or_default();
        let mut letters: Vec<u64> = (0..LETTERS).filter_map(|_| dead.pop_first()).collect();
        letters.push(draw.below(60));
        if draw.below(4) > 0 {
            EventsCommand::Redrive { topic, group: consumers, letters }
        } else {
            EventsCommand::Discard { topic, group: consumers, letters }
        }
    }

    fn settle(&mut self, group: GroupId, member: MemberId, draw: &mut Draw) -> EventsCommand {
        let (topic, consumers) = (topic_of(member), group_of(member));
        let others = self.members.iter().filter(|((of, other), _)| *of == group && *other != member);
        let others = others.filter(|((_, other), _)| {
            (topic_of(*other), group_of(*other)) == (topic.clone(), consumers.clone())
        });
        let of_others = others.filter_map(|(_, known)| known.open.first_key_value());
        let foreign: Vec<Settlement> = of_others
            .filter(|_| draw.below(20) == 0)
            .map(|(grant, (_, attempt))| Settlement {
                seq: grant.seq,
                attempt: *attempt,
                granted: grant.op,
                disposition: Disposition::Ack,
            })
            .collect();
        let known = self.members.entry((group, member)).or_default();
        let mut settlements = foreign;
        for (grant, (offset, attempt)) in &known.open {
            let disposition = match draw.below(12) {
                _ if is_poison(*offset, self.model.poison_ppm) => {
                    Disposition::Nack { rest: None, why: "poison".to_owned() }
                }
                0..=6 => Disposition::Ack,
                7 | 8 => {
                    let rest = draw.coin().then(|| Nanos::from_millis(draw.below(500)));
                    Disposition::Nack { rest, why: "no".to_owned() }
                }
                9 => Disposition::Term { why: "never".to_owned() },
                10 => Disposition::InProgress,
                _ => continue,
            };
            settlements.push(Settlement {
                seq: grant.seq,
                attempt: *attempt,
                granted: grant.op,
                disposition,
            });
        }
        let after = Some(known.open.last_key_value().map(|(grant, _)| *grant).unwrap_or_default());
        EventsCommand::Settle { topic, group: consumers, member, settlements, after }
    }

    /// Who wants nothing more for a while stays a member.
    fn attach(&self, (member, credits): (MemberId, u32), draw: &mut Draw) -> EventsCommand {
        let (group, options) = (group_of(member), self.options(member, draw));
        let lease = Nanos::from_millis(draw.between(1000, 5000));
        let (topic, insists) = (topic_of(member), draw.coin());
        EventsCommand::Attach { topic, group, options, insists, member, credits, lease }
    }

    fn claim(&self, member: MemberId, draw: &mut Draw) -> EventsCommand {
        let (group, options) = (group_of(member), self.options(member, draw));
        let (count, lease) = (draw.between(1, u64::from(CREDITS)) as u32, Nanos::from_millis(5000));
        let (topic, insists) = (topic_of(member), draw.coin());
        EventsCommand::Claim { topic, group, options, insists, member, count, lease }
    }

    fn options(&self, member: MemberId, draw: &mut Draw) -> GroupOptions {
        GroupOptions {
            mode: if group_of(member) == GROUPS[0] { Mode::Shared } else { Mode::Ordered },
            start: *draw.pick(&[Start::Earliest, Start::Latest]),
            ack_timeout: Nanos::from_nanos(self.model.ack_timeout_ns),
            attempts_max: ATTEMPTS_MAX,
            rest: Nanos::from_millis(100),
            rest_max: Nanos::from_millis(1000),
        }
    }
}

impl Known {
    fn hear(&mut self, granted: &Deliveries) {
        let told = granted.deliveries.iter();
        self.open.extend(told.map(|delivery| (delivery.grant, (delivery.offset, delivery.attempt))));
    }
}

fn falls(ppm: u32, draw: &mut Draw) -> bool {
    draw.below(1_000_000) < u64::from(ppm)
}

/// Any time that is over.
fn over(draw: &mut Draw) -> Due {
    Due::At(draw.below(1 << 40) as i64 - (1 << 40))
}

/// The same for everybody, however often it is delivered.
fn is_poison(offset: u64, ppm: u32) -> bool {
    offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44 < u64::from(ppm)
}

/// One topic keeps everything that is not settled; the other lets it go when it is old, or too much.
fn config(topic: &str) -> TopicConfig {
    let lets_go = topic == TOPICS[1];
    TopicConfig {
        retain_age: lets_go.then_some(RETAIN_AGE),
        retain_bytes: lets_go.then_some(RETAIN_BYTES),
        expires_unsettled: lets_go,
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

/// Some ask for each of their deliveries; the others have them come.
fn pulls(asking: Asking) -> bool {
    (u64::from(asking.client) / 4 + u64::from(asking.life)).is_multiple_of(3)
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
/// Of requests of who is a member already.
const ATTACH_PPM: u32 = 30_000;
/// Of requests of who asks for its deliveries.
const CLAIM_PPM: u32 = 250_000;
const REVIVE_PPM: u32 = 30_000;
const RETAIN_PPM: u32 = 5_000;
const RECUR_PPM: u32 = 40_000;
const RECURRING: &str = "every-half-second";
const RECURRING_MS: u64 = 500;
/// Dead letters of one order.
const LETTERS: usize = 4;
const ATTEMPTS_MAX: u32 = 4;
const NANOS_PER_MS: u64 = 1_000_000;
const PAYLOAD_BYTES_MAX: u64 = 600;
const RETAIN_AGE: Nanos = Nanos::from_secs(20);
const RETAIN_BYTES: u64 = 20_000;
/// Of each member.
pub(super) const CREDITS: u32 = 3;
