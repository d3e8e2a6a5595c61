//! The one notation: the text of inputs, effects and messages, in unit tests, transcripts and traces.
//!
//! ```text
//! number   12            hash    64 hex digits         bytes   "text" or x"6869"
//! list     [a b c]       none    -                     unit    timeout
//! record   prepare-ok{view=3 from=5 to=7 hash=…}       wrapped message(…)
//! ```
//!
//! What [`Notation::show`] writes, [`Notation::scan`] reads back to an equal value. `notation_enum!` and
//! `notation_struct!` derive both, and `Display` and `FromStr` on top of them.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// A type with a text that can be read back.
pub trait Notation: Sized {
    /// Writes the text.
    ///
    /// # Errors
    /// Only the formatter's own.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// Reads the text back.
    ///
    /// # Errors
    /// [`NotationError`] naming the column and what was expected there.
    fn scan(scanner: &mut Scanner<'_>) -> Result<Self, NotationError>;
}

/// What was wrong with a text, and where.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("column {column}: expected {expected}, found {found:?}")]
pub struct NotationError {
    /// Column, counted from 1 in bytes.
    pub column: usize,
    /// What is allowed there.
    pub expected: String,
    /// The beginning of what stands there.
    pub found: String,
}

/// Reads a text from left to right.
#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    whole: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner at the start of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { whole: text, at: 0 }
    }

    /// The text not read yet.
    pub fn rest(&self) -> &'a str {
        &self.whole[self.at..]
    }

    /// An error at the present column.
    pub fn error(&self, expected: impl ToString) -> NotationError {
        let found = self.rest().chars().take(24).collect();
        NotationError { column: self.at + 1, expected: expected.to_string(), found }
    }

    /// Reads `literal` if it stands here.
    pub fn eat(&mut self, literal: &str) -> bool {
        let found = self.rest().starts_with(literal);
        if found {
            self.at += literal.len();
        }
        found
    }

    /// Reads `literal`.
    ///
    /// # Errors
    /// When something else stands here.
    pub fn expect(&mut self, literal: &str) -> Result<(), NotationError> {
        if self.eat(literal) { Ok(()) } else { Err(self.error(literal)) }
    }

    /// Reads the longest run of characters that `keep` accepts.
    pub fn run(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !keep(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Reads a word of lower-case letters, digits and hyphens.
    pub fn word(&mut self) -> &'a str {
        self.run(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    }

    /// Reads ` name=value` inside a record; the first field has no space before it.
    ///
    /// # Errors
    /// When another field or a malformed value stands here.
    pub fn field<T: Notation>(&mut self, name: &str) -> Result<T, NotationError> {
        self.eat(" ");
        self.expect(name)?;
        self.expect("=")?;
        T::scan(self)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// When text is left.
    pub fn finish(&self) -> Result<(), NotationError> {
        if self.rest().is_empty() { Ok(()) } else { Err(self.error("the end")) }
    }
}

/// Reads all of `text` as one value.
///
/// # Errors
/// [`NotationError`] naming the column and what was expected there.
pub fn parse<T: Notation>(text: &str) -> Result<T, NotationError> {
    let mut scanner = Scanner::new(text);
    let value = T::scan(&mut scanner)?;
    scanner.finish()?;
    Ok(value)
}

macro_rules! notation_integers {
    ($($type:ty),*) => {$(
        impl Notation for $type {
            fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
            fn scan(scanner: &mut Scanner<'_>) -> Result<Self, NotationError> {
                let here = scanner.clone();
                let digits = scanner.run(|c| c.is_ascii_digit() || c == '-');
                digits.parse().map_err(|_| here.error(concat!("a number (", stringify!($type), ")")))
            }
        }
    )*};
}

notation_integers!(u8, u16, u32, u64, u128, i64);

impl Notation for bool {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self { "yes" } else { "no" })
    }
    fn scan(scanner: &mut Scanner<'_>) -> Result<Self, NotationError> {
        if scanner.eat("yes") {
            Ok(true)
        } else if scanner.eat("no") {
            Ok(false)
        } else {
            Err(scanner.error("yes or no"))
        }
    }
}

impl<T: Notation> Notation for Option<T> {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Some(value) => value.show(f),
            None => f.write_str("-"),
        }
    }
    fn scan(scanner: &mut Scanner<'_>) -> Result<Self, NotationError> {
        if scanner.eat("-") { Ok(None) } else { T::scan(scanner).map(Some) }
    }
}

impl<T: Notation> Notation for Vec<T> {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, item) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            item.show(f)?;
        }
        f.write_str("]")
    }
    fn scan(scanner: &mut Scanner<'_>) -> Result<Self, NotationError> {
        scanner.expect("[")?;
        let mut items = Vec::new();
        while !scanner.eat("]") {
            if !items.is_empty() {
                scanner.expect(" ")?;
            }
            items.push(T::scan(scanner)?);
        }
        Ok(items)
    }
}

impl Notation for String {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_bytes(self.as_bytes(), f)
    }
    fn scan(scanner: &mut Scanner<'_>) -> Result<Self, NotationError> {
        let here = scanner.clone();
        String::from_utf8(scan_bytes(scanner)?).map_err(|_| here.error("UTF-8 text"))
    }
}

/// Writes bytes as `"text"` when they are plain printable ASCII, else as `x"hex"`.
///
/// # Errors
/// Only the formatter's own.
pub fn show_bytes(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let plain = |b: &u8| (b.is_ascii_graphic() || *b == b' ') && *b != b'"';
    if bytes.iter().all(plain) {
        f.write_str("\"")?;
        for byte in bytes {
            fmt::Write::write_char(f, char::from(*byte))?;
        }
    } else {
        f.write_str("x\"")?;
        for byte in bytes {
            write!(f, "{byte:02x}")?;
        }
    }
    f.write_str("\"")
}

/// Reads what [`show_bytes`] writes.
///
/// # Errors
/// When neither form stands here.
pub fn scan_bytes(scanner: &mut Scanner<'_>) -> Result<Vec<u8>, NotationError> {
    if scanner.eat("x\"") {
        let here = scanner.clone();
        let bytes = from_hex(scanner.run(|c| c.is_ascii_hexdigit()));
        scanner.expect("\"")?;
        return bytes.ok_or_else(|| here.error("pairs of hex digits"));
    }
    scanner.expect("\"")?;
    let text = scanner.run(|c| c != '"');
    scanner.expect("\"")?;
    Ok(text.as_bytes().to_vec())
}

/// The bytes of pairs of hex digits.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks_exact(2).map(|pair| u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// Gives a type with [`Notation`] its `Display` and `FromStr`.
#[macro_export]
macro_rules! notation_text {
    ($type:ty) => {
        impl core::fmt::Display for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                $crate::types::Notation::show(self, f)
            }
        }
        impl core::str::FromStr for $type {
            type Err = $crate::types::NotationError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::types::notation::parse(text)
            }
        }
    };
}

/// Gives a wrapper of one value the notation of that value.
#[macro_export]
macro_rules! notation_newtype {
    ($type:ident) => {
        impl $crate::types::Notation for $type {
            fn show(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                $crate::types::Notation::show(&self.0, f)
            }
            fn scan(scanner: &mut $crate::types::Scanner<'_>) -> Result<Self, $crate::types::NotationError> {
                $crate::types::Notation::scan(scanner).map(Self)
            }
        }
    };
}

/// Derives the notation of an enum whose variants are units, records or wrappers of one value.
#[macro_export]
macro_rules! notation_enum {
    ($type:ident { $($word:literal => $variant:ident $({ $($field:ident),* $(,)? })? $(( $inner:ident ))?),+ $(,)? }) => {
        impl $crate::types::Notation for $type {
            fn show(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self {
                    $(Self::$variant $({ $($field),* })? $(($inner))? => {
                        f.write_str($word)?;
                        $($crate::notation_fields!(f, $($field),*);)?
                        $(f.write_str("(")?;
                        $crate::types::Notation::show($inner, f)?;
                        f.write_str(")")?;)?
                        Ok(())
                    })+
                }
            }
            fn scan(scanner: &mut $crate::types::Scanner<'_>) -> Result<Self, $crate::types::NotationError> {
                let here = scanner.clone();
                match scanner.word() {
                    $($word => {
                        $(scanner.expect("{")?;
                        $(let $field = scanner.field(stringify!($field))?;)*
                        scanner.expect("}")?;)?
                        $(scanner.expect("(")?;
                        let $inner = $crate::types::Notation::scan(scanner)?;
                        scanner.expect(")")?;)?
                        Ok(Self::$variant $({ $($field),* })? $(($inner))?)
                    })+
                    _ => Err(here.error(concat!("one of", $(" ", $word),+))),
                }
            }
        }
        $crate::notation_text!($type);
    };
}

/// Derives the notation of a struct with named fields: `word{a=1 b=2}`.
#[macro_export]
macro_rules! notation_struct {
    ($word:literal => $type:ident { $($field:ident),* $(,)? }) => {
        impl $crate::types::Notation for $type {
            fn show(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                let Self { $($field),* } = self;
                f.write_str($word)?;
                $crate::notation_fields!(f, $($field),*);
                Ok(())
            }
            fn scan(scanner: &mut $crate::types::Scanner<'_>) -> Result<Self, $crate::types::NotationError> {
                scanner.expect($word)?;
                scanner.expect("{")?;
                $(let $field = scanner.field(stringify!($field))?;)*
                scanner.expect("}")?;
                Ok(Self { $($field),* })
            }
        }
        $crate::notation_text!($type);
    };
}

/// Writes `{a=1 b=2}` from fields that are in scope as references.
#[macro_export]
#[doc(hidden)]
macro_rules! notation_fields {
    ($f:ident, $($field:ident),*) => {{
        let mut separator = "{";
        $(
            $f.write_str(separator)?;
            $f.write_str(stringify!($field))?;
            $f.write_str("=")?;
            $crate::types::Notation::show($field, $f)?;
            separator = " ";
        )*
        let _ = separator;
        $f.write_str("}")?;
    }};
}
