//! The encoding of packed records: numbers, texts and addresses.
//!
//! Numbers are LEB128, the lowest seven bits first; signed numbers are zigzag encoded. A text is its length
//! and its bytes. Reading arbitrary bytes gives a value or `None`, never a panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Bytes of the longest number: 64 bits in groups of seven.
const LONGEST: usize = 10;

/// Appends a number.
pub fn write_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a signed number.
pub fn write_signed(number: i64, out: &mut Vec<u8>) {
    write_number(((number << 1) ^ (number >> 63)) as u64, out);
}

/// Appends the length of `bytes`, and the bytes.
pub fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_number(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Appends an address: the kind of the IP address, its bytes, its scope if it has one, and the port.
pub fn write_address(address: SocketAddr, out: &mut Vec<u8>) {
    match address {
        SocketAddr::V6(scoped) if scoped.scope_id() != 0 => {
            out.push(7);
            out.extend_from_slice(&scoped.ip().octets());
            out.extend_from_slice(&scoped.scope_id().to_le_bytes());
        }
        _ => write_ip(address.ip(), out),
    }
    out.extend_from_slice(&address.port().to_le_bytes());
}

/// Appends an IP address: its kind and its bytes.
pub fn write_ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend_from_slice(&ip.octets());
        }
    }
}

/// Reads encoded values from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Wire<'b>(pub &'b [u8]);

impl<'b> Wire<'b> {
    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.first_chunk().copied()
    }

    /// One byte.
    pub fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Two bytes.
    pub fn short(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// A number.
    pub fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for place in 0..LONGEST {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if place + 1 == LONGEST && bits > 1 {
                return None;
            }
            number |= bits << (7 * place);
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// A signed number.
    pub fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// Bytes after their length.
    pub fn bytes(&mut self) -> Option<&'b [u8]> {
        let length = self.number()?;
        self.take(usize::try_from(length).ok()?)
    }

    /// A UTF-8 text after its length.
    pub fn text(&mut self) -> Option<&'b str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// An address.
    pub fn address(&mut self) -> Option<SocketAddr> {
        if self.0.first() == Some(&7) {
            self.byte()?;
            let (ip, scope) = (Ipv6Addr::from(self.array::<16>()?), u32::from_le_bytes(self.array()?));
            return Some(SocketAddrV6::new(ip, self.short()?, 0, scope).into());
        }
        Some(SocketAddr::new(self.ip()?, self.short()?))
    }

    /// An IP address.
    pub fn ip(&mut self) -> Option<IpAddr> {
        match self.byte()? {
            4 => Some(Ipv4Addr::from(self.array::<4>()?).into()),
            6 => Some(Ipv6Addr::from(self.array::<16>()?).into()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_no_part_of_it() {
        let mut out = Vec::new();
        let numbers = [0, 1, 127, 128, 16_383, 16_384, u64::MAX - 1, u64::MAX];
        let signed = [0, -1, 1, i64::MIN, i64::MAX];
        let addresses = ["192.0.2.1:80", "[2001:db8::1]:443", "[fe80::1%3]:8080"]
            .map(|text| text.parse::<SocketAddr>().expect("an address"));
        numbers.iter().for_each(|number| write_number(*number, &mut out));
        signed.iter().for_each(|number| write_signed(*number, &mut out));
        addresses.iter().for_each(|address| write_address(*address, &mut out));
        write_bytes("京".as_bytes(), &mut out);
        let read = |bytes: &[u8]| -> Option<()> {
            let mut wire = Wire(bytes);
            for number in numbers {
                assert_eq!(wire.number()?, number);
            }
            for number in signed {
                assert_eq!(wire.signed()?, number);
            }
            for address in addresses {
                assert_eq!(wire.address()?, address);
            }
            assert_eq!(wire.text()?, "京");
            Some(())
        };
        assert_eq!(read(&out), Some(()));
        for cut in 0..out.len() {
            assert_eq!(read(&out[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_none() {
        assert_eq!(Wire(&[0xff; 11]).number(), None);
        assert_eq!(Wire(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).number(), None);
    }
}
