//! Which pages of a cache hold the keys and values of which sequence.

use cudarc::driver::{CudaSlice, DevicePtr, SyncOnDrop};

use crate::{DType, Error, Queue, Result, TensorView};

/// A table of pages: position `j` of sequence `i` is slot `j % page_size` of page `table[i][j / page_size]`. In device
/// memory, `[b, pages_per_sequence]` i32, and, if it was made from host data, known to name only pages that there are.
///
/// Kernels clamp what they read from it: a table that changed on the device gives wrong results, and never an access
/// outside the cache. [`BlockTable::validate`] finds such entries. (Kwon et al., *Efficient memory management for large
/// language model serving with PagedAttention*, 2023, arXiv:2309.06180.)
#[derive(Debug)]
pub struct BlockTable<'a> {
    memory: Memory<'a>,
    sequences: usize,
    pages_per_sequence: usize,
    num_pages: usize,
}

#[derive(Debug)]
enum Memory<'a> {
    Owned(CudaSlice<i32>),
    View(TensorView<'a>),
}

/// What a kernel is told of the table: pure data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageOperand {
    /// Address of the entries.
    pub address: u64,
    /// Sequences: lines of the table.
    pub sequences: usize,
    /// Entries of a line.
    pub pages_per_sequence: usize,
    /// Every entry that is used is below this.
    pub num_pages: usize,
}

/// `PageTable` of `kernels/common/key_rows.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct PageTable {
    address: u64,
    pages_per_sequence: i32,
    num_pages: i32,
    page_shift: i32,
    padding: i32,
}

impl PageTable {
    /// Pages of `page_size` slots, a power of two; without a table page `i` is sequence `i`'s, and its only one.
    pub(crate) fn new(table: Option<&PageOperand>, page_size: usize) -> Self {
        let Some(table) = table else {
            return Self { address: 0, pages_per_sequence: 1, num_pages: 1, page_shift: 31, padding: 0 };
        };
        Self {
            address: table.address,
            pages_per_sequence: table.pages_per_sequence as i32,
            num_pages: table.num_pages as i32,
            page_shift: page_size.trailing_zeros() as i32,
            padding: 0,
        }
    }
}

fn error(problem: String) -> Error {
    Error::Pages { problem }
}

impl BlockTable<'static> {
    /// Checks the pages of each sequence and copies them to the device, in order with the queue's work. A line has room
    /// for `pages_per_sequence` pages; entries that are not used yet are -1.
    ///
    /// # Errors
    /// [`Error::Pages`]: more pages than a line has room for, or a page that is not below `num_pages`. Errors of the
    /// driver.
    pub fn new(
        queue: &Queue,
        pages: &[impl AsRef<[i32]>],
        pages_per_sequence: usize,
        num_pages: usize,
    ) -> Result<Self> {
        let mut entries = Vec::with_capacity(pages.len().saturating_mul(pages_per_sequence));
        for (sequence, pages) in pages.iter().map(AsRef::as_ref).enumerate() {
            if pages.len() > pages_per_sequence {
                let count = pages.len();
                return Err(error(format!(
                    "sequence {sequence} has {count} pages, expected at most {pages_per_sequence}"
                )));
            }
            for (index, &page) in pages.iter().enumerate() {
                check_page(sequence, index, page, num_pages)?;
            }
            entries.extend_from_slice(pages);
            entries.resize((sequence + 1) * pages_per_sequence, -1);
        }
        // No empty allocations: the driver refuses them.
        if entries.is_empty() {
            entries.push(-1);
        }
        let _current = queue.enter()?;
        let memory = queue.stream().clone_htod(&entries).map_err(|error| Error::driver("block_table", error))?;
        Ok(Self { memory: Memory::Owned(memory), sequences: pages.len(), pages_per_sequence, num_pages })
    }

    /// Makes `page` the `index`th of a sequence, in order with the queue's work: the table stays where it is, so that a
    /// captured graph sees the change.
    ///
    /// # Errors
    /// [`Error::Pages`]: no such sequence or entry, or a page that is not below `num_pages`. Errors of the driver.
    pub fn set(&mut self, queue: &Queue, sequence: usize, index: usize, page: i32) -> Result<()> {
        if sequence >= self.sequences || index >= self.pages_per_sequence {
            let (sequences, pages) = (self.sequences, self.pages_per_sequence);
            return Err(error(format!("there is no entry [{sequence}][{index}] in {sequences} lines of {pages}")));
        }
        check_page(sequence, index, page, self.num_pages)?;
        let at = sequence * self.pages_per_sequence + index;
        let Memory::Owned(memory) = &mut self.memory else {
            return Err(error("it belongs to somebody else".to_owned()));
        };
        let _current = queue.enter()?;
        let mut entry = memory.slice_mut(at..at + 1);
        queue.stream().memcpy_htod(&[page], &mut entry).map_err(|error| Error::driver("block_table", error))
    }
}

impl<'a> BlockTable<'a> {
    /// A table that lies on the device already, `[b, pages_per_sequence]` i32, contiguous.
    ///
    /// # Errors
    /// A view that is not i32 of two dimensions without gaps.
    ///
    /// # Safety
    /// The entries for positions below a sequence's length must be from 0 to below `num_pages`, until the work that uses
    /// them has ended. What breaks this gives wrong results.
    pub unsafe fn from_raw(table: TensorView<'a>, num_pages: usize) -> Result<Self> {
        let layout = table.layout();
        let &[sequences, pages_per_sequence] = layout.shape() else {
            return Err(error(format!("entries are {} {layout:?}, expected i32 [b, pages]", table.dtype())));
        };
        if table.dtype() != DType::I32 || !(layout.is_contiguous() || layout.is_empty()) {
            return Err(error(format!("entries are {} {layout:?}, expected i32 without gaps", table.dtype())));
        }
        Ok(Self { memory: Memory::View(table), sequences, pages_per_sequence, num_pages })
    }

    /// Sequences: lines of the table.
    pub fn sequences(&self) -> usize {
        self.sequences
    }

    /// Entries of a line: the most pages of a sequence.
    pub fn pages_per_sequence(&self) -> usize {
        self.pages_per_sequence
    }

    /// Every entry that is used is below this.
    pub fn num_pages(&self) -> usize {
        self.num_pages
    }

    /// Reads table and lengths back from the device, which waits for the queue's work, and checks that every page which
    /// the lengths use, of `page_size` positions, is one that there is.
    ///
    /// # Errors
    /// [`Error::Pages`] if it is not, or if a length is negative or more than a line has pages for; errors of the driver.
    pub fn validate(&self, queue: &Queue, lengths: &TensorView, page_size: usize) -> Result<()> {
        let layout = lengths.layout();
        if lengths.dtype() != DType::I32 || layout.shape() != [self.sequences] || !layout.is_contiguous() {
            return Err(error(format!(
                "lengths are {} {layout:?}, expected i32 [{}]",
                lengths.dtype(),
                self.sequences
            )));
        }
        let _current = queue.enter()?;
        let entries = self.read(queue)?;
        for (sequence, length) in lengths.read_i32(queue)?.into_iter().enumerate() {
            let capacity = self.pages_per_sequence.saturating_mul(page_size);
            let used = usize::try_from(length).ok().filter(|&length| length <= capacity);
            let used = used.ok_or_else(|| {
                error(format!(
                    "sequence {sequence} has length {length}, expected 0 to {capacity}, which its pages hold"
                ))
            })?;
            let line = &entries[sequence * self.pages_per_sequence..][..used.div_ceil(page_size.max(1))];
            for (index, &page) in line.iter().enumerate() {
                check_page(sequence, index, page, self.num_pages)?;
            }
        }
        Ok(())
    }

    /// The entries, read back from the device in order with the queue's work.
    pub(super) fn read(&self, queue: &Queue) -> Result<Vec<i32>> {
        match &self.memory {
            Memory::Owned(memory) => {
                let read = queue.stream().clone_dtoh(memory).map_err(|error| Error::driver("block_table", error))?;
                queue.synchronize()?;
                Ok(read)
            }
            Memory::View(view) => view.read_i32(queue),
        }
    }

    pub(crate) fn open<'b>(
        &'b self,
        op: &'static str,
        argument: &'static str,
        queue: &'b Queue,
    ) -> Result<(PageOperand, Option<SyncOnDrop<'b>>)> {
        let (address, guard) = match &self.memory {
            Memory::Owned(memory) => {
                TensorView::contiguous(memory, &[memory.len()])?.open(op, argument, queue).map(drop)?;
                let (address, guard) = memory.device_ptr(queue.stream());
                (address, Some(guard))
            }
            Memory::View(view) => {
                let (operand, guard) = view.open(op, argument, queue)?;
                (operand.address, guard)
            }
        };
        let Self { sequences, pages_per_sequence, num_pages, .. } = *self;
        Ok((PageOperand { address, sequences, pages_per_sequence, num_pages }, guard))
    }
}

pub(super) fn check_page(sequence: usize, index: usize, page: i32, num_pages: usize) -> Result<()> {
    if usize::try_from(page).is_ok_and(|page| page < num_pages) {
        return Ok(());
    }
    Err(error(format!("table[{sequence}][{index}] is page {page}, expected 0 to {}", num_pages as i128 - 1)))
}
