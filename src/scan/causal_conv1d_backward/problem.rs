//! The checked problem.

use super::{OP, Plan, Shape, Types};
use crate::attention::SequenceOperand;
use crate::check::Checks;
use crate::fused::rows;
use crate::scan::SequenceSizes;
use crate::scan::causal_conv1d::{self, DIMENSIONS, check_state, check_weights, unit};
use crate::{DType, Error, Operand, Result};

/// The tensors, as the kernels see them; see [`Args`](super::Args) and [`Extras`](super::Extras).
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[b, s, dim]`, or `[total, dim]`
    pub x: Operand,
    /// `[dim, width]`
    pub weight: Operand,
    /// As x.
    pub d_out: Operand,
    /// As x.
    pub d_x: Operand,
    /// `[dim, width]`
    pub d_weight: Operand,
    /// `[bytes]`
    pub workspace: Operand,
    /// `[dim]`
    pub bias: Option<Operand>,
    /// `[b, dim, width - 1]`
    pub initial_state: Option<Operand>,
    /// Sequences of x and all that is shaped like it.
    pub cu_seqlens: Option<SequenceOperand>,
    /// `[b, dim, width - 1]`
    pub d_final_state: Option<Operand>,
    /// `[dim]`
    pub d_bias: Option<Operand>,
    /// `[b, dim, width - 1]`
    pub d_initial_state: Option<Operand>,
}

/// Options, as of the forward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether the result went through `silu`.
    pub silu: bool,
}

/// Which states there are, with their gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States {
    /// The initial state is given.
    pub initial: bool,
    /// The final state's gradient is given.
    pub d_final: bool,
    /// The initial state's gradient is wanted.
    pub d_initial: bool,
}

/// A problem that the kernels can solve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Element types.
    pub types: Types,
    /// Sizes.
    pub shape: Shape,
    /// States and their gradients.
    pub states: States,
    /// The type of the gradient of the weights.
    pub d_weight: DType,
    /// The type of the gradient of the bias, if that is wanted.
    pub d_bias: Option<DType>,
    /// Channels that a thread owns: 8, 4 or 1, by element types and alignment.
    pub unit: usize,
    /// Options.
    pub options: Options,
}

const CHECKS: Checks = Checks { op: OP };

impl Problem {
    /// Checks tensors and options.
    ///
    /// # Errors
    /// As [`causal_conv1d::Problem::check`], and a gradient of a bias that is not there.
    pub fn check(operands: &Operands, options: &Options) -> Result<Self> {
        let Operands { x, weight, d_out, d_x, d_weight, workspace, bias, d_bias, .. } = operands;
        let sequences = SequenceSizes::check(CHECKS, ("x", x), 1, DIMENSIONS, operands.cu_seqlens.as_ref())?;
        let dim = x.layout.shape().last().copied().unwrap_or(0);
        rows::check_type(OP, "x", x.dtype)?;
        let width = check_weights(CHECKS, weight, bias.as_ref(), dim)?;
        for (argument, tensor) in [("x", x), ("d_out", d_out), ("d_x", d_x)] {
            sequences.check_like(CHECKS, (argument, tensor), "x", [("dim", dim, "x")], DIMENSIONS)?;
            CHECKS.element_type(argument, tensor, x.dtype, " (= x)")?;
            CHECKS.rows(argument, tensor, tensor.dtype.size_bytes() as u64)?;
        }
        rows::check_type(OP, "d_weight", d_weight.dtype)?;
        CHECKS.rank("d_weight", d_weight, 2, "[dim, width]")?;
        CHECKS.sizes("d_weight", d_weight, [("dim", dim, "x"), ("width", width, "weight")])?;
        CHECKS.contiguous("d_weight", d_weight)?;
        if let Some(d_bias) = d_bias {
            if bias.is_none() {
                return Err(Error::Alone { op: OP, argument: "d_bias", missing: "bias" });
            }
            rows::check_type(OP, "d_bias", d_bias.dtype)?;
            CHECKS.rank("d_bias", d_bias, 1, "[dim]")?;
            CHECKS.sizes("d_bias", d_bias, [("dim", dim, "x")])?;
            CHECKS.contiguous("d_bias", d_bias)?;
        }
        let states = [
            ("initial_state", &operands.initial_state),
            ("d_final_state", &operands.d_final_state),
            ("d_initial_state", &operands.d_initial_state),
        ];
        for (argument, state) in states {
            let Some(state) = state else { continue };
            check_state(CHECKS, (argument, state), x.dtype, [sequences.b, dim, width])?;
        }
        CHECKS.rank("workspace", workspace, 1, "[bytes]")?;
        CHECKS.element_type("workspace", workspace, DType::U8, "")?;
        CHECKS.contiguous("workspace", workspace)?;
        CHECKS.aligned("workspace", || "address".to_owned(), workspace.address, 16)?;
        let mut others = vec![("x", x), ("weight", weight), ("d_out", d_out)];
        let given = [("bias", bias), states[0], states[1]];
        others.extend(given.iter().filter_map(|(name, tensor)| Some((*name, tensor.as_ref()?))));
        let written = [("d_x", Some(d_x)), ("d_weight", Some(d_weight)), ("d_bias", d_bias.as_ref())];
        let written = written.into_iter().chain([(states[2].0, states[2].1.as_ref()), ("workspace", Some(workspace))]);
        for (name, tensor) in written.filter_map(|(name, tensor)| Some((name, tensor?))) {
            CHECKS.writable(name, tensor, &others)?;
            others.push((name, tensor));
        }
        let types = Types { x: x.dtype, weight: weight.dtype, bias: bias.map(|bias| bias.dtype) };
        let has = States {
            initial: operands.initial_state.is_some(),
            d_final: operands.d_final_state.is_some(),
            d_initial: operands.d_initial_state.is_some(),
        };
        let problem = Self::new(types, Shape { sequences, dim, width }, has, *options)?;
        let unit = unit(problem.unit, &[x, d_out, d_x], &[Some(weight), bias.as_ref(), states[0].1.as_ref()]);
        Ok(Self { unit, d_weight: d_weight.dtype, d_bias: d_bias.map(|d_bias| d_bias.dtype), ..problem })
    }

    /// A problem from types and sizes alone, of aligned tensors. The gradients of the weights and, where there is one, the
    /// bias are f32.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(types: Types, shape: Shape, states: States, options: Options) -> Result<Self> {
        let problem = causal_conv1d::Problem::of(OP, types, shape, [states.initial, false], Default::default())?;
        let d_bias = types.bias.map(|_| DType::F32);
        Ok(Self { types, shape, states, d_weight: DType::F32, d_bias, unit: problem.unit, options })
    }
}

impl Operands {
    /// Whether the workspace is large enough for a plan.
    pub(super) fn check_workspace(&self, plan: &Plan) -> Result<()> {
        let (got, needed) = (self.workspace.layout.len(), plan.workspace_bytes);
        if got >= needed {
            return Ok(());
        }
        Err(Error::Workspace { op: OP, got: got as u64, needed: needed as u64 })
    }
}
