//! The services, one a file.

mod cluster;
mod consensus;
mod consumers;
mod convert;
mod dead_letters;
mod effects;
mod events;
mod groups;
mod lifecycle;
mod listing;
mod membership;
mod partitions;
mod pull;
mod recurring;
mod replay;
mod replication;
mod schedule;
mod streams;
mod topics;

use std::sync::Arc;

use tonic::Status;
use tonic::service::Routes;

use super::Gateway;
use super::proto::cronos_db::consumer_group_service_server::ConsumerGroupServiceServer;
use super::proto::cronos_db::event_service_server::EventServiceServer;
use super::proto::cronos_db::partition_service_server::PartitionServiceServer;
use super::proto::cronos_db::raft_service_server::RaftServiceServer;
use super::proto::cronos_db::replication_service_server::ReplicationServiceServer;
use super::proto::cronos_db::transaction_service_server::TransactionServiceServer;
use super::proto::ext::cluster_service_server::ClusterServiceServer;
use super::proto::ext::dead_letter_service_server::DeadLetterServiceServer;
use super::proto::ext::effect_service_server::EffectServiceServer;
use super::proto::ext::event_stream_server::EventStreamServer;
use super::proto::ext::group_service_server::GroupServiceServer;
use super::proto::ext::lifecycle_service_server::LifecycleServiceServer;
use super::proto::ext::schedule_service_server::ScheduleServiceServer;
use super::proto::ext::topic_service_server::TopicServiceServer;
use super::topics::Refused;

/// What all services are about.
#[derive(Clone, Debug)]
struct Api(Arc<Gateway>);

pub(super) fn routes(gateway: &Arc<Gateway>) -> Routes {
    let api = || Api(Arc::clone(gateway));
    Routes::new(EventServiceServer::new(api()).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(EventStreamServer::new(api()).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(ConsumerGroupServiceServer::new(api()))
        .add_service(PartitionServiceServer::new(api()))
        .add_service(ReplicationServiceServer::new(api()))
        .add_service(RaftServiceServer::new(api()))
        .add_service(TransactionServiceServer::new(api()))
        .add_service(TopicServiceServer::new(api()))
        .add_service(EffectServiceServer::new(api()))
        .add_service(GroupServiceServer::new(api()))
        .add_service(LifecycleServiceServer::new(api()))
        .add_service(ScheduleServiceServer::new(api()))
        .add_service(DeadLetterServiceServer::new(api()))
        .add_service(ClusterServiceServer::new(api()))
}

/// What a client is told that cannot be told in the answer itself.
fn status(refused: &Refused) -> Status {
    let why = refused.to_string();
    match refused {
        Refused::Unavailable(_) => Status::unavailable(why),
        Refused::Overloaded(_) => Status::resource_exhausted(why),
        Refused::Invalid(_) => Status::invalid_argument(why),
        Refused::NotFound(_) => Status::not_found(why),
        Refused::NotAMember => Status::failed_precondition(why),
    }
}

/// A batch of events, with room for its overhead.
const MESSAGE_BYTES_MAX: usize = 12 << 20;
