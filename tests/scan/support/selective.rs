//! Inputs of the selective scan, forwards and backwards.

use super::{Tensor, sequence_operand, sequences};
use llm_kernels::attention::{CuSeqlens, SequenceOperand};
use llm_kernels::scan::SequenceSizes;
use llm_kernels::scan::selective_scan::Shape;
use llm_kernels::scan::selective_scan::reference::Input;
use llm_kernels::{DType, Layout};

use DType::F32;

/// Inputs, with everything that may be left out.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    pub(crate) u: Tensor,
    pub(crate) delta: Tensor,
    pub(crate) a: Tensor,
    pub(crate) b: Tensor,
    pub(crate) c: Tensor,
    pub(crate) d: Option<Tensor>,
    pub(crate) z: Option<Tensor>,
    pub(crate) delta_bias: Option<Tensor>,
    pub(crate) initial_state: Option<Tensor>,
    /// Empty: sequences of one length.
    pub(crate) offsets: Vec<i32>,
}

impl Inputs {
    /// States that fade, steps of about 0.3 after softplus.
    pub(crate) fn new(dtype: DType, [b, s, dim, d_state, groups]: [usize; 5]) -> Self {
        let (channels, states) = ([b, s, dim], [b, s, groups, d_state]);
        Self {
            u: Tensor::normal(1, dtype, &channels),
            delta: Tensor::normal(2, dtype, &channels).map(|x| 0.5 * x - 0.5),
            a: Tensor::normal(3, F32, &[dim, d_state]).map(|x| -x.exp()),
            b: Tensor::normal(4, dtype, &states),
            c: Tensor::normal(5, dtype, &states),
            d: Some(Tensor::normal(6, F32, &[dim])),
            z: Some(Tensor::normal(7, dtype, &channels)),
            delta_bias: Some(Tensor::normal(8, F32, &[dim]).map(|x| 0.5 * x - 0.5)),
            initial_state: Some(Tensor::normal(9, F32, &[b, dim, d_state])),
            offsets: Vec::new(),
        }
    }

    /// One sequence after the other.
    pub(crate) fn various(dtype: DType, lengths: &[usize], [dim, d_state, groups]: [usize; 3]) -> Self {
        let mut offsets = vec![0];
        lengths.iter().for_each(|&length| offsets.push(offsets.last().unwrap() + length as i32));
        let total = *offsets.last().unwrap() as usize;
        let flat = Self::new(dtype, [1, total, dim, d_state, groups]);
        Self {
            u: flat.u.reshaped(&[total, dim]),
            delta: flat.delta.reshaped(&[total, dim]),
            b: flat.b.reshaped(&[total, groups, d_state]),
            c: flat.c.reshaped(&[total, groups, d_state]),
            z: flat.z.map(|z| z.reshaped(&[total, dim])),
            initial_state: Some(Tensor::normal(9, F32, &[lengths.len(), dim, d_state])),
            offsets,
            ..flat
        }
    }

    /// Keeps of what may be left out that whose bit is set.
    pub(crate) fn with_parts(self, parts: u8) -> Self {
        Self {
            d: self.d.filter(|_| parts & 1 != 0),
            z: self.z.filter(|_| parts & 2 != 0),
            delta_bias: self.delta_bias.filter(|_| parts & 4 != 0),
            initial_state: self.initial_state.filter(|_| parts & 8 != 0),
            ..self
        }
    }

    /// Steps that need no softplus to be positive.
    pub(crate) fn with_plain_steps(self) -> Self {
        Self {
            delta: self.delta.map(|x| 0.3 * x.abs()),
            delta_bias: self.delta_bias.map(|x| x.map(|x| 0.1 * x.abs())),
            ..self
        }
    }

    pub(crate) fn shape(&self) -> Shape {
        let (dim, d_state) = (self.a.layout.shape()[0], self.a.layout.shape()[1]);
        let b = self.b.layout.shape();
        let sequences = match sequence_operand(&self.offsets) {
            Some(operand) => SequenceSizes::of(&operand),
            None => SequenceSizes::uniform(b[0], b[1]),
        };
        Shape { sequences, dim, d_state, groups: b[b.len() - 2] }
    }

    pub(crate) fn states(&self) -> Layout {
        let shape = self.shape();
        Layout::contiguous(&[shape.sequences.b, shape.dim, shape.d_state]).unwrap()
    }

    pub(crate) fn all_channels(&self) -> Vec<usize> {
        (0..self.shape().dim).collect()
    }

    pub(crate) fn input(&self) -> Input<'_> {
        fn given(tensor: &Option<Tensor>) -> Option<&[f64]> {
            tensor.as_ref().map(|tensor| &tensor.values[..])
        }
        Input {
            u: &self.u.values,
            delta: &self.delta.values,
            a: &self.a.values,
            b: &self.b.values,
            c: &self.c.values,
            d: given(&self.d),
            z: given(&self.z),
            delta_bias: given(&self.delta_bias),
            initial_state: given(&self.initial_state),
            cu_seqlens: &self.offsets,
        }
    }

    pub(crate) fn sequences(&self) -> Option<CuSeqlens<'static>> {
        sequences(&self.offsets)
    }

    pub(crate) fn sequence_operand(&self) -> Option<SequenceOperand> {
        sequence_operand(&self.offsets)
    }

    /// Positions `range` of each sequence of one length, from a state on.
    pub(crate) fn part(&self, range: std::ops::Range<usize>, initial_state: Option<Tensor>) -> Self {
        Self {
            u: self.u.positions(range.clone()),
            delta: self.delta.positions(range.clone()),
            b: self.b.positions(range.clone()),
            c: self.c.positions(range.clone()),
            z: self.z.as_ref().map(|z| z.positions(range)),
            initial_state,
            ..self.clone()
        }
    }

    /// Sequence `i` of various lengths alone.
    pub(crate) fn alone(&self, i: usize) -> Self {
        let (from, to) = (self.offsets[i] as usize, self.offsets[i + 1] as usize);
        let batch = |tensor: &Tensor| tensor.reshaped(&[&[1], tensor.layout.shape()].concat());
        let states = self.shape().dim * self.shape().d_state;
        let state = self.initial_state.as_ref().map(|state| {
            Tensor::new(F32, &[1, self.shape().dim, self.shape().d_state], &state.values[i * states..][..states])
        });
        let whole = Self {
            u: batch(&self.u),
            delta: batch(&self.delta),
            b: batch(&self.b),
            c: batch(&self.c),
            z: self.z.as_ref().map(batch),
            offsets: Vec::new(),
            ..self.clone()
        };
        whole.part(from..to, state)
    }
}
