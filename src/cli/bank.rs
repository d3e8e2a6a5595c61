//! `chronon bank`.

use chronon_core::bank::{BankAnswer, BankCommand, BankError};
use chronon_core::builtin::{BuiltinQuery, BuiltinView};
use chronon_core::node::Freshness;
use chronon_core::types::GroupId;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Answer, FreshnessArgs, NodesArgs, parse_group};
use crate::client::{self, Client};

/// Move money.
#[derive(Args, Debug)]
pub(super) struct BankArgs {
    #[command(subcommand)]
    verb: BankVerb,
    #[command(flatten)]
    nodes: NodesArgs,
    /// The group that holds the bank.
    #[arg(long, global = true, default_value = "0", value_parser = parse_group)]
    group: GroupId,
}

#[derive(Debug, Subcommand)]
enum BankVerb {
    /// Open an account and pay something in.
    Open { account: u64, balance: u64 },
    /// Move money between two accounts.
    Transfer { from: u64, to: u64, amount: u64 },
    /// The balance of an account.
    Balance {
        account: u64,
        #[command(flatten)]
        freshness: FreshnessArgs,
    },
    /// The number of accounts and the sum of their balances.
    Audit,
}

pub(super) fn run(args: &BankArgs) -> anyhow::Result<Answer> {
    let command = match &args.verb {
        BankVerb::Open { account, balance } => BankCommand::Open { account: *account, balance: *balance },
        BankVerb::Transfer { from, to, amount } => {
            BankCommand::Transfer { from: *from, to: *to, amount: *amount }
        }
        BankVerb::Balance { account, freshness } => {
            return balance(args, *account, freshness.freshness());
        }
        BankVerb::Audit => BankCommand::Audit,
    };
    Ok(match Client::new(args.nodes.client()).bank(args.group, &command)? {
        BankAnswer::Opened => Answer { text: "opened".to_owned(), json: json!({ "opened": true }) },
        BankAnswer::Transferred => {
            Answer { text: "transferred".to_owned(), json: json!({ "transferred": true }) }
        }
        BankAnswer::Balance(_) => anyhow::bail!("a transfer was answered like a question"),
        BankAnswer::Audit { accounts, total } => Answer {
            text: format!("{accounts} accounts hold {total} in all"),
            json: json!({ "accounts": accounts, "total": total }),
        },
    })
}

fn balance(args: &BankArgs, account: u64, freshness: Freshness) -> anyhow::Result<Answer> {
    let question = BuiltinQuery::Balance { account };
    let (op, view) = client::query(&args.nodes.client(), args.group, &question, freshness)?;
    let BuiltinView::Balance(balance) = view else { anyhow::bail!("group {} is no bank", args.group) };
    let balance = balance.ok_or(BankError::NoAccount { account })?;
    Ok(Answer { text: balance.to_string(), json: json!({ "balance": balance, "op": op.get() }) })
}
