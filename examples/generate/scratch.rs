//! Memory that a pass of the model works in, made once.

use cudarc::driver::{CudaSlice, DeviceRepr, ValidAsZeroBits};
use half::f16;
use llm_kernels::Queue;

use crate::Result;
use crate::sizes::Sizes;

/// Rows of logits that one product computes.
pub(crate) const LOGIT_ROWS: usize = 64;

/// Activations of up to `rows` tokens, what the device itself advances from token to token, and the operators' workspace.
pub(crate) struct Scratch {
    /// Tokens to be run `[rows]`; a drawn token becomes the first.
    pub(crate) ids: CudaSlice<i32>,
    /// `0, 1, ..`: positions of a prompt `[rows]`.
    pub(crate) positions: CudaSlice<i32>,
    /// Position of the token that is drawn next, or, once it is drawn, of itself: `[1]`.
    pub(crate) steps: CudaSlice<i32>,
    /// The residual stream `[rows, d]`. It leaves the range of f16.
    pub(crate) residual: CudaSlice<f32>,
    /// What the products of a block see `[rows, d]`.
    pub(crate) normed: CudaSlice<f16>,
    /// Before they are rotated: `[rows, h, head_dim]`.
    pub(crate) q: CudaSlice<f32>,
    pub(crate) k: CudaSlice<f32>,
    pub(crate) v: CudaSlice<f32>,
    /// What attention sees. Keys and values only of a prompt: those of a step go into the cache.
    pub(crate) q_rotated: CudaSlice<f16>,
    pub(crate) k_rotated: CudaSlice<f16>,
    pub(crate) v_half: CudaSlice<f16>,
    /// Attention's result `[rows, h_q, head_dim]`.
    pub(crate) attended: CudaSlice<f16>,
    /// A block's result `[rows, d]`, before it is normalised and added.
    pub(crate) block: CudaSlice<f32>,
    /// `[rows, d_ff]`
    pub(crate) gate: CudaSlice<f32>,
    pub(crate) up: CudaSlice<f32>,
    pub(crate) gated: CudaSlice<f16>,
    /// `[LOGIT_ROWS, vocabulary]`
    pub(crate) logits: CudaSlice<f32>,
    /// For any operator: they run one after the other.
    pub(crate) workspace: CudaSlice<u8>,
}

impl Scratch {
    /// For passes of up to `rows` tokens.
    pub(crate) fn new(queue: &Queue, sizes: &Sizes, rows: usize, workspace_bytes: usize) -> Result<Self> {
        let Sizes { d, h_q, h_kv, head_dim, d_ff, vocabulary, .. } = *sizes;
        fn room<T: DeviceRepr + ValidAsZeroBits>(queue: &Queue, elements: usize) -> Result<CudaSlice<T>> {
            Ok(queue.stream().alloc_zeros(elements)?)
        }
        Ok(Self {
            ids: room(queue, rows)?,
            positions: queue.stream().clone_htod(&(0..rows as i32).collect::<Vec<_>>())?,
            steps: room(queue, 1)?,
            residual: room(queue, rows * d)?,
            normed: room(queue, rows * d)?,
            q: room(queue, rows * h_q * head_dim)?,
            k: room(queue, rows * h_kv * head_dim)?,
            v: room(queue, rows * h_kv * head_dim)?,
            q_rotated: room(queue, rows * h_q * head_dim)?,
            k_rotated: room(queue, rows * h_kv * head_dim)?,
            v_half: room(queue, rows * h_kv * head_dim)?,
            attended: room(queue, rows * h_q * head_dim)?,
            block: room(queue, rows * d)?,
            gate: room(queue, rows * d_ff)?,
            up: room(queue, rows * d_ff)?,
            gated: room(queue, rows * d_ff)?,
            logits: room(queue, rows.min(LOGIT_ROWS) * vocabulary)?,
            workspace: room(queue, workspace_bytes.max(1))?,
        })
    }
}
