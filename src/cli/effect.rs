//! `chronon effect`.

use chronon_core::kernel::{Dead, DeadPage, DeadQuery, DeadRow, DeadView, SideEffectId};
use chronon_core::node::{Deed, Order};
use chronon_core::types::GroupId;
use clap::{Args, Subcommand};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::{Value, json};

use super::events::{self, EndpointArgs, ServerArgs, effect};
use super::work::{self, WorkArgs};
use super::{Answer, FreshnessArgs, NodesArgs, parse_group, show};
use crate::client;

/// See to what is to be executed outside: events of topics, which endpoints and workers have, and side effects of applications.
#[derive(Args, Debug)]
pub(super) struct EffectArgs {
    #[command(subcommand)]
    verb: EffectVerb,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    nodes: NodesArgs,
    /// Of an application: the group whose side effects they are.
    #[arg(long, global = true, default_value = "2", value_parser = parse_group)]
    group: GroupId,
}

#[derive(Debug, Subcommand)]
enum EffectVerb {
    /// Take events of a topic, each to be completed, failed or renewed before its lease is over.
    Claim(effect::ClaimArgs),
    /// Have the lease of what was claimed begin anew.
    Renew(effect::DeliveryArgs),
    /// What was claimed is done.
    Complete(effect::DeliveryArgs),
    /// What was claimed failed: it is tried again, or given up.
    Fail(effect::FailArgs),
    /// Deliver dead letters of a consumer group again.
    Retry(effect::RetryArgs),
    /// Forget dead letters of a consumer group.
    Abandon(effect::AbandonArgs),
    /// As `chronon endpoint`.
    Endpoint(EndpointArgs),
    /// What a consumer group of a topic has not ended: open, resting, dead. Without a topic: side effects of an application that were
    /// given up, the first of them first.
    List {
        #[arg(requires = "consumer_group")]
        topic: Option<String>,
        /// `endpoint:NAME` is that of an endpoint.
        consumer_group: Option<String>,
        #[command(flatten)]
        freshness: FreshnessArgs,
    },
    /// One of an application that was given up, whole.
    Show {
        #[arg(value_parser = parse_id)]
        id: SideEffectId,
        #[command(flatten)]
        freshness: FreshnessArgs,
    },
    /// Have one of an application tried again, as often as at first and with the same Idempotency-Key. Its application is told how that ends, as it was
    /// told that the side effect had been given up.
    Redrive {
        #[arg(value_parser = parse_id)]
        id: SideEffectId,
    },
    Work(WorkArgs),
    /// Have one of an application forgotten; it cannot be tried again.
    Discard {
        #[arg(value_parser = parse_id)]
        id: SideEffectId,
    },
}

pub(super) fn run(args: &EffectArgs) -> anyhow::Result<Answer> {
    match &args.verb {
        EffectVerb::Claim(claim) => effect::claim(claim, &args.server),
        EffectVerb::Renew(delivery) => effect::renew(delivery, &args.server),
        EffectVerb::Complete(delivery) => effect::complete(delivery, &args.server),
        EffectVerb::Fail(fail) => effect::fail(fail, &args.server),
        EffectVerb::Retry(retry) => effect::retry(retry, &args.server),
        EffectVerb::Abandon(abandon) => effect::abandon(abandon, &args.server),
        EffectVerb::Endpoint(endpoint) => events::endpoint(endpoint),
        EffectVerb::List { topic: Some(topic), consumer_group: Some(group), .. } => {
            effect::unended((topic, group), &args.server)
        }
        EffectVerb::List { freshness, .. } => list(args, *freshness),
        EffectVerb::Show { id, freshness } => show_one(args, *id, *freshness),
        EffectVerb::Work(work) => work::run(work, &args.nodes, args.group),
        EffectVerb::Redrive { id } => order(args, *id, Deed::Redrive(*id), "redriven"),
        EffectVerb::Discard { id } => order(args, *id, Deed::Discard(*id), "discarded"),
    }
}

fn list(args: &EffectArgs, freshness: FreshnessArgs) -> anyhow::Result<Answer> {
    let mut rows: Vec<DeadRow> = Vec::new();
    let mut after = None;
    let (op, last) = loop {
        let question = DeadQuery::List { after };
        let (op, view) =
            client::query_dead(&args.nodes.client(), args.group, &question, freshness.freshness())?;
        let DeadView::List(DeadPage { rows: page, next, count, bytes, dropped }) = view else {
            anyhow::bail!("a list was asked for, and one side effect was shown");
        };
        rows.extend(page);
        if next.is_none() {
            break (op, (count, bytes, dropped));
        }
        after = next;
    };
    let (count, bytes, dropped) = last;
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["id", "given up by", "attempts", "target", "last words"]);
    for row in &rows {
        let why: String = show(&row.why).chars().take(WHY_SHOWN).collect();
        let id = row.id.to_string();
        table.add_row([id, format!("op {}", row.since), row.attempts.to_string(), row.target.clone(), why]);
    }
    let mut text = if rows.is_empty() { "none".to_owned() } else { table.to_string() };
    if dropped > 0 {
        text.push_str(&format!("\n{dropped} more were dropped, for there were too many"));
    }
    let dead: Vec<Value> = rows.iter().map(json_of).collect();
    let json = json!({ "op": op.get(), "count": count, "bytes": bytes, "dropped": dropped, "dead": dead });
    Ok(Answer { text, json })
}

fn json_of(row: &DeadRow) -> Value {
    json!({
        "id": row.id.to_string(),
        "emitted_by": { "op": row.place.op.get(), "index": row.place.index },
        "given_up_by": row.since.get(),
        "attempts": row.attempts,
        "target": row.target,
        "why": show(&row.why),
    })
}

fn show_one(args: &EffectArgs, id: SideEffectId, freshness: FreshnessArgs) -> anyhow::Result<Answer> {
    let question = DeadQuery::Show { id };
    let (op, view) = client::query_dead(&args.nodes.client(), args.group, &question, freshness.freshness())?;
    let DeadView::Show(found) = view else {
        anyhow::bail!("one side effect was asked for, and a list was shown");
    };
    let Some(Dead { place, since, side_effect, attempts, why, .. }) = found else {
        anyhow::bail!(
            "no side effect {id} of group {} is dead; `chronon effect list` names those that are",
            args.group
        );
    };
    let (target, body, why) = (side_effect.target(), show(side_effect.body()), show(&why));
    let retry = side_effect.retry();
    let text = format!(
        "emitted by op {}, to {target}: {body:?}\ngiven up by op {since} after {attempts} attempts; the last that was said: {why:?}",
        place.op
    );
    let json = json!({
        "op": op.get(),
        "id": id.to_string(),
        "emitted_by": { "op": place.op.get(), "index": place.index },
        "given_up_by": since.get(),
        "attempts": attempts,
        "attempts_max": retry.attempts_max,
        "target": target,
        "body": body,
        "why": why,
    });
    Ok(Answer { text, json })
}

fn order(args: &EffectArgs, id: SideEffectId, deed: Deed, done: &str) -> anyhow::Result<Answer> {
    let at = client::order(&args.nodes.client(), Order { group: args.group, deed })?;
    let mut json = json!({ "group": args.group.get(), "id": id.to_string() });
    json[format!("{done}_by")] = at.get().into();
    Ok(Answer { text: format!("side effect {id} of group {} is {done}, by op {at}", args.group), json })
}

fn parse_id(text: &str) -> Result<SideEffectId, String> {
    text.parse().map_err(|_| "the id of a side effect is 64 hex digits".to_owned())
}

/// Characters of what was said last that a list shows.
const WHY_SHOWN: usize = 60;
