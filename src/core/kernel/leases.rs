//! Side effects that workers pull: soft state of a primary, beside what it has pushed to executors.
//!
//! ```text
//! offered --claim--> leased --end--> told to the log --applied--> the worker is told that it is recorded
//!    ^                 | ^ |
//!    |                 | '-' renew
//!    '---- rests <-----' the lease ends: a failed attempt
//! ```
//!
//! What nobody claims waits, fails no attempt, and counts among what has not ended: a queue without workers holds its group up once
//! there is too much of it. A lease is a promise of the primary alone: whoever leads next grants anew, under a
//! higher token, and who comes back with the old one is told so.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::kernel::authority::FencingToken;
use crate::kernel::outbox::Outbox;
use crate::kernel::side_effect::{AttemptResult, Place, Report};
use crate::types::{Blob, Mark, Marks, Monotonic, Nanos};

/// A lease is no longer.
pub const LEASE_MAX: Nanos = Nanos::from_secs(3600);
/// Nor shorter.
pub const LEASE_MIN: Nanos = Nanos::from_millis(100);

/// Which attempt a worker speaks of.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Held {
    /// Which side effect.
    pub place: Place,
    /// Which attempt.
    pub number: u32,
    /// Under which token it was granted.
    pub token: FencingToken,
}

notation_struct!("held" => Held { place, number, token });

/// Who waits to hear that an end is recorded: the node's words for a connection and a request on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Caller {
    /// The connection.
    pub route: u64,
    /// The request.
    pub number: u64,
}

/// What workers may have, and what they have.
#[derive(Clone, Debug, Default)]
pub(in crate::kernel) struct Leases {
    /// By queue: from when on each may be claimed.
    offered: BTreeMap<String, BTreeSet<(Monotonic, Place)>>,
    leased: BTreeMap<Place, Lease>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    number: u32,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// A worker has it, until then.
    Held(Monotonic),
    /// It ended, and the outbox is yet to hear of it; this worker waits for that.
    Ended(Option<Caller>),
}

impl Leases {
    /// A side effect may be claimed from `at` on.
    pub(in crate::kernel) fn offer(&mut self, queue: &str, at: Monotonic, place: Place) {
        match self.offered.get_mut(queue) {
            Some(offered) => offered.insert((at, place)),
            None => self.offered.entry(queue.to_string()).or_default().insert((at, place)),
        };
    }

    /// The next of a queue that may be claimed now.
    pub(in crate::kernel) fn claim(&mut self, now: Monotonic, queue: &str) -> Option<Place> {
        let offered = self.offered.get_mut(queue)?;
        let (_, place) = *offered.first().filter(|(at, _)| *at <= now)?;
        offered.pop_first();
        if offered.is_empty() {
            self.offered.remove(queue);
        }
        Some(place)
    }

    pub(in crate::kernel) fn hold(&mut self, place: Place, number: u32, until: Monotonic) {
        self.leased.insert(place, Lease { number, state: State::Held(until) });
    }

    pub(in crate::kernel) fn is_leased(&self, place: Place) -> bool {
        self.leased.contains_key(&place)
    }

    /// A worker needs more time.
    ///
    /// # Errors
    /// Why it holds no such lease.
    pub(in crate::kernel) fn renew(&mut self, held: Held, until: Monotonic) -> Result<(), String> {
        self.held(held)?.state = State::Held(until);
        Ok(())
    }

    /// A worker has ended an attempt.
    ///
    /// # Errors
    /// Why it holds no such lease.
    pub(in crate::kernel) fn end(
        &mut self,
        held: Held,
        result: AttemptResult,
        caller: Caller,
    ) -> Result<Report, String> {
        self.held(held)?.state = State::Ended(Some(caller));
        Ok(Report { place: held.place, attempt: held.number, result })
    }

    fn held(&mut self, Held { place, number, .. }: Held) -> Result<&mut Lease, String> {
        match self.leased.get_mut(&place) {
            Some(lease) if lease.number == number && matches!(lease.state, State::Held(_)) => Ok(lease),
            Some(lease) if lease.number == number => {
                Err(format!("attempt {number} has ended already, by its worker or with its lease"))
            }
            Some(lease) => Err(format!("attempt {} is under way, and not {number}", lease.number)),
            None => {
                Err(format!("attempt {number} is under way no more: its lease or the side effect has ended"))
            }
        }
    }

    /// Leases that were not renewed end as failed attempts.
    pub(in crate::kernel) fn expire(
        &mut self,
        now: Monotonic,
        reports: &mut Vec<Report>,
        marks: &mut impl Marks,
    ) {
        for (place, lease) in &mut self.leased {
            if let State::Held(until) = lease.state
                && until <= now
            {
                marks.hit(Mark::LeaseExpired);
                lease.state = State::Ended(None);
                let result =
                    AttemptResult::Failed { why: Blob::from(NOT_RENEWED.to_vec()), rest: Nanos::default() };
                reports.push(Report { place: *place, attempt: lease.number, result });
            }
        }
    }

    /// Forgets the leases whose ends the outbox knows: `recorded` takes who waits for them, `again` what is to be tried again.
    pub(in crate::kernel) fn settle(
        &mut self,
        outbox: &Outbox,
        recorded: &mut Vec<Caller>,
        again: &mut Vec<Place>,
    ) {
        self.leased.retain(|place, lease| {
            let intent = outbox.get(*place);
            if intent.is_some_and(|intent| intent.failures < lease.number) {
                return true;
            }
            if let State::Ended(Some(caller)) = lease.state {
                recorded.push(caller);
            }
            again.extend(intent.map(|_| *place));
            false
        });
    }

    /// Everybody who waits to hear that an end is recorded.
    pub(in crate::kernel) fn waiting(&self) -> impl Iterator<Item = Caller> {
        self.leased.values().filter_map(|lease| match lease.state {
            State::Ended(caller) => caller,
            State::Held(_) => None,
        })
    }

    /// When the next lease ends.
    pub(in crate::kernel) fn deadline(&self) -> Option<Monotonic> {
        let until = |lease: &Lease| match lease.state {
            State::Held(until) => Some(until),
            State::Ended(_) => None,
        };
        self.leased.values().filter_map(until).min()
    }
}

const NOT_RENEWED: &[u8] = b"the lease of the worker ended";
