//! What workers ask of `EffectService`, in the words of consumer groups.

use std::time::Duration;

use chronon_core::events::CLAIM_MAX;
use tonic::Response;

use super::Api;
use super::convert::{self, Wanted};
use crate::gateway::consuming::Delivered;
use crate::gateway::proto::cronos_db as pb;
use crate::gateway::proto::ext::{
    ClaimRequest, ListByStateRequest, ListByStateResponse, ListEffectsRequest, SettleResponse,
};
use crate::gateway::pulling::Pull;
use crate::gateway::topics::Refused;

impl Api {
    pub(super) async fn claim_for(&self, claim: ClaimRequest) -> Result<Vec<Delivered>, Refused> {
        let required = |what: &str| Err(Refused::Invalid(format!("{what} is required")));
        if claim.consumer_group.is_empty() {
            return required("consumer_group");
        }
        if claim.worker.is_empty() {
            return required("worker");
        }
        if claim.count > CLAIM_MAX {
            let why = format!("count is {}: it is 1 to {CLAIM_MAX}, or 0 for 1", claim.count);
            return Err(Refused::Invalid(why));
        }
        if claim.wait_ms > WAIT_MS_MAX {
            return Err(Refused::Invalid(format!("wait_ms is {}: it is 0 to {WAIT_MS_MAX}", claim.wait_ms)));
        }
        let options = convert::options(Wanted {
            mode: claim.mode(),
            start_offset: claim.start_offset,
            attempts_max: claim.max_deliver,
            ack_timeout_ms: claim.lease_ms,
            rest_ms: claim.backoff_ms,
            rest_max_ms: claim.backoff_max_ms,
        });
        let insists = claim.mode() != pb::GroupMode::Unspecified
            || [claim.max_deliver, claim.lease_ms, claim.backoff_ms, claim.backoff_max_ms] != [0; 4];
        let topic = self.0.topics.get(&claim.topic).await?;
        let wanted = Pull {
            group: claim.consumer_group,
            options,
            insists,
            member: convert::member(&claim.worker)?,
            count: claim.count.max(1),
            wait: Duration::from_millis(u64::from(claim.wait_ms)),
        };
        self.0.pulling.claim(self.0.topics.partitions(&topic), &wanted).await
    }

    /// A worker's word is that of any consumer.
    pub(super) async fn settle_for_worker(
        &self,
        delivery_id: String,
        disposition: pb::Disposition,
        error: String,
        retry_delay_ms: u32,
    ) -> Response<SettleResponse> {
        let ack = pb::AckRequest {
            delivery_id,
            disposition: disposition.into(),
            error,
            retry_delay_ms: retry_delay_ms.into(),
            ..pb::AckRequest::default()
        };
        let pb::AckResponse { success, error, .. } = self.settle_one(ack).await;
        Response::new(SettleResponse { success, error })
    }

    /// A page of what a consumer group has not ended: in one state, or in all of them one after the other.
    pub(super) async fn list_unended(
        &self,
        wanted: ListEffectsRequest,
    ) -> Result<ListByStateResponse, Refused> {
        let ListEffectsRequest { topic, consumer_group, state, limit, page } = wanted;
        if consumer_group.is_empty() {
            return Err(Refused::Invalid("consumer_group is required".to_owned()));
        }
        let states = states(&state)?;
        let (at, page) = read_page(&page, states)?;
        let request = ListByStateRequest { topic, state: states[at].to_owned(), consumer_group, limit, page };
        let mut listed = self.list_in_state(request).await?;
        listed.next_page = match states.get(at + 1) {
            _ if !listed.next_page.is_empty() => format!("{}:{}", states[at], listed.next_page),
            Some(next) => format!("{next}:"),
            None => String::new(),
        };
        Ok(listed)
    }
}

/// The states that are listed, in this order.
fn states(state: &str) -> Result<&'static [&'static str], Refused> {
    if state.is_empty() {
        return Ok(&UNENDED);
    }
    let place = UNENDED.iter().position(|known| *known == state);
    let unknown =
        || Refused::Invalid(format!("state is {state:?}: it is {}, or empty for all", UNENDED.join(", ")));
    place.map(|place| &UNENDED[place..=place]).ok_or_else(unknown)
}

/// In which of the states a page begins, and where.
fn read_page(page: &str, states: &[&str]) -> Result<(usize, String), Refused> {
    if page.is_empty() {
        return Ok((0, String::new()));
    }
    let read = page
        .split_once(':')
        .and_then(|(state, rest)| Some((states.iter().position(|known| *known == state)?, rest.to_owned())));
    read.ok_or_else(|| Refused::Invalid(format!("page {page:?} is none that an answer named")))
}

const UNENDED: [&str; 3] = ["PROCESSING", "FAILED_RETRYABLE", "DEAD"];
/// A claim waits so long at most.
const WAIT_MS_MAX: u32 = 60_000;

#[cfg(test)]
mod tests {
    use super::{UNENDED, read_page, states};

    #[test]
    fn a_page_goes_on_in_its_state_and_nonsense_is_named() {
        let all = states("").expect("all of them");
        assert_eq!(all, UNENDED);
        assert_eq!(read_page("", all).ok(), Some((0, String::new())));
        assert_eq!(read_page("DEAD:1.0.7", all).ok(), Some((2, "1.0.7".to_owned())));
        let dead = states("DEAD").expect("one of them");
        assert_eq!(read_page("DEAD:", dead).ok(), Some((0, String::new())));
        for nonsense in ["DEAD", "PROCESSING:1", "x:1"] {
            let error = read_page(nonsense, dead).expect_err("no page").to_string();
            assert!(error.contains(nonsense), "{error}");
        }
        let error = states("PROCESSED").expect_err("it has ended").to_string();
        assert!(error.contains("PROCESSING, FAILED_RETRYABLE, DEAD"), "{error}");
    }
}
