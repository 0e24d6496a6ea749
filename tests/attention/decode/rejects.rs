//! Each kind of bad input has an error of its own, and writes nothing.

use super::*;
use llm_kernels::attention::PageOperand;
use llm_kernels::attention::decode::Operands;
use llm_kernels::{Error, Operand};

fn operand(slot: u64, dtype: DType, shape: &[usize]) -> Operand {
    Operand { address: (1 << 32) + (slot << 24), dtype, layout: Layout::contiguous(shape).unwrap() }
}

/// Valid tensors: b 2, s_q 3, 8 and 2 heads, d 64, room for 100 keys.
fn valid() -> Operands {
    Operands {
        q: operand(0, F16, &[2, 3, 8, 64]),
        k: operand(1, F16, &[2, 100, 2, 64]),
        v: operand(2, F16, &[2, 100, 2, 64]),
        lengths: operand(3, I32, &[2]),
        out: operand(4, F16, &[2, 3, 8, 64]),
        lse: Some(operand(5, F32, &[2, 8, 3])),
        block_table: None,
        k_scales: None,
        v_scales: None,
        sinks: Some(operand(6, F32, &[8])),
        alibi_slopes: Some(operand(7, F32, &[8])),
        workspace: Some(operand(8, DType::U8, &[1 << 20])),
    }
}

/// Valid tensors of an 8-bit cache in 30 pages of 16.
fn paged() -> Operands {
    Operands {
        k: operand(1, I8, &[30, 16, 2, 64]),
        v: operand(2, I8, &[30, 16, 2, 64]),
        k_scales: Some(operand(9, F32, &[30, 16, 2])),
        v_scales: Some(operand(10, F32, &[30, 16, 2])),
        block_table: Some(PageOperand { address: 1 << 40, sequences: 2, pages_per_sequence: 7, num_pages: 30 }),
        ..valid()
    }
}

/// The error's text after the operator's name.
#[track_caller]
fn error_of(mut operands: Operands, options: &Options, change: impl FnOnce(&mut Operands)) -> String {
    change(&mut operands);
    let text = Problem::check(&operands, options).expect_err("bad input was taken").to_string();
    text.strip_prefix("attention/decode: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
}

#[track_caller]
fn error(change: impl FnOnce(&mut Operands)) -> String {
    error_of(valid(), &DEFAULT, change)
}

#[track_caller]
fn paged_error(change: impl FnOnce(&mut Operands)) -> String {
    error_of(paged(), &DEFAULT, change)
}

fn reshape(operand: &mut Operand, shape: &[usize]) {
    operand.layout = Layout::contiguous(shape).unwrap();
}

#[test]
fn valid_input_is_taken() {
    let problem = Problem::check(&valid(), &DEFAULT).unwrap();
    assert_eq!(problem.shape, Shape { b: 2, s_q: 3, h_q: 8, h_kv: 2, d: 64, num_pages: 2, page_size: 100 });
    assert_eq!((problem.max_length, problem.pages_per_sequence), (100, None));
    let problem = Problem::check(&paged(), &DEFAULT).unwrap();
    assert_eq!((problem.max_length, problem.pages_per_sequence), (7 * 16, Some(7)));
}

#[test]
fn another_rank_is_refused() {
    assert_eq!(error(|t| reshape(&mut t.q, &[3, 8, 64])), "q has rank 3, expected 4 [b, s_q, h_q, d]");
    assert_eq!(error(|t| reshape(&mut t.k, &[100, 2, 64])), "k has rank 3, expected 4 [b, s_k, h_kv, d]");
    let v = paged_error(|t| reshape(&mut t.v, &[480, 2, 64]));
    assert_eq!(v, "v has rank 3, expected 4 [num_pages, page_size, h_kv, d]");
    assert_eq!(error(|t| reshape(&mut t.lengths, &[2, 1])), "lengths has rank 2, expected 1 [b]");
    assert_eq!(error(|t| reshape(t.lse.as_mut().unwrap(), &[16, 3])), "lse has rank 2, expected 3 [b, h_q, s_q]");
    let scales = paged_error(|t| reshape(t.k_scales.as_mut().unwrap(), &[480, 2]));
    assert_eq!(scales, "k_scales has rank 2, expected 3 [b, s_k, h_kv] or [num_pages, page_size, h_kv]");
    let workspace = error(|t| reshape(t.workspace.as_mut().unwrap(), &[16, 16]));
    assert_eq!(workspace, "workspace has rank 2, expected 1 [bytes]");
}

#[test]
fn types_that_do_not_go_together_are_refused() {
    assert_eq!(error(|t| t.q.dtype = F32), "out is f16, expected f32 (= q)");
    assert_eq!(error(|t| t.v.dtype = BF16), "v is bf16, expected f16 (= k)");
    let other = error(|t| (t.k.dtype, t.v.dtype) = (BF16, BF16));
    assert_eq!(other, "k has dtype bf16; supported: q's, i8, e4m3");
    assert_eq!(error(|t| t.lengths.dtype = DType::U32), "lengths is u32, expected i32");
    assert_eq!(error(|t| t.lse.as_mut().unwrap().dtype = F16), "lse is f16, expected f32");
    assert_eq!(error(|t| t.sinks.as_mut().unwrap().dtype = F16), "sinks is f16, expected f32");
    assert_eq!(paged_error(|t| t.v_scales.as_mut().unwrap().dtype = F16), "v_scales is f16, expected f32");
    assert_eq!(error(|t| t.workspace.as_mut().unwrap().dtype = F32), "workspace is f32, expected u8");
    let single = error(|t| (t.q.dtype, t.out.dtype) = (F32, F32));
    assert_eq!(single, "q has dtype f32; supported: f16, bf16");
}

#[test]
fn scales_go_with_a_cache_of_8_bits_alone() {
    assert_eq!(paged_error(|t| t.v_scales = None), "an 8-bit cache is given without v_scales");
    let text = error(|t| t.k_scales = Some(operand(9, F32, &[2, 100, 2])));
    assert_eq!(text, "k has dtype f16; supported: i8, e4m3 where k_scales and v_scales are given");
}

#[test]
fn an_unsupported_head_dimension_is_refused_with_what_is_supported() {
    for d in [0, 4, 100, 264] {
        let text = error(|t| reshape(&mut t.q, &[2, 3, 8, d]));
        assert_eq!(text, format!("q has head_dim {d}; supported: multiples of 8 up to 256"));
    }
    let text = paged_error(|t| reshape(&mut t.q, &[2, 3, 8, 72]));
    assert_eq!(text, "q has head_dim 72; supported: multiples of 16 up to 256 with an 8-bit cache");
}

#[test]
fn sizes_that_differ_are_refused() {
    assert_eq!(error(|t| reshape(&mut t.k, &[3, 100, 2, 64])), "k has b 3, expected 2 (= q)");
    assert_eq!(error(|t| reshape(&mut t.v, &[2, 99, 2, 64])), "v has s_k 99, expected 100 (= k)");
    assert_eq!(error(|t| reshape(&mut t.v, &[2, 100, 2, 128])), "v has head_dim 128, expected 64 (= q)");
    assert_eq!(paged_error(|t| reshape(&mut t.v, &[30, 32, 2, 64])), "v has page_size 32, expected 16 (= k)");
    assert_eq!(error(|t| reshape(&mut t.out, &[2, 2, 8, 64])), "out has s_q 2, expected 3 (= q)");
    assert_eq!(error(|t| reshape(&mut t.lengths, &[3])), "lengths has b 3, expected 2 (= q)");
    let scales = paged_error(|t| reshape(t.k_scales.as_mut().unwrap(), &[30, 16, 8]));
    assert_eq!(scales, "k_scales has h_kv 8, expected 2 (= k)");
    assert_eq!(error(|t| reshape(t.alibi_slopes.as_mut().unwrap(), &[2])), "alibi_slopes has h_q 2, expected 8 (= q)");
    let heads = error(|t| {
        reshape(&mut t.k, &[2, 100, 3, 64]);
        reshape(&mut t.v, &[2, 100, 3, 64]);
    });
    assert_eq!(heads, "q has 8 heads, expected a multiple of 3 (heads of k)");
}

#[test]
fn tables_that_do_not_fit_the_cache_are_refused() {
    let table = |t: &mut Operands, change: fn(&mut PageOperand)| change(t.block_table.as_mut().unwrap());
    let text = paged_error(|t| table(t, |table| table.sequences = 3));
    assert_eq!(text, "block_table has sequences 3, expected 2 (= q)");
    let text = paged_error(|t| table(t, |table| table.num_pages = 31));
    assert_eq!(text, "num_pages of block_table is 31, the limit is 30");
    let text = paged_error(|t| {
        reshape(&mut t.k, &[30, 24, 2, 64]);
        reshape(&mut t.v, &[30, 24, 2, 64]);
    });
    assert_eq!(text, "k has page_size 24; supported: powers of two");
}

#[test]
fn pages_that_do_not_exist_are_refused_when_a_table_is_made() {
    let text = |pages: &[Vec<i32>]| BlockTable::new(queue(), pages, 2, 5).unwrap_err().to_string();
    assert_eq!(text(&[vec![0, 4], vec![5]]), "block_table: table[1][0] is page 5, expected 0 to 4");
    assert_eq!(text(&[vec![0, -1]]), "block_table: table[0][1] is page -1, expected 0 to 4");
    assert_eq!(text(&[vec![0, 1, 2]]), "block_table: sequence 0 has 3 pages, expected at most 2");
    let mut table = BlockTable::new(queue(), &[vec![0, 4], vec![]], 2, 5).unwrap();
    let text = |result: Result<()>| result.unwrap_err().to_string();
    assert_eq!(text(table.set(queue(), 1, 0, 7)), "block_table: table[1][0] is page 7, expected 0 to 4");
    assert_eq!(text(table.set(queue(), 1, 2, 0)), "block_table: there is no entry [1][2] in 2 lines of 2");
    let floats = upload(F32, &[0.0; 4], Layout::contiguous(&[2, 2]).unwrap()).unwrap();
    // SAFETY: it is refused.
    let raw = unsafe { BlockTable::from_raw(floats.view().unwrap(), 5) }.unwrap_err().to_string();
    assert!(raw.starts_with("block_table: entries are f32 [2, 2]"), "{raw}");
}

#[test]
fn options_beyond_their_range_are_refused() {
    let text = |options| error_of(valid(), &options, |_| ());
    let scale = text(Options { scale: Some(f32::NAN), ..DEFAULT });
    assert_eq!(scale, "scale is NaN, expected a finite number");
    for softcap in [0.0, -1.0, f32::INFINITY] {
        let text = text(Options { softcap: Some(softcap), ..DEFAULT });
        assert_eq!(text, format!("softcap is {softcap}, expected a finite number above 0"));
    }
}

#[test]
fn rows_that_are_not_aligned_to_16_bytes_are_refused() {
    assert!(error(|t| t.q.address += 8).ends_with("expected a multiple of 16"));
    let odd = Layout::strided(&[2, 100, 2, 64], &[100 * 136, 136, 68, 1]).unwrap();
    assert_eq!(error(|t| t.k.layout = odd), "k has stride[2] in elements 68, expected a multiple of 8");
    let odd = Layout::strided(&[30, 16, 2, 64], &[16 * 144, 144, 72, 1]).unwrap();
    assert_eq!(paged_error(|t| t.v.layout = odd), "v has stride[2] in elements 72, expected a multiple of 16");
    let transposed = Layout::strided(&[2, 3, 8, 64], &[1536, 512, 1, 8]).unwrap();
    assert_eq!(error(|t| t.out.layout = transposed), "out has stride 8 in its last dimension, expected 1");
    assert!(error(|t| t.workspace.as_mut().unwrap().address += 8).ends_with("expected a multiple of 16"));
    assert!(paged_error(|t| t.k_scales.as_mut().unwrap().address += 2).ends_with("expected a multiple of 4"));
}

#[test]
fn an_output_that_overlaps_another_tensor_is_refused() {
    assert_eq!(error(|t| t.out.address = t.k.address), "out overlaps k in memory");
    assert_eq!(error(|t| t.lse.as_mut().unwrap().address = t.out.address), "lse overlaps out in memory");
    assert_eq!(error(|t| t.workspace.as_mut().unwrap().address = t.out.address), "workspace overlaps out in memory");
    assert_eq!(error(|t| t.out.address = t.lengths.address), "out overlaps lengths in memory");
}

#[test]
fn sizes_beyond_32_bits_are_refused() {
    let text = error(|t| {
        for tensor in [&mut t.k, &mut t.v] {
            tensor.layout = Layout::strided(&[2, 1 << 30, 2, 64], &[0, 128, 64, 1]).unwrap();
        }
    });
    assert_eq!(text, "page_size is 1073741824, the limit is 536870912");
}

#[test]
fn a_refused_call_writes_nothing() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let queue = queue();
    let tensor =
        |dtype, shape: &[usize]| DeviceTensor::poisoned(queue, dtype, Layout::contiguous(shape).unwrap()).unwrap();
    let (q, k, v) = (tensor(F16, &[1, 1, 4, 64]), tensor(F16, &[1, 50, 2, 64]), tensor(F16, &[1, 50, 2, 64]));
    let (lengths, mut out) = (tensor(I32, &[1]), tensor(F16, &[1, 1, 4, 64]));
    let mut workspace = tensor(DType::U8, &[2 * 4 * 65 * 4 - 1]);
    let args = Args {
        workspace: Some(workspace.view_mut().unwrap()),
        options: splits(2),
        ..Args::new(
            q.view().unwrap(),
            k.view().unwrap(),
            v.view().unwrap(),
            lengths.view().unwrap(),
            out.view_mut().unwrap(),
        )
    };
    let error = decode(queue, args).unwrap_err();
    assert_eq!(error, Error::Workspace { op: "attention/decode", got: 2079, needed: 2080 });
    for tensor in [&out, &workspace] {
        assert!(tensor.image(queue).unwrap().iter().all(|&byte| byte == 0xFF));
    }
}
