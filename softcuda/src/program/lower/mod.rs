//! Lowering: each PTX instruction becomes a few records. One file a group of instructions.

pub(super) mod control;
mod convert;
mod float;
mod integer;
mod memory;
mod moves;
mod warp;

use super::flow::Flow;
use super::liveness::{self, Allocation, Kind};
use super::op::{Code, Op, Preset, PresetSlot, Tables};
use super::{Block, Kernel, Layout, Line, LoadError};
use crate::ptx::ast::{Body, Function, Instruction, Module, Operand, RegisterId, Space, Type};
use crate::ptx::isa::{Modifier, Opcode, Pipe};
use std::collections::HashMap;
use std::sync::Arc;

/// Slots for intermediate values of one instruction.
const SCRATCH_SLOTS: u32 = 24;
/// Predicates for the same.
const SCRATCH_PREDICATES: u32 = 8;

/// What went wrong with one instruction; line and kernel are added by the caller.
type Lowered<T = ()> = Result<T, String>;

/// Decodes one kernel.
pub(super) fn kernel(
    module: &Module,
    function: &Function,
    body: &Body,
    addresses: &[u64],
    files: Arc<Vec<(u32, String)>>,
) -> Result<Kernel, LoadError> {
    let error = |line: u32, message: String| LoadError { kernel: function.name.clone(), line, message };
    for register in &body.registers {
        if liveness::kind(register.ty).is_none() {
            return Err(error(
                function.position.line,
                format!("register {}: type {:?} is not supported", register.name, register.ty),
            ));
        }
    }
    let layout = Layout::new(module, function, body);
    let flow = Flow::new(body);
    let allocation = liveness::allocate(body, &flow);
    let mut builder = Builder::new(module, body, addresses, &layout, &flow, allocation);
    for number in 0..flow.blocks.len() {
        builder.enter(number);
        for index in flow.blocks[number].start..flow.blocks[number].end {
            let instruction = &body.instructions[index];
            builder.instruction(number, instruction).map_err(|message| {
                error(instruction.position.line, format!("{}: {message}", instruction.row.mnemonic))
            })?;
        }
    }
    builder.finish();
    if builder.slot_limit() > u32::from(u16::MAX) || builder.predicate_count > u32::from(u16::MAX) {
        return Err(error(function.position.line, "more than 65,535 register slots live at once".to_owned()));
    }
    let slot_count = builder.slot_limit();
    Ok(Kernel {
        name: function.name.clone(),
        params: layout.params.clone(),
        param_bytes: layout.param_bytes,
        static_shared_bytes: layout.shared_bytes as u32,
        dynamic_shared_offset: layout.dynamic_offset as u32,
        local_bytes: layout.local_bytes as u32,
        max_threads: function.max_block.map(|[x, y, z]| x.saturating_mul(y).saturating_mul(z)),
        required_block: function.required_block,
        ops: builder.ops,
        lines: builder.lines,
        blocks: builder.blocks,
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
    body: &'a Body,
    addresses: &'a [u64],
    layout: &'a Layout,
    flow: &'a Flow,
    allocation: Allocation,
    ops: Vec<Op>,
    lines: Vec<Line>,
    line: Line,
    blocks: Vec<Block>,
    tables: Tables,
    presets: Vec<PresetSlot>,
    preset_slots: HashMap<Preset, u16>,
    next_preset: u32,
    scratch: u32,
    scratch_predicate: u32,
    predicate_count: u32,
    mnemonics: Vec<(&'static str, Pipe)>,
    communicates: bool,
    /// Ops whose `imm` is a block number, to be replaced by that block's first op.
    branches: Vec<usize>,
    /// `Enter` ops in the midst of a basic block, and that block: each starts a part that costs nothing.
    parts: Vec<(usize, usize)>,
}

impl<'a> Builder<'a> {
    fn new(
        module: &'a Module,
        body: &'a Body,
        addresses: &'a [u64],
        layout: &'a Layout,
        flow: &'a Flow,
        allocation: Allocation,
    ) -> Builder<'a> {
        let next_preset = allocation.slot_count + SCRATCH_SLOTS;
        let predicate_count = allocation.predicate_count + SCRATCH_PREDICATES;
        Builder {
            module,
            body,
            addresses,
            layout,
            flow,
            allocation,
            ops: Vec::new(),
            lines: Vec::new(),
            line: Line::default(),
            blocks: Vec::new(),
            tables: Tables::default(),
            presets: Vec::new(),
            preset_slots: HashMap::new(),
            next_preset,
            scratch: 0,
            scratch_predicate: 0,
            predicate_count,
            mnemonics: Vec::new(),
            communicates: false,
            branches: Vec::new(),
            parts: Vec::new(),
        }
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
            let entry = (instruction.row.mnemonic, instruction.row.pipe);
            let index = self.mnemonics.iter().position(|known| *known == entry).unwrap_or_else(|| {
                self.mnemonics.push(entry);
                self.mnemonics.len() - 1
            }) as u16;
            match mix.iter_mut().find(|(known, _)| *known == index) {
                Some((_, count)) => *count += 1,
                None => mix.push((index, 1)),
            }
        }
        self.blocks.push(Block {
            first: self.ops.len() as u32,
            reconvergence: block.reconvergence as u32,
            instructions: instructions.len() as u32,
            mix,
        });
        if let Some(first) = instructions.first() {
            self.line = Line { ptx: first.position.line, source: first.source };
        }
        self.push(Op { imm: number as i32, ..Op::new(Code::Enter) });
    }

    /// Ends the program: an implicit exit, targets resolved.
    fn finish(&mut self) {
        let end = self.ops.len() as i32;
        self.push(Op::new(Code::Exit));
        let first: Vec<u32> = self.blocks.iter().map(|block| block.first).collect();
        for &index in &self.branches {
            let target = self.ops[index].imm as usize;
            self.ops[index].imm = first.get(target).map_or(end, |&first| first as i32);
        }
        for block in &mut self.blocks {
            block.reconvergence = first.get(block.reconvergence as usize).copied().unwrap_or(u32::MAX);
        }
        for &(op, block) in &self.parts {
            self.ops[op].imm = self.blocks.len() as i32;
            self.blocks.push(Block {
                first: op as u32,
                reconvergence: self.blocks[block].reconvergence,
                instructions: 0,
                mix: Vec::new(),
            });
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
            Ld | Ldu | St | Atom | Red | Cvta | Isspacep | Prefetch | Createpolicy | Fence | Membar | CpAsync
            | CpAsyncCommitGroup | CpAsyncWaitAll | CpAsyncWaitGroup => self.memory(instruction),
            Shfl | Vote | Match | Redux | Activemask | Ldmatrix | Movmatrix | Mma | Nanosleep => self.warp(instruction),
            Mov | Selp | Prmt | Set | Setp | Slct => self.moves(instruction),
            Cvt => self.convert(instruction),
            _ => match instruction.types.first().copied() {
                Some(Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 | Type::F32 | Type::F64) => {
                    self.float(instruction)
                }
                Some(_) => self.integer(instruction),
                None => Err(unsupported(instruction)),
            },
        }
    }

    // Operands.

    fn preset(&mut self, value: Preset) -> u16 {
        if let Some(&slot) = self.preset_slots.get(&value) {
            return slot;
        }
        let slot = self.next_preset.min(u32::from(u16::MAX)) as u16;
        self.next_preset += if matches!(value, Preset::Double(_) | Preset::Param64 { .. }) { 2 } else { 1 };
        self.presets.push(PresetSlot { slot, value });
        self.preset_slots.insert(value, slot);
        slot
    }

    fn word(&mut self, value: u32) -> u16 {
        self.preset(Preset::Word(value))
    }

    fn double(&mut self, value: u64) -> u16 {
        self.preset(Preset::Double(value))
    }

    fn scratch32(&mut self) -> u16 {
        let slot = self.allocation.slot_count + self.scratch;
        self.scratch += 1;
        debug_assert!(self.scratch <= SCRATCH_SLOTS, "an instruction needs more scratch slots");
        slot as u16
    }

    fn scratch64(&mut self) -> u16 {
        let slot = self.scratch32();
        self.scratch += 1;
        slot
    }

    fn scratch_predicate(&mut self) -> u16 {
        let slot = self.allocation.predicate_count + self.scratch_predicate;
        self.scratch_predicate += 1;
        debug_assert!(self.scratch_predicate <= SCRATCH_PREDICATES, "an instruction needs more scratch predicates");
        slot as u16
    }

    fn register_kind(&self, register: RegisterId) -> Kind {
        liveness::kind(self.body.registers[register.0 as usize].ty).unwrap_or(Kind::Word)
    }

    fn register_slot(&self, register: RegisterId) -> u16 {
        self.allocation.slots[register.0 as usize] as u16
    }

    /// Width in bits of a register as declared.
    fn register_bits(&self, register: RegisterId) -> u32 {
        bits(self.body.registers[register.0 as usize].ty)
    }

    fn predicate_register(&self, register: RegisterId) -> Lowered<u16> {
        match self.register_kind(register) {
            Kind::Predicate => Ok(self.register_slot(register)),
            _ => Err(format!("{} is not a predicate", self.body.registers[register.0 as usize].name)),
        }
    }

    /// A source predicate and whether it is negated.
    fn predicate(&mut self, operand: &Operand) -> Lowered<(u16, bool)> {
        match operand {
            Operand::Register(register) => Ok((self.predicate_register(*register)?, false)),
            Operand::NotPredicate(register) => Ok((self.predicate_register(*register)?, true)),
            Operand::Integer(value) => {
                let slot = self.scratch_predicate();
                self.push(Op { d: slot, imm: i32::from(*value != 0), ..Op::new(Code::PredConst) });
                Ok((slot, false))
            }
            _ => Err("expected a predicate".to_owned()),
        }
    }

    /// A source of at most 32 bits.
    fn source32(&mut self, operand: &Operand, ty: Type) -> Lowered<u16> {
        let value = match operand {
            Operand::Register(register) => {
                return match self.register_kind(*register) {
                    Kind::Word => Ok(self.register_slot(*register)),
                    Kind::Double => {
                        let slot = self.scratch32();
                        self.emit(Code::UnpackLow, slot, self.register_slot(*register), 0, 0);
                        Ok(slot)
                    }
                    Kind::Predicate => Err("a predicate where a value is expected".to_owned()),
                };
            }
            Operand::Special(special) => return self.special32(*special),
            Operand::Integer(value) => {
                let keep = if bits(ty) < 32 { (1u64 << bits(ty)) - 1 } else { 0xffff_ffff };
                (*value & keep) as u32
            }
            Operand::Float32(value) => *value,
            Operand::Float64(value) => (f64::from_bits(*value) as f32).to_bits(),
            Operand::Symbol(symbol, offset) => self.symbol(*symbol, *offset)? as u32,
            _ => return Err("operand has the wrong form".to_owned()),
        };
        Ok(self.word(value))
    }

    /// A source of 64 bits.
    fn source64(&mut self, operand: &Operand) -> Lowered<u16> {
        let value = match operand {
            Operand::Register(register) => {
                return match self.register_kind(*register) {
                    Kind::Double => Ok(self.register_slot(*register)),
                    Kind::Word => {
                        let slot = self.scratch64();
                        self.emit(Code::Zext32To64, slot, self.register_slot(*register), 0, 0);
                        Ok(slot)
                    }
                    Kind::Predicate => Err("a predicate where a value is expected".to_owned()),
                };
            }
            Operand::Special(special) => {
                let low = self.special32(*special)?;
                let slot = self.scratch64();
                self.emit(Code::Zext32To64, slot, low, 0, 0);
                return Ok(slot);
            }
            Operand::Integer(value) | Operand::Float64(value) => *value,
            Operand::Float32(value) => f64::from(f32::from_bits(*value)).to_bits(),
            Operand::Symbol(symbol, offset) => self.symbol(*symbol, *offset)?,
            _ => return Err("operand has the wrong form".to_owned()),
        };
        Ok(self.double(value))
    }

    /// A source of the width of `ty`.
    fn source(&mut self, operand: &Operand, ty: Type) -> Lowered<u16> {
        if bits(ty) == 64 { self.source64(operand) } else { self.source32(operand, ty) }
    }

    /// The address of a variable in its state space.
    fn symbol(&mut self, symbol: crate::ptx::ast::Symbol, offset: i64) -> Lowered<u64> {
        self.space_of(symbol).map(|(_, address)| address.wrapping_add_signed(offset))
    }

    fn space_of(&mut self, symbol: crate::ptx::ast::Symbol) -> Lowered<(Space, u64)> {
        self.layout
            .address(self.module, self.body, self.addresses, symbol)
            .ok_or_else(|| "the address of this symbol cannot be taken".to_owned())
    }

    /// Destination slot for a value of the width of `ty`; run `store` afterwards with the same operand.
    fn destination(&mut self, operand: &Operand, ty: Type) -> Lowered<u16> {
        match operand {
            Operand::Register(register) => match (self.register_kind(*register), bits(ty)) {
                (Kind::Double, 64) | (Kind::Word, 1..=32) => Ok(self.register_slot(*register)),
                (Kind::Double, _) => Ok(self.scratch32()),
                (kind, width) => Err(format!("a {width}-bit result does not fit a {kind:?} register")),
            },
            Operand::Sink => Ok(if bits(ty) == 64 { self.scratch64() } else { self.scratch32() }),
            _ => Err("the destination must be a register".to_owned()),
        }
    }

    /// Completes a write to `slot` that [`Builder::destination`] gave: widens into a wider register, and keeps 16-bit
    /// registers zero-extended.
    fn store(&mut self, operand: &Operand, ty: Type, slot: u16) {
        let Operand::Register(register) = operand else {
            return;
        };
        if self.register_kind(*register) == Kind::Double && bits(ty) < 64 {
            let code = if signed(ty) { Code::Sext32To64 } else { Code::Zext32To64 };
            self.emit(code, self.register_slot(*register), slot, 0, 0);
        } else if self.register_bits(*register) == 16 {
            self.emit(Code::Zext16, slot, slot, 0, 0);
        } else if self.register_bits(*register) == 8 {
            self.emit(Code::Zext8, slot, slot, 0, 0);
        }
    }

    /// `slot` extended from the width of `ty` to 32 bits, as its sign demands.
    fn extended(&mut self, slot: u16, ty: Type) -> u16 {
        let code = match (bits(ty), signed(ty)) {
            (8, true) => Code::Sext8,
            (8, false) => Code::Zext8,
            (16, true) => Code::Sext16,
            (16, false) => Code::Zext16,
            _ => return slot,
        };
        let wide = self.scratch32();
        self.emit(code, wide, slot, 0, 0);
        wide
    }
}

/// The error for a form that the table accepts and no lowering exists for.
fn unsupported(instruction: &Instruction) -> String {
    format!("no execution for types {:?} with these modifiers", instruction.types)
}

fn operand<'o>(instruction: &'o Instruction, index: usize) -> Lowered<&'o Operand> {
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
        U4 | S4 => 4,
        B8 | U8 | S8 | E4m3 | E5m2 => 8,
        B16 | U16 | S16 | F16 | Bf16 | E4m3x2 | E5m2x2 => 16,
        B32 | U32 | S32 | F16x2 | Bf16x2 | F32 | Tf32 => 32,
        B64 | U64 | S64 | F64 => 64,
        B128 => 128,
    }
}

/// Whether integers of this type carry a sign.
fn signed(ty: Type) -> bool {
    matches!(ty, Type::S8 | Type::S16 | Type::S32 | Type::S64 | Type::S4)
}
