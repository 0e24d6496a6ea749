//! What is noted of each instruction beside its records: for counts by line, and for the time model.

use super::Builder;
use crate::program::Site;
use crate::ptx::ast::Instruction;

impl Builder<'_> {
    /// Notes an instruction whose records start at `first`; `folded`: machine code has none for it.
    pub(super) fn site(&mut self, instruction: &Instruction, first: u32, folded: bool) {
        let mnemonic = self.mnemonic(instruction);
        let (ops, in_kernel) = (first..self.ops.len() as u32, self.number == 0);
        let site = Site::new(instruction, ops, mnemonic, self.first_register, in_kernel);
        self.sites.push(if folded { Site { work: [0; 9], ..site } } else { site });
    }

    /// The index of an instruction's mnemonic and pipe.
    pub(super) fn mnemonic(&mut self, instruction: &Instruction) -> u16 {
        let entry = (instruction.row.mnemonic, instruction.row.pipe);
        let known = self.mnemonics.iter().position(|known| *known == entry);
        known.unwrap_or_else(|| {
            self.mnemonics.push(entry);
            self.mnemonics.len() - 1
        }) as u16
    }
}
