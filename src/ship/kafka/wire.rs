//! The primitive types of Kafka's protocol, in the encodings before version tags ("non-flexible").
//!
//! No length that a broker sends is trusted: nothing is allocated for elements that are not there.

/// Builds a request.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn int8(&mut self, value: i8) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn int16(&mut self, value: i16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn int32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn int64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// A length or a count. Everything that is sent is far below 2 GiB.
    pub(super) fn length(&mut self, length: usize) {
        self.int32(i32::try_from(length).unwrap_or(i32::MAX));
    }

    /// At most 32,767 bytes, as every name in a configuration is.
    pub(super) fn string(&mut self, text: &str) {
        self.int16(i16::try_from(text.len()).unwrap_or(i16::MAX));
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn null_string(&mut self) {
        self.int16(-1);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// A signed number, zigzag, seven bits a byte.
    pub(super) fn varint(&mut self, value: i64) {
        let mut rest = ((value << 1) ^ (value >> 63)) as u64;
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
    }
}

/// An answer that ends early or holds what it may not.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an answer that is none of Kafka's: {0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// Takes an answer apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed("it ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed("it ends early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn int8(&mut self) -> Result<i8, Malformed> {
        self.array().map(i8::from_be_bytes)
    }

    pub(super) fn int16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn int32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn int64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    pub(super) fn nullable_string(&mut self) -> Result<Option<&'b str>, Malformed> {
        let Ok(length) = usize::try_from(self.int16()?) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(self.take(length)?);
        text.map(Some).map_err(|_| Malformed("a string that is not UTF-8"))
    }

    pub(super) fn string(&mut self) -> Result<&'b str, Malformed> {
        self.nullable_string()?.ok_or(Malformed("a null string where one is required"))
    }

    pub(super) fn bytes(&mut self) -> Result<&'b [u8], Malformed> {
        let length = usize::try_from(self.int32()?).map_err(|_| Malformed("a negative length"))?;
        self.take(length)
    }

    /// Calls `element` for each element of an array; none where it is null.
    pub(super) fn each(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        for _ in 0..self.int32()?.max(0) {
            element(self)?;
        }
        Ok(())
    }

    /// The elements of an array.
    pub(super) fn list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let mut elements = Vec::new();
        self.each(|reader| {
            elements.push(element(reader)?);
            Ok(())
        })?;
        Ok(elements)
    }
}
