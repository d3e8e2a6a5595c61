//! `chronon replay`.

use std::time::SystemTime;

use clap::Args;
use serde_json::json;
use tokio_stream::StreamExt as _;

use super::{ANSWER_BYTES_MAX, ServerArgs, block_on, connect, millis_of, time};
use crate::cli::{Answer, Format, print};
use crate::gateway::proto::cronos_db as pb;
use crate::gateway::proto::cronos_db::event_service_client::EventServiceClient;

/// Show events again as they were published, in the order in which they became ready; no consumer group is touched.
#[derive(Args, Debug)]
pub(in crate::cli) struct ReplayArgs {
    /// The topic.
    topic: String,
    /// Begin with what became ready at this time, or at this place of the ready sequence.
    #[arg(long, value_name = "RFC3339|OFFSET", default_value = "0", value_parser = from)]
    from: From,
    /// End with what became ready at this time.
    #[arg(long, value_name = "RFC3339", value_parser = humantime::parse_rfc3339_weak)]
    to: Option<SystemTime>,
    /// So many events at most.
    #[arg(long, value_name = "N")]
    count: Option<u32>,
    /// How much faster than they became ready, as in 1 or 60 [default: as fast as can be].
    #[arg(long, value_name = "FACTOR")]
    speed: Option<f64>,
    /// One partition, by its id [default: all].
    #[arg(long, value_name = "ID")]
    partition: Option<i32>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug)]
enum From {
    Time(SystemTime),
    Offset(u32),
}

pub(in crate::cli) fn replay(args: &ReplayArgs, output: Format) -> anyhow::Result<Answer> {
    let (start_ts, start_offset) = match args.from {
        From::Time(at) => (millis_of(at)?, 0),
        From::Offset(offset) => (0, i64::from(offset)),
    };
    let request = pb::ReplayRequest {
        topic: args.topic.clone(),
        partition_id: args.partition.unwrap_or(-1),
        start_ts,
        end_ts: args.to.map(millis_of).transpose()?.unwrap_or_default(),
        start_offset,
        count: args.count.map(i64::from).unwrap_or_default(),
        speed: args.speed.unwrap_or_default(),
        ..pb::ReplayRequest::default()
    };
    block_on(async {
        let events = connect(&args.server).await?;
        let mut events = events
            .call(request, |channel, request| async move {
                EventServiceClient::new(channel)
                    .max_decoding_message_size(ANSWER_BYTES_MAX)
                    .replay(request)
                    .await
            })
            .await?;
        let mut count = 0;
        while let Some(replayed) = events.next().await {
            let replayed = replayed.map_err(|status| anyhow::anyhow!("{}", status.message()))?;
            print(output, &shown(&replayed));
            count += 1;
        }
        Ok(Answer { text: format!("{count} events"), json: json!({ "events": count }) })
    })
}

fn shown(replayed: &pb::ReplayEvent) -> Answer {
    let event = replayed.event.clone().unwrap_or_default();
    let payload = String::from_utf8_lossy(&event.payload).into_owned();
    let json = json!({
        "id": event.message_id, "payload": payload, "due": event.schedule_ts, "partition": event.partition_id,
        "offset": event.offset, "ready": replayed.replay_offset, "meta": event.meta,
    });
    let (due, ready) = (time(event.schedule_ts), replayed.replay_offset);
    Answer { text: format!("{due} {}:{ready} {} {payload}", event.partition_id, event.message_id), json }
}

fn from(text: &str) -> Result<From, String> {
    if let Ok(offset) = text.parse() {
        return Ok(From::Offset(offset));
    }
    let time = humantime::parse_rfc3339_weak(text);
    time.map(From::Time)
        .map_err(|error| format!("neither an offset nor a time such as 2026-12-24T18:00:00Z: {error}"))
}
