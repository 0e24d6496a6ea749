//! Checks of tensors that operators share. Each error names the operator and the argument.

use crate::{DType, Error, Operand, Result, overlap};

/// The checks of an operator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checks {
    /// The operator.
    pub(crate) op: &'static str,
}

impl Checks {
    /// The rank; `dimensions` names them: `[b, s_q, h_q, d]`.
    pub(crate) fn rank(
        &self,
        argument: &'static str,
        tensor: &Operand,
        expected: usize,
        dimensions: &'static str,
    ) -> Result<()> {
        let (op, got) = (self.op, tensor.layout.rank());
        if got == expected {
            return Ok(());
        }
        Err(Error::Rank { op, argument, got, expected, dimensions })
    }

    /// The element type; `reason` is ` (= q)`, or empty.
    pub(crate) fn element_type(
        &self,
        argument: &'static str,
        tensor: &Operand,
        expected: DType,
        reason: &'static str,
    ) -> Result<()> {
        let (op, got) = (self.op, tensor.dtype);
        if got == expected {
            return Ok(());
        }
        Err(Error::ElementType { op, argument, got, expected, reason })
    }

    /// The size of each dimension: its name, its size, and the argument that says so. The rank must be checked.
    pub(crate) fn sizes<const RANK: usize>(
        &self,
        argument: &'static str,
        tensor: &Operand,
        expected: [(&'static str, usize, &'static str); RANK],
    ) -> Result<()> {
        for (&got, (dimension, expected, of)) in tensor.layout.shape().iter().zip(expected) {
            if got != expected {
                let op = self.op;
                return Err(Error::Dimension { op, argument, dimension, got, expected, of });
            }
        }
        Ok(())
    }

    /// Likewise where a dimension may also be 1, to be broadcast.
    pub(crate) fn broadcast_sizes<const RANK: usize>(
        &self,
        argument: &'static str,
        tensor: &Operand,
        expected: [(&'static str, usize, &'static str); RANK],
    ) -> Result<()> {
        for (&got, (dimension, expected, of)) in tensor.layout.shape().iter().zip(expected) {
            if got != expected && got != 1 {
                return Err(Error::Broadcast { op: self.op, argument, dimension, got, expected, of });
            }
        }
        Ok(())
    }

    /// Rows of adjacent elements that start at multiples of `bytes`.
    pub(crate) fn rows(&self, argument: &'static str, tensor: &Operand, bytes: u64) -> Result<()> {
        let (op, layout) = (self.op, &tensor.layout);
        if layout.is_empty() {
            return Ok(());
        }
        let address = || "address".to_owned();
        let (Some((&last, outer)), Some((&width, sizes))) =
            (layout.strides().split_last(), layout.shape().split_last())
        else {
            return self.aligned(argument, address, tensor.address, bytes);
        };
        if last != 1 && width > 1 {
            return Err(Error::LastStride { op, argument, got: last });
        }
        let elements = bytes / tensor.dtype.size_bytes() as u64;
        for (dim, (&stride, &size)) in outer.iter().zip(sizes).enumerate() {
            // The stride of a dimension of one element is never used.
            if size > 1 {
                let what = || format!("stride[{dim}] in elements");
                self.aligned(argument, what, stride as u64, elements)?;
            }
        }
        self.aligned(argument, address, tensor.address, bytes)
    }

    /// Row-major order without gaps, at an address that suits the element type.
    pub(crate) fn contiguous(&self, argument: &'static str, tensor: &Operand) -> Result<()> {
        let layout = &tensor.layout;
        if !layout.is_contiguous() && !layout.is_empty() {
            let (shape, strides) = (layout.shape().to_vec(), layout.strides().to_vec());
            return Err(Error::NotContiguous { op: self.op, argument, shape, strides });
        }
        let bytes = tensor.dtype.size_bytes() as u64;
        self.aligned(argument, || "address".to_owned(), tensor.address, bytes)
    }

    /// An address that suits the element type.
    pub(crate) fn elements(&self, argument: &'static str, tensor: &Operand) -> Result<()> {
        self.aligned(argument, || "address".to_owned(), tensor.address, tensor.dtype.size_bytes() as u64)
    }

    /// An output that shares no memory with other tensors, nor with itself.
    pub(crate) fn writable(
        &self,
        argument: &'static str,
        tensor: &Operand,
        others: &[(&'static str, &Operand)],
    ) -> Result<()> {
        let (op, layout) = (self.op, &tensor.layout);
        if layout.overlaps_itself() {
            let (shape, strides) = (layout.shape().to_vec(), layout.strides().to_vec());
            return Err(Error::SelfOverlap { op, argument, shape, strides });
        }
        fn place(tensor: &Operand) -> (u64, &crate::Layout, usize) {
            (tensor.address, &tensor.layout, tensor.dtype.size_bytes())
        }
        match others.iter().find(|(_, other)| overlap(place(tensor), place(other))) {
            Some(&(other, _)) => Err(Error::Overlap { op, argument, other }),
            None => Ok(()),
        }
    }

    /// An address, or what `what` says, that is a multiple.
    pub(crate) fn aligned(
        &self,
        argument: &'static str,
        what: impl FnOnce() -> String,
        got: u64,
        multiple: u64,
    ) -> Result<()> {
        if got.is_multiple_of(multiple) {
            return Ok(());
        }
        Err(Error::Misaligned { op: self.op, argument, what: what(), got, multiple })
    }
}
