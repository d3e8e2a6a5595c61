//! A bank: accounts and transfers. Whatever happens, the sum of all balances is what was paid in.

use core::ops::Bound;

use bytes::Bytes;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::codec::{self, ByteReader, ByteWriter};
use crate::collections::PersistentMap;
use crate::kernel::{ApplyContext, ChrApplication, Chunk, Cursor, Event, QueryContext, Schema};
use crate::types::{GroupInit, u64_of};

/// What a client asks of the bank; the body of its command is `codec::encode` of this.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum BankCommand {
    /// Open an account.
    Open {
        /// Its number.
        account: u64,
        /// What is paid in.
        balance: u64,
    },
    /// Move money between two accounts.
    Transfer {
        /// Who pays.
        from: u64,
        /// Who is paid.
        to: u64,
        /// How much.
        amount: u64,
    },
    /// The balance of an account.
    Balance {
        /// Its number.
        account: u64,
    },
    /// The number of accounts and the sum of their balances.
    Audit,
}

/// What the bank answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum BankAnswer {
    /// The account is open.
    Opened,
    /// The money has moved.
    Transferred,
    /// The balance.
    Balance(u64),
    /// The books.
    Audit {
        /// How many accounts there are.
        accounts: u64,
        /// The sum of their balances.
        total: u64,
    },
}

/// Why the bank refuses.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode, thiserror::Error)]
#[bincode(crate = "crate::codec::wire")]
pub enum BankError {
    /// The body is not a bank command.
    #[error("not a bank command")]
    Malformed,
    /// The account is open already.
    #[error("account {account} is open already")]
    Exists {
        /// Its number.
        account: u64,
    },
    /// The account does not exist.
    #[error("account {account} does not exist")]
    NoAccount {
        /// Its number.
        account: u64,
    },
    /// There is not enough money.
    #[error("account {account} holds {balance}, which is less than asked for")]
    Insufficient {
        /// Who was to pay.
        account: u64,
        /// What is there.
        balance: u64,
    },
    /// The sum of all balances would not fit in 64 bits.
    #[error("the bank cannot hold more than 2^64 - 1 in all")]
    Overflow,
}

/// The application. It holds nothing itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bank;

/// The books.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BankState {
    balances: PersistentMap<u64, u64>,
    /// What was paid in: keeps the sum of all balances within 64 bits.
    paid_in: u64,
}

impl ChrApplication for Bank {
    const SCHEMA: Schema = Schema(1);
    type State = BankState;
    type QueryRequest = u64;
    type QueryResponse = Option<u64>;
    type Error = BankError;

    fn genesis(&self, _group: &GroupInit) -> BankState {
        BankState::default()
    }

    fn apply(
        &self,
        state: &mut BankState,
        event: Event<'_>,
        _ctx: &mut ApplyContext<'_>,
    ) -> Result<Bytes, BankError> {
        let Event::Command(body) = event else { return Err(BankError::Malformed) };
        let command = codec::decode(body).map_err(|_| BankError::Malformed)?;
        let answer = state.execute(command)?;
        Ok(Bytes::from(codec::encode(&answer)))
    }

    fn query(&self, state: &BankState, account: u64, _ctx: &mut QueryContext) -> Option<u64> {
        state.balances.get(&account).copied()
    }

    fn snapshot(&self, state: &BankState, from: Cursor, out: &mut Chunk) -> Option<Cursor> {
        let after = from.get::<u64>();
        let mut rest = state.balances.range(after.as_ref().map_or(Bound::Unbounded, Bound::Excluded));
        let mut writer = ByteWriter::default();
        let mut last = None;
        for (account, balance) in rest.by_ref().take(SLICE_ACCOUNTS) {
            writer.u64(*account).u64(*balance);
            last = Some(*account);
        }
        out.extend_from_slice(writer.as_slice());
        rest.next().and(last).map(|account| Cursor::after(&account))
    }

    fn restore(&self, state: &mut BankState, _from: Schema, chunk: &[u8]) -> Result<(), BankError> {
        let mut reader = ByteReader::new(chunk);
        while !reader.rest().is_empty() {
            let account = reader.u64().map_err(|_| BankError::Malformed)?;
            let balance = reader.u64().map_err(|_| BankError::Malformed)?;
            state.open(account, balance)?;
        }
        Ok(())
    }
}

impl BankState {
    /// The sum of all balances, counted anew: for auditors that trust nobody.
    pub fn recount(&self) -> u128 {
        self.balances.values().map(|balance| u128::from(*balance)).sum()
    }

    fn execute(&mut self, command: BankCommand) -> Result<BankAnswer, BankError> {
        match command {
            BankCommand::Open { account, balance } => {
                self.open(account, balance)?;
                Ok(BankAnswer::Opened)
            }
            BankCommand::Transfer { from, to, amount } => {
                self.transfer(from, to, amount)?;
                Ok(BankAnswer::Transferred)
            }
            BankCommand::Balance { account } => Ok(BankAnswer::Balance(self.balance(account)?)),
            BankCommand::Audit => {
                // Counted anew: a sum that is only carried along would say that all is well whatever happens.
                let total = self.balances.values().sum();
                Ok(BankAnswer::Audit { accounts: u64_of(self.balances.len()), total })
            }
        }
    }

    fn balance(&self, account: u64) -> Result<u64, BankError> {
        self.balances.get(&account).copied().ok_or(BankError::NoAccount { account })
    }

    fn open(&mut self, account: u64, balance: u64) -> Result<(), BankError> {
        if self.balances.contains_key(&account) {
            return Err(BankError::Exists { account });
        }
        self.paid_in = self.paid_in.checked_add(balance).ok_or(BankError::Overflow)?;
        self.balances.insert(account, balance);
        Ok(())
    }

    fn transfer(&mut self, from: u64, to: u64, amount: u64) -> Result<(), BankError> {
        let balance = self.balance(from)?;
        let left = balance.checked_sub(amount).ok_or(BankError::Insufficient { account: from, balance })?;
        let received = self.balance(to)?;
        if from == to {
            return Ok(());
        }
        // Cannot overflow: no balance exceeds what was paid in, which fits.
        self.balances.insert(from, left);
        self.balances.insert(to, received + amount);
        Ok(())
    }
}

/// Accounts in one slice of a snapshot.
const SLICE_ACCOUNTS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::{BankAnswer, BankCommand, BankError, BankState};

    fn bank() -> BankState {
        let mut bank = BankState::default();
        bank.execute(BankCommand::Open { account: 1, balance: 70 }).expect("a new account");
        bank.execute(BankCommand::Open { account: 2, balance: 30 }).expect("a new account");
        bank
    }

    #[test]
    fn transfers_move_money_and_make_none() {
        let mut bank = bank();
        assert_eq!(
            bank.execute(BankCommand::Transfer { from: 1, to: 2, amount: 70 }),
            Ok(BankAnswer::Transferred)
        );
        assert_eq!(
            bank.execute(BankCommand::Transfer { from: 2, to: 2, amount: 100 }),
            Ok(BankAnswer::Transferred)
        );
        assert_eq!(bank.execute(BankCommand::Balance { account: 2 }), Ok(BankAnswer::Balance(100)));
        assert_eq!(bank.execute(BankCommand::Audit), Ok(BankAnswer::Audit { accounts: 2, total: 100 }));
    }

    #[test]
    fn a_refusal_leaves_the_books_as_they_were() {
        let mut bank = bank();
        let before = bank.clone();
        let refused = [
            (
                BankCommand::Transfer { from: 1, to: 2, amount: 71 },
                BankError::Insufficient { account: 1, balance: 70 },
            ),
            (BankCommand::Transfer { from: 1, to: 9, amount: 1 }, BankError::NoAccount { account: 9 }),
            (BankCommand::Open { account: 1, balance: 5 }, BankError::Exists { account: 1 }),
            (BankCommand::Open { account: 3, balance: u64::MAX }, BankError::Overflow),
        ];
        for (command, error) in refused {
            assert_eq!(bank.execute(command), Err(error));
            assert_eq!(bank, before);
        }
    }
}
