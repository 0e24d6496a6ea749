//! What descriptions of this family's operators have in common.

use crate::attention::CuSeqlens;
use crate::fused::described::optional;
use crate::scan::SequenceSizes;
use crate::verify::{Bindings, Case, HostTensor, Op, TensorSpec, random};
use crate::{DType, Error, Queue, Result};

/// A tensor of all positions: with `cu_seqlens` of the other dimensions.
pub(super) const fn of_positions(
    spec: TensorSpec,
    shape: &'static [&'static str],
    shape_of_sequences: &'static [&'static str],
) -> TensorSpec {
    TensorSpec { shape, shape_of_sequences, ..spec }
}

/// Where sequences of various lengths lie.
pub(super) const CU_SEQLENS: TensorSpec = optional(
    "cu_seqlens",
    &[DType::I32],
    &["b + 1"],
    "sequence i is positions cu[i] .. cu[i + 1] of [total, ..] tensors",
);

/// Made-up inputs: what must be there, and a case's extras, whose text is their element type. The extra `cu_seqlens` is
/// its offsets. `make` turns numbers of the standard normal distribution into what a tensor holds.
pub(super) fn make_inputs(op: &Op, case: &Case, make: fn(&str, f64) -> f64) -> Result<Vec<HostTensor>> {
    let wrong =
        |name, text| Error::Binding { op: op.path, problem: format!("case {:?} has extra {name}={text}", case.name) };
    let extra = |name: &str| case.extras.iter().find(|(extra, _)| *extra == name).map(|&(_, text)| text);
    let offsets = extra("cu_seqlens");
    let mut inputs = Vec::new();
    for (spec, seed) in op.description.inputs.iter().zip(1..) {
        if spec.name == "cu_seqlens" {
            let Some(text) = offsets else { continue };
            let numbers = text.split(' ').map(str::parse).collect::<std::result::Result<Vec<f64>, _>>();
            let numbers = numbers.map_err(|_| wrong(spec.name, text))?;
            inputs.push(HostTensor::from_f64(spec.name, DType::I32, &[numbers.len()], &numbers));
            continue;
        }
        let dtype = match extra(spec.name) {
            Some(text) => text.parse().map_err(|_| wrong(spec.name, text))?,
            None if spec.optional => continue,
            None if spec.dtypes.contains(&case.dtype) => case.dtype,
            None => spec.dtypes[0],
        };
        let various = offsets.is_some() && !spec.shape_of_sequences.is_empty();
        let shape = if various { spec.shape_of_sequences } else { spec.shape };
        let shape = shape.iter().map(|dimension| case.size(op.path, dimension)).collect::<Result<Vec<_>>>()?;
        let values: Vec<f64> =
            random::normal(seed, shape.iter().product()).into_iter().map(|x| make(spec.name, x)).collect();
        inputs.push(HostTensor::from_f64(spec.name, dtype, &shape, &values));
    }
    Ok(inputs)
}

/// The sequences of `[total, ..]` tensors, if there are such.
pub(super) fn sequences(queue: &Queue, bindings: &Bindings) -> Result<Option<CuSeqlens<'static>>> {
    let offsets = bindings.tensor("cu_seqlens").map(HostTensor::to_f64);
    offsets.map(|offsets| CuSeqlens::new(queue, &offsets.iter().map(|&x| x as i32).collect::<Vec<_>>())).transpose()
}

/// The sequences of a call; an error if `[total, ..]` tensors are there without `cu_seqlens`.
pub(super) fn sizes(bindings: &Bindings, op: &'static str, cu_seqlens: Option<&CuSeqlens>) -> Result<SequenceSizes> {
    match cu_seqlens {
        Some(cu_seqlens) => {
            let total = Some(cu_seqlens.total());
            Ok(SequenceSizes { b: cu_seqlens.sequences(), s: cu_seqlens.longest(), total })
        }
        None => {
            let missing = || Error::Binding { op, problem: "[total, ..] tensors need cu_seqlens".to_owned() };
            Ok(SequenceSizes::uniform(bindings.size("b").unwrap_or(0), bindings.size("s").ok_or_else(missing)?))
        }
    }
}
