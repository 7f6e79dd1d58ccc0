//! A body on its way to the client: it is decoded, mapped to copied assets, gets the footer, and is encoded, as far as
//! each applies.
//!
//! Work is done in steps, each of at most [`PIECE`] bytes of input and as many decoded, so that a large or hostile body
//! takes no thread for itself. What comes out does not depend on how the body is cut, except for where it is flushed.

use bytes::Bytes;

use super::encode::{EncodedBytes, Encoder, EncoderFailed};
use super::{
    AssetCounts, AssetMapper, AssetReport, BadCoding, Decoder, FooterResult, Injector, MapResult, PIECE,
};

/// The most that an encoder holds, in bytes.
const ENCODER: usize = 256 << 10;

/// Why a body cannot be completed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Broken {
    /// The origin's body is damaged, or incomplete.
    #[error(transparent)]
    Coding(#[from] BadCoding),
    /// The encoder failed.
    #[error(transparent)]
    Encoder(#[from] EncoderFailed),
}

/// Converts one body: [`feed`](Self::feed) takes input, [`step`](Self::step) works on it until the conversion
/// [is hungry](Self::is_hungry), [`finish`](Self::finish) completes it.
#[derive(Debug)]
pub struct Conversion {
    source: Source,
    mapper: Option<AssetMapper>,
    /// What it has done.
    mapped: Option<MapResult>,
    /// Reads what is left of foreign assets, before the footer is in.
    assets: Option<AssetReport>,
    injector: Option<Injector>,
    encoder: Option<Encoder>,
    /// Whether every chunk is flushed.
    flushes_chunks: bool,
    /// Why it cannot be completed.
    broken: Option<Broken>,
}

/// Input that is not worked on yet.
#[derive(Debug)]
enum Source {
    Plain(Bytes),
    Coded(Decoder),
}

impl Conversion {
    /// Of a body that is decoded, injected and encoded by those that are given, in this order.
    pub fn new(decoder: Option<Decoder>, injector: Option<Injector>, encoder: Option<Encoder>) -> Self {
        let source = decoder.map_or(Source::Plain(Bytes::new()), Source::Coded);
        Self {
            source,
            mapper: None,
            mapped: None,
            assets: None,
            injector,
            encoder,
            flushes_chunks: false,
            broken: None,
        }
    }

    /// Flushes after every chunk that is fed: it may be all that the client waits for.
    #[must_use]
    pub fn flushing_chunks(self, flushes_chunks: bool) -> Self {
        Self { flushes_chunks, ..self }
    }

    /// Maps references to copied assets.
    #[must_use]
    pub fn mapping(self, mapper: Option<AssetMapper>) -> Self {
        Self { mapper, ..self }
    }

    /// Counts the page's foreign assets, those that are mapped apart.
    #[must_use]
    pub fn counting_assets(self, assets: Option<AssetReport>) -> Self {
        Self { assets, ..self }
    }

    /// The foreign assets of what has been converted, if they are counted.
    pub fn take_assets(&mut self) -> Option<AssetCounts> {
        self.assets.take().map(AssetReport::finish)
    }

    /// What was done to references, once the body is complete.
    pub fn mapped(&self) -> Option<MapResult> {
        self.mapped
    }

    /// What it takes in memory, in bytes, its input included.
    pub fn bytes(&self) -> usize {
        let source = match &self.source {
            Source::Plain(held) => held.len(),
            Source::Coded(decoder) => decoder.bytes(),
        };
        let mapper = self.mapper.as_ref().map_or(0, AssetMapper::bytes);
        source + mapper + if self.encoder.is_some() { ENCODER } else { 0 }
    }

    /// Takes the next bytes of the body.
    pub fn feed(&mut self, bytes: Bytes) {
        match &mut self.source {
            Source::Plain(held) if held.is_empty() => *held = bytes,
            Source::Plain(held) => *held = [&**held, &*bytes].concat().into(),
            Source::Coded(decoder) => decoder.feed(bytes),
        }
    }

    /// Whether there is nothing to do before more input.
    pub fn is_hungry(&self) -> bool {
        match &self.source {
            Source::Plain(held) => held.is_empty(),
            Source::Coded(decoder) => decoder.is_hungry(),
        }
    }

    /// Works on the next piece.
    pub fn step(&mut self, out: &mut impl FnMut(Bytes)) -> Result<(), Broken> {
        let outcome = self.convert(out);
        self.broken = self.broken.or(outcome.err());
        outcome
    }

    fn convert(&mut self, out: &mut impl FnMut(Bytes)) -> Result<(), Broken> {
        let piece = match &mut self.source {
            Source::Plain(held) => held.split_to(held.len().min(PIECE)),
            Source::Coded(decoder) => decoder.step()?,
        };
        let piece = match &mut self.mapper {
            Some(mapper) => mapper.push(piece),
            None => piece,
        };
        self.pass_on(piece, out)?;
        if self.flushes_chunks && self.is_hungry() { self.flush(out) } else { Ok(()) }
    }

    /// Passes bytes on that are decoded and mapped.
    fn pass_on(&mut self, piece: Bytes, out: &mut impl FnMut(Bytes)) -> Result<(), Broken> {
        if let Some(assets) = &mut self.assets {
            assets.read(&piece);
        }
        let (injector, encoder) = (&mut self.injector, &mut self.encoder);
        let mut outcome = Ok(());
        let mut leave = |part| {
            if outcome.is_ok() {
                outcome = encode(encoder, part, out);
            }
        };
        match injector {
            Some(injector) => injector.push(piece, &mut leave),
            None => leave(piece),
        }
        outcome
    }

    /// Whether the encoder holds input that the client could use.
    pub fn is_dirty(&self) -> bool {
        self.encoder.as_ref().is_some_and(Encoder::is_dirty)
    }

    /// Yields what the encoder holds.
    pub fn flush(&mut self, out: &mut impl FnMut(Bytes)) -> Result<(), Broken> {
        let outcome = self.encoder.as_mut().map_or(Ok(()), |encoder| encoder.flush(out));
        self.broken = self.broken.or(outcome.err().map(Broken::from));
        Ok(outcome?)
    }

    /// Completes the body, if all of it has come. Returns the footer's result.
    pub fn finish(&mut self, out: &mut impl FnMut(Bytes)) -> Result<Option<FooterResult>, Broken> {
        match (&self.source, self.broken) {
            (_, Some(broken)) => return Err(broken),
            (Source::Coded(decoder), None) if !decoder.is_whole() => return Err(BadCoding.into()),
            (Source::Coded(_) | Source::Plain(_), None) => {}
        }
        if let Some(mapper) = self.mapper.take() {
            let (rest, result) = mapper.finish();
            self.mapped = Some(result);
            self.pass_on(rest, out)?;
        }
        let encoder = &mut self.encoder;
        let mut outcome = Ok(());
        let result = self.injector.take().map(|injector| {
            injector.finish(&mut |part| {
                if outcome.is_ok() {
                    outcome = encode(encoder, part, out);
                }
            })
        });
        outcome?;
        if let Some(encoder) = encoder {
            encoder.finish(out)?;
        }
        Ok(result)
    }

    /// What the encoder has taken and yielded so far, if there is one.
    pub fn encoded(&self) -> Option<EncodedBytes> {
        self.encoder.as_ref().map(Encoder::bytes)
    }
}

fn encode(encoder: &mut Option<Encoder>, part: Bytes, out: &mut impl FnMut(Bytes)) -> Result<(), Broken> {
    match encoder {
        Some(encoder) => encoder.push(&part, out)?,
        None if part.is_empty() => {}
        None => out(part),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::gate::FilingNumber;
    use crate::rewrite::{Charset, Coding, Encoding, Footer};

    const PAGE: &str = "<!doctype html><html><body><p>text</p></body></html>";

    fn injector() -> Injector {
        let number = FilingNumber::parse("京ICP备2024012345号-1", 2026).unwrap();
        Injector::new(Footer::new(&number, None), Charset::Undeclared)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn gunzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
        out
    }

    /// What comes out of a body that comes in these chunks, flushed whenever nothing more is there if it `pauses`.
    fn convert<'c>(
        mut conversion: Conversion,
        chunks: impl IntoIterator<Item = &'c [u8]>,
        pauses: bool,
    ) -> Result<(Vec<u8>, Option<FooterResult>), Broken> {
        let mut out = Vec::new();
        let mut put = |part: Bytes| {
            assert!(!part.is_empty());
            out.extend_from_slice(&part);
        };
        for chunk in chunks {
            conversion.feed(Bytes::copy_from_slice(chunk));
            while !conversion.is_hungry() {
                conversion.step(&mut put)?;
            }
            if pauses {
                conversion.flush(&mut put)?;
                assert!(!conversion.is_dirty());
            }
        }
        let result = conversion.finish(&mut put)?;
        Ok((out, result))
    }

    #[test]
    fn every_cut_of_a_page_gives_the_same_page() {
        let (expected, _) =
            convert(Conversion::new(None, Some(injector()), None), [PAGE.as_bytes()], false).unwrap();
        assert!(expected.len() > PAGE.len());
        let coded = gzip(PAGE.as_bytes());
        for (decoder, body) in [(Some(Coding::Gzip), &*coded), (None, PAGE.as_bytes())] {
            for pauses in [false, true] {
                for place in 0..=body.len() {
                    let (first, second) = body.split_at(place);
                    let encoder = Encoder::new(Encoding::Gzip).unwrap();
                    let conversion =
                        Conversion::new(decoder.map(Decoder::new), Some(injector()), Some(encoder));
                    let (out, result) = convert(conversion, [first, second], pauses).unwrap();
                    assert_eq!(result, Some(FooterResult::Injected));
                    assert!(gunzip(&out) == expected, "{decoder:?} cut at {place}, {pauses}");
                }
            }
        }
    }

    #[test]
    fn a_body_that_breaks_off_is_never_completed() {
        let coded = gzip(PAGE.as_bytes());
        for length in 1..coded.len() {
            let encoder = Encoder::new(Encoding::Brotli).unwrap();
            let conversion = Conversion::new(Some(Decoder::new(Coding::Gzip)), None, Some(encoder));
            let outcome = convert(conversion, [&coded[..length]], false);
            assert_eq!(outcome, Err(Broken::Coding(BadCoding)), "{length} bytes");
        }
    }

    #[test]
    fn what_is_only_decoded_leaves_as_it_was() {
        let conversion = || Conversion::new(Some(Decoder::new(Coding::Gzip)), None, None);
        let coded = gzip(PAGE.as_bytes());
        assert_eq!(convert(conversion(), coded.chunks(3), true), Ok((PAGE.into(), None)));
        assert_eq!(convert(conversion(), [], false), Ok((Vec::new(), None)));
    }

    #[test]
    fn each_event_leaves_before_the_next_one_comes() {
        let encoder = Encoder::new(Encoding::Gzip).unwrap();
        let mut events = Conversion::new(None, None, Some(encoder)).flushing_chunks(true);
        for _ in 0..10 {
            let mut left = 0;
            events.feed(Bytes::from_static(b"data: 1\n\n"));
            while !events.is_hungry() {
                events.step(&mut |part| left += part.len()).unwrap();
            }
            assert!(left > 0 && !events.is_dirty());
        }
    }
}
