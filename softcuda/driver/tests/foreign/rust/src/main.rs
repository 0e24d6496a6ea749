//! A program with cudarc, which opens libcuda by name: loads PTX from the file in its first argument, runs it, sees a fault.

use cudarc::{
    driver::{CudaContext, CudaSlice, DriverError, LaunchConfig, PushKernelArg, sys::CUresult},
    nvrtc::Ptx,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("no file")?;
    let context = CudaContext::new(0)?;
    println!("device: {}", context.name()?);
    let scale = context.load_module(Ptx::from_file(path))?.load_function("scale")?;
    let stream = context.default_stream();
    let n = 1000u32;
    let values: Vec<f32> = (0..n).map(|i| i as f32).collect();
    let input = stream.clone_htod(&values)?;
    let config = LaunchConfig { grid_dim: (8, 1, 1), block_dim: (128, 1, 1), shared_mem_bytes: 0 };
    let launch = |out: &mut CudaSlice<f32>| -> Result<(), DriverError> {
        let mut builder = stream.launch_builder(&scale);
        builder.arg(out).arg(&input).arg(&2.5f32).arg(&n);
        // SAFETY: the parameters are those of the kernel; whether the memory suffices is what the second launch is about.
        unsafe { builder.launch(config) }?;
        context.synchronize()
    };
    let mut out = stream.alloc_zeros::<f32>(n as usize)?;
    launch(&mut out)?;
    let expected: Vec<f32> = values.iter().map(|value| 2.5 * value).collect();
    if stream.clone_dtoh(&out)? != expected {
        return Err("wrong result".into());
    }
    println!("result: right");

    // One element more than there is.
    let mut short = stream.alloc_zeros::<f32>(n as usize - 1)?;
    let fault = launch(&mut short).err().ok_or("no fault")?;
    println!("fault: {} {}", fault.0 as i32, fault.error_string()?.to_string_lossy());
    if fault.0 != CUresult::CUDA_ERROR_ILLEGAL_ADDRESS {
        return Err("another fault".into());
    }
    // Memory of a context that has ended cannot be freed.
    std::process::exit(0)
}
