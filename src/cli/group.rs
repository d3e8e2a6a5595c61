//! `chronon group`.

use chronon_core::kernel::{EventPlace, Schema};
use chronon_core::node::{Deed, Order};
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
    /// Have the application behave as a later schema says, which the builds of all voters must know.
    Activate(ActivateArgs),
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

#[derive(Args, Debug)]
pub(super) struct ActivateArgs {
    /// The group.
    #[arg(long, value_parser = parse_group)]
    group: GroupId,
    /// The schema: a later one than is in force.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    schema: u32,
    #[command(flatten)]
    nodes: NodesArgs,
}

pub(super) fn run(verb: &GroupVerb) -> anyhow::Result<Answer> {
    match verb {
        GroupVerb::Skip(args) => skip(args),
        GroupVerb::Activate(args) => activate(args),
    }
}

fn skip(args: &SkipArgs) -> anyhow::Result<Answer> {
    let place = EventPlace { op: Op::new(args.op), index: args.event };
    let at = client::order(&args.nodes.client(), Order { group: args.group, deed: Deed::Skip(place) })?;
    let (group, op, event) = (args.group, args.op, args.event);
    Ok(Answer {
        text: format!("event {event} of op {op} of group {group} is skipped, by op {at}"),
        json: json!({ "group": group.get(), "op": op, "event": event, "skipped_by": at.get() }),
    })
}

fn activate(args: &ActivateArgs) -> anyhow::Result<Answer> {
    let (group, schema) = (args.group, args.schema);
    let at = client::order(&args.nodes.client(), Order { group, deed: Deed::Activate(Schema(schema)) })?;
    Ok(Answer {
        text: format!("group {group} behaves as schema {schema} says, from op {at} on"),
        json: json!({ "group": group.get(), "schema": schema, "activated_by": at.get() }),
    })
}
