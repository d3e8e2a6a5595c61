//! `chronon dlq`.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{ANSWER_BYTES_MAX, ServerArgs, block_on, connect, time};
use crate::cli::Answer;
use crate::gateway::proto::ext;
use crate::gateway::proto::ext::dead_letter_service_client::DeadLetterServiceClient;

/// See to deliveries that were given up.
#[derive(Args, Debug)]
pub(in crate::cli) struct DlqArgs {
    #[command(subcommand)]
    verb: DlqVerb,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum DlqVerb {
    /// Dead letters of a consumer group.
    List { topic: String, group: String },
    /// Deliver them again, all that are dead now or those that are named as PARTITION:SEQUENCE.
    Redrive { topic: String, group: String, letters: Vec<String> },
    /// Forget them, those that are named as PARTITION:SEQUENCE.
    Discard {
        topic: String,
        group: String,
        #[arg(required = true)]
        letters: Vec<String>,
    },
}

pub(in crate::cli) fn dlq(args: &DlqArgs) -> anyhow::Result<Answer> {
    block_on(async {
        let events = connect(&args.server).await?;
        let request = |topic: &String, group: &String, letters: &[String]| {
            let letters = letters.iter().map(|letter| letter_name(letter)).collect::<anyhow::Result<_>>()?;
            Ok::<_, anyhow::Error>(ext::ReviveRequest {
                topic: topic.clone(),
                consumer_group: group.clone(),
                letters,
            })
        };
        match &args.verb {
            DlqVerb::List { topic, group } => {
                let request =
                    ext::ListDeadRequest { topic: topic.clone(), consumer_group: group.clone(), limit: 0 };
                let letters = events
                    .call(request, |channel, request| async move {
                        DeadLetterServiceClient::new(channel)
                            .max_decoding_message_size(ANSWER_BYTES_MAX)
                            .list(request)
                            .await
                    })
                    .await?
                    .letters;
                let name = |letter: &ext::DeadLetter| {
                    let event = letter.event.clone().unwrap_or_default();
                    (format!("{}:{}", event.partition_id, letter.ready_seq), event.message_id)
                };
                let line = |letter: &ext::DeadLetter| {
                    let (place, id) = name(letter);
                    format!(
                        "{place} {id} died {} after {} attempts: {}",
                        time(letter.died_ts),
                        letter.attempts,
                        letter.why
                    )
                };
                let row = |letter: &ext::DeadLetter| {
                    let (place, id) = name(letter);
                    json!({ "letter": place, "id": id, "attempts": letter.attempts, "died": letter.died_ts, "why": letter.why })
                };
                let text = letters.iter().map(line).collect::<Vec<String>>().join("\n");
                Ok(Answer { text, json: letters.iter().map(row).collect() })
            }
            DlqVerb::Redrive { topic, group, letters } => {
                let revived = {
                    let request = request(topic, group, letters)?;
                    events
                        .call(request, |channel, request| async move {
                            DeadLetterServiceClient::new(channel).redrive(request).await
                        })
                        .await?
                };
                let text = format!("{} are delivered again", revived.count);
                Ok(Answer { text, json: json!({ "redriven": revived.count }) })
            }
            DlqVerb::Discard { topic, group, letters } => {
                let revived = {
                    let request = request(topic, group, letters)?;
                    events
                        .call(request, |channel, request| async move {
                            DeadLetterServiceClient::new(channel).discard(request).await
                        })
                        .await?
                };
                let text = format!("{} are forgotten", revived.count);
                Ok(Answer { text, json: json!({ "discarded": revived.count }) })
            }
        }
    })
}

pub(super) fn letter_name(text: &str) -> anyhow::Result<ext::LetterName> {
    let parts = text.split_once(':').and_then(|(partition, seq)| {
        Some(ext::LetterName { partition_id: partition.parse().ok()?, ready_seq: seq.parse().ok()? })
    });
    parts.with_context(|| format!("a letter is PARTITION:SEQUENCE, as in 1000:7, and not {text:?}"))
}
