//! `model`: modelled time of shapes too large to be run whole, from a sample of their blocks; and how the model compares with
//! times that others have measured.

use std::num::NonZero;

use llm_kernels::verify::{Bindings, HostTensor, Modelled, Op, modelled_sample};
use llm_kernels::{DType, Queue};
use serde_json::json;

use crate::check::cases;
use crate::failure::Failure;
use crate::output::{self, Table};
use crate::{Global, progress, select};

/// Blocks of each launch that run.
const BLOCKS: NonZero<u32> = NonZero::new(4).expect("not zero");

/// Models the bench cases of operators, those for GPUs too.
pub(crate) fn run(global: &Global, name: Option<&str>) -> Result<(), Failure> {
    let ops = select::many(name)?;
    let queue = open(global)?;
    let (cases, _) = cases(&ops, false, |op| op.bench_cases);
    let bar = progress::bar(cases.len());
    let (mut table, mut rows) =
        (Table::new(&["op", "case", "shape", "dtype", "modelled time", "bounds", "waits"]), vec![]);
    for (op, case) in cases {
        bar.set_message(format!("{} {}", op.path, case.name));
        let time = sampled(&queue, op, case.sizes, case.dtype, case.options)?;
        let shape = case.shape();
        table.row(vec![
            op.path.to_owned(),
            case.name.to_owned(),
            shape.clone(),
            case.dtype.name().to_owned(),
            format!("{:.1} µs", time.seconds * 1e6),
            list(&time.bounds, 3),
            list(&time.stalls, 3),
        ]);
        rows.push(json!({
            "op": op.path,
            "case": case.name,
            "shape": shape,
            "dtype": case.dtype.name(),
            "modelled_seconds": time.seconds,
            "modelled_joules": time.joules,
            "modelled_dollars": time.dollars,
        }));
        bar.inc(1);
    }
    bar.finish_and_clear();
    if global.json {
        return Ok(output::json(&json!({ "device": queue.device().name(), "rows": rows }))?);
    }
    output::line(&table.render())?;
    Ok(output::line(&format!("{}: modelled from {BLOCKS} blocks of each launch", queue.device().name()))?)
}

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
    published(64, false, 2048, 162.0),
    published(64, false, 8192, 175.0),
    published(128, false, 512, 150.0),
    published(128, false, 2048, 187.0),
    published(128, false, 8192, 201.0),
    published(64, true, 512, 88.0),
    published(64, true, 2048, 140.0),
    published(64, true, 8192, 165.0),
    published(128, true, 512, 99.0),
    published(128, true, 2048, 155.0),
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

/// Compares modelled with published times on the emulated chip.
pub(crate) fn compare(global: &Global) -> Result<(), Failure> {
    const TOKENS: usize = 16_384;
    const WIDTH: usize = 2048;
    let queue = open(global)?;
    let (list, ops, alike, whose) = match queue.device().limits().compute_capability {
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
    let bar = progress::bar(list.len());
    let mut table = Table::new(&["d", "causal", "s", "published TFLOP/s", "modelled TFLOP/s", "modelled / published"]);
    let (mut rows, mut ratios) = (Vec::new(), Vec::new());
    for entry in list {
        bar.set_message(format!("d {} s {}", entry.d, entry.sequence));
        let (b, h, s) = (TOKENS / entry.sequence, WIDTH / entry.d, entry.sequence);
        let sizes = [("b", b), ("s_q", s), ("s_k", s), ("h_q", h), ("h_kv", h), ("d", entry.d), ("d_v", entry.d)];
        let causal = [("causal", if entry.causal { "true" } else { "false" })];
        let mut seconds = 0.0;
        for op in ops {
            let op = select::one(&format!("attention/{op}"))?;
            seconds += sampled(&queue, op, &sizes, DType::F16, &causal)?.seconds;
        }
        // Two products forward, five backward.
        let products = if ops.len() == 2 { 7.0 } else { 2.0 };
        let pairs = (b * h * s * s * entry.d) as f64 * if entry.causal { 0.5 } else { 1.0 };
        let tflops = 2.0 * products * pairs / seconds * 1e-12;
        let ratio = tflops / entry.tflops;
        ratios.push(ratio);
        table.row(vec![
            entry.d.to_string(),
            entry.causal.to_string(),
            s.to_string(),
            format!("{:.0}", entry.tflops),
            format!("{tflops:.0}"),
            format!("{ratio:.2}"),
        ]);
        rows.push(json!({
            "d": entry.d,
            "causal": entry.causal,
            "s": s,
            "published_tflop_per_s": entry.tflops,
            "modelled_tflop_per_s": tflops,
            "ratio": ratio,
        }));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let count = ratios.len() as f64;
    let mean = ratios.iter().sum::<f64>() / count;
    let error = ratios.iter().map(|ratio| (ratio - 1.0).abs()).sum::<f64>() / count;
    let worst = ratios.iter().map(|ratio| (ratio - 1.0).abs()).fold(0.0, f64::max);
    let document = json!({
        "device": queue.device().name(),
        "published": whose,
        "same_kind_of_kernel": alike,
        "mean_ratio": mean,
        "mean_error": error,
        "largest_error": worst,
        "rows": rows,
    });
    if global.json {
        return Ok(output::json(&document)?);
    }
    output::line(&table.render())?;
    let kind = match alike {
        true => {
            "kernels of the same kind, not the same kernel: the error is the model's and the kernels' difference together"
        }
        false => "wgmma and TMA there, mma.sync here: not kernels of the same kind, so that no error can be told",
    };
    Ok(output::line(&format!(
        "{}: modelled over published times of {whose}: mean ratio {mean:.2}, mean error {:.0} %, largest {:.0} %; {kind}",
        queue.device().name(),
        100.0 * error,
        100.0 * worst
    ))?)
}

/// The software device.
fn open(global: &Global) -> Result<Queue, Failure> {
    let device = global.open()?;
    if !device.is_software() {
        let name = device.name();
        return Err(Failure::Message(format!(
            "{name} is a GPU: its times are measured, not modelled; use --device software"
        )));
    }
    Ok(device.default_queue())
}

/// Modelled time of one launch of an operator, of which a sample of the blocks runs.
fn sampled(
    queue: &Queue,
    op: &Op,
    sizes: &[(&str, usize)],
    dtype: DType,
    options: &[(&str, &str)],
) -> Result<Modelled, Failure> {
    let size = |dimension: &str| sizes.iter().find(|(name, _)| *name == dimension).map(|(_, size)| *size);
    let mut tensors = Vec::new();
    for spec in op.description.inputs {
        let shape: Option<Vec<usize>> = spec.shape.iter().map(|dimension| size(dimension)).collect();
        let dtype = if spec.dtypes.contains(&dtype) { dtype } else { spec.dtypes[0] };
        if let Some(shape) = shape {
            tensors.push(filled(spec.name, dtype, shape));
        }
    }
    let bindings = Bindings::new(op, tensors, options)?;
    let mut prepared = (op.prepare)(queue, &bindings)?;
    let time = modelled_sample(queue, BLOCKS, || prepared.launch(queue))?;
    time.ok_or_else(|| Failure::Message("the device has no time model".to_owned()))
}

/// Numbers between -1 and 1 without a pattern; whole numbers are 0. Time hardly depends on the values.
fn filled(name: &str, dtype: DType, shape: Vec<usize>) -> HostTensor {
    let count: usize = shape.iter().product();
    let mut state = 0x9e37_79b9u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    };
    let bytes = match dtype {
        // Sign and fraction from the generator, an exponent a little below that of 1.
        DType::F16 => (0..count).flat_map(|_| ((next() as u16 & 0x83ff) | 0x3400).to_le_bytes()).collect(),
        DType::BF16 => (0..count).flat_map(|_| ((next() as u16 & 0x807f) | 0x3e80).to_le_bytes()).collect(),
        DType::F32 => (0..count).flat_map(|_| ((next() << 16 & 0x807f_ffff) | 0x3e80_0000).to_le_bytes()).collect(),
        _ => vec![0; count * dtype.size_bytes()],
    };
    HostTensor { name: name.to_owned(), dtype, shape, bytes }
}

fn list(parts: &[(&str, f64)], count: usize) -> String {
    let text = parts.iter().take(count).map(|(name, part)| format!("{name} {:.0} %", 100.0 * part));
    text.collect::<Vec<_>>().join(", ")
}
