//! Topics that were deleted: the catalog keeps each until its partitions have gone, so that a deletion goes on whatever becomes of
//! the gateway that was asked for it. The gateway beside the catalog's leader sees to it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::topics::Topics;
use crate::server::status::StatusCell;

/// Sees deleted topics off, as long as the gateway runs.
pub(super) async fn run(topics: Arc<Topics>, status: StatusCell) {
    loop {
        sleep(LOOK_EACH).await;
        if !status.leads(topics.catalog()) {
            continue;
        }
        match topics.going().await {
            Ok(going) => {
                for topic in going {
                    if let Err(error) = topics.see_off(&topic).await {
                        tracing::debug!(%error, topic = topic.name, "a deleted topic has not gone yet");
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "the catalog does not tell of deleted topics"),
        }
    }
}

/// How soon a deletion that was interrupted goes on.
const LOOK_EACH: Duration = Duration::from_secs(1);
