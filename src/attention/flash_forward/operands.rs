//! The tensors of a call.

use crate::Operand;
use crate::attention::SequenceOperand;

/// The tensors, as the kernel sees them; see [`Args`](super::Args).
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[b, s_q, h_q, d]`, or `[total_q, h_q, d]`
    pub q: Operand,
    /// `[b, s_k, h_kv, d]`, or `[total_k, h_kv, d]`
    pub k: Operand,
    /// `[b, s_k, h_kv, d_v]`, or `[total_k, h_kv, d_v]`
    pub v: Operand,
    /// `[b, s_q, h_q, d_v]`, or `[total_q, h_q, d_v]`
    pub out: Operand,
    /// `[b, h_q, s_q]`, or `[h_q, total_q]`
    pub lse: Option<Operand>,
    /// `[h_q]`
    pub sinks: Option<Operand>,
    /// `[h_q]`
    pub alibi_slopes: Option<Operand>,
    /// `[b or 1, h_q or 1, s_q, s_k]`
    pub bias: Option<Operand>,
    /// `[b or 1, h_q or 1, s_q, ceil(s_k / 32)]`
    pub mask_bits: Option<Operand>,
    /// `[b]`
    pub prefix: Option<Operand>,
    /// Sequences of q, out and lse.
    pub cu_seqlens_q: Option<SequenceOperand>,
    /// Sequences of k and v.
    pub cu_seqlens_k: Option<SequenceOperand>,
}

impl Operands {
    /// All inputs that are given, by name.
    pub(crate) fn inputs(&self) -> Vec<(&'static str, &Operand)> {
        let extras = [
            ("sinks", &self.sinks),
            ("alibi_slopes", &self.alibi_slopes),
            ("bias", &self.bias),
            ("mask_bits", &self.mask_bits),
            ("prefix", &self.prefix),
        ];
        let given = extras.into_iter().filter_map(|(name, tensor)| Some((name, tensor.as_ref()?)));
        [("q", &self.q), ("k", &self.k), ("v", &self.v)].into_iter().chain(given).collect()
    }
}
