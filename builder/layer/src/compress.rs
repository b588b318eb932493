//! Compression of layers: same input, same bytes, for any number of threads. And decompression of what others wrote.
//!
//! The input arrives in blocks that the commit cuts; each is compressed alone, so blocks can be worked on side by side and
//! an unchanged block gives unchanged bytes.
//!
//! | | A block becomes | Around them |
//! |---|---|---|
//! | none | itself | – |
//! | gzip | raw deflate data that ends in a sync flush | one member: header (time 0, no name, OS 255) … empty final block, CRC-32, length |
//! | zstd | a frame with its content size | – (frames follow each other) |
//!
//! gzip's default level was chosen against the encoder of Go that other builders use (klauspost's, as `buildah push` has it), on
//! 212 MB of Debian's `/usr/share/doc` and Python libraries in blocks of 512 KiB. Go's makes 44.55 % of it. The lowest level that
//! is no larger is 4, and 5 is as fast as that (speeds are those on 60 MB of the same, of a busy machine, and rough):
//!
//! | Level | 1 | 2 | 3 | 4 | **5** | 6 | 7 | 9 |
//! |---|---|---|---|---|---|---|---|---|
//! | Size, % | 51.89 | 46.07 | 44.87 | 44.43 | **43.98** | 43.90 | 43.77 | 43.48 |
//! | Megabytes a CPU second | 115 | 67 | 53 | 54 | **54** | 51 | 30 | 17 |
//!
//! What is compressed already (pictures, archives, wheels) costs deflate the most time for nothing. So a block is tried by
//! samples first, and stored as it is when they do not shrink. One sample of 2 KiB in every 32 KiB sees any run of text that
//! would be worth it.

mod bomb;

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress};
use kiln_oci::{LayerCompression, MediaType};

use crate::limits::{XZ_MEMORY_KIB_MAX, ZSTD_WINDOW_LOG_MAX};
use bomb::{Counted, RatioReader};

/// The number of this form of compression, the cutting of blocks included; part of every key.
pub const COMPRESS_FORMAT: u32 = 2;

/// The gzip level used when none is asked for.
pub const GZIP_LEVEL_DEFAULT: u32 = 5;

/// The zstd level used when none is asked for.
pub const ZSTD_LEVEL_DEFAULT: i32 = 3;

/// A block is tried by one sample of this many bytes…
const SAMPLE_BYTES: usize = 2 * 1024;
/// …in every so many, and is compressed without trial when it has few of them.
const SAMPLE_STRIDE: usize = 32 * 1024;
const SAMPLES_MIN: usize = 4;
/// Samples that do not shrink by one part in so many are not worth compressing.
const GAIN_PARTS: usize = 64;

/// A stored block of deflate holds no more.
const STORED_BYTES_MAX: usize = 0xffff;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, levels 0 to 9.
    Gzip(u32),
    /// RFC 8878, levels 1 to 22.
    Zstd(i32),
}

impl Default for Compression {
    fn default() -> Self {
        Self::Gzip(GZIP_LEVEL_DEFAULT)
    }
}

impl std::fmt::Display for Compression {
    /// The name and level, as keys have them.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => formatter.write_str("none"),
            Self::Gzip(level) => write!(formatter, "gzip:{level}"),
            Self::Zstd(level) => write!(formatter, "zstd:{level}"),
        }
    }
}

impl Compression {
    /// zstd at its usual level.
    pub const ZSTD: Self = Self::Zstd(ZSTD_LEVEL_DEFAULT);

    /// Returns the media type of a layer compressed so.
    pub fn media_type(self) -> MediaType {
        match self {
            Self::None => MediaType::OCI_LAYER,
            Self::Gzip(_) => MediaType::OCI_LAYER_GZIP,
            Self::Zstd(_) => MediaType::OCI_LAYER_ZSTD,
        }
    }

    pub(crate) fn head(self) -> &'static [u8] {
        match self {
            Self::Gzip(_) => &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff],
            Self::None | Self::Zstd(_) => &[],
        }
    }

    /// The reverse of [`Compressor::block`]: puts a block of `length` plain bytes into `plain`, whose content before goes.
    pub(crate) fn plain_block(self, packed: &[u8], length: usize, plain: &mut Vec<u8>) -> io::Result<()> {
        plain.clear();
        plain.reserve(length);
        match self {
            Self::None => plain.extend_from_slice(packed),
            Self::Gzip(_) => {
                Decompress::new(false).decompress_vec(packed, plain, FlushDecompress::Sync)?;
            }
            Self::Zstd(_) => {
                zstd::bulk::Decompressor::new()?.decompress_to_buffer(packed, plain)?;
            }
        }
        if plain.len() == length { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// The end of the stream, given the CRC-32 and the length of everything plain; gzip stores the latter modulo 2^32.
    pub(crate) fn tail(self, crc: u32, length: u64) -> Vec<u8> {
        match self {
            Self::None | Self::Zstd(_) => Vec::new(),
            Self::Gzip(_) => {
                let mut tail = vec![3, 0];
                tail.extend_from_slice(&crc.to_le_bytes());
                tail.extend_from_slice(&(length as u32).to_le_bytes());
                tail
            }
        }
    }
}

/// Compresses blocks, one after the other, each as if it was the first.
pub(crate) struct Compressor {
    compression: Compression,
    /// Encoders of deflate by level, made when they are needed.
    deflate: BTreeMap<u32, Compress>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    sample: Vec<u8>,
    sample_packed: Vec<u8>,
}

impl Compressor {
    pub(crate) fn new(compression: Compression) -> Self {
        Self {
            compression,
            deflate: BTreeMap::new(),
            zstd: None,
            sample: Vec::new(),
            sample_packed: Vec::new(),
        }
    }

    /// Compresses `raw` into `packed`, whose content before goes.
    pub(crate) fn block(&mut self, raw: &[u8], packed: &mut Vec<u8>) -> io::Result<()> {
        packed.clear();
        match self.compression {
            Compression::None => packed.extend_from_slice(raw),
            Compression::Gzip(level) => {
                if level > 0 && self.shrinks(raw)? {
                    deflate(self.encoder(level.min(9)), raw, packed)?;
                } else {
                    store(raw, packed);
                }
            }
            Compression::Zstd(level) => {
                let encoder = match &mut self.zstd {
                    Some(encoder) => encoder,
                    none => none.insert(zstd::bulk::Compressor::new(level)?),
                };
                packed.reserve(zstd::zstd_safe::compress_bound(raw.len()));
                encoder.compress_to_buffer(raw, packed)?;
            }
        }
        Ok(())
    }

    fn encoder(&mut self, level: u32) -> &mut Compress {
        let encoder = || Compress::new(flate2::Compression::new(level), false);
        self.deflate.entry(level).or_insert_with(encoder)
    }

    /// Tells by samples whether compressing would make a block smaller.
    fn shrinks(&mut self, raw: &[u8]) -> io::Result<bool> {
        if raw.len() < SAMPLES_MIN * SAMPLE_STRIDE {
            return Ok(true);
        }
        let (mut sample, mut packed) =
            (std::mem::take(&mut self.sample), std::mem::take(&mut self.sample_packed));
        sample.clear();
        packed.clear();
        for part in raw.chunks(SAMPLE_STRIDE) {
            sample.extend_from_slice(&part[..part.len().min(SAMPLE_BYTES)]);
        }
        deflate(self.encoder(1), &sample, &mut packed)?;
        let shrinks = packed.len() < sample.len() - sample.len() / GAIN_PARTS;
        (self.sample, self.sample_packed) = (sample, packed);
        Ok(shrinks)
    }
}

/// Deflates in one call. With room to spare the encoder never stops for want of it, so what it writes depends on `raw` alone.
fn deflate(encoder: &mut Compress, raw: &[u8], packed: &mut Vec<u8>) -> io::Result<()> {
    encoder.reset();
    packed.reserve(raw.len() + raw.len() / 8 + 1024);
    encoder.compress_vec(raw, packed, FlushCompress::Sync)?;
    let is_whole = encoder.total_in() == raw.len() as u64 && packed.len() < packed.capacity();
    if is_whole { Ok(()) } else { Err(io::Error::other("deflate did not take all of a block")) }
}

/// Writes `raw` as stored blocks and the empty one of a sync flush (RFC 1951, 3.2.4). How zlib cuts such blocks depends on the
/// room it is given.
fn store(raw: &[u8], packed: &mut Vec<u8>) {
    packed.reserve(raw.len() + 5 * (raw.len() / STORED_BYTES_MAX + 2));
    for part in raw.chunks(STORED_BYTES_MAX).chain([&[][..]]) {
        let length = part.len() as u16;
        packed.push(0);
        packed.extend_from_slice(&length.to_le_bytes());
        packed.extend_from_slice(&(!length).to_le_bytes());
        packed.extend_from_slice(part);
    }
}

/// Returns `raw` as one zstd frame, for documents and packs of kiln's own that are no layers.
///
/// # Errors
/// When there is no memory for it.
pub fn zstd_frame(raw: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = Vec::new();
    Compressor::new(Compression::ZSTD).block(raw, &mut packed)?;
    Ok(packed)
}

/// Returns what a zstd frame holds, which must be no more than `bytes_max`.
///
/// # Errors
/// When it is damaged, or holds more.
pub fn from_zstd(packed: &[u8], bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    decompress(packed, Detected::Zstd)?.take(bytes_max + 1).read_to_end(&mut raw)?;
    if raw.len() as u64 > bytes_max {
        let message = format!("it holds more than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(raw)
}

/// What the first bytes of a file say about its compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detected {
    /// None of those below.
    Plain,
    /// gzip.
    Gzip,
    /// bzip2; in ADD archives only.
    Bzip2,
    /// xz; in ADD archives only.
    Xz,
    /// zstd, also behind skippable frames.
    Zstd,
}

/// Looks at the first bytes of a file.
pub fn detect(beginning: &[u8]) -> Detected {
    match beginning {
        [0x1f, 0x8b, 8, ..] => Detected::Gzip,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Detected::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Detected::Xz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Detected::Zstd,
        _ => Detected::Plain,
    }
}

/// Returns the plain bytes of what `reader` has, compressed as `how`.
///
/// # Errors
/// When a decoder cannot start. Damage shows as an error while reading, and so does what grows beyond all measure.
pub fn decompress<'a, R: BufRead + Send + 'a>(
    reader: R,
    how: Detected,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    if how == Detected::Plain {
        return Ok(Box::new(reader));
    }
    let reader = Counted::new(reader);
    let taken = reader.taken();
    let plain: Box<dyn Read + Send + 'a> = match how {
        Detected::Plain => Box::new(reader),
        Detected::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Detected::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(reader)),
        Detected::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(reader, true, XZ_MEMORY_KIB_MAX)),
        Detected::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
    };
    Ok(Box::new(RatioReader::new(plain, taken)))
}

/// Returns the plain bytes of a layer blob. Its first bytes decide; `expected`, from the media type, must not contradict them.
///
/// # Errors
/// When the blob is compressed otherwise than its media type says, or in a way that layers are not.
pub fn decompress_layer<'a, R: BufRead + Send + 'a>(
    mut reader: R,
    expected: Option<LayerCompression>,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let found = detect(reader.fill_buf()?);
    let refuse = |message: String| Err(io::Error::new(io::ErrorKind::InvalidData, message));
    match (found, expected) {
        (Detected::Bzip2 | Detected::Xz, _) => refuse(format!("layers cannot be compressed by {found:?}")),
        // Plain tar under a gzip media type exists in the wild, and so does the reverse; what the bytes are is what they are.
        (Detected::Gzip, Some(LayerCompression::Zstd)) | (Detected::Zstd, Some(LayerCompression::Gzip)) => {
            refuse(format!("the layer is compressed by {found:?}, its media type says otherwise"))
        }
        _ => decompress(reader, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that nothing compresses.
    fn noise(length: usize) -> Vec<u8> {
        let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn a_block_that_would_not_shrink_is_stored_and_any_other_is_compressed() {
        let mut mixed = noise(512 * 1024);
        mixed[100_000..180_000].fill(b'a');
        let rows = [
            ("noise", noise(512 * 1024), false),
            ("a little noise", noise(1000), true),
            ("text", b"some text ".repeat(50_000), true),
            ("noise around text", mixed, true),
        ];
        let mut compressor = Compressor::new(Compression::default());
        for (name, raw, expected) in rows {
            assert_eq!(compressor.shrinks(&raw).unwrap(), expected, "{name}");
            let mut packed = Vec::new();
            compressor.block(&raw, &mut packed).unwrap();
            assert!(packed.len() <= raw.len() + raw.len() / 10_000 + 16, "{name}: {}", packed.len());
            let mut plain = Vec::new();
            Compression::default().plain_block(&packed, raw.len(), &mut plain).unwrap();
            assert!(plain == raw, "{name}");
        }
    }

    #[test]
    fn a_block_comes_out_the_same_whatever_was_compressed_before() {
        let text = |seed: usize| -> Vec<u8> {
            let words = noise(20_000 + seed * 977);
            words.iter().flat_map(|byte| format!("{} ", byte % (3 + seed as u8)).into_bytes()).collect()
        };
        let blocks: Vec<Vec<u8>> =
            (0..6).map(|seed| if seed % 3 == 2 { noise(300_000) } else { text(seed) }).collect();
        for compression in
            [Compression::Gzip(5), Compression::Gzip(9), Compression::Zstd(3), Compression::Zstd(9)]
        {
            let mut used = Compressor::new(compression);
            let mut packed = Vec::new();
            for round in 0..2 {
                for (number, raw) in blocks.iter().enumerate().skip(round) {
                    used.block(raw, &mut packed).unwrap();
                    let mut fresh = Vec::new();
                    Compressor::new(compression).block(raw, &mut fresh).unwrap();
                    assert!(packed == fresh, "{compression:?}, block {number}");
                    let mut plain = Vec::new();
                    compression.plain_block(&packed, raw.len(), &mut plain).unwrap();
                    assert!(plain == *raw);
                }
            }
        }
    }
}
