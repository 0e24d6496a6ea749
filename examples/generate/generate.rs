//! From token to token: the prompt in one pass, then a launch of one graph for each token.

use std::time::{Duration, Instant};

use cudarc::driver::CudaGraph;
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};

use crate::Result;
use crate::engine::Engine;

/// Tokens with the largest logits, and these, best first.
pub(crate) type Top = Vec<(u32, f32)>;

/// What was generated.
pub(crate) struct Generation {
    pub(crate) ids: Vec<u32>,
    /// For each token the five that were likeliest; empty where they were not asked for.
    pub(crate) top: Vec<Top>,
    /// Time of all tokens but the first, which the prompt's pass gives.
    pub(crate) time: Duration,
    /// The graph of a step, for one who wants to know its cost.
    pub(crate) graph: CudaGraph,
}

/// How to generate.
pub(crate) struct Wanted {
    /// The most tokens.
    pub(crate) tokens: usize,
    /// The token that ends a text.
    pub(crate) end: Option<u32>,
    /// Whether to keep the likeliest tokens.
    pub(crate) top: bool,
}

impl Generation {
    /// Tokens a second, by the clock on the wall.
    pub(crate) fn tokens_per_second(&self) -> Option<f64> {
        let steps = self.ids.len().checked_sub(1).filter(|&steps| steps > 0)?;
        Some(steps as f64 / self.time.as_secs_f64())
    }
}

/// Generates tokens after a prompt, and shows each as soon as it is known.
pub(crate) fn generate(
    engine: &mut Engine,
    prompt: &[u32],
    wanted: &Wanted,
    mut show: impl FnMut(u32) -> Result<()>,
) -> Result<Generation> {
    let graph = capture(engine)?;
    engine.prompt(prompt)?;
    engine.logits(prompt.len() - 1, 1)?;
    engine.draw()?;
    let (mut ids, mut top) = (Vec::new(), Vec::new());
    let mut start = Instant::now();
    while ids.len() < wanted.tokens {
        if !ids.is_empty() {
            graph.launch()?;
        }
        let id = drawn(engine)?;
        if ids.is_empty() {
            start = Instant::now();
        }
        if wanted.top {
            top.push(largest(&engine.read_logits(1)?, 5));
        }
        if Some(id) == wanted.end {
            break;
        }
        ids.push(id);
        show(id)?;
    }
    Ok(Generation { ids, top, time: start.elapsed(), graph })
}

/// Captures a step. One is run before, on a sequence of nothing that the prompt then overwrites: it loads the kernels, which
/// is not allowed during a capture.
fn capture(engine: &mut Engine) -> Result<CudaGraph> {
    engine.step()?;
    let stream = engine.queue.stream().clone();
    stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
    let captured = engine.step();
    let graph = stream.end_capture(CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH);
    // What went wrong in the step says more than that the capture failed.
    captured?;
    Ok(graph?.ok_or("the capture holds no work")?)
}

/// The token that was drawn last.
fn drawn(engine: &Engine) -> Result<u32> {
    let id = engine.queue.stream().clone_dtoh(&engine.scratch.ids.slice(..1))?[0];
    u32::try_from(id).map_err(|_| "the logits are not numbers: no token can be drawn".into())
}

/// The `count` largest logits, the largest first.
pub(crate) fn largest(logits: &[f32], count: usize) -> Top {
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let above = |one: &u32, other: &u32| logits[*other as usize].total_cmp(&logits[*one as usize]);
    if count < ids.len() {
        ids.select_nth_unstable_by(count, above);
        ids.truncate(count);
    }
    ids.sort_by(above);
    ids.into_iter().map(|id| (id, logits[id as usize])).collect()
}
