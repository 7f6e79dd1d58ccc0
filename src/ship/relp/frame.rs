//! RELP frames as bytes: `TXNR SP COMMAND SP DATALEN [SP DATA] LF`.
//!
//! What [`parse`] reads does not depend on how the bytes were split, and no frame of a server may be longer than
//! [`MAX_DATA`].

use std::io::Write as _;

/// Numbers a command, so that its response can be told apart. From 1 to 999,999,999, then 1 again.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Transaction(u32);

/// Nine digits: the most that librelp reads in a number.
const MAX_NUMBER: u32 = 999_999_999;
/// The most that a response may carry. rsyslog's answers stay below 200 bytes.
const MAX_DATA: u32 = 4096;
/// The longest name of a command (RELP specification).
const MAX_COMMAND: usize = 32;

impl Transaction {
    pub(super) const FIRST: Self = Self(1);

    pub(super) fn next(self) -> Self {
        if self.0 == MAX_NUMBER { Self::FIRST } else { Self(self.0 + 1) }
    }
}

/// What a server sends.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum ServerFrame<'b> {
    /// The answer to a command.
    Response { transaction: Transaction, code: u16, text: &'b [u8] },
    /// The server ends the session without being asked.
    Close,
}

/// Why bytes are no frame of a RELP server.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no RELP frame: {0}")]
pub(super) struct Malformed(&'static str);

/// Appends a command to `out`.
pub(super) fn write(transaction: Transaction, command: &str, data: &[u8], out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{} {command} {}", transaction.0, data.len());
    if !data.is_empty() {
        out.push(b' ');
        out.extend_from_slice(data);
    }
    out.push(b'\n');
}

/// The frame at the beginning of `input` and its length; `None` while there is more to come.
pub(super) fn parse(input: &[u8]) -> Result<Option<(ServerFrame<'_>, usize)>, Malformed> {
    let mut cursor = Cursor { input, at: 0 };
    match parse_frame(&mut cursor) {
        Ok(frame) => Ok(Some((frame, cursor.at))),
        Err(Stop::Incomplete) => Ok(None),
        Err(Stop::Malformed(reason)) => Err(Malformed(reason)),
    }
}

enum Stop {
    Incomplete,
    Malformed(&'static str),
}

fn parse_frame<'b>(cursor: &mut Cursor<'b>) -> Result<ServerFrame<'b>, Stop> {
    let transaction = Transaction(cursor.number()?);
    cursor.expect(b' ', "no space after the transaction number")?;
    let command = cursor.word()?;
    cursor.expect(b' ', "no space after the command")?;
    let length = cursor.number()?;
    if length > MAX_DATA {
        return Err(Stop::Malformed("more than 4096 bytes of data"));
    }
    // A frame without data ends after the length, with or without the space.
    if length > 0 || cursor.peek()? == b' ' {
        cursor.expect(b' ', "no space before the data")?;
    }
    let data = cursor.take(length as usize)?;
    cursor.expect(b'\n', "no line feed at the end")?;
    match command {
        b"rsp" => {
            let (code, text) = response(data)?;
            Ok(ServerFrame::Response { transaction, code, text })
        }
        b"serverclose" => Ok(ServerFrame::Close),
        _ => Err(Stop::Malformed("a command that no server sends")),
    }
}

/// The three digits of a response and the text behind them.
fn response(data: &[u8]) -> Result<(u16, &[u8]), Stop> {
    let Some((digits, text)) = data.split_first_chunk::<3>() else {
        return Err(Stop::Malformed("a response without a code"));
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Stop::Malformed("a response whose code is no number"));
    }
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    Ok((code, text.strip_prefix(b" ").unwrap_or(text)))
}

struct Cursor<'b> {
    input: &'b [u8],
    at: usize,
}

impl<'b> Cursor<'b> {
    fn peek(&self) -> Result<u8, Stop> {
        self.input.get(self.at).copied().ok_or(Stop::Incomplete)
    }

    fn expect(&mut self, byte: u8, otherwise: &'static str) -> Result<(), Stop> {
        if self.peek()? != byte {
            return Err(Stop::Malformed(otherwise));
        }
        self.at += 1;
        Ok(())
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], Stop> {
        let taken = self.input.get(self.at..self.at + length).ok_or(Stop::Incomplete)?;
        self.at += length;
        Ok(taken)
    }

    /// The bytes up to the first that `belongs` refuses; at most `limit` of them.
    fn run(&mut self, limit: usize, belongs: impl Fn(u8) -> bool) -> Result<&'b [u8], Stop> {
        let rest = &self.input[self.at..];
        let length = rest.iter().take(limit + 1).take_while(|byte| belongs(**byte)).count();
        if length > limit {
            return Err(Stop::Malformed("a number or a command that is too long"));
        }
        if length == rest.len() {
            return Err(Stop::Incomplete);
        }
        if length == 0 {
            return Err(Stop::Malformed("no number or no command where one belongs"));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    fn number(&mut self) -> Result<u32, Stop> {
        let digits = self.run(9, |byte| byte.is_ascii_digit())?;
        Ok(digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
    }

    fn word(&mut self) -> Result<&'b [u8], Stop> {
        self.run(MAX_COMMAND, |byte| byte.is_ascii_alphabetic())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b"1 rsp 93 200 OK\nrelp_version=0\nrelp_software=librelp,1.11.0,http://librelp.adiscon.com\ncommands=syslog\n\
        2 rsp 6 200 OK\n3 rsp 12 500 too long\n0 serverclose 0\n";

    /// Everything that comes out when the bytes arrive in these pieces.
    fn read(pieces: &[&[u8]]) -> Vec<String> {
        let (mut buffer, mut frames) = (Vec::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while let Some((frame, length)) = parse(&buffer).expect("well formed") {
                frames.push(format!("{frame:?}"));
                buffer.drain(..length);
            }
        }
        assert!(buffer.is_empty(), "{buffer:?} is left");
        frames
    }

    #[test]
    fn every_split_gives_the_same_frames() {
        let whole = read(&[STREAM]);
        assert_eq!(whole.len(), 4);
        for cut in 0..=STREAM.len() {
            assert_eq!(read(&[&STREAM[..cut], &STREAM[cut..]]), whole, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = STREAM.chunks(1).collect();
        assert_eq!(read(&bytes), whole);
    }

    #[test]
    fn a_prefix_is_incomplete_and_never_malformed() {
        let first = parse(STREAM).expect("well formed").expect("whole").1;
        for end in 0..first {
            assert_eq!(parse(&STREAM[..end]), Ok(None), "prefix of {end}");
        }
    }

    #[test]
    fn responses_have_a_code_and_a_text() {
        let (frame, length) = parse(b"17 rsp 12 500 too long\n").expect("well formed").expect("whole");
        assert_eq!(length, 23);
        assert_eq!(
            frame,
            ServerFrame::Response { transaction: Transaction(17), code: 500, text: b"too long" }
        );
        assert_eq!(parse(b"0 serverclose 0\n"), Ok(Some((ServerFrame::Close, 16))));
        assert_eq!(parse(b"0 serverclose 0 \n"), Ok(Some((ServerFrame::Close, 17))));
    }

    #[test]
    fn what_is_no_relp_is_malformed_at_once() {
        for foreign in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"220 mail.example.cn ESMTP\r\n",
            b"\x15\x03\x03\x00\x02\x02\x46",
            b" 1 rsp 6 200 OK\n",
            b"1234567890 rsp 6 200 OK\n",
            b"1 rsp 99999 200 OK",
            b"1 rsp 6 200 OKAY\n",
            b"1 rsp 2 20\n",
            b"1 rsp 6 OK 200\n",
            b"1 rsp -1 200 OK\n",
            b"1 syslog 6 200 OK\n",
            b"1 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(parse(foreign).is_err(), "{:?}", String::from_utf8_lossy(foreign));
        }
    }

    #[test]
    fn commands_are_written_as_they_are_read() {
        let mut out = Vec::new();
        write(Transaction(MAX_NUMBER), "syslog", b"<134>1 - - - - - - \xe4\xba\xac", &mut out);
        write(Transaction(MAX_NUMBER).next(), "close", b"", &mut out);
        assert_eq!(out, b"999999999 syslog 22 <134>1 - - - - - - \xe4\xba\xac\n1 close 0\n");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            let _ = parse(&bytes);
        }
    }
}
