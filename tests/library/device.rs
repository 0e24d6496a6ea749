//! Devices and launches.

use std::sync::Arc;

use cudarc::driver::{CudaContext, result};
use llm_kernels::attention::flash_forward::{Options, Problem, Shape, plan};
use llm_kernels::software::Architecture;
use llm_kernels::{DType, Device, Error, LaunchPlan, Queue, TensorView, verify};

/// A context of another device than the queue's; `None` on a machine with one GPU.
fn other_context() -> Option<Arc<CudaContext>> {
    let own = queue().device().context().ordinal();
    let other = (own + 1) % CudaContext::device_count().unwrap() as usize;
    if other == own {
        eprintln!("not run: this machine has one GPU");
        return None;
    }
    Some(CudaContext::new(other).unwrap())
}

fn queue() -> &'static Queue {
    verify::queue().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn names_that_are_not_understood_are_refused() {
    for name in ["", "gpu", "cuda", "cuda:", "cuda:x", "cuda:-1", "software:", "software:sm_70", "auto:1"] {
        let error = Device::open(name).unwrap_err();
        assert!(matches!(&error, Error::DeviceName { got } if got == name), "{name}: {error}");
    }
}

#[test]
fn a_gpu_beside_the_software_device_is_refused() {
    if !queue().device().is_software() {
        eprintln!("not run: the device is a GPU");
        return;
    }
    let text = "software device: it is in use in this process, cuda:0 can't be opened beside it";
    assert_eq!(Device::cuda(0).unwrap_err().to_string(), text);
}

#[test]
fn the_software_device_offers_three_chips() {
    if !queue().device().is_software() {
        eprintln!("not run: the device is a GPU");
        return;
    }
    for (architecture, sm, shared_bytes) in [
        (Architecture::Sm80, 80, 163 * 1024),
        (Architecture::Sm89, 89, 99 * 1024),
        (Architecture::Sm90, 90, 227 * 1024),
    ] {
        let device = Device::software(architecture).unwrap();
        assert_eq!((device.limits().sm(), device.limits().shared_bytes_per_block), (sm, shared_bytes));
    }
}

#[test]
fn the_caller_s_current_context_stays() {
    let own = queue().device();
    let Some(other) = other_context() else {
        return;
    };
    for current in [Some(own.context()), Some(&other), None] {
        let handle = current.map_or(std::ptr::null_mut(), |context| context.cu_ctx());
        // SAFETY: a context that lives, or none.
        unsafe { result::ctx::set_current(handle) }.unwrap();
        let stays = |what| {
            let found = result::ctx::get_current().unwrap().unwrap_or(std::ptr::null_mut());
            assert_eq!(found, handle, "{what} left another context current");
        };
        let device = Device::from_context(other.clone()).unwrap();
        stays("from_context");
        device.new_queue().unwrap().synchronize().unwrap();
        stays("a new queue");
        device.prepare(&some_plan()).unwrap();
        stays("prepare");
        drop(device);
        stays("dropping a device");
    }
}

fn some_plan() -> LaunchPlan {
    let shape = Shape { b: 1, s_q: 1, s_k: 1, h_q: 1, h_kv: 1, d: 128, d_v: 128 };
    let problem = Problem::new(DType::F16, shape, &Options::default()).unwrap();
    plan(&problem, queue().device().limits()).unwrap().launch
}

#[test]
fn a_kernel_that_is_not_in_the_build_is_an_error() {
    let plan = LaunchPlan { instance: "flash_forward_f16_d96", ..some_plan() };
    let error = queue().device().prepare(&plan).unwrap_err();
    assert!(matches!(error, Error::KernelMissing { instance: "flash_forward_f16_d96", .. }), "{error}");
}

#[test]
fn a_context_handed_in_twice_is_one_device() {
    let context = queue().device().context().clone();
    let again = Device::from_context(context).unwrap();
    assert!(std::ptr::eq(again.name(), queue().device().name()));
}

#[test]
fn a_stream_of_another_context_is_refused() {
    let Some(other) = other_context() else {
        return;
    };
    let error = Queue::new(queue().device(), other.default_stream()).unwrap_err();
    assert!(matches!(error, Error::WrongDevice { argument: "stream", .. }), "{error}");
}

#[test]
fn an_empty_tensor_needs_no_memory() {
    let context = queue().device().context();
    assert!(TensorView::empty(context, DType::F16, &[4, 0, 8]).is_ok());
    let error = TensorView::empty(context, DType::F16, &[4, 1, 8]).unwrap_err();
    assert!(matches!(error, Error::OutOfBounds { needed: 32, available: 0, .. }), "{error}");
}
