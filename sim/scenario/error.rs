//! Mistakes in a file, with their place.

use std::ops::Range;

/// A mistake, and where it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Located {
    span: Option<Range<usize>>,
    what: String,
}

impl Located {
    pub(crate) fn at(span: Range<usize>, what: String) -> Self {
        Self { span: Some(span), what }
    }

    pub(crate) fn nowhere(what: String) -> Self {
        Self { span: None, what }
    }

    /// A mistake of the syntax or of the shape, with a hint when an unknown word is close to a known one.
    pub(crate) fn of_toml(error: &toml::de::Error) -> Self {
        let message = error.message();
        let what = match near_miss(message) {
            Some(known) => format!("{message}; did you mean `{known}`?"),
            None => message.to_owned(),
        };
        Self { span: error.span(), what }
    }

    /// `FILE:LINE:COLUMN: what`, then the line and a caret.
    pub(crate) fn show(&self, file: &str, text: &str) -> String {
        let Some(span) = &self.span else { return format!("{file}: {}", self.what) };
        let start = span.start.min(text.len());
        let before = text.get(..start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before[line_start..].chars().count() + 1;
        let shown = text[line_start..].lines().next().unwrap_or("");
        format!("{file}:{line}:{column}: {}\n  {shown}\n  {:>column$}", self.what, "^")
    }
}

/// The known word closest to an unknown one, from the message that lists them.
fn near_miss(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field ").or_else(|| message.strip_prefix("unknown variant "))?;
    let mut words = rest.split('`').skip(1).step_by(2);
    let unknown = words.next()?;
    words
        .map(|known| (distance(unknown, known), known))
        .min()
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(1))
        .map(|(_, known)| known.to_owned())
}

/// How many letters must be put, dropped or changed (Levenshtein 1966).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, near_miss};

    #[test]
    fn letters_are_counted() {
        assert_eq!(distance("nods", "nodes"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "ab"), 2);
    }

    #[test]
    fn a_hint_is_given_for_near_misses_only() {
        let message = "unknown field `nods`, expected one of `nodes`, `atomic_unit`";
        assert_eq!(near_miss(message).as_deref(), Some("nodes"));
        assert_eq!(near_miss("unknown field `zzz`, expected `nodes` or `wires`"), None);
        assert_eq!(near_miss("invalid type"), None);
    }
}
