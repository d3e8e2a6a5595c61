//! The values of a scenario file, as they are written.

use std::fmt;

use chronon_core::types::Nanos;
use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::net::MessageKind;
use crate::oracle::EventFate;
use crate::plan::{Aim, Damage, Misread};
use crate::sink::Verdict;
use crate::time::SECOND;
use crate::units::parse_span;

/// A span such as `"10s"`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ns(pub(super) u64);

impl Ns {
    pub(super) fn nanos(self) -> Nanos {
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
pub(super) struct Drift(pub(super) u32);

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
    pub(super) fn get(self) -> u32 {
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

/// A word of a fixed set.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Word<T>(pub(super) T);

/// What a word can stand for.
pub(super) trait Words: Copy + 'static {
    /// Each with its word.
    const WORDS: &'static [(Self, &'static str)];
}

impl Words for MessageKind {
    const WORDS: &'static [(Self, &'static str)] = &Self::WORDS;
}

impl Words for Verdict {
    const WORDS: &'static [(Self, &'static str)] = &Self::WORDS;
}

impl Words for EventFate {
    const WORDS: &'static [(Self, &'static str)] = &Self::WORDS;
}

impl Words for Damage {
    const WORDS: &'static [(Self, &'static str)] = &Self::WORDS;
}

impl Words for Aim {
    const WORDS: &'static [(Self, &'static str)] = &Self::WORDS;
}

impl Words for Misread {
    const WORDS: &'static [(Self, &'static str)] = &Self::WORDS;
}

impl<'de, T: Words> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = String::deserialize(deserializer)?;
        let known = T::WORDS.iter().find(|(_, word)| *word == found);
        known.map(|(what, _)| Self(*what)).ok_or_else(|| {
            let allowed: Vec<_> = T::WORDS.iter().map(|(_, word)| format!("`{word}`")).collect();
            de::Error::custom(format!("unknown variant `{found}`, expected one of {}", allowed.join(", ")))
        })
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
pub(super) fn seed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
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
