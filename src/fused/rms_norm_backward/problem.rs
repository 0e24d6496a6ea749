//! The checked problem.

use super::super::rms_norm::Options;
use super::super::rows;
use super::{OP, Plan};
use crate::check::Checks;
use crate::{DType, Error, Operand, Result};

/// The tensors, as the kernels see them.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[.., d]`
    pub x: Operand,
    /// `[d]`
    pub weight: Option<Operand>,
    /// `[.., d]`
    pub d_out: Operand,
    /// `[.., d]`
    pub d_x: Operand,
    /// `[d]`
    pub d_weight: Option<Operand>,
    /// `[bytes]`
    pub workspace: Operand,
}

/// Element types; `None` for a tensor that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Types {
    /// Of what was normalised.
    pub x: DType,
    /// Of the weights.
    pub weight: Option<DType>,
    /// Of the result's gradient.
    pub d_out: DType,
    /// Of the gradient of `x`.
    pub d_x: DType,
    /// Of the gradient of the weights.
    pub d_weight: Option<DType>,
}

/// A problem that the kernels can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Element types.
    pub types: Types,
    /// Rows.
    pub num_rows: usize,
    /// Elements of a row.
    pub d: usize,
    /// Elements that a lane moves at once: 8, 4 or 1, by element types and alignment.
    pub unit: usize,
    /// Options.
    pub options: Options,
}

const CHECKS: Checks = Checks { op: OP };

impl Problem {
    /// Checks tensors and options.
    ///
    /// # Errors
    /// Element types, ranks, shapes that disagree, a last stride other than 1, an address that does not suit the
    /// element type, an output that overlaps itself or another tensor, 2^31 rows or more, options out of range: each its
    /// own [`Error`], naming the argument, what it has and what is expected.
    pub fn check(operands: &Operands, options: &Options) -> Result<Self> {
        let Operands { x, weight, d_out, d_x, d_weight, workspace } = operands;
        rows::check(CHECKS, "x", x)?;
        rows::check_like(CHECKS, ("d_out", d_out), ("x", x))?;
        rows::check_like(CHECKS, ("d_x", d_x), ("x", x))?;
        let (&d, outer) = x.layout.shape().split_last().unwrap_or((&1, &[]));
        for (argument, tensor) in [("weight", weight), ("d_weight", d_weight)] {
            let Some(tensor) = tensor else { continue };
            rows::check_type(OP, argument, tensor.dtype)?;
            CHECKS.rank(argument, tensor, 1, "[d]")?;
            CHECKS.sizes(argument, tensor, [("d", d, "x")])?;
            CHECKS.contiguous(argument, tensor)?;
        }
        CHECKS.element_type("workspace", workspace, DType::U8, "")?;
        CHECKS.contiguous("workspace", workspace)?;
        CHECKS.aligned("workspace", || "address".to_owned(), workspace.address, 16)?;
        let mut others = vec![("x", x), ("d_out", d_out)];
        others.extend(weight.as_ref().map(|weight| ("weight", weight)));
        let written = [("d_x", Some(d_x)), ("d_weight", d_weight.as_ref()), ("workspace", Some(workspace))];
        for (name, tensor) in written.into_iter().filter_map(|(name, tensor)| Some((name, tensor?))) {
            CHECKS.writable(name, tensor, &others)?;
            others.push((name, tensor));
        }
        let dtype = |tensor: &Option<Operand>| tensor.as_ref().map(|tensor| tensor.dtype);
        let types =
            Types { x: x.dtype, weight: dtype(weight), d_out: d_out.dtype, d_x: d_x.dtype, d_weight: dtype(d_weight) };
        let problem = Self::new(types, outer.iter().product(), d, *options)?;
        Ok(Self { unit: rows::unit(d, weight.iter().chain([x, d_out, d_x])), ..problem })
    }

    /// A problem from types and sizes alone, of aligned tensors.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(types: Types, num_rows: usize, d: usize, options: Options) -> Result<Self> {
        let Types { x, weight, d_out, d_x, d_weight } = types;
        let named = [("x", Some(x)), ("weight", weight), ("d_out", Some(d_out)), ("d_x", Some(d_x))];
        for (argument, dtype) in named.into_iter().chain([("d_weight", d_weight)]) {
            dtype.map_or(Ok(()), |dtype| rows::check_type(OP, argument, dtype))?;
        }
        rows::check_sizes(OP, num_rows, d)?;
        let Options { epsilon, weight_offset, .. } = options;
        if !(epsilon.is_finite() && epsilon >= 0.0) {
            let expected = "a finite number from 0 on";
            return Err(Error::OutOfRange { op: OP, option: "epsilon", got: epsilon.to_string(), expected });
        }
        if !weight_offset.is_finite() {
            return Err(Error::NotFinite { op: OP, option: "weight_offset", got: weight_offset.to_string() });
        }
        let dtypes = [Some(x), weight, Some(d_out), Some(d_x)].into_iter().flatten();
        Ok(Self { types, num_rows, d, unit: rows::unit_of_types(d, dtypes), options })
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
