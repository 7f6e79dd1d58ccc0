//! `accept-encoding` in one spelling, so that browsers that accept the same share a variant.

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

/// The codings that origins and this edge use.
const KNOWN: [&str; 5] = ["br", "gzip", "zstd", "deflate", "identity"];

/// The weight of each known coding, in thousandths, as text. `x-gzip` is gzip; without the field everything is fine.
pub(super) fn normal(headers: &HeaderMap) -> String {
    let mut weights: [Option<u16>; KNOWN.len()] = [None; KNOWN.len()];
    let (mut any, mut is_sent) = (None, false);
    for value in headers.get_all(ACCEPT_ENCODING) {
        is_sent = true;
        for element in value.to_str().unwrap_or_default().split(',') {
            let mut parts = element.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(weight).unwrap_or(1000);
            let name = name.strip_prefix("x-").unwrap_or(&name);
            if let Some(place) = KNOWN.iter().position(|known| *known == name) {
                weights[place] = Some(weight);
            } else if name == "*" {
                any = Some(weight);
            }
        }
    }
    if !is_sent {
        return "*".to_owned();
    }
    // Identity is accepted unless it is refused (RFC 9110, 12.5.3).
    let others = |name: &str| any.unwrap_or(if name == "identity" { 1000 } else { 0 });
    let all = KNOWN.iter().zip(weights).map(|(name, weight)| (name, weight.unwrap_or_else(|| others(name))));
    all.filter(|(_, weight)| *weight > 0).map(|(name, weight)| format!("{name}={weight};")).collect()
}

/// `q=0.5` in thousandths.
fn weight(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    let weight: f32 = name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse().ok())??;
    Some((weight.clamp(0.0, 1.0) * 1000.0).round() as u16)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_same_preferences_have_the_same_text() {
        let normal = |value: &'static str| {
            normal(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        let browsers = normal("gzip, deflate, br, zstd");
        for same in ["br,zstd,gzip,deflate", "GZIP;q=1, deflate ,br, zstd;q=1.0, x-unknown", "*"] {
            assert_eq!(normal(same), browsers, "{same}");
        }
        for (value, text) in [
            ("gzip;q=0.5", "gzip=500;identity=1000;"),
            ("identity;q=0, br", "br=1000;"),
            ("", "identity=1000;"),
        ] {
            assert_eq!(normal(value), text, "{value}");
        }
        assert_eq!(super::normal(&HeaderMap::new()), "*");
    }
}
