//! Several copies in one call.

use super::{
    abi::{CuResult, DevicePointer, Handle, In, Out, call},
    copy::{Copy3d, Transfer, Volume},
    error::{Code, Error},
    location::Location,
    operation::Operation,
    stream,
};

/// `CUmemcpyAttributes`: hints, and when the source may be read.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Attributes {
    order: u32,
    source: Location,
    destination: Location,
    flags: u32,
}

/// `CUmemcpy3DOperand` of memory with an address.
#[repr(C)]
#[derive(Clone, Copy)]
struct Operand {
    kind: u32,
    address: DevicePointer,
    /// In bytes and rows; 0: no gaps.
    row_length: usize,
    layer_height: usize,
    location: Location,
}

/// `CUDA_MEMCPY3D_BATCH_OP`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Copy3dOperation {
    from: Operand,
    to: Operand,
    width: usize,
    height: usize,
    depth: usize,
    order: u32,
    flags: u32,
}

/// CU_MEMCPY_SRC_ACCESS_ORDER_STREAM to ANY: whichever is asked for, sources are read when it is legal for all.
fn check_order(order: u32) -> Result<(), Error> {
    if (1..=3).contains(&order) { Ok(()) } else { Err(Code::INVALID_VALUE.into()) }
}

impl Operand {
    /// The memory, of which `height` rows of each layer are copied.
    fn volume(&self, height: usize) -> Result<Volume, Error> {
        const POINTER: u32 = 1;
        match self.kind {
            // Layers without gaps are as high as what is copied.
            POINTER => Ok(Volume::any(self.address).with_layout(self.row_length, self.layer_height.max(height))),
            // Arrays belong to textures, which there are not.
            _ => Err(Code::NOT_SUPPORTED.into()),
        }
    }
}

impl Copy3dOperation {
    fn transfer(&self) -> Result<Transfer, Error> {
        check_order(self.order)?;
        let (from, to) = (self.from.volume(self.height)?, self.to.volume(self.height)?);
        Ok(Transfer::new(Copy3d { from, to, width: self.width, height: self.height, depth: self.depth }))
    }
}

/// Starts all copies of a batch, or none of them if one cannot be made.
fn start(on_stream: Handle, transfers: Result<Vec<Transfer>, Error>) -> Result<(), Error> {
    let transfers = transfers?;
    if transfers.is_empty() || stream::find(on_stream)?.is_legacy() {
        return Err(Code::INVALID_VALUE.into());
    }
    transfers.iter().try_for_each(Transfer::check)?;
    transfers.into_iter().try_for_each(|transfer| stream::enqueue(on_stream, Operation::Copy(transfer)).map(drop))
}

fn linear(
    to: In<DevicePointer>,
    from: In<DevicePointer>,
    sizes: In<usize>,
    count: usize,
    attributes: In<Attributes>,
    firsts: In<usize>,
    num_attributes: usize,
) -> Result<Vec<Transfer>, Error> {
    let firsts = firsts.get_all(num_attributes)?;
    let rising = firsts.windows(2).all(|pair| pair[0] < pair[1]);
    if firsts.first() != Some(&0) || !rising || firsts.iter().any(|first| *first >= count) {
        return Err(Code::INVALID_VALUE.into());
    }
    attributes.get_all(num_attributes)?.iter().try_for_each(|attributes| check_order(attributes.order))?;
    let pairs = to.get_all(count)?.into_iter().zip(from.get_all(count)?);
    let all = pairs.zip(sizes.get_all(count)?);
    Ok(all.map(|((to, from), bytes)| Transfer::linear(Volume::any(to), Volume::any(from), bytes)).collect())
}

pub extern "C" fn cuMemcpyBatchAsync_v2(
    to: In<DevicePointer>,
    from: In<DevicePointer>,
    sizes: In<usize>,
    count: usize,
    attributes: In<Attributes>,
    firsts: In<usize>,
    num_attributes: usize,
    stream: Handle,
) -> CuResult {
    call(|| start(stream, linear(to, from, sizes, count, attributes, firsts, num_attributes)))
}

/// The place for the number of the copy that failed says that none in particular did.
pub extern "C" fn cuMemcpyBatchAsync(
    to: In<DevicePointer>,
    from: In<DevicePointer>,
    sizes: In<usize>,
    count: usize,
    attributes: In<Attributes>,
    firsts: In<usize>,
    num_attributes: usize,
    failed: Out<usize>,
    stream: Handle,
) -> CuResult {
    failed.set_if_wanted(usize::MAX);
    cuMemcpyBatchAsync_v2(to, from, sizes, count, attributes, firsts, num_attributes, stream)
}

pub extern "C" fn cuMemcpy3DBatchAsync_v2(
    count: usize,
    operations: In<Copy3dOperation>,
    flags: u64,
    stream: Handle,
) -> CuResult {
    call(|| match flags {
        0 => start(stream, operations.get_all(count)?.iter().map(Copy3dOperation::transfer).collect()),
        _ => Err(Code::INVALID_VALUE.into()),
    })
}

pub extern "C" fn cuMemcpy3DBatchAsync(
    count: usize,
    operations: In<Copy3dOperation>,
    failed: Out<usize>,
    flags: u64,
    stream: Handle,
) -> CuResult {
    failed.set_if_wanted(usize::MAX);
    cuMemcpy3DBatchAsync_v2(count, operations, flags, stream)
}
