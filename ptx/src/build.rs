//! Makes modules without text: instructions that are checked against the table, functions, variables.

use crate::instruction::{Guard, Instruction};
use crate::modifier::Modifier;
use crate::module::{
    Directive, Function, Item, LabelInfo, Linkage, Module, Position, RegisterInfo, Statement, Variable,
    Version,
};
use crate::operand::{Address, Base, Immediate, Label, Operand, Register, Symbol};
use crate::table::{self, Form};
use crate::target::Target;
use crate::types::{Space, Type};
use std::sync::Arc;
use thiserror::Error;

/// Why an instruction cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BuildError {
    /// The table has no row of this name.
    #[error("`{0}` is not an instruction")]
    UnknownInstruction(String),
    /// No form of the row takes just these modifiers.
    #[error("no form of `{name}` takes exactly `{modifiers}`")]
    Modifiers {
        /// The row.
        name: &'static str,
        /// The modifiers as given.
        modifiers: String,
    },
    /// No form with these modifiers takes such operands.
    #[error("the operands of `{name}{modifiers}` fit none of its forms")]
    Operands {
        /// The row.
        name: &'static str,
        /// The modifiers as given.
        modifiers: String,
    },
}

impl Instruction {
    /// The instruction of the row `name` with modifiers in any order; it has no guard.
    ///
    /// # Errors
    ///
    /// If the table has no such row or form.
    pub fn build(name: &str, modifiers: &[Modifier], operands: Vec<Operand>) -> Result<Self, BuildError> {
        let row = table::find_row(name).filter(|(_, rest)| rest.is_empty());
        let Some((row, _)) = row else { return Err(BuildError::UnknownInstruction(name.to_owned())) };
        let mut candidates = forms_with(&row.forms, modifiers).peekable();
        let spelled = || modifiers.iter().map(ToString::to_string).collect();
        if candidates.peek().is_none() {
            return Err(BuildError::Modifiers { name: row.name, modifiers: spelled() });
        }
        let fitting = candidates.find(|(form, modifiers)| form.fits(modifiers, &operands));
        let Some((form, modifiers)) = fitting else {
            return Err(BuildError::Operands { name: row.name, modifiers: spelled() });
        };
        Ok(Self { form, modifiers: modifiers.into(), operands, guard: None, position: Position::default() })
    }

    /// The same instruction under `@p`.
    #[must_use]
    pub fn when(self, register: Register) -> Self {
        Self { guard: Some(Guard { register, negated: false }), ..self }
    }

    /// The same instruction under `@!p`.
    #[must_use]
    pub fn unless(self, register: Register) -> Self {
        Self { guard: Some(Guard { register, negated: true }), ..self }
    }

    /// Every form of the row that this instruction has the modifiers and the operand shapes of, in the order of the
    /// table, with the modifiers in the order of the form. The first is what the parser chose.
    pub fn candidates(&self) -> impl Iterator<Item = (&'static Form, Arc<[Modifier]>)> + '_ {
        let forms = table::find_row(self.form.name).map_or(&[][..], |(row, _)| &row.forms);
        forms_with(forms, &self.modifiers)
            .filter(|(form, modifiers)| form.fits(modifiers, &self.operands))
            .map(|(form, modifiers)| (form, modifiers.into()))
    }
}

fn forms_with<'m>(
    forms: &'static [Form],
    modifiers: &'m [Modifier],
) -> impl Iterator<Item = (&'static Form, Vec<Modifier>)> + use<'m> {
    forms.iter().filter_map(|form| Some((form, form.order_modifiers(modifiers)?)))
}

impl Operand {
    /// An integer literal.
    #[must_use]
    pub const fn int(value: i64) -> Self {
        Self::Immediate(Immediate::int(value))
    }

    /// A binary32 literal.
    #[must_use]
    pub const fn f32(value: f32) -> Self {
        Self::Immediate(Immediate::F32(value.to_bits()))
    }

    /// Registers in braces.
    #[must_use]
    pub fn vector(registers: &[Register]) -> Self {
        Self::Vector(registers.iter().copied().map(Self::Register).collect())
    }

    /// `[register+offset]`
    #[must_use]
    pub fn at(register: Register, offset: i64) -> Self {
        Self::address(Base::Register(register), offset, Vec::new())
    }

    /// `[symbol+offset]`
    #[must_use]
    pub fn at_symbol(symbol: Symbol, offset: i64) -> Self {
        Self::address(Base::Symbol(symbol), offset, Vec::new())
    }

    /// `[register, {coordinates}]`
    #[must_use]
    pub fn tensor(register: Register, coordinates: Vec<Self>) -> Self {
        Self::address(Base::Register(register), 0, coordinates)
    }

    fn address(base: Base, offset: i64, coordinates: Vec<Self>) -> Self {
        Self::Address(Box::new(Address { base, offset, coordinates }))
    }
}

impl Variable {
    /// A scalar of natural alignment without initialiser.
    #[must_use]
    pub fn new(name: impl Into<String>, space: Space, ty: Type) -> Self {
        Self {
            name: name.into(),
            position: Position::default(),
            space,
            linkage: Linkage::Internal,
            alignment: ty.bytes(),
            ty,
            vector: 1,
            dimensions: Vec::new(),
            initializer: None,
            pointer: None,
            attribute: None,
            register: None,
        }
    }

    /// The same as an array of so many elements; `None` for `[]`.
    #[must_use]
    pub fn array(self, elements: Option<u64>) -> Self {
        Self { dimensions: vec![elements], ..self }
    }

    /// The same with another alignment in bytes.
    #[must_use]
    pub fn aligned(self, alignment: u32) -> Self {
        Self { alignment, ..self }
    }
}

impl Module {
    /// An empty module.
    #[must_use]
    pub fn new(version: Version, target: Target) -> Self {
        Self {
            version,
            target,
            target_options: Vec::new(),
            address_size: 64,
            variables: Vec::new(),
            functions: Vec::new(),
            items: Vec::new(),
        }
    }

    /// Adds a variable after all other items.
    pub fn add_variable(&mut self, variable: Variable) -> Symbol {
        let index = self.variables.len() as u32;
        self.variables.push(variable);
        self.items.push(Item::Variable(index));
        Symbol::Module(index)
    }

    /// Adds a function after all other items: a definition if it has a body, else a declaration.
    pub fn add_function(&mut self, function: Function) -> Symbol {
        let index = self.functions.len() as u32;
        let defined = function.body.is_some();
        self.functions.push(function);
        self.items.push(if defined { Item::Definition(index) } else { Item::Declaration(index) });
        Symbol::Function(index)
    }
}

/// Makes a function statement by statement.
#[derive(Debug, Clone)]
pub struct FunctionBuilder {
    function: Function,
    body: Vec<Statement>,
}

impl FunctionBuilder {
    /// A visible kernel with these formal parameters.
    #[must_use]
    pub fn kernel(name: impl Into<String>, parameters: Vec<Variable>) -> Self {
        Self::new(name.into(), true, Vec::new(), parameters)
    }

    /// A device function, private to the module.
    #[must_use]
    pub fn device(name: impl Into<String>, returns: Vec<Variable>, parameters: Vec<Variable>) -> Self {
        Self::new(name.into(), false, returns, parameters)
    }

    fn new(name: String, is_kernel: bool, returns: Vec<Variable>, parameters: Vec<Variable>) -> Self {
        let (return_count, parameter_count) = (returns.len() as u32, parameters.len() as u32);
        let function = Function {
            name,
            position: Position::default(),
            is_kernel,
            linkage: if is_kernel { Linkage::Visible } else { Linkage::Internal },
            directives: Vec::new(),
            return_count,
            parameter_count,
            variables: returns.into_iter().chain(parameters).collect(),
            registers: Vec::new(),
            labels: Vec::new(),
            body: None,
        };
        let mut builder = Self { function, body: Vec::new() };
        for index in 0..builder.function.variables.len() {
            let Variable { space, ty, .. } = builder.function.variables[index];
            if space == Space::Reg {
                builder.function.variables[index].register = Some(builder.register(ty));
            }
        }
        builder
    }

    /// Sets the linkage.
    #[must_use]
    pub fn linkage(mut self, linkage: Linkage) -> Self {
        self.function.linkage = linkage;
        self
    }

    /// Adds a directive.
    #[must_use]
    pub fn directive(mut self, directive: Directive) -> Self {
        self.function.directives.push(directive);
        self
    }

    /// A return or formal parameter, by position: returns come first.
    #[must_use]
    pub fn parameter(&self, index: u32) -> Symbol {
        Symbol::Local(index)
    }

    /// A new register.
    pub fn register(&mut self, ty: Type) -> Register {
        let register = Register(self.function.registers.len() as u32);
        let name = format!("%{}_{}", ty.name(), register.0);
        self.function.registers.push(RegisterInfo { name, ty, vector: 1 });
        register
    }

    /// So many new registers.
    pub fn registers(&mut self, ty: Type, count: usize) -> Vec<Register> {
        (0..count).map(|_| self.register(ty)).collect()
    }

    /// A new local variable.
    pub fn variable(&mut self, variable: Variable) -> Symbol {
        let symbol = Symbol::Local(self.function.variables.len() as u32);
        self.function.variables.push(variable);
        symbol
    }

    /// A new label, to be [placed](Self::place) once.
    pub fn label(&mut self) -> Label {
        let label = Label(self.function.labels.len() as u32);
        self.function.labels.push(LabelInfo { name: format!("$L{}", label.0) });
        label
    }

    /// Puts the label before the next statement.
    pub fn place(&mut self, label: Label) {
        self.body.push(Statement::Label(label));
    }

    /// Adds an instruction.
    pub fn push(&mut self, instruction: Instruction) {
        self.body.push(Statement::Instruction(instruction));
    }

    /// Builds and adds an instruction without guard.
    ///
    /// # Errors
    ///
    /// As [`Instruction::build`].
    pub fn emit(
        &mut self,
        name: &str,
        modifiers: &[Modifier],
        operands: Vec<Operand>,
    ) -> Result<(), BuildError> {
        self.push(Instruction::build(name, modifiers, operands)?);
        Ok(())
    }

    /// Adds any statement.
    pub fn statement(&mut self, statement: Statement) {
        self.body.push(statement);
    }

    /// The function with its body.
    #[must_use]
    pub fn define(self) -> Function {
        Function { body: Some(self.body), ..self.function }
    }

    /// The function without a body.
    #[must_use]
    pub fn declare(self) -> Function {
        self.function
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modifier::Modifier as M;
    use crate::module::Pointer;
    use crate::operand::SpecialRegister;
    use crate::target::Features;
    use crate::{parse, print};

    const F32: M = M::Type(Type::F32);
    const U32: M = M::Type(Type::U32);

    #[test]
    fn a_built_module_is_what_its_text_says() -> Result<(), BuildError> {
        let mut module =
            Module::new(Version { major: 8, minor: 7 }, Target { sm: 90, features: Features::Specific });
        let table =
            module.add_variable(Variable::new("table", Space::Global, Type::F32).array(Some(4)).aligned(16));
        let pointer = Some(Pointer { space: Space::Global, alignment: Some(16) });
        let data = Variable { pointer, ..Variable::new("data", Space::Param, Type::U64) };
        let scale = Variable::new("scale", Space::Reg, Type::F32);
        let helper =
            FunctionBuilder::device("helper", vec![], vec![scale]).linkage(Linkage::Extern).declare();
        module.add_function(helper);

        let mut kernel =
            FunctionBuilder::kernel("k", vec![data]).directive(Directive::MaxThreads(vec![32, 1, 1]));
        let data = kernel.parameter(0);
        let address = kernel.register(Type::B64);
        let thread = kernel.register(Type::B32);
        let is_last = kernel.register(Type::Pred);
        let values = kernel.registers(Type::F32, 2);
        let tile = kernel.variable(Variable::new("tile", Space::Shared, Type::B8).array(Some(64)));
        let end = kernel.label();
        let operand = Operand::Register;
        kernel.emit(
            "ld",
            &[M::Param, M::Type(Type::U64)],
            vec![operand(address), Operand::at_symbol(data, 0)],
        )?;
        kernel.emit("mov", &[U32], vec![operand(thread), Operand::Special(SpecialRegister::TidX)])?;
        kernel.emit("setp", &[M::Eq, U32], vec![operand(is_last), operand(thread), Operand::int(31)])?;
        let branch = Instruction::build("bra", &[], vec![Operand::Label(end)])?;
        kernel.push(branch.when(is_last));
        let loaded = vec![Operand::vector(&values), Operand::at(address, 8)];
        kernel.emit("ld", &[F32, M::V2, M::Global], loaded)?;
        kernel.emit("ld", &[F32, M::Global], vec![operand(values[0]), Operand::at_symbol(table, 4)])?;
        kernel.emit("st", &[F32, M::Shared], vec![Operand::at_symbol(tile, 0), Operand::f32(1.0)])?;
        kernel.place(end);
        kernel.emit("ret", &[], vec![])?;
        module.add_function(kernel.define());

        let text = ".version 8.7\n.target sm_90a\n.global .align 16 .f32 table[4];\n\
                    .extern .func helper(.reg .f32 s);\n\
                    .visible .entry k(.param .u64 .ptr .global .align 16 data) .maxntid 32, 1, 1 {\n\
                    .reg .b64 a; .reg .b32 t; .reg .pred p; .reg .f32 v, w; .shared .b8 tile[64];\n\
                    ld.param.u64 a, [data]; mov.u32 t, %tid.x; setp.eq.u32 p, t, 31; @p bra E;\n\
                    ld.global.v2.f32 {v, w}, [a+8]; ld.global.f32 v, [table+4];\n\
                    st.shared.f32 [tile], 0f3F800000; E: ret; }";
        let parsed = parse(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(print(&module), print(&parsed));
        Ok(())
    }

    #[test]
    fn what_the_table_lacks_cannot_be_built() {
        let build = |name, modifiers: &[M]| Instruction::build(name, modifiers, vec![Operand::int(1)]);
        let message = |result: Result<Instruction, BuildError>| result.expect_err("an error").to_string();
        assert_eq!(message(build("frob", &[])), "`frob` is not an instruction");
        assert_eq!(message(build("ret.foo", &[])), "`ret.foo` is not an instruction");
        assert_eq!(message(build("ret", &[M::Ftz])), "no form of `ret` takes exactly `.ftz`");
        assert_eq!(message(build("ret", &[M::Uni])), "the operands of `ret.uni` fit none of its forms");
    }

    #[test]
    fn candidates_begin_with_the_form_that_was_chosen() {
        let operands = || (0..3).map(|index| Operand::Register(Register(index))).collect();
        let add = Instruction::build("add", &[F32], operands()).unwrap();
        let candidates: Vec<_> = add.candidates().collect();
        assert!(std::ptr::eq(candidates[0].0, add.form));
        assert_eq!(candidates[0].1, add.modifiers);
        assert!(candidates.iter().all(|(form, modifiers)| form.fits(modifiers, &add.operands)));
    }
}
