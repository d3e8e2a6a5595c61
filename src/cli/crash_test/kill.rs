//! How and when a node is killed.

use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use super::draw::Draw;
use crate::cli::loop_disk::LoopDisk;

/// What is done around the kill.
#[derive(Debug)]
pub(super) enum Kill<'a> {
    /// What a shell is told, if anything.
    Shell { before: Option<&'a str>, after: Option<&'a str> },
    /// The node's disk loses its power first, and has it back afterwards.
    PowerCut(&'a LoopDisk),
}

/// When a node is killed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moment {
    /// So long after its process began: it reads its disk still, or has just made its first files.
    InItsStart(Duration),
    /// So long after the first answer, in the middle of writes.
    AmongWrites(Duration),
}

impl Kill<'_> {
    /// Nothing is done around it.
    pub(super) const PLAIN: Self = Self::Shell { before: None, after: None };

    /// The next moment.
    pub(super) fn moment(&self, draw: &mut Draw) -> Moment {
        let is_power_cut = matches!(self, Self::PowerCut(_));
        if is_power_cut && draw.below(STARTS_CUT_ONE_IN) == 0 {
            return Moment::InItsStart(Duration::from_millis(5 + draw.below(150)));
        }
        Moment::AmongWrites(Duration::from_millis(20 + draw.below(180)))
    }

    /// Whether answers still count that the node gives once [`Kill::before`] began. A filesystem that is shut down fails every
    /// write; of any other disk nobody knows what it says of writes that it does not keep.
    pub(super) fn leaves_answers_true(&self) -> bool {
        !matches!(self, Self::Shell { before: Some(_), .. })
    }

    /// Does what comes before.
    pub(super) fn before(&self) -> anyhow::Result<()> {
        match self {
            Self::Shell { before, .. } => before.map_or(Ok(()), shell),
            Self::PowerCut(disk) => Ok(disk.cut()?),
        }
    }

    /// Does what comes afterwards.
    pub(super) fn after(&self) -> anyhow::Result<()> {
        match self {
            Self::Shell { after, .. } => after.map_or(Ok(()), shell),
            Self::PowerCut(disk) => Ok(disk.restore()?),
        }
    }
}

fn shell(command: &str) -> anyhow::Result<()> {
    let output = Command::new("sh").args(["-c", command]).output().context("cannot run a shell")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "`{command}` failed: {}", said.trim());
    Ok(())
}

/// One power cut in so many comes while the node starts.
const STARTS_CUT_ONE_IN: u64 = 4;
