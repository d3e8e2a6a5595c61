//! `chronon kv`.

use chronon_core::builtin::{BuiltinQuery, BuiltinView};
use chronon_core::register::{RegisterAnswer, RegisterCommand};
use chronon_core::types::{Blob, GroupId};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Answer, FreshnessArgs, NodesArgs, parse_group, show};
use crate::client::{self, Client};

/// Read and write registers.
#[derive(Args, Debug)]
pub(super) struct KvArgs {
    #[command(subcommand)]
    verb: KvVerb,
    #[command(flatten)]
    nodes: NodesArgs,
    /// The group that holds the registers.
    #[arg(long, global = true, default_value = "1", value_parser = parse_group)]
    group: GroupId,
}

#[derive(Debug, Subcommand)]
enum KvVerb {
    /// The value of a key.
    Get {
        key: String,
        #[command(flatten)]
        freshness: FreshnessArgs,
    },
    /// Set the value of a key.
    Set { key: String, value: String },
    /// Set the value of a key if it is what you believe.
    Cas {
        key: String,
        value: String,
        /// What you believe; left out, that the key is not set.
        #[arg(long)]
        expected: Option<String>,
    },
}

pub(super) fn run(args: &KvArgs) -> anyhow::Result<Answer> {
    let blob = |text: &String| Blob::from(text.clone().into_bytes());
    let (key, command) = match &args.verb {
        KvVerb::Get { key, freshness } => {
            let (config, freshness) = (args.nodes.client(), freshness.freshness());
            let question = BuiltinQuery::Value { key: blob(key) };
            let (op, view) = client::query(&config, args.group, &question, freshness)?;
            let BuiltinView::Value(value) = view else {
                anyhow::bail!("group {} holds no registers", args.group);
            };
            let value = value.as_ref().map(show);
            let text = value.clone().unwrap_or_else(|| format!("{key} is not set"));
            return Ok(Answer { text, json: json!({ "key": key, "value": value, "op": op.get() }) });
        }
        KvVerb::Set { key, value } => (key, RegisterCommand::Write { key: blob(key), value: blob(value) }),
        KvVerb::Cas { key, value, expected } => {
            let expected = expected.as_ref().map(blob);
            (key, RegisterCommand::CompareAndSet { key: blob(key), expected, value: blob(value) })
        }
    };
    let answer = Client::new(args.nodes.client()).register(args.group, &command)?;
    Ok(match answer {
        RegisterAnswer::Value(_) => anyhow::bail!("a write was answered like a read"),
        RegisterAnswer::Written | RegisterAnswer::Swapped => {
            Answer { text: format!("{key} is set"), json: json!({ "key": key, "written": true }) }
        }
        RegisterAnswer::Mismatch { found: None } => anyhow::bail!("{key} was left as it was: it is not set"),
        RegisterAnswer::Mismatch { found: Some(found) } => {
            anyhow::bail!("{key} was left as it was: it is {:?}", show(&found))
        }
    })
}
