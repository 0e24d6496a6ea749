//! The checked problem.

use super::{OP, Plan, Shape};
use crate::attention::SequenceOperand;
use crate::check::Checks;
use crate::fused::rows;
use crate::scan::selective_scan::{check_coefficients, check_like_channels, check_states, check_vector};
use crate::{DType, Error, Operand, Result};

/// The tensors, as the kernels see them; see [`Args`](super::Args) and [`Extras`](super::Extras).
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[b, s, dim]`, or `[total, dim]`
    pub u: Operand,
    /// As u.
    pub delta: Operand,
    /// `[dim, d_state]`
    pub a: Operand,
    /// `[b, s, groups, d_state]`, or `[total, groups, d_state]`
    pub b: Operand,
    /// As B.
    pub c: Operand,
    /// [`Shape::boundary_states`]
    pub boundary_states: Operand,
    /// As u.
    pub d_out: Operand,
    /// As u.
    pub d_u: Operand,
    /// As u.
    pub d_delta: Operand,
    /// As A.
    pub d_a: Operand,
    /// As B.
    pub d_b: Operand,
    /// As B.
    pub d_c: Operand,
    /// `[bytes]`
    pub workspace: Operand,
    /// `[dim]`
    pub d: Option<Operand>,
    /// As u.
    pub z: Option<Operand>,
    /// `[dim]`
    pub delta_bias: Option<Operand>,
    /// Sequences of all tensors of positions.
    pub cu_seqlens: Option<SequenceOperand>,
    /// `[b, dim, d_state]`
    pub d_final_state: Option<Operand>,
    /// `[dim]`
    pub d_d: Option<Operand>,
    /// As u.
    pub d_z: Option<Operand>,
    /// `[dim]`
    pub d_delta_bias: Option<Operand>,
    /// `[b, dim, d_state]`
    pub d_initial_state: Option<Operand>,
}

/// Options, as of the forward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether step sizes were `softplus(delta + delta_bias)`.
    pub softplus: bool,
}

/// What there is of what may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// `D`.
    pub d: bool,
    /// The gate.
    pub z: bool,
    /// What is added to step sizes.
    pub delta_bias: bool,
    /// The gradient of the final state.
    pub d_final_state: bool,
    /// The gradient of `D` is wanted.
    pub d_d: bool,
    /// The gradient of the gate is wanted.
    pub d_z: bool,
    /// The gradient of what is added to step sizes is wanted.
    pub d_delta_bias: bool,
    /// The gradient of the initial state is wanted.
    pub d_initial_state: bool,
}

/// A problem that the kernels can solve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Element type of all tensors of positions but `d_b` and `d_c`.
    pub dtype: DType,
    /// Element types of the gradients of B and C.
    pub of_states: [DType; 2],
    /// Sizes.
    pub shape: Shape,
    /// What there is of what may be left out.
    pub parts: Parts,
    /// Options.
    pub options: Options,
}

const CHECKS: Checks = Checks { op: OP };

impl Problem {
    /// Checks tensors and options.
    ///
    /// # Errors
    /// As [`selective_scan::Problem::check`](crate::scan::selective_scan::Problem::check); a gradient of
    /// what is not there.
    pub fn check(operands: &Operands, options: &Options) -> Result<Self> {
        let Operands { u, delta, a, b, c, boundary_states, d_out, d_u, d_delta, d_a, d_b, d_c, workspace, .. } =
            operands;
        let Operands { d, z, delta_bias, d_final_state, d_d, d_z, d_delta_bias, d_initial_state, .. } = operands;
        let shape = Shape::check(CHECKS, [u, a, b, c], operands.cu_seqlens.as_ref())?;
        let channels = [("delta", Some(delta)), ("d_out", Some(d_out)), ("d_u", Some(d_u)), ("d_delta", Some(d_delta))];
        for (argument, tensor) in channels.into_iter().chain([("z", z.as_ref()), ("d_z", d_z.as_ref())]) {
            tensor.map_or(Ok(()), |tensor| check_like_channels(CHECKS, &shape, (argument, tensor), u.dtype))?;
        }
        for (argument, tensor) in [("d_B", d_b), ("d_C", d_c)] {
            rows::check_type(OP, argument, tensor.dtype)?;
            check_coefficients(CHECKS, &shape, (argument, tensor), tensor.dtype)?;
            CHECKS.contiguous(argument, tensor)?;
        }
        CHECKS.element_type("d_A", d_a, DType::F32, "")?;
        CHECKS.rank("d_A", d_a, 2, "[dim, d_state]")?;
        CHECKS.sizes("d_A", d_a, [("dim", shape.dim, "u"), ("d_state", shape.d_state, "A")])?;
        CHECKS.contiguous("d_A", d_a)?;
        let vectors = [("D", d), ("delta_bias", delta_bias), ("d_D", d_d), ("d_delta_bias", d_delta_bias)];
        for (argument, tensor) in vectors {
            tensor.as_ref().map_or(Ok(()), |tensor| check_vector(CHECKS, &shape, (argument, tensor)))?;
        }
        let b = shape.sequences.b;
        check_states(CHECKS, &shape, ("boundary_states", boundary_states), shape.boundary_states()[0])?;
        for (argument, tensor) in [("d_final_state", d_final_state), ("d_initial_state", d_initial_state)] {
            tensor.as_ref().map_or(Ok(()), |tensor| check_states(CHECKS, &shape, (argument, tensor), b))?;
        }
        let gradients =
            [("d_D", d_d, "D", d), ("d_z", d_z, "z", z), ("d_delta_bias", d_delta_bias, "delta_bias", delta_bias)];
        for (argument, gradient, missing, input) in gradients {
            if gradient.is_some() && input.is_none() {
                return Err(Error::Alone { op: OP, argument, missing });
            }
        }
        CHECKS.rank("workspace", workspace, 1, "[bytes]")?;
        CHECKS.element_type("workspace", workspace, DType::U8, "")?;
        CHECKS.contiguous("workspace", workspace)?;
        CHECKS.aligned("workspace", || "address".to_owned(), workspace.address, 16)?;
        Self::check_memory(operands)?;
        let parts = Parts {
            d: d.is_some(),
            z: z.is_some(),
            delta_bias: delta_bias.is_some(),
            d_final_state: d_final_state.is_some(),
            d_d: d_d.is_some(),
            d_z: d_z.is_some(),
            d_delta_bias: d_delta_bias.is_some(),
            d_initial_state: d_initial_state.is_some(),
        };
        Self::new(u.dtype, [d_b.dtype, d_c.dtype], shape, parts, *options)
    }

    /// What is written overlaps nothing.
    fn check_memory(operands: &Operands) -> Result<()> {
        let Operands { u, delta, a, b, c, boundary_states, d_out, d_u, d_delta, d_a, d_b, d_c, workspace, .. } =
            operands;
        let given = [
            ("D", &operands.d),
            ("z", &operands.z),
            ("delta_bias", &operands.delta_bias),
            ("d_final_state", &operands.d_final_state),
        ];
        let mut others = vec![("u", u), ("delta", delta), ("A", a), ("B", b), ("C", c)];
        others.extend([("boundary_states", boundary_states), ("d_out", d_out)]);
        others.extend(given.iter().filter_map(|(name, tensor)| Some((*name, tensor.as_ref()?))));
        let mut written = vec![("d_u", d_u), ("d_delta", d_delta), ("d_A", d_a), ("d_B", d_b), ("d_C", d_c)];
        let wanted = [
            ("d_D", &operands.d_d),
            ("d_z", &operands.d_z),
            ("d_delta_bias", &operands.d_delta_bias),
            ("d_initial_state", &operands.d_initial_state),
        ];
        written.extend(wanted.iter().filter_map(|(name, tensor)| Some((*name, tensor.as_ref()?))));
        for (name, tensor) in written.into_iter().chain([("workspace", workspace)]) {
            CHECKS.writable(name, tensor, &others)?;
            others.push((name, tensor));
        }
        Ok(())
    }

    /// A problem from its element types and sizes alone.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(dtype: DType, of_states: [DType; 2], shape: Shape, parts: Parts, options: Options) -> Result<Self> {
        rows::check_type(OP, "u", dtype)?;
        rows::check_type(OP, "d_B", of_states[0])?;
        rows::check_type(OP, "d_C", of_states[1])?;
        Ok(Self { dtype, of_states, shape: shape.supported(OP)?, parts, options })
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
