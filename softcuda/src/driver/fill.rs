//! Memset.

use super::{
    abi::{CuResult, DevicePointer, Handle, call},
    copy::out_of_bounds,
    device,
    error::{Code, Error},
    stream,
};

/// Fills `width` elements in each of `height` rows that start `pitch` bytes apart.
fn fill(
    on_stream: Handle,
    address: DevicePointer,
    pitch: usize,
    element: &[u8],
    width: usize,
    height: usize,
) -> Result<(), Error> {
    let context = stream::context_of(on_stream)?;
    if !address.is_multiple_of(element.len() as u64) || (height > 1 && !pitch.is_multiple_of(element.len())) {
        return Err(Code::INVALID_VALUE.into());
    }
    if width == 0 || height == 0 {
        return Ok(());
    }
    let memory = device::owner(address).unwrap_or(context.device).memory()?;
    for row in 0..height {
        let start =
            pitch.checked_mul(row).and_then(|offset| address.checked_add(offset as u64)).ok_or(Code::INVALID_VALUE)?;
        memory.fill(start, element, width as u64).map_err(|error| out_of_bounds(&error, memory.nearest(start)))?;
    }
    Ok(())
}

macro_rules! memset {
    ($($element:ty: $sync:ident $on_stream:ident $sync_2d:ident $on_stream_2d:ident;)*) => {$(
        pub extern "C" fn $sync(address: DevicePointer, value: $element, count: usize) -> CuResult {
            $on_stream(address, value, count, 0)
        }

        pub extern "C" fn $on_stream(
            address: DevicePointer,
            value: $element,
            count: usize,
            stream: Handle,
        ) -> CuResult {
            call(|| fill(stream, address, 0, &value.to_ne_bytes(), count, 1))
        }

        pub extern "C" fn $sync_2d(
            address: DevicePointer,
            pitch: usize,
            value: $element,
            width: usize,
            height: usize,
        ) -> CuResult {
            $on_stream_2d(address, pitch, value, width, height, 0)
        }

        pub extern "C" fn $on_stream_2d(
            address: DevicePointer,
            pitch: usize,
            value: $element,
            width: usize,
            height: usize,
            stream: Handle,
        ) -> CuResult {
            call(|| fill(stream, address, pitch, &value.to_ne_bytes(), width, height))
        }
    )*};
}

memset! {
    u8: cuMemsetD8_v2 cuMemsetD8Async cuMemsetD2D8_v2 cuMemsetD2D8Async;
    u16: cuMemsetD16_v2 cuMemsetD16Async cuMemsetD2D16_v2 cuMemsetD2D16Async;
    u32: cuMemsetD32_v2 cuMemsetD32Async cuMemsetD2D32_v2 cuMemsetD2D32Async;
}
