//! Plans, without a device.

use super::*;
use llm_kernels::fused::rms_norm::plan;

fn problem(dtype: DType, m: usize, d: usize) -> Problem {
    let types = Types { x: Some(dtype), residual: None, weight: Some(dtype), out: dtype };
    Problem::new(types, m, d, Options::default()).unwrap()
}

#[test]
fn every_instance_is_embedded() {
    assert_embedded("fused/rms_norm", 5);
}

#[test]
fn a_row_has_the_smallest_team_that_holds_it() {
    let limits = Limits::of_capability(8, 0);
    for (dtype, d, unit, team, threads) in [
        (F16, 64, 8, 8, 128),
        (F16, 256, 8, 32, 128),
        (F32, 256, 4, 32, 128),
        (F32, 640, 4, 32, 128),
        (F16, 640, 8, 32, 128),
        (BF16, 4096, 8, 128, 128),
        (F32, 4096, 4, 128, 128),
        (BF16, 16_384, 8, 512, 512),
        (F32, 257, 1, 32, 128),
        (F16, 100_000, 8, 512, 512),
    ] {
        let problem = problem(dtype, 10_000, d);
        let plan = plan(&problem, &limits).unwrap();
        assert_eq!((problem.unit, plan.team, plan.launch.block[0]), (unit, team, threads), "{dtype} {d}");
        let short = if unit > 1 && d <= 256 { "_short" } else { "" };
        assert_eq!(plan.launch.instance, format!("rms_norm_unit{unit}{short}"));
        assert_eq!(plan.held, d.min(16_384));
    }
}

#[test]
fn the_grid_is_what_the_chip_runs_at_once() {
    // 16 multiprocessors, 512 threads each.
    let limits = Limits::of_capability(8, 0);
    let blocks = |m, d| plan(&problem(F16, m, d), &limits).unwrap().launch.grid;
    assert_eq!(blocks(1, 640), [1, 1, 1]);
    assert_eq!(blocks(9, 640), [3, 1, 1]);
    assert_eq!(blocks(10_000, 640), [64, 1, 1]);
    assert_eq!(blocks(10_000, 16_384), [16, 1, 1]);
    assert_eq!(blocks((1 << 31) - 1, 8), [64, 1, 1]);
}

#[test]
fn f32_among_the_tensors_or_an_odd_length_makes_units_smaller() {
    let mut norm = Norm::new(F16, &[4, 64]);
    assert_eq!(norm.problem().unit, 8);
    norm.weight = Some(Tensor::normal(2, F32, &[64]));
    assert_eq!(norm.problem().unit, 4);
    norm.out = norm.out.strided(&[65, 1]);
    assert_eq!(norm.problem().unit, 1);
    assert_eq!(Norm::new(BF16, &[4, 68]).problem().unit, 1);
    assert_eq!(Norm::new(F32, &[4, 68]).problem().unit, 4);
}
