//! Memory orders: what the PTX memory model calls weak, relaxed, acquire and release, and how far they reach.

use super::Op;

/// Memory order of an access, an atomic or a fence; the default is weak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Relaxed, volatile or stronger: never a data race with another strong access whose scopes include both threads.
    pub strong: bool,
    /// What the thread that it reads from has released is seen from now on.
    pub acquire: bool,
    /// What the thread has done so far is seen by whoever acquires it.
    pub release: bool,
    /// Its scope is the device or the system; else threads of one block (a cluster has one block).
    pub beyond_block: bool,
}

impl Op {
    /// The order of a load, store, atomic or fence.
    pub fn order(&self) -> Order {
        let bit = |place: u32| self.imm >> place & 1 == 1;
        Order { strong: bit(0), acquire: bit(1), release: bit(2), beyond_block: bit(3) }
    }

    /// Sets [`order`](Self::order).
    pub fn set_order(&mut self, order: Order) {
        let bit = |value: bool, place: u32| i32::from(value) << place;
        self.imm = bit(order.strong, 0) | bit(order.acquire, 1) | bit(order.release, 2) | bit(order.beyond_block, 3);
    }
}
