//! `EventStream`: many events in flight on one stream.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{Api, convert};
use crate::gateway::proto::ext::event_stream_server::EventStream;
use crate::gateway::proto::ext::{StreamedEvent, StreamedResult};
use crate::gateway::publishing::WhenFull;

#[tonic::async_trait]
impl EventStream for Api {
    type PublishStreamStream = Pin<Box<dyn Stream<Item = Result<StreamedResult, Status>> + Send>>;

    async fn publish_stream(
        &self,
        request: Request<Streaming<StreamedEvent>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let mut requests = request.into_inner();
        let (sender, receiver) = mpsc::channel(IN_FLIGHT_MAX);
        let api = self.clone();
        let room = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        tokio::spawn(async move {
            while let Ok(Some(StreamedEvent { id, event, allow_duplicate })) = requests.message().await {
                let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
                let (api, sender) = (api.clone(), sender.clone());
                tokio::spawn(async move {
                    let published = api.publish_one(event, allow_duplicate, WhenFull::Wait).await;
                    // What is wrong with one event ends the stream of none other.
                    let published = published.or_else(|status| match status.code() {
                        Code::NotFound | Code::InvalidArgument => {
                            Ok(convert::invalid(status.message().to_owned()))
                        }
                        _ => Err(status),
                    });
                    let answer = published.map(|result| StreamedResult { id, result: Some(result) });
                    let _nobody_listens = sender.send(answer).await;
                    drop(permit);
                });
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// Events of one stream that have no answer yet: who sends more waits.
const IN_FLIGHT_MAX: usize = 4096;
