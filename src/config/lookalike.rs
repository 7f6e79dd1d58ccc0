//! Finds characters that an input method or an editor puts in place of YAML's own, such as `：` for `: `.

#[derive(Debug, Eq, PartialEq)]
pub(super) struct Lookalike {
    /// The line, counted from 1.
    line: usize,
    found: char,
    /// The character that YAML needs.
    instead: &'static str,
}

impl std::fmt::Display for Lookalike {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, found, instead } = self;
        let name = if *found == '\t' { "a tab".to_owned() } else { format!("{found:?}") };
        write!(f, "line {line}: {name} (U+{:04X}) stands where YAML has {instead}", u32::from(*found))
    }
}

/// The first lookalike outside quoted strings and comments.
pub(super) fn find(text: &str) -> Option<Lookalike> {
    text.lines().zip(1..).find_map(|(content, line)| {
        let (found, instead) = in_line(content)?;
        Some(Lookalike { line, found, instead })
    })
}

fn in_line(line: &str) -> Option<(char, &'static str)> {
    let content = line.trim_start_matches(' ');
    if content.trim_start_matches(['-', ' ']).starts_with('\t') {
        return Some(('\t', "spaces"));
    }
    if let Some(dash) = content.chars().next().filter(|c| matches!(c, '－' | '—')) {
        return Some((dash, "`- `"));
    }
    let mut quote = None;
    for c in content.chars() {
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '#') => return None,
            (None, _) => {
                if let Some(instead) = instead_of(c) {
                    return Some((c, instead));
                }
            }
        }
    }
    None
}

fn instead_of(c: char) -> Option<&'static str> {
    Some(match c {
        '：' => "`: `",
        '，' => "`, `",
        '“' | '”' | '＂' => "`\"`",
        '‘' | '’' | '＇' => "`'`",
        '［' | '【' => "`[`",
        '］' | '】' => "`]`",
        '｛' => "`{`",
        '｝' => "`}`",
        '\u{3000}' | '\u{a0}' => "a space",
        _ => return None,
    })
}
