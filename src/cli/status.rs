//! `chronon status`.

use chronon_core::types::View;
use clap::Args;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::json;

use super::{Answer, NodesArgs};
use crate::client;
use crate::server::status::{HaltReport, StatusReport, WaitingReport};

/// Ask nodes how they are.
#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    nodes: NodesArgs,
}

pub(super) fn run(args: &StatusArgs) -> anyhow::Result<Answer> {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header([
        "node", "state", "group", "role", "view", "commit", "applied", "outbox", "dead", "digest",
    ]);
    let mut all = Vec::new();
    for address in &args.nodes.nodes {
        match client::status(*address, args.nodes.timeout()) {
            Ok(report) => {
                rows(&report, &mut table);
                all.push(json!(report));
            }
            Err(error) => {
                table.add_row([error.to_string()]);
                all.push(json!({ "address": address.to_string(), "error": error.to_string() }));
            }
        }
    }
    Ok(Answer { text: table.to_string(), json: json!(all) })
}

/// Such as `7`, and `2.7` in epoch 2.
pub(super) fn view(view: u64) -> String {
    let view = View::new(view);
    match view.epoch().get() {
        0 => view.in_epoch().to_string(),
        epoch => format!("{epoch}.{}", view.in_epoch()),
    }
}

fn rows(report: &StatusReport, table: &mut Table) {
    let mut state = if report.ready { "ready".to_owned() } else { format!("{}, not ready", report.phase) };
    if report.full {
        state.push_str(", no space left");
    }
    if report.amnesia.is_some() {
        state.push_str(", mute: its disk is not the one that its peers know");
    }
    if report.groups.is_empty() {
        table.add_row([report.node.to_string(), state.clone()]);
    }
    for WaitingReport { group, at_least } in &report.waiting {
        let role = format!("waits for a snapshot of op {at_least} or later");
        table.add_row([report.node.to_string(), state.clone(), group.to_string(), role]);
    }
    for group in &report.groups {
        let commit = group.commit.map_or("-".to_owned(), |op| op.to_string());
        let role = match group.missing {
            _ if group.halted.is_some() => format!("{}, stands still", group.role),
            Some(op) => format!("{}, lacks op {op}", group.role),
            None if group.lacks_clock => format!("{}, no majority of clocks agrees", group.role),
            None if group.keeps_too_much => format!("{}, keeps too much of the journal", group.role),
            None => group.role.clone(),
        };
        let digest = group.digest.chars().take(12).collect();
        table.add_row([
            report.node.to_string(),
            state.clone(),
            group.group.to_string(),
            role,
            view(group.view),
            commit,
            group.applied.to_string(),
            group.side_effects.to_string(),
            group.dead.to_string(),
            digest,
        ]);
    }
    for (group, halt) in report.groups.iter().filter_map(|group| Some((group.group, group.halted.as_ref()?)))
    {
        let HaltReport { op, index, what, .. } = halt;
        table.add_row([
            report.node.to_string(),
            String::new(),
            group.to_string(),
            format!("op {op}, event {index}: {what}"),
        ]);
    }
}
