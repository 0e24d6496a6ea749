//! Memset.

use super::{
    abi::{CuResult, DevicePointer, Handle, call},
    address::{self, Side},
    capture, clock, device,
    error::{Code, Error},
    operation::Operation,
    stream,
};

/// Fills `width` elements in each of `height` rows that start `pitch` bytes apart: `CUDA_MEMSET_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq)]
pub struct Fill {
    pub(super) address: DevicePointer,
    pub(super) pitch: usize,
    pub(super) value: u32,
    /// 1, 2 or 4.
    pub(super) element_bytes: u32,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Fill {
    /// Where each row starts, and its host pointer.
    fn rows(&self) -> impl Iterator<Item = Result<(u64, *mut u8), Error>> {
        let bytes = self.width.checked_mul(self.element_bytes as usize);
        let rows = if self.width == 0 { 0 } else { self.height };
        (0..rows).map(move |row| {
            let offset = self.pitch.checked_mul(row).ok_or(Code::INVALID_VALUE)?;
            let start = self.address.checked_add(offset as u64).ok_or(Code::INVALID_VALUE)?;
            Ok((start, address::span(start, bytes.ok_or(Code::INVALID_VALUE)?, Side::Device)?))
        })
    }

    /// An error unless it is inside of memory.
    pub(super) fn check(&self) -> Result<(), Error> {
        let element = u64::from(self.element_bytes);
        if !matches!(element, 1 | 2 | 4)
            || !self.address.is_multiple_of(element)
            || (self.height > 1 && !(self.pitch as u64).is_multiple_of(element))
        {
            return Err(Code::INVALID_VALUE.into());
        }
        self.rows().try_for_each(|row| row.map(drop))
    }

    pub(super) fn run(&self) -> Result<(), Error> {
        let pattern = self.value.to_le_bytes();
        let pattern = &pattern[..self.element_bytes as usize];
        let bytes = self.width * pattern.len();
        clock::fill_bytes(bytes * self.height);
        for row in self.rows() {
            let (start, host) = row?;
            address::note_written(start, bytes)?;
            if pattern.iter().all(|byte| *byte == 0)
                && let Some(device) = device::owner(start)
            {
                // Large parts are given back to the system.
                let memory = device.memory()?;
                memory.fill(start, pattern, self.width as u64).map_err(|_| Code::INVALID_VALUE)?;
                continue;
            }
            // SAFETY: `span` checked that these bytes are memory of a device or host memory known to the driver.
            let bytes = unsafe { std::slice::from_raw_parts_mut(host, bytes) };
            match pattern {
                [byte] => bytes.fill(*byte),
                _ => bytes.chunks_exact_mut(pattern.len()).for_each(|chunk| chunk.copy_from_slice(pattern)),
            }
        }
        Ok(())
    }
}

macro_rules! memset {
    ($($element:ty: $sync:ident $on_stream:ident $sync_2d:ident $on_stream_2d:ident;)*) => {$(
        pub extern "C" fn $sync(address: DevicePointer, value: $element, count: usize) -> CuResult {
            $sync_2d(address, 0, value, count, 1)
        }

        pub extern "C" fn $on_stream(
            address: DevicePointer,
            value: $element,
            count: usize,
            stream: Handle,
        ) -> CuResult {
            $on_stream_2d(address, 0, value, count, 1, stream)
        }

        pub extern "C" fn $sync_2d(
            address: DevicePointer,
            pitch: usize,
            value: $element,
            width: usize,
            height: usize,
        ) -> CuResult {
            call(|| {
                capture::forbid_unsafe()?;
                stream::enqueue(0, fill(address, pitch, value.into(), size_of::<$element>(), width, height))?.wait()
            })
        }

        pub extern "C" fn $on_stream_2d(
            address: DevicePointer,
            pitch: usize,
            value: $element,
            width: usize,
            height: usize,
            stream: Handle,
        ) -> CuResult {
            call(|| {
                let fill = fill(address, pitch, value.into(), size_of::<$element>(), width, height);
                stream::enqueue(stream, fill).map(drop)
            })
        }
    )*};
}

fn fill(
    address: DevicePointer,
    pitch: usize,
    value: u32,
    element_bytes: usize,
    width: usize,
    height: usize,
) -> Operation {
    Operation::Fill(Fill { address, pitch, value, element_bytes: element_bytes as u32, width, height })
}

memset! {
    u8: cuMemsetD8_v2 cuMemsetD8Async cuMemsetD2D8_v2 cuMemsetD2D8Async;
    u16: cuMemsetD16_v2 cuMemsetD16Async cuMemsetD2D16_v2 cuMemsetD2D16Async;
    u32: cuMemsetD32_v2 cuMemsetD32Async cuMemsetD2D32_v2 cuMemsetD2D32Async;
}
