//! Devices that see one another's memory.

use super::{
    abi::{CuResult, DeviceOrdinal, Handle, Out, call},
    context::{self, Context},
    device::{self, Device, device},
    error::{Code, Error},
    memory, pool, virtual_memory,
};
use crate::memory::{Access, AllocationInfo, GlobalMemory, Reach, View, Written};

/// Memory as the kernels of a context see it.
pub(super) struct KernelView<'a> {
    context: &'a Context,
    own: &'a GlobalMemory,
}

impl<'a> KernelView<'a> {
    pub(super) fn new(context: &'a Context) -> Result<KernelView<'a>, Error> {
        Ok(KernelView { context, own: context.device.memory()? })
    }

    fn ordinal(&self) -> DeviceOrdinal {
        self.context.device.ordinal
    }

    /// The device that an address belongs to if that is another one.
    fn other(&self, address: u64) -> Option<&'static Device> {
        device::owner(address).filter(|owner| owner.ordinal != self.ordinal())
    }

    /// What this context may do with an allocation of another device. Memory of pools goes by the pool's settings, all
    /// other by those between contexts.
    fn access(&self, owner: &Device, base: u64) -> Option<Access> {
        match memory::owner(base).and_then(|allocation| allocation.pool) {
            Some(pool) => pool::access(pool, self.ordinal()),
            None => self.context.has_peer(owner.ordinal).then_some(Access::ReadWrite),
        }
    }
}

impl View for KernelView<'_> {
    fn reach(&self, address: u64) -> Option<Reach> {
        if virtual_memory::owns(address) {
            let (base, end, host, access) = virtual_memory::extent(address, self.ordinal())?;
            let read_only = access == Access::Read;
            return Some(Reach { base, bytes: end - base, host, read_only, written: Written::default() });
        }
        let Some(owner) = self.other(address) else {
            return self.own.reach(address);
        };
        let reach = owner.memory().ok()?.reach(address)?;
        let access = self.access(owner, reach.base)?;
        Some(Reach { read_only: reach.read_only || access == Access::Read, ..reach })
    }

    fn nearest(&self, address: u64) -> Option<AllocationInfo> {
        match self.other(address).and_then(|owner| owner.memory().ok()) {
            Some(memory) => memory.nearest(address),
            None => self.own.nearest(address),
        }
    }

    fn heap_allocate(&self, bytes: u64, limit: u64) -> Option<u64> {
        self.own.heap_allocate(bytes, limit)
    }

    fn heap_free(&self, address: u64) -> bool {
        self.own.heap_free(address)
    }

    fn refusal(&self, address: u64) -> Option<String> {
        if virtual_memory::owns(address) && virtual_memory::extent(address, self.ordinal()).is_none() {
            return Some(virtual_memory::refusal(address, self.ordinal()));
        }
        let owner = self.other(address)?;
        let found = owner.memory().ok()?.find(address)?;
        if self.access(owner, found.base).is_some() {
            return None;
        }
        let how = match memory::owner(found.base).and_then(|allocation| allocation.pool) {
            Some(_) => "its pool does not give access to it (cuMemPoolSetAccess)",
            None => "peer access is not enabled (cuCtxEnablePeerAccess)",
        };
        Some(format!("memory of device {}; this kernel runs on device {}, and {how}", owner.ordinal, self.ordinal()))
    }
}

pub extern "C" fn cuDeviceCanAccessPeer(can: Out<i32>, ordinal: DeviceOrdinal, peer: DeviceOrdinal) -> CuResult {
    call(|| can.set(i32::from(device(ordinal)?.ordinal != device(peer)?.ordinal)))
}

/// All devices reach one another alike, atomics included.
pub extern "C" fn cuDeviceGetP2PAttribute(
    value: Out<i32>,
    attribute: i32,
    from: DeviceOrdinal,
    to: DeviceOrdinal,
) -> CuResult {
    call(|| {
        if device(from)?.ordinal == device(to)?.ordinal {
            return Err(Code::INVALID_DEVICE.into());
        }
        value.set(match attribute {
            1 => 0,     // PERFORMANCE_RANK: the best
            2 | 3 => 1, // ACCESS_SUPPORTED, NATIVE_ATOMIC_SUPPORTED
            4 | 5 => 0, // ACCESS_ACCESS_SUPPORTED (arrays), ONLY_PARTIAL_NATIVE_ATOMIC_SUPPORTED
            _ => return Err(Code::INVALID_VALUE.into()),
        })
    })
}

/// Kernels of the current context see the memory of the peer's device from now on.
pub extern "C" fn cuCtxEnablePeerAccess(peer: Handle, flags: u32) -> CuResult {
    call(|| {
        let context = context::current()?;
        if flags != 0 {
            return Err(Code::INVALID_VALUE.into());
        }
        let peer = context::find(peer)?;
        if peer.handle == context.handle {
            return Err(Code::INVALID_CONTEXT.into());
        }
        if peer.device.ordinal == context.device.ordinal {
            return Err(Error::new(
                Code::PEER_ACCESS_UNSUPPORTED,
                "contexts of one device see each other's memory without being peers",
            ));
        }
        if context.add_peer(peer.device.ordinal) { Ok(()) } else { Err(Code::PEER_ACCESS_ALREADY_ENABLED.into()) }
    })
}

pub extern "C" fn cuCtxDisablePeerAccess(peer: Handle) -> CuResult {
    call(|| {
        let context = context::current()?;
        let peer = context::find(peer)?;
        if context.remove_peer(peer.device.ordinal) { Ok(()) } else { Err(Code::PEER_ACCESS_NOT_ENABLED.into()) }
    })
}
