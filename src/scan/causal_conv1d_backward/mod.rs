#![doc = include_str!("README.md")]

#[cfg(feature = "verify")]
mod cases;
mod params;
mod plan;
mod problem;
pub mod reference;
#[cfg(feature = "verify")]
pub(crate) mod verify;

pub use super::causal_conv1d::{Shape, Types};
#[cfg(feature = "verify")]
pub(crate) use plan::launches;
pub use plan::{Plan, plan};
pub use problem::{Operands, Options, Problem, States};

use super::column_sum::ColumnSumParams;
use crate::attention::CuSeqlens;
use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "scan/causal_conv1d_backward";

/// Tensors and options of [`causal_conv1d_backward`].
#[derive(Debug)]
pub struct Args<'a> {
    /// Inputs `[b, s, dim]`, f32, f16 or bf16; with `cu_seqlens` `[total, dim]`.
    pub x: TensorView<'a>,
    /// Weights `[dim, width]`, width 2 to 4; f32, f16 or bf16.
    pub weight: TensorView<'a>,
    /// The gradient of the result, of x's shape and type.
    pub d_out: TensorView<'a>,
    /// The gradient of x, of its shape and type.
    pub d_x: TensorViewMut<'a>,
    /// The gradient of the weights, `[dim, width]`; f32, f16 or bf16.
    pub d_weight: TensorViewMut<'a>,
    /// At least as many bytes (u8) as the plan says, at a multiple of 16. What it holds does not matter.
    pub workspace: TensorViewMut<'a>,
    /// What may be left out.
    pub extras: Extras<'a>,
    /// Options, as of the forward pass.
    pub options: Options,
}

/// What may be left out of [`Args`].
#[derive(Debug, Default)]
pub struct Extras<'a> {
    /// The bias `[dim]`, as in the forward pass.
    pub bias: Option<TensorView<'a>>,
    /// `[b, dim, width - 1]`, as in the forward pass.
    pub initial_state: Option<TensorView<'a>>,
    /// Where the sequences of `[total, dim]` tensors lie.
    pub cu_seqlens: Option<&'a CuSeqlens<'a>>,
    /// The gradient of the final state, `[b, dim, width - 1]`, of x's type; without it that is 0.
    pub d_final_state: Option<TensorView<'a>>,
    /// The gradient of the bias, if wanted, `[dim]`; f32, f16 or bf16.
    pub d_bias: Option<TensorViewMut<'a>>,
    /// The gradient of the initial state, if wanted, `[b, dim, width - 1]`, of x's type.
    pub d_initial_state: Option<TensorViewMut<'a>>,
}

/// Gradients of [`causal_conv1d`](super::causal_conv1d()), the same bits in every run on chips with as many
/// multiprocessors.
///
/// `x`, `d_out` and `d_x` may have any strides, but channels are adjacent; the other tensors have no gaps.
///
/// # Errors
/// See [`Problem::check`]; nothing is written then.
pub fn causal_conv1d_backward(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (x, _x) = args.x.open(OP, "x", queue)?;
    let (weight, _weight) = args.weight.open(OP, "weight", queue)?;
    let (d_out, _d_out) = args.d_out.open(OP, "d_out", queue)?;
    let (d_x, _d_x) = args.d_x.open(OP, "d_x", queue)?;
    let (d_weight, _d_weight) = args.d_weight.open(OP, "d_weight", queue)?;
    let (workspace, _workspace) = args.workspace.open(OP, "workspace", queue)?;
    let extras = &mut args.extras;
    macro_rules! open {
        ($argument:ident, $borrow:ident) => {
            extras.$argument.$borrow().map(|given| given.open(OP, stringify!($argument), queue)).transpose()?.unzip()
        };
    }
    let (bias, _bias) = open!(bias, as_ref);
    let (initial_state, _initial_state) = open!(initial_state, as_ref);
    let (cu_seqlens, _cu_seqlens) = open!(cu_seqlens, as_ref);
    let (d_final_state, _d_final_state) = open!(d_final_state, as_ref);
    let (d_bias, _d_bias) = open!(d_bias, as_mut);
    let (d_initial_state, _d_initial_state) = open!(d_initial_state, as_mut);
    #[rustfmt::skip]
    let operands = Operands {
        x, weight, d_out, d_x, d_weight, workspace, bias, initial_state, cu_seqlens, d_final_state, d_bias,
        d_initial_state,
    };
    let problem = Problem::check(&operands, &args.options)?;
    let plan = plan(&problem, queue.device().limits())?;
    operands.check_workspace(&plan)?;
    // SAFETY, of all launches: the parameters are the kernel's, of operands and a workspace that were checked; the
    // guards above keep them in use until the launches are in the stream, which runs them one after the other.
    if let Some(launch) = &plan.tiles {
        // SAFETY: see above.
        unsafe { queue.launch(launch, &params::CausalConv1dBackwardParams::new(&problem, &plan, &operands)) }?;
    }
    let [of_weights, of_biases] = plan.partials(&problem, workspace.address);
    if let Some(launch) = &plan.d_weight {
        let params = ColumnSumParams::new(of_weights, plan.num_groups, &d_weight);
        // SAFETY: see above.
        unsafe { queue.launch(launch, &params) }?;
    }
    if let (Some(launch), Some(d_bias)) = (&plan.d_bias, &d_bias) {
        let params = ColumnSumParams::new(of_biases, plan.num_groups, d_bias);
        // SAFETY: see above.
        unsafe { queue.launch(launch, &params) }?;
    }
    Ok(())
}
