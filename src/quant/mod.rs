//! Products with quantised weights.

mod act_order;
mod definition;
mod element_type;
mod format;
pub mod gguf;
pub mod gguf_rows;
mod grouped;
mod grouped_matrix;
mod packed;
mod product;
pub mod quantize;
pub mod repack;
#[cfg(feature = "verify")]
pub mod sample;
mod shares;
#[cfg(feature = "verify")]
mod verify;
pub mod weight_only;

pub use act_order::{ActOrder, ColumnsOperand, order_of_groups};
pub use format::Format;
#[doc(inline)]
pub use gguf::gguf;
#[doc(inline)]
pub use gguf_rows::gguf_rows;
pub use grouped::{Codes, GroupedFormat, GroupedOperand, GroupedTensor, NF4};
pub use grouped_matrix::{GroupedMatrix, PackedMatrix};
pub use packed::{PackedOperand, PackedTensor};
#[doc(inline)]
pub use quantize::{dynamic_table, quantize};
#[doc(inline)]
pub use repack::repack;
pub use shares::Shares;
#[doc(inline)]
pub use weight_only::weight_only;

/// The operators of this family, as `check`, `bench` and `run` see them.
#[cfg(feature = "verify")]
pub const OPS: &[crate::verify::Op] = &[
    gguf::verify::ENTRY,
    gguf_rows::verify::ENTRY,
    weight_only::verify::ENTRY,
    repack::verify::ENTRY,
    quantize::verify::ENTRY,
];
