//! How a topic that was deleted ends here: it lets go of what it has, no more than one entry may. Nobody can name it any more, and its
//! name may belong to another topic already.

use crate::events::BATCH_MAX;
use crate::events::agenda::{Agenda, Alarm};
use crate::events::command::EventsAnswer;
use crate::events::group::Moment;
use crate::events::partition::Partition;
use crate::types::u64_of;

impl Partition {
    /// Nothing is due any more, and nothing is granted.
    pub(in crate::events) fn close(&mut self, moment: Moment, agenda: &mut Agenda) -> EventsAnswer {
        let topic = self.number;
        if let Some(at) = self.schedule.next() {
            agenda.clear(at, Alarm::Due { topic });
        }
        self.clear_retain_alarm(agenda);
        self.forget_schedules(agenda);
        let dead = self.present().map(|(_, group)| u64_of(group.counts().dead)).sum();
        let answer = EventsAnswer::Closed { scheduled: self.schedule.len(), ready: self.backlog.len(), dead };
        self.set_close_alarm(moment, agenda);
        answer
    }

    /// Lets go of as much as one entry may. The alarm has been taken; it is set again when there is more, and else nothing is left.
    pub(in crate::events) fn close_further(&mut self, moment: Moment, agenda: &mut Agenda) {
        self.closes = None;
        let mut left = LET_GO_AT_ONCE;
        while left > 0 {
            let ended =
                self.end_first_group(left, agenda).unwrap_or_else(|| u64::from(self.forget_one(agenda)));
            if ended == 0 {
                return;
            }
            left -= ended.min(left);
        }
        self.set_close_alarm(moment, agenda);
    }

    fn set_close_alarm(&mut self, moment: Moment, agenda: &mut Agenda) {
        let at = moment.now.next();
        self.closes = Some(at);
        agenda.set(at, Alarm::Close { topic: self.number });
    }

    /// Ends deliveries of the first group, or the group once it has none; how much that was. None when there is no group.
    fn end_first_group(&mut self, most: u64, agenda: &mut Agenda) -> Option<u64> {
        let number = *self.groups.first_key_value()?.0;
        let place = self.place(number);
        let group = self.groups.get_mut(&number)?;
        let ended = group.end_deliveries(place, most, agenda);
        if ended == 0 {
            group.forget_members(place, agenda);
            group.clear_alarm(place, agenda);
            self.groups.remove(&number);
        }
        Some(ended.max(1))
    }

    /// Forgets one event, or one name; whether there was any.
    fn forget_one(&mut self, agenda: &mut Agenda) -> bool {
        if let Some((seq, ready)) = self.backlog.forget_oldest() {
            if let Some(at) = ready.expires {
                agenda.clear(at, Alarm::Expires { topic: self.number, seq });
            }
            return true;
        }
        self.schedule.forget_next() || self.expiries.pop_first().is_some() || self.ids.forget_any()
    }
}

/// What a topic lets go of in one entry.
const LET_GO_AT_ONCE: u64 = BATCH_MAX;
