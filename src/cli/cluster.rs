//! `chronon cluster`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chronon_core::node::{Deed, Order};
use chronon_core::types::{GroupId, MembershipChange, NodeId};
use clap::{Args, Subcommand};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::json;

use super::status::view;
use super::{Answer, NodesArgs, parse_group};
use crate::client::{self, ClientError};
use crate::server::config::parse_node;
use crate::server::members;
use crate::server::status::{GroupReport, MemberReport};

/// See and change who the members of the cluster are. What was done already is left as it is: a verb that was interrupted is
/// given again.
#[derive(Debug, Subcommand)]
pub(super) enum ClusterVerb {
    /// Who the members of each group are, and how far they have come.
    Status(StatusArgs),
    /// Add a node, which was formatted with `--join` and runs: it learns the log of each group, and then votes.
    #[command(visible_alias = "add-node")]
    Add(AddArgs),
    /// Have a node leave.
    #[command(visible_alias = "remove-node")]
    Remove(RemoveArgs),
    /// Put a new node in the place of one that is dead, or whose disk was lost. The new one has another id.
    Replace(ReplaceArgs),
    /// Have a voter lead a group, once it holds all of the group's log.
    Transfer(TransferArgs),
}

#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    nodes: NodesArgs,
}

#[derive(Args, Debug)]
pub(super) struct AddArgs {
    /// The node.
    #[arg(value_parser = node)]
    node: NodeId,
    /// Where it listens for other nodes.
    #[arg(long)]
    address: SocketAddr,
    /// Let it learn, and not vote.
    #[arg(long)]
    learner: bool,
    #[command(flatten)]
    patience: PatienceArgs,
    #[command(flatten)]
    nodes: NodesArgs,
}

#[derive(Args, Debug)]
pub(super) struct RemoveArgs {
    /// The node.
    #[arg(value_parser = node)]
    node: NodeId,
    #[command(flatten)]
    patience: PatienceArgs,
    #[command(flatten)]
    nodes: NodesArgs,
}

#[derive(Args, Debug)]
pub(super) struct ReplaceArgs {
    /// The node that is to leave.
    #[arg(value_parser = node)]
    node: NodeId,
    /// The node that votes in its place.
    #[arg(long, value_parser = node)]
    by: NodeId,
    /// Where that one listens for other nodes.
    #[arg(long)]
    address: SocketAddr,
    #[command(flatten)]
    patience: PatienceArgs,
    #[command(flatten)]
    nodes: NodesArgs,
}

#[derive(Args, Clone, Copy, Debug)]
struct PatienceArgs {
    /// Seconds that a node may take to learn the log of a group.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86400))]
    patience: u64,
}

#[derive(Args, Debug)]
pub(super) struct TransferArgs {
    /// The group.
    #[arg(value_parser = parse_group)]
    group: GroupId,
    /// Who is to lead it.
    #[arg(value_parser = node)]
    node: NodeId,
    #[command(flatten)]
    patience: PatienceArgs,
    #[command(flatten)]
    nodes: NodesArgs,
}

pub(super) fn run(verb: &ClusterVerb) -> anyhow::Result<Answer> {
    match verb {
        ClusterVerb::Status(args) => status(&args.nodes),
        ClusterVerb::Add(args) => add(args),
        ClusterVerb::Remove(args) => remove(args),
        ClusterVerb::Replace(args) => replace(args),
        ClusterVerb::Transfer(args) => transfer(args),
    }
}

fn status(nodes: &NodesArgs) -> anyhow::Result<Answer> {
    let groups = groups(nodes)?;
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["group", "epoch", "primary", "view", "member", "votes", "holds up to op", "address"]);
    for (primary, group) in &groups {
        let primary = primary.map_or("none".to_owned(), |node| node.to_string());
        for MemberReport { node, votes, address, acknowledged } in &group.members {
            let votes = if *votes { "yes" } else { "learns" };
            table.add_row([
                group.group.to_string(),
                group.epoch.to_string(),
                primary.clone(),
                view(group.view),
                node.to_string(),
                votes.to_owned(),
                acknowledged.map_or("-".to_owned(), |op| op.to_string()),
                address.clone().unwrap_or_else(|| "-".to_owned()),
            ]);
        }
    }
    let json = groups.iter().map(|(primary, group)| {
        json!({
            "group": group.group,
            "epoch": group.epoch,
            "primary": primary,
            "view": group.view,
            "head": group.head,
            "members": group.members,
        })
    });
    Ok(Answer { text: table.to_string(), json: json.collect() })
}

fn add(args: &AddArgs) -> anyhow::Result<Answer> {
    let (node, address) = (args.node, args.address.to_string());
    let mut done = Vec::new();
    for (_, group) in groups(&args.nodes)? {
        let by = Changing { nodes: &args.nodes, patience: args.patience, group: GroupId::new(group.group) };
        for change in members::to_join(&group, node, &address, !args.learner) {
            done.push(by.change(change)?);
        }
    }
    let how = if args.learner { "learns in" } else { "is a voter of" };
    Ok(answer(&format!("node {node} {how} every group"), &done))
}

fn remove(args: &RemoveArgs) -> anyhow::Result<Answer> {
    let node = args.node;
    let mut done = Vec::new();
    for (_, group) in groups(&args.nodes)? {
        let by = Changing { nodes: &args.nodes, patience: args.patience, group: GroupId::new(group.group) };
        for change in members::to_leave(&group, node) {
            done.push(by.change(change)?);
        }
    }
    Ok(answer(&format!("node {node} is a member of no group"), &done))
}

fn replace(args: &ReplaceArgs) -> anyhow::Result<Answer> {
    let (node, new, address) = (args.node, args.by, args.address.to_string());
    let mut done = Vec::new();
    for (_, group) in groups(&args.nodes)? {
        let by = Changing { nodes: &args.nodes, patience: args.patience, group: GroupId::new(group.group) };
        for change in members::to_replace(&group, node, new, &address) {
            done.push(by.change(change)?);
        }
    }
    Ok(answer(&format!("node {new} votes where node {node} did"), &done))
}

/// Asks until the node leads: one that lags takes its time.
fn transfer(args: &TransferArgs) -> anyhow::Result<Answer> {
    let TransferArgs { group, node, patience, nodes } = args;
    let (start, patience) = (Instant::now(), Duration::from_secs(patience.patience));
    let mut is_asked = false;
    loop {
        let groups = groups(nodes)?;
        let found = groups.into_iter().find(|(_, known)| known.group == group.get());
        let (primary, known) = found.ok_or(ClientError::UnknownGroup { group: group.get() })?;
        if primary == Some(node.get()) {
            let how = if is_asked { "leads" } else { "leads already:" };
            let text = format!("node {node} {how} group {group}, in view {}", view(known.view));
            return Ok(Answer {
                text,
                json: json!({ "group": known.group, "primary": primary, "view": known.view }),
            });
        }
        is_asked = true;
        match client::order(&nodes.client(), Order { group: *group, deed: Deed::Lead(*node) }) {
            // Who leads declines to be handed what it has: the next look shows it.
            Err(ClientError::Declined { .. }) if leads(nodes, *group, *node) => {}
            Err(ClientError::TimedOut { last, .. }) if start.elapsed() < patience => {
                eprintln!("group {group}: {last}");
            }
            Err(error) => return Err(error.into()),
            // No entry does it.
            Ok(_) => {}
        }
    }
}

/// Whether a node says that it leads a group.
fn leads(nodes: &NodesArgs, group: GroupId, node: NodeId) -> bool {
    let Ok(groups) = groups(nodes) else { return false };
    groups.iter().any(|(primary, known)| known.group == group.get() && *primary == Some(node.get()))
}

fn answer(what: &str, done: &[Changed]) -> Answer {
    let text = match done {
        [] => format!("{what}; nothing was left to be done"),
        done => format!("{what}; {} entries did it", done.len()),
    };
    let changed = |Changed { group, change, op }: &Changed| json!({ "group": group.get(), "change": change.to_string(), "op": op });
    Answer { text, json: json!({ "changes": done.iter().map(changed).collect::<Vec<_>>() }) }
}

/// A change that was committed.
#[derive(Debug)]
struct Changed {
    group: GroupId,
    change: MembershipChange,
    op: u64,
}

/// Whom to ask for changes of one group.
struct Changing<'a> {
    nodes: &'a NodesArgs,
    patience: PatienceArgs,
    group: GroupId,
}

impl Changing<'_> {
    /// Asks for a change until it is done: a node that learns takes its time.
    fn change(&self, change: MembershipChange) -> anyhow::Result<Changed> {
        let (start, patience) = (Instant::now(), Duration::from_secs(self.patience.patience));
        loop {
            let order = Order { group: self.group, deed: Deed::Change(change.clone()) };
            let why = match client::order(&self.nodes.client(), order) {
                Ok(op) => return Ok(Changed { group: self.group, change, op: op.get() }),
                Err(error @ (ClientError::Declined { .. } | ClientError::TimedOut { .. })) => error,
                Err(error) => return Err(error.into()),
            };
            // The entry may be committed, and the word of it lost.
            if self.is_done(&change) {
                return Ok(Changed { group: self.group, change, op: 0 });
            }
            match why {
                ClientError::TimedOut { last, .. } if start.elapsed() < patience => {
                    eprintln!("group {}, {change}: {last}", self.group);
                }
                why => return Err(why.into()),
            }
        }
    }

    fn is_done(&self, change: &MembershipChange) -> bool {
        let Ok(groups) = groups(self.nodes) else { return false };
        let Some((_, group)) = groups.iter().find(|(_, group)| group.group == self.group.get()) else {
            return false;
        };
        members::is_done(group, change)
    }
}

/// Every group, as the node says that is farthest in it; its primary first.
fn groups(nodes: &NodesArgs) -> anyhow::Result<Vec<(Option<u64>, GroupReport)>> {
    let mut last = None;
    let mut reports = Vec::new();
    for address in &nodes.nodes {
        match client::status(*address, nodes.timeout()) {
            Ok(report) => reports.push(report),
            Err(error) => last = Some(error),
        }
    }
    if reports.is_empty() {
        return Err(last.map_or_else(|| ClientError::NoAddress.into(), anyhow::Error::from));
    }
    let ids: BTreeSet<u32> =
        reports.iter().flat_map(|report| report.groups.iter().map(|group| group.group)).collect();
    let of = |id: u32| {
        let said = reports.iter().flat_map(|report| {
            let own = report.groups.iter().filter(move |group| group.group == id);
            own.map(|group| (group.role == "primary").then_some(report.node))
                .zip(report.groups.iter().filter(move |group| group.group == id).cloned())
        });
        said.max_by_key(|(primary, group)| (group.view, primary.is_some()))
    };
    Ok(ids.into_iter().filter_map(of).collect())
}

fn node(text: &str) -> Result<NodeId, String> {
    parse_node(text.trim()).ok_or_else(|| "a node id is a whole number from 1".to_owned())
}
