//! The checked problem.

use super::{OP, Options};
use crate::{DType, Error, Operand, Result, overlap};

/// The tensors, as the kernel sees them.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[b, s_q, h_q, d]`
    pub q: Operand,
    /// `[b, s_k, h_kv, d]`
    pub k: Operand,
    /// `[b, s_k, h_kv, d]`
    pub v: Operand,
    /// `[b, s_q, h_q, d]`
    pub out: Operand,
    /// `[b, h_q, s_q]`
    pub lse: Option<Operand>,
}

/// Sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Batch.
    pub b: usize,
    /// Queries of a sequence.
    pub s_q: usize,
    /// Keys of a sequence.
    pub s_k: usize,
    /// Heads of q.
    pub h_q: usize,
    /// Heads of k and v; each serves `h_q / h_kv` heads of q.
    pub h_kv: usize,
    /// Head dimension.
    pub d: usize,
}

/// A problem that the kernel can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Element type of q, k, v and out: f16 or bf16.
    pub dtype: DType,
    /// Sizes.
    pub shape: Shape,
    /// Factor of the scores, finite.
    pub scale: f32,
    /// Keys seen before the query's own place; `None`: all.
    pub window_left: Option<usize>,
    /// Keys seen after the query's own place; 0 when causal; `None`: all.
    pub window_right: Option<usize>,
}

const HEAD_DIMS: [usize; 3] = [64, 128, 256];
/// The kernel loads and stores 16 bytes a lane.
const ALIGNMENT: usize = 16;
/// Most positions, batches or heads.
const MAX_SIZE: usize = 1 << 29;

impl Problem {
    /// Checks tensors and options.
    ///
    /// # Errors
    /// Rank, element type, head dimension, sizes that disagree, heads that don't divide, a scale that is not
    /// finite, a last stride other than 1, misaligned rows, an output that overlaps itself or another tensor, sizes
    /// beyond 2^29: each its own [`Error`], naming the argument, what it has and what is expected.
    pub fn check(operands: &Operands, options: &Options) -> Result<Self> {
        let Operands { q, k, v, out, lse } = operands;
        for (name, tensor, dimensions) in [
            ("q", q, "[b, s_q, h_q, d]"),
            ("k", k, "[b, s_k, h_kv, d]"),
            ("v", v, "[b, s_k, h_kv, d]"),
            ("out", out, "[b, s_q, h_q, d]"),
        ] {
            rank(name, tensor, 4, dimensions)?;
        }
        for (name, tensor) in [("k", k), ("v", v), ("out", out)] {
            element_type(name, tensor, q.dtype, " (= q)")?;
        }
        let [b, s_q, h_q, d] = sizes(q);
        let [_, s_k, h_kv, _] = sizes(k);
        let shape = Shape {
            b,
            s_q,
            s_k,
            h_q,
            h_kv,
            d,
        };
        let problem = Self::new(q.dtype, shape, options)?;
        let names = ["b", "s_k", "h_kv", "head_dim"];
        agree("k", k, names, [(b, "q"), (s_k, "k"), (h_kv, "k"), (d, "q")])?;
        agree("v", v, names, [(b, "q"), (s_k, "k"), (h_kv, "k"), (d, "q")])?;
        agree(
            "out",
            out,
            ["b", "s_q", "h_q", "head_dim"],
            [(b, "q"), (s_q, "q"), (h_q, "q"), (d, "q")],
        )?;
        if let Some(lse) = lse {
            rank("lse", lse, 3, "[b, h_q, s_q]")?;
            element_type("lse", lse, DType::F32, "")?;
            agree(
                "lse",
                lse,
                ["b", "h_q", "s_q"],
                [(b, "q"), (h_q, "q"), (s_q, "q")],
            )?;
        }
        for (name, tensor) in [("q", q), ("k", k), ("v", v), ("out", out)] {
            rows(name, tensor)?;
        }
        if let Some(lse) = lse {
            contiguous("lse", lse)?;
            aligned(
                "lse",
                "address".to_owned(),
                lse.address,
                lse.dtype.size_bytes(),
            )?;
        }
        let inputs = [("q", q), ("k", k), ("v", v)];
        writable("out", out, &inputs)?;
        if let Some(lse) = lse {
            writable("lse", lse, &[&inputs[..], &[("out", out)]].concat())?;
        }
        Ok(problem)
    }

    /// A problem from its sizes and options alone.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(dtype: DType, shape: Shape, options: &Options) -> Result<Self> {
        let unsupported = |what, got, supported| {
            Err(Error::Unsupported {
                op: OP,
                argument: "q",
                what,
                got,
                supported,
            })
        };
        if !matches!(dtype, DType::F16 | DType::BF16) {
            return unsupported("dtype", dtype.to_string(), "f16, bf16");
        }
        if !HEAD_DIMS.contains(&shape.d) {
            return unsupported("head_dim", shape.d.to_string(), "64, 128, 256");
        }
        let Shape {
            b,
            s_q,
            s_k,
            h_q,
            h_kv,
            d,
        } = shape;
        if h_q.checked_rem(h_kv).unwrap_or(h_q) != 0 {
            return Err(Error::NotDivisible {
                op: OP,
                argument: "q",
                got: h_q,
                divisor: h_kv,
                of: "k",
            });
        }
        let scale = options.scale.unwrap_or_else(|| 1.0 / (d as f32).sqrt());
        if !scale.is_finite() {
            return Err(Error::NotFinite {
                op: OP,
                option: "scale",
                got: scale.to_string(),
            });
        }
        // Positions, their sums and differences are 32-bit integers in the kernel.
        for (what, got) in [("s_q", s_q), ("s_k", s_k), ("b", b), ("h_q", h_q)] {
            if got > MAX_SIZE {
                return Err(Error::TooLarge {
                    op: OP,
                    what,
                    got: got as u64,
                    limit: MAX_SIZE as u64,
                });
            }
        }
        let window_right = if options.causal {
            Some(0)
        } else {
            options.window_right
        };
        // A window that hides no key from any query is none.
        let window_left = options
            .window_left
            .filter(|&left| left < s_k.saturating_sub(1));
        let window_right = window_right.filter(|&right| right < s_q.saturating_sub(1));
        Ok(Self {
            dtype,
            shape,
            scale,
            window_left,
            window_right,
        })
    }

    /// Whether there is nothing to compute. A problem without keys is not empty: its rows are 0.
    pub fn is_empty(&self) -> bool {
        let Shape { b, s_q, h_q, .. } = self.shape;
        b == 0 || s_q == 0 || h_q == 0
    }

    /// Pairs of query and key that see each other, in one head: the work, in dot products.
    pub fn visible_pairs(&self) -> u64 {
        (0..self.shape.s_q)
            .map(|i| self.visible_keys(i).len() as u64)
            .sum()
    }

    /// The keys that query `i` sees.
    pub fn visible_keys(&self, i: usize) -> std::ops::Range<usize> {
        let s_k = self.shape.s_k as i64;
        let place = i as i64 + s_k - self.shape.s_q as i64;
        let first = self
            .window_left
            .map_or(0, |left| place.saturating_sub(left as i64))
            .clamp(0, s_k);
        let last = self
            .window_right
            .map_or(s_k - 1, |right| place.saturating_add(right as i64));
        first as usize..(last + 1).clamp(first, s_k) as usize
    }
}

fn rank(
    argument: &'static str,
    tensor: &Operand,
    expected: usize,
    dimensions: &'static str,
) -> Result<()> {
    let got = tensor.layout.rank();
    if got == expected {
        Ok(())
    } else {
        Err(Error::Rank {
            op: OP,
            argument,
            got,
            expected,
            dimensions,
        })
    }
}

fn element_type(
    argument: &'static str,
    tensor: &Operand,
    expected: DType,
    reason: &'static str,
) -> Result<()> {
    let got = tensor.dtype;
    if got == expected {
        Ok(())
    } else {
        Err(Error::ElementType {
            op: OP,
            argument,
            got,
            expected,
            reason,
        })
    }
}

fn sizes(tensor: &Operand) -> [usize; 4] {
    std::array::from_fn(|dim| tensor.layout.shape()[dim])
}

fn agree<const RANK: usize>(
    argument: &'static str,
    tensor: &Operand,
    dimensions: [&'static str; RANK],
    expected: [(usize, &'static str); RANK],
) -> Result<()> {
    for ((&got, dimension), (expected, of)) in
        tensor.layout.shape().iter().zip(dimensions).zip(expected)
    {
        if got != expected {
            return Err(Error::Dimension {
                op: OP,
                argument,
                dimension,
                got,
                expected,
                of,
            });
        }
    }
    Ok(())
}

/// Rows of adjacent elements that start at multiples of 16 bytes.
fn rows(argument: &'static str, tensor: &Operand) -> Result<()> {
    if tensor.layout.is_empty() {
        return Ok(());
    }
    let dims = tensor
        .layout
        .shape()
        .iter()
        .zip(tensor.layout.strides())
        .enumerate();
    for (dim, (&size, &stride)) in dims {
        if dim + 1 == tensor.layout.rank() {
            if stride != 1 {
                return Err(Error::LastStride {
                    op: OP,
                    argument,
                    got: stride,
                });
            }
        } else if size > 1 {
            let what = format!("stride[{dim}] in elements");
            aligned(
                argument,
                what,
                stride as u64,
                ALIGNMENT / tensor.dtype.size_bytes(),
            )?;
        }
    }
    aligned(argument, "address".to_owned(), tensor.address, ALIGNMENT)
}

fn contiguous(argument: &'static str, tensor: &Operand) -> Result<()> {
    if tensor.layout.is_contiguous() || tensor.layout.is_empty() {
        return Ok(());
    }
    let (shape, strides) = (
        tensor.layout.shape().to_vec(),
        tensor.layout.strides().to_vec(),
    );
    Err(Error::NotContiguous {
        op: OP,
        argument,
        shape,
        strides,
    })
}

fn aligned(argument: &'static str, what: String, got: u64, multiple: usize) -> Result<()> {
    let multiple = multiple as u64;
    if got.is_multiple_of(multiple) {
        Ok(())
    } else {
        Err(Error::Misaligned {
            op: OP,
            argument,
            what,
            got,
            multiple,
        })
    }
}

/// An output that shares no memory with anything else, nor with itself.
fn writable(
    argument: &'static str,
    tensor: &Operand,
    others: &[(&'static str, &Operand)],
) -> Result<()> {
    let Operand {
        address,
        dtype,
        layout,
    } = tensor;
    if layout.overlaps_itself() {
        let (shape, strides) = (layout.shape().to_vec(), layout.strides().to_vec());
        return Err(Error::SelfOverlap {
            op: OP,
            argument,
            shape,
            strides,
        });
    }
    let span = |of: &Operand| (of.address, of.dtype.size_bytes());
    let shared = others.iter().find(|(_, other)| {
        let (other_address, other_bytes) = span(other);
        overlap(
            (*address, layout, dtype.size_bytes()),
            (other_address, &other.layout, other_bytes),
        )
    });
    match shared {
        Some(&(other, _)) => Err(Error::Overlap {
            op: OP,
            argument,
            other,
        }),
        None => Ok(()),
    }
}
