//! Just enough of Rust's lexical structure to find paths: identifiers and punctuation, without comments, strings,
//! characters and lifetimes, and without what only tests compile.

/// A word or a single character of punctuation (`::` is one token), and the line it stands on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

impl Token {
    pub fn is(&self, text: &str) -> bool {
        self.text == text
    }

    pub fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// The tokens of `source`.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: source.chars().collect(), at: 0, line: 1, tokens: Vec::new() };
    while lexer.at < lexer.rest.len() {
        lexer.next();
    }
    lexer.tokens
}

/// `tokens` without the items under `#[cfg(test)]`.
pub fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if starts_with(&tokens[at..], &["#", "[", "cfg", "(", "test", ")", "]"]) {
            at = end_of_item(tokens, at + 7);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

pub fn starts_with(tokens: &[Token], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(token, text)| token.is(text))
}

/// The place after the item that begins at `at`: after its first `;` or `{...}` outside parentheses and brackets.
fn end_of_item(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut braces = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.text.as_str() {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "{" => braces += 1,
            "}" => {
                braces = braces.saturating_sub(1);
                if braces == 0 && depth == 0 {
                    return index + 1;
                }
            }
            ";" if braces == 0 && depth == 0 => return index + 1,
            _ => {}
        }
    }
    tokens.len()
}

struct Lexer {
    rest: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.rest.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            if self.peek(0) == '\n' {
                self.line += 1;
            }
            self.at += 1;
        }
    }

    fn next(&mut self) {
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => self.skip_until(|lexer| lexer.peek(0) == '\n'),
            ('/', '*') => self.block_comment(),
            ('"', _) => self.string(),
            ('\'', _) => self.character_or_lifetime(),
            (':', ':') => self.push("::".to_owned(), 2),
            (c, _) if c.is_whitespace() => self.skip(1),
            (c, _) if c.is_alphanumeric() || c == '_' => self.word(),
            (c, _) => self.push(c.to_string(), 1),
        }
    }

    fn push(&mut self, text: String, chars: usize) {
        self.tokens.push(Token { text, line: self.line });
        self.skip(chars);
    }

    fn skip_until(&mut self, done: impl Fn(&Self) -> bool) {
        while self.at < self.rest.len() && !done(self) {
            self.skip(1);
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while self.at < self.rest.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => {
                    depth += 1;
                    self.skip(2);
                }
                ('*', '/') => {
                    depth -= 1;
                    self.skip(2);
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.skip(1),
            }
        }
    }

    fn string(&mut self) {
        self.skip(1);
        while self.at < self.rest.len() && self.peek(0) != '"' {
            self.skip(if self.peek(0) == '\\' { 2 } else { 1 });
        }
        self.skip(1);
    }

    /// `'a'`, `'\n'` and `'{'` are characters; `'a` is a lifetime.
    fn character_or_lifetime(&mut self) {
        if self.peek(1) == '\\' {
            self.skip(3);
            self.skip_until(|lexer| lexer.peek(0) == '\'');
            self.skip(1);
        } else if self.peek(2) == '\'' {
            self.skip(3);
        } else {
            self.skip(1);
            self.skip_until(|lexer| !lexer.peek(0).is_alphanumeric() && lexer.peek(0) != '_');
        }
    }

    fn word(&mut self) {
        let begin = self.at;
        let line = self.line;
        self.skip_until(|lexer| !lexer.peek(0).is_alphanumeric() && lexer.peek(0) != '_');
        let text: String = self.rest[begin..self.at].iter().collect();
        let raw = matches!(text.as_str(), "r" | "br" | "cr");
        if raw && matches!(self.peek(0), '"' | '#') {
            return self.raw_string_or_identifier();
        }
        if matches!(text.as_str(), "b" | "c") && matches!(self.peek(0), '"' | '\'') {
            return;
        }
        self.tokens.push(Token { text, line });
    }

    /// After the `r` of `r"..."`, `r#"..."#` or `r#type`.
    fn raw_string_or_identifier(&mut self) {
        let mut hashes = 0;
        while self.peek(hashes) == '#' {
            hashes += 1;
        }
        if self.peek(hashes) != '"' {
            self.skip(hashes);
            return self.word();
        }
        self.skip(hashes + 1);
        self.skip_until(|lexer| lexer.peek(0) == '"' && (1..=hashes).all(|n| lexer.peek(n) == '#'));
        self.skip(hashes + 1);
    }
}
