//! Records of real tensor cores, replayed by `mma.sync` instructions of a kernel on the emulated chip:
//! `SOFTCUDA_TENSOR_VECTORS` names another file pair of the same format.

use crate::{
    fragments::{Matrices, d_f16, d_f32},
    levels,
    support::Bench,
};
use half::{bf16, f16};
use softcuda::{
    chip::Architecture,
    exec::{
        mma::{HostLevel, OperandType},
        value::Lanes,
    },
};
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

/// How a set runs on this machine.
#[derive(Clone, Copy)]
struct Form {
    chip: Architecture,
    operands: OperandType,
    /// The result is f16.
    half: bool,
}

/// The form of a set; `None`: this machine does not have it.
fn form(set: &Set) -> Option<Form> {
    let chip = match set.arch.as_str() {
        "sm_80" | "sm_86" => Architecture::Sm80,
        "sm_89" => Architecture::Sm89,
        // One arithmetic for 16-bit operands since sm_90.
        "sm_90" | "sm_100" | "sm_120" => Architecture::Sm90,
        _ => return None,
    };
    let (operands, half) = match (set.input.as_str(), set.output.as_str()) {
        ("fp16", "f32") => (OperandType::F16, false),
        ("fp16", "f16") => (OperandType::F16, true),
        ("bf16", "f32") => (OperandType::Bf16, false),
        _ => return None,
    };
    (set.instruction == "mma.sync" && matches!(set.k, 8 | 16)).then_some(Form { chip, operands, half })
}

impl Form {
    /// A kernel whose warp w multiplies the fragments at `in + 1280 w` (a, b, c: 10 words of 32 lanes) to `out + 512 w`.
    fn kernel(self) -> String {
        let operand = match self.operands {
            OperandType::F16 => "f16",
            OperandType::Bf16 => "bf16",
        };
        let (registers, ty) = if self.half { (2, "f16") } else { (4, "f32") };
        let list = |name: &str, count: usize| -> String {
            let names: Vec<String> = (0..count).map(|i| format!("%{name}{i}")).collect();
            format!("{{{}}}", names.join(", "))
        };
        let mut loads = String::new();
        let names = [("a", 4), ("b", 2), ("c", registers)];
        let names = names.iter().flat_map(|&(name, count)| (0..count).map(move |i| format!("{name}{i}")));
        for (i, name) in names.enumerate() {
            loads += &format!("ld.global.b32 %{name}, [%in+{}];\n", 128 * i);
        }
        let stores: String = (0..registers).map(|i| format!("st.global.b32 [%out+{}], %d{i};\n", 128 * i)).collect();
        format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 out)\n{{\n\
             .reg .b32 %a<4>, %b<2>, %c<4>, %d<4>;\n.reg .b32 %warp, %lane, %block, %thread;\n.reg .b64 %in, %out;\n\
             ld.param.u64 %in, [in];\nld.param.u64 %out, [out];\n\
             mov.u32 %thread, %tid.x;\nmov.u32 %block, %ctaid.x;\nmov.u32 %lane, %laneid;\nshr.u32 %warp, %thread, 5;\nmad.lo.u32 %warp, %block, 4, %warp;\n\
             mad.wide.u32 %in, %warp, 1280, %in;\nmad.wide.u32 %in, %lane, 4, %in;\n\
             mad.wide.u32 %out, %warp, 512, %out;\nmad.wide.u32 %out, %lane, 4, %out;\n{loads}\
             mma.sync.aligned.m16n8k16.row.col.{ty}.{operand}.{operand}.{ty} {}, {}, {}, {};\n{stores}ret;\n}}\n",
            list("d", registers),
            list("a", 4),
            list("b", 2),
            list("c", registers),
        )
    }

    /// The products of many mma, in one launch.
    fn multiply(self, level: HostLevel, matrices: &[Matrices]) -> Vec<[[u32; 8]; 16]> {
        let mut bench = Bench::new(&self.kernel());
        bench.architecture = self.chip;
        bench.config.host_level = Some(level);
        // Blocks of four warps; those past the last mma multiply zeros.
        let blocks = matrices.len().div_ceil(4);
        let mut input = vec![0u32; blocks * 4 * 320];
        for (words, m) in input.chunks_exact_mut(320).zip(matrices) {
            let (a, b) = m.fragments();
            let (half, single) = (m.c_f16(), m.c_f32());
            let c: &[Lanes] = if self.half { &half } else { &single };
            for (row, lanes) in words.chunks_exact_mut(32).zip(a.iter().chain(&b).chain(c)) {
                row.copy_from_slice(&lanes.0);
            }
        }
        let source = bench.upload(&input);
        let out = bench.upload(&vec![0u32; blocks * 4 * 128]);
        let counters = bench
            .launch("k", [blocks as u32, 1, 1], [128, 1, 1], 0, &[&source.to_le_bytes(), &out.to_le_bytes()])
            .unwrap_or_else(|fault| panic!("{}", fault.text));
        assert_eq!(counters.executed("mma"), 4 * blocks as u64);
        let words: Vec<u32> = bench.download(out, blocks * 4 * 128);
        let register = |words: &[u32], i: usize| Lanes(std::array::from_fn(|lane| words[32 * i + lane]));
        let product = |words: &[u32]| {
            if self.half {
                d_f16(&[register(words, 0), register(words, 1)])
            } else {
                d_f32(&[0, 1, 2, 3].map(|i| register(words, i)))
            }
        };
        words.chunks_exact(128).take(matrices.len()).map(product).collect()
    }

    /// Bits of an operand, which must be a value of its type.
    fn operand(self, value: f32) -> u16 {
        let (bits, back) = match self.operands {
            OperandType::F16 => (f16::from_f32(value).to_bits(), f16::from_f32(value).to_f32()),
            OperandType::Bf16 => (bf16::from_f32(value).to_bits(), bf16::from_f32(value).to_f32()),
        };
        assert_eq!(back.to_bits(), value.to_bits(), "{value} is no operand value");
        bits
    }

    /// Bits of an accumulator.
    fn accumulator(self, value: f32) -> u32 {
        if self.half { f16::from_f32(value).to_bits().into() } else { value.to_bits() }
    }
}

/// Records of one mma: each has a row and a column of its own.
const TOGETHER: usize = 8;

/// Where record `index` stands in its mma; over the records of a set every element has its turn.
fn place(index: usize) -> (usize, usize) {
    let (number, part) = (index / TOGETHER, index % TOGETHER);
    ((part + number) % 16, (part + number / 16) % 8)
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
        let Some(form) = form(set) else {
            let key = format!("{} {}->{} {}", set.arch, set.input, set.output, set.instruction);
            let entry = not_run.entry(key).or_default();
            entry.0 += 1;
            entry.1 += set.vectors;
            continue;
        };
        let records: Vec<f32> =
            records.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes"))).collect();
        let records: Vec<&[f32]> = records.chunks_exact(floats).collect();
        let zero = || Matrices { a: [[0; 16]; 16], b: [[0; 8]; 16], c: [[0; 8]; 16] };
        let mut matrices: Vec<Matrices> = (0..records.len().div_ceil(TOGETHER)).map(|_| zero()).collect();
        for (index, record) in records.iter().enumerate() {
            let (m, (row, column)) = (&mut matrices[index / TOGETHER], place(index));
            // Of a record with k = 8 the second half of k16 is zero, which adds nothing to the result of the first.
            for k in 0..set.k {
                m.a[row][k] = form.operand(record[k]);
                m.b[k][column] = form.operand(record[set.k + k]);
            }
            m.c[row][column] = form.accumulator(record[2 * set.k]);
        }
        for level in levels() {
            let products = form.multiply(level, &matrices);
            for (index, record) in records.iter().enumerate() {
                let (row, column) = place(index);
                let got = products[index / TOGETHER][row][column];
                let wanted = form.accumulator(record[2 * set.k + 1]);
                assert_eq!(got, wanted, "{} record {index} {level:?}", set.name);
            }
        }
        checked += records.len();
        checked_sets += 1;
    }
    for (form, (sets, records)) in &not_run {
        println!("not run (not built): {form}: {sets} sets, {records} records");
    }
    let skipped: usize = not_run.values().map(|entry| entry.0).sum();
    println!("tensor_core_vectors: {checked} records of {checked_sets} sets checked, {skipped} sets not run");
    assert!(checked > 0, "nothing was checked");
}
