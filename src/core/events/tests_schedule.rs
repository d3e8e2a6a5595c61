//! A schedule beside the simplest thing that behaves like one.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::command::Stored;
use super::ids::NameTag;
use super::schedule::{Record, Schedule, Slot};
use crate::types::{Op, Timestamp};

#[derive(Clone, Debug)]
enum Act {
    /// An event that is due so many milliseconds from now.
    Accept(i64),
    /// One of the events that were accepted, whatever became of it.
    TakeBack(prop::sample::Index),
    /// Time passes; events that are due are taken out, so many at most.
    Pass { ms: u64, most: usize },
    /// What is there now is to stay as it is.
    Keep,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (-5_i64..300).prop_map(Act::Accept),
        1 => Just(Act::Accept(i64::MAX)),
        3 => any::<prop::sample::Index>().prop_map(Act::TakeBack),
        2 => (0_u64..60, 0_usize..40).prop_map(|(ms, most)| Act::Pass { ms, most }),
        1 => Just(Act::Keep),
    ];
    prop::collection::vec(act, 0..600)
}

fn record(offset: u64, due_ms: i64) -> Record {
    let stored = Stored { op: Op::new(offset + 1), index: 3, item: 7 };
    Record { offset, due_ms, stored, name: NameTag::default(), key: offset ^ 5, bytes: 9 }
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_nanos(ms * 1_000_000)
}

fn rows(schedule: &Schedule) -> Vec<Record> {
    schedule.saved(None).collect()
}

proptest! {
    #[test]
    fn events_come_out_in_the_order_of_their_times_and_never_before(acts in acts()) {
        let (mut schedule, mut model) = (Schedule::default(), BTreeMap::new());
        let (mut now, mut accepted, mut kept) = (1000_u64, Vec::new(), Vec::new());
        for act in acts {
            match act {
                Act::Accept(delay) => {
                    let due_ms = i64::try_from(now).expect("small").saturating_add(delay);
                    let record = record(u64::try_from(accepted.len()).expect("few"), due_ms);
                    let due = schedule.accept(record, at(now));
                    prop_assert_eq!(due.map(|due| *due.record()), (delay <= 0).then_some(record));
                    if delay > 0 {
                        model.insert((due_ms, record.offset), record);
                    }
                    accepted.push(record.slot());
                }
                Act::TakeBack(which) => {
                    if accepted.is_empty() {
                        continue;
                    }
                    let slot: Slot = *which.get(&accepted);
                    let known = model.remove(&(slot.due_ms, slot.offset));
                    prop_assert_eq!(schedule.get(slot), known);
                    prop_assert_eq!(schedule.take_back(slot), known);
                }
                Act::Pass { ms, most } => {
                    now += ms;
                    for _ in 0..most {
                        let due = schedule.take_due(at(now)).map(|due| *due.record());
                        let next = model.first_key_value().map(|(_, record)| *record);
                        let next = next.filter(|record| record.due() <= at(now));
                        prop_assert_eq!(due, next);
                        if let Some(record) = next {
                            model.remove(&(record.due_ms, record.offset));
                        }
                    }
                }
                Act::Keep => kept.push((schedule.clone(), model.clone())),
            }
            let next = model.first_key_value().map(|(_, record)| record.due());
            prop_assert_eq!(schedule.next(), next);
        }
        kept.push((schedule, model));
        for (schedule, model) in kept {
            let expected: Vec<Record> = model.into_values().collect();
            prop_assert_eq!(rows(&schedule), expected.clone());
            for (place, record) in expected.iter().enumerate() {
                let rest = schedule.saved(Some(record.slot())).collect::<Vec<_>>();
                prop_assert_eq!(rest, expected.get(place + 1..).unwrap_or_default());
            }
            // Whatever came and went: a schedule is what is in it.
            let mut restored = Schedule::default();
            expected.iter().for_each(|record| restored.restore(*record));
            prop_assert_eq!(restored, schedule);
        }
    }
}
