//! What the process has of the machine's memory.

use anyhow::Context as _;

/// Memory that is resident, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resident(u64);

impl Resident {
    pub(super) fn now() -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(STATUS).with_context(|| format!("cannot read {STATUS}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(Self(kib.with_context(|| format!("{STATUS} has no VmRSS in kB"))? << 10))
    }

    /// By how much it has grown.
    pub(super) fn since(self, before: Self) -> u64 {
        self.0.saturating_sub(before.0)
    }
}

const STATUS: &str = "/proc/self/status";
