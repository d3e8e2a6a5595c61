//! Snapshots of a large state: how long a command waits while one is written, and what it would wait for one that is written
//! at once.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use chronon_core::bank::{Bank, BankCommand};
use chronon_core::codec::{self, ByteWriter};
use chronon_core::kernel::{Batch, Command, Executed, Executor, Outcome};
use chronon_core::node::SNAPSHOT_PIECE_BYTES_MAX;
use chronon_core::types::{
    Blob, ClientId, ClusterId, Entry, EntryHeader, EntryKind, GroupId, GroupInit, NoMarks, NodeId,
    RequestNumber, SessionId, View,
};
use clap::Args;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::Answer;

/// A bank of many accounts, in memory: commands one by one, alone and beside a snapshot that is being written.
#[derive(Args, Debug)]
pub(in crate::cli) struct SnapshotArgs {
    /// Accounts in the bank.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(2..=100_000_000))]
    accounts: u64,
    /// Transfers to measure without a snapshot.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    transfers: u32,
}

/// A group's executor, and its only client.
struct Group {
    executor: Executor<Bank>,
    init: GroupInit,
    last: EntryHeader,
    session: SessionId,
    number: u64,
    executed: Vec<Executed>,
}

/// How long steps took, in nanoseconds.
struct Times(Histogram<u64>);

pub(super) fn run(args: &SnapshotArgs) -> anyhow::Result<Answer> {
    let mut group = Group::with_accounts(args.accounts)?;
    let mut alone = Times::new()?;
    for turn in 0..args.transfers {
        group.transfer(u64::from(turn), args.accounts, &mut alone)?;
    }
    let (mut pieces, mut beside) = (Times::new()?, Times::new()?);
    let begin = Instant::now();
    let mut writer = group.executor.snapshot(group.last);
    let frozen_in = begin.elapsed();
    let mut body = Vec::new();
    let mut turn = 0;
    let mut goes_on = true;
    while goes_on {
        let mut piece = ByteWriter::default();
        pieces.time(|| goes_on = writer.go_on(SNAPSHOT_PIECE_BYTES_MAX, &mut piece))?;
        body.extend_from_slice(piece.as_slice());
        group.transfer(turn, args.accounts, &mut beside)?;
        turn += 1;
    }
    let dropped = Instant::now();
    drop(writer);
    let dropped_in = dropped.elapsed();
    let mut at_once = ByteWriter::default();
    let begin = Instant::now();
    let mut writer = group.executor.snapshot(group.last);
    while writer.go_on(SNAPSHOT_PIECE_BYTES_MAX, &mut at_once) {}
    let at_once_in = begin.elapsed();
    let begin = Instant::now();
    Executor::restore(Bank, group.init.clone(), &body).context("the bench restores its own snapshot")?;
    let restored_in = begin.elapsed();
    let rows = [("transfer, alone", &alone), ("transfer, beside", &beside), ("piece of a snapshot", &pieces)];
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["step", "count", "p50 us", "p99 us", "max us"]);
    for (name, times) in rows {
        let [p50, p99, max] = times.us().map(|us| format!("{us:.1}"));
        table.add_row([name.to_owned(), times.0.len().to_string(), p50, p99, max]);
    }
    let ms = |span: Duration| span.as_secs_f64() * 1000.0;
    let text = format!(
        "{} accounts, a snapshot of {:.1} MB\n{table}\nfrozen in {:.3} ms, let go of in {:.1} ms; at once it would be {:.0} ms; restored in {:.0} ms",
        args.accounts,
        body.len() as f64 / 1e6,
        ms(frozen_in),
        ms(dropped_in),
        ms(at_once_in),
        ms(restored_in),
    );
    let json = json!({
        "accounts": args.accounts,
        "bytes": body.len(),
        "alone": alone.json(),
        "beside": beside.json(),
        "piece": pieces.json(),
        "frozen_ms": ms(frozen_in),
        "dropped_ms": ms(dropped_in),
        "at_once_ms": ms(at_once_in),
        "restored_ms": ms(restored_in),
    });
    Ok(Answer { text, json })
}

impl Group {
    fn with_accounts(accounts: u64) -> anyhow::Result<Self> {
        let init = GroupInit {
            cluster: ClusterId::new(1),
            group: GroupId::new(0),
            kind: "bank".to_owned(),
            voters: vec![NodeId::new(1)],
            sessions_max: 1000,
            archive: None,
        };
        let executor = Executor::new(Bank, init.clone());
        let last = init.genesis();
        let (session, executed) = (SessionId::default(), Vec::new());
        let mut group = Self { executor, init, last, session, number: 0, executed };
        group.apply(&[Command::register(CLIENT)]);
        if let Some(Executed { outcome: Outcome::Registered { session }, .. }) = group.executed.pop() {
            group.session = session;
        }
        let numbers: Vec<u64> = (0..accounts).collect();
        for numbers in numbers.chunks(4096) {
            // Scattered, so that the map grows everywhere.
            let open = |number: &u64| BankCommand::Open {
                account: number.wrapping_mul(0x9E37_79B9_7F4A_7C15),
                balance: 1000,
            };
            let commands: Vec<Command> = numbers.iter().map(|number| group.command(&open(number))).collect();
            group.apply(&commands);
            let done = |executed: &Executed| matches!(executed.outcome, Outcome::Done(_));
            anyhow::ensure!(
                group.executed.drain(..).all(|executed| done(&executed)),
                "an account is not open"
            );
        }
        Ok(group)
    }

    fn command(&mut self, command: &BankCommand) -> Command {
        self.number += 1;
        let body = Blob(Bytes::from(codec::encode(command)));
        Command { client: CLIENT, session: self.session, number: RequestNumber::new(self.number), body }
    }

    fn transfer(&mut self, turn: u64, accounts: u64, times: &mut Times) -> anyhow::Result<()> {
        let account = |number: u64| (number % accounts).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let from = turn.wrapping_mul(48_271);
        let command = BankCommand::Transfer { from: account(from), to: account(from + 1), amount: 1 };
        let commands = [self.command(&command)];
        let entry = self.entry(&commands);
        times.time(|| self.apply_entry(&entry))?;
        self.executed.clear();
        Ok(())
    }

    fn apply(&mut self, commands: &[Command]) {
        let entry = self.entry(commands);
        self.apply_entry(&entry);
    }

    fn entry(&self, commands: &[Command]) -> Entry {
        let mut batch = Batch::default();
        commands.iter().for_each(|command| batch.push(command));
        let time = self.last.timestamp().next();
        Entry::next(&self.last, EntryKind::Commands, View::new(1), time, batch.finish())
    }

    fn apply_entry(&mut self, entry: &Entry) {
        if let Err(halt) = self.executor.apply(entry, &mut self.executed, &mut NoMarks) {
            panic!("the bank halts: {}", halt.what);
        }
        self.last = *entry.header();
    }
}

impl Times {
    fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new(3)?))
    }

    fn time(&mut self, act: impl FnOnce()) -> anyhow::Result<()> {
        let begin = Instant::now();
        act();
        self.0.record(u64::try_from(begin.elapsed().as_nanos())?)?;
        Ok(())
    }

    /// Median, 99th percentile and maximum, in microseconds.
    fn us(&self) -> [f64; 3] {
        [0.5, 0.99, 1.0].map(|quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0)
    }

    fn json(&self) -> Value {
        let [p50, p99, max] = self.us();
        json!({ "count": self.0.len(), "p50_us": p50, "p99_us": p99, "max_us": max })
    }
}

const CLIENT: ClientId = ClientId::new(1);
