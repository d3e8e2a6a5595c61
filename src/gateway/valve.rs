//! What may be posted to an endpoint, and when: no faster than its rate, and not while its receiver is down.
//!
//! ```text
//! closed --failures in a row--> open --its rest is over--> half-open --the one that was let through is taken--> closed
//!                                 ^                            |
//!                                 '----- it fails as well -----'  and rests twice as long
//! ```
//!
//! The rate is that of a bucket which holds a tenth of a second. Time is that since any moment, told by who asks.

use std::time::Duration;

/// The valve of an endpoint at one node.
#[derive(Clone, Debug)]
pub(super) struct Valve {
    /// Opens the circuit; zero is never.
    failures_max: u32,
    /// Between two posts; zero is as fast as they come.
    interval: Duration,
    /// When the next post would be, if all came evenly.
    next: Duration,
    failures: u32,
    rest: Duration,
    circuit: Circuit,
}

/// Whether the receiver is taken to be there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Circuit {
    /// It is.
    Closed,
    /// It is left alone until then.
    Open { until: Duration },
    /// One is let through to see. Nothing is known of that one after this, and the next may try.
    HalfOpen { until: Duration },
}

/// Whether one may be posted now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Entry {
    /// It may. A probe is the one that is let through to see.
    Go { is_probe: bool },
    /// Not before this.
    Wait(Duration),
}

impl Valve {
    /// Opens the circuit after so many failures in a row, never if that is zero.
    pub(super) fn new(failures_max: u32) -> Self {
        let (next, interval) = (Duration::ZERO, Duration::ZERO);
        Self { failures_max, interval, next, failures: 0, rest: REST_MIN, circuit: Circuit::Closed }
    }

    /// So many may be posted in a second, by all who post; this one posts of so many partitions out of so many. Zero is without bound.
    pub(super) fn set_rate(&mut self, rate: u32, (own, all): (usize, usize)) {
        let (own, all) = (u128::try_from(own).unwrap_or(1), u128::try_from(all).unwrap_or(1));
        let nanos = (NANOS_PER_S * all).checked_div(u128::from(rate) * own).unwrap_or_default();
        self.interval = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    }

    /// Whether one may be posted now. It has `patience` until something is to be known of it.
    pub(super) fn enter(&mut self, now: Duration, patience: Duration) -> Entry {
        match self.circuit {
            Circuit::Open { until } | Circuit::HalfOpen { until } if now < until => {
                return Entry::Wait(until - now);
            }
            Circuit::Closed | Circuit::Open { .. } | Circuit::HalfOpen { .. } => {}
        }
        let at = self.next.max(now);
        if at > now + BURST {
            return Entry::Wait(at - now - BURST);
        }
        self.next = at + self.interval;
        let is_probe = self.circuit != Circuit::Closed;
        if is_probe {
            self.circuit = Circuit::HalfOpen { until: now + patience };
        }
        Entry::Go { is_probe }
    }

    /// The receiver has answered: it is there, whatever it said.
    pub(super) fn answered(&mut self) {
        (self.failures, self.rest, self.circuit) = (0, REST_MIN, Circuit::Closed);
    }

    /// A post has failed. Those that were on their way when the circuit opened say nothing new.
    pub(super) fn failed(&mut self, now: Duration, is_probe: bool) {
        self.failures = self.failures.saturating_add(1);
        let opens = match self.circuit {
            Circuit::Closed => self.failures_max > 0 && self.failures >= self.failures_max,
            Circuit::HalfOpen { .. } => is_probe,
            Circuit::Open { .. } => false,
        };
        if opens {
            self.circuit = Circuit::Open { until: now + self.rest };
            self.rest = (self.rest * 2).min(REST_MAX);
        }
    }

    /// So many deliveries are worth having at once, out of `most`: none for a receiver that is left alone, one to see whether it is
    /// there, and no more than can be posted before long. And when that changes by itself.
    pub(super) fn credits(&self, now: Duration, most: u32) -> (u32, Option<Duration>) {
        match self.circuit {
            Circuit::Closed => {
                let soon = HELD.as_nanos().checked_div(self.interval.as_nanos());
                let soon = soon.map_or(u32::MAX, |soon| u32::try_from(soon).unwrap_or(u32::MAX));
                (most.min(soon.max(1)), None)
            }
            Circuit::Open { until } if now < until => (0, Some(until - now)),
            Circuit::Open { .. } | Circuit::HalfOpen { .. } => (1, None),
        }
    }

    pub(super) fn circuit(&self) -> Circuit {
        self.circuit
    }

    /// Failures since the receiver answered last.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

/// A receiver is left alone for so long at first,
const REST_MIN: Duration = Duration::from_secs(1);
/// and never for longer.
const REST_MAX: Duration = Duration::from_secs(300);
/// Of what the rate allows, so much may be posted at once.
const BURST: Duration = Duration::from_millis(100);
/// What is to be posted within this may be in hand already.
const HELD: Duration = Duration::from_secs(5);
const NANOS_PER_S: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Circuit, Entry, Valve};

    const GO: Entry = Entry::Go { is_probe: false };
    const PROBE: Entry = Entry::Go { is_probe: true };
    const PATIENCE: Duration = Duration::from_secs(10);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A valve of two failures that have been.
    fn open() -> Valve {
        let mut valve = Valve::new(2);
        for _ in 0..2 {
            assert_eq!(valve.enter(ms(0), PATIENCE), GO);
            valve.failed(ms(0), false);
        }
        valve
    }

    #[test]
    fn failures_in_a_row_open_the_circuit_and_one_answer_between_does_not() {
        let mut valve = Valve::new(2);
        for _ in 0..5 {
            valve.failed(ms(0), false);
            valve.answered();
        }
        assert_eq!((valve.circuit(), valve.credits(ms(0), 8)), (Circuit::Closed, (8, None)));
        let mut valve = open();
        assert_eq!(valve.enter(ms(400), PATIENCE), Entry::Wait(ms(600)));
        assert_eq!(valve.credits(ms(400), 8), (0, Some(ms(600))));
    }

    #[test]
    fn one_is_let_through_to_see_and_what_it_finds_counts() {
        let mut valve = open();
        assert_eq!(valve.credits(ms(1000), 8), (1, None));
        assert_eq!(valve.enter(ms(1000), PATIENCE), PROBE);
        assert_eq!(valve.enter(ms(1001), PATIENCE), Entry::Wait(ms(9999)), "there is one already");
        valve.failed(ms(1500), true);
        assert_eq!(valve.circuit(), Circuit::Open { until: ms(3500) }, "twice as long");
        assert_eq!(valve.enter(ms(3500), PATIENCE), PROBE);
        valve.answered();
        assert_eq!((valve.enter(ms(3501), PATIENCE), valve.failures()), (GO, 0));
        valve.failed(ms(3600), false);
        valve.failed(ms(3600), false);
        assert_eq!(valve.circuit(), Circuit::Open { until: ms(4600) }, "it begins anew");
    }

    #[test]
    fn what_was_on_its_way_says_nothing_new_unless_it_is_taken() {
        let mut valve = open();
        let before = valve.circuit();
        valve.failed(ms(500), false);
        assert_eq!(valve.circuit(), before);
        assert_eq!(valve.enter(ms(1000), PATIENCE), PROBE);
        valve.failed(ms(1100), false);
        assert_eq!(valve.circuit(), Circuit::HalfOpen { until: ms(11_000) });
        valve.answered();
        assert_eq!(valve.circuit(), Circuit::Closed);
    }

    #[test]
    fn a_probe_of_which_nothing_is_heard_is_followed_by_another() {
        let mut valve = open();
        assert_eq!(valve.enter(ms(1000), PATIENCE), PROBE);
        assert_eq!(valve.enter(ms(11_000), PATIENCE), PROBE);
    }

    #[test]
    fn nobody_is_left_alone_for_longer_than_five_minutes_nor_at_all_when_no_number_is_said() {
        let mut valve = open();
        let mut now = ms(0);
        for _ in 0..20 {
            let (_, rest) = valve.credits(now, 8);
            now += rest.expect("it is open");
            assert!(rest <= Some(ms(300_000)), "{rest:?}");
            assert_eq!(valve.enter(now, PATIENCE), PROBE);
            valve.failed(now, true);
        }
        let mut never = Valve::new(0);
        (0..1000).for_each(|_| never.failed(ms(0), false));
        assert_eq!(never.circuit(), Circuit::Closed);
    }

    #[test]
    fn a_rate_is_kept_over_any_second_but_for_a_tenth_of_it() {
        let mut valve = Valve::new(0);
        valve.set_rate(50, (1, 1));
        let mut posted = Vec::new();
        for at in 0..3000 {
            while valve.enter(ms(at), PATIENCE) == GO {
                posted.push(at);
            }
        }
        for from in 0..2000 {
            let count = posted.iter().filter(|at| (from..from + 1000).contains(*at)).count();
            assert!((49..=57).contains(&count), "{count} in the second from {from} ms");
        }
        assert_eq!(valve.credits(ms(0), 1000), (250, None));
        assert!(matches!(valve.enter(ms(2999), PATIENCE), Entry::Wait(_)));
    }

    #[test]
    fn who_posts_of_some_partitions_has_their_share_of_the_rate() {
        let mut valve = Valve::new(0);
        valve.set_rate(30, (1, 3));
        let posted = (0..10_000).filter(|at| valve.enter(ms(*at), PATIENCE) == GO).count();
        assert!((100..=102).contains(&posted), "{posted} in ten seconds");
        valve.set_rate(0, (1, 3));
        assert!((0..1000).all(|_| valve.enter(ms(20_000), PATIENCE) == GO));
    }
}
