//! Syntax tree to PTX text.

use std::fmt::Write;

use super::{
    ast::{
        Base, Body, Function, Instruction, Linkage, Module, Operand, Prototype, RegisterId, SourceLine, Symbol,
        Variable,
    },
    isa::{Opcode, Row, rules::Group},
    types::Class,
};

/// PTX text whose syntax tree is `module`, but for positions. Comments, debugging sections and hints are gone.
pub fn print(module: &Module) -> String {
    let mut printer = Printer { module, text: String::new() };
    printer.module();
    printer.text
}

struct Printer<'m> {
    module: &'m Module,
    text: String,
}

/// Writes to the printer's text, which cannot fail.
macro_rules! emit {
    ($printer:expr, $($arguments:tt)*) => {{
        let _ = write!($printer.text, $($arguments)*);
    }};
}

impl Printer<'_> {
    fn module(&mut self) {
        let module = self.module;
        let (major, minor) = module.version;
        emit!(self, ".version {major}.{minor}\n.target sm_{}", module.target);
        self.text.extend(module.target_suffix);
        self.text.push_str("\n.address_size 64\n\n");
        for (number, path) in &module.files {
            emit!(self, ".file {number} \"{path}\"\n");
        }
        if self.needs_declarations() {
            for function in &module.functions {
                self.header(function);
                self.text.push_str(";\n");
            }
        }
        for variable in &module.variables {
            self.linkage(variable.linkage);
            self.variable(variable, &variable.name);
            self.initialiser(variable);
            self.text.push_str(";\n");
        }
        for function in &module.functions {
            self.text.push('\n');
            self.header(function);
            match &function.body {
                None => self.text.push_str(";\n"),
                Some(body) => self.body(function, body),
            }
        }
    }

    /// Whether a function is named before its turn: then all are declared first, in order.
    fn needs_declarations(&self) -> bool {
        let is_function = |(_, symbol, _): &(u64, Symbol, i64)| matches!(symbol, Symbol::Function(_));
        if self.module.variables.iter().any(|v| v.relocations.iter().any(is_function)) {
            return true;
        }
        self.module.functions.iter().enumerate().any(|(index, function)| {
            let instructions = function.body.iter().flat_map(|body| &body.instructions);
            let mut operands = instructions.flat_map(|instruction| &instruction.operands);
            operands.any(|operand| match operand {
                Operand::Symbol(Symbol::Function(other), _) => *other as usize > index,
                _ => false,
            })
        })
    }

    fn header(&mut self, function: &Function) {
        self.linkage(function.linkage);
        self.text.push_str(if function.entry { ".entry " } else { ".func " });
        if !function.returns.is_empty() {
            self.parameters(&function.returns);
            self.text.push(' ');
        }
        self.text.push_str(&function.name);
        self.parameters(&function.params);
        if let Some([x, y, z]) = function.max_block {
            emit!(self, " .maxntid {x}, {y}, {z}");
        }
        if let Some([x, y, z]) = function.required_block {
            emit!(self, " .reqntid {x}, {y}, {z}");
        }
        if let Some(blocks) = function.min_blocks_per_sm {
            emit!(self, " .minnctapersm {blocks}");
        }
    }

    fn linkage(&mut self, linkage: Linkage) {
        if let Some(name) = linkage.name() {
            emit!(self, ".{name} ");
        }
    }

    fn parameters(&mut self, list: &[Variable]) {
        self.text.push('(');
        for (index, variable) in list.iter().enumerate() {
            self.text.push_str(if index == 0 { "\n\t" } else { ",\n\t" });
            self.variable(variable, &variable.name);
        }
        self.text.push(')');
    }

    /// Space, alignment, type, name and size.
    fn variable(&mut self, variable: &Variable, name: &str) {
        let (space, align, ty, bytes) = (variable.space, variable.align, variable.ty, variable.bytes);
        emit!(self, ".{} .align {align} .{} {name}", space.name(), ty.name());
        let element = u64::from(ty.bytes());
        if bytes == 0 && variable.linkage == Linkage::Extern {
            self.text.push_str("[]");
        } else if bytes != element {
            emit!(self, "[{}]", bytes / element);
        }
    }

    fn initialiser(&mut self, variable: &Variable) {
        if variable.init.is_empty() {
            return;
        }
        let element = variable.ty.bytes() as usize;
        let array = variable.bytes != element as u64;
        self.text.push_str(if array { " = {" } else { " = " });
        let mut at = 0;
        while at < variable.init.len() {
            if at > 0 {
                self.text.push_str(", ");
            }
            let within = |(start, ..): &&(u64, Symbol, i64)| (*start..*start + 8).contains(&(at as u64));
            match variable.relocations.iter().find(within) {
                Some((start, symbol, addend)) => {
                    let name = self.global_name(*symbol).to_string();
                    if element == 8 {
                        emit!(self, "{name}{addend:+}");
                    } else {
                        let mask = 0xFFu64 << (8 * (at as u64 - start));
                        emit!(self, "0x{mask:X}({name}{addend:+})");
                    }
                }
                None => self.number(&variable.init[at..at + element], variable.ty.class()),
            }
            at += element;
        }
        if array {
            self.text.push('}');
        }
    }

    /// An initial value from its bytes.
    fn number(&mut self, bytes: &[u8], class: Class) {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        match (class, bytes.len()) {
            (Class::Float, 4) => emit!(self, "0f{bits:08X}"),
            (Class::Float, 8) => emit!(self, "0d{bits:016X}"),
            _ => emit!(self, "{bits}"),
        }
    }

    fn body(&mut self, function: &Function, body: &Body) {
        self.text.push_str("\n{\n");
        for register in &body.registers {
            emit!(self, "\t.reg .{} {};\n", register.ty.name(), register.name);
        }
        for variable in &body.variables {
            self.text.push('\t');
            self.variable(variable, &variable.name);
            self.initialiser(variable);
            self.text.push_str(";\n");
        }
        for prototype in &body.prototypes {
            self.prototype(prototype);
        }
        let lists = body.instructions.iter().filter(|i| i.row.opcode == Opcode::BrxIdx);
        for (number, instruction) in lists.enumerate() {
            if let [_, Operand::Vector(labels)] = instruction.operands.as_slice() {
                emit!(self, "$branch_targets_{number}: .branchtargets ");
                self.operands(function, body, labels);
                self.text.push_str(";\n");
            }
        }
        let mut labels = body.labels.iter().peekable();
        let mut source = None;
        let mut list = 0;
        for (index, instruction) in body.instructions.iter().enumerate() {
            while let Some(label) = labels.next_if(|label| label.target <= index) {
                emit!(self, "{}:\n", label.name);
            }
            if instruction.source != source {
                source = instruction.source;
                self.location(source);
            }
            self.instruction(function, body, instruction, &mut list);
        }
        for label in labels {
            emit!(self, "{}:\n", label.name);
        }
        self.text.push_str("}\n");
    }

    fn prototype(&mut self, prototype: &Prototype) {
        emit!(self, "\t{}: ", prototype.name);
        if prototype.targets.is_empty() {
            let sizes = |list: &[u64]| {
                let parts: Vec<String> = list.iter().map(|bytes| format!(".param .b8 _[{bytes}]")).collect();
                parts.join(", ")
            };
            emit!(self, ".callprototype ({}) _ ({});\n", sizes(&prototype.returns), sizes(&prototype.params));
        } else {
            let names: Vec<&str> =
                prototype.targets.iter().map(|&index| self.global_name(Symbol::Function(index))).collect();
            let names = names.join(", ");
            emit!(self, ".calltargets {names};\n");
        }
    }

    fn location(&mut self, source: Option<SourceLine>) {
        if let Some(SourceLine { file, line }) = source
            && let Some((number, _)) = self.module.files.get(file as usize)
        {
            emit!(self, "\t.loc {number} {line} 0\n");
        }
    }

    fn instruction(&mut self, function: &Function, body: &Body, instruction: &Instruction, list: &mut u32) {
        self.text.push('\t');
        if let Some(guard) = &instruction.guard {
            let not = if guard.negated { "!" } else { "" };
            emit!(self, "@{not}{} ", register(body, guard.register));
        }
        self.text.push_str(&opcode(instruction.row, instruction));
        if !instruction.operands.is_empty() {
            self.text.push(' ');
        }
        match (instruction.row.opcode, instruction.operands.as_slice()) {
            (Opcode::BrxIdx, [index, _]) => {
                self.operand(function, body, index);
                emit!(self, ", $branch_targets_{list}");
                *list += 1;
            }
            (Opcode::Call, [Operand::Vector(returns), callee, Operand::Vector(arguments), rest @ ..]) => {
                if !returns.is_empty() {
                    self.text.push('(');
                    self.operands(function, body, returns);
                    self.text.push_str("), ");
                }
                self.operand(function, body, callee);
                if !arguments.is_empty() {
                    self.text.push_str(", (");
                    self.operands(function, body, arguments);
                    self.text.push(')');
                }
                if !rest.is_empty() {
                    self.text.push_str(", ");
                    self.operands(function, body, rest);
                }
            }
            (_, operands) => self.operands(function, body, operands),
        }
        self.text.push_str(";\n");
    }

    fn operands(&mut self, function: &Function, body: &Body, operands: &[Operand]) {
        for (index, operand) in operands.iter().enumerate() {
            if index > 0 {
                self.text.push_str(", ");
            }
            self.operand(function, body, operand);
        }
    }

    fn operand(&mut self, function: &Function, body: &Body, operand: &Operand) {
        match operand {
            Operand::Register(id) => self.text.push_str(register(body, *id)),
            Operand::NotPredicate(id) => emit!(self, "!{}", register(body, *id)),
            Operand::Special(special) => self.text.push_str(&special.name()),
            Operand::Integer(value) => emit!(self, "{}", *value as i64),
            Operand::Float32(bits) => emit!(self, "0f{bits:08X}"),
            Operand::Float64(bits) => emit!(self, "0d{bits:016X}"),
            Operand::Symbol(symbol, offset) => {
                let name = self.name(function, body, *symbol).to_string();
                self.text.push_str(&name);
                self.offset(*offset);
            }
            Operand::Address(base, offset) => {
                self.text.push('[');
                match base {
                    Base::Register(id) => emit!(self, "{}", register(body, *id)),
                    Base::Symbol(symbol) => {
                        let name = self.name(function, body, *symbol).to_string();
                        self.text.push_str(&name);
                    }
                    Base::Absolute => emit!(self, "0"),
                }
                self.offset(*offset);
                self.text.push(']');
            }
            Operand::Vector(items) => {
                self.text.push('{');
                self.operands(function, body, items);
                self.text.push('}');
            }
            Operand::Pair(first, second) => {
                self.operand(function, body, first);
                self.text.push('|');
                self.operand(function, body, second);
            }
            Operand::Sink => self.text.push('_'),
            Operand::Prototype(index) => {
                let prototype = body.prototypes.get(*index as usize);
                self.text.push_str(prototype.map_or("", |prototype| &prototype.name));
            }
            Operand::Label(id) => {
                let label = body.labels.get(id.0 as usize);
                self.text.push_str(label.map_or("", |label| &label.name));
            }
        }
    }

    fn offset(&mut self, offset: i64) {
        if offset != 0 {
            // `[r+-4]` is what the compiler of machine code takes; it rejects `[r-4]`.
            emit!(self, "+{offset}");
        }
    }

    fn global_name(&self, symbol: Symbol) -> &str {
        match symbol {
            Symbol::Module(index) => &self.module.variables[index as usize].name,
            Symbol::Function(index) => &self.module.functions[index as usize].name,
            // Only names of the module are known to initialisers.
            _ => "",
        }
    }

    fn name<'a>(&'a self, function: &'a Function, body: &'a Body, symbol: Symbol) -> &'a str {
        match symbol {
            Symbol::Param(index) => &function.params[index as usize].name,
            Symbol::Return(index) => &function.returns[index as usize].name,
            Symbol::Body(index) => &body.variables[index as usize].name,
            other => self.global_name(other),
        }
    }
}

fn register(body: &Body, id: RegisterId) -> &str {
    &body.registers[id.0 as usize].name
}

/// Mnemonic, modifiers in the order of the table, types.
fn opcode(row: &Row, instruction: &Instruction) -> String {
    let mut text = row.mnemonic.to_string();
    let push_group = |text: &mut String, group: &Group| {
        for modifier in group.members.iter().filter(|m| instruction.modifiers.has(**m)) {
            text.push('.');
            text.push_str(modifier.name());
        }
    };
    for group in row.modifiers.iter().filter(|group| !group.after_types) {
        push_group(&mut text, group);
    }
    for ty in &instruction.types {
        text.push('.');
        text.push_str(ty.name());
    }
    for group in row.modifiers.iter().filter(|group| group.after_types) {
        push_group(&mut text, group);
    }
    text
}
