//! Operators by name.

use llm_kernels::verify::{self, Op};

use crate::failure::Failure;

/// The operators of a family, one operator, or all.
pub(crate) fn many(name: Option<&str>) -> Result<Vec<&'static Op>, Failure> {
    let selected = verify::select(name);
    if selected.is_empty() { Err(unknown(name.unwrap_or_default())) } else { Ok(selected) }
}

/// The operator of that path.
pub(crate) fn one(path: &str) -> Result<&'static Op, Failure> {
    verify::ops().find(|op| op.path == path).ok_or_else(|| unknown(path))
}

fn unknown(name: &str) -> Failure {
    let known: Vec<_> = verify::ops().map(|op| op.path).collect();
    Failure::Message(format!("no operator or family is called `{name}`; there are: {}", known.join(", ")))
}
