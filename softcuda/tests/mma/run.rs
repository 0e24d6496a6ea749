//! Products by the library's functions, and by instructions of a kernel.

use crate::fill::chunks;
use crate::forms::{Case, Product, accumulator_bits};
use crate::fragments::{Matrix, Registers, a_fragment, b_fragment, c_fragment, c_matrix, metadata};
use crate::support::Bench;
use softcuda::chip::Architecture;
use softcuda::exec::mma::{Arithmetic, DoubleOperands, Element, HostLevel, Memo, Multiplier, Operands, Variant};
use softcuda::exec::value::Lanes;

/// Fragments of a product.
pub(crate) struct Fragments {
    pub(crate) a: Registers,
    pub(crate) b: Registers,
    pub(crate) c: Registers,
    pub(crate) metadata: Option<[u64; 32]>,
}

impl Fragments {
    pub(crate) fn new(case: &Case, product: &Product) -> Fragments {
        let form = &case.form;
        let mut metadata_registers = None;
        let mut a = product.a.clone();
        if let Variant::Sparse(sparse) = form.variant {
            for (row, places) in a.iter_mut().zip(&product.stored) {
                *row = places.iter().map(|&place| row[place]).collect();
            }
            let all: Vec<Vec<u32>> = product.stored.iter().map(|places| chunks(form.a, form.k, places)).collect();
            metadata_registers = Some(metadata(form.a.bits(), sparse.selector.into(), &all));
        }
        Fragments {
            a: a_fragment(form.a.bits(), case.m, a[0].len(), &a),
            b: b_fragment(form.b.bits(), form.k, &product.b),
            c: c_fragment(accumulator_bits(form.c), case.m, &product.c),
            metadata: metadata_registers,
        }
    }
}

fn lanes(registers: &Registers) -> Vec<Lanes> {
    registers.iter().map(|register| Lanes(register.map(|word| word as u32))).collect()
}

/// With a tile's function of a level. Forms of 8 rows are those of 16 with rows of zeros.
pub(crate) fn by_function(
    case: &Case,
    level: HostLevel,
    arithmetic: Arithmetic,
    memo: &mut Memo,
    product: &Product,
) -> Matrix {
    let multiplier = Multiplier::new(case.form, level, arithmetic).expect("the form exists");
    let whole = Case { m: 16, ..*case };
    let mut product = product.clone();
    product.a.resize(16, vec![0; case.form.k]);
    product.c.resize(16, vec![0; 8]);
    let fragments = Fragments::new(&whole, &product);
    let bits = accumulator_bits(case.form.d);
    let mut d = if case.form.a == Element::F64 {
        let (a, b): (Vec<_>, Vec<_>) = (fragments.a.iter().collect(), fragments.b.iter().collect());
        let c = [0, 1, 2, 3].map(|i| &fragments.c[i]);
        let mut d = [[0; 32]; 4];
        multiplier.multiply_double(&DoubleOperands { a: &a, b: &b, c }, &mut d);
        c_matrix(bits, 16, &d.to_vec())
    } else {
        let [a, b, c] = [&fragments.a, &fragments.b, &fragments.c].map(lanes);
        let metadata = fragments.metadata.map(|register| Lanes(register.map(|word| word as u32)));
        let (a, b, c): (Vec<_>, Vec<_>, Vec<_>) = (a.iter().collect(), b.iter().collect(), c.iter().collect());
        let operands = Operands { a: &a, b: &b, c: &c, metadata: metadata.as_ref(), places: [3, 5] };
        let mut d = [Lanes::ZERO; 8];
        multiplier.multiply(memo, &operands, &mut d);
        let d: Registers = d[..multiplier.registers().d].iter().map(|lanes| lanes.0.map(u64::from)).collect();
        c_matrix(bits, 16, &d)
    };
    d.truncate(case.m);
    d
}

/// A kernel of one instruction: block i reads registers a, b, c (and metadata) at `in + i * size`, and writes those of d to `out`.
pub(crate) struct Kernel {
    opcode: String,
    /// Numbers of registers: d, a, b, c.
    counts: [usize; 4],
    /// Sparsity selector.
    selector: Option<u8>,
    wide: bool,
}

impl Kernel {
    pub(crate) fn new(opcode: String, counts: [usize; 4], selector: Option<u8>, wide: bool) -> Kernel {
        Kernel { opcode, counts, selector, wide }
    }

    fn text(&self) -> String {
        let (ty, size) = if self.wide { ("f64", 8) } else { ("b32", 4) };
        let list = |name: char, count: usize| -> String {
            let names: Vec<String> = (0..count).map(|i| format!("%{name}{i}")).collect();
            format!("{{{}}}", names.join(", "))
        };
        let [d, a, b, c] = self.counts;
        let (mut loads, mut at) = (String::new(), 0);
        for (name, count) in [('a', a), ('b', b), ('c', c), ('e', usize::from(self.selector.is_some()))] {
            for i in 0..count {
                loads += &format!("ld.global.{ty} %{name}{i}, [%in+{at}];\n");
                at += 32 * size;
            }
        }
        let stores: String = (0..d).map(|i| format!("st.global.{ty} [%out+{}], %d{i};\n", 32 * size * i)).collect();
        let sparse = self.selector.map_or(String::new(), |selector| format!(", %e0, {selector}"));
        format!(
            ".version 8.7\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 out)\n{{\n\
             .reg .{ty} %a<8>, %b<8>, %c<8>, %d<8>;\n.reg .b32 %e0, %lane, %block;\n.reg .b64 %in, %out;\n\
             ld.param.u64 %in, [in];\nld.param.u64 %out, [out];\nmov.u32 %block, %ctaid.x;\nmov.u32 %lane, %laneid;\n\
             mad.wide.u32 %in, %block, {at}, %in;\nmad.wide.u32 %in, %lane, {size}, %in;\n\
             mad.wide.u32 %out, %block, {}, %out;\nmad.wide.u32 %out, %lane, {size}, %out;\n{loads}\
             {} {}, {}, {}, {}{sparse};\n{stores}ret;\n}}\n",
            32 * size * d,
            self.opcode,
            list('d', d),
            list('a', a),
            list('b', b),
            list('c', c),
        )
    }

    /// The registers of d of each product; `inputs` are a, b, c (and metadata).
    pub(crate) fn run(&self, architecture: Architecture, level: HostLevel, inputs: &[Registers]) -> Vec<Registers> {
        let mut bench = Bench::new(&self.text());
        bench.architecture = architecture;
        bench.config.host_level = Some(level);
        let flat = inputs.iter().flatten().flatten();
        let source = if self.wide {
            bench.upload(&flat.copied().collect::<Vec<u64>>())
        } else {
            bench.upload(&flat.map(|&word| word as u32).collect::<Vec<u32>>())
        };
        let count = inputs.len() * 32 * self.counts[0];
        let out = bench.upload(&vec![0u8; count * if self.wide { 8 } else { 4 }]);
        let counters = bench
            .launch("k", [inputs.len() as u32, 1, 1], [32, 1, 1], 0, &[&source.to_le_bytes(), &out.to_le_bytes()])
            .unwrap_or_else(|fault| panic!("{}: {}", self.opcode, fault.text));
        let mnemonic = self.opcode.split(".sync").next().unwrap_or("");
        assert_eq!(counters.executed(mnemonic), inputs.len() as u64, "{}", self.opcode);
        let words: Vec<u64> = if self.wide {
            bench.download(out, count)
        } else {
            bench.download::<u32>(out, count).into_iter().map(u64::from).collect()
        };
        let register = |lanes: &[u64]| <[u64; 32]>::try_from(lanes).expect("32 lanes");
        words.chunks_exact(32 * self.counts[0]).map(|d| d.chunks_exact(32).map(register).collect()).collect()
    }
}

/// With the instruction itself.
pub(crate) fn by_instruction(
    case: &Case,
    architecture: Architecture,
    level: HostLevel,
    products: &[Product],
) -> Vec<Matrix> {
    let form = &case.form;
    let all: Vec<Fragments> = products.iter().map(|product| Fragments::new(case, product)).collect();
    let selector = match form.variant {
        Variant::Sparse(sparse) => Some(sparse.selector),
        _ => None,
    };
    let counts = [all[0].c.len(), all[0].a.len(), all[0].b.len(), all[0].c.len()];
    let kernel = Kernel::new(case.opcode(), counts, selector, form.a == Element::F64);
    let inputs: Vec<Registers> =
        all.into_iter().map(|f| [f.a, f.b, f.c, f.metadata.into_iter().collect()].concat()).collect();
    let results = kernel.run(architecture, level, &inputs);
    results.iter().map(|d| c_matrix(accumulator_bits(form.d), case.m, d)).collect()
}
