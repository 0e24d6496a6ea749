//! What a token cost.

use llm_kernels::{Queue, verify};

use crate::Result;
use crate::generate::Generation;

/// Prints the speed, and what one more token costs where that is counted.
pub(crate) fn print(queue: &Queue, generation: &Generation) -> Result<()> {
    if let Some(speed) = generation.tokens_per_second() {
        println!("{speed:.2} tokens/s on {}", queue.device().name());
    }
    let (launched, profiled) = verify::profiled(queue, 0, || Ok(generation.graph.launch()))?;
    launched?;
    let Some(profiled) = profiled else { return Ok(()) };
    let get = |name| profiled.counters.get(name).unwrap_or(f64::NAN);
    println!(
        "a token: one graph of {} kernels, {:.1} MB of device memory, {:.0} million thread instructions",
        get("launches"),
        1e-6 * get("dram_bytes"),
        1e-6 * get("thread_inst_executed"),
    );
    let modelled = &profiled.modelled;
    println!("modelled: {:.0} us a token, {:.0} tokens/s", 1e6 * modelled.seconds, 1.0 / modelled.seconds);
    Ok(())
}
