//! A GGUF file in memory: what it says of the model, and where its tensors lie.

use std::collections::HashMap;

use ggus::{GGmlType, GGufMetaKV, GGufReader};

use crate::Result;

/// A file whose tables have been read; tensors stay where they are.
pub(crate) struct File<'a> {
    values: HashMap<&'a str, GGufMetaKV<'a>>,
    tensors: HashMap<&'a str, Tensor<'a>>,
}

/// A tensor of the file.
#[derive(Clone, Debug)]
pub(crate) struct Tensor<'a> {
    /// Its element type or block format.
    pub(crate) format: GGmlType,
    /// Sizes, the dimension whose elements are neighbours last.
    pub(crate) shape: Vec<usize>,
    /// Its bytes as they lie in the file.
    pub(crate) bytes: &'a [u8],
}

impl<'a> File<'a> {
    /// Reads the tables at the start of `bytes`, a whole file.
    ///
    /// # Errors
    /// It is no GGUF file of version 3, or it ends too early: the text names the tensor that does not fit.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = GGufReader::new(bytes);
        let failed = |error| format!("not a whole GGUF file: {error:?}");
        let header = reader.read_header().map_err(failed)?;
        if !header.is_magic_correct() || !header.is_native_endian() || header.version != 3 {
            return Err("not a GGUF file of version 3".into());
        }
        let mut values = HashMap::new();
        for _ in 0..header.metadata_kv_count {
            let value = reader.read_meta_kv().map_err(failed)?;
            values.insert(value.key(), value);
        }
        let mut table = Vec::new();
        for _ in 0..header.tensor_count {
            table.push(reader.read_tensor_meta().map_err(failed)?);
        }
        let alignment = values.get("general.alignment").map_or(32, GGufMetaKV::read_unsigned).max(1);
        let data = (bytes.len() - reader.remaining().len()).next_multiple_of(alignment);
        let mut tensors = HashMap::new();
        for meta in table {
            let (name, info) = (meta.name(), meta.to_info());
            let range = data.saturating_add(info.offset())..data.saturating_add(info.offset() + info.nbytes());
            let Some(tensor) = bytes.get(range.clone()) else {
                let (end, length) = (range.end, bytes.len());
                return Err(format!("{name} ends at byte {end}, but the file has {length}").into());
            };
            let shape = info.shape().iter().rev().map(|&size| size as usize).collect();
            tensors.insert(name, Tensor { format: info.ty(), shape, bytes: tensor });
        }
        Ok(Self { values, tensors })
    }

    /// A number of the file's metadata that counts something.
    pub(crate) fn size(&self, key: &str) -> Result<usize> {
        Ok(self.value(key)?.read_unsigned())
    }

    /// A number of the file's metadata.
    pub(crate) fn number(&self, key: &str) -> Result<f32> {
        self.value(key)?.value_reader().read::<f32>().map_err(|error| format!("{key}: {error:?}").into())
    }

    /// A text of the file's metadata.
    pub(crate) fn text(&self, key: &str) -> Result<&'a str> {
        self.value(key)?.value_reader().read_str().map_err(|error| format!("{key}: {error:?}").into())
    }

    /// A tensor by name.
    pub(crate) fn tensor(&self, name: &str) -> Result<&Tensor<'a>> {
        self.tensors.get(name).ok_or_else(|| format!("the file has no tensor {name}").into())
    }

    fn value(&self, key: &str) -> Result<&GGufMetaKV<'a>> {
        self.values.get(key).ok_or_else(|| format!("the file says nothing of {key}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with a size, a text, and a tensor of 2 rows of 32 weights in Q8_0.
    fn bytes() -> Vec<u8> {
        let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
        let mut bytes = [&b"GGUF"[..], &3_u32.to_le_bytes(), &1_u64.to_le_bytes(), &2_u64.to_le_bytes()].concat();
        bytes
            .extend([text("gemma3.block_count"), 4_u32.to_le_bytes().to_vec(), 18_u32.to_le_bytes().to_vec()].concat());
        bytes.extend([text("general.architecture"), 8_u32.to_le_bytes().to_vec(), text("gemma3")].concat());
        bytes.extend([text("blk.0.attn_q.weight"), 2_u32.to_le_bytes().to_vec()].concat());
        bytes.extend([32_u64.to_le_bytes(), 2_u64.to_le_bytes()].concat());
        bytes.extend([&8_u32.to_le_bytes()[..], &0_u64.to_le_bytes()].concat());
        bytes.resize(bytes.len().next_multiple_of(32) + 2 * 34, 7);
        bytes
    }

    #[test]
    fn tables_and_tensors_are_found() {
        let bytes = bytes();
        let file = File::read(&bytes).unwrap();
        assert_eq!(file.size("gemma3.block_count").unwrap(), 18);
        assert_eq!(file.text("general.architecture").unwrap(), "gemma3");
        let tensor = file.tensor("blk.0.attn_q.weight").unwrap();
        assert_eq!((tensor.format, &tensor.shape[..]), (GGmlType::Q8_0, &[2, 32][..]));
        assert_eq!(tensor.bytes, [7; 68]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let bytes = bytes();
        let file = File::read(&bytes).unwrap();
        assert_eq!(file.size("gemma3.x").unwrap_err().to_string(), "the file says nothing of gemma3.x");
        assert_eq!(file.tensor("x").unwrap_err().to_string(), "the file has no tensor x");
    }

    #[test]
    fn a_truncated_file_is_refused_with_the_tensor_that_does_not_fit() {
        let bytes = bytes();
        let error = |bytes: &[u8]| File::read(bytes).err().map(|error| error.to_string()).unwrap_or_default();
        let (all, less) = (bytes.len(), bytes.len() - 1);
        let expected = format!("blk.0.attn_q.weight ends at byte {all}, but the file has {less}");
        assert_eq!(error(&bytes[..less]), expected);
        for length in [0, 3, 23, 60, 120] {
            assert!(!error(&bytes[..length]).is_empty(), "{length} bytes are no file");
        }
        assert_eq!(error(&[&b"GGML"[..], &bytes[4..]].concat()), "not a GGUF file of version 3");
    }
}
