//! The checked problem.

use super::super::rows;
use super::{OP, Options, Plan};
use crate::check::Checks;
use crate::{DType, Error, Operand, Result};

/// The tensors, as the kernels see them.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[m, n]`
    pub logits: Operand,
    /// `[m]`
    pub ids: Operand,
    /// `[m]`
    pub log_probabilities: Option<Operand>,
    /// `[m]`
    pub steps: Option<Operand>,
    /// `[bytes]`
    pub workspace: Operand,
}

/// A problem that the kernels can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Element type of the logits.
    pub dtype: DType,
    /// Rows.
    pub m: usize,
    /// Tokens.
    pub n: usize,
    /// Elements that a lane moves at once: 8, 4 or 1, by element type and alignment.
    pub unit: usize,
    /// Whether probabilities are wanted.
    pub log_probabilities: bool,
    /// Options.
    pub options: Options,
}

const CHECKS: Checks = Checks { op: OP };
/// Below it logits would be multiplied by more than f32 resolves.
const LEAST_TEMPERATURE: f32 = 1e-3;

impl Problem {
    /// Checks tensors and options.
    ///
    /// # Errors
    /// Element types, ranks, shapes that disagree, no tokens, a last stride other than 1, gaps in what is written, an
    /// address that does not suit the element type, outputs that overlap another tensor, 2^31 rows or tokens or more,
    /// options out of range: each its own [`Error`], naming the argument, what it has and what is expected.
    pub fn check(operands: &Operands, options: &Options) -> Result<Self> {
        let Operands { logits, ids, log_probabilities, steps, workspace } = operands;
        CHECKS.rank("logits", logits, 2, "[m, n]")?;
        rows::check(CHECKS, "logits", logits)?;
        let [m, n] = std::array::from_fn(|dim| logits.layout.shape()[dim]);
        CHECKS.element_type("workspace", workspace, DType::U8, "")?;
        CHECKS.contiguous("workspace", workspace)?;
        CHECKS.aligned("workspace", || "address".to_owned(), workspace.address, 4)?;
        let mut others = vec![("logits", logits)];
        let written = [
            ("ids", Some(ids), DType::I32),
            ("log_probabilities", log_probabilities.as_ref(), DType::F32),
            ("steps", steps.as_ref(), DType::I32),
        ];
        for (name, tensor, dtype) in written {
            let Some(tensor) = tensor else { continue };
            CHECKS.element_type(name, tensor, dtype, "")?;
            CHECKS.rank(name, tensor, 1, "[m]")?;
            CHECKS.sizes(name, tensor, [("m", m, "logits")])?;
            CHECKS.contiguous(name, tensor)?;
            CHECKS.writable(name, tensor, &others)?;
            others.push((name, tensor));
        }
        CHECKS.writable("workspace", workspace, &others)?;
        let problem = Self::new(logits.dtype, m, n, log_probabilities.is_some(), *options)?;
        Ok(Self { unit: rows::unit(n, [logits].into_iter()), ..problem })
    }

    /// A problem from a type, sizes and options alone, of aligned tensors.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(dtype: DType, m: usize, n: usize, log_probabilities: bool, options: Options) -> Result<Self> {
        rows::check_type(OP, "logits", dtype)?;
        if n == 0 && m > 0 {
            let (op, argument, got) = (OP, "logits", n.to_string());
            return Err(Error::Unsupported { op, argument, what: "n", got, supported: "1 to 2^31 - 1" });
        }
        rows::check_sizes(OP, m, n)?;
        let Options { temperature, top_k, top_p, min_p, .. } = options;
        let cool = temperature == 0.0 || (temperature.is_finite() && temperature >= LEAST_TEMPERATURE);
        let checks = [
            (cool, "temperature", temperature.to_string(), "0, or a finite number from 0.001 on"),
            (top_k != Some(0), "top_k", "0".to_owned(), "at least 1"),
            (top_p > 0.0 && top_p <= 1.0, "top_p", top_p.to_string(), "a number above 0, up to 1"),
            ((0.0..=1.0).contains(&min_p), "min_p", min_p.to_string(), "a number from 0 to 1"),
        ];
        if let Some((_, option, got, expected)) = checks.into_iter().find(|(valid, ..)| !valid) {
            return Err(Error::OutOfRange { op: OP, option, got, expected });
        }
        let unit = rows::unit_of_types(n, [dtype].into_iter());
        Ok(Self { dtype, m, n, unit, log_probabilities, options })
    }

    /// Whether there is nothing to compute.
    pub fn is_empty(&self) -> bool {
        self.m == 0
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
