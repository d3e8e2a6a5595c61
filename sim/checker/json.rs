//! One line of JSON, read into a [`Value`], with the column of whatever is wrong.

use std::collections::BTreeMap;

use super::value::Value;

/// What is wrong with a line, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JsonError {
    /// Column, counted from 1 in characters.
    pub column: usize,
    /// What is wrong.
    pub what: String,
}

/// An object's members with the column of each value, so that a complaint about one can say where it is.
pub type Members = BTreeMap<String, (usize, Value)>;

/// Reads `line` as one object.
///
/// # Errors
/// [`JsonError`] when it is not exactly one JSON object.
pub fn parse_object(line: &str) -> Result<Members, JsonError> {
    let mut reader = Reader { chars: line.chars().collect(), at: 0 };
    reader.skip_space();
    let members = reader.members(0)?;
    reader.skip_space();
    if reader.at < reader.chars.len() { Err(reader.error("text after the object")) } else { Ok(members) }
}

struct Reader {
    chars: Vec<char>,
    at: usize,
}

impl Reader {
    fn error(&self, what: &str) -> JsonError {
        JsonError { column: self.at + 1, what: what.to_owned() }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, c: char) -> Result<(), JsonError> {
        if self.eat(c) { Ok(()) } else { Err(self.error(&format!("expected `{c}`"))) }
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|c| c.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, JsonError> {
        if depth > DEPTH_MAX {
            return Err(self.error(&format!("more than {DEPTH_MAX} levels of lists and objects")));
        }
        match self.peek() {
            Some('{') => {
                let members = self.members(depth)?;
                Ok(Value::Map(members.into_iter().map(|(key, (_, value))| (key, value)).collect()))
            }
            Some('[') => self.list(depth),
            Some('"') => Ok(Value::Text(self.text()?)),
            Some('-' | '0'..='9') => self.number(),
            _ => self.word(),
        }
    }

    fn members(&mut self, depth: usize) -> Result<Members, JsonError> {
        self.expect('{')?;
        let mut members = Members::new();
        self.skip_space();
        while !self.eat('}') {
            if !members.is_empty() {
                self.expect(',')?;
                self.skip_space();
            }
            let here = self.error("this key is there twice");
            let key = self.text()?;
            self.skip_space();
            self.expect(':')?;
            self.skip_space();
            let column = self.at + 1;
            let value = self.value(depth + 1)?;
            if members.insert(key, (column, value)).is_some() {
                return Err(here);
            }
            self.skip_space();
        }
        Ok(members)
    }

    fn list(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.expect('[')?;
        let mut members = Vec::new();
        self.skip_space();
        while !self.eat(']') {
            if !members.is_empty() {
                self.expect(',')?;
                self.skip_space();
            }
            members.push(self.value(depth + 1)?);
            self.skip_space();
        }
        Ok(Value::List(members))
    }

    fn text(&mut self) -> Result<String, JsonError> {
        self.expect('"')?;
        let mut text = String::new();
        loop {
            match self.peek() {
                None => return Err(self.error("the text does not end")),
                Some('"') => break,
                Some('\\') => text.push(self.escaped()?),
                Some(c) if c.is_control() => return Err(self.error("a control character inside text")),
                Some(c) => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        Ok(text)
    }

    fn escaped(&mut self) -> Result<char, JsonError> {
        self.at += 1;
        let c = match self.peek() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('u') => return self.unicode(),
            _ => return Err(self.error("an unknown escape")),
        };
        self.at += 1;
        Ok(c)
    }

    /// A `u` and four hex digits, or two of these with a backslash between for a character beyond 16 bits.
    fn unicode(&mut self) -> Result<char, JsonError> {
        let here = self.error("four hex digits that name a character belong here");
        let first = self.four_digits().ok_or_else(|| here.clone())?;
        let code = if (0xd800..0xdc00).contains(&first) {
            let low = (self.eat('\\') && self.peek() == Some('u')).then(|| self.four_digits()).flatten();
            let low = low.and_then(|low| low.checked_sub(0xdc00)).ok_or_else(|| here.clone())?;
            0x10000 + (first - 0xd800) * 0x400 + low
        } else {
            first
        };
        char::from_u32(code).ok_or(here)
    }

    fn four_digits(&mut self) -> Option<u32> {
        let digits: String = self.chars.get(self.at + 1..self.at + 5)?.iter().collect();
        self.at += 5;
        digits.chars().all(|c| c.is_ascii_hexdigit()).then(|| u32::from_str_radix(&digits, 16).ok()).flatten()
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let here = self.error("a whole number of 64 bits belongs here");
        let begin = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E')) {
            self.at += 1;
        }
        let digits: String = self.chars[begin..self.at].iter().collect();
        digits.parse().map(Value::Int).map_err(|_| here)
    }

    fn word(&mut self) -> Result<Value, JsonError> {
        let here = self.error("a value belongs here");
        let begin = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_alphabetic()) {
            self.at += 1;
        }
        let word: String = self.chars[begin..self.at].iter().collect();
        match word.as_str() {
            "null" => Ok(Value::Null),
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(here),
        }
    }
}

/// Lists and objects within each other, at most: a reader that calls itself must know an end.
const DEPTH_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::{JsonError, parse_object};
    use crate::checker::value::Value;

    #[test]
    fn every_kind_of_value_is_read() {
        let line = r#" {"a":[1,-2,[]], "b": {"c":null,"d":true}, "e":"x\"\\\u00e9\ud83d\ude00\n"} "#;
        let members = parse_object(line).expect("this is JSON");
        assert_eq!(members["a"], (7, Value::from(vec![1.into(), (-2).into(), Value::List(vec![])])));
        assert_eq!(members["b"].1.to_string(), r#"{"c":null,"d":true}"#);
        assert_eq!(members["e"].1, Value::from("x\"\\é😀\n"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_column() {
        let cases = [
            ("", 1, "expected `{`"),
            ("[1]", 1, "expected `{`"),
            ("{\"a\":}", 6, "a value belongs here"),
            ("{\"a\":1.5}", 6, "a whole number of 64 bits belongs here"),
            ("{\"a\":99999999999999999999}", 6, "a whole number of 64 bits belongs here"),
            ("{\"a\":1 \"b\":2}", 8, "expected `,`"),
            ("{\"a\":1,\"a\":2}", 8, "this key is there twice"),
            ("{\"a\":\"x", 8, "the text does not end"),
            ("{\"a\":\"\\q\"}", 8, "an unknown escape"),
            ("{\"a\":\"\\ud800\"}", 8, "four hex digits that name a character belong here"),
            ("{} x", 4, "text after the object"),
        ];
        for (line, column, what) in cases {
            assert_eq!(parse_object(line), Err(JsonError { column, what: what.to_owned() }), "{line}");
        }
        let deep = format!("{{\"a\":{}", "[".repeat(1000));
        assert!(parse_object(&deep).is_err_and(|error| error.what.contains("levels")));
    }
}
