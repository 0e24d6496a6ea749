#![doc = include_str!("README.md")]

#[cfg(feature = "verify")]
mod cases;
mod params;
mod plan;
mod problem;
pub mod reference;
#[cfg(feature = "verify")]
pub(crate) mod verify;

#[cfg(feature = "verify")]
pub(crate) use plan::launches;
pub use plan::{Plan, plan};
pub use problem::{Operands, Problem};

use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "fused/sample";

/// Tensors and options of [`sample`].
#[derive(Debug)]
pub struct Args<'a> {
    /// Logits `[m, n]`, f32, f16 or bf16; rows may lie apart.
    pub logits: TensorView<'a>,
    /// The drawn tokens `[m]`, i32; -1 for a row of nothing but minus infinity and NaN.
    pub ids: TensorViewMut<'a>,
    /// Natural logarithms of their probabilities `[m]`, f32: of the softmax over all logits, at temperature 1. NaN where
    /// there is no token.
    pub log_probabilities: Option<TensorViewMut<'a>>,
    /// Steps `[m]`, i32: numbers of the draws of each row, added to `options.step`, and advanced by one by this call.
    /// So each replay of a captured graph draws anew; and positions of rotary embeddings may be the same tensor.
    pub steps: Option<TensorViewMut<'a>>,
    /// At least as many bytes (u8) as the plan says, at a multiple of 4. What it holds does not matter.
    pub workspace: TensorViewMut<'a>,
    /// Options.
    pub options: Options,
}

/// Options of [`sample`]. A token must pass all filters, each applied to the whole softmax.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// What logits are divided by: 0 for the largest logit, the first of equals; otherwise at least 0.001. 1 by default.
    pub temperature: f32,
    /// Only tokens with fewer than so many above them: equals of the last one stay. None by default.
    pub top_k: Option<u32>,
    /// Only tokens whose betters have together less than this probability. 1, all, by default.
    pub top_p: f32,
    /// Only tokens with at least this fraction of the largest probability. 0, all, by default.
    pub min_p: f32,
    /// Chooses the random numbers, with the row and the step.
    pub seed: u64,
    /// The step of every row, to which `steps` are added.
    pub step: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: None, top_p: 1.0, min_p: 0.0, seed: 0, step: 0 }
    }
}

/// Draws a token of every row from the softmax of `logits / temperature`, restricted to what the filters leave.
///
/// The draw depends on the row's logits, its number, the seed and the step, and on nothing else.
///
/// # Errors
/// See [`Problem::check`]; nothing is written then.
pub fn sample(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (logits, _logits) = args.logits.open(OP, "logits", queue)?;
    let (ids, _ids) = args.ids.open(OP, "ids", queue)?;
    let (log_probabilities, _log_probabilities) =
        args.log_probabilities.as_mut().map(|t| t.open(OP, "log_probabilities", queue)).transpose()?.unzip();
    let (steps, _steps) = args.steps.as_mut().map(|t| t.open(OP, "steps", queue)).transpose()?.unzip();
    let (workspace, _workspace) = args.workspace.open(OP, "workspace", queue)?;
    let operands = Operands { logits, ids, log_probabilities, steps, workspace };
    let problem = Problem::check(&operands, &args.options)?;
    if problem.is_empty() {
        return Ok(());
    }
    let plan = plan(&problem, queue.device().limits())?;
    operands.check_workspace(&plan)?;
    let params = params::SampleParams::new(&problem, &plan, &operands);
    // SAFETY: the parameters are these kernels', of operands and a workspace that were checked; the guards above keep them
    // in use until both launches are in the stream, which runs them one after the other.
    unsafe { queue.launch(&plan.parts, &params) }?;
    // SAFETY: see above.
    unsafe { queue.launch(&plan.rows, &params) }
}
