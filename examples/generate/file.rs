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
