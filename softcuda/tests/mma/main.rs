//! Matrix instructions against their definitions, on every level of the host's vector instructions.

mod fill;
mod forms;
mod fragments;
mod oracle;
mod quads;
mod run;
#[path = "../support/mod.rs"]
mod support;
mod vectors;
mod wmma;

use fill::{Random, product};
use forms::{Case, Product, expected};
use run::{by_function, by_instruction};
use softcuda::chip::Architecture;
use softcuda::exec::mma::{Arithmetic, HostLevel, Memo, Multiplier, TensorModel};

pub(crate) fn levels() -> impl Iterator<Item = HostLevel> {
    HostLevel::ALL.into_iter().filter(|&level| level <= HostLevel::detect())
}

pub(crate) fn architecture(model: TensorModel) -> Architecture {
    match model {
        TensorModel::Sm80 => Architecture::Sm80,
        TensorModel::Sm89 => Architecture::Sm89,
        TensorModel::Sm90 => Architecture::Sm90,
    }
}

/// Random products of a case by the functions of every level.
fn check(case: &Case, model: Option<TensorModel>, count: usize) {
    let mut random = Random(case.form.k as u64 + 7);
    let arithmetic = model.map_or(Arithmetic::Fast, Arithmetic::Exact);
    let mut memos: Vec<Memo> = levels().map(|_| Memo::new()).collect();
    for number in 0..count {
        let product = product(&mut random, case);
        let wanted = expected(case, model, &product);
        for (level, memo) in levels().zip(&mut memos) {
            let got = by_function(case, level, arithmetic, memo, &product);
            assert_eq!(got, wanted, "{} {model:?} {level:?} product {number}", case.opcode());
        }
    }
}

#[test]
fn exact_sums_equal_the_definition_on_every_level() {
    for case in forms::floats() {
        for model in case.models() {
            check(&case, Some(model), 1200 / case.form.k.max(8) * 8);
        }
    }
}

#[test]
fn fast_sums_are_chains_of_fused_multiply_adds_on_every_level() {
    for case in forms::floats() {
        check(&case, None, 100);
    }
}

#[test]
fn integers_and_bits_equal_naive_sums_on_every_level() {
    for case in forms::integers() {
        check(&case, Some(TensorModel::Sm80), 40);
    }
}

#[test]
fn doubles_are_chains_of_fused_multiply_adds_on_every_level() {
    for case in forms::doubles() {
        check(&case, Some(TensorModel::Sm90), 100);
    }
}

#[test]
fn sparse_sums_equal_dense_sums_of_the_stored_elements_on_every_level() {
    for case in forms::sparse() {
        for model in case.models() {
            check(&case, Some(model), 20);
        }
        if case.is_float() {
            check(&case, None, 10);
        }
    }
}

#[test]
fn every_instruction_of_every_chip_computes_its_form() {
    let all = [forms::floats(), forms::integers(), forms::doubles(), forms::sparse()].concat();
    for case in &all {
        let mut random = Random(99);
        let products: Vec<Product> = (0..12).map(|_| product(&mut random, case)).collect();
        for model in case.models() {
            let wanted: Vec<_> = products.iter().map(|product| expected(case, Some(model), product)).collect();
            let got = by_instruction(case, architecture(model), HostLevel::detect(), &products);
            assert_eq!(got, wanted, "{} {model:?}", case.opcode());
        }
    }
    println!("{} forms", all.len());
}

#[test]
fn eight_bit_floats_do_not_exist_on_sm_80() {
    for case in forms::floats().iter().filter(|case| !case.models().contains(&TensorModel::Sm80)) {
        let exact = Multiplier::new(case.form, HostLevel::Plain, Arithmetic::Exact(TensorModel::Sm80));
        assert!(exact.is_none(), "{}", case.opcode());
    }
}

/// Fragments that a memo knows, from other types or with one bit changed, do not answer for others.
#[test]
fn remembered_fragments_never_stand_for_others() {
    for level in levels() {
        let mut memo = Memo::new();
        let mut random = Random(1);
        let cases = [forms::floats(), forms::integers()].concat();
        for round in 0..2000 {
            let case = &cases[random.below(cases.len() as u64) as usize];
            let model = *case.models().last().expect("a chip");
            // Few different matrices, so that fragments come back.
            let mut few = Random(round % 3 + case.form.k as u64);
            let mut product = product(&mut few, case);
            if round % 5 == 0 {
                product.a[round as usize % case.m][round as usize % case.form.k] ^= 1;
            }
            let got = by_function(case, level, Arithmetic::Exact(model), &mut memo, &product);
            assert_eq!(got, expected(case, Some(model), &product), "{} {level:?}", case.opcode());
        }
    }
}
