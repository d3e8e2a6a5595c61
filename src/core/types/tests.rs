//! Entries and texts: whatever is damaged is told, whatever is whole is read back.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;
use proptest::prelude::*;

use super::notation::parse;
use super::numbers::COUNT_MAX;
use super::{
    Blob, ClientId, ClusterId, CommitIndex, ENTRY_HEADER_BYTES, Entry, EntryError, EntryHeader, EntryKind,
    GroupId, GroupInit, GroupInitError, Hash, NodeId, Op, Timestamp, View,
};

fn init(group: u32) -> GroupInit {
    let voters = [1, 2, 3].map(NodeId::new).to_vec();
    let kind = String::from("bank");
    GroupInit {
        cluster: ClusterId::new(9),
        group: GroupId::new(group),
        kind,
        voters,
        sessions_max: 4,
        archive: None,
    }
}

fn entries() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![Just(EntryKind::Commands), Just(EntryKind::Wakeup)];
    let payload = prop::collection::vec(any::<u8>(), 0..80);
    let count = || 0..=COUNT_MAX;
    (any::<u32>(), kind, count(), count(), payload).prop_map(|(group, kind, view, time, payload)| {
        let parent = init(group).genesis();
        Entry::next(&parent, kind, View::new(view), Timestamp::from_nanos(time), Bytes::from(payload))
    })
}

fn layout(entry: &Entry) -> Vec<u8> {
    let mut bytes = entry.header().to_layout().to_vec();
    bytes.extend_from_slice(entry.payload());
    bytes
}

proptest! {
    #[test]
    fn an_entry_is_read_back_from_its_layout(entry in entries()) {
        prop_assert_eq!(Entry::from_layout(&Bytes::from(layout(&entry))), Ok(entry));
    }

    #[test]
    fn an_entry_cut_short_is_told(entry in entries(), cut in any::<prop::sample::Index>()) {
        let bytes = layout(&entry);
        let cut = cut.index(bytes.len());
        let expected = if cut < ENTRY_HEADER_BYTES { EntryError::Truncated } else { EntryError::PayloadHash };
        prop_assert_eq!(Entry::from_layout(&Bytes::from(bytes).slice(..cut)), Err(expected));
    }

    #[test]
    fn a_flipped_bit_in_an_entry_is_told_by_the_part_it_is_in(
        entry in entries(),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let mut bytes = layout(&entry);
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        let expected = if place < ENTRY_HEADER_BYTES { EntryError::HeaderHash } else { EntryError::PayloadHash };
        prop_assert_eq!(Entry::from_layout(&Bytes::from(bytes)), Err(expected));
    }

    #[test]
    fn bytes_behind_an_entry_are_told(entry in entries(), extra in prop::collection::vec(any::<u8>(), 1..4)) {
        let mut bytes = layout(&entry);
        bytes.extend(extra);
        prop_assert_eq!(Entry::from_layout(&Bytes::from(bytes)), Err(EntryError::PayloadHash));
    }

    #[test]
    fn any_bytes_are_an_entry_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Entry::from_layout(&Bytes::from(bytes)).is_err(), "nobody hits a hash by chance");
    }

    #[test]
    fn a_commit_index_keeps_none_apart_from_the_genesis(op in 0..u64::MAX) {
        let at = CommitIndex::At(Op::new(op));
        prop_assert_eq!(CommitIndex::from_layout(at.to_layout()), at);
        prop_assert!(at.to_layout() != CommitIndex::None.to_layout());
        prop_assert!(at > CommitIndex::None && at.covers(Op::GENESIS) && !CommitIndex::None.covers(Op::GENESIS));
    }

    #[test]
    fn texts_of_values_are_read_back(entry in entries(), bytes in prop::collection::vec(any::<u8>(), 0..40), text in any::<String>(), id in any::<u128>()) {
        prop_assert_eq!(parse::<Entry>(&entry.to_string()), Ok(entry.clone()));
        prop_assert_eq!(parse::<EntryHeader>(&entry.header().to_string()), Ok(*entry.header()));
        prop_assert_eq!(parse::<Hash>(&entry.hash().to_string()), Ok(entry.hash()));
        let blob = Blob::from(bytes);
        prop_assert_eq!(parse::<Blob>(&blob.to_string()), Ok(blob.clone()));
        prop_assert_eq!(parse::<ClientId>(&ClientId::new(id).to_string()), Ok(ClientId::new(id)));
        let blob = Blob::from(text.into_bytes());
        prop_assert_eq!(parse::<Blob>(&blob.to_string()), Ok(blob));
    }

    #[test]
    fn any_text_is_a_value_or_an_error_with_a_column(text in ".{0,60}") {
        let column = |error: super::NotationError| error.column;
        let columns = [
            parse::<Entry>(&text).map_err(column).err(),
            parse::<Hash>(&text).map_err(column).err(),
            parse::<CommitIndex>(&text).map_err(column).err(),
            parse::<Vec<Option<u64>>>(&text).map_err(column).err(),
        ];
        for column in columns.into_iter().flatten() {
            prop_assert!((1..=text.len() + 1).contains(&column));
        }
    }
}

#[test]
fn founding_facts_that_cannot_be_are_told() {
    let with = |voters: &[u64], sessions_max| {
        let voters = voters.iter().copied().map(NodeId::new).collect();
        GroupInit { voters, sessions_max, ..init(5) }.validate()
    };
    assert_eq!(with(&[1, 2, 3], 1), Ok(()));
    assert_eq!(with(&[], 1), Err(GroupInitError::Voters { group: 5, found: 0 }));
    assert_eq!(with(&[1, 2, 3, 4, 5, 6, 7, 8], 1), Err(GroupInitError::Voters { group: 5, found: 8 }));
    assert_eq!(with(&[2, 1], 1), Err(GroupInitError::Order { group: 5 }));
    assert_eq!(with(&[1, 1], 1), Err(GroupInitError::Order { group: 5 }));
    assert_eq!(with(&[1], 0), Err(GroupInitError::Sessions { group: 5 }));
}

#[test]
fn groups_founded_differently_have_different_geneses() {
    let other_kind = GroupInit { kind: String::from("register"), ..init(5) };
    let other_cluster = GroupInit { cluster: ClusterId::new(10), ..init(5) };
    let hashes = [init(5), init(6), other_kind, other_cluster].map(|init| init.genesis().hash());
    for (index, hash) in hashes.iter().enumerate() {
        assert!(!hashes[..index].contains(hash), "{index}");
    }
}

#[test]
fn counts_that_no_running_system_reaches_are_refused() {
    let parent = init(1).genesis();
    let sealed = |view, time| {
        let time = Timestamp::from_nanos(time);
        let entry = Entry::next(&parent, EntryKind::Commands, View::new(view), time, Bytes::new());
        Entry::from_layout(&Bytes::from(layout(&entry)))
    };
    assert!(sealed(COUNT_MAX, COUNT_MAX).is_ok());
    assert_eq!(sealed(COUNT_MAX + 1, 0), Err(EntryError::OutOfRange));
    assert_eq!(sealed(0, COUNT_MAX + 1), Err(EntryError::OutOfRange));
    let bytes = crate::codec::encode(&View::new(COUNT_MAX + 1));
    assert!(crate::codec::decode::<View>(&bytes).is_err());
    let last = View::of(crate::types::Epoch::new(3), (1 << 40) - 1);
    let bytes = crate::codec::encode(&last);
    assert!(crate::codec::decode::<View>(&bytes).is_err(), "the next one would be of another epoch");
    let bytes = crate::codec::encode(&NodeId::new(u64::MAX));
    assert_eq!(crate::codec::decode(&bytes), Ok(NodeId::new(u64::MAX)), "ids are any number");
}
