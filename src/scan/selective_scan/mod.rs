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
pub use plan::{Plan, Segments, plan};
pub use problem::{CHUNK, MAX_STATES, Operands, Options, Parts, Problem, Shape};
pub(super) use problem::{check_coefficients, check_like_channels, check_states, check_vector};

use crate::attention::CuSeqlens;
use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "scan/selective_scan";

/// Tensors and options of [`selective_scan`].
#[derive(Debug)]
pub struct Args<'a> {
    /// Inputs `[b, s, dim]`, f32, f16 or bf16; with `cu_seqlens` `[total, dim]`.
    pub u: TensorView<'a>,
    /// Step sizes, of u's shape and type.
    pub delta: TensorView<'a>,
    /// `A`, `[dim, d_state]`, f32; negative for states that fade. `d_state` is a multiple of 4 up to 256.
    pub a: TensorView<'a>,
    /// `B`, `[b, s, groups, d_state]`, of u's type; with `cu_seqlens` `[total, groups, d_state]`. Neighbouring
    /// `dim / groups` channels, a multiple of 4, share a group.
    pub b: TensorView<'a>,
    /// `C`, as `B`.
    pub c: TensorView<'a>,
    /// Result, of u's shape and type.
    pub out: TensorViewMut<'a>,
    /// What may be left out.
    pub extras: Extras<'a>,
    /// Options.
    pub options: Options,
}

/// What may be left out of [`Args`].
#[derive(Debug, Default)]
pub struct Extras<'a> {
    /// `D`, how much of the input skips the states, `[dim]`, f32; else 0.
    pub d: Option<TensorView<'a>>,
    /// The gate, of u's shape and type: the result is multiplied by `silu(z)`.
    pub z: Option<TensorView<'a>>,
    /// Added to the step sizes, `[dim]`, f32.
    pub delta_bias: Option<TensorView<'a>>,
    /// The states before the first position, `[b, dim, d_state]`, f32; else 0.
    pub initial_state: Option<TensorView<'a>>,
    /// The states after the last position, `[b, dim, d_state]`, f32.
    pub final_state: Option<TensorViewMut<'a>>,
    /// The states before each chunk of [`CHUNK`] positions, [`Shape::boundary_states`], f32: what
    /// [`selective_scan_backward`](super::selective_scan_backward()) begins its chunks with.
    pub boundary_states: Option<TensorViewMut<'a>>,
    /// At least as many bytes (u8) as the plan says, at a multiple of 16; what it holds does not matter. With it, long
    /// sequences of few channels may be done in segments at a time, where the device would be idle else.
    pub workspace: Option<TensorViewMut<'a>>,
    /// Where the sequences of `[total, ..]` tensors lie.
    pub cu_seqlens: Option<&'a CuSeqlens<'a>>,
}

impl<'a> Args<'a> {
    /// What must be given; all else is left out.
    pub fn new(
        u: TensorView<'a>,
        delta: TensorView<'a>,
        [a, b, c]: [TensorView<'a>; 3],
        out: TensorViewMut<'a>,
    ) -> Self {
        Self { u, delta, a, b, c, out, extras: Extras::default(), options: Options::default() }
    }
}

/// The selective scan of Mamba: for each channel and state `h[t] = exp(delta A) h[t - 1] + delta B[t] u[t]`, and `out[t]
/// = (sum of C[t] h[t] + D u[t]) silu(z[t])`.
///
/// Tensors of all positions may have any strides, but elements of the last dimension are adjacent and rows start at
/// multiples of 4 elements; the other tensors have no gaps. Where `delta A` is not negative states grow, and may
/// overflow.
///
/// # Errors
/// See [`Problem::check`] and [`plan()`]; nothing is written then.
pub fn selective_scan(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (u, _u) = args.u.open(OP, "u", queue)?;
    let (delta, _delta) = args.delta.open(OP, "delta", queue)?;
    let (a, _a) = args.a.open(OP, "A", queue)?;
    let (b, _b) = args.b.open(OP, "B", queue)?;
    let (c, _c) = args.c.open(OP, "C", queue)?;
    let (out, _out) = args.out.open(OP, "out", queue)?;
    let extras = &mut args.extras;
    macro_rules! open {
        ($argument:ident, $borrow:ident, $name:expr) => {
            extras.$argument.$borrow().map(|given| given.open(OP, $name, queue)).transpose()?.unzip()
        };
    }
    let (d, _d) = open!(d, as_ref, "D");
    let (z, _z) = open!(z, as_ref, "z");
    let (delta_bias, _delta_bias) = open!(delta_bias, as_ref, "delta_bias");
    let (initial_state, _initial_state) = open!(initial_state, as_ref, "initial_state");
    let (final_state, _final_state) = open!(final_state, as_mut, "final_state");
    let (boundary_states, _boundary_states) = open!(boundary_states, as_mut, "boundary_states");
    let (workspace, _workspace) = open!(workspace, as_mut, "workspace");
    let (cu_seqlens, _cu_seqlens) = open!(cu_seqlens, as_ref, "cu_seqlens");
    #[rustfmt::skip]
    let operands = Operands {
        u, delta, a, b, c, out, d, z, delta_bias, initial_state, final_state, boundary_states, workspace,
        cu_seqlens,
    };
    let problem = Problem::check(&operands, &args.options)?;
    let plan = plan(&problem, queue.device().limits())?;
    operands.check_workspace(&plan)?;
    let Some(launch) = &plan.launch else { return Ok(()) };
    // SAFETY, of both launches: the parameters are the kernel's, of operands and a workspace that were checked; the guards
    // above keep them in use until the launches are in the stream, which runs them one after the other.
    if let (Some(clear), Some(workspace)) = (&plan.clear, &workspace) {
        // SAFETY: see above.
        unsafe { queue.launch(clear, &params::ClearParams::new(&plan, workspace)) }?;
    }
    // SAFETY: see above.
    unsafe { queue.launch(launch, &params::SelectiveScanParams::new(&problem, &plan, &operands)) }
}
