//! An application of one's own: seats that are reserved once, each with a confirmation that is posted once.
//!
//! ```text
//! cargo run --release --example seats -- swarm          simulate clusters of it, seed by seed
//! cargo run --release --example seats -- replay 7       one of these runs again; shrink, explain: as chronon-sim does
//! cargo run --release --example seats -- serve --dev    serve it
//! cargo run --release --example seats -- reserve 3 me http://127.0.0.1:8080/health
//! cargo test --example seats                            the same simulation, as a test
//! ```
//!
//! The contracts that are met here: `chronon_core::kernel::ChrApplication`, `chronon_sim::workload::Workload`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;

use bytes::Bytes;
use chronon::client::{Client, ClientConfig, ClientError};
use chronon_core::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use chronon_core::codec::{self, CodecError};
use chronon_core::kernel::{
    ApplyContext, ChrApplication, Chunk, Cursor, Event, QueryContext, Retry, Schema, SideEffect,
    SideEffectId, SideEffectOutcome,
};
use chronon_core::types::{Blob, GroupId, GroupInit};
use chronon_sim::random::Draw;
use chronon_sim::workload::{Asking, Workload};

// ---- 1. Implement: a state, and what a command does to it.

/// Asks for a seat; the confirmation goes to `confirm_to`.
#[derive(Clone, Debug, Encode, Decode)]
#[bincode(crate = "chronon_core::codec::wire")]
struct Reserve {
    seat: u32,
    who: String,
    confirm_to: String,
}

/// Why a seat is not reserved.
#[derive(Clone, Debug, Encode, Decode, thiserror::Error)]
#[bincode(crate = "chronon_core::codec::wire")]
enum SeatsError {
    #[error("not a reservation")]
    Malformed,
    #[error("seat {seat} is taken by {by}")]
    Taken { seat: u32, by: String },
    #[error("no confirmation can be sent: {0}")]
    Confirmation(String),
}

/// A seat that is taken, until its confirmation turns out to be impossible.
#[derive(Clone, Debug, Encode, Decode)]
#[bincode(crate = "chronon_core::codec::wire")]
struct Reservation {
    who: String,
    confirmation: SideEffectId,
    is_confirmed: bool,
}

#[derive(Clone)]
struct Seats;

impl ChrApplication for Seats {
    const SCHEMA: Schema = Schema(1);
    type State = BTreeMap<u32, Reservation>;
    type QueryRequest = u32;
    type QueryResponse = Option<Reservation>;
    type Error = SeatsError;

    fn genesis(&self, _group: &GroupInit) -> Self::State {
        BTreeMap::new()
    }

    fn apply(
        &self,
        seats: &mut Self::State,
        event: Event<'_>,
        ctx: &mut ApplyContext<'_>,
    ) -> Result<Bytes, SeatsError> {
        match event {
            Event::Command(body) => {
                let Reserve { seat, who, confirm_to } =
                    codec::decode(body).map_err(|_: CodecError| SeatsError::Malformed)?;
                if let Some(taken) = seats.get(&seat) {
                    return Err(SeatsError::Taken { seat, by: taken.who.clone() });
                }
                let letter = Blob::from(format!("seat {seat} is reserved for {who}").into_bytes());
                let confirmation =
                    SideEffect::new(confirm_to, letter, Retry { attempts_max: 5, ..Retry::default() })
                        .map_err(|error| SeatsError::Confirmation(error.to_string()))?;
                let confirmation = ctx.emit(confirmation);
                seats.insert(seat, Reservation { who, confirmation, is_confirmed: false });
                Ok(Bytes::new())
            }
            Event::SideEffect { id, outcome: SideEffectOutcome::Done(_) } => {
                let own = seats.values_mut().find(|reservation| reservation.confirmation == id);
                own.into_iter().for_each(|reservation| reservation.is_confirmed = true);
                Ok(Bytes::new())
            }
            Event::SideEffect { id, outcome: SideEffectOutcome::GivenUp { .. } } => {
                seats.retain(|_, reservation| reservation.confirmation != id);
                Ok(Bytes::new())
            }
            Event::Wakeup => Err(SeatsError::Malformed),
        }
    }

    fn query(&self, seats: &Self::State, seat: u32, _ctx: &mut QueryContext) -> Option<Reservation> {
        seats.get(&seat).cloned()
    }

    fn snapshot(&self, seats: &Self::State, _from: Cursor, out: &mut Chunk) -> Option<Cursor> {
        out.extend(codec::encode(&seats.clone().into_iter().collect::<Vec<_>>()));
        None
    }

    fn restore(&self, seats: &mut Self::State, _from: Schema, chunk: &[u8]) -> Result<(), SeatsError> {
        let all: Vec<(u32, Reservation)> = codec::decode(chunk).map_err(|_| SeatsError::Malformed)?;
        seats.extend(all);
        Ok(())
    }
}

// ---- 2. Simulate: what clients ask, and what must be true in the end.

#[derive(Clone)]
struct Rush;

impl Workload<Seats> for Rush {
    fn kinds(&self) -> &[&'static str] {
        &["seats"]
    }

    fn command(&mut self, _group: &GroupInit, asking: Asking, draw: &mut Draw) -> Bytes {
        let (seat, who) = (draw.below(500) as u32, format!("client {}", asking.client));
        let confirm_to = if draw.below(4) == 0 { chronon_sim::sink::REFUSES } else { "sink" }.to_owned();
        Bytes::from(codec::encode(&Reserve { seat, who, confirm_to }))
    }

    fn converged(
        &self,
        _group: &GroupInit,
        _application: &Seats,
        seats: &BTreeMap<u32, Reservation>,
    ) -> Result<(), String> {
        match seats.iter().find(|(_, reservation)| !reservation.is_confirmed) {
            Some((seat, reservation)) => Err(format!("seat {seat} waits for ever: {reservation:?}")),
            None => Ok(()),
        }
    }
}

// ---- 3. Serve, and ask.

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    match arguments.peek().and_then(|verb| verb.to_str()) {
        Some("serve") => {
            told(chronon::cli::serve_own("seats serve", arguments.skip(1), Seats, &[(0, "seats")]))
        }
        Some("reserve") => told(reserve(&arguments.skip(1).collect::<Vec<_>>())),
        _ => chronon_sim::cli::main_of("seats", arguments, Seats, Rush),
    }
}

fn reserve(arguments: &[OsString]) -> anyhow::Result<()> {
    let texts: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
    let [seat, who, confirm_to] = texts[..] else { anyhow::bail!("usage: seats reserve SEAT WHO URL") };
    let command = Reserve { seat: seat.parse()?, who: who.to_owned(), confirm_to: confirm_to.to_owned() };
    let mut client = Client::new(ClientConfig::new(vec!["127.0.0.1:9100".parse()?]));
    match client.ask(GroupId::new(0), Blob::from(codec::encode(&command))) {
        Ok((op, _)) => println!("seat {seat} is reserved for {who} at op {op}"),
        Err(ClientError::Refused(error)) => {
            anyhow::bail!(codec::decode::<SeatsError>(error.as_slice())?)
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn told(result: anyhow::Result<()>) -> ExitCode {
    if let Err(error) = result {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use chronon_sim::run::Simulation;

    use super::{Rush, Seats};

    #[test]
    fn no_seat_is_lost_sold_twice_or_left_waiting() {
        let simulation = Simulation::new(Seats, Rush);
        let mut took_effect = 0;
        for seed in 1..=20 {
            let report = simulation.run(simulation.config_of_seed(seed), None);
            assert_eq!(report.cause, None, "replay: cargo run --release --example seats -- replay {seed}");
            took_effect += report.tally.attempts.get("took_effect").copied().unwrap_or_default();
        }
        assert!(took_effect > 500, "only {took_effect} confirmations");
    }
}
