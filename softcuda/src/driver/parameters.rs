//! Parameters of a launch, as the caller gives them.

use super::{
    abi::In,
    error::{Code, Error},
    function::Function,
};

/// Gathers the parameters: one pointer for each, or all in one buffer through `extra`.
pub(super) fn gather(function: &Function, parameters: In<usize>, extra: In<usize>) -> Result<Vec<u8>, Error> {
    let kernel = &function.kernel;
    let mut block = vec![0; kernel.param_bytes as usize];
    match (parameters.is_null(), extra.is_null()) {
        (false, true) => {
            for (position, (offset, bytes)) in kernel.params.iter().enumerate() {
                let value = In::<u8>::from_address(parameters.get_at(position)?);
                let value = value.get_all(*bytes as usize)?;
                let start = *offset as usize;
                block[start..start + value.len()].copy_from_slice(&value);
            }
        }
        (true, false) => {
            let given = extra_buffer(extra)?;
            let last = kernel.params.iter().map(|(offset, bytes)| offset + bytes);
            if given.len() < last.max().unwrap_or(0) as usize {
                return Err(Error::new(
                    Code::INVALID_VALUE,
                    format!(
                        "kernel {}: {} bytes of parameters given, {} expected",
                        kernel.name,
                        given.len(),
                        kernel.param_bytes
                    ),
                ));
            }
            let common = given.len().min(block.len());
            block[..common].copy_from_slice(&given[..common]);
        }
        (true, true) if kernel.params.is_empty() => {}
        _ => return Err(Code::INVALID_VALUE.into()),
    }
    Ok(block)
}

/// The buffer of `extra`, a list of keys and values.
fn extra_buffer(extra: In<usize>) -> Result<Vec<u8>, Error> {
    const END: usize = 0;
    const BUFFER: usize = 1;
    const BUFFER_BYTES: usize = 2;
    let mut buffer = None;
    let mut bytes = None;
    for position in (0..).step_by(2) {
        let value = match extra.get_at(position)? {
            END => break,
            key => (key, extra.get_at(position + 1)?),
        };
        match value {
            (BUFFER, address) => buffer = Some(In::<u8>::from_address(address)),
            (BUFFER_BYTES, address) => bytes = Some(In::<usize>::from_address(address).get()?),
            _ => return Err(Code::INVALID_VALUE.into()),
        }
    }
    match (buffer, bytes) {
        (Some(buffer), Some(bytes)) => buffer.get_all(bytes),
        _ => Err(Code::INVALID_VALUE.into()),
    }
}
