//! Lowering: each PTX instruction becomes a few records. One file a group of instructions.

mod bits;
mod call;
mod compare;
pub(super) mod control;
mod convert;
mod float;
mod frame;
mod integer;
mod matrix;
mod memory;
mod moves;
mod operands;
mod order;
mod site;
mod warp;
mod wmma;

use super::calls::CallGraph;
use super::flow::Flow;
use super::fold::folded;
use super::layout::Layout;
use super::liveness::{self, Allocation};
use super::op::{Code, Op, Preset, PresetSlot, Tables};
use super::{Block, Kernel, Line, LoadError, Site};
use crate::ptx::ast::{Body, Function, Instruction, Module, Operand, Type};
use crate::ptx::isa::{Modifier, Opcode, Pipe};
use std::collections::HashMap;
use std::sync::Arc;

/// Slots for intermediate values of one instruction.
const SCRATCH_SLOTS: u32 = 24;
/// Predicates for the same.
const SCRATCH_PREDICATES: u32 = 8;

/// What went wrong with one instruction; line and kernel are added by the caller.
type Lowered<T = ()> = Result<T, String>;

/// A function that a kernel reaches, the kernel among them.
struct Part<'a> {
    function: &'a Function,
    body: &'a Body,
    flow: Flow,
    allocation: Allocation,
}

/// Decodes one kernel, with the functions that it calls.
pub(super) fn kernel(
    module: &Module,
    index: usize,
    addresses: &[u64],
    files: Arc<Vec<(u32, String)>>,
) -> Result<Kernel, LoadError> {
    let graph = CallGraph::new(module, index);
    let (mut slots, mut predicates) = (0, 0);
    let mut parts = Vec::new();
    for &index in &graph.functions {
        let function = &module.functions[index];
        let Some(body) = &function.body else { continue };
        let error = |message| LoadError { kernel: function.name.clone(), position: function.position, message };
        if let Some(register) = body.registers.iter().find(|register| liveness::kind(register.ty).is_none()) {
            return Err(error(format!("register {}: type {:?} is not supported", register.name, register.ty)));
        }
        let flow = Flow::new(body);
        let mut allocation = liveness::allocate(body, &flow);
        // Every function has slots of its own: threads of one warp may be in different ones.
        let (own_slots, own_predicates) = (allocation.slot_count, allocation.predicate_count);
        allocation.shift(body, slots, predicates);
        (slots, predicates) = (slots + own_slots, predicates + own_predicates);
        parts.push(Part { function, body, flow, allocation });
    }
    let saved: Vec<u64> =
        parts.iter().zip(&graph.recursive).map(|(part, &recursive)| if recursive { part.saved() } else { 0 }).collect();
    let layout = Layout::new(module, &graph.functions, &saved);
    let mut builder = Builder::new(module, addresses, &graph, &layout, &parts, (slots, predicates));
    for number in 0..parts.len() {
        builder.function(number)?;
    }
    builder.finish();
    let function = parts[0].function;
    let error = |message: &str| LoadError {
        kernel: function.name.clone(),
        position: function.position,
        message: message.to_owned(),
    };
    if builder.slot_limit() > u32::from(u16::MAX) || builder.predicate_count > u32::from(u16::MAX) {
        return Err(error("more than 65,535 register slots live at once"));
    }
    if builder.tables.longest() > usize::from(u16::MAX) {
        return Err(error("more than 65,535 instructions of one kind"));
    }
    let slot_count = builder.slot_limit();
    Ok(Kernel {
        name: function.name.clone(),
        params: layout.params.clone(),
        param_bytes: layout.param_bytes,
        static_shared_bytes: layout.shared_bytes as u32,
        dynamic_shared_offset: layout.dynamic_offset as u32,
        local_bytes: graph.local_bytes(&layout) as u32,
        needs_stack: graph.recursive.contains(&true) || parts.iter().any(|part| part.has_alloca()),
        max_threads: function.max_block.map(|[x, y, z]| x.saturating_mul(y).saturating_mul(z)),
        required_block: function.required_block,
        ops: builder.ops,
        lines: builder.lines,
        blocks: builder.blocks,
        sites: builder.sites,
        tables: builder.tables,
        presets: builder.presets,
        slot_count,
        predicate_count: builder.predicate_count,
        mnemonics: builder.mnemonics,
        communicates: builder.communicates,
        files,
    })
}

/// A kernel being decoded.
struct Builder<'a> {
    module: &'a Module,
    addresses: &'a [u64],
    graph: &'a CallGraph,
    layout: &'a Layout,
    parts: &'a [Part<'a>],
    /// The function that is being decoded: its number among the parts, and what it consists of.
    number: usize,
    body: &'a Body,
    flow: &'a Flow,
    allocation: &'a Allocation,
    ops: Vec<Op>,
    lines: Vec<Line>,
    line: Line,
    blocks: Vec<Block>,
    sites: Vec<Site>,
    /// Registers of the functions before this one.
    first_register: u32,
    /// Number of the function's first block.
    first_block: usize,
    tables: Tables,
    presets: Vec<PresetSlot>,
    preset_slots: HashMap<Preset, u16>,
    next_preset: u32,
    /// Slots and predicates of all functions; those for intermediate values come next.
    registers: (u32, u32),
    scratch: u32,
    scratch_predicate: u32,
    predicate_count: u32,
    mnemonics: Vec<(&'static str, Pipe)>,
    communicates: bool,
    /// Ops of the function whose `imm` is a block of it, to be replaced by that block's first op; and their own block.
    branches: Vec<(usize, usize)>,
    /// Conditional branches of the function whose `imm` is an op already; and their own block.
    jumps: Vec<(usize, usize)>,
    /// Slots of the function's `alloca`, if it has any.
    dynamic: Option<frame::Dynamic>,
    /// `Enter` ops in the midst of a basic block of the function, and that block: each starts a part that costs nothing.
    middles: Vec<(usize, usize)>,
    /// First op of every function, and the calls whose `imm` is to become that of the function they name.
    first_ops: Vec<usize>,
    calls: Vec<(usize, usize)>,
}

impl<'a> Builder<'a> {
    fn new(
        module: &'a Module,
        addresses: &'a [u64],
        graph: &'a CallGraph,
        layout: &'a Layout,
        parts: &'a [Part<'a>],
        registers: (u32, u32),
    ) -> Builder<'a> {
        let kernel = &parts[0];
        Builder {
            module,
            addresses,
            graph,
            layout,
            parts,
            number: 0,
            body: kernel.body,
            flow: &kernel.flow,
            allocation: &kernel.allocation,
            ops: Vec::new(),
            lines: Vec::new(),
            line: Line::default(),
            blocks: Vec::new(),
            sites: Vec::new(),
            first_register: 0,
            first_block: 0,
            tables: Tables::default(),
            presets: Vec::new(),
            preset_slots: HashMap::new(),
            next_preset: registers.0 + SCRATCH_SLOTS,
            registers,
            scratch: 0,
            scratch_predicate: 0,
            predicate_count: registers.1 + SCRATCH_PREDICATES,
            mnemonics: Vec::new(),
            communicates: false,
            branches: Vec::new(),
            jumps: Vec::new(),
            dynamic: None,
            middles: Vec::new(),
            first_ops: Vec::new(),
            calls: Vec::new(),
        }
    }

    /// Decodes a function behind those before it.
    fn function(&mut self, number: usize) -> Result<(), LoadError> {
        let part = &self.parts[number];
        (self.number, self.body, self.flow, self.allocation) = (number, part.body, &part.flow, &part.allocation);
        self.first_block = self.blocks.len();
        self.first_ops.push(self.ops.len());
        self.begin_frame();
        let folded = folded(part.body);
        for number in 0..part.flow.blocks.len() {
            self.enter(number);
            let block = part.flow.blocks[number].start..part.flow.blocks[number].end;
            for (instruction, &folded) in part.body.instructions[block.clone()].iter().zip(&folded[block]) {
                let first = self.ops.len() as u32;
                self.instruction(number, instruction).map_err(|message| LoadError {
                    kernel: part.function.name.clone(),
                    position: instruction.position,
                    message: format!("{}: {message}", instruction.row.mnemonic),
                })?;
                self.site(instruction, first, folded);
            }
        }
        self.first_register += part.body.registers.len() as u32;
        self.finish_function();
        Ok(())
    }

    fn slot_limit(&self) -> u32 {
        self.next_preset
    }

    /// Starts a basic block.
    fn enter(&mut self, number: usize) {
        let block = &self.flow.blocks[number];
        let instructions = &self.body.instructions[block.start..block.end];
        let mut mix: Vec<(u16, u32)> = Vec::new();
        for instruction in instructions {
            let index = self.mnemonic(instruction);
            match mix.iter_mut().find(|(known, _)| *known == index) {
                Some((_, count)) => *count += 1,
                None => mix.push((index, 1)),
            }
        }
        self.blocks.push(Block {
            first: self.ops.len() as u32,
            reconvergence: block.reconvergence as u32,
            instructions: instructions.len() as u32,
            first_site: self.sites.len() as u32,
            waits: self.flow.waits(self.body, number),
            mix,
        });
        if let Some(first) = instructions.first() {
            self.line = Line { ptx: first.position.line, source: first.source };
        }
        self.push(Op { imm: (self.first_block + number) as i32, ..Op::new(Code::Enter) });
    }

    /// Ends a function: an implicit return, branches resolved.
    fn finish_function(&mut self) {
        let end = self.ops.len() as u32;
        self.push(Op::new(if self.number == 0 { Code::Exit } else { Code::Ret }));
        let first: Vec<u32> = self.blocks[self.first_block..].iter().map(|block| block.first).collect();
        for block in &mut self.blocks[self.first_block..] {
            block.reconvergence = first.get(block.reconvergence as usize).copied().unwrap_or(u32::MAX);
        }
        for (op, block) in std::mem::take(&mut self.branches) {
            let target = self.ops[op].imm as usize;
            self.ops[op].imm = first.get(target).copied().unwrap_or(end) as i32;
            self.jumps.push((op, block));
        }
        for (op, block) in std::mem::take(&mut self.jumps) {
            if self.ops[op].code == Code::BranchIf {
                self.ops[op].set_second(self.blocks[self.first_block + block].reconvergence);
            }
        }
        for (op, block) in std::mem::take(&mut self.middles) {
            self.ops[op].imm = self.blocks.len() as i32;
            let reconvergence = self.blocks[self.first_block + block].reconvergence;
            self.blocks.push(Block {
                first: op as u32,
                reconvergence,
                instructions: 0,
                first_site: 0,
                waits: false,
                mix: Vec::new(),
            });
        }
    }

    /// Ends the program: calls resolved.
    fn finish(&mut self) {
        for &(op, number) in &self.calls {
            self.ops[op].imm = self.first_ops[number] as i32;
        }
    }

    fn push(&mut self, op: Op) {
        self.ops.push(op);
        self.lines.push(self.line);
    }

    fn emit(&mut self, code: Code, d: u16, a: u16, b: u16, c: u16) {
        self.push(Op { code, d, a, b, c, aux: 0, imm: 0 });
    }

    fn emit_aux(&mut self, code: Code, d: u16, a: u16, b: u16, aux: u16) {
        self.push(Op { code, d, a, b, c: 0, aux, imm: 0 });
    }

    fn instruction(&mut self, block: usize, instruction: &Instruction) -> Lowered {
        self.line = Line { ptx: instruction.position.line, source: instruction.source };
        self.scratch = 0;
        self.scratch_predicate = 0;
        if control::is_control(instruction) {
            return self.control(block, instruction);
        }
        let Some(guard) = instruction.guard else {
            return self.plain(instruction);
        };
        let at = self.ops.len();
        let predicate = self.predicate_register(guard.register)?;
        self.push(Op { a: predicate, aux: u16::from(guard.negated), ..Op::new(Code::Guard) });
        self.plain(instruction)?;
        self.ops[at].imm = (self.ops.len() - at - 1) as i32;
        Ok(())
    }

    /// An instruction that neither branches nor waits.
    fn plain(&mut self, instruction: &Instruction) -> Lowered {
        use Opcode::*;
        match instruction.row.opcode {
            Ld | Ldu | St | Atom | Red | Cvta | Isspacep | Prefetch | Discard | Applypriority | Createpolicy
            | Fence | Membar | CpAsync | CpAsyncCommitGroup | CpAsyncWaitAll | CpAsyncWaitGroup => {
                self.memory(instruction)
            }
            Shfl | Vote | Match | Redux | Activemask | Nanosleep => self.warp(instruction),
            Ldmatrix | Movmatrix | Mma | MmaSp | MmaSpOrdered | WmmaLoadA | WmmaLoadB | WmmaLoadC | WmmaStoreD
            | WmmaMma => self.matrix(instruction),
            Mov | Selp | Prmt | Set | Setp | Slct => self.moves(instruction),
            Cvt => self.convert(instruction),
            Alloca | Stacksave | Stackrestore => self.stack(instruction),
            Pmevent => {
                self.push(Op::new(Code::Nop));
                Ok(())
            }
            _ => match instruction.types.first().copied() {
                Some(Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 | Type::F32 | Type::F64) => {
                    self.float(instruction)
                }
                Some(_) => self.integer(instruction),
                None => Err(unsupported(instruction)),
            },
        }
    }
}

/// The error for a form that the table accepts and no lowering exists for.
fn unsupported(instruction: &Instruction) -> String {
    format!("no execution for types {:?} with these modifiers", instruction.types)
}

fn operand(instruction: &Instruction, index: usize) -> Lowered<&Operand> {
    instruction.operands.get(index).ok_or_else(|| format!("operand {} is missing", index + 1))
}

fn has(instruction: &Instruction, modifier: Modifier) -> bool {
    instruction.modifiers.has(modifier)
}

fn first_type(instruction: &Instruction) -> Lowered<Type> {
    instruction.types.first().copied().ok_or_else(|| "a type is missing".to_owned())
}

/// Width of a type in bits.
pub(crate) fn bits(ty: Type) -> u32 {
    use Type::*;
    match ty {
        Pred | B1 => 1,
        U2 | S2 => 2,
        U4 | S4 => 4,
        B8 | U8 | S8 | E4m3 | E5m2 => 8,
        B16 | U16 | S16 | F16 | Bf16 | E4m3x2 | E5m2x2 => 16,
        B32 | U32 | S32 | F16x2 | Bf16x2 | U16x2 | S16x2 | F32 | Tf32 => 32,
        B64 | U64 | S64 | F64 => 64,
        B128 => 128,
    }
}

/// Whether integers of this type carry a sign.
fn signed(ty: Type) -> bool {
    matches!(ty, Type::S2 | Type::S4 | Type::S8 | Type::S16 | Type::S16x2 | Type::S32 | Type::S64)
}
