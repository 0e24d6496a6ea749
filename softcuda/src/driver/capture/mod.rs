//! Stream capture: what is asked of a capturing stream becomes nodes of a graph.

mod calls;

pub use calls::*;

use super::{
    abi::Handle,
    error::{Code, Error},
    graph::{self, EdgeData, Graph},
    operation::Operation,
    stream::Stream,
};
use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    thread::ThreadId,
};

/// CU_STREAM_CAPTURE_MODE_GLOBAL, THREAD_LOCAL, RELAXED.
const GLOBAL: i32 = 0;
const RELAXED: i32 = 2;

/// CU_STREAM_CAPTURE_STATUS_NONE, ACTIVE, INVALIDATED.
const NONE: i32 = 0;
const ACTIVE: i32 = 1;
const INVALIDATED: i32 = 2;

const STATE_ACTIVE: u8 = 0;
const STATE_INVALID: u8 = 1;
const STATE_ENDED: u8 = 2;

/// One capture, from its begin to its end, in every stream that takes part.
pub(super) struct Sequence {
    id: u64,
    graph: Arc<Graph>,
    /// Whether the graph was there before.
    given: bool,
    mode: i32,
    thread: ThreadId,
    origin: Handle,
    state: AtomicU8,
    streams: Mutex<Vec<Arc<Stream>>>,
}

/// A stream's part in a capture.
pub(super) struct Capturing {
    sequence: Arc<Sequence>,
    /// What the stream's next node depends on.
    dependencies: BTreeMap<Handle, EdgeData>,
    /// Copies of the dependencies that the program has been given pointers to.
    shown: (Vec<Handle>, Vec<EdgeData>),
}

/// The captures in progress.
static SEQUENCES: Mutex<Vec<Arc<Sequence>>> = Mutex::new(Vec::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// How this thread meets captures: `cuThreadExchangeStreamCaptureMode`.
    static MODE: Cell<i32> = const { Cell::new(GLOBAL) };
}

fn sequences() -> MutexGuard<'static, Vec<Arc<Sequence>>> {
    SEQUENCES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sequence {
    fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }

    /// A rule was broken: what follows is refused, and the end gives no graph.
    pub(super) fn invalidate(&self) {
        let _ = self.state.compare_exchange(STATE_ACTIVE, STATE_INVALID, Ordering::AcqRel, Ordering::Acquire);
    }

    /// An error once a rule was broken.
    fn check(&self) -> Result<(), Error> {
        match self.state() {
            STATE_ACTIVE => Ok(()),
            _ => Err(Code::STREAM_CAPTURE_INVALIDATED.into()),
        }
    }

    fn streams(&self) -> MutexGuard<'_, Vec<Arc<Stream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn takes_part(&self, matches: impl Fn(&Stream) -> bool) -> bool {
        self.streams().iter().any(|stream| matches(stream))
    }

    /// Makes a stream take part.
    fn enter(
        self: &Arc<Self>,
        stream: &Arc<Stream>,
        capture: &mut Option<Capturing>,
        nodes: BTreeMap<Handle, EdgeData>,
    ) {
        *capture = Some(Capturing { sequence: self.clone(), dependencies: nodes, shown: Default::default() });
        self.streams().push(stream.clone());
    }

    /// Takes all streams out.
    fn end(self: &Arc<Self>) {
        self.state.store(STATE_ENDED, Ordering::Release);
        let streams = std::mem::take(&mut *self.streams());
        for stream in streams {
            let mut capture = stream.capture();
            if capture.as_ref().is_some_and(|capturing| Arc::ptr_eq(&capturing.sequence, self)) {
                *capture = None;
            }
        }
        let mut sequences = sequences();
        sequences.retain(|sequence| !Arc::ptr_eq(sequence, self));
        COUNT.store(sequences.len(), Ordering::Release);
    }
}

/// Invalidates the captures that are broken by a call, and refuses the call.
fn refuse(code: Code, broken: impl Fn(&Sequence) -> bool) -> Result<(), Error> {
    if COUNT.load(Ordering::Acquire) == 0 {
        return Ok(());
    }
    let mut any = false;
    for sequence in sequences().iter().filter(|sequence| broken(sequence)) {
        sequence.invalidate();
        any = true;
    }
    if any { Err(code.into()) } else { Ok(()) }
}

/// Refuses a call that might wait for a capture behind the program's back, where the modes forbid it.
pub(super) fn forbid_unsafe() -> Result<(), Error> {
    let mode = MODE.get();
    let me = std::thread::current().id();
    refuse(Code::STREAM_CAPTURE_UNSUPPORTED, |sequence| match sequence.thread == me {
        _ if mode == RELAXED => false,
        true => sequence.mode != RELAXED,
        false => sequence.mode == GLOBAL && mode == GLOBAL,
    })
}

/// Refuses a call that waits for a whole context in which a stream is capturing.
pub(super) fn forbid_in(context: Handle) -> Result<(), Error> {
    refuse(Code::STREAM_CAPTURE_UNSUPPORTED, |sequence| sequence.takes_part(|stream| stream.context.handle == context))
}

/// Refuses a call that asks for the end of a capturing stream.
pub(super) fn forbid_on(stream: &Stream) -> Result<(), Error> {
    refuse_on(stream)?;
    forbid_unsafe()
}

/// Refuses an operation that no graph can hold.
pub(super) fn refuse_on(stream: &Stream) -> Result<(), Error> {
    if let Some(capturing) = stream.capture().as_ref() {
        capturing.sequence.invalidate();
        return Err(Code::STREAM_CAPTURE_UNSUPPORTED.into());
    }
    outside(stream)
}

/// Refuses the legacy stream where a stream that synchronizes with it is capturing.
fn outside(stream: &Stream) -> Result<(), Error> {
    if !stream.is_legacy() {
        return Ok(());
    }
    refuse(Code::STREAM_CAPTURE_IMPLICIT, |sequence| implicit(sequence, stream))
}

fn implicit(sequence: &Sequence, legacy: &Stream) -> bool {
    sequence.takes_part(|other| other.is_blocking() && other.context.handle == legacy.context.handle)
}

/// If the stream is capturing adds a node; `false`: it is not.
pub(super) fn append(stream: &Arc<Stream>, operation: &Operation) -> Result<bool, Error> {
    let mut capture = stream.capture();
    let Some(capturing) = capture.as_mut() else {
        drop(capture);
        return outside(stream).map(|()| false);
    };
    capturing.sequence.check()?;
    let added = match operation {
        Operation::Callback(_) | Operation::Mark(_) => Err(Code::STREAM_CAPTURE_UNSUPPORTED.into()),
        Operation::Launch(plan) => graph::of_steps(&plan.steps).map(Operation::Child),
        Operation::Free(address) => graph::free_node(*address),
        other => other.check().map(|()| other.clone()),
    }
    .and_then(|operation| capturing.sequence.graph.add(operation, capturing.dependencies.clone()));
    match added {
        Ok(node) => {
            capturing.dependencies = BTreeMap::from([(node, EdgeData::default())]);
            Ok(true)
        }
        Err(error) => {
            capturing.sequence.invalidate();
            Err(error)
        }
    }
}

/// A capture, and the nodes that its next one waits for.
pub(super) type Position = (Arc<Sequence>, Vec<Handle>);

/// Where a capturing stream stands; `None`: it is not capturing.
pub(super) fn position(stream: &Stream) -> Result<Option<Position>, Error> {
    if let Some(capturing) = stream.capture().as_ref() {
        capturing.sequence.check()?;
        let nodes = capturing.dependencies.keys().copied().collect();
        return Ok(Some((capturing.sequence.clone(), nodes)));
    }
    outside(stream).map(|()| None)
}

/// Makes a stream wait for an event of a capture: it takes part from now on.
pub(super) fn join(stream: &Arc<Stream>, sequence: &Arc<Sequence>, nodes: &[Handle]) -> Result<(), Error> {
    if sequence.state() == STATE_ENDED {
        return Err(Code::CAPTURED_EVENT.into());
    }
    sequence.check()?;
    let nodes = nodes.iter().map(|node| (*node, EdgeData::default()));
    let mut capture = stream.capture();
    match capture.as_mut() {
        None if stream.is_legacy() => {
            sequence.invalidate();
            Err(Code::STREAM_CAPTURE_IMPLICIT.into())
        }
        None => {
            sequence.enter(stream, &mut capture, nodes.collect());
            Ok(())
        }
        Some(capturing) if Arc::ptr_eq(&capturing.sequence, sequence) => {
            capturing.dependencies.extend(nodes);
            Ok(())
        }
        Some(other) => {
            sequence.invalidate();
            other.sequence.invalidate();
            Err(Code::STREAM_CAPTURE_MERGE.into())
        }
    }
}

/// Refuses to make a capturing stream wait for something outside of its capture.
pub(super) fn isolate(stream: &Stream) -> Result<(), Error> {
    if let Some(capturing) = stream.capture().as_ref() {
        capturing.sequence.check()?;
        capturing.sequence.invalidate();
        return Err(Code::STREAM_CAPTURE_ISOLATION.into());
    }
    outside(stream)
}

/// A stream that is destroyed while it is capturing breaks its capture.
pub(super) fn leave(stream: &Stream) {
    if let Some(capturing) = stream.capture().take() {
        capturing.sequence.invalidate();
    }
}
