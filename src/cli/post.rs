//! `chronon post`.

use chronon_core::builtin::{BuiltinQuery, BuiltinView};
use chronon_core::kernel::{ATTEMPTS_MAX, Retry, SideEffectId};
use chronon_core::post::{Letter, PostAnswer, PostCommand};
use chronon_core::types::{Blob, GroupId};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Answer, FreshnessArgs, NodesArgs, parse_group, show};
use crate::client::{self, Client};

/// Post letters by HTTP, each of which takes effect once.
#[derive(Args, Debug)]
pub(super) struct PostArgs {
    #[command(subcommand)]
    verb: PostVerb,
    #[command(flatten)]
    nodes: NodesArgs,
    /// The group that holds the post office.
    #[arg(long, global = true, default_value = "2", value_parser = parse_group)]
    group: GroupId,
}

#[derive(Debug, Subcommand)]
enum PostVerb {
    /// Post a letter; its id, which is the Idempotency-Key of all attempts to deliver it.
    Send {
        /// The URL of its receiver, which the nodes must be allowed to post to.
        url: String,
        body: String,
        /// It is given up after so many attempts that failed.
        #[arg(long, default_value_t = Retry::default().attempts_max, value_parser = clap::value_parser!(u32).range(1..=i64::from(ATTEMPTS_MAX)))]
        attempts: u32,
    },
    /// What became of a letter.
    Show {
        #[arg(value_parser = parse_letter)]
        letter: SideEffectId,
        #[command(flatten)]
        freshness: FreshnessArgs,
    },
}

pub(super) fn run(args: &PostArgs) -> anyhow::Result<Answer> {
    match &args.verb {
        PostVerb::Send { url, body, attempts } => send(args, url, body, *attempts),
        PostVerb::Show { letter, freshness } => show_letter(args, *letter, *freshness),
    }
}

fn send(args: &PostArgs, url: &str, body: &str, attempts_max: u32) -> anyhow::Result<Answer> {
    let (target, body) = (url.to_owned(), Blob::from(body.as_bytes().to_vec()));
    let command = PostCommand::Send { target, body, retry: Retry { attempts_max, ..Retry::default() } };
    let PostAnswer::Sent { letter } = Client::new(args.nodes.client()).post(args.group, &command)?;
    Ok(Answer { text: letter.to_string(), json: json!({ "letter": letter.to_string() }) })
}

fn show_letter(args: &PostArgs, letter: SideEffectId, freshness: FreshnessArgs) -> anyhow::Result<Answer> {
    let question = BuiltinQuery::Letter { letter };
    let (op, view) = client::query(&args.nodes.client(), args.group, &question, freshness.freshness())?;
    let BuiltinView::Letter(found) = view else { anyhow::bail!("group {} is no post office", args.group) };
    let (text, mut json) = match found {
        None => anyhow::bail!("there is no letter {letter}; ended ones are kept for some time alone"),
        Some(Letter::UnderWay) => ("under way".to_owned(), json!({ "state": "under_way" })),
        Some(Letter::Delivered { answer }) => {
            let answer = show(&answer);
            (
                format!("delivered; the receiver answered {answer:?}"),
                json!({ "state": "delivered", "answer": answer }),
            )
        }
        Some(Letter::GivenUp { attempts, why }) => {
            let why = show(&why);
            let text = format!("given up after {attempts} attempts; the last that was said: {why:?}");
            (text, json!({ "state": "given_up", "attempts": attempts, "why": why }))
        }
    };
    json["op"] = op.get().into();
    Ok(Answer { text, json })
}

fn parse_letter(text: &str) -> Result<SideEffectId, String> {
    text.parse().map_err(|_| "a letter is 64 hex digits".to_owned())
}
