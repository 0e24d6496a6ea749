//! Fatbins: PTX texts and cubins for several architectures in one file, as `nvcc -fatbin` writes them.
//!
//! A region is a header of 16 bytes (magic, version, header size, size of what follows) and entries, each with a header of 64
//! bytes or more. The layout was read off files that nvcc 13 wrote for known sources.

use std::io::Read;

use super::{ContainerError, Image};

/// First four bytes of a region.
pub const MAGIC: u32 = 0xBA55_ED50;

/// Bytes of a region's header: what [`total_size`] needs.
pub const HEADER_BYTES: usize = 16;

/// Shortest header of an entry.
const ENTRY_HEADER_BYTES: u64 = 64;

/// Content that is decompressed from all entries together: more is taken for damage, or for an attack on memory.
const MAX_CONTENT_BYTES: u64 = 1 << 29;

/// LZ4 cannot make data smaller than by this factor.
const LZ4_MAX_RATIO: u64 = 255;

const FLAG_LEGACY_COMPRESSION: u64 = 0x1000;
const FLAG_LZ4: u64 = 0x2000;
const FLAG_ZSTD: u64 = 0x8000;
const FLAG_ARCHITECTURE_SPECIFIC: u64 = 0x10_0000;
const FLAG_FAMILY_SPECIFIC: u64 = 0x20_0000;

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PTX text.
    Ptx,
    /// A cubin.
    Elf,
    /// Something else, by its number: intermediate code for link-time optimisation, for one.
    Other(u16),
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it holds.
    pub kind: Kind,
    /// 80 of `sm_80`.
    pub architecture: u32,
    /// `a` of `sm_90a`, `f` of `sm_100f`.
    pub suffix: Option<char>,
    /// Version of the PTX language (9, 0), or of the cubin format.
    pub version: (u16, u16),
    /// All flags as stored.
    pub flags: u64,
    /// The content, decompressed; PTX text without the NUL bytes at its end.
    pub payload: Vec<u8>,
}

/// Size in bytes of the region that begins with `header`, so that a bare pointer can become a slice: read [`HEADER_BYTES`] bytes,
/// ask this, and take that many from the same address.
///
/// # Errors
/// `header` is too short or not that of a region.
pub fn total_size(header: &[u8]) -> Result<usize, ContainerError> {
    let image = Image { container: "fatbin", bytes: header };
    let (header_bytes, size) = region(&image, 0)?;
    usize::try_from(size)
        .ok()
        .and_then(|size| size.checked_add(header_bytes as usize))
        .ok_or_else(|| image.error(8, "the size exceeds the address space"))
}

/// Reads all regions of `bytes`; zeros may lie between and behind them.
///
/// # Errors
/// Anything that is not laid out as a fatbin, with its place.
pub fn read(bytes: &[u8]) -> Result<Vec<Entry>, ContainerError> {
    let image = Image { container: "fatbin", bytes };
    let mut entries = Vec::new();
    let mut at = 0;
    loop {
        let (header_bytes, size) = region(&image, at)?;
        let start = at + header_bytes;
        image.slice(start, size)?;
        let end = start + size;
        let mut entry_at = start;
        while entry_at < end {
            entry_at = read_entry(&image, entry_at, end, &mut entries)?;
        }
        let rest = &bytes[end as usize..];
        match rest.iter().position(|byte| *byte != 0) {
            Some(zeros) => at = end + zeros as u64,
            None => return Ok(entries),
        }
    }
}

/// Checks a region's header: its own size and the size of what follows.
fn region(image: &Image<'_>, at: u64) -> Result<(u64, u64), ContainerError> {
    let magic = image.u32(at)?;
    if magic != MAGIC {
        let message = format!("{magic:#010x} is not the magic number of a fatbin, {MAGIC:#010x}");
        return Err(image.error(at as usize, message));
    }
    let version = image.u16(at + 4)?;
    let header_bytes = u64::from(image.u16(at + 6)?);
    if version != 1 || header_bytes < HEADER_BYTES as u64 {
        let message = format!("version {version} with a header of {header_bytes} bytes is unknown");
        return Err(image.error(at as usize + 4, message));
    }
    Ok((header_bytes, image.u64(at + 8)?))
}

/// Reads the entry at `at` of a region that ends at `end`; returns where the next one begins.
fn read_entry(image: &Image<'_>, at: u64, end: u64, entries: &mut Vec<Entry>) -> Result<u64, ContainerError> {
    let position = at as usize;
    let kind = image.u16(at)?;
    let header_bytes = u64::from(image.u32(at + 4)?);
    let padded_bytes = image.u64(at + 8)?;
    let next = at.checked_add(header_bytes).and_then(|start| start.checked_add(padded_bytes));
    let Some(next) = next.filter(|next| header_bytes >= ENTRY_HEADER_BYTES && *next <= end) else {
        let message = format!("an entry of {header_bytes} + {padded_bytes} bytes does not fit its region");
        return Err(image.error(position, message));
    };
    let compressed_bytes = u64::from(image.u32(at + 16)?);
    let flags = image.u64(at + 40)?;
    let uncompressed_bytes = image.u64(at + 56)?;
    let padded = image.slice(at + header_bytes, padded_bytes)?;
    let compressed = match compressed_bytes {
        0 => padded,
        n if n <= padded_bytes => &padded[..n as usize],
        n => {
            let message = format!("{n} compressed bytes in an entry of {padded_bytes}");
            return Err(image.error(position + 16, message));
        }
    };
    let before: u64 = entries.iter().map(|entry| entry.payload.len() as u64).sum();
    let mut payload = decompress(flags, compressed, uncompressed_bytes, MAX_CONTENT_BYTES.saturating_sub(before))
        .map_err(|message| image.error(position + header_bytes as usize, message))?;
    let kind = match kind {
        1 => Kind::Ptx,
        2 => Kind::Elf,
        other => Kind::Other(other),
    };
    if kind == Kind::Ptx {
        let length = payload.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        payload.truncate(length);
    }
    entries.push(Entry {
        kind,
        architecture: image.u32(at + 28)?,
        suffix: match flags {
            flags if flags & FLAG_ARCHITECTURE_SPECIFIC != 0 => Some('a'),
            flags if flags & FLAG_FAMILY_SPECIFIC != 0 => Some('f'),
            _ => None,
        },
        version: (image.u16(at + 26)?, image.u16(at + 24)?),
        flags,
        payload,
    });
    Ok(next)
}

/// The content of an entry; `size` is what it claims to have, `room` what it may have.
fn decompress(flags: u64, bytes: &[u8], size: u64, room: u64) -> Result<Vec<u8>, String> {
    let compression = flags & (FLAG_LEGACY_COMPRESSION | FLAG_LZ4 | FLAG_ZSTD);
    if compression == 0 {
        return Ok(bytes.to_vec());
    }
    if size > room {
        return Err(format!("{size} bytes of content exceed the limit of {MAX_CONTENT_BYTES} for all entries"));
    }
    let content = match compression {
        FLAG_ZSTD => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(bytes).map_err(|e| format!("zstd: {e}"))?;
            let mut content = Vec::new();
            // One byte more than promised shows content that is too long, without reading all of it.
            let read = decoder.take(size + 1).read_to_end(&mut content);
            read.map_err(|e| format!("zstd: {e}"))?;
            content
        }
        FLAG_LZ4 => {
            if size > LZ4_MAX_RATIO * bytes.len() as u64 {
                return Err(format!("lz4: {} bytes cannot hold {size}", bytes.len()));
            }
            lz4_flex::block::decompress(bytes, size as usize).map_err(|e| format!("lz4: {e}"))?
        }
        _ => {
            return Err(format!("compression {compression:#x} is not supported, only zstd and LZ4"));
        }
    };
    match content.len() as u64 == size {
        true => Ok(content),
        false => Err(format!("the content has not the promised {size} bytes")),
    }
}
