//! Who asks for deliveries gets as many.

use chronon_core::events::{
    Deliveries, Delivery, DeliveryState, EventsAnswer, EventsCommand, GrantPlace, MemberId, Mode,
};
use chronon_core::types::{Nanos, Op, Timestamp};

use super::{MS, Seen, Told, group, options, processing, ready, stored, topic};

#[test]
fn nobody_is_granted_more_than_it_claimed() {
    let mut told = Told::new(Mode::Shared);
    (0..3).for_each(|offset| told.accepts(["a", "b", "c"][offset as usize], offset));
    let carl = MemberId(3);
    let claims = |told: &mut Told, seqs: &[u64]| {
        let (op, until) = (Op::new(told.ms + 1), Timestamp::from_nanos(3000 * MS));
        let delivery = |seq| Delivery {
            grant: GrantPlace { op, seq },
            attempt: 1,
            until,
            offset: seq,
            due_ms: 0,
            stored: stored(0),
        };
        let granted = Deliveries { deliveries: seqs.iter().copied().map(delivery).collect(), more: false };
        let (options, lease) = (options(Mode::Shared), Nanos::from_secs(10));
        let (topic, group, insists, count) = (topic(), group(), true, 1);
        let claim = EventsCommand::Claim {
            topic,
            group,
            options: options.clone(),
            insists,
            member: carl,
            count,
            lease,
        };
        told.does(claim, EventsAnswer::Claimed { options, granted })
    };
    assert_eq!(claims(&mut told, &[0]), None);
    let seen = |second| {
        let open = |id, seq| (id, seq, ready(seq), processing(carl, 1, 3000));
        let third = ("c", 2, ready(2), Some(DeliveryState::Buffered));
        Seen { members: 3, ..Seen::of(vec![open("a", 0), ("b", 1, ready(1), second), third]) }
    };
    assert_eq!(told.shows(&seen(Some(DeliveryState::Buffered))), None);
    assert_eq!(told.shows(&seen(processing(carl, 1, 3000))), Some("CreditRespected"), "it did not ask");
    assert_eq!(claims(&mut told, &[1, 2]), Some("CreditRespected"), "it asked for one");
}
