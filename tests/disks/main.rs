//! One suite for every disk: the same operations, with crashes, on the simulated disk and on the real ones. What a disk
//! shows must be what the model allows, so that what the simulator proves holds of what runs in production.
//!
//! A crash of a real disk here is the end of its process; power cuts are not this suite's.

mod model;
mod recording;
mod replay;
mod script;
mod subjects;

use chronon::server::backend::Backend;

use model::Model;
use script::{Step, script};
use subjects::{Lying, Real, Simulated, Subject};

/// Runs a script; what the subject showed that the model does not allow.
fn judge(subject: &mut dyn Subject, steps: &[Step]) -> Result<Model, String> {
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Submit(op) => {
                model.submit(op);
                subject.submit(op.clone());
            }
            Step::Settle => settle(subject, &mut model)?,
            Step::Crash => {
                subject.crash();
                for op in model.crash() {
                    model.submit(&op);
                    subject.submit(op);
                }
                settle(subject, &mut model)?;
                model.recovered();
            }
        }
    }
    Ok(model)
}

/// Waits until nothing is in flight.
fn settle(subject: &mut dyn Subject, model: &mut Model) -> Result<(), String> {
    let mut patience = 20_000;
    while model.in_flight() > 0 {
        for done in subject.poll() {
            model.complete(&done)?;
        }
        patience -= 1;
        if patience == 0 {
            return Err(format!("{} operations never complete", model.in_flight()));
        }
    }
    Ok(())
}

fn conforms(make: impl Fn(u64) -> Box<dyn Subject>) {
    let (mut reads, mut survived, mut lost, mut replaced) = (0, 0, 0, 0);
    for seed in 1..=SEEDS {
        match judge(&mut *make(seed), &script(seed)) {
            Ok(model) => {
                reads += model.compared;
                survived += model.survived;
                lost += model.lost;
                replaced += model.replaced_whole;
            }
            Err(what) => panic!("script {seed}: {what}"),
        }
    }
    eprintln!(
        "{reads} sectors compared; after crashes {survived} speculative ones were there, {lost} were not, and {replaced} \
         files were replaced"
    );
    assert!(reads > 1_000 * SEEDS, "too little was compared: {reads} sectors");
}

#[test]
fn the_simulated_disk_conforms() {
    conforms(|seed| Box::new(Simulated::new(seed)));
}

#[test]
fn the_synchronous_disk_conforms() {
    conforms(|_| Box::new(Real::new(Backend::Sync)));
}

#[test]
fn the_disk_on_io_uring_conforms() {
    conforms(|_| Box::new(Real::new(Backend::IoUring)));
}

#[test]
fn a_disk_that_forgets_a_write_is_told() {
    let told = |seed| judge(&mut Lying::about_writes(seed), &script(seed)).is_err();
    assert!((1..=SEEDS).all(told));
}

#[test]
fn a_disk_that_answers_a_barrier_before_its_writes_is_told() {
    let told = |seed| judge(&mut Lying::about_barriers(seed), &script(seed)).is_err();
    assert!((1..=SEEDS).all(told));
}

const SEEDS: u64 = 12;
