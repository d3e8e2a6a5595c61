//! Coverage marks in the simulator: one recorder a process, added up over a run, and counted by seeds over a swarm.
//!
//! A mark that many seeds never reach says that a fault, a workload or a configuration is missing, or that the path
//! cannot be taken at all.

use std::collections::BTreeMap;
use std::fmt;

use chronon_core::types::{Mark, Marks};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

const COUNT: usize = Mark::ALL.len();

/// How often each mark was passed. One number a mark, in place: a clone costs a copy of a few hundred bytes.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct MarkCounts([u64; COUNT]);

impl From<MarkCounts> for Value {
    fn from(counts: MarkCounts) -> Self {
        counts.to_json()
    }
}

impl TryFrom<Value> for MarkCounts {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        Self::from_json(&value)
    }
}

impl Default for MarkCounts {
    fn default() -> Self {
        Self([0; COUNT])
    }
}

impl Marks for MarkCounts {
    #[inline]
    fn hit(&mut self, mark: Mark) {
        self.0[mark as usize] += 1;
    }
}

impl MarkCounts {
    /// Adds what another recorder counted.
    pub fn merge(&mut self, other: &Self) {
        for (own, more) in self.0.iter_mut().zip(&other.0) {
            *own += more;
        }
    }

    /// How often `mark` was passed.
    pub fn of(&self, mark: Mark) -> u64 {
        self.0[mark as usize]
    }

    /// The marks that were passed, and how often.
    pub fn reached(&self) -> impl Iterator<Item = (Mark, u64)> {
        Mark::ALL.iter().map(|mark| (*mark, self.of(*mark))).filter(|(_, count)| *count > 0)
    }

    /// Text to count, of the marks that were passed.
    fn to_json(&self) -> Value {
        self.reached().map(|(mark, count)| (mark.text().to_owned(), Value::from(count))).collect()
    }

    /// What [`MarkCounts::to_json`] gave; which mark this build does not know, or what is not a count.
    fn from_json(value: &Value) -> Result<Self, String> {
        let mut counts = Self::default();
        for (mark, count) in entries(value)? {
            counts.0[mark as usize] = count;
        }
        Ok(counts)
    }
}

/// Of many runs: how many of them passed each mark.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MarkTally {
    runs: u64,
    seeds: MarkCounts,
}

impl MarkTally {
    /// Adds a run.
    pub fn add(&mut self, run: &MarkCounts) {
        self.runs += 1;
        for (mark, _) in run.reached() {
            self.seeds.hit(mark);
        }
    }

    /// The marks that no run passed.
    pub fn never_reached(&self) -> impl Iterator<Item = Mark> {
        Mark::ALL.iter().copied().filter(|mark| self.seeds.of(*mark) == 0)
    }

    /// How many marks there are, how many were reached, by how many runs each, and which never.
    pub fn to_json(&self) -> Value {
        let never: Vec<&str> = self.never_reached().map(Mark::text).collect();
        serde_json::json!({
            "all": COUNT,
            "reached": COUNT - never.len(),
            "runs": self.runs,
            "seeds": self.seeds.to_json(),
            "never": never,
        })
    }
}

impl fmt::Display for MarkTally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let never: Vec<&str> = self.never_reached().map(Mark::text).collect();
        write!(f, "marks: {} of {COUNT} reached", COUNT - never.len())?;
        never.iter().try_for_each(|text| write!(f, "\n  never reached: {text}"))
    }
}

fn entries(value: &Value) -> Result<Vec<(Mark, u64)>, String> {
    let known: BTreeMap<&str, Mark> = Mark::ALL.iter().map(|mark| (mark.text(), *mark)).collect();
    let object: &Map<String, Value> = value.as_object().ok_or("the marks are not an object of counts")?;
    let entry = |(text, count): (&String, &Value)| {
        let mark = known.get(text.as_str()).ok_or_else(|| format!("`{text}` is not a mark of this build"))?;
        let count = count.as_u64().ok_or_else(|| format!("`{text}` has {count}, which is not a count"))?;
        Ok((*mark, count))
    };
    object.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use chronon_core::types::{Mark, Marks};

    use super::{MarkCounts, MarkTally};

    fn passed(marks: &[Mark]) -> MarkCounts {
        let mut counts = MarkCounts::default();
        marks.iter().for_each(|mark| counts.hit(*mark));
        counts
    }

    #[test]
    fn a_mark_has_the_number_of_its_place_in_the_list() {
        assert!(Mark::ALL.iter().enumerate().all(|(index, mark)| *mark as usize == index));
    }

    #[test]
    fn a_tally_counts_runs_and_tells_what_none_of_them_reached() {
        let mut tally = MarkTally::default();
        tally.add(&passed(&[Mark::TailCut, Mark::TailCut, Mark::BeatLost]));
        tally.add(&passed(&[Mark::TailCut]));
        assert_eq!(tally.never_reached().count(), Mark::ALL.len() - 2);
        let text = tally.to_string();
        assert!(text.starts_with(&format!("marks: 2 of {} reached\n", Mark::ALL.len())), "{text}");
        assert!(text.contains("\n  never reached: vsr: nack truncation"), "{text}");
        assert!(!text.contains(Mark::TailCut.text()), "{text}");
        assert_eq!(tally.to_json()["seeds"][Mark::TailCut.text()], 2);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let run = passed(&[Mark::NackTruncation, Mark::NackTruncation]);
        let text = serde_json::to_string(&run).expect("plain data is always JSON");
        assert_eq!(text, r#"{"vsr: nack truncation":2}"#);
        assert_eq!(serde_json::from_str::<MarkCounts>(&text).expect("it was written here"), run);
    }

    #[test]
    fn what_is_not_a_count_of_marks_is_refused_by_name() {
        let refused =
            |text: &str| serde_json::from_str::<MarkCounts>(text).expect_err("it is wrong").to_string();
        assert!(refused(r#"{"vsr: nonsense":1}"#).contains("`vsr: nonsense` is not a mark"));
        assert!(refused(r#"{"vsr: nack truncation":-1}"#).contains("-1"));
        assert!(refused("[]").contains("not an object"));
    }
}
