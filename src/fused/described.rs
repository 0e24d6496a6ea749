//! What descriptions of this family's operators have in common.

use crate::verify::{Bindings, Case, DeviceTensor, HostTensor, Op, TensorSpec, random};
use crate::{DType, Error, Queue, Result};

pub(crate) const FLOATS: &[DType] = &[DType::F32, DType::F16, DType::BF16];

/// A tensor that must be there.
pub(crate) const fn tensor(
    name: &'static str,
    dtypes: &'static [DType],
    shape: &'static [&'static str],
    meaning: &'static str,
) -> TensorSpec {
    TensorSpec { name, dtypes, shape, shape_of_sequences: &[], optional: false, meaning }
}

/// A tensor that may be left out.
pub(crate) const fn optional(
    name: &'static str,
    dtypes: &'static [DType],
    shape: &'static [&'static str],
    meaning: &'static str,
) -> TensorSpec {
    TensorSpec { optional: true, ..tensor(name, dtypes, shape, meaning) }
}

/// Numbers of the standard normal distribution for what must be there, and for a case's extra inputs, whose text is
/// their element type.
pub(super) fn normal_inputs(op: &Op, case: &Case) -> Result<Vec<HostTensor>> {
    let mut inputs = op.normal_inputs(case)?;
    for (&(name, dtype), seed) in case.extras.iter().zip(1000..) {
        let wrong =
            || Error::Binding { op: op.path, problem: format!("case {:?} has extra {name}={dtype}", case.name) };
        let spec = op.description.inputs.iter().find(|spec| spec.name == name).ok_or_else(wrong)?;
        let dtype: DType = dtype.parse().map_err(|_| wrong())?;
        let sizes = spec.shape.iter().map(|dimension| case.size(op.path, dimension));
        let shape = sizes.collect::<Result<Vec<_>>>()?;
        let values = random::normal(seed, shape.iter().product());
        inputs.push(HostTensor::from_f64(name, dtype, &shape, &values));
    }
    Ok(inputs)
}

/// An input on the host and on the device; `None` if it is optional and not given.
pub(crate) fn uploaded(queue: &Queue, bindings: &Bindings, name: &str) -> Result<Option<(HostTensor, DeviceTensor)>> {
    let upload = |host: &HostTensor| Ok((host.clone(), host.upload(queue)?));
    bindings.tensor(name).map(upload).transpose()
}

/// The same of one that must be there.
pub(crate) fn required(
    queue: &Queue,
    bindings: &Bindings,
    op: &'static str,
    name: &str,
) -> Result<(HostTensor, DeviceTensor)> {
    let host = bindings.required(op, name)?.clone();
    let device = host.upload(queue)?;
    Ok((host, device))
}
