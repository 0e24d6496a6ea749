//! Writes the table of embedded kernels as Rust source; the types are in `src/embedded.rs`.

use crate::recipe::Object;
use std::fmt::Write;
use std::path::PathBuf;

/// One row of the table.
pub(crate) struct Entry<'a> {
    /// What was compiled.
    pub(crate) object: &'a Object,
    /// Where its fatbin lies for `include_bytes!`.
    pub(crate) image: PathBuf,
}

/// The source of `KERNELS`. Each image starts at a multiple of 16 bytes: a fatbin holds 64-bit words, and the driver
/// gets a pointer to it.
pub(crate) fn render(entries: &[Entry<'_>]) -> String {
    let mut text = String::from("/// Every compiled kernel.\npub static KERNELS: &[EmbeddedKernel] = &[\n");
    for Entry { object, image } in entries {
        let _ = write!(
            text,
            "    EmbeddedKernel {{\n        op: {:?},\n        variant: {:?},\n        image: {{\n            \
             #[repr(C, align(16))]\n            struct Aligned<const N: usize>([u8; N]);\n            \
             static IMAGE: Aligned<{}> = Aligned(*include_bytes!({:?}));\n            &IMAGE.0\n        }},\n        \
             instances: &[\n",
            object.source.op,
            object.source.variant,
            object.image.len(),
            image.display().to_string(),
        );
        for (name, list) in &object.instances {
            let _ = writeln!(text, "            EmbeddedInstance {{ name: {name:?}, architectures: &[");
            for resources in list {
                let _ = writeln!(text, "                Instance{resources:?},");
            }
            text += "            ] },\n";
        }
        text += "        ],\n    },\n";
    }
    text + "];\n"
}
