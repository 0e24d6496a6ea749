//! Matrix instructions: `mma`, `mma.sp`, `wmma.mma`, `ldmatrix`, `movmatrix`.

use super::{Builder, Lowered, has, operand, unsupported};
use crate::exec::mma::{Accumulator, Element, Form, Sparse, Variant};
use crate::exec::value::rounding::Rounding;
use crate::program::op::{Code, MatrixLoad, MatrixMultiply, Op, Tile};
use crate::ptx::ast::{Instruction, Operand, Type};
use crate::ptx::isa::{Modifier, Opcode};

/// Rows, columns and places of a product.
type Shape = (usize, usize, usize);

/// Every shape with its modifier.
const SHAPES: &[(Modifier, Shape)] = &[
    (Modifier::M8n8k4, (8, 8, 4)),
    (Modifier::M8n8k16, (8, 8, 16)),
    (Modifier::M8n8k32, (8, 8, 32)),
    (Modifier::M8n8k128, (8, 8, 128)),
    (Modifier::M16n8k4, (16, 8, 4)),
    (Modifier::M16n8k8, (16, 8, 8)),
    (Modifier::M16n8k16, (16, 8, 16)),
    (Modifier::M16n8k32, (16, 8, 32)),
    (Modifier::M16n8k64, (16, 8, 64)),
    (Modifier::M16n8k128, (16, 8, 128)),
    (Modifier::M16n8k256, (16, 8, 256)),
    (Modifier::M16n16k8, (16, 16, 8)),
    (Modifier::M16n16k16, (16, 16, 16)),
    (Modifier::M32n8k16, (32, 8, 16)),
    (Modifier::M8n32k16, (8, 32, 16)),
];

/// The shape that an instruction names.
pub(super) fn shape(instruction: &Instruction) -> Lowered<Shape> {
    let found = SHAPES.iter().find(|(modifier, _)| has(instruction, *modifier));
    found.map(|&(_, shape)| shape).ok_or_else(|| unsupported(instruction))
}

/// The element type that a type modifier means.
pub(super) fn element(ty: Type) -> Lowered<Element> {
    Ok(match ty {
        Type::F16 => Element::F16,
        Type::Bf16 => Element::Bf16,
        Type::Tf32 => Element::Tf32,
        Type::E4m3 => Element::E4m3,
        Type::E5m2 => Element::E5m2,
        Type::F64 => Element::F64,
        Type::S8 => Element::S8,
        Type::U8 => Element::U8,
        Type::S4 => Element::S4,
        Type::U4 => Element::U4,
        Type::B1 => Element::B1,
        other => return Err(format!(".{} is no type of A or B", other.name())),
    })
}

/// The accumulator type that a type modifier means.
pub(super) fn accumulator(ty: Type) -> Lowered<Accumulator> {
    Ok(match ty {
        Type::F16 => Accumulator::F16,
        Type::F32 => Accumulator::F32,
        Type::S32 => Accumulator::S32,
        Type::F64 => Accumulator::F64,
        other => return Err(format!(".{} is no accumulator's type", other.name())),
    })
}

/// Copies as many slots as both have.
fn copy(from: &[u16], to: &mut [u16]) {
    for (from, to) in from.iter().zip(to) {
        *to = *from;
    }
}

/// Slots of an instruction's fragments.
struct Fragments {
    d: Vec<u16>,
    a: Vec<u16>,
    b: Vec<u16>,
    c: Vec<u16>,
}

impl Builder<'_> {
    pub(super) fn matrix(&mut self, instruction: &Instruction) -> Lowered {
        match instruction.row.opcode {
            Opcode::Ldmatrix => self.ldmatrix(instruction),
            Opcode::Movmatrix => {
                let a = self.source32(operand(instruction, 1)?, Type::B32)?;
                let d = self.destination(operand(instruction, 0)?, Type::B32)?;
                self.emit(Code::Movmatrix, d, a, 0, 0);
                Ok(())
            }
            Opcode::Mma | Opcode::MmaSp | Opcode::MmaSpOrdered | Opcode::WmmaMma => self.mma(instruction),
            Opcode::WmmaLoadA | Opcode::WmmaLoadB | Opcode::WmmaLoadC | Opcode::WmmaStoreD => {
                self.wmma_move(instruction)
            }
            _ => Err(unsupported(instruction)),
        }
    }

    fn ldmatrix(&mut self, instruction: &Instruction) -> Lowered {
        let data = self.fragment(operand(instruction, 0)?, Type::B32, true)?;
        let (slot, address, offset) = self.address(operand(instruction, 1)?)?;
        let index = self.tables.matrix_loads.len() as u16;
        self.tables.matrix_loads.push(MatrixLoad {
            data,
            transposed: has(instruction, Modifier::Trans),
            address,
            offset,
            generic: !has(instruction, Modifier::Shared),
        });
        self.push(Op { a: slot, aux: index, ..Op::new(Code::Ldmatrix) });
        Ok(())
    }

    /// Slots of a fragment's registers.
    pub(super) fn fragment(&mut self, operand: &Operand, ty: Type, write: bool) -> Lowered<Vec<u16>> {
        let parts = match operand {
            Operand::Vector(parts) => parts.as_slice(),
            single => std::slice::from_ref(single),
        };
        parts.iter().map(|part| if write { self.destination(part, ty) } else { self.source(part, ty) }).collect()
    }

    fn form(&self, instruction: &Instruction, k: usize) -> Lowered<Form> {
        let types = match instruction.types[..] {
            // `wmma.mma` of f16 names the accumulators alone.
            [d, c] => [d, Type::F16, Type::F16, c],
            [d, a, b, c] => [d, a, b, c],
            _ => return Err(unsupported(instruction)),
        };
        let (a, b) = (element(types[1])?, element(types[2])?);
        let saturating = has(instruction, Modifier::Satfinite);
        let sparse = matches!(instruction.row.opcode, Opcode::MmaSp | Opcode::MmaSpOrdered);
        let variant = if sparse {
            let Operand::Integer(selector) = operand(instruction, 5)? else {
                return Err("the sparsity selector must be a constant".to_owned());
            };
            let ordered = instruction.row.opcode == Opcode::MmaSpOrdered;
            Variant::Sparse(Sparse { selector: *selector as u8, ordered, saturating })
        } else if saturating {
            Variant::Saturating
        } else if has(instruction, Modifier::Xor) {
            Variant::Xor
        } else if has(instruction, Modifier::And) {
            Variant::And
        } else if a == Element::F16 && has(instruction, Modifier::M8n8k4) {
            Variant::Quads { a_columns: has(instruction, Modifier::Col), b_columns: has(instruction, Modifier::ColB) }
        } else {
            let directions =
                [(Modifier::Rz, Rounding::Zero), (Modifier::Rm, Rounding::Down), (Modifier::Rp, Rounding::Up)];
            let found = directions.into_iter().find(|(modifier, _)| has(instruction, *modifier));
            found.map_or(Variant::Plain, |(_, rounding)| Variant::Rounded(rounding))
        };
        Ok(Form::new(k, a, b, accumulator(types[3])?, accumulator(types[0])?).with(variant))
    }

    fn mma(&mut self, instruction: &Instruction) -> Lowered {
        let (m, n, k) = shape(instruction)?;
        let mut form = self.form(instruction, k)?;
        let ty = if form.a == Element::F64 { Type::F64 } else { Type::B32 };
        let mut fragments = Fragments {
            a: self.fragment(operand(instruction, 1)?, ty, false)?,
            b: self.fragment(operand(instruction, 2)?, ty, false)?,
            c: self.fragment(operand(instruction, 3)?, ty, false)?,
            d: self.fragment(operand(instruction, 0)?, ty, true)?,
        };
        let metadata = if form.is_sparse() { self.source32(operand(instruction, 4)?, Type::B32)? } else { 0 };
        let mut multiply_adds = m * n * k;
        let tiles = if let Variant::Quads { .. } = form.variant {
            multiply_adds *= 4;
            vec![fragments.tile()]
        } else if m == 8 && n == 8 {
            let zero = if ty == Type::F64 { self.double(0) } else { self.word(0) };
            let unused = [self.scratch64(), self.scratch64()];
            fragments.pad(zero, unused);
            vec![fragments.tile()]
        } else {
            let (mut rows, mut columns) = (m, n);
            if m == 8 {
                // The transposed product: B's columns take the place of rows.
                std::mem::swap(&mut fragments.a, &mut fragments.b);
                (form.a, form.b) = (form.b, form.a);
                (rows, columns) = (n, m);
            }
            fragments.tiles(&form, rows / 16, columns / 8)
        };
        let form = self.form_index(form);
        let index = self.tables.multiplies.len() as u16;
        self.tables.multiplies.push(MatrixMultiply { form, multiply_adds: multiply_adds as u32, tiles, metadata });
        self.push(Op { aux: index, ..Op::new(Code::Mma) });
        Ok(())
    }

    fn form_index(&mut self, form: Form) -> u16 {
        let known = self.tables.forms.iter().position(|known| *known == form);
        known.unwrap_or_else(|| {
            self.tables.forms.push(form);
            self.tables.forms.len() - 1
        }) as u16
    }
}

impl Fragments {
    /// All registers as one tile.
    fn tile(&self) -> Tile {
        let mut tile = Tile::default();
        copy(&self.a, &mut tile.a);
        copy(&self.b, &mut tile.b);
        copy(&self.c, &mut tile.c);
        copy(&self.d, &mut tile.d);
        tile
    }

    /// Eight rows more, of zeros, whose results go nowhere.
    fn pad(&mut self, zero: u16, unused: [u16; 2]) {
        self.a = self.a.iter().flat_map(|&slot| [slot, zero]).collect();
        self.c.extend([zero; 2]);
        self.d.extend(unused);
    }

    /// So many tiles, one above or beside the other. Fragments of f16 may have copies behind their registers.
    fn tiles(&self, form: &Form, rows: usize, columns: usize) -> Vec<Tile> {
        let (a, b) = (form.a_registers(), form.b_registers());
        let (c, d) = (form.registers_of(form.c), form.registers_of(form.d));
        (0..rows * columns)
            .map(|index| {
                let (row, column) = (index / columns, index % columns);
                let mut tile = Tile::default();
                copy(&self.a[row * a..], &mut tile.a[..a]);
                copy(&self.b[column * b..], &mut tile.b[..b]);
                copy(&self.c[index * c..], &mut tile.c[..c]);
                copy(&self.d[index * d..], &mut tile.d[..d]);
                tile
            })
            .collect()
    }
}
