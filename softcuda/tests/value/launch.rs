//! One PTX instruction over many operands.

use crate::support::Bench;

/// Runs `opcode d, a, b, ..` for each row of the operands' columns, one a thread. Widths in bits.
pub(crate) fn execute(opcode: &str, from: &[u32], to: u32, columns: &[Vec<u64>]) -> Vec<u64> {
    let register = |bits: u32, number: usize| match bits {
        8 | 16 => format!("%h{number}"),
        32 => format!("%r{number}"),
        _ => format!("%d{number}"),
    };
    let memory = |bits: u32| if bits == 8 { "u8".to_owned() } else { format!("b{bits}") };
    let names: Vec<String> = from.iter().enumerate().map(|(number, &bits)| register(bits, number)).collect();
    let loads: String = names
        .iter()
        .zip(from)
        .map(|(name, &bits)| format!("ld.global.{} {name}, [%d6]; add.u64 %d6, %d6, %d8;\n", memory(bits)))
        .collect();
    let (result, store) = (register(to, 5), memory(to));
    let text = format!(
        ".version 8.8\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 out, .param .u32 n)\n{{\n\
         .reg .b32 %r<9>; .reg .b64 %d<9>; .reg .b16 %h<9>; .reg .pred %p;\n\
         ld.param.u64 %d6, [in]; ld.param.u64 %d7, [out]; ld.param.u32 %r6, [n];\n\
         mov.u32 %r7, %ctaid.x; mov.u32 %r8, %tid.x; mad.lo.u32 %r7, %r7, 256, %r8;\n\
         setp.ge.u32 %p, %r7, %r6; @%p exit;\n\
         mad.wide.u32 %d6, %r7, 8, %d6; mad.wide.u32 %d7, %r7, 8, %d7; mul.wide.u32 %d8, %r6, 8;\n\
         {loads}{opcode} {result}, {};\nst.global.{store} [%d7], {result};\nret;\n}}\n",
        names.join(", "),
    );
    let count = columns[0].len();
    let mut bench = Bench::new(&text);
    bench.architecture = softcuda::chip::Architecture::Sm90;
    let source = bench.upload(&columns.concat());
    let out = bench.upload(&vec![0u64; count]);
    let params: [&[u8]; 3] = [&source.to_le_bytes(), &out.to_le_bytes(), &(count as u32).to_le_bytes()];
    bench
        .launch("k", [(count as u32).div_ceil(256), 1, 1], [256, 1, 1], 0, &params)
        .unwrap_or_else(|fault| panic!("{opcode}: {}", fault.text));
    bench.download(out, count)
}
