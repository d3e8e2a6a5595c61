//! Trace context (W3C Trace Context, level 1) that an event carries as `traceparent` in its meta: what happens to an event of a
//! sampled trace is logged with the ids of that trace, and receivers of posts get the context as its headers.

use chronon_core::events::{Delivery, NewEvent, Published};

use super::topics::Partition;

/// An event of a sampled trace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Traced {
    trace_id: String,
    /// The span that the event was published in.
    parent_id: String,
    message_id: String,
}

impl Traced {
    /// None when the event carries no context, or the trace is not sampled.
    pub(super) fn of(event: &NewEvent) -> Option<Self> {
        let parent = event.meta.iter().find(|(key, _)| key == TRACEPARENT)?;
        let (trace_id, parent_id) = sampled(&parent.1)?;
        let message_id = event.name.message_id.clone();
        Some(Self { trace_id: trace_id.to_owned(), parent_id: parent_id.to_owned(), message_id })
    }

    pub(super) fn published(&self, partition: &Partition, published: &Published) {
        let Self { trace_id, parent_id, message_id } = self;
        let (topic, partition) = (&*partition.topic.name, partition.id);
        match published {
            Published::Accepted { offset, due_ms } => {
                tracing::info!(trace_id, parent_id, message_id, topic, partition, offset, due_ms, "accepted");
            }
            Published::Duplicate { offset } => {
                tracing::info!(trace_id, parent_id, message_id, topic, partition, offset, "duplicate");
            }
            Published::Refused(why) => {
                tracing::info!(trace_id, parent_id, message_id, topic, partition, %why, "refused");
            }
        }
    }

    pub(super) fn delivered(&self, partition: &Partition, group: &str, delivery: &Delivery) {
        let Self { trace_id, parent_id, message_id } = self;
        let (topic, partition, attempt) = (&*partition.topic.name, partition.id, delivery.attempt);
        tracing::info!(trace_id, parent_id, message_id, topic, partition, group, attempt, "delivered");
    }
}

/// The headers that hand the context of an event on, whether its trace is sampled or not.
pub(super) fn headers(event: &NewEvent) -> impl Iterator<Item = (&'static str, &str)> {
    let handed_on = |name| event.meta.iter().find(move |(key, _)| key == name);
    [TRACEPARENT, TRACESTATE].into_iter().filter_map(move |name| Some((name, handed_on(name)?.1.as_str())))
}

/// The ids of trace and parent in a `traceparent`; none when it is malformed or the trace is not sampled.
fn sampled(text: &str) -> Option<(&str, &str)> {
    let mut fields = text.split('-');
    let mut field = |length: usize| {
        let is_lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        fields.next().filter(|field| field.len() == length && field.bytes().all(is_lower_hex))
    };
    let (version, trace_id, parent_id, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
    let is_nothing = |id: &str| id.bytes().all(|byte| byte == b'0');
    // Versions to come may say more behind the flags.
    let is_well_formed = version != "ff" && (version != "00" || fields.next().is_none());
    let flags = u8::from_str_radix(flags, 16).ok()?;
    let counts = is_well_formed && !is_nothing(trace_id) && !is_nothing(parent_id) && flags & SAMPLED != 0;
    counts.then_some((trace_id, parent_id))
}

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// Of the flags.
const SAMPLED: u8 = 1;

#[cfg(test)]
mod tests {
    use super::sampled;

    #[test]
    fn a_sampled_context_is_told_from_all_others() {
        let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let with = |version: &str, rest: &str| format!("{version}-{trace}-{parent}-{rest}");
        for text in [with("00", "01"), with("00", "03"), with("01", "01"), with("cc", "01-what-comes-later")]
        {
            assert_eq!(sampled(&text), Some((trace, parent)), "{text}");
        }
        let zeros = "0".repeat(32);
        let malformed = [
            with("00", "00"),
            with("00", "02"),
            with("ff", "01"),
            with("00", "01-more"),
            with("00", "1"),
            with("0", "01"),
            with("00", "0g"),
            with("00", "01").to_uppercase(),
            format!("00-{zeros}-{parent}-01"),
            format!("00-{trace}-{}-01", &zeros[..16]),
            format!("00-{trace}-{parent}"),
            String::new(),
        ];
        for text in malformed {
            assert_eq!(sampled(&text), None, "{text}");
        }
    }
}
