//! The shape of a scenario file, as it is written.

use std::collections::BTreeMap;

use toml::Spanned;

use super::changes::ChangeShape;
use super::error::Located;
use super::fault_shape::FaultShape;
use super::value::{Count, Drift, NodesShape, Ns, Share, Word, seed};
use crate::config::{ClientModel, EventsModel, OperatorModel, WorldConfig};
use crate::oracle::EventFate;
use crate::sink::{SinkModel, Verdict};

/// A whole file.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) name: String,
    #[serde(default, deserialize_with = "seed")]
    pub(super) seed: Option<u64>,
    pub(super) length: Ns,
    pub(super) heal: Option<Ns>,
    pub(super) operations_min: Option<u64>,
    #[serde(default)]
    pub(super) beyond_budget: bool,
    pub(super) disks_lost_max: Option<Count>,
    pub(super) cluster: ClusterShape,
    #[serde(default)]
    pub(super) group: Vec<GroupShape>,
    #[serde(default)]
    pub(super) clients: ClientsShape,
    #[serde(default)]
    pub(super) sinks: SinksShape,
    #[serde(default)]
    pub(super) operator: OperatorShape,
    #[serde(default)]
    pub(super) events: EventsShape,
    #[serde(default)]
    pub(super) fault: Vec<Spanned<FaultShape>>,
    #[serde(default)]
    pub(super) change: Vec<Spanned<ChangeShape>>,
    #[serde(default)]
    pub(super) expect: ExpectShape,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClusterShape {
    pub(super) nodes: Spanned<NodesShape>,
    #[serde(default, deserialize_with = "seed")]
    pub(super) id: Option<u64>,
    bytes_on_the_wire: Option<bool>,
    atomic_unit: Option<Spanned<i64>>,
    disk_write: Option<Ns>,
    disk_read: Option<Ns>,
    disk_barrier: Option<Ns>,
    /// As long as a barrier when it is not given.
    disk_allocate: Option<Ns>,
    delay: Option<Ns>,
    loss: Option<Share>,
    duplicate: Option<Share>,
    drift_ppm: Option<Drift>,
    wall_offset: Option<Ns>,
    segment_bytes: Option<u64>,
    flush_bytes_max: Option<u32>,
    flushes_in_flight: Option<Count>,
    sealed_segments: Option<u32>,
    sealed_segments_max: Option<u32>,
    snapshot_chunk_bytes: Option<u32>,
    idle_mark: Option<Ns>,
    scrub_every: Option<Ns>,
    scrub_bytes: Option<u64>,
    pipeline_entries: Option<Count>,
    batch_commands: Option<Count>,
    batch_bytes: Option<u32>,
    command_bytes: Option<u32>,
    queue_requests: Option<Count>,
    repair_entries: Option<Count>,
    repair_bytes: Option<u32>,
    side_effects: Option<Count>,
    outbox: Option<Count>,
    outbox_bytes: Option<Count>,
    heartbeat: Option<Ns>,
    primary_silence: Option<Ns>,
    view_change: Option<Ns>,
    resend: Option<Ns>,
    abdicate: Option<Ns>,
    disk_patience: Option<Ns>,
    clock_tolerance: Option<Ns>,
    attempt: Option<Ns>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupShape {
    pub(super) id: Option<Spanned<i64>>,
    pub(super) kind: Spanned<String>,
    pub(super) voters: Option<Vec<Spanned<i64>>>,
    pub(super) sessions_max: Option<u32>,
    pub(super) archive: Option<ArchiveShape>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ArchiveShape {
    pub(super) chunk_bytes: u32,
    pub(super) chunks_max: u32,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientsShape {
    pub(super) count: Option<Spanned<i64>>,
    pub(super) asking: Option<Vec<Spanned<AsksShape>>>,
    requests_max: Option<u64>,
    think: Option<Ns>,
    resend: Option<Ns>,
    give_up: Option<Ns>,
    repeat: Option<Share>,
}

/// How sinks of side effects behave while faults go on.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SinksShape {
    delay: Option<Ns>,
    fail: Option<Share>,
    silent: Option<Share>,
    lie: Option<Share>,
    down: Option<Share>,
    refuse: Option<Share>,
}

/// What an operator does about side effects that were given up.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OperatorShape {
    every: Option<Ns>,
    redrive: Option<Share>,
    discard: Option<Share>,
}

/// What clients of event partitions do.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsShape {
    publish: Option<Share>,
    batch: Option<Count>,
    delay: Option<Ns>,
    again: Option<Share>,
    poison: Option<Share>,
    expires: Option<Share>,
    change: Option<Share>,
    past: Option<Share>,
    leave: Option<Share>,
    administer: Option<Share>,
    attach_after: Option<u64>,
    credits_after: Option<u64>,
    together: Option<Ns>,
    ack_timeout: Option<Ns>,
}

/// A client, and the groups it asks: all when none are named.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AsksShape {
    pub(super) client: Spanned<i64>,
    pub(super) groups: Option<Vec<Spanned<i64>>>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectShape {
    pub(super) committed_min: Option<u64>,
    pub(super) view_changes_min: Option<u64>,
    pub(super) view_changes_max: Option<u64>,
    pub(super) crashes_min: Option<u64>,
    pub(super) repeated_min: Option<u64>,
    pub(super) rotted_min: Option<u64>,
    pub(super) halts_min: Option<u64>,
    pub(super) disk_bytes_max: Option<u64>,
    pub(super) entry_commands_min: Option<u64>,
    #[serde(default)]
    pub(super) stall: bool,
    #[serde(default)]
    pub(super) marks: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) never: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) attempts_min: BTreeMap<Word<Verdict>, u64>,
    #[serde(default)]
    pub(super) fates_min: BTreeMap<Word<EventFate>, u64>,
}

impl ClusterShape {
    /// Puts what the file says over what is usual.
    pub(super) fn apply(&self, config: &mut WorldConfig) -> Result<(), Located> {
        if let Some(unit) = &self.atomic_unit {
            config.disk.atomic_unit = match unit.get_ref() {
                512 => 512,
                4096 => 4096,
                other => {
                    return Err(Located::at(
                        unit.span(),
                        format!("atomic_unit {other}: 512 or 4096 are allowed"),
                    ));
                }
            };
        }
        put(&mut config.bytes_on_the_wire, self.bytes_on_the_wire);
        put(&mut config.disk.write_ns, self.disk_write.map(|ns| ns.0));
        put(&mut config.disk.read_ns, self.disk_read.map(|ns| ns.0));
        put(&mut config.disk.barrier_ns, self.disk_barrier.map(|ns| ns.0));
        put(&mut config.disk.allocate_ns, self.disk_allocate.or(self.disk_barrier).map(|ns| ns.0));
        put(&mut config.net.delay_ns, self.delay.map(|ns| ns.0));
        put(&mut config.net.loss_ppm, self.loss.map(Share::ppm));
        put(&mut config.net.duplicate_ppm, self.duplicate.map(Share::ppm));
        put(&mut config.clocks.drift_ppm, self.drift_ppm.map(|drift| drift.0));
        put(&mut config.clocks.offset_ns, self.wall_offset.map(|ns| ns.0));
        put(&mut config.engine.segment_bytes, self.segment_bytes);
        put(&mut config.engine.flush_bytes_max, self.flush_bytes_max);
        put(&mut config.engine.flushes_in_flight_max, self.flushes_in_flight.map(Count::get));
        put(&mut config.engine.sealed_segments_target, self.sealed_segments);
        put(&mut config.engine.sealed_segments_max, self.sealed_segments_max);
        put(&mut config.engine.snapshot_chunk_bytes, self.snapshot_chunk_bytes);
        put(&mut config.engine.idle_mark_after, self.idle_mark.map(Ns::nanos));
        put(&mut config.engine.scrub_every, self.scrub_every.map(Ns::nanos));
        put(&mut config.engine.scrub_bytes_per_second, self.scrub_bytes);
        put(&mut config.limits.pipeline_entries_max, self.pipeline_entries.map(Count::get));
        put(&mut config.limits.batch_commands_max, self.batch_commands.map(Count::get));
        put(&mut config.limits.batch_bytes_max, self.batch_bytes);
        put(&mut config.limits.command_bytes_max, self.command_bytes);
        put(&mut config.limits.queue_requests_max, self.queue_requests.map(Count::get));
        put(&mut config.limits.repair_entries_max, self.repair_entries.map(Count::get));
        put(&mut config.limits.repair_bytes_max, self.repair_bytes);
        put(&mut config.limits.side_effects_max, self.side_effects.map(Count::get));
        put(&mut config.limits.outbox_max, self.outbox.map(Count::get));
        put(&mut config.limits.outbox_bytes_max, self.outbox_bytes.map(Count::get));
        put(&mut config.timeouts.heartbeat, self.heartbeat.map(Ns::nanos));
        put(&mut config.timeouts.primary_silence, self.primary_silence.map(Ns::nanos));
        put(&mut config.timeouts.view_change, self.view_change.map(Ns::nanos));
        put(&mut config.timeouts.resend, self.resend.map(Ns::nanos));
        put(&mut config.timeouts.abdicate, self.abdicate.map(Ns::nanos));
        put(&mut config.timeouts.disk_patience, self.disk_patience.map(Ns::nanos));
        put(&mut config.timeouts.clock_tolerance, self.clock_tolerance.map(Ns::nanos));
        put(&mut config.timeouts.attempt, self.attempt.map(Ns::nanos));
        Ok(())
    }
}

impl SinksShape {
    /// Puts what the file says over what is usual.
    pub(super) fn apply(&self, sinks: &mut SinkModel) {
        put(&mut sinks.delay_ns, self.delay.map(|ns| ns.0));
        put(&mut sinks.fail_ppm, self.fail.map(Share::ppm));
        put(&mut sinks.silent_ppm, self.silent.map(Share::ppm));
        put(&mut sinks.lie_ppm, self.lie.map(Share::ppm));
        put(&mut sinks.down_ppm, self.down.map(Share::ppm));
        put(&mut sinks.refuse_ppm, self.refuse.map(Share::ppm));
    }
}

impl OperatorShape {
    /// Puts what the file says over what is usual.
    pub(super) fn apply(&self, operator: &mut OperatorModel) {
        put(&mut operator.every_ns, self.every.map(|ns| ns.0));
        put(&mut operator.redrive_ppm, self.redrive.map(Share::ppm));
        put(&mut operator.discard_ppm, self.discard.map(Share::ppm));
    }
}

impl EventsShape {
    /// Puts what the file says over what is usual.
    pub(super) fn apply(&self, events: &mut EventsModel) {
        put(&mut events.publish_ppm, self.publish.map(Share::ppm));
        put(&mut events.batch, self.batch.map(Count::get));
        put(&mut events.delay_ns, self.delay.map(|ns| ns.0));
        put(&mut events.again_ppm, self.again.map(Share::ppm));
        put(&mut events.poison_ppm, self.poison.map(Share::ppm));
        put(&mut events.expires_ppm, self.expires.map(Share::ppm));
        put(&mut events.change_ppm, self.change.map(Share::ppm));
        put(&mut events.past_ppm, self.past.map(Share::ppm));
        put(&mut events.leave_ppm, self.leave.map(Share::ppm));
        put(&mut events.administer_ppm, self.administer.map(Share::ppm));
        put(&mut events.attach_after, self.attach_after);
        put(&mut events.credits_after, self.credits_after);
        put(&mut events.together_ns, self.together.map(|ns| ns.0));
        put(&mut events.ack_timeout_ns, self.ack_timeout.map(|ns| ns.0));
    }
}

impl ClientsShape {
    /// Puts what the file says over what is usual; who asks is checked by the caller.
    pub(super) fn apply(&self, clients: &mut ClientModel) {
        put(&mut clients.think_ns, self.think.map(|ns| ns.0));
        put(&mut clients.resend_ns, self.resend.map(|ns| ns.0));
        put(&mut clients.give_up_ns, self.give_up.map(|ns| ns.0));
        put(&mut clients.repeat_ppm, self.repeat.map(Share::ppm));
        put(&mut clients.requests_max, self.requests_max);
    }
}

fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}
