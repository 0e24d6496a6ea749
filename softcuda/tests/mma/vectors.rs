//! Records of real tensor cores, replayed by `mma.sync` instructions of a kernel on the emulated chip:
//! `SOFTCUDA_TENSOR_VECTORS` names another file pair of the same format.

use crate::{
    forms::{Case, Product},
    fragments::zeros,
    levels,
    run::by_instruction,
};
use half::{bf16, f16};
use softcuda::{
    chip::Architecture,
    exec::mma::{
        Accumulator, Element, Form,
        element::{Result, Step, block_step},
    },
};
use std::path::PathBuf;

/// A set of the `.json` file.
struct Set {
    name: String,
    arch: String,
    input: String,
    output: String,
    instruction: String,
    k: usize,
    vectors: usize,
    offset: usize,
    bytes: usize,
}

/// Reads both files of the pair.
fn read() -> (Vec<Set>, Vec<u8>) {
    let path = std::env::var_os("SOFTCUDA_TENSOR_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/tensor_core_vectors.json"),
        PathBuf::from,
    );
    let open = |extension| {
        let path = path.with_extension(extension);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let list: serde_json::Value = serde_json::from_slice(&open("json")).expect("the .json file is JSON");
    let sets = list.as_array().expect("the .json file is a list of sets");
    let sets = sets.iter().map(|set| {
        let text = |key| set[key].as_str().unwrap_or_else(|| panic!("no text `{key}` in {set}")).to_owned();
        let number = |key| set[key].as_u64().unwrap_or_else(|| panic!("no number `{key}` in {set}")) as usize;
        Set {
            name: format!(
                "{} {} {}->{} {}",
                text("gpu"),
                text("arch"),
                text("input"),
                text("output"),
                text("instruction")
            ),
            arch: text("arch"),
            input: text("input"),
            output: text("output"),
            instruction: text("instruction"),
            k: number("k"),
            vectors: number("vectors"),
            offset: number("offset"),
            bytes: number("bytes"),
        }
    });
    (sets.collect(), open("bin"))
}

/// How a set is replayed.
enum Replay {
    /// By an instruction with this many places, of a chip whose tensor cores are the set's.
    Instruction(Architecture, Case),
    /// By the function of one step: no emulated instruction has this arithmetic.
    Step(Step),
}

impl Set {
    fn element(&self) -> Element {
        match self.input.as_str() {
            "fp16" => Element::F16,
            "bf16" => Element::Bf16,
            "tf32" => Element::Tf32,
            "e4m3" => Element::E4m3,
            "e5m2" => Element::E5m2,
            other => panic!("{}: unknown input {other}", self.name),
        }
    }

    fn is_half(&self) -> bool {
        match self.output.as_str() {
            "f16" => true,
            "f32" => false,
            other => panic!("{}: unknown output {other}", self.name),
        }
    }

    /// Every way to replay it. A product with fewer places than an instruction has zeros behind them, which add nothing.
    fn replays(&self) -> Vec<Replay> {
        let result = if self.is_half() { Result::F16 } else { Result::F32 };
        // The A2 has the A100's tensor cores, the L40S Ada's, the H200 the H100's, and so has the B200 for mma.sync (HARDWARE 1).
        let chip = match (self.arch.as_str(), self.instruction.as_str()) {
            ("sm_70", "mma.sync") => {
                let least_exponents = [-14; 2];
                return vec![Replay::Step(Step { fraction_bits: 23, floor: -131, least_exponents, result })];
            }
            ("sm_90", "wgmma") => {
                let least = if self.element() == Element::E4m3 { -6 } else { -14 };
                let result = Result::Short;
                return vec![Replay::Step(Step {
                    fraction_bits: 13,
                    floor: -133,
                    least_exponents: [least; 2],
                    result,
                })];
            }
            ("sm_80" | "sm_86", "mma.sync") => Architecture::Sm80,
            ("sm_89", "mma.sync") => Architecture::Sm89,
            ("sm_90" | "sm_100", "mma.sync") => Architecture::Sm90,
            other => panic!("{}: unknown chip or instruction {other:?}", self.name),
        };
        let accumulator = if self.is_half() { Accumulator::F16 } else { Accumulator::F32 };
        let case = |k| {
            let form = Form::new(k, self.element(), self.element(), accumulator, accumulator);
            Replay::Instruction(chip, Case { m: 16, form })
        };
        match (self.input.as_str(), self.k) {
            ("tf32", 4) => vec![case(4), case(8)],
            ("fp16" | "bf16", 8) => vec![case(8), case(16)],
            ("fp16" | "bf16", 16) => vec![case(16)],
            ("e4m3" | "e5m2", 32) => vec![case(32)],
            other => panic!("{}: unknown shape {other:?}", self.name),
        }
    }

    /// Bits of an operand, which must be a value of its type.
    fn operand(&self, value: f32) -> u64 {
        let (bits, back): (u64, f32) = match self.element() {
            Element::F16 => (f16::from_f32(value).to_bits().into(), f16::from_f32(value).to_f32()),
            Element::Bf16 => (bf16::from_f32(value).to_bits().into(), bf16::from_f32(value).to_f32()),
            Element::Tf32 => (value.to_bits().into(), f32::from_bits(value.to_bits() & 0xffff_e000)),
            eight => {
                let format = crate::oracle::format(eight);
                let found = (0..256).find(|&bits| crate::forms::value(format, bits).to_bits() == value.to_bits());
                let bits = found.unwrap_or_else(|| panic!("{value} is no {eight:?}"));
                (bits.into(), value)
            }
        };
        assert_eq!(back.to_bits(), value.to_bits(), "{value} is no operand value");
        bits
    }

    /// Bits of an accumulator.
    fn accumulator(&self, value: f32) -> u64 {
        if self.is_half() { f16::from_f32(value).to_bits().into() } else { value.to_bits().into() }
    }
}

/// Records of one mma: each has a row and a column of its own.
const TOGETHER: usize = 8;

/// Where record `index` stands in its mma; over the records of a set every element has its turn.
fn place(index: usize) -> (usize, usize) {
    let (number, part) = (index / TOGETHER, index % TOGETHER);
    ((part + number) % 16, (part + number / 16) % 8)
}

/// Checks all records of a set.
fn replay(set: &Set, how: &Replay, records: &[&[f32]]) {
    match how {
        Replay::Step(step) => {
            for (index, record) in records.iter().enumerate() {
                let (a, b) = (&record[..set.k], &record[set.k..2 * set.k]);
                let got = block_step(*step, a, b, record[2 * set.k]);
                assert_eq!(got.to_bits(), record[2 * set.k + 1].to_bits(), "{} record {index}", set.name);
            }
        }
        Replay::Instruction(chip, case) => {
            let zero =
                || Product { a: zeros(16, case.form.k), b: zeros(case.form.k, 8), c: zeros(16, 8), stored: vec![] };
            let mut products: Vec<Product> = (0..records.len().div_ceil(TOGETHER)).map(|_| zero()).collect();
            for (index, record) in records.iter().enumerate() {
                let (product, (row, column)) = (&mut products[index / TOGETHER], place(index));
                for k in 0..set.k {
                    product.a[row][k] = set.operand(record[k]);
                    product.b[k][column] = set.operand(record[set.k + k]);
                }
                product.c[row][column] = set.accumulator(record[2 * set.k]);
            }
            for level in levels() {
                let results = by_instruction(case, *chip, level, &products);
                for (index, record) in records.iter().enumerate() {
                    let (row, column) = place(index);
                    let wanted = set.accumulator(record[2 * set.k + 1]);
                    let got = results[index / TOGETHER][row][column];
                    assert_eq!(got, wanted, "{} {} record {index} {level:?}", set.name, case.opcode());
                }
            }
        }
    }
}

#[test]
fn all_records_of_real_tensor_cores() {
    let (sets, data) = read();
    let (mut by_instructions, mut by_steps) = (0, 0);
    for set in &sets {
        let floats = 2 * set.k + 2;
        assert_eq!(set.bytes, set.vectors * floats * 4, "{}: size of the set", set.name);
        let records = data
            .get(set.offset..set.offset + set.bytes)
            .unwrap_or_else(|| panic!("{}: the .bin file is too short", set.name));
        let records: Vec<f32> =
            records.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes"))).collect();
        let records: Vec<&[f32]> = records.chunks_exact(floats).collect();
        let replays = set.replays();
        for how in &replays {
            replay(set, how, &records);
        }
        match replays[0] {
            Replay::Instruction(..) => by_instructions += records.len(),
            Replay::Step(_) => by_steps += records.len(),
        }
    }
    println!(
        "{} sets: {by_instructions} records by mma.sync instructions, {by_steps} by the function of a step",
        sets.len()
    );
    assert_eq!(by_instructions + by_steps, sets.iter().map(|set| set.vectors).sum::<usize>());
    if std::env::var_os("SOFTCUDA_TENSOR_VECTORS").is_none() {
        assert_eq!((sets.len(), by_instructions + by_steps), (48, 24_000));
    }
}
