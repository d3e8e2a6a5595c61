//! What is open on one stream, over all partitions: each partition keeps to its share of the credits, and all of them together to the
//! credits, even where these are fewer than partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use chronon_core::events::MemberId;
use tokio::sync::Notify;
use tokio::time::timeout;

/// The gate of a stream.
#[derive(Debug)]
pub(super) struct Gate {
    credits: usize,
    /// By partition and place in the ready sequence.
    open: Mutex<BTreeSet<(i32, u64)>>,
    changed: Notify,
}

/// The gates of all streams, by the members that they are.
#[derive(Debug, Default)]
pub(super) struct Gates(Mutex<BTreeMap<MemberId, Weak<Gate>>>);

impl Gate {
    /// Waits for room for a delivery. One that was here before has its room.
    pub(super) async fn enter(&self, place: (i32, u64)) {
        loop {
            let changed = self.changed.notified();
            {
                let mut open = lock(&self.open);
                if open.contains(&place) || open.len() < self.credits {
                    open.insert(place);
                    return;
                }
            }
            // What was not settled in time went to another member, and nobody here hears of it.
            if timeout(WAIT, changed).await.is_err() {
                lock(&self.open).pop_first();
            }
        }
    }

    fn leave(&self, place: (i32, u64)) {
        lock(&self.open).remove(&place);
        self.changed.notify_waiters();
    }
}

impl Gates {
    /// The gate of a stream that begins.
    pub(super) fn open(&self, member: MemberId, credits: u32) -> Arc<Gate> {
        let credits = usize::try_from(credits).unwrap_or(usize::MAX);
        let gate = Arc::new(Gate { credits, open: Mutex::default(), changed: Notify::new() });
        let mut gates = lock(&self.0);
        gates.retain(|_, gate| gate.strong_count() > 0);
        gates.insert(member, Arc::downgrade(&gate));
        gate
    }

    /// A delivery of a member was settled.
    pub(super) fn settled(&self, member: MemberId, place: (i32, u64)) {
        let gate = lock(&self.0).get(&member).and_then(Weak::upgrade);
        if let Some(gate) = gate {
            gate.leave(place);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stream that is full for so long makes room for one.
const WAIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chronon_core::events::MemberId;
    use tokio::time::timeout;

    use super::Gates;

    #[tokio::test]
    async fn a_stream_holds_no_more_than_its_credits_until_one_is_settled() {
        let gates = Gates::default();
        let (member, soon) = (MemberId(7), Duration::from_millis(20));
        let gate = gates.open(member, 2);
        gate.enter((1, 1)).await;
        gate.enter((2, 1)).await;
        gate.enter((2, 1)).await;
        assert!(timeout(soon, gate.enter((1, 2))).await.is_err());
        gates.settled(MemberId(8), (1, 1));
        assert!(timeout(soon, gate.enter((1, 2))).await.is_err());
        gates.settled(member, (1, 1));
        gate.enter((1, 2)).await;
    }
}
