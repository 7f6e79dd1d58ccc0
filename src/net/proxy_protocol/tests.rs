//! Headers whole, cut at every place, and crooked.

use proptest::prelude::*;

use super::*;

fn told(text: &str) -> ConnectionSource {
    ConnectionSource::Client(text.parse().expect("an address"))
}

/// Version 2 with that command, family and content.
fn binary(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("a short content").to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, content].concat()
}

const IPV4: [u8; 12] = [192, 0, 2, 7, 203, 0, 113, 1, 0xab, 0xcd, 1, 0xbb];

fn ipv6() -> Vec<u8> {
    let ip = |text: &str| text.parse::<Ipv6Addr>().expect("an address").octets();
    [&ip("2001:db8::7")[..], &ip("2001:db8::1"), &[0xab, 0xcd, 1, 0xbb]].concat()
}

/// A TLV without meaning.
const TLV: [u8; 7] = [0xea, 0, 4, 1, 2, 3, 4];

#[test]
fn every_whole_header_is_read_at_its_end_and_not_before() {
    let ipv4 = told("192.0.2.7:43981");
    let ipv6_client = told("[2001:db8::7]:43981");
    for (header, expected) in [
        (b"PROXY TCP4 192.0.2.7 203.0.113.1 43981 443\r\n".to_vec(), ipv4),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 43981 443\r\n".to_vec(), ipv6_client),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 43981 0\r\n".to_vec(), ipv4),
        (b"PROXY UNKNOWN\r\n".to_vec(), ConnectionSource::Sender),
        (b"PROXY UNKNOWN ffff::1 whatever 1\r\n".to_vec(), ConnectionSource::Sender),
        (binary(PROXY, TCP_OVER_IPV4, &IPV4), ipv4),
        (binary(PROXY, TCP_OVER_IPV4, &[&IPV4[..], &TLV].concat()), ipv4),
        (binary(PROXY, TCP_OVER_IPV6, &ipv6()), ipv6_client),
        (binary(PROXY, TCP_OVER_IPV6, &[&ipv6()[..], &TLV, &TLV].concat()), ipv6_client),
        (binary(PROXY, UNSPECIFIED, &[]), ConnectionSource::Sender),
        (binary(PROXY, UNIX_STREAM, &[b'x'; 216]), ConnectionSource::Sender),
        (binary(LOCAL, UNSPECIFIED, &TLV), ConnectionSource::Sender),
        (binary(LOCAL, 0xff, &IPV4), ConnectionSource::Sender),
        (binary(LOCAL, UNSPECIFIED, &[0; HEADER_BYTES - FIXED_BYTES]), ConnectionSource::Sender),
    ] {
        for cut in 0..header.len() {
            assert_eq!(read(&header[..cut]), HeaderProgress::Wanting, "{cut} bytes of {header:?}");
        }
        let whole = HeaderProgress::Whole(expected, header.len());
        assert_eq!(read(&header), whole);
        for behind in [&b"\x16\x03\x01"[..], b"GET / HTTP/1.1\r\n\r\n", SIGNATURE, b"PROXY "] {
            assert_eq!(read(&[&header[..], behind].concat()), whole, "what follows is not looked at");
        }
    }
}

#[test]
fn what_is_no_header_is_refused_at_its_first_wrong_byte() {
    for bad in [&b"GET "[..], b"\x16\x03\x01", b"PROXX", b"proxy ", b"\r\n\r\n\0\r\nQUIT\r", b" PROXY", b"\n"]
    {
        assert_eq!(read(bad), HeaderProgress::Malformed, "{bad:?}");
        let before = read(&bad[..bad.len() - 1]);
        assert!(
            before == HeaderProgress::Malformed
                || b"PROXY ".starts_with(&bad[..bad.len() - 1])
                || bad[0] == b'\r'
        );
    }
    for command in [0x00, 0x10, 0x11, 0x22, 0x2f, 0x31] {
        let header = binary(command, TCP_OVER_IPV4, &IPV4);
        assert_eq!(read(&header[..13]), HeaderProgress::Malformed, "{command:#x}");
        assert_eq!(read(&header), HeaderProgress::Malformed, "{command:#x}");
    }
}

#[test]
fn crooked_headers_are_refused() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 192.0.2.7\r\n",
        "PROXY TCP4 192.0.2.7 203.0.113.1 1\r\n",
        "PROXY TCP4 192.0.2.7 203.0.113.1 1 2 3\r\n",
        "PROXY TCP4 192.0.2.7 203.0.113.1 1 2 \r\n",
        "PROXY TCP4 192.0.2.7  203.0.113.1 1 2\r\n",
        "PROXY TCP4 192.0.2.7 203.0.113.1 1 65536\r\n",
        "PROXY TCP4 192.0.2.7 203.0.113.1 01 2\r\n",
        "PROXY TCP4 192.0.2.7 203.0.113.1 +1 2\r\n",
        "PROXY TCP4 192.0.2.7 203.0.113.1 -1 2\r\n",
        "PROXY TCP4 192.0.2.256 203.0.113.1 1 2\r\n",
        "PROXY TCP4 192.0.2.07 203.0.113.1 1 2\r\n",
        "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
        "PROXY TCP6 192.0.2.7 203.0.113.1 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        "PROXY UDP4 192.0.2.7 203.0.113.1 1 2\r\n",
        "PROXY tcp4 192.0.2.7 203.0.113.1 1 2\r\n",
        "PROXY TCP4 192.0.2.7 203.0.113.1 1 2\n\r\n",
    ] {
        assert_eq!(read(line.as_bytes()), HeaderProgress::Malformed, "{line:?}");
    }
    let long = format!("PROXY UNKNOWN {}", "x".repeat(LINE_BYTES));
    assert_eq!(read(&long.as_bytes()[..LINE_BYTES - 1]), HeaderProgress::Wanting);
    assert_eq!(read(&long.as_bytes()[..LINE_BYTES]), HeaderProgress::Malformed);
    let fits = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES - 16));
    assert_eq!(read(fits.as_bytes()), HeaderProgress::Whole(ConnectionSource::Sender, LINE_BYTES));

    for (family, content) in [
        (TCP_OVER_IPV4, &IPV4[..11]),
        (TCP_OVER_IPV6, &ipv6()[..35]),
        (TCP_OVER_IPV4, &[]),
        (0x12, &IPV4),
        (0x22, &ipv6()),
        (0x10, &IPV4),
        (0x41, &IPV4),
    ] {
        assert_eq!(
            read(&binary(PROXY, family, content)),
            HeaderProgress::Malformed,
            "{family:#x} {content:?}"
        );
    }
    let too_long = binary(LOCAL, UNSPECIFIED, &[0; HEADER_BYTES - FIXED_BYTES + 1]);
    assert_eq!(read(&too_long[..FIXED_BYTES]), HeaderProgress::Malformed);
}

#[test]
fn what_is_written_is_read_again() {
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    for (client, destination) in [
        ("192.0.2.7:43981", "203.0.113.1:443"),
        ("[2001:db8::7]:43981", "[2001:db8::1]:443"),
        ("[2001:db8::7]:43981", "203.0.113.1:443"),
        ("192.0.2.7:43981", "[2001:db8::1]:443"),
        ("192.0.2.7:0", "203.0.113.1:443"),
    ] {
        let header = write(address(client), address(destination));
        assert_eq!(read(&header), HeaderProgress::Whole(told(client), header.len()));
    }
    assert_eq!(LOCAL_HEADER.to_vec(), binary(LOCAL, UNSPECIFIED, &[]));
    assert_eq!(
        write(address("[::ffff:192.0.2.7]:43981"), address("203.0.113.1:443")),
        binary(PROXY, TCP_OVER_IPV4, &IPV4)
    );
    assert_eq!(
        write(address("[2001:db8::7]:43981"), address("[2001:db8::1]:443")),
        binary(PROXY, TCP_OVER_IPV6, &ipv6())
    );
}

/// Any header that a sender may write.
fn header() -> impl Strategy<Value = (Vec<u8>, ConnectionSource)> {
    let ip = prop_oneof![any::<Ipv4Addr>().prop_map(IpAddr::from), any::<Ipv6Addr>().prop_map(IpAddr::from)];
    let client = (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port));
    let binary = (client.clone(), prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(client, more)| {
        let mut header = write(client, client);
        header.extend_from_slice(&more);
        let length = u16::try_from(header.len() - FIXED_BYTES).expect("a short header");
        header[14..16].copy_from_slice(&length.to_be_bytes());
        (header, super::client(client.ip(), client.port()))
    });
    let line = client.prop_map(|client| {
        let (family, ip) = if client.is_ipv4() { ("TCP4", "192.0.2.1") } else { ("TCP6", "2001:db8::1") };
        let line = format!("PROXY {family} {} {ip} {} 443\r\n", client.ip(), client.port());
        (line.into_bytes(), super::client(client.ip(), client.port()))
    });
    prop_oneof![binary, line]
}

proptest! {
    #[test]
    fn a_header_is_whole_at_its_last_byte(
        (header, source) in header(),
        behind in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        for cut in 0..header.len() {
            prop_assert_eq!(read(&header[..cut]), HeaderProgress::Wanting, "{} bytes", cut);
        }
        let length = header.len();
        prop_assert_eq!(read(&[header, behind].concat()), HeaderProgress::Whole(source, length));
    }

    #[test]
    fn what_a_beginning_decides_more_bytes_do_not_change(
        (header, _) in header(),
        at in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let mut bytes = header;
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let decided = (0..=bytes.len()).map(|length| read(&bytes[..length])).find(|one| *one != HeaderProgress::Wanting);
        prop_assert_eq!(read(&bytes), decided.unwrap_or(HeaderProgress::Wanting));
    }
}
