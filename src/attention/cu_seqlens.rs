//! Sequences of various lengths, one after the other in one tensor.

use cudarc::driver::{CudaSlice, DevicePtr, SyncOnDrop};

use crate::{DType, Error, Queue, Result, TensorView};

/// Where the sequences of a `[total, h, d]` tensor begin and end: sequence `i` is positions `offsets[i] ..
/// offsets[i + 1]`. In device memory, `[b + 1]` i32, and, if it was made from host data, known to be in order.
///
/// Kernels clamp what they read from it: offsets that changed on the device give wrong results, and never an access
/// outside the tensors.
#[derive(Debug)]
pub struct CuSeqlens<'a> {
    memory: Memory<'a>,
    offsets: Option<Vec<i32>>,
    sequences: usize,
    total: usize,
    longest: usize,
}

#[derive(Debug)]
enum Memory<'a> {
    Owned(CudaSlice<i32>),
    View(TensorView<'a>),
}

/// What a kernel is told of the sequences: pure data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceOperand {
    /// Address of the offsets.
    pub address: u64,
    /// Number of sequences.
    pub sequences: usize,
    /// Positions of all of them.
    pub total: usize,
    /// Positions of the longest.
    pub longest: usize,
}

impl CuSeqlens<'static> {
    /// Checks offsets and copies them to the device, in order with the queue's work.
    ///
    /// # Errors
    /// [`Error::Sequences`]: no offsets, a first one other than 0, one below the one before. Errors of the driver.
    pub fn new(queue: &Queue, offsets: &[i32]) -> Result<Self> {
        let longest = check(offsets)?;
        let _current = queue.enter()?;
        let memory = queue.stream().clone_htod(offsets).map_err(|error| Error::driver("cu_seqlens", error))?;
        let total = offsets.last().map_or(0, |&total| total as usize);
        Ok(Self {
            memory: Memory::Owned(memory),
            offsets: Some(offsets.to_vec()),
            sequences: offsets.len() - 1,
            total,
            longest,
        })
    }

    /// Likewise from the length of each sequence.
    ///
    /// # Errors
    /// More than 2^31 - 1 positions; errors of the driver.
    pub fn from_lengths(queue: &Queue, lengths: &[usize]) -> Result<Self> {
        let mut offsets = vec![0];
        let mut total = 0_usize;
        for &length in lengths {
            total = total.saturating_add(length);
            let problem = || format!("{total} positions, the limit is {}", i32::MAX);
            offsets.push(i32::try_from(total).map_err(|_| Error::Sequences { problem: problem() })?);
        }
        Self::new(queue, &offsets)
    }
}

impl<'a> CuSeqlens<'a> {
    /// Offsets that lie on the device already, `[b + 1]` i32, contiguous.
    ///
    /// # Errors
    /// A view that is not `[b + 1]` i32 without gaps, `b` at least 0.
    ///
    /// # Safety
    /// The offsets must begin with 0, never fall, end at `total`, and no sequence may be longer than `longest`, until
    /// the work that uses them has ended. What breaks this gives wrong results.
    pub unsafe fn from_raw(offsets: TensorView<'a>, total: usize, longest: usize) -> Result<Self> {
        let layout = offsets.layout();
        let fits = layout.rank() == 1 && offsets.dtype() == DType::I32 && layout.is_contiguous() && !layout.is_empty();
        if !fits {
            let problem = format!("offsets are {} {layout:?}, expected i32 [b + 1] without gaps", offsets.dtype());
            return Err(Error::Sequences { problem });
        }
        let sequences = layout.len() - 1;
        Ok(Self { memory: Memory::View(offsets), offsets: None, sequences, total, longest })
    }

    /// The offsets as they were on the host; `None` if they were made on the device.
    pub fn offsets(&self) -> Option<&[i32]> {
        self.offsets.as_deref()
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.sequences
    }

    /// Positions of all sequences.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Positions of the longest sequence.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Reads the offsets back from the device, which waits for the queue's work, and checks that they are what the
    /// type promises.
    ///
    /// # Errors
    /// [`Error::Sequences`] if they are not; errors of the driver.
    pub fn validate(&self, queue: &Queue) -> Result<()> {
        let offsets = self.read(queue)?;
        let problem = match check(&offsets)? {
            longest if longest > self.longest => {
                format!("a sequence has {longest} positions, expected at most {}", self.longest)
            }
            _ => match offsets.last().map_or(0, |&total| total as usize) {
                total if total == self.total => return Ok(()),
                total => format!("the last offset is {total}, expected {}", self.total),
            },
        };
        Err(Error::Sequences { problem })
    }

    /// The offsets, read back from the device in order with the queue's work.
    pub(super) fn read(&self, queue: &Queue) -> Result<Vec<i32>> {
        let _current = queue.enter()?;
        match &self.memory {
            Memory::Owned(memory) => {
                let read = queue.stream().clone_dtoh(memory).map_err(|error| Error::driver("cu_seqlens", error))?;
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
    ) -> Result<(SequenceOperand, Option<SyncOnDrop<'b>>)> {
        let (address, guard) = match &self.memory {
            Memory::Owned(memory) => {
                TensorView::contiguous(memory, &[self.sequences + 1])?.open(op, argument, queue).map(drop)?;
                let (address, guard) = memory.device_ptr(queue.stream());
                (address, Some(guard))
            }
            Memory::View(view) => {
                let (operand, guard) = view.open(op, argument, queue)?;
                (operand.address, guard)
            }
        };
        let Self { sequences, total, longest, .. } = *self;
        Ok((SequenceOperand { address, sequences, total, longest }, guard))
    }
}

/// The longest sequence of offsets that are in order.
fn check(offsets: &[i32]) -> Result<usize> {
    let problem = match offsets {
        [] => "no offsets, expected one more than there are sequences".to_owned(),
        [0, ..] => {
            let falls = |pair: &[i32]| pair[1] < pair[0];
            match offsets.windows(2).position(falls) {
                Some(at) => format!(
                    "offsets[{}] is {}, expected at least {} (= offsets[{at}])",
                    at + 1,
                    offsets[at + 1],
                    offsets[at]
                ),
                None => return Ok(offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize).max().unwrap_or(0)),
            }
        }
        [first, ..] => format!("offsets[0] is {first}, expected 0"),
    };
    Err(Error::Sequences { problem })
}
