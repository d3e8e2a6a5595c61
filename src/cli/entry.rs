//! `chronon log entry`.

use std::fmt::Write as _;

use chronon_core::engine::{At, Found};
use chronon_core::kernel::commands;
use chronon_core::types::{Entry, EntryKind, GroupId, Op, Timestamp};
use clap::Args;
use serde_json::{Value, json};

use super::{Answer, NodesArgs, parse_group};
use crate::client;
use crate::server::protocol::LookUp;

/// Show an entry of a group's log, as one of the nodes has committed and applied it.
#[derive(Args, Debug)]
pub(super) struct EntryArgs {
    /// The group.
    #[arg(long, value_parser = parse_group)]
    group: GroupId,
    #[command(flatten)]
    at: AtArgs,
    #[command(flatten)]
    nodes: NodesArgs,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct AtArgs {
    /// The entry of this op.
    #[arg(long, value_name = "N")]
    op: Option<u64>,
    /// The first entry of this consensus time or later, in nanoseconds since 1970.
    #[arg(long, value_name = "NANOSECONDS")]
    time: Option<u64>,
}

/// The first node that has it answers; what the last one said otherwise.
pub(super) fn run(args: &EntryArgs) -> anyhow::Result<Answer> {
    let at = match (args.at.op, args.at.time) {
        (Some(op), _) => At::Op(Op::new(op)),
        (None, time) => At::Time(Timestamp::from_nanos(time.unwrap_or_default())),
    };
    let mut why = String::from("no node was named");
    for address in &args.nodes.nodes {
        let look_up = LookUp { group: args.group, sought: at.into() };
        why = match client::look_up(*address, args.nodes.timeout(), look_up) {
            Ok(Found::Entries(entries)) => match entries.first() {
                Some(entry) => return Ok(show(entry)),
                None => format!("{address} has answered with no entry"),
            },
            Ok(Found::Later) => format!("{address} has not applied any such entry yet"),
            Ok(Found::Gone) => format!("{address} does not keep it any more"),
            Ok(Found::Unreadable) => format!("{address} fetches it from its peers; ask again"),
            Ok(Found::Refused) => {
                format!("{address} has no such group, is not ready, or is asked too much at once")
            }
            Err(error) => error.to_string(),
        };
    }
    anyhow::bail!(why)
}

fn show(entry: &Entry) -> Answer {
    let header = entry.header();
    let (group, op, view, time) = (header.group(), header.op(), header.view(), header.timestamp());
    let hash = header.hash();
    let mut text =
        format!("op {op} of group {group}: {}, view {view}, time {time}, hash {hash}", header.kind());
    let mut shown: Vec<Value> = Vec::new();
    if header.kind() == EntryKind::Commands
        && let Ok(commands) = commands(entry.payload())
    {
        for command in commands {
            let (client, number, body) = (command.client, command.number, super::show(&command.body));
            let _ = write!(text, "\n  client {client} request {number}: {body}");
            shown.push(json!({ "client": client.to_string(), "number": number.get(), "body": body }));
        }
    }
    let json = json!({
        "group": group.get(),
        "op": op.get(),
        "kind": header.kind().to_string(),
        "view": view.get(),
        "time": time.as_nanos(),
        "hash": hash.to_string(),
        "commands": shown,
    });
    Answer { text, json }
}
