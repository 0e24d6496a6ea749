//! Constant expressions.

use super::{Parser, Result};
use crate::ptx::lexer::Token;

/// Value of a constant expression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Constant {
    /// 64 bits, and whether they are unsigned.
    Integer(u64, bool),
    /// Bits of an f32.
    Float32(u32),
    /// Bits of an f64.
    Float64(u64),
}

/// How deep parentheses may nest: deeper text must not exhaust the host's stack.
const MAX_DEPTH: u32 = 64;

/// Binding strength of `*`, `/` and `%`: what may follow the sign in `[a + 4*2 - 1]`.
pub(super) const PRODUCT: u8 = 10;

/// Binary operators with their binding strength.
const OPERATORS: &[(&str, u8)] = &[
    ("||", 1),
    ("&&", 2),
    ("|", 3),
    ("^", 4),
    ("&", 5),
    ("==", 6),
    ("!=", 6),
    ("<", 7),
    ("<=", 7),
    (">", 7),
    (">=", 7),
    ("<<", 8),
    (">>", 8),
    ("+", 9),
    ("-", 9),
    ("*", PRODUCT),
    ("/", PRODUCT),
    ("%", PRODUCT),
];

impl<'a> Parser<'a> {
    /// A constant expression.
    pub(super) fn constant(&mut self) -> Result<Constant> {
        self.ternary(0)
    }

    /// A constant expression whose value is an integer, as its 64 bits.
    pub(super) fn integer(&mut self) -> Result<u64> {
        let position = self.position;
        match self.constant()? {
            Constant::Integer(bits, _) => Ok(bits),
            _ => Err(self.error(position, "expected an integer")),
        }
    }

    /// An expression of operators that bind at least as strongly as `*`, as an integer.
    pub(super) fn product(&mut self) -> Result<u64> {
        let position = self.position;
        match self.binary(PRODUCT, 0)? {
            Constant::Integer(bits, _) => Ok(bits),
            _ => Err(self.error(position, "expected an integer")),
        }
    }

    fn ternary(&mut self, depth: u32) -> Result<Constant> {
        let position = self.position;
        let condition = self.binary(1, depth)?;
        if !self.take("?")? {
            return Ok(condition);
        }
        let Constant::Integer(condition, _) = condition else {
            return Err(self.error(position, "expected an integer in front of `?`"));
        };
        self.check_depth(depth)?;
        let yes = self.ternary(depth + 1)?;
        self.expect(":")?;
        let no = self.ternary(depth + 1)?;
        Ok(if condition != 0 { yes } else { no })
    }

    fn binary(&mut self, least: u8, depth: u32) -> Result<Constant> {
        self.check_depth(depth)?;
        let mut left = self.unary(depth)?;
        while let Token::Mark(mark) = self.token {
            let Some((operator, strength)) = OPERATORS.iter().find(|(text, _)| *text == mark) else {
                break;
            };
            if *strength < least {
                break;
            }
            let position = self.position;
            self.advance()?;
            let right = self.binary(strength + 1, depth + 1)?;
            let (Constant::Integer(a, a_unsigned), Constant::Integer(b, b_unsigned)) = (left, right) else {
                let message = format!("`{operator}` takes integers, not floating-point constants");
                return Err(self.error(position, &message));
            };
            left = evaluate(operator, a, b, a_unsigned, b_unsigned)
                .ok_or_else(|| self.error(position, "division by zero"))?;
        }
        Ok(left)
    }

    fn unary(&mut self, depth: u32) -> Result<Constant> {
        let position = self.position;
        self.check_depth(depth)?;
        match self.token {
            Token::Integer(value, unsigned) => {
                self.advance()?;
                Ok(Constant::Integer(value, unsigned))
            }
            Token::Float32(bits) => {
                self.advance()?;
                Ok(Constant::Float32(bits))
            }
            Token::Float64(bits) => {
                self.advance()?;
                Ok(Constant::Float64(bits))
            }
            Token::Name("WARP_SZ") => {
                self.advance()?;
                Ok(Constant::Integer(32, false))
            }
            Token::Mark(mark @ ("+" | "-" | "!" | "~")) => {
                self.advance()?;
                let value = self.unary(depth + 1)?;
                match (mark, value) {
                    ("+", value) => Ok(value),
                    ("-", Constant::Integer(v, u)) => Ok(Constant::Integer(v.wrapping_neg(), u)),
                    ("-", Constant::Float32(bits)) => Ok(Constant::Float32(bits ^ 1 << 31)),
                    ("-", Constant::Float64(bits)) => Ok(Constant::Float64(bits ^ 1 << 63)),
                    ("!", Constant::Integer(v, _)) => Ok(Constant::Integer(u64::from(v == 0), false)),
                    ("~", Constant::Integer(v, u)) => Ok(Constant::Integer(!v, u)),
                    _ => Err(self.error(position, &format!("`{mark}` takes an integer"))),
                }
            }
            Token::Mark("(") => {
                self.advance()?;
                let cast = match self.token {
                    Token::Dot("s64") => Some(false),
                    Token::Dot("u64") => Some(true),
                    _ => None,
                };
                if let Some(unsigned) = cast {
                    self.advance()?;
                    self.expect(")")?;
                    return match self.unary(depth + 1)? {
                        Constant::Integer(value, _) => Ok(Constant::Integer(value, unsigned)),
                        _ => Err(self.error(position, "a cast takes an integer")),
                    };
                }
                let value = self.ternary(depth + 1)?;
                self.expect(")")?;
                Ok(value)
            }
            _ => Err(self.unexpected("a constant")),
        }
    }

    fn check_depth(&self, depth: u32) -> Result<()> {
        match depth > MAX_DEPTH {
            true => Err(self.error(self.position, "the expression nests too deeply")),
            false => Ok(()),
        }
    }
}

/// One operation; none for a division by zero.
fn evaluate(operator: &str, a: u64, b: u64, a_unsigned: bool, b_unsigned: bool) -> Option<Constant> {
    let unsigned = a_unsigned || b_unsigned;
    let (sa, sb) = (a as i64, b as i64);
    let truth = |value: bool| Constant::Integer(u64::from(value), false);
    let ordered = |s: bool, u: bool| truth(if unsigned { u } else { s });
    let number = |value: u64| Constant::Integer(value, unsigned);
    // A shift has the type of its left operand.
    let shifted = |value: u64| Constant::Integer(value, a_unsigned);
    let amount = u32::try_from(b).ok().filter(|n| *n < 64);
    Some(match operator {
        "+" => number(a.wrapping_add(b)),
        "-" => number(a.wrapping_sub(b)),
        "*" => number(a.wrapping_mul(b)),
        "/" | "%" if b == 0 => return None,
        "/" if unsigned => number(a / b),
        "/" => number(sa.wrapping_div(sb) as u64),
        "%" if unsigned => number(a % b),
        "%" => number(sa.wrapping_rem(sb) as u64),
        "<<" => shifted(amount.map_or(0, |n| a << n)),
        ">>" if a_unsigned => shifted(amount.map_or(0, |n| a >> n)),
        ">>" => shifted((sa >> amount.unwrap_or(63)) as u64),
        "<" => ordered(sa < sb, a < b),
        "<=" => ordered(sa <= sb, a <= b),
        ">" => ordered(sa > sb, a > b),
        ">=" => ordered(sa >= sb, a >= b),
        "==" => truth(a == b),
        "!=" => truth(a != b),
        "&" => number(a & b),
        "|" => number(a | b),
        "^" => number(a ^ b),
        "&&" => truth(a != 0 && b != 0),
        _ => truth(a != 0 || b != 0),
    })
}
