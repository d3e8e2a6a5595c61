//! What was asked and what was acknowledged, kept beside the node's data.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chronon_core::types::Op;
use serde::{Deserialize, Serialize};

use super::Tally;

/// Sessions that write, each to a key of its own, one write at a time.
pub(super) const KEYS: usize = 32;

/// The test's notes.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Notes {
    /// Times that the node was killed.
    round: u64,
    /// The highest op that was acknowledged.
    acknowledged_op: u64,
    keys: Vec<Key>,
}

/// What is known of a key. Its writes are counted from 1.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
struct Key {
    /// The last write that was acknowledged, or read back.
    acknowledged: u64,
    /// The last write that was asked for: the same, or the one after it.
    asked: u64,
}

impl Notes {
    pub(super) fn new() -> Self {
        Self { round: 0, acknowledged_op: 0, keys: vec![Key::default(); KEYS] }
    }

    /// Reads those of the test in `dir`.
    pub(super) fn read(dir: &Path) -> anyhow::Result<Self> {
        let path = file(dir);
        let text = fs::read_to_string(&path).with_context(|| {
            format!("{} is no crash test's directory: `crash-test clean` makes one", dir.display())
        })?;
        let notes: Self =
            serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::ensure!(
            notes.keys.len() == KEYS,
            "{}: it tells of {} keys, not of {KEYS}",
            path.display(),
            notes.keys.len()
        );
        Ok(notes)
    }

    pub(super) fn save(&self, dir: &Path) -> anyhow::Result<()> {
        let path = file(dir);
        let text = serde_json::to_string(self).context("cannot write the notes down")?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes what a test left in `dir`, and says whether there was any; anything else that is there stays, and is an
    /// error.
    pub(super) fn remove_test(dir: &Path) -> anyhow::Result<bool> {
        if file(dir).is_file() {
            fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
            return Ok(true);
        }
        let is_empty = fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none());
        anyhow::ensure!(is_empty, "{} is not empty, and no crash test's directory", dir.display());
        Ok(false)
    }

    pub(super) fn round(&self) -> u64 {
        self.round
    }

    pub(super) fn acknowledged_op(&self) -> Op {
        Op::new(self.acknowledged_op)
    }

    /// A round of writes begins.
    pub(super) fn begin_round(&mut self) {
        self.round += 1;
    }

    /// The next write to a key, which is asked for from now on.
    pub(super) fn ask(&mut self, key: usize) -> u64 {
        let key = &mut self.keys[key];
        key.asked = key.acknowledged + 1;
        key.asked
    }

    /// The write that was asked for is acknowledged.
    pub(super) fn acknowledge(&mut self, key: usize, op: Op) {
        let key = &mut self.keys[key];
        key.acknowledged = key.asked;
        self.acknowledged_op = self.acknowledged_op.max(op.get());
    }

    /// Holds what was read back against the notes; what had happened counts as acknowledged from now on.
    pub(super) fn judge(&mut self, values: &[Option<Vec<u8>>]) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        for (index, (key, value)) in self.keys.iter_mut().zip(values).enumerate() {
            let found = match value {
                None => 0,
                Some(value) => number_of(index, value).with_context(|| {
                    format!("key {index} holds {} bytes that nobody ever wrote to it", value.len())
                })?,
            };
            anyhow::ensure!(
                found >= key.acknowledged,
                "LOST: key {index} holds write {found}, and write {} was acknowledged",
                key.acknowledged
            );
            anyhow::ensure!(
                found <= key.asked,
                "INVENTED: key {index} holds write {found}, and write {} was the last that was asked for",
                key.asked
            );
            if key.asked > key.acknowledged {
                *(if found == key.asked { &mut tally.survived } else { &mut tally.gone }) += 1;
            }
            *key = Key { acknowledged: found, asked: found };
        }
        Ok(tally)
    }
}

/// What a write puts under a key: its number, and bytes that follow from both.
pub(super) fn value(key: usize, number: u64) -> Vec<u8> {
    let word = (key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_mul(0xff51_afd7_ed55_8ccd);
    let words = 1 + (word >> 8) as usize % VALUE_WORDS_MAX;
    let mut value = number.to_le_bytes().to_vec();
    (0..words as u64).for_each(|index| value.extend_from_slice(&word.wrapping_add(index).to_le_bytes()));
    value
}

/// Which write put this value there; `None` when none did.
fn number_of(key: usize, found: &[u8]) -> Option<u64> {
    let number = u64::from_le_bytes(found.get(..8)?.try_into().ok()?);
    (value(key, number) == found).then_some(number)
}

fn file(dir: &Path) -> PathBuf {
    dir.join("crash-test.json")
}

/// Values are up to so many words of eight bytes long.
const VALUE_WORDS_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::{KEYS, Notes, Op, value};

    fn read_back(numbers: impl Fn(usize) -> u64) -> Vec<Option<Vec<u8>>> {
        let held = |key| Some(numbers(key)).filter(|number| *number > 0).map(|number| value(key, number));
        (0..KEYS).map(held).collect()
    }

    fn after_two_writes_and_a_third() -> Notes {
        let mut notes = Notes::new();
        for op in 1..=2 {
            notes.ask(5);
            notes.acknowledge(5, Op::new(op));
        }
        notes.ask(5);
        notes
    }

    #[test]
    fn what_was_asked_may_have_happened_and_what_was_acknowledged_must_have() {
        for (found, survived) in [(2, 0), (3, 1)] {
            let values = read_back(|key| if key == 5 { found } else { 0 });
            let tally = after_two_writes_and_a_third().judge(&values).unwrap();
            assert_eq!((tally.survived, tally.gone), (survived, 1 - survived));
        }
        let lost = read_back(|key| u64::from(key == 5));
        let error = after_two_writes_and_a_third().judge(&lost).unwrap_err().to_string();
        assert!(error.starts_with("LOST: key 5 holds write 1"), "{error}");
    }

    #[test]
    fn what_nobody_asked_for_is_told() {
        let values = read_back(|key| if key == 5 { 4 } else { 0 });
        let error = after_two_writes_and_a_third().judge(&values).unwrap_err().to_string();
        assert!(error.starts_with("INVENTED: key 5 holds write 4"), "{error}");
        let mut values = read_back(|key| if key == 5 { 2 } else { 0 });
        values[5].as_mut().unwrap()[20] ^= 1;
        let error = after_two_writes_and_a_third().judge(&values).unwrap_err().to_string();
        assert!(error.contains("that nobody ever wrote"), "{error}");
        let elsewhere = read_back(|key| u64::from(key == 6));
        assert!(Notes::new().judge(&elsewhere).is_err());
    }
}
