//! `SOFTCUDA_REPORT` names a file that is a JSON array of the launches so far, after every launch.

use super::alone;
use cudarc::{
    driver::{CudaContext, LaunchConfig, PushKernelArg},
    nvrtc::Ptx,
};
use softcuda::chip::Architecture;

const KERNEL: &str = "
.version 8.0
.target sm_80
.address_size 64
.visible .entry fill(.param .u64 out)
{
    .reg .b64 %d<3>;
    .reg .b32 %r<2>;
    ld.param.u64 %d1, [out];
    mov.u32 %r1, %tid.x;
    mad.wide.u32 %d2, %r1, 4, %d1;
    st.global.u32 [%d2], %r1;
    ret;
}
";

#[test]
fn every_launch_is_added_to_the_report_file() {
    let parent = std::env::temp_dir().join(format!("softcuda-report-{}.json", std::process::id()));
    let name = parent.to_str().expect("a name in UTF-8");
    alone("report::every_launch_is_added_to_the_report_file", &[("SOFTCUDA_REPORT", name)], || {
        let path = std::env::var_os("SOFTCUDA_REPORT").expect("the parent has set it");
        std::fs::write(&path, "of an earlier run").unwrap();
        softcuda::install(&[Architecture::Sm80]).unwrap();
        let context = CudaContext::new(0).unwrap();
        let stream = context.default_stream();
        let function = context.load_module(Ptx::from_src(KERNEL)).unwrap().load_function("fill").unwrap();
        let mut out = stream.alloc_zeros::<u32>(64).unwrap();
        for launch in 1..=3u32 {
            let config =
                LaunchConfig { grid_dim: (launch, 1, 1), block_dim: (64, 1, 1), shared_mem_bytes: 16 * launch };
            // SAFETY: the kernel writes 64 words, which `out` has.
            unsafe { stream.launch_builder(&function).arg(&mut out).launch(config) }.unwrap();
            stream.synchronize().unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let list: serde_json::Value = serde_json::from_str(&text).unwrap();
            let list = list.as_array().unwrap();
            assert_eq!(list.len(), launch as usize);
            let last = &list[launch as usize - 1];
            assert_eq!(last["kernel"], "fill");
            assert_eq!(last["device"], 0);
            assert_eq!(last["grid"], serde_json::json!([launch, 1, 1]));
            assert_eq!(last["block"], serde_json::json!([64, 1, 1]));
            assert_eq!(last["dynamic_shared_bytes"], 16 * launch);
            let counters = &last["counters"];
            assert_eq!(counters["blocks"], launch);
            assert_eq!(counters["inst_executed"], 2 * 5 * launch);
            assert_eq!(counters["thread_inst_executed"], 64 * 5 * launch);
            assert_eq!(
                counters["instructions"]["st"],
                serde_json::json!({ "warp": 2 * launch, "thread": 64 * launch })
            );
            assert_eq!(counters["pipes"]["lsu"]["warp"], 2 * 2 * launch);
            assert_eq!(
                counters["global_stores"],
                serde_json::json!({ "requests": 2 * launch, "sectors": 8 * launch, "bytes": 256 * launch })
            );
            let metrics = &last["metrics"];
            assert_eq!(metrics["smsp__inst_executed.sum"], 2 * 5 * launch);
            assert_eq!(metrics["lts__t_sectors_op_write.sum"], 8 * launch);
            // Every block writes the same 256 bytes.
            assert_eq!((&metrics["dram__bytes_read.sum"], &metrics["dram__bytes_write.sum"]), (&0.into(), &256.into()));
            assert!(last["modelled"]["seconds"].as_f64().unwrap() > 0.0);
            let logged = softcuda::launches();
            assert_eq!(logged.len(), launch as usize);
            assert_eq!(logged[launch as usize - 1].counters.global_stores.sectors, u64::from(8 * launch));
        }
    });
    let _ = std::fs::remove_file(&parent);
}
