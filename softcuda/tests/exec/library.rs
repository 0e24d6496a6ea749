//! What a C++ compiler makes of device functions, printf, assert and the heap.

use crate::support::Bench;
use softcuda::fault::FaultKind;
use std::sync::Mutex;

const FUNCTIONS: &str = include_str!("cuda/functions.ptx");

fn fibonacci(n: i32) -> i32 {
    (0..n).fold((0, 1), |(a, b), _| (b, a + b)).0
}

#[test]
fn functions_compiled_from_cuda_give_what_they_give_in_rust() {
    let bench = Bench::new(FUNCTIONS);
    let (threads, n) = (48, 3i32);
    let out = bench.upload(&vec![0i32; 8 * threads]);
    bench
        .launch("functions", [1; 3], [threads as u32, 1, 1], 0, &[&out.to_le_bytes(), &n.to_le_bytes()])
        .unwrap_or_else(|fault| panic!("{}", fault.text));
    let words: Vec<i32> = bench.download(out, 8 * threads);
    for (t, own) in (0..).zip(words.chunks(8)) {
        assert_eq!(own[0], t % 5 * t + t, "a structure by value, thread {t}");
        assert_eq!(own[1], 3 * t);
        assert_eq!(own[2], fibonacci(t % 12));
        assert_eq!(own[3], (t + 1) % 2, "functions that call each other");
        let mut state = t as u32 + 1;
        let sum: i32 = (0..40)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) as i32 % 1000
            })
            .sum();
        assert_eq!(own[4], sum, "a sorted local array");
        let area = if t % 3 == 0 { t * t } else { t * n };
        assert_eq!(own[5], [2, 3, 5, 7, 11, 13, 17, 19][t as usize % 8] * area, "a virtual function");
        assert_eq!(own[6], if (t + n) % 2 == 0 { t + 97 } else { -300 * t }, "a function pointer in memory");
        assert_eq!(own[7], 5 + t, "alloca around calls");
    }
}

/// What a launch prints, and its fault.
fn printed(bench: &Bench, kernel: &str, grid: u32, block: u32, n: i32) -> (String, Option<(FaultKind, String)>) {
    let text = Mutex::new(Vec::new());
    let output = |bytes: &[u8]| text.lock().expect("one at a time").extend_from_slice(bytes);
    let result = bench.launch_printing(kernel, [grid, 1, 1], [block, 1, 1], &[&n.to_le_bytes()], &output);
    let text = String::from_utf8(text.into_inner().expect("nobody panicked")).expect("ASCII");
    (text, result.err().map(|fault| (fault.kind, fault.text)))
}

#[test]
fn printf_prints_block_after_block_whatever_the_number_of_host_threads() {
    let mut bench = Bench::new(FUNCTIONS);
    let mut expected = "-42|   42|42   |52|ff|0XFF|z|text|%\n\
        1.500000|2.25| 1.235e+04|0.0001|0x1p+0|-1099511627776|1099511627776|42|  abc|8\n"
        .to_owned();
    for block in 0..40 {
        for thread in (0..40).step_by(2) {
            expected += &format!("block {block} thread {thread}\n");
        }
    }
    for threads in [1, 2, 5] {
        bench.config.threads = threads;
        let (text, fault) = printed(&bench, "prints", 40, 40, 42);
        assert_eq!(fault, None);
        assert_eq!(text, expected, "{threads} host threads");
    }
}

#[test]
fn a_failed_assertion_prints_what_cuda_prints_and_ends_the_launch() {
    let mut bench = Bench::new(FUNCTIONS);
    bench.config.threads = 3;
    let (text, fault) = printed(&bench, "asserts", 4, 32, 30);
    let mut expected: String = (0..32).map(|thread| format!("before {thread}\n")).collect();
    for thread in [30, 31] {
        expected += &format!(
            "functions.cu:107: void asserts(int): block: [0,0,0], thread: [{thread},0,0] Assertion `int(threadIdx.x) < n && \"too many\"` failed.\n"
        );
    }
    assert_eq!(text, expected);
    let (kind, report) = fault.expect("a fault");
    assert_eq!(kind, FaultKind::Assert);
    assert!(
        report.starts_with("functions.cu:107: void asserts(int): block: [0,0,0], thread: [30,0,0] Assertion `"),
        "{report}"
    );
    assert!(
        report.contains("failed.\n  by thread (30, 0, 0) of block (0, 0, 0)\n  at kernel asserts, PTX line "),
        "{report}"
    );
    assert_eq!(printed(&bench, "asserts", 1, 32, 32).1, None);
}

#[test]
fn device_code_allocates_and_frees() {
    let bench = Bench::new(FUNCTIONS);
    let out = bench.upload(&[0i32; 96]);
    let used = bench.memory.used();
    bench
        .launch("lists", [3, 1, 1], [32, 1, 1], 0, &[&out.to_le_bytes()])
        .unwrap_or_else(|fault| panic!("{}", fault.text));
    for (t, sum) in (0..).zip(bench.download::<i32>(out, 96)) {
        assert_eq!(sum, (0..=t % 5).map(|i| i + t).sum::<i32>(), "thread {t}");
    }
    assert_eq!(bench.memory.used(), used, "all is free again");
}

#[test]
fn the_heap_has_an_end_and_a_second_free_is_a_fault() {
    let bench = Bench::new(FUNCTIONS);
    for twice in [0, 1] {
        let out = bench.upload(&[7, 7, twice]);
        let result = bench.launch("exhausts", [1; 3], [1; 3], 0, &[&out.to_le_bytes()]);
        assert_eq!(bench.download::<i32>(out, 2), [1, 1]);
        match result {
            Ok(_) => assert_eq!(twice, 0),
            Err(fault) => {
                assert_eq!((twice, fault.kind), (1, FaultKind::LaunchFailed));
                assert!(fault.text.contains(", which malloc has not given or which is free already"), "{}", fault.text);
            }
        }
    }
}
