//! A bank: accounts, and transfers between them that never overdraw.

use super::bank_op::{Account, BankOp};
use super::bank_ways::ways;
use super::model::{Bounds, Model, Ways};

/// What is known of the books.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum Books {
    /// The balance of each account; `None` where it is not open.
    Known(Vec<Option<u128>>),
    /// Nobody has looked yet, and every balance is possible.
    Unseen,
}

/// A bank.
#[derive(Clone, Copy, Debug)]
pub struct Bank {
    accounts: usize,
    opens: bool,
}

impl Bank {
    /// A bank in which all accounts are opened by [`BankOp::Open`].
    pub fn closed(accounts: usize) -> Self {
        Self { accounts, opens: true }
    }

    /// A bank whose accounts were all open before the history began, with balances that the first [`BankOp::Read`]
    /// tells.
    pub fn founded(accounts: usize) -> Self {
        Self { accounts, opens: false }
    }
}

impl Model for Bank {
    type State = Books;
    type Op = BankOp;

    fn initial(&self) -> Books {
        if self.opens { Books::Known(vec![None; self.accounts]) } else { Books::Unseen }
    }

    fn step(&self, state: &Books, op: &BankOp) -> Option<Books> {
        match state {
            Books::Known(balances) => step_known(balances, op),
            Books::Unseen => step_unseen(self.accounts, op),
        }
    }

    fn is_pure(&self, op: &BankOp) -> bool {
        match op {
            BankOp::Open(..) | BankOp::Transfer(..) => false,
            // The first look at a founded bank settles what its balances are.
            BankOp::Read(_) => self.opens,
            BankOp::Balance(..)
            | BankOp::Missing(_)
            | BankOp::Present(_)
            | BankOp::Audit(..)
            | BankOp::Impossible => true,
        }
    }

    /// A read settles what a founded bank holds if it is the first. Once the balances are known they stay known, and a
    /// read that they allow changes nothing any more, now or later: so it may take effect now.
    fn looks(&self, op: &BankOp) -> bool {
        !matches!(op, BankOp::Open(..) | BankOp::Transfer(..))
    }

    fn is_pure_here(&self, op: &BankOp, hint: u64) -> bool {
        if hint & KNOWN == 0 { self.is_pure(op) } else { self.looks(op) }
    }

    fn matters_before(&self, first: &BankOp, owed: bool, then: &BankOp, hint: u64) -> bool {
        match (first, then) {
            // Two transfers commute, except that the second may need what the first brings.
            (BankOp::Transfer(_, to, _), BankOp::Transfer(from, _, _)) => {
                to == from && !is_ample(hint, *from)
            }
            (BankOp::Transfer(..), BankOp::Audit(..)) | (BankOp::Audit(..), BankOp::Transfer(..)) => false,
            (BankOp::Open(..), BankOp::Audit(..)) => true,
            (BankOp::Audit(..), BankOp::Open(..)) => owed,
            (changes, looks) if !self.is_pure_here(changes, hint) => share_an_account(changes, looks),
            (looks, changes) if !self.is_pure_here(changes, hint) => owed && share_an_account(looks, changes),
            _ => false,
        }
    }

    fn guesses(&self, state: &Books) -> bool {
        // Where single accounts are looked at as well, too much is left out.
        !self.opens && matches!(state, Books::Known(_))
    }

    fn ways(
        &self,
        state: &Books,
        op: &BankOp,
        open: &[&BankOp],
        lost: &[(&BankOp, u32)],
        bounds: Bounds,
    ) -> Ways {
        match (state, op) {
            (Books::Known(balances), BankOp::Read(seen)) => ways(balances, seen, open, lost, bounds),
            _ => Ways::default(),
        }
    }

    fn after_anything(&self, op: &BankOp) -> Option<Books> {
        match op {
            // What it does not tell of, nobody knows.
            BankOp::Read(seen) => (0..self.accounts)
                .map(|account| seen.iter().find(|of| of.0 == account).map(|of| Some(u128::from(of.1))))
                .collect::<Option<Vec<_>>>()
                .map(Books::Known),
            _ => None,
        }
    }

    /// One bit for each of the first 63 accounts: it holds enough for all open transfers out of it together. And one
    /// more: the balances are known.
    fn hint(&self, state: &Books, open: Option<&mut dyn Iterator<Item = &BankOp>>) -> u64 {
        let Books::Known(balances) = state else { return 0 };
        let Some(open) = open else { return KNOWN };
        let mut left: Vec<Option<u128>> = balances.iter().copied().take(ACCOUNTS_HINTED).collect();
        for op in open {
            if let BankOp::Transfer(from, _, amount) = op
                && let Some(balance) = left.get_mut(*from)
            {
                *balance = balance.and_then(|balance| balance.checked_sub(u128::from(*amount)));
            }
        }
        let ample = left.iter().enumerate().filter(|(_, left)| left.is_some());
        ample.fold(KNOWN, |hint, (account, _)| hint | 1 << account)
    }
}

/// The accounts of which a hint tells, and its bit that says that the balances are known.
const ACCOUNTS_HINTED: usize = 63;
const KNOWN: u64 = 1 << ACCOUNTS_HINTED;

/// Whether the hint says that the account never runs short.
fn is_ample(hint: u64, account: Account) -> bool {
    account < ACCOUNTS_HINTED && hint >> account & 1 == 1
}

fn step_known(balances: &[Option<u128>], op: &BankOp) -> Option<Books> {
    let same = || Some(Books::Known(balances.to_vec()));
    match op {
        BankOp::Open(account, balance) => {
            let mut balances = balances.to_vec();
            let place = balances.get_mut(*account)?;
            if place.is_some() {
                return None;
            }
            *place = Some(u128::from(*balance));
            Some(Books::Known(balances))
        }
        BankOp::Transfer(from, to, amount) => transfer(balances, *from, *to, *amount),
        BankOp::Balance(account, balance) => {
            (balances.get(*account)? == &Some(u128::from(*balance))).then(same)?
        }
        BankOp::Missing(account) => balances.get(*account)?.is_none().then(same)?,
        BankOp::Present(account) => balances.get(*account)?.is_some().then(same)?,
        BankOp::Audit(accounts, total) => {
            let open = balances.iter().flatten();
            let sum: u128 = open.clone().sum();
            (open.count() as u64 == *accounts && sum == u128::from(*total)).then(same)?
        }
        BankOp::Read(seen) => {
            let holds = |(account, balance): &(Account, u64)| {
                balances.get(*account) == Some(&Some(u128::from(*balance)))
            };
            seen.iter().all(holds).then(same)?
        }
        BankOp::Impossible => None,
    }
}

fn transfer(balances: &[Option<u128>], from: Account, to: Account, amount: u64) -> Option<Books> {
    let amount = u128::from(amount);
    let left = balances.get(from).copied()??.checked_sub(amount)?;
    let received = balances.get(to).copied()??;
    let mut balances = balances.to_vec();
    if from != to {
        balances[from] = Some(left);
        balances[to] = Some(received.checked_add(amount)?);
    }
    Some(Books::Known(balances))
}

fn step_unseen(accounts: usize, op: &BankOp) -> Option<Books> {
    match op {
        // What was moved before the first look is in what it saw.
        BankOp::Transfer(..) => Some(Books::Unseen),
        BankOp::Read(seen) => {
            let mut balances = vec![None; accounts];
            for (account, balance) in seen {
                *balances.get_mut(*account)? = Some(u128::from(*balance));
            }
            Some(Books::Known(balances))
        }
        _ => None,
    }
}

/// Whether `changes` moves an account that `looks` says something about.
fn share_an_account(one: &BankOp, other: &BankOp) -> bool {
    match (accounts_of(one), accounts_of(other)) {
        (Some(one), Some(other)) => {
            one.iter().flatten().any(|account| other.iter().flatten().any(|o| o == account))
        }
        // One of them is about all accounts.
        _ => true,
    }
}

/// The accounts an operation is about; `None` for all of them.
fn accounts_of(op: &BankOp) -> Option<[Option<Account>; 2]> {
    match op {
        BankOp::Open(account, _)
        | BankOp::Balance(account, _)
        | BankOp::Missing(account)
        | BankOp::Present(account) => Some([Some(*account), None]),
        BankOp::Transfer(from, to, _) => Some([Some(*from), Some(*to)]),
        BankOp::Impossible => Some([None, None]),
        BankOp::Audit(..) | BankOp::Read(_) => None,
    }
}
