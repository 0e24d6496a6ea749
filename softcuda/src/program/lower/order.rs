//! Memory orders of instructions.

use super::{Builder, has};
use crate::program::op::Order;
use crate::ptx::ast::Instruction;
use crate::ptx::isa::{Modifier, Opcode};

impl Builder<'_> {
    /// Gives the op emitted last the order of its instruction.
    pub(super) fn order_last(&mut self, instruction: &Instruction) {
        if let Some(op) = self.ops.last_mut() {
            op.set_order(order(instruction));
        }
    }
}

/// The order that an instruction's modifiers say.
pub(super) fn order(instruction: &Instruction) -> Order {
    use Modifier::*;
    let any = |modifiers: &[Modifier]| modifiers.iter().any(|&modifier| has(instruction, modifier));
    let beyond_block = !any(&[Cta, Cluster]);
    match instruction.row.opcode {
        Opcode::Fence if instruction.row.mnemonic.contains("proxy") => Order::default(),
        // `fence.sc` and `membar` are more than that: one order of all of them.
        Opcode::Fence | Opcode::Membar => Order { strong: true, acquire: true, release: true, beyond_block },
        // Without a word an atomic is relaxed, for the device.
        Opcode::Atom | Opcode::Red => {
            Order { strong: true, acquire: any(&[Acquire, AcqRel]), release: any(&[Release, AcqRel]), beyond_block }
        }
        _ if any(&[Volatile, Relaxed, Acquire, Release]) => {
            Order { strong: true, acquire: any(&[Acquire]), release: any(&[Release]), beyond_block }
        }
        _ => Order::default(),
    }
}
