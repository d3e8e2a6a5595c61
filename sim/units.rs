//! Seeds, spans and shards as people write them.

use std::borrow::Cow;
use std::fmt;

use crate::time::{MICROSECOND, MILLISECOND, SECOND};

/// Reads a seed: decimal or 0x hex, 64 bits.
///
/// # Errors
/// What was found and what is allowed.
pub fn parse_seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) if !hex.starts_with('+') => u64::from_str_radix(hex, 16),
        None if !text.starts_with('+') => text.parse(),
        _ => "".parse(),
    };
    parsed.map_err(|_| {
        format!("`{text}` is not a seed: decimal or 0x hex, at most 64 bits, such as 17 or 0x11")
    })
}

/// Reads a span such as `10s`, `1.5ms`, `2m`; in nanoseconds.
///
/// # Errors
/// What was found and what is allowed.
pub fn parse_span(text: &str) -> Result<u64, String> {
    let refuse =
        || format!("`{text}` is not a span: a number and ns, us, ms, s, m or h, such as 250ms or 1.5s");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refuse)?;
    let (number, unit) = text.split_at(end);
    let (_, scale) = UNITS.into_iter().find(|(word, _)| *word == unit).ok_or_else(refuse)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 || (number.contains('.') && fraction.is_empty()) {
        return Err(refuse());
    }
    let whole: u64 = whole.parse().map_err(|_| refuse())?;
    let parts: u64 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| refuse())? };
    let parts = u128::from(parts) * u128::from(scale) / 10_u128.pow(fraction.len() as u32);
    let total = u128::from(whole) * u128::from(scale) + parts;
    u64::try_from(total).map_err(|_| format!("`{text}` is longer than 64 bits of nanoseconds"))
}

/// A span as [`parse_span`] reads it, exactly.
pub fn show_span(ns: u64) -> String {
    let (word, scale) = match ns {
        0..MICROSECOND => ("ns", 1),
        MICROSECOND..MILLISECOND => ("us", MICROSECOND),
        MILLISECOND..SECOND => ("ms", MILLISECOND),
        _ => ("s", SECOND),
    };
    let digits = scale.ilog10() as usize;
    let fraction = format!("{:0digits$}", ns % scale);
    match fraction.trim_end_matches('0') {
        "" => format!("{}{word}", ns / scale),
        rest => format!("{}.{rest}{word}", ns / scale),
    }
}

/// A share of the seeds: those whose number modulo `of` is `index - 1`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shard {
    /// Which, from 1.
    pub index: u64,
    /// Of how many.
    pub of: u64,
}

impl Shard {
    /// Reads `I/N`.
    ///
    /// # Errors
    /// What was found and what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is not a shard: I/N with 1 <= I <= N, such as 2/8");
        let (index, of) = text.split_once('/').ok_or_else(refuse)?;
        let shard =
            Self { index: index.parse().map_err(|_| refuse())?, of: of.parse().map_err(|_| refuse())? };
        if shard.index == 0 || shard.index > shard.of { Err(refuse()) } else { Ok(shard) }
    }

    /// Whether the seed belongs to the share.
    pub fn takes(self, seed: u64) -> bool {
        seed % self.of == self.index - 1
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

const UNITS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", MICROSECOND),
    ("ms", MILLISECOND),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
];

/// `word` as a shell takes it for one word.
pub fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::{Shard, parse_seed, parse_span, quoted, show_span};
    use crate::time::{MILLISECOND, SECOND};

    #[test]
    fn seeds_are_decimal_or_hex() {
        assert_eq!(parse_seed("17"), Ok(17));
        assert_eq!(parse_seed("0x1F"), Ok(31));
        assert_eq!(parse_seed("0xffffffffffffffff"), Ok(u64::MAX));
        for wrong in ["", "x", "0x", "12z", "-1", "+1", "0x+1", "18446744073709551616", "1 "] {
            let error = parse_seed(wrong).expect_err(wrong);
            assert!(error.contains(&format!("`{wrong}`")), "{error}");
        }
    }

    #[test]
    fn spans_have_a_unit() {
        assert_eq!(parse_span("10s"), Ok(10 * SECOND));
        assert_eq!(parse_span("1.5ms"), Ok(1_500_000));
        assert_eq!(parse_span("2m"), Ok(120 * SECOND));
        assert_eq!(parse_span("0.000001s"), Ok(MILLISECOND / 1000));
        for wrong in ["", "10", "s", "1.s", ".5s", "1..5s", "10 s", "10d", "-1s", "99999999999h"] {
            assert!(parse_span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_span_that_is_shown_is_read_back_exactly() {
        for ns in [0, 1, 999, 1000, 1_500_000, 250 * MILLISECOND, 61_234_567_890, 3 * SECOND, u64::MAX] {
            assert_eq!(parse_span(&show_span(ns)), Ok(ns), "{}", show_span(ns));
        }
        assert_eq!(show_span(1_500_000), "1.5ms");
        assert_eq!(show_span(20 * SECOND), "20s");
    }

    #[test]
    fn shards_count_from_one_and_share_every_seed() {
        let shards: Vec<_> = (1..=3).map(|i| Shard::parse(&format!("{i}/3")).expect("a shard")).collect();
        for seed in 0..30 {
            assert_eq!(shards.iter().filter(|shard| shard.takes(seed)).count(), 1);
        }
        assert!(shards[0].takes(0) && shards[1].takes(1));
        for wrong in ["0/3", "4/3", "1", "1/0", "a/b", "1/2/3"] {
            assert!(Shard::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_word_stays_one_word_in_a_shell() {
        assert_eq!(quoted("seeds/a-b.toml"), "seeds/a-b.toml");
        assert_eq!(quoted("a b.toml"), "'a b.toml'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
