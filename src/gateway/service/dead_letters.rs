//! `DeadLetterService`.

use std::collections::BTreeMap;

use chronon_core::events::{DeadView, EventsAnswer, EventsCommand, EventsQuery, EventsView};
use tonic::{Request, Response, Status};

use super::convert::{self, millis, signed};
use super::{Api, status};
use crate::gateway::proto::ext::dead_letter_service_server::DeadLetterService;
use crate::gateway::proto::ext::{
    DeadLetter, ListDeadRequest, ListDeadResponse, ReviveRequest, ReviveResponse,
};
use crate::gateway::topics::{Partition, Refused};

#[tonic::async_trait]
impl DeadLetterService for Api {
    async fn list(&self, request: Request<ListDeadRequest>) -> Result<Response<ListDeadResponse>, Status> {
        let ListDeadRequest { topic, consumer_group, limit } = request.into_inner();
        let limit = if limit == 0 { ROWS } else { limit as usize }.min(ROWS);
        let listed = async {
            let mut letters = Vec::new();
            for (partition, dead) in self.dead(&topic, &consumer_group).await? {
                for row in dead.into_iter().take(limit.saturating_sub(letters.len())) {
                    let event = self.0.payloads.get(partition.group, row.stored).await?;
                    letters.push(DeadLetter {
                        event: Some(convert::event(&partition, row.offset, 0, event)),
                        ready_seq: signed(row.seq),
                        attempts: row.letter.attempts,
                        died_ts: millis(row.letter.at),
                        why: row.letter.why,
                    });
                }
            }
            Ok(ListDeadResponse { letters })
        };
        listed.await.map(Response::new).map_err(|error: Refused| status(&error))
    }

    async fn redrive(&self, request: Request<ReviveRequest>) -> Result<Response<ReviveResponse>, Status> {
        let redrive = |topic, group, letters| EventsCommand::Redrive { topic, group, letters };
        self.revive(request.into_inner(), redrive).await
    }

    async fn discard(&self, request: Request<ReviveRequest>) -> Result<Response<ReviveResponse>, Status> {
        let discard = |topic, group, letters| EventsCommand::Discard { topic, group, letters };
        self.revive(request.into_inner(), discard).await
    }
}

impl Api {
    /// The dead letters of a consumer group, as many as an answer holds of each partition.
    async fn dead(&self, topic: &str, group: &str) -> Result<Vec<(Partition, Vec<DeadView>)>, Refused> {
        let known = self.0.topics.find(topic).await?;
        let known = known.ok_or_else(|| Refused::NotFound(format!("no such topic: {topic}")))?;
        let mut found = Vec::new();
        for partition in self.0.topics.partitions(&known) {
            let (topic, group) = (topic.to_owned(), group.to_owned());
            let question = EventsQuery::Dead { topic, group, from: 0 };
            if let EventsView::Dead(dead) = self.0.topics.view(&partition, question).await? {
                found.push((partition, dead));
            }
        }
        if found.is_empty() {
            return Err(Refused::NotFound(format!("no such consumer group: {group}")));
        }
        Ok(found)
    }

    pub(super) async fn revive(
        &self,
        wanted: ReviveRequest,
        command: impl Fn(String, String, Vec<u64>) -> EventsCommand,
    ) -> Result<Response<ReviveResponse>, Status> {
        let ReviveRequest { topic, consumer_group, letters } = wanted;
        let revived = async {
            let mut by_partition: BTreeMap<i32, Vec<u64>> = BTreeMap::new();
            if letters.is_empty() {
                for (partition, dead) in self.dead(&topic, &consumer_group).await? {
                    by_partition.insert(partition.id, dead.iter().map(|row| row.seq).collect());
                }
            }
            for letter in &letters {
                let seq = u64::try_from(letter.ready_seq)
                    .map_err(|_| Refused::Invalid(format!("no letter is at {}", letter.ready_seq)))?;
                by_partition.entry(letter.partition_id).or_default().push(seq);
            }
            by_partition.retain(|_, letters| !letters.is_empty());
            let mut count = 0;
            for (id, letters) in by_partition {
                let partition = self.0.topics.partition(id).await?;
                let command = command(topic.clone(), consumer_group.clone(), letters);
                match self.0.topics.command(&partition, &command).await? {
                    (_, EventsAnswer::Revived(revived)) => count += revived,
                    (_, other) => {
                        return Err(Refused::Unavailable(format!("letters were answered with {other:?}")));
                    }
                }
            }
            Ok(ReviveResponse { count })
        };
        revived.await.map(Response::new).map_err(|error: Refused| status(&error))
    }
}

/// Letters that one answer tells.
const ROWS: usize = 1000;
