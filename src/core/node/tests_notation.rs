//! What crosses the door survives the wire and the notation; what does not is told.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::{Debug, Display};
use core::str::FromStr;

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    About, Answer, ChunkGone, ClockBeat, Deed, Effect, Freshness, GroupBeat, HaltReason, Heartbeat, Input,
    Message, Order, Query, QueryAnswer, Reply, Request, RequestChunk, RequestSnapshot, Route, Wish, Work,
    WorkAnswer,
};
use crate::codec::{CodecError, decode, encode, wire};
use crate::consensus::{DoViewChange, SuffixEntry, VsrMessage};
use crate::engine::{
    At, ChunkPiece, DiskDone, DiskOp, DiskOpId, DiskOutcome, FileId, Found, SnapshotChunk, SnapshotName,
    Sought, Witnessed,
};
use crate::kernel::{
    Attempt, AttemptDone, AttemptResult, Batch, Command, EventPlace, FencingToken, Halt, Held, Outcome,
    Place, Retry, Schema, SideEffect, SideEffectId,
};
use crate::types::{
    Blob, BootId, ClientId, ClusterId, CommitIndex, Entry, EntryHeader, EntryKind, Epoch, GroupId, GroupInit,
    Hash, Incarnation, MembershipChange, Monotonic, Nanos, NodeId, Op, RequestNumber, SessionId, Timestamp,
    View, Wall,
};

fn numbers<T: Debug>(of: impl Fn(u64) -> T) -> impl Strategy<Value = T> {
    prop_oneof![0..6_u64, 0..NUMBER_MAX, Just(NUMBER_MAX)].prop_map(of)
}

/// Of any epoch, as far as it has views.
fn views() -> impl Strategy<Value = View> {
    let last = 1 << 39;
    let number = prop_oneof![0..6_u64, 0..last, Just(last)];
    (prop_oneof![0..3_u32, 0..1_u32 << 22], number)
        .prop_map(|(epoch, number)| View::of(Epoch::new(epoch), number))
}

fn boots() -> impl Strategy<Value = BootId> {
    (numbers(Incarnation::new), any::<u64>()).prop_map(|(incarnation, nonce)| BootId { incarnation, nonce })
}

fn groups() -> impl Strategy<Value = GroupId> {
    any::<u32>().prop_map(GroupId::new)
}

fn clients() -> impl Strategy<Value = ClientId> {
    any::<u128>().prop_map(ClientId::new)
}

fn blobs() -> impl Strategy<Value = Blob> {
    let text = "[ -~]{0,20}".prop_map(String::into_bytes);
    prop_oneof![text, prop::collection::vec(any::<u8>(), 0..20)].prop_map(Blob::from)
}

fn hashes() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash::from_bytes)
}

fn commits() -> impl Strategy<Value = CommitIndex> {
    prop_oneof![Just(CommitIndex::None), numbers(Op::new).prop_map(CommitIndex::At)]
}

/// Entries that follow the genesis of some group, or of the one that nodes in tests have.
fn entries() -> impl Strategy<Value = Entry> {
    let kinds = prop_oneof![Just(EntryKind::Commands), Just(EntryKind::Wakeup)];
    let groups = prop_oneof![Just(GroupId::new(0)), groups()];
    (groups, kinds, views(), numbers(Timestamp::from_nanos), blobs()).prop_map(
        |(group, kind, view, timestamp, body)| {
            let mut batch = Batch::default();
            if kind == EntryKind::Commands {
                let (session, number) = (SessionId::new(1), RequestNumber::new(1));
                batch.push(&Command { client: ClientId::new(1), session, number, body });
            }
            let voters = [1, 2, 3].map(NodeId::new).to_vec();
            let (cluster, kind_of_group) = (ClusterId::new(7), String::from("register"));
            let init =
                GroupInit { cluster, group, kind: kind_of_group, voters, sessions_max: 2, archive: None };
            Entry::next(&init.genesis(), kind, view, timestamp, batch.finish())
        },
    )
}

/// Headers of any op, above any parent: their hash is right, and nothing else needs to be.
fn headers() -> impl Strategy<Value = EntryHeader> {
    let fields = (0..2_u32, numbers(|view| view), numbers(|op| op), numbers(|time| time), hashes(), hashes());
    let any = fields.prop_map(|(group, view, op, timestamp, payload_hash, parent)| {
        let text = format!(
            "header{{group={group} kind=commands view={view} op={op} timestamp={timestamp} \
             payload_hash={payload_hash} payload_bytes=0 parent={parent}}}"
        );
        text.parse().expect("this is a header")
    });
    prop_oneof![any, entries().prop_map(|entry| *entry.header())]
}

fn view_changes() -> impl Strategy<Value = DoViewChange> {
    let slot = (headers(), any::<bool>(), any::<bool>());
    let slots = slot.prop_map(|(header, present, nack)| SuffixEntry { header, present, nack });
    (views(), views(), numbers(Op::new), prop::collection::vec(slots, 0..4))
        .prop_map(|(view, log_view, commit, suffix)| DoViewChange { view, log_view, commit, suffix })
}

fn group_messages() -> impl Strategy<Value = VsrMessage> {
    let ops = || numbers(Op::new);
    prop_oneof![
        (views(), commits(), entries()).prop_map(|(view, commit, entry)| VsrMessage::Prepare {
            view,
            commit,
            entry
        }),
        (views(), ops(), ops(), hashes()).prop_map(|(view, from, to, hash)| VsrMessage::PrepareOk {
            view,
            from,
            to,
            hash
        }),
        views().prop_map(|view| VsrMessage::StartViewChange { view }),
        view_changes().prop_map(VsrMessage::DoViewChange),
        (views(), ops(), prop::collection::vec(headers(), 0..4))
            .prop_map(|(view, commit, headers)| VsrMessage::StartView { view, commit, headers }),
        (ops(), ops()).prop_map(|(from, to)| VsrMessage::RequestEntries { from, to }),
        ops().prop_map(|to| VsrMessage::Covered { to }),
        (views(), commits(), prop::collection::vec(entries(), 0..4))
            .prop_map(|(log_view, commit, entries)| VsrMessage::Entries { log_view, commit, entries }),
        any::<u64>().prop_map(|token| VsrMessage::RequestReadIndex { token }),
        (views(), any::<u64>()).prop_map(|(view, round)| VsrMessage::ConfirmView { view, round }),
        (views(), any::<u64>()).prop_map(|(view, round)| VsrMessage::ViewConfirmed { view, round }),
        (any::<u64>(), ops()).prop_map(|(token, index)| VsrMessage::ReadIndex { token, index }),
        views().prop_map(|view| VsrMessage::HandOver { view }),
    ]
}

fn heartbeats() -> impl Strategy<Value = Heartbeat> {
    let ops = || numbers(Op::new);
    let group = (groups(), views(), any::<bool>(), commits(), ops(), ops(), ops());
    let group = group.prop_map(|(group, view, leads, commit, head, released, complete_to)| GroupBeat {
        group,
        view,
        leads,
        commit,
        head,
        released,
        complete_to,
    });
    let numbers = || numbers(|number| number);
    let own = (boots(), numbers(), numbers(), any::<bool>());
    let other = (boots(), numbers(), boots(), numbers());
    let clock =
        (numbers(), numbers(), numbers(), numbers()).prop_map(|(sent, wall, returned, held)| ClockBeat {
            sent: Monotonic::from_nanos(sent),
            wall: Wall::from_nanos(wall),
            returned: Monotonic::from_nanos(returned),
            held: Nanos::from_nanos(held),
        });
    (own, other, clock, prop::collection::vec(group, 0..4)).prop_map(
        |((boot, sequence, flush, full), (heard_boot, heard_sequence, known, durable), clock, groups)| {
            Heartbeat {
                boot,
                sequence,
                heard_boot,
                heard_sequence,
                witnessed: Witnessed { boot: known, flush: durable },
                flush,
                full,
                schema: Schema::FIRST,
                clock,
                groups,
            }
        },
    )
}

fn names() -> impl Strategy<Value = SnapshotName> {
    (numbers(Op::new), any::<u64>(), any::<u32>(), hashes())
        .prop_map(|(op, bytes, chunk_bytes, hash)| SnapshotName { op, bytes, chunk_bytes, hash })
}

pub(super) fn messages() -> impl Strategy<Value = Message> {
    prop_oneof![
        heartbeats().prop_map(Message::Heartbeat),
        (groups(), group_messages()).prop_map(|(group, body)| Message::Group { group, body }),
        (groups(), numbers(Op::new), prop::option::of(names()), prop::collection::vec(any::<u32>(), 0..4))
            .prop_map(|(group, at_least, name, chunks)| RequestSnapshot { group, at_least, name, chunks })
            .prop_map(Message::RequestSnapshot),
        (groups(), names(), any::<u32>(), blobs())
            .prop_map(|(group, name, index, bytes)| SnapshotChunk { group, name, index, bytes })
            .prop_map(Message::SnapshotChunk),
        (groups(), any::<u64>(), any::<u64>(), any::<u32>())
            .prop_map(|(group, number, offset, bytes)| RequestChunk { group, number, offset, bytes })
            .prop_map(Message::RequestChunk),
        (groups(), any::<u64>(), any::<u64>(), blobs())
            .prop_map(|(group, number, offset, bytes)| ChunkPiece { group, number, offset, bytes })
            .prop_map(Message::ChunkPiece),
        (groups(), any::<u64>())
            .prop_map(|(group, first)| ChunkGone { group, first })
            .prop_map(Message::ChunkGone),
    ]
    .boxed()
}

fn requests() -> impl Strategy<Value = Request> {
    (groups(), clients(), numbers(SessionId::new), numbers(RequestNumber::new), blobs()).prop_map(
        |(group, client, session, number, body)| Request {
            group,
            command: Command { client, session, number, body },
        },
    )
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        numbers(SessionId::new).prop_map(|session| Outcome::Registered { session }),
        blobs().prop_map(Outcome::Done),
        blobs().prop_map(Outcome::Refused),
        Just(Outcome::Evicted),
        numbers(RequestNumber::new).prop_map(|expected| Outcome::OutOfOrder { expected }),
        Just(Outcome::Skipped),
    ]
}

fn event_places() -> impl Strategy<Value = EventPlace> {
    (numbers(Op::new), any::<u32>()).prop_map(|(op, index)| EventPlace { op, index })
}

fn halts() -> impl Strategy<Value = Halt> {
    let what = prop::sample::select(vec!["", "seat 7 is cursed", "a \"quote\", and a }"]);
    (event_places(), any::<bool>(), what).prop_map(|(place, skippable, what)| Halt {
        place,
        skippable,
        what: String::from(what),
    })
}

fn replies() -> impl Strategy<Value = Reply> {
    let answers = prop_oneof![
        (numbers(Op::new), outcomes()).prop_map(|(op, outcome)| Answer::Committed { op, outcome }),
        (views(), numbers(NodeId::new)).prop_map(|(view, primary)| Answer::NotPrimary { view, primary }),
        Just(Answer::Busy),
        Just(Answer::Full),
        Just(Answer::UnknownGroup),
        any::<u32>().prop_map(|max| Answer::TooLong { max }),
        halts().prop_map(Answer::Halted),
        ".{0,20}".prop_map(|why| Answer::Declined { why }),
        ".{0,20}".prop_map(|why| Answer::NotYet { why }),
    ];
    (groups(), clients(), numbers(RequestNumber::new), answers)
        .prop_map(|(group, client, number, answer)| Reply { group, client, number, answer })
}

fn files() -> impl Strategy<Value = FileId> {
    prop_oneof![
        Just(FileId::Manifest),
        any::<u32>().prop_map(FileId::Segment),
        any::<u32>().prop_map(FileId::Snapshot),
        Just(FileId::Reserve),
    ]
}

fn disk_ops() -> impl Strategy<Value = DiskOp> {
    let ids = || any::<u64>().prop_map(DiskOpId);
    prop_oneof![
        (ids(), files(), any::<u64>()).prop_map(|(id, file, bytes)| DiskOp::Allocate { id, file, bytes }),
        (ids(), files(), blobs()).prop_map(|(id, file, data)| DiskOp::Put { id, file, data }),
        (ids(), files(), any::<u64>(), blobs()).prop_map(|(id, file, offset, data)| DiskOp::Write {
            id,
            file,
            offset,
            data
        }),
        ids().prop_map(|id| DiskOp::Barrier { id }),
        (ids(), files(), any::<u64>(), any::<u32>()).prop_map(|(id, file, offset, bytes)| DiskOp::Read {
            id,
            file,
            offset,
            bytes
        }),
    ]
}

fn inputs() -> impl Strategy<Value = Input> {
    let outcomes = prop_oneof![
        Just(DiskOutcome::Done),
        blobs().prop_map(DiskOutcome::Read),
        Just(DiskOutcome::Missing),
        Just(DiskOutcome::Full),
        Just(DiskOutcome::Failed),
    ];
    prop_oneof![
        Just(Input::Timeout),
        (numbers(NodeId::new), messages()).prop_map(|(from, message)| Input::Message { from, message }),
        (any::<u64>(), outcomes)
            .prop_map(|(id, outcome)| Input::Disk(DiskDone { id: DiskOpId(id), outcome })),
        (any::<u64>(), requests())
            .prop_map(|(route, request)| Input::Client { route: Route(route), request }),
        (any::<u64>(), queries()).prop_map(|(route, query)| Input::Query { route: Route(route), query }),
        (groups(), ends_of_attempts()).prop_map(|(group, done)| Input::SideEffectDone { group, done }),
        (any::<u64>(), groups(), places(), any::<u32>()).prop_map(|(route, group, at, room)| Input::LookUp {
            route: Route(route),
            group,
            sought: Sought { at, room }
        }),
        (any::<u64>(), groups(), deeds()).prop_map(|(route, group, deed)| Input::Order {
            route: Route(route),
            order: Order { group, deed }
        }),
        (any::<u64>(), work()).prop_map(|(route, work)| Input::Work { route: Route(route), work }),
    ]
}

fn changes() -> impl Strategy<Value = MembershipChange> {
    let node = || any::<u64>().prop_map(NodeId::new);
    prop_oneof![
        (node(), any::<String>()).prop_map(|(node, address)| MembershipChange::AddLearner { node, address }),
        node().prop_map(|node| MembershipChange::Promote { node }),
        node().prop_map(|node| MembershipChange::Remove { node }),
        (node(), node()).prop_map(|(node, by)| MembershipChange::Replace { node, by }),
    ]
}

fn deeds() -> impl Strategy<Value = Deed> {
    let ids = || numbers(|seed| SideEffectId(Hash::of(&seed.to_le_bytes())));
    prop_oneof![
        event_places().prop_map(Deed::Skip),
        any::<u32>().prop_map(|to| Deed::Activate(Schema(to))),
        changes().prop_map(Deed::Change),
        ids().prop_map(Deed::Redrive),
        ids().prop_map(Deed::Discard),
        any::<u64>().prop_map(|node| Deed::Lead(NodeId::new(node))),
    ]
}

fn places() -> impl Strategy<Value = At> {
    prop_oneof![numbers(Op::new).prop_map(At::Op), numbers(Timestamp::from_nanos).prop_map(At::Time)]
}

fn queries() -> impl Strategy<Value = Query> {
    let freshness = prop::sample::select(vec![
        Freshness::Linearizable,
        Freshness::Stale,
        Freshness::Awaited { patience: Nanos::from_millis(1500) },
    ]);
    let about = prop::sample::select(vec![About::State, About::Dead]);
    let fields = (any::<u64>(), groups(), about, blobs(), freshness);
    fields.prop_map(|(number, group, about, body, freshness)| Query { number, group, about, body, freshness })
}

fn query_answers() -> impl Strategy<Value = QueryAnswer> {
    let words = vec![QueryAnswer::Busy, QueryAnswer::UnknownGroup, QueryAnswer::Malformed];
    let state = (numbers(Op::new), blobs()).prop_map(|(op, body)| QueryAnswer::State { op, body });
    let too_long = any::<u32>().prop_map(|max| QueryAnswer::TooLong { max });
    let panicked = ".{0,20}".prop_map(|what| QueryAnswer::Panicked { what });
    prop_oneof![state, prop::sample::select(words), too_long, halts().prop_map(QueryAnswer::Halted), panicked]
}

fn side_effect_places() -> impl Strategy<Value = Place> {
    (numbers(Op::new), any::<u32>()).prop_map(|(op, index)| Place { op, index })
}

fn nanos() -> impl Strategy<Value = Nanos> {
    any::<u64>().prop_map(Nanos::from_nanos)
}

fn attempts() -> impl Strategy<Value = Attempt> {
    let retries = (1..=100_000_u32, nanos(), nanos()).prop_map(|(attempts_max, first, most)| Retry {
        attempts_max,
        first,
        most,
    });
    let side_effects = (any::<String>(), blobs(), retries)
        .prop_map(|(target, body, retry)| SideEffect::new(target, body, retry).expect("a short one"));
    let fields = (hashes(), side_effect_places(), any::<u32>(), any::<u64>(), side_effects);
    fields.prop_map(|(id, place, number, token, side_effect)| Attempt {
        id: SideEffectId(id),
        place,
        number,
        token: FencingToken(token),
        side_effect,
    })
}

fn results() -> impl Strategy<Value = AttemptResult> {
    prop_oneof![
        blobs().prop_map(AttemptResult::Done),
        (blobs(), nanos()).prop_map(|(why, rest)| AttemptResult::Failed { why, rest }),
        blobs().prop_map(AttemptResult::Refused),
    ]
}

fn work() -> impl Strategy<Value = Work> {
    let held = || {
        let fields = (side_effect_places(), any::<u32>(), any::<u64>());
        fields.prop_map(|(place, number, token)| Held { place, number, token: FencingToken(token) })
    };
    let claim = (any::<String>(), any::<u32>(), nanos());
    let wishes = prop_oneof![
        claim.prop_map(|(queue, most, lease)| Wish::Claim { queue, most, lease }),
        (held(), nanos()).prop_map(|(held, lease)| Wish::Renew { held, lease }),
        (held(), results()).prop_map(|(held, result)| Wish::End { held, result }),
    ];
    (any::<u64>(), groups(), wishes).prop_map(|(number, group, wish)| Work { number, group, wish })
}

fn work_answers() -> impl Strategy<Value = WorkAnswer> {
    let words = [
        WorkAnswer::Renewed,
        WorkAnswer::Recorded,
        WorkAnswer::Unknown,
        WorkAnswer::Busy,
        WorkAnswer::UnknownGroup,
    ];
    prop_oneof![
        prop::collection::vec(attempts(), 0..3).prop_map(WorkAnswer::Granted),
        prop::sample::select(words.to_vec()),
        any::<String>().prop_map(|why| WorkAnswer::Stale { why }),
        (views(), numbers(NodeId::new)).prop_map(|(view, primary)| WorkAnswer::NotPrimary { view, primary }),
        halts().prop_map(WorkAnswer::Halted),
    ]
}

fn ends_of_attempts() -> impl Strategy<Value = AttemptDone> {
    (side_effect_places(), any::<u32>(), any::<u64>(), results()).prop_map(
        |(place, number, token, result)| AttemptDone { place, number, token: FencingToken(token), result },
    )
}

fn finds() -> impl Strategy<Value = Found> {
    let words = [Found::Later, Found::Gone, Found::Unreadable, Found::Refused];
    prop_oneof![
        prop::collection::vec(entries(), 0..3).prop_map(Found::Entries),
        prop::sample::select(words.to_vec())
    ]
}

fn effects() -> impl Strategy<Value = Effect> {
    prop_oneof![
        (numbers(NodeId::new), messages()).prop_map(|(to, message)| Effect::Send { to, message }),
        disk_ops().prop_map(Effect::Disk),
        (any::<u64>(), replies()).prop_map(|(route, reply)| Effect::Reply { route: Route(route), reply }),
        (any::<u64>(), any::<u64>(), query_answers()).prop_map(|(route, number, answer)| Effect::Answer {
            route: Route(route),
            number,
            answer
        }),
        (groups(), attempts()).prop_map(|(group, attempt)| Effect::Execute { group, attempt }),
        (any::<u64>(), groups(), any::<u64>(), work_answers()).prop_map(|(route, group, number, answer)| {
            Effect::Worked { route: Route(route), group, number, answer }
        }),
        (any::<u64>(), finds()).prop_map(|(route, found)| Effect::Found { route: Route(route), found }),
        (any::<u64>(), any::<String>())
            .prop_map(|(node, address)| Effect::Meet { node: NodeId::new(node), address }),
        any::<String>().prop_map(|what| Effect::Halt(HaltReason::Disk { what })),
        any::<String>().prop_map(|what| Effect::Halt(HaltReason::Storage { what })),
    ]
}

/// A value is read back from its bytes; with a byte less or more it is not.
fn survives_the_wire<T: wire::Encode + wire::Decode<()> + PartialEq + Debug>(value: &T) {
    let bytes = encode(value);
    assert_eq!(decode::<T>(&bytes).as_ref(), Ok(value));
    let (_, short) = bytes.split_last().expect("no message is empty");
    assert!(matches!(decode::<T>(&bytes[..short.len()]), Err(CodecError::Malformed(_))));
    let long = [bytes.as_slice(), &[0]].concat();
    assert_eq!(decode::<T>(&long), Err(CodecError::LeftOver { left: 1 }));
}

/// A value is read back from its text; with a character less it is not.
fn survives_the_notation<T: Display + FromStr<Err: Debug + PartialEq> + PartialEq + Debug>(value: &T) {
    let text = value.to_string();
    assert_eq!(text.parse::<T>().as_ref(), Ok(value), "{text}");
    let mut chars = text.chars();
    chars.next_back();
    assert!(chars.as_str().parse::<T>().is_err() || chars.as_str().is_empty(), "{text}");
}

proptest! {
    #[test]
    fn messages_survive_the_wire(message in messages(), request in requests(), reply in replies()) {
        survives_the_wire(&message);
        survives_the_wire(&request);
        survives_the_wire(&reply);
    }

    #[test]
    fn everything_at_the_door_survives_the_notation(
        input in inputs(),
        effect in effects(),
        message in messages(),
        request in requests(),
        reply in replies(),
    ) {
        survives_the_notation(&input);
        survives_the_notation(&effect);
        survives_the_notation(&message);
        survives_the_notation(&request);
        survives_the_notation(&reply);
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = decode::<Message>(&bytes) {
            prop_assert_eq!(encode(&message), bytes.clone());
        }
        if let Ok(request) = decode::<Request>(&bytes) {
            prop_assert_eq!(encode(&request), bytes.clone());
        }
        if let Ok(reply) = decode::<Reply>(&bytes) {
            prop_assert_eq!(encode(&reply), bytes);
        }
    }

    #[test]
    fn a_damaged_message_is_another_message_or_an_error(
        message in messages(),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let mut bytes = encode(&message);
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        if let Ok(other) = decode::<Message>(&bytes) {
            prop_assert!(other != message);
            prop_assert_eq!(encode(&other), bytes);
        }
    }

    #[test]
    fn a_damaged_text_is_another_value_or_an_error_with_a_column(
        input in inputs(),
        place in any::<prop::sample::Index>(),
        put in "[ -~é]",
    ) {
        let text = input.to_string();
        let at = place.index(text.len());
        prop_assume!(text.is_char_boundary(at) && text.is_char_boundary(at + 1));
        let damaged = [&text[..at], &put, &text[at + 1..]].concat();
        match damaged.parse::<Input>() {
            Ok(other) => prop_assert!(other != input || damaged == text || other.to_string() == text),
            Err(error) => prop_assert!((1..=damaged.len() + 1).contains(&error.column)),
        }
    }
}

#[test]
fn a_notation_error_names_the_column_and_what_is_allowed() {
    let error = "timeou".parse::<Input>().expect_err("a letter is missing");
    assert_eq!(
        (error.column, error.expected.as_str()),
        (1, "one of timeout message disk client query side-effect-done look-up work order")
    );
    let text = "message{from=1 message=group{group=1 body=start-view-change{view=x}}}";
    let error = text.parse::<Input>().expect_err("a view is a number");
    assert_eq!((error.column, error.expected.as_str()), (66, "a number (u64)"));
    let payload = Blob(Bytes::from_static(b"x"));
    assert_eq!(payload.to_string(), "\"x\"");
    let lists: Vec<usize> = ["[", "[1", "[1 ", "[1 x]"]
        .iter()
        .map(|text| crate::types::notation::parse::<Vec<u64>>(text).expect_err("no list").column)
        .collect();
    assert_eq!(lists, [2, 3, 4, 4]);
}

/// No running system counts farther.
const NUMBER_MAX: u64 = 1 << 62;
