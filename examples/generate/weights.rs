//! The model's weights on the device: packed matrices byte for byte as they lie in the file.

use cudarc::driver::CudaSlice;
use llm_kernels::quant::{PackedTensor, gguf};
use llm_kernels::{DType, Format, Queue, TensorView};

use crate::Result;
use crate::file::File;
use crate::sizes::{LOCAL_BASE, Sizes};

/// A packed matrix `[n, k]`.
pub(crate) struct Matrix {
    format: Format,
    pub(crate) n: usize,
    pub(crate) k: usize,
    bytes: CudaSlice<u8>,
}

/// Weights of a norm, `[d]`, "1 +" included.
pub(crate) struct Norm(CudaSlice<f32>);

/// The weights of a layer.
pub(crate) struct Layer {
    pub(crate) attention_norm: Norm,
    pub(crate) q: Matrix,
    pub(crate) k: Matrix,
    pub(crate) v: Matrix,
    pub(crate) q_norm: Norm,
    pub(crate) k_norm: Norm,
    pub(crate) output: Matrix,
    pub(crate) post_attention_norm: Norm,
    pub(crate) feed_forward_norm: Norm,
    pub(crate) gate: Matrix,
    pub(crate) up: Matrix,
    pub(crate) down: Matrix,
    pub(crate) post_feed_forward_norm: Norm,
}

/// All of them.
pub(crate) struct Weights {
    /// Rows are embeddings; as a matrix it gives the logits.
    pub(crate) embedding: Matrix,
    pub(crate) layers: Vec<Layer>,
    pub(crate) output_norm: Norm,
    /// Rotary frequencies, `[head_dim / 2]`.
    local_frequencies: CudaSlice<f32>,
    global_frequencies: CudaSlice<f32>,
}

impl Matrix {
    fn upload(queue: &Queue, file: &File, name: &str, shape: [usize; 2]) -> Result<Self> {
        let tensor = file.tensor(name)?;
        if tensor.shape != shape {
            return Err(format!("{name} has shape {:?}, expected {shape:?}", tensor.shape).into());
        }
        let format = Format::from_gguf_type(tensor.format as u32)
            .ok_or_else(|| format!("{name} is {:?}, which quant/gguf does not know", tensor.format))?;
        let [n, k] = shape;
        Ok(Self { format, n, k, bytes: queue.stream().clone_htod(tensor.bytes)? })
    }

    /// The product of `m` rows with it.
    pub(crate) fn problem(
        &self,
        m: usize,
        x_dtype: DType,
        y_dtype: DType,
        activations: gguf::Activations,
    ) -> gguf::Problem {
        let Self { format, n, k, .. } = *self;
        gguf::Problem { format, m, n, k, x_dtype, bias_dtype: None, y_dtype, activations }
    }

    /// As an operator takes it.
    pub(crate) fn packed(&self) -> Result<PackedTensor<'_>> {
        let Self { format, n, k, .. } = *self;
        Ok(PackedTensor { format, n, k, bytes: TensorView::contiguous(&self.bytes, &[self.bytes.len()])? })
    }
}

impl Norm {
    fn upload(queue: &Queue, file: &File, name: &str, d: usize) -> Result<Self> {
        let tensor = file.tensor(name)?;
        if tensor.format != ggus::GGmlType::F32 || tensor.shape != [d] {
            return Err(format!("{name} is {:?} {:?}, expected F32 [{d}]", tensor.format, tensor.shape).into());
        }
        // In the file they need not lie at a multiple of four bytes.
        let weights: Vec<f32> = tensor.bytes.chunks_exact(4).map(bytemuck::pod_read_unaligned).collect();
        Ok(Self(queue.stream().clone_htod(&weights)?))
    }

    /// As an operator takes it.
    pub(crate) fn view(&self) -> Result<TensorView<'_>> {
        Ok(TensorView::contiguous(&self.0, &[self.0.len()])?)
    }
}

impl Layer {
    fn upload(queue: &Queue, file: &File, sizes: &Sizes, layer: usize) -> Result<Self> {
        let Sizes { d, h_q, h_kv, head_dim, d_ff, .. } = *sizes;
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let matrix = |part: &str, n, k| Matrix::upload(queue, file, &name(part), [n, k]);
        let norm = |part: &str, d| Norm::upload(queue, file, &name(part), d);
        Ok(Self {
            attention_norm: norm("attn_norm", d)?,
            q: matrix("attn_q", h_q * head_dim, d)?,
            k: matrix("attn_k", h_kv * head_dim, d)?,
            v: matrix("attn_v", h_kv * head_dim, d)?,
            q_norm: norm("attn_q_norm", head_dim)?,
            k_norm: norm("attn_k_norm", head_dim)?,
            output: matrix("attn_output", d, h_q * head_dim)?,
            post_attention_norm: norm("post_attention_norm", d)?,
            feed_forward_norm: norm("ffn_norm", d)?,
            gate: matrix("ffn_gate", d_ff, d)?,
            up: matrix("ffn_up", d_ff, d)?,
            down: matrix("ffn_down", d, d_ff)?,
            post_feed_forward_norm: norm("post_ffw_norm", d)?,
        })
    }
}

impl Weights {
    /// Copies the weights to the device.
    ///
    /// # Errors
    /// A tensor that is missing, or of another shape or type than the model's sizes say.
    pub(crate) fn upload(queue: &Queue, file: &File, sizes: &Sizes) -> Result<Self> {
        let half = sizes.head_dim / 2;
        let frequencies = |base: f64| {
            let of = |i: usize| base.powf(-(i as f64) / half as f64) as f32;
            queue.stream().clone_htod(&(0..half).map(of).collect::<Vec<_>>())
        };
        Ok(Self {
            embedding: Matrix::upload(queue, file, "token_embd.weight", [sizes.vocabulary, sizes.d])?,
            layers: (0..sizes.layers).map(|layer| Layer::upload(queue, file, sizes, layer)).collect::<Result<_>>()?,
            output_norm: Norm::upload(queue, file, "output_norm.weight", sizes.d)?,
            local_frequencies: frequencies(LOCAL_BASE)?,
            global_frequencies: frequencies(sizes.global_base)?,
        })
    }

    /// The rotary frequencies of a kind of layer.
    pub(crate) fn frequencies(&self, global: bool) -> Result<TensorView<'_>> {
        let frequencies = if global { &self.global_frequencies } else { &self.local_frequencies };
        Ok(TensorView::contiguous(frequencies, &[frequencies.len()])?)
    }
}
