//! Long courses of commands: their snapshots give the same state, and everything ends once consumers are live.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::command::EventsCommand as Command;
use super::group::Group;
use super::tests::{LEASE, Lone, event, nack, name, options, settlement};
use super::{
    Delivery, Disposition, Due, Events, EventsQuery, EventsState, EventsView, Expires, GrantPlace,
    GroupChange, MemberId, Mode, NewEvent, Rule, Settlement, Start, TopicConfig, snapshot,
};
use crate::kernel::{ChrApplication, Cursor};
use crate::types::{Nanos, Timestamp};

/// One thing that clients do, or time.
#[derive(Clone, Debug)]
enum Step {
    Publish {
        id: u8,
        key: u8,
        delay_ms: u64,
        count: u8,
        useful_ms: Option<u64>,
    },
    Attach {
        group: u8,
        member: u8,
    },
    /// A member of its own, which has nothing come by itself.
    Claim {
        group: u8,
        count: u32,
    },
    Settle {
        group: u8,
        member: u8,
        which: u8,
        how: u8,
    },
    Detach {
        group: u8,
        member: u8,
    },
    Cancel {
        id: u8,
    },
    Reschedule {
        id: u8,
        delay_ms: u64,
    },
    Redrive {
        group: u8,
        seq: u64,
    },
    Discard {
        group: u8,
        seq: u64,
    },
    Retain {
        below: u64,
    },
    Recur,
    Occur {
        count: u8,
        lies: bool,
    },
    Pause {
        pauses: bool,
    },
    Forget,
    PauseGroup {
        group: u8,
        pauses: bool,
    },
    Seek {
        group: u8,
        to: Start,
    },
    AlterGroup {
        group: u8,
        attempts_max: u32,
    },
    DeleteGroup {
        group: u8,
        force: bool,
    },
    Close,
    Open {
        is_paused: bool,
    },
    Pass {
        ms: u64,
    },
}

fn steps() -> impl Strategy<Value = Step> {
    let (group, member, id) = (0..2_u8, 0..=CLAIMER, any::<u8>());
    prop_oneof![
        6 => (id, 0..3_u8, 0..600_u64, 1..4_u8, prop::option::of(0..900_u64)).prop_map(
            |(id, key, delay_ms, count, useful_ms)| Step::Publish { id, key, delay_ms, count, useful_ms },
        ),
        2 => (group.clone(), 0..CLAIMER).prop_map(|(group, member)| Step::Attach { group, member }),
        1 => (group.clone(), 1..4_u32).prop_map(|(group, count)| Step::Claim { group, count }),
        8 => (group.clone(), member.clone(), any::<u8>(), 0..8_u8)
            .prop_map(|(group, member, which, how)| Step::Settle { group, member, which, how }),
        1 => (group.clone(), member).prop_map(|(group, member)| Step::Detach { group, member }),
        1 => any::<u8>().prop_map(|id| Step::Cancel { id }),
        1 => (any::<u8>(), 0..600_u64).prop_map(|(id, delay_ms)| Step::Reschedule { id, delay_ms }),
        1 => (group.clone(), 0..40_u64).prop_map(|(group, seq)| Step::Redrive { group, seq }),
        1 => (group.clone(), 0..40_u64).prop_map(|(group, seq)| Step::Discard { group, seq }),
        1 => (group.clone(), any::<bool>())
            .prop_map(|(group, pauses)| Step::PauseGroup { group, pauses }),
        2 => (group.clone(), starts()).prop_map(|(group, to)| Step::Seek { group, to }),
        1 => (group.clone(), 0..4_u32)
            .prop_map(|(group, attempts_max)| Step::AlterGroup { group, attempts_max }),
        1 => (group, any::<bool>()).prop_map(|(group, force)| Step::DeleteGroup { group, force }),
        1 => (0..40_u64).prop_map(|below| Step::Retain { below }),
        1 => Just(Step::Recur),
        3 => (0..5_u8, any::<bool>()).prop_map(|(count, lies)| Step::Occur { count, lies }),
        1 => any::<bool>().prop_map(|pauses| Step::Pause { pauses }),
        1 => Just(Step::Forget),
        1 => prop_oneof![
            1 => Just(Step::Close),
            9 => prop::bool::weighted(0.2).prop_map(|is_paused| Step::Open { is_paused }),
        ],
        4 => (0..400_u64).prop_map(|ms| Step::Pass { ms }),
    ]
}

fn starts() -> impl Strategy<Value = Start> {
    prop_oneof![
        Just(Start::Earliest),
        Just(Start::Latest),
        (0..60_u64).prop_map(Start::At),
        (1000..9000_u64).prop_map(|ms| Start::Since(Timestamp::from_nanos(ms * 1_000_000))),
    ]
}

impl Lone {
    fn take(&mut self, step: Step) {
        let topic = "t".to_string();
        let group_name = |group: u8| ["shared", "ordered"][usize::from(group)].to_string();
        let command = match step {
            Step::Publish { id, key, delay_ms, count, useful_ms } => {
                let expires = useful_ms.map(Expires::After);
                let new = |n: u8| NewEvent {
                    expires,
                    ..event(&format!("{}", id.wrapping_add(n)), &format!("k{key}"), Due::In(delay_ms))
                };
                Command::Publish { topic, events: (0..count).map(new).collect() }
            }
            Step::Claim { group, count } => {
                let mode = if group == 0 { Mode::Shared } else { Mode::Ordered };
                let (options, member) = (options(mode), MemberId(u128::from(CLAIMER)));
                let (group, insists) = (group_name(group), false);
                Command::Claim { topic, group, options, insists, member, count, lease: LEASE }
            }
            Step::Attach { group, member } => {
                let mode = if group == 0 { Mode::Shared } else { Mode::Ordered };
                let credits = u32::from(member) + 2;
                let (options, member) = (options(mode), MemberId(u128::from(member)));
                let (group, insists) = (group_name(group), false);
                Command::Attach { topic, group, options, insists, member, credits, lease: LEASE }
            }
            Step::Settle { group, member, which, how } => {
                let (group, member) = (group_name(group), u128::from(member));
                let open = self.deliveries(&group, member);
                let chosen = open.get(usize::from(which) % open.len().max(1));
                let disposition = match how {
                    0..=4 => Disposition::Ack,
                    5 => nack(),
                    6 => Disposition::Term { why: "never".to_string() },
                    _ => Disposition::InProgress,
                };
                let of = |open: &Delivery| Settlement {
                    granted: open.grant.op,
                    ..settlement(open.grant.seq, open.attempt, disposition.clone())
                };
                let (settlements, after) =
                    (chosen.map(of).into_iter().collect(), Some(GrantPlace::default()));
                Command::Settle { topic, group, member: MemberId(member), settlements, after }
            }
            Step::Detach { group, member } => {
                Command::Detach { topic, group: group_name(group), member: MemberId(u128::from(member)) }
            }
            Step::Cancel { id } => Command::Cancel { topic, event: name(&format!("{id}")) },
            Step::Reschedule { id, delay_ms } => {
                Command::Reschedule { topic, event: name(&format!("{id}")), due: Due::In(delay_ms) }
            }
            Step::Redrive { group, seq } => {
                Command::Redrive { topic, group: group_name(group), letters: vec![seq] }
            }
            Step::Discard { group, seq } => {
                Command::Discard { topic, group: group_name(group), letters: vec![seq] }
            }
            Step::Retain { below } => Command::Retain { topic, age: None, bytes: None, below: Some(below) },
            Step::Recur => {
                let (schedule, rule) = ("s".to_string(), Rule::Every { ms: 100 });
                Command::Recur { topic, schedule, rule, event: event("", "k0", Due::In(0)) }
            }
            Step::Occur { count, lies } => {
                let EventsView::Recurring(rows) = self.state.view(&EventsQuery::Unplanned) else { return };
                let Some(known) = rows.first() else { return };
                let (revision, schedule) = (known.revision, "s".to_string());
                let after_ms = known.until_ms + i64::from(lies);
                let occurrence = |nth: u8| {
                    let at = after_ms + i64::from(nth) * 100;
                    let name = name(&format!("{at}"));
                    NewEvent { name, ..event("", "k0", Due::At(at)) }
                };
                let events = (1..=count).map(occurrence).collect();
                let until_ms = after_ms + i64::from(count) * 100;
                Command::Occur { topic, schedule, revision, after_ms, until_ms, events }
            }
            Step::Pause { pauses } => Command::Pause { topic, schedule: "s".to_string(), pauses },
            Step::Forget => Command::Forget { topic, schedule: "s".to_string() },
            Step::PauseGroup { group, pauses } => {
                Command::PauseGroup { topic, group: group_name(group), pauses }
            }
            Step::Seek { group, to } => Command::Seek { topic, group: group_name(group), to },
            Step::AlterGroup { group, attempts_max } => {
                let change = GroupChange { attempts_max: Some(attempts_max), ..GroupChange::default() };
                Command::AlterGroup { topic, group: group_name(group), change }
            }
            Step::DeleteGroup { group, force } => {
                Command::DeleteGroup { topic, group: group_name(group), force }
            }
            Step::Close => {
                let id = self.id();
                Command::Close { topic, id }
            }
            Step::Open { is_paused } => {
                let anew = TopicConfig { kept_max: 0, ..TopicConfig::default() };
                let known = self.state.partitions.values().find(|known| known.closes.is_none());
                let (id, config) = known.map_or((self.id() + 1, anew), |known| {
                    (known.id, TopicConfig { revision: known.config.revision + 1, ..known.config.clone() })
                });
                Command::Open { topic, config: TopicConfig { is_paused, ..config }, id }
            }
            Step::Pass { ms } => return self.pass(ms),
        };
        let before = self.state.clone();
        if self.ask(command).is_err() {
            assert_eq!(self.state, before, "a refusal leaves the state as it was");
        }
    }

    pub(super) fn deliveries(&self, group: &str, member: u128) -> Vec<Delivery> {
        let (topic, group, member) = ("t".to_string(), group.to_string(), MemberId(member));
        let after = GrantPlace::default();
        match self.state.view(&EventsQuery::Deliveries { topic, group, member, after }) {
            EventsView::Deliveries(open) => open.deliveries,
            _ => Vec::new(),
        }
    }

    /// What a snapshot in slices gives.
    pub(super) fn restored(&self) -> EventsState {
        let mut restored = EventsState::default();
        let mut cursor = Some(Cursor::START);
        while let Some(from) = cursor {
            let mut slice = Vec::new();
            cursor = Events.snapshot(&self.state, from, &mut slice);
            Events.restore(&mut restored, Events::SCHEMA, &slice).expect("its own slice");
        }
        restored
    }

    /// The topic's number, or that of the last one.
    fn id(&self) -> u32 {
        let open = self.state.partitions.values().find(|known| known.closes.is_none()).map(|known| known.id);
        open.or_else(|| self.state.closed.last_key_value().map(|(id, _)| *id)).unwrap_or(1)
    }

    /// Of an ordered group no key is open twice; nobody has more than its credits; the floor passes nothing that is in hand.
    fn check(&self) {
        let Some((_, partition)) = self.state.partitions.last() else { return };
        for group in partition.groups.values() {
            let mut keys = BTreeSet::new();
            let mut by_member: BTreeMap<MemberId, u32> = BTreeMap::new();
            for seq in 0..partition.backlog.next_seq() {
                let Some(open) = group.open(seq) else { continue };
                *by_member.entry(open.member).or_default() += 1;
                let ready = partition.backlog.get(seq).expect("what is open is kept");
                assert!(!ready.expired, "{ready:?} is open");
                let key = ready.record.key;
                assert!(keys.insert(key) || group.head.options.mode == Mode::Shared, "{key} is open twice");
            }
            for (member, count) in by_member {
                let most = group.member(member).map_or(0, |member| member.credits);
                assert!(count <= most || member == MemberId(u128::from(CLAIMER)), "{member:?}");
            }
        }
        for (seq, ready) in partition.backlog.saved(None).filter(|(_, ready)| !ready.expired) {
            let settled = |group: &&Group| group.is_for(seq) && group.had_settled(seq, ready.record.key);
            let count = partition.groups.values().filter(settled).count();
            assert_eq!(usize::try_from(ready.settled_by), Ok(count), "groups have settled {seq}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_restored_state_is_the_same_with_its_agenda(
        course in prop::collection::vec(steps(), 1..120),
        age_ms in prop::option::of(50..2000_u64),
        retain_bytes in prop::option::of(0..20_u64),
        expires_unsettled in any::<bool>(),
    ) {
        let retain_age = age_ms.map(Nanos::from_millis);
        let config = TopicConfig {
            dead_max: 3,
            dedup_ids_max: 100,
            retain_age,
            retain_bytes,
            expires_unsettled,
            ..TopicConfig::default()
        };
        let mut lone = Lone::keeping(3, config);
        for step in course {
            lone.take(step);
            lone.check();
        }
        prop_assert!(snapshot::goes_on_anywhere(&lone.state));
        prop_assert_eq!(lone.restored(), lone.state);
    }

    #[test]
    fn everything_ends_once_consumers_are_live(course in prop::collection::vec(steps(), 1..120)) {
        let mut lone = Lone::new(TopicConfig::default());
        for step in course {
            lone.take(step);
        }
        lone.take(Step::Open { is_paused: false });
        for round in 0..400 {
            for group in 0..2 {
                lone.take(Step::PauseGroup { group, pauses: false });
                if round % 5 == 0 {
                    lone.take(Step::Attach { group, member: 1 });
                }
                for which in 0..4 {
                    lone.take(Step::Settle { group, member: 1, which, how: 0 });
                }
            }
            lone.pass(300);
        }
        let (_, partition) = lone.state.partitions.last().expect("one topic");
        prop_assert_eq!(partition.schedule.len(), 0);
        for group in partition.groups.values() {
            prop_assert_eq!(group.head.floor, partition.backlog.next_seq(), "{}", group.head.name.clone());
            let counts = group.counts();
            prop_assert_eq!((counts.open, counts.resting, counts.again), (0, 0, 0));
        }
        let dead: BTreeSet<u64> =
            partition.groups.values().flat_map(|group| group.dead_letters(0).map(|(seq, _)| seq)).collect();
        let kept: BTreeSet<u64> = partition.backlog.saved(None).map(|(seq, _)| seq).collect();
        prop_assert_eq!(kept, dead, "what is kept is a dead letter of some group");
    }
}

/// The members below it have credits.
const CLAIMER: u8 = 3;
