//! `ldmatrix` and `movmatrix`: accesses that move data by their own rules.

use super::access::Checked;
use super::engine::{Engine, SHARED_WINDOW};
use super::observe::{Does, Memory};
use super::registers::Simd;
use super::traffic;
use super::warp::Warp;
use crate::fault::FaultKind;
use crate::program::op::Op;

impl Engine<'_> {
    /// `ldmatrix`: matrix p takes its eight row addresses from lanes 8p to 8p + 7.
    ///
    /// # Safety
    /// The host must have the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn load_matrix<S: Simd>(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32) -> Checked {
        let kernel = self.kernel;
        let load = &kernel.tables.matrix_loads[op.aux as usize];
        if mask != u32::MAX {
            let what = format!("ldmatrix by the lanes {mask:#010x} only: all 32 must take part");
            return Err(self.fault(FaultKind::LaunchFailed, warp, at, mask.trailing_zeros(), &what));
        }
        let window = if load.generic { SHARED_WINDOW as i64 } else { 0 };
        let addresses = self.shared_addresses(warp, op.a, load.address, load.offset - window);
        let used = u32::MAX >> (32 - 8 * load.data.len());
        // SAFETY: the caller's promise.
        let rows = unsafe { self.shared_shape::<S>(warp, at, &addresses, used, 16, "ldmatrix")?.offsets };
        if self.watch.is_some() {
            self.observe(warp, at, used, &rows.map(u64::from), 16, Memory::Shared, Does::Read)?;
        }
        let shared = self.site.shared.pointer();
        let phases = rows[..8 * load.data.len()].chunks_exact(8);
        let wavefronts = phases.map(traffic::matrix_wavefronts).sum();
        self.count_shared(warp.index, at, (wavefronts, load.data.len() as u64));
        for (p, &slot) in load.data.iter().enumerate() {
            let rows = &rows[8 * p..8 * p + 8];
            let mut matrix = [[0u32; 4]; 8];
            for (row, &address) in matrix.iter_mut().zip(rows) {
                // SAFETY: check_shared has shown that 16 bytes lie inside the block's shared memory, aligned to 16.
                *row = unsafe { shared.add(address as usize).cast::<[u32; 4]>().read() };
            }
            let result = warp.registers.word_mut(slot);
            if load.transposed {
                transpose(&matrix, result);
            } else {
                // Lane t holds elements 2(t % 4) and the next of row t / 4: the rows one after the other.
                for (part, row) in result.chunks_exact_mut(4).zip(&matrix) {
                    part.copy_from_slice(row);
                }
            }
        }
        Ok(())
    }
}

impl Engine<'_> {
    /// `movmatrix`: the 8x8 matrix in a register of the warp, transposed.
    #[cold]
    pub(super) fn move_matrix(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32) -> Checked {
        if mask != u32::MAX {
            let what = format!("movmatrix by the lanes {mask:#010x} only: all 32 must take part");
            return Err(self.fault(FaultKind::LaunchFailed, warp, at, mask.trailing_zeros(), &what));
        }
        let mut matrix = [[0u32; 4]; 8];
        for (row, words) in matrix.iter_mut().zip(warp.registers.word(op.a).chunks_exact(4)) {
            row.copy_from_slice(words);
        }
        transpose(&matrix, warp.registers.word_mut(op.d));
        Ok(())
    }
}

/// Lane t gets elements (2(t % 4), t / 4) and (2(t % 4) + 1, t / 4) of the matrix.
#[inline(always)]
fn transpose(matrix: &[[u32; 4]; 8], result: &mut [u32; 32]) {
    let element = |row: usize, column: usize| matrix[row][column / 2] >> (16 * (column % 2)) & 0xffff;
    for (t, value) in result.iter_mut().enumerate() {
        let (row, column) = (2 * (t % 4), t / 4);
        *value = element(row, column) | element(row + 1, column) << 16;
    }
}
