//! Tells the race checker what orders the accesses of threads.

use super::engine::Engine;
use super::traffic::lanes;
use super::warp::Warp;
use crate::check::variables::Effect;
use crate::program::op::Op;

impl Engine<'_> {
    fn watches_races(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.races)
    }

    /// All lanes of a warp have taken part in one operation.
    #[inline(always)]
    pub(super) fn met_in_warp(&mut self, warp: &Warp) {
        if self.watch.is_some() {
            self.met_with_members(warp, &[u32::MAX; 32], warp.mask);
        }
    }

    /// Lanes of a warp have taken part in operations with those that their member masks name.
    #[inline(never)]
    pub(super) fn met_with_members(&mut self, warp: &Warp, members: &[u32; 32], present: u32) {
        let Some(watch) = self.watch.as_mut().filter(|watch| watch.races) else { return };
        let now = watch.tick();
        self.site.watch.clocks.meet_in_warp(warp.index as usize, members, present, warp.alive(), now);
    }

    /// All threads of the block have met.
    pub(super) fn met_in_block(&mut self) {
        let Some(watch) = self.watch.as_mut().filter(|watch| watch.races) else { return };
        let now = watch.tick();
        self.site.watch.clocks.meet(now);
    }

    /// Lanes of a warp come to a barrier.
    pub(super) fn came_to_barrier(&mut self, id: u32, warp: usize, lanes: u32, leaves: bool) {
        let Some(watch) = self.watch.as_mut().filter(|watch| watch.races) else { return };
        let now = watch.tick();
        self.site.watch.clocks.arrive(id as usize, warp, lanes, leaves, now);
    }

    /// A barrier lets its threads go on; `everyone`: they are all that the block has.
    pub(super) fn left_barrier(&mut self, id: usize, everyone: bool, warps: &[Warp]) {
        let Some(watch) = self.watch.as_mut().filter(|watch| watch.races) else { return };
        let now = watch.tick();
        let alive: Vec<u32> = warps.iter().map(Warp::alive).collect();
        self.site.watch.clocks.release(id, everyone, &alive, now);
    }

    /// `fence`, `membar`.
    pub(super) fn fence(&mut self, warp: &Warp, op: &Op, mask: u32) {
        let order = op.order();
        let Some(watch) = self.watch.as_mut().filter(|watch| watch.races && order.strong) else { return };
        let now = watch.tick();
        self.site.watch.clocks.fence(warp.index as usize, mask, order.beyond_block, now);
    }

    /// Strong loads or stores by some lanes, whose data are about to move.
    pub(super) fn strong_accesses(
        &mut self,
        warp: &Warp,
        op: &Op,
        mask: u32,
        addresses: &[u64; 32],
        effect: Effect,
        shared: bool,
    ) {
        if self.watches_races() {
            for lane in lanes(mask) {
                self.strong_access(warp, op, lane, addresses[lane], effect, shared);
            }
        }
    }

    /// A strong access by one lane.
    pub(super) fn strong_access(
        &mut self,
        warp: &Warp,
        op: &Op,
        lane: usize,
        address: u64,
        effect: Effect,
        shared: bool,
    ) {
        let Some(watch) = self.watch.as_mut().filter(|watch| watch.races) else { return };
        let order = op.order();
        let now = if order.release { watch.tick() } else { 0 };
        let block = &mut self.site.watch;
        let variables = if shared { &mut block.variables } else { &mut watch.variables };
        variables.access(&mut block.clocks, (warp.index as usize, lane), address, order, effect, now);
    }
}
