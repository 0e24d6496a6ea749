//! `model`: modelled time of shapes too large to be run whole, from a sample of their blocks.

use std::num::NonZero;

use llm_kernels::verify::{Bindings, Case, HostTensor, Modelled, Op, Sample, modelled_sample};
use llm_kernels::{DType, Queue};
use serde_json::{Map, json};

use crate::check::{cases, json_case};
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
        let sample = Sample { blocks: Some(BLOCKS), ..Sample::ALL };
        let time = modelled(&queue, op, || inputs(op, case), case.options, sample)?;
        table.row(vec![
            op.path.to_owned(),
            case.name.to_owned(),
            case.shape(),
            case.dtype.name().to_owned(),
            format!("{:.1} µs", time.seconds * 1e6),
            list(&time.bounds, 3),
            list(&time.stalls, 3),
        ]);
        let mut row = json_case(op.path, case);
        row.insert("modelled".into(), json_time(&time).into());
        rows.push(row);
        bar.inc(1);
    }
    bar.finish_and_clear();
    if global.json {
        return Ok(output::json(&json!({ "device": queue.device().name(), "rows": rows }))?);
    }
    output::line(&table.render())?;
    Ok(output::line(&format!("{}: modelled from {BLOCKS} blocks of each launch", queue.device().name()))?)
}

/// What the model says of a row.
fn json_time(time: &Modelled) -> Map<String, serde_json::Value> {
    let parts = |parts: &[(&'static str, f64)]| {
        parts.iter().map(|&(name, part)| (name.to_owned(), part.into())).collect::<Map<_, _>>()
    };
    let mut object = Map::new();
    object.insert("seconds".into(), time.seconds.into());
    object.insert("joules".into(), time.joules.into());
    object.insert("dollars".into(), time.dollars.into());
    object.insert("bounds".into(), parts(&time.bounds).into());
    object.insert("stalls".into(), parts(&time.stalls).into());
    object.insert("machine_instructions".into(), parts(&time.machine_instructions).into());
    object
}

/// The software device.
pub(crate) fn open(global: &Global) -> Result<Queue, Failure> {
    let device = global.open()?;
    if !device.is_software() {
        let name = device.name();
        return Err(Failure::Message(format!(
            "{name} is a GPU: its times are measured, not modelled; use --device software"
        )));
    }
    Ok(device.default_queue())
}

/// Modelled time of one launch of an operator.
pub(crate) fn modelled(
    queue: &Queue,
    op: &Op,
    inputs: impl FnOnce() -> Result<Vec<HostTensor>, Failure>,
    options: &[(&str, &str)],
    sample: Sample,
) -> Result<Modelled, Failure> {
    let bindings = Bindings::new(op, inputs()?, options)?;
    let mut prepared = None;
    // Some operators prepare their input with launches of others, of which a sample is as good.
    modelled_sample(queue, sample, || (op.prepare)(queue, &bindings).map(|ready| prepared = Some(ready)))?;
    let mut prepared = prepared.ok_or_else(|| Failure::Message(format!("{}: nothing was prepared", op.path)))?;
    let needed = prepared.resources(queue.device().limits())?.bytes_needed.unwrap_or(0.0);
    let sample = Sample { bytes_needed: needed as u64 * u64::from(sample.copies.get()), ..sample };
    let time = modelled_sample(queue, sample, || prepared.launch(queue))?;
    time.ok_or_else(|| Failure::Message("the device has no time model".to_owned()))
}

/// Input of a case. Where only sizes matter it is made up faster than the operator does.
fn inputs(op: &Op, case: &Case) -> Result<Vec<HostTensor>, Failure> {
    let required = || op.description.inputs.iter().filter(|spec| !spec.optional);
    let floats = required().all(|spec| spec.dtypes.contains(&case.dtype) || spec.dtypes.contains(&DType::F32));
    if case.gpu_only && floats && case.extras.is_empty() { filled(op, case.sizes, case.dtype) } else { made(op, case) }
}

fn made(op: &Op, case: &Case) -> Result<Vec<HostTensor>, Failure> {
    Ok((op.make_inputs)(op, case)?)
}

/// The inputs that an operator must have, filled with numbers between -1/2 and 1/2 without a pattern; whole numbers are 0. Time
/// hardly depends on the values.
pub(crate) fn filled(op: &Op, sizes: &[(&str, usize)], dtype: DType) -> Result<Vec<HostTensor>, Failure> {
    let size = |dimension: &str| {
        let found = sizes.iter().find(|(name, _)| *name == dimension).map(|(_, size)| *size);
        found.ok_or_else(|| Failure::Message(format!("{}: the case has no {dimension}", op.path)))
    };
    let required = op.description.inputs.iter().filter(|spec| !spec.optional);
    let tensors = required.map(|spec| {
        let shape = spec.shape.iter().map(|dimension| size(dimension)).collect::<Result<Vec<_>, _>>()?;
        let dtype = if spec.dtypes.contains(&dtype) { dtype } else { spec.dtypes[0] };
        Ok(fill(spec.name, dtype, shape))
    });
    tensors.collect()
}

fn fill(name: &str, dtype: DType, shape: Vec<usize>) -> HostTensor {
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

/// The first few parts in words: `tensor 83 %, issue 61 %`.
pub(crate) fn list(parts: &[(&str, f64)], count: usize) -> String {
    let text = parts.iter().take(count).map(|(name, part)| format!("{name} {:.0} %", 100.0 * part));
    text.collect::<Vec<_>>().join(", ")
}
