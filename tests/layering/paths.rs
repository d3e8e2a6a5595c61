//! The paths of a source file that leave its module: `crate::…` and `super::…`, in `use` trees or inline, each
//! resolved to the names below the crate's root.

use crate::tokens::{Token, starts_with};

/// A path that a file names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Path {
    /// The module that names it, below the crate's root: `["types", "entry"]`.
    pub from: Vec<String>,
    /// What it names, below the crate's root; `*` for a glob.
    pub to: Vec<String>,
    /// Whether it is a macro, called in place.
    pub is_macro: bool,
    /// The line it stands on.
    pub line: usize,
}

/// The paths in `tokens`, the source of the module `module`.
pub fn paths(module: &[String], tokens: &[Token]) -> Vec<Path> {
    let mut found = Vec::new();
    let mut inside = Inside { file: module, inline: Vec::new(), braces: 0 };
    let mut at = 0;
    while at < tokens.len() {
        inside.see(tokens, at);
        let token = &tokens[at];
        let macro_root = at > 0 && tokens[at - 1].is("$");
        let continues = at > 0 && tokens[at - 1].is("::");
        let rooted = token.is("crate") || token.is("super") || token.is("self");
        let is_path = tokens.get(at + 1).is_some_and(|next| next.is("::"));
        if rooted && is_path && !macro_root && !continues {
            let base = inside.module();
            at = tree(&base, base.clone(), tokens, at, &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Where in the tree of inline modules the reader is.
struct Inside<'a> {
    file: &'a [String],
    inline: Vec<(String, usize)>,
    braces: usize,
}

impl Inside<'_> {
    fn see(&mut self, tokens: &[Token], at: usize) {
        match tokens[at].text.as_str() {
            "mod" if tokens.get(at + 2).is_some_and(|next| next.is("{")) => {
                self.inline.push((tokens[at + 1].text.clone(), self.braces));
            }
            "{" => self.braces += 1,
            "}" => {
                self.braces = self.braces.saturating_sub(1);
                if self.inline.last().is_some_and(|(_, depth)| *depth == self.braces) {
                    self.inline.pop();
                }
            }
            _ => {}
        }
    }

    fn module(&self) -> Vec<String> {
        let inline = self.inline.iter().map(|(name, _)| name.clone());
        self.file.iter().cloned().chain(inline).collect()
    }
}

/// Reads one path or `use` tree that starts at `at` and hangs below `prefix`; the place after it.
fn tree(from: &[String], prefix: Vec<String>, tokens: &[Token], at: usize, found: &mut Vec<Path>) -> usize {
    let mut to = prefix;
    let mut at = at;
    let line = tokens[at].line;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "crate" => to.clear(),
            "self" => {}
            "super" => {
                to.pop();
            }
            "*" => to.push("*".to_owned()),
            "{" => return group(from, &to, tokens, at + 1, found),
            // Generic arguments after `::<` hold paths of their own; the reader goes on inside them.
            _ if !token.is_word() => break,
            name => to.push(name.to_owned()),
        }
        at += 1;
        if !starts_with(&tokens[at.min(tokens.len())..], &["::"]) {
            break;
        }
        at += 1;
    }
    let is_macro = starts_with(&tokens[at.min(tokens.len())..], &["!"]);
    found.push(Path { from: from.to_vec(), to, is_macro, line });
    at
}

/// Reads the members of `{a, b::c, d as e}` after its opening brace; the place after its closing one.
fn group(from: &[String], prefix: &[String], tokens: &[Token], at: usize, found: &mut Vec<Path>) -> usize {
    let mut at = at;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "}" => return at + 1,
            "as" => at += 2,
            _ if token.is_word() || token.is("{") || token.is("*") => {
                at = tree(from, prefix.to_vec(), tokens, at, found);
            }
            _ => at += 1,
        }
    }
    at
}
