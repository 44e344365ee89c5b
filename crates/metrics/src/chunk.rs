//! Parts of a response that are compressed once and sent many times.
//!
//! Each chunk is a sequence of independent deflate blocks, so that chunks can be concatenated into one gzip member; their
//! checksums are combined. Several members would be simpler, but not every client reads beyond the first. Text rendered per
//! response is not worth compressing and is sent in stored blocks.
//!
//! Source: RFC 1951, RFC 1952.

use std::io::Write;

use bytes::Bytes;
use flate2::write::DeflateDecoder;
use flate2::{Compress, Compression, Crc, FlushCompress};

/// The text is so regular that a higher level gains little.
const LEVEL: u32 = 3;
/// Header without name, time and operating system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// Empty final block.
const LAST_BLOCK: [u8; 2] = [3, 0];

/// Compressed text.
#[derive(Debug)]
pub struct Chunk {
    deflated: Bytes,
    crc: Crc,
    text: Option<Bytes>,
}

impl Chunk {
    /// Creates a chunk that is too short to be worth compressing.
    pub fn stored(text: String) -> Chunk {
        let mut crc = Crc::new();
        crc.update(text.as_bytes());
        Chunk {
            deflated: Bytes::from(stored_blocks(text.as_bytes())),
            crc,
            text: Some(Bytes::from(text)),
        }
    }

    /// Returns the length of the text.
    pub fn len(&self) -> usize {
        usize::try_from(self.crc.amount()).unwrap_or(usize::MAX)
    }

    /// Returns whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.crc.amount() == 0
    }

    /// Returns the text, decompressing it if necessary.
    pub fn text(&self) -> Bytes {
        if let Some(text) = &self.text {
            return text.clone();
        }
        let mut decoder = DeflateDecoder::new(Vec::with_capacity(self.len()));
        let inflated = decoder.write_all(&self.deflated).and_then(|()| {
            decoder.write_all(&LAST_BLOCK)?;
            decoder.finish()
        });
        Bytes::from(inflated.expect("data compressed here"))
    }
}

/// Start of a gzip member that is shared by responses; each response appends its own end.
#[derive(Debug)]
pub struct GzipPrefix {
    deflated: Bytes,
    crc: Crc,
}

impl Default for GzipPrefix {
    fn default() -> GzipPrefix {
        GzipPrefix::new(std::iter::empty())
    }
}

impl GzipPrefix {
    /// Concatenates chunks.
    pub fn new<'a>(chunks: impl Iterator<Item = &'a Chunk> + Clone) -> GzipPrefix {
        let n_bytes: usize = chunks.clone().map(|chunk| chunk.deflated.len()).sum();
        let mut deflated = Vec::with_capacity(GZIP_HEADER.len() + n_bytes);
        deflated.extend(GZIP_HEADER);
        let mut crc = Crc::new();
        for chunk in chunks.filter(|chunk| !chunk.is_empty()) {
            deflated.extend_from_slice(&chunk.deflated);
            crc.combine(&chunk.crc);
        }
        GzipPrefix {
            deflated: Bytes::from(deflated),
            crc,
        }
    }

    /// Returns the complete member with `tail` at its end.
    pub fn finish_with(&self, tail: &str) -> [Bytes; 2] {
        let mut crc = Crc::new();
        crc.combine(&self.crc);
        crc.update(tail.as_bytes());
        let mut end = stored_blocks(tail.as_bytes());
        end.extend(LAST_BLOCK);
        end.extend(crc.sum().to_le_bytes());
        end.extend(crc.amount().to_le_bytes());
        [self.deflated.clone(), Bytes::from(end)]
    }
}

/// Returns uncompressed blocks (RFC 1951, 3.2.4): type, length, complement of the length, bytes.
fn stored_blocks(bytes: &[u8]) -> Vec<u8> {
    let mut blocks = Vec::with_capacity(bytes.len() + 32);
    for block in bytes.chunks(usize::from(u16::MAX)) {
        let length = u16::try_from(block.len()).expect("blocks of at most 65,535 bytes");
        blocks.push(0);
        blocks.extend(length.to_le_bytes());
        blocks.extend((!length).to_le_bytes());
        blocks.extend_from_slice(block);
    }
    blocks
}

/// Reusable compressor; its state has hundreds of kilobytes, and one per chunk would fragment memory.
#[derive(Debug)]
pub struct Deflater {
    compress: Compress,
    deflated: Vec<u8>,
}

impl Default for Deflater {
    fn default() -> Deflater {
        Deflater {
            compress: Compress::new(Compression::new(LEVEL), false),
            deflated: Vec::new(),
        }
    }
}

impl Deflater {
    /// Compresses a text and optionally keeps it.
    pub fn chunk(&mut self, text: &str, keeps_text: bool) -> Chunk {
        let mut crc = Crc::new();
        crc.update(text.as_bytes());
        Chunk {
            deflated: self.deflate(text.as_bytes()),
            crc,
            text: keeps_text.then(|| Bytes::copy_from_slice(text.as_bytes())),
        }
    }

    /// Ends at a byte boundary and resets the dictionary.
    fn deflate(&mut self, text: &[u8]) -> Bytes {
        self.compress.reset();
        self.deflated.clear();
        self.deflated.reserve(text.len() / 8 + 64);
        loop {
            let done = usize::try_from(self.compress.total_in()).unwrap_or(usize::MAX);
            let rest = text.get(done..).unwrap_or_default();
            self.compress
                .compress_vec(rest, &mut self.deflated, FlushCompress::Full)
                .expect("a fresh compressor without a preset dictionary");
            let is_read =
                usize::try_from(self.compress.total_in()).unwrap_or(usize::MAX) >= text.len();
            // Remaining capacity means that the flush is complete.
            if is_read && self.deflated.len() < self.deflated.capacity() {
                return Bytes::copy_from_slice(&self.deflated);
            }
            self.deflated.reserve(self.deflated.capacity().max(1024));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gunzip(bytes: &[u8]) -> std::io::Result<String> {
        std::io::read_to_string(flate2::read::GzDecoder::new(bytes))
    }

    #[track_caller]
    fn check(texts: &[&str]) {
        let mut deflater = Deflater::default();
        let chunks: Vec<Chunk> = (0..)
            .zip(texts)
            .map(|(index, text)| match index % 3 {
                2 => Chunk::stored((*text).to_owned()),
                _ => deflater.chunk(text, index % 2 == 0),
            })
            .collect();
        let prefix = GzipPrefix::new(chunks.iter());
        for tail in texts.iter().chain(&[""]) {
            let whole: Vec<u8> = prefix.finish_with(tail).concat();
            assert_eq!(gunzip(&whole).unwrap(), texts.concat() + tail);
        }
        for (chunk, text) in chunks.iter().zip(texts) {
            assert_eq!(chunk.text(), text.as_bytes());
            assert_eq!(chunk.len(), text.len());
        }
    }

    #[test]
    fn chunks_form_one_gzip_member() {
        check(&[]);
        check(&["", "a", ""]);
        check(&["one\n", "two\n", "three\n"]);
        let long: String = (0..50_000_u64)
            .map(|n| format!("series_{} {}\n", n % 77, n.wrapping_mul(0x9E37_79B9)))
            .collect();
        check(&[&long, "tail\n", &long]);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_chunks_round_trip(texts in proptest::collection::vec("\\PC{0,300}", 0..8)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            check(&texts);
        }
    }
}
