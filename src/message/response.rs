//! The head of a response in HTTP/1.x, read whole and strictly.
//!
//! A response whose end could be found in two places is refused: the rest of it would be taken for the
//! answer to another request. What else breaks the grammar is repaired or dropped.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{Method, StatusCode, Version};

use super::fields::{self, content_length};
use super::repair::{self, Repaired};
use super::{BadMessage, Framing, Persistence, RESPONSE_FIELDS, ResponseHead};

/// A response's head, and what it says of the connection.
#[derive(Clone, Debug)]
pub struct Response {
    /// The head.
    pub head: ResponseHead,
    /// What the server wants of the connection.
    pub persistence: Persistence,
    /// How many fields were dropped since they are none.
    pub dropped: u32,
}

/// Reads a head that is whole in `bytes`, its empty line included.
pub fn parse(bytes: &Bytes) -> Result<Response, BadMessage> {
    match plain(bytes) {
        Err(BadMessage::Syntax) => {
            let Repaired { bytes, dropped } = repair::head(bytes)?;
            Ok(Response { dropped, ..plain(&bytes)? })
        }
        outcome => outcome,
    }
}

/// Reads a head that keeps to the grammar.
fn plain(bytes: &Bytes) -> Result<Response, BadMessage> {
    let mut room = [const { MaybeUninit::uninit() }; RESPONSE_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut room) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(BadMessage::Syntax),
        Err(httparse::Error::TooManyHeaders) => return Err(BadMessage::TooManyFields),
        Err(_) => return Err(BadMessage::Syntax),
    }
    let (Some(status), Some(version)) = (parsed.code, parsed.version) else { return Err(BadMessage::Syntax) };
    let status = StatusCode::from_u16(status).map_err(|_| BadMessage::Syntax)?;
    let version = if version == 1 { Version::HTTP_11 } else { Version::HTTP_10 };
    let headers = fields::collect(parsed.headers, bytes)?;
    let persistence = fields::persistence(&headers, version);
    Ok(Response { head: ResponseHead { status, version, headers }, persistence, dropped: 0 })
}

/// How the body of a final response to a `method` request ends (RFC 9112, 6.3).
pub fn framing(head: &ResponseHead, method: &Method) -> Result<Framing, BadMessage> {
    let length = content_length(&head.headers)?;
    let coding = coding(&head.headers)?;
    let bodiless = *method == Method::HEAD
        || head.status.is_informational()
        || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    match (coding, length) {
        (Coding::Chunked, Some(_)) => Err(BadMessage::Coding),
        _ if bodiless => Ok(Framing::None),
        (Coding::Chunked, None) if head.version == Version::HTTP_11 => Ok(Framing::Chunked),
        (Coding::Chunked, None) => Err(BadMessage::Coding),
        (Coding::None, Some(0)) => Ok(Framing::None),
        (Coding::None, Some(length)) => Ok(Framing::Length(length)),
        (Coding::None, None) => Ok(Framing::UntilClose),
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Coding {
    None,
    Chunked,
}

/// `identity` is none: servers that go by RFC 2616 say so.
fn coding(headers: &HeaderMap) -> Result<Coding, BadMessage> {
    let mut coding = Coding::None;
    for value in headers.get_all(header::TRANSFER_ENCODING) {
        let value = value.as_bytes();
        coding = match coding {
            Coding::None if value.eq_ignore_ascii_case(b"chunked") => Coding::Chunked,
            Coding::None if value.eq_ignore_ascii_case(b"identity") => Coding::None,
            Coding::None | Coding::Chunked => return Err(BadMessage::Coding),
        };
    }
    Ok(coding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(text: &str, method: Method) -> Result<Framing, BadMessage> {
        framing(&parse(&Bytes::copy_from_slice(text.as_bytes()))?.head, &method)
    }

    #[test]
    fn a_body_ends_in_one_way() {
        let get = |fields: &str| framed(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), Method::GET);
        assert_eq!(get(""), Ok(Framing::UntilClose));
        assert_eq!(get("Content-Length: 5, 5\r\n"), Ok(Framing::Length(5)));
        assert_eq!(get("Content-Length: 0\r\n"), Ok(Framing::None));
        assert_eq!(get("Transfer-Encoding: chunked\r\n"), Ok(Framing::Chunked));
        assert_eq!(get("Transfer-Encoding: identity\r\nContent-Length: 5\r\n"), Ok(Framing::Length(5)));
        assert_eq!(get("Content-Length: 5\r\nContent-Length: 6\r\n"), Err(BadMessage::Length));
        for bad in [
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(get(bad), Err(BadMessage::Coding), "{bad:?}");
        }
    }

    #[test]
    fn some_responses_have_no_body_whatever_they_say() {
        let length = "Content-Length: 5\r\n\r\n";
        assert_eq!(framed(&format!("HTTP/1.1 200 OK\r\n{length}"), Method::HEAD), Ok(Framing::None));
        assert_eq!(framed(&format!("HTTP/1.1 204 No Content\r\n{length}"), Method::GET), Ok(Framing::None));
        assert_eq!(framed(&format!("HTTP/1.1 304 Not Modified\r\n{length}"), Method::GET), Ok(Framing::None));
        assert_eq!(framed(&format!("HTTP/1.0 200 OK\r\n{length}"), Method::GET), Ok(Framing::Length(5)));
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for bad in ["SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n"] {
            assert_eq!(framed(bad, Method::GET), Err(BadMessage::Syntax), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            if let Ok(response) = parse(&Bytes::from(bytes)) {
                let _ = framing(&response.head, &Method::GET);
            }
        }
    }
}
