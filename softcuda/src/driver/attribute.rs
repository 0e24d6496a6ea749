//! `CUdevice_attribute`: what each chip reports.

use crate::chip::{
    Architecture, Chip, MAX_BLOCK, MAX_BLOCK_THREADS, MAX_GRID, REGISTERS, SHARED_PER_BLOCK, SHARED_RESERVED_PER_BLOCK,
    WARP_SIZE,
};

/// The value of attribute number `attribute`; `None`: there is no such attribute.
///
/// The numbers are those of `CUdevice_attribute_enum`; its names stand beside them, without their common beginning.
pub(super) fn of(chip: &Chip, ordinal: i32, attribute: i32) -> Option<i32> {
    let (major, minor) = chip.compute_capability();
    let hopper = i32::from(chip.architecture == Architecture::Sm90);
    Some(match attribute {
        1 => MAX_BLOCK_THREADS as i32,     // MAX_THREADS_PER_BLOCK
        2 => MAX_BLOCK[0] as i32,          // MAX_BLOCK_DIM_X
        3 => MAX_BLOCK[1] as i32,          // MAX_BLOCK_DIM_Y
        4 => MAX_BLOCK[2] as i32,          // MAX_BLOCK_DIM_Z
        5 => MAX_GRID[0] as i32,           // MAX_GRID_DIM_X
        6 => MAX_GRID[1] as i32,           // MAX_GRID_DIM_Y
        7 => MAX_GRID[2] as i32,           // MAX_GRID_DIM_Z
        8 => SHARED_PER_BLOCK as i32,      // MAX_SHARED_MEMORY_PER_BLOCK
        9 => 65_536,                       // TOTAL_CONSTANT_MEMORY
        10 => WARP_SIZE as i32,            // WARP_SIZE
        11 => i32::MAX,                    // MAX_PITCH
        12 => REGISTERS as i32,            // MAX_REGISTERS_PER_BLOCK
        13 => chip.clock_khz as i32,       // CLOCK_RATE
        14 => 512,                         // TEXTURE_ALIGNMENT
        15 => 1,                           // GPU_OVERLAP
        16 => chip.multiprocessors as i32, // MULTIPROCESSOR_COUNT
        17 => 0,                           // KERNEL_EXEC_TIMEOUT
        18 => 0,                           // INTEGRATED
        19 => 1,                           // CAN_MAP_HOST_MEMORY
        20 => 0,                           // COMPUTE_MODE: default

        21..=29 | 42..=49 | 52..=74 | 77 => texture(attribute), // MAXIMUM_TEXTURE*, MAXIMUM_SURFACE*

        30 => 512,                                     // SURFACE_ALIGNMENT
        31 => 1,                                       // CONCURRENT_KERNELS
        32 => i32::from(chip.ecc),                     // ECC_ENABLED
        33 => ordinal + 1,                             // PCI_BUS_ID
        34 => 0,                                       // PCI_DEVICE_ID
        35 => 0,                                       // TCC_DRIVER
        36 => chip.memory_clock_khz as i32,            // MEMORY_CLOCK_RATE
        37 => chip.memory_bus_bits as i32,             // GLOBAL_MEMORY_BUS_WIDTH
        38 => chip.l2_bytes as i32,                    // L2_CACHE_SIZE
        39 => chip.threads_per_multiprocessor as i32,  // MAX_THREADS_PER_MULTIPROCESSOR
        40 => chip.copy_engines as i32,                // ASYNC_ENGINE_COUNT
        41 => 1,                                       // UNIFIED_ADDRESSING
        50 => 0,                                       // PCI_DOMAIN_ID
        51 => 32,                                      // TEXTURE_PITCH_ALIGNMENT
        75 => major as i32,                            // COMPUTE_CAPABILITY_MAJOR
        76 => minor as i32,                            // COMPUTE_CAPABILITY_MINOR
        78 => 1,                                       // STREAM_PRIORITIES_SUPPORTED
        79 => 1,                                       // GLOBAL_L1_CACHE_SUPPORTED
        80 => 1,                                       // LOCAL_L1_CACHE_SUPPORTED
        81 => chip.shared_per_multiprocessor() as i32, // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
        82 => REGISTERS as i32,                        // MAX_REGISTERS_PER_MULTIPROCESSOR
        83 => 1,                                       // MANAGED_MEMORY
        84 => 0,                                       // MULTI_GPU_BOARD
        85 => ordinal,                                 // MULTI_GPU_BOARD_GROUP_ID
        86 => 0,                                       // HOST_NATIVE_ATOMIC_SUPPORTED
        87 => chip.single_to_double_ratio as i32,      // SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO
        88 => 0,                                       // PAGEABLE_MEMORY_ACCESS
        89 => 1,                                       // CONCURRENT_MANAGED_ACCESS
        90 => 1,                                       // COMPUTE_PREEMPTION_SUPPORTED
        91 => 1,                                       // CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM
        92..=94 => 1,                                  // CAN_USE_*STREAM_*_V1
        95 => 1,                                       // COOPERATIVE_LAUNCH
        96 => 0,                                       // COOPERATIVE_MULTI_DEVICE_LAUNCH
        97 => chip.shared_per_block_optin as i32,      // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        98 => 0,                                       // CAN_FLUSH_REMOTE_WRITES
        99 => 1,                                       // HOST_REGISTER_SUPPORTED
        100 => 0,                                      // PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES
        101 => 0,                                      // DIRECT_MANAGED_MEM_ACCESS_FROM_HOST
        102 => i32::from(cfg!(target_os = "linux")),   // VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED
        103..=105 => 0,                                // HANDLE_TYPE_*_SUPPORTED
        106 => chip.blocks_per_multiprocessor as i32,  // MAX_BLOCKS_PER_MULTIPROCESSOR
        107 => 0,                                      // GENERIC_COMPRESSION_SUPPORTED
        108 => chip.l2_persisting_bytes as i32,        // MAX_PERSISTING_L2_CACHE_SIZE
        109 => (128 << 20) - 4096,                     // MAX_ACCESS_POLICY_WINDOW_SIZE
        110 => 0,                                      // GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED
        111 => SHARED_RESERVED_PER_BLOCK as i32,       // RESERVED_SHARED_MEMORY_PER_BLOCK
        112 => 0,                                      // SPARSE_CUDA_ARRAY_SUPPORTED
        113 => 1,                                      // READ_ONLY_HOST_REGISTER_SUPPORTED
        114 => 0,                                      // TIMELINE_SEMAPHORE_INTEROP_SUPPORTED
        115 => 1,                                      // MEMORY_POOLS_SUPPORTED
        116..=119 => 0,                                // GPU_DIRECT_RDMA_*, MEMPOOL_SUPPORTED_HANDLE_TYPES
        // Clusters and tensor maps belong to Hopper, but this device does not run them: it says so.
        120 => 0,              // CLUSTER_LAUNCH
        121 => 0,              // DEFERRED_MAPPING_CUDA_ARRAY_SUPPORTED
        122 | 123 => 1,        // CAN_USE_64_BIT_STREAM_MEM_OPS, CAN_USE_STREAM_WAIT_VALUE_NOR
        124 => 0,              // DMA_BUF_SUPPORTED
        125 => 0,              // IPC_EVENT_SUPPORTED
        126 => 1 + 3 * hopper, // MEM_SYNC_DOMAIN_COUNT
        127 => 0,              // TENSOR_MAP_ACCESS_SUPPORTED
        128 => 0,              // HANDLE_TYPE_FABRIC_SUPPORTED
        129 => 0,              // UNIFIED_FUNCTION_POINTERS
        130 => 0,              // NUMA_CONFIG
        131 => -1,             // NUMA_ID
        132 => 0,              // MULTICAST_SUPPORTED
        133 => 0,              // MPS_ENABLED
        134 => -1,             // HOST_NUMA_ID
        135..=138 => 0,        // D3D12_CIG_SUPPORTED, MEM_DECOMPRESS_*, VULKAN_CIG_SUPPORTED
        139 | 140 => 0,        // GPU_PCI_DEVICE_ID, GPU_PCI_SUBSYSTEM_ID
        141..=147 => 0,        // HOST_NUMA_*, HOST_*_SUPPORTED, ONLY_PARTIAL_HOST_NATIVE_ATOMIC_SUPPORTED
        _ => return None,
    })
}

/// Sizes of textures and surfaces, the same for all chips. There are no textures here; programs print the numbers.
fn texture(attribute: i32) -> i32 {
    match attribute {
        21 | 22 => 131_072, // 1D, 2D width
        23 => 65_536,       // 2D height
        24..=26 => 16_384,  // 3D
        27 | 28 => 32_768,  // 2D layered
        29 => 2048,         // layers
        42 => 32_768,       // 1D layered
        43 => 2048,         // layers
        44 => 1,            // gather
        45 | 46 => 32_768,  // gather width, height
        47 | 48 => 8192,    // 3D alternate width, height
        49 => 32_768,       // 3D alternate depth
        52 | 53 => 32_768,  // cube
        54 => 2046,         // cube layers
        55 => 32_768,       // surface 1D
        56 => 131_072,      // surface 2D width
        57 => 65_536,       // surface 2D height
        58..=60 => 16_384,  // surface 3D
        61 => 32_768,       // surface 1D layered
        62 => 2048,         // layers
        63 | 64 => 32_768,  // surface 2D layered
        65 => 2048,         // layers
        66 | 67 => 32_768,  // surface cube
        68 => 2046,         // layers
        69 => 268_435_456,  // 1D linear
        70 => 131_072,      // 2D linear width
        71 => 65_000,       // 2D linear height
        72 => 2_097_120,    // 2D linear pitch
        73 | 74 => 32_768,  // 2D mipmapped
        _ => 32_768,        // 1D mipmapped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_has_a_value_and_no_other_number_has() {
        for architecture in Architecture::ALL {
            let chip = architecture.chip();
            for attribute in 1..=147 {
                assert!(of(chip, 0, attribute).is_some(), "{attribute}");
            }
            for attribute in [-1, 0, 148, i32::MAX, i32::MIN] {
                assert_eq!(of(chip, 0, attribute), None, "{attribute}");
            }
        }
    }
}
