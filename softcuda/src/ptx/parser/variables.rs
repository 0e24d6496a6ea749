//! Declarations of variables, parameters and registers.

use super::{Parser, Result, initialisers::Shape, scope::Builder, scope::Name};
use crate::ptx::{
    ast::{Linkage, Position, Space, Symbol, Type, Variable},
    lexer::Token,
};

/// Space, alignment and type in front of the names of a declaration.
struct Prefix {
    space: Space,
    align: u32,
    ty: Type,
    /// Elements of a `.v2` or `.v4` variable.
    lanes: u64,
}

impl<'a> Parser<'a> {
    /// `.global .align 4 .b8 a[16] = {..}, b;` at module scope.
    pub(super) fn module_variables(&mut self, linkage: Linkage) -> Result<()> {
        let prefix = self.prefix()?;
        loop {
            let (name, mut variable, shape) = self.variable(&prefix, linkage == Linkage::Extern)?;
            variable.linkage = linkage;
            let position = variable.position;
            if self.is("=") {
                self.initialiser(&mut variable, &shape)?;
            }
            match self.globals.get(name) {
                None => {
                    let symbol = Symbol::Module(self.module.variables.len() as u32);
                    self.globals.insert(name, symbol);
                    self.module.variables.push(variable);
                }
                // A definition may follow an `.extern` declaration, and a declaration a definition.
                Some(Symbol::Module(index)) if self.matches_earlier(*index, &variable) => {
                    let earlier = &mut self.module.variables[*index as usize];
                    if linkage != Linkage::Extern {
                        *earlier = variable;
                    }
                }
                Some(_) => {
                    return Err(self.error(position, &format!("`{name}` is declared twice")));
                }
            }
            if !self.take(",")? {
                return self.expect(";");
            }
        }
    }

    fn matches_earlier(&self, index: u32, variable: &Variable) -> bool {
        let earlier = &self.module.variables[index as usize];
        let same_size = earlier.bytes == variable.bytes || earlier.bytes == 0 || variable.bytes == 0;
        let one_is_extern = [earlier.linkage, variable.linkage].contains(&Linkage::Extern);
        let both_known = earlier.linkage != Linkage::Internal && variable.linkage != Linkage::Internal;
        one_is_extern && both_known && earlier.space == variable.space && earlier.ty == variable.ty && same_size
    }

    /// `.shared .b8 a[16], b;` in a function's body.
    pub(super) fn body_variables(&mut self, builder: &mut Builder<'a>) -> Result<()> {
        let prefix = self.prefix()?;
        loop {
            let (name, mut variable, shape) = self.variable(&prefix, false)?;
            self.check_new(builder, name, variable.position)?;
            if self.is("=") {
                self.initialiser(&mut variable, &shape)?;
            }
            variable.name = builder.unique(name);
            let symbol = Symbol::Body(builder.body.variables.len() as u32);
            builder.body.variables.push(variable);
            builder.declare(name, Name::Variable(symbol));
            if !self.take(",")? {
                return self.expect(";");
            }
        }
    }

    /// `.reg .b32 %r<100>, x;`.
    pub(super) fn registers(&mut self, builder: &mut Builder<'a>) -> Result<()> {
        self.advance()?;
        if let Token::Dot("v2" | "v4") = self.token {
            return Err(self.error(self.position, "vector registers are not supported"));
        }
        let ty = self.storable_type()?;
        loop {
            let position = self.position;
            let name = self.name("the name of a register")?;
            self.check_new(builder, name, position)?;
            if self.take("<")? {
                // A `>` closes the range; it is no comparison.
                let Token::Integer(count, _) = self.token else {
                    return Err(self.unexpected("a number of registers"));
                };
                self.advance()?;
                self.expect(">")?;
                if !builder.declare_range(name, count, ty) {
                    return Err(self.error(position, &format!("`{name}` is declared twice")));
                }
            } else {
                builder.declare_register(name, ty);
            }
            if !self.take(",")? {
                return self.expect(";");
            }
        }
    }

    /// `(.param .u64 a, .param .align 8 .b8 b[16])`; the parenthesis comes next.
    pub(super) fn parameters(&mut self) -> Result<Vec<(&'a str, Variable)>> {
        self.expect("(")?;
        let mut list = Vec::new();
        if self.take(")")? {
            return Ok(list);
        }
        loop {
            if self.token == Token::Dot("reg") {
                let message = "`.reg` parameters are not supported, only `.param`";
                return Err(self.error(self.position, message));
            }
            if self.token != Token::Dot("param") {
                return Err(self.unexpected("`.param`"));
            }
            let prefix = self.prefix()?;
            let (name, variable, _) = self.variable(&prefix, false)?;
            if name != "_" && list.iter().any(|(other, _)| *other == name) {
                let message = format!("parameter `{name}` is declared twice");
                return Err(self.error(variable.position, &message));
            }
            list.push((name, variable));
            if !self.take(",")? {
                self.expect(")")?;
                return Ok(list);
            }
        }
    }

    /// Fails where the innermost scope has `name` already.
    pub(super) fn check_new(&self, builder: &Builder<'a>, name: &str, position: Position) -> Result<()> {
        match builder.is_declared(name) {
            true => Err(self.error(position, &format!("`{name}` is declared twice"))),
            false => Ok(()),
        }
    }

    /// Space, attributes, alignment, `.ptr`, type.
    fn prefix(&mut self) -> Result<Prefix> {
        let Token::Dot(space) = self.token else {
            return Err(self.unexpected("a state space"));
        };
        let Some(space) = Space::from_name(space) else {
            return Err(self.unexpected("a state space"));
        };
        self.advance()?;
        let (mut align, mut lanes, mut ty) = (None, 1, None);
        loop {
            match self.token {
                Token::Dot("align") => {
                    self.advance()?;
                    align = Some(self.alignment()?);
                }
                Token::Dot("v2") => {
                    lanes = 2;
                    self.advance()?;
                }
                Token::Dot("v4") => {
                    lanes = 4;
                    self.advance()?;
                }
                Token::Dot("ptr") if ty.is_some() && space == Space::Param => {
                    self.pointer_attribute()?;
                }
                Token::Dot("attribute") => {
                    let message = "`.attribute` is not supported";
                    return Err(self.error(self.position, message));
                }
                Token::Dot(_) if ty.is_none() => ty = Some(self.storable_type()?),
                _ => break,
            }
        }
        let Some(ty) = ty else {
            return Err(self.unexpected("a type"));
        };
        let align = align.unwrap_or(ty.bytes() * lanes as u32);
        Ok(Prefix { space, align, ty, lanes })
    }

    /// `.ptr .global .align 16`: what a parameter points to, a hint for the compiler of machine code.
    fn pointer_attribute(&mut self) -> Result<()> {
        self.advance()?;
        if let Token::Dot("global" | "shared" | "local" | "const" | "param") = self.token {
            self.advance()?;
        }
        if self.token == Token::Dot("align") {
            self.advance()?;
            self.alignment()?;
        }
        Ok(())
    }

    fn alignment(&mut self) -> Result<u32> {
        let position = self.position;
        let Token::Integer(value, _) = self.token else {
            return Err(self.unexpected("an alignment"));
        };
        self.advance()?;
        match u32::try_from(value) {
            Ok(align) if align.is_power_of_two() => Ok(align),
            _ => Err(self.error(position, "an alignment must be a power of two")),
        }
    }

    fn storable_type(&mut self) -> Result<Type> {
        let Token::Dot(name) = self.token else {
            return Err(self.unexpected("a type"));
        };
        match Type::from_name(name) {
            Some(ty) if ty.is_storable() => {
                self.advance()?;
                Ok(ty)
            }
            _ => Err(self.unexpected("a type")),
        }
    }

    /// `name`, `name[4][8]`, `name[]`: the name, the variable, and the shape that an initialiser fills.
    fn variable(&mut self, prefix: &Prefix, external: bool) -> Result<(&'a str, Variable, Shape)> {
        let position = self.position;
        let name = self.name("the name of a variable")?;
        if prefix.ty == Type::Pred {
            return Err(self.error(position, "a variable cannot be a predicate"));
        }
        let mut extents = Vec::new();
        let mut unsized_array = false;
        while self.take("[")? {
            if extents.is_empty() && self.take("]")? {
                unsized_array = true;
                extents.push(1);
            } else {
                extents.push(self.integer()?);
                self.expect("]")?;
            }
        }
        if prefix.lanes > 1 {
            extents.push(prefix.lanes);
        }
        let element = u64::from(prefix.ty.bytes());
        let bytes = extents.iter().try_fold(element, |bytes, n| bytes.checked_mul(*n));
        // Addresses have 47 bits.
        let Some(bytes) = bytes.filter(|bytes| *bytes < 1 << 47) else {
            return Err(self.error(position, &format!("`{name}` is too large")));
        };
        if unsized_array && !external && !self.is("=") {
            return Err(self.error(position, &format!("`{name}` has no size")));
        }
        let variable = Variable {
            name: name.to_string(),
            space: prefix.space,
            ty: prefix.ty,
            align: prefix.align,
            bytes: if unsized_array { 0 } else { bytes },
            dynamic: unsized_array && external && prefix.space == Space::Shared,
            init: Vec::new(),
            relocations: Vec::new(),
            linkage: Linkage::Internal,
            position,
        };
        let shape = Shape { extents, grows: unsized_array };
        Ok((name, variable, shape))
    }

    /// `+ 4 - 8` behind a name: the sum.
    pub(super) fn addends(&mut self) -> Result<i64> {
        let mut sum = 0i64;
        loop {
            if self.take("+")? {
                sum = sum.wrapping_add(self.product()? as i64);
            } else if self.take("-")? {
                sum = sum.wrapping_sub(self.product()? as i64);
            } else {
                return Ok(sum);
            }
        }
    }
}
