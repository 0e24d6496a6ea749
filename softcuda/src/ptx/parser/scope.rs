//! Names inside a function: lexical scopes, flattened into one body.

use std::collections::{HashMap, HashSet};

use crate::ptx::ast::{
    Body, Label, LabelId, Operand, Position, Prototype, Register, RegisterId, SourceLine, Symbol, Type,
};

/// What a name in a scope stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name {
    /// A register.
    Register(RegisterId),
    /// A variable or parameter.
    Variable(Symbol),
}

/// A use of a label, to be resolved when its scope closes: a label may stand behind its uses.
#[derive(Clone, Copy, Debug)]
struct LabelUse<'a> {
    name: &'a str,
    position: Position,
    instruction: usize,
    /// Operand, and element of the vector that the operand is.
    operand: usize,
    element: Option<usize>,
}

/// `.reg .b32 %r<100>;`: registers come into being at their first use.
#[derive(Clone, Copy, Debug)]
struct Range<'a> {
    prefix: &'a str,
    count: u64,
    ty: Type,
}

/// `{ .. }`.
#[derive(Debug, Default)]
struct Scope<'a> {
    names: HashMap<&'a str, Name>,
    ranges: Vec<Range<'a>>,
    labels: HashMap<&'a str, LabelId>,
    targets: HashMap<&'a str, Vec<(&'a str, Position)>>,
    prototypes: HashMap<&'a str, u32>,
    uses: Vec<LabelUse<'a>>,
}

/// A function's body on its way.
#[derive(Debug, Default)]
pub(super) struct Builder<'a> {
    pub(super) body: Body,
    /// `.loc` in force.
    pub(super) source: Option<SourceLine>,
    scopes: Vec<Scope<'a>>,
    /// Names given to registers, variables and labels of any scope.
    given: HashSet<String>,
}

impl<'a> Builder<'a> {
    /// Enters `{`.
    pub(super) fn open(&mut self) {
        self.scopes.push(Scope::default());
    }

    /// Leaves `}`. On success tells whether this was the outermost scope; the error is a label that does not exist.
    pub(super) fn close(&mut self) -> Result<bool, (&'a str, Position)> {
        let scope = self.scopes.pop().unwrap_or_default();
        for label_use in scope.uses {
            match scope.labels.get(label_use.name) {
                Some(id) => self.resolve(&label_use, *id),
                None => match self.scopes.last_mut() {
                    Some(outer) => outer.uses.push(label_use),
                    None => return Err((label_use.name, label_use.position)),
                },
            }
        }
        Ok(self.scopes.is_empty())
    }

    fn resolve(&mut self, label_use: &LabelUse<'a>, id: LabelId) {
        let operand = &mut self.body.instructions[label_use.instruction].operands[label_use.operand];
        match (operand, label_use.element) {
            (Operand::Vector(items), Some(element)) => items[element] = Operand::Label(id),
            (operand, _) => *operand = Operand::Label(id),
        }
    }

    /// A name that nothing else in the flattened body has: `name`, or `name$1` ... where another scope took it.
    pub(super) fn unique(&mut self, name: &str) -> String {
        let mut unique = name.to_string();
        let mut number = 0;
        while !self.given.insert(unique.clone()) {
            number += 1;
            unique = format!("{name}${number}");
        }
        unique
    }

    /// Whether the innermost scope declares `name` already.
    pub(super) fn is_declared(&self, name: &str) -> bool {
        self.scopes.last().is_some_and(|scope| {
            scope.names.contains_key(name)
                || scope.labels.contains_key(name)
                || scope.targets.contains_key(name)
                || scope.prototypes.contains_key(name)
                || scope.range_of(name).is_some()
        })
    }

    /// Declares a register in the innermost scope.
    pub(super) fn declare_register(&mut self, name: &'a str, ty: Type) -> RegisterId {
        let id = self.new_register(name, ty);
        self.declare(name, Name::Register(id));
        id
    }

    /// Declares a variable in the innermost scope.
    pub(super) fn declare(&mut self, name: &'a str, meaning: Name) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.names.insert(name, meaning);
        }
    }

    /// Declares `prefix0` .. in the innermost scope; false if there are such registers already.
    pub(super) fn declare_range(&mut self, prefix: &'a str, count: u64, ty: Type) -> bool {
        let Some(scope) = self.scopes.last_mut() else {
            return false;
        };
        if scope.ranges.iter().any(|range| range.prefix == prefix) {
            return false;
        }
        scope.ranges.push(Range { prefix, count, ty });
        true
    }

    /// Declares a label in the innermost scope, in front of the next instruction.
    pub(super) fn declare_label(&mut self, name: &'a str) {
        let id = LabelId(self.body.labels.len() as u32);
        let label = Label { name: self.unique(name), target: self.body.instructions.len() };
        self.body.labels.push(label);
        if let Some(scope) = self.scopes.last_mut() {
            scope.labels.insert(name, id);
        }
    }

    /// Declares a `.branchtargets` list in the innermost scope.
    pub(super) fn declare_targets(&mut self, name: &'a str, labels: Vec<(&'a str, Position)>) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.targets.insert(name, labels);
        }
    }

    /// Declares a `.callprototype` or `.calltargets` list in the innermost scope.
    pub(super) fn declare_prototype(&mut self, name: &'a str, returns: Vec<u64>, params: Vec<u64>, targets: Vec<u32>) {
        let index = self.body.prototypes.len() as u32;
        let prototype = Prototype { name: self.unique(name), returns, params, targets };
        self.body.prototypes.push(prototype);
        if let Some(scope) = self.scopes.last_mut() {
            scope.prototypes.insert(name, index);
        }
    }

    /// Index of a `.callprototype` or `.calltargets` list.
    pub(super) fn prototype(&self, name: &str) -> Option<u32> {
        self.scopes.iter().rev().find_map(|scope| scope.prototypes.get(name)).copied()
    }

    /// The labels of a `.branchtargets` list.
    pub(super) fn targets(&self, name: &str) -> Option<Vec<(&'a str, Position)>> {
        let mut scopes = self.scopes.iter().rev();
        scopes.find_map(|scope| scope.targets.get(name)).cloned()
    }

    /// Records that an operand of the next instruction is a label.
    pub(super) fn use_label(&mut self, name: &'a str, position: Position, operand: usize, element: Option<usize>) {
        let instruction = self.body.instructions.len();
        if let Some(scope) = self.scopes.last_mut() {
            scope.uses.push(LabelUse { name, position, instruction, operand, element });
        }
    }

    /// What `name` stands for, seen from the innermost scope.
    pub(super) fn look_up(&mut self, name: &'a str) -> Option<Name> {
        for depth in (0..self.scopes.len()).rev() {
            if let Some(meaning) = self.scopes[depth].names.get(name) {
                return Some(*meaning);
            }
            if let Some(ty) = self.scopes[depth].range_of(name) {
                let meaning = Name::Register(self.new_register(name, ty));
                self.scopes[depth].names.insert(name, meaning);
                return Some(meaning);
            }
        }
        None
    }

    fn new_register(&mut self, name: &str, ty: Type) -> RegisterId {
        let id = RegisterId(self.body.registers.len() as u32);
        let register = Register { name: self.unique(name), ty };
        self.body.registers.push(register);
        id
    }
}

impl Scope<'_> {
    /// Type of the register `name` of a range.
    fn range_of(&self, name: &str) -> Option<Type> {
        let prefix_length = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        // `%r1` may be number 1 of `%r<..>`, but a prefix may end in digits, too: `%a1<5>` declares `%a10`.
        let found = self.ranges.iter().find(|range| {
            let digits = match name.strip_prefix(range.prefix) {
                Some(digits) if range.prefix.len() >= prefix_length => digits,
                _ => return false,
            };
            let canonical = digits == "0" || !digits.starts_with('0');
            canonical && digits.parse::<u64>().is_ok_and(|number| number < range.count)
        });
        found.map(|range| range.ty)
    }
}
