//! Tensor cores: `mma`, `mma.sp` and `wmma.mma` on a warp's registers.

use super::access::Checked;
use super::engine::Engine;
use super::mma::{Arithmetic, DoubleOperands, Element, Memo, Multiplier, Operands, Variant, sparse};
use super::value::Lanes;
use super::warp::Warp;
use super::{Machine, registers::Registers};
use crate::config::TensorMode;
use crate::fault::FaultKind;
use crate::program::Kernel;
use crate::program::op::{Op, Tile};

/// The tensor-core functions of a launch.
pub(crate) struct Tensor {
    /// By index of a form; `None`: not on this chip.
    multipliers: Vec<Option<Multiplier>>,
    memo: Option<Memo>,
    /// Results of an instruction's tiles.
    results: [[Lanes; 8]; 2],
}

impl Tensor {
    pub(crate) fn new(machine: &Machine<'_>, kernel: &Kernel) -> Tensor {
        let arithmetic = match machine.config.tensor {
            TensorMode::Exact => Arithmetic::Exact(machine.architecture.into()),
            TensorMode::Fast => Arithmetic::Fast,
        };
        let forms = &kernel.tables.forms;
        Tensor {
            multipliers: forms.iter().map(|form| Multiplier::new(*form, machine.config.level(), arithmetic)).collect(),
            memo: (!forms.is_empty()).then(Memo::new),
            results: [[Lanes::ZERO; 8]; 2],
        }
    }
}

impl Engine<'_> {
    /// One instruction. Inlined, so that registers are copied with the host's vector instructions.
    #[inline(always)]
    pub(super) fn multiply(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32) -> Checked {
        let kernel = self.kernel;
        let mma = &kernel.tables.multiplies[op.aux as usize];
        if mask != u32::MAX {
            let what = format!("mma by the lanes {mask:#010x} only: all 32 must take part");
            return Err(self.fault(FaultKind::LaunchFailed, warp, at, mask.trailing_zeros(), &what));
        }
        self.counters.tensor_multiply_adds += u64::from(mma.multiply_adds);
        let Tensor { multipliers, memo, results } = &mut self.tensor;
        let (Some(multiplier), Some(memo)) = (&multipliers[mma.form as usize], memo) else {
            let what = format!("{:?} is no matrix instruction of this chip", kernel.tables.forms[mma.form as usize]);
            return Err(self.fault(FaultKind::IllegalInstruction, warp, at, 0, &what));
        };
        let form = multiplier.form();
        if form.a == Element::F64 {
            multiply_doubles(multiplier, &mut warp.registers, &mma.tiles[0]);
            return Ok(());
        }
        let metadata = warp.registers.lanes(mma.metadata);
        if let Variant::Sparse(kind) = form.variant
            && let Some((lane, bits)) = sparse::invalid(form, kind, metadata)
        {
            let what = format!("mma.sp: metadata {bits:#06b} of the quad's rows selects no two elements of a chunk");
            return Err(self.fault(FaultKind::IllegalInstruction, warp, at, lane as u32, &what));
        }
        let counts = multiplier.registers();
        let owner = warp.index << 20;
        for (tile, d) in mma.tiles.iter().zip(results.iter_mut()) {
            let registers = &warp.registers;
            // Loops: what the library's `map` would call is not compiled for the host's instructions.
            let (mut a, mut b, mut c) = ([metadata; 8], [metadata; 4], [metadata; 8]);
            for (to, &slot) in a[..counts.a].iter_mut().zip(&tile.a) {
                *to = registers.lanes(slot);
            }
            for (to, &slot) in b[..counts.b].iter_mut().zip(&tile.b) {
                *to = registers.lanes(slot);
            }
            for (to, &slot) in c[..counts.c].iter_mut().zip(&tile.c) {
                *to = registers.lanes(slot);
            }
            let operands = Operands {
                a: &a[..counts.a],
                b: &b[..counts.b],
                c: &c[..counts.c],
                metadata: form.is_sparse().then_some(metadata),
                places: [owner + u32::from(tile.a[0]), owner + u32::from(tile.b[0])],
            };
            multiplier.multiply(memo, &operands, d);
        }
        // Results last: their registers may be those of the operands.
        for (tile, d) in mma.tiles.iter().zip(results) {
            for (&slot, lanes) in tile.d[..counts.d].iter().zip(d) {
                *warp.registers.word_mut(slot) = lanes.0;
            }
        }
        Ok(())
    }
}

#[cold]
fn multiply_doubles(multiplier: &Multiplier, registers: &mut Registers, tile: &Tile) {
    let counts = multiplier.registers();
    let mut d = [[0; 32]; 4];
    let a = tile.a.map(|slot| registers.double(slot));
    let b = tile.b.map(|slot| registers.double(slot));
    let c = [0, 1, 2, 3].map(|i| registers.double(tile.c[i]));
    multiplier.multiply_double(&DoubleOperands { a: &a[..counts.a], b: &b[..counts.b], c }, &mut d);
    for (&slot, row) in tile.d.iter().zip(&d) {
        *registers.double_mut(slot) = *row;
    }
}
