//! A piece of an answer, compressed once and sent many times.
//!
//! Each piece is a run of deflate blocks that refers to nothing before it, so that pieces can be strung together in one gzip
//! member; its checksum is kept, since checksums of pieces combine to that of the whole. Several members would be simpler,
//! but not every client reads beyond the first. What is written anew for each answer is not worth compressing: it goes into
//! stored blocks.
//!
//! Source: RFC 1951, RFC 1952.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::DeflateDecoder;
use flate2::{Compress, Compression, Crc, FlushCompress};

/// Fast: the text is so regular that a higher level gains little.
const LEVEL: u32 = 3;
/// A member without a name, a time or a system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// The last block, which is empty: final, fixed codes, end of block.
const LAST_BLOCK: [u8; 2] = [3, 0];

/// A piece of text, ready to be sent compressed.
#[derive(Debug)]
pub struct Chunk {
    deflated: Bytes,
    crc: Crc,
    text: Option<Bytes>,
}

impl Chunk {
    /// A piece that is too short to be worth compressing.
    pub fn stored(text: String) -> Chunk {
        let mut crc = Crc::new();
        crc.update(text.as_bytes());
        Chunk {
            deflated: Bytes::from(stored_blocks(text.as_bytes())),
            crc,
            text: Some(Bytes::from(text)),
        }
    }

    /// Whether it holds this text, by length and checksum.
    pub fn holds(&self, text: &str) -> bool {
        let mut crc = Crc::new();
        crc.update(text.as_bytes());
        crc.sum() == self.crc.sum() && crc.amount() == self.crc.amount()
    }

    /// Its length as text.
    pub fn len(&self) -> usize {
        usize::try_from(self.crc.amount()).unwrap_or(usize::MAX)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.crc.amount() == 0
    }

    /// Whether the text itself is kept.
    pub fn has_text(&self) -> bool {
        self.text.is_some()
    }

    /// The text; decompressed where only that is kept.
    pub fn text(&self) -> Bytes {
        if let Some(text) = &self.text {
            return text.clone();
        }
        let mut decoder = DeflateDecoder::new(Vec::with_capacity(self.len()));
        let inflated = decoder.write_all(&self.deflated).and_then(|()| {
            decoder.write_all(&LAST_BLOCK)?;
            decoder.finish()
        });
        Bytes::from(inflated.expect("what was compressed here"))
    }
}

/// The beginning of a gzip member: many pieces, strung together once. Each answer adds its own end.
#[derive(Debug)]
pub struct Strung {
    /// With the header.
    deflated: Bytes,
    crc: Crc,
}

impl Default for Strung {
    fn default() -> Strung {
        Strung::of(std::iter::empty())
    }
}

impl Strung {
    /// Of pieces, in their order.
    pub fn of<'a>(chunks: impl Iterator<Item = &'a Chunk> + Clone) -> Strung {
        let n_bytes: usize = chunks.clone().map(|chunk| chunk.deflated.len()).sum();
        let mut deflated = Vec::with_capacity(GZIP_HEADER.len() + n_bytes);
        deflated.extend(GZIP_HEADER);
        let mut crc = Crc::new();
        for chunk in chunks.filter(|chunk| !chunk.is_empty()) {
            deflated.extend_from_slice(&chunk.deflated);
            crc.combine(&chunk.crc);
        }
        Strung {
            deflated: Bytes::from(deflated),
            crc,
        }
    }

    /// The whole member, with `tail` at its end.
    pub fn ended_with(&self, tail: &str) -> [Bytes; 2] {
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

/// Blocks that hold their bytes as they are (RFC 1951, 3.2.4): a byte that says so, the length, its complement, the bytes.
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

/// Makes pieces, one after the other. The compressor's state is hundreds of kilobytes: one for each piece would leave holes
/// of that size between the pieces in memory.
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
    /// Compresses a piece, and keeps the text itself where that is wanted.
    pub fn chunk(&mut self, text: &str, is_text_kept: bool) -> Chunk {
        let mut crc = Crc::new();
        crc.update(text.as_bytes());
        Chunk {
            deflated: self.deflate(text.as_bytes()),
            crc,
            text: is_text_kept.then(|| Bytes::copy_from_slice(text.as_bytes())),
        }
    }

    /// Blocks that end at a byte and after which the dictionary begins anew.
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
            // Room that is left means that the flush is complete.
            if is_read && self.deflated.len() < self.deflated.capacity() {
                return Bytes::copy_from_slice(&self.deflated);
            }
            self.deflated.reserve(self.deflated.capacity().max(1024));
        }
    }
}

/// The text of a gzip stream: what a client reads.
pub fn gunzip(bytes: &[u8]) -> io::Result<String> {
    io::read_to_string(flate2::read::GzDecoder::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(texts: &[&str]) {
        let mut deflater = Deflater::default();
        let chunks: Vec<Chunk> = (0..)
            .zip(texts)
            .map(|(place, text)| match place % 3 {
                2 => Chunk::stored((*text).to_owned()),
                _ => deflater.chunk(text, place % 2 == 0),
            })
            .collect();
        let strung = Strung::of(chunks.iter());
        for tail in texts.iter().chain(&[""]) {
            let whole: Vec<u8> = strung.ended_with(tail).concat();
            assert_eq!(gunzip(&whole).unwrap(), texts.concat() + tail);
        }
        for (chunk, text) in chunks.iter().zip(texts) {
            assert_eq!(chunk.text(), text.as_bytes());
            assert!(chunk.holds(text) && !chunk.holds("something else"));
        }
    }

    #[test]
    fn pieces_make_one_member_that_any_client_reads() {
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
        fn any_pieces_come_back(texts in proptest::collection::vec("\\PC{0,300}", 0..8)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            check(&texts);
        }
    }
}
