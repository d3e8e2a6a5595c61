//! The shape of a scenario file, as it is written.

use std::fmt;

use chronon_core::types::Nanos;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use toml::Spanned;

use super::error::Located;
use crate::config::{ClientModel, WorldConfig};
use crate::net::MessageKind;
use crate::time::SECOND;
use crate::units::parse_span;

/// A whole file.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) name: String,
    #[serde(default, deserialize_with = "seed")]
    pub(super) seed: Option<u64>,
    pub(super) length: Ns,
    pub(super) heal: Option<Ns>,
    pub(super) operations_min: Option<u64>,
    #[serde(default)]
    pub(super) beyond_budget: bool,
    pub(super) cluster: ClusterShape,
    #[serde(default)]
    pub(super) group: Vec<GroupShape>,
    #[serde(default)]
    pub(super) clients: ClientsShape,
    #[serde(default)]
    pub(super) fault: Vec<Spanned<FaultShape>>,
    #[serde(default)]
    pub(super) expect: ExpectShape,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClusterShape {
    pub(super) nodes: Spanned<NodesShape>,
    #[serde(default, deserialize_with = "seed")]
    pub(super) id: Option<u64>,
    bytes_on_the_wire: Option<bool>,
    atomic_unit: Option<Spanned<i64>>,
    disk_write: Option<Ns>,
    disk_read: Option<Ns>,
    disk_barrier: Option<Ns>,
    /// As long as a barrier when it is not given.
    disk_allocate: Option<Ns>,
    delay: Option<Ns>,
    loss: Option<Share>,
    duplicate: Option<Share>,
    drift_ppm: Option<Drift>,
    wall_offset: Option<Ns>,
    segment_bytes: Option<u64>,
    flush_bytes_max: Option<u32>,
    flushes_in_flight: Option<Count>,
    sealed_segments: Option<u32>,
    idle_mark: Option<Ns>,
    pipeline_entries: Option<Count>,
    batch_commands: Option<Count>,
    batch_bytes: Option<u32>,
    command_bytes: Option<u32>,
    queue_requests: Option<Count>,
    repair_entries: Option<Count>,
    repair_bytes: Option<u32>,
    heartbeat: Option<Ns>,
    primary_silence: Option<Ns>,
    view_change: Option<Ns>,
    resend: Option<Ns>,
    abdicate: Option<Ns>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupShape {
    pub(super) id: Option<Spanned<i64>>,
    pub(super) kind: Spanned<String>,
    pub(super) voters: Option<Vec<Spanned<i64>>>,
    pub(super) sessions_max: Option<u32>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientsShape {
    pub(super) count: Option<Spanned<i64>>,
    pub(super) asking: Option<Vec<Spanned<AsksShape>>>,
    requests_max: Option<u64>,
    think: Option<Ns>,
    resend: Option<Ns>,
    give_up: Option<Ns>,
    repeat: Option<Share>,
}

/// A client, and the groups it asks: all when none are named.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AsksShape {
    pub(super) client: Spanned<i64>,
    pub(super) groups: Option<Vec<Spanned<i64>>>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectShape {
    pub(super) committed_min: Option<u64>,
    pub(super) view_changes_min: Option<u64>,
    pub(super) view_changes_max: Option<u64>,
    pub(super) crashes_min: Option<u64>,
    pub(super) repeated_min: Option<u64>,
    pub(super) rotted_min: Option<u64>,
    #[serde(default)]
    pub(super) stall: bool,
}

/// One fault; the words are those of the plan.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum FaultShape {
    Crash(CrashShape),
    CrashAtDiskOp(CrashAtDiskOpShape),
    PowerLoss(PowerLossShape),
    Pause(SpanOfNode),
    Cut(CutShape),
    Lossy(LossyShape),
    Clog(CutShape),
    Echo(CutShape),
    Drop(DropShape),
    DiskStall(SpanOfNode),
    DiskError(CrashAtDiskOpShape),
    Rot(RotShape),
    ClockJump(ClockJumpShape),
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CrashShape {
    pub(super) at: Spanned<Ns>,
    pub(super) node: Spanned<i64>,
    pub(super) down: Ns,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CrashAtDiskOpShape {
    pub(super) at: Spanned<Ns>,
    pub(super) node: Spanned<i64>,
    pub(super) nth: Spanned<i64>,
    pub(super) file: Option<AimShape>,
    pub(super) down: Ns,
}

/// The file whose operations are counted; all of them when none is named.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AimShape {
    Manifest,
    Snapshot,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RotShape {
    pub(super) at: Spanned<Ns>,
    pub(super) node: Spanned<i64>,
    pub(super) how: DamageShape,
    pub(super) nth: Spanned<i64>,
}

/// What becomes of a flush.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DamageShape {
    Bit,
    Sector,
    Block,
    Lost,
    Stray,
    Unreadable,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PowerLossShape {
    pub(super) at: Spanned<Ns>,
    pub(super) down: Ns,
    pub(super) apart: Option<Ns>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpanOfNode {
    pub(super) at: Spanned<Ns>,
    pub(super) node: Spanned<i64>,
    #[serde(rename = "for")]
    pub(super) span: Ns,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CutShape {
    pub(super) at: Spanned<Ns>,
    #[serde(rename = "for")]
    pub(super) span: Ns,
    from: Option<Vec<Spanned<EndpointShape>>>,
    to: Option<Vec<Spanned<EndpointShape>>>,
    links: Option<Vec<Spanned<LinkShape>>>,
    #[serde(default)]
    one_way: bool,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LossyShape {
    pub(super) at: Spanned<Ns>,
    #[serde(rename = "for")]
    pub(super) span: Ns,
    pub(super) share: Share,
    from: Option<Vec<Spanned<EndpointShape>>>,
    to: Option<Vec<Spanned<EndpointShape>>>,
    links: Option<Vec<Spanned<LinkShape>>>,
    #[serde(default)]
    one_way: bool,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DropShape {
    pub(super) at: Spanned<Ns>,
    #[serde(rename = "for")]
    pub(super) span: Ns,
    pub(super) kind: Option<Kind>,
    pub(super) from: Option<Spanned<EndpointShape>>,
    pub(super) to: Option<Spanned<EndpointShape>>,
    pub(super) attempts: Option<u32>,
    pub(super) bytes_min: Option<u64>,
    pub(super) count: Option<u32>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClockJumpShape {
    pub(super) at: Spanned<Ns>,
    pub(super) node: Spanned<i64>,
    by: Spanned<String>,
}

/// Which links: from one side to the other, or one by one.
pub(super) struct LinksShape<'a> {
    pub(super) from: Option<&'a [Spanned<EndpointShape>]>,
    pub(super) to: Option<&'a [Spanned<EndpointShape>]>,
    pub(super) links: Option<&'a [Spanned<LinkShape>]>,
    pub(super) one_way: bool,
}

impl CutShape {
    pub(super) fn links(&self) -> LinksShape<'_> {
        LinksShape {
            from: self.from.as_deref(),
            to: self.to.as_deref(),
            links: self.links.as_deref(),
            one_way: self.one_way,
        }
    }
}

impl LossyShape {
    pub(super) fn links(&self) -> LinksShape<'_> {
        LinksShape {
            from: self.from.as_deref(),
            to: self.to.as_deref(),
            links: self.links.as_deref(),
            one_way: self.one_way,
        }
    }
}

impl ClockJumpShape {
    /// How far; a leading minus is back.
    pub(super) fn by(&self) -> Result<i64, Located> {
        let text = self.by.get_ref();
        let (sign, span) = match text.strip_prefix('-') {
            Some(span) => (-1, span),
            None => (1, text.as_str()),
        };
        let ns = parse_span(span).map_err(|error| Located::at(self.by.span(), error))?;
        let ns = i64::try_from(ns)
            .map_err(|_| Located::at(self.by.span(), format!("`{text}` is further than a clock can jump")))?;
        Ok(sign * ns)
    }
}

impl ClusterShape {
    /// Puts what the file says over what is usual.
    pub(super) fn apply(&self, config: &mut WorldConfig) -> Result<(), Located> {
        if let Some(unit) = &self.atomic_unit {
            config.disk.atomic_unit = match unit.get_ref() {
                512 => 512,
                4096 => 4096,
                other => {
                    return Err(Located::at(
                        unit.span(),
                        format!("atomic_unit {other}: 512 or 4096 are allowed"),
                    ));
                }
            };
        }
        put(&mut config.bytes_on_the_wire, self.bytes_on_the_wire);
        put(&mut config.disk.write_ns, self.disk_write.map(|ns| ns.0));
        put(&mut config.disk.read_ns, self.disk_read.map(|ns| ns.0));
        put(&mut config.disk.barrier_ns, self.disk_barrier.map(|ns| ns.0));
        put(&mut config.disk.allocate_ns, self.disk_allocate.or(self.disk_barrier).map(|ns| ns.0));
        put(&mut config.net.delay_ns, self.delay.map(|ns| ns.0));
        put(&mut config.net.loss_ppm, self.loss.map(Share::ppm));
        put(&mut config.net.duplicate_ppm, self.duplicate.map(Share::ppm));
        put(&mut config.clocks.drift_ppm, self.drift_ppm.map(|drift| drift.0));
        put(&mut config.clocks.offset_ns, self.wall_offset.map(|ns| ns.0));
        put(&mut config.engine.segment_bytes, self.segment_bytes);
        put(&mut config.engine.flush_bytes_max, self.flush_bytes_max);
        put(&mut config.engine.flushes_in_flight_max, self.flushes_in_flight.map(Count::get));
        put(&mut config.engine.sealed_segments_target, self.sealed_segments);
        put(&mut config.engine.idle_mark_after, self.idle_mark.map(Ns::nanos));
        put(&mut config.limits.pipeline_entries_max, self.pipeline_entries.map(Count::get));
        put(&mut config.limits.batch_commands_max, self.batch_commands.map(Count::get));
        put(&mut config.limits.batch_bytes_max, self.batch_bytes);
        put(&mut config.limits.command_bytes_max, self.command_bytes);
        put(&mut config.limits.queue_requests_max, self.queue_requests.map(Count::get));
        put(&mut config.limits.repair_entries_max, self.repair_entries.map(Count::get));
        put(&mut config.limits.repair_bytes_max, self.repair_bytes);
        put(&mut config.timeouts.heartbeat, self.heartbeat.map(Ns::nanos));
        put(&mut config.timeouts.primary_silence, self.primary_silence.map(Ns::nanos));
        put(&mut config.timeouts.view_change, self.view_change.map(Ns::nanos));
        put(&mut config.timeouts.resend, self.resend.map(Ns::nanos));
        put(&mut config.timeouts.abdicate, self.abdicate.map(Ns::nanos));
        Ok(())
    }
}

impl ClientsShape {
    /// Puts what the file says over what is usual; who asks is checked by the caller.
    pub(super) fn apply(&self, clients: &mut ClientModel) {
        put(&mut clients.think_ns, self.think.map(|ns| ns.0));
        put(&mut clients.resend_ns, self.resend.map(|ns| ns.0));
        put(&mut clients.give_up_ns, self.give_up.map(|ns| ns.0));
        put(&mut clients.repeat_ppm, self.repeat.map(Share::ppm));
        put(&mut clients.requests_max, self.requests_max);
    }
}

fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// A span such as `"10s"`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ns(pub(super) u64);

impl Ns {
    fn nanos(self) -> Nanos {
        Nanos::from_nanos(self.0)
    }
}

impl<'de> Deserialize<'de> for Ns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match parse_span(&text) {
            Ok(ns) if ns > SPAN_MAX_NS => Err(de::Error::custom(format!("{text}: up to 8760h are allowed"))),
            other => other.map(Self).map_err(de::Error::custom),
        }
    }
}

/// A year: sums of a few of them stay far from the end of time.
const SPAN_MAX_NS: u64 = 8760 * 3600 * SECOND;

/// How much a clock gains or loses at most, in parts per million.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drift(u32);

impl<'de> Deserialize<'de> for Drift {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = i64::deserialize(deserializer)?;
        match u32::try_from(found) {
            Ok(ppm) if ppm <= DRIFT_PPM_MAX => Ok(Self(ppm)),
            _ => Err(de::Error::custom(format!("{found}: 0 to {DRIFT_PPM_MAX} are allowed"))),
        }
    }
}

/// A tenth: worse oscillators are broken ones.
const DRIFT_PPM_MAX: u32 = 100_000;

/// A bound that must allow at least one of its things.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count(u32);

impl Count {
    fn get(self) -> u32 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = i64::deserialize(deserializer)?;
        match u32::try_from(found) {
            Ok(count) if count > 0 => Ok(Self(count)),
            _ => Err(de::Error::custom(format!("{found}: 1 to {} are allowed", u32::MAX))),
        }
    }
}

/// A share from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share(f64);

impl Share {
    /// In parts per million.
    pub(super) fn ppm(self) -> u32 {
        (self.0 * 1e6).round() as u32
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let share = f64::deserialize(deserializer)?;
        if (0.0..=1.0).contains(&share) {
            return Ok(Self(share));
        }
        Err(de::Error::custom(format!("{share} is not a share: 0.0 to 1.0 are allowed")))
    }
}

/// The word of a message's kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind(pub(super) MessageKind);

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const WORDS: &[&str] = &{
            let mut words = [""; MessageKind::WORDS.len()];
            let mut index = 0;
            while index < words.len() {
                words[index] = MessageKind::WORDS[index].1;
                index += 1;
            }
            words
        };
        let word = String::deserialize(deserializer)?;
        let known = MessageKind::WORDS.into_iter().find(|(_, known)| *known == word);
        known.map(|(kind, _)| Self(kind)).ok_or_else(|| de::Error::unknown_variant(&word, WORDS))
    }
}

/// Nodes: how many, or which.
#[derive(Clone, Debug)]
pub(super) enum NodesShape {
    Count(i64),
    Ids(Vec<i64>),
}

impl<'de> Deserialize<'de> for NodesShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = NodesShape;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("how many nodes, or their numbers such as [1, 2, 4]")
            }
            fn visit_i64<E: de::Error>(self, count: i64) -> Result<NodesShape, E> {
                Ok(NodesShape::Count(count))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut numbers: A) -> Result<NodesShape, A::Error> {
                let mut ids = Vec::new();
                while let Some(id) = numbers.next_element()? {
                    ids.push(id);
                }
                Ok(NodesShape::Ids(ids))
            }
        }
        deserializer.deserialize_any(Reads)
    }
}

/// A node by its number, a client as `"c2"`, or all of them as `"clients"`.
#[derive(Clone, Copy, Debug)]
pub(super) enum EndpointShape {
    Node(i64),
    Client(u32),
    Clients,
}

impl<'de> Deserialize<'de> for EndpointShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl Visitor<'_> for Reads {
            type Value = EndpointShape;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a node's number, a client such as \"c2\", or \"clients\"")
            }
            fn visit_i64<E: de::Error>(self, node: i64) -> Result<EndpointShape, E> {
                Ok(EndpointShape::Node(node))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<EndpointShape, E> {
                if text == "clients" {
                    return Ok(EndpointShape::Clients);
                }
                let number = text.strip_prefix('c').and_then(|number| number.parse().ok());
                number
                    .map(EndpointShape::Client)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Reads)
    }
}

/// One link, such as `"1>c2"`.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkShape {
    pub(super) from: EndpointShape,
    pub(super) to: EndpointShape,
}

impl<'de> Deserialize<'de> for LinkShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        fn end(text: &str) -> Option<EndpointShape> {
            match text.strip_prefix('c') {
                Some(client) => client.parse().ok().map(EndpointShape::Client),
                None => text.parse().ok().map(EndpointShape::Node),
            }
        }
        let text = String::deserialize(deserializer)?;
        let ends = text.split_once('>').and_then(|(from, to)| Some((end(from)?, end(to)?)));
        let (from, to) = ends.ok_or_else(|| {
            de::Error::custom(format!("`{text}` is not a link, such as \"1>2\" or \"c3>1\""))
        })?;
        Ok(Self { from, to })
    }
}

/// A seed as a number, or as a string in hex.
fn seed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    struct Reads;
    impl Visitor<'_> for Reads {
        type Value = Option<u64>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a seed: a number, or a string such as \"0x1f\"")
        }
        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Option<u64>, E> {
            u64::try_from(number)
                .map(Some)
                .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<u64>, E> {
            crate::units::parse_seed(text).map(Some).map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Reads)
}
