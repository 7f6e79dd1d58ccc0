//! Text that a service sent, as it may stand in a message of ours.

/// The most that is shown, in characters.
const MAX: usize = 200;

/// The beginning of `bytes` on one line, with a question mark for everything that a terminal might obey.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * MAX)]).into_owned();
    let plain = |character: char| if character.is_control() { '?' } else { character };
    text.trim().chars().take(MAX).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn text_stays_on_one_line() {
        assert_eq!(shown("\n京\x1b[31m\r\nx ".as_bytes()), "京?[31m??x");
        assert_eq!(shown(&[0xff; 5000]).chars().count(), 200);
    }
}
