//! Characters to tokens.

use super::ast::Position;

/// A token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// `add`, `%r1`, `$L__BB0_1`, `_`.
    Name(&'a str),
    /// `.global`, `.L2::128B`; without the dot.
    Dot(&'a str),
    /// An integer literal, and whether it is unsigned.
    Integer(u64, bool),
    /// Bits of a `0f` literal.
    Float32(u32),
    /// Bits of a `0d` or decimal literal.
    Float64(u64),
    /// `"..."`, without the quotes.
    Text(&'a str),
    /// Punctuation and operators.
    Mark(&'static str),
    /// The end of the text.
    End,
}

impl Token<'_> {
    /// The token in words.
    pub(super) fn describe(&self) -> String {
        match self {
            Token::Name(name) => format!("`{name}`"),
            Token::Dot(name) => format!("`.{name}`"),
            Token::Integer(value, _) => format!("the number {value}"),
            Token::Float32(_) | Token::Float64(_) => "a floating-point constant".into(),
            Token::Text(text) => format!("\"{text}\""),
            Token::Mark(mark) => format!("`{mark}`"),
            Token::End => "the end of the text".into(),
        }
    }
}

/// Longest first, so that `<<` is not two `<`.
const MARKS: &[&str] = &[
    "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "{", "}", "[", "]", "(", ")", "<", ">", ",", ";", ":", "@", "!",
    "|", "+", "-", "*", "/", "%", "=", "&", "^", "~", "?",
];

/// An error of the lexer: where and what.
pub(super) type LexicalError = (Position, String);

/// Reads a text token by token.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    line_start: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, at: 0, line: 1, line_start: 0 }
    }

    /// The next token and where it begins.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, Position), LexicalError> {
        self.skip_blanks()?;
        let position = self.position();
        let rest = &self.text[self.at..];
        let Some(&first) = rest.as_bytes().first() else {
            return Ok((Token::End, position));
        };
        let token = match first {
            b'0'..=b'9' => self.number().map_err(|message| (position, message))?,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' => Token::Name(self.take_name(1)),
            b'%' if rest.as_bytes().get(1).is_some_and(|b| is_name(*b)) => Token::Name(self.take_name(1)),
            b'.' => {
                let length = dotted_length(&rest.as_bytes()[1..]);
                if length == 0 {
                    return Err((position, "expected a name behind `.`".into()));
                }
                self.at += 1 + length;
                Token::Dot(&rest[1..1 + length])
            }
            b'"' => {
                let Some(length) = rest[1..].find(['"', '\n']) else {
                    return Err((position, "a string without its end".into()));
                };
                if rest.as_bytes()[1 + length] == b'\n' {
                    return Err((position, "a string without its end".into()));
                }
                self.at += length + 2;
                Token::Text(&rest[1..1 + length])
            }
            _ => {
                let Some(mark) = MARKS.iter().find(|mark| rest.starts_with(**mark)) else {
                    let character = rest.chars().next().unwrap_or(' ');
                    return Err((position, format!("unexpected character {character:?}")));
                };
                self.at += mark.len();
                Token::Mark(mark)
            }
        };
        Ok((token, position))
    }

    fn position(&self) -> Position {
        Position { line: self.line, column: (self.at - self.line_start + 1) as u32 }
    }

    fn skip_blanks(&mut self) -> Result<(), LexicalError> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b'\n') => {
                    self.at += 1;
                    self.line += 1;
                    self.line_start = self.at;
                }
                Some(b' ' | b'\t' | b'\r' | b'\x0b' | b'\x0c') => self.at += 1,
                Some(b'/') if bytes.get(self.at + 1) == Some(&b'/') => {
                    let rest = &bytes[self.at..];
                    self.at += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
                }
                Some(b'/') if bytes.get(self.at + 1) == Some(&b'*') => {
                    let start = self.position();
                    let Some(length) = self.text[self.at + 2..].find("*/") else {
                        return Err((start, "a comment without its end".into()));
                    };
                    let end = self.at + length + 4;
                    while self.at < end {
                        self.at += 1;
                        if bytes[self.at - 1] == b'\n' {
                            self.line += 1;
                            self.line_start = self.at;
                        }
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    /// Takes `prefix` bytes and all name characters behind them.
    fn take_name(&mut self, prefix: usize) -> &'a str {
        let rest = &self.text[self.at..];
        let tail = &rest.as_bytes()[prefix..];
        let length = prefix + tail.iter().position(|b| !is_name(*b)).unwrap_or(tail.len());
        self.at += length;
        &rest[..length]
    }

    fn number(&mut self) -> Result<Token<'a>, String> {
        let rest = &self.text[self.at..];
        let bytes = rest.as_bytes();
        let mut length = bytes.iter().position(|b| !is_name(*b)).unwrap_or(bytes.len());
        let is_decimal = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if bytes.get(length) == Some(&b'.')
            && bytes.get(length + 1).is_some_and(u8::is_ascii_digit)
            && is_decimal(&rest[..length])
        {
            length +=
                1 + rest.as_bytes()[length + 1..].iter().position(|b| !is_name(*b)).unwrap_or(rest.len() - length - 1);
        }
        // A signed exponent: `1.5e-7`.
        let ends_in_e = matches!(bytes[length - 1], b'e' | b'E');
        if ends_in_e
            && matches!(bytes.get(length), Some(b'+' | b'-'))
            && rest[..length - 1].bytes().all(|b| b.is_ascii_digit() || b == b'.')
        {
            let digits = bytes[length + 1..].iter().position(|b| !is_name(*b));
            length += 1 + digits.unwrap_or(bytes.len() - length - 1);
        }
        let text = &rest[..length];
        self.at += length;
        parse_number(text).ok_or_else(|| format!("`{text}` is not a number"))
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}

/// Length of a modifier: names joined by `::`.
fn dotted_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        while bytes.get(at).is_some_and(|b| is_name(*b)) {
            at += 1;
        }
        let joined = bytes.get(at..at + 2) == Some(b"::");
        if at == 0 || !joined || !bytes.get(at + 2).is_some_and(|b| is_name(*b)) {
            return at;
        }
        at += 2;
    }
}

fn parse_number(text: &str) -> Option<Token<'static>> {
    let prefix = text.get(..2).unwrap_or("");
    let digits = text.get(2..).unwrap_or("");
    let bits = |width: usize| match digits.len() == width {
        // `from_str_radix` takes a sign; a name character is none.
        true => u64::from_str_radix(digits, 16).ok(),
        false => None,
    };
    match prefix {
        "0f" | "0F" => return bits(8).map(|bits| Token::Float32(bits as u32)),
        "0d" | "0D" => return bits(16).map(Token::Float64),
        _ => {}
    }
    let decimal_point = text.contains('.');
    let exponent = text.contains(['e', 'E']) && !matches!(prefix, "0x" | "0X");
    if decimal_point || exponent {
        return text.parse::<f64>().ok().map(|value| Token::Float64(value.to_bits()));
    }
    let (text, unsigned) = match text.strip_suffix('U') {
        Some(text) => (text, true),
        None => (text, false),
    };
    let (radix, digits) = match prefix {
        "0x" | "0X" => (16, text.get(2..)?),
        "0b" | "0B" => (2, text.get(2..)?),
        _ if text.len() > 1 && text.starts_with('0') => (8, &text[1..]),
        _ => (10, text),
    };
    let value = u64::from_str_radix(digits, radix).ok()?;
    Some(Token::Integer(value, unsigned || value > i64::MAX as u64))
}
