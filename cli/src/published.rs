//! `model --published`: how modelled times compare with times that others have measured.

use std::num::NonZero;

use llm_kernels::verify::Sample;
use llm_kernels::{DType, Queue};
use serde_json::json;

use crate::failure::Failure;
use crate::model::{filled, list, modelled, open};
use crate::output::{self, Table};
use crate::{Global, progress, select};

/// A measurement of someone else.
struct Published {
    d: usize,
    causal: bool,
    sequence: usize,
    /// Floating-point operations a second, in units of 10^12.
    tflops: f64,
}

const fn published(d: usize, causal: bool, sequence: usize, tflops: f64) -> Published {
    Published { d, causal, sequence, tflops }
}

/// FlashAttention-2, forward and backward together, on A100 SXM4 80 GB: the figure in its repository. 16,384 tokens and a model
/// width of 2,048; a causal mask counts half of the operations.
const FLASH_ATTENTION_2: &[Published] = &[
    published(64, false, 512, 132.0),
    published(64, false, 1024, 153.0),
    published(64, false, 2048, 162.0),
    published(64, false, 4096, 171.0),
    published(64, false, 8192, 175.0),
    published(128, false, 512, 150.0),
    published(128, false, 1024, 173.0),
    published(128, false, 2048, 187.0),
    published(128, false, 4096, 196.0),
    published(128, false, 8192, 201.0),
    published(64, true, 512, 88.0),
    published(64, true, 1024, 119.0),
    published(64, true, 2048, 140.0),
    published(64, true, 4096, 156.0),
    published(64, true, 8192, 165.0),
    published(128, true, 512, 99.0),
    published(128, true, 1024, 133.0),
    published(128, true, 2048, 155.0),
    published(128, true, 4096, 173.0),
    published(128, true, 8192, 182.0),
];

/// FlashAttention-3, forward, on H100 SXM5: the figure in its repository, same sizes. It uses wgmma and TMA, which no kernel here
/// does: not a comparison of like with like.
const FLASH_ATTENTION_3: &[Published] = &[
    published(64, false, 512, 333.0),
    published(64, false, 2048, 460.0),
    published(64, false, 8192, 496.0),
    published(128, false, 512, 467.0),
    published(128, false, 2048, 625.0),
    published(128, false, 8192, 646.0),
];

/// Tokens and width of the published figures.
const TOKENS: usize = 16_384;
const WIDTH: usize = 2048;

/// Compares modelled with published times on the emulated chip, of sequences up to `longest`.
pub(crate) fn run(global: &Global, longest: usize) -> Result<(), Failure> {
    let queue = open(global)?;
    let (list_of_times, ops, alike, whose) = match queue.device().limits().compute_capability {
        (8, 0) => (
            FLASH_ATTENTION_2,
            &["flash_forward", "flash_backward"][..],
            true,
            "FlashAttention-2, forward and backward",
        ),
        (9, 0) => (FLASH_ATTENTION_3, &["flash_forward"][..], false, "FlashAttention-3, forward"),
        (major, minor) => {
            return Err(Failure::Message(format!(
                "no published times for sm_{major}{minor} are known; there are some for software:sm_80 and software:sm_90"
            )));
        }
    };
    let entries: Vec<_> = list_of_times.iter().filter(|entry| entry.sequence <= longest).collect();
    let bar = progress::bar(entries.len());
    let names = ops.iter().map(|op| format!("modelled {op}, and what bounds it"));
    let heads = ["d", "causal", "s", "published TFLOP/s", "modelled TFLOP/s", "modelled / published"];
    let heads: Vec<String> = heads.map(str::to_owned).into_iter().chain(names).collect();
    let mut table = Table::new(&heads.iter().map(String::as_str).collect::<Vec<_>>());
    let (mut rows, mut ratios) = (Vec::new(), Vec::new());
    for entry in entries {
        bar.set_message(format!("d {} s {}", entry.d, entry.sequence));
        let passes = ops.iter().map(|op| pass(&queue, op, entry)).collect::<Result<Vec<_>, _>>()?;
        let seconds: f64 = passes.iter().map(|pass| pass.seconds).sum();
        let tflops = passes.iter().map(|pass| pass.tflops * pass.seconds).sum::<f64>() / seconds;
        let ratio = tflops / entry.tflops;
        ratios.push(ratio);
        let mut row = vec![
            entry.d.to_string(),
            entry.causal.to_string(),
            entry.sequence.to_string(),
            format!("{:.0}", entry.tflops),
            format!("{tflops:.0}"),
            format!("{ratio:.2}"),
        ];
        row.extend(passes.iter().map(|pass| format!("{:.0}: {}; {}", pass.tflops, pass.bounds, pass.stalls)));
        table.row(row);
        let of_ops = ops.iter().zip(&passes).map(|(op, pass)| {
            json!({ "op": op, "tflop_per_s": pass.tflops, "instructions_per_mma": pass.instructions_per_mma })
        });
        rows.push(json!({
            "d": entry.d,
            "causal": entry.causal,
            "s": entry.sequence,
            "published_tflop_per_s": entry.tflops,
            "modelled_tflop_per_s": tflops,
            "ratio": ratio,
            "passes": of_ops.collect::<Vec<_>>(),
        }));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let errors = Errors::of(&ratios)
        .ok_or_else(|| Failure::Message(format!("no published times of sequences up to {longest}")))?;
    if global.json {
        return Ok(output::json(&json!({
            "device": queue.device().name(),
            "published": whose,
            "same_kind_of_kernel": alike,
            "mean_ratio": errors.mean_ratio,
            "median_error": errors.median,
            "largest_error": errors.largest,
            "rows": rows,
        }))?);
    }
    output::line(&table.render())?;
    let kind = match alike {
        true => {
            "kernels of the same kind, not the same kernel: the error is the model's and the kernels' difference together"
        }
        false => "wgmma and TMA there, mma.sync here: not kernels of the same kind, so that no error can be told",
    };
    Ok(output::line(&format!(
        "{}: modelled over published times of {whose}: mean ratio {:.2}, median error {:.0} %, largest {:.0} %; {kind}",
        queue.device().name(),
        errors.mean_ratio,
        100.0 * errors.median,
        100.0 * errors.largest
    ))?)
}

/// What became of an operator at the sizes of an entry.
struct Pass {
    seconds: f64,
    tflops: f64,
    /// Machine instructions for each of the tensor cores, as the model estimates them.
    instructions_per_mma: f64,
    bounds: String,
    stalls: String,
}

/// One head of one sequence runs, and time is that of all of them.
fn pass(queue: &Queue, op: &str, entry: &Published) -> Result<Pass, Failure> {
    let (s, d) = (entry.sequence, entry.d);
    let copies = TOKENS / s * (WIDTH / d);
    let sample = Sample {
        blocks: None,
        copies: u32::try_from(copies).ok().and_then(NonZero::new).unwrap_or(NonZero::<u32>::MIN),
        ..Sample::ALL
    };
    let sizes = [("b", 1), ("s_q", s), ("s_k", s), ("h_q", 1), ("h_kv", 1), ("d", d), ("d_v", d)];
    let causal = [("causal", if entry.causal { "true" } else { "false" })];
    // Two products forward, five backward.
    let products = if op == "flash_forward" { 2.0 } else { 5.0 };
    let pairs = (copies * s * s * d) as f64 * if entry.causal { 0.5 } else { 1.0 };
    let op = select::one(&format!("attention/{op}"))?;
    let time = modelled(queue, op, || filled(op, &sizes, DType::F16), &causal, sample)?;
    let of_tensor =
        time.machine_instructions.iter().find(|(unit, _)| *unit == "tensor").map_or(0.0, |(_, count)| *count);
    let instructions: f64 = time.machine_instructions.iter().map(|(_, count)| count).sum();
    Ok(Pass {
        seconds: time.seconds,
        tflops: 2.0 * products * pairs / time.seconds * 1e-12,
        instructions_per_mma: instructions / of_tensor,
        bounds: list(&time.bounds, 3),
        stalls: list(&time.stalls, 2),
    })
}

/// How far ratios are from 1.
struct Errors {
    mean_ratio: f64,
    median: f64,
    largest: f64,
}

impl Errors {
    /// `None`: there are no ratios.
    fn of(ratios: &[f64]) -> Option<Errors> {
        let mut errors: Vec<f64> = ratios.iter().map(|ratio| (ratio - 1.0).abs()).collect();
        errors.sort_by(f64::total_cmp);
        let mean_ratio = ratios.iter().sum::<f64>() / ratios.len() as f64;
        Some(Errors { mean_ratio, median: *errors.get(errors.len() / 2)?, largest: *errors.last()? })
    }
}
