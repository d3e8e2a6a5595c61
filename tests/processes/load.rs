//! Clients: they read, write, compare-and-set and move money until they are told to stop.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chronon::client::{self, Client, ClientConfig, ClientError};
use chronon_core::bank::{BankAnswer, BankCommand};
use chronon_core::builtin::{BuiltinError, BuiltinQuery, BuiltinView};
use chronon_core::node::Freshness;
use chronon_core::register::{RegisterAnswer, RegisterCommand};
use chronon_core::types::{Blob, GroupId, Prng};
use serde_json::{Value, json};

use crate::history::Recorder;

pub const BANK: GroupId = GroupId::new(0);
pub const REGISTERS: GroupId = GroupId::new(1);

/// Accounts of the bank, and what is paid into each.
pub const ACCOUNTS: u64 = 8;
pub const PAID_IN: u64 = 1000;

/// Keys that clients fight over.
const KEYS: u64 = 8;
/// Between two operations of a client: more would make the history long and not more telling.
const PAUSE: Duration = Duration::from_millis(2);

/// What all clients share.
#[derive(Debug, Default)]
pub struct Load {
    pub stop: AtomicBool,
    pub history: Recorder,
    /// Transfers that took place.
    pub transfers: AtomicUsize,
    /// Audits that were answered.
    pub audits: AtomicUsize,
}

pub fn client(addresses: Vec<SocketAddr>) -> Client {
    Client::new(patience(addresses))
}

fn patience(addresses: Vec<SocketAddr>) -> ClientConfig {
    ClientConfig {
        attempt_timeout: Duration::from_millis(500),
        request_timeout: Duration::from_secs(5),
        ..ClientConfig::new(addresses)
    }
}

/// A client of registers. It writes values that nobody else writes.
pub fn use_registers(load: &Load, process: usize, addresses: Vec<SocketAddr>) {
    let mut client = client(addresses.clone());
    let mut random = Prng::from_key([u8::try_from(process).unwrap(); 32]);
    let mut anybody = patience(addresses);
    let mut believed: BTreeMap<u64, Option<Blob>> = BTreeMap::new();
    let mut written = 0_u64;
    while !load.stop.load(Ordering::Relaxed) {
        let number = random.below(KEYS);
        let key = format!("key-{number}");
        let belief = believed.get(&number).cloned().flatten();
        written += 1;
        let new = Blob::from(format!("{process}-{written}").into_bytes());
        let found = match random.below(4) {
            0 if random.below(2) == 0 => read(load, &mut client, process, &key),
            0 => {
                let count = u64::try_from(anybody.addresses.len()).unwrap();
                anybody.addresses.rotate_left(usize::try_from(random.below(count)).unwrap());
                read_beside_the_log(load, &anybody, process, &key)
            }
            1 => write(load, &mut client, process, &key, new),
            _ => compare_and_set(load, &mut client, process, &key, belief, new),
        };
        if let Some(found) = found {
            believed.insert(number, found);
        }
        std::thread::sleep(PAUSE);
    }
}

/// What the key holds now, as far as this client knows; `None` when it knows nothing.
type Found = Option<Option<Blob>>;

fn read(load: &Load, client: &mut Client, process: usize, key: &str) -> Found {
    load.history.invoke(process, "read", key, &Value::Null);
    match client.register(REGISTERS, &RegisterCommand::Read { key: blob(key) }) {
        Ok(RegisterAnswer::Value(found)) => {
            load.history.ok(process, "read", key, &text(found.as_ref()));
            Some(found)
        }
        other => unknown(load, process, "read", key, &other),
    }
}

/// Asks whichever node comes first.
fn read_beside_the_log(load: &Load, anybody: &ClientConfig, process: usize, key: &str) -> Found {
    load.history.invoke(process, "read", key, &Value::Null);
    let question = BuiltinQuery::Value { key: blob(key) };
    match client::query(anybody, REGISTERS, &question, Freshness::Linearizable) {
        Ok((_, BuiltinView::Value(found))) => {
            load.history.ok(process, "read", key, &text(found.as_ref()));
            Some(found)
        }
        Ok((op, other)) => panic!("a read of {key} at op {op} was answered {other:?}"),
        Err(error) => unknown(load, process, "read", key, &Err(error)),
    }
}

fn write(load: &Load, client: &mut Client, process: usize, key: &str, value: Blob) -> Found {
    let shown = text(Some(&value));
    load.history.invoke(process, "write", key, &shown);
    match client.register(REGISTERS, &RegisterCommand::Write { key: blob(key), value: value.clone() }) {
        Ok(RegisterAnswer::Written) => {
            load.history.ok(process, "write", key, &shown);
            Some(Some(value))
        }
        other => unknown(load, process, "write", key, &other),
    }
}

fn compare_and_set(
    load: &Load,
    client: &mut Client,
    process: usize,
    key: &str,
    expected: Option<Blob>,
    value: Blob,
) -> Found {
    let shown = json!([text(expected.as_ref()), text(Some(&value))]);
    load.history.invoke(process, "cas", key, &shown);
    let command = RegisterCommand::CompareAndSet { key: blob(key), expected, value: value.clone() };
    match client.register(REGISTERS, &command) {
        Ok(RegisterAnswer::Swapped) => {
            load.history.ok(process, "cas", key, &shown);
            Some(Some(value))
        }
        Ok(RegisterAnswer::Mismatch { found }) => {
            load.history.mismatch(process, key, &shown);
            Some(found)
        }
        other => unknown(load, process, "cas", key, &other),
    }
}

/// Only an outcome that nobody can know is allowed beside an answer of the right kind.
fn unknown(
    load: &Load,
    process: usize,
    f: &str,
    key: &str,
    result: &Result<RegisterAnswer, ClientError>,
) -> Found {
    let Err(error @ (ClientError::TimedOut { .. } | ClientError::Evicted)) = result else {
        panic!("`{f}` of process {process} was answered {result:?}");
    };
    load.history.unknown(process, f, key, &error.to_string());
    None
}

/// Pays money in, so that there is something to move.
pub fn open_accounts(client: &mut Client) {
    for account in 0..ACCOUNTS {
        let opened = client.bank(BANK, &BankCommand::Open { account, balance: PAID_IN }).unwrap();
        assert_eq!(opened, BankAnswer::Opened);
    }
}

/// A client of the bank. Every audit must find what was paid in.
pub fn use_bank(load: &Load, process: usize, addresses: Vec<SocketAddr>) {
    let mut client = client(addresses);
    let mut random = Prng::from_key([u8::try_from(process).unwrap(); 32]);
    while !load.stop.load(Ordering::Relaxed) {
        let command = if random.chance(1, 8) {
            BankCommand::Audit
        } else {
            let (from, to) = (random.below(ACCOUNTS), random.below(ACCOUNTS));
            BankCommand::Transfer { from, to, amount: random.below(PAID_IN) }
        };
        match client.bank(BANK, &command) {
            Ok(BankAnswer::Transferred) => {
                load.transfers.fetch_add(1, Ordering::Relaxed);
            }
            Ok(BankAnswer::Audit { accounts, total }) => {
                assert_eq!((accounts, total), (ACCOUNTS, ACCOUNTS * PAID_IN), "money came or went");
                load.audits.fetch_add(1, Ordering::Relaxed);
            }
            Err(
                ClientError::RefusedBuiltin(BuiltinError::Bank(_))
                | ClientError::TimedOut { .. }
                | ClientError::Evicted,
            ) => {}
            other => panic!("{command:?} was answered {other:?}"),
        }
        std::thread::sleep(PAUSE);
    }
}

fn blob(text: &str) -> Blob {
    Blob::from(text.as_bytes().to_vec())
}

fn text(value: Option<&Blob>) -> Value {
    value.map_or(Value::Null, |value| json!(String::from_utf8_lossy(value.as_slice())))
}
