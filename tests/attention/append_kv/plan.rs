//! The plan, without a device.

use super::*;
use llm_kernels::{LaunchPlan, Limits, embedded};

/// An A100.
fn limits() -> Limits {
    Limits { multiprocessors: 108, ..Limits::of_capability(8, 0) }
}

fn planned(types: Types, heads: Heads, tokens: usize) -> llm_kernels::attention::append_kv::Plan {
    let Heads { h_q, h_kv, d, n } = heads;
    let shape = Shape { b: 1, s_q: tokens, num_tokens: tokens, h_q, h_kv, d, n, num_pages: 1, page_size: tokens };
    plan(&Problem::new(types, shape, None, &Options::default()).unwrap(), &limits()).unwrap()
}

#[test]
fn every_instance_is_embedded() {
    let names = ["append_kv_unit8", "append_kv_unit4", "append_kv_unit1"];
    let kernels = embedded::KERNELS.iter().filter(|kernel| kernel.op == "attention/append_kv");
    let mut embedded: Vec<_> = kernels.flat_map(|kernel| kernel.instances).map(|instance| instance.name).collect();
    embedded.sort_unstable_by_key(|name| names.iter().position(|known| known == name));
    assert_eq!(embedded, names);
}

#[test]
fn types_and_sizes_choose_the_unit() {
    let name = |types, heads| planned(types, heads, 3).launch.instance;
    assert_eq!(name(types(F16, F16), LLAMA), "append_kv_unit8");
    assert_eq!(name(types(BF16, E4M3), GEMMA), "append_kv_unit8");
    assert_eq!(name(types(F32, F16), GEMMA), "append_kv_unit4");
    assert_eq!(name(Types { q_out: Some(F32), ..types(F16, F16) }, GEMMA), "append_kv_unit4");
    assert_eq!(name(types(F16, F16), Heads { n: 12, ..LLAMA }), "append_kv_unit4");
    assert_eq!(name(types(F16, F16), Heads { n: 13, ..LLAMA }), "append_kv_unit1");
    assert_eq!(name(types(F16, F16), Heads { d: 75, n: 32, ..LLAMA }), "append_kv_unit1");
}

#[test]
fn a_token_that_is_decoded_takes_one_launch_of_few_blocks() {
    let plan = planned(types(F16, F16), GEMMA, 1);
    let expected = LaunchPlan {
        op: "attention/append_kv",
        instance: "append_kv_unit8",
        // 16 threads for each of 6 heads.
        grid: [1, 1, 1],
        block: [128, 1, 1],
        shared_bytes: 0,
        workspace_bytes: 0,
    };
    assert_eq!((plan.launch, plan.team, plan.token_step, plan.head_groups), (expected, 16, 1, 6));
}

#[test]
fn many_tokens_share_what_the_chip_runs_at_once() {
    for (heads, tokens) in [(LLAMA, 8192), (GEMMA, 100_000), (SMALL, 777), (LLAMA, 5)] {
        let plan = planned(types(F16, F16), heads, tokens);
        let threads = plan.token_step * plan.head_groups * plan.team;
        assert_eq!(plan.launch.grid[0] as usize, threads.div_ceil(128), "{tokens} tokens");
        assert!(plan.launch.grid[0] <= 108 * 4 + 1, "{tokens} tokens: {:?}", plan.launch.grid);
        // The teams of a warp have neighbouring tokens.
        assert!(plan.token_step.is_multiple_of(32 / plan.team), "{tokens} tokens: {plan:?}");
    }
}

#[test]
fn bytes_are_those_of_every_row_once() {
    let (heads, tokens) = (LLAMA, 100);
    let resources = planned(types(BF16, I8), heads, tokens).resources;
    let each = 2 * 2 * (128 * 2 + 128 + 4) + 8 * 128 * 4 + 4;
    assert_eq!(resources.bytes_needed, Some((tokens * each + 64 * 4) as f64));
    assert_eq!(resources.flops, Some((tokens * 10 * 6 * 64) as f64));
}
