//! The layouts: flushes, manifests, freshly made directories.

use alloc::string::String;

use proptest::prelude::*;

use super::*;
use crate::engine::flush::{FlushPlan, Found, build, read_head};
use crate::engine::manifest::{AREA_BYTES, COPY_BYTES, Manifest, places};
use crate::types::{Archiving, CommitIndex, Hash};

#[test]
fn foreign_and_unformatted_directories_are_refused_by_name() {
    let refused = |disk: PerfectDisk, cluster, node| match Bench::open_as(disk, cluster, node) {
        Err(EngineError::Storage(what)) => what,
        Err(other) => panic!("refused for another reason: {other}"),
        Ok(_) => panic!("it opened"),
    };
    assert!(refused(PerfectDisk::default(), CLUSTER, NODE).contains("never formatted"));
    assert!(refused(formatted(), CLUSTER, NodeId::new(2)).contains("belongs to node 1, not to 2"));
    assert!(refused(formatted(), ClusterId::new(8), NODE).contains("belongs to cluster"));
}

#[test]
fn formatting_refuses_impossible_groups() {
    let with = |change: fn(&mut Identity)| {
        let mut identity = identity();
        change(&mut identity);
        format(&identity).map(|_| ()).map_err(|error| error.to_string())
    };
    let refused = |change, part: &str| {
        let what: String = with(change).expect_err("it was formatted");
        assert!(what.contains(part), "{what}");
    };
    refused(|i| i.groups[0].voters.clear(), "has 0 voters; 1 to 7 are allowed");
    refused(|i| i.groups[0].voters = vec![NODE, NODE], "ascending order");
    refused(|i| i.groups[0].sessions_max = 0, "sessions_max is 0");
    refused(|i| i.groups[0].cluster = ClusterId::new(1), "founded for another cluster");
    let archiving = |identity: &mut Identity, groups: u32| {
        let archive = Some(Archiving { chunk_bytes: 1 << 20, chunks_max: 1 });
        let init = GroupInit { archive, ..identity.groups[0].clone() };
        let of = |group| GroupInit { group: GroupId::new(group), ..init.clone() };
        identity.groups = (1..=groups).map(of).collect();
    };
    let mut many = identity();
    archiving(&mut many, 55);
    assert_eq!(format(&many).map(|_| ()), Ok(()));
    archiving(&mut many, 80);
    let what = format(&many).expect_err("its manifest may come to be too long").to_string();
    assert!(what.contains("80 groups are too many for one node"), "{what}");
    assert_eq!(with(|_| {}), Ok(()));
}

fn open(file: Vec<u8>) -> Result<Manifest, String> {
    Manifest::open(&places(&Bytes::from(file)), &mut NoMarks)
}

#[test]
fn the_manifest_opens_at_the_highest_sequence_with_two_equal_copies() {
    let older = Manifest::first(identity());
    let mut newer = older.clone();
    newer.sequence = 2;
    newer.body.boots.begin(9, 0);
    let file = |newer_area: Vec<u8>| {
        let mut file = newer_area;
        file.extend(older.to_area().expect("it fits"));
        file
    };
    let whole = newer.to_area().expect("it fits");
    assert_eq!(open(file(whole.clone())).as_ref(), Ok(&newer));
    let mut two_left = whole.clone();
    two_left[..2 * COPY_BYTES].fill(0);
    assert_eq!(open(file(two_left)).as_ref(), Ok(&newer));
    let mut one_left = whole;
    one_left[..3 * COPY_BYTES].fill(0);
    assert_eq!(open(file(one_left)).as_ref(), Ok(&older), "one stray copy decides nothing");
    assert!(open(vec![0; 2 * AREA_BYTES]).is_err());
}

fn sample_flush() -> Vec<u8> {
    let entry = first_entry();
    let records = [
        (Ordinal::new(1), Record::Entry(entry)),
        (Ordinal::new(2), Record::HardState { group: GROUP, state: Bytes::from_static(b"promise") }),
    ];
    let plan = FlushPlan {
        generation: 5,
        at: 0,
        number: 9,
        previous: Hash::of(b"before"),
        barrier: 8,
        commits: &[(GROUP, CommitIndex::At(Op::new(0)))],
        records: &records,
        previous_directory: &[],
    };
    build(&plan).bytes.to_vec()
}

#[test]
fn both_copies_of_a_hard_state_lie_in_different_blocks() {
    let bytes = sample_flush();
    let head = read_head(&bytes, 5, 0).expect("it was just built");
    let copies: Vec<_> = head.directory.iter().filter(|line| line.ordinal == Ordinal::new(2)).collect();
    assert_eq!(copies.len(), 2);
    let found: Vec<usize> =
        bytes.windows(7).enumerate().filter(|(_, w)| *w == b"promise").map(|(at, _)| at).collect();
    assert_eq!(found.len(), 2);
    assert_ne!(found[0] / BLOCK_BYTES, found[1] / BLOCK_BYTES);
    for rotten in found {
        let mut bytes = bytes.clone();
        bytes[rotten] ^= 1;
        let records = head.records(&Bytes::from(bytes));
        let whole = records.iter().filter(|(_, found)| matches!(found, Found::Whole(_))).count();
        assert_eq!((records.len(), whole), (2, 2), "it is read once, from the copy that is whole");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_flush(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(read_head(&bytes, 5, 0).is_err());
    }

    #[test]
    fn a_flipped_bit_of_a_flush_is_noticed(at in 0_usize..4096, bit in 0_u8..8) {
        let mut bytes = sample_flush();
        let whole = read_head(&bytes, 5, 0).expect("it was just built");
        let body_end = bytes.iter().rposition(|byte| *byte != 0).expect("it is not empty") + 1;
        prop_assume!(at < body_end && at < whole.flush_bytes);
        bytes[at] ^= 1 << bit;
        prop_assert!(read_head(&bytes, 5, 0).map_or(true, |head| !head.is_body_whole(&bytes)));
    }

    #[test]
    fn a_truncated_flush_is_no_flush(keep in 0_usize..8192) {
        let bytes = sample_flush();
        let body_end = bytes.iter().rposition(|byte| *byte != 0).expect("it is not empty") + 1;
        let cut = &bytes[..keep.min(body_end - 1)];
        prop_assert!(read_head(cut, 5, 0).map_or(true, |head| !head.is_body_whole(cut)));
    }
}
