//! PTX text to a syntax tree.
pub mod ast;
pub mod isa;
