//! Order is a variable: under any seed warps and blocks take turns differently, and right programs give the same results.

use super::programs::{Expected, Outcome, all};
use super::support::Bench;
use softcuda::config::{Checks, Config};
use std::collections::BTreeSet;

fn seeded(seed: u64) -> Config {
    Config { schedule: Some(seed), checks: Checks::ALL, ..Config::default() }
}

/// Clean programs whose results are those of the order in which atomics happen.
const IN_ORDER_OF_ATOMICS: [&str; 3] = ["words_by_ticket", "atomic_and_atomic_store", "use_before_free"];

#[test]
fn clean_programs_are_clean_and_give_the_same_results_under_every_seed() {
    for program in all().iter().filter(|program| program.expected == Expected::Clean) {
        let (_, expected) = program.run_with_output(&Config { checks: Checks::ALL, ..Config::default() });
        for seed in 0..8 {
            let (outcome, found) = program.run_with_output(&seeded(seed));
            assert!(matches!(outcome, Outcome::Silent), "{} under seed {seed}: {outcome}", program.name);
            let any_order = IN_ORDER_OF_ATOMICS.contains(&program.name.as_str());
            assert!(any_order || found == expected, "{} under seed {seed}: other results", program.name);
        }
    }
}

#[test]
fn faults_are_found_under_every_seed() {
    for program in all().iter().filter(|program| matches!(program.expected, Expected::Fault(_))) {
        for seed in 0..4 {
            let outcome = program.run(&seeded(seed));
            assert!(matches!(outcome, Outcome::Fault(_)), "{} under seed {seed}: {outcome}", program.name);
        }
    }
}

#[test]
fn a_seed_gives_the_same_report_every_time() {
    for program in all() {
        for threads in [1, 3] {
            let run = || program.run(&Config { threads, ..seeded(5) }).to_string();
            assert_eq!(run(), run(), "{}", program.name);
        }
    }
}

const WHO_COMES_WHEN: &str = "
.version 7.0
.target sm_80
.address_size 64
.visible .entry tickets(.param .u64 out)
{
    .reg .pred %p1;
    .reg .b32 %r<8>;
    .reg .b64 %d<4>;
    ld.param.u64 %d0, [out];
    mov.u32 %r0, %ctaid.x; mov.u32 %r1, %tid.x; shl.b32 %r2, %r0, 3; shr.u32 %r3, %r1, 5; add.u32 %r2, %r2, %r3;
    and.b32 %r4, %r1, 31; setp.ne.u32 %p1, %r4, 0; @%p1 exit;
    atom.global.add.u32 %r5, [%d0], 1;
    mad.wide.u32 %d1, %r2, 4, %d0;
    st.global.u32 [%d1+4], %r5;
    exit;
}";

#[test]
fn seeds_change_the_order_of_warps_and_of_blocks() {
    let order = |schedule| {
        let mut bench = Bench::new(WHO_COMES_WHEN);
        bench.config.schedule = schedule;
        let out = bench.upload(&[0u32; 1 + 4 * 8]);
        bench
            .launch("tickets", [4, 1, 1], [256, 1, 1], 0, &[bytemuck::bytes_of(&out)])
            .unwrap_or_else(|fault| panic!("{}", fault.text));
        bench.download::<u32>(out, 33)[1..].to_vec()
    };
    assert_eq!(order(None), (0..32).collect::<Vec<_>>());
    let orders: BTreeSet<Vec<u32>> = (0..8).map(|seed| order(Some(seed))).collect();
    assert_eq!(orders.len(), 8, "a different one for every seed");
    for order in &orders {
        let warps_shuffled = order.chunks(8).any(|block| !block.is_sorted());
        assert!(warps_shuffled, "{order:?}");
        assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 32, "each comes once");
    }
    assert!(orders.iter().any(|order| order[0..8].iter().min() > order[8..16].iter().min()), "blocks are shuffled");
}

const EARLY_OR_LATE: &str = "
.version 7.0
.target sm_80
.address_size 64
.visible .entry copies(.param .u64 out)
{
    .reg .b32 %r<8>;
    .reg .b64 %d<4>;
    .shared .align 16 .b8 tile[128];
    ld.param.u64 %d0, [out];
    mov.u32 %r0, %tid.x; mov.u32 %r1, tile; mad.lo.u32 %r2, %r0, 4, %r1; mad.wide.u32 %d1, %r0, 4, %d0;
    st.shared.u32 [%r2], 5;
    cp.async.ca.shared.global [%r2], [%d1], 4;
    ld.shared.u32 %r3, [%r2];
    cp.async.wait_all;
    st.global.u32 [%d1+128], %r3;
    exit;
}";

#[test]
fn a_copy_moves_its_data_late_or_under_a_seed_early() {
    let seen = |schedule| {
        let mut bench = Bench::new(EARLY_OR_LATE);
        bench.config = Config { schedule, checks: Checks::NONE, ..Config::default() };
        let out = bench.upload(&[9u32; 64]);
        bench
            .launch("copies", [1, 1, 1], [32, 1, 1], 0, &[bytemuck::bytes_of(&out)])
            .unwrap_or_else(|fault| panic!("{}", fault.text));
        bench.download::<u32>(out, 64)[32]
    };
    assert_eq!(seen(None), 5, "the data come at the wait");
    let values: BTreeSet<u32> = (0..8).map(|seed| seen(Some(seed))).collect();
    assert_eq!(values, BTreeSet::from([5, 9]));
}
