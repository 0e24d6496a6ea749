//! Tokens to the syntax tree. Module directives are here; the rest is by subject.

use std::collections::HashMap;

use super::{
    ParseError,
    ast::{Linkage, Module, Position, Symbol},
    lexer::{Lexer, Token},
};

mod constants;
mod functions;
mod initialisers;
mod instructions;
mod operands;
mod scope;
mod variables;

/// What parsing yields.
type Result<T> = std::result::Result<T, ParseError>;

/// A module on its way.
struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The token that comes next, and where it begins.
    token: Token<'a>,
    position: Position,
    module: Module,
    /// Variables and functions of the module.
    globals: HashMap<&'a str, Symbol>,
    /// Kernel or function and instruction that are being parsed, for messages.
    function: Option<String>,
    opcode: Option<String>,
    /// `.file` numbers that `.loc` uses, with the first use of each.
    files_used: HashMap<u32, Position>,
}

/// Parses a module.
pub(super) fn parse(text: &str) -> Result<Module> {
    let mut parser = Parser {
        lexer: Lexer::new(text),
        token: Token::End,
        position: Position { line: 1, column: 1 },
        module: Module {
            version: (0, 0),
            target: 0,
            target_suffix: None,
            variables: Vec::new(),
            functions: Vec::new(),
            files: Vec::new(),
        },
        globals: HashMap::new(),
        function: None,
        opcode: None,
        files_used: HashMap::new(),
    };
    parser.advance()?;
    parser.header()?;
    while parser.token != Token::End {
        parser.declaration()?;
    }
    parser.number_files()?;
    Ok(parser.module)
}

impl<'a> Parser<'a> {
    /// Steps over the current token.
    fn advance(&mut self) -> Result<Token<'a>> {
        match self.lexer.next() {
            Ok((token, position)) => {
                self.position = position;
                Ok(std::mem::replace(&mut self.token, token))
            }
            Err((position, message)) => Err(self.error(position, &message)),
        }
    }

    /// Whether `mark` comes next.
    fn is(&self, mark: &str) -> bool {
        matches!(self.token, Token::Mark(found) if found == mark)
    }

    /// Steps over `mark` if it comes next.
    fn take(&mut self, mark: &str) -> Result<bool> {
        let found = self.is(mark);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    /// Steps over `mark`, which must come next.
    fn expect(&mut self, mark: &str) -> Result<()> {
        match self.take(mark)? {
            true => Ok(()),
            false => Err(self.unexpected(&format!("`{mark}`"))),
        }
    }

    /// Steps over a name, which must come next.
    fn name(&mut self, what: &str) -> Result<&'a str> {
        match self.token {
            Token::Name(name) => {
                self.advance()?;
                Ok(name)
            }
            _ => Err(self.unexpected(what)),
        }
    }

    /// A constant that fits in 32 bits.
    fn small(&mut self, what: &str) -> Result<u32> {
        let position = self.position;
        let value = self.integer()?;
        u32::try_from(value).map_err(|_| self.error(position, &format!("{what} does not fit in 32 bits")))
    }

    /// An error at `position`, with the kernel and the instruction.
    fn error(&self, position: Position, message: &str) -> ParseError {
        let mut text = String::new();
        for part in [&self.function, &self.opcode].into_iter().flatten() {
            text.push_str(part);
            text.push_str(": ");
        }
        text.push_str(message);
        ParseError { position, message: text }
    }

    /// The error that something else was expected here.
    fn unexpected(&self, expected: &str) -> ParseError {
        let message = format!("expected {expected}, found {}", self.token.describe());
        self.error(self.position, &message)
    }

    /// `.version`, `.target`, `.address_size`.
    fn header(&mut self) -> Result<()> {
        if self.token != Token::Dot("version") {
            return Err(self.unexpected("`.version`"));
        }
        self.advance()?;
        self.module.version = self.version()?;
        if self.token != Token::Dot("target") {
            return Err(self.unexpected("`.target`"));
        }
        self.advance()?;
        self.target()?;
        if self.token == Token::Dot("address_size") {
            self.advance()?;
            let position = self.position;
            if self.integer()? != 64 {
                return Err(self.error(position, "only `.address_size 64` is supported"));
            }
        }
        Ok(())
    }

    /// `8.7`: the lexer reads it as a floating-point number, whose shortest decimal form is what was written.
    fn version(&mut self) -> Result<(u32, u32)> {
        let position = self.position;
        let Token::Float64(bits) = self.token else {
            return Err(self.unexpected("a version such as 8.0"));
        };
        self.advance()?;
        let text = format!("{:?}", f64::from_bits(bits));
        let parts = text.split_once('.');
        let version = parts.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        match version {
            Some((major @ 1..=9, minor)) => Ok((major, minor)),
            _ => Err(self.error(position, &format!("PTX version {text} is not supported"))),
        }
    }

    fn target(&mut self) -> Result<()> {
        let position = self.position;
        let name = self.name("an architecture such as sm_80")?;
        let digits = name.strip_prefix("sm_").unwrap_or("");
        let (number, suffix) = match digits.strip_suffix(['a', 'f']) {
            Some(number) => (number, digits.chars().last()),
            None => (digits, None),
        };
        let Ok(number) = number.parse() else {
            return Err(self.error(position, &format!("`{name}` is not an architecture")));
        };
        self.module.target = number;
        self.module.target_suffix = suffix;
        while self.take(",")? {
            let position = self.position;
            match self.name("a target option")? {
                // Texture modes and debug information change nothing here.
                "debug" | "texmode_unified" | "texmode_independent" => {}
                other => {
                    let message = format!("target option `{other}` is not supported");
                    return Err(self.error(position, &message));
                }
            }
        }
        Ok(())
    }

    /// One declaration at module scope.
    fn declaration(&mut self) -> Result<()> {
        let linkage = match self.token {
            Token::Dot("visible") => Linkage::Visible,
            Token::Dot("extern") => Linkage::Extern,
            Token::Dot("weak") => Linkage::Weak,
            Token::Dot("common") => Linkage::Common,
            _ => Linkage::Internal,
        };
        let plain = linkage == Linkage::Internal;
        if !plain {
            self.advance()?;
        }
        match self.token {
            Token::Dot("entry") => self.function_declaration(true, linkage),
            Token::Dot("func") => self.function_declaration(false, linkage),
            Token::Dot("global" | "const" | "shared") => self.module_variables(linkage),
            Token::Dot("file") if plain => self.file(),
            Token::Dot("section") if plain => self.section(),
            Token::Dot("pragma") if plain => self.pragma(),
            Token::Dot("loc") if plain => self.location().map(|_| ()),
            Token::Dot(name @ ("alias" | "texref" | "samplerref" | "surfref" | "tex" | "local" | "reg" | "param")) => {
                let message = format!("`.{name}` at module scope is not supported");
                Err(self.error(self.position, &message))
            }
            _ => Err(self.unexpected("a declaration")),
        }
    }

    /// `.file 1 "path", time, size`.
    fn file(&mut self) -> Result<()> {
        self.advance()?;
        let number = self.small("a file number")?;
        let Token::Text(path) = self.token else {
            return Err(self.unexpected("a path in quotes"));
        };
        self.advance()?;
        while self.take(",")? {
            self.integer()?;
        }
        self.module.files.push((number, path.to_string()));
        Ok(())
    }

    /// `.section .debug_str { .. }`: debugging information, of which `.loc` says all that is needed.
    fn section(&mut self) -> Result<()> {
        let start = self.position;
        self.advance()?;
        let (Token::Dot(_) | Token::Name(_)) = self.token else {
            return Err(self.unexpected("the name of a section"));
        };
        self.advance()?;
        self.expect("{")?;
        let mut depth = 1u32;
        while depth > 0 {
            match self.advance()? {
                Token::Mark("{") => depth += 1,
                Token::Mark("}") => depth -= 1,
                Token::End => return Err(self.error(start, "a section without its end")),
                _ => {}
            }
        }
        Ok(())
    }

    /// `.pragma "..", "..";`: hints for the compiler of machine code.
    fn pragma(&mut self) -> Result<()> {
        self.advance()?;
        loop {
            let Token::Text(_) = self.token else {
                return Err(self.unexpected("a string"));
            };
            self.advance()?;
            if !self.take(",")? {
                return self.expect(";");
            }
        }
    }

    /// Replaces the `.file` numbers in the instructions by indices: the directives often stand at the end of the text.
    fn number_files(&mut self) -> Result<()> {
        let mut indices = HashMap::new();
        for (index, (number, _)) in self.module.files.iter().enumerate() {
            indices.entry(*number).or_insert(index as u32);
        }
        let missing = self.files_used.iter().filter(|(number, _)| !indices.contains_key(number));
        if let Some((number, position)) = missing.min_by_key(|(_, p)| (p.line, p.column)) {
            let message = format!("there is no `.file {number}`");
            return Err(self.error(*position, &message));
        }
        for function in &mut self.module.functions {
            let Some(body) = &mut function.body else {
                continue;
            };
            for source in body.instructions.iter_mut().filter_map(|i| i.source.as_mut()) {
                source.file = indices[&source.file];
            }
        }
        Ok(())
    }
}
