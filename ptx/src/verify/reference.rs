//! That indices lead somewhere: the parser sees to it, for a module that was built or changed it is a rule.

use crate::module::{Function, Initializer, Item, Module, Statement};
use crate::operand::{Base, Label, Operand, Register, Symbol};

/// Whether everything that the module refers to exists.
pub(super) fn exist(module: &Module) -> Result<(), String> {
    let function_exists = |index: u32| (index as usize) < module.functions.len();
    for item in &module.items {
        let exists = match item {
            Item::Variable(index) => (*index as usize) < module.variables.len(),
            Item::Declaration(index) | Item::Definition(index) => function_exists(*index),
            Item::Alias(alias, aliased) => function_exists(*alias) && function_exists(*aliased),
            Item::File { .. } | Item::Section { .. } | Item::Pragma(_) => true,
        };
        if !exists {
            return Err("an item refers to a variable or function that does not exist".to_owned());
        }
    }
    let none = Counts { module, registers: 0, labels: 0, variables: 0 };
    for variable in &module.variables {
        none.initializers(variable.initializer.as_deref()).ok_or_else(|| missing(&variable.name))?;
    }
    module.functions.iter().try_for_each(|function| {
        let counts = Counts {
            module,
            registers: function.registers.len(),
            labels: function.labels.len(),
            variables: function.variables.len(),
        };
        counts.function(function).ok_or_else(|| missing(&function.name))
    })
}

fn missing(name: &str) -> String {
    format!("`{name}` refers to a register, label, variable or function that does not exist")
}

/// How many there are of what a function may refer to. The methods give `None` where one does not exist.
struct Counts<'m> {
    module: &'m Module,
    registers: usize,
    labels: usize,
    variables: usize,
}

impl Counts<'_> {
    fn register(&self, register: Register) -> Option<()> {
        ((register.0 as usize) < self.registers).then_some(())
    }

    fn label(&self, label: Label) -> Option<()> {
        ((label.0 as usize) < self.labels).then_some(())
    }

    fn symbol(&self, symbol: Symbol) -> Option<()> {
        let (index, count) = match symbol {
            Symbol::Module(index) => (index, self.module.variables.len()),
            Symbol::Local(index) => (index, self.variables),
            Symbol::Function(index) => (index, self.module.functions.len()),
        };
        ((index as usize) < count).then_some(())
    }

    fn initializers(&self, values: Option<&[Initializer]>) -> Option<()> {
        values.unwrap_or_default().iter().try_for_each(|value| match value {
            Initializer::Value(_) => Some(()),
            Initializer::Address { symbol, .. } | Initializer::MaskedAddress { symbol, .. } => {
                self.symbol(*symbol)
            }
        })
    }

    fn function(&self, function: &Function) -> Option<()> {
        let parameters = function.return_count as usize + function.parameter_count as usize;
        (parameters <= self.variables).then_some(())?;
        for variable in &function.variables {
            variable.register.map_or(Some(()), |register| self.register(register))?;
            self.initializers(variable.initializer.as_deref())?;
        }
        function.body.iter().flatten().try_for_each(|statement| match statement {
            Statement::Label(label) | Statement::CallPrototype(label, _) => self.label(*label),
            Statement::Instruction(instruction) => {
                instruction.guard.map_or(Some(()), |guard| self.register(guard.register))?;
                instruction.operands.iter().try_for_each(|operand| self.operand(operand))
            }
            Statement::BranchTargets(label, targets) => {
                self.label(*label)?;
                targets.iter().try_for_each(|target| self.label(*target))
            }
            Statement::CallTargets(label, targets) => {
                self.label(*label)?;
                targets.iter().try_for_each(|target| self.symbol(*target))
            }
            Statement::Location(_) | Statement::Pragma(_) => Some(()),
        })
    }

    fn operand(&self, operand: &Operand) -> Option<()> {
        match operand {
            Operand::Register(register) | Operand::Not(register) => self.register(*register),
            Operand::Pair(pair) => pair.iter().try_for_each(|operand| self.operand(operand)),
            Operand::Vector(operands) | Operand::Arguments(operands) => {
                operands.iter().try_for_each(|operand| self.operand(operand))
            }
            Operand::Symbol(symbol, _) => self.symbol(*symbol),
            Operand::Label(label) => self.label(*label),
            Operand::Address(address) => {
                match address.base {
                    Base::Register(register) => self.register(register)?,
                    Base::Symbol(symbol) => self.symbol(symbol)?,
                    Base::Immediate(_) => {}
                }
                address.coordinates.iter().try_for_each(|operand| self.operand(operand))
            }
            Operand::Immediate(_) | Operand::Special(_) | Operand::Sink => Some(()),
        }
    }
}
