//! `wmma`: matrices loaded, multiplied and stored, against naive products of every shape, type and layout.

use crate::fill::Random;
use crate::forms::{Case, accumulator_bits, accumulator_name, element, name};
use crate::fragments::{Matrix, zeros};
use crate::support::Bench;
use half::{bf16, f16};
use softcuda::exec::mma::{Accumulator, Element, Form, TensorModel, Variant};

/// Where a kernel's matrices lie.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Space {
    Global,
    Shared,
    Generic,
    /// Generic addresses of shared memory.
    GenericShared,
}

/// One product.
#[derive(Clone, Copy, Debug)]
struct Product {
    m: usize,
    n: usize,
    form: Form,
    /// Column-major: A, B, C and D.
    columns: [bool; 3],
    space: Space,
    /// Elements added to the least stride; 0: no stride operand.
    padding: usize,
}

/// A matrix in memory.
fn store(matrix: &Matrix, bits: usize, columns: bool, stride: usize) -> Vec<u8> {
    let (height, width) = (matrix.len(), matrix[0].len());
    let major = if columns { width } else { height };
    let mut bytes = vec![0u8; major * stride * bits / 8];
    for (row, line) in matrix.iter().enumerate() {
        for (column, &value) in line.iter().enumerate() {
            let index = if columns { column * stride + row } else { row * stride + column };
            for bit in 0..bits {
                bytes[(index * bits + bit) / 8] |= ((value >> bit & 1) as u8) << ((index * bits + bit) % 8);
            }
        }
    }
    bytes
}

/// The reverse.
fn read(bytes: &[u8], (height, width): (usize, usize), bits: usize, columns: bool, stride: usize) -> Matrix {
    let mut matrix = zeros(height, width);
    for (row, line) in matrix.iter_mut().enumerate() {
        for (column, value) in line.iter_mut().enumerate() {
            let index = if columns { column * stride + row } else { row * stride + column };
            for bit in 0..bits {
                let at = index * bits + bit;
                *value |= u64::from(bytes[at / 8] >> (at % 8) & 1) << bit;
            }
        }
    }
    matrix
}

impl Product {
    /// Height, width, bits and stride of A, B, C and D.
    fn matrices(&self) -> [((usize, usize), usize, usize); 4] {
        let form = &self.form;
        let bits = [form.a.bits(), form.b.bits(), accumulator_bits(form.c), accumulator_bits(form.d)];
        let sizes = [(self.m, form.k), (form.k, self.n), (self.m, self.n), (self.m, self.n)];
        let columns = [self.columns[0], self.columns[1], self.columns[2], self.columns[2]];
        [0, 1, 2, 3].map(|i| {
            let least = if columns[i] { sizes[i].0 } else { sizes[i].1 };
            (sizes[i], bits[i], least + self.padding)
        })
    }

    fn opcodes(&self) -> [String; 5] {
        let form = &self.form;
        let shape = format!("m{}n{}k{}", self.m, self.n, form.k);
        let layout = self.columns.map(|columns| if columns { "col" } else { "row" });
        let space = match self.space {
            Space::Global => ".global",
            Space::Shared => ".shared",
            Space::Generic | Space::GenericShared => "",
        };
        let accumulators = [form.d, form.c].map(accumulator_name);
        let types = match form.a {
            Element::F16 => format!("{}.{}", accumulators[0], accumulators[1]),
            a => format!("{}.{}.{}.{}", accumulators[0], name(a), name(form.b), accumulators[1]),
        };
        let (bits, behind) = match form.variant {
            Variant::Xor => (".xor.popc", ""),
            Variant::And => (".and.popc", ""),
            Variant::Saturating => ("", ".satfinite"),
            _ => ("", ""),
        };
        [
            format!("wmma.load.a.sync.aligned.{}.{shape}{space}.{}", layout[0], name(form.a)),
            format!("wmma.load.b.sync.aligned.{}.{shape}{space}.{}", layout[1], name(form.b)),
            format!("wmma.load.c.sync.aligned.{}.{shape}{space}.{}", layout[2], accumulators[1]),
            format!("wmma.mma{bits}.sync.aligned.{}.{}.{shape}.{types}{behind}", layout[0], layout[1]),
            format!("wmma.store.d.sync.aligned.{}.{shape}{space}.{}", layout[2], accumulators[0]),
        ]
    }

    /// Registers of A, B, C and D.
    fn registers(&self) -> [usize; 4] {
        let form = &self.form;
        let multiplicand = |element: Element, lines: usize| match element {
            Element::F16 => 8,
            Element::F64 => 1,
            element => (lines * form.k * element.bits() / 32 / 32).max(1),
        };
        let accumulator = |ty| self.m * self.n * accumulator_bits(ty).min(32) / 32 / 32;
        [multiplicand(form.a, self.m), multiplicand(form.b, self.n), accumulator(form.c), accumulator(form.d)]
    }

    fn kernel(&self, bytes: [usize; 4]) -> String {
        let ty = if self.form.a == Element::F64 { "f64" } else { "b32" };
        let list = |name: char, count: usize| -> String {
            let names: Vec<String> = (0..count).map(|i| format!("%{name}{i}")).collect();
            format!("{{{}}}", names.join(", "))
        };
        let [a, b, c, d] = self.registers();
        let lists = [list('a', a), list('b', b), list('c', c), list('d', d)];
        let strides = self.matrices().map(|(_, _, stride)| match self.padding {
            0 => String::new(),
            _ => format!(", {stride}"),
        });
        let shared = matches!(self.space, Space::Shared | Space::GenericShared);
        let (mut before, mut after, mut at) = (String::new(), String::new(), 0);
        for (i, name) in ['a', 'b', 'c', 'd'].into_iter().enumerate() {
            before += &format!("ld.param.u64 %p{name}, [{name}];\nmov.u64 %g{name}, %p{name};\n");
            if !shared {
                continue;
            }
            // The warp copies a word a lane at a time; D's room beforehand, for its gaps.
            before += &format!("mov.u64 %p{name}, memory;\nadd.u64 %p{name}, %p{name}, {at};\n");
            for word in (0..bytes[i] / 4).step_by(32) {
                before += &format!(
                    "mad.wide.u32 %x, %lane, 4, %g{name};\nld.global.b32 %w, [%x+{0}];\n\
                     mad.wide.u32 %x, %lane, 4, %p{name};\nst.shared.b32 [%x+{0}], %w;\n",
                    4 * word
                );
                if name == 'd' {
                    after += &format!(
                        "mad.wide.u32 %x, %lane, 4, %sd;\nld.shared.b32 %w, [%x+{0}];\n\
                         mad.wide.u32 %x, %lane, 4, %gd;\nst.global.b32 [%x+{0}], %w;\n",
                        4 * word
                    );
                }
            }
            before += &format!("mov.u64 %s{name}, %p{name};\n");
            if self.space == Space::GenericShared {
                before += &format!("cvta.shared.u64 %p{name}, %p{name};\n");
            }
            at += bytes[i].next_multiple_of(128);
        }
        let [load_a, load_b, load_c, mma, store] = self.opcodes();
        format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n\
             .visible .entry k(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d)\n{{\n\
             .shared .align 128 .b8 memory[16384];\n.reg .b64 %pa, %pb, %pc, %pd, %ga, %gb, %gc, %gd, %sa, %sb, %sc, %sd, %x;\n\
             .reg .b32 %w, %lane;\n.reg .{ty} %a<8>, %b<8>, %c<8>, %d<8>;\nmov.u32 %lane, %laneid;\n{before}\
             {load_a} {}, [%pa]{};\n{load_b} {}, [%pb]{};\n{load_c} {}, [%pc]{};\n\
             {mma} {}, {}, {}, {};\n{store} [%pd], {}{};\n{after}ret;\n}}\n",
            lists[0],
            strides[0],
            lists[1],
            strides[1],
            lists[2],
            strides[2],
            lists[3],
            lists[0],
            lists[1],
            lists[2],
            lists[3],
            strides[3],
        )
    }

    /// Element (row, column) of the result.
    fn expected(&self, a: &Matrix, b: &Matrix, c: &Matrix, row: usize, column: usize) -> u64 {
        let column_of_b: Vec<u64> = b.iter().map(|line| line[column]).collect();
        let c = c[row][column];
        let half = [self.form.c, self.form.d].map(|accumulator| accumulator == Accumulator::F16);
        // With one accumulator of each type the tensor core's is f32.
        let mixed = half[0] != half[1];
        let mut form = self.form;
        if mixed {
            (form.c, form.d) = (Accumulator::F32, Accumulator::F32);
        }
        let c = if mixed && half[0] { f16::from_bits(c as u16).to_f32().to_bits().into() } else { c };
        let d = element(&Case { m: 16, form }, Some(TensorModel::Sm80), &a[row], &column_of_b, c);
        if mixed && half[1] { f16::from_f32(f32::from_bits(d as u32)).to_bits().into() } else { d }
    }

    fn check(&self, random: &mut Random) {
        let form = &self.form;
        let mut number = |element: Element| {
            let value = random.below(4001) as f64 / 1000.0 - 2.0;
            match element {
                Element::F16 => f16::from_f64(value).to_bits().into(),
                Element::Bf16 => bf16::from_f64(value).to_bits().into(),
                Element::Tf32 => u64::from((value as f32).to_bits() & 0xffff_e000),
                Element::F64 => value.to_bits(),
                integer => random.bits() & ((1 << integer.bits()) - 1),
            }
        };
        let a: Matrix = (0..self.m).map(|_| (0..form.k).map(|_| number(form.a)).collect()).collect();
        let b: Matrix = (0..form.k).map(|_| (0..self.n).map(|_| number(form.b)).collect()).collect();
        let mut accumulator = || match form.c {
            Accumulator::F16 => number(Element::F16),
            Accumulator::F32 => number(Element::Tf32),
            Accumulator::F64 => number(Element::F64),
            Accumulator::S32 => (i32::MAX as u64).wrapping_sub(number(Element::U8)) & 0xffff_ffff,
        };
        let c: Matrix = (0..self.m).map(|_| (0..self.n).map(|_| accumulator()).collect()).collect();
        let matrices = self.matrices();
        let mut buffers =
            [(&a, 0, 0), (&b, 1, 1), (&c, 2, 2), (&zeros(self.m, self.n), 3, 2)].map(|(matrix, i, layout)| {
                let mut bytes = store(matrix, matrices[i].1, self.columns[layout], matrices[i].2);
                // Room for the whole words of a copy.
                bytes.resize(bytes.len().next_multiple_of(128), 0);
                bytes
            });
        let sizes = [0, 1, 2, 3].map(|i| buffers[i].len());
        buffers[3].fill(0xcd);
        let text = self.kernel(sizes);
        let bench = Bench::new(&text);
        let addresses = buffers.each_ref().map(|bytes| bench.upload(bytes).to_le_bytes());
        let params: Vec<&[u8]> = addresses.iter().map(|bytes| bytes.as_slice()).collect();
        let counters = bench
            .launch("k", [1; 3], [32, 1, 1], 0, &params)
            .unwrap_or_else(|fault| panic!("{self:?}: {}", fault.text));
        assert_eq!(counters.tensor_multiply_adds, (self.m * self.n * form.k) as u64);
        let bytes: Vec<u8> = bench.download(u64::from_le_bytes(addresses[3]), sizes[3]);
        let (size, bits, stride) = matrices[3];
        let got = read(&bytes, size, bits, self.columns[2], stride);
        let wanted: Matrix =
            (0..self.m).map(|row| (0..self.n).map(|column| self.expected(&a, &b, &c, row, column)).collect()).collect();
        assert_eq!(got, wanted, "{self:?}\n{:#?}", self.opcodes());
        // Nothing but the elements is written.
        let written = self.m * self.n * bits / 8;
        let kept = bytes.iter().filter(|&&byte| byte == 0xcd).count();
        assert!(kept >= bytes.len() - written, "{self:?}: {kept} bytes of {} kept", bytes.len());
    }
}

/// Every form, with the layouts that it may have.
fn all() -> Vec<Product> {
    use Accumulator as To;
    use Element::*;
    let mut products = Vec::new();
    let mut add = |m, n, form: Form, fixed: bool| {
        for layouts in 0..8 {
            let columns = [layouts & 1 == 1, layouts & 2 == 2, layouts & 4 == 4];
            if !fixed || columns[..2] == [false, true] {
                products.push(Product { m, n, form, columns, space: Space::Global, padding: 0 });
            }
        }
    };
    for (m, n) in [(16, 16), (32, 8), (8, 32)] {
        for c in [To::F16, To::F32] {
            for d in [To::F16, To::F32] {
                add(m, n, Form::new(16, F16, F16, c, d), false);
            }
        }
        add(m, n, Form::new(16, Bf16, Bf16, To::F32, To::F32), false);
        for element in [S8, U8] {
            for variant in [Variant::Plain, Variant::Saturating] {
                add(m, n, Form::new(16, element, element, To::S32, To::S32).with(variant), false);
            }
        }
    }
    add(16, 16, Form::new(8, Tf32, Tf32, To::F32, To::F32), false);
    add(8, 8, Form::new(4, F64, F64, To::F64, To::F64), false);
    for element in [S4, U4] {
        for variant in [Variant::Plain, Variant::Saturating] {
            add(8, 8, Form::new(32, element, element, To::S32, To::S32).with(variant), true);
        }
    }
    for variant in [Variant::Xor, Variant::And] {
        add(8, 8, Form::new(128, B1, B1, To::S32, To::S32).with(variant), true);
    }
    products
}

#[test]
fn every_wmma_equals_a_naive_product_with_and_without_a_stride() {
    let mut random = Random(3);
    let products = all();
    for product in &products {
        // Padding keeps the start of every row on 32 bytes.
        let padding = 256 / product.form.a.bits().min(32) * 2;
        for padding in [0, padding] {
            Product { padding, ..*product }.check(&mut random);
        }
    }
    println!("{} products", products.len());
}

#[test]
fn wmma_reaches_shared_memory_directly_and_by_generic_addresses() {
    let mut random = Random(4);
    for product in &all() {
        for space in [Space::Shared, Space::Generic, Space::GenericShared] {
            Product { space, ..*product }.check(&mut random);
        }
    }
}
