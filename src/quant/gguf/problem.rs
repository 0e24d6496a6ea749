//! The checked problem.

use super::{OP, Plan};
use crate::quant::product::{self, Product};
use crate::quant::{PackedOperand, element_type, packed};
use crate::{DType, Format, Operand, Result};

/// How activations are multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activations {
    /// As integers of 8 bits, in blocks of 32 with a scale: the fast way.
    #[default]
    Q8,
    /// As they are, by dequantised weights, as exactly as in f32.
    Exact,
}

impl Activations {
    /// The name used everywhere: `q8`, `exact`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q8 => "q8",
            Self::Exact => "exact",
        }
    }
}

/// The tensors, as the kernels see them.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[n, k]`
    pub w: PackedOperand,
    /// `[m, k]`
    pub x: Operand,
    /// `[n]`
    pub bias: Option<Operand>,
    /// `[m, n]`
    pub y: Operand,
    /// `[bytes]`
    pub workspace: Option<Operand>,
}

/// A problem that the kernels can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Block format of the weights.
    pub format: Format,
    /// Rows of activations.
    pub m: usize,
    /// Rows of weights.
    pub n: usize,
    /// Elements of a row.
    pub k: usize,
    /// Element type of the activations.
    pub x_dtype: DType,
    /// Element type of the bias.
    pub bias_dtype: Option<DType>,
    /// Element type of the result.
    pub y_dtype: DType,
    /// How activations are multiplied.
    pub activations: Activations,
}

impl Problem {
    /// Checks tensors.
    ///
    /// # Errors
    /// Rank, element types, sizes that disagree or are no multiple of a block, packed data that end too early, a last
    /// stride other than 1, misaligned tensors, an output that overlaps itself or another tensor, sizes beyond 2^29:
    /// each its own [`Error`](crate::Error), naming the argument, what it has and what is expected.
    pub fn check(operands: &Operands, activations: Activations) -> Result<Self> {
        let Operands { w, x, bias, y, workspace } = operands;
        w.check(OP)?;
        let product = Product { op: OP, x, bias: bias.as_ref(), y, workspace: workspace.as_ref() };
        let problem = Self {
            format: w.format,
            m: product.check_shapes(w.n, w.k)?,
            n: w.n,
            k: w.k,
            x_dtype: x.dtype,
            bias_dtype: bias.map(|bias| bias.dtype),
            y_dtype: y.dtype,
            activations,
        };
        problem.check_sizes()?;
        product.check_memory(w.n, vec![("w", &w.bytes)])?;
        Ok(problem)
    }

    /// Checks what doesn't concern memory.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that are about types and sizes.
    pub fn check_sizes(&self) -> Result<()> {
        packed::check_sizes(OP, self.format, self.n, self.k)?;
        element_type::check(OP, "x", self.x_dtype)?;
        product::check_sizes(OP, self.m, self.bias_dtype, self.y_dtype)
    }

    /// Whether there is nothing to write. With `k = 0` there is: the bias.
    pub fn is_empty(&self) -> bool {
        self.m == 0 || self.n == 0
    }

    /// Blocks of a row of weights.
    pub fn blocks_per_row(&self) -> usize {
        self.k / self.format.block_weights()
    }
}

impl Operands {
    /// That the workspace is as large as the plan says.
    pub(super) fn check_workspace(&self, plan: &Plan) -> Result<()> {
        product::check_workspace(OP, self.workspace.as_ref(), plan.workspace.bytes)
    }
}
