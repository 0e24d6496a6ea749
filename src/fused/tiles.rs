//! How elementwise kernels divide rows: a block for each tile of a row.

use crate::{Error, LaunchPlan, Result};

const THREADS: usize = 128;

/// An instance: elements that a lane moves at once, and units of a thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instance {
    pub(super) name: &'static str,
    pub(super) unit: usize,
    pub(super) units_per_thread: usize,
}

impl Instance {
    /// Elements of a block's tile.
    fn tile(&self) -> usize {
        THREADS * self.units_per_thread * self.unit
    }

    /// A launch of so many blocks.
    pub(super) fn launch(&self, op: &'static str, blocks: usize) -> LaunchPlan {
        LaunchPlan {
            op,
            instance: self.name,
            grid: [blocks as u32, 1, 1],
            block: [THREADS as u32, 1, 1],
            shared_bytes: 0,
            workspace_bytes: 0,
        }
    }
}

/// The launch over rows, and its tiles of a row.
///
/// # Errors
/// More blocks than a grid holds.
pub(super) fn plan(
    op: &'static str,
    instances: &[Instance; 3],
    unit: usize,
    [num_rows, width]: [usize; 2],
) -> Result<(LaunchPlan, usize)> {
    let instance = &instances[instances.iter().position(|instance| instance.unit == unit).unwrap_or(2)];
    let tiles_per_row = width.div_ceil(instance.tile()).max(1);
    let (blocks, limit) = (num_rows as u128 * tiles_per_row as u128, i32::MAX as u64);
    if blocks > u128::from(limit) {
        let got = u64::try_from(blocks).unwrap_or(u64::MAX);
        return Err(Error::TooLarge { op, what: "number of blocks", got, limit });
    }
    Ok((instance.launch(op, blocks as usize), tiles_per_row))
}
