//! Which instants a rule means: here, where there is a table of time zones.
//!
//! A local time that is skipped when clocks go forward is taken at the first valid instant behind it; one that comes twice when they go
//! back is taken once, unless the rule means every hour, minute or second.

use std::str::FromStr as _;

use chronon_core::events::Rule;
use croner::Cron;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Whether the rule means anything.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn check(rule: &Rule) -> Result<(), String> {
    match rule {
        Rule::Every { .. } => Ok(()),
        Rule::Cron { expression, zone } => read(expression, zone).map(|_| ()),
    }
}

/// The next instants behind `after_ms`, in milliseconds since the Unix epoch, `count` at most; fewer when there are no more.
///
/// # Errors
/// What is wrong with the rule, in words.
pub(super) fn instants(rule: &Rule, after_ms: i64, count: usize) -> Result<Vec<i64>, String> {
    let mut instants = Vec::with_capacity(count);
    match rule {
        Rule::Every { ms } => {
            let step = i64::try_from(*ms).unwrap_or(i64::MAX);
            let mut at = after_ms.div_euclid(step.max(1));
            for _ in 0..count {
                at = at.saturating_add(1);
                instants.extend(at.checked_mul(step));
            }
        }
        Rule::Cron { expression, zone } => {
            let (cron, zone) = read(expression, zone)?;
            let from = Timestamp::from_millisecond(after_ms).map_err(|error| error.to_string())?;
            let mut at = from.to_zoned(zone);
            // An expression that means nothing any more, such as a 30th of February, ends the search.
            while instants.len() < count
                && let Ok(next) = cron.find_next_occurrence(&at, false)
            {
                instants.push(next.timestamp().as_millisecond());
                at = next;
            }
        }
    }
    Ok(instants)
}

/// An instant, as occurrences are named by it.
pub(super) fn label(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |at| at.to_string())
}

fn read(expression: &str, zone: &str) -> Result<(Cron, TimeZone), String> {
    let cron = Cron::from_str(expression)
        .map_err(|error| format!("cron expression {expression:?} cannot be read: {error}"))?;
    let known = TimeZone::get(zone);
    let zone =
        known.map_err(|_| format!("no such time zone: {zone:?}; one is named as Europe/Berlin, or UTC"))?;
    Ok((cron, zone))
}

#[cfg(test)]
mod tests {
    use chronon_core::events::Rule;

    use super::{check, instants, label};

    fn cron(expression: &str, zone: &str) -> Rule {
        Rule::Cron { expression: expression.to_owned(), zone: zone.to_owned() }
    }

    fn labels(rule: &Rule, after: &str, count: usize) -> Vec<String> {
        let after: jiff::Timestamp = after.parse().unwrap();
        let found = instants(rule, after.as_millisecond(), count).unwrap();
        found.into_iter().map(label).collect()
    }

    #[test]
    fn a_time_that_is_skipped_comes_at_the_first_valid_instant_and_one_that_comes_twice_once() {
        let nightly = cron("30 2 * * *", "Europe/Berlin");
        let spring = labels(&nightly, "2026-03-28T00:00:00Z", 3);
        assert_eq!(spring, ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        let autumn = labels(&nightly, "2026-10-24T12:00:00Z", 2);
        assert_eq!(autumn, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn every_so_long_means_multiples_of_it() {
        let rule = Rule::Every { ms: 15_000 };
        assert_eq!(instants(&rule, 14_999, 2), Ok(vec![15_000, 30_000]));
        assert_eq!(instants(&rule, 15_000, 1), Ok(vec![30_000]));
    }

    #[test]
    fn what_means_nothing_is_told_by_what_is_wrong_with_it() {
        assert!(check(&cron("61 * * * *", "UTC")).unwrap_err().contains("61 * * * *"));
        assert!(check(&cron("* * * * *", "Mars/Olympus")).unwrap_err().contains("Mars/Olympus"));
        assert_eq!(check(&cron("0 9 * * MON-FRI", "America/New_York")), Ok(()));
        assert_eq!(instants(&cron("0 0 30 2 *", "UTC"), 0, 3), Ok(vec![]));
    }
}
