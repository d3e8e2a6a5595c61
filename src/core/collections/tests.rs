use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

use proptest::prelude::*;

use super::PersistentMap;

#[derive(Clone, Debug)]
enum Act {
    Insert(u16, u32),
    Remove(u16),
    Change(u16, u32),
    PopFirst,
    /// What is there now is to stay as it is.
    Keep,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let key = || 0_u16..400;
    let act = prop_oneof![
        6 => (key(), any::<u32>()).prop_map(|(key, value)| Act::Insert(key, value)),
        4 => key().prop_map(Act::Remove),
        1 => (key(), any::<u32>()).prop_map(|(key, value)| Act::Change(key, value)),
        1 => Just(Act::PopFirst),
        1 => Just(Act::Keep),
    ];
    prop::collection::vec(act, 0..2000)
}

fn same(map: &PersistentMap<u16, u32>, model: &BTreeMap<u16, u32>) -> bool {
    map.len() == model.len() && map.iter().eq(model.iter())
}

proptest! {
    #[test]
    fn a_map_is_the_map_that_it_is_told_to_be_and_clones_stay_as_they_were(acts in acts()) {
        let (mut map, mut model) = (PersistentMap::default(), BTreeMap::new());
        let mut kept = Vec::new();
        for act in acts {
            match act {
                Act::Insert(key, value) => {
                    prop_assert_eq!(map.insert(key, value), model.insert(key, value));
                }
                Act::Remove(key) => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                Act::Change(key, value) => {
                    prop_assert_eq!(map.get(&key), model.get(&key));
                    if let (Some(here), Some(there)) = (map.get_mut(&key), model.get_mut(&key)) {
                        (*here, *there) = (value, value);
                    }
                }
                Act::PopFirst => {
                    prop_assert_eq!(map.first(), model.first_key_value());
                    prop_assert_eq!(map.last(), model.last_key_value());
                    prop_assert_eq!(map.pop_first(), model.pop_first());
                }
                Act::Keep => kept.push((map.clone(), model.clone())),
            }
        }
        prop_assert!(same(&map, &model));
        for (map, model) in kept {
            prop_assert!(same(&map, &model));
        }
    }

    #[test]
    fn a_range_begins_where_it_is_told(keys in prop::collection::btree_set(0_u16..300, 0..200), from in 0_u16..300) {
        let mut map = PersistentMap::default();
        for key in &keys {
            map.insert(*key, ());
        }
        let range = |from| map.range(from).map(|(key, ())| *key).collect::<Vec<_>>();
        let model = |from: Bound<u16>| keys.range((from, Bound::Unbounded)).copied().collect::<Vec<_>>();
        prop_assert_eq!(range(Bound::Included(&from)), model(Bound::Included(from)));
        prop_assert_eq!(range(Bound::Excluded(&from)), model(Bound::Excluded(from)));
        prop_assert_eq!(range(Bound::Unbounded), model(Bound::Unbounded));
    }
}

#[test]
fn what_grows_and_shrinks_a_lot_is_ordered_all_the_while() {
    let mut map = PersistentMap::default();
    let scattered = |n: u32| n.wrapping_mul(2_654_435_761);
    for n in 0..20_000 {
        assert_eq!(map.insert(scattered(n), n), None);
    }
    assert!(map.iter().zip(map.iter().skip(1)).all(|((a, _), (b, _))| a < b));
    let before = map.clone();
    for n in 0..20_000 {
        assert_eq!(map.remove(&scattered(n)), Some(n));
    }
    assert!(map.is_empty() && map.iter().next().is_none() && before.len() == 20_000);
    assert_eq!(before.values().count(), 20_000);
}
