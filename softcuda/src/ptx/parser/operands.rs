//! Operands.

use super::{
    Parser, Result,
    constants::Constant,
    scope::{Builder, Name},
};
use crate::ptx::{
    ast::{Base, LabelId, Operand, Position, Special},
    lexer::Token,
};

/// Stands for a label until its scope closes.
const UNRESOLVED: Operand = Operand::Label(LabelId(u32::MAX));

impl<'a> Parser<'a> {
    /// `a, {b, c}, [d + 4]`, up to `;`.
    pub(super) fn operands(&mut self, builder: &mut Builder<'a>) -> Result<Vec<Operand>> {
        let mut list = Vec::new();
        if self.is(";") {
            return Ok(list);
        }
        loop {
            list.push(self.operand(builder)?);
            if !self.take(",")? {
                return Ok(list);
            }
        }
    }

    /// The operand of `bra`.
    pub(super) fn branch_target(&mut self, builder: &mut Builder<'a>) -> Result<Vec<Operand>> {
        let position = self.position;
        let name = self.name("a label")?;
        builder.use_label(name, position, 0, None);
        Ok(vec![UNRESOLVED])
    }

    /// The operands of `brx.idx`: an index and the name of a `.branchtargets` list.
    pub(super) fn branch_targets(&mut self, builder: &mut Builder<'a>) -> Result<Vec<Operand>> {
        let index = self.operand(builder)?;
        self.expect(",")?;
        let position = self.position;
        let name = self.name("the name of a `.branchtargets` list")?;
        let Some(labels) = builder.targets(name) else {
            let message = format!("`{name}` is not a `.branchtargets` list");
            return Err(self.error(position, &message));
        };
        for (element, (label, position)) in labels.iter().enumerate() {
            builder.use_label(label, *position, 1, Some(element));
        }
        let targets = vec![UNRESOLVED; labels.len()];
        Ok(vec![index, Operand::Vector(targets)])
    }

    /// The operands of `call`: `(r), f, (a, b)`, with either list left out, always three in the tree; `(r), %d, (a, b), p`
    /// has four.
    pub(super) fn call_operands(&mut self, builder: &mut Builder<'a>) -> Result<Vec<Operand>> {
        let returns = match self.is("(") {
            true => {
                let list = self.list(builder, "(", ")")?;
                self.expect(",")?;
                list
            }
            false => Vec::new(),
        };
        let callee = self.operand(builder)?;
        let indirect = matches!(callee, Operand::Register(_));
        let mut more = self.take(",")?;
        let arguments = match more && self.is("(") {
            true => {
                let list = self.list(builder, "(", ")")?;
                more = indirect && self.take(",")?;
                list
            }
            false => Vec::new(),
        };
        let mut operands = vec![Operand::Vector(returns), callee, Operand::Vector(arguments)];
        if indirect {
            let position = self.position;
            let name = match more {
                true => self.name("the name of a `.callprototype`")?,
                false => return Err(self.unexpected("`,` and the name of a `.callprototype`")),
            };
            let Some(index) = builder.prototype(name) else {
                let message = format!("`{name}` is not a `.callprototype` or `.calltargets` list");
                return Err(self.error(position, &message));
            };
            operands.push(Operand::Prototype(index));
        }
        Ok(operands)
    }

    /// Operands between two marks.
    fn list(&mut self, builder: &mut Builder<'a>, open: &str, close: &str) -> Result<Vec<Operand>> {
        self.expect(open)?;
        let mut list = Vec::new();
        if self.take(close)? {
            return Ok(list);
        }
        loop {
            if self.is("{") {
                return Err(self.unexpected("a register or constant"));
            }
            list.push(self.operand(builder)?);
            if !self.take(",")? {
                self.expect(close)?;
                return Ok(list);
            }
        }
    }

    fn operand(&mut self, builder: &mut Builder<'a>) -> Result<Operand> {
        let position = self.position;
        match self.token {
            Token::Mark("{") => Ok(Operand::Vector(self.list(builder, "{", "}")?)),
            Token::Mark("[") => self.address(builder),
            // `!p` is a predicate, `!5` a constant expression.
            Token::Mark("!") => {
                self.advance()?;
                match self.token {
                    Token::Name(name) if name != "WARP_SZ" => match self.named(builder, name, position)? {
                        Operand::Register(id) => Ok(Operand::NotPredicate(id)),
                        _ => Err(self.error(position, "`!` needs a predicate")),
                    },
                    _ => Ok(Operand::Integer(u64::from(self.product()? == 0))),
                }
            }
            Token::Name("WARP_SZ") => self.constant_operand(),
            Token::Name(name) => {
                let first = self.named(builder, name, position)?;
                match self.is("|") && matches!(first, Operand::Register(_) | Operand::Sink) {
                    true => self.pair(builder, first),
                    false => Ok(first),
                }
            }
            _ => self.constant_operand(),
        }
    }

    /// `|p` behind `d`.
    fn pair(&mut self, builder: &mut Builder<'a>, first: Operand) -> Result<Operand> {
        self.expect("|")?;
        let position = self.position;
        let Token::Name(name) = self.token else {
            return Err(self.unexpected("a predicate or `_`"));
        };
        match self.named(builder, name, position)? {
            second @ (Operand::Register(_) | Operand::Sink) => Ok(Operand::Pair(Box::new(first), Box::new(second))),
            _ => Err(self.error(position, "expected a predicate or `_` behind `|`")),
        }
    }

    fn constant_operand(&mut self) -> Result<Operand> {
        Ok(match self.constant()? {
            Constant::Integer(bits, _) => Operand::Integer(bits),
            Constant::Float32(bits) => Operand::Float32(bits),
            Constant::Float64(bits) => Operand::Float64(bits),
        })
    }

    /// The operand that `name`, the current token, begins.
    fn named(&mut self, builder: &mut Builder<'a>, name: &'a str, position: Position) -> Result<Operand> {
        self.advance()?;
        if name == "_" {
            return Ok(Operand::Sink);
        }
        let symbol = match builder.look_up(name) {
            Some(Name::Register(id)) => {
                if let Token::Dot(_) = self.token {
                    let message = "components of vector registers are not supported";
                    return Err(self.error(self.position, message));
                }
                return Ok(Operand::Register(id));
            }
            Some(Name::Variable(symbol)) => Some(symbol),
            None => self.globals.get(name).copied(),
        };
        match symbol {
            Some(symbol) => Ok(Operand::Symbol(symbol, self.addends()?)),
            None => self.special(name, position),
        }
    }

    fn special(&mut self, name: &str, position: Position) -> Result<Operand> {
        let component = match self.token {
            Token::Dot(component) if Special::has_components(name) => {
                self.advance()?;
                Some(component)
            }
            _ => None,
        };
        match Special::from_name(name, component) {
            Some(special) => Ok(Operand::Special(special)),
            None if Special::has_components(name) => {
                let message = format!("`{name}` needs a component .x, .y or .z");
                Err(self.error(position, &message))
            }
            None => Err(self.error(position, &format!("`{name}` is not declared"))),
        }
    }

    /// `[r + 4]`, `[x - 8]`, `[64]`.
    fn address(&mut self, builder: &mut Builder<'a>) -> Result<Operand> {
        self.expect("[")?;
        let position = self.position;
        let (base, offset) = match self.token {
            Token::Name(name) if name != "WARP_SZ" => match self.named(builder, name, position)? {
                Operand::Register(id) => (Base::Register(id), self.addends()?),
                Operand::Symbol(symbol, offset) => (Base::Symbol(symbol), offset),
                _ => return Err(self.error(position, "expected a register or a variable")),
            },
            _ => (Base::Absolute, self.integer()? as i64),
        };
        self.expect("]")?;
        // A hint that the address is the same in every thread.
        if self.token == Token::Dot("unified") {
            self.advance()?;
        }
        Ok(Operand::Address(base, offset))
    }
}
