//! The applications that the binary ships, chosen for each group by its [`GroupInit::kind`].

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::bank::{Bank, BankError, BankState};
use crate::catalog::{Catalog, CatalogError, CatalogQuery, CatalogState, Topic};
use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::events::{Events, EventsError, EventsQuery, EventsState, EventsView};
use crate::kernel::{ApplyContext, ChrApplication, Chunk, Cursor, Event, QueryContext, Schema, SideEffectId};
use crate::post::{Letter, Post, PostError, PostState};
use crate::register::{RegisterError, RegisterState, Registers};
use crate::types::{Blob, GroupInit, Timestamp};

/// The kinds a group can be of.
pub const KINDS: [&str; 5] = ["bank", "catalog", "events", "post", "register"];

/// One application that is each of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Builtin;

/// The state of the application that a group's kind names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BuiltinState {
    /// A bank.
    Bank(BankState),
    /// The catalog of the event database.
    Catalog(CatalogState),
    /// Partitions of the event database.
    Events(EventsState),
    /// A post office.
    Post(PostState),
    /// Registers.
    Register(RegisterState),
    /// A kind that this build does not know: it refuses every command, alike on all replicas.
    Unknown,
}

/// A question about the state of one of them.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum BuiltinQuery {
    /// A bank's account.
    Balance {
        /// Which.
        account: u64,
    },
    /// The catalog of the event database.
    Catalog(CatalogQuery),
    /// Partitions of the event database.
    Events(EventsQuery),
    /// A register.
    Value {
        /// Which.
        key: Blob,
    },
    /// A letter of a post office.
    Letter {
        /// Which.
        letter: SideEffectId,
    },
}

/// What is seen of it.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum BuiltinView {
    /// The account's balance, if it is open.
    Balance(Option<u64>),
    /// Topics, by name.
    Topics(Vec<(String, Topic)>),
    /// What is seen of a partition.
    Events(EventsView),
    /// The register's value, if it is set.
    Value(Option<Blob>),
    /// The letter, if it is kept.
    Letter(Option<Letter>),
    /// The group is of a kind that has no such thing.
    WrongKind,
}

/// A refusal of one of them.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode, thiserror::Error)]
#[bincode(crate = "crate::codec::wire")]
pub enum BuiltinError {
    /// The bank's.
    #[error(transparent)]
    Bank(#[from] BankError),
    /// The catalog's.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A partition's.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// The post office's.
    #[error(transparent)]
    Post(#[from] PostError),
    /// The registers'.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The group's kind is not one of [`KINDS`].
    #[error("the group is of a kind that this build does not know")]
    UnknownKind,
}

impl ChrApplication for Builtin {
    const SCHEMA: Schema = Schema(1);
    type State = BuiltinState;
    type QueryRequest = BuiltinQuery;
    type QueryResponse = BuiltinView;
    type Error = BuiltinError;

    fn genesis(&self, group: &GroupInit) -> BuiltinState {
        match group.kind.as_str() {
            "bank" => BuiltinState::Bank(Bank.genesis(group)),
            "catalog" => BuiltinState::Catalog(Catalog.genesis(group)),
            "events" => BuiltinState::Events(Events.genesis(group)),
            "post" => BuiltinState::Post(Post.genesis(group)),
            "register" => BuiltinState::Register(Registers.genesis(group)),
            _ => BuiltinState::Unknown,
        }
    }

    fn apply(
        &self,
        state: &mut BuiltinState,
        event: Event<'_>,
        ctx: &mut ApplyContext<'_>,
    ) -> Result<Bytes, BuiltinError> {
        match state {
            BuiltinState::Bank(state) => Ok(Bank.apply(state, event, ctx)?),
            BuiltinState::Catalog(state) => Ok(Catalog.apply(state, event, ctx)?),
            BuiltinState::Events(state) => Ok(Events.apply(state, event, ctx)?),
            BuiltinState::Post(state) => Ok(Post.apply(state, event, ctx)?),
            BuiltinState::Register(state) => Ok(Registers.apply(state, event, ctx)?),
            BuiltinState::Unknown => Err(BuiltinError::UnknownKind),
        }
    }

    fn query(&self, state: &BuiltinState, request: BuiltinQuery, ctx: &mut QueryContext) -> BuiltinView {
        match (state, request) {
            (BuiltinState::Bank(state), BuiltinQuery::Balance { account }) => {
                BuiltinView::Balance(Bank.query(state, account, ctx))
            }
            (BuiltinState::Catalog(state), BuiltinQuery::Catalog(query)) => {
                BuiltinView::Topics(Catalog.query(state, query, ctx))
            }
            (BuiltinState::Events(state), BuiltinQuery::Events(query)) => {
                BuiltinView::Events(Events.query(state, query, ctx))
            }
            (BuiltinState::Post(state), BuiltinQuery::Letter { letter }) => {
                BuiltinView::Letter(Post.query(state, letter, ctx))
            }
            (BuiltinState::Register(state), BuiltinQuery::Value { key }) => {
                BuiltinView::Value(Registers.query(state, key, ctx))
            }
            (
                BuiltinState::Bank(_)
                | BuiltinState::Catalog(_)
                | BuiltinState::Events(_)
                | BuiltinState::Post(_)
                | BuiltinState::Register(_)
                | BuiltinState::Unknown,
                _,
            ) => BuiltinView::WrongKind,
        }
    }

    fn snapshot(&self, state: &BuiltinState, from: Cursor, out: &mut Chunk) -> Option<Cursor> {
        match state {
            BuiltinState::Bank(state) => Bank.snapshot(state, from, out),
            BuiltinState::Catalog(state) => Catalog.snapshot(state, from, out),
            BuiltinState::Events(state) => Events.snapshot(state, from, out),
            BuiltinState::Post(state) => Post.snapshot(state, from, out),
            BuiltinState::Register(state) => Registers.snapshot(state, from, out),
            BuiltinState::Unknown => None,
        }
    }

    fn restore(&self, state: &mut BuiltinState, from: Schema, chunk: &[u8]) -> Result<(), BuiltinError> {
        match state {
            BuiltinState::Bank(state) => Ok(Bank.restore(state, from, chunk)?),
            BuiltinState::Catalog(state) => Ok(Catalog.restore(state, from, chunk)?),
            BuiltinState::Events(state) => Ok(Events.restore(state, from, chunk)?),
            BuiltinState::Post(state) => Ok(Post.restore(state, from, chunk)?),
            BuiltinState::Register(state) => Ok(Registers.restore(state, from, chunk)?),
            BuiltinState::Unknown => Err(BuiltinError::UnknownKind),
        }
    }

    fn next_wakeup(&self, state: &BuiltinState) -> Option<Timestamp> {
        match state {
            BuiltinState::Bank(state) => Bank.next_wakeup(state),
            BuiltinState::Catalog(state) => Catalog.next_wakeup(state),
            BuiltinState::Events(state) => Events.next_wakeup(state),
            BuiltinState::Post(state) => Post.next_wakeup(state),
            BuiltinState::Register(state) => Registers.next_wakeup(state),
            BuiltinState::Unknown => None,
        }
    }

    fn has_news(&self, state: &BuiltinState, request: &BuiltinQuery) -> bool {
        match (state, request) {
            (BuiltinState::Events(state), BuiltinQuery::Events(request)) => Events.has_news(state, request),
            (
                BuiltinState::Bank(_)
                | BuiltinState::Catalog(_)
                | BuiltinState::Events(_)
                | BuiltinState::Post(_)
                | BuiltinState::Register(_)
                | BuiltinState::Unknown,
                _,
            ) => true,
        }
    }
}
