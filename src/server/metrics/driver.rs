//! What the driver of a node counts and measures: its disk, and the rare paths of the core that an operator wants to know of.

use std::time::{Duration, Instant};

use chronon_core::types::{Mark, Marks};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::Labels;
use super::ages::Ages;
use crate::server::status::StatusReport;

/// What the driver of a node counts. A clone is the same.
#[derive(Clone, Debug)]
pub struct DriverMetrics {
    /// What the node passes.
    pub marks: Counted,
    flush: Histogram,
    /// Since when side effects have not ended.
    pub(super) ages: Ages,
}

/// Counts some of the marks that a node passes.
#[derive(Clone, Debug)]
pub struct Counted {
    views: Counter,
    found: Counter,
    repaired: Family<Labels, Counter>,
    fenced: Counter,
    failed: Counter,
}

impl Default for DriverMetrics {
    fn default() -> Self {
        // From 0.1 ms to 3.3 s.
        let flush = Histogram::new(exponential_buckets(0.000_1, 2.0, 16));
        Self { marks: Counted::default(), flush, ages: Ages::default() }
    }
}

impl DriverMetrics {
    pub(super) fn register(&self, to: &mut Registry) {
        let help = "From when writes were handed to the disk until they were durable";
        to.register_with_unit("flush", help, Unit::Seconds, self.flush.clone());
        self.marks.register(to);
    }

    /// Writes were durable so long after they had been handed to the disk.
    pub fn flushed(&self, after: Duration) {
        self.flush.observe(after.as_secs_f64());
    }

    /// The node was like this now.
    pub fn seen(&self, report: &StatusReport) {
        self.ages.note(report, Instant::now());
    }
}

impl Default for Counted {
    fn default() -> Self {
        let repaired = Family::<Labels, Counter>::default();
        // There from the start, at zero.
        for what in [ENTRY, CHUNK, MANIFEST, SNAPSHOT] {
            drop(repaired.get_or_create(&vec![("what", what.to_owned())]));
        }
        let [views, found, fenced, failed] = std::array::from_fn(|_| Counter::default());
        Self { views, found, repaired, fenced, failed }
    }
}

impl Counted {
    fn register(&self, to: &mut Registry) {
        to.register("view_changes", "Views that replicas of this node have entered", self.views.clone());
        to.register("disk_faults_found", "Times that this node found what rotted", self.found.clone());
        let repaired = "What rotted on this node's disk and was written again, from memory or from a peer";
        to.register("disk_faults_repaired", repaired, self.repaired.clone());
        let fenced = "Ends of attempts at side effects that came under a token or lease that held no more";
        to.register("side_effects_fenced", fenced, self.fenced.clone());
        let failed = "Attempts at side effects that failed, as this node has applied them";
        to.register("side_effects_failed", failed, self.failed.clone());
    }

    fn repaired(&self, what: &str) {
        self.repaired.get_or_create(&vec![("what", what.to_owned())]).inc();
    }
}

impl Marks for Counted {
    fn hit(&mut self, mark: Mark) {
        match mark {
            Mark::EnteredByWishes
            | Mark::EnteredByLaterWish
            | Mark::EnteredByPrepare
            | Mark::EnteredByBeat
            | Mark::EnteredByLog
            | Mark::EnteredByStart => {
                self.views.inc();
            }
            Mark::ScrubFound
            | Mark::FlushRotten
            | Mark::FlushBodyRotten
            | Mark::FlushLost
            | Mark::SnapshotLost
            | Mark::RottenFoundByFetch
            | Mark::ChunkHeadRotten
            | Mark::ChunkRottenFoundByLookup => {
                self.found.inc();
            }
            Mark::RottenWrittenAgain | Mark::FaultyRepairedInViewChange | Mark::FaultyFilledForArchive => {
                self.repaired(ENTRY);
            }
            Mark::ChunkRepaired => self.repaired(CHUNK),
            Mark::ManifestWrittenAgain => self.repaired(MANIFEST),
            Mark::GroupBackByTransfer => self.repaired(SNAPSHOT),
            Mark::AttemptEndedTooLate | Mark::LeaseStale => {
                self.fenced.inc();
            }
            Mark::SideEffectRests | Mark::SideEffectRefused | Mark::SideEffectGivenUp => {
                self.failed.inc();
            }
            // For simulators.
            _ => {}
        }
    }
}

const ENTRY: &str = "entry";
const CHUNK: &str = "chunk";
const MANIFEST: &str = "manifest";
const SNAPSHOT: &str = "snapshot";
