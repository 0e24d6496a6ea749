//! Figures of the software device: deterministic, with fixed ceilings.

use super::*;
use llm_kernels::attention::flash_forward::plan;
use llm_kernels::verify::Counters;

use crate::get;

/// Counters of one launch; `None` on a GPU, which has no such figures.
fn count(attention: &Attention) -> Option<Counters> {
    let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
    let queue = queue();
    let layouts = attention.layouts();
    let dtype = attention.problem.dtype;
    let upload =
        |values: &[f64], layout: Layout| HostTensor::from_f64("", dtype, layout.shape(), values).upload(queue).unwrap();
    let tensors = [upload(&attention.q, layouts.q), upload(&attention.k, layouts.k), upload(&attention.v, layouts.v)];
    let mut out = DeviceTensor::poisoned(queue, dtype, layouts.out).unwrap();
    let Shape { b, s_q, h_q, .. } = attention.problem.shape;
    let lse = Layout::contiguous(&[b, h_q, s_q]).unwrap();
    let mut lse = DeviceTensor::poisoned(queue, DType::F32, lse).unwrap();
    let [q, k, v] = tensors.each_ref().map(|tensor| tensor.view().unwrap());
    let (out, lse) = (out.view_mut().unwrap(), Some(lse.view_mut().unwrap()));
    let args = Args { q, k, v, out, lse, options: attention.options };
    crate::count(|| flash_forward(queue, args))
}

/// Problems of whole tiles, of every head dimension.
fn aligned() -> Vec<Attention> {
    let problem = |d| Attention::new(F16, [1, 256, 256, 2, 1, d], CAUSAL);
    [64, 128, 256].map(problem).into()
}

#[test]
fn shared_memory_has_no_bank_conflicts() {
    for attention in aligned() {
        let Some(counters) = count(&attention) else {
            return;
        };
        let (taken, ideal) = (get(&counters, "shared_wavefronts"), get(&counters, "shared_ideal_wavefronts"));
        assert!(ideal > 0.0 && taken <= 1.01 * ideal, "d {}: {taken} for {ideal}", attention.problem.shape.d);
    }
}

#[test]
fn every_sector_is_used_whole() {
    for attention in aligned() {
        let Some(counters) = count(&attention) else {
            return;
        };
        let (moved, asked) = (get(&counters, "global_bytes"), get(&counters, "global_requested_bytes"));
        assert!(moved > 0.0 && moved == asked, "d {}: {moved} for {asked}", attention.problem.shape.d);
    }
}

#[test]
fn global_traffic_is_what_the_plan_says() {
    let uneven = Attention::new(BF16, [2, 150, 333, 4, 2, 128], Options { window_left: Some(100), ..CAUSAL });
    for attention in aligned().into_iter().chain([uneven]) {
        let Some(counters) = count(&attention) else {
            return;
        };
        let plan = plan(&attention.problem, queue().device().limits()).unwrap();
        let (moved, planned) = (get(&counters, "global_bytes"), plan.resources.bytes_moved.unwrap());
        assert!((moved - planned).abs() <= 0.02 * planned, "{:?}: {moved}, plan {planned}", attention.problem);
    }
}

#[test]
fn instructions_for_each_mma_stay_below_their_ceilings() {
    // A long row of full tiles, so that what is done once counts little.
    for (d, ceiling) in [(64, 5.3), (128, 3.75), (256, 3.8)] {
        let attention = Attention::new(F16, [1, 128, 1024, 1, 1, d], FULL);
        let Some(counters) = count(&attention) else {
            return;
        };
        let ratio = get(&counters, "inst_executed") / get(&counters, "inst_executed_pipe_tensor");

        assert!(ratio <= ceiling, "d {d}: {ratio} warp instructions for each mma, ceiling {ceiling}");
    }
}

#[test]
fn no_tile_is_multiplied_that_no_query_sees() {
    for (options, sizes) in [(FULL, [1, 256, 512, 1, 1, 64]), (CAUSAL, [1, 512, 512, 1, 1, 64])] {
        let attention = Attention::new(F16, sizes, options);
        let Some(counters) = count(&attention) else {
            return;
        };
        let Shape { s_q, d, .. } = attention.problem.shape;
        let plan = plan(&attention.problem, queue().device().limits()).unwrap();
        let (block_m, block_n) = (plan.block_m, plan.block_n);
        let last_key = |block| attention.problem.visible_keys((block + 1) * block_m - 1).end;
        let tiles: usize = (0..s_q / block_m).map(|block| last_key(block).div_ceil(block_n)).sum();
        let needed = (tiles * block_m * block_n * 2 * d) as f64;
        assert_eq!(get(&counters, "tensor_multiply_adds"), needed, "{options:?}");
    }
}
