//! Records of real tensor cores: `SOFTCUDA_TENSOR_VECTORS` names another file pair of the same format.

use crate::{fragments::Matrices, levels, run};
use half::{bf16, f16};
use softcuda::exec::mma::{Arithmetic, OperandType, Shape, TensorModel};
use std::{collections::BTreeMap, path::PathBuf};

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

/// What of a set this machine has.
fn form(set: &Set) -> Option<(TensorModel, OperandType, bool)> {
    let model = match set.arch.as_str() {
        "sm_80" | "sm_86" => TensorModel::Sm80,
        "sm_89" => TensorModel::Sm89,
        // One arithmetic for 16-bit operands since sm_90.
        "sm_90" | "sm_100" | "sm_120" => TensorModel::Sm90,
        _ => return None,
    };
    let operands = match set.input.as_str() {
        "fp16" => OperandType::F16,
        "bf16" => OperandType::Bf16,
        _ => return None,
    };
    let half = match set.output.as_str() {
        "f32" => false,
        "f16" => true,
        _ => return None,
    };
    (set.instruction == "mma.sync" && matches!(set.k, 8 | 16)).then_some((model, operands, half))
}

#[test]
fn tensor_core_vectors() {
    let (sets, data) = read();
    let (mut checked_sets, mut checked) = (0, 0);
    let mut not_run: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for set in &sets {
        let floats = 2 * set.k + 2;
        assert_eq!(set.bytes, set.vectors * floats * 4, "{}: size of the set", set.name);
        let records = data
            .get(set.offset..set.offset + set.bytes)
            .unwrap_or_else(|| panic!("{}: the .bin file is too short", set.name));
        let Some((model, operands, half)) = form(set) else {
            let entry =
                not_run.entry(format!("{} {}->{} {}", set.arch, set.input, set.output, set.instruction)).or_default();
            entry.0 += 1;
            entry.1 += set.vectors;
            continue;
        };
        let shape = if set.k == 8 { Shape::K8 } else { Shape::K16 };
        for (index, record) in records.chunks_exact(floats * 4).enumerate() {
            let record: Vec<f32> =
                record.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes"))).collect();
            let operand = |value: f32| {
                let (bits, back) = match operands {
                    OperandType::F16 => (f16::from_f32(value).to_bits(), f16::from_f32(value).to_f32()),
                    OperandType::Bf16 => (bf16::from_f32(value).to_bits(), bf16::from_f32(value).to_f32()),
                };
                assert_eq!(back.to_bits(), value.to_bits(), "{} record {index}: {value} is no operand value", set.name);
                bits
            };
            let accumulator = |value: f32| {
                if half { f16::from_f32(value).to_bits().into() } else { value.to_bits() }
            };
            // The record moves over all 128 elements; the others are zero.
            let (row, column) = (index % 16, index / 16 % 8);
            let mut m = Matrices { a: [[0; 16]; 16], b: [[0; 8]; 16], c: [[0; 8]; 16] };
            for place in 0..set.k {
                m.a[row][place] = operand(record[place]);
                m.b[place][column] = operand(record[set.k + place]);
            }
            m.c[row][column] = accumulator(record[2 * set.k]);
            let wanted = accumulator(record[2 * set.k + 1]);
            let mut shapes = vec![shape];
            if set.k == 8 {
                // In k16 the second block adds nothing to a result of the first.
                shapes.push(Shape::K16);
            }
            for shape in shapes {
                for level in levels() {
                    let got = run(level, shape, operands, Arithmetic::Exact(model), half, &m);
                    assert_eq!(got[row][column], wanted, "{} record {index} {shape:?} {level:?}", set.name);
                }
            }
            checked += 1;
        }
        checked_sets += 1;
    }
    for (form, (sets, records)) in &not_run {
        println!("not run (not built): {form}: {sets} sets, {records} records");
    }
    let skipped: usize = not_run.values().map(|entry| entry.0).sum();
    println!("tensor_core_vectors: {checked} records of {checked_sets} sets checked, {skipped} sets not run");
    assert!(checked > 0, "nothing was checked");
}
