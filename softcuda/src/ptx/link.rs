//! Several modules to one: what is `.extern` in one is found in another.
//!
//! Names that only their module knows stay apart: where two modules have the same one, it gets a number. Positions stay those
//! of the texts that the modules were parsed from.

use std::collections::{HashMap, HashSet};

use super::ast::{Base, Body, Function, Instruction, Linkage, Module, Operand, Symbol, Variable};

/// Functions of the device itself: declared `.extern`, defined by no module.
pub const SYSTEM_FUNCTIONS: &[&str] = &["vprintf", "__assertfail", "malloc", "free"];

/// A module and what its text is called, for messages.
pub type Input = (String, Module);

/// Links modules.
///
/// # Errors
/// Every symbol that is defined twice, declared differently, or used and defined nowhere; one line each.
pub fn link(inputs: &[Input]) -> Result<Module, Vec<String>> {
    let mut linker = Linker::new(inputs);
    for (number, (_, module)) in inputs.iter().enumerate() {
        linker.header(module);
        linker.add(number, module);
    }
    if linker.errors.is_empty() {
        linker.resolve();
        linker.find_undefined();
    }
    match linker.errors.is_empty() {
        true => Ok(linker.linked),
        false => Err(linker.errors),
    }
}

/// Names that a module uses and neither it nor the device defines, with whether each is a function.
pub fn undefined(module: &Module) -> Vec<(&str, bool)> {
    let used = used(module);
    let variables = module.variables.iter().enumerate().filter(|(index, variable)| {
        let outside = variable.linkage == Linkage::Extern && !variable.dynamic;
        outside && used.contains(&Symbol::Module(*index as u32))
    });
    let functions = module.functions.iter().enumerate().filter(|(index, function)| {
        let outside = function.body.is_none() && !SYSTEM_FUNCTIONS.contains(&function.name.as_str());
        outside && used.contains(&Symbol::Function(*index as u32))
    });
    let variables = variables.map(|(_, variable)| (variable.name.as_str(), false));
    variables.chain(functions.map(|(_, function)| (function.name.as_str(), true))).collect()
}

/// Every symbol of the module that code or an initial value names.
fn used(module: &Module) -> HashSet<Symbol> {
    let mut used = HashSet::new();
    let mut module = module.clone();
    for_each_symbol(&mut module.variables, &mut module.functions, |_, symbol| {
        used.insert(*symbol);
    });
    used
}

/// A module on its way.
struct Linker<'a> {
    inputs: &'a [Input],
    linked: Module,
    /// Where each variable and function of the result comes from.
    variables_from: Vec<usize>,
    functions_from: Vec<usize>,
    /// For each input: the numbers of its variables, functions and files in the result.
    variables: Vec<Vec<u32>>,
    functions: Vec<Vec<u32>>,
    files: Vec<Vec<u32>>,
    /// Names that more than their module knows.
    shared: HashMap<String, Symbol>,
    /// Names of the module that nothing else may have, and names inside functions, which would hide them.
    taken: HashSet<String>,
    inside: HashSet<String>,
    errors: Vec<String>,
}

impl<'a> Linker<'a> {
    fn new(inputs: &'a [Input]) -> Linker<'a> {
        // A name that is known outside of its module stays, and nothing gets a name that means something in a body.
        let (mut taken, mut inside) = (HashSet::new(), HashSet::new());
        for (_, module) in inputs {
            let variables = module.variables.iter().filter(|variable| variable.linkage != Linkage::Internal);
            taken.extend(variables.map(|variable| variable.name.clone()));
            let functions = module.functions.iter().filter(|function| is_shared(function));
            taken.extend(functions.map(|function| function.name.clone()));
            for function in &module.functions {
                inside.extend(function.params.iter().chain(&function.returns).map(|variable| variable.name.clone()));
                let Some(body) = &function.body else { continue };
                inside.extend(body.variables.iter().map(|variable| variable.name.clone()));
                inside.extend(body.registers.iter().map(|register| register.name.clone()));
                inside.extend(body.prototypes.iter().map(|prototype| prototype.name.clone()));
                inside.extend(body.labels.iter().map(|label| label.name.clone()));
            }
        }
        Linker {
            inputs,
            linked: Module {
                version: (1, 0),
                target: 0,
                target_suffix: None,
                variables: Vec::new(),
                functions: Vec::new(),
                files: Vec::new(),
            },
            variables_from: Vec::new(),
            functions_from: Vec::new(),
            variables: Vec::new(),
            functions: Vec::new(),
            files: Vec::new(),
            shared: HashMap::new(),
            taken,
            inside,
            errors: Vec::new(),
        }
    }

    /// The newest language and the newest target of all; one that is made for one architecture rules out any other.
    fn header(&mut self, module: &Module) {
        let linked = &mut self.linked;
        linked.version = linked.version.max(module.version);
        let specific = [(linked.target, linked.target_suffix), (module.target, module.target_suffix)];
        if let [(first, Some(a)), (second, Some(b))] = specific
            && (first, a) != (second, b)
        {
            self.errors.push(format!("sm_{first}{a} and sm_{second}{b} cannot be linked with each other"));
        }
        if module.target > linked.target || module.target_suffix.is_some() {
            linked.target_suffix = module.target_suffix.or(linked.target_suffix);
        }
        linked.target = linked.target.max(module.target);
    }

    fn add(&mut self, input: usize, module: &Module) {
        let files = module.files.iter().map(|(_, path)| self.file(path)).collect();
        self.files.push(files);
        let variables = module.variables.iter().map(|variable| self.variable(input, variable)).collect();
        self.variables.push(variables);
        let functions = module.functions.iter().map(|function| self.function(input, function)).collect();
        self.functions.push(functions);
    }

    fn file(&mut self, path: &str) -> u32 {
        let files = &mut self.linked.files;
        let known = files.iter().position(|(_, known)| known == path);
        known.unwrap_or_else(|| {
            files.push((files.len() as u32 + 1, path.to_owned()));
            files.len() - 1
        }) as u32
    }

    /// The number of a variable in the result.
    fn variable(&mut self, input: usize, variable: &Variable) -> u32 {
        let push = |linker: &mut Self, name: String| {
            let index = linker.linked.variables.len() as u32;
            linker.linked.variables.push(Variable { name, ..variable.clone() });
            linker.variables_from.push(input);
            index
        };
        if variable.linkage == Linkage::Internal {
            let name = self.free_name(&variable.name);
            return push(self, name);
        }
        match self.shared.get(&variable.name).copied() {
            None => {
                let index = push(self, variable.name.clone());
                self.shared.insert(variable.name.clone(), Symbol::Module(index));
                index
            }
            Some(Symbol::Module(index)) => {
                let earlier = &self.linked.variables[index as usize];
                let first = self.variables_from[index as usize];
                let same_size = earlier.bytes == variable.bytes
                    || [earlier.bytes, variable.bytes].contains(&0)
                    || [earlier.linkage, variable.linkage] == [Linkage::Common; 2];
                let agrees = (earlier.space, earlier.ty) == (variable.space, variable.ty) && same_size;
                let wins = wins(earlier.linkage, variable.linkage, variable.bytes > earlier.bytes);
                let align = earlier.align.max(variable.align);
                if !agrees {
                    self.differs(&variable.name, first, input);
                }
                match wins {
                    Some(true) => {
                        self.linked.variables[index as usize] = Variable { align, ..variable.clone() };
                        self.variables_from[index as usize] = input;
                    }
                    Some(false) => self.linked.variables[index as usize].align = align,
                    None => self.defined_twice(&variable.name, first, input),
                }
                index
            }
            Some(_) => {
                self.errors.push(format!(
                    "`{}` is a variable in {} and a function elsewhere",
                    variable.name,
                    self.name(input)
                ));
                0
            }
        }
    }

    /// The number of a function in the result.
    fn function(&mut self, input: usize, function: &Function) -> u32 {
        let push = |linker: &mut Self, name: String| {
            let index = linker.linked.functions.len() as u32;
            linker.linked.functions.push(Function { name, ..function.clone() });
            linker.functions_from.push(input);
            index
        };
        if !is_shared(function) {
            let name = self.free_name(&function.name);
            return push(self, name);
        }
        match self.shared.get(&function.name).copied() {
            None => {
                let index = push(self, function.name.clone());
                self.shared.insert(function.name.clone(), Symbol::Function(index));
                index
            }
            Some(Symbol::Function(index)) => {
                let earlier = &self.linked.functions[index as usize];
                let first = self.functions_from[index as usize];
                let sizes = |list: &[Variable]| -> Vec<u64> { list.iter().map(|variable| variable.bytes).collect() };
                let shape = |function: &Function| (function.entry, sizes(&function.params), sizes(&function.returns));
                let agrees = shape(earlier) == shape(function);
                let wins = wins(linkage(earlier), linkage(function), false);
                if !agrees {
                    self.differs(&function.name, first, input);
                }
                match wins {
                    Some(true) => {
                        self.linked.functions[index as usize] = function.clone();
                        self.functions_from[index as usize] = input;
                    }
                    Some(false) => {}
                    None => self.defined_twice(&function.name, first, input),
                }
                index
            }
            Some(_) => {
                self.errors.push(format!(
                    "`{}` is a function in {} and a variable elsewhere",
                    function.name,
                    self.name(input)
                ));
                0
            }
        }
    }

    /// `name`, or `name__2` and so on where that is taken.
    fn free_name(&mut self, name: &str) -> String {
        let mut free = name.to_owned();
        let mut number = 2;
        while !self.taken.insert(free.clone()) || (free != name && self.inside.contains(&free)) {
            free = format!("{name}__{number}");
            number += 1;
        }
        free
    }

    /// Puts the result's numbers in the place of each input's own.
    fn resolve(&mut self) {
        let Linker { linked, variables_from, functions_from, variables, functions, files, .. } = self;
        for (function, from) in linked.functions.iter_mut().zip(&*functions_from) {
            for instruction in function.body.iter_mut().flat_map(|body| &mut body.instructions) {
                if let Some(source) = &mut instruction.source {
                    source.file = files[*from].get(source.file as usize).copied().unwrap_or(0);
                }
            }
        }
        for_each_symbol(&mut linked.variables, &mut linked.functions, |owner, symbol| {
            let from = match owner {
                Symbol::Module(index) => variables_from[index as usize],
                Symbol::Function(index) => functions_from[index as usize],
                _ => return,
            };
            match symbol {
                Symbol::Module(index) => *index = variables[from][*index as usize],
                Symbol::Function(index) => *index = functions[from][*index as usize],
                _ => {}
            }
        });
    }

    fn find_undefined(&mut self) {
        for (name, function) in undefined(&self.linked) {
            let index = match self.shared.get(name) {
                Some(Symbol::Module(index) | Symbol::Function(index)) => *index as usize,
                _ => continue,
            };
            let input = if function { self.functions_from[index] } else { self.variables_from[index] };
            self.errors.push(format!("Undefined reference to `{name}` in `{}`", self.inputs[input].0));
        }
    }

    fn name(&self, input: usize) -> String {
        format!("`{}`", self.inputs[input].0)
    }

    fn differs(&mut self, symbol: &str, first: usize, second: usize) {
        self.errors.push(format!(
            "`{symbol}` is declared in {} with another size or type than in {}",
            self.name(second),
            self.name(first)
        ));
    }

    fn defined_twice(&mut self, symbol: &str, first: usize, second: usize) {
        self.errors.push(format!(
            "Multiple definition of `{symbol}` in {}, first defined in {}",
            self.name(second),
            self.name(first)
        ));
    }
}

/// Whether other modules know the function. All know a kernel; what is declared only is defined elsewhere.
fn is_shared(function: &Function) -> bool {
    function.entry || function.body.is_none() || function.linkage != Linkage::Internal
}

fn linkage(function: &Function) -> Linkage {
    match (&function.body, function.linkage) {
        (None, _) => Linkage::Extern,
        (Some(_), Linkage::Weak) => Linkage::Weak,
        (Some(_), _) => Linkage::Visible,
    }
}

/// Whether a later definition takes an earlier one's place; `None`: there must not be both.
fn wins(earlier: Linkage, later: Linkage, larger: bool) -> Option<bool> {
    use Linkage::{Common, Extern, Weak};
    match (earlier, later) {
        (_, Extern) => Some(false),
        (Extern, _) => Some(true),
        (Common, Common) => Some(larger),
        (_, Weak | Common) => Some(false),
        (Weak | Common, _) => Some(true),
        _ => None,
    }
}

/// Calls `visit` with every symbol that initial values and code name, and with the variable or function that does.
fn for_each_symbol(variables: &mut [Variable], functions: &mut [Function], mut visit: impl FnMut(Symbol, &mut Symbol)) {
    for (index, variable) in variables.iter_mut().enumerate() {
        for (_, symbol, _) in &mut variable.relocations {
            visit(Symbol::Module(index as u32), symbol);
        }
    }
    for (index, function) in functions.iter_mut().enumerate() {
        let Some(Body { variables, instructions, prototypes, .. }) = &mut function.body else { continue };
        let owner = Symbol::Function(index as u32);
        for (_, symbol, _) in variables.iter_mut().flat_map(|variable| &mut variable.relocations) {
            visit(owner, symbol);
        }
        for target in prototypes.iter_mut().flat_map(|prototype| &mut prototype.targets) {
            let mut symbol = Symbol::Function(*target);
            visit(owner, &mut symbol);
            if let Symbol::Function(index) = symbol {
                *target = index;
            }
        }
        for Instruction { operands, .. } in instructions {
            operands.iter_mut().for_each(|operand| symbols_of(operand, &mut |symbol| visit(owner, symbol)));
        }
    }
}

fn symbols_of(operand: &mut Operand, visit: &mut impl FnMut(&mut Symbol)) {
    match operand {
        Operand::Symbol(symbol, _) | Operand::Address(Base::Symbol(symbol), _) => visit(symbol),
        Operand::Vector(items) => items.iter_mut().for_each(|item| symbols_of(item, visit)),
        Operand::Pair(first, second) => {
            symbols_of(first, visit);
            symbols_of(second, visit);
        }
        _ => {}
    }
}
