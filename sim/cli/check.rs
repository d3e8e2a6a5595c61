//! `chronon-sim check`: linearizability of a recorded history, from anywhere.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use clap::Args;

use crate::checker::{History, Limit, Limits, MODELS, Value, Verdict, Violation, check, picture, tell};
use crate::run::{ALL_HELD, GAVE_UP, INVARIANT_BROKE, NOTHING_COMPARED};

/// What to check, and how hard.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The history, an event a line; - reads standard input.
    #[arg(value_name = "HISTORY.jsonl")]
    history: PathBuf,
    /// What the object is: cas-register, bank, kv-append, mutex, queue or log.
    #[arg(long, value_name = "NAME", value_parser = MODELS)]
    model: String,
    /// Give up on an object when more ways than this would have to be held at once.
    #[arg(long, value_name = "N", default_value_t = Limits::default().configurations_max,
        value_parser = positive)]
    configurations_max: usize,
    /// Give up on an object after so many steps of the model.
    #[arg(long, value_name = "N", default_value_t = Limits::default().steps_max,
        value_parser = clap::value_parser!(u64).range(1..))]
    steps_max: u64,
}

/// Checks and prints the verdict; the exit status.
pub(super) fn run(args: &CheckArgs, json: bool) -> Result<u8, String> {
    let CheckArgs { history: path, model, configurations_max, steps_max } = args;
    let limits = Limits { configurations_max: *configurations_max, steps_max: *steps_max };
    let name = path.display();
    let history = History::read(&text_of(path)?).map_err(|error| format!("{name}: {error}"))?;
    let verdict = check(model, &history, limits).map_err(|error| format!("{name}: {error}"))?;
    if json {
        println!("{}", to_json(model, &history, &verdict));
    } else {
        print!("{}", to_text(model, &history, &verdict, limits, std::io::stdout().is_terminal()));
    }
    Ok(match verdict {
        Verdict::Linearizable { operations: 0, .. } => NOTHING_COMPARED,
        Verdict::Linearizable { .. } => ALL_HELD,
        Verdict::Violation(_) => INVARIANT_BROKE,
        Verdict::GaveUp { .. } => GAVE_UP,
    })
}

fn text_of(path: &PathBuf) -> Result<String, String> {
    let name = path.display();
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| format!("{name}: {error}"))?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("`{text}` is not a whole number from 1")),
    }
}

fn to_text(model: &str, history: &History, verdict: &Verdict, limits: Limits, colours: bool) -> String {
    match verdict {
        Verdict::Linearizable { operations: 0, .. } => {
            "compared nothing: the history holds no operation that tells anything\n".to_owned()
        }
        Verdict::Linearizable { keys, operations } => {
            format!("linearizable: {operations} operations on {keys} keys, as a {model}\n")
        }
        Verdict::GaveUp { key, limit } => {
            let limit = match limit {
                Limit::Configurations => format!("{} configurations", limits.configurations_max),
                Limit::Steps => format!("{} steps", limits.steps_max),
            };
            format!("gave up: key {key} is neither proven nor refuted within {limit}\n")
        }
        Verdict::Violation(violation) => violation_text(model, history, violation, colours),
    }
}

fn violation_text(model: &str, history: &History, violation: &Violation, colours: bool) -> String {
    let Violation { key, evidence } = violation;
    let failed = &history.operations()[evidence.failed];
    let key = if *key == Value::Null { String::new() } else { format!(", key {key}") };
    let count = evidence.operations.len();
    let mut text = format!(
        "not linearizable as a {model}{key}: nothing explains {} of process {}\n",
        tell(failed),
        failed.process
    );
    text += &match (count, evidence.is_smallest) {
        (1, _) => "this operation alone shows it:\n".to_owned(),
        (_, true) => format!("{count} operations show it, and none can be left out:\n"),
        (_, false) => {
            format!("{count} operations show it; the bound on searches ended before fewer were found:\n")
        }
    };
    if evidence.since.is_some() {
        text += "what the object was before them is taken to be unknown\n";
    }
    text += "\n";
    text += &picture(history, violation, colours);
    let shown: Vec<&str> = evidence.states.iter().take(STATES_SHOWN).map(String::as_str).collect();
    let more = evidence.states.len().saturating_sub(STATES_SHOWN);
    let more = if more > 0 { format!(" or {more} others") } else { String::new() };
    text + &format!("\npossible just before that answer: {}{more}\n", shown.join(" or "))
}

fn to_json(model: &str, history: &History, verdict: &Verdict) -> serde_json::Value {
    match verdict {
        Verdict::Linearizable { operations: 0, .. } => {
            serde_json::json!({ "type": "check", "model": model, "verdict": "compared nothing" })
        }
        Verdict::Linearizable { keys, operations } => serde_json::json!({
            "type": "check", "model": model, "verdict": "linearizable", "keys": keys, "operations": operations,
        }),
        Verdict::GaveUp { key, limit } => serde_json::json!({
            "type": "check", "model": model, "verdict": "gave up", "key": key.to_string(),
            "limit": match limit { Limit::Configurations => "configurations", Limit::Steps => "steps" },
        }),
        Verdict::Violation(Violation { key, evidence }) => {
            let operation = |index: &usize| {
                let operation = &history.operations()[*index];
                serde_json::json!({
                    "number": index + 1,
                    "process": operation.process,
                    "operation": tell(operation),
                    "failed": *index == evidence.failed,
                })
            };
            serde_json::json!({
                "type": "check",
                "model": model,
                "verdict": "violation",
                "key": key.to_string(),
                "operations": evidence.operations.iter().map(operation).collect::<Vec<_>>(),
                "states": evidence.states,
                "state_before_unknown": evidence.since.is_some(),
                "smallest": evidence.is_smallest,
            })
        }
    }
}

/// Possible states that are printed.
const STATES_SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    use super::{CheckArgs, run, to_json, to_text};
    use crate::checker::{History, Limits, check};
    use crate::run::GAVE_UP;

    fn told(model: &str, lines: &str) -> String {
        let history = History::read(lines).expect("a history");
        let verdict = check(model, &history, Limits::default()).expect("a verdict");
        to_text(model, &history, &verdict, Limits::default(), false)
    }

    #[test]
    fn every_verdict_is_told() {
        let held = r#"{"process":1,"type":"invoke","f":"acquire","key":"m"}
{"process":1,"type":"ok","f":"acquire","key":"m"}
"#;
        assert_eq!(told("mutex", held), "linearizable: 1 operations on 1 keys, as a mutex\n");
        assert!(told("mutex", "").starts_with("compared nothing"));
        let text = told("mutex", &held.repeat(2));
        assert!(text.starts_with(
            "not linearizable as a mutex, key \"m\": nothing explains acquire: ok of process 1"
        ));
        assert!(text.contains("2 operations show it, and none can be left out"), "{text}");
        assert!(text.contains("possible just before that answer: true"), "{text}");
    }

    /// Sixteen transfers of which nobody heard again, of amounts that make up every even sum in one way only, and a read
    /// of an odd one.
    fn hard_history() -> String {
        let read = |balances: &str| {
            format!(
                r#"{{"process":0,"type":"invoke","f":"read","key":"b"}}
{{"process":0,"type":"ok","f":"read","key":"b","value":{balances}}}
"#
            )
        };
        let mut lines = read(r#"{"1":1000000,"2":0}"#);
        for process in 1..=16 {
            let amount = 1 << process;
            lines += &format!(
                r#"{{"process":{process},"type":"invoke","f":"transfer","key":"b","value":[1,2,{amount}]}}"#
            );
            lines.push('\n');
        }
        lines + &read(r#"{"1":999999,"2":1}"#)
    }

    #[test]
    fn giving_up_has_a_status_of_its_own_and_names_the_limit() {
        let lines = hard_history();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("history.jsonl");
        std::fs::write(&path, &lines).expect("a file");
        let history = History::read(&lines).expect("a history");
        let default = Limits::default();
        for (limits, limit, word) in [
            (Limits { configurations_max: 100, ..default }, "100 configurations", "configurations"),
            (Limits { steps_max: 1000, ..default }, "1000 steps", "steps"),
        ] {
            let Limits { configurations_max, steps_max } = limits;
            let args =
                CheckArgs { history: path.clone(), model: "bank".to_owned(), configurations_max, steps_max };
            assert_eq!(run(&args, false), Ok(GAVE_UP));
            let verdict = check("bank", &history, limits).expect("a verdict");
            assert_eq!(
                to_text("bank", &history, &verdict, limits, false),
                format!("gave up: key \"b\" is neither proven nor refuted within {limit}\n")
            );
            assert_eq!(to_json("bank", &history, &verdict)["limit"], word);
        }
    }
}
