//! A whole decoding step in a CUDA graph: embedding, `append_kv`, `decode` with its merge, `rms_norm` and `sample`, whose steps
//! are positions and lengths at once.

use super::*;
use cudarc::driver::{CudaSlice, DevicePtr, sys};
use llm_kernels::attention::decode::{self, decode};
use llm_kernels::fused::{embedding, rms_norm, sample};
use llm_kernels::{Queue, fused};

const HEADS: Heads = Heads { h_q: 4, h_kv: 2, d: 64, n: 32 };
const BATCH: usize = 2;
const PAGE_SIZE: usize = 16;
const PAGES: usize = 20;
const PROMPT: usize = 140;
/// Logits are the elements of the attention's result.
const TOKENS: usize = HEADS.h_q * HEADS.d;
const ROW: usize = (HEADS.h_q + 2 * HEADS.h_kv) * HEADS.d;

/// Device memory and its address: cudarc's events, which come with every other use, can't be waited for inside a capture.
struct Memory {
    bytes: CudaSlice<u8>,
    address: u64,
}

impl Memory {
    fn new(queue: &Queue, bytes: &[u8]) -> Self {
        let bytes = queue.stream().clone_htod(bytes).unwrap();
        let address = bytes.device_ptr(queue.stream()).0;
        Self { bytes, address }
    }
}

/// Everything a model of one layer has on the device.
struct Model {
    queue: Queue,
    cache: DType,
    table: Memory,
    frequencies: Memory,
    pages: Memory,
    qkv: Memory,
    q: Memory,
    k_cache: Memory,
    v_cache: Memory,
    k_scales: Memory,
    v_scales: Memory,
    out: Memory,
    logits: Memory,
    ids: Memory,
    steps: Memory,
    log_probabilities: Memory,
    decode_workspace: Memory,
    sample_workspace: Memory,
}

/// What a step leaves, and the cache.
#[derive(Debug, PartialEq)]
struct Trace {
    ids: Vec<Vec<u8>>,
    steps: Vec<Vec<u8>>,
    out: Vec<Vec<u8>>,
    log_probabilities: Vec<Vec<u8>>,
    cache: [Vec<u8>; 4],
}

impl Model {
    fn new(cache: DType) -> Self {
        let queue = queue().device().new_queue().unwrap();
        let up = |host: HostTensor| Memory::new(&queue, &host.bytes);
        let room = |bytes: usize| Memory::new(&queue, &vec![0xFF_u8; bytes]);
        let rows = PAGES * PAGE_SIZE * HEADS.h_kv;
        let pages: Vec<i32> = (0..PAGES as i32).map(|i| i * 7 % PAGES as i32).collect();
        let frequencies: Vec<f64> = (0..HEADS.n).map(|i| 1e4_f64.powf(-(i as f64) / HEADS.n as f64)).collect();
        let elements = rows * HEADS.d * cache.size_bytes();
        Self {
            cache,
            table: up(HostTensor::from_f64("", F16, &[TOKENS, ROW], &random::normal(5, TOKENS * ROW))),
            frequencies: up(HostTensor::from_f64("", F32, &[HEADS.n], &frequencies)),
            pages: up(HostTensor::from_slice("", &[BATCH, PAGES / BATCH], &pages)),
            qkv: room(BATCH * ROW * 2),
            q: room(BATCH * TOKENS * 2),
            k_cache: room(elements),
            v_cache: room(elements),
            k_scales: room(rows * 4),
            v_scales: room(rows * 4),
            out: room(BATCH * TOKENS * 2),
            logits: room(BATCH * TOKENS * 4),
            ids: room(BATCH * 4),
            steps: room(BATCH * 4),
            log_probabilities: room(BATCH * 4),
            decode_workspace: room(1 << 16),
            sample_workspace: room(1 << 16),
            queue,
        }
    }

    fn view<'a>(&self, memory: &'a Memory, dtype: DType, layout: Layout) -> TensorView<'a> {
        // SAFETY: the memory outlives the graph's launches, which its only stream keeps in order with its other uses.
        unsafe { TensorView::from_raw(self.queue.device().context(), memory.address, dtype, layout) }
    }

    fn view_mut<'a>(&self, memory: &'a Memory, dtype: DType, layout: Layout) -> TensorViewMut<'a> {
        // SAFETY: as above.
        unsafe { TensorViewMut::from_raw(self.queue.device().context(), memory.address, dtype, layout) }
    }

    fn block_table(&self) -> BlockTable<'_> {
        let view = self.view(&self.pages, I32, layout(&[BATCH, PAGES / BATCH]));
        // SAFETY: every entry is a page.
        unsafe { BlockTable::from_raw(view, PAGES) }.unwrap()
    }

    /// Appends what `qkv` holds of so many tokens of each sequence.
    fn append(&self, qkv: &Memory, q: &Memory, positions: Positions, tokens: usize) -> Result<()> {
        let heads = HEADS.h_q + 2 * HEADS.h_kv;
        let part = |first, h| self.view(qkv, F16, layout(&[BATCH, tokens, heads, HEADS.d])).narrow(2, first, h);
        let rows = layout(&[PAGES, PAGE_SIZE, HEADS.h_kv, HEADS.d]);
        let scales = scales_layout(PAGES, PAGE_SIZE, HEADS.h_kv)?;
        let eight_bit = self.cache.size_bytes() == 1;
        let args = Args {
            block_table: Some(&self.block_table()),
            k_scales: eight_bit.then(|| self.view_mut(&self.k_scales, F32, scales)),
            v_scales: eight_bit.then(|| self.view_mut(&self.v_scales, F32, scales)),
            inverse_frequencies: Some(self.view(&self.frequencies, F32, layout(&[HEADS.n]))),
            q: Some(part(0, HEADS.h_q)?),
            q_out: Some(self.view_mut(q, F16, layout(&[BATCH, tokens, HEADS.h_q, HEADS.d]))),
            ..Args::new(
                part(HEADS.h_q, HEADS.h_kv)?,
                part(HEADS.h_q + HEADS.h_kv, HEADS.h_kv)?,
                self.view_mut(&self.k_cache, self.cache, rows),
                self.view_mut(&self.v_cache, self.cache, rows),
                positions,
            )
        };
        append_kv(&self.queue, args)
    }

    /// One step of every sequence, from its last token's number to the next one's.
    fn step(&self) -> Result<()> {
        embedding(
            &self.queue,
            embedding::Args {
                table: self.view(&self.table, F16, layout(&[TOKENS, ROW])),
                ids: self.view(&self.ids, I32, layout(&[BATCH])),
                out: self.view_mut(&self.qkv, F16, layout(&[BATCH, ROW])),
                scale: 1.0,
            },
        )?;
        let steps = || self.view(&self.steps, I32, layout(&[BATCH]));
        self.append(&self.qkv, &self.q, Positions::OfFirst(steps()), 1)?;
        let rows = layout(&[PAGES, PAGE_SIZE, HEADS.h_kv, HEADS.d]);
        let scales = scales_layout(PAGES, PAGE_SIZE, HEADS.h_kv)?;
        let eight_bit = self.cache.size_bytes() == 1;
        let heads = layout(&[BATCH, 1, HEADS.h_q, HEADS.d]);
        decode(
            &self.queue,
            decode::Args {
                block_table: Some(&self.block_table()),
                k_scales: eight_bit.then(|| self.view(&self.k_scales, F32, scales)),
                v_scales: eight_bit.then(|| self.view(&self.v_scales, F32, scales)),
                workspace: Some(self.view_mut(&self.decode_workspace, DType::U8, layout(&[1 << 16]))),
                options: decode::Options { lengths_exclude_new: true, num_splits: Some(3), ..Default::default() },
                ..decode::Args::new(
                    self.view(&self.q, F16, heads),
                    self.view(&self.k_cache, self.cache, rows),
                    self.view(&self.v_cache, self.cache, rows),
                    steps(),
                    self.view_mut(&self.out, F16, heads),
                )
            },
        )?;
        let rows = layout(&[BATCH, TOKENS]);
        rms_norm(
            &self.queue,
            rms_norm::Args {
                x: Some(self.view(&self.out, F16, rows)),
                residual: None,
                weight: None,
                out: self.view_mut(&self.logits, F32, rows),
                options: rms_norm::Options::default(),
            },
        )?;
        sample(
            &self.queue,
            fused::sample::Args {
                logits: self.view(&self.logits, F32, rows),
                ids: self.view_mut(&self.ids, I32, layout(&[BATCH])),
                log_probabilities: Some(self.view_mut(&self.log_probabilities, F32, layout(&[BATCH]))),
                steps: Some(self.view_mut(&self.steps, I32, layout(&[BATCH]))),
                workspace: self.view_mut(&self.sample_workspace, DType::U8, layout(&[1 << 16])),
                options: fused::sample::Options { seed: 7, ..Default::default() },
            },
        )
    }

    /// A prompt in an else empty cache, and the first tokens' numbers and steps.
    fn start(&mut self, first: [i32; BATCH]) {
        let stream = self.queue.stream().clone();
        let prompt = HostTensor::from_f64("", F16, &[BATCH, PROMPT, ROW], &random::normal(6, BATCH * PROMPT * ROW));
        let qkv = Memory::new(&self.queue, &prompt.bytes);
        let q = Memory::new(&self.queue, &vec![0; BATCH * PROMPT * TOKENS * 2]);
        for memory in [&mut self.k_cache, &mut self.v_cache, &mut self.k_scales, &mut self.v_scales] {
            let empty = vec![0xFF_u8; memory.bytes.len()];
            stream.memcpy_htod(&empty, &mut memory.bytes).unwrap();
        }
        stream.memcpy_htod(&[0_i32; BATCH].map(i32::to_le_bytes).concat(), &mut self.steps.bytes).unwrap();
        let steps = Positions::OfFirst(self.view(&self.steps, I32, layout(&[BATCH])));
        self.append(&qkv, &q, steps, PROMPT).unwrap();
        stream.memcpy_htod(&first.map(i32::to_le_bytes).concat(), &mut self.steps.bytes).unwrap();
        stream.memcpy_htod(&[3_i32, 77].map(i32::to_le_bytes).concat(), &mut self.ids.bytes).unwrap();
        self.queue.synchronize().unwrap();
    }

    fn trace(&self, count: usize, mut step: impl FnMut()) -> Trace {
        let read = |memory: &Memory| {
            let bytes = self.queue.stream().clone_dtoh(&memory.bytes).unwrap();
            self.queue.synchronize().unwrap();
            bytes
        };
        let mut trace = Trace {
            ids: Vec::new(),
            steps: Vec::new(),
            out: Vec::new(),
            log_probabilities: Vec::new(),
            cache: Default::default(),
        };
        for _ in 0..count {
            step();
            trace.ids.push(read(&self.ids));
            trace.steps.push(read(&self.steps));
            trace.out.push(read(&self.out));
            trace.log_probabilities.push(read(&self.log_probabilities));
        }
        trace.cache = [&self.k_cache, &self.v_cache, &self.k_scales, &self.v_scales].map(read);
        trace
    }
}

fn layout(shape: &[usize]) -> Layout {
    Layout::contiguous(shape).unwrap()
}

#[test]
fn a_captured_step_replayed_is_a_loop_of_steps_bit_for_bit() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    // One sequence begins a step later: at position -1 it writes nothing and sees no key.
    for (cache, first) in [(F16, [PROMPT as i32, 3]), (I8, [PROMPT as i32 - 2, -1]), (E4M3, [127, 63])] {
        let mut model = Model::new(cache);
        model.start(first);
        // This also loads the kernels, which a capture must not.
        let looped = model.trace(6, || model.step().unwrap());
        model.start(first);
        let stream = model.queue.stream();
        stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
        let captured = model.step();
        let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = stream.end_capture(flags).unwrap().unwrap();
        captured.unwrap();
        let replayed = model.trace(6, || graph.launch().unwrap());
        assert_eq!(replayed, looped, "{cache}");
        // Positions advanced, and tokens differ from step to step: the same step six times would be seen.
        let steps =
            HostTensor { name: String::new(), dtype: I32, shape: vec![BATCH], bytes: replayed.steps[5].clone() };
        assert_eq!(steps.to_f64(), first.map(|first| f64::from(first + 6)));
        assert!((1..6).all(|step| replayed.out[step] != replayed.out[step - 1]));
    }
}
