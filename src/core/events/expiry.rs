//! Events that are of no use from some time on. From then on none is delivered: whoever has not settled it never will.

use crate::events::agenda::{Agenda, Alarm};
use crate::events::group::Place;
use crate::events::ids::Fate;
use crate::events::partition::Partition;

impl Partition {
    /// An event that is ready is of no use any more. Its alarm has been taken.
    pub(in crate::events) fn expire(&mut self, seq: u64, agenda: &mut Agenda) {
        self.backlog.expires_no_more(seq);
        self.expire_for_all(seq, false, agenda);
    }

    /// Ends an event for all groups that have not settled it; and for those of which it is a dead letter, if those go too.
    pub(in crate::events) fn expire_for_all(&mut self, seq: u64, letters_too: bool, agenda: &mut Agenda) {
        let Some(ready) = self.backlog.get(seq).copied().filter(|ready| !ready.expired || letters_too) else {
            return;
        };
        let (topic, key) = (self.number, ready.record.key);
        let mut ended = 0;
        for (number, group) in
            self.groups.iter_mut().filter(|(_, group)| group.is_for(seq) && !group.leaves())
        {
            let dropped = if letters_too { group.drop_letter(seq) } else { None };
            let expires = dropped.is_none() && !ready.expired;
            let expired =
                expires.then(|| group.expire(Place { topic, group: *number }, seq, key, agenda)).flatten();
            ended += u32::from(dropped.or(expired).is_some());
        }
        if let Some(at) = ready.expires {
            agenda.clear(at, Alarm::Expires { topic, seq });
        }
        self.backlog.expire(seq, ended);
        let has_missed_some = ended > 0 || self.groups_for(seq) == 0;
        if has_missed_some {
            self.ids.moved(ready.record.name, ready.record.offset, Fate::Expired { seq });
        }
        self.backlog.end_settled_by(seq, self.groups_that_hold(seq));
    }
}
