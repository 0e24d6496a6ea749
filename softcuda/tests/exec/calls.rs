//! Calls: parameters, results, recursion, function pointers, threads that return one after the other or end inside.

use crate::support::Bench;
use crate::text::{output, text_with};
use softcuda::fault::{Fault, FaultKind};

/// Runs `body` with these functions over 64 words of output, one warp.
fn try_call(functions: &str, body: &str, stack_bytes: u32) -> Result<Vec<u32>, Box<Fault>> {
    let mut bench = Bench::new(&text_with(functions, body));
    bench.config.instruction_limit = 50_000_000;
    bench.stack_bytes = stack_bytes;
    let out = bench.upload(&[0xdddd_ddddu32; 128]);
    bench.launch("k", [1; 3], [32, 1, 1], 0, &[&out.to_le_bytes()])?;
    Ok(bench.download(out, 128))
}

fn call(functions: &str, body: &str) -> Vec<u32> {
    try_call(functions, body, 1024).unwrap_or_else(|fault| panic!("{}", fault.text))
}

const FIB: &str = "
    .func (.param .b32 result) fib(.param .b32 n)
    {
        .reg .b32 %r<8>; .reg .pred %p;
        ld.param.u32 %r1, [n];
        setp.lt.u32 %p, %r1, 2;
        @%p bra SMALL;
        add.s32 %r2, %r1, -1;
        { .param .b32 a; .param .b32 b; st.param.b32 [a], %r2; call (b), fib, (a); ld.param.b32 %r3, [b]; }
        add.s32 %r2, %r1, -2;
        { .param .b32 a; .param .b32 b; st.param.b32 [a], %r2; call (b), fib, (a); ld.param.b32 %r4, [b]; }
        add.s32 %r1, %r3, %r4;
        SMALL: st.param.b32 [result], %r1;
        ret;
    }";

#[test]
fn every_thread_computes_its_own_fibonacci_number() {
    let body = "and.b32 %r1, %r0, 15; { .param .b32 a; .param .b32 b; st.param.b32 [a], %r1; call (b), fib, (a); ld.param.b32 %r2, [b]; }
        st.global.u32 [%d1], %r2; activemask.b32 %r3; st.global.u32 [%d1+128], %r3;";
    let words = call(FIB, body);
    let fib = |n: u32| (0..n).fold((0, 1), |(a, b), _| (b, a + b)).0;
    for t in 0..32 {
        assert_eq!(words[t], fib(t as u32 & 15));
        assert_eq!(words[32 + t], u32::MAX, "all are back together");
    }
}

#[test]
fn recursion_that_is_too_deep_is_a_stack_overflow() {
    let body = "mov.u32 %r1, 1000000; { .param .b32 a; .param .b32 b; st.param.b32 [a], %r1; call (b), fib, (a); }";
    let fault = try_call(FIB, body, 1024).unwrap_err();
    assert_eq!(fault.kind, FaultKind::LaunchFailed);
    assert!(fault.text.starts_with("stack overflow: a frame of "), "{}", fault.text);
    assert!(fault.text.contains("(CU_LIMIT_STACK_SIZE)\n  by thread (0, 0, 0) of block (0, 0, 0)"), "{}", fault.text);
}

#[test]
fn two_functions_call_each_other() {
    // Ackermann's function, its outer and inner part in functions of their own.
    let functions = "
        .func (.param .b32 result) inner(.param .b32 m, .param .b32 n);
        .func (.param .b32 result) ackermann(.param .b32 m, .param .b32 n)
        {
            .reg .b32 %r<8>; .reg .pred %p<2>;
            ld.param.u32 %r1, [m]; ld.param.u32 %r2, [n];
            setp.eq.u32 %p0, %r1, 0;
            @!%p0 bra OTHER;
            add.u32 %r3, %r2, 1; st.param.b32 [result], %r3; ret;
            OTHER: call (%r4), inner, (%r1, %r2);
            st.param.b32 [result], %r4; ret;
        }
        .func (.param .b32 result) inner(.param .b32 m, .param .b32 n)
        {
            .reg .b32 %r<8>; .reg .pred %p<2>;
            ld.param.u32 %r1, [m]; ld.param.u32 %r2, [n];
            add.s32 %r5, %r1, -1; mov.u32 %r3, 1; setp.eq.u32 %p0, %r2, 0;
            add.s32 %r4, %r2, -1;
            @!%p0 call (%r3), ackermann, (%r1, %r4);
            call (%r6), ackermann, (%r5, %r3);
            @%p0 add.u32 %r6, %r6, 1000;
            @%p0 add.u32 %r6, %r6, -1000;
            st.param.b32 [result], %r6; ret;
        }";
    let body = "and.b32 %r1, %r0, 3; shr.u32 %r2, %r0, 2; and.b32 %r2, %r2, 3; call (%r3), ackermann, (%r1, %r2); st.global.u32 [%d1], %r3;";
    let words = try_call(functions, body, 1 << 16).unwrap_or_else(|fault| panic!("{}", fault.text));
    fn ackermann(m: u32, n: u32) -> u32 {
        match (m, n) {
            (0, n) => n + 1,
            (m, 0) => ackermann(m - 1, 1),
            (m, n) => ackermann(m - 1, ackermann(m, n - 1)),
        }
    }
    for t in 0..32u32 {
        assert_eq!(words[t as usize], ackermann(t & 3, t >> 2 & 3), "thread {t}");
    }
}

#[test]
fn threads_return_one_after_the_other_and_end_inside_a_function() {
    // Thread t returns after t rounds; threads 5 and 9 end in the function; a barrier inside counts those that are left.
    let functions = "
        .func (.param .b32 result) f(.param .b32 n)
        {
            .reg .b32 %r<8>; .reg .pred %p<4>;
            ld.param.u32 %r1, [n]; mov.u32 %r2, 0;
            setp.eq.u32 %p1, %r1, 5; @%p1 exit; setp.eq.u32 %p1, %r1, 9; @%p1 exit;
            barrier.sync 1;
            st.param.b32 [result], %r2;
            setp.eq.u32 %p2, %r1, 0;
            @%p2 ret;
            LOOP: add.u32 %r2, %r2, 3; add.s32 %r1, %r1, -1; st.param.b32 [result], %r2;
            setp.eq.u32 %p0, %r1, 0; @%p0 ret;
            bra LOOP;
        }";
    let body = "call (%r2), f, (%r0); activemask.b32 %r3; st.global.u32 [%d1], %r2; st.global.u32 [%d1+128], %r3;";
    let words = call(functions, body);
    for t in 0..32 {
        let gone = t == 5 || t == 9;
        assert_eq!(words[t], if gone { 0xdddd_dddd } else { 3 * t as u32 });
        assert_eq!(words[32 + t], if gone { 0xdddd_dddd } else { !(1 << 5 | 1 << 9) });
    }
}

#[test]
fn structures_pass_by_value_in_both_directions() {
    let functions = "
        .func (.param .align 8 .b8 result[24]) turn(.param .align 8 .b8 value[24], .param .b8 small, .param .b16 shorter)
        {
            .reg .b64 %d<8>; .reg .b32 %r<8>; .reg .b16 %h<4>;
            ld.param.u64 %d1, [value]; ld.param.u64 %d2, [value+8]; ld.param.v2.u32 {%r1, %r2}, [value+16];
            ld.param.s8 %h1, [small]; ld.param.u16 %h2, [shorter];
            cvt.s32.s16 %r3, %h1; cvt.u32.u16 %r4, %h2; add.u32 %r1, %r1, %r3; add.u32 %r2, %r2, %r4;
            st.param.b64 [result], %d2; st.param.b64 [result+8], %d1; st.param.v2.b32 [result+16], {%r2, %r1};
            ret;
        }";
    let body = "
        cvt.u64.u32 %d2, %r0; add.u64 %d3, %d2, 100; add.u32 %r1, %r0, 200; add.u32 %r2, %r0, 300; cvt.u16.u32 %h1, %r0;
        { .param .align 8 .b8 value[24]; .param .b8 small; .param .b16 shorter; .param .align 8 .b8 result[24];
          st.param.b64 [value], %d2; st.param.b64 [value+8], %d3; st.param.v2.b32 [value+16], {%r1, %r2};
          mov.b16 %h3, -7; st.param.b8 [small], %h3; st.param.b16 [shorter], %h1;
          call (result), turn, (value, small, shorter);
          ld.param.b64 %d4, [result]; ld.param.b64 %d5, [result+8]; ld.param.v2.b32 {%r3, %r4}, [result+16]; }
        cvt.u32.u64 %r5, %d4; cvt.u32.u64 %r6, %d5;
        st.global.u32 [%d1], %r5; st.global.u32 [%d1+128], %r6; st.global.u32 [%d1+256], %r3; st.global.u32 [%d1+384], %r4;";
    let words = call(functions, body);
    for t in 0..32u32 {
        let at = |row: u32| words[(32 * row + t) as usize];
        assert_eq!([at(0), at(1), at(2), at(3)], [t + 100, t, 2 * t + 300, t + 193]);
    }
}

#[test]
fn function_pointers_lead_to_different_functions_in_one_warp() {
    let functions = "
        .func (.param .b32 r) plus(.param .b32 a) { .reg .b32 x; ld.param.b32 x, [a]; add.u32 x, x, 1000; st.param.b32 [r], x; ret; }
        .func (.param .b32 r) twice(.param .b32 a) { .reg .b32 x; ld.param.b32 x, [a]; add.u32 x, x, x; st.param.b32 [r], x; ret; }
        .func (.param .b64 r) other(.param .b32 a) { ret; }";
    let body = "
        mov.u64 %d2, plus; mov.u64 %d3, twice; and.b32 %r1, %r0, 1; setp.eq.u32 %p1, %r1, 0; selp.b64 %d4, %d2, %d3, %p1;
        setp.eq.u32 %p2, %r0, 31; mov.u64 %d5, other; selp.b64 %d4, ODD, %d4, %p2;
        PROTOTYPE: .callprototype (.param .b32 _) _ (.param .b32 _);
        TARGETS: .calltargets twice, plus;
        call (%r2), %d4, (%r0), PROTOTYPE;
        call (%r3), %d4, (%r2), TARGETS;
        activemask.b32 %r4; st.global.u32 [%d1], %r2; st.global.u32 [%d1+128], %r3; st.global.u32 [%d1+256], %r4;";
    let words = call(functions, &body.replace("ODD", "%d3"));
    for t in 0..32u32 {
        let f = |x: u32| if t & 1 == 0 { x + 1000 } else { 2 * x };
        assert_eq!(words[t as usize], f(t));
        assert_eq!(words[32 + t as usize], f(f(t)));
        assert_eq!(words[64 + t as usize], u32::MAX);
    }
    for odd in ["%d5", "0", "%d0"] {
        let fault = try_call(functions, &body.replace("ODD", odd), 1024).unwrap_err();
        assert_eq!(fault.kind, FaultKind::LaunchFailed);
        assert!(
            fault.text.starts_with("call: no function that it may go to has this address\n  by thread (31, 0, 0)"),
            "{}",
            fault.text
        );
    }
}

#[test]
fn frames_hold_local_arrays_and_the_addresses_of_parameters() {
    // Each level adds its array to its caller's, which it gets by a generic address.
    let functions = "
        .func (.param .b32 result) deep(.param .b64 above, .param .b32 n)
        {
            .local .align 16 .b8 array[32]; .reg .b64 %d<8>; .reg .b32 %r<8>; .reg .pred %p;
            ld.param.u64 %d1, [above]; ld.param.u32 %r1, [n];
            mov.u64 %d2, array; cvta.local.u64 %d3, %d2;
            ld.u32 %r2, [%d1+4]; add.u32 %r3, %r2, %r1; st.local.u32 [%d2+4], %r3; st.local.v2.u32 [array+8], {%r1, %r2};
            setp.eq.u32 %p, %r1, 0; add.s32 %r4, %r1, -1; mov.u32 %r5, %r3;
            @!%p call (%r5), deep, (%d3, %r4);
            ld.local.u32 %r6, [array+8]; sub.u32 %r6, %r6, %r1; add.u32 %r5, %r5, %r6;
            mov.u64 %d4, n; ld.local.u32 %r7, [%d4]; sub.u32 %r7, %r7, %r1; add.u32 %r5, %r5, %r7;
            st.param.b32 [result], %r5; ret;
        }";
    let body = "
        .local .align 16 .b8 first[16]; mov.u64 %d2, first; cvta.local.u64 %d3, %d2; st.local.u32 [first+4], 7;
        and.b32 %r1, %r0, 7; call (%r2), deep, (%d3, %r1); st.global.u32 [%d1], %r2;";
    let words = call(functions, body);
    for t in 0..32u32 {
        assert_eq!(words[t as usize], 7 + (0..=t & 7).sum::<u32>());
    }
}

#[test]
fn a_lane_that_spins_in_a_function_lets_the_others_return() {
    // Thread 0 waits in a function for a flag that thread 1 sets after its own call has returned.
    let functions = "
        .func wait(.param .b64 flag, .param .b32 me)
        {
            .reg .b64 %d; .reg .b32 %r<3>; .reg .pred %p<2>;
            ld.param.u64 %d, [flag]; ld.param.u32 %r1, [me]; setp.ne.u32 %p0, %r1, 0; @%p0 ret;
            SPIN: ld.volatile.global.u32 %r2, [%d]; setp.ne.u32 %p1, %r2, 42; @%p1 bra SPIN;
            ret;
        }
        .func meet() { bar.sync 0; ret; }";
    let body = "
        call wait, (%d0, %r0);
        setp.eq.u32 %p1, %r0, 1; @%p1 st.volatile.global.u32 [%d0], 42;
        call meet;
        activemask.b32 %r1; st.global.u32 [%d1+128], %r1;";
    let words = call(functions, body);
    assert_eq!(words[32..64], [u32::MAX; 32], "the barrier in a function makes the warp whole again");
}

#[test]
fn a_branch_behind_a_barrier_meets_where_it_should() {
    let body = "
        setp.lt.u32 %p3, %r0, 99; @!%p3 bra END;
        bar.sync 0; setp.lt.u32 %p1, %r0, 10; @%p1 bra THEN;
        mov.u32 %r3, 2; bra JOIN;
        THEN: mov.u32 %r3, 1;
        JOIN: bar.sync 0; activemask.b32 %r4; st.global.u32 [%d1], %r3; st.global.u32 [%d1+128], %r4;
        END:";
    let words = output(body, 64, 1, [32, 1, 1]);
    for lane in 0..32 {
        assert_eq!(words[lane], if lane < 10 { 1 } else { 2 });
        assert_eq!(words[32 + lane], u32::MAX);
    }
}
