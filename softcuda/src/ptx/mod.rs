//! PTX text to a syntax tree, and back.

pub mod ast;
pub mod isa;
mod lexer;
pub mod link;
mod parser;
mod print;
mod special;
pub mod types;

use ast::{Module, Position};
pub use print::print;

/// Why a text is not a PTX module that this machine can run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ptx:{}:{}: {message}", position.line, position.column)]
pub struct ParseError {
    /// Where.
    pub position: Position,
    /// What is wrong, with the kernel and the instruction where it is inside one.
    pub message: String,
}

/// Parses a module. NUL bytes at the end of the text are ignored.
///
/// # Errors
/// The first place that is not PTX, or is not in the instruction table.
pub fn parse(text: &str) -> Result<Module, ParseError> {
    parser::parse(text.trim_end_matches('\0'))
}
