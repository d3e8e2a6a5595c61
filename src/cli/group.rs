//! `chronon group`.

use chronon_core::kernel::EventPlace;
use chronon_core::node::Skip;
use chronon_core::types::{GroupId, Op};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Answer, NodesArgs, parse_group};
use crate::client;

/// See to a group.
#[derive(Debug, Subcommand)]
pub(super) enum GroupVerb {
    /// Have the event skipped at which a group stands still, for its application panics over it.
    Skip(SkipArgs),
}

#[derive(Args, Debug)]
pub(super) struct SkipArgs {
    /// The group.
    #[arg(long, value_parser = parse_group)]
    group: GroupId,
    /// The entry at which it stands, as `chronon status` tells.
    #[arg(long, value_name = "N")]
    op: u64,
    /// Which event of the entry, from 0, as `chronon status` tells.
    #[arg(long, value_name = "I")]
    event: u32,
    #[command(flatten)]
    nodes: NodesArgs,
}

pub(super) fn run(verb: &GroupVerb) -> anyhow::Result<Answer> {
    let GroupVerb::Skip(args) = verb;
    let place = EventPlace { op: Op::new(args.op), index: args.event };
    let at = client::skip(&args.nodes.client(), Skip { group: args.group, place })?;
    let (group, op, event) = (args.group, args.op, args.event);
    Ok(Answer {
        text: format!("event {event} of op {op} of group {group} is skipped, by op {at}"),
        json: json!({ "group": group.get(), "op": op, "event": event, "skipped_by": at.get() }),
    })
}
