//! Which column of the activations belongs to which of a matrix whose groups are not of neighbours.

use cudarc::driver::{CudaSlice, DevicePtr, SyncOnDrop};

use crate::{Error, Queue, Result, TensorView};

/// The order in which a matrix `[n, k]` was quantised, so that each group is of neighbouring columns: column `i` of the
/// packed matrix is column `order[i]` of the original one, and of the activations. In device memory, i32, and known to
/// name each column once.
///
/// GPTQ quantises the columns with the largest activations first (`desc_act`), and stores each column's group (`g_idx`).
/// (Frantar et al., *GPTQ*, 2022, arXiv:2210.17323.)
#[derive(Debug)]
pub struct ActOrder {
    memory: CudaSlice<i32>,
    order: Vec<i32>,
}

/// What a kernel is told of the order: pure data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnsOperand {
    /// Address of the columns.
    pub address: u64,
    /// How many.
    pub k: usize,
}

fn error(problem: String) -> Error {
    Error::ActOrder { problem }
}

/// The columns of each group, in their order, of a checkpoint's `g_idx`.
///
/// # Errors
/// [`Error::ActOrder`]: a group that there is not, or one that has more or fewer than `group` columns.
pub fn order_of_groups(g_idx: &[i32], group: usize) -> Result<Vec<i32>> {
    let k = g_idx.len();
    if group == 0 || !k.is_multiple_of(group) {
        return Err(error(format!("{k} columns are no whole groups of {group}")));
    }
    let groups = k / group;
    let mut columns = vec![Vec::with_capacity(group); groups];
    for (column, &idx) in g_idx.iter().enumerate() {
        let own = usize::try_from(idx).ok().and_then(|idx| columns.get_mut(idx));
        let own =
            own.ok_or_else(|| error(format!("g_idx[{column}] is group {idx}, expected 0 to {}", groups as i64 - 1)))?;
        own.push(column as i32);
    }
    match columns.iter().position(|columns| columns.len() != group) {
        Some(idx) => Err(error(format!("group {idx} has {} columns, expected {group}", columns[idx].len()))),
        None => Ok(columns.concat()),
    }
}

impl ActOrder {
    /// Sorts the columns by their groups and copies the order to the device, in order with the queue's work.
    ///
    /// # Errors
    /// Those of [`order_of_groups`]; no columns; errors of the driver.
    pub fn new(queue: &Queue, g_idx: &[i32], group: usize) -> Result<Self> {
        if g_idx.is_empty() {
            return Err(error("there are no columns".to_owned()));
        }
        let order = order_of_groups(g_idx, group)?;
        let _current = queue.enter()?;
        let memory = queue.stream().clone_htod(&order).map_err(|error| Error::driver("act_order", error))?;
        Ok(Self { memory, order })
    }

    /// `order[i]` is the original number of the `i`th column of the packed matrix.
    pub fn order(&self) -> &[i32] {
        &self.order
    }

    pub(super) fn open<'b>(
        &'b self,
        op: &'static str,
        queue: &'b Queue,
    ) -> Result<(ColumnsOperand, Option<SyncOnDrop<'b>>)> {
        let k = self.order.len();
        TensorView::contiguous(&self.memory, &[k])?.open(op, "act_order", queue).map(drop)?;
        let (address, guard) = self.memory.device_ptr(queue.stream());
        Ok((ColumnsOperand { address, k }, Some(guard)))
    }
}
