//! What the threads of a block know of others' accesses, and how barriers, fences and collectives spread it.

use super::knowledge::{Knowledge, Shared, change, join};
use super::stamp::Stamp;
use std::rc::Rc;

/// How far a fence or an access reaches: the threads of the block, or all.
pub(crate) const SCOPES: usize = 2;

/// Knowledge by the scope that it holds for.
pub(crate) type Scoped = [Shared; SCOPES];

/// What a thread knows beyond its own accesses.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// All accesses of the own block before this clock.
    pub(crate) block_floor: u32,
    /// All accesses of the own warp before this clock.
    pub(crate) warp_floor: u32,
    /// Anything else.
    pub(crate) far: Shared,
    /// What a fence has made ready: the next strong write gives it to those who see that write.
    pub(crate) fenced: Scoped,
    /// What strong reads have seen: the next fence makes it known.
    pub(crate) pending: Scoped,
}

impl View {
    fn is_plain(&self) -> bool {
        self.far.is_none() && self.fenced.iter().chain(&self.pending).all(Option::is_none)
    }

    fn join(&mut self, other: &View) {
        self.block_floor = self.block_floor.max(other.block_floor);
        self.warp_floor = self.warp_floor.max(other.warp_floor);
        self.join_far(other);
    }

    fn join_far(&mut self, other: &View) {
        join(&mut self.far, &other.far);
        for scope in 0..SCOPES {
            join(&mut self.fenced[scope], &other.fenced[scope]);
            join(&mut self.pending[scope], &other.pending[scope]);
        }
    }
}

/// The clocks of a warp.
#[derive(Clone, Debug, Default)]
pub(crate) struct WarpClock {
    /// Accesses are stamped with this.
    pub(crate) epoch: u32,
    /// What all lanes know.
    common: View,
    /// What each lane knows, where that differs.
    split: Option<Box<[View; 32]>>,
}

impl WarpClock {
    pub(crate) fn view(&self, lane: usize) -> &View {
        self.split.as_ref().map_or(&self.common, |views| &views[lane])
    }

    pub(crate) fn view_mut(&mut self, lane: usize) -> &mut View {
        let WarpClock { common, split, .. } = self;
        &mut split.get_or_insert_with(|| Box::new(std::array::from_fn(|_| common.clone())))[lane]
    }

    /// Before this clock all lanes know all accesses of their block.
    pub(crate) fn block_floor(&self) -> u32 {
        match &self.split {
            None => self.common.block_floor,
            Some(views) => views.iter().map(|view| view.block_floor).min().unwrap_or(0),
        }
    }

    /// Whether no lane knows anything but by barriers.
    fn is_plain(&self) -> bool {
        self.split.is_none() && self.common.is_plain()
    }

    /// What some lanes know together.
    fn joined(&self, lanes: u32) -> View {
        let Some(views) = &self.split else { return self.common.clone() };
        let mut views = views.iter().enumerate().filter(|(lane, _)| lanes >> lane & 1 == 1).map(|(_, view)| view);
        let mut all = views.next().cloned().unwrap_or_default();
        views.for_each(|view| all.join(view));
        all
    }

    fn unite(&mut self, view: View) {
        self.split = None;
        self.common = view;
    }

    /// Whether a lane's next access, stamped `me`, comes after another one.
    #[inline(always)]
    pub(crate) fn ordered(&self, lane: usize, me: &Stamp, earlier: &Stamp) -> bool {
        let view = self.view(lane);
        if earlier.block == me.block {
            if earlier.clock < view.block_floor {
                return true;
            }
            if me.same_warp(earlier) && (earlier.lanes & !me.lanes == 0 || earlier.clock < view.warp_floor) {
                return true;
            }
        }
        match &view.far {
            None => false,
            Some(far) if me.same_warp(earlier) => far.covers(&Stamp { lanes: earlier.lanes & !me.lanes, ..*earlier }),
            Some(far) => far.covers(earlier),
        }
    }
}

/// Threads that have come to a barrier.
struct Arrival {
    warp: usize,
    lanes: u32,
    /// What they knew, and until when it covers their own accesses, if they have gone on.
    left: Option<(View, u32)>,
}

/// The clocks of a block.
#[derive(Default)]
pub(crate) struct BlockClocks {
    /// Its number.
    pub(crate) number: u32,
    pub(crate) warps: Vec<WarpClock>,
    /// Clock at which the block began.
    begin: u32,
    /// Arrivals at each of the sixteen barriers.
    arrivals: [Vec<Arrival>; 16],
}

impl BlockClocks {
    /// The block `number` begins at the clock `now`.
    pub(crate) fn restart(&mut self, number: u32, warps: usize, now: u32) {
        self.number = number;
        self.begin = now;
        self.warps.resize(warps, WarpClock::default());
        for warp in &mut self.warps {
            warp.epoch = now;
            warp.unite(View { block_floor: now, warp_floor: now, ..View::default() });
        }
        self.arrivals.iter_mut().for_each(Vec::clear);
    }

    /// Lanes of a warp that name one another meet: `members` of each of the lanes `present`, `alive` all that have not ended.
    pub(crate) fn meet_in_warp(&mut self, warp: usize, members: &[u32; 32], present: u32, alive: u32, now: u32) {
        let clock = &mut self.warps[warp];
        clock.epoch = now;
        let mut rest = present;
        while rest != 0 {
            let group = members[rest.trailing_zeros() as usize] & present;
            rest &= !group & (rest - 1);
            if group & alive == alive {
                if clock.is_plain() {
                    clock.common.warp_floor = now;
                } else {
                    let all = View { warp_floor: now, ..clock.joined(alive) };
                    clock.unite(all);
                }
                continue;
            }
            if group & (group.wrapping_sub(1)) == 0 {
                continue;
            }
            let mut all = clock.joined(group);
            for lane in (0..32).filter(|lane| group >> lane & 1 == 1) {
                // Given up first: then the knowledge has one owner and changes in its place.
                *clock.view_mut(lane) = View::default();
            }
            change(&mut all.far).raise_lanes(self.number, warp as u32, group, now);
            for lane in (0..32).filter(|lane| group >> lane & 1 == 1) {
                *clock.view_mut(lane) = all.clone();
            }
        }
    }

    /// All threads of the block meet.
    pub(crate) fn meet(&mut self, now: u32) {
        let mut all = View { block_floor: now, warp_floor: now, ..View::default() };
        if !self.warps.iter().all(WarpClock::is_plain) {
            for warp in &mut self.warps {
                all.join_far(&warp.joined(u32::MAX));
            }
            if let Some(far) = &mut all.far {
                let far = Rc::make_mut(far);
                far.forget_block(self.number);
                if far.is_empty() {
                    all.far = None;
                }
            }
        }
        for warp in &mut self.warps {
            warp.epoch = now;
            warp.unite(all.clone());
        }
    }

    /// Lanes of a warp come to a barrier; `leaves`: they go on without waiting.
    pub(crate) fn arrive(&mut self, barrier: usize, warp: usize, lanes: u32, leaves: bool, now: u32) {
        let clock = &mut self.warps[warp];
        clock.epoch = now;
        let left = leaves.then(|| (clock.joined(lanes), now));
        self.arrivals[barrier].push(Arrival { warp, lanes, left });
    }

    /// A barrier is complete; `everyone`: all threads of the block have waited at it.
    pub(crate) fn release(&mut self, barrier: usize, everyone: bool, alive: &[u32], now: u32) {
        let arrivals = std::mem::take(&mut self.arrivals[barrier]);
        if everyone {
            self.meet(now);
        } else {
            let mut all = View::default();
            for arrival in &arrivals {
                let (view, until) = match &arrival.left {
                    Some((view, until)) => (view.clone(), *until),
                    None => (self.warps[arrival.warp].joined(arrival.lanes), now),
                };
                all.block_floor = all.block_floor.max(view.block_floor);
                all.join_far(&view);
                let far = change(&mut all.far);
                far.raise_warp(self.number, arrival.warp as u32, view.warp_floor);
                if arrival.lanes & alive[arrival.warp] == alive[arrival.warp] {
                    far.raise_warp(self.number, arrival.warp as u32, until);
                } else {
                    far.raise_lanes(self.number, arrival.warp as u32, arrival.lanes, until);
                }
            }
            for arrival in arrivals.iter().filter(|arrival| arrival.left.is_none()) {
                let clock = &mut self.warps[arrival.warp];
                clock.epoch = now;
                if arrival.lanes & alive[arrival.warp] == alive[arrival.warp] {
                    let mut view = clock.joined(arrival.lanes);
                    view.warp_floor = now;
                    view.block_floor = view.block_floor.max(all.block_floor);
                    view.join_far(&all);
                    clock.unite(view);
                } else {
                    for lane in (0..32).filter(|lane| arrival.lanes >> lane & 1 == 1) {
                        let view = clock.view_mut(lane);
                        view.block_floor = view.block_floor.max(all.block_floor);
                        view.join_far(&all);
                    }
                }
            }
        }
        let mut arrivals = arrivals;
        arrivals.clear();
        self.arrivals[barrier] = arrivals;
    }

    /// Everything that comes before a lane's next access, its own accesses before `now` included.
    pub(crate) fn all_known(&self, warp: usize, lane: usize, now: u32) -> Rc<Knowledge> {
        let view = self.warps[warp].view(lane);
        let mut far = view.far.clone();
        let known = change(&mut far);
        if view.block_floor > self.begin {
            known.raise_block(self.number, view.block_floor);
        }
        if view.warp_floor > view.block_floor {
            known.raise_warp(self.number, warp as u32, view.warp_floor);
        }
        known.raise_lanes(self.number, warp as u32, 1 << lane, now);
        far.unwrap_or_default()
    }

    /// A fence by some lanes: what strong reads have seen is known, and all that is known is ready to be given on.
    pub(crate) fn fence(&mut self, warp: usize, lanes: u32, beyond_block: bool, now: u32) {
        self.warps[warp].epoch = now;
        for lane in (0..32).filter(|lane| lanes >> lane & 1 == 1) {
            let view = self.warps[warp].view_mut(lane);
            for scope in 0..=usize::from(beyond_block) {
                let seen = view.pending[scope].take();
                join(&mut view.far, &seen);
            }
            let known = self.all_known(warp, lane, now);
            let view = self.warps[warp].view_mut(lane);
            for scope in 0..=usize::from(beyond_block) {
                view.fenced[scope] = Some(known.clone());
            }
        }
    }
}
