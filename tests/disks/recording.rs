//! A disk that remembers what it was asked and what it answered, in which order.

use std::cell::RefCell;
use std::rc::Rc;

use chronon_core::engine::{DiskDone, DiskOp, VirtualDisk};
use chronon_core::types::Op;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    Submitted(DiskOp),
    Completed(DiskDone),
    /// Entries up to this op were acknowledged.
    Acknowledged(Op),
}

/// What happened, oldest first.
pub type Log = Rc<RefCell<Vec<Event>>>;

/// The disk.
pub struct Recording {
    pub disk: Box<dyn VirtualDisk>,
    pub log: Log,
}

impl VirtualDisk for Recording {
    fn submit(&mut self, op: DiskOp) {
        self.log.borrow_mut().push(Event::Submitted(op.clone()));
        self.disk.submit(op);
    }

    fn kick(&mut self) {
        self.disk.kick();
    }

    fn poll(&mut self, done: &mut Vec<DiskDone>) {
        let before = done.len();
        self.disk.poll(done);
        self.log.borrow_mut().extend(done[before..].iter().cloned().map(Event::Completed));
    }
}
