//! What a module is made of: PTX text, found in whatever form a program hands it over.

use super::{
    abi::In,
    error::{Code, Error},
};
use crate::chip::Chip;

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
}

const FATBIN: [u8; 4] = 0xba55_ed50u32.to_le_bytes();
/// The structure that nvcc wraps around a fatbin in host objects: magic, version, pointer to the fatbin.
const FATBIN_WRAPPER: [u8; 4] = 0x4662_43b1u32.to_le_bytes();
const WRAPPER_POINTER: usize = 8;
const ELF: [u8; 4] = *b"\x7fELF";

/// Reads the image at `image`, which comes without a length: each form says where it ends.
pub(super) fn read(image: In<u8>, chip: &Chip) -> Result<Source, Error> {
    // Short texts end before a magic number would: never read past a zero.
    let mut magic = [0; 4];
    for (position, byte) in magic.iter_mut().enumerate() {
        *byte = image.get_at(position)?;
        if *byte == 0 {
            break;
        }
    }
    match magic {
        FATBIN_WRAPPER => {
            let inner = In::<usize>::from_address(image.address() + WRAPPER_POINTER).get()?;
            let inner = In::<u8>::from_address(inner);
            if inner.get_all(4)? != FATBIN {
                return Err(invalid_image("a fatbin wrapper that points to no fatbin"));
            }
            fatbin(inner, chip)
        }
        FATBIN => fatbin(image, chip),
        ELF => Err(no_ptx("the image is a cubin")),
        _ => {
            let text = In::<std::ffi::c_char>::from_address(image.address()).text()?;
            if !text.contains(".version") {
                return Err(invalid_image(
                    "the image is neither PTX text nor a fatbin nor a cubin",
                ));
            }
            Ok(Source {
                ptx: text,
                resources: Vec::new(),
                binary_architecture: None,
            })
        }
    }
}

fn fatbin(_image: In<u8>, _chip: &Chip) -> Result<Source, Error> {
    Err(no_ptx("fatbins cannot be read yet"))
}

fn no_ptx(what: &str) -> Error {
    Error::report(
        Code::NO_BINARY_FOR_GPU,
        format!("{what}: the software device runs PTX, not machine code"),
    )
}

fn invalid_image(what: &str) -> Error {
    Error::report(Code::INVALID_IMAGE, what)
}
