//! What the time model knows of a chip.

use serde::Deserialize;

/// Figures of the time model: clocks, rates, latencies, power and price.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeFigures {
    /// The clock that the multiprocessors hold.
    pub clock_hz: f64,
    /// From one kernel's end to the next one's when that does nothing.
    pub launch_seconds: f64,
    /// Results a clock and multiprocessor.
    pub throughput: Throughput,
    /// Dense tensor-core FLOP a clock and multiprocessor by type of A; 0: not on this chip.
    pub tensor_flops: TensorFlops,
    /// Cycles from issue to use.
    pub latency: Latency,
    /// Bandwidths.
    pub memory: Bandwidth,
    /// Power and price.
    pub cost: Cost,
}

/// Results a clock and multiprocessor; an instruction of a warp has 32.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throughput {
    /// f32 add, multiply, fused multiply-add.
    pub fma: f64,
    /// Integer multiplication.
    pub imad: f64,
    /// Pairs of f16 or bf16.
    pub half: f64,
    /// Integers, logic, comparison, selection.
    pub alu: f64,
    /// ex2, rcp and the like; conversions.
    pub xu: f64,
    /// f64.
    pub fp64: f64,
}

/// Dense tensor-core FLOP a clock and multiprocessor with `mma.sync`, by type of A.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "types")]
pub struct TensorFlops {
    pub f16: f64,
    pub tf32: f64,
    pub f8: f64,
    pub i8: f64,
    pub i4: f64,
    pub b1: f64,
    pub f64: f64,
}

/// Cycles from issue to the first instruction that can use the result.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// f32 and integers.
    pub alu: f64,
    /// Pairs of halves.
    pub half: f64,
    /// ex2 and the like; conversions.
    pub xu: f64,
    /// f64.
    pub fp64: f64,
    /// Tensor cores, beyond the instruction's interval.
    pub tensor: f64,
    /// Shared memory.
    pub shared: f64,
    /// Shuffles.
    pub shuffle: f64,
    /// A hit of the L2 cache.
    pub l2: f64,
    /// Device memory.
    pub dram: f64,
    /// From the last warp's arrival at a barrier.
    pub barrier: f64,
    /// From a branch to the next instruction of the warp.
    pub branch: f64,
}

/// Bandwidths.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bandwidth {
    /// Of device memory, at its peak.
    pub dram_bytes_per_second: f64,
    /// The part of it that kernels reach.
    pub dram_efficiency: f64,
    /// Of the L2 cache.
    pub l2_bytes_per_second: f64,
    /// From L2 to one multiprocessor.
    pub l2_port_bytes_per_clock: f64,
    /// Between host and device.
    pub host_bytes_per_second: f64,
}

/// Power and price.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// At full load.
    pub tdp_watts: f64,
    /// At rest.
    pub idle_watts: f64,
    /// Rent.
    pub dollars_per_hour: f64,
}

impl TimeFigures {
    /// Bytes a second that kernels reach of device memory.
    pub fn dram_bytes_per_second(&self) -> f64 {
        self.memory.dram_bytes_per_second * self.memory.dram_efficiency
    }

    /// What must not be 0, negative or no number, and is.
    pub(super) fn check(&self) -> Result<(), String> {
        let (rate, memory) = (&self.throughput, &self.memory);
        for (field, value) in [
            ("clock_hz", self.clock_hz),
            ("fma", rate.fma),
            ("imad", rate.imad),
            ("half", rate.half),
            ("alu", rate.alu),
            ("xu", rate.xu),
            ("fp64", rate.fp64),
            ("tensor_flops.f16", self.tensor_flops.f16),
            ("dram_bytes_per_second", memory.dram_bytes_per_second),
            ("dram_efficiency", memory.dram_efficiency),
            ("l2_bytes_per_second", memory.l2_bytes_per_second),
            ("l2_port_bytes_per_clock", memory.l2_port_bytes_per_clock),
            ("host_bytes_per_second", memory.host_bytes_per_second),
        ] {
            if !(value.is_finite() && value > 0.0) {
                return Err(format!("{field} is {value}; it must be a positive number"));
            }
        }
        let latency = &self.latency;
        for (field, value) in [
            ("launch_seconds", self.launch_seconds),
            ("latency.alu", latency.alu),
            ("latency.half", latency.half),
            ("latency.xu", latency.xu),
            ("latency.fp64", latency.fp64),
            ("latency.tensor", latency.tensor),
            ("latency.shared", latency.shared),
            ("latency.shuffle", latency.shuffle),
            ("latency.l2", latency.l2),
            ("latency.dram", latency.dram),
            ("latency.barrier", latency.barrier),
            ("latency.branch", latency.branch),
            ("tdp_watts", self.cost.tdp_watts),
            ("idle_watts", self.cost.idle_watts),
            ("dollars_per_hour", self.cost.dollars_per_hour),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(format!("{field} is {value}; it must be a number, and not negative"));
            }
        }
        Ok(())
    }
}
