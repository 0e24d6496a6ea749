//! The second factor: an element of B for every row of a product's column.

use super::{
    isa::Isa,
    table::{BTable, GROUPS},
};

/// Where products take B from. `column` counts from 0 to 7.
pub(super) trait Second {
    /// Values of group `group` at `t`, a row a lane.
    fn values<S: Isa>(&self, isa: S, group: usize, t: usize, column: usize) -> S::Vector;
    /// Exponents of a group or pair of groups.
    fn exponents<S: Isa>(&self, isa: S, index: usize, t: usize, column: usize) -> S::Vector;
    /// One value: that of the row in lane `lane`.
    fn value(&self, group: usize, t: usize, column: usize, lane: usize) -> u32;
}

impl Second for BTable {
    #[inline(always)]
    fn values<S: Isa>(&self, isa: S, group: usize, t: usize, column: usize) -> S::Vector {
        isa.splat(self.values[group][4 * column + t])
    }
    #[inline(always)]
    fn exponents<S: Isa>(&self, isa: S, index: usize, t: usize, column: usize) -> S::Vector {
        isa.splat(self.exponents[index][4 * column + t])
    }
    #[inline(always)]
    fn value(&self, group: usize, t: usize, column: usize, _lane: usize) -> u32 {
        self.values[group][4 * column + t]
    }
}

/// B as each row of a sparse A selects from it.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct Selected {
    /// By (group, t, column): a row a lane.
    pub(super) values: [[[[u32; 16]; 8]; 4]; GROUPS],
    /// Exponents in the same way.
    pub(super) exponents: [[[[u32; 16]; 8]; 4]; GROUPS],
}

impl Default for Selected {
    fn default() -> Selected {
        Selected { values: [[[[0; 16]; 8]; 4]; GROUPS], exponents: [[[[0; 16]; 8]; 4]; GROUPS] }
    }
}

impl Second for Selected {
    #[inline(always)]
    fn values<S: Isa>(&self, isa: S, group: usize, t: usize, column: usize) -> S::Vector {
        isa.load(&self.values[group][t][column])
    }
    #[inline(always)]
    fn exponents<S: Isa>(&self, isa: S, index: usize, t: usize, column: usize) -> S::Vector {
        isa.load(&self.exponents[index][t][column])
    }
    #[inline(always)]
    fn value(&self, group: usize, t: usize, column: usize, lane: usize) -> u32 {
        self.values[group][t][column][lane]
    }
}
