//! Time, in nanoseconds. Three clocks that must never be mixed up, and a span.

use core::fmt;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::types::notation::{Notation, NotationError, Scanner};

macro_rules! nanoseconds {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Encode, Decode)]
        #[bincode(crate = "crate::codec::wire")]
        pub struct $name(u64);

        impl $name {
            /// The value at `ns` nanoseconds.
            pub const fn from_nanos(ns: u64) -> Self {
                Self(ns)
            }

            /// Nanoseconds.
            pub const fn as_nanos(self) -> u64 {
                self.0
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

nanoseconds!(
    /// A node's clock that never goes back. Its origin means nothing outside the node.
    Monotonic
);
nanoseconds!(
    /// A node's wall clock, since the Unix epoch. It may jump either way.
    Wall
);
nanoseconds!(
    /// Consensus time, since the Unix epoch: what the primary put on an entry. Strictly increasing by op.
    Timestamp
);
nanoseconds!(
    /// A span of time.
    Nanos
);

impl Monotonic {
    /// The moment `span` later.
    pub const fn after(self, span: Nanos) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// How long ago `earlier` was; zero when it was not.
    pub const fn since(self, earlier: Self) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Timestamp {
    /// The next nanosecond.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Nanos {
    /// A span of `ms` milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms * 1_000_000)
    }

    /// A span of `s` seconds.
    pub const fn from_secs(s: u64) -> Self {
        Self(s * 1_000_000_000)
    }

    /// This span `factor` times.
    pub const fn times(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

/// The driver's word for the time of a step: the core has no other.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Now {
    /// The clock that never goes back: deadlines are measured on it.
    pub monotonic: Monotonic,
    /// The clock that people read: consensus timestamps derive from it.
    pub wall: Wall,
}

notation_struct!("now" => Now { monotonic, wall });
