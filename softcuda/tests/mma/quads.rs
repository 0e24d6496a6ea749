//! `m8n8k4` of f16: four products in one instruction, by ordinary arithmetic.

use crate::fill::Random;
use crate::fragments::{Registers, pack, unpack};
use crate::run::Kernel;
use half::f16;
use softcuda::chip::Architecture;
use softcuda::exec::mma::HostLevel;

/// Which product a lane belongs to, and whether it is of the high group (PTX ISA, "Matrix fragments for mma.m8n8k4 with .f16").
fn place_of(lane: usize) -> (usize, bool) {
    (lane % 16 / 4, lane >= 16)
}

fn a_place(columns: bool, lane: usize, i: usize) -> (usize, usize) {
    let high = if lane < 16 { 0 } else { 4 };
    if columns { (i % 4 + high, lane % 4) } else { (lane % 4 + high, i) }
}

fn b_place(columns: bool, lane: usize, i: usize) -> (usize, usize) {
    let high = if lane < 16 { 0 } else { 4 };
    if columns { (i, lane % 4 + high) } else { (lane % 4, i + high) }
}

fn c_place(half: bool, lane: usize, i: usize) -> (usize, usize) {
    let high = if lane < 16 { 0 } else { 4 };
    if half {
        return (lane % 4 + high, i);
    }
    let x = (lane & 0b1) + (i & 0b10);
    (x + high, (i & 0b100) + (lane & 0b10) + (i & 0b1))
}

type Small = [[[u64; 8]; 8]; 4];

#[test]
fn four_products_with_every_layout_and_accumulator() {
    let mut random = Random(5);
    for (d_half, c_half) in [(true, true), (false, true), (false, false)] {
        for (a_columns, b_columns) in [(false, false), (false, true), (true, false), (true, true)] {
            let (mut a, mut b, mut c): (Small, Small, Small) = Default::default();
            let mut next = |half: bool| {
                let value = random.below(2001) as f32 / 500.0 - 2.0;
                u64::from(if half { f16::from_f32(value).to_bits().into() } else { value.to_bits() })
            };
            for matrix in a.iter_mut().chain(&mut b) {
                matrix.iter_mut().flatten().for_each(|value| *value = next(true));
            }
            c.iter_mut().flatten().flatten().for_each(|value| *value = next(c_half));
            let pick =
                |matrices: &Small, lane: usize, (row, column): (usize, usize)| matrices[place_of(lane).0][row][column];
            let (c_bits, d_bits) = (if c_half { 16 } else { 32 }, if d_half { 16 } else { 32 });
            let inputs: Registers = [
                pack(16, 4, |lane, i| pick(&a, lane, a_place(a_columns, lane, i))),
                pack(16, 4, |lane, i| pick(&b, lane, b_place(b_columns, lane, i))),
                pack(c_bits, 8, |lane, i| pick(&c, lane, c_place(c_half, lane, i))),
            ]
            .concat();
            let layout = |columns: bool| if columns { "col" } else { "row" };
            let name = |half: bool| if half { "f16" } else { "f32" };
            let opcode = format!(
                "mma.sync.aligned.m8n8k4.{}.{}.{}.f16.f16.{}",
                layout(a_columns),
                layout(b_columns),
                name(d_half),
                name(c_half)
            );
            let counts = [8 * d_bits / 32, 2, 2, 8 * c_bits / 32];
            let results = Kernel::new(opcode.clone(), counts, None, false).run(
                Architecture::Sm80,
                HostLevel::detect(),
                &[inputs],
            );
            unpack(d_bits, &results[0], |lane, i, got| {
                let (row, column) = c_place(d_half, lane, i);
                let number = place_of(lane).0;
                let of = |bits: u64| f16::from_bits(bits as u16).to_f32();
                let (a, b) = (a[number][row].map(of), std::array::from_fn::<f32, 4, _>(|k| of(b[number][k][column])));
                let c = c[number][row][column];
                let c = if c_half { of(c) } else { f32::from_bits(c as u32) };
                let wanted = if d_half {
                    let pair = |k: usize| a[k + 1].mul_add(b[k + 1], a[k] * b[k]);
                    u64::from(f16::from_f32(c + pair(0) + pair(2)).to_bits())
                } else {
                    u64::from((c + (0..4).fold(0.0, |sum: f32, k| a[k].mul_add(b[k], sum))).to_bits())
                };
                assert_eq!(got, wanted, "{opcode} lane {lane} element {i}");
            });
        }
    }
}
