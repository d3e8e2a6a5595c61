//! `chronon-sim list`.

use std::path::Path;

use chronon_core::types::Mark;

use crate::net::MessageKind;
use crate::oracle;
use crate::plan::FaultKind;
use crate::run::ALL_HELD;
use crate::scenario::{self, Scenario};

/// Where scenarios lie in the repository.
const SCENARIOS: &str = "scenarios";

/// Prints what there is.
pub(super) fn print(kinds: &[&str], json: bool) -> u8 {
    let oracles: Vec<&str> =
        oracle::all().iter().flat_map(|oracle| oracle.invariants().iter().copied()).collect();
    let beside = oracle::OF_THE_WORLD;
    let files = scenario::files_of(Path::new(SCENARIOS)).unwrap_or_default();
    let scenarios: Vec<(String, String)> = files
        .iter()
        .map(|file| {
            let name = Scenario::load(file, kinds).map_or_else(|error| error, |scenario| scenario.name);
            (file.display().to_string(), name)
        })
        .collect();
    let marks: Vec<&str> = Mark::ALL.iter().map(|mark| mark.text()).collect();
    if json {
        println!(
            "{}",
            serde_json::json!({
                "type": "list",
                "protocols": ["vsr"],
                "workloads": kinds,
                "faults": FaultKind::WORDS.map(|(word, _)| word),
                "messages": MessageKind::WORDS.map(|(_, word)| word),
                "oracles": oracles.iter().chain(&beside).collect::<Vec<_>>(),
                "marks": marks,
                "scenarios": scenarios,
            })
        );
        return ALL_HELD;
    }
    println!("protocols: vsr");
    println!("workloads: {}", kinds.join(", "));
    println!("faults:");
    for (word, meaning) in FaultKind::WORDS {
        println!("  {word:<18}{meaning}");
    }
    println!("messages: {}", MessageKind::WORDS.map(|(_, word)| word).join(", "));
    println!("oracles: {}", oracles.iter().chain(&beside).copied().collect::<Vec<_>>().join(", "));
    println!("marks:");
    for text in marks {
        println!("  {text}");
    }
    println!("scenarios:");
    for (file, name) in scenarios {
        println!("  {file}: {name}");
    }
    ALL_HELD
}
