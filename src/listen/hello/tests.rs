//! Hellos whole, split, cut and crooked.

use super::*;

fn vector16(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a short vector");
    [&length.to_be_bytes(), bytes].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector16(content)].concat()
}

fn name_entry(name: &[u8]) -> Vec<u8> {
    [&[HOST_NAME], &vector16(name)[..]].concat()
}

fn server_name(name: &[u8]) -> Vec<u8> {
    extension(SERVER_NAME, &vector16(&name_entry(name)))
}

fn message(extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend(vector16(&[0x13, 0x01]));
    body.extend([1, 0]);
    body.extend(vector16(extensions));
    let length = u32::try_from(body.len()).expect("a short message").to_be_bytes();
    [&[CLIENT_HELLO], &length[1..], &body].concat()
}

fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| [&[HANDSHAKE, 3, 1], &vector16(part)[..]].concat();
    message.chunks(size).flat_map(record).collect()
}

fn read(bytes: &[u8]) -> HelloProgress {
    HelloReader::default().advance(bytes)
}

#[track_caller]
fn check(extensions: &[u8], expected: Result<&str, Refusal>) {
    let HelloProgress::Whole(hello) = read(&records(&message(extensions), RECORD_BYTES)) else {
        panic!("the hello is whole");
    };
    assert_eq!(hello.host.as_ref().map(Hostname::as_str), expected.as_ref().copied());
}

#[test]
fn the_host_is_the_one_name() {
    check(&server_name(b"www.example.cn"), Ok("www.example.cn"));
    check(&server_name(b"WWW.Example.CN"), Ok("www.example.cn"));
    check(&[], Err(Refusal::NoServerName));
    check(&server_name(b"192.0.2.1"), Err(Refusal::IpLiteral));
    check(&server_name(b"2001:db8::1"), Err(Refusal::IpLiteral));
    for bad in
        [&b"www.example.cn."[..], b"", b"a\0b.cn", b"\xe4\xb8\xad.cn", b"a_b.cn", b"\xff.cn", &[b'a'; 300]]
    {
        check(&server_name(bad), Err(Refusal::BadServerName));
    }
    let twice = [server_name(b"www.example.cn"), server_name(b"www.example.cn")].concat();
    check(&twice, Err(Refusal::BadServerName));
    let two = vector16(&[name_entry(b"a.cn"), name_entry(b"b.cn")].concat());
    check(&extension(SERVER_NAME, &two), Err(Refusal::BadServerName));
    let esni = [server_name(b"www.example.cn"), extension(ENCRYPTED_SERVER_NAME, b"x")].concat();
    check(&esni, Err(Refusal::Esni));
    let grease = [server_name(b"www.example.cn"), extension(0xfe0d, b"x")].concat();
    check(&grease, Ok("www.example.cn"));
}

#[test]
fn an_empty_list_is_a_bad_name() {
    check(&extension(SERVER_NAME, &vector16(&[])), Err(Refusal::BadServerName));
}

#[test]
fn every_split_is_judged_like_the_whole() {
    let message = message(&server_name(b"www.example.cn"));
    for size in 1..=message.len() {
        let bytes = records(&message, size);
        let whole = read(&bytes);
        assert!(matches!(whole, HelloProgress::Whole(_)), "records of {size}");
        let mut reader = HelloReader::default();
        let mut last = HelloProgress::Wanting;
        for (place, byte) in bytes.iter().enumerate() {
            assert_eq!(last, HelloProgress::Wanting, "at {place} of {}", bytes.len());
            last = reader.advance(&[*byte]);
        }
        assert_eq!(last, whole);
        assert_eq!(read(&reader.into_records(&bytes[bytes.len() - 1..])), whole);
    }
}

#[test]
fn what_follows_a_hello_is_kept_with_it() {
    let message = message(&server_name(b"www.example.cn"));
    for size in [20, RECORD_BYTES] {
        let bytes = [&records(&message, size)[..], b"more"].concat();
        let mut reader = HelloReader::default();
        assert!(matches!(reader.advance(&bytes), HelloProgress::Whole(_)));
        assert_eq!(*reader.into_records(&bytes), [&records(&message, RECORD_BYTES)[..], b"more"].concat());
    }
}

#[test]
fn every_prefix_wants_more() {
    let bytes = records(&message(&server_name(b"www.example.cn")), 20);
    for end in 0..bytes.len() {
        assert_eq!(read(&bytes[..end]), HelloProgress::Wanting, "{end}");
    }
}

#[test]
fn what_is_no_hello_is_told_at_once() {
    assert_eq!(read(b"G"), HelloProgress::Refused(Refusal::NotTls));
    assert_eq!(read(&[0x80, 0x2e, 1]), HelloProgress::Refused(Refusal::NotTls));
    assert_eq!(read(&[HANDSHAKE, 2]), HelloProgress::Refused(Refusal::BadHello));
    assert_eq!(read(&[HANDSHAKE, 3, 1, 0, 0]), HelloProgress::Refused(Refusal::BadHello), "an empty record");
    assert_eq!(
        read(&[HANDSHAKE, 3, 1, 0x40, 1]),
        HelloProgress::Refused(Refusal::BadHello),
        "too long a record"
    );
    assert_eq!(
        read(&[HANDSHAKE, 3, 1, 0, 1, 2]),
        HelloProgress::Refused(Refusal::BadHello),
        "no ClientHello"
    );
    assert_eq!(
        read(&[HANDSHAKE, 3, 1, 0, 4, 1, 1, 0, 0]),
        HelloProgress::Refused(Refusal::BadHello),
        "too long"
    );
    let whole = message(&server_name(b"www.example.cn"));
    let trailing = [&whole[..], b"x"].concat();
    assert_eq!(read(&records(&trailing, RECORD_BYTES)), HelloProgress::Refused(Refusal::BadHello));
    let mut interleaved = records(&whole, 20);
    interleaved[25] = 21;
    assert_eq!(read(&interleaved), HelloProgress::Refused(Refusal::BadHello));
}

#[test]
fn a_message_cut_short_inside_is_bad() {
    let whole = message(&server_name(b"www.example.cn"));
    for cut in MESSAGE_HEADER_BYTES..whole.len() {
        let mut short = whole[..cut].to_vec();
        let length = u32::try_from(cut - MESSAGE_HEADER_BYTES).expect("short").to_be_bytes();
        short[1..4].copy_from_slice(&length[1..]);
        let progress = read(&records(&short, RECORD_BYTES));
        // A hello may end before its extensions (RFC 8446, 4.1.2): then it names nobody.
        let extensionless = Hello { host: Err(Refusal::NoServerName), shown: None, offer: Offer::Modern };
        assert!(
            progress == HelloProgress::Refused(Refusal::BadHello)
                || progress == HelloProgress::Whole(extensionless),
            "{cut}: {progress:?}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        read(&bytes);
        read(&records(&[&[CLIENT_HELLO, 0, 0, u8::try_from(bytes.len()).unwrap_or(255)], &bytes[..]].concat(), 100));
    }
}
