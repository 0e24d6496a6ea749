//! The model's passes: a whole prompt, or one token.

use cudarc::driver::CudaSlice;
use llm_kernels::attention::append_kv::{self, Positions, append_kv};
use llm_kernels::attention::decode::{self, decode};
use llm_kernels::attention::flash_forward::{self, flash_forward};
use llm_kernels::fused::gated::{self, Activation, gated};
use llm_kernels::fused::rms_norm::{self, rms_norm};
use llm_kernels::fused::rope::{self, rope};
use llm_kernels::fused::sample::{self, sample};
use llm_kernels::quant::gguf::{self, gguf};
use llm_kernels::quant::gguf_rows::{self, gguf_rows};
use llm_kernels::{Element, Queue, TensorView, TensorViewMut};

use crate::Result;
use crate::cache::Cache;
use crate::file::File;
use crate::options::Settings;
use crate::scratch::{LOGIT_ROWS, Scratch};
use crate::sizes::Sizes;
use crate::weights::{Matrix, Norm, Weights};

/// A model on a device, with one sequence.
pub(crate) struct Engine {
    pub(crate) queue: Queue,
    pub(crate) sizes: Sizes,
    pub(crate) scratch: Scratch,
    weights: Weights,
    cache: Cache,
    settings: Settings,
}

/// What runs: the tokens of a prompt, from the sequence's first position on, or the one that was drawn last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    Prompt,
    Step,
}

fn view<'a, T: Element>(buffer: &'a CudaSlice<T>, shape: &[usize]) -> Result<TensorView<'a>> {
    Ok(TensorView::contiguous(buffer, shape)?)
}

fn view_mut<'a, T: Element>(buffer: &'a mut CudaSlice<T>, shape: &[usize]) -> Result<TensorViewMut<'a>> {
    Ok(TensorViewMut::contiguous(buffer, shape)?)
}

/// All of a buffer.
fn whole<T: Element>(buffer: &mut CudaSlice<T>) -> Result<TensorViewMut<'_>> {
    let elements = buffer.len();
    view_mut(buffer, &[elements])
}

impl Engine {
    /// Uploads a model, with room for prompts of `rows` tokens and sequences of `capacity`.
    ///
    /// # Errors
    /// A file of another model, or that lacks something; errors of the driver.
    pub(crate) fn load(queue: &Queue, file: &File, rows: usize, capacity: usize, settings: Settings) -> Result<Self> {
        let sizes = Sizes::read(file)?;
        if capacity > sizes.context {
            return Err(format!("{capacity} tokens are more than the model's context of {}", sizes.context).into());
        }
        let weights = Weights::upload(queue, file, &sizes)?;
        let cache = Cache::new(queue, &sizes, capacity, settings.cache)?;
        let scratch = Scratch::new(queue, &sizes, rows, 0)?;
        let mut engine = Self { queue: queue.clone(), sizes, scratch, weights, cache, settings };
        engine.scratch.workspace = queue.stream().alloc_zeros(engine.workspace_bytes(rows)?.max(1))?;
        Ok(engine)
    }

    /// What the operators need at most: they run one after the other.
    fn workspace_bytes(&self, rows: usize) -> Result<usize> {
        let limits = self.queue.device().limits();
        let product = |w: &Matrix, m| -> Result<usize> {
            let x_dtype = half::f16::DTYPE;
            let problem = w.problem(m, x_dtype, f32::DTYPE, self.settings.activations);
            Ok(gguf::plan(&problem, limits)?.workspace.bytes)
        };
        let mut bytes = product(&self.weights.embedding, rows.min(LOGIT_ROWS))?;
        for layer in &self.weights.layers {
            for w in [&layer.q, &layer.k, &layer.v, &layer.output, &layer.gate, &layer.up, &layer.down] {
                bytes = bytes.max(product(w, rows)?);
            }
        }
        let problem = sample::Problem::new(f32::DTYPE, 1, self.sizes.vocabulary, false, self.settings.sampling)?;
        bytes = bytes.max(sample::plan(&problem, limits)?.workspace_bytes);
        for layer in 0..self.sizes.layers {
            let problem = self.cache.problem(&self.sizes, &self.decode_options(layer))?;
            bytes = bytes.max(decode::plan(&problem, limits)?.workspace_bytes);
        }
        Ok(bytes)
    }

    /// Runs a prompt from the sequence's start. Its last token is to be followed by one that [`Engine::draw`] draws.
    pub(crate) fn prompt(&mut self, ids: &[u32]) -> Result<()> {
        let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
        let stream = self.queue.stream().clone();
        stream.memcpy_htod(&ids, &mut self.scratch.ids.slice_mut(..ids.len()))?;
        stream.memcpy_htod(&[ids.len() as i32 - 1], &mut self.scratch.steps)?;
        self.layers(ids.len(), Pass::Prompt)
    }

    /// Runs the token that was drawn last, and draws the next. All that changes from step to step lies on the device, so this
    /// can be captured into a graph.
    pub(crate) fn step(&mut self) -> Result<()> {
        self.advance()?;
        self.draw()
    }

    /// Runs the first of `scratch.ids` at the position in `scratch.steps`, up to its logits.
    pub(crate) fn advance(&mut self) -> Result<()> {
        self.layers(1, Pass::Step)?;
        self.logits(0, 1)
    }

    /// Logits of tokens `first .. first + rows` of the last pass, at most [`LOGIT_ROWS`], into `scratch.logits`.
    pub(crate) fn logits(&mut self, first: usize, rows: usize) -> Result<()> {
        let Self { queue, sizes, scratch, weights, settings, .. } = self;
        let Scratch { residual, normed, logits, workspace, .. } = scratch;
        let x = view(residual, &[first + rows, sizes.d])?.narrow(0, first, rows)?;
        normalise(queue, x, &weights.output_norm, view_mut(normed, &[rows, sizes.d])?, sizes.epsilon)?;
        let y = view_mut(logits, &[rows, sizes.vocabulary])?;
        multiply(queue, &weights.embedding, view(normed, &[rows, sizes.d])?, y, workspace, settings)
    }

    /// The first `rows` rows of logits, one after the other.
    pub(crate) fn read_logits(&self, rows: usize) -> Result<Vec<f32>> {
        Ok(self.queue.stream().clone_dtoh(&self.scratch.logits.slice(..rows * self.sizes.vocabulary))?)
    }

    /// Draws a token from the first row of logits: the first of `scratch.ids`. `scratch.steps` becomes its position.
    pub(crate) fn draw(&mut self) -> Result<()> {
        let Self { queue, sizes, scratch, settings, .. } = self;
        let Scratch { ids, steps, logits, workspace, .. } = scratch;
        let args = sample::Args {
            logits: view(logits, &[1, sizes.vocabulary])?,
            ids: view_mut(ids, &[1])?,
            log_probabilities: None,
            steps: Some(view_mut(steps, &[1])?),
            workspace: whole(workspace)?,
            options: settings.sampling,
        };
        Ok(sample(queue, args)?)
    }

    /// Embeds the first `m` of `scratch.ids` and runs all layers.
    fn layers(&mut self, m: usize, pass: Pass) -> Result<()> {
        let Self { queue, sizes, scratch, weights, .. } = self;
        let args = gguf_rows::Args {
            w: weights.embedding.packed()?,
            ids: Some(view(&scratch.ids, &[m])?),
            out: view_mut(&mut scratch.residual, &[m, sizes.d])?,
            scale: (sizes.d as f32).sqrt(),
        };
        gguf_rows(queue, args)?;
        for layer in 0..self.sizes.layers {
            self.attention_block(layer, m, pass)?;
            self.feed_forward_block(layer, m)?;
        }
        Ok(())
    }

    fn attention_block(&mut self, layer: usize, m: usize, pass: Pass) -> Result<()> {
        let Self { queue, sizes, scratch, weights, settings, .. } = self;
        let Sizes { d, h_q, h_kv, head_dim, epsilon, .. } = *sizes;
        let Scratch { residual, normed, q, k, v, v_half, workspace, .. } = scratch;
        let w = &weights.layers[layer];
        normalise(queue, view(residual, &[m, d])?, &w.attention_norm, view_mut(normed, &[m, d])?, epsilon)?;
        let v = match pass {
            Pass::Prompt => view_mut(v_half, &[m, w.v.n])?,
            Pass::Step => view_mut(v, &[m, w.v.n])?,
        };
        for (w, y) in [(&w.q, view_mut(q, &[m, w.q.n])?), (&w.k, view_mut(k, &[m, w.k.n])?), (&w.v, v)] {
            multiply(queue, w, view(normed, &[m, d])?, y, workspace, settings)?;
        }
        normalise_in_place(queue, view_mut(q, &[m, h_q, head_dim])?, &w.q_norm, epsilon)?;
        normalise_in_place(queue, view_mut(k, &[m, h_kv, head_dim])?, &w.k_norm, epsilon)?;
        match pass {
            Pass::Prompt => self.attend_in_prompt(layer, m)?,
            Pass::Step => self.attend_in_cache(layer)?,
        }
        let Self { queue, sizes, scratch, weights, settings, .. } = self;
        let Scratch { residual, attended, block, workspace, .. } = scratch;
        let w = &weights.layers[layer];
        let x = view(attended, &[m, h_q * head_dim])?;
        multiply(queue, &w.output, x, view_mut(block, &[m, d])?, workspace, settings)?;
        add_normalised(
            queue,
            view(block, &[m, d])?,
            &w.post_attention_norm,
            view_mut(residual, &[m, d])?,
            sizes.epsilon,
        )
    }

    /// Attention of a prompt's tokens among themselves; their keys and values go into the cache, too.
    fn attend_in_prompt(&mut self, layer: usize, m: usize) -> Result<()> {
        let Self { queue, sizes, scratch, weights, cache, .. } = self;
        let Sizes { h_q, h_kv, head_dim, .. } = *sizes;
        let (queries, keys) = ([1, m, h_q, head_dim], [1, m, h_kv, head_dim]);
        let Scratch { positions, q, k, q_rotated, k_rotated, v_half, attended, .. } = scratch;
        let global = sizes.is_global(layer);
        for (x, out, shape) in [(&*q, &mut *q_rotated, &queries), (&*k, &mut *k_rotated, &keys)] {
            let args = rope::Args {
                x: Some(view(x, shape)?),
                positions: view(positions, &[1, m])?,
                inverse_frequencies: weights.frequencies(global)?,
                out: view_mut(out, shape)?,
                options: rope::Options::default(),
            };
            rope(queue, args)?;
        }
        let (k_cache, v_cache, table) = cache.layer_mut(layer)?;
        let args = append_kv::Args::new(
            view(k_rotated, &keys)?,
            view(v_half, &keys)?,
            k_cache.data,
            v_cache.data,
            Positions::OfTokens(view(positions, &[1, m])?),
        );
        let (k_scales, v_scales) = (k_cache.scales, v_cache.scales);
        append_kv(queue, append_kv::Args { block_table: Some(table), k_scales, v_scales, ..args })?;
        let args = flash_forward::Args::new(
            view(q_rotated, &queries)?,
            view(k_rotated, &keys)?,
            view(v_half, &keys)?,
            view_mut(attended, &queries)?,
        );
        let window_left = sizes.window_left(layer);
        let options = flash_forward::Options { causal: true, window_left, ..Default::default() };
        Ok(flash_forward(queue, flash_forward::Args { options, ..args })?)
    }

    /// Attention of a new token over the cache, which takes its key and value first.
    fn attend_in_cache(&mut self, layer: usize) -> Result<()> {
        let options = self.decode_options(layer);
        let Self { queue, sizes, scratch, weights, cache, .. } = self;
        let Sizes { h_q, h_kv, head_dim, .. } = *sizes;
        let (queries, keys) = ([1, 1, h_q, head_dim], [1, 1, h_kv, head_dim]);
        let Scratch { steps, q, k, v, q_rotated, attended, workspace, .. } = scratch;
        let (k_cache, v_cache, table) = cache.layer_mut(layer)?;
        let positions = Positions::OfTokens(view(steps, &[1, 1])?);
        let args = append_kv::Args::new(view(k, &keys)?, view(v, &keys)?, k_cache.data, v_cache.data, positions);
        let args = append_kv::Args {
            q: Some(view(q, &queries)?),
            q_out: Some(view_mut(q_rotated, &queries)?),
            inverse_frequencies: Some(weights.frequencies(sizes.is_global(layer))?),
            block_table: Some(table),
            k_scales: k_cache.scales,
            v_scales: v_cache.scales,
            ..args
        };
        append_kv(queue, args)?;
        let (k_cache, v_cache) = cache.layer(layer)?;
        let args = decode::Args::new(
            view(q_rotated, &queries)?,
            k_cache.data,
            v_cache.data,
            view(steps, &[1])?,
            view_mut(attended, &queries)?,
        );
        let args = decode::Args {
            block_table: Some(&cache.table),
            k_scales: k_cache.scales,
            v_scales: v_cache.scales,
            workspace: Some(whole(workspace)?),
            options,
            ..args
        };
        Ok(decode(queue, args)?)
    }

    /// The token's own key is in the cache, but not counted by its position.
    fn decode_options(&self, layer: usize) -> decode::Options {
        decode::Options {
            lengths_exclude_new: true,
            window_left: self.sizes.window_left(layer),
            ..decode::Options::default()
        }
    }

    fn feed_forward_block(&mut self, layer: usize, m: usize) -> Result<()> {
        let Self { queue, sizes, scratch, weights, settings, .. } = self;
        let Sizes { d, d_ff, epsilon, .. } = *sizes;
        let Scratch { residual, normed, block, gate, up, gated: product, workspace, .. } = scratch;
        let w = &weights.layers[layer];
        normalise(queue, view(residual, &[m, d])?, &w.feed_forward_norm, view_mut(normed, &[m, d])?, epsilon)?;
        for (w, y) in [(&w.gate, &mut *gate), (&w.up, &mut *up)] {
            multiply(queue, w, view(normed, &[m, d])?, view_mut(y, &[m, d_ff])?, workspace, settings)?;
        }
        let args = gated::Args {
            gate: Some(view(gate, &[m, d_ff])?),
            up: Some(view(up, &[m, d_ff])?),
            out: view_mut(product, &[m, d_ff])?,
            activation: Activation::GeluTanh,
        };
        gated(queue, args)?;
        multiply(queue, &w.down, view(product, &[m, d_ff])?, view_mut(block, &[m, d])?, workspace, settings)?;
        add_normalised(queue, view(block, &[m, d])?, &w.post_feed_forward_norm, view_mut(residual, &[m, d])?, epsilon)
    }
}

/// `y = x w^T`.
fn multiply(
    queue: &Queue,
    w: &Matrix,
    x: TensorView,
    y: TensorViewMut,
    workspace: &mut CudaSlice<u8>,
    settings: &Settings,
) -> Result<()> {
    let (workspace, activations) = (Some(whole(workspace)?), settings.activations);
    Ok(gguf(queue, gguf::Args { w: w.packed()?, x, bias: None, y, workspace, activations })?)
}

/// `out = norm(x)`.
fn normalise(queue: &Queue, x: TensorView, weight: &Norm, out: TensorViewMut, epsilon: f32) -> Result<()> {
    let options = rms_norm::Options { epsilon, ..Default::default() };
    let weight = Some(weight.view()?);
    Ok(rms_norm(queue, rms_norm::Args { x: Some(x), residual: None, weight, out, options })?)
}

/// `x = norm(x)`.
fn normalise_in_place(queue: &Queue, x: TensorViewMut, weight: &Norm, epsilon: f32) -> Result<()> {
    let options = rms_norm::Options { epsilon, ..Default::default() };
    let weight = Some(weight.view()?);
    Ok(rms_norm(queue, rms_norm::Args { x: None, residual: None, weight, out: x, options })?)
}

/// `stream += norm(x)`.
fn add_normalised(queue: &Queue, x: TensorView, weight: &Norm, stream: TensorViewMut, epsilon: f32) -> Result<()> {
    let options = rms_norm::Options { epsilon, accumulate: true, ..Default::default() };
    let weight = Some(weight.view()?);
    Ok(rms_norm(queue, rms_norm::Args { x: Some(x), residual: None, weight, out: stream, options })?)
}
