//! Several copies in one call.

use super::{
    calls::{Bench, zeroed},
    context,
};
use cudarc::driver::sys;
use std::ptr;
use sys::CUresult;

fn attributes() -> sys::CUmemcpyAttributes {
    let mut attributes: sys::CUmemcpyAttributes = zeroed();
    attributes.srcAccessOrder = sys::CUmemcpySrcAccessOrder::CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
    attributes
}

#[test]
fn a_batch_makes_all_its_copies_or_none() {
    let bench = Bench::new(context(0));
    let mut memory = 0;
    ok!(cuMemAlloc_v2(&mut memory, 16));
    ok!(cuMemsetD32Async(memory, 0, 4, bench.on()));
    let source = [11u32, 22];
    let start = source.as_ptr() as u64;
    let copy = |to: [u64; 2], stream| {
        let (mut to, mut from, mut sizes) = (to, [start, start + 4], [4usize; 2]);
        let (mut attributes, mut first) = (attributes(), 0usize);
        code!(cuMemcpyBatchAsync_v2(
            to.as_mut_ptr(),
            from.as_mut_ptr(),
            sizes.as_mut_ptr(),
            2,
            &mut attributes,
            &mut first,
            1,
            stream
        ))
    };
    let invalid = CUresult::CUDA_ERROR_INVALID_VALUE;
    assert_eq!(copy([memory, memory + 16], bench.on()), invalid, "the second is out of bounds");
    assert_eq!(bench.read(memory), 0, "so the first is not made");
    assert_eq!(copy([memory, memory + 8], ptr::null_mut()), invalid, "the legacy stream");
    assert_eq!(copy([memory, memory + 8], bench.on()), CUresult::CUDA_SUCCESS);
    assert_eq!([0, 4, 8].map(|offset| bench.read(memory + offset)), [11, 0, 22]);
}

#[test]
fn volumes_of_a_batch_have_gaps_between_rows_and_layers() {
    let bench = Bench::new(context(0));
    let (mut memory, mut packed) = (0, 0);
    // Two layers of three rows of 16 bytes, of which two rows of 4 bytes are taken.
    ok!(cuMemAlloc_v2(&mut memory, 96));
    ok!(cuMemAlloc_v2(&mut packed, 16));
    let numbers: Vec<u32> = (0..24).collect();
    ok!(cuMemcpyHtoDAsync_v2(memory, numbers.as_ptr().cast(), 96, bench.on()));
    let operand = |address, row, height| {
        let mut operand: sys::CUmemcpy3DOperand =
            filled!(sys::CUmemcpy3DOperand { type_: sys::CUmemcpy3DOperandType::CU_MEMCPY_OPERAND_TYPE_POINTER });
        operand.op.ptr = zeroed();
        // SAFETY: the operand is one with an address.
        let place = unsafe { &mut operand.op.ptr };
        (place.ptr, place.rowLength, place.layerHeight) = (address, row, height);
        operand
    };
    let mut operation = sys::CUDA_MEMCPY3D_BATCH_OP {
        src: operand(memory, 16, 3),
        dst: operand(packed, 0, 0),
        extent: sys::CUextent3D { width: 4, height: 2, depth: 2 },
        srcAccessOrder: attributes().srcAccessOrder,
        flags: 0,
    };
    ok!(cuMemcpy3DBatchAsync_v2(1, &mut operation, 0, bench.on()));
    assert_eq!([0, 4, 8, 12].map(|offset| bench.read(packed + offset)), [0, 4, 12, 16]);
}
