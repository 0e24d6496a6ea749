//! Initial values of variables.

use super::{Parser, Result, constants::Constant};
use crate::ptx::{
    ParseError,
    ast::{Space, Symbol, Type, Variable},
    lexer::Token,
    types::Class,
};

/// Largest variable with an initialiser: its bytes are held in memory.
const MAX_INITIALISED_BYTES: u64 = 1 << 28;

/// What is wrong with an address that is given byte by byte.
const IN_ORDER: &str = "the bytes of an address must be given one by one from 0xFF upwards";

/// What an initialiser fills.
pub(super) struct Shape {
    /// Extents of the array, the lanes of a vector last; empty for a single element.
    pub(super) extents: Vec<u64>,
    /// The number of initial values decides the first extent.
    pub(super) grows: bool,
}

impl Parser<'_> {
    /// `= 5`, `= {1, {2, 3}, x + 4}`. Elements that the text leaves out are zero.
    pub(super) fn initialiser(&mut self, variable: &mut Variable, shape: &Shape) -> Result<()> {
        let position = self.position;
        self.expect("=")?;
        if !matches!(variable.space, Space::Global | Space::Const) {
            let message = "only `.global` and `.const` variables have initial values";
            return Err(self.error(position, message));
        }
        if variable.bytes > MAX_INITIALISED_BYTES {
            let message = "a variable with initial values must not exceed 256 MiB";
            return Err(self.error(position, message));
        }
        // Braces that are open: where each begins and ends in the variable.
        let mut open: Vec<(usize, u64)> = Vec::new();
        let end_of_all = if shape.grows { MAX_INITIALISED_BYTES } else { variable.bytes };
        loop {
            let end = open.last().map_or(end_of_all, |(_, end)| *end);
            if self.is("{") {
                if open.len() >= shape.extents.len() {
                    let message = "the braces nest deeper than the array";
                    return Err(self.error(self.position, message));
                }
                let start = variable.init.len();
                let inner: u64 = shape.extents[open.len()..].iter().product();
                let size = match open.is_empty() {
                    true => end_of_all,
                    false => inner * u64::from(variable.ty.bytes()),
                };
                if start as u64 + size > end {
                    return Err(self.too_many(variable));
                }
                open.push((start, start as u64 + size));
                self.advance()?;
                if !self.is("}") {
                    continue;
                }
            } else {
                if open.is_empty() && !shape.extents.is_empty() {
                    return Err(self.unexpected("`{`"));
                }
                if variable.init.len() as u64 + u64::from(variable.ty.bytes()) > end {
                    return Err(self.too_many(variable));
                }
                self.element(variable)?;
            }
            while !open.is_empty() && self.take("}")? {
                // An inner row that is cut short is filled with zeros.
                if let (Some((_, end)), false) = (open.pop(), open.is_empty()) {
                    variable.init.resize(end as usize, 0);
                }
            }
            if open.is_empty() {
                break;
            }
            self.expect(",")?;
        }
        if incomplete_address(variable).is_some() {
            return Err(self.error(position, IN_ORDER));
        }
        if shape.grows {
            let row: u64 = shape.extents[1..].iter().product();
            let row = row * u64::from(variable.ty.bytes());
            variable.bytes = (variable.init.len() as u64).div_ceil(row.max(1)) * row;
        }
        Ok(())
    }

    fn too_many(&self, variable: &Variable) -> ParseError {
        let message = format!("more initial values than `{}` holds", variable.name);
        self.error(self.position, &message)
    }

    /// One value of an initialiser.
    fn element(&mut self, variable: &mut Variable) -> Result<()> {
        let position = self.position;
        let width = variable.ty.bytes() as usize;
        let offset = variable.init.len();
        if let Token::Name(name) = self.token
            && name != "WARP_SZ"
        {
            if width != 8 {
                let message = "an address needs an element of 64 bits";
                return Err(self.error(position, message));
            }
            let (symbol, addend) = self.initial_address()?;
            variable.relocations.push((offset as u64, symbol, addend));
            variable.init.extend([0; 8]);
            return Ok(());
        }
        let value = self.constant()?;
        let pending = incomplete_address(variable);
        if let Constant::Integer(mask, _) = value
            && self.take("(")?
        {
            let (symbol, addend) = self.initial_address()?;
            self.expect(")")?;
            let accepted = width == 1 && push_address_byte(variable, mask, symbol, addend);
            return match accepted {
                true => Ok(()),
                false => Err(self.error(position, IN_ORDER)),
            };
        }
        if pending.is_some() {
            return Err(self.error(position, IN_ORDER));
        }
        let bits = match (value, variable.ty) {
            (Constant::Integer(bits, _), ty) if ty.class() != Class::Float => bits,
            (Constant::Float32(bits), Type::F32 | Type::B32) => u64::from(bits),
            (Constant::Float64(bits), Type::F32) => u64::from((f64::from_bits(bits) as f32).to_bits()),
            (Constant::Float64(bits), Type::F64 | Type::B64) => bits,
            (Constant::Float32(bits), Type::F64) => f64::from(f32::from_bits(bits)).to_bits(),
            (_, ty) => {
                let message = format!("this constant cannot initialise a .{}", ty.name());
                return Err(self.error(position, &message));
            }
        };
        if width > 8 {
            return Err(self.error(position, "128-bit variables cannot have initial values"));
        }
        variable.init.extend(&bits.to_le_bytes()[..width]);
        Ok(())
    }

    /// `x`, `generic(x)`, either with `+ 4`. Global and constant variables have one address each, generic or not.
    fn initial_address(&mut self) -> Result<(Symbol, i64)> {
        let mut position = self.position;
        let mut name = self.name("a variable")?;
        if name == "generic" && self.take("(")? {
            position = self.position;
            name = self.name("a variable")?;
            self.expect(")")?;
        }
        let Some(symbol) = self.globals.get(name).copied() else {
            return Err(self.error(position, &format!("`{name}` is not declared")));
        };
        if let Symbol::Module(index) = symbol
            && self.module.variables[index as usize].space == Space::Shared
        {
            let message = "the address of a shared variable is not known before the launch";
            return Err(self.error(position, message));
        }
        Ok((symbol, self.addends()?))
    }
}

/// Number of the byte that must come next where the last address is not complete yet.
fn incomplete_address(variable: &Variable) -> Option<usize> {
    let (start, _, _) = variable.relocations.last()?;
    let given = variable.init.len() - *start as usize;
    (given < 8).then_some(given)
}

/// `0xFF00(x)`: byte 1 of the address of `x`. False where the bytes do not come in order.
fn push_address_byte(variable: &mut Variable, mask: u64, symbol: Symbol, addend: i64) -> bool {
    let byte = incomplete_address(variable).unwrap_or(0);
    if mask != 0xFF << (8 * byte) {
        return false;
    }
    match byte {
        0 => {
            let offset = variable.init.len() as u64;
            variable.relocations.push((offset, symbol, addend));
        }
        _ => match variable.relocations.last() {
            Some((_, known, known_addend)) if (*known, *known_addend) == (symbol, addend) => {}
            _ => return false,
        },
    }
    variable.init.push(0);
    true
}
