//! Tensors as rows: the Rust side of `kernels/common/rows.cuh`, and the checks of such tensors.

use crate::check::Checks;
use crate::{DType, Error, Operand, Result};

/// Most dimensions of a tensor.
const MAX_RANK: usize = 4;
/// Most rows, and most elements of a row: kernels count them in 32 bits.
pub(super) const MAX_SIZE: usize = 1 << 31;

/// `Rows` of `kernels/common/rows.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Rows {
    num_rows: u32,
    sizes: [u32; 2],
    width: u32,
}

/// `RowTensor` of `kernels/common/rows.cuh`. All zero stands for no tensor.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct RowTensor {
    address: u64,
    strides: [i64; 3],
    dtype: i32,
    padding: i32,
}

const _: () = assert!(size_of::<Rows>() == 16 && size_of::<RowTensor>() == 40);

impl RowTensor {
    /// A tensor that is one row.
    pub(super) fn one(tensor: Option<&Operand>) -> Self {
        tensor.map_or(bytemuck::Zeroable::zeroed(), |tensor| Self::new(tensor, [0; 3]))
    }

    /// A tensor by its outer strides.
    pub(super) fn new(tensor: &Operand, strides: [i64; 3]) -> Self {
        Self { address: tensor.address, strides, dtype: element_type(tensor.dtype), padding: 0 }
    }
}

/// `ElementType` of `kernels/common/elements.cuh`.
pub(crate) fn element_type(dtype: DType) -> i32 {
    match dtype {
        DType::F16 => 1,
        DType::BF16 => 2,
        _ => 0,
    }
}

/// How a launch counts the rows of its tensors, all of one shape, and the tensors by that count. The shape is that of
/// the first, which must be there; dimensions that are one in every tensor are merged.
pub(super) fn rows<const TENSORS: usize>(tensors: [Option<&Operand>; TENSORS]) -> (Rows, [RowTensor; TENSORS]) {
    let shape = tensors.iter().flatten().next().map_or(&[][..], |tensor| tensor.layout.shape());
    let (&width, outer) = shape.split_last().unwrap_or((&1, &[]));
    // From the innermost on: size and the strides of all tensors.
    let mut dims: Vec<(usize, [usize; TENSORS])> = Vec::new();
    for (dim, &size) in outer.iter().enumerate().rev().filter(|(_, size)| **size != 1) {
        let strides = tensors.map(|tensor| tensor.map_or(0, |tensor| tensor.layout.strides()[dim]));
        match dims.last_mut() {
            Some((inner, inner_strides)) if (0..TENSORS).all(|i| strides[i] == inner_strides[i] * *inner) => {
                *inner *= size;
            }
            _ => dims.push((size, strides)),
        }
    }
    let num_rows = outer.iter().product::<usize>() as u32;
    // A kernel has three: the outermost takes what the inner two leave.
    let size = |at: usize| dims.get(at).map_or(1, |dim| dim.0 as u32);
    let sizes = match dims.len() {
        0 | 1 => [1, 1],
        2 => [1, size(0)],
        _ => [size(1), size(0)],
    };
    let strides = |tensor: usize| {
        let stride = |at: usize| dims.get(at).map_or(0, |dim| dim.1[tensor] as i64);
        match dims.len() {
            0 | 1 => [stride(0), 0, 0],
            2 => [stride(1), 0, stride(0)],
            _ => [stride(2), stride(1), stride(0)],
        }
    };
    let made = std::array::from_fn(|i| match tensors[i] {
        Some(tensor) => RowTensor::new(tensor, strides(i)),
        None => bytemuck::Zeroable::zeroed(),
    });
    (Rows { num_rows, sizes, width: width as u32 }, made)
}

/// Elements that a lane moves at once: 8 where no tensor is f32, 4 where some are, 1 where rows are not aligned to that
/// or end in a part of it.
pub(super) fn unit<'a>(width: usize, tensors: impl Iterator<Item = &'a Operand> + Clone) -> usize {
    let dtypes = tensors.clone().map(|tensor| tensor.dtype);
    let unit = unit_of_types(width, dtypes);
    let fits = |tensor: &Operand| {
        let aligned = tensor.address.is_multiple_of((unit * tensor.dtype.size_bytes()) as u64);
        let Some((_, outer)) = tensor.layout.strides().split_last() else { return aligned };
        let mut dims = outer.iter().zip(tensor.layout.shape());
        aligned && dims.all(|(stride, &size)| size <= 1 || stride.is_multiple_of(unit))
    };
    if { tensors }.all(fits) { unit } else { 1 }
}

/// The same for tensors that are aligned.
pub(crate) fn unit_of_types(width: usize, mut dtypes: impl Iterator<Item = DType>) -> usize {
    let unit = if dtypes.any(|dtype| dtype == DType::F32) { 4 } else { 8 };
    if width.is_multiple_of(unit) { unit } else { 1 }
}

/// Checks a tensor `[.., d]`: element type, rank, adjacent elements of a row, an address that suits the type.
pub(super) fn check(checks: Checks, argument: &'static str, tensor: &Operand) -> Result<()> {
    let (op, rank) = (checks.op, tensor.layout.rank());
    check_type(op, argument, tensor.dtype)?;
    if !(1..=MAX_RANK).contains(&rank) {
        let supported = "1 to 4, [.., d]";
        return Err(Error::Unsupported { op, argument, what: "rank", got: rank.to_string(), supported });
    }
    checks.rows(argument, tensor, tensor.dtype.size_bytes() as u64)
}

/// Checks an element type alone.
pub(crate) fn check_type(op: &'static str, argument: &'static str, dtype: DType) -> Result<()> {
    if matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
        return Ok(());
    }
    Err(Error::Unsupported { op, argument, what: "dtype", got: dtype.to_string(), supported: "f32, f16, bf16" })
}

/// Checks a tensor as [`check`] does, and that it has the shape of another.
pub(super) fn check_like(
    checks: Checks,
    (argument, tensor): (&'static str, &Operand),
    (of, like): (&'static str, &Operand),
) -> Result<()> {
    check(checks, argument, tensor)?;
    let expected = like.layout.rank();
    checks.rank(argument, tensor, expected, "[.., d]")?;
    let names = ["dimension 0", "dimension 1", "dimension 2", "dimension 3"];
    for (dim, (&got, &expected)) in tensor.layout.shape().iter().zip(like.layout.shape()).enumerate() {
        if got != expected {
            let dimension = if dim + 1 == like.layout.rank() { "d" } else { names[dim.min(3)] };
            return Err(Error::Dimension { op: checks.op, argument, dimension, got, expected, of });
        }
    }
    Ok(())
}

/// Checks that counts fit a kernel's 32 bits.
pub(super) fn check_sizes(op: &'static str, num_rows: usize, width: usize) -> Result<()> {
    for (what, got) in [("number of rows", num_rows), ("d", width)] {
        if got >= MAX_SIZE {
            return Err(Error::TooLarge { op, what, got: got as u64, limit: MAX_SIZE as u64 - 1 });
        }
    }
    Ok(())
}

/// A number as an element type holds it.
pub(crate) fn rounded(dtype: DType, x: f32) -> f64 {
    match dtype {
        DType::F16 => half::f16::from_f32(x).to_f64(),
        DType::BF16 => half::bf16::from_f32(x).to_f64(),
        _ => x.into(),
    }
}

impl Rows {
    /// One row of all elements.
    pub(super) fn one(width: usize) -> Self {
        Self { num_rows: 1, sizes: [1; 2], width: width as u32 }
    }
}

/// Rows and elements of a row as elementwise kernels see tensors of one shape: where there are no gaps in any, all
/// elements are one row.
pub(super) fn flattened(tensors: &[&Operand]) -> [usize; 2] {
    let layout = tensors[0].layout;
    let width = layout.shape().last().copied().unwrap_or(1);
    let flat = tensors.iter().all(|tensor| tensor.layout.is_contiguous()) && layout.len() < MAX_SIZE;
    if flat { [1, layout.len()] } else { [layout.shape().iter().rev().skip(1).product(), width] }
}
