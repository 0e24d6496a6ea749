//! Counters under the names of NVIDIA Nsight Compute. Instructions are PTX instructions where Nsight counts machine
//! instructions; requests, sectors, wavefronts and bytes are defined alike.

use super::memory::SECTOR_BYTES;
use super::{Counters, GlobalAccess, SharedAccess};

impl Counters {
    /// Nsight Compute's name and value of every counter that has one; those of device memory only if they were measured.
    ///
    /// Loads of shared memory include `ldmatrix`, its stores the destinations of `cp.async`.
    pub fn metrics(&self) -> Vec<(&'static str, f64)> {
        let threads = self.thread_instructions();
        let pipe = |name: &str| self.pipes.get(name).map_or(0, |count| count.warp);
        let mut metrics = vec![
            ("smsp__inst_executed.sum", self.warp_instructions()),
            ("smsp__thread_inst_executed.sum", threads),
            ("smsp__thread_inst_executed_pred_on.sum", threads - self.predicated_off),
            ("smsp__sass_branch_targets_threads_divergent.sum", self.divergent_branches),
            ("sm__inst_executed_pipe_fma.sum", pipe("fma")),
            ("sm__inst_executed_pipe_alu.sum", pipe("alu")),
            ("sm__inst_executed_pipe_fp64.sum", pipe("fp64")),
            ("sm__inst_executed_pipe_xu.sum", pipe("mufu")),
            ("sm__inst_executed_pipe_lsu.sum", pipe("lsu")),
            ("sm__inst_executed_pipe_tensor.sum", pipe("tensor")),
        ];
        let globals: [(&GlobalAccess, [&'static str; 2]); 4] = [
            (
                &self.global_loads,
                ["l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum", "l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum"],
            ),
            (
                &self.global_stores,
                ["l1tex__t_requests_pipe_lsu_mem_global_op_st.sum", "l1tex__t_sectors_pipe_lsu_mem_global_op_st.sum"],
            ),
            (
                &self.async_copies,
                [
                    "l1tex__t_requests_pipe_lsu_mem_global_op_ldgsts.sum",
                    "l1tex__t_sectors_pipe_lsu_mem_global_op_ldgsts.sum",
                ],
            ),
            (
                &self.global_atomics,
                [
                    "l1tex__t_requests_pipe_lsu_mem_global_op_atom.sum",
                    "l1tex__t_sectors_pipe_lsu_mem_global_op_atom.sum",
                ],
            ),
        ];
        for (access, [requests, sectors]) in globals {
            metrics.extend([(requests, access.requests), (sectors, access.sectors)]);
        }
        let sum = |one: &SharedAccess, other: &SharedAccess| {
            let conflicts = |access: &SharedAccess| access.wavefronts.saturating_sub(access.ideal_wavefronts);
            (one.wavefronts + other.wavefronts, conflicts(one) + conflicts(other))
        };
        let (loads, load_conflicts) = sum(&self.shared_loads, &self.matrix_loads);
        let (stores, store_conflicts) = sum(&self.shared_stores, &self.async_stores);
        metrics.extend([
            ("l1tex__data_pipe_lsu_wavefronts_mem_shared.sum", self.shared_wavefronts()),
            ("l1tex__data_pipe_lsu_wavefronts_mem_shared_op_ld.sum", loads),
            ("l1tex__data_pipe_lsu_wavefronts_mem_shared_op_st.sum", stores),
            ("l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_ld.sum", load_conflicts),
            ("l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_st.sum", store_conflicts),
            ("lts__t_sectors.sum", self.l2_sectors()),
            ("lts__t_sectors_op_read.sum", self.global_loads.sectors + self.async_copies.sectors),
            ("lts__t_sectors_op_write.sum", self.global_stores.sectors),
            ("lts__t_sectors_op_atom.sum", self.global_atomics.sectors),
        ]);
        if let Some(memory) = self.memory {
            metrics.extend([
                ("dram__bytes_read.sum", SECTOR_BYTES * memory.read_sectors),
                ("dram__bytes_write.sum", SECTOR_BYTES * memory.write_sectors),
            ]);
        }
        let mut metrics: Vec<(&'static str, f64)> =
            metrics.into_iter().map(|(name, value)| (name, value as f64)).collect();
        let ratio = 32.0 * self.divergence_efficiency();
        metrics.push(("smsp__thread_inst_executed_per_inst_executed.ratio", ratio));
        if let Some(rate) = self.l2_hit_rate() {
            metrics.push(("lts__t_sector_hit_rate.pct", 100.0 * rate));
        }
        metrics
    }

    /// Sectors that multiprocessors ask the L2 cache for or give it. The L1 cache is not modelled: every request of device
    /// memory reaches L2.
    pub fn l2_sectors(&self) -> u64 {
        self.global_bytes() / SECTOR_BYTES
    }

    /// Of those, the part that needed no read from device memory; `None`: not measured.
    pub fn l2_hit_rate(&self) -> Option<f64> {
        let memory = self.memory?;
        let sectors = self.l2_sectors();
        Some(if sectors == 0 { 1.0 } else { 1.0 - memory.read_sectors as f64 / sectors as f64 })
    }

    /// Bytes read from device memory and written to it; `None`: not measured.
    pub fn dram_bytes(&self) -> Option<u64> {
        self.memory.map(|memory| memory.bytes())
    }
}
