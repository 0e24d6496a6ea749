//! What single blocks did, step by step: which basic blocks their warps went through and what each access cost. The time
//! model replays it.

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The warp entered a basic block.
    Enter,
    /// A request on device memory.
    Global,
    /// A request on shared memory.
    Shared,
}

/// A step of a warp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The basic block that it entered, or the record that accessed memory.
    pub at: u32,
    /// Sectors or wavefronts.
    pub cost: u16,
    /// What happened.
    pub what: What,
}

/// Events that are kept of a block: 64 MiB. What comes later is left out, and the model scales.
const MOST_EVENTS: usize = 1 << 23;

/// The steps of a block's warps.
#[derive(Clone, Debug)]
pub struct BlockTrace {
    /// The block's number.
    pub block: u64,
    /// Events of each warp in order.
    pub warps: Vec<Vec<Event>>,
    /// Events that there is room for.
    room: usize,
    /// Events that found none.
    pub left_out: u64,
    /// The block that each warp is in, and whether it waits there for others: only the first time round is kept.
    inside: Vec<(u32, bool)>,
}

impl BlockTrace {
    /// Nothing yet.
    pub(crate) fn new(block: u64, warps: usize) -> BlockTrace {
        let inside = vec![(u32::MAX, false); warps];
        BlockTrace { block, warps: vec![Vec::new(); warps], room: MOST_EVENTS, left_out: 0, inside }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn enter(&mut self, warp: u32, block: u32, waits: bool) {
        let inside = &mut self.inside[warp as usize];
        *inside = (block, waits && inside.0 == block);
        self.push(warp, Event { at: block, cost: 0, what: What::Enter });
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn global(&mut self, warp: u32, at: u32, sectors: u64) {
        self.push(warp, Event { at, cost: sectors.min(u64::from(u16::MAX)) as u16, what: What::Global });
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn shared(&mut self, warp: u32, at: u32, wavefronts: u64) {
        self.push(warp, Event { at, cost: wavefronts.min(u64::from(u16::MAX)) as u16, what: What::Shared });
    }

    fn push(&mut self, warp: u32, event: Event) {
        if self.inside[warp as usize].1 {
            return;
        }
        if self.room == 0 {
            self.left_out += 1;
            return;
        }
        self.room -= 1;
        self.warps[warp as usize].push(event);
    }
}
