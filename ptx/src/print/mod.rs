//! Writes a module as canonical text: what is equal prints equal, and what is printed reads back and prints the same.
//!
//! Registers are declared at the top of a function, one range for every type, and numbered in the order in which they
//! first appear; unused ones vanish. Labels are `$L0`, `$L1` and so on, but those that debug sections name keep their
//! names. Modifiers stand in the order of the form, integers are decimal, floating-point constants hexadecimal.

mod names;

#[cfg(test)]
mod tests;

use crate::instruction::Instruction;
use crate::module::{
    Directive, Function, Initializer, Item, Linkage, Module, Prototype, Statement, Variable,
};
use crate::operand::{Base, Immediate, Operand, Register, Symbol};
use crate::types::Space;
use names::{FunctionNames, ModuleNames, prefix};
use std::fmt::{self, Display, Write};

/// The canonical text of a module.
#[must_use]
pub fn print(module: &Module) -> String {
    module.to_string()
}

impl Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printer = Printer { out: String::new(), module: self, names: ModuleNames::new(self) };
        printer.module()?;
        f.write_str(&printer.out)
    }
}

struct Printer<'m> {
    out: String,
    module: &'m Module,
    names: ModuleNames<'m>,
}

impl Printer<'_> {
    fn module(&mut self) -> fmt::Result {
        let module = self.module;
        writeln!(self.out, ".version {}.{}", module.version.major, module.version.minor)?;
        write!(self.out, ".target {}", module.target)?;
        for option in &module.target_options {
            write!(self.out, ", {option}")?;
        }
        writeln!(self.out, "\n.address_size {}", module.address_size)?;
        for (place, item) in module.items.iter().enumerate() {
            match item {
                Item::Variable(index) => {
                    let variable = &module.variables[*index as usize];
                    if self.names.defines(*index, place) {
                        self.linkage(variable.linkage);
                        self.variable(variable, &variable.name, None)?;
                    } else {
                        self.linkage(Linkage::Extern);
                        let declaration = Variable { initializer: None, ..variable.clone() };
                        self.variable(&declaration, &variable.name, None)?;
                    }
                    self.out.push_str(";\n");
                }
                Item::Declaration(index) => self.declaration(&module.functions[*index as usize])?,
                Item::Definition(index) => self.definition(&module.functions[*index as usize])?,
                Item::File { index, name, stamp } => {
                    write!(self.out, ".file {index} \"{name}\"")?;
                    if let Some((time, size)) = stamp {
                        write!(self.out, ", {time}, {size}")?;
                    }
                    self.out.push('\n');
                }
                Item::Section { name, lines } => {
                    writeln!(self.out, ".section {name}\n{{")?;
                    for line in lines {
                        writeln!(self.out, "{line}")?;
                    }
                    self.out.push_str("}\n");
                }
                Item::Pragma(text) => writeln!(self.out, ".pragma \"{text}\";")?,
                Item::Alias(alias, aliased) => {
                    let name = |index: u32| &module.functions[index as usize].name;
                    writeln!(self.out, ".alias {}, {};", name(*alias), name(*aliased))?;
                }
            }
        }
        Ok(())
    }

    fn linkage(&mut self, linkage: Linkage) {
        self.out.push_str(match linkage {
            Linkage::Internal => "",
            Linkage::Extern => ".extern ",
            Linkage::Visible => ".visible ",
            Linkage::Weak => ".weak ",
            Linkage::Common => ".common ",
        });
    }

    /// A variable or parameter without linkage and semicolon.
    fn variable(&mut self, variable: &Variable, name: &str, names: Option<&FunctionNames>) -> fmt::Result {
        write!(self.out, ".{}", variable.space.name())?;
        if let Some(attribute) = &variable.attribute {
            write!(self.out, " .attribute({attribute})")?;
        }
        if variable.alignment != variable.ty.bytes() * u32::from(variable.vector) {
            write!(self.out, " .align {}", variable.alignment)?;
        }
        if variable.vector > 1 {
            write!(self.out, " .v{}", variable.vector)?;
        }
        write!(self.out, " {}", variable.ty)?;
        if let Some(pointer) = variable.pointer {
            self.out.push_str(" .ptr");
            if pointer.space != Space::Generic {
                write!(self.out, " .{}", pointer.space.name())?;
            }
            if let Some(alignment) = pointer.alignment {
                write!(self.out, " .align {alignment}")?;
            }
        }
        write!(self.out, " {name}")?;
        for extent in &variable.dimensions {
            match extent {
                Some(extent) => write!(self.out, "[{extent}]")?,
                None => self.out.push_str("[]"),
            }
        }
        if let Some(values) = &variable.initializer {
            self.out.push_str(" = ");
            let mut extents: Vec<u64> = variable.dimensions.iter().flatten().copied().collect();
            if variable.vector > 1 {
                extents.push(variable.vector.into());
            }
            self.initializer(&extents, values, names)?;
        }
        Ok(())
    }

    /// Values in braces, as deep as there are dimensions.
    fn initializer(
        &mut self,
        extents: &[u64],
        values: &[Initializer],
        names: Option<&FunctionNames>,
    ) -> fmt::Result {
        let Some((_, inner)) = extents.split_first() else {
            return values.first().map_or(Ok(()), |value| self.initializer_value(value, names));
        };
        let row = inner.iter().product::<u64>().max(1) as usize;
        self.out.push('{');
        for (place, values) in values.chunks(row).enumerate() {
            if place > 0 {
                self.out.push_str(", ");
            }
            self.initializer(inner, values, names)?;
        }
        self.out.push('}');
        Ok(())
    }

    fn initializer_value(&mut self, value: &Initializer, names: Option<&FunctionNames>) -> fmt::Result {
        match value {
            Initializer::Value(value) => self.immediate(*value),
            Initializer::Address { symbol, offset, generic } => {
                self.address_constant(*symbol, *offset, *generic, names)
            }
            Initializer::MaskedAddress { mask, symbol, offset, generic } => {
                write!(self.out, "0x{mask:X}(")?;
                self.address_constant(*symbol, *offset, *generic, names)?;
                self.out.push(')');
                Ok(())
            }
        }
    }

    fn address_constant(
        &mut self,
        symbol: Symbol,
        offset: i64,
        generic: bool,
        names: Option<&FunctionNames>,
    ) -> fmt::Result {
        self.out.push_str(if generic { "generic(" } else { "" });
        self.symbol(symbol, names);
        self.out.push_str(if generic { ")" } else { "" });
        self.offset(offset)
    }

    /// A header without a body.
    fn declaration(&mut self, function: &Function) -> fmt::Result {
        let names = FunctionNames::new(function, &self.names);
        self.header(function, &names)?;
        for directive in &function.directives {
            let of_the_type = matches!(directive, Directive::NoReturn | Directive::Other(_));
            if (function.body.is_none() || of_the_type) && !is_attribute(directive) {
                self.out.push('\n');
                self.directive(directive)?;
            }
        }
        self.out.push_str(";\n");
        Ok(())
    }

    fn definition(&mut self, function: &Function) -> fmt::Result {
        let names = FunctionNames::new(function, &self.names);
        self.header(function, &names)?;
        for directive in function.directives.iter().filter(|directive| !is_attribute(directive)) {
            self.out.push('\n');
            self.directive(directive)?;
        }
        self.out.push_str("\n{\n");
        for (ty, count) in &names.ranges {
            writeln!(self.out, "\t.reg {ty} {}<{count}>;", prefix(*ty))?;
        }
        let formals = (function.return_count + function.parameter_count) as usize;
        for (variable, name) in function.variables.iter().zip(&names.variables).skip(formals) {
            self.out.push('\t');
            self.linkage(variable.linkage);
            self.variable(variable, name, Some(&names))?;
            self.out.push_str(";\n");
        }
        for statement in function.body.iter().flatten() {
            self.statement(function, statement, &names)?;
        }
        self.out.push_str("}\n");
        Ok(())
    }

    /// Up to the closing parenthesis of the formal parameters.
    fn header(&mut self, function: &Function, names: &FunctionNames) -> fmt::Result {
        self.linkage(function.linkage);
        self.out.push_str(if function.is_kernel { ".entry" } else { ".func" });
        for directive in function.directives.iter().filter(|directive| is_attribute(directive)) {
            self.out.push(' ');
            self.directive(directive)?;
        }
        let (returns, rest) = function.variables.split_at(function.return_count as usize);
        let parameters = &rest[..function.parameter_count as usize];
        if !returns.is_empty() {
            self.out.push_str(" (");
            self.parameters(returns, 0, names)?;
            self.out.push(')');
        }
        write!(self.out, " {}(", function.name)?;
        if !parameters.is_empty() {
            self.out.push_str("\n\t");
            self.parameters(parameters, returns.len(), names)?;
            self.out.push('\n');
        }
        self.out.push(')');
        Ok(())
    }

    fn parameters(&mut self, parameters: &[Variable], first: usize, names: &FunctionNames) -> fmt::Result {
        for (place, parameter) in parameters.iter().enumerate() {
            if place > 0 {
                self.out.push_str(",\n\t");
            }
            let place = first + place;
            if parameter.space == Space::Reg {
                self.variable(parameter, &format!("%param{place}"), None)?;
            } else {
                self.variable(parameter, &names.variables[place], None)?;
            }
        }
        Ok(())
    }

    fn directive(&mut self, directive: &Directive) -> fmt::Result {
        match directive {
            Directive::MaxThreads(extents) => self.extents(".maxntid", extents),
            Directive::RequiredThreads(extents) => self.extents(".reqntid", extents),
            Directive::MinCtasPerMultiprocessor(count) => write!(self.out, ".minnctapersm {count}"),
            Directive::MaxCtasPerMultiprocessor(count) => write!(self.out, ".maxnctapersm {count}"),
            Directive::MaxRegisters(count) => write!(self.out, ".maxnreg {count}"),
            Directive::NoReturn => write!(self.out, ".noreturn"),
            Directive::ExplicitCluster => write!(self.out, ".explicitcluster"),
            Directive::RequiredCluster(extents) => self.extents(".reqnctapercluster", extents),
            Directive::MaxClusterRank(rank) => write!(self.out, ".maxclusterrank {rank}"),
            Directive::BlocksAreClusters => write!(self.out, ".blocksareclusters"),
            Directive::Pragma(text) => write!(self.out, ".pragma \"{text}\";"),
            Directive::Other(text) => write!(self.out, "{text}"),
        }
    }

    fn extents(&mut self, word: &str, extents: &[u32]) -> fmt::Result {
        let extents: Vec<_> = extents.iter().map(ToString::to_string).collect();
        write!(self.out, "{word} {}", extents.join(", "))
    }

    fn statement(
        &mut self,
        function: &Function,
        statement: &Statement,
        names: &FunctionNames,
    ) -> fmt::Result {
        match statement {
            Statement::Label(label) => writeln!(self.out, "{}:", names.label_name(*label)),
            Statement::Instruction(instruction) => self.instruction(function, instruction, names),
            Statement::Location(location) => {
                let (file, line, column) = (location.file, location.line, location.column);
                write!(self.out, "\t.loc {file} {line} {column}")?;
                if let Some(inlined) = &location.inlined {
                    write!(self.out, ", {inlined}")?;
                }
                self.out.push('\n');
                Ok(())
            }
            Statement::Pragma(text) => writeln!(self.out, "\t.pragma \"{text}\";"),
            Statement::BranchTargets(label, targets) => {
                let targets: Vec<_> = targets.iter().map(|label| names.label_name(*label)).collect();
                writeln!(self.out, "{}: .branchtargets {};", names.label_name(*label), targets.join(", "))
            }
            Statement::CallTargets(label, targets) => {
                write!(self.out, "{}: .calltargets ", names.label_name(*label))?;
                for (place, target) in targets.iter().enumerate() {
                    self.out.push_str(if place > 0 { ", " } else { "" });
                    self.symbol(*target, Some(names));
                }
                self.out.push_str(";\n");
                Ok(())
            }
            Statement::CallPrototype(label, prototype) => {
                write!(self.out, "{}: ", names.label_name(*label))?;
                self.prototype(prototype)
            }
        }
    }

    fn prototype(&mut self, prototype: &Prototype) -> fmt::Result {
        self.out.push_str(".callprototype (");
        for (list, after) in [(&prototype.returns, ") _ ("), (&prototype.parameters, ")")] {
            for (place, variable) in list.iter().enumerate() {
                self.out.push_str(if place > 0 { ", " } else { "" });
                self.variable(variable, "_", None)?;
            }
            self.out.push_str(after);
        }
        self.out.push_str(if prototype.no_return { " .noreturn" } else { "" });
        for directive in &prototype.directives {
            self.out.push(' ');
            self.directive(directive)?;
        }
        self.out.push_str(";\n");
        Ok(())
    }

    fn instruction(
        &mut self,
        function: &Function,
        instruction: &Instruction,
        names: &FunctionNames,
    ) -> fmt::Result {
        self.out.push('\t');
        if let Some(guard) = instruction.guard {
            self.out.push_str(if guard.negated { "@!" } else { "@" });
            self.register(function, guard.register, names)?;
            self.out.push(' ');
        }
        self.out.push_str(instruction.form.name);
        for modifier in instruction.modifiers.iter() {
            write!(self.out, "{modifier}")?;
        }
        self.out.push_str(if instruction.operands.is_empty() { "" } else { " " });
        self.list(function, &instruction.operands, names)?;
        self.out.push_str(";\n");
        Ok(())
    }

    fn list(&mut self, function: &Function, operands: &[Operand], names: &FunctionNames) -> fmt::Result {
        for (place, operand) in operands.iter().enumerate() {
            self.out.push_str(if place > 0 { ", " } else { "" });
            self.operand(function, operand, names)?;
        }
        Ok(())
    }

    fn operand(&mut self, function: &Function, operand: &Operand, names: &FunctionNames) -> fmt::Result {
        match operand {
            Operand::Register(register) => self.register(function, *register, names),
            Operand::Not(register) => {
                self.out.push('!');
                self.register(function, *register, names)
            }
            Operand::Pair(pair) => {
                self.operand(function, &pair[0], names)?;
                self.out.push('|');
                self.operand(function, &pair[1], names)
            }
            Operand::Immediate(value) => self.immediate(*value),
            Operand::Special(special) => self.out.write_str(special.name()),
            Operand::Symbol(symbol, offset) => {
                self.symbol(*symbol, Some(names));
                self.offset(*offset)
            }
            Operand::Label(label) => self.out.write_str(names.label_name(*label)),
            Operand::Vector(operands) => {
                self.out.push('{');
                self.list(function, operands, names)?;
                self.out.write_char('}')
            }
            Operand::Address(address) => {
                self.out.push('[');
                match address.base {
                    Base::Register(register) => self.register(function, register, names)?,
                    Base::Symbol(symbol) => self.symbol(symbol, Some(names)),
                    Base::Immediate(value) => write!(self.out, "{value}")?,
                }
                self.offset(address.offset)?;
                if !address.coordinates.is_empty() {
                    self.out.push_str(", {");
                    self.list(function, &address.coordinates, names)?;
                    self.out.push('}');
                }
                self.out.write_char(']')
            }
            Operand::Sink => self.out.write_char('_'),
            Operand::Arguments(operands) => {
                self.out.push('(');
                self.list(function, operands, names)?;
                self.out.write_char(')')
            }
        }
    }

    fn register(&mut self, function: &Function, register: Register, names: &FunctionNames) -> fmt::Result {
        match names.registers[register.0 as usize] {
            Some(number) => {
                write!(self.out, "{}{number}", prefix(function.registers[register.0 as usize].ty))
            }
            None => write!(self.out, "%param{}", names.formals[&register]),
        }
    }

    fn symbol(&mut self, symbol: Symbol, names: Option<&FunctionNames>) {
        self.out.push_str(match symbol {
            Symbol::Module(index) => &self.module.variables[index as usize].name,
            Symbol::Function(index) => &self.module.functions[index as usize].name,
            Symbol::Local(index) => names.map_or("_", |names| &names.variables[index as usize]),
        });
    }

    fn offset(&mut self, offset: i64) -> fmt::Result {
        if offset == 0 { Ok(()) } else { write!(self.out, "+{offset}") }
    }

    fn immediate(&mut self, value: Immediate) -> fmt::Result {
        match value {
            Immediate::Integer { value, unsigned: true } => write!(self.out, "{}U", value as u64),
            Immediate::Integer { value, unsigned: false } => write!(self.out, "{value}"),
            Immediate::F32(bits) => write!(self.out, "0f{bits:08X}"),
            Immediate::F64(bits) => write!(self.out, "0d{bits:016X}"),
        }
    }
}

/// Attributes stand before the name, other directives after the parameters.
fn is_attribute(directive: &Directive) -> bool {
    matches!(directive, Directive::Other(text) if text.starts_with(".attribute"))
}
