//! An ordered map whose clones share what they have in common (Driscoll, Sarnak, Sleator, Tarjan 1989, "Making data
//! structures persistent": path copying): a B+-tree of counted nodes. While nobody shares a node it is changed in place; a
//! shared one is copied first, and so is each above it.
//!
//! ```text
//! branch   keys      k1     k2            children[i] holds the keys from keys[i - 1] up to, and without, keys[i]
//!          children  c0  c1     c2
//! leaf     entries   (k, v) (k, v) ...    ascending
//! ```
//!
//! All leaves are equally deep. No node is empty but the root of an empty map; a small one is joined with a neighbour where
//! both fit one node. A leaf has room for what is in it and for a few entries more, not for as many as a full one: keys that come in any
//! order leave leaves two thirds full, and memory is what ten million entries cost.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Bound;

/// An ordered map; cloning it takes constant time.
#[derive(Clone)]
pub struct PersistentMap<K, V> {
    root: Arc<Node<K, V>>,
    len: usize,
}

#[derive(Clone)]
enum Node<K, V> {
    Leaf(Vec<(K, V)>),
    Branch { keys: Vec<K>, children: Vec<Arc<Node<K, V>>> },
}

/// What an insertion leaves for the node above: what stood there before, and the upper half of a node that was full.
type Inserted<K, V> = (Option<V>, Option<(K, Arc<Node<K, V>>)>);

impl<K, V> Default for PersistentMap<K, V> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), len: 0 }
    }
}

impl<K, V> PersistentMap<K, V> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every entry, ascending.
    pub fn iter(&self) -> Iter<'_, K, V> {
        let mut iter = Iter { above: Vec::new(), leaf: [].iter() };
        iter.descend(&self.root, |_| 0);
        iter
    }

    /// Every value, by ascending key.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The entry with the highest key.
    pub fn last(&self) -> Option<(&K, &V)> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(entries) => return entries.last().map(|(key, value)| (key, value)),
                Node::Branch { children, .. } => node = children.last()?,
            }
        }
    }

    /// The entry with the lowest key.
    pub fn first(&self) -> Option<(&K, &V)> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(entries) => return entries.first().map(|(key, value)| (key, value)),
                Node::Branch { children, .. } => node = children.first()?,
            }
        }
    }
}

impl<K: Ord, V> PersistentMap<K, V> {
    /// The value at `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let place = entries.binary_search_by(|(known, _)| known.cmp(key)).ok()?;
                    return Some(&entries[place].1);
                }
                Node::Branch { keys, children } => node = &children[child_of(keys, key)],
            }
        }
    }

    /// Whether there is an entry at `key`.
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// The entries from `from` on, ascending.
    pub fn range(&self, from: Bound<&K>) -> Iter<'_, K, V> {
        let mut iter = Iter { above: Vec::new(), leaf: [].iter() };
        iter.descend(&self.root, |node| match (node, from) {
            (_, Bound::Unbounded) => 0,
            (Node::Branch { keys, .. }, Bound::Included(from) | Bound::Excluded(from)) => {
                child_of(keys, from)
            }
            (Node::Leaf(entries), Bound::Included(from)) => entries.partition_point(|(key, _)| key < from),
            (Node::Leaf(entries), Bound::Excluded(from)) => entries.partition_point(|(key, _)| key <= from),
        });
        iter
    }
}

impl<K: Ord + Clone, V: Clone> PersistentMap<K, V> {
    /// Puts `value` at `key`; what stood there before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (before, upper) = insert(&mut self.root, key, value);
        if let Some((at, upper)) = upper {
            let (keys, children) = (Vec::from([at]), Vec::from([Arc::clone(&self.root), upper]));
            self.root = Arc::new(Node::Branch { keys, children });
        }
        self.len += usize::from(before.is_none());
        before
    }

    /// Takes away what is at `key`.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let removed = remove(&mut self.root, key);
        self.len -= usize::from(removed.is_some());
        if self.len == 0 {
            *self = Self::default();
        }
        while let Node::Branch { children, .. } = &*self.root
            && let [only] = children.as_slice()
        {
            self.root = Arc::clone(only);
        }
        removed
    }

    /// Takes away the entry with the lowest key.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        let key = self.first()?.0.clone();
        self.remove(&key).map(|value| (key, value))
    }

    /// The value at `key`, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let mut node = Arc::make_mut(&mut self.root);
        loop {
            match node {
                Node::Leaf(entries) => {
                    let place = entries.binary_search_by(|(known, _)| known.cmp(key)).ok()?;
                    return Some(&mut entries[place].1);
                }
                Node::Branch { keys, children } => {
                    node = Arc::make_mut(&mut children[child_of(keys, key)]);
                }
            }
        }
    }
}

/// The place of the child that would hold `key`.
fn child_of<K: Ord>(keys: &[K], key: &K) -> usize {
    keys.partition_point(|at| at <= key)
}

fn insert<K: Ord + Clone, V: Clone>(node: &mut Arc<Node<K, V>>, key: K, value: V) -> Inserted<K, V> {
    match Arc::make_mut(node) {
        Node::Leaf(entries) => match entries.binary_search_by(|(known, _)| known.cmp(&key)) {
            Ok(place) => (Some(core::mem::replace(&mut entries[place].1, value)), None),
            Err(place) => {
                make_room(entries);
                entries.insert(place, (key, value));
                if entries.len() <= NODE_MAX {
                    return (None, None);
                }
                let upper = entries.split_off(half_behind(place, entries.len()));
                entries.shrink_to_fit();
                let at = upper[0].0.clone();
                (None, Some((at, Arc::new(Node::Leaf(upper)))))
            }
        },
        Node::Branch { keys, children } => {
            let place = child_of(keys, &key);
            let (before, upper) = insert(&mut children[place], key, value);
            let Some((at, upper)) = upper else { return (before, None) };
            keys.insert(place, at);
            children.insert(place + 1, upper);
            if children.len() <= NODE_MAX {
                return (before, None);
            }
            let half = half_behind(place + 1, children.len());
            let upper = children.split_off(half);
            let mut upper_keys = keys.split_off(half - 1);
            // What parts the two halves goes up.
            let at = upper_keys.remove(0);
            (before, Some((at, Arc::new(Node::Branch { keys: upper_keys, children: upper }))))
        }
    }
}

/// Has a leaf take one more entry, and a few to come.
fn make_room<T>(entries: &mut Vec<T>) {
    if entries.len() == entries.capacity() {
        entries.reserve_exact(more_than(entries.len()));
    }
}

/// How many more entries a leaf of `len` has room for when it is made larger.
fn more_than(len: usize) -> usize {
    (len / 8).max(2)
}

/// Where a node of `len` splits after something was put at `place`: in the middle, but at the end of one that grows at its
/// end. Keys that only rise leave full nodes behind them.
fn half_behind(place: usize, len: usize) -> usize {
    if place + 1 == len { len - 1 } else { len / 2 }
}

fn remove<K: Ord + Clone, V: Clone>(node: &mut Arc<Node<K, V>>, key: &K) -> Option<V> {
    match Arc::make_mut(node) {
        Node::Leaf(entries) => {
            let place = entries.binary_search_by(|(known, _)| known.cmp(key)).ok()?;
            let (_, value) = entries.remove(place);
            if entries.capacity() > 2 * entries.len() {
                entries.shrink_to(entries.len() + more_than(entries.len()));
            }
            Some(value)
        }
        Node::Branch { keys, children } => {
            let place = child_of(keys, key);
            let removed = remove(&mut children[place], key);
            let len = children[place].len();
            if len == 0 {
                children.remove(place);
                if !keys.is_empty() {
                    keys.remove(place.saturating_sub(1));
                }
            } else if len < NODE_SMALL {
                join(keys, children, place);
            }
            removed
        }
    }
}

/// Joins the small child at `place` with a neighbour, if both fit one node.
fn join<K: Clone, V: Clone>(keys: &mut Vec<K>, children: &mut Vec<Arc<Node<K, V>>>, place: usize) {
    let fits = |lower: usize| children[lower].len() + children[lower + 1].len() <= NODE_MAX;
    let with_next = place + 1 < children.len() && fits(place);
    let with_last = place > 0 && fits(place - 1);
    let lower = match (with_next, with_last) {
        (true, _) => place,
        (false, true) => place - 1,
        (false, false) => return,
    };
    let (at, upper) = (keys.remove(lower), children.remove(lower + 1));
    match (Arc::make_mut(&mut children[lower]), Arc::unwrap_or_clone(upper)) {
        (Node::Leaf(entries), Node::Leaf(more)) => {
            entries.reserve_exact(more.len());
            entries.extend(more);
        }
        (Node::Branch { keys, children }, Node::Branch { keys: more, children: others }) => {
            keys.push(at);
            keys.extend(more);
            children.extend(others);
        }
        _ => panic!("all leaves are equally deep"),
    }
}

impl<K, V> Node<K, V> {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Branch { children, .. } => children.len(),
        }
    }
}

/// Entries, ascending.
pub struct Iter<'a, K, V> {
    /// The children that are still to come, of each branch above the leaf.
    above: Vec<core::slice::Iter<'a, Arc<Node<K, V>>>>,
    leaf: core::slice::Iter<'a, (K, V)>,
}

impl<'a, K, V> Iter<'a, K, V> {
    /// Goes down from `node` to a leaf, to the place in each that `place` gives.
    fn descend(&mut self, mut node: &'a Node<K, V>, place: impl Fn(&Node<K, V>) -> usize) {
        loop {
            let from = place(node);
            match node {
                Node::Leaf(entries) => {
                    self.leaf = entries[from..].iter();
                    return;
                }
                Node::Branch { children, .. } => {
                    let mut rest = children[from..].iter();
                    let Some(first) = rest.next() else { return };
                    self.above.push(rest);
                    node = first;
                }
            }
        }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.leaf.next() {
                return Some((key, value));
            }
            let next = loop {
                match self.above.last_mut()?.next() {
                    Some(next) => break next,
                    None => self.above.pop(),
                };
            };
            self.descend(next, |_| 0);
        }
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for PersistentMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Eq, V: Eq> Eq for PersistentMap<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for PersistentMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// A node has at most so many entries or children: a copy of one is short, and a path to a leaf of a million has four.
const NODE_MAX: usize = 32;
/// One with fewer is joined with a neighbour, where it can be.
const NODE_SMALL: usize = NODE_MAX / 4;
