//! Local memory of the threads of a block: word after word, the 32 lanes of a warp side by side, as on a chip. What all lanes
//! of a warp do at one address is then an operation on a row.

use super::access::Direction;
use super::registers::Registers;
use super::traffic::lanes;
use crate::program::op::{Access, Extension};

/// One word of 32 threads.
type Row = [u32; 32];

/// Local memory of a block.
pub(crate) struct LocalMemory {
    rows: Vec<Row>,
    /// Rows of a warp.
    words: usize,
}

impl LocalMemory {
    /// `bytes` bytes a thread, a multiple of 4.
    pub(crate) fn new(warps: usize, bytes: u32) -> LocalMemory {
        let words = bytes as usize / 4;
        LocalMemory { rows: vec![[u32::MAX; 32]; warps * words], words }
    }

    /// Every byte 0xff: f16, bf16 and f32 NaN, and absurd as an index.
    pub(crate) fn reset(&mut self) {
        self.rows.fill([u32::MAX; 32]);
    }

    /// The local memory of a warp.
    fn warp(&mut self, index: u32) -> &mut [Row] {
        &mut self.rows[index as usize * self.words..][..self.words]
    }

    /// One byte of a thread.
    pub(super) fn byte(&self, warp: u32, lane: usize, address: u32) -> Option<u8> {
        let rows = &self.rows[warp as usize * self.words..][..self.words];
        let word = rows.get(address as usize / 4)?[lane];
        Some(word.to_le_bytes()[address as usize % 4])
    }

    /// Moves the data of an access of the lanes of `mask`, whose addresses have been checked, to or from registers.
    pub(super) fn transfer(
        &mut self,
        warp: u32,
        registers: &mut Registers,
        access: &Access,
        addresses: &Row,
        mask: u32,
        direction: Direction,
    ) {
        let rows = self.warp(warp);
        let first = addresses[mask.trailing_zeros() as usize % 32];
        let together = lanes(mask).all(|lane| addresses[lane] == first);
        for (element, &slot) in access.data.iter().enumerate() {
            let behind = access.element_bytes * element as u32;
            let at = |lane: usize| ((addresses[lane] + behind) / 4) as usize;
            let row = ((first + behind) / 4) as usize;
            match (access.element_bytes, direction) {
                (4, Direction::Load) if together => merge(registers.word_mut(slot), &rows[row], mask),
                (4, Direction::Store) if together => merge(&mut rows[row], registers.word(slot), mask),
                (4, Direction::Load) => {
                    let to = registers.word_mut(slot);
                    lanes(mask).for_each(|lane| to[lane] = rows[at(lane)][lane]);
                }
                (4, Direction::Store) => {
                    let from = registers.word(slot);
                    lanes(mask).for_each(|lane| rows[at(lane)][lane] = from[lane]);
                }
                (8, Direction::Load) => {
                    let to = registers.double_mut(slot);
                    for lane in lanes(mask) {
                        let (low, high) = (rows[at(lane)][lane], rows[at(lane) + 1][lane]);
                        to[lane] = u64::from(low) | u64::from(high) << 32;
                    }
                }
                (8, Direction::Store) => {
                    let from = registers.double(slot);
                    for lane in lanes(mask) {
                        rows[at(lane)][lane] = from[lane] as u32;
                        rows[at(lane) + 1][lane] = (from[lane] >> 32) as u32;
                    }
                }
                (bytes, Direction::Load) => {
                    let to = registers.word_mut(slot);
                    for lane in lanes(mask) {
                        let value = rows[at(lane)][lane] >> (8 * ((addresses[lane] + behind) % 4));
                        to[lane] = match (bytes, access.extension) {
                            (2, Extension::Zero) => value & 0xffff,
                            (2, Extension::Sign) => i32::from(value as i16) as u32,
                            (_, Extension::Zero) => value & 0xff,
                            (_, Extension::Sign) => i32::from(value as i8) as u32,
                        };
                    }
                }
                (bytes, Direction::Store) => {
                    let from = registers.word(slot);
                    for lane in lanes(mask) {
                        let shift = 8 * ((addresses[lane] + behind) % 4);
                        let keep = if bytes == 2 { 0xffff } else { 0xff };
                        let word = &mut rows[at(lane)][lane];
                        *word = *word & !(keep << shift) | (from[lane] & keep) << shift;
                    }
                }
            }
        }
    }
}

/// Copies the lanes of `mask`.
fn merge(to: &mut Row, from: &Row, mask: u32) {
    if mask == u32::MAX {
        *to = *from;
    } else {
        lanes(mask).for_each(|lane| to[lane] = from[lane]);
    }
}
