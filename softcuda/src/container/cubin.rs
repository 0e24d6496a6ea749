//! Cubins: what the compiler of machine code says about each kernel's resources.
//!
//! A cubin is an ELF file. Section `.nv.info` holds attributes of all functions, `.nv.info.<kernel>` those of one; an attribute is a
//! format byte, an attribute byte, and 16 bits that are its value or the size of the value behind them.

use std::collections::HashMap;

use super::{ContainerError, Image};

/// First four bytes.
pub const MAGIC: u32 = u32::from_le_bytes(*b"\x7fELF");

/// Bytes of the ELF header: what [`total_size`] needs.
pub const HEADER_BYTES: usize = 64;

/// Shared memory that the system takes in each block from sm_90 on; `.nv.shared.<kernel>` includes it.
const RESERVED_SHARED_BYTES: u64 = 1024;

const SECTION_NO_BITS: u32 = 8;
const SYMBOL_FUNCTION: u8 = 2;
/// Bit of a symbol's `st_other` that marks a kernel.
const SYMBOL_IS_ENTRY: u8 = 0x10;

/// Value is a byte, 16 bits, or the size of the bytes that follow.
const FORMAT_BYTE: u8 = 2;
const FORMAT_HALF: u8 = 3;
const FORMAT_SIZED: u8 = 4;
const ATTRIBUTE_MAX_THREADS: u8 = 0x05;
const ATTRIBUTE_REQUIRED_BLOCK: u8 = 0x10;
const ATTRIBUTE_FRAME_SIZE: u8 = 0x11;
const ATTRIBUTE_MIN_STACK_SIZE: u8 = 0x12;
const ATTRIBUTE_PARAM_BYTES: u8 = 0x19;
const ATTRIBUTE_REGISTERS: u8 = 0x2F;
const ATTRIBUTE_BARRIERS: u8 = 0x4C;

/// A cubin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cubin {
    /// 80 of `sm_80`.
    pub architecture: u32,
    /// `__constant__` variables of the module.
    pub constant_bytes: u64,
    /// Its kernels, in the order of its symbols.
    pub kernels: Vec<Kernel>,
}

/// Resources of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its name in the PTX.
    pub name: String,
    /// Registers of a thread.
    pub registers: u32,
    /// Static shared memory of a block, without what the system reserves.
    pub static_shared_bytes: u64,
    /// Local memory of a thread: its stack, calls included.
    pub local_bytes: u64,
    /// Size of the constant bank that holds the parameters: driver data, parameters and literals.
    pub constant_bank_bytes: u64,
    /// `.maxntid` or `.reqntid`, multiplied out.
    pub max_threads: Option<u32>,
    /// Named barriers used.
    pub barriers: u32,
    /// Size of the parameter block.
    pub param_bytes: u32,
}

#[derive(Clone, Copy)]
struct Section<'a> {
    name: &'a str,
    offset: u64,
    size: u64,
    link: u32,
    info: u32,
    in_file: bool,
}

/// An attribute: number, 16-bit value, and the bytes behind it where it has a size.
struct Attribute<'a> {
    number: u8,
    value: u16,
    bytes: &'a [u8],
}

/// Size in bytes of the cubin that begins with `header`: section and program headers stand at its end.
///
/// # Errors
/// `header` is too short or not that of a cubin.
pub fn total_size(header: &[u8]) -> Result<usize, ContainerError> {
    let image = image(header);
    check_header(&image)?;
    let table = |offset: u64, count: u64, size: u64| -> Result<u64, ContainerError> {
        let bytes = u64::from(image.u16(count)?) * u64::from(image.u16(size)?);
        let end = image.u64(offset)?.checked_add(bytes);
        end.ok_or_else(|| image.error(offset as usize, "the size exceeds the address space"))
    };
    let end = table(0x20, 0x38, 0x36)?.max(table(0x28, 0x3C, 0x3A)?);
    usize::try_from(end).map_err(|_| image.error(0x28, "the size exceeds the address space"))
}

/// Reads the resources of every kernel.
///
/// # Errors
/// Anything that is not laid out as a cubin, with its place.
pub fn read(bytes: &[u8]) -> Result<Cubin, ContainerError> {
    let image = image(bytes);
    check_header(&image)?;
    let sections = sections(&image)?;
    let named: HashMap<&str, &Section<'_>> = sections.iter().map(|s| (s.name, s)).collect();
    let flags = image.u32(0x30)?;
    // Version 8 of the format moved the architecture up by a byte.
    let architecture = match image.slice(8, 1)?[0] {
        version if version >= 8 => flags >> 8 & 0xFF,
        _ => flags & 0xFF,
    };
    let mut cubin =
        Cubin { architecture, constant_bytes: named.get(".nv.constant3").map_or(0, |s| s.size), kernels: Vec::new() };
    let Some(symbols) = named.get(".symtab").filter(|section| section.in_file) else {
        return Err(image.error(0, "there is no .symtab"));
    };
    let common = match named.get(".nv.info") {
        Some(section) => attributes(&image, section)?,
        None => Vec::new(),
    };
    let reserved = match named.contains_key(".nv.shared.reserved.0") {
        true => RESERVED_SHARED_BYTES,
        false => 0,
    };
    for index in 0..symbols.size / 24 {
        let at = symbols.offset + 24 * index;
        let [kind, other] = [image.slice(at + 4, 1)?[0] & 0xF, image.slice(at + 5, 1)?[0]];
        if kind != SYMBOL_FUNCTION || other & SYMBOL_IS_ENTRY == 0 {
            continue;
        }
        let names = sections.get(symbols.link as usize);
        let names = names.ok_or_else(|| image.error(at as usize, "a symbol table without names"))?;
        let name = string(&image, names, image.u32(at)?)?;
        let text = sections.get(usize::from(image.u16(at + 6)?));
        let of_function = |number: u8| {
            let found = common.iter().filter(|a| a.number == number && a.bytes.len() >= 8);
            let words = found.map(|a| (word(a.bytes, 0), word(a.bytes, 4)));
            words.into_iter().find(|(symbol, _)| u64::from(*symbol) == index).map(|(_, value)| value)
        };
        let size = |prefix: &str| named.get(format!("{prefix}.{name}").as_str()).map_or(0, |s| s.size);
        // Older files carry the number of registers only in the section's header.
        let registers = of_function(ATTRIBUTE_REGISTERS).or(text.map(|text| text.info >> 24));
        let frame = of_function(ATTRIBUTE_FRAME_SIZE).unwrap_or(0);
        let stack = of_function(ATTRIBUTE_MIN_STACK_SIZE).unwrap_or(0);
        let mut kernel = Kernel {
            name: name.to_string(),
            registers: registers.unwrap_or(0),
            static_shared_bytes: size(".nv.shared").saturating_sub(reserved),
            local_bytes: u64::from(frame.max(stack)),
            constant_bank_bytes: size(".nv.constant0"),
            max_threads: None,
            barriers: 0,
            param_bytes: 0,
        };
        if let Some(section) = named.get(format!(".nv.info.{name}").as_str()) {
            own_attributes(&mut kernel, &attributes(&image, section)?);
        }
        cubin.kernels.push(kernel);
    }
    Ok(cubin)
}

fn image(bytes: &[u8]) -> Image<'_> {
    Image { container: "cubin", bytes }
}

/// A 64-bit little-endian ELF file for NVIDIA's machine.
fn check_header(image: &Image<'_>) -> Result<(), ContainerError> {
    image.slice(0, HEADER_BYTES as u64)?;
    let machine = image.u16(0x12)?;
    let fits = image.u32(0)? == MAGIC && image.u16(4)? == 0x0102 && machine == 190;
    match fits {
        true => Ok(()),
        false => Err(image.error(0, "not a 64-bit ELF file of machine type 190")),
    }
}

fn sections<'a>(image: &Image<'a>) -> Result<Vec<Section<'a>>, ContainerError> {
    let (table, count) = (image.u64(0x28)?, u64::from(image.u16(0x3C)?));
    if image.u16(0x3A)? != 64 {
        return Err(image.error(0x3A, "section headers must have 64 bytes"));
    }
    // The whole table is there, so that no sum below can exceed its end.
    image.slice(table, count * 64)?;
    let section = |index: u64| -> Result<(u32, Section<'a>), ContainerError> {
        let at = table + 64 * index;
        let section = Section {
            name: "",
            offset: image.u64(at + 0x18)?,
            size: image.u64(at + 0x20)?,
            link: image.u32(at + 0x28)?,
            info: image.u32(at + 0x2C)?,
            in_file: image.u32(at + 4)? != SECTION_NO_BITS,
        };
        if section.in_file {
            image.slice(section.offset, section.size)?;
        }
        Ok((image.u32(at)?, section))
    };
    let names = u64::from(image.u16(0x3E)?);
    if names >= count {
        return Err(image.error(0x3E, "there are no section names"));
    }
    let names = section(names)?.1;
    (0..count)
        .map(|index| {
            let (name, section) = section(index)?;
            let name = string(image, &names, name)?;
            Ok(Section { name, ..section })
        })
        .collect()
}

/// The string at `offset` of a section of strings.
fn string<'a>(image: &Image<'a>, names: &Section<'_>, offset: u32) -> Result<&'a str, ContainerError> {
    let bytes = match names.in_file {
        true => image.slice(names.offset, names.size)?,
        false => &[],
    };
    let tail = bytes.get(offset as usize..).unwrap_or(&[]);
    let text = tail.iter().position(|byte| *byte == 0).map(|end| &tail[..end]);
    text.and_then(|text| std::str::from_utf8(text).ok())
        .ok_or_else(|| image.error(names.offset as usize, format!("there is no name at {offset:#x}")))
}

fn attributes<'a>(image: &Image<'a>, section: &Section<'_>) -> Result<Vec<Attribute<'a>>, ContainerError> {
    if !section.in_file {
        return Ok(Vec::new());
    }
    let (mut at, end) = (section.offset, section.offset + section.size);
    let mut list = Vec::new();
    while at < end {
        let head = image.slice(at, 4)?;
        let value = u16::from_le_bytes([head[2], head[3]]);
        let size = match head[0] {
            FORMAT_SIZED => u64::from(value),
            _ => 0,
        };
        if at + 4 + size > end {
            return Err(image.error(at as usize, format!("an attribute exceeds {}", section.name)));
        }
        list.push(Attribute {
            number: head[1],
            value: match head[0] {
                FORMAT_BYTE => value & 0xFF,
                FORMAT_HALF | FORMAT_SIZED => value,
                _ => 0,
            },
            bytes: image.slice(at + 4, size)?,
        });
        at += 4 + size;
    }
    Ok(list)
}

/// Takes over what `.nv.info.<kernel>` says.
fn own_attributes(kernel: &mut Kernel, list: &[Attribute<'_>]) {
    for attribute in list {
        match attribute.number {
            ATTRIBUTE_MAX_THREADS | ATTRIBUTE_REQUIRED_BLOCK if attribute.bytes.len() >= 12 => {
                let extents = [0, 4, 8].map(|offset| word(attribute.bytes, offset));
                let threads = extents.iter().try_fold(1u32, |product, n| product.checked_mul(*n));
                kernel.max_threads = threads;
            }
            ATTRIBUTE_PARAM_BYTES => kernel.param_bytes = u32::from(attribute.value),
            ATTRIBUTE_BARRIERS => kernel.barriers = u32::from(attribute.value),
            _ => {}
        }
    }
}

/// 32 bits of an attribute whose length has been checked.
fn word(bytes: &[u8], offset: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(word)
}
