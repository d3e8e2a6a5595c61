use super::{Explanation, Need, explain};
use crate::forgetful::failing;

fn explanation(without_faults: bool) -> Explanation {
    let (simulation, config) = failing();
    let config = config.with_faults(|place| !without_faults && place >= 7);
    explain(&simulation, &config, &|report| report, 2)
}

#[test]
fn a_failure_is_told_in_order_with_its_promise_and_what_it_needs() {
    let explanation = explanation(false);
    assert!(explanation.story.is_sorted_by_key(|told| told.at));
    let told: Vec<&str> = explanation.story.iter().map(|told| told.what.as_str()).collect();
    let place = |what: &str| {
        told.iter().position(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {told:#?}"))
    };
    assert!(place("leads view") < place("fault: crash node 3"));
    assert!(place("fault: crash node 3") < place("node 3 dies"));
    assert!(place("node 3 dies") < place("node 3 starts on what its disk kept"));
    assert!(place("requests have been acknowledged") < place("node 3 dies"));
    let promise = explanation.promise.expect("an invariant broke");
    assert!(promise.contains("same state") || promise.contains("first answer"), "{promise}");
    let needed: Vec<&str> = explanation
        .parts
        .iter()
        .filter(|part| part.need != Need::Not)
        .map(|part| part.what.as_str())
        .collect();
    assert_eq!(needed.len(), 1, "{needed:?}");
    assert!(needed[0].contains("crash node 3"), "{needed:?}");
    let text = explanation.to_string();
    for part in ["FAILED", promise, "The last step", "not needed", "1 of "] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn a_run_in_which_all_held_says_so() {
    let explanation = explanation(true);
    assert_eq!((explanation.report.cause.clone(), explanation.promise), (None, None));
    assert!(explanation.parts.is_empty());
    assert!(explanation.to_string().ends_with("all held"));
}
