//! Every wrong access ends the launch with a text that says what, where and by whom.

use crate::support::Bench;
use crate::text::{fault, run_with, text};
use softcuda::fault::{Fault, FaultKind};

/// The device address of the only allocation of a bench.
const BASE: u64 = 0x7000_0000_0200;

/// The fault of a body by 32 threads on an allocation of 1,024 words.
fn of(body: &str) -> Fault {
    fault(body, [32, 1, 1])
}

#[test]
fn device_memory_out_of_bounds() {
    let cases = [
        (
            "st.global.u32 [%d1+3972], %r0;",
            "global store of 4 bytes at device address 0x700000001200: 0 bytes past the end of the allocation at 0x700000000200 (4096 bytes)",
            31,
        ),
        (
            "ld.global.u32 %r1, [%d1+8192];",
            "global load of 4 bytes at device address 0x700000002200: 4096 bytes past the end of the allocation at 0x700000000200 (4096 bytes)",
            0,
        ),
        (
            "ld.global.u32 %r1, [%d1-4];",
            "global load of 4 bytes at device address 0x7000000001fc: 4 bytes before the allocation at 0x700000000200 (4096 bytes)",
            0,
        ),
        (
            "atom.global.add.u32 %r1, [%d1+4096], 1;",
            "atomic of 4 bytes at device address 0x700000001200: 0 bytes past the end of the allocation at 0x700000000200 (4096 bytes)",
            0,
        ),
        (
            "ld.u32 %r1, [%d1+4092];",
            "global load of 4 bytes at device address 0x700000001200: 0 bytes past the end of the allocation at 0x700000000200 (4096 bytes)",
            1,
        ),
        (
            "mov.u64 %d2, 16; ld.global.u32 %r1, [%d2];",
            "global load of 4 bytes at device address 0x10: 123145302311408 bytes before the allocation at 0x700000000200 (4096 bytes)",
            0,
        ),
    ];
    for (body, what, thread) in cases {
        let fault = of(body);
        assert_eq!(fault.kind, FaultKind::IllegalAddress, "{body}");
        assert_eq!(
            fault.text,
            format!("{what}\n  by thread ({thread}, 0, 0) of block (0, 0, 0)\n  at kernel k, PTX line 11"),
            "{body}"
        );
    }
}

#[test]
fn an_access_over_the_end_of_an_odd_allocation() {
    let change = |bench: &mut Bench| {
        // An allocation of 10 bytes before the output.
        bench.upload(&[0u8; 10]);
    };
    let fault =
        run_with(&format!("mov.u64 %d2, {BASE}; ld.global.u32 %r1, [%d2+8];"), 1024, 1, [1, 1, 1], change).unwrap_err();
    assert!(
        fault.text.starts_with("global load of 4 bytes at device address 0x700000000208: 2 bytes over the end of the allocation at 0x700000000200 (10 bytes)\n  by thread (0, 0, 0)"),
        "{}",
        fault.text
    );
}

#[test]
fn the_thread_and_block_that_did_it_are_named() {
    let body = "mov.u32 %r1, %ctaid.x; setp.eq.u32 %p1, %r1, 2; mov.u32 %r2, %tid.y; setp.eq.and.u32 %p1, %r2, 1, %p1; setp.eq.and.u32 %p1, %r0, 3, %p1;\n@%p1 st.global.u32 [%d1+65536], %r0;";
    for threads in [1, 3] {
        let fault = run_with(body, 64, 5, [4, 2, 1], |bench| bench.config.threads = threads).unwrap_err();
        assert!(
            fault.text.ends_with("\n  by thread (3, 1, 0) of block (2, 0, 0)\n  at kernel k, PTX line 12"),
            "{}",
            fault.text
        );
    }
}

#[test]
fn misaligned_accesses() {
    let fault = of("st.global.u32 [%d1+2], %r0;");
    assert_eq!(fault.kind, FaultKind::MisalignedAddress);
    assert_eq!(
        fault.text,
        "global store of 4 bytes at 0x700000000202, which is not a multiple of 4\n  by thread (0, 0, 0) of block (0, 0, 0)\n  at kernel k, PTX line 11"
    );
    let vector = of("ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%d1];");
    assert_eq!(vector.kind, FaultKind::MisalignedAddress);
    assert!(
        vector.text.starts_with(
            "global load of 16 bytes at 0x700000000204, which is not a multiple of 16\n  by thread (1, 0, 0)"
        ),
        "{}",
        vector.text
    );
    let shared = of("mov.u32 %r1, tile; ld.shared.u64 %d2, [%r1+4];");
    assert_eq!(shared.kind, FaultKind::MisalignedAddress);
    assert!(
        shared.text.starts_with("shared load of 8 bytes at 0x4, which is not a multiple of 8\n"),
        "{}",
        shared.text
    );
}

#[test]
fn freed_memory_and_memory_that_never_was() {
    let bench = Bench::new(&text("st.global.u32 [%d1], %r0;"));
    let out = bench.upload(&[0u32; 64]);
    bench.memory.free(out).expect("allocated");
    let fault = bench.launch("k", [1; 3], [32, 1, 1], 0, &[&out.to_le_bytes()]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::IllegalAddress);
    assert!(fault.text.starts_with("global store of 4 bytes at device address 0x700000000200: inside the freed allocation at 0x700000000200 (256 bytes)\n"), "{}", fault.text);
    let bench = Bench::new(&text("st.global.u32 [%d1], %r0;"));
    let fault = bench.launch("k", [1; 3], [32, 1, 1], 0, &[&BASE.to_le_bytes()]).unwrap_err();
    assert!(
        fault.text.starts_with("global store of 4 bytes at device address 0x700000000200: there are no allocations\n"),
        "{}",
        fault.text
    );
}

#[test]
fn a_store_to_constant_memory() {
    let bench = Bench::new(&text("ld.global.u32 %r1, [%d1]; st.global.u32 [%d1], %r0;"));
    let constant = bench.memory.allocate_variable(256, true).expect("device memory");
    let fault = bench.launch("k", [1; 3], [32, 1, 1], 0, &[&constant.to_le_bytes()]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::IllegalAddress);
    assert!(
        fault.text.starts_with("global store to constant memory of 4 bytes at device address 0x700000000200: inside the allocation at 0x700000000200 (256 bytes, read-only)\n"),
        "{}",
        fault.text
    );
}

#[test]
fn shared_and_local_memory_out_of_bounds() {
    let shared = of("mov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 4, %r1; st.shared.u32 [%r1+8100], %r0;");
    assert_eq!(shared.kind, FaultKind::IllegalAddress);
    assert_eq!(
        shared.text,
        "shared store of 4 bytes at shared address 0x2000: the block has 8192 bytes\n  by thread (23, 0, 0) of block (0, 0, 0)\n  at kernel k, PTX line 11"
    );
    let negative = of("mov.u32 %r1, tile; ld.shared.u32 %r1, [%r1-4];");
    assert!(
        negative.text.starts_with("shared load of 4 bytes at shared address 0xfffffffc: the block has 8192 bytes"),
        "{}",
        negative.text
    );
    let matrix = of(
        "mov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 256, %r1; ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r2, %r3, %r4, %r5}, [%r1+272];",
    );
    assert_eq!(matrix.kind, FaultKind::IllegalAddress);
    assert!(
        matrix.text.starts_with(
            "ldmatrix of 16 bytes at shared address 0x2010: the block has 8192 bytes\n  by thread (31, 0, 0)"
        ),
        "{}",
        matrix.text
    );
    let local = of(".local .align 4 .b8 frame[20]; mov.u64 %d2, frame; ld.local.u32 %r1, [%d2+64];");
    assert!(local.text.starts_with("local access of 4 bytes at 0x40: a thread has 32 bytes\n"), "{}", local.text);
}

#[test]
fn the_cuda_source_line_is_named_where_it_is_known() {
    let text = ".version 8.0\n.target sm_80\n.address_size 64\n.file 1 \"vector.cu\"\n.visible .entry k(.param .u64 out)\n{\n.reg .b64 %d<2>;\n.loc 1 17 3\nld.param.u64 %d1, [out];\n.loc 1 23 9\nst.global.u64 [%d1], %d1;\nret;\n}\n";
    let bench = Bench::new(text);
    let fault = bench.launch("k", [1; 3], [1, 1, 1], 0, &[&64u64.to_le_bytes()]).unwrap_err();
    assert!(fault.text.ends_with("\n  at kernel k, PTX line 11, vector.cu:23"), "{}", fault.text);
}

#[test]
fn matrix_operations_need_the_whole_warp() {
    let part = |instruction: &str| {
        of(&format!(
            "mov.u32 %r1, tile; mov.b32 %r4, 0; mov.f32 %f1, 0f00000000; setp.lt.u32 %p1, %r0, 8;\n@%p1 {instruction}"
        ))
        .text
    };
    let mma = part(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1, %f2, %f3, %f4}, {%r4, %r4, %r4, %r4}, {%r4, %r4}, {%f1, %f1, %f1, %f1};",
    );
    assert_eq!(
        mma,
        "mma by the lanes 0x000000ff only: all 32 must take part\n  by thread (0, 0, 0) of block (0, 0, 0)\n  at kernel k, PTX line 12"
    );
    let load = part("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r5}, [%r1];");
    assert!(load.starts_with("ldmatrix by the lanes 0x000000ff only"), "{load}");
    let transposed = part("movmatrix.sync.aligned.m8n8.trans.b16 %r5, %r4;");
    assert!(transposed.starts_with("movmatrix by the lanes 0x000000ff only"), "{transposed}");
}

/// Lanes of one access may lie in device memory and in mapped host memory, which lie at different distances from their
/// device addresses; the host's may start anywhere.
#[test]
fn one_atomic_reaches_device_and_mapped_host_memory() {
    let bench = Bench::new(
        ".version 8.0
        .target sm_80
        .address_size 64
        .visible .entry k(.param .u64 table)
        {
            .reg .b32 %r<3>; .reg .b64 %d<4>;
            ld.param.u64 %d0, [table];
            mov.u32 %r0, %tid.x;
            mad.wide.u32 %d1, %r0, 8, %d0;
            ld.global.u64 %d2, [%d1];
            red.global.add.u32 [%d2], 1;
            ld.global.u32 %r1, [%d2];
            add.u32 %r1, %r1, 10;
            st.global.u32 [%d2], %r1;
            ret;
        }",
    );
    let device = bench.upload(&[0u32; 32]);
    let mut host = [0u32; 33];
    let first = host.as_mut_ptr().wrapping_add(1);
    // SAFETY: the array outlives the mapping and nobody else touches it meanwhile.
    assert!(unsafe { bench.memory.map_host(first.cast(), 128) }, "the range is free");
    let table: Vec<u64> =
        (0..32u64).map(|lane| if lane % 2 == 0 { device + 4 * lane } else { first as u64 + 4 * lane }).collect();
    let table = bench.upload(&table);
    bench
        .launch("k", [1, 1, 1], [32, 1, 1], 0, &[bytemuck::bytes_of(&table)])
        .unwrap_or_else(|fault| panic!("{}", fault.text));
    let device: Vec<u32> = bench.download(device, 32);
    assert!(bench.memory.unmap_host(first.cast()), "it was mapped");
    for lane in 0..32 {
        let (mine, other) = if lane % 2 == 0 { (device[lane], host[lane + 1]) } else { (host[lane + 1], device[lane]) };
        assert_eq!((mine, other), (11, 0), "lane {lane}");
    }
}
