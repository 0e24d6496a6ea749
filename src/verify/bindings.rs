//! Named tensors and option strings, checked against a description.

use std::collections::BTreeMap;

use super::{Description, HostTensor, Op, OptionSpec, OptionType, TensorSpec};
use crate::{Error, Result};

/// The value of an option.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Of a [`OptionType::Bool`].
    Bool(bool),
    /// Of a [`OptionType::Count`].
    Count(u64),
    /// Of a [`OptionType::Float`].
    Float(f64),
    /// Of a [`OptionType::Choice`].
    Choice(&'static str),
}

/// Input of an operator that fits its description.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    tensors: BTreeMap<&'static str, HostTensor>,
    sizes: BTreeMap<&'static str, usize>,
    options: BTreeMap<&'static str, Value>,
}

impl Bindings {
    /// Checks tensors and options (name and text) against an operator's description. Tensors with an output's name
    /// are passed over.
    ///
    /// # Errors
    /// [`Error::Binding`]: a name that is not in the description or comes twice, a missing tensor, a wrong element
    /// type, rank or number of bytes, a dimension with two sizes, an option that can't be read.
    pub fn new(op: &Op, tensors: Vec<HostTensor>, options: &[(&str, &str)]) -> Result<Self> {
        Self::bind(&op.description, tensors, options).map_err(|problem| Error::Binding { op: op.path, problem })
    }

    fn bind(
        description: &Description,
        tensors: Vec<HostTensor>,
        options: &[(&str, &str)],
    ) -> std::result::Result<Self, String> {
        let mut bindings = Self { options: parse_options(description, options)?, ..Self::default() };
        // The dimension that fixed a size, for the message when another disagrees.
        let mut fixed_by = BTreeMap::new();
        // A file may hold expected outputs beside the inputs.
        let is_output = |name: &str| description.outputs.iter().any(|spec| spec.name == name);
        for tensor in tensors.into_iter().filter(|tensor| !is_output(&tensor.name)) {
            let spec = description.inputs.iter().find(|spec| spec.name == tensor.name);
            let spec = spec.ok_or_else(|| unknown("input", &tensor.name, names(description.inputs)))?;
            let shape = check_tensor(spec, &tensor)?;
            for (&dimension, &size) in shape.iter().zip(&tensor.shape) {
                let dimension = match dimension.strip_suffix(" or 1") {
                    Some(_) if size == 1 => continue,
                    Some(dimension) => dimension,
                    None => dimension,
                };
                let (first, expected) = *fixed_by.entry(dimension).or_insert((spec.name, size));
                if size != expected {
                    let name = spec.name;
                    return Err(format!("{name} has {dimension} {size}, expected {expected} (= {first})"));
                }
                bindings.sizes.insert(dimension, size);
            }
            if bindings.tensors.insert(spec.name, tensor).is_some() {
                return Err(format!("input {} is given twice", spec.name));
            }
        }
        let given = |spec: &&TensorSpec| !spec.optional && !bindings.tensors.contains_key(spec.name);
        match description.inputs.iter().find(given) {
            Some(missing) => Err(format!("input {} {:?} is missing", missing.name, missing.shape)),
            None => Ok(bindings),
        }
    }

    /// An input; `None` if it is optional and not given.
    pub fn tensor(&self, name: &str) -> Option<&HostTensor> {
        self.tensors.get(name)
    }

    /// A required input; an error that names it if it is not there.
    pub fn required(&self, op: &'static str, name: &str) -> Result<&HostTensor> {
        let missing = || Error::Binding { op, problem: format!("input {name} is missing") };
        self.tensor(name).ok_or_else(missing)
    }

    /// The size of a dimension; `None` if no given input has it.
    pub fn size(&self, dimension: &str) -> Option<usize> {
        self.sizes.get(dimension).copied()
    }

    /// An option of type bool; `false` if it is not set.
    pub fn bool(&self, name: &str) -> bool {
        matches!(self.options.get(name), Some(Value::Bool(true)))
    }

    /// An option of type int, if it is set.
    pub fn count(&self, name: &str) -> Option<u64> {
        match self.options.get(name) {
            Some(&Value::Count(value)) => Some(value),
            _ => None,
        }
    }

    /// An option of type float, if it is set.
    pub fn float(&self, name: &str) -> Option<f64> {
        match self.options.get(name) {
            Some(&Value::Float(value)) => Some(value),
            _ => None,
        }
    }

    /// An option of type choice, if it is set.
    pub fn choice(&self, name: &str) -> Option<&'static str> {
        match self.options.get(name) {
            Some(&Value::Choice(value)) => Some(value),
            _ => None,
        }
    }
}

/// The names of the tensor's dimensions.
fn check_tensor(spec: &TensorSpec, tensor: &HostTensor) -> std::result::Result<&'static [&'static str], String> {
    let HostTensor { name, dtype, shape, bytes } = tensor;
    if !spec.dtypes.contains(dtype) {
        let supported: Vec<_> = spec.dtypes.iter().map(|dtype| dtype.name()).collect();
        return Err(format!("{name} is {dtype}, supported: {}", supported.join(", ")));
    }
    let shapes = [spec.shape, spec.shape_of_sequences];
    let shapes = shapes.iter().take(if spec.shape_of_sequences.is_empty() { 1 } else { 2 });
    let Some(&dimensions) = shapes.clone().find(|dimensions| dimensions.len() == shape.len()) else {
        let expected: Vec<_> = shapes.map(|names| format!("{} [{}]", names.len(), names.join(", "))).collect();
        return Err(format!("{name} has rank {}, expected {}", shape.len(), expected.join(" or ")));
    };
    let expected = shape.iter().try_fold(dtype.size_bytes(), |bytes, &size| bytes.checked_mul(size));
    if expected != Some(bytes.len()) {
        return Err(format!("{name} of shape {shape:?} and type {dtype} has {} bytes", bytes.len()));
    }
    Ok(dimensions)
}

fn parse_options(
    description: &Description,
    options: &[(&str, &str)],
) -> std::result::Result<BTreeMap<&'static str, Value>, String> {
    let mut values = BTreeMap::new();
    for &(name, text) in options {
        let spec = description.options.iter().find(|spec| spec.name == name);
        let known = || description.options.iter().map(|spec| spec.name).collect();
        let spec = spec.ok_or_else(|| unknown("option", name, known()))?;
        if values.insert(spec.name, parse(spec, text)?).is_some() {
            return Err(format!("option {name} is set twice"));
        }
    }
    Ok(values)
}

fn parse(spec: &OptionSpec, text: &str) -> std::result::Result<Value, String> {
    let value = match spec.kind {
        OptionType::Bool => text.parse().ok().map(Value::Bool),
        OptionType::Count => text.parse().ok().map(Value::Count),
        OptionType::Float => text.parse().ok().filter(|value: &f64| value.is_finite()).map(Value::Float),
        OptionType::Choice(words) => words.iter().find(|word| **word == text).map(|word| Value::Choice(word)),
    };
    let expected = match spec.kind {
        OptionType::Bool => "true or false".to_owned(),
        OptionType::Count => "a whole number from 0 on".to_owned(),
        OptionType::Float => "a finite number".to_owned(),
        OptionType::Choice(words) => words.join(" or "),
    };
    value.ok_or_else(|| format!("option {} is {text:?}, expected {expected}", spec.name))
}

fn names(specs: &'static [TensorSpec]) -> Vec<&'static str> {
    specs.iter().map(|spec| spec.name).collect()
}

fn unknown(what: &str, name: &str, known: Vec<&'static str>) -> String {
    format!("{what} {name:?} is unknown; there are: {}", known.join(", "))
}
