//! The disks that are judged, and some that must be found out.

use std::collections::BTreeSet;
use std::time::Duration;

use chronon::server::backend::Backend;
use chronon::server::disk::DataDirectory;
use chronon::server::wake::Wake;
use chronon_core::engine::{DiskDone, DiskOp, DiskOpId, DiskOutcome, VirtualDisk};
use chronon_sim::disk::{DiskModel, SimDisk};
use chronon_sim::random::Randomness;
use chronon_sim::time::WorldTime;

/// A disk that can crash.
pub trait Subject {
    fn submit(&mut self, op: DiskOp);
    fn poll(&mut self) -> Vec<DiskDone>;
    fn crash(&mut self);
}

/// The simulated disk.
pub struct Simulated {
    disk: SimDisk,
    now: WorldTime,
    agenda: BTreeSet<(WorldTime, DiskOpId)>,
}

impl Simulated {
    pub fn new(seed: u64) -> Self {
        let model = DiskModel {
            atomic_unit: if seed.is_multiple_of(2) { 512 } else { 4096 },
            ..DiskModel::default()
        };
        let disk = SimDisk::new(1, model, Randomness::new(seed, 0));
        Self { disk, now: WorldTime::ZERO, agenda: BTreeSet::new() }
    }
}

impl Subject for Simulated {
    fn submit(&mut self, op: DiskOp) {
        let id = op.id();
        let due = self.disk.submit(self.now, op);
        self.agenda.insert((due, id));
    }

    fn poll(&mut self) -> Vec<DiskDone> {
        let Some((due, id)) = self.agenda.pop_first() else { return Vec::new() };
        self.now = due;
        self.disk.complete(id).into_iter().collect()
    }

    fn crash(&mut self) {
        self.agenda.clear();
        self.disk.crash();
    }
}

/// A directory of this machine.
pub struct Real {
    folder: tempfile::TempDir,
    backend: Backend,
    disk: Option<Box<dyn VirtualDisk>>,
}

impl Real {
    /// On a real filesystem: a tmpfs says nothing about `O_DIRECT`.
    pub fn new(backend: Backend) -> Self {
        let beside =
            std::env::current_exe().expect("a test has a file").parent().expect("in a folder").to_owned();
        let folder = tempfile::tempdir_in(beside).expect("it can be made");
        let directory = DataDirectory::create(&folder.path().join("node")).expect("it is new");
        let disk = backend.start(directory, Wake::new().expect("there are files left"));
        Self { folder, backend, disk: Some(disk.expect("it starts")) }
    }
}

impl Subject for Real {
    fn submit(&mut self, op: DiskOp) {
        self.disk.as_mut().expect("it runs").submit(op);
    }

    fn poll(&mut self) -> Vec<DiskDone> {
        let (disk, mut done) = (self.disk.as_mut().expect("it runs"), Vec::new());
        disk.kick();
        disk.poll(&mut done);
        if done.is_empty() {
            std::thread::sleep(Duration::from_micros(200));
        }
        done
    }

    fn crash(&mut self) {
        self.disk = None;
        let directory = DataDirectory::open(&self.folder.path().join("node")).expect("it is there");
        let disk = self.backend.start(directory, Wake::new().expect("there are files left"));
        self.disk = Some(disk.expect("it starts"));
    }
}

/// A disk that says that some operations are done, and does nothing.
pub struct Lying {
    disk: Simulated,
    swallows: Box<dyn FnMut(&DiskOp) -> bool>,
    swallowed: Vec<DiskDone>,
}

impl Lying {
    /// Forgets one write in ten.
    pub fn about_writes(seed: u64) -> Self {
        let mut writes = 0;
        Self::new(seed, move |op| {
            writes += u64::from(matches!(op, DiskOp::Write { .. }));
            matches!(op, DiskOp::Write { .. }) && writes % 10 == 3
        })
    }

    /// Answers every barrier at once.
    pub fn about_barriers(seed: u64) -> Self {
        Self::new(seed, |op| matches!(op, DiskOp::Barrier { .. }))
    }

    fn new(seed: u64, swallows: impl FnMut(&DiskOp) -> bool + 'static) -> Self {
        Self { disk: Simulated::new(seed), swallows: Box::new(swallows), swallowed: Vec::new() }
    }
}

impl Subject for Lying {
    fn submit(&mut self, op: DiskOp) {
        if (self.swallows)(&op) {
            self.swallowed.push(DiskDone { id: op.id(), outcome: DiskOutcome::Done });
        } else {
            self.disk.submit(op);
        }
    }

    fn poll(&mut self) -> Vec<DiskDone> {
        let mut done = std::mem::take(&mut self.swallowed);
        done.extend(self.disk.poll());
        done
    }

    fn crash(&mut self) {
        self.swallowed.clear();
        self.disk.crash();
    }
}
