//! Options of module loading: the buffers for messages. Others, which steer a compiler, change nothing here.

use super::{
    abi::{In, Out},
    error::Error,
};
use std::ffi::c_char;

const INFO_BUFFER: u32 = 3;
const INFO_BYTES: u32 = 4;
const ERROR_BUFFER: u32 = 5;
const ERROR_BYTES: u32 = 6;

/// A buffer of the caller's, and where to write how much of it was used.
#[derive(Default)]
struct Buffer {
    text: Option<Out<c_char>>,
    bytes: usize,
    used: Option<Out<usize>>,
}

/// The buffers for messages that a caller gave.
#[derive(Default)]
pub(super) struct Logs {
    info: Buffer,
    error: Buffer,
}

impl Logs {
    /// Finds them among the options of `cuModuleLoadDataEx`.
    pub(super) fn find(count: u32, options: In<u32>, values: Out<usize>) -> Result<Logs, Error> {
        let mut logs = Logs::default();
        for position in 0..count as usize {
            // Each option has a slot for its value; a size's slot takes the used size when the call ends.
            let slot = values.address() + position * size_of::<usize>();
            let value = In::<usize>::from_address(slot);
            match options.get_at(position)? {
                INFO_BUFFER => logs.info.text = Some(Out::from_address(value.get()?)),
                ERROR_BUFFER => logs.error.text = Some(Out::from_address(value.get()?)),
                INFO_BYTES => logs.info.set_size(value.get()?, slot),
                ERROR_BYTES => logs.error.set_size(value.get()?, slot),
                _ => {}
            }
        }
        Ok(logs)
    }

    /// Writes the message of a failed load, or nothing.
    pub(super) fn write(&self, error: Option<&str>) {
        self.error.write(error.unwrap_or(""));
        self.info.write("");
    }
}

impl Buffer {
    fn set_size(&mut self, value: usize, slot: usize) {
        // A 32-bit number in a slot for pointers: the upper half is whatever it was.
        self.bytes = value & 0xffff_ffff;
        self.used = Some(Out::from_address(slot));
    }

    fn write(&self, text: &str) {
        let Some(out) = self.text else { return };
        if out.set_text(text, self.bytes).is_ok()
            && let Some(used) = self.used
        {
            used.set_if_wanted(text.len().min(self.bytes - 1));
        }
    }
}
