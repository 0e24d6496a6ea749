//! Tensors from and to safetensors files.

use std::collections::HashMap;
use std::path::Path;

use llm_kernels::DType;
use llm_kernels::verify::HostTensor;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::failure::Failure;

/// Element types that both sides have.
const TYPES: [(Dtype, DType); 9] = [
    (Dtype::F16, DType::F16),
    (Dtype::BF16, DType::BF16),
    (Dtype::F32, DType::F32),
    (Dtype::I32, DType::I32),
    (Dtype::U32, DType::U32),
    (Dtype::I64, DType::I64),
    (Dtype::U8, DType::U8),
    (Dtype::I8, DType::I8),
    (Dtype::F8_E4M3, DType::E4M3),
];

/// The tensors of a file for which `wanted` holds, and the names of the others.
pub(crate) fn read(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<(Vec<HostTensor>, Vec<String>), Failure> {
    let fail = |problem: String| Failure::Message(format!("{}: {problem}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| fail(format!("not a safetensors file: {error}")))?;
    let (mut tensors, mut others) = (Vec::new(), Vec::new());
    for (name, view) in file.tensors() {
        if !wanted(&name) {
            others.push(name);
            continue;
        }
        let dtype = TYPES.iter().find(|(theirs, _)| *theirs == view.dtype());
        let dtype =
            dtype.ok_or_else(|| fail(format!("{name} has type {:?}, which no operator takes", view.dtype())))?.1;
        tensors.push(HostTensor { name, dtype, shape: view.shape().to_vec(), bytes: view.data().to_vec() });
    }
    others.sort();
    Ok((tensors, others))
}

/// Writes tensors to a file, which appears complete or not at all.
pub(crate) fn write(path: &Path, op: &str, tensors: &[HostTensor]) -> Result<(), Failure> {
    let fail = |problem: String| Failure::Message(format!("{}: {problem}", path.display()));
    let metadata = HashMap::from([("op".to_owned(), op.to_owned())]);
    let mut views = Vec::new();
    for HostTensor { name, dtype, shape, bytes } in tensors {
        let theirs = TYPES.iter().find(|(_, ours)| ours == dtype);
        let theirs = theirs.ok_or_else(|| fail(format!("{name} has type {dtype}, which the file format lacks")))?.0;
        let view = TensorView::new(theirs, shape.clone(), bytes).map_err(|error| fail(format!("{name}: {error}")))?;
        views.push((name, view));
    }
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|error| fail(error.to_string()))?;
    let name = path.file_name().ok_or_else(|| fail("not a file name".to_owned()))?.to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|error| {
        // It may not even exist.
        let _ = std::fs::remove_file(&temporary);
        fail(error.to_string())
    })
}
