//! Figures of the software device: deterministic, with fixed ceilings.

use super::*;
use crate::get;
use llm_kernels::verify::Counters;

fn count(call: &Recurrence) -> Option<Counters> {
    let mut on = call.upload();
    crate::count(|| call.launch(&mut on))
}

/// Every kind of decay, at the widths of named models, with decays as they are there: most near 1.
fn calls(s: usize) -> Vec<Recurrence> {
    let mut calls = vec![
        Recurrence::new(BF16, [1, s, 1, 8, 128, 64], Some(DecayKind::Steps), PLAIN),
        Recurrence::new(BF16, [1, s, 2, 2, 256, 256], Some(DecayKind::Heads), PLAIN),
        Recurrence::new(F16, [1, s, 4, 4, 64, 64], None, PLAIN),
        Recurrence::new(BF16, [1, s, 2, 2, 128, 128], Some(DecayKind::Channels), PLAIN),
    ];
    for call in &mut calls {
        call.decay.iter_mut().for_each(|decay| *decay = rounded(F32, &[0.2 * *decay])[0]);
    }
    calls
}

/// Of one chunk, and of several.
const CHUNKS: [usize; 2] = [1 << 20, 256];

#[test]
fn device_memory_moves_what_the_plan_says() {
    for (call, chunk) in calls(1024).into_iter().flat_map(|call| CHUNKS.map(|chunk| (call.clone(), chunk))) {
        let problem = Problem { chunk: Some(chunk), states: 1, ..call.problem };
        let call = Recurrence { problem, options: Options { chunk: Some(chunk), ..call.options }, ..call };
        let Some(counters) = count(&call) else { return };
        let plan = plan_of(&call.problem, queue().device().limits()).unwrap();
        let (moved, planned) = (get(&counters, "dram_bytes"), plan.device_bytes.unwrap());
        let ratio = plan.sweep_ratio(&call.problem).unwrap();
        eprintln!(
            "{:?}, chunk {chunk}: {:.3} of the plan, which is {ratio:.2} of a single sweep",
            call.problem.decay,
            moved / planned
        );
        assert!(moved <= 1.05 * planned, "{:?}: {moved} bytes, the plan has {planned}", call.problem);
    }
}

#[test]
fn most_work_is_done_by_tensor_cores() {
    for call in calls(256) {
        let Some(counters) = count(&call) else { return };
        // As if every other instruction were a multiply-add of its thread.
        let (tensor, other) =
            (get(&counters, "tensor_multiply_adds"), get(&counters, "thread_inst_executed_but_moves"));
        let share = tensor / (tensor + other);
        eprintln!("{:?}: {:.1} % on tensor cores", call.problem.decay, 100.0 * share);
        assert!(share >= 0.6, "{:?}: {share}", call.problem);
        // And no more than half as many again as the result needs, but for the columns that fill up a tile.
        let needed = plan_of(&call.problem, queue().device().limits()).unwrap().resources.flops.unwrap() / 2.0;
        eprintln!("{:?}: {:.2} of the multiply-adds needed", call.problem.decay, tensor / needed);
        assert!(tensor <= 1.5 * needed, "{:?}: {tensor} for {needed}", call.problem);
    }
}

#[test]
fn cost_is_linear_in_the_number_of_steps() {
    let one_chunk = |call: Recurrence| {
        let options = Options { chunk: Some(CHUNKS[0]), ..call.options };
        Recurrence { problem: Problem { chunk: options.chunk, ..call.problem }, options, ..call }
    };
    for (short, long) in calls(256).into_iter().zip(calls(1024)) {
        let (Some(short), Some(long)) = (count(&one_chunk(short)), count(&one_chunk(long))) else { return };
        for name in ["inst_executed", "dram_bytes"] {
            let ratio = get(&long, name) / get(&short, name);
            assert!(
                (2.5..=4.1).contains(&ratio),
                "{name}: {ratio} for 4 times the steps, with states that are moved once"
            );
        }
    }
}

#[test]
fn shared_memory_has_no_bank_conflicts() {
    for call in calls(256) {
        let Some(counters) = count(&call) else { return };
        let (taken, ideal) = (get(&counters, "shared_wavefronts"), get(&counters, "shared_ideal_wavefronts"));
        eprintln!("{:?}: {:.3} of the ideal wavefronts", call.problem.decay, taken / ideal);
        assert!(taken <= 1.02 * ideal, "{:?}: {taken} for {ideal}", call.problem);
    }
}

#[test]
fn instructions_for_each_product_stay_below_their_ceiling() {
    for (call, ceiling) in calls(256).iter().zip([28.7, 22.4, 26.7, 47.3]) {
        let Some(counters) = count(call) else { return };
        let ratio = get(&counters, "inst_executed") / get(&counters, "inst_executed_pipe_tensor");
        eprintln!("{:?}: {ratio:.2} instructions for each of the tensor cores'", call.problem.decay);
        assert!(ratio <= ceiling, "{:?}: {ratio}", call.problem);
    }
}
