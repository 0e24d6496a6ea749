//! Accesses to the other state spaces: local, parameters, and generic addresses, which may lie in any.

use super::access::{Checked, Direction, narrow_addresses, transfer};
use super::engine::{Engine, LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW};
use super::registers::{Plain, Simd};
use super::shape::Shape;
use super::traffic::lanes;
use super::transfer::in_window;
use super::value::Lanes;
use super::warp::Warp;
use crate::fault::FaultKind;
use crate::program::op::{Access, Op};

impl Engine<'_> {
    /// `ld.local`, `st.local`: each thread has its own window.
    pub(super) fn move_local(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32, direction: Direction) -> Checked {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let addresses = narrow_addresses(warp, op.a, access.address, access.offset);
        self.move_local_at(warp, access, at, mask, addresses, direction)
    }

    fn move_local_at(
        &mut self,
        warp: &mut Warp,
        access: &Access,
        at: u32,
        mask: u32,
        addresses: Lanes,
        direction: Direction,
    ) -> Checked {
        let (bytes, frame) = (access.bytes(), self.local_bytes);
        for lane in lanes(mask) {
            let address = addresses.0[lane];
            if address > frame || frame - address < bytes {
                return Err(self.local_fault(warp, at, lane as u32, address, bytes));
            }
            if !address.is_multiple_of(bytes) {
                return Err(self.misaligned(warp, at, lane as u32, "local access", u64::from(address), bytes));
            }
        }
        if self.watch.is_some() {
            self.observe_local(warp, at, mask, &addresses.0, bytes, direction)?;
        }
        self.site.local.transfer(warp.index, &mut warp.registers, access, &addresses.0, mask, direction);
        Ok(())
    }

    /// Generic addresses: lanes in the shared and local windows go there, the rest to device memory.
    ///
    /// # Safety
    /// The host must have the instructions of `S`.
    pub(super) unsafe fn move_generic<S: Simd>(
        &mut self,
        warp: &mut Warp,
        op: &Op,
        at: u32,
        mask: u32,
        direction: Direction,
    ) -> Checked {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let addresses = self.addresses(warp, op.a, access.address, access.offset);
        let shared = in_window(&addresses, mask, SHARED_WINDOW);
        let local = in_window(&addresses, mask, LOCAL_WINDOW);
        let param = in_window(&addresses, mask, PARAM_WINDOW);
        let global = mask & !shared & !local & !param;
        // A load may write the address register: every part works on the addresses taken above.
        if global != 0 {
            self.move_global_slowly(warp, op, at, global, &addresses, direction)?;
        }
        if shared != 0 {
            let within = Lanes(addresses.map(|address| address.wrapping_sub(SHARED_WINDOW) as u32));
            // SAFETY: the caller's promise.
            unsafe { self.move_shared_at::<S>(warp, access, at, shared, within, direction)? };
        }
        if local != 0 {
            let within = Lanes(addresses.map(|address| address.wrapping_sub(LOCAL_WINDOW) as u32));
            self.move_local_at(warp, access, at, local, within, direction)?;
        }
        if param != 0 {
            let within = Lanes(addresses.map(|address| address.wrapping_sub(PARAM_WINDOW) as u32));
            if direction == Direction::Store {
                let lane = param.trailing_zeros();
                let what = format!("store to the kernel's parameters at {:#x}", within.0[lane as usize]);
                return Err(self.fault(FaultKind::IllegalAddress, warp, at, lane, &what));
            }
            self.load_param_at(warp, access, at, param, &within)?;
        }
        Ok(())
    }

    /// `ld.param` at an address that is not constant.
    pub(super) fn load_param(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32) -> Checked {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let addresses = narrow_addresses(warp, op.a, access.address, access.offset);
        self.load_param_at(warp, access, at, mask, &addresses)
    }

    fn load_param_at(&self, warp: &mut Warp, access: &Access, at: u32, mask: u32, addresses: &Lanes) -> Checked {
        let shape = Shape::scattered(&addresses.0, access.bytes());
        let (bytes, size) = (shape.bytes, self.launch.params.len() as u32);
        // The usual case: one address in all lanes.
        let first = addresses.0[0];
        let uniform = addresses.0.iter().fold(0, |differ, address| differ | (address ^ first)) == 0;
        let loading = if uniform { mask & mask.wrapping_neg() } else { mask };
        for lane in lanes(loading) {
            let address = shape.offsets[lane];
            if address > size || size - address < bytes {
                return Err(self.parameter_fault(warp, at, lane as u32, address, bytes));
            }
            if !address.is_multiple_of(bytes) {
                return Err(self.misaligned(warp, at, lane as u32, "parameter load", u64::from(address), bytes));
            }
        }
        let host = self.launch.params.as_ptr() as usize;
        // SAFETY: the loop above has shown that the lanes that load lie inside the parameter block, which the driver
        // aligns to 16 bytes.
        unsafe { transfer::<Plain>(warp, access, host, &shape, loading, Direction::Load) };
        if uniform && mask != 0 {
            access
                .data
                .iter()
                .for_each(|&slot| spread(warp, slot, access.wide, loading.trailing_zeros() as usize, mask));
        }
        Ok(())
    }
}

/// Gives all lanes of `mask` what one has.
fn spread(warp: &mut Warp, slot: u16, wide: bool, from: usize, mask: u32) {
    fn rows<T: Copy>(row: &mut [T; 32], from: usize, mask: u32) {
        let value = row[from];
        match mask {
            u32::MAX => row.fill(value),
            _ => lanes(mask).for_each(|lane| row[lane] = value),
        }
    }
    match wide {
        true => rows(warp.registers.double_mut(slot), from, mask),
        false => rows(warp.registers.word_mut(slot), from, mask),
    }
}
