//! Between what clients say and what the core knows.

use chronon_core::events::{
    Due, EventName, Expires, GrantPlace, GroupOptions, KEY_BYTES_MAX, MESSAGE_ID_BYTES_MAX, MemberId, Mode,
    NewEvent, Published, Refusal, Start,
};
use chronon_core::types::{Blob, Hash, Nanos, Op, Timestamp};

use crate::gateway::consuming::Delivered;
use crate::gateway::proto::cronos_db::{Delivery, Event, GroupMode, PublishResponse, PublishStatus};
use crate::gateway::settling::Membership;
use crate::gateway::topics::{Partition, Refused};

/// An event as it is to be published; in the words that earlier clients know when it cannot be.
pub(super) fn new_event(event: Event, allow_duplicate: bool) -> Result<NewEvent, Refused> {
    let invalid = |why: &str| Err(Refused::Invalid(why.to_owned()));
    if event.message_id.is_empty() {
        return invalid("message_id is required");
    }
    if event.message_id.len() > MESSAGE_ID_BYTES_MAX as usize {
        return invalid("message_id exceeds 128 characters");
    }
    if event.payload.len() > PAYLOAD_BYTES_MAX {
        return invalid("payload exceeds 4MB limit");
    }
    if event.payload.is_empty() {
        return invalid("payload is required");
    }
    let due = match (event.delay_ms, event.schedule_ts) {
        (0, 0) => return invalid("schedule_ts is required"),
        (0, at) => Due::At(at),
        (delay, _) => match u64::try_from(delay) {
            Ok(delay) => Due::In(delay),
            Err(_) => return invalid("delay_ms must not be negative"),
        },
    };
    let expires = match (event.ttl_ms, event.expires_ts) {
        (0, 0) => None,
        (0, at) => Some(Expires::At(at)),
        (useful, _) => match u64::try_from(useful) {
            Ok(useful) => Some(Expires::After(useful)),
            Err(_) => return invalid("ttl_ms must not be negative"),
        },
    };
    let mut meta: Vec<(String, String)> = event.meta.into_iter().collect();
    meta.sort();
    let partition_key = meta.iter().find(|(key, _)| key == "partition_key");
    let partition_key = partition_key.map(|(_, value)| value.clone()).unwrap_or_default();
    for (what, key) in [("partition_key", &partition_key), ("ordering_key", &event.ordering_key)] {
        if key.len() > KEY_BYTES_MAX as usize {
            return invalid(&format!("{what} exceeds {KEY_BYTES_MAX} characters"));
        }
    }
    Ok(NewEvent {
        name: EventName { partition_key, message_id: event.message_id },
        ordering_key: event.ordering_key,
        due,
        expires,
        payload: Blob(event.payload),
        meta,
        allow_duplicate,
    })
}

pub(super) fn response(partition: &Partition, published: &Published) -> PublishResponse {
    let partition_id = partition.id;
    match published {
        Published::Accepted { offset, due_ms } => PublishResponse {
            success: true,
            offset: signed(*offset),
            partition_id,
            schedule_ts: *due_ms,
            status: PublishStatus::Accepted.into(),
            ..PublishResponse::default()
        },
        Published::Duplicate { offset } => PublishResponse {
            error: "duplicate message_id".to_owned(),
            offset: signed(*offset),
            partition_id,
            status: PublishStatus::Duplicate.into(),
            ..PublishResponse::default()
        },
        Published::Refused(refusal) => {
            let error = match refusal {
                Refusal::PayloadTooLong { max } if *max as usize == PAYLOAD_BYTES_MAX => {
                    "payload exceeds 4MB limit".to_owned()
                }
                other => other.to_string(),
            };
            PublishResponse { partition_id, ..invalid(error) }
        }
    }
}

/// The answer to an event that is not accepted.
pub(super) fn invalid(error: String) -> PublishResponse {
    PublishResponse { error, status: PublishStatus::Refused.into(), ..PublishResponse::default() }
}

pub(super) fn event(partition: &Partition, offset: u64, due_ms: i64, event: NewEvent) -> Event {
    Event {
        message_id: event.name.message_id,
        schedule_ts: due_ms,
        payload: event.payload.0,
        topic: partition.topic.name.clone(),
        meta: event.meta.into_iter().collect(),
        offset: signed(offset),
        partition_id: partition.id,
        ordering_key: event.ordering_key,
        expires_ts: match event.expires {
            Some(Expires::At(at)) => at,
            Some(Expires::After(useful)) => due_ms.saturating_add(signed(useful)),
            None => 0,
        },
        ..Event::default()
    }
}

pub(super) fn delivery(delivered: Delivered) -> Delivery {
    let Delivered { partition, membership, delivery, ack_timeout, event: published } = delivered;
    Delivery {
        delivery_id: delivery_id(&membership, delivery.grant, delivery.attempt),
        attempt: i32::try_from(delivery.attempt).unwrap_or(i32::MAX),
        ack_timeout_ms: i32::try_from(ack_timeout.as_nanos() / NANOS_PER_MS).unwrap_or(i32::MAX),
        batch: Vec::new(),
        fencing_token: delivery.grant.op.get(),
        lease_expires_ts: millis(delivery.until),
        ready_seq: signed(delivery.grant.seq),
        event: Some(event(&partition, delivery.offset, delivery.due_ms, published)),
    }
}

/// Names a delivery: partition, place in the ready sequence, op of its grant, attempt, member, consumer group.
fn delivery_id(of: &Membership, grant: GrantPlace, attempt: u32) -> String {
    let Membership { partition, group, member } = of;
    format!("{partition}.{}.{}.{attempt}.{:x}.{group}", grant.seq, grant.op, member.0)
}

/// What a delivery's name says: whose it is, its grant, and the attempt.
pub(super) fn read_delivery_id(id: &str) -> Option<(Membership, GrantPlace, u32)> {
    let mut parts = id.splitn(6, '.');
    let partition = parts.next()?.parse().ok()?;
    let seq = parts.next()?.parse().ok()?;
    let op = parts.next()?.parse().ok().map(Op::new)?;
    let attempt = parts.next()?.parse().ok()?;
    let member = MemberId(u128::from_str_radix(parts.next()?, 16).ok()?);
    let group = parts.next()?.to_owned();
    Some((Membership { partition, group, member }, GrantPlace { op, seq }, attempt))
}

/// What clients may say of a consumer group when they make it; zero is the default.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub mode: GroupMode,
    pub start_offset: i64,
    pub attempts_max: u32,
    pub ack_timeout_ms: u32,
    pub rest_ms: u32,
    pub rest_max_ms: u32,
}

pub(super) fn options(wanted: Wanted) -> GroupOptions {
    let or = |value: u32, default: u64| if value == 0 { default } else { u64::from(value) };
    GroupOptions {
        mode: if wanted.mode == GroupMode::Ordered { Mode::Ordered } else { Mode::Shared },
        start: match u64::try_from(wanted.start_offset) {
            Ok(0) => Start::Earliest,
            Ok(seq) => Start::At(seq),
            Err(_) => Start::Latest,
        },
        ack_timeout: Nanos::from_millis(or(wanted.ack_timeout_ms, ACK_TIMEOUT_MS)),
        attempts_max: wanted.attempts_max,
        rest: Nanos::from_millis(or(wanted.rest_ms, REST_MS)),
        rest_max: Nanos::from_millis(or(wanted.rest_max_ms, REST_MS_MAX)),
    }
}

/// The member that a subscription is: the same one again when it has a name.
pub(super) fn member(subscription_id: &str) -> Result<MemberId, Refused> {
    let mut bytes = [0; 16];
    if subscription_id.is_empty() {
        getrandom::fill(&mut bytes)
            .map_err(|error| Refused::Unavailable(format!("no random bytes: {error}")))?;
    } else {
        bytes.copy_from_slice(&Hash::of(subscription_id.as_bytes()).as_bytes()[..16]);
    }
    Ok(MemberId(u128::from_le_bytes(bytes)))
}

pub(super) fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanos() / NANOS_PER_MS).unwrap_or(i64::MAX)
}

/// A time in milliseconds since the Unix epoch, which is not negative.
pub(super) fn at_ms(ms: i64) -> Timestamp {
    Timestamp::from_nanos(u64::try_from(ms).unwrap_or_default().saturating_mul(NANOS_PER_MS))
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

const NANOS_PER_MS: u64 = 1_000_000;
const PAYLOAD_BYTES_MAX: usize = 4 << 20;
const ACK_TIMEOUT_MS: u64 = 30_000;
const REST_MS: u64 = 1000;
const REST_MS_MAX: u64 = 60_000;

#[cfg(test)]
mod tests {
    use chronon_core::events::{GrantPlace, MemberId};
    use chronon_core::types::Op;

    use super::{Membership, delivery_id, read_delivery_id};

    #[test]
    fn the_name_of_a_delivery_is_read_back_whatever_its_group_is_called() {
        for group in ["g", "a.b.c", "7", "gruppe ü"] {
            let of = Membership { partition: 1000, group: group.to_owned(), member: MemberId(u128::MAX - 1) };
            let grant = GrantPlace { op: Op::new(9), seq: u64::MAX };
            let id = delivery_id(&of, grant, 3);
            assert_eq!(read_delivery_id(&id), Some((of, grant, 3)), "{id}");
        }
        for nonsense in ["", "1", "1.2.3", "1.2.3.1.zz.g", "1.2.x.1.a.g", "-.1.1.1.a.g"] {
            assert_eq!(read_delivery_id(nonsense), None, "{nonsense}");
        }
    }
}
