//! What is committed in one group, as told from outside: CommittedOnQuorum (3), CommittedImmutable (2), LeaderComplete
//! (6), ChainMatch (7), Intersect (10), NoCommittedTruncate (28).
//!
//! A commit takes place when a primary first shows it. Which entry it is follows from what that primary sent in its
//! view, or, where it sends nothing because it is alone, from its disk.

use std::collections::BTreeMap;

use chronon_core::types::{EntryHeader, GroupInit, Hash, NodeId};

use super::acks::VIEWS_KEPT;
use super::shadow::Broken;
use crate::journal::Payload;

/// The facts of a group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    nodes: Vec<NodeId>,
    voters: Voters,
    genesis: Hash,
    /// By op, from op 1.
    committed: Vec<Committed>,
    /// Entries above what is committed, that somebody sent or wrote.
    seen: BTreeMap<(u64, Hash), Seen>,
    /// What the primaries of the latest views sent as their log.
    logs: BTreeMap<u64, BTreeMap<u64, Hash>>,
    /// Whose view-change messages reached the primary of a view.
    left: BTreeMap<u64, Voters>,
    /// The highest view that has started.
    started: u64,
    /// The first view of the present epoch.
    entered: u64,
    pub compared: Compared,
}

/// How often each invariant was held against something.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Compared {
    pub committed_on_quorum: u64,
    pub committed_immutable: u64,
    pub no_committed_truncate: u64,
    pub leader_complete: u64,
    pub chain_match: u64,
    pub intersect: u64,
}

#[derive(Clone, Copy, Debug)]
struct Committed {
    hash: Hash,
    /// The view whose primary showed the commit.
    view: u64,
    /// On whose copies it rests: those who acknowledged it in that view. A copy of an earlier view may still be there,
    /// with its truncation on the way to the disk.
    holders: Voters,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    parent: Hash,
    payload: Option<Payload>,
    /// Who has it durably.
    holders: Voters,
}

/// A set of nodes, by their places.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Voters(u16);

impl Voters {
    fn add(&mut self, place: usize) {
        self.0 |= 1 << place;
    }

    fn remove(&mut self, place: usize) {
        self.0 &= !(1 << place);
    }

    fn count(self) -> u32 {
        self.0.count_ones()
    }

    fn has(self, place: usize) -> bool {
        self.0 & 1 << place != 0
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// How many of these there are in `other`.
    fn count_in(self, other: Self) -> u32 {
        Self(self.0 & other.0).count()
    }

    /// Whether `other` holds more than half of these.
    fn has_majority_in(self, other: Self) -> bool {
        self.count_in(other) > self.count() / 2
    }
}

/// An entry that was just committed.
#[derive(Debug)]
pub(super) struct NewCommit {
    pub op: u64,
    pub payload: Option<Payload>,
}

impl Group {
    pub(super) fn new(init: &GroupInit, nodes: &[NodeId]) -> Self {
        Self {
            nodes: nodes.to_vec(),
            voters: places(nodes, &init.voters),
            genesis: init.genesis().hash(),
            committed: Vec::new(),
            seen: BTreeMap::new(),
            logs: BTreeMap::new(),
            left: BTreeMap::new(),
            // The first view, 1 + g mod N, starts by itself: there is none before it to be left.
            started: 1 + u64::from(init.group.get()) % init.voters.len() as u64,
            entered: 0,
            compared: Compared::default(),
        }
    }

    /// The highest op committed.
    pub(super) fn commit(&self) -> u64 {
        self.committed.len() as u64
    }

    /// Whether the group has one voter.
    pub(super) fn is_alone(&self) -> bool {
        self.voters.count() == 1
    }

    fn at(&self, op: u64) -> Option<&Committed> {
        self.committed.get(usize::try_from(op.checked_sub(1)?).ok()?)
    }

    /// The hash of the entry that was committed at `op`.
    pub(super) fn committed(&self, op: u64) -> Option<Hash> {
        if op == 0 { Some(self.genesis) } else { self.at(op).map(|committed| committed.hash) }
    }

    fn place(&self, node: NodeId) -> Option<usize> {
        self.nodes.iter().position(|other| *other == node)
    }

    /// Whether `node` may vote in `view`; of epochs that are over that is not known any more.
    pub(super) fn may_vote(&self, node: NodeId, view: u64) -> bool {
        view < self.entered || self.votes(node)
    }

    /// Whether `node` votes in the present epoch.
    pub(super) fn votes(&self, node: NodeId) -> bool {
        self.place(node).is_some_and(|place| self.voters.has(place))
    }

    /// Others vote from here on; the first view of their epoch starts by itself.
    pub(super) fn enter(&mut self, voters: &[NodeId], first_view: u64) {
        self.voters = places(&self.nodes, voters);
        self.started = self.started.max(first_view);
        self.entered = first_view;
    }

    /// An entry is on its way to a disk, or to a backup.
    pub(super) fn see_entry(&mut self, op: u64, hash: Hash, parent: Hash, payload: impl FnOnce() -> Payload) {
        if op > self.commit() {
            self.seen.entry((op, hash)).or_insert_with(|| Seen {
                parent,
                payload: Some(payload()),
                holders: Voters::default(),
            });
        }
    }

    /// `node` holds the entry durably.
    pub(super) fn hold(&mut self, node: NodeId, op: u64, hash: Hash) {
        let Some(place) = self.place(node) else { return };
        if let Some(seen) = self.seen.get_mut(&(op, hash)) {
            seen.holders.add(place);
        }
    }

    /// `node` cuts its log above `above`, durably: nothing of that was a copy on which a commit rests.
    pub(super) fn cut(&mut self, node: NodeId, above: u64) -> Result<(), Broken> {
        let Some(place) = self.place(node) else { return Ok(()) };
        let cut = self.seen.range_mut((above.saturating_add(1), Hash::ZERO)..);
        cut.for_each(|(_, seen)| seen.holders.remove(place));
        self.compared.no_committed_truncate += 1;
        let first = usize::try_from(above).unwrap_or(usize::MAX);
        let lost = self.committed.iter().zip(1..).skip(first).find(|(entry, _)| entry.holders.has(place));
        lost.map_or(Ok(()), |(Committed { hash, view, .. }, op)| {
            let op: u64 = op;
            let what =
                format!("the log is cut above op {above}; op {op} ({hash:?}) was committed in view {view} with this copy");
            Err(Broken::new("NoCommittedTruncate", what))
        })
    }

    /// The primary of `view` sends `hash` as op `op` of its log.
    pub(super) fn lead(&mut self, view: u64, op: u64, hash: Hash) -> Result<(), Broken> {
        self.logs.entry(view).or_default().insert(op, hash);
        self.compared.committed_immutable += 1;
        match self.at(op) {
            Some(committed) if committed.hash != hash && committed.view <= view => {
                let what = format!(
                    "op {op} was committed as {:?} in view {}, and the primary of view {view} sends {hash:?}",
                    committed.hash, committed.view
                );
                Err(Broken::new("CommittedImmutable", what))
            }
            _ => Ok(()),
        }
    }

    /// Somebody whose log is that of `view` holds `hash` as op `op`.
    pub(super) fn tell(&mut self, view: u64, op: u64, hash: Hash) {
        self.logs.entry(view).or_default().entry(op).or_insert(hash);
    }

    /// Somebody says that op `op` is `hash`, and committed.
    pub(super) fn told(&mut self, op: u64, hash: Hash) -> Result<(), Broken> {
        self.compared.committed_immutable += 1;
        match self.at(op) {
            Some(committed) if committed.hash != hash => {
                let what = format!("op {op} was committed as {:?}, and is told as {hash:?}", committed.hash);
                Err(Broken::new("CommittedImmutable", what))
            }
            _ => self.known(op),
        }
    }

    /// Somebody says that op `op` is committed: some primary has committed it, then.
    pub(super) fn known(&self, op: u64) -> Result<(), Broken> {
        if op <= self.commit() {
            return Ok(());
        }
        let what =
            format!("op {op} is told to be committed, and no primary has got beyond op {}", self.commit());
        Err(Broken::new("CommittedOnQuorum", what))
    }

    /// A view-change message of `from` for `view` reached its primary.
    pub(super) fn leave(&mut self, from: NodeId, view: u64) {
        if let Some(place) = self.place(from) {
            self.left.entry(view).or_default().add(place);
        }
    }

    /// `node` starts `view` with a log that goes through `headers`.
    pub(super) fn start(&mut self, node: NodeId, view: u64, headers: &[EntryHeader]) -> Result<(), Broken> {
        let head = headers.last().map_or(0, |header| header.op().get());
        let earlier = self.committed.iter().rposition(|committed| committed.view <= view);
        let must_hold = earlier.map_or(0, |index| index as u64 + 1);
        self.compared.leader_complete += 1;
        if head < must_hold {
            let what = format!(
                "view {view} starts with a log that ends at op {head}, and op {must_hold} is committed"
            );
            return Err(Broken::new("LeaderComplete", what));
        }
        for header in headers {
            let (op, hash) = (header.op().get(), header.hash());
            match self.at(op) {
                Some(committed) if committed.view <= view && committed.hash != hash => {
                    let what = format!(
                        "view {view} starts with {hash:?} at op {op}, where {:?} is committed",
                        committed.hash
                    );
                    return Err(Broken::new("LeaderComplete", what));
                }
                _ => self.logs.entry(view).or_default().insert(op, hash),
            };
        }
        self.intersect(node, view)
    }

    /// Enough voters left the earlier views, and one of them held the latest commit.
    fn intersect(&mut self, node: NodeId, view: u64) -> Result<(), Broken> {
        if view <= self.started {
            // Said again to one that has not heard it.
            return Ok(());
        }
        self.started = view;
        let Some(place) = self.place(node) else { return Ok(()) };
        let mut left = self.left.remove(&view).unwrap_or_default();
        left.add(place);
        self.left = self.left.split_off(&view);
        self.compared.intersect += 1;
        if !self.voters.has_majority_in(left) {
            let count = self.voters.count_in(left);
            let what = format!("view {view} starts after {count} voters left the views before");
            return Err(Broken::new("Intersect", what));
        }
        let before = self.committed.iter().rfind(|committed| committed.view < view);
        match before {
            Some(committed) if !left.meets(committed.holders) => {
                let what = format!("view {view} starts from voters of which none held {:?}", committed.hash);
                Err(Broken::new("Intersect", what))
            }
            _ => Ok(()),
        }
    }

    /// The primary of `view` shows that everything up to `op` is committed. `own` tells of an op what that primary has
    /// on its disk, `acked` who gave that view its word for all of it. The last of these makes `next` the voters, if it makes
    /// any. Hands each new commit to `became`.
    pub(super) fn raise(
        &mut self,
        (view, op): (u64, u64),
        next: Option<&[NodeId]>,
        own: impl Fn(u64) -> Option<Hash>,
        acked: impl Fn(NodeId) -> bool,
        mut became: impl FnMut(NewCommit),
    ) -> Result<(), Broken> {
        if op <= self.commit()
            && let Some(hash) = self.logs.get(&view).and_then(|log| log.get(&op)).copied()
        {
            self.told_in_log(view, op, hash)?;
        }
        let before = self.commit();
        let mut backing = Voters::default();
        let makes = next.map(|voters| places(&self.nodes, voters));
        let backs = self.nodes.iter().enumerate().filter(|(_, node)| acked(**node));
        backs.for_each(|(place, _)| backing.add(place));
        while self.commit() < op {
            let next = self.commit() + 1;
            let sent = self.logs.get(&view).and_then(|log| log.get(&next)).copied();
            let Some(hash) = sent.or_else(|| own(next)) else {
                let what =
                    format!("view {view} commits op {next}, which its primary has neither sent nor written");
                return Err(Broken::new("CommittedOnQuorum", what));
            };
            let seen = self.seen.remove(&(next, hash)).unwrap_or_default();
            let makes = makes.filter(|_| next == op);
            self.judge_commit((view, next), hash, &seen, makes)?;
            self.committed.push(Committed { hash, view, holders: Voters(seen.holders.0 & backing.0) });
            became(NewCommit { op: next, payload: seen.payload });
        }
        if self.commit() > before {
            self.forget();
        }
        Ok(())
    }

    /// A primary that shows an old commit shows the entry that was committed.
    fn told_in_log(&mut self, view: u64, op: u64, hash: Hash) -> Result<(), Broken> {
        match self.at(op) {
            Some(committed) if committed.hash != hash => {
                let what = format!(
                    "op {op} was committed as {:?}, and view {view} commits {hash:?}",
                    committed.hash
                );
                Err(Broken::new("CommittedImmutable", what))
            }
            _ => Ok(()),
        }
    }

    fn judge_commit(
        &mut self,
        (view, op): (u64, u64),
        hash: Hash,
        seen: &Seen,
        makes: Option<Voters>,
    ) -> Result<(), Broken> {
        self.compared.committed_on_quorum += 1;
        for voters in [Some(self.voters), makes].into_iter().flatten() {
            if !voters.has_majority_in(seen.holders) {
                let (holders, voters) = (voters.count_in(seen.holders), voters.count());
                let what = format!(
                    "view {view} commits op {op} ({hash:?}), which {holders} of {voters} voters have held durably"
                );
                return Err(Broken::new("CommittedOnQuorum", what));
            }
        }
        self.compared.chain_match += 1;
        let below =
            op.checked_sub(1).and_then(|below| self.at(below)).map_or(self.genesis, |entry| entry.hash);
        if seen.parent != below {
            let what =
                format!("op {op} ({hash:?}) follows {:?}, and op {} is {below:?}", seen.parent, op - 1);
            return Err(Broken::new("ChainMatch", what));
        }
        Ok(())
    }

    /// Lets go of what can no longer be asked about.
    fn forget(&mut self) {
        let commit = self.commit();
        while self.seen.first_key_value().is_some_and(|((op, _), _)| *op <= commit) {
            self.seen.pop_first();
        }
        while self.logs.len() > VIEWS_KEPT {
            self.logs.pop_first();
        }
        if commit.is_multiple_of(FORGET_EVERY) {
            for log in self.logs.values_mut() {
                *log = log.split_off(&commit.saturating_sub(FORGET_EVERY));
            }
        }
    }
}

fn places(nodes: &[NodeId], voters: &[NodeId]) -> Voters {
    let mut places = Voters::default();
    let is_one = |(_, node): &(usize, &NodeId)| voters.contains(node);
    nodes.iter().enumerate().filter(is_one).for_each(|(place, _)| places.add(place));
    places
}

/// How far behind the commit a primary's log is remembered, and how often that is seen to.
const FORGET_EVERY: u64 = 1024;
