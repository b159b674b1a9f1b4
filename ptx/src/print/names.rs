//! The names that canonical text uses.

use crate::instruction::Instruction;
use crate::module::{Function, Item, Module, Statement};
use crate::operand::{Base, Label, Operand, Register};
use crate::types::Type;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;

/// What the name of a register of a type starts with.
pub(super) fn prefix(ty: Type) -> &'static str {
    match ty {
        Type::Pred => "%p",
        Type::B8 => "%rc",
        Type::B16 => "%rs",
        Type::B32 => "%r",
        Type::B64 => "%rd",
        Type::B128 => "%rq",
        Type::U8 => "%uc",
        Type::U16 => "%us",
        Type::U32 => "%u",
        Type::U64 => "%ud",
        Type::S8 => "%sc",
        Type::S16 => "%ss",
        Type::S32 => "%s",
        Type::S64 => "%sd",
        Type::F16 => "%h",
        Type::F16x2 => "%hh",
        Type::F32 => "%f",
        Type::F64 => "%fd",
        // No register may be declared with any other type.
        _ => "%x",
    }
}

/// Names that belong to the module.
pub(super) struct ModuleNames<'m> {
    /// Variables and functions.
    taken: FxHashSet<&'m str>,
    /// Words of debug sections, which may be labels.
    kept: FxHashSet<&'m str>,
    /// The last item of every variable, which is its definition.
    definitions: FxHashMap<u32, usize>,
}

impl<'m> ModuleNames<'m> {
    pub fn new(module: &'m Module) -> Self {
        let variables = module.variables.iter().map(|variable| variable.name.as_str());
        let functions = module.functions.iter().map(|function| function.name.as_str());
        let words = |line: &'m String| line.split(|c: char| !c.is_ascii_alphanumeric() && !"_$%".contains(c));
        let mut kept = FxHashSet::default();
        let mut definitions = FxHashMap::default();
        for (place, item) in module.items.iter().enumerate() {
            match item {
                Item::Section { lines, .. } => kept.extend(lines.iter().flat_map(words)),
                Item::Variable(index) => {
                    definitions.insert(*index, place);
                }
                _ => {}
            }
        }
        Self { taken: variables.chain(functions).collect(), kept, definitions }
    }

    /// Whether the item at `place` is the last one of the variable.
    pub fn defines(&self, variable: u32, place: usize) -> bool {
        self.definitions.get(&variable) == Some(&place)
    }
}

/// Names of one function, by index.
pub(super) struct FunctionNames {
    /// Number within the type; `None` for a register that does not appear.
    pub registers: Vec<Option<u32>>,
    /// How many registers of each type appear.
    pub ranges: BTreeMap<Type, u32>,
    /// For a register that is a formal parameter: which one.
    pub formals: FxHashMap<Register, usize>,
    /// Labels, `$` included.
    labels: Vec<Option<String>>,
    /// Variables.
    pub variables: Vec<String>,
}

impl FunctionNames {
    pub fn new(function: &Function, module: &ModuleNames<'_>) -> Self {
        let formals = function.variables.iter().enumerate();
        let formals = formals.filter_map(|(place, variable)| Some((variable.register?, place))).collect();
        let mut names = Self {
            registers: vec![None; function.registers.len()],
            ranges: BTreeMap::new(),
            formals,
            labels: vec![None; function.labels.len()],
            variables: variable_names(function, module),
        };
        let mut labels = LabelNames { function, module, used: FxHashSet::default(), next: 0 };
        for statement in function.body.iter().flatten() {
            match statement {
                Statement::Label(label)
                | Statement::CallTargets(label, _)
                | Statement::CallPrototype(label, _) => names.label(*label, &mut labels),
                Statement::BranchTargets(label, targets) => {
                    names.label(*label, &mut labels);
                    targets.iter().for_each(|label| names.label(*label, &mut labels));
                }
                Statement::Instruction(instruction) => names.instruction(function, instruction, &mut labels),
                Statement::Location(_) | Statement::Pragma(_) => {}
            }
        }
        names
    }

    /// The name of a label that appears.
    pub fn label_name(&self, label: Label) -> &str {
        self.labels[label.0 as usize].as_deref().unwrap_or("_")
    }

    fn instruction<'f>(
        &mut self,
        function: &'f Function,
        instruction: &Instruction,
        labels: &mut LabelNames<'f, '_>,
    ) {
        if let Some(guard) = instruction.guard {
            self.register(function, guard.register);
        }
        for operand in &instruction.operands {
            self.operand(function, operand, labels);
        }
    }

    fn operand<'f>(&mut self, function: &'f Function, operand: &Operand, labels: &mut LabelNames<'f, '_>) {
        match operand {
            Operand::Register(register) | Operand::Not(register) => self.register(function, *register),
            Operand::Pair(pair) => pair.iter().for_each(|operand| self.operand(function, operand, labels)),
            Operand::Vector(operands) | Operand::Arguments(operands) => {
                operands.iter().for_each(|operand| self.operand(function, operand, labels));
            }
            Operand::Address(address) => {
                if let Base::Register(register) = address.base {
                    self.register(function, register);
                }
                address.coordinates.iter().for_each(|operand| self.operand(function, operand, labels));
            }
            Operand::Label(label) => self.label(*label, labels),
            Operand::Immediate(_) | Operand::Special(_) | Operand::Symbol(..) | Operand::Sink => {}
        }
    }

    fn register(&mut self, function: &Function, register: Register) {
        let number = &mut self.registers[register.0 as usize];
        if number.is_none() && !self.formals.contains_key(&register) {
            let count = self.ranges.entry(function.registers[register.0 as usize].ty).or_insert(0);
            *number = Some(*count);
            *count += 1;
        }
    }

    fn label<'f>(&mut self, label: Label, labels: &mut LabelNames<'f, '_>) {
        let name = &mut self.labels[label.0 as usize];
        if name.is_none() {
            *name = Some(labels.next(&labels.function.labels[label.0 as usize].name));
        }
    }
}

/// Gives names to labels in the order in which they appear.
struct LabelNames<'f, 'm> {
    function: &'f Function,
    module: &'m ModuleNames<'m>,
    used: FxHashSet<&'f str>,
    next: u32,
}

impl<'f> LabelNames<'f, '_> {
    fn next(&mut self, name: &'f str) -> String {
        if self.module.kept.contains(name) && self.used.insert(name) {
            return name.to_owned();
        }
        loop {
            let name = format!("$L{}", self.next);
            self.next += 1;
            if !self.module.kept.contains(name.as_str()) && !self.module.taken.contains(name.as_str()) {
                return name;
            }
        }
    }
}

/// The names of variables, changed where a scope that is gone had kept two apart, or a variable from the module's.
fn variable_names(function: &Function, module: &ModuleNames<'_>) -> Vec<String> {
    let plain = |name: &str| match name.strip_prefix('%') {
        Some(rest) => format!("_{rest}"),
        None => name.replace("$L", "_L"),
    };
    let own: FxHashSet<String> = function.variables.iter().map(|variable| plain(&variable.name)).collect();
    let mut used: FxHashSet<String> = FxHashSet::default();
    let mut copies: FxHashMap<String, u32> = FxHashMap::default();
    let mut names = Vec::with_capacity(function.variables.len());
    for variable in &function.variables {
        let base = plain(&variable.name);
        let mut name = base.clone();
        while name != "_" && (module.taken.contains(name.as_str()) || !used.insert(name.clone())) {
            let copy = copies.entry(base.clone()).or_insert(0);
            // A number that no other variable has from the beginning.
            name = loop {
                *copy += 1;
                let name = format!("{base}_{copy}");
                if !own.contains(&name) {
                    break name;
                }
            };
        }
        names.push(name);
    }
    names
}
