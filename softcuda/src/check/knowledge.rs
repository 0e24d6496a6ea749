//! What a thread has learnt of others' accesses by means other than barriers of whole blocks and warps.

use super::stamp::Stamp;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Entries of a warp: itself and its lanes.
const WARP: u64 = 33;

/// Clocks before which all accesses of a block, a warp or a thread are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Knowledge {
    floors: BTreeMap<u64, u32>,
}

/// Knowledge that many threads may share; most have none.
pub(crate) type Shared = Option<Rc<Knowledge>>;

fn of_block(block: u32) -> u64 {
    u64::from(block) << 16
}

fn of_warp(block: u32, warp: u32) -> u64 {
    of_block(block) + 1 + WARP * u64::from(warp)
}

fn of_lane(block: u32, warp: u32, lane: u32) -> u64 {
    of_warp(block, warp) + 1 + u64::from(lane)
}

impl Knowledge {
    fn raise(&mut self, key: u64, floor: u32) {
        let known = self.floors.entry(key).or_insert(floor);
        *known = floor.max(*known);
    }

    pub(crate) fn raise_block(&mut self, block: u32, floor: u32) {
        self.raise(of_block(block), floor);
    }

    pub(crate) fn raise_warp(&mut self, block: u32, warp: u32, floor: u32) {
        self.raise(of_warp(block, warp), floor);
    }

    pub(crate) fn raise_lanes(&mut self, block: u32, warp: u32, lanes: u32, floor: u32) {
        for lane in (0..32).filter(|lane| lanes >> lane & 1 == 1) {
            self.raise(of_lane(block, warp, lane), floor);
        }
    }

    /// Whether the access comes before.
    pub(crate) fn covers(&self, stamp: &Stamp) -> bool {
        let (block, warp) = (stamp.block, stamp.warp());
        let known = |key| self.floors.get(&key).is_some_and(|&floor| stamp.clock < floor);
        known(of_block(block))
            || known(of_warp(block, warp))
            || (0..32).filter(|lane| stamp.lanes >> lane & 1 == 1).all(|lane| known(of_lane(block, warp, lane)))
    }

    /// Forgets a block: everything that is known of it is known otherwise.
    pub(crate) fn forget_block(&mut self, block: u32) {
        self.floors.retain(|key, _| key >> 16 != u64::from(block));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.floors.is_empty()
    }
}

/// Adds what `other` knows.
pub(crate) fn join(own: &mut Shared, other: &Shared) {
    let Some(other) = other else { return };
    match own {
        None => *own = Some(other.clone()),
        Some(own) if Rc::ptr_eq(own, other) => {}
        Some(own) => {
            // The larger one may take in the smaller one.
            let mut smaller = other.clone();
            if own.floors.len() < smaller.floors.len() {
                std::mem::swap(own, &mut smaller);
            }
            let own = Rc::make_mut(own);
            smaller.floors.iter().for_each(|(&key, &floor)| own.raise(key, floor));
        }
    }
}

/// Changes knowledge, which is made if there is none.
pub(crate) fn change(own: &mut Shared) -> &mut Knowledge {
    Rc::make_mut(own.get_or_insert_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(clock: u32, lanes: u32) -> Stamp {
        Stamp::new(clock, 7, 3, 100, lanes)
    }

    #[test]
    fn an_access_is_known_by_its_block_its_warp_or_all_its_lanes() {
        let mut known = Knowledge::default();
        assert!(!known.covers(&stamp(1, 1)));
        known.raise_lanes(7, 3, 0b101, 5);
        assert!(known.covers(&stamp(4, 0b101)) && !known.covers(&stamp(5, 0b100)) && !known.covers(&stamp(4, 0b111)));
        known.raise_warp(7, 3, 9);
        assert!(known.covers(&stamp(8, u32::MAX)) && !known.covers(&stamp(9, 1)));
        known.raise_block(7, 20);
        assert!(known.covers(&stamp(19, u32::MAX)));
        assert!(!known.covers(&Stamp::new(1, 8, 3, 100, 1)), "another block");
        known.forget_block(7);
        assert!(known.is_empty());
    }

    #[test]
    fn joining_keeps_the_higher_floor_of_both() {
        let (mut a, mut b): (Shared, Shared) = (None, None);
        join(&mut a, &b);
        assert!(a.is_none());
        change(&mut a).raise_block(1, 5);
        change(&mut b).raise_block(1, 3);
        change(&mut b).raise_block(2, 8);
        let before = b.clone();
        join(&mut a, &b);
        assert_eq!(b, before, "the other one is as it was");
        let a = a.unwrap();
        assert!(a.covers(&Stamp::new(4, 1, 0, 0, 1)) && a.covers(&Stamp::new(7, 2, 0, 0, 1)));
    }
}
