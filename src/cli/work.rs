//! `chronon effect work`.

use std::io::{self, Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chronon_core::kernel::{Attempt, SIDE_EFFECT_ANSWER_BYTES_MAX};
use chronon_core::types::GroupId;
use clap::Args;
use serde_json::json;

use super::{Answer, NodesArgs};
use crate::client::{ClientError, Worker};

/// Execute the side effects of a queue, those whose target is `worker:QUEUE`, one after the other.
#[derive(Args, Debug)]
pub(super) struct WorkArgs {
    queue: String,
    /// What executes one: a line for `sh`. It gets the body on its standard input, and is told in CHRONON_IDEMPOTENCY_KEY,
    /// CHRONON_FENCING_TOKEN, CHRONON_TARGET and CHRONON_ATTEMPT which it is. When it ends with 0 the side effect is done, with what
    /// it printed as answer; with 65 it is given up; with anything else it is tried again. It is killed when its lease is lost.
    #[arg(long)]
    exec: String,
    /// Seconds until somebody else may have what this worker does not finish; it renews the lease while it works.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    lease: u64,
    /// End after so many.
    #[arg(long)]
    count: Option<u64>,
}

/// How many ended in which way.
#[derive(Debug, Default)]
struct Tally {
    done: u64,
    refused: u64,
    failed: u64,
    lost: u64,
}

pub(super) fn run(args: &WorkArgs, nodes: &NodesArgs, group: GroupId) -> anyhow::Result<Answer> {
    let lease = Duration::from_secs(args.lease);
    let mut worker = Worker::new(nodes.client(), group, args.queue.clone(), lease);
    let mut tally = Tally::default();
    let is_over = |tally: &Tally| args.count.is_some_and(|count| tally.total() >= count);
    while !is_over(&tally) {
        let granted = match worker.claim(1) {
            Ok(granted) => granted,
            // A worker outlives failovers, and nodes that are away.
            Err(error @ ClientError::TimedOut { .. }) => {
                tracing::warn!("{error}");
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for attempt in &granted {
            work(&mut worker, attempt, args, group, &mut tally)?;
        }
        if granted.is_empty() {
            thread::sleep(IDLE);
        }
    }
    let Tally { done, refused, failed, lost } = tally;
    Ok(Answer {
        text: format!("{done} done, {refused} refused, {failed} failed, {lost} lost to others"),
        json: json!({ "done": done, "refused": refused, "failed": failed, "lost": lost }),
    })
}

impl Tally {
    fn total(&self) -> u64 {
        self.done + self.refused + self.failed + self.lost
    }
}

/// Executes one, and says how that ended.
fn work(
    worker: &mut Worker,
    attempt: &Attempt,
    args: &WorkArgs,
    group: GroupId,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let (id, number) = (attempt.id, attempt.number);
    let told = match execute(worker, attempt, args, group)? {
        None => Err(ClientError::Stale { what: "its command was killed".to_owned() }),
        Some((status, answer)) if status.success() => {
            worker.complete(attempt, answer).map(|()| tally.done += 1)
        }
        Some((status, answer)) if status.code() == Some(REFUSED) => {
            worker.refuse(attempt, answer).map(|()| tally.refused += 1)
        }
        Some((status, answer)) => {
            let why = [status.to_string().as_bytes(), b": ", &answer].concat();
            worker.fail(attempt, why, Duration::ZERO).map(|()| tally.failed += 1)
        }
    };
    match told {
        Ok(()) => Ok(()),
        Err(error @ (ClientError::Stale { .. } | ClientError::TimedOut { .. })) => {
            tally.lost += 1;
            tracing::warn!(%id, number, "an attempt is not recorded as this worker's: {error}");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// How the command ended, and what it printed; `None` when the lease was lost meanwhile.
fn execute(
    worker: &mut Worker,
    attempt: &Attempt,
    args: &WorkArgs,
    group: GroupId,
) -> anyhow::Result<Option<(ExitStatus, Vec<u8>)>> {
    let mut child = Command::new("sh")
        .args(["-c", &args.exec])
        .env("CHRONON_IDEMPOTENCY_KEY", attempt.id.to_string())
        .env("CHRONON_FENCING_TOKEN", format!("{group}:{}", attempt.token))
        .env("CHRONON_TARGET", attempt.side_effect.target())
        .env("CHRONON_ATTEMPT", attempt.number.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run sh")?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let body = attempt.side_effect.body().clone();
    // Of threads of their own: a command that neither reads nor ends must not keep its lease from being renewed.
    thread::spawn(move || input.map(|mut input| input.write_all(body.as_slice())));
    let reading = thread::spawn(move || output.map_or(Ok(Vec::new()), read_answer));
    let mut renewed = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if renewed.elapsed() >= worker.lease() / 3 {
            match worker.renew(attempt) {
                Ok(()) => renewed = Instant::now(),
                Err(ClientError::Stale { what }) => {
                    tracing::warn!(id = %attempt.id, "the lease is lost: {what}");
                    end(&mut child);
                    return Ok(None);
                }
                Err(error) => tracing::warn!(id = %attempt.id, "the lease is not renewed: {error}"),
            }
        }
        thread::sleep(LOOK);
    };
    let answer = reading.join().unwrap_or_else(|_| Ok(Vec::new()));
    Ok(Some((status, answer?)))
}

/// The beginning of what a command prints; the rest is read as well, for it would wait else.
fn read_answer(mut output: impl io::Read) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    output.by_ref().take(SIDE_EFFECT_ANSWER_BYTES_MAX as u64).read_to_end(&mut answer)?;
    io::copy(&mut output, &mut io::sink())?;
    Ok(answer)
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// The exit status of a command that will never do it.
const REFUSED: i32 = 65;
/// Between two questions for something to do.
const IDLE: Duration = Duration::from_millis(200);
/// Between two looks at a command.
const LOOK: Duration = Duration::from_millis(10);
