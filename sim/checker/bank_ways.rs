//! Which transfers lead from the balances that are known to those that were seen.
//!
//! Sets of transfers are compared by the sum of what each does, where an account counts as a number of many digits. So
//! the sets of two halves of the open transfers are put together by looking up what is missing, with no lost transfer
//! at first, then with one, then with two. What is found here is a guess, to be tried before it counts: two sums may
//! agree by chance, and of transfers out of one account the order may matter.

use super::bank_op::{Account, BankOp};
use super::model::{Bounds, Ways};

/// Sets of the open and lost transfers by which `balances` may come to those seen, those with the fewest lost ones, and
/// those with up to `spare` more, but none with more than `lost_max`.
pub fn ways(
    balances: &[Option<u128>],
    seen: &[(Account, u64)],
    open: &[&BankOp],
    lost: &[(&BankOp, u32)],
    Bounds { spare, lost_max }: Bounds,
) -> Ways {
    // An account that was not looked at does not count.
    let mut digits = vec![0; balances.len()];
    let mut missing = 0_u64;
    for (account, balance) in seen {
        let Some(Some(held)) = balances.get(*account) else { return Ways::default() };
        digits[*account] = number(*account);
        let more = balance.wrapping_sub(*held as u64);
        missing = missing.wrapping_add(more.wrapping_mul(digits[*account]));
    }
    let moves: Vec<(usize, u64)> = open
        .iter()
        .enumerate()
        .filter_map(|(at, op)| Some((at, change(&digits, op)?)))
        .take(2 * HALF_MAX)
        .collect();
    let (one, other) = moves.split_at(moves.len() / 2);
    let mut search =
        Search { one: sums(one), other: sums(other), moves: &moves, ways: Ways::default(), lookups: 0 };
    search.other.sort_unstable();
    let mut spare_left = spare;
    for set in [Lost::None, Lost::One, Lost::Two].into_iter().take(lost_max + 1) {
        search.with_lost(set, missing, &digits, open.len(), lost);
        if !search.ways.sets.is_empty() {
            match spare_left.checked_sub(1) {
                Some(left) => spare_left = left,
                None => break,
            }
        }
    }
    search.ways.steps = 1 + search.lookups / LOOKUPS_A_STEP;
    search.ways
}

/// How many lost transfers take effect.
#[derive(Clone, Copy)]
enum Lost {
    None,
    One,
    Two,
}

/// Sums of transfers, and which of them by bits.
type Sums = Vec<(u64, u32)>;

struct Search<'a> {
    one: Sums,
    /// In order.
    other: Sums,
    moves: &'a [(usize, u64)],
    ways: Ways,
    lookups: u64,
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        self.ways.sets.len() >= WAYS_MAX || self.lookups >= LOOKUPS_MAX
    }

    /// Looks for ways with so many lost transfers, which are numbered from `first` on.
    fn with_lost(&mut self, set: Lost, missing: u64, digits: &[u64], first: usize, lost: &[(&BankOp, u32)]) {
        let changes: Vec<(usize, u64, u32)> = lost
            .iter()
            .enumerate()
            .filter_map(|(at, (op, left))| Some((first + at, change(digits, op)?, *left)))
            .filter(|(_, _, left)| *left > 0)
            .collect();
        match set {
            Lost::None => self.look_up(missing, &[]),
            Lost::One => {
                for (at, change, _) in &changes {
                    self.look_up(missing.wrapping_sub(*change), &[*at]);
                }
            }
            Lost::Two => {
                for (place, (at, change, left)) in changes.iter().enumerate() {
                    // The same kind twice, if there are two.
                    let from = if *left > 1 { place } else { place + 1 };
                    for (other, more, _) in &changes[from..] {
                        if self.is_over() {
                            return;
                        }
                        let missing = missing.wrapping_sub(*change).wrapping_sub(*more);
                        self.look_up(missing, &[*at, *other]);
                    }
                }
            }
        }
    }

    /// Adds the sets of open transfers that together do this.
    fn look_up(&mut self, missing: u64, lost: &[usize]) {
        for (sum, mask) in &self.one {
            if self.is_over() {
                return;
            }
            self.lookups += 1;
            let rest = missing.wrapping_sub(*sum);
            let at = self.other.partition_point(|(sum, _)| *sum < rest);
            let found = self.other[at..].iter().take_while(|(sum, _)| *sum == rest);
            for (_, others) in found.take(WAYS_MAX) {
                let half = self.moves.len() / 2;
                let chosen = |place: usize| match place.checked_sub(half) {
                    None => mask >> place & 1 == 1,
                    Some(place) => others >> place & 1 == 1,
                };
                let open = self.moves.iter().enumerate().filter(|(place, _)| chosen(*place));
                self.ways.sets.push(open.map(|(_, (at, _))| *at).chain(lost.iter().copied()).collect());
            }
        }
    }
}

/// The sums of all sets of these.
fn sums(moves: &[(usize, u64)]) -> Sums {
    let mut sums = vec![(0, 0)];
    for (place, (_, change)) in moves.iter().enumerate() {
        for at in 0..sums.len() {
            let (sum, mask): (u64, u32) = sums[at];
            sums.push((sum.wrapping_add(*change), mask | 1 << place));
        }
    }
    sums
}

/// What a transfer does to the accounts that count; `None` when nothing, or it is no transfer.
fn change(digits: &[u64], op: &BankOp) -> Option<u64> {
    let BankOp::Transfer(from, to, amount) = op else { return None };
    let apart = digits.get(*to)?.wrapping_sub(*digits.get(*from)?);
    Some(amount.wrapping_mul(apart)).filter(|change| *change != 0)
}

/// A number for an account, with no pattern to it (the finalizer of SplitMix64).
fn number(account: Account) -> u64 {
    let mut z = (account as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Open transfers in each half at most.
const HALF_MAX: usize = 10;

/// Ways told at most, and sums looked up for them.
const WAYS_MAX: usize = 64;
const LOOKUPS_MAX: u64 = 100_000;

/// Sums that are looked up in the time of one step.
const LOOKUPS_A_STEP: u64 = 16;

#[cfg(test)]
mod tests {
    use chronon_core::types::Prng;

    use super::ways;
    use crate::checker::{Account, Bank, BankOp, Books, Bounds, Model};

    #[test]
    fn what_is_told_leads_there_and_whatever_leads_there_is_told() {
        let (bank, mut prng) = (Bank::founded(3), Prng::from_key([13; 32]));
        let balances = vec![Some(100_u128); 3];
        let mut reached = [0; 2];
        for _ in 0..2000 {
            let mut transfers = |count: u64| -> Vec<BankOp> {
                let account = |prng: &mut Prng| prng.below(3) as Account;
                let transfer =
                    |_| BankOp::Transfer(account(&mut prng), account(&mut prng), prng.between(1, 4));
                (0..count).map(transfer).collect()
            };
            let (open, lost) = (transfers(5), transfers(2));
            // As much as there was in all; not every split of it can be reached.
            let (one, other) = (prng.between(97, 103), prng.between(97, 103));
            let seen: Vec<(Account, u64)> = vec![(0, one), (1, other), (2, 300 - one - other)];
            let lost_max = prng.below(3) as usize;
            let apply = |set: &[usize]| {
                let all: Vec<&BankOp> = open.iter().chain(&lost).collect();
                let first = Books::Known(balances.clone());
                set.iter().fold(first, |books, at| bank.step(&books, all[*at]).expect("there is enough"))
            };
            let read = BankOp::Read(seen.clone());
            let leads_there = |set: &[usize]| bank.step(&apply(set), &read).is_some();
            let possible = (0..1_usize << 7).any(|mask| {
                let set: Vec<usize> = (0..7).filter(|at| mask >> at & 1 == 1).collect();
                set.iter().filter(|at| **at >= 5).count() <= lost_max && leads_there(&set)
            });
            let open: Vec<&BankOp> = open.iter().collect();
            let lost: Vec<(&BankOp, u32)> = lost.iter().map(|op| (op, 1)).collect();
            let told = ways(&balances, &seen, &open, &lost, Bounds { spare: 0, lost_max });
            assert_eq!(!told.sets.is_empty(), possible, "{open:?} {lost:?} {seen:?}");
            for set in &told.sets {
                assert!(leads_there(set), "{set:?} of {open:?} {lost:?} for {seen:?}");
            }
            reached[usize::from(possible)] += 1;
        }
        assert!(reached.iter().all(|count| *count > 100), "too few of one kind: {reached:?}");
    }
}
