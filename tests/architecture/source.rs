//! Just enough of Rust's grammar to find paths and functions in a source file.

use std::collections::BTreeSet;
use std::path;

/// A file of the repository.
pub struct Source {
    /// Its path from the root of the repository, with `/`.
    pub name: String,
    lines: usize,
    tokens: Vec<Token>,
}

/// A path in the code, grouped imports expanded.
#[derive(Debug)]
pub struct Path {
    pub line: usize,
    pub parts: Vec<String>,
}

/// A function with a body.
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct Token {
    line: usize,
    text: String,
}

/// All files below a folder, without those that only tests see.
pub fn read_all(folder: &str) -> Vec<Source> {
    let root = path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = Vec::new();
    collect(&root.join(folder), &mut names);
    names.sort();
    let texts: Vec<(String, String)> = names
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (
                path.strip_prefix(root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .replace('\\', "/"),
                text,
            )
        })
        .collect();
    let hidden: BTreeSet<String> = texts
        .iter()
        .flat_map(|(name, text)| test_modules(name, text))
        .collect();
    let is_hidden = |name: &str| {
        let stem = name.trim_end_matches(".rs").trim_end_matches("/mod");
        hidden
            .iter()
            .any(|module| stem == module || name.starts_with(&format!("{module}/")))
    };
    let read = texts.iter().map(|(name, text)| match folder {
        // What only tests see may import as it likes; its size counts like any other's.
        "src" if is_hidden(name) => Source {
            tokens: Vec::new(),
            ..Source::new(name, text)
        },
        _ => Source::new(name, text),
    });
    read.collect()
}

fn collect(folder: &path::Path, names: &mut Vec<path::PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            names.push(path);
        }
    }
}

/// The files' stems of modules declared under `#[cfg(test)]`.
fn test_modules(name: &str, text: &str) -> Vec<String> {
    let folder = match name.trim_end_matches(".rs") {
        stem if stem.ends_with("/mod") || stem.ends_with("/lib") || stem.ends_with("/main") => {
            stem.rsplit_once('/').unwrap().0
        }
        stem => stem,
    };
    let tokens = tokens(text);
    let texts: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
    let marks = texts
        .windows(10)
        .filter(|w| w.starts_with(&["#", "[", "cfg", "(", "test", ")", "]", "mod"]));
    marks
        .filter(|w| w[9] == ";")
        .map(|w| format!("{folder}/{}", w[8]))
        .collect()
}

impl Source {
    pub fn new(name: &str, text: &str) -> Source {
        Source {
            name: name.into(),
            lines: text.lines().count(),
            tokens: without_tests(tokens(text)),
        }
    }

    pub fn lines(&self) -> usize {
        self.lines
    }

    /// The room: the folder below `src/`.
    pub fn room(&self) -> Option<&str> {
        let below = self.name.strip_prefix("src/")?;
        below.split_once('/').map(|(room, _)| room)
    }

    pub fn is_io(&self) -> bool {
        self.name
            .split('/')
            .skip(2)
            .any(|part| part == "io.rs" || part == "io")
    }

    /// Whether it is compiled for tests only; those may touch what they need.
    pub fn is_test(&self) -> bool {
        self.name
            .split('/')
            .skip(2)
            .any(|part| matches!(part, "tests" | "tests.rs" | "model_tests" | "model_tests.rs"))
    }

    /// Whether it belongs to the binary, which names the rooms `syncer::room`.
    pub fn in_binary(&self) -> bool {
        self.name == "src/main.rs" || self.room() == Some("cli")
    }

    /// How many modules deep its items are: a room's own `mod.rs` is 1.
    pub fn depth(&self) -> usize {
        let parts = self.name.trim_end_matches(".rs").trim_end_matches("/mod");
        parts.split('/').count() - 1
    }

    /// Every path of at least two parts.
    pub fn paths(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            if is_name(&self.tokens[at].text) {
                at = self.path(at, &[], &mut paths);
            } else {
                at += 1;
            }
        }
        paths.retain(|path| path.parts.len() > 1);
        paths
    }

    /// Reads one path, from a name on, and answers where it ends.
    fn path(&self, mut at: usize, before: &[String], paths: &mut Vec<Path>) -> usize {
        let line = self.tokens[at].line;
        let mut parts = before.to_vec();
        loop {
            parts.push(self.tokens[at].text.clone());
            at += 1;
            if self.text(at) != "::" {
                break;
            }
            at += 1;
            match self.text(at) {
                "{" => return self.group(at + 1, &parts, paths),
                text if is_name(text) => {}
                _ => break,
            }
        }
        paths.push(Path { line, parts });
        at
    }

    fn group(&self, mut at: usize, before: &[String], paths: &mut Vec<Path>) -> usize {
        while !matches!(self.text(at), "}" | "") {
            if is_name(self.text(at)) {
                at = self.path(at, before, paths);
            } else {
                at += 1;
            }
            if self.text(at) == "as" {
                at += 2;
            }
        }
        at + 1
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text.as_str())
    }

    /// Every function with a body.
    pub fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        for at in 0..self.tokens.len() {
            if self.text(at) != "fn" || !is_name(self.text(at + 1)) {
                continue;
            }
            let body = (at..self.tokens.len()).find(|&at| matches!(self.text(at), "{" | ";"));
            let Some(open) = body.filter(|&at| self.text(at) == "{") else {
                continue;
            };
            let line = self.tokens[at].line;
            let last = close(&self.tokens, open).map_or(line, |at| self.tokens[at].line);
            functions.push(Function {
                name: self.text(at + 1).into(),
                line,
                lines: last + 1 - line,
            });
        }
        functions
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The brace that closes the one at `open`.
fn close(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => return Some(at),
            "}" => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Leaves out every item under `#[cfg(test)]`.
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let mark = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let marked = mark
            .iter()
            .enumerate()
            .all(|(i, word)| tokens.get(at + i).is_some_and(|t| t.text == *word));
        if !marked {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let end = (at + mark.len()..tokens.len()).find(|&at| matches!(tokens[at].text.as_str(), "{" | ";"));
        at = match end {
            Some(open) if tokens[open].text == "{" => close(&tokens, open).map_or(tokens.len(), |at| at + 1),
            Some(semicolon) => semicolon + 1,
            None => tokens.len(),
        };
    }
    kept
}

/// Names, `::` and single signs; no comments, texts, characters or lifetimes.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let get = |at: usize| chars.get(at).copied().unwrap_or('\0');
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let start = at;
        match (get(at), get(at + 1)) {
            ('/', '/') => at = skip(&chars, at, |c| c != '\n'),
            ('/', '*') => at = comment_end(&chars, at),
            ('"', _) => at = text_end(&chars, at),
            ('b' | 'c', '"') => at = text_end(&chars, at + 1),
            ('r', '"' | '#') if raw_end(&chars, at).is_some() => at = raw_end(&chars, at).unwrap(),
            ('b', 'r') if raw_end(&chars, at + 1).is_some() => at = raw_end(&chars, at + 1).unwrap(),
            ('\'', next) if next == '\\' || get(at + 2) == '\'' => {
                at += if next == '\\' { 3 } else { 2 };
                at = skip(&chars, at, |c| c != '\'') + 1;
            }
            (':', ':') => {
                tokens.push(Token {
                    line,
                    text: "::".into(),
                });
                at += 2;
            }
            (c, _) if c.is_alphanumeric() || c == '_' => {
                at = skip(&chars, at, |c| c.is_alphanumeric() || c == '_');
                tokens.push(Token {
                    line,
                    text: chars[start..at].iter().collect(),
                });
            }
            (c, _) => {
                if !c.is_whitespace() {
                    tokens.push(Token { line, text: c.into() });
                }
                at += 1;
            }
        }
        line += chars[start..at.min(chars.len())]
            .iter()
            .filter(|c| **c == '\n')
            .count();
    }
    tokens
}

fn skip(chars: &[char], at: usize, keep: impl Fn(char) -> bool) -> usize {
    chars[at.min(chars.len())..]
        .iter()
        .position(|c| !keep(*c))
        .map_or(chars.len(), |more| at + more)
}

fn comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0usize;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') if depth == 1 => return at + 2,
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    chars.len()
}

fn text_end(chars: &[char], open: usize) -> usize {
    let mut at = open + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The end of a raw text that begins with the `r` at `at`, if one does.
fn raw_end(chars: &[char], at: usize) -> Option<usize> {
    let open = skip(chars, at + 1, |c| c == '#');
    let hashes = open - at - 1;
    (chars.get(open) == Some(&'"')).then_some(())?;
    let mut at = open + 1;
    while at < chars.len() {
        let closes = chars[at] == '"' && chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
        if closes {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(chars.len())
}
