//! What is asked of a bank.

/// An account, by its place in a list of the caller's.
pub type Account = usize;

/// A call on a bank with its answer.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum BankOp {
    /// The account was opened with this balance.
    Open(Account, u64),
    /// The amount went from the first account to the second.
    Transfer(Account, Account, u64),
    /// The account held this.
    Balance(Account, u64),
    /// The account was not open.
    Missing(Account),
    /// The account was open.
    Present(Account),
    /// There were so many accounts, with so much in all.
    Audit(u64, u64),
    /// These accounts held these balances, all at once.
    Read(Vec<(Account, u64)>),
    /// An answer that no bank gives.
    Impossible,
}
