//! What streams have still to do.
//!
//! An operation runs inside the call that asks for it when nothing before it is pending: that is one of the legal
//! orders, and the same every time. What has to wait (behind a host function, for a value that is yet to be written,
//! for an event of a stream that waits itself) goes to its stream's queue, which a thread works off that ends with it.

use super::{
    clock::{self, Progress},
    error::{Code, Error},
    memory,
    operation::Operation,
    stream::{self, Stream},
};
use std::{
    cell::Cell,
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Operations of all streams that have been asked for and have not ended.
static PENDING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread is one that works off a queue: a host function that waited here might wait for itself.
    static WORKS: Cell<bool> = const { Cell::new(false) };
}

/// Tells when an operation has ended.
#[derive(Default)]
pub(super) struct Signal {
    done: Mutex<bool>,
    changed: Condvar,
    /// When it ended, in modelled time.
    pub(super) reached: Progress,
}

impl Signal {
    /// Of an operation that has ended.
    pub(super) fn completed() -> Arc<Signal> {
        Arc::new(Signal { done: Mutex::new(true), ..Signal::default() })
    }

    pub(super) fn is_done(&self) -> bool {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complete(&self) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits for the end; CUDA_ERROR_NOT_PERMITTED in a host function.
    pub(super) fn wait(&self) -> Result<(), Error> {
        if self.is_done() {
            clock::waited(self.reached.now());
            return Ok(());
        }
        if WORKS.get() {
            return Err(Error::new(Code::NOT_PERMITTED, "a host function must not wait for the device"));
        }
        self.wait_anyway();
        clock::waited(self.reached.now());
        Ok(())
    }

    /// Waits for the end, on a thread that works off a queue, too: for an operation that comes before its own.
    pub(super) fn wait_anyway(&self) {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(done, |done| !*done).unwrap_or_else(PoisonError::into_inner));
    }
}

/// The operations of one stream, in order.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    /// Whether an operation runs, in a call or on the thread that works off the items.
    running: bool,
    /// The end of the latest operation.
    last: Option<Arc<Signal>>,
}

struct Item {
    operation: Operation,
    after: Vec<Arc<Signal>>,
    done: Arc<Signal>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of the latest operation, unless that is over.
    pub(super) fn tail(&self) -> Option<Arc<Signal>> {
        self.lock().last.clone().filter(|signal| !signal.is_done())
    }
}

/// Whether any operation of any stream has not ended.
pub(super) fn any_pending() -> bool {
    PENDING.load(Ordering::Acquire) > 0
}

/// Runs an operation on a stream, or queues it behind what is pending there and behind `after`.
pub(super) fn submit(
    on: &Arc<Stream>,
    operation: Operation,
    mut after: Vec<Arc<Signal>>,
) -> Result<Arc<Signal>, Error> {
    on.context.check()?;
    operation.check()?;
    if any_pending() {
        after.extend(stream::implied(on));
        after.retain(|signal| !signal.is_done());
    }
    on.catch_up();
    let done = Arc::new(Signal::default());
    let mut state = on.queue.lock();
    if !state.running && after.is_empty() && !operation.blocks() {
        state.running = true;
        state.last = Some(done.clone());
        PENDING.fetch_add(1, Ordering::AcqRel);
        drop(state);
        let _end = EndOfCall { stream: on, done: &done };
        clock::run(&on.progress, on.context.device.chip, || operation.run())?;
        return Ok(done.clone());
    }
    drop(state);
    // What the program may change or read as soon as the call returns is copied now or waited for.
    let (operation, wait) = operation.staged()?;
    let mut state = on.queue.lock();
    state.items.push_back(Item { operation, after, done: done.clone() });
    state.last = Some(done.clone());
    PENDING.fetch_add(1, Ordering::AcqRel);
    if !state.running {
        state.running = true;
        start(on.clone())?;
    }
    drop(state);
    if wait {
        done.wait()?;
        on.context.check()?;
    }
    Ok(done)
}

/// Ends an operation that ran inside a call, whether it succeeded or not.
struct EndOfCall<'a> {
    stream: &'a Arc<Stream>,
    done: &'a Signal,
}

impl Drop for EndOfCall<'_> {
    fn drop(&mut self) {
        PENDING.fetch_sub(1, Ordering::AcqRel);
        self.done.reached.lift(self.stream.progress.now());
        self.stream.publish();
        self.done.complete();
        let mut state = self.stream.queue.lock();
        if state.items.is_empty() || start(self.stream.clone()).is_err() {
            state.running = false;
        }
    }
}

fn start(stream: Arc<Stream>) -> Result<(), Error> {
    let thread = std::thread::Builder::new().name("softcuda stream".to_owned());
    let started = thread.spawn(move || work_off(&stream));
    started.map(drop).map_err(|error| Error::new(Code::OPERATING_SYSTEM, format!("no thread for a stream: {error}")))
}

/// Runs a stream's operations until none is left.
fn work_off(stream: &Stream) {
    WORKS.set(true);
    loop {
        let mut state = stream.queue.lock();
        let Some(item) = state.items.pop_front() else {
            state.running = false;
            return;
        };
        drop(state);
        for signal in &item.after {
            signal.wait_anyway();
            stream.progress.lift(signal.reached.now());
        }
        stream.catch_up();
        let result = match stream.context.check() {
            Ok(()) => super::abi::guarded(|| match &item.operation {
                Operation::Free(address) => memory::free_leaving(*address),
                operation => clock::run(&stream.progress, stream.context.device.chip, || operation.run()),
            }),
            Err(error) => {
                item.operation.abandon(error.code);
                Ok(())
            }
        };
        if let Err(error) = result {
            // Nobody is there to be told: it shows in the calls that follow, but without its words.
            stream.context.poison(error.code);
            error.aloud().raise();
        }
        PENDING.fetch_sub(1, Ordering::AcqRel);
        item.done.reached.lift(stream.progress.now());
        stream.publish();
        item.done.complete();
    }
}
