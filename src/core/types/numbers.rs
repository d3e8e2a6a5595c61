//! Ids and counters: newtypes with private fields and named operations.

use core::fmt;

use crate::codec::wire::error::DecodeError;
use crate::codec::wire::{self, EncodeDerive as Encode};
use crate::types::notation::{Notation, NotationError, Scanner};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty) where $in_range:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, Eq, PartialEq, Ord, PartialOrd, Hash, Encode)]
        #[bincode(crate = "crate::codec::wire")]
        pub struct $name($inner);

        impl<C> wire::Decode<C> for $name {
            fn decode<D: wire::Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
                let number = wire::Decode::decode(decoder)?;
                if $in_range(number) { Ok(Self(number)) } else { Err(OUT_OF_RANGE) }
            }
        }

        wire::impl_borrow_decode!($name);

        impl $name {
            /// The value with this number.
            pub const fn new(number: $inner) -> Self {
                Self(number)
            }

            /// The number.
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl Notation for $name {
            fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
            fn scan(scanner: &mut Scanner<'_>) -> Result<Self, NotationError> {
                Notation::scan(scanner).map(Self)
            }
        }
    };
}

macro_rules! counter {
    ($($name:ident),*) => {$(
        impl $name {
            /// The number after this one.
            ///
            /// # Panics
            /// At the end of u64, which no running system reaches.
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }

            /// The number before this one; `None` at zero.
            pub const fn previous(self) -> Option<Self> {
                match self.0.checked_sub(1) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// This number plus `count`.
            pub const fn plus(self, count: u64) -> Self {
                Self(self.0 + count)
            }

            /// How far this number is above `other`; zero when it is not above it.
            pub const fn above(self, other: Self) -> u64 {
                self.0.saturating_sub(other.0)
            }
        }
    )*};
}

number!(
    /// A cluster, drawn at random when it is formatted.
    ClusterId(u128) where any_number
);
number!(
    /// A node of a cluster. Never reused: a wiped disk comes back under a new id.
    NodeId(u64) where any_number
);
number!(
    /// A consensus group. Never reused.
    GroupId(u32) where any_number
);
number!(
    /// A client, drawn at random by itself; its registration opens a session under this id.
    ClientId(u128) where any_number
);
number!(
    /// The session that a client's registration opened: the op of that registration.
    SessionId(u64) where any_number
);
number!(
    /// A client's count of its requests within a session, from 1.
    RequestNumber(u64) where counts
);
number!(
    /// Counts the memberships of a group (VRR section 7).
    Epoch(u32) where any_number
);
number!(
    /// A view of a group (VRR section 4.1). The first is 1 + g mod N. Epochs are part of it, so that whatever is later in
    /// either sense is the greater number: the upper bits count epochs, the lower ones the views of an epoch, from 1.
    View(u64) where is_view
);
number!(
    /// A slot of a group's log. 0 is the genesis, which every replica holds without a record.
    Op(u64) where counts
);
number!(
    /// The node-wide number of a journal record: of two records of an op, the higher ordinal is the newer.
    Ordinal(u64) where counts
);
number!(
    /// How many times a node has started, from its manifest.
    Incarnation(u64) where counts
);

/// No running system counts so far. A number beyond it, from a peer, is refused before anybody adds to it.
pub(in crate::types) const COUNT_MAX: u64 = 1 << 62;

const OUT_OF_RANGE: DecodeError = DecodeError::Other("a count beyond 2^62");

fn counts(number: u64) -> bool {
    number <= COUNT_MAX
}

/// So many views has no epoch, either: the one behind the last one that is allowed belongs to the same epoch still.
fn is_view(number: u64) -> bool {
    counts(number) && View(number).in_epoch() <= VIEWS_MAX
}

fn any_number<N>(_: N) -> bool {
    true
}

/// Views of an epoch are counted in so many bits.
const VIEW_BITS: u32 = 40;
/// The last view of an epoch that is taken from a peer.
const VIEWS_MAX: u64 = 1 << (VIEW_BITS - 1);

impl Epoch {
    /// The number after this one.
    ///
    /// # Panics
    /// At the end of u32, which no running system reaches.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl View {
    /// The view with this number in an epoch.
    pub fn of(epoch: Epoch, number: u64) -> Self {
        Self((u64::from(epoch.0) << VIEW_BITS) + number)
    }

    /// The epoch that it belongs to.
    pub fn epoch(self) -> Epoch {
        Epoch(u32::try_from(self.0 >> VIEW_BITS).unwrap_or(u32::MAX))
    }

    /// Its number in its epoch.
    pub const fn in_epoch(self) -> u64 {
        self.0 & ((1 << VIEW_BITS) - 1)
    }
}

counter!(RequestNumber, View, Op, Ordinal, Incarnation);

impl Op {
    /// The genesis of a group's log.
    pub const GENESIS: Self = Self(0);
}

/// A length or count as it goes to disk or wire.
///
/// # Panics
/// Never on machines with at most 64-bit addresses.
pub fn u64_of(count: usize) -> u64 {
    match u64::try_from(count) {
        Ok(count) => count,
        Err(_) => panic!("usize is at most 64 bits wide"),
    }
}

/// A length or count from disk or wire, as an index.
///
/// # Panics
/// When it does not fit this machine's addresses; callers bound the number first.
pub fn usize_of(count: u64) -> usize {
    match usize::try_from(count) {
        Ok(count) => count,
        Err(_) => panic!("the count was bounded before"),
    }
}
