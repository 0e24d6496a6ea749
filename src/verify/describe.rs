//! Descriptions: what an operator takes and gives, as data.

use crate::DType;

/// Tensors and options of an operator.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Input tensors.
    pub inputs: &'static [TensorSpec],
    /// Options.
    pub options: &'static [OptionSpec],
    /// Output tensors.
    pub outputs: &'static [TensorSpec],
}

/// A tensor.
#[derive(Clone, Copy, Debug)]
pub struct TensorSpec {
    /// Its name.
    pub name: &'static str,
    /// Element types that it may have.
    pub dtypes: &'static [DType],
    /// Its dimensions by name: `["b", "s_q", "h_q", "d"]`. A name stands for one size in the whole operator; `b or 1`
    /// may also be 1.
    pub shape: &'static [&'static str],
    /// Its dimensions where sequences of various lengths lie one after the other; empty if that makes no difference.
    pub shape_of_sequences: &'static [&'static str],
    /// Whether it may be left out.
    pub optional: bool,
    /// What it is.
    pub meaning: &'static str,
}

/// An option.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Its name.
    pub name: &'static str,
    /// The type of its value.
    pub kind: OptionType,
    /// Its value when it is not set, in words: `false`, `1/sqrt(d)`, `no limit`.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

/// The type of an option's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionType {
    /// `true` or `false`.
    Bool,
    /// A whole number from 0 on.
    Count,
    /// A finite number.
    Float,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl OptionType {
    /// The type's name, as `--describe` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Count => "int",
            Self::Float => "float",
            Self::Choice(_) => "choice",
        }
    }
}
