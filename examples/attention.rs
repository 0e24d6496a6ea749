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
    let args = Args {
        q: TensorView::contiguous(&q, &queries)?,
        k: TensorView::contiguous(&k, &keys)?,
        v: TensorView::contiguous(&v, &keys)?,
        out: TensorViewMut::contiguous(&mut out, &queries)?,
        lse: None,
        options: Options { causal: true, ..Options::default() },
    };
    flash_forward(&queue, args)?;
    // The mean of equal values.
    println!("{:?}", &stream.clone_dtoh(&out)?[..4]);
    Ok(())
}
