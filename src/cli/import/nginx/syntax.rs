//! nginx's file format: directives, blocks, quotes, comments, and `include`.
//!
//! Written by hand: the crates for it are unmaintained, and the format is four rules. Files, depth and size are bounded.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::cli::import::plan::Place;

/// Files that one import may read.
const FILES: usize = 1000;
/// Blocks within blocks, includes among them.
const DEPTH: usize = 32;
/// Bytes of one file.
const FILE_BYTES: u64 = 4 * 1024 * 1024;

/// A directive: its words, and its block where it has one.
#[derive(Clone, Debug)]
pub(super) struct Directive {
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) arguments: Vec<String>,
    pub(super) block: Option<Vec<Self>>,
}

impl Directive {
    /// The words in one line.
    pub(super) fn text(&self) -> String {
        let mut words = vec![self.name.clone()];
        words.extend(self.arguments.iter().cloned());
        words.join(" ")
    }

    /// The first argument, or nothing.
    pub(super) fn first(&self) -> &str {
        self.arguments.first().map_or("", String::as_str)
    }

    /// The directives of its block.
    pub(super) fn children(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Open,
    Close,
    End,
}

/// Reads the file at `path` and everything that it includes.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Directive>> {
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    Reader { folder, files: 0 }.file(path, 0)
}

struct Reader {
    /// What relative includes are relative to: the main file's folder, as nginx has it.
    folder: PathBuf,
    files: usize,
}

impl Reader {
    fn file(&mut self, path: &Path, depth: usize) -> anyhow::Result<Vec<Directive>> {
        self.files += 1;
        if self.files > FILES || depth > DEPTH {
            bail!("{}: more than {FILES} files, or {DEPTH} within each other, are included", path.display());
        }
        let size = fs_err::metadata(path)?.len();
        if size > FILE_BYTES {
            bail!("{}: {size} bytes; at most {FILE_BYTES} are read", path.display());
        }
        let text = fs_err::read_to_string(path)?;
        let tokens = tokens(&text, &path.display().to_string())?;
        let mut position = 0;
        let directives = self.block(&tokens, &mut position, depth)?;
        if let Some((_, place)) = tokens.get(position) {
            bail!("{place}: `}}` closes no block");
        }
        Ok(directives)
    }

    /// Directives up to the end of the block, or of the file.
    fn block(
        &mut self,
        tokens: &[(Token, Place)],
        position: &mut usize,
        depth: usize,
    ) -> anyhow::Result<Vec<Directive>> {
        if depth > DEPTH {
            bail!("blocks are nested more than {DEPTH} deep");
        }
        let mut directives = Vec::new();
        let mut words: Vec<String> = Vec::new();
        let mut began: Option<&Place> = None;
        while let Some((token, place)) = tokens.get(*position) {
            if *token == Token::Close && words.is_empty() {
                break;
            }
            *position += 1;
            let block = match token {
                Token::Word(word) => {
                    began.get_or_insert(place);
                    words.push(word.clone());
                    continue;
                }
                Token::Close => bail!("{place}: `}}` where `;` is missing after {words:?}"),
                Token::End => None,
                Token::Open => {
                    let inner = self.block(tokens, position, depth + 1)?;
                    if tokens.get(*position).is_none() {
                        bail!("{place}: the block is not closed");
                    }
                    *position += 1;
                    Some(inner)
                }
            };
            if words.is_empty() {
                began = None;
                continue;
            }
            let name = words.remove(0);
            let place = began.take().unwrap_or(place).clone();
            let directive = Directive { place, name, arguments: std::mem::take(&mut words), block };
            if directive.name == "include" {
                directives.extend(self.include(&directive, depth)?);
            } else {
                directives.push(directive);
            }
        }
        if let (Some(place), false) = (began, words.is_empty()) {
            bail!("{place}: {words:?} is not ended by `;`");
        }
        Ok(directives)
    }

    fn include(&mut self, directive: &Directive, depth: usize) -> anyhow::Result<Vec<Directive>> {
        let mut included = Vec::new();
        for path in matching(&self.folder.join(directive.first()))? {
            let inner = self.file(&path, depth + 1);
            included.extend(inner.with_context(|| format!("{}: {}", directive.place, directive.text()))?);
        }
        Ok(included)
    }
}

/// The files that `pattern` names, in order. `*` stands for any characters of a file's name.
fn matching(pattern: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let name = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !name.contains('*') {
        return Ok(vec![pattern.to_owned()]);
    }
    let folder = pattern.parent().unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().and_then(|found| found.to_str()).is_some_and(|found| fits(name, found)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether `name` is of the form of `pattern`.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = left.split_once(part) else { return false };
        left = after;
    }
    left.ends_with(last)
}

fn tokens(text: &str, file: &str) -> anyhow::Result<Vec<(Token, Place)>> {
    let mut tokens = Vec::new();
    let mut characters = text.chars().peekable();
    let mut line = 1;
    while let Some(character) = characters.next() {
        let place = Place { file: file.to_owned(), line };
        match character {
            '\n' => line += 1,
            _ if character.is_whitespace() || character == '\u{feff}' => {}
            '#' => while characters.next_if(|next| *next != '\n').is_some() {},
            ';' => tokens.push((Token::End, place)),
            '{' => tokens.push((Token::Open, place)),
            '}' => tokens.push((Token::Close, place)),
            '"' | '\'' => {
                let mut word = String::new();
                loop {
                    match characters.next() {
                        Some(next) if next == character => break,
                        Some('\\') => word.extend(escaped(characters.next())),
                        Some(next) => {
                            line += usize::from(next == '\n');
                            word.push(next);
                        }
                        None => bail!("{place}: the quote is not closed"),
                    }
                }
                tokens.push((Token::Word(word), place));
            }
            _ => {
                let mut word = String::from(character);
                // `${name}` is a variable, and its braces are no block's.
                loop {
                    let is_variable = word.ends_with('$');
                    let ends = |next: &char| next.is_whitespace() || matches!(next, ';' | '{' | '}');
                    match characters.peek() {
                        Some('{') if is_variable => {
                            while let Some(next) = characters.next_if(|next| !next.is_whitespace()) {
                                word.push(next);
                                if next == '}' {
                                    break;
                                }
                            }
                        }
                        Some(next) if !ends(next) => word.extend(characters.next()),
                        _ => break,
                    }
                }
                tokens.push((Token::Word(word), place));
            }
        }
    }
    Ok(tokens)
}

/// What a backslash in quotes stands for: a quote, itself, white space, or, as nginx has it, both characters.
fn escaped(next: Option<char>) -> Vec<char> {
    match next {
        Some(next @ ('"' | '\'' | '\\')) => vec![next],
        Some('t') => vec!['\t'],
        Some('r') => vec!['\r'],
        Some('n') => vec!['\n'],
        Some(next) => vec!['\\', next],
        None => vec!['\\'],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let tokens = tokens(text, "nginx.conf").expect("tokens");
        tokens
            .into_iter()
            .map(|(token, place)| match token {
                Token::Word(word) => format!("{}:{word}", place.line),
                Token::Open => "{".to_owned(),
                Token::Close => "}".to_owned(),
                Token::End => ";".to_owned(),
            })
            .collect()
    }

    #[test]
    fn words_quotes_comments_and_variables_are_told_apart() {
        let text = "a b; # c\n\"d e\" 'f\\'g' ${h}i {\n}";
        assert_eq!(words(text), ["1:a", "1:b", ";", "2:d e", "2:f'g", "2:${h}i", "{", "}"]);
        assert_eq!(words(r#""a\nb\"\.""#), ["1:a\nb\"\\."]);
        assert!(tokens("a \"b", "f").is_err());
    }

    #[test]
    fn names_fit_patterns() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("a*b*c", "axxbyc", true),
            ("a", "b", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
