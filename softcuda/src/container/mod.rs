//! What CUDA programs hand to the driver as a module: fatbins, and cubins inside them.

pub mod cubin;
pub mod fatbin;

/// What an image is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A fatbin: [`fatbin::read`].
    Fatbin,
    /// The wrapper that nvcc's host code registers: 24 bytes of which the last 16 are the address of a fatbin and a second
    /// address.
    FatbinWrapper,
    /// A cubin: [`cubin::read`].
    Cubin,
    /// Anything else: PTX text, ended by a NUL byte.
    Text,
}

impl Format {
    /// Tells the format from an image's first four bytes.
    pub fn of(first: [u8; 4]) -> Format {
        match u32::from_le_bytes(first) {
            fatbin::MAGIC => Format::Fatbin,
            0x466243B1 => Format::FatbinWrapper,
            cubin::MAGIC => Format::Cubin,
            _ => Format::Text,
        }
    }
}

/// Why an image cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{container} at byte {offset:#x}: {message}")]
pub struct ContainerError {
    /// `fatbin` or `cubin`.
    pub container: &'static str,
    /// Where in the image.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
}

/// An image, read little-endian and never past its end.
#[derive(Clone, Copy)]
struct Image<'a> {
    container: &'static str,
    bytes: &'a [u8],
}

impl<'a> Image<'a> {
    /// An error at `offset`, or at the image's end where that lies beyond it: offsets come from the image, too.
    fn error(&self, offset: usize, message: impl Into<String>) -> ContainerError {
        ContainerError { container: self.container, offset: offset.min(self.bytes.len()), message: message.into() }
    }

    /// `length` bytes from `offset`; both come from the image itself.
    fn slice(&self, offset: u64, length: u64) -> Result<&'a [u8], ContainerError> {
        let range = usize::try_from(offset).ok().zip(usize::try_from(length).ok());
        range.and_then(|(start, length)| self.bytes.get(start..start.checked_add(length)?)).ok_or_else(|| {
            let size = self.bytes.len();
            let message = format!("{length} bytes from {offset:#x} on exceed the {size:#x} bytes of the image");
            self.error(usize::try_from(offset).unwrap_or(size).min(size), message)
        })
    }

    fn u16(&self, offset: u64) -> Result<u16, ContainerError> {
        let bytes = self.slice(offset, 2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&self, offset: u64) -> Result<u32, ContainerError> {
        Ok(u32::from(self.u16(offset)?) | u32::from(self.u16(offset + 2)?) << 16)
    }

    fn u64(&self, offset: u64) -> Result<u64, ContainerError> {
        Ok(u64::from(self.u32(offset)?) | u64::from(self.u32(offset + 4)?) << 32)
    }
}
