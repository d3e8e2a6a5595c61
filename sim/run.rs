//! One run from its configuration to its verdict.
//!
//! ```
//! use chronon_core::builtin::Builtin;
//! use chronon_sim::run::Simulation;
//! use chronon_sim::workload::BuiltinWorkload;
//!
//! let simulation = Simulation::new(Builtin, BuiltinWorkload::default());
//! let config = simulation.config_of_seed(17);
//! assert_eq!(config.seed, 17);
//! ```

use std::fmt;
use std::time::{Duration, Instant};

use chronon_core::engine::FormatError;
use chronon_core::kernel::ChrApplication;
use chronon_core::types::Hash;

use crate::config::WorldConfig;
use crate::marks::MarkCounts;
use crate::oracle::{self, Counts, Oracle, Violation};
use crate::panics::{self, Caught};
use crate::tally::Tally;
use crate::time::WorldTime;
use crate::workload::Workload;
use crate::world::{Failure, Progress, World};

/// An application, what clients ask of it, and what judges it.
pub struct Simulation<A, W> {
    application: A,
    workload: W,
    oracles: fn() -> Vec<Box<dyn Oracle>>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What went wrong.
    pub cause: Option<Cause>,
    /// The hash of the trace.
    pub hash: Hash,
    /// Steps of nodes.
    pub steps: u64,
    /// World time at the end.
    pub simulated: WorldTime,
    /// Time on the wall.
    pub wall: Duration,
    /// How many nodes.
    pub nodes: u32,
    /// How many groups.
    pub groups: usize,
    /// What there was of everything.
    pub tally: Tally,
    /// How much the oracles compared.
    pub counts: Counts,
    /// The marks that nodes passed.
    pub marks: MarkCounts,
}

/// What was wrong with a run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cause {
    /// The world says so.
    World(Failure),
    /// Something panicked.
    Panic {
        /// The message, and where.
        message: String,
        /// Where: file and line.
        site: String,
    },
    /// The same run went another way.
    NotDeterministic {
        /// The first difference.
        what: String,
        /// What was wrong with one of the two.
        beside: Option<Box<Cause>>,
    },
    /// An oracle reached its limits: it knows neither.
    GaveUp {
        /// Which, and how often.
        what: String,
    },
    /// No oracle had anything to compare.
    ComparedNothing,
    /// Something that a scenario expects did not happen.
    Unexpected {
        /// What.
        what: String,
    },
    /// The cluster cannot be.
    Config(FormatError),
}

/// The exit status when all held.
pub const ALL_HELD: u8 = 0;
/// The exit status for wrong usage and unreadable files.
pub const WRONG_USAGE: u8 = 2;
/// The exit status when a safety invariant broke, or something that is judged is not as it must be.
pub const INVARIANT_BROKE: u8 = 10;
/// The exit status when there was no progress that nothing excuses.
pub const NO_PROGRESS: u8 = 11;
/// The exit status after a panic or a halt.
pub const STOPPED: u8 = 12;
/// The exit status when the same run went two ways.
pub const NOT_DETERMINISTIC: u8 = 13;
/// The exit status when nothing was compared.
pub const NOTHING_COMPARED: u8 = 14;
/// The exit status when limits were reached before the answer was known.
pub const GAVE_UP: u8 = 15;

impl Cause {
    /// The exit status of the command.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::World(Failure::Violation(violation)) if violation.invariant == "Heals" => NO_PROGRESS,
            Self::World(Failure::Violation(_)) | Self::Unexpected { .. } => INVARIANT_BROKE,
            Self::World(Failure::Halt { .. } | Failure::Spins { .. }) | Self::Panic { .. } => STOPPED,
            Self::NotDeterministic { beside, .. } => {
                gravest(beside.iter().map(|cause| cause.exit_code()).chain([NOT_DETERMINISTIC]))
            }
            Self::ComparedNothing => NOTHING_COMPARED,
            Self::World(Failure::OutOfSteps { .. }) | Self::GaveUp { .. } => GAVE_UP,
            Self::Config(_) => WRONG_USAGE,
        }
    }

    /// A word for the kind of failure, to count alike ones together.
    pub fn word(&self) -> &'static str {
        match self {
            Self::World(Failure::Violation(violation)) => violation.invariant,
            Self::World(Failure::Halt { .. }) => "halt",
            Self::World(Failure::Spins { .. }) => "spins",
            Self::World(Failure::OutOfSteps { .. }) => "out of steps",
            Self::Panic { .. } => "panic",
            Self::NotDeterministic { .. } => "not deterministic",
            Self::GaveUp { .. } => "gave up",
            Self::ComparedNothing => "compared nothing",
            Self::Unexpected { .. } => "unexpected",
            Self::Config(_) => "configuration",
        }
    }

    /// Where it was noticed: the line of an oracle that reported it, the line that panicked, what a node said when it
    /// halted.
    pub fn site(&self) -> String {
        match self {
            Self::World(Failure::Violation(Violation { site, .. })) => {
                format!("{}:{}", site.file(), site.line())
            }
            Self::World(Failure::Halt { reason, .. }) => without_numbers(reason),
            Self::World(Failure::Spins { .. }) => "one moment of world time".to_owned(),
            Self::World(Failure::OutOfSteps { .. }) => "the bound on steps".to_owned(),
            Self::Panic { site, .. } => site.clone(),
            Self::NotDeterministic { .. } => "the same seed twice".to_owned(),
            Self::GaveUp { what } => without_numbers(what),
            Self::ComparedNothing => "the end of the run".to_owned(),
            Self::Unexpected { what } => without_numbers(what),
            Self::Config(error) => without_numbers(&error.to_string()),
        }
    }

    /// What is the same for failures that are taken for one bug.
    pub fn key(&self) -> CauseKey {
        CauseKey { exit: self.exit_code(), kind: self.word().to_owned(), site: self.site() }
    }
}

/// What failures of one bug share: they are counted as one.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct CauseKey {
    /// The exit status of the command.
    pub exit: u8,
    /// [`Cause::word`].
    pub kind: String,
    /// [`Cause::site`].
    pub site: String,
}

/// The text with `#` for each word that holds a digit: numbers and hashes differ from run to run.
fn without_numbers(text: &str) -> String {
    let words =
        text.split(' ').map(|word| if word.contains(|c: char| c.is_ascii_digit()) { "#" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

impl Cause {
    /// Whether both are failures of one kind: the same invariant broke, or the same line panicked, or a node halted for
    /// the same reason.
    pub fn is_like(&self, other: &Self) -> bool {
        let same_place = match self {
            Self::World(Failure::Halt { .. }) | Self::Panic { .. } => self.site() == other.site(),
            _ => true,
        };
        self.word() == other.word() && self.exit_code() == other.exit_code() && same_place
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::World(Failure::Violation(violation)) => {
                f.write_str(violation.invariant)?;
                if let Some(group) = violation.group {
                    write!(f, ", group {group}")?;
                }
                if let Some(node) = violation.node {
                    write!(f, ", node {node}")?;
                }
                write!(f, ": {}", violation.what)
            }
            Self::World(Failure::Halt { node, reason }) => write!(f, "node {node} halted: {reason}"),
            Self::World(Failure::Spins { node }) => {
                write!(f, "node {node} steps and steps, and time stands still")
            }
            Self::World(Failure::OutOfSteps { steps }) => write!(f, "gave up after {steps} steps"),
            Self::Panic { message, .. } => write!(f, "panic: {message}"),
            Self::NotDeterministic { what, beside: None } => write!(f, "not deterministic: {what}"),
            Self::NotDeterministic { what, beside: Some(cause) } => {
                write!(f, "not deterministic: {what}; and one of the runs fails: {cause}")
            }
            Self::GaveUp { what } => write!(f, "gave up: {what}"),
            Self::ComparedNothing => f.write_str("the run compared nothing"),
            Self::Unexpected { what } => write!(f, "unexpected: {what}"),
            Self::Config(error) => write!(f, "configuration: {error}"),
        }
    }
}

/// The gravest of several exit statuses: 10, 12, 11, 13, 14, then the rest.
pub fn gravest(codes: impl IntoIterator<Item = u8>) -> u8 {
    codes.into_iter().filter(|code| *code != ALL_HELD).min_by_key(|code| gravity(*code)).unwrap_or(ALL_HELD)
}

/// The place of an exit status among the others, the gravest first.
pub(crate) fn gravity(code: u8) -> usize {
    GRAVITY.iter().position(|other| *other == code).unwrap_or(GRAVITY.len())
}

const GRAVITY: [u8; 5] = [INVARIANT_BROKE, STOPPED, NO_PROGRESS, NOT_DETERMINISTIC, NOTHING_COMPARED];

impl<A: ChrApplication, W: Workload<A>> Simulation<A, W> {
    /// The application and the workload, under every oracle.
    pub fn new(application: A, workload: W) -> Self {
        Self { application, workload, oracles: oracle::all }
    }

    /// The kinds of groups that the workload knows.
    pub fn kinds(&self) -> &[&'static str] {
        self.workload.kinds()
    }

    /// What `seed` draws for this workload.
    pub fn config_of_seed(&self, seed: u64) -> WorldConfig {
        WorldConfig::of_seed(seed, self.workload.kinds())
    }

    /// The world before its first step.
    ///
    /// # Errors
    /// [`FormatError`] when the configuration names a cluster that cannot be.
    pub fn world(&self, config: WorldConfig, lines: bool) -> Result<World<A, W>, FormatError> {
        World::new(config, self.application.clone(), self.workload.clone(), (self.oracles)(), lines)
    }

    /// Runs to the end, and gives each trace line to `tell` if there is one.
    pub fn run(&self, config: WorldConfig, tell: Option<&mut dyn FnMut(&str)>) -> Report {
        self.run_beside(config, None, tell)
    }

    /// The same, with one more that watches beside the oracles.
    pub fn run_beside(
        &self,
        config: WorldConfig,
        watcher: Option<Box<dyn Oracle>>,
        mut tell: Option<&mut dyn FnMut(&str)>,
    ) -> Report {
        let began = Instant::now();
        let (seed, nodes, groups) = (config.seed, config.nodes.len() as u32, config.groups.len());
        let oracles = (self.oracles)().into_iter().chain(watcher).collect();
        let (application, workload) = (self.application.clone(), self.workload.clone());
        let mut made = None;
        let lines = tell.is_some();
        let panic = panics::catch(|| made = Some(World::new(config, application, workload, oracles, lines)));
        let mut world = match (made, panic) {
            (Some(Ok(world)), _) => world,
            (Some(Err(error)), _) => return Report::of_nothing(seed, nodes, groups, Cause::Config(error)),
            (None, panic) => {
                let Caught { message, site } = panic.err().unwrap_or_default();
                return Report::of_nothing(seed, nodes, groups, Cause::Panic { message, site });
            }
        };
        let panic = panics::catch(|| {
            while world.step() == Progress::GoesOn {
                if let Some(tell) = &mut tell {
                    world.take_lines().iter().for_each(|line| tell(line));
                }
            }
        });
        if let Some(tell) = &mut tell {
            world.take_lines().iter().for_each(|line| tell(line));
        }
        let mut report = Report::of_world(&world, began.elapsed());
        if let Err(Caught { message, site }) = panic {
            report.cause = Some(Cause::Panic { message, site });
        }
        report
    }

    /// Runs twice, side by side, and compares what happens line by line.
    pub fn check_determinism(&self, config: WorldConfig) -> Report {
        let began = Instant::now();
        let (seed, nodes, groups) = (config.seed, config.nodes.len() as u32, config.groups.len());
        let once = self.run(config.clone(), None);
        let again = self.run(config.clone(), None);
        let same = once.hash == again.hash && once.cause == again.cause;
        if same && once.counts == again.counts && once.marks == again.marks {
            return Report { wall: began.elapsed(), ..once };
        }
        let (Ok(mut one), Ok(mut other)) = (self.world(config.clone(), true), self.world(config, true))
        else {
            return Report::of_nothing(seed, nodes, groups, Cause::ComparedNothing);
        };
        let what = first_difference(&mut one, &mut other)
            .unwrap_or_else(|| format!("trace hashes {:?} and {:?}", once.hash, again.hash));
        let beside = [once.cause.clone(), again.cause].into_iter().flatten();
        let beside = beside.min_by_key(|cause| gravity(cause.exit_code())).map(Box::new);
        Report { cause: Some(Cause::NotDeterministic { what, beside }), wall: began.elapsed(), ..once }
    }
}

/// Steps two worlds side by side to the first line that differs.
fn first_difference<A: ChrApplication, W: Workload<A>>(
    one: &mut World<A, W>,
    other: &mut World<A, W>,
) -> Option<String> {
    loop {
        let mut both = None;
        let panic = panics::catch(|| both = Some((one.step(), other.step())));
        let (mine, theirs) = (one.take_lines().join("\n"), other.take_lines().join("\n"));
        if mine != theirs {
            return Some(format!("step {}:\n  {mine}\n  {theirs}", one.steps()));
        }
        match (panic, both) {
            (Ok(()), Some((Progress::GoesOn, Progress::GoesOn))) => {}
            _ => return None,
        }
    }
}

impl Report {
    fn of_nothing(seed: u64, nodes: u32, groups: usize, cause: Cause) -> Self {
        Self {
            seed,
            cause: Some(cause),
            hash: Hash::ZERO,
            steps: 0,
            simulated: WorldTime::ZERO,
            wall: Duration::ZERO,
            nodes,
            groups,
            tally: Tally::default(),
            counts: Counts::default(),
            marks: MarkCounts::default(),
        }
    }

    fn of_world<A: ChrApplication, W: Workload<A>>(world: &World<A, W>, wall: Duration) -> Self {
        let config = world.config();
        let (tally, counts) = (world.tally(), world.counts());
        let mut cause = world.failure().cloned().map(Cause::World);
        if cause.is_none() && (tally.committed == 0 || counts.total() == 0) {
            cause = Some(Cause::ComparedNothing);
        }
        if cause.is_none() && counts.given_up() > 0 {
            let what = format!("{} objects are neither linearizable nor not", counts.given_up());
            cause = Some(Cause::GaveUp { what });
        }
        Self {
            seed: config.seed,
            cause,
            hash: world.trace_hash(),
            steps: world.steps(),
            simulated: world.now(),
            wall,
            nodes: config.nodes.len() as u32,
            groups: config.groups.len(),
            tally,
            counts,
            marks: world.marks(),
        }
    }

    /// The exit status of the command, had this been the only run.
    pub fn exit_code(&self) -> u8 {
        self.cause.as_ref().map_or(ALL_HELD, Cause::exit_code)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, gravest};
    use crate::oracle::Violation;
    use crate::world::Failure;

    #[test]
    fn the_gravest_failure_gives_the_exit_status() {
        let beside =
            Some(Box::new(Cause::World(Failure::Violation(Violation::new("StateSafety", String::new())))));
        let what = "step 3".to_owned();
        assert_eq!(Cause::NotDeterministic { what: what.clone(), beside }.exit_code(), 10);
        assert_eq!(Cause::NotDeterministic { what, beside: None }.exit_code(), 13);
        assert_eq!(gravest([0, 0]), 0);
        assert_eq!(gravest([11, 12, 14]), 12);
        assert_eq!(gravest([13, 11]), 11);
        assert_eq!(gravest([15, 14, 0]), 14);
        assert_eq!(gravest([12, 10, 11]), 10);
        assert_eq!(gravest([]), 0);
    }

    #[test]
    fn failures_of_one_line_of_an_oracle_have_one_key() {
        let report = |op: u64| Violation::new("StateSafety", format!("op {op}"));
        let (one, other) = (report(1), report(2));
        let elsewhere = Violation::new("StateSafety", "op 1".to_owned());
        let key = |violation| Cause::World(Failure::Violation(violation)).key();
        assert_eq!(key(one.clone()), key(other));
        assert_ne!(key(one.clone()), key(elsewhere));
        assert!(key(one).site.contains("run.rs:"));
    }

    #[test]
    fn what_a_halt_says_counts_without_its_numbers() {
        let halt = |reason: &str| {
            let node = chronon_core::types::NodeId::new(1);
            Cause::World(Failure::Halt { node, reason: reason.to_owned() }).key()
        };
        assert_eq!(halt("storage: no manifest 17 in 2 areas"), halt("storage: no manifest 4 in 1 areas"));
        assert_ne!(halt("storage: no manifest 17"), halt("disk: write 17 failed"));
    }
}
