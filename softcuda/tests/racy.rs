//! Kernels whose threads race for the same bytes, on several host threads: what they find is anybody's guess, but it is one of the
//! values that were written, and nothing of the host's is touched.
//!
//! Small, so that Miri can watch for undefined behaviour of ours, data races among it: `.ci/miri`.

use softcuda::{
    chip::Architecture,
    config::Config,
    exec::{self, Launch, Machine},
    memory::GlobalMemory,
    program::Program,
};

const WORDS: usize = 256;
/// What memory starts with.
const FIRST: u32 = 0x1111_1111;
/// What every store writes: bytes that are the same in every order.
const SECOND: u32 = 0x2222_2222;

/// Runs `body` with four blocks of 32 threads on four host threads; memory afterwards. `%d0` is the memory, `%d1` a word that
/// threads of all blocks have in common, `%r1` the value to store.
fn run(body: &str) -> Vec<u32> {
    let text = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 memory)\n{{\n\
         .reg .b32 %r<32>; .reg .b64 %d<16>; .reg .b16 %h<8>; .reg .f32 %f<8>; .reg .pred %p<4>;\n\
         .shared .align 128 .b8 tile[1024];\n\
         ld.param.u64 %d0, [memory];\nmov.u32 %r0, %tid.x;\nmad.wide.u32 %d1, %r0, 4, %d0;\nmov.u32 %r1, {SECOND};\n{body}\nret;\n}}\n"
    );
    let module = softcuda::ptx::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    let program = Program::load(&module, &[]).unwrap_or_else(|error| panic!("{error}"));
    let memory = GlobalMemory::new(0x7000_0000_0000, 1 << 16).expect("address space for device memory");
    let address = memory.allocate(4 * WORDS as u64).expect("device memory");
    let start: Vec<u8> = FIRST.to_le_bytes().repeat(WORDS);
    memory.write(address, &start).expect("the allocation is as long");
    let config = Config { threads: 4, ..Config::default() };
    let machine = Machine { architecture: Architecture::Sm80, memory: &memory, config: &config };
    let params = address.to_le_bytes();
    let launch =
        Launch { grid: [4, 1, 1], block: [32, 1, 1], params: &params, resident_blocks: 4, ..Launch::default() };
    exec::launch(&machine, &program.kernels[0], &launch).unwrap_or_else(|fault| panic!("{}", fault.text));
    let mut bytes = vec![0; 4 * WORDS];
    memory.read(address, &mut bytes).expect("the allocation is as long");
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
}

/// Every byte is one of those that there were.
#[track_caller]
fn assert_mixed(words: &[u32]) {
    let known = |byte: &u8| [FIRST as u8, SECOND as u8].contains(byte);
    assert!(words.iter().flat_map(|word| word.to_le_bytes()).all(|byte| known(&byte)), "{words:x?}");
    assert!(words.contains(&SECOND), "something was written");
}

#[test]
fn words_read_and_written_by_all_blocks() {
    assert_mixed(&run(
        "st.global.u32 [%d1], %r1; ld.global.u32 %r2, [%d1+64]; st.global.u32 [%d1+128], %r2; ld.global.u32 %r3, [%d1];",
    ));
}

#[test]
fn one_word_written_by_all_threads() {
    assert_mixed(&run("st.global.u32 [%d0], %r1; ld.global.u32 %r2, [%d0]; st.global.u32 [%d0+4], %r2;"));
}

#[test]
fn accesses_of_different_sizes_to_the_same_bytes() {
    assert_mixed(&run("mad.wide.u32 %d2, %r0, 16, %d0; mov.b64 %d3, {%r1, %r1}; cvt.u16.u32 %h1, %r1;
         st.global.v4.u32 [%d2], {%r1, %r1, %r1, %r1}; st.global.u64 [%d2], %d3; st.global.u16 [%d2+2], %h1;
         st.global.u8 [%d2+5], %h1; ld.global.v2.u64 {%d4, %d5}, [%d2]; ld.global.u8 %h2, [%d2+3];
         ld.global.u16 %h3, [%d1]; ld.global.v4.u32 {%r4, %r5, %r6, %r7}, [%d2]; st.global.u64 [%d2+8], %d4;"));
}

#[test]
fn generic_and_scattered_accesses() {
    // Lane l goes to word 7 l modulo 128: neither side by side nor one after the other.
    assert_mixed(&run("mul.lo.u32 %r2, %r0, 7; and.b32 %r2, %r2, 127; mad.wide.u32 %d2, %r2, 4, %d0;
         st.u32 [%d2], %r1; ld.u32 %r3, [%d2+4]; setp.lt.u32 %p1, %r0, 11; @%p1 st.global.u32 [%d1+256], %r3;
         @!%p1 ld.global.u32 %r4, [%d1+256];"));
}

#[test]
fn asynchronous_copies_of_what_others_write() {
    assert_mixed(&run(
        "mov.u32 %r2, tile; mad.lo.u32 %r3, %r0, 16, %r2; mad.wide.u32 %d2, %r0, 16, %d0; xor.b32 %r9, %r0, 1;
         cp.async.cg.shared.global [%r3], [%d2], 16; cp.async.wait_all;
         ld.shared.v4.u32 {%r4, %r5, %r6, %r7}, [%r3]; st.global.v4.u32 [%d2], {%r1, %r4, %r1, %r5};",
    ));
}

#[test]
fn plain_accesses_beside_atomic_ones() {
    // Atomics make blocks take turns on one host thread; the bytes are the same ones.
    let words = run("atom.global.max.u32 %r2, [%d0], %r1; ld.global.u32 %r3, [%d0]; st.global.u32 [%d1+128], %r3;
         red.global.or.b32 [%d1+512], 0; st.volatile.global.u32 [%d1+512], %r1;");
    assert_mixed(&words);
    assert_eq!(words[0], SECOND);
}

#[test]
fn shared_memory_that_a_block_races_for() {
    assert_mixed(&run(
        "mov.u32 %r2, tile; st.shared.u32 [%r2], %r1; ld.shared.u32 %r3, [%r2]; st.global.u32 [%d0], %r3;",
    ));
}
