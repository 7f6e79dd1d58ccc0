//! Which content codings a client accepts, by its `accept-encoding` (RFC 9110, 12.5.3).
//!
//! A client without the field gets answers as they are: in theory it accepts every coding, in practice none.

use http::header::{self, HeaderMap};

use super::Coding;
use super::encode::Encoding;
use super::fields::{tokens, without_parameters};

/// The best of `known`: the highest weight, and the earliest among equals; `None` if the client accepts none of them or
/// prefers no coding.
pub(super) fn best(asked: &HeaderMap, known: &[Encoding]) -> Option<Encoding> {
    let mut best = None;
    for &encoding in known {
        let weight = weight(asked, encoding.name());
        if weight > best.map_or(0, |(_, weight)| weight) {
            best = Some((encoding, weight));
        }
    }
    let (encoding, weight) = best?;
    listed(asked, "identity").is_none_or(|identity| identity <= weight).then_some(encoding)
}

/// Whether a client accepts an answer without a coding: yes, unless it says otherwise.
pub(super) fn takes_identity(asked: &HeaderMap) -> bool {
    listed(asked, "identity").or_else(|| listed(asked, "*")) != Some(0)
}

/// Whether a client accepts an answer in this coding.
pub(super) fn takes(asked: &HeaderMap, coding: Coding) -> bool {
    let name = match coding {
        Coding::Gzip => "gzip",
        Coding::Deflate => "deflate",
        Coding::Brotli => "br",
        Coding::Zstd => "zstd",
    };
    weight(asked, name) > 0
}

/// The `accept-encoding` for an origin whose answer is decoded here if need be: the codings that the client accepts
/// too, so that most answers can pass as they come; all of them if it accepts none.
pub fn for_origin(asked: &HeaderMap) -> &'static str {
    match Encoding::ALL.map(|encoding| weight(asked, encoding.name()) > 0) {
        [true, true, true] | [false, false, false] => "br, zstd, gzip",
        [true, true, false] => "br, zstd",
        [true, false, true] => "br, gzip",
        [true, false, false] => "br",
        [false, true, true] => "zstd, gzip",
        [false, true, false] => "zstd",
        [false, false, true] => "gzip",
    }
}

/// The weight of a coding in thousandths: its own, or that of `*`; 0 if it is not accepted.
fn weight(asked: &HeaderMap, name: &str) -> u16 {
    let alias = || if name == "gzip" { listed(asked, "x-gzip") } else { None };
    listed(asked, name).or_else(alias).or_else(|| listed(asked, "*")).unwrap_or(0)
}

/// The weight that the field gives to this name; `None` if it is not listed, or with a malformed weight.
fn listed(asked: &HeaderMap, name: &str) -> Option<u16> {
    let element = tokens(asked, header::ACCEPT_ENCODING)
        .find(|element| without_parameters(element).eq_ignore_ascii_case(name))?;
    let mut parameters = element.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    match parameters.find(|(key, _)| key.trim().eq_ignore_ascii_case("q")) {
        Some((_, weight)) => thousandths(weight.trim()),
        None => Some(1000),
    }
}

/// `0.25` is 250: at most one, with at most three decimals (RFC 9110, 12.4.2).
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    let is_weight = matches!(whole, "0" | "1")
        && decimals.len() <= 3
        && decimals.bytes().all(|digit| digit.is_ascii_digit());
    let thousandths = format!("{whole}{decimals:0<3}").parse().ok().filter(|_| is_weight)?;
    (thousandths <= 1000).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn asked(fields: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(field));
        }
        headers
    }

    #[test]
    fn the_best_coding_has_the_highest_weight_and_the_configured_order_breaks_ties() {
        use Encoding::{Brotli, Gzip, Zstd};
        for (fields, expected) in [
            (&["gzip, deflate, br, zstd"][..], Some(Brotli)),
            (&["gzip, deflate, zstd"], Some(Zstd)),
            (&["gzip;q=1.0, br;q=0.9, zstd;q=0.95"], Some(Gzip)),
            (&["gzip;q=0.001, br;q=0"], Some(Gzip)),
            (&["br;q=0, zstd;q=0.000, gzip;q=0.0"], None),
            (&["GZIP ; Q=0.5"], Some(Gzip)),
            (&["x-gzip"], Some(Gzip)),
            (&["gzip", "br;q=0.5"], Some(Gzip)),
            (&["*"], Some(Brotli)),
            (&["*, br;q=0"], Some(Zstd)),
            (&["*;q=0.1, gzip;q=0.2"], Some(Gzip)),
            (&["*;q=0"], None),
            (&["*;q=0, gzip"], Some(Gzip)),
            (&["identity"], None),
            (&["identity, *;q=0"], None),
            (&["identity, gzip"], Some(Gzip)),
            (&["identity;q=0.5, gzip;q=0.4"], None),
            (&["identity;q=0.5, gzip;q=0.5"], Some(Gzip)),
            (&["identity;q=0, gzip;q=0.1"], Some(Gzip)),
            (&["deflate, compress, dcb"], None),
            (&["gzip;q=2, br;q=0.1234, zstd;q=x"], None),
            (&["gzip;level=5;q=0.5"], Some(Gzip)),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(best(&asked(fields), &[Brotli, Zstd, Gzip]), expected, "{fields:?}");
        }
        let all = asked(&["gzip, br, zstd"]);
        assert_eq!(best(&all, &[Gzip, Brotli]), Some(Gzip));
        assert_eq!(best(&asked(&["br"]), &[Gzip]), None);
    }

    #[test]
    fn an_answer_without_a_coding_is_accepted_unless_the_client_says_otherwise() {
        for (field, expected) in [
            ("gzip", true),
            ("", true),
            ("identity;q=0", false),
            ("*;q=0", false),
            ("gzip, *;q=0.0", false),
            ("*;q=0, identity", true),
            ("*;q=0, identity;q=0.1", true),
            ("identity;q=0, *", false),
        ] {
            assert_eq!(takes_identity(&asked(&[field])), expected, "{field}");
        }
    }

    #[test]
    fn an_origin_is_asked_for_what_the_client_accepts_too() {
        for (field, expected) in [
            ("gzip, deflate, br, zstd", "br, zstd, gzip"),
            ("gzip, deflate, br", "br, gzip"),
            ("gzip", "gzip"),
            ("br;q=0.1, gzip;q=0", "br"),
            ("zstd, gzip, dcz", "zstd, gzip"),
            ("br, zstd", "br, zstd"),
            ("zstd", "zstd"),
            ("identity", "br, zstd, gzip"),
            ("", "br, zstd, gzip"),
        ] {
            assert_eq!(for_origin(&asked(&[field])), expected, "{field}");
        }
        assert!(takes(&asked(&["gzip, deflate"]), Coding::Deflate));
        assert!(!takes(&asked(&["gzip, deflate;q=0"]), Coding::Deflate));
    }
}
