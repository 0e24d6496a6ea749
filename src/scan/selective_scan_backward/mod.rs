#![doc = include_str!("README.md")]

#[cfg(feature = "verify")]
mod cases;
mod params;
mod plan;
mod problem;
pub mod reference;
#[cfg(feature = "verify")]
pub(crate) mod verify;

pub use super::selective_scan::{MAX_STATES, Shape};
#[cfg(feature = "verify")]
pub(crate) use plan::launches;
pub use plan::{Plan, plan};
pub use problem::{Operands, Options, Parts, Problem};

use super::column_sum::ColumnSumParams;
use crate::attention::CuSeqlens;
use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "scan/selective_scan_backward";

/// Tensors and options of [`selective_scan_backward`].
#[derive(Debug)]
pub struct Args<'a> {
    /// Inputs `[b, s, dim]`, f32, f16 or bf16; with `cu_seqlens` `[total, dim]`.
    pub u: TensorView<'a>,
    /// Step sizes, of u's shape and type.
    pub delta: TensorView<'a>,
    /// `A`, `[dim, d_state]`, f32; `d_state` a multiple of 4 up to [`MAX_STATES`].
    pub a: TensorView<'a>,
    /// `B`, `[b, s, groups, d_state]`, of u's type; with `cu_seqlens` `[total, groups, d_state]`.
    pub b: TensorView<'a>,
    /// `C`, as `B`.
    pub c: TensorView<'a>,
    /// What [`selective_scan`](super::selective_scan()) gave of this name, f32.
    pub boundary_states: TensorView<'a>,
    /// The gradient of the result, of u's shape and type.
    pub d_out: TensorView<'a>,
    /// The gradient of u, of its shape and type; and so are the next four, of what they are named after.
    pub d_u: TensorViewMut<'a>,
    /// Of delta's shape and type.
    pub d_delta: TensorViewMut<'a>,
    /// Of A's shape and type.
    pub d_a: TensorViewMut<'a>,
    /// Of B's shape, without gaps; f32, f16 or bf16.
    pub d_b: TensorViewMut<'a>,
    /// Of C's shape, without gaps; f32, f16 or bf16.
    pub d_c: TensorViewMut<'a>,
    /// At least as many bytes (u8) as the plan says, at a multiple of 16. What it holds does not matter.
    pub workspace: TensorViewMut<'a>,
    /// What may be left out.
    pub extras: Extras<'a>,
    /// Options, as of the forward pass.
    pub options: Options,
}

/// What may be left out of [`Args`]: inputs as in the forward pass, whose gradients are wanted or not.
#[derive(Debug, Default)]
pub struct Extras<'a> {
    /// `D`, `[dim]`, f32.
    pub d: Option<TensorView<'a>>,
    /// The gate, of u's shape and type.
    pub z: Option<TensorView<'a>>,
    /// Added to the step sizes, `[dim]`, f32.
    pub delta_bias: Option<TensorView<'a>>,
    /// Where the sequences of `[total, ..]` tensors lie.
    pub cu_seqlens: Option<&'a CuSeqlens<'a>>,
    /// The gradient of the final state, `[b, dim, d_state]`, f32; without it that is 0.
    pub d_final_state: Option<TensorView<'a>>,
    /// The gradient of D, `[dim]`, f32.
    pub d_d: Option<TensorViewMut<'a>>,
    /// The gradient of the gate, of its shape and type.
    pub d_z: Option<TensorViewMut<'a>>,
    /// The gradient of the delta bias, `[dim]`, f32.
    pub d_delta_bias: Option<TensorViewMut<'a>>,
    /// The gradient of the initial state, `[b, dim, d_state]`, f32.
    pub d_initial_state: Option<TensorViewMut<'a>>,
}

/// Gradients of [`selective_scan`](super::selective_scan()), the same bits in every run.
///
/// States are computed again from those before each chunk, and never lie in memory all together. Tensors of all positions
/// may have any strides, but elements of the last dimension are adjacent and rows start at multiples of 4 elements; the
/// other tensors, and the gradients of B and C, have no gaps.
///
/// # Errors
/// See [`Problem::check`] and [`plan()`]; nothing is written then.
pub fn selective_scan_backward(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (u, _u) = args.u.open(OP, "u", queue)?;
    let (delta, _delta) = args.delta.open(OP, "delta", queue)?;
    let (a, _a) = args.a.open(OP, "A", queue)?;
    let (b, _b) = args.b.open(OP, "B", queue)?;
    let (c, _c) = args.c.open(OP, "C", queue)?;
    let (boundary_states, _boundary_states) = args.boundary_states.open(OP, "boundary_states", queue)?;
    let (d_out, _d_out) = args.d_out.open(OP, "d_out", queue)?;
    let (d_u, _d_u) = args.d_u.open(OP, "d_u", queue)?;
    let (d_delta, _d_delta) = args.d_delta.open(OP, "d_delta", queue)?;
    let (d_a, _d_a) = args.d_a.open(OP, "d_A", queue)?;
    let (d_b, _d_b) = args.d_b.open(OP, "d_B", queue)?;
    let (d_c, _d_c) = args.d_c.open(OP, "d_C", queue)?;
    let (workspace, _workspace) = args.workspace.open(OP, "workspace", queue)?;
    let extras = &mut args.extras;
    macro_rules! open {
        ($argument:ident, $borrow:ident, $name:expr) => {
            extras.$argument.$borrow().map(|given| given.open(OP, $name, queue)).transpose()?.unzip()
        };
    }
    let (d, _d) = open!(d, as_ref, "D");
    let (z, _z) = open!(z, as_ref, "z");
    let (delta_bias, _delta_bias) = open!(delta_bias, as_ref, "delta_bias");
    let (cu_seqlens, _cu_seqlens) = open!(cu_seqlens, as_ref, "cu_seqlens");
    let (d_final_state, _d_final_state) = open!(d_final_state, as_ref, "d_final_state");
    let (d_d, _d_d) = open!(d_d, as_mut, "d_D");
    let (d_z, _d_z) = open!(d_z, as_mut, "d_z");
    let (d_delta_bias, _d_delta_bias) = open!(d_delta_bias, as_mut, "d_delta_bias");
    let (d_initial_state, _d_initial_state) = open!(d_initial_state, as_mut, "d_initial_state");
    #[rustfmt::skip]
    let operands = Operands {
        u, delta, a, b, c, boundary_states, d_out, d_u, d_delta, d_a, d_b, d_c, workspace, d, z, delta_bias, cu_seqlens,
        d_final_state, d_d, d_z, d_delta_bias, d_initial_state,
    };
    let problem = Problem::check(&operands, &args.options)?;
    let plan = plan(&problem, queue.device().limits())?;
    operands.check_workspace(&plan)?;
    // SAFETY, of all launches: the parameters are the kernel's, of operands and a workspace that were checked; the
    // guards above keep them in use until the launches are in the stream, which runs them one after the other.
    if let Some(launch) = &plan.scan {
        // SAFETY: see above.
        unsafe { queue.launch(launch, &params::SelectiveScanBackwardParams::new(&problem, &plan, &operands)) }?;
    }
    let sums = [Some(d_b), Some(d_c), Some(d_a), d_d, d_delta_bias];
    for (partial, out) in plan.partials.iter().zip(sums) {
        let (Some(launch), Some(out)) = (&partial.sum, out) else { continue };
        let params = ColumnSumParams::new(workspace.address + partial.offset as u64, partial.count, &out);
        // SAFETY: see above.
        unsafe { queue.launch(launch, &params) }?;
    }
    Ok(())
}
