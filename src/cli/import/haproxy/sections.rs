//! HAProxy's file format: sections of lines of words, with quotes, escapes and comments.

use std::path::Path;

use anyhow::bail;

use crate::cli::import::plan::Place;

/// Bytes of the file.
const FILE_BYTES: u64 = 16 * 1024 * 1024;
/// The words that begin a section.
const SECTIONS: [&str; 14] = [
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "userlist",
    "peers",
    "mailers",
    "resolvers",
    "cache",
    "program",
    "ring",
    "http-errors",
    "log-forward",
];

/// A section, without its first line.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) place: Place,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) lines: Vec<Line>,
}

/// A line with at least one word.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) place: Place,
    pub(super) words: Vec<String>,
}

impl Line {
    pub(super) fn text(&self) -> String {
        self.words.join(" ")
    }
}

/// Reads the file at `path`.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Section>> {
    let size = fs_err::metadata(path)?.len();
    if size > FILE_BYTES {
        bail!("{}: {size} bytes; at most {FILE_BYTES} are read", path.display());
    }
    let text = fs_err::read_to_string(path)?;
    let mut sections: Vec<Section> = Vec::new();
    for (number, text) in text.lines().enumerate() {
        let place = Place { file: path.display().to_string(), line: number + 1 };
        let words = words(text);
        let Some(first) = words.first() else { continue };
        if SECTIONS.contains(&first.as_str()) {
            let name = words.get(1).cloned().unwrap_or_default();
            sections.push(Section { place, kind: first.clone(), name, lines: Vec::new() });
        } else if let Some(section) = sections.last_mut() {
            section.lines.push(Line { place, words });
        } else {
            bail!("{place}: {first:?} is in no section");
        }
    }
    Ok(sections)
}

fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut begun) = (Vec::new(), String::new(), false);
    let (mut quote, mut characters) = (None, line.chars());
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', None | Some('"')) => {
                begun = true;
                word.extend(characters.next());
            }
            (_, Some(open)) if character == open => quote = None,
            ('"' | '\'', None) => {
                begun = true;
                quote = Some(character);
            }
            ('#', None) => break,
            (_, None) if character.is_whitespace() => {
                if std::mem::take(&mut begun) {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => {
                begun = true;
                word.push(character);
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

/// Why a line has no counterpart.
pub(super) fn reason(words: &[String]) -> &'static str {
    match words.first().map_or("", String::as_str) {
        "log" | "option" if words.get(1).is_some_and(|word| word.contains("log")) => {
            "every request leaves a record in `access_log.directory`"
        }
        "log" => "every request leaves a record in `access_log.directory`",
        "maxconn" => "see `limits.connections`",
        "timeout" => "see `limits`",
        "user" | "group" | "chroot" | "daemon" | "pidfile" => "the systemd unit says it",
        "ssl-default-bind-ciphers" | "ssl-default-bind-options" | "ssl-default-bind-ciphersuites" => {
            "icpgate speaks TLS 1.2 and 1.3 with safe ciphers, always"
        }
        "stats" => "see the admin address",
        "stick-table" | "stick" => "see `rate_limit` of a site and `balance` of an origin",
        "compression" => "see the top-level `compress` section",
        "mode" => "icpgate proxies HTTP",
        _ => "it has no counterpart",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_quotes_escapes_and_comments() {
        assert_eq!(
            words(r#"  acl a  hdr(host) "b c" d\ e 'f "g' # h"#),
            ["acl", "a", "hdr(host)", "b c", "d e", "f \"g"]
        );
        assert_eq!(words("# a"), Vec::<String>::new());
        assert_eq!(words("a \"\""), ["a", ""]);
    }
}
