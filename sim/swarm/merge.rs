//! The results of several swarms, such as the shards of one, put together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use super::ranges::Ranges;
use super::record::{Record, program};
use super::results::{Header, Past, read};
use super::summary::Summary;
use crate::lines::ResultsError;
use crate::run::{ALL_HELD, Cause, CauseKey};

/// Results put together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Merged {
    /// Every seed once.
    pub summary: Summary,
    /// Seeds with a result.
    pub covered: Ranges,
    /// Between the first seed and the last that any of the swarms was to run.
    pub gaps: Ranges,
    /// Seeds with more than one result.
    pub overlaps: Ranges,
    parts: Vec<Part>,
}

/// One results file.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Part {
    path: PathBuf,
    header: Header,
    runs: usize,
    torn: bool,
}

/// Reads the results in each of `dirs` and puts them together.
///
/// A seed with several results counts once when they have the same trace, and is a failure when they have not.
///
/// # Errors
/// [`ResultsError`] when one of them has no results or a line that cannot be read, or when they come from different
/// programs.
pub fn merge(dirs: &[impl AsRef<Path>]) -> Result<Merged, ResultsError> {
    let mut pasts: Vec<Past> = Vec::new();
    for dir in dirs {
        let dir = dir.as_ref();
        let past = read(dir)?.ok_or_else(|| ResultsError::Missing { dir: dir.to_owned() })?;
        if let Some(first) = pasts.first().filter(|first| first.header.program != past.header.program) {
            let named = |past: &Past| (past.path.clone(), past.header.program.clone());
            return Err(ResultsError::Programs { one: named(first), other: named(&past) });
        }
        pasts.push(past);
    }
    let mut summary = Summary::default();
    let mut results: BTreeMap<u64, (&Record, &Path)> = BTreeMap::new();
    let mut twice = BTreeSet::new();
    for past in &pasts {
        for record in &past.records {
            let (first, path) = *results.entry(record.seed).or_insert((record, &past.path));
            if std::ptr::eq(first, record) {
                summary.add(record);
                continue;
            }
            twice.insert(record.seed);
            if first.trace != record.trace {
                differs(&mut summary, (first, path), (record, &past.path));
            } else if first.exit == ALL_HELD && record.exit != ALL_HELD {
                // The same run, looked at more closely.
                summary.add_failure(record);
            }
        }
    }
    let covered = Ranges::of(results.keys().copied());
    let gaps = span(&pasts).map_or_else(Ranges::default, |(first, last)| covered.gaps(first, last));
    let parts = pasts
        .iter()
        .map(|Past { path, header, records, torn, .. }| Part {
            path: path.clone(),
            header: header.clone(),
            runs: records.len(),
            torn: *torn,
        })
        .collect();
    Ok(Merged { summary, parts, covered, gaps, overlaps: Ranges::of(twice) })
}

/// Two runs of one seed that went different ways.
fn differs(summary: &mut Summary, one: (&Record, &Path), other: (&Record, &Path)) {
    let (seed, [this, that]) = (one.0.seed, [one, other].map(|(run, path)| (&run.trace, path.display())));
    let what = format!("seed {seed} has trace {} in {}, and {} in {}", this.0, this.1, that.0, that.1);
    let cause = Cause::NotDeterministic { what, beside: None };
    let key = CauseKey { site: "results put together".to_owned(), ..cause.key() };
    summary.fail(key, seed, cause.to_string(), format!("{} replay {seed} --check-determinism", program()));
}

/// From the first to the last seed that any of the swarms was to run; one without end, up to the last that it ran.
fn span(pasts: &[Past]) -> Option<(u64, u64)> {
    let first = pasts.iter().map(|past| past.header.start).min()?;
    let last = pasts.iter().filter_map(|Past { header, records, .. }| match header.seeds {
        Some(seeds) => Some(header.start.saturating_add(seeds.saturating_sub(1))),
        None => records.iter().map(|record| record.seed).max(),
    });
    Some((first, last.max()?))
}

impl Merged {
    /// As one JSON object, without the summary.
    pub fn to_json(&self) -> serde_json::Value {
        let ranges = |ranges: &Ranges| ranges.iter().map(|(first, last)| [first, last]).collect::<Vec<_>>();
        let parts: Vec<_> = self
            .parts
            .iter()
            .map(|Part { path, header, runs, torn }| {
                serde_json::json!({ "file": path, "swarm": header, "runs": runs, "torn": torn })
            })
            .collect();
        serde_json::json!({
            "type": "merge",
            "parts": parts,
            "covered": ranges(&self.covered),
            "gaps": ranges(&self.gaps),
            "overlaps": ranges(&self.overlaps),
            "shards_missing": self.shards_missing(),
        })
    }

    /// Of the shards that the results speak of, those without results, as `I/N`.
    fn shards_missing(&self) -> Vec<String> {
        let mut shards: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for shard in self.parts.iter().filter_map(|part| part.header.shard) {
            shards.entry(shard.of).or_default().insert(shard.index);
        }
        let missing = |(of, there): (&u64, &BTreeSet<u64>)| -> Vec<String> {
            let missing = (1..=*of).filter(|index| !there.contains(index));
            missing.take(SHARDS_SHOWN_MAX).map(|index| format!("{index}/{of}")).collect()
        };
        shards.iter().flat_map(missing).collect()
    }
}

impl fmt::Display for Merged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Part { path, header, runs, torn } in &self.parts {
            let torn = if *torn { ", its last line cut off" } else { "" };
            writeln!(f, "{}: {runs} seeds of {}{torn}", path.display(), header.arguments())?;
        }
        let Self { covered, gaps, overlaps, .. } = self;
        writeln!(f, "seeds covered: {} ({covered})", covered.count())?;
        writeln!(f, "gaps: {} ({gaps})", gaps.count())?;
        writeln!(f, "overlaps: {} ({overlaps})", overlaps.count())?;
        match self.shards_missing().as_slice() {
            [] => {}
            missing => writeln!(f, "shards without results: {}", missing.join(", "))?,
        }
        write!(f, "{}", self.summary)
    }
}

/// Shards without results that are named.
const SHARDS_SHOWN_MAX: usize = 32;
