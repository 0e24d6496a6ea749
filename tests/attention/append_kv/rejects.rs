//! One test for each error, with its text.

use super::*;
use llm_kernels::Limits;

/// Operands of a call, at made-up addresses.
fn operands(append: &Append) -> Operands {
    let Heads { h_q, h_kv, n, .. } = append.heads;
    let shape = append.shape();
    let operand = |slot: u64, dtype, layout| Operand { address: (1 << 40) + (slot << 36), dtype, layout };
    let flat = |shape: &[usize]| Layout::contiguous(shape).unwrap();
    let eight_bit = append.problem().types.is_eight_bit();
    let scales = scales_layout(append.num_pages, append.page_size, h_kv).unwrap();
    let positions = match (append.first.is_some(), append.is_ragged()) {
        (true, _) => vec![shape.b],
        (false, true) => vec![shape.num_tokens],
        (false, false) => vec![shape.b, shape.s_q],
    };
    Operands {
        k: operand(0, append.types.k, append.tokens(h_kv)),
        v: operand(1, append.types.k, append.tokens(h_kv)),
        k_cache: operand(2, append.types.cache, append.cache_layout()),
        v_cache: operand(3, append.types.cache, append.cache_layout()),
        positions: operand(4, I32, flat(&positions)),
        first_positions: append.first.is_some(),
        cu_seqlens: append.is_ragged().then_some(SequenceOperand {
            address: 1 << 39,
            sequences: shape.b,
            total: shape.num_tokens,
            longest: shape.s_q,
        }),
        block_table: append.pages_per_sequence().map(|pages_per_sequence| PageOperand {
            address: 1 << 38,
            sequences: shape.b,
            pages_per_sequence,
            num_pages: append.num_pages,
        }),
        k_scales: eight_bit.then(|| operand(5, F32, scales)),
        v_scales: eight_bit.then(|| operand(6, F32, scales)),
        inverse_frequencies: (n > 0).then(|| operand(7, F32, flat(&[n]))),
        q: (h_q > 0 && !append.in_place).then(|| operand(8, append.types.k, append.tokens(h_q))),
        q_out: append.types.q_out.map(|dtype| operand(9, dtype, append.tokens(h_q))),
    }
}

fn contiguous() -> Append {
    Append::new(types(F16, F16), SMALL, &[0, 3], &[5, 5], 16)
}

fn paged() -> Append {
    Append::new(types(BF16, I8), SMALL, &[0, 3], &[5, 5], 16).in_scattered_pages(4)
}

fn ragged() -> Append {
    Append::new(types(F16, F16), SMALL, &[0, 3], &[5, 2], 16)
}

#[track_caller]
fn error(append: &Append, change: impl FnOnce(&mut Operands)) -> String {
    let mut operands = operands(append);
    assert!(Problem::check(&operands, &append.options).is_ok());
    change(&mut operands);
    let text = Problem::check(&operands, &append.options).expect_err("bad input was taken").to_string();
    text.strip_prefix("attention/append_kv: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
}

fn flat(shape: &[usize]) -> Layout {
    Layout::contiguous(shape).unwrap()
}

#[test]
fn new_heads_that_do_not_fit_are_refused_each_with_its_reason() {
    let of = |change: fn(&mut Operands)| error(&contiguous(), change);
    assert_eq!(of(|t| t.k.layout = flat(&[10, 2, 64])), "k has rank 3, expected 4 [b, s_q, h, d]");
    assert_eq!(error(&ragged(), |t| t.v.layout = flat(&[1, 7, 2, 64])), "v has rank 4, expected 3 [total, h, d]");
    assert_eq!(of(|t| t.v.dtype = BF16), "v is bf16, expected f16 (= k)");
    assert_eq!(of(|t| t.q.as_mut().unwrap().dtype = BF16), "q is bf16, expected f16 (= k)");
    assert_eq!(of(|t| t.v.layout = flat(&[2, 6, 2, 64])), "v has s_q 6, expected 5 (= k)");
    assert_eq!(of(|t| t.k.layout = flat(&[2, 5, 3, 64])), "k has h 3, expected 2 (= k_cache)");
    assert_eq!(of(|t| t.k.layout = flat(&[2, 5, 2, 72])), "k has head_dim 72, expected 64 (= k_cache)");
    assert_eq!(of(|t| t.q.as_mut().unwrap().layout = flat(&[2, 5, 4, 64])), "q has h 4, expected 3 (= q_out)");
    assert_eq!(error(&ragged(), |t| t.k.layout = flat(&[8, 2, 64])), "k has total 8, expected 7 (= cu_seqlens)");
    let apart = Layout::strided(&[2, 5, 2, 64], &[2000, 400, 200, 2]).unwrap();
    assert!(error(&contiguous(), |t| t.v.layout = apart).starts_with("v has stride 2 in its last dimension"));
    assert!(of(|t| t.k.address += 1).ends_with("expected a multiple of 2"));
    let other = |k| Problem::new(Types { k, ..types(F16, F16) }, contiguous().shape(), None, &Options::default());
    let text = other(I8).unwrap_err().to_string();
    assert_eq!(text, "attention/append_kv: k has dtype i8; supported: f32, f16, bf16");
}

#[test]
fn queries_without_a_place_or_a_rotation_are_refused() {
    let of = |change: fn(&mut Operands)| error(&contiguous(), change);
    assert_eq!(of(|t| t.q_out = None), "q is given without q_out");
    assert_eq!(of(|t| t.inverse_frequencies = None), "q_out is given without inverse_frequencies");
    let in_place = Append { in_place: true, ..contiguous() };
    assert_eq!(
        error(&in_place, |t| t.q_out.as_mut().unwrap().dtype = F32),
        "q_out is f32, expected f16 (= k, in place)"
    );
    assert_eq!(
        of(|t| t.q_out.as_mut().unwrap().layout = flat(&[2, 5, 64])),
        "q_out has rank 3, expected 4 [b, s_q, h, d]"
    );
}

#[test]
fn frequencies_that_do_not_fit_are_refused() {
    for n in [0, 33] {
        let text = error(&contiguous(), |t| t.inverse_frequencies.as_mut().unwrap().layout = flat(&[n]));
        assert_eq!(text, format!("inverse_frequencies has n {n}; supported: 1 to d / 2"));
    }
    let text = error(&contiguous(), |t| t.inverse_frequencies.as_mut().unwrap().dtype = F16);
    assert_eq!(text, "inverse_frequencies is f16, expected f32");
    let gaps = Layout::strided(&[32], &[2]).unwrap();
    let text = error(&contiguous(), |t| t.inverse_frequencies.as_mut().unwrap().layout = gaps);
    assert!(text.starts_with("inverse_frequencies has strides [2]"), "{text}");
}

#[test]
fn positions_that_do_not_fit_are_refused() {
    let of = |change: fn(&mut Operands)| error(&contiguous(), change);
    assert_eq!(of(|t| t.positions.layout = flat(&[10])), "positions has rank 1, expected 2 [b, s_q]");
    assert_eq!(of(|t| t.positions.layout = flat(&[2, 6])), "positions has s_q 6, expected 5 (= k)");
    assert_eq!(of(|t| t.positions.dtype = DType::I64), "positions is i64, expected i32");
    assert!(of(|t| t.positions.address += 2).ends_with("expected a multiple of 4"));
    let first = Append { first: Some(vec![0, 3]), ..contiguous() };
    assert_eq!(error(&first, |t| t.positions.layout = flat(&[3])), "positions has b 3, expected 2 (= k)");
    assert_eq!(
        error(&ragged(), |t| t.positions.layout = flat(&[8])),
        "positions has total 8, expected 7 (= cu_seqlens)"
    );
}

#[test]
fn a_cache_that_does_not_fit_is_refused() {
    let of = |change: fn(&mut Operands)| error(&contiguous(), change);
    assert_eq!(of(|t| t.k_cache.layout = flat(&[2, 16, 128])), "k_cache has rank 3, expected 4 [b, s_k, h_kv, d]");
    assert_eq!(of(|t| t.v_cache.dtype = BF16), "v_cache is bf16, expected f16 (= k_cache)");
    assert_eq!(of(|t| t.v_cache.layout = flat(&[2, 17, 2, 64])), "v_cache has s_k 17, expected 16 (= k_cache)");
    let of_pages = |change: fn(&mut Operands)| error(&paged(), change);
    assert_eq!(
        of_pages(|t| t.v_cache.layout = flat(&[16, 8, 2, 64])),
        "v_cache has page_size 8, expected 4 (= k_cache)"
    );
    assert_eq!(of_pages(|t| t.k_scales = None), "an 8-bit cache is given without k_scales");
    assert_eq!(of_pages(|t| t.v_scales.as_mut().unwrap().dtype = F16), "v_scales is f16, expected f32");
    let text = of_pages(|t| t.v_scales.as_mut().unwrap().layout = flat(&[16, 4, 3]));
    assert_eq!(text, "v_scales has h_kv 3, expected 2 (= k_cache)");
    let scales = operands(&paged()).k_scales;
    let text = error(&contiguous(), |t| t.k_scales = scales);
    assert_eq!(text, "k_cache has dtype f16; supported: i8, e4m3 where k_scales and v_scales are given");
    let cache =
        |cache| Problem::new(Types { cache, ..types(F16, F16) }, contiguous().shape(), None, &Options::default());
    let text = cache(F32).unwrap_err().to_string();
    assert_eq!(text, "attention/append_kv: k_cache has dtype f32; supported: f16, bf16, i8, e4m3");
}

#[test]
fn a_block_table_that_does_not_fit_is_refused() {
    assert_eq!(
        error(&paged(), |t| t.block_table.as_mut().unwrap().sequences = 3),
        "block_table has sequences 3, expected 2 (= k)"
    );
    assert_eq!(
        error(&paged(), |t| t.block_table.as_mut().unwrap().num_pages = 17),
        "num_pages of block_table is 17, the limit is 16"
    );
    let shape = Shape { page_size: 12, ..paged().shape() };
    let text = Problem::new(types(F16, F16), shape, Some(4), &Options::default()).unwrap_err().to_string();
    assert_eq!(text, "attention/append_kv: k_cache has page_size 12; supported: powers of two");
}

#[test]
fn sizes_beyond_the_kernel_are_refused() {
    let of = |shape: Shape| Problem::new(types(F16, F16), shape, None, &Options::default()).unwrap_err().to_string();
    let shape = contiguous().shape();
    assert_eq!(of(Shape { d: 257, ..shape }), "attention/append_kv: k has head_dim 257; supported: 1 to 256");
    assert_eq!(of(Shape { d: 0, n: 0, ..shape }), "attention/append_kv: k has head_dim 0; supported: 1 to 256");
    let (limit, most) = (1 << 29, (1 << 29) + 1);
    for (shape, what) in [
        (Shape { b: most, ..shape }, "b"),
        (Shape { num_tokens: most, ..shape }, "number of tokens"),
        (Shape { h_kv: most, ..shape }, "h_kv"),
        (Shape { page_size: most, ..shape }, "page_size"),
    ] {
        assert_eq!(of(shape), format!("attention/append_kv: {what} is {most}, the limit is {limit}"));
    }
}

#[test]
fn outputs_that_overlap_are_refused() {
    let of = |change: fn(&mut Operands)| error(&contiguous(), change);
    assert_eq!(of(|t| t.v_cache.address = t.k_cache.address + 64), "v_cache overlaps k_cache in memory");
    assert_eq!(of(|t| t.k_cache.address = t.k.address), "k_cache overlaps k in memory");
    assert_eq!(of(|t| t.q_out.as_mut().unwrap().address = t.q.unwrap().address), "q_out overlaps q in memory");
    let same = Layout::strided(&[2, 16, 2, 64], &[0, 128, 64, 1]).unwrap();
    assert!(error(&contiguous(), |t| t.k_cache.layout = same).contains("elements overlap each other"));
    let text = error(&paged(), |t| t.v_scales = t.k_scales);
    assert_eq!(text, "v_scales overlaps k_scales in memory");
}

#[test]
fn a_magnitude_that_is_not_finite_is_refused() {
    let options = Options { magnitude: f32::INFINITY, ..Options::default() };
    let text = Problem::new(types(F16, F16), contiguous().shape(), None, &options).unwrap_err().to_string();
    assert_eq!(text, "attention/append_kv: magnitude is inf, expected a finite number");
}

#[test]
fn nothing_is_written_when_an_error_is_returned() {
    let append = Append { options: Options { magnitude: f32::NAN, ..Options::default() }, ..contiguous() };
    let mut cache = Append { options: Options::default(), ..append.clone() }.cache().unwrap();
    let rows = append.tokens(2);
    let [k, v] = [&append.k, &append.v].map(|x| upload(F16, x, rows).unwrap());
    let positions = HostTensor::from_slice("", &[2, 5], &append.positions).upload(queue()).unwrap();
    let args = append.args(&mut cache, k.view().unwrap(), v.view().unwrap(), positions.view().unwrap()).unwrap();
    assert!(append_kv(queue(), Args { options: append.options, ..args }).is_err());
    assert!(cache.results().k.bytes.iter().all(|&byte| byte == 0xFF));
}

#[test]
fn the_smallest_unit_that_every_tensor_allows_is_taken() {
    let unit = |append: &Append, change: &dyn Fn(&mut Operands)| {
        let mut operands = operands(append);
        change(&mut operands);
        let problem = Problem::check(&operands, &append.options).unwrap();
        plan(&problem, &Limits::of_capability(8, 0)).unwrap().launch.instance
    };
    assert_eq!(unit(&paged(), &|_| ()), "append_kv_unit8");
    assert_eq!(unit(&paged(), &|t| t.k_cache.address += 4), "append_kv_unit4");
    assert_eq!(unit(&paged(), &|t| t.k.address += 8), "append_kv_unit4");
    assert_eq!(unit(&paged(), &|t| t.v.address += 2), "append_kv_unit1");
    let stride = Layout::strided(&[2, 5, 2, 64], &[690, 138, 68, 1]).unwrap();
    assert_eq!(unit(&contiguous(), &|t| t.v.layout = stride), "append_kv_unit1");
    let stride = Layout::strided(&[2, 5, 2, 64], &[700, 140, 68, 1]).unwrap();
    assert_eq!(unit(&contiguous(), &|t| t.v.layout = stride), "append_kv_unit4");
}
