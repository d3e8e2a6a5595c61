//! Room for what lasts: streams that hold something at the node for as long as their clients stay.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::topics::Refused;

/// So many of a kind at once, and no more.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    what: &'static str,
    max: usize,
    free: Arc<Semaphore>,
}

/// Room for one or some; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    pub(super) fn new(what: &'static str, max: usize) -> Self {
        Self { what, max, free: Arc::new(Semaphore::new(max)) }
    }

    /// Room for one more, if there is any.
    pub(super) fn slot(&self) -> Result<Slot, Refused> {
        self.slots(1)
    }

    /// Room for so many more, if there is for all of them.
    pub(super) fn slots(&self, count: usize) -> Result<Slot, Refused> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.free).try_acquire_many_owned(count);
        let refused = |_| {
            Refused::Overloaded(format!(
                "there are {} {} here already; try another node",
                self.max, self.what
            ))
        };
        permit.map(|permit| Slot { _permit: permit }).map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;

    #[test]
    fn what_there_is_no_room_for_is_refused_by_name_until_there_is() {
        let slots = Slots::new("watchers", 3);
        let (first, _second) = (slots.slot().expect("room"), slots.slots(2).expect("room"));
        let refused = slots.slot().expect_err("no room").to_string();
        assert!(refused.contains("3 watchers"), "{refused}");
        drop(first);
        assert!(slots.slots(2).is_err());
        assert!(slots.slot().is_ok());
    }
}
