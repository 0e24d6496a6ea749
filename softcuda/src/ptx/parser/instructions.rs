//! Instructions.

use super::{
    Parser, Result,
    scope::{Builder, Name},
};
use crate::ptx::{
    ast::{Body, Function, Guard, Instruction, Module, Operand, Position, Prototype, RegisterId, Space, Symbol, Type},
    isa::{self, Mismatch, Modifier, Modifiers, Names, Needs, Opcode, Row},
    lexer::Token,
};

/// An opcode with its modifiers and types.
struct Spelling {
    rows: Vec<&'static Row>,
    modifiers: Modifiers,
    types: Vec<Type>,
}

impl<'a> Parser<'a> {
    /// `@p add ..`, `@!p add ..`.
    pub(super) fn guarded_instruction(&mut self, builder: &mut Builder<'a>) -> Result<()> {
        self.expect("@")?;
        let negated = self.take("!")?;
        let position = self.position;
        let name = self.name("a predicate")?;
        let register = match builder.look_up(name) {
            Some(Name::Register(id)) if builder.body.registers[id.0 as usize].ty == Type::Pred => id,
            _ => return Err(self.error(position, &format!("`{name}` is not a predicate"))),
        };
        let position = self.position;
        let name = self.name("an instruction")?;
        let guard = Guard { register, negated };
        self.instruction(builder, Some(guard), name, position)
    }

    /// The instruction whose first name has just been stepped over.
    pub(super) fn instruction(
        &mut self,
        builder: &mut Builder<'a>,
        guard: Option<Guard>,
        name: &str,
        position: Position,
    ) -> Result<()> {
        let mut text = name.to_string();
        while let Token::Dot(part) = self.token {
            text.push('.');
            text.push_str(part);
            self.advance()?;
        }
        let Some(spelling) = spelling(&text) else {
            let message = format!("not in the instruction table: `{text}`");
            return Err(self.error(position, &message));
        };
        self.opcode = Some(format!("`{text}`"));
        let mut operands = match spelling.rows[0].opcode {
            Opcode::Bra => self.branch_target(builder)?,
            Opcode::BrxIdx => self.branch_targets(builder)?,
            Opcode::Call => self.call_operands(builder)?,
            _ => self.operands(builder)?,
        };
        self.expect(";")?;
        let row = self.matching_row(builder, &spelling, &mut operands, position)?;
        self.check_needs(Needs::of(row, &spelling.modifiers, &spelling.types), position)?;
        if row.opcode == Opcode::Call {
            self.check_call(builder, &operands, position)?;
        }
        self.opcode = None;
        builder.body.instructions.push(Instruction {
            row,
            modifiers: spelling.modifiers,
            types: spelling.types,
            guard,
            operands,
            position,
            source: builder.source,
        });
        Ok(())
    }

    /// The first row that takes these operands; else the complaint of the row that came furthest.
    fn matching_row(
        &self,
        builder: &Builder<'a>,
        spelling: &Spelling,
        operands: &mut Vec<Operand>,
        position: Position,
    ) -> Result<&'static Row> {
        let names = Scope { parser: self, body: &builder.body };
        let mut closest: Option<Mismatch> = None;
        for row in &spelling.rows {
            let mut bound = operands.clone();
            match row.bind(&spelling.modifiers, &spelling.types, &mut bound, &names) {
                Ok(()) => {
                    *operands = bound;
                    return Ok(row);
                }
                Err(mismatch) => {
                    if closest.as_ref().is_none_or(|other| mismatch.matched > other.matched) {
                        closest = Some(mismatch);
                    }
                }
            }
        }
        let message = closest.map_or(String::new(), |mismatch| mismatch.message);
        Err(self.error(position, &message))
    }

    /// The module's target and version must have the instruction.
    fn check_needs(&self, needs: Needs, position: Position) -> Result<()> {
        let Module { target, version, .. } = self.module;
        if needs.target > target {
            let message = format!("needs .target sm_{} or higher, the module has sm_{target}", needs.target);
            return Err(self.error(position, &message));
        }
        if needs.version > version {
            let ((major, minor), (has_major, has_minor)) = (needs.version, version);
            let message = format!("needs .version {major}.{minor} or later, the module has {has_major}.{has_minor}");
            return Err(self.error(position, &message));
        }
        Ok(())
    }

    /// Arguments and return values must be as many, and as large, as the function's.
    fn check_call(&self, builder: &Builder<'a>, operands: &[Operand], position: Position) -> Result<()> {
        let (returns, index, arguments) = match operands {
            [Operand::Vector(returns), Operand::Symbol(Symbol::Function(index), _), Operand::Vector(arguments)] => {
                (returns, index, arguments)
            }
            [Operand::Vector(returns), _, Operand::Vector(arguments), Operand::Prototype(index)] => {
                let Prototype { name, returns: results, params, .. } = &builder.body.prototypes[*index as usize];
                for (what, given, taken) in [("arguments", arguments, params), ("return values", returns, results)] {
                    let fits = |(operand, bytes): (&Operand, &u64)| self.fits(&builder.body, operand, *bytes);
                    if given.len() != taken.len() || !given.iter().zip(taken).all(fits) {
                        let message = format!("`{name}` has {what} of {taken:?} bytes, others are given");
                        return Err(self.error(position, &message));
                    }
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        let function = &self.module.functions[*index as usize];
        let Function { name, params, returns: results, entry, .. } = function;
        if *entry {
            return Err(self.error(position, &format!("`{name}` is a kernel and cannot be called")));
        }
        for (what, given, taken) in [("arguments", arguments, params), ("return values", returns, results)] {
            if given.len() != taken.len() {
                let message = format!("`{name}` has {} {what}, not {}", taken.len(), given.len());
                return Err(self.error(position, &message));
            }
            for (operand, variable) in given.iter().zip(taken) {
                if !self.fits(&builder.body, operand, variable.bytes) {
                    let message = format!("what is given for `{}` does not have its size", variable.name);
                    return Err(self.error(position, &message));
                }
            }
        }
        Ok(())
    }

    /// Whether an argument or result has this size.
    fn fits(&self, body: &Body, operand: &Operand, bytes: u64) -> bool {
        match operand {
            Operand::Register(id) => {
                let ty = body.registers[id.0 as usize].ty;
                ty != Type::Pred && u64::from(ty.bytes()) >= bytes
            }
            Operand::Symbol(Symbol::Body(index), 0) => {
                let given = &body.variables[*index as usize];
                given.space == Space::Param && given.bytes == bytes
            }
            // A parameter of this function may be passed on.
            Operand::Symbol(Symbol::Param(_) | Symbol::Return(_), 0) => true,
            Operand::Integer(_) | Operand::Float32(_) | Operand::Float64(_) => bytes <= 8,
            _ => false,
        }
    }
}

/// Rows that take an opcode's modifiers and types.
fn spelling(text: &str) -> Option<Spelling> {
    let (rows, length) = isa::rows_of(text)?;
    let opcode = rows[0].opcode;
    let mut modifiers = Modifiers::default();
    let mut types = Vec::new();
    for part in text[length..].split('.').skip(1) {
        if let Some(ty) = Type::from_name(part) {
            types.push(ty);
            continue;
        }
        let modifier = Modifier::from_name(opcode, part)?.after(&modifiers);
        if modifiers.has(modifier) {
            return None;
        }
        modifiers.insert(modifier);
    }
    let accepts = |row: &&&'static Row| row.accepts(&modifiers, &types);
    let rows: Vec<&'static Row> = rows.iter().filter(accepts).copied().collect();
    (!rows.is_empty()).then_some(Spelling { rows, modifiers, types })
}

/// Names as the instruction table asks for them.
struct Scope<'p, 'a> {
    parser: &'p Parser<'a>,
    body: &'p Body,
}

impl Names for Scope<'_, '_> {
    fn register(&self, id: RegisterId) -> Type {
        self.body.registers[id.0 as usize].ty
    }

    fn space(&self, symbol: Symbol) -> Option<Space> {
        match symbol {
            Symbol::Param(_) | Symbol::Return(_) => Some(Space::Param),
            Symbol::Body(index) => Some(self.body.variables[index as usize].space),
            Symbol::Module(index) => Some(self.parser.module.variables[index as usize].space),
            Symbol::Function(_) => None,
        }
    }
}
