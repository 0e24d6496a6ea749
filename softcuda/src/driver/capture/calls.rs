//! The calls of stream capture.

use super::{ACTIVE, COUNT, GLOBAL, INVALIDATED, MODE, NONE, RELAXED, STATE_ACTIVE, Sequence, implicit, sequences};
use crate::driver::{
    abi::{CuResult, Handle, In, Out, call},
    error::{Code, Error},
    graph::{self, EdgeData, Graph},
    stream::{self, Stream},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

fn begin(handle: Handle, mode: i32, given: Option<(Arc<Graph>, BTreeMap<Handle, EdgeData>)>) -> Result<(), Error> {
    static NEXT_ID: AtomicU64 = AtomicU64::new(1);
    let stream = stream::find(handle)?;
    if !(GLOBAL..=RELAXED).contains(&mode) {
        return Err(Code::INVALID_VALUE.into());
    }
    if stream.is_legacy() {
        return Err(Code::STREAM_CAPTURE_UNSUPPORTED.into());
    }
    let mut capture = stream.capture();
    if capture.is_some() {
        return Err(Code::ILLEGAL_STATE.into());
    }
    let is_given = given.is_some();
    let (graph, dependencies) = given.unwrap_or_else(|| (Graph::create(), BTreeMap::new()));
    let sequence = Arc::new(Sequence {
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        graph,
        given: is_given,
        mode,
        thread: std::thread::current().id(),
        origin: stream.handle,
        state: AtomicU8::new(STATE_ACTIVE),
        streams: Mutex::default(),
    });
    sequence.enter(&stream, &mut capture, dependencies);
    let mut sequences = sequences();
    sequences.push(sequence);
    COUNT.store(sequences.len(), Ordering::Release);
    Ok(())
}

pub extern "C" fn cuStreamBeginCapture_v2(stream: Handle, mode: i32) -> CuResult {
    call(|| begin(stream, mode, None))
}

pub extern "C" fn cuStreamBeginCaptureToGraph(
    stream: Handle,
    graph: Handle,
    dependencies: In<Handle>,
    edges: In<EdgeData>,
    count: usize,
    mode: i32,
) -> CuResult {
    call(|| {
        let graph = graph::find(graph)?;
        let dependencies = graph::read_dependencies(dependencies, edges, count)?;
        graph.check_nodes(dependencies.keys())?;
        begin(stream, mode, Some((graph, dependencies)))
    })
}

pub extern "C" fn cuStreamEndCapture(stream: Handle, out: Out<Handle>) -> CuResult {
    call(|| {
        out.set(0)?;
        let stream = stream::find(stream)?;
        let sequence = match stream.capture().as_ref() {
            Some(capturing) => capturing.sequence.clone(),
            None => return Err(Code::ILLEGAL_STATE.into()),
        };
        if sequence.origin != stream.handle {
            sequence.invalidate();
            return Err(Code::STREAM_CAPTURE_UNMATCHED.into());
        }
        if sequence.mode != RELAXED && sequence.thread != std::thread::current().id() {
            return Err(Code::STREAM_CAPTURE_WRONG_THREAD.into());
        }
        let result = sequence.check().and_then(|()| check_joined(&stream, &sequence));
        sequence.end();
        match result {
            Ok(()) => out.set(sequence.graph.handle),
            Err(error) => {
                if !sequence.given {
                    sequence.graph.destroy();
                }
                Err(error)
            }
        }
    })
}

/// An error if a stream that takes part has come further than what the origin waits for.
fn check_joined(origin: &Stream, sequence: &Sequence) -> Result<(), Error> {
    let ends = |stream: &Stream| -> Vec<Handle> {
        stream.capture().as_ref().map_or(Vec::new(), |capturing| capturing.dependencies.keys().copied().collect())
    };
    let reached = sequence.graph.ancestors(ends(origin));
    let streams: Vec<_> = sequence.streams().clone();
    let joined = streams.iter().flat_map(|stream| ends(stream)).all(|node| reached.contains(&node));
    if joined { Ok(()) } else { Err(Code::STREAM_CAPTURE_UNJOINED.into()) }
}

pub extern "C" fn cuStreamIsCapturing(stream: Handle, status: Out<i32>) -> CuResult {
    call(|| {
        let stream = stream::find(stream)?;
        let capture = stream.capture();
        let Some(capturing) = capture.as_ref() else {
            // Asking does no harm to the other capture.
            let busy = stream.is_legacy() && sequences().iter().any(|sequence| implicit(sequence, &stream));
            return if busy { Err(Code::STREAM_CAPTURE_IMPLICIT.into()) } else { status.set(NONE) };
        };
        status.set(if capturing.sequence.check().is_ok() { ACTIVE } else { INVALIDATED })
    })
}

/// Where to write what is known about a capture.
struct Info {
    status: Out<i32>,
    id: Out<u64>,
    graph: Out<Handle>,
    dependencies: Out<*const Handle>,
    edges: Out<*const EdgeData>,
    count: Out<usize>,
}

fn info(stream: Handle, out: &Info) -> CuResult {
    let result = cuStreamIsCapturing(stream, out.status);
    if result != Code::SUCCESS.0 {
        return result;
    }
    call(|| {
        let stream = stream::find(stream)?;
        let mut capture = stream.capture();
        let Some(capturing) = capture.as_mut().filter(|capturing| capturing.sequence.check().is_ok()) else {
            return Ok(());
        };
        capturing.shown = capturing.dependencies.iter().map(|(node, edge)| (*node, *edge)).unzip();
        out.id.set_if_wanted(capturing.sequence.id);
        out.graph.set_if_wanted(capturing.sequence.graph.handle);
        out.dependencies.set_if_wanted(capturing.shown.0.as_ptr());
        out.edges.set_if_wanted(capturing.shown.1.as_ptr());
        out.count.set_if_wanted(capturing.shown.0.len());
        Ok(())
    })
}

pub extern "C" fn cuStreamGetCaptureInfo(stream: Handle, status: Out<i32>, id: Out<u64>) -> CuResult {
    let nowhere = Out::from_address;
    let (graph, dependencies) = (nowhere(0), Out::from_address(0));
    info(stream, &Info { status, id, graph, dependencies, edges: Out::from_address(0), count: Out::from_address(0) })
}

/// The dependencies stay readable until the stream's next call.
pub extern "C" fn cuStreamGetCaptureInfo_v2(
    stream: Handle,
    status: Out<i32>,
    id: Out<u64>,
    graph: Out<Handle>,
    dependencies: Out<*const Handle>,
    count: Out<usize>,
) -> CuResult {
    info(stream, &Info { status, id, graph, dependencies, edges: Out::from_address(0), count })
}

pub extern "C" fn cuStreamGetCaptureInfo_v3(
    stream: Handle,
    status: Out<i32>,
    id: Out<u64>,
    graph: Out<Handle>,
    dependencies: Out<*const Handle>,
    edges: Out<*const EdgeData>,
    count: Out<usize>,
) -> CuResult {
    info(stream, &Info { status, id, graph, dependencies, edges, count })
}

pub extern "C" fn cuStreamUpdateCaptureDependencies(
    stream: Handle,
    dependencies: In<Handle>,
    count: usize,
    flags: u32,
) -> CuResult {
    cuStreamUpdateCaptureDependencies_v2(stream, dependencies, In::from_address(0), count, flags)
}

pub extern "C" fn cuStreamUpdateCaptureDependencies_v2(
    stream: Handle,
    dependencies: In<Handle>,
    edges: In<EdgeData>,
    count: usize,
    flags: u32,
) -> CuResult {
    const ADD: u32 = 0;
    const SET: u32 = 1;
    call(|| {
        let stream = stream::find(stream)?;
        let given = graph::read_dependencies(dependencies, edges, count)?;
        let mut capture = stream.capture();
        let capturing = capture.as_mut().ok_or(Code::ILLEGAL_STATE)?;
        capturing.sequence.check()?;
        capturing.sequence.graph.check_nodes(given.keys())?;
        match flags {
            ADD => capturing.dependencies.extend(given),
            SET => capturing.dependencies = given,
            _ => return Err(Code::INVALID_VALUE.into()),
        }
        Ok(())
    })
}

/// Sets how the calling thread meets captures; gives back how it did.
pub extern "C" fn cuThreadExchangeStreamCaptureMode(mode: Out<i32>) -> CuResult {
    call(|| {
        let asked = In::<i32>::from_address(mode.address()).get()?;
        if !(GLOBAL..=RELAXED).contains(&asked) {
            return Err(Code::INVALID_VALUE.into());
        }
        mode.set(MODE.replace(asked))
    })
}
