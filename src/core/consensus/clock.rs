//! The cluster clock: what a majority of wall clocks agree on (Marzullo 1984, "Maintaining the time in a distributed
//! system"; the same intersection that NTP makes, RFC 5905 section 11.2.1).
//!
//! ```text
//! B's beat   "it is W here; your beat of M I have held for H"
//! A takes it at N: the way there and back took N - M - H, so that B's clock now shows between W and W + (N - M - H)
//! ```
//!
//! Each clock may be off by the tolerance besides, and has drifted since it was heard. The time is in the narrowest
//! interval on which the most clocks agree, and nobody knows it when these are no majority.

use alloc::collections::BTreeMap;

use crate::types::{Monotonic, Nanos, NodeId, Now, Timestamp, Wall};

/// The wall clocks of the peers, as this node heard of them last.
#[derive(Clone, Debug, Default)]
pub struct ClusterClock {
    samples: BTreeMap<NodeId, ClockSample>,
}

/// A peer's wall clock: at `taken` it showed `wall` at least, and at most `round_trip` more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClockSample {
    /// By this node's clock.
    pub taken: Monotonic,
    /// By the peer's.
    pub wall: Wall,
    /// How long the question and the answer were on their way.
    pub round_trip: Nanos,
}

/// How clocks are believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Trust {
    /// A clock may be off by this much, either way; and who is farther away than this cannot tell the time.
    pub tolerance: Nanos,
    /// A sample that is older says nothing.
    pub lasts: Nanos,
}

/// The time is in it, both ends included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Interval {
    /// No earlier than this.
    pub from: Timestamp,
    /// No later than this.
    pub to: Timestamp,
}

impl ClusterClock {
    /// Takes what a beat of `peer` says of its clock; one that was long on its way takes the place of none that still says
    /// more.
    pub fn hear(&mut self, peer: NodeId, sample: ClockSample, trust: Trust) {
        let says_more = |known: &ClockSample| {
            let age = sample.taken.since(known.taken);
            let drifted = Nanos::from_nanos(2 * (age.as_nanos() / DRIFT_ONE_IN));
            age <= trust.lasts
                && known.round_trip.as_nanos() + drifted.as_nanos() < sample.round_trip.as_nanos()
        };
        if !self.samples.get(&peer).is_some_and(says_more) {
            self.samples.insert(peer, sample);
        }
    }

    /// Where the clocks of at least `quorum` of `voters` put the time; none when no so many agree. `me` is this node's own
    /// name among them.
    pub fn interval(
        &self,
        now: Now,
        (me, voters): (NodeId, &[NodeId]),
        quorum: u32,
        trust: Trust,
    ) -> Option<Interval> {
        let sources = || voters.iter().filter_map(|voter| self.source(now, *voter, me, trust));
        let mut best: Option<(u32, Interval)> = None;
        for Interval { from, .. } in sources() {
            let agreeing = || sources().filter(|other| other.from <= from && from <= other.to);
            let count = agreeing().map(|_| 1).sum();
            let Some(to) = agreeing().map(|other| other.to).min() else { continue };
            let width = |interval: &Interval| interval.to.as_nanos() - interval.from.as_nanos();
            let candidate = Interval { from, to };
            let is_better = best.is_none_or(|(most, narrowest)| {
                count > most || count == most && width(&candidate) < width(&narrowest)
            });
            if is_better {
                best = Some((count, candidate));
            }
        }
        best.filter(|(count, _)| *count >= quorum).map(|(_, interval)| interval)
    }

    /// Where one clock puts the time.
    fn source(&self, now: Now, voter: NodeId, me: NodeId, trust: Trust) -> Option<Interval> {
        let (wall, round_trip, age) = if voter == me {
            (now.wall, 0, 0)
        } else {
            let sample = self.samples.get(&voter)?;
            let age = now.monotonic.since(sample.taken).as_nanos();
            (sample.wall, sample.round_trip.as_nanos(), age)
        };
        if age > trust.lasts.as_nanos() || round_trip > trust.tolerance.as_nanos() {
            return None;
        }
        let off = trust.tolerance.as_nanos().saturating_add(age / DRIFT_ONE_IN);
        let shown = wall.as_nanos().saturating_add(age);
        Some(Interval {
            from: Timestamp::from_nanos(shown.saturating_sub(off)),
            to: Timestamp::from_nanos(shown.saturating_add(round_trip).saturating_add(off)),
        })
    }
}

impl Interval {
    /// What in it is nearest to what a clock shows.
    pub fn nearest(&self, wall: Wall) -> Timestamp {
        Timestamp::from_nanos(wall.as_nanos()).clamp(self.from, self.to)
    }
}

/// Two clocks drift apart by no more than a nanosecond in so many: one thousand parts per million, which quartz is far from.
const DRIFT_ONE_IN: u64 = 1000;

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::{ClockSample, ClusterClock, Interval, Trust};
    use crate::types::{Monotonic, Nanos, NodeId, Now, Timestamp, Wall};

    const MS: u64 = 1_000_000;
    const TRUST: Trust = Trust { tolerance: Nanos::from_millis(10), lasts: Nanos::from_millis(1000) };

    /// This is node 1, which shows 100 s; the others showed these many milliseconds more, or less, just now, two
    /// milliseconds of round trip away.
    fn clock(others_ms: &[i64]) -> (ClusterClock, Now, Vec<NodeId>) {
        let now = Now { monotonic: Monotonic::from_nanos(7 * MS), wall: Wall::from_nanos(100_000 * MS) };
        let mut clock = ClusterClock::default();
        for (peer, ms) in (2..).zip(others_ms) {
            let wall = Wall::from_nanos((100_000 * MS).saturating_add_signed(ms * 1_000_000));
            let sample = ClockSample { taken: now.monotonic, wall, round_trip: Nanos::from_millis(2) };
            clock.hear(NodeId::new(peer), sample, TRUST);
        }
        let voters = (1..2 + u64::try_from(others_ms.len()).expect("few")).map(NodeId::new).collect();
        (clock, now, voters)
    }

    fn interval(others_ms: &[i64], quorum: u32) -> Option<Interval> {
        let (clock, now, voters) = clock(others_ms);
        clock.interval(now, (NodeId::new(1), &voters), quorum, TRUST)
    }

    fn ms(from: i64, to: i64) -> Option<Interval> {
        let at = |ms: i64| Timestamp::from_nanos((100_000 * MS).saturating_add_signed(ms * 1_000_000));
        Some(Interval { from: at(from), to: at(to) })
    }

    #[test]
    fn a_clock_alone_is_its_own_majority() {
        assert_eq!(interval(&[], 1), ms(-10, 10));
    }

    #[test]
    fn the_time_is_where_the_most_clocks_overlap() {
        assert_eq!(interval(&[5, -5], 2), ms(-5, 7));
        assert_eq!(interval(&[15, 19], 2), ms(9, 10), "all three");
    }

    #[test]
    fn one_clock_far_off_is_outvoted_also_when_it_is_ones_own() {
        assert_eq!(interval(&[5, 3_600_000], 2), ms(-5, 10));
        let far = interval(&[3_600_000, 3_600_004], 2).expect("two agree");
        assert_eq!(Some(far), ms(3_599_994, 3_600_012));
        let own = Wall::from_nanos(100_000 * MS);
        assert_eq!(far.nearest(own), far.from, "the own clock is an hour behind");
    }

    #[test]
    fn without_a_majority_nobody_knows_the_time() {
        assert_eq!(interval(&[60, -60], 2), None);
        assert_eq!(interval(&[60], 2), None);
        assert_eq!(interval(&[0, 60, 61, 120], 3), None, "two and two agree");
    }

    #[test]
    fn what_was_heard_long_ago_says_nothing_and_what_was_heard_a_while_ago_says_less() {
        let (clock, now, voters) = clock(&[0, 0]);
        let later = |ms| {
            let at = Now {
                monotonic: now.monotonic.after(Nanos::from_millis(ms)),
                wall: Wall::from_nanos(now.wall.as_nanos() + ms * MS + 3_600_000 * MS),
            };
            clock.interval(at, (NodeId::new(1), &voters), 2, TRUST)
        };
        let width = |interval: Interval| interval.to.as_nanos() - interval.from.as_nanos();
        assert_eq!(later(0).map(width), Some(22 * MS));
        assert_eq!(later(500).map(width), Some(23 * MS), "half a millisecond either way");
        assert_eq!(later(1001), None);
    }

    #[test]
    fn a_sample_that_was_long_on_its_way_displaces_none_that_says_more() {
        let (mut clock, now, voters) = clock(&[0]);
        let after = |ms| now.monotonic.after(Nanos::from_millis(ms));
        let hear = |clock: &mut ClusterClock, ms: u64, round_trip| {
            let wall = Wall::from_nanos((100_000 + ms) * MS);
            let sample = ClockSample { taken: after(ms), wall, round_trip: Nanos::from_millis(round_trip) };
            clock.hear(NodeId::new(2), sample, TRUST);
            clock.samples[&NodeId::new(2)] == sample
        };
        assert!(!hear(&mut clock, 400, 3));
        assert!(hear(&mut clock, 600, 3), "by now it says no less");
        assert!(!hear(&mut clock, 700, 11));
        assert!(hear(&mut clock, 1601, 11), "the other one is too old");
        let at = Now { monotonic: after(1601), wall: Wall::from_nanos(101_601 * MS) };
        assert_eq!(clock.interval(at, (NodeId::new(1), &voters), 2, TRUST), None, "it is too far away");
    }

    #[test]
    fn clocks_at_the_ends_of_time_are_clocks() {
        let mut clock = ClusterClock::default();
        let far = ClockSample {
            wall: Wall::from_nanos(u64::MAX),
            ..ClockSample { taken: Monotonic::default(), wall: Wall::default(), round_trip: Nanos::default() }
        };
        clock.hear(NodeId::new(2), far, TRUST);
        let now = Now::default();
        let voters = [NodeId::new(1), NodeId::new(2)];
        assert_eq!(clock.interval(now, (NodeId::new(1), &voters), 2, TRUST), None);
    }
}
