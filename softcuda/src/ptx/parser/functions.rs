//! Kernels and functions.

use super::{
    Parser, Result,
    scope::{Builder, Name},
};
use crate::ptx::{
    ast::{Body, Function, Linkage, Position, SourceLine, Symbol, Variable},
    lexer::Token,
};

impl<'a> Parser<'a> {
    /// `.entry name (..) ..` or `.func (..) name (..) ..`: a declaration or a definition.
    pub(super) fn function_declaration(&mut self, entry: bool, linkage: Linkage) -> Result<()> {
        if linkage == Linkage::Common {
            return Err(self.error(self.position, "a function cannot be `.common`"));
        }
        self.advance()?;
        let returns = match !entry && self.is("(") {
            true => self.parameters()?,
            false => Vec::new(),
        };
        let position = self.position;
        let name = self.name("the name of a function")?;
        let kind = if entry { "kernel" } else { "function" };
        self.function = Some(format!("{kind} `{name}`"));
        let params = match self.is("(") {
            true => self.parameters()?,
            false => Vec::new(),
        };
        let owned = |list: &[(&str, Variable)]| list.iter().map(|(_, v)| v.clone()).collect();
        let mut function = Function {
            name: name.to_string(),
            entry,
            linkage,
            params: owned(&params),
            returns: owned(&returns),
            required_block: None,
            max_block: None,
            min_blocks_per_sm: None,
            body: None,
            position,
        };
        self.directives(&mut function)?;
        let defines = self.is("{");
        // Known before its body is read: a function may call itself.
        let index = self.declare_function(name, &function, defines)?;
        if defines {
            let body = self.body(&params, &returns)?;
            function.body = Some(body);
            self.module.functions[index] = function;
        } else {
            self.expect(";")?;
        }
        self.function = None;
        Ok(())
    }

    /// Index of the function in the module: a new one, or that of an earlier declaration.
    fn declare_function(&mut self, name: &'a str, function: &Function, defines: bool) -> Result<usize> {
        let Some(symbol) = self.globals.get(name) else {
            let index = self.module.functions.len();
            self.globals.insert(name, Symbol::Function(index as u32));
            self.module.functions.push(function.clone());
            return Ok(index);
        };
        let position = function.position;
        let Symbol::Function(index) = *symbol else {
            return Err(self.error(position, &format!("`{name}` is declared twice")));
        };
        let earlier = &self.module.functions[index as usize];
        if defines && earlier.body.is_some() {
            return Err(self.error(position, &format!("`{name}` is defined twice")));
        }
        let shape = |list: &[Variable]| -> Vec<_> { list.iter().map(|v| (v.ty, v.bytes)).collect() };
        let agrees = earlier.entry == function.entry
            && shape(&earlier.params) == shape(&function.params)
            && shape(&earlier.returns) == shape(&function.returns);
        match agrees {
            true => Ok(index as usize),
            false => Err(self.error(position, &format!("`{name}` was declared with other parameters"))),
        }
    }

    /// What stands between the parameters and the body.
    fn directives(&mut self, function: &mut Function) -> Result<()> {
        loop {
            let Token::Dot(name) = self.token else {
                return Ok(());
            };
            match name {
                "pragma" => {
                    self.pragma()?;
                    continue;
                }
                "maxntid" | "reqntid" | "minnctapersm" | "maxnctapersm" | "maxnreg" | "noreturn" => {
                    self.advance()?;
                }
                other => {
                    let message = format!("directive `.{other}` is not supported");
                    return Err(self.error(self.position, &message));
                }
            }
            match name {
                "maxntid" => function.max_block = Some(self.extents()?),
                "reqntid" => function.required_block = Some(self.extents()?),
                "minnctapersm" => function.min_blocks_per_sm = Some(self.small("a number of blocks")?),
                // These only guide the compiler of machine code.
                "maxnctapersm" | "maxnreg" => {
                    self.small("a limit")?;
                }
                _ => {}
            }
        }
    }

    /// `256`, `16, 16`, `8, 8, 4`.
    fn extents(&mut self) -> Result<[u32; 3]> {
        let mut extents = [1; 3];
        extents[0] = self.small("an extent")?;
        for extent in &mut extents[1..] {
            if !self.take(",")? {
                break;
            }
            *extent = self.small("an extent")?;
        }
        Ok(extents)
    }

    /// `{ .. }`.
    fn body(&mut self, params: &[(&'a str, Variable)], returns: &[(&'a str, Variable)]) -> Result<Body> {
        let start = self.position;
        self.expect("{")?;
        let mut builder = Builder::default();
        // Parameters lie in a scope of their own around the body's.
        builder.open();
        for (index, (name, _)) in params.iter().enumerate() {
            builder.unique(name);
            builder.declare(name, Name::Variable(Symbol::Param(index as u32)));
        }
        for (index, (name, _)) in returns.iter().enumerate() {
            builder.unique(name);
            builder.declare(name, Name::Variable(Symbol::Return(index as u32)));
        }
        builder.open();
        let mut depth = 1u32;
        while depth > 0 {
            match self.token {
                Token::Mark("{") => {
                    self.advance()?;
                    builder.open();
                    depth += 1;
                }
                Token::Mark("}") => {
                    // The outermost brace is stepped over at the end: what follows it is no longer the kernel's.
                    self.close(&mut builder)?;
                    depth -= 1;
                    if depth > 0 {
                        self.advance()?;
                    }
                }
                Token::End => return Err(self.error(start, "the body has no end")),
                _ => self.statement(&mut builder)?,
            }
        }
        self.close(&mut builder)?;
        self.function = None;
        self.advance()?;
        Ok(builder.body)
    }

    fn close(&self, builder: &mut Builder<'a>) -> Result<()> {
        match builder.close() {
            Ok(_) => Ok(()),
            Err((name, position)) => Err(self.error(position, &format!("there is no label `{name}`"))),
        }
    }

    /// A declaration, directive, label or instruction.
    fn statement(&mut self, builder: &mut Builder<'a>) -> Result<()> {
        match self.token {
            Token::Dot("reg") => self.registers(builder),
            Token::Dot("shared" | "local" | "param" | "global" | "const") => self.body_variables(builder),
            Token::Dot("loc") => {
                builder.source = Some(self.location()?);
                Ok(())
            }
            Token::Dot("pragma") => self.pragma(),
            Token::Mark("@") => self.guarded_instruction(builder),
            Token::Name(name) => {
                let position = self.position;
                self.advance()?;
                match self.take(":")? {
                    true => self.label(builder, name, position),
                    false => self.instruction(builder, None, name, position),
                }
            }
            _ => Err(self.unexpected("an instruction")),
        }
    }

    /// What stands behind `name:`.
    fn label(&mut self, builder: &mut Builder<'a>, name: &'a str, position: Position) -> Result<()> {
        self.check_new(builder, name, position)?;
        match self.token {
            Token::Dot("branchtargets") => {
                self.advance()?;
                let mut labels = Vec::new();
                loop {
                    let position = self.position;
                    labels.push((self.name("a label")?, position));
                    if !self.take(",")? {
                        break;
                    }
                }
                self.expect(";")?;
                builder.declare_targets(name, labels);
            }
            Token::Dot("callprototype") => self.prototype(builder, name)?,
            Token::Dot("calltargets") => self.call_targets(builder, name)?,
            _ => builder.declare_label(name),
        }
        Ok(())
    }

    /// `.callprototype (.param .b32 _) _ (.param .b64 _);`.
    fn prototype(&mut self, builder: &mut Builder<'a>, name: &'a str) -> Result<()> {
        self.advance()?;
        let sizes = |list: Vec<(&str, Variable)>| list.iter().map(|(_, variable)| variable.bytes).collect();
        let returns = match self.is("(") {
            true => sizes(self.parameters()?),
            false => Vec::new(),
        };
        self.name("`_`")?;
        let params = match self.is("(") {
            true => sizes(self.parameters()?),
            false => Vec::new(),
        };
        if self.token == Token::Dot("noreturn") {
            self.advance()?;
        }
        self.expect(";")?;
        builder.declare_prototype(name, returns, params, Vec::new());
        Ok(())
    }

    /// `.calltargets f, g;`.
    fn call_targets(&mut self, builder: &mut Builder<'a>, name: &'a str) -> Result<()> {
        self.advance()?;
        let mut targets: Vec<u32> = Vec::new();
        loop {
            let position = self.position;
            let target = self.name("a function")?;
            let Some(Symbol::Function(index)) = self.globals.get(target).copied() else {
                return Err(self.error(position, &format!("`{target}` is not a function")));
            };
            let signature = self.module.functions[index as usize].signature();
            if targets.first().is_some_and(|first| self.module.functions[*first as usize].signature() != signature) {
                return Err(self.error(position, &format!("`{target}` has other parameters than those before it")));
            }
            targets.push(index);
            if !self.take(",")? {
                self.expect(";")?;
                let (returns, params) = signature;
                builder.declare_prototype(name, returns, params, targets);
                return Ok(());
            }
        }
    }

    /// `.loc 1 20 3, function_name $L__info_string0, inlined_at 1 40 2`: the innermost place counts.
    pub(super) fn location(&mut self) -> Result<SourceLine> {
        self.advance()?;
        let position = self.position;
        let file = self.plain_number()?;
        let line = self.plain_number()?;
        self.plain_number()?;
        while self.take(",")? {
            match self.name("`function_name` or `inlined_at`")? {
                "function_name" => {
                    self.name("a label of a section")?;
                    self.addends()?;
                }
                "inlined_at" => {
                    for _ in 0..3 {
                        self.plain_number()?;
                    }
                }
                other => {
                    let message = format!("`{other}` is not part of `.loc`");
                    return Err(self.error(self.position, &message));
                }
            }
        }
        self.files_used.entry(file).or_insert(position);
        Ok(SourceLine { file, line })
    }

    /// A number that no operator may follow.
    fn plain_number(&mut self) -> Result<u32> {
        let Token::Integer(value, _) = self.token else {
            return Err(self.unexpected("a number"));
        };
        let Ok(value) = u32::try_from(value) else {
            return Err(self.error(self.position, "the number does not fit in 32 bits"));
        };
        self.advance()?;
        Ok(value)
    }
}
