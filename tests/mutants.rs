//! The planted bugs of `sim/mutants/` can be planted: each is a file that says what it is, and each text to find stands
//! exactly once in the file that it names. Whether they are found is for `chronon-sim mutants`.

use std::path::Path;

use chronon_sim::mutants::Mutant;

#[test]
fn every_mutant_can_be_planted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mutants = Mutant::load_all(root, &[]).unwrap_or_else(|error| panic!("{error}"));
    assert!(mutants.len() >= 60, "only {} mutants", mutants.len());
    let complaints: Vec<String> = mutants.iter().filter_map(|mutant| mutant.planted(root).err()).collect();
    assert_eq!(complaints, Vec::<String>::new());
}

#[test]
fn a_mutant_that_there_is_not_is_told_with_those_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let error = Mutant::load_all(root, &["no-such-bug".to_owned()]).expect_err("no such mutant");
    assert!(error.contains("`no-such-bug`") && error.contains("quorum-one-short"), "{error}");
}
