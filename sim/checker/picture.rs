//! A violation as a picture for a terminal: a lane a process, operations as intervals on one time axis.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::history::{End, History, Operation};
use super::named::Violation;
use super::value::Value;

/// Draws the operations of a violation.
///
/// The axis has a column for each invocation and each answer, in their order; places without any are not drawn. An
/// operation that counts as never answered runs on to the right end.
pub fn picture(history: &History, violation: &Violation, colours: bool) -> String {
    let evidence = &violation.evidence;
    let operation = |index: usize| &history.operations()[index];
    let end = |index: usize| match operation(index).end {
        End::Ok { at, .. } | End::Fail { at, .. } if index == evidence.failed => Some(at),
        // What was answered later tells nothing of this.
        End::Ok { at, .. } | End::Fail { at, .. } => {
            let open = evidence.since.is_some_and(|since| operation(index).invoked < since);
            Some(at).filter(|at| !open && *at <= answered(operation(evidence.failed)))
        }
        End::Unknown => None,
    };
    let mut places: Vec<u64> = evidence.operations.iter().map(|index| operation(*index).invoked).collect();
    places.extend(evidence.operations.iter().filter_map(|index| end(*index)));
    places.sort_unstable();
    let width = (AXIS / places.len().max(1)).clamp(2, 8);
    let column = |place: u64| places.partition_point(|other| *other < place) * width;
    let right = places.len() * width;

    let mut lanes: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for &index in &evidence.operations {
        lanes.entry(operation(index).process).or_default().push(index);
    }
    let name = |process: &u64| format!("process {process}");
    let margin = lanes.keys().map(|process| name(process).len()).max().unwrap_or(0);
    let mut text = String::new();
    for (process, indexes) in lanes {
        for (number, index) in indexes.into_iter().enumerate() {
            let lane = if number == 0 { name(&process) } else { String::new() };
            let (from, to) = (column(operation(index).invoked), end(index).map_or(right, column));
            let last = if end(index).is_some() { '|' } else { '>' };
            let bar = format!("{:from$}|{}{last}", "", "-".repeat(to.saturating_sub(from + 1)));
            let failed = index == evidence.failed;
            let mark = if failed { "   <== nothing explains this" } else { "" };
            let line = format!("{bar:<pad$}  {}{mark}", tell(operation(index)), pad = right + 2);
            let line = if failed && colours { format!("{RED}{line}{PLAIN}") } else { line };
            let _ = writeln!(text, "  {lane:<margin$}  {line}");
        }
    }
    text
}

/// An operation with its answer.
pub fn tell(operation: &Operation) -> String {
    let Operation { f, value, end, .. } = operation;
    let asked = if *value == Value::Null { f.clone() } else { format!("{f} {value}") };
    // An answer that repeats what was asked for tells nothing, but that nothing was found does.
    let looks = matches!(f.as_str(), "read" | "get" | "dequeue");
    match end {
        End::Ok { value: answer, .. } if answer == value && !looks => format!("{asked}: ok"),
        End::Ok { value: answer, .. } => format!("{asked} -> {answer}"),
        End::Fail { error, .. } => format!("{asked}: {}", error.as_deref().unwrap_or("failed")),
        End::Unknown => format!("{asked}: no answer"),
    }
}

fn answered(operation: &Operation) -> u64 {
    match operation.end {
        End::Ok { at, .. } | End::Fail { at, .. } => at,
        End::Unknown => u64::MAX,
    }
}

/// Columns that the axis should take.
const AXIS: usize = 60;
const RED: &str = "\u{1b}[1;31m";
const PLAIN: &str = "\u{1b}[0m";

#[cfg(test)]
mod tests {
    use super::picture;
    use crate::checker::{History, Limits, Verdict, check};

    #[test]
    fn a_stale_read_is_drawn_with_what_shows_it() {
        let lines = r#"{"process":1,"type":"invoke","f":"write","value":7}
{"process":1,"type":"ok","f":"write","value":7}
{"process":3,"type":"invoke","f":"write","value":9}
{"process":2,"type":"invoke","f":"read"}
{"process":2,"type":"ok","f":"read","value":null}
"#;
        let history = History::read(lines).expect("a history");
        let verdict = check("cas-register", &history, Limits::default()).expect("a verdict");
        let Verdict::Violation(violation) = verdict else { panic!("{verdict:?}") };
        let expected = "  process 1  |-------|                           write 7: ok\n  \
                          process 2                  |-------|           read -> null   <== nothing explains this\n";
        assert_eq!(picture(&history, &violation, false), expected);
        assert!(picture(&history, &violation, true).contains("\u{1b}[1;31m"));
    }
}
