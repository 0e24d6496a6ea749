//! What a module is made of: PTX text, found in whatever form a program hands it over.

use super::{
    abi::In,
    error::{Code, Error},
};
use crate::{
    chip::Chip,
    container::{
        ContainerError, Format, cubin,
        fatbin::{self, Entry, Kind},
    },
};
use std::ffi::c_char;

/// PTX to run, and what is known of the machine code made from it.
pub(super) struct Source {
    pub(super) ptx: String,
    pub(super) resources: Vec<Resources>,
    /// Architecture of the machine code; `None`: there is none for this chip.
    pub(super) binary_architecture: Option<u32>,
}

/// What a kernel's machine code needs.
pub(super) struct Resources {
    pub(super) kernel: String,
    pub(super) registers: u32,
    pub(super) local_bytes: u32,
    pub(super) barriers: u32,
}

/// Where the address of the fatbin lies in the structure that nvcc wraps around it in host code.
const WRAPPED_ADDRESS: usize = 8;

/// Copies the image at an address that comes without a length: each form says where it ends.
pub(super) fn image(image: In<u8>) -> Result<Vec<u8>, Error> {
    // A text may be shorter than a magic number: never read past a zero.
    let mut first = [0; 4];
    for (position, byte) in first.iter_mut().enumerate() {
        *byte = image.get_at(position)?;
        if *byte == 0 {
            break;
        }
    }
    let fatbin = |image: In<u8>| {
        let bytes = fatbin::total_size(&image.get_all(fatbin::HEADER_BYTES)?).map_err(damaged)?;
        image.get_all(bytes)
    };
    match Format::of(first) {
        Format::Fatbin => fatbin(image),
        Format::FatbinWrapper => {
            let address = In::<usize>::from_address(image.address() + WRAPPED_ADDRESS).get()?;
            fatbin(In::from_address(address))
        }
        // What is refused anyway is not read.
        Format::Cubin => Ok(first.to_vec()),
        Format::Text => Ok(In::<c_char>::from_address(image.address()).text()?.into_bytes()),
    }
}

/// Finds the PTX for a chip in an image.
pub(super) fn read(image: &[u8], chip: &Chip) -> Result<Source, Error> {
    let mut first = [0; 4];
    first.iter_mut().zip(image).for_each(|(to, from)| *to = *from);
    match Format::of(first) {
        Format::Fatbin => read_fatbin(image, chip),
        Format::FatbinWrapper => {
            Err(Error::report(Code::INVALID_IMAGE, "the image holds the address of a fatbin only"))
        }
        Format::Cubin => Err(no_ptx("the image is a cubin", chip)),
        Format::Text => {
            let end = image.iter().position(|byte| *byte == 0).unwrap_or(image.len());
            let ptx = String::from_utf8_lossy(&image[..end]).into_owned();
            if !ptx.contains(".version") {
                let text = "the image is neither PTX text nor a fatbin nor a cubin";
                return Err(Error::report(Code::INVALID_IMAGE, text));
            }
            Ok(Source { ptx, resources: Vec::new(), binary_architecture: None })
        }
    }
}

fn damaged(error: ContainerError) -> Error {
    Error::report(Code::INVALID_IMAGE, error.to_string())
}

fn read_fatbin(image: &[u8], chip: &Chip) -> Result<Source, Error> {
    let entries = fatbin::read(image).map_err(damaged)?;
    let number = chip.architecture.number();

    let text = newest(&entries, Kind::Ptx, |architecture| architecture <= number, number);
    let Some(text) = text else {
        let there_are: Vec<String> = entries.iter().map(describe).collect();
        let what = format!("the fatbin holds {}", there_are.join(", "));
        return Err(no_ptx(&what, chip));
    };
    // Machine code runs on chips of the same major version, from its own minor version on.
    let runs = |architecture| architecture / 10 == number / 10 && architecture <= number;
    let code = newest(&entries, Kind::Elf, runs, number);
    let kernels = match code {
        Some(code) => cubin::read(&code.payload).map_err(damaged)?.kernels,
        None => Vec::new(),
    };
    let resources = kernels.into_iter().map(|kernel| Resources {
        kernel: kernel.name,
        registers: kernel.registers,
        local_bytes: u32::try_from(kernel.local_bytes).unwrap_or(u32::MAX),
        barriers: kernel.barriers,
    });
    Ok(Source {
        ptx: String::from_utf8_lossy(&text.payload).into_owned(),
        resources: resources.collect(),
        binary_architecture: code.map(|code| code.architecture),
    })
}

/// The entry of `kind` for the highest architecture that suits chip `number`.
///
/// What is made for one architecture (`sm_90a`) suits that one alone and is preferred there.
fn newest(entries: &[Entry], kind: Kind, suits: impl Fn(u32) -> bool, number: u32) -> Option<&Entry> {
    entries
        .iter()
        .filter(|entry| entry.kind == kind)
        .filter(|entry| match entry.suffix {
            None => suits(entry.architecture),
            Some(_) => entry.architecture == number,
        })
        .max_by_key(|entry| (entry.architecture, entry.suffix))
}

fn describe(entry: &Entry) -> String {
    let kind = match entry.kind {
        Kind::Ptx => "PTX",
        Kind::Elf => "machine code",
        Kind::Other(_) => "something else",
    };
    let suffix = entry.suffix.map(String::from).unwrap_or_default();
    format!("{kind} for sm_{}{suffix}", entry.architecture)
}

fn no_ptx(what: &str, chip: &Chip) -> Error {
    Error::report(
        Code::NO_BINARY_FOR_GPU,
        format!("{what}; the software device runs PTX, here for sm_{} or older", chip.architecture.number()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chip::Architecture;

    fn entry(kind: Kind, architecture: u32, suffix: Option<char>) -> Entry {
        Entry { kind, architecture, suffix, version: (9, 0), flags: 0, payload: Vec::new() }
    }

    #[test]
    fn the_newest_text_that_suits_the_chip_is_taken() {
        let entries = [
            entry(Kind::Elf, 90, None),
            entry(Kind::Ptx, 80, None),
            entry(Kind::Ptx, 90, Some('a')),
            entry(Kind::Ptx, 90, None),
            entry(Kind::Ptx, 120, None),
        ];
        let chosen = |architecture: Architecture| {
            let number = architecture.number();
            let found = newest(&entries, Kind::Ptx, |other| other <= number, number);
            found.map(|entry| (entry.architecture, entry.suffix))
        };
        assert_eq!(chosen(Architecture::Sm80), Some((80, None)));
        assert_eq!(chosen(Architecture::Sm89), Some((80, None)));
        assert_eq!(chosen(Architecture::Sm90), Some((90, Some('a'))));
    }
}
