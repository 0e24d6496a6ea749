//! Operands: registers, constants, addresses and predicates as slots.

use super::{Builder, Lowered, SCRATCH_PREDICATES, SCRATCH_SLOTS, bits, signed};
use crate::program::layout::Place;
use crate::program::liveness::{self, Kind};
use crate::program::op::{Code, Op, Preset, PresetSlot, WHOLE_CLOCK};
use crate::ptx::ast::{Operand, RegisterId, Special, Symbol, Type};

impl Builder<'_> {
    pub(super) fn preset(&mut self, value: Preset) -> u16 {
        if let Some(&slot) = self.preset_slots.get(&value) {
            return slot;
        }
        let slot = self.next_preset.min(u32::from(u16::MAX)) as u16;
        self.next_preset += if matches!(value, Preset::Double(_) | Preset::Param64 { .. }) { 2 } else { 1 };
        self.presets.push(PresetSlot { slot, value });
        self.preset_slots.insert(value, slot);
        slot
    }

    pub(super) fn word(&mut self, value: u32) -> u16 {
        self.preset(Preset::Word(value))
    }

    pub(super) fn double(&mut self, value: u64) -> u16 {
        self.preset(Preset::Double(value))
    }

    pub(super) fn scratch32(&mut self) -> u16 {
        let slot = self.registers.0 + self.scratch;
        self.scratch += 1;
        debug_assert!(self.scratch <= SCRATCH_SLOTS, "an instruction needs more scratch slots");
        slot as u16
    }

    pub(super) fn scratch64(&mut self) -> u16 {
        let slot = self.scratch32();
        self.scratch += 1;
        slot
    }

    pub(super) fn scratch_predicate(&mut self) -> u16 {
        let slot = self.registers.1 + self.scratch_predicate;
        self.scratch_predicate += 1;
        debug_assert!(self.scratch_predicate <= SCRATCH_PREDICATES, "an instruction needs more scratch predicates");
        slot as u16
    }

    pub(super) fn register_kind(&self, register: RegisterId) -> Kind {
        liveness::kind(self.body.registers[register.0 as usize].ty).unwrap_or(Kind::Word)
    }

    pub(super) fn register_slot(&self, register: RegisterId) -> u16 {
        self.allocation.slots[register.0 as usize] as u16
    }

    /// Width in bits of a register as declared.
    pub(super) fn register_bits(&self, register: RegisterId) -> u32 {
        bits(self.body.registers[register.0 as usize].ty)
    }

    pub(super) fn predicate_register(&self, register: RegisterId) -> Lowered<u16> {
        match self.register_kind(register) {
            Kind::Predicate => Ok(self.register_slot(register)),
            _ => Err(format!("{} is not a predicate", self.body.registers[register.0 as usize].name)),
        }
    }

    /// A source predicate and whether it is negated.
    pub(super) fn predicate(&mut self, operand: &Operand) -> Lowered<(u16, bool)> {
        match operand {
            Operand::Register(register) => Ok((self.predicate_register(*register)?, false)),
            Operand::NotPredicate(register) => Ok((self.predicate_register(*register)?, true)),
            Operand::Integer(value) => {
                let slot = self.scratch_predicate();
                self.push(Op { d: slot, imm: i32::from(*value != 0), ..Op::new(Code::PredConst) });
                Ok((slot, false))
            }
            // Nobody can ask for a cluster of more than one block.
            Operand::Special(Special::IsExplicitCluster) => self.predicate(&Operand::Integer(0)),
            _ => Err("expected a predicate".to_owned()),
        }
    }

    /// A source of at most 32 bits.
    pub(super) fn source32(&mut self, operand: &Operand, ty: Type) -> Lowered<u16> {
        let value = match operand {
            Operand::Register(register) => {
                return match self.register_kind(*register) {
                    Kind::Word => Ok(self.register_slot(*register)),
                    Kind::Double => {
                        let slot = self.scratch32();
                        self.emit(Code::UnpackLow, slot, self.register_slot(*register), 0, 0);
                        Ok(slot)
                    }
                    Kind::Quad => Err("a 128-bit register where a narrower value is expected".to_owned()),
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
            Operand::Symbol(symbol, offset) => match self.place(*symbol)? {
                Place::Fixed(_, address) => address.wrapping_add_signed(*offset) as u32,
                Place::Frame(at) => return Ok(self.frame_address(at.wrapping_add_signed(*offset))),
            },
            _ => return Err("operand has the wrong form".to_owned()),
        };
        Ok(self.word(value))
    }

    /// A source of 64 bits.
    pub(super) fn source64(&mut self, operand: &Operand) -> Lowered<u16> {
        let value = match operand {
            Operand::Register(register) => {
                return match self.register_kind(*register) {
                    Kind::Double => Ok(self.register_slot(*register)),
                    Kind::Word => {
                        let slot = self.scratch64();
                        self.emit(Code::Zext32To64, slot, self.register_slot(*register), 0, 0);
                        Ok(slot)
                    }
                    Kind::Quad => Err("a 128-bit register where a narrower value is expected".to_owned()),
                    Kind::Predicate => Err("a predicate where a value is expected".to_owned()),
                };
            }
            Operand::Special(Special::Clock64 | Special::GlobalTimer) => {
                let slot = self.scratch64();
                self.push(Op { d: slot, aux: WHOLE_CLOCK, ..Op::new(Code::ReadSpecial) });
                return Ok(slot);
            }
            Operand::Special(special) => {
                let low = self.special32(*special)?;
                let slot = self.scratch64();
                self.emit(Code::Zext32To64, slot, low, 0, 0);
                return Ok(slot);
            }
            Operand::Integer(value) | Operand::Float64(value) => *value,
            Operand::Float32(value) => f64::from(f32::from_bits(*value)).to_bits(),
            Operand::Symbol(symbol, offset) => match self.place(*symbol)? {
                Place::Fixed(_, address) => address.wrapping_add_signed(*offset),
                Place::Frame(at) => {
                    let narrow = self.frame_address(at.wrapping_add_signed(*offset));
                    let slot = self.scratch64();
                    self.emit(Code::Zext32To64, slot, narrow, 0, 0);
                    return Ok(slot);
                }
            },
            _ => return Err("operand has the wrong form".to_owned()),
        };
        Ok(self.double(value))
    }

    /// A source of the width of `ty`.
    pub(super) fn source(&mut self, operand: &Operand, ty: Type) -> Lowered<u16> {
        match (bits(ty), operand) {
            (128, Operand::Register(register)) if self.register_kind(*register) == Kind::Quad => {
                Ok(self.register_slot(*register))
            }
            (128, _) => Err("expected a 128-bit register".to_owned()),
            (64, _) => self.source64(operand),
            _ => self.source32(operand, ty),
        }
    }

    /// Where a variable lies.
    pub(super) fn place(&self, symbol: Symbol) -> Lowered<Place> {
        self.layout
            .place(self.module, self.parts[self.number].function, self.number, self.addresses, symbol)
            .ok_or_else(|| "the address of this symbol cannot be taken".to_owned())
    }

    /// Destination slot for a value of the width of `ty`; run `store` afterwards with the same operand.
    pub(super) fn destination(&mut self, operand: &Operand, ty: Type) -> Lowered<u16> {
        match operand {
            Operand::Register(register) => match (self.register_kind(*register), bits(ty)) {
                (Kind::Quad, 128) | (Kind::Double, 64) | (Kind::Word, 1..=32) => Ok(self.register_slot(*register)),
                (Kind::Double, ..64) => Ok(self.scratch32()),
                (kind, width) => Err(format!("a {width}-bit result does not fit a {kind:?} register")),
            },
            Operand::Sink => Ok(match bits(ty) {
                128 => {
                    let slot = self.scratch64();
                    self.scratch64();
                    slot
                }
                64 => self.scratch64(),
                _ => self.scratch32(),
            }),
            _ => Err("the destination must be a register".to_owned()),
        }
    }

    /// Completes a write to `slot` that [`Builder::destination`] gave: widens into a wider register, and keeps 16-bit
    /// registers zero-extended.
    pub(super) fn store(&mut self, operand: &Operand, ty: Type, slot: u16) {
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
    pub(super) fn extended(&mut self, slot: u16, ty: Type) -> u16 {
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
