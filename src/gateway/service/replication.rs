//! `ReplicationService`: what earlier clients take a follower for.

use std::pin::Pin;

use chronon_core::events::{EventsQuery, EventsView, KeptFrom};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::convert::{self, signed};
use super::{Api, status};
use crate::gateway::proto::cronos_db as pb;
use crate::gateway::proto::cronos_db::replication_service_server::ReplicationService;
use crate::gateway::topics::{Partition, Refused};

type Pages = Pin<Box<dyn Stream<Item = Result<pb::ReplicationSyncResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ReplicationService for Api {
    type SyncStream = Pages;

    async fn append(
        &self,
        _request: Request<pb::ReplicationAppendRequest>,
    ) -> Result<Response<pb::ReplicationAppendResponse>, Status> {
        let error = "replicas follow the log of their group, and nobody else appends to it; publish instead";
        Ok(Response::new(pb::ReplicationAppendResponse {
            error: error.to_owned(),
            ..pb::ReplicationAppendResponse::default()
        }))
    }

    async fn sync(
        &self,
        request: Request<pb::ReplicationSyncRequest>,
    ) -> Result<Response<Self::SyncStream>, Status> {
        let pb::ReplicationSyncRequest { partition_id, start_offset, max_bytes } = request.into_inner();
        let found = self.0.topics.partition(partition_id).await;
        let partition = found.map_err(|error| status(&error))?;
        let from = u64::try_from(start_offset).unwrap_or_default();
        let room = usize::try_from(max_bytes).ok().filter(|max| *max > 0).unwrap_or(usize::MAX);
        let (sender, receiver) = mpsc::channel(PAGES_AHEAD);
        let api = self.clone();
        tokio::spawn(async move {
            if let Err(error) = api.send_ready(&partition, from, room, &sender).await {
                let _nobody_listens = sender.send(Err(status(&error))).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

impl Api {
    /// Sends what is ready and kept from `from` on, page by page, until there is no more or `room` bytes of payloads were sent.
    async fn send_ready(
        &self,
        partition: &Partition,
        mut from: u64,
        mut room: usize,
        pages: &mpsc::Sender<Result<pb::ReplicationSyncResponse, Status>>,
    ) -> Result<(), Refused> {
        loop {
            let (topic, group) = (partition.topic.name.clone(), String::new());
            let question = EventsQuery::Kept { topic, group, from: KeptFrom::Seq(from) };
            let rows = match self.0.topics.view(partition, question).await? {
                EventsView::Kept { rows, .. } => rows,
                // Nobody has used the partition yet.
                _ => Vec::new(),
            };
            let (mut events, mut bytes) = (Vec::new(), 0);
            let mut has_more = false;
            for row in &rows {
                let (_, event) = self.0.payloads.next(partition.group, row.stored).await?;
                let next = bytes + event.payload.as_slice().len();
                if !events.is_empty() && next > PAGE_BYTES.min(room) {
                    has_more = true;
                    break;
                }
                bytes = next;
                events.push(convert::event(partition, row.offset, row.due_ms, event));
                from = row.seq + 1;
            }
            room = room.saturating_sub(bytes);
            let is_over = events.is_empty() || room == 0;
            let has_more = has_more || !events.is_empty();
            let page = pb::ReplicationSyncResponse {
                success: true,
                error: String::new(),
                events,
                has_more,
                next_offset: signed(from),
            };
            if pages.send(Ok(page)).await.is_err() || is_over {
                return Ok(());
            }
        }
    }
}

/// Pages that wait to be sent.
const PAGES_AHEAD: usize = 2;
/// Payloads of a page, unless one event alone is longer.
const PAGE_BYTES: usize = 1 << 20;
