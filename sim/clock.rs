//! The clocks of one node: both run at the node's own speed; the wall clock is off, and may jump or stand still.

use chronon_core::types::{Monotonic, Now, Wall};

use crate::time::WorldTime;

/// The clocks of one node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SimClock {
    drift_ppm: i32,
    monotonic_origin: u64,
    wall_offset_ns: i64,
    stands: Option<Standstill>,
}

/// The wall clock does not go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Standstill {
    since: WorldTime,
    until: WorldTime,
}

/// What the wall clocks show when a run begins, before any offset: 2026-01-01T00:00:00Z.
const WALL_EPOCH_NS: i128 = 1_767_225_600_000_000_000;
const MILLION: u64 = 1_000_000;

impl SimClock {
    /// Clocks that gain `drift_ppm` microseconds a second, a wall clock off by `wall_offset_ns`, and a monotonic clock
    /// that shows `monotonic_origin` when the run begins.
    pub fn new(drift_ppm: i32, monotonic_origin: u64, wall_offset_ns: i64) -> Self {
        Self { drift_ppm, monotonic_origin, wall_offset_ns, stands: None }
    }

    /// What the clocks show at `at`.
    pub fn now(&self, at: WorldTime) -> Now {
        let elapsed = self.elapsed(at);
        let shown = self.stands.map_or(elapsed, |stands| self.elapsed(stands.since));
        let wall = WALL_EPOCH_NS + shown + i128::from(self.wall_offset_ns);
        Now {
            monotonic: Monotonic::from_nanos(self.monotonic_origin.saturating_add(clamp(elapsed))),
            wall: Wall::from_nanos(clamp(wall)),
        }
    }

    /// The first moment at which the monotonic clock shows `deadline` or more.
    pub fn when(&self, deadline: Monotonic) -> WorldTime {
        let elapsed = deadline.as_nanos().saturating_sub(self.monotonic_origin);
        let speed = MILLION.saturating_add_signed(i64::from(self.drift_ppm));
        // Whole parts and the rest apart, so that no division needs 128 bits. Rounded up: a deadline is never met early.
        let (whole, rest) = (elapsed / speed, elapsed % speed);
        WorldTime::from_nanos(whole.saturating_mul(MILLION).saturating_add((rest * MILLION).div_ceil(speed)))
    }

    /// The wall clock jumps by `by_ns`, forward or back. The monotonic one does not.
    pub fn jump(&mut self, by_ns: i64) {
        self.wall_offset_ns = self.wall_offset_ns.saturating_add(by_ns);
    }

    /// The wall clock stands still from `at` on, until then at least. It may be set meanwhile.
    pub fn freeze(&mut self, at: WorldTime, until: WorldTime) {
        let stands = self.stands.get_or_insert(Standstill { since: at, until });
        stands.until = stands.until.max(until);
    }

    /// The wall clock goes on at `at` from what it shows, unless it stands still for longer.
    pub fn go_on(&mut self, at: WorldTime) {
        let Some(Standstill { since, .. }) = self.stands.take_if(|stands| stands.until <= at) else { return };
        let lost = self.elapsed(at) - self.elapsed(since);
        self.jump(i64::try_from(-lost).unwrap_or(i64::MIN));
    }

    /// Somebody sets the wall clock right at `at`; it drifts on from there.
    pub fn set_right(&mut self, at: WorldTime) {
        self.stands = None;
        let gained = self.elapsed(at) - i128::from(at.as_nanos());
        self.wall_offset_ns = i64::try_from(-gained).unwrap_or(0);
    }

    /// Nanoseconds that the node's own oscillator counted since the run began.
    fn elapsed(&self, at: WorldTime) -> i128 {
        let (at, drift) = (at.as_nanos(), i64::from(self.drift_ppm));
        let (whole, rest) = (at / MILLION, at % MILLION);
        let gained = (rest as i64 * drift).div_euclid(MILLION as i64);
        i128::from(at) + i128::from(whole) * i128::from(drift) + i128::from(gained)
    }
}

fn clamp(ns: i128) -> u64 {
    u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use chronon_core::types::Monotonic;

    use super::SimClock;
    use crate::time::{SECOND, WorldTime};

    #[test]
    fn a_deadline_is_met_exactly_and_never_early() {
        for drift in [-500, -1, 0, 1, 137, 500] {
            let clock = SimClock::new(drift, 5 * SECOND, 0);
            for ns in [1, 999, 1_000_001, 7 * SECOND + 3, 3600 * SECOND + 1] {
                let deadline = Monotonic::from_nanos(5 * SECOND + ns);
                let due = clock.when(deadline);
                assert!(clock.now(due).monotonic >= deadline, "drift {drift}, {ns} ns: too early");
                let before = WorldTime::from_nanos(due.as_nanos() - 1);
                assert!(clock.now(before).monotonic < deadline, "drift {drift}, {ns} ns: too late");
            }
        }
    }

    #[test]
    fn a_jump_moves_the_wall_and_not_the_monotonic_clock() {
        let mut clock = SimClock::new(0, 0, 0);
        let at = WorldTime::from_nanos(10 * SECOND);
        let before = clock.now(at);
        clock.jump(-(3 * SECOND as i64));
        let after = clock.now(at);
        assert_eq!(after.monotonic, before.monotonic);
        assert_eq!(before.wall.as_nanos() - after.wall.as_nanos(), 3 * SECOND);
    }

    #[test]
    fn a_clock_that_stood_still_goes_on_from_what_it_showed() {
        let at = |seconds: u64| WorldTime::from_nanos(seconds * SECOND);
        let mut clock = SimClock::new(200, 9, 0);
        let wall = |clock: &SimClock, seconds| clock.now(at(seconds)).wall.as_nanos();
        let (stood, monotonic) = (wall(&clock, 10), clock.now(at(15)).monotonic);
        clock.freeze(at(10), at(20));
        clock.freeze(at(12), at(14));
        clock.go_on(at(14));
        assert_eq!(wall(&clock, 15), stood, "it was to stand still for longer");
        assert_eq!(clock.now(at(15)).monotonic, monotonic, "the other clock goes on");
        clock.jump(SECOND as i64);
        assert_eq!(wall(&clock, 19), stood + SECOND, "it was set, and stands still");
        clock.go_on(at(20));
        assert_eq!(wall(&clock, 20), stood + SECOND);
        assert_eq!(wall(&clock, 21) - wall(&clock, 20), SECOND + 200_000);
        clock.freeze(at(30), at(40));
        clock.set_right(at(33));
        assert_eq!(wall(&clock, 33), wall(&SimClock::new(0, 0, 0), 33));
        assert!(wall(&clock, 34) > wall(&clock, 33));
    }

    #[test]
    fn a_clock_that_was_set_right_is_right_whatever_it_was_before() {
        let at = WorldTime::from_nanos(1000 * SECOND);
        let mut clock = SimClock::new(500, 3, -(7 * SECOND as i64));
        clock.jump(3600 * SECOND as i64);
        clock.set_right(at);
        assert_eq!(clock.now(at).wall, SimClock::new(0, 0, 0).now(at).wall);
    }

    #[test]
    fn drift_adds_up() {
        let at = WorldTime::from_nanos(1000 * SECOND);
        let fast = SimClock::new(500, 0, 0).now(at).wall.as_nanos();
        let right = SimClock::new(0, 0, 0).now(at).wall.as_nanos();
        assert_eq!(fast - right, SECOND / 2);
    }

    #[test]
    fn a_deadline_in_the_past_is_due_at_once() {
        assert_eq!(SimClock::new(0, 100, 0).when(Monotonic::from_nanos(7)), WorldTime::ZERO);
    }
}
