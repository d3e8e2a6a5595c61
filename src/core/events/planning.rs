//! How a partition sees to its recurring schedules.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::events::agenda::{Agenda, Alarm};
use crate::events::command::{EventName, EventsAnswer, NewEvent, Published, Rule, Stored};
use crate::events::error::{EventsError, check_name};
use crate::events::group::Moment;
use crate::events::partition::Partition;
use crate::events::recurring::{
    Plan, RECURRING_PAYLOAD_BYTES_MAX, Recurring, SCHEDULE_NAME_BYTES_MAX, SCHEDULES_MAX,
};
use crate::events::schedule::at_ms;
use crate::types::u64_of;

impl Partition {
    /// Makes a schedule, or changes one.
    ///
    /// # Errors
    /// When there may be none such.
    pub(in crate::events) fn recur(
        &mut self,
        name: String,
        rule: Rule,
        (event, made): (&NewEvent, Stored),
        moment: Moment,
        agenda: &mut Agenda,
    ) -> Result<EventsAnswer, EventsError> {
        check_name("a schedule's name", &name)?;
        if u64_of(name.len()) > SCHEDULE_NAME_BYTES_MAX {
            let allowed = format!("1 to {SCHEDULE_NAME_BYTES_MAX} bytes long");
            return Err(EventsError::OutOfRange { what: "a schedule's name".into(), allowed });
        }
        rule.check()?;
        if u64_of(event.payload.as_slice().len()) > RECURRING_PAYLOAD_BYTES_MAX {
            let allowed = format!("{RECURRING_PAYLOAD_BYTES_MAX} bytes at most");
            return Err(EventsError::OutOfRange { what: "the payload of a schedule".into(), allowed });
        }
        let known = self.schedule_named(&name).ok();
        if known.is_none() && u64_of(self.recurring.len()) >= u64::from(SCHEDULES_MAX) {
            return Err(EventsError::TooMany { what: "schedules of the topic".into(), max: SCHEDULES_MAX });
        }
        let withdrawn = known.map(|number| self.withdraw(number, agenda)).unwrap_or_default();
        let number = known.unwrap_or_else(|| self.recurring.last_key_value().map_or(1, |(last, _)| last + 1));
        let (revision, until_ms) = (moment.op, now_ms(moment));
        let recurring = Recurring {
            name,
            rule,
            made,
            revision,
            until_ms,
            is_paused: false,
            planned: Vec::new(),
            wants_at: None,
        };
        self.recurring.insert(number, recurring);
        agenda.want_plan(self.number, number);
        Ok(EventsAnswer::Recurs { revision, until_ms, withdrawn })
    }

    /// Takes the next occurrences.
    ///
    /// # Errors
    /// When they are not the next ones of this schedule as it is.
    pub(in crate::events) fn occur(
        &mut self,
        name: &str,
        plan: Plan,
        (events, stored): (&[NewEvent], impl Fn(u32) -> Stored),
        moment: Moment,
        agenda: &mut Agenda,
    ) -> Result<EventsAnswer, EventsError> {
        let number = self.schedule_named(name)?;
        let known = self.recurring.get(&number).filter(|known| {
            known.wants_plan()
                && known.revision == plan.revision
                && known.until_ms == plan.after_ms
                && plan.until_ms > plan.after_ms
        });
        if known.is_none() {
            return Err(EventsError::StalePlan(name.into()));
        }
        let mut published = Vec::with_capacity(events.len());
        let (mut planned, mut dues) = (Vec::new(), Vec::new());
        for (item, event) in (0..).zip(events) {
            // A schedule that was paused, or changed, may mean an instant again that it had taken back.
            self.ids.forget_cancelled(&event.name);
            let result = self.publish(event, stored(item), moment, agenda);
            if let Published::Accepted { due_ms, .. } = result {
                planned.push(event.name.clone());
                dues.push(due_ms);
            }
            published.push(result);
        }
        dues.sort_unstable();
        // With half of them over there is time to plan the next; of a rule that has no more instants nothing is ever wanted.
        let half = dues.get(dues.len() / 2).copied().unwrap_or(plan.until_ms);
        let wants_at = (plan.until_ms < i64::MAX).then(|| at_ms(half).max(moment.now.next()));
        if let Some(at) = wants_at {
            agenda.set(at, Alarm::Plan { topic: self.number, schedule: number });
        }
        agenda.want_no_plan(self.number, number);
        if let Some(known) = self.recurring.get_mut(&number) {
            // What of the plan before is not due yet may have to be taken back as well.
            let before = core::mem::take(&mut known.planned);
            let keeps = |name: &EventName| self.ids.is_scheduled(name);
            known.planned = before.into_iter().filter(keeps).chain(planned).collect();
            (known.until_ms, known.wants_at) = (plan.until_ms, wants_at);
        }
        self.grant(None, moment, agenda);
        Ok(EventsAnswer::Occurred { until_ms: plan.until_ms, published })
    }

    /// Half of what was planned is over. The alarm has been taken.
    pub(in crate::events) fn wants_plan(&mut self, number: u32, agenda: &mut Agenda) {
        if let Some(known) = self.recurring.get_mut(&number) {
            known.wants_at = None;
            agenda.want_plan(self.number, number);
        }
    }

    /// Pauses a schedule, which takes back what it has planned; or has it go on from now.
    ///
    /// # Errors
    /// [`EventsError::UnknownSchedule`].
    pub(in crate::events) fn pause(
        &mut self,
        name: &str,
        pauses: bool,
        moment: Moment,
        agenda: &mut Agenda,
    ) -> Result<EventsAnswer, EventsError> {
        let number = self.schedule_named(name)?;
        if let Some(known) = self.recurring.get(&number).filter(|known| known.is_paused == pauses) {
            return Ok(known.place());
        }
        let withdrawn = self.withdraw(number, agenda);
        let Some(known) = self.recurring.get_mut(&number) else {
            return Ok(EventsAnswer::Forgotten { withdrawn });
        };
        (known.is_paused, known.revision, known.until_ms) = (pauses, moment.op, now_ms(moment));
        if !pauses {
            agenda.want_plan(self.number, number);
        }
        Ok(EventsAnswer::Recurs { revision: known.revision, until_ms: known.until_ms, withdrawn })
    }

    /// Forgets a schedule, which takes back what it has planned.
    ///
    /// # Errors
    /// [`EventsError::UnknownSchedule`].
    pub(in crate::events) fn forget_schedule(
        &mut self,
        name: &str,
        agenda: &mut Agenda,
    ) -> Result<EventsAnswer, EventsError> {
        let number = self.schedule_named(name)?;
        let withdrawn = self.withdraw(number, agenda);
        self.recurring.remove(&number);
        Ok(EventsAnswer::Forgotten { withdrawn })
    }

    /// Forgets all schedules: the topic is no more, and neither is what they have planned.
    pub(in crate::events) fn forget_schedules(&mut self, agenda: &mut Agenda) {
        for (number, known) in core::mem::take(&mut self.recurring) {
            if let Some(at) = known.wants_at {
                agenda.clear(at, Alarm::Plan { topic: self.number, schedule: number });
            }
            agenda.want_no_plan(self.number, number);
        }
    }

    /// What a snapshot holds.
    pub(in crate::events) fn restore_recurring(
        &mut self,
        number: u32,
        recurring: Recurring,
        agenda: &mut Agenda,
    ) {
        if let Some(at) = recurring.wants_at {
            agenda.set(at, Alarm::Plan { topic: self.number, schedule: number });
        }
        if recurring.wants_plan() {
            agenda.want_plan(self.number, number);
        }
        self.recurring.insert(number, recurring);
    }

    /// The schedule of this name.
    ///
    /// # Errors
    /// [`EventsError::UnknownSchedule`].
    pub(in crate::events) fn schedule_named(&self, name: &str) -> Result<u32, EventsError> {
        let found = self.recurring.iter().find(|(_, known)| known.name == name);
        found.map(|(number, _)| *number).ok_or_else(|| EventsError::UnknownSchedule(name.into()))
    }

    /// Takes back the occurrences that are not due yet: their offsets. It wants nothing until somebody says so.
    fn withdraw(&mut self, number: u32, agenda: &mut Agenda) -> Vec<u64> {
        let Some(known) = self.recurring.get_mut(&number) else { return Vec::new() };
        if let Some(at) = known.wants_at.take() {
            agenda.clear(at, Alarm::Plan { topic: self.number, schedule: number });
        }
        agenda.want_no_plan(self.number, number);
        let planned = core::mem::take(&mut known.planned);
        // What is due already stays as it is.
        planned.iter().filter_map(|name| self.cancel(name, agenda).ok()).collect()
    }
}

fn now_ms(moment: Moment) -> i64 {
    i64::try_from(moment.now.as_nanos() / NANOS_PER_MS).unwrap_or(i64::MAX)
}

const NANOS_PER_MS: u64 = 1_000_000;
