//! The command line: flags to verbs, verbs to answers in words or in JSON.

mod bank;
mod bench;
mod cluster;
mod crash_test;
mod effect;
mod entry;
mod events;
mod format;
mod group;
mod kv;
pub mod local_cluster;
mod log;
pub mod loop_disk;
mod post;
mod serve;
mod status;
mod work;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use chronon_core::kernel::ChrApplication;
use chronon_core::node::Freshness;
use chronon_core::types::{Blob, GroupId};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use tracing::level_filters::LevelFilter;

use crate::client::ClientConfig;

/// Chronon: schedule it, and it happens once.
#[derive(Debug, Parser)]
#[command(name = "chronon", version, about, max_term_width = 110)]
struct Cli {
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t, global = true)]
    output: Format,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum Format {
    /// In words.
    #[default]
    Text,
    /// One JSON value a line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make the first data directory of a node of a new cluster; nothing else ever makes one.
    Format(format::FormatArgs),
    /// Run a node.
    Serve(serve::ServeArgs),
    /// Publish an event: now, after a while, or at a time.
    Publish(events::PublishArgs),
    /// Consume a topic as a member of a consumer group.
    Subscribe(events::SubscribeArgs),
    /// Show events again as they were published; no consumer group is touched.
    Replay(events::ReplayArgs),
    /// Make topics, change them, and look at them.
    Topic(events::TopicArgs),
    /// See to consumer groups: pause them, set them to another place, change or delete them.
    Consumers(events::ConsumersArgs),
    /// Ask for the fate of events.
    Event(events::EventArgs),
    /// See to events that are not due yet.
    Schedule(events::ScheduleArgs),
    /// Have events posted to a URL, or published to another topic.
    Endpoint(events::EndpointArgs),
    /// See to deliveries that were given up.
    Dlq(events::DlqArgs),
    /// Read and write registers.
    Kv(kv::KvArgs),
    /// Move money.
    Bank(bank::BankArgs),
    /// Post letters by HTTP.
    Post(post::PostArgs),
    /// Claim events as a worker, see to what was given up, and to side effects of applications.
    Effect(effect::EffectArgs),
    /// Ask nodes how they are.
    Status(status::StatusArgs),
    /// See to a group that stands still.
    #[command(subcommand)]
    Group(group::GroupVerb),
    /// See and change who the members of the cluster are.
    #[command(subcommand)]
    Cluster(cluster::ClusterVerb),
    /// Look at a data directory that no node uses.
    #[command(subcommand)]
    Log(log::LogVerb),
    /// Kill a node in the middle of writes, and see what it recovers.
    #[command(subcommand)]
    CrashTest(crash_test::CrashTestVerb),
    /// Measure.
    #[command(subcommand)]
    Bench(bench::BenchVerb),
    /// What a shell is to know of these verbs, for it to complete them; `chronon completions bash > FILE` and the like.
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

/// An answer in both forms.
#[derive(Debug)]
struct Answer {
    text: String,
    json: serde_json::Value,
}

/// Whom to ask.
#[derive(Args, Clone, Debug)]
struct NodesArgs {
    /// Where nodes listen for requests.
    #[arg(
        long,
        global = true,
        env = "CHRONON_NODES",
        value_delimiter = ',',
        default_value = "127.0.0.1:9100"
    )]
    nodes: Vec<SocketAddr>,
    /// Seconds to wait for an answer.
    #[arg(long, global = true, env = "CHRONON_TIMEOUT", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

impl NodesArgs {
    fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    fn client(&self) -> ClientConfig {
        ClientConfig { request_timeout: self.timeout(), ..ClientConfig::new(self.nodes.clone()) }
    }
}

/// How new a state must be that is asked for.
#[derive(Args, Clone, Copy, Debug)]
struct FreshnessArgs {
    /// Take what the node has, which may be behind; without, the answer shows everything that was acknowledged before.
    #[arg(long)]
    stale: bool,
}

impl FreshnessArgs {
    fn freshness(self) -> Freshness {
        if self.stale { Freshness::Stale } else { Freshness::Linearizable }
    }
}

/// Does what the arguments say.
///
/// # Errors
/// Whatever went wrong, in words for a person. Wrong usage prints help and ends the process with status 2.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<()> {
    let matches = Cli::command().get_matches_from(arguments);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let is_server = matches!(cli.verb, Verb::Serve(_));
    start_logs(if is_server { LevelFilter::INFO } else { LevelFilter::WARN })?;
    let answer = match cli.verb {
        Verb::Format(args) => format::run(&args)?,
        Verb::Serve(args) => {
            let Some((_, given)) = matches.subcommand() else { anyhow::bail!("no verb was given") };
            serve::run(serve::BUILTIN, &args, given, cli.output)?
        }
        Verb::Publish(args) => events::publish(&args)?,
        Verb::Subscribe(args) => events::subscribe(&args, cli.output)?,
        Verb::Replay(args) => events::replay(&args, cli.output)?,
        Verb::Topic(args) => events::topic(&args)?,
        Verb::Consumers(args) => events::consumers(&args)?,
        Verb::Event(args) => events::event(&args, cli.output)?,
        Verb::Schedule(args) => events::schedule(&args)?,
        Verb::Endpoint(args) => events::endpoint(&args)?,
        Verb::Dlq(args) => events::dlq(&args)?,
        Verb::Kv(args) => kv::run(&args)?,
        Verb::Bank(args) => bank::run(&args)?,
        Verb::Post(args) => post::run(&args)?,
        Verb::Effect(args) => effect::run(&args)?,
        Verb::Status(args) => status::run(&args)?,
        Verb::Group(verb) => group::run(&verb)?,
        Verb::Cluster(verb) => cluster::run(&verb)?,
        Verb::Log(verb) => {
            let (answer, is_sound) = log::run(&verb)?;
            print(cli.output, &answer);
            anyhow::ensure!(is_sound, "the data directory has lost something that was durable");
            return Ok(());
        }
        Verb::CrashTest(verb) => crash_test::run(&verb)?,
        Verb::Bench(verb) => bench::run(&verb)?,
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "chronon", &mut script);
            std::io::stdout().write_all(&script).context("standard output takes nothing")?;
            return Ok(());
        }
    };
    print(cli.output, &answer);
    Ok(())
}

/// Serves an application of one's own, for its `main` to call: `program` is how it is called on a command line, `arguments` are
/// those of `chronon serve`, and with `--dev` the node has these groups, each with its kind.
///
/// See `examples/seats.rs` for one.
///
/// # Errors
/// Why the node stopped, or could not begin. Wrong usage prints help and ends the process with status 2.
pub fn serve_own<A: ChrApplication>(
    program: &'static str,
    arguments: impl IntoIterator<Item = OsString>,
    application: A,
    dev_groups: &'static [(u32, &'static str)],
) -> anyhow::Result<()> {
    let command = serve::ServeArgs::augment_args(clap::Command::new(program));
    let given = command.get_matches_from(std::iter::once(program.into()).chain(arguments));
    let args = serve::ServeArgs::from_arg_matches(&given).unwrap_or_else(|error| error.exit());
    start_logs(LevelFilter::INFO)?;
    let served = serve::Served { application, dev_groups, invitation: "" };
    let answer = serve::run(served, &args, &given, Format::Text)?;
    print(Format::Text, &answer);
    Ok(())
}

fn print(format: Format, answer: &Answer) {
    let mut out = std::io::stdout().lock();
    let written = match format {
        Format::Text => writeln!(out, "{}", answer.text),
        Format::Json => writeln!(out, "{}", answer.json),
    };
    match written {
        Ok(()) => {}
        // Whoever reads has seen enough, as `head` has.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("error: nothing can be written to standard output: {error}");
            std::process::exit(1);
        }
    }
}

/// Logs go to standard error, from the level that `CHRONON_LOG` names upwards: lines for people, or JSON objects if
/// `CHRONON_LOG_FORMAT` says so.
fn start_logs(default: LevelFilter) -> anyhow::Result<()> {
    let level = match std::env::var("CHRONON_LOG") {
        Ok(text) => text.parse().ok().with_context(|| {
            format!("variable CHRONON_LOG: {text:?} is not allowed; it takes off, error, warn, info, debug or trace")
        })?,
        Err(_) => default,
    };
    let is_json = match std::env::var("CHRONON_LOG_FORMAT").as_deref() {
        Ok("json") => true,
        Ok("text") | Err(_) => false,
        Ok(other) => {
            anyhow::bail!("variable CHRONON_LOG_FORMAT: {other:?} is not allowed; it takes text or json")
        }
    };
    // A second run in one process, as in tests, keeps the first one's logs.
    let logs = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    let _ = if is_json {
        logs.json().flatten_event(true).try_init()
    } else {
        logs.with_ansi(std::io::stderr().is_terminal()).try_init()
    };
    Ok(())
}

/// A group by number.
fn parse_group(text: &str) -> Result<GroupId, String> {
    text.parse().map(GroupId::new).map_err(|_| "a group is a whole number from 0".to_owned())
}

/// A value for a person: text as it is, anything else in hex.
fn show(value: &Blob) -> String {
    match std::str::from_utf8(value.as_slice()) {
        Ok(text) => text.to_owned(),
        Err(_) => value.as_slice().iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
