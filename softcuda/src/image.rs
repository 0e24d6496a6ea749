//! Makes functions of this program findable under a library's name, without a library.
//!
//! An image is a shared object in the ELF format that consists of a symbol table only: each dynamic symbol is
//! absolute (`SHN_ABS`) and its value is the address of a function in this process. Once such an image is loaded, a
//! later `dlopen` of its `SONAME` finds it, and `dlsym` returns the addresses. Nothing in it is executable, so it
//! loads from anywhere, a `noexec` mount included. glibc has taken absolute symbols as they are since 2.28.
//!
//! Layout of the file, two loaded segments:
//!
//! | part | segment |
//! |---|---|
//! | ELF header, program headers, symbols, hash table, names | read-only |
//! | dynamic section | read and write, since the loader writes into it |

/// A function and the name it is to be found under.
pub(crate) type Symbol = (&'static str, usize);

const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const PROGRAM_HEADERS: usize = 3;
const SYMBOL_BYTES: usize = 24;
const PAGE: usize = 0x1_0000;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const READ: u32 = 4;
const WRITE: u32 = 2;

const DT_NULL: u64 = 0;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_SYMENT: u64 = 11;
const DT_SONAME: u64 = 14;

/// Bytes of an image called `soname` for the machine that this program runs on.
pub(crate) fn build(soname: &str, symbols: &[Symbol]) -> Vec<u8> {
    // The string table: an empty name, the library's, each function's.
    let mut names = vec![0];
    let soname_at = append_name(&mut names, soname);
    let name_offsets: Vec<u32> = symbols.iter().map(|(name, _)| append_name(&mut names, name)).collect();

    let symbols_at = HEADER_BYTES + PROGRAM_HEADERS * PROGRAM_HEADER_BYTES;
    let hash_at = symbols_at + (symbols.len() + 1) * SYMBOL_BYTES;
    let hash = hash_table(symbols);
    let names_at = hash_at + hash.len() * 4;
    let dynamic_at = (names_at + names.len()).next_multiple_of(PAGE);
    let dynamic: [(u64, usize); 7] = [
        (DT_SONAME, soname_at as usize),
        (DT_HASH, hash_at),
        (DT_STRTAB, names_at),
        (DT_STRSZ, names.len()),
        (DT_SYMTAB, symbols_at),
        (DT_SYMENT, SYMBOL_BYTES),
        (DT_NULL, 0),
    ];
    let dynamic_bytes = dynamic.len() * 16;

    let mut image = Vec::with_capacity(dynamic_at + dynamic_bytes);
    image.extend_from_slice(&file_header());
    let headers = [
        (PT_LOAD, READ, 0, names_at + names.len(), PAGE),
        (PT_LOAD, READ | WRITE, dynamic_at, dynamic_bytes, PAGE),
        (PT_DYNAMIC, READ | WRITE, dynamic_at, dynamic_bytes, 8),
    ];
    for (kind, flags, offset, bytes, align) in headers {
        image.extend_from_slice(&kind.to_ne_bytes());
        image.extend_from_slice(&flags.to_ne_bytes());
        // Offset in the file, virtual and physical address, size in the file and in memory, alignment.
        for value in [offset, offset, offset, bytes, bytes, align] {
            image.extend_from_slice(&(value as u64).to_ne_bytes());
        }
    }
    // The first symbol is reserved and zero.
    image.resize(symbols_at + SYMBOL_BYTES, 0);
    for ((_, address), name) in symbols.iter().zip(name_offsets) {
        const GLOBAL_FUNCTION: u8 = 1 << 4 | 2;
        const DEFAULT_VISIBILITY: u8 = 0;
        const SHN_ABS: u16 = 0xfff1;
        image.extend_from_slice(&name.to_ne_bytes());
        image.extend_from_slice(&[GLOBAL_FUNCTION, DEFAULT_VISIBILITY]);
        image.extend_from_slice(&SHN_ABS.to_ne_bytes());
        image.extend_from_slice(&(*address as u64).to_ne_bytes());
        image.extend_from_slice(&0u64.to_ne_bytes());
    }
    for word in hash {
        image.extend_from_slice(&word.to_ne_bytes());
    }
    image.extend_from_slice(&names);
    image.resize(dynamic_at, 0);
    for (tag, value) in dynamic {
        image.extend_from_slice(&tag.to_ne_bytes());
        image.extend_from_slice(&(value as u64).to_ne_bytes());
    }
    image
}

fn append_name(names: &mut Vec<u8>, name: &str) -> u32 {
    let offset = names.len() as u32;
    names.extend_from_slice(name.as_bytes());
    names.push(0);
    offset
}

fn file_header() -> [u8; HEADER_BYTES] {
    const ELF64: u8 = 2;
    const BYTE_ORDER: u8 = if cfg!(target_endian = "little") { 1 } else { 2 };
    const CURRENT_VERSION: u8 = 1;
    const SHARED_OBJECT: u16 = 3;
    const MACHINE: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    let mut header = [0; HEADER_BYTES];
    header[..7].copy_from_slice(b"\x7fELF\0\0\0");
    header[4..7].copy_from_slice(&[ELF64, BYTE_ORDER, CURRENT_VERSION]);
    header[16..18].copy_from_slice(&SHARED_OBJECT.to_ne_bytes());
    header[18..20].copy_from_slice(&MACHINE.to_ne_bytes());
    header[20..24].copy_from_slice(&u32::from(CURRENT_VERSION).to_ne_bytes());
    // Where the program headers start; their size and number; there are no section headers.
    header[32..40].copy_from_slice(&(HEADER_BYTES as u64).to_ne_bytes());
    header[52..54].copy_from_slice(&(HEADER_BYTES as u16).to_ne_bytes());
    header[54..56].copy_from_slice(&(PROGRAM_HEADER_BYTES as u16).to_ne_bytes());
    header[56..58].copy_from_slice(&(PROGRAM_HEADERS as u16).to_ne_bytes());
    header
}

/// The System V hash table: number of buckets, number of symbols, first symbol of each bucket, next symbol of each.
fn hash_table(symbols: &[Symbol]) -> Vec<u32> {
    let buckets = symbols.len().max(1);
    let mut table = vec![0; 2 + buckets + symbols.len() + 1];
    table[0] = buckets as u32;
    table[1] = symbols.len() as u32 + 1;
    for (position, (name, _)) in symbols.iter().enumerate() {
        let symbol = position + 1;
        let bucket = 2 + hash(name) as usize % buckets;
        table[2 + buckets + symbol] = table[bucket];
        table[bucket] = symbol as u32;
    }
    table
}

/// The hash function of the System V ABI.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0u32, |hash, byte| {
        let sum = (hash << 4).wrapping_add(u32::from(byte));
        let high = sum & 0xf000_0000;
        (sum ^ high >> 24) & !high
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_function_is_that_of_the_abi() {
        // Values from the System V ABI's own function, computed by hand for short names.
        assert_eq!(hash(""), 0);
        assert_eq!(hash("a"), 0x61);
        assert_eq!(hash("ab"), 0x672);
        assert_eq!(hash("printf"), 0x077905a6);
    }

    #[test]
    fn every_symbol_is_reachable_through_its_bucket() {
        let symbols: Vec<Symbol> =
            ["cuInit", "cuDeviceGet", "cuCtxCreate_v2", "cuMemAlloc_v2"].into_iter().map(|name| (name, 0)).collect();
        let table = hash_table(&symbols);
        let buckets = table[0] as usize;
        for (position, (name, _)) in symbols.iter().enumerate() {
            let mut symbol = table[2 + hash(name) as usize % buckets] as usize;
            while symbol != position + 1 {
                assert_ne!(symbol, 0, "{name} is in no chain");
                symbol = table[2 + buckets + symbol] as usize;
            }
        }
    }
}
