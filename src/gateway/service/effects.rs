//! `EffectService`: the endpoints of topics.

use chronon_core::catalog::{CatalogCommand, Endpoint};
use chronon_core::events::EventsCommand;
use chronon_core::types::Nanos;
use tonic::{Request, Response, Status};

use super::{Api, status};
use crate::gateway::posting::TOPIC_SCHEME;
use crate::gateway::proto::ext;
use crate::gateway::proto::ext::effect_service_server::EffectService;
use crate::gateway::proto::ext::{
    ListEndpointsRequest, ListEndpointsResponse, RemoveEndpointRequest, RemoveEndpointResponse,
    SetEndpointRequest,
};
use crate::gateway::signature;
use crate::gateway::topics::Refused;

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
        let endpoints =
            topics.flat_map(|known| known.topic.endpoints.iter().map(|endpoint| told(&known.name, endpoint)));
        Ok(Response::new(ListEndpointsResponse { endpoints: endpoints.collect() }))
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
    }
}

const CONCURRENCY: u32 = 8;
const TIMEOUT_MS: u32 = 10_000;
const ATTEMPTS_MAX: u32 = 20;
const REST_MS: u32 = 1000;
const REST_MS_MAX: u32 = 600_000;
