//! `EffectService`: the endpoints of topics, and what workers pull (`pull.rs`).

use chronon_core::catalog::{CatalogCommand, Endpoint};
use chronon_core::events::EventsCommand;
use chronon_core::types::Nanos;
use tonic::{Request, Response, Status};

use super::{Api, convert, status};
use crate::gateway::posting::TOPIC_SCHEME;
use crate::gateway::proto::cronos_db as pb;
use crate::gateway::proto::ext;
use crate::gateway::proto::ext::effect_service_server::EffectService;
use crate::gateway::proto::ext::endpoint_breaker::State;
use crate::gateway::proto::ext::{
    ClaimRequest, ClaimResponse, CompleteRequest, EndpointBreaker, FailRequest, ListByStateResponse,
    ListEffectsRequest, ListEndpointsRequest, ListEndpointsResponse, RemoveEndpointRequest,
    RemoveEndpointResponse, RenewRequest, ReviveRequest, ReviveResponse, SetEndpointRequest, SettleResponse,
};
use crate::gateway::signature;
use crate::gateway::topics::Refused;
use crate::server::status::{BreakerReport, EndpointReport};

#[tonic::async_trait]
impl EffectService for Api {
    async fn set_endpoint(
        &self,
        request: Request<SetEndpointRequest>,
    ) -> Result<Response<ext::Endpoint>, Status> {
        let SetEndpointRequest { endpoint, secrets } = request.into_inner();
        let set = async {
            let wanted = endpoint.ok_or_else(|| Refused::Invalid("endpoint is required".to_owned()))?;
            let topic = self.0.topics.get(&wanted.topic).await?.name.clone();
            let endpoint = read(wanted, secrets)?;
            let command = CatalogCommand::SetEndpoint { topic: topic.clone(), endpoint: endpoint.clone() };
            let known = self.0.topics.change(&topic, &command).await?;
            // What becomes ready from here on is posted, whenever somebody begins to.
            for partition in self.0.topics.partitions(&known) {
                let (group, options) = (endpoint.group(), endpoint.group_options());
                let make = EventsCommand::MakeGroup { topic: topic.clone(), group, options };
                self.0.topics.command(&partition, &make).await?;
            }
            Ok(told(&topic, &endpoint))
        };
        set.await.map(Response::new).map_err(|error: Refused| status(&error))
    }

    async fn remove_endpoint(
        &self,
        request: Request<RemoveEndpointRequest>,
    ) -> Result<Response<RemoveEndpointResponse>, Status> {
        let RemoveEndpointRequest { topic, name } = request.into_inner();
        let command = CatalogCommand::RemoveEndpoint { topic: topic.clone(), endpoint: name };
        let removed = self.0.topics.change(&topic, &command).await;
        removed.map(|_| Response::new(RemoveEndpointResponse {})).map_err(|error| status(&error))
    }

    async fn list_endpoints(
        &self,
        request: Request<ListEndpointsRequest>,
    ) -> Result<Response<ListEndpointsResponse>, Status> {
        let topic = request.into_inner().topic;
        let topics = self.0.topics.list().await.map_err(|error| status(&error))?;
        let topics = topics.iter().filter(|known| topic.is_empty() || known.name == topic);
        let statuses = self.0.topics.cluster.statuses().await;
        let said = || {
            statuses.values().flatten().flat_map(|report| report.endpoints.iter().map(|of| (report.node, of)))
        };
        let endpoints = topics.flat_map(|known| {
            known.topic.endpoints.iter().map(|endpoint| {
                let of_it = said().filter(|(_, of)| of.topic == known.name && of.endpoint == endpoint.name);
                let worst = of_it.max_by_key(|(_, of)| (of.breaker, of.failures));
                let breaker = worst.map(|(node, of)| breaker(node, of)).unwrap_or_default();
                ext::Endpoint { breaker: Some(breaker), ..told(&known.name, endpoint) }
            })
        });
        Ok(Response::new(ListEndpointsResponse { endpoints: endpoints.collect() }))
    }

    async fn claim(&self, request: Request<ClaimRequest>) -> Result<Response<ClaimResponse>, Status> {
        let claimed = self.claim_for(request.into_inner()).await.map_err(|error| status(&error))?;
        let deliveries = claimed.into_iter().map(convert::delivery).collect();
        Ok(Response::new(ClaimResponse { deliveries }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<SettleResponse>, Status> {
        let RenewRequest { delivery_id } = request.into_inner();
        Ok(self.settle_for_worker(delivery_id, pb::Disposition::InProgress, String::new(), 0).await)
    }

    async fn complete(&self, request: Request<CompleteRequest>) -> Result<Response<SettleResponse>, Status> {
        let CompleteRequest { delivery_id } = request.into_inner();
        Ok(self.settle_for_worker(delivery_id, pb::Disposition::Ack, String::new(), 0).await)
    }

    async fn fail(&self, request: Request<FailRequest>) -> Result<Response<SettleResponse>, Status> {
        let FailRequest { delivery_id, error, give_up, retry_delay_ms } = request.into_inner();
        if give_up && retry_delay_ms > 0 {
            let both = "retry_delay_ms is for what is tried again, and give_up says that it is not";
            return Err(Status::invalid_argument(both));
        }
        let disposition = if give_up { pb::Disposition::Term } else { pb::Disposition::Nack };
        Ok(self.settle_for_worker(delivery_id, disposition, error, retry_delay_ms).await)
    }

    async fn list(
        &self,
        request: Request<ListEffectsRequest>,
    ) -> Result<Response<ListByStateResponse>, Status> {
        let listed = self.list_unended(request.into_inner()).await;
        listed.map(Response::new).map_err(|error| status(&error))
    }

    async fn retry(&self, request: Request<ReviveRequest>) -> Result<Response<ReviveResponse>, Status> {
        let redrive = |topic, group, letters| EventsCommand::Redrive { topic, group, letters };
        self.revive(request.into_inner(), redrive).await
    }

    async fn abandon(&self, request: Request<ReviveRequest>) -> Result<Response<ReviveResponse>, Status> {
        let request = request.into_inner();
        if request.letters.is_empty() {
            return Err(Status::invalid_argument("letters is required: what is abandoned is to be named"));
        }
        let discard = |topic, group, letters| EventsCommand::Discard { topic, group, letters };
        self.revive(request, discard).await
    }
}

fn read(wanted: ext::Endpoint, secrets: Vec<String>) -> Result<Endpoint, Refused> {
    let is_url = ["http://", "https://"].iter().any(|scheme| wanted.target.starts_with(scheme));
    if !is_url && !wanted.target.starts_with(TOPIC_SCHEME) {
        return Err(Refused::Invalid(format!(
            "target {:?} is neither a URL of http or https nor topic:NAME",
            wanted.target
        )));
    }
    if !secrets.iter().all(|secret| signature::is_secret(secret)) {
        // Without it: secrets are for nobody's logs.
        return Err(Refused::Invalid("a secret is `whsec_` and base64 of 24 to 64 bytes".to_owned()));
    }
    let or = |value: u32, usual: u32| if value == 0 { usual } else { value };
    let ms = |value: u32, usual: u32| Nanos::from_millis(u64::from(or(value, usual)));
    Ok(Endpoint {
        name: wanted.name,
        target: wanted.target,
        concurrency: or(wanted.concurrency, CONCURRENCY),
        timeout: ms(wanted.timeout_ms, TIMEOUT_MS),
        is_ordered: wanted.ordered,
        attempts_max: or(wanted.attempts_max, ATTEMPTS_MAX),
        rest: ms(wanted.backoff_ms, REST_MS),
        rest_max: ms(wanted.backoff_max_ms, REST_MS_MAX),
        secrets,
        rate: wanted.rate_per_s,
        failures_max: wanted.breaker_failures.unwrap_or(BREAKER_FAILURES),
    })
}

fn told(topic: &str, endpoint: &Endpoint) -> ext::Endpoint {
    let ms = |span: Nanos| u32::try_from(span.as_nanos() / 1_000_000).unwrap_or(u32::MAX);
    ext::Endpoint {
        topic: topic.to_owned(),
        name: endpoint.name.clone(),
        target: endpoint.target.clone(),
        concurrency: endpoint.concurrency,
        timeout_ms: ms(endpoint.timeout),
        ordered: endpoint.is_ordered,
        attempts_max: endpoint.attempts_max,
        backoff_ms: ms(endpoint.rest),
        backoff_max_ms: ms(endpoint.rest_max),
        rate_per_s: endpoint.rate,
        breaker_failures: Some(endpoint.failures_max),
        breaker: None,
    }
}

fn breaker(node: u64, said: &EndpointReport) -> EndpointBreaker {
    let (state, open_ms) = match said.breaker {
        BreakerReport::Closed => (State::Closed, 0),
        BreakerReport::HalfOpen => (State::HalfOpen, 0),
        BreakerReport::Open { ms } => (State::Open, ms),
    };
    EndpointBreaker { state: state.into(), node, failures: said.failures, open_ms }
}

const CONCURRENCY: u32 = 8;
const TIMEOUT_MS: u32 = 10_000;
const ATTEMPTS_MAX: u32 = 20;
const REST_MS: u32 = 1000;
const REST_MS_MAX: u32 = 600_000;
const BREAKER_FAILURES: u32 = 5;
