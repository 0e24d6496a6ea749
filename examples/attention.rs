//! Exact attention over tensors in device memory: on the first GPU, or in software where there is none.

use half::f16;
use llm_kernels::attention::flash_forward::{Args, Options, flash_forward};
use llm_kernels::{Device, TensorView, TensorViewMut};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let queue = Device::open("auto")?.default_queue();
    let stream = queue.stream();
    // [b, s, h, d]: 128 tokens, 8 heads of queries, 2 of keys and values.
    let (queries, keys) = ([1, 128, 8, 64], [1, 128, 2, 64]);
    let q = stream.clone_htod(&vec![f16::from_f32(0.5); 128 * 8 * 64])?;
    let k = stream.clone_htod(&vec![f16::from_f32(0.25); 128 * 2 * 64])?;
    let v = stream.clone_htod(&vec![f16::from_f32(2.0); 128 * 2 * 64])?;
    let mut out = stream.alloc_zeros::<f16>(128 * 8 * 64)?;
    let q = TensorView::contiguous(&q, &queries)?;
    let k = TensorView::contiguous(&k, &keys)?;
    let v = TensorView::contiguous(&v, &keys)?;
    let options = Options { causal: true, ..Options::default() };
    let args = Args::new(q, k, v, TensorViewMut::contiguous(&mut out, &queries)?);
    flash_forward(&queue, Args { options, ..args })?;
    // The mean of equal values.
    println!("{:?}", &stream.clone_dtoh(&out)?[..4]);
    Ok(())
}
