//! What the operators' descriptions share.

use super::Format;
use crate::verify::{Bindings, Case, HostTensor, OptionSpec, OptionType, TensorSpec};
use crate::{DType, Error, Result};

pub(super) const FLOATS: &[DType] = &[DType::F16, DType::BF16, DType::F32];

/// The names of [`Format::ALL`].
const FORMATS: [&str; 12] = {
    let mut names = [""; 12];
    let mut i = 0;
    while i < names.len() {
        names[i] = Format::ALL[i].name();
        i += 1;
    }
    names
};

/// The packed matrix.
pub(super) const PACKED: TensorSpec = TensorSpec {
    name: "w",
    dtypes: &[DType::U8],
    shape: &["n", "row_bytes"],
    shape_of_sequences: &[],
    optional: false,
    meaning: "packed rows, as in a GGUF file",
};

/// Its format.
pub(super) const FORMAT: OptionSpec = OptionSpec {
    name: "format",
    kind: OptionType::Choice(&FORMATS),
    default: "must be set",
    meaning: "block format of w",
};

/// Its width.
pub(super) const K: OptionSpec =
    OptionSpec { name: "k", kind: OptionType::Count, default: "from row_bytes", meaning: "weights of a row of w" };

/// The format that is set.
pub(super) fn format(op: &'static str, bindings: &Bindings) -> Result<Format> {
    let missing = || Error::Binding { op, problem: "option format is missing".to_owned() };
    bindings.choice("format").and_then(|name| name.parse().ok()).ok_or_else(missing)
}

/// The format of a case.
pub(super) fn format_of_case(op: &'static str, case: &Case) -> Result<Format> {
    let text = case.options.iter().find(|(name, _)| *name == "format");
    let missing = || Error::Binding { op, problem: format!("case {:?} has no format", case.name) };
    text.and_then(|(_, name)| name.parse().ok()).ok_or_else(missing)
}

/// Format and sizes `n`, `k` of the packed matrix.
pub(super) fn packed_sizes(op: &'static str, bindings: &Bindings) -> Result<(Format, usize, usize)> {
    let format = format(op, bindings)?;
    let shape = &bindings.required(op, "w")?.shape;
    let of_bytes = shape[1] / format.block_bytes() * format.block_weights();
    let k = bindings.count("k").map_or(of_bytes, |k| k as usize);
    let expected = format.row_bytes(k);
    if shape[0] > 0 && expected != Some(shape[1]) {
        let needed = expected.map_or("no whole number of".to_owned(), |bytes| bytes.to_string());
        let problem = format!("w has row_bytes {}, k = {k} in {format} needs {needed} bytes", shape[1]);
        return Err(Error::Binding { op, problem });
    }
    Ok((format, shape[0], k))
}

/// The same bytes in one dimension.
pub(super) fn flat(tensor: &HostTensor) -> HostTensor {
    HostTensor { shape: vec![tensor.bytes.len()], ..tensor.clone() }
}

/// Elements of an i32 tensor.
pub(super) fn integers(tensor: &HostTensor) -> Vec<i32> {
    tensor.bytes.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes)).collect()
}
