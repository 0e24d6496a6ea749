//! What streams run and graphs hold: one value for each operation, checked when it is made.

use super::{
    abi::{CuResult, DevicePointer, Handle},
    copy::Transfer,
    error::{Code, Error},
    event::{Event, Record},
    fill::Fill,
    graph::{Allocation, Graph, Plan, Step},
    launch::KernelCall,
    memory,
    value::Values,
};
use std::{ffi::c_void, sync::Arc};

/// `CUhostFn` and its argument.
#[derive(Clone, Copy)]
pub(super) struct HostCall {
    pub(super) function: extern "C" fn(*mut c_void),
    pub(super) data: usize,
}

/// `CUstreamCallback` and its arguments.
#[derive(Clone, Copy)]
pub(super) struct Callback {
    pub(super) function: extern "C" fn(Handle, CuResult, *mut c_void),
    pub(super) stream: Handle,
    pub(super) data: usize,
}

/// An operation.
#[derive(Clone)]
pub(super) enum Operation {
    /// Nothing: a place for dependencies to meet.
    Empty,
    Kernel(Arc<KernelCall>),
    Copy(Transfer),
    Fill(Fill),
    Host(HostCall),
    /// `cuStreamAddCallback`; no graph has it.
    Callback(Callback),
    /// A node that records an event.
    Record(Arc<Event>),
    /// A node that waits for an event.
    Wait(Arc<Event>),
    /// `cuEventRecord`: takes the time.
    Mark(Arc<Record>),
    /// A node that allocates.
    Allocate(Arc<Allocation>),
    Free(DevicePointer),
    Values(Arc<Values>),
    /// A node that is a graph.
    Child(Arc<Graph>),
    /// An instantiated graph.
    Launch(Arc<Plan>),
}

impl Operation {
    /// An error if it can be told now that it could not run; else a stream runs it.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self {
            Operation::Copy(transfer) => transfer.check(),
            Operation::Fill(fill) => fill.check(),
            Operation::Values(values) => values.check(),
            Operation::Free(address) => memory::leave(*address),
            _ => Ok(()),
        }
    }

    /// Whether running it may take until the program does something: not inside a call, then.
    pub(super) fn blocks(&self) -> bool {
        match self {
            Operation::Host(_) | Operation::Callback(_) => true,
            Operation::Wait(event) => event.is_pending(),
            Operation::Values(values) => values.blocks(),
            Operation::Launch(plan) => plan.steps.iter().any(Step::blocks),
            _ => false,
        }
    }

    /// The form that can wait its turn, and whether the call has to wait for its end all the same.
    pub(super) fn staged(self) -> Result<(Operation, bool), Error> {
        match self {
            Operation::Copy(transfer) => {
                let (transfer, wait) = transfer.staged()?;
                Ok((Operation::Copy(transfer), wait))
            }
            other => Ok((other, false)),
        }
    }

    /// Runs it to its end.
    pub(super) fn run(&self) -> Result<(), Error> {
        match self {
            Operation::Empty => Ok(()),
            Operation::Kernel(call) => call.run(),
            Operation::Copy(transfer) => transfer.run(),
            Operation::Fill(fill) => fill.run(),
            Operation::Host(call) => {
                (call.function)(call.data as *mut c_void);
                Ok(())
            }
            Operation::Callback(callback) => {
                callback.call(Code::SUCCESS);
                Ok(())
            }
            Operation::Record(event) => {
                event.record_now();
                Ok(())
            }
            Operation::Wait(event) => {
                event.wait_anyway();
                Ok(())
            }
            Operation::Mark(record) => {
                record.take_time();
                Ok(())
            }
            Operation::Allocate(allocation) => allocation.commit(),
            Operation::Free(address) => memory::free(*address),
            Operation::Values(values) => values.run(),
            // A child runs as steps of the graph that it belongs to.
            Operation::Child(_) => Ok(()),
            Operation::Launch(plan) => plan.run(),
        }
    }

    /// Instead of running it: its context has ended.
    pub(super) fn abandon(&self, code: Code) {
        match self {
            Operation::Callback(callback) => callback.call(code),
            Operation::Mark(record) => record.take_time(),
            // A fault must not keep the memory.
            Operation::Free(address) => drop(memory::free_leaving(*address)),
            _ => {}
        }
    }
}

impl Callback {
    fn call(&self, code: Code) {
        (self.function)(self.stream, code.0, self.data as *mut c_void);
    }
}
