//! Shapes and strides, checked once.

use crate::{Error, Result};

/// Most dimensions a tensor may have.
pub const MAX_RANK: usize = 6;

/// Shape and strides of a tensor: element `i` lies at `sum(i[dim] * strides[dim])` elements from its start.
///
/// A layout that exists is sound: the span in elements, times 16 bytes, fits in a signed 64-bit integer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    rank: usize,
    shape: [usize; MAX_RANK],
    strides: [usize; MAX_RANK],
}

impl Layout {
    /// A row-major layout without gaps.
    pub fn contiguous(shape: &[usize]) -> Result<Self> {
        let mut strides = vec![0; shape.len()];
        let mut step = 1usize;
        for (stride, &size) in strides.iter_mut().zip(shape).rev() {
            *stride = step;
            step =
                step.checked_mul(size.max(1)).ok_or_else(|| invalid(shape, &[], "its number of elements overflows"))?;
        }
        Self::strided(shape, &strides)
    }

    /// A layout with any strides, in elements.
    pub fn strided(shape: &[usize], strides: &[usize]) -> Result<Self> {
        if shape.len() != strides.len() {
            return Err(invalid(shape, strides, "shape and strides differ in rank"));
        }
        if shape.len() > MAX_RANK {
            return Err(invalid(shape, strides, "more than 6 dimensions"));
        }
        let layout = Self {
            rank: shape.len(),
            shape: std::array::from_fn(|dim| shape.get(dim).copied().unwrap_or(1)),
            strides: std::array::from_fn(|dim| strides.get(dim).copied().unwrap_or(0)),
        };
        // Offsets, the number of elements and their byte counts are computed unchecked from here on.
        let span = layout.checked_span();
        let count = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        match (span, count) {
            (Some(span), Some(count)) if span.max(count) <= isize::MAX as usize / 16 => Ok(layout),
            _ => Err(invalid(shape, strides, "its extent overflows")),
        }
    }

    /// The size of each dimension.
    pub fn shape(&self) -> &[usize] {
        &self.shape[..self.rank]
    }

    /// The stride of each dimension, in elements.
    pub fn strides(&self) -> &[usize] {
        &self.strides[..self.rank]
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape().iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.shape().contains(&0)
    }

    /// Elements from the first to the last, both included; 0 when there are none.
    pub fn span(&self) -> usize {
        self.checked_span().unwrap_or(usize::MAX)
    }

    /// Whether the elements lie in row-major order without gaps.
    pub fn is_contiguous(&self) -> bool {
        let mut step = 1;
        for (&size, &stride) in self.shape().iter().zip(self.strides()).rev() {
            if size > 1 && stride != step {
                return false;
            }
            step *= size;
        }
        true
    }

    /// The stride of a dimension as a kernel parameter.
    pub fn stride(&self, dim: usize) -> i64 {
        self.strides[dim] as i64
    }

    /// Offset of an element, in elements; the index must lie inside the shape.
    pub fn offset(&self, index: &[usize]) -> usize {
        debug_assert!(index.iter().zip(self.shape()).all(|(i, size)| i < size));
        index.iter().zip(self.strides()).map(|(i, stride)| i * stride).sum()
    }

    /// The same elements with dimensions in another order: dimension `dim` of the result is `order[dim]` of `self`.
    pub fn permute(&self, order: &[usize]) -> Result<Self> {
        let mut seen = [false; MAX_RANK];
        let valid = order.len() == self.rank
            && order.iter().all(|&dim| dim < self.rank && !std::mem::replace(&mut seen[dim], true));
        if !valid {
            let problem = format!("{order:?} is no order of its dimensions");
            return Err(invalid(self.shape(), self.strides(), &problem));
        }
        let pick = |of: &[usize]| order.iter().map(|&dim| of[dim]).collect::<Vec<_>>();
        Self::strided(&pick(self.shape()), &pick(self.strides()))
    }

    /// Elements `start .. start + size` of dimension `dim`: the layout and the offset of its start, in elements.
    pub fn narrow(&self, dim: usize, start: usize, size: usize) -> Result<(Self, usize)> {
        let inside = dim < self.rank && start.checked_add(size).is_some_and(|end| end <= self.shape[dim]);
        if !inside {
            let problem = format!("no elements {start} .. {start} + {size} in dimension {dim}");
            return Err(invalid(self.shape(), self.strides(), &problem));
        }
        let mut narrowed = *self;
        narrowed.shape[dim] = size;
        let offset = if narrowed.is_empty() { 0 } else { start * self.strides[dim] };
        Ok((narrowed, offset))
    }

    /// Whether two indices may name one element. Exact for nested strides; other strides count as overlapping.
    pub fn overlaps_itself(&self) -> bool {
        if self.is_empty() {
            return false;
        }
        let mut dims: Vec<_> = self.dims().collect();
        dims.sort_unstable();
        let mut reach = 0;
        dims.iter().any(|&(stride, size)| {
            let overlaps = stride <= reach;
            reach += stride * (size - 1);
            overlaps
        })
    }

    fn dims(&self) -> impl Iterator<Item = (usize, usize)> {
        let pairs = self.strides().iter().copied().zip(self.shape().iter().copied());
        pairs.filter(|&(_, size)| size > 1)
    }

    fn checked_span(&self) -> Option<usize> {
        if self.is_empty() {
            return Some(0);
        }
        let mut last = 0usize;
        for (&size, &stride) in self.shape().iter().zip(self.strides()) {
            last = last.checked_add((size - 1).checked_mul(stride)?)?;
        }
        last.checked_add(1)
    }
}

impl std::fmt::Debug for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} strides {:?}", self.shape(), self.strides())
    }
}

fn invalid(shape: &[usize], strides: &[usize], problem: &str) -> Error {
    Error::Layout { shape: shape.to_vec(), strides: strides.to_vec(), problem: problem.to_owned() }
}

/// Whether two tensors share a byte, given their addresses, layouts and element sizes in bytes.
///
/// Exact for what occurs in practice (interleaved slices of one buffer included); when the search would take long
/// the answer is yes.
pub fn overlap(a: (u64, &Layout, usize), b: (u64, &Layout, usize)) -> bool {
    if a.1.is_empty() || b.1.is_empty() {
        return false;
    }
    let (a, b) = (Pieces::new(a), Pieces::new(b));
    let mut budget = 1 << 16;
    a.meets(a.start, a.dims.len(), &b, b.start, b.dims.len(), &mut budget)
}

/// A tensor as runs of adjacent bytes, repeated along dimensions of growing stride.
struct Pieces {
    start: i128,
    run: i128,
    /// Stride in bytes and size.
    dims: Vec<(i128, i128)>,
}

impl Pieces {
    fn new((start, layout, element_bytes): (u64, &Layout, usize)) -> Self {
        let bytes = |stride| (stride * element_bytes) as i128;
        let mut dims: Vec<_> = layout.dims().map(|(stride, size)| (bytes(stride), size as i128)).collect();
        dims.sort_unstable();
        let mut pieces = Self { start: start.into(), run: element_bytes as i128, dims: Vec::new() };
        for (stride, size) in dims {
            match pieces.dims.last_mut() {
                // What continues without a gap becomes part of the run, or of the dimension before.
                None if stride <= pieces.run => pieces.run += stride * (size - 1),
                Some((inner, count)) if stride == *inner * *count => *count *= size,
                _ => pieces.dims.push((stride, size)),
            }
        }
        pieces
    }

    /// Bytes from the start to the end of the first `dims` dimensions.
    fn extent(&self, dims: usize) -> i128 {
        self.run + self.dims[..dims].iter().map(|(stride, size)| stride * (size - 1)).sum::<i128>()
    }

    /// Whether the first `dims` dimensions, moved to `at`, share a byte with those of another.
    fn meets(&self, at: i128, dims: usize, other: &Self, other_at: i128, other_dims: usize, budget: &mut u32) -> bool {
        let (extent, other_extent) = (self.extent(dims), other.extent(other_dims));
        if at >= other_at + other_extent || other_at >= at + extent {
            return false;
        }
        if (dims == 0 && other_dims == 0) || *budget == 0 {
            return true;
        }
        *budget -= 1;
        // Split the one that reaches farther along its outermost dimension.
        if dims == 0 || (other_dims > 0 && other_extent > extent) {
            return other.meets(other_at, other_dims, self, at, dims, budget);
        }
        let (stride, size) = self.dims[dims - 1];
        let inner = self.extent(dims - 1);
        // With the same stride on both sides only the difference of the indices matters.
        let (least, most, other_dims) = match other_dims.checked_sub(1).map(|outer| (outer, other.dims[outer])) {
            Some((outer, (other_stride, other_size))) if other_stride == stride => (1 - other_size, size - 1, outer),
            _ => (0, size - 1, other_dims),
        };
        // Only indices whose part reaches into the other's range.
        let first = (other_at - at - inner).div_euclid(stride) + 1;
        let last = (other_at + other.extent(other_dims) - 1 - at).div_euclid(stride);
        (first.max(least)..=last.min(most))
            .any(|i| self.meets(at + i * stride, dims - 1, other, other_at, other_dims, budget))
    }
}
