//! Places in memory through which threads synchronise: what those who read them with the right order learn.

use super::clock::{BlockClocks, SCOPES, View};
use super::knowledge::{Shared, join};
use crate::program::op::Order;
use std::collections::HashMap;

/// What has been released at one address.
#[derive(Debug, Default)]
struct Variable {
    /// For every thread.
    everyone: Shared,
    /// For threads of a block.
    block: (u32, Shared),
}

/// What a strong access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Reads: a load, or a compare-and-swap that failed.
    Read,
    /// Writes: a store.
    Write,
    /// Both at once: an atomic. Who reads what it wrote reads what was there before, too.
    Update,
}

/// All such places of a memory.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    known: HashMap<u64, Variable>,
}

impl Variables {
    /// A strong access by one thread, after it has been made; `now` is a new clock.
    pub(crate) fn access(
        &mut self,
        clocks: &mut BlockClocks,
        (warp, lane): (usize, usize),
        address: u64,
        order: Order,
        effect: Effect,
        now: u32,
    ) {
        let block = clocks.number;
        if effect != Effect::Write
            && let Some(variable) = self.known.get(&address)
        {
            let everyone = if order.beyond_block { &variable.everyone } else { &None };
            let own = if variable.block.0 == block { &variable.block.1 } else { &None };
            if everyone.is_some() || own.is_some() {
                learn(clocks.warps[warp].view_mut(lane), [own, everyone], order.acquire);
            }
        }
        if effect == Effect::Read {
            return;
        }
        let released = order.release.then(|| {
            clocks.warps[warp].epoch = now;
            clocks.all_known(warp, lane, now)
        });
        let view = clocks.warps[warp].view(lane);
        let given: [Shared; SCOPES] = match released {
            Some(known) => [Some(known.clone()), Some(known)],
            None => view.fenced.clone(),
        };
        if given.iter().all(Option::is_none) && self.known.is_empty() {
            return;
        }
        let variable = self.known.entry(address).or_default();
        if effect == Effect::Write {
            *variable = Variable::default();
        }
        if variable.block.0 != block {
            variable.block = (block, None);
        }
        let [own, everyone] = given;
        join(&mut variable.block.1, &own);
        if order.beyond_block {
            join(&mut variable.everyone, &everyone);
        }
    }

    /// A weak write: what was released there is gone.
    pub(crate) fn overwrite(&mut self, address: u64) {
        if !self.known.is_empty() {
            self.known.remove(&address);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.known.clear();
    }
}

/// A thread sees what was released: at once, or at its next fence.
fn learn(view: &mut View, [own, everyone]: [&Shared; SCOPES], acquire: bool) {
    if acquire {
        join(&mut view.far, own);
        join(&mut view.far, everyone);
    } else {
        join(&mut view.pending[0], own);
        join(&mut view.pending[1], everyone);
    }
}
