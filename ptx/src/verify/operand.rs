//! Operands against what the form says of them: number, type, literal, state space (PTX ISA 6.1 to 6.4).

use super::compatible::{literal_fits, register_fits, twice};
use super::declaration::describe_literal;
use super::{Scope, needs};
use crate::fragment;
use crate::instruction::Instruction;
use crate::modifier::Modifier;
use crate::module::Version;
use crate::operand::{Address, Base, Immediate, Operand, SpecialRegister, Symbol};
use crate::table::{Access, Atomic, Bits, Count, Expect, Form, Memory, Opcode, OperandSpec, Sync};
use crate::types::{Kind, Space, Type};

/// What one operand must be, with what the modifiers say filled in.
pub(super) struct Expected {
    pub spec: &'static OperandSpec,
    opcode: Opcode,
    /// Of each register or literal.
    ty: Option<Type>,
    /// Elements in braces; `None` for one operand without.
    count: Option<usize>,
    /// Whether a count of one may be without braces.
    bare: bool,
    /// The space of an address, or of a symbol whose address is taken; `None` if any will do.
    space: Option<Space>,
    /// Whether the space is `.param::entry` or `.param::func`: of the kernel's, or of a function's parameters.
    of_kernel: Option<bool>,
}

impl Expected {
    /// `filled`: the modifier in every slot of the form.
    pub fn new(
        form: &'static Form,
        spec: &'static OperandSpec,
        modifiers: &[Modifier],
        filled: &[Option<Modifier>],
    ) -> Self {
        let fragment = || fragment::registers(form.opcode, modifiers, spec.name);
        let ty = match spec.expect {
            Expect::Type(ty) => Some(ty),
            Expect::Slot(slot) => match filled[slot] {
                Some(Modifier::Type(ty)) => Some(ty),
                _ => None,
            },
            Expect::Predicate => Some(Type::Pred),
            Expect::Fragment => fragment().map(|(_, ty)| ty),
            _ => None,
        };
        let dimensions = || {
            modifiers.iter().find_map(|modifier| match modifier {
                Modifier::Dim1 => Some(1),
                Modifier::Dim2 => Some(2),
                Modifier::Dim3 => Some(3),
                Modifier::Dim4 => Some(4),
                Modifier::Dim5 => Some(5),
                _ => None,
            })
        };
        let vector = || match () {
            () if modifiers.contains(&Modifier::V8) => 8,
            () if modifiers.contains(&Modifier::V4) => 4,
            () if modifiers.contains(&Modifier::V2) => 2,
            () => 1,
        };
        let count = match spec.count {
            Count::Scalar => None,
            Count::Fixed(count) => Some(count.into()),
            Count::Vector => Some(vector()),
            Count::Num => fragment::repetitions(modifiers).map(usize::from),
            Count::Dim => dimensions(),
            Count::Im2col => dimensions().map(|count: usize| count.saturating_sub(2)),
            Count::Fragment => fragment().map(|(count, _)| count.into()),
        };
        Self {
            spec,
            opcode: form.opcode,
            ty: if spec.wide { ty.map(twice) } else { ty },
            count,
            bare: spec.count == Count::Vector && count == Some(1),
            space: space(form, spec, modifiers),
            of_kernel: modifiers.iter().find_map(|modifier| match modifier {
                Modifier::ParamEntry => Some(true),
                Modifier::ParamFunc => Some(false),
                _ => None,
            }),
        }
    }

    /// Whether the operand is what it must be; else what was expected and what was found.
    pub fn check(&self, scope: &Scope<'_>, operand: &Operand) -> Result<(), String> {
        if !self.spec.fits(operand) {
            return Err(format!("{} does not fit the form", describe(scope, operand)));
        }
        match (self.spec.expect, operand) {
            (Expect::Address, Operand::Address(address)) => self.address(scope, address),
            (Expect::Immediate(low, high), Operand::Immediate(literal)) => match literal {
                Immediate::Integer { value, .. } if (low..=high).contains(value) => Ok(()),
                other => Err(format!(
                    "expected an integer from {low} to {high}, found {}",
                    describe_literal(*other)
                )),
            },
            (Expect::Label | Expect::Function | Expect::Arguments | Expect::Sink, _) => Ok(()),
            (Expect::Any, _) if self.opcode != Opcode::Memory(Memory::Mov) => {
                self.bytes_or_predicate(scope, operand)
            }
            (_, Operand::Vector(elements)) => self.vector(scope, elements),
            (_, Operand::Sink) if self.may_discard(scope) => Ok(()),
            _ if self.count.is_some() && !self.bare => {
                let count = self.count.unwrap_or(1);
                Err(format!("expected {count} in braces, found {}", describe(scope, operand)))
            }
            (_, Operand::Pair(pair)) => {
                self.element(scope, &pair[0])?;
                predicate(scope, &pair[1])
            }
            _ => self.element(scope, operand),
        }
    }

    fn vector(&self, scope: &Scope<'_>, elements: &[Operand]) -> Result<(), String> {
        if let Some(count) = self.count
            && count != elements.len()
        {
            return Err(format!("expected {count} in braces, found {}", elements.len()));
        }
        if elements.iter().all(|element| *element == Operand::Sink) {
            return Err("expected at least one register in braces, found `_` alone".to_owned());
        }
        let size = |element: &Operand| match element {
            Operand::Register(register) => Some(scope.function.registers[register.0 as usize].ty.bits()),
            _ => None,
        };
        let mut sizes = elements.iter().filter_map(size);
        if let Some(first) = sizes.next()
            && let Some(other) = sizes.find(|size| *size != first)
        {
            return Err(format!("expected registers of one size in braces, found {first} and {other} bits"));
        }
        elements.iter().try_for_each(|element| match element {
            Operand::Sink if self.opcode == Opcode::Memory(Memory::Ld) => Ok(()),
            other => self.element(scope, other),
        })
    }

    fn element(&self, scope: &Scope<'_>, operand: &Operand) -> Result<(), String> {
        let Some(ty) = self.ty else { return Ok(()) };
        let fits = match operand {
            Operand::Register(register) | Operand::Not(register) => {
                register_fits(ty, scope.function.registers[register.0 as usize].ty, self.spec.may_be_wider)
            }
            Operand::Immediate(literal) => self.spec.access == Access::Read && literal_fits(ty, *literal),
            Operand::Special(special) => {
                special_since(scope, *special)?;
                register_fits(ty, special_type(*special), true)
            }
            Operand::Symbol(symbol, _) => return self.symbol(scope, *symbol),
            Operand::Sink => self.may_discard(scope),
            _ => false,
        };
        if fits {
            Ok(())
        } else {
            Err(format!("expected {}, found {}", self.describe(ty), describe(scope, operand)))
        }
    }

    /// The address of a variable where a value is expected.
    fn symbol(&self, scope: &Scope<'_>, symbol: Symbol) -> Result<(), String> {
        match (self.space, space_of(scope, symbol)) {
            (Some(expected), Some(found)) if !window_holds(expected, found) => Err(format!(
                "expected an address in {}, found `{}` in .{}",
                space_name(expected),
                name_of(scope, symbol),
                found.name()
            )),
            _ => address_exists(scope, symbol),
        }
    }

    fn address(&self, scope: &Scope<'_>, address: &Address) -> Result<(), String> {
        let is_local = matches!(address.base, Base::Symbol(symbol) if is_call_argument(scope, symbol));
        match self.of_kernel {
            Some(true) if is_local => return Err("an argument of a call is not in .param::entry".to_owned()),
            Some(false) if scope.function.is_kernel && !is_local => {
                return Err("a kernel has no parameters in .param::func".to_owned());
            }
            _ => {}
        }
        match address.base {
            Base::Register(register) => {
                let info = &scope.function.registers[register.0 as usize];
                let integer = !matches!(info.ty.kind(), Kind::Float | Kind::Predicate);
                let in_tensor_memory = self.space == Some(Space::Reg);
                if !integer || info.ty.bits() > 64 || (in_tensor_memory && info.ty.bits() != 32) {
                    let bits = if in_tensor_memory { 32 } else { 64 };
                    return Err(format!(
                        "expected an address of {bits} bits, found {} of {}",
                        info.name, info.ty
                    ));
                }
            }
            Base::Immediate(_) => {
                if self.space.is_some_and(|space| space != Space::Local) {
                    return Err(
                        "expected a register or a variable: only .local has constant addresses".to_owned()
                    );
                }
            }
            Base::Symbol(symbol) => self.addressed(scope, symbol)?,
        }
        let count = self.count.unwrap_or(0);
        if address.coordinates.len() != count {
            return Err(format!("expected {count} coordinates, found {}", address.coordinates.len()));
        }
        for coordinate in &address.coordinates {
            let fits = match coordinate {
                Operand::Register(register) => {
                    register_fits(Type::S32, scope.function.registers[register.0 as usize].ty, false)
                }
                Operand::Immediate(literal) => literal_fits(Type::S32, *literal),
                _ => false,
            };
            if !fits {
                return Err(format!("expected coordinates of .s32, found {}", describe(scope, coordinate)));
            }
        }
        Ok(())
    }

    /// A variable as the base of an address.
    fn addressed(&self, scope: &Scope<'_>, symbol: Symbol) -> Result<(), String> {
        let name = name_of(scope, symbol);
        let Some(found) = space_of(scope, symbol) else {
            return Err(format!("expected the address of a variable, found the function `{name}`"));
        };
        let Some(expected) = self.space else { return Ok(()) };
        if found == Space::Local && self.opcode == Opcode::Atomic(Atomic::Atom) {
            return Err(format!("expected memory that threads share, found `{name}` in .local"));
        }
        if !window_holds(expected, found) {
            return Err(format!(
                "expected an address in {}, found `{name}` in .{}",
                space_name(expected),
                found.name()
            ));
        }
        let Symbol::Local(index) = symbol else { return Ok(()) };
        let function = scope.function;
        if found != Space::Param {
            return Ok(());
        }
        let is_store = self.opcode == Opcode::Memory(Memory::St);
        if index < function.return_count {
            return if is_store {
                Ok(())
            } else {
                Err(format!("`{name}` is a return parameter and cannot be read"))
            };
        }
        if index < function.return_count + function.parameter_count {
            return if is_store {
                Err(format!("`{name}` is an input parameter and cannot be written"))
            } else {
                Ok(())
            };
        }
        if is_store || scope.flow.returned.contains(&index) {
            return Ok(());
        }
        Err(format!("`{name}` is read, but no call writes it"))
    }

    /// The source size of `cp.async`, or the predicate that makes it 0.
    fn bytes_or_predicate(&self, scope: &Scope<'_>, operand: &Operand) -> Result<(), String> {
        let fits = match operand {
            Operand::Register(register) | Operand::Not(register) => {
                match scope.function.registers[register.0 as usize].ty {
                    Type::Pred => {
                        return needs(scope.module, "a predicate that skips the source", (7, 5), 80);
                    }
                    ty => register_fits(Type::U32, ty, false),
                }
            }
            Operand::Immediate(Immediate::Integer { value, .. }) => (0..=16).contains(value),
            _ => false,
        };
        if fits {
            return Ok(());
        }
        Err(format!("expected 0 to 16 bytes, of .u32, or a predicate, found {}", describe(scope, operand)))
    }

    /// Whether the destination may be `_`.
    fn may_discard(&self, scope: &Scope<'_>) -> bool {
        match self.opcode {
            Opcode::Bits(Bits::Setp | Bits::Lop3) | Opcode::Atomic(Atomic::Atom) => true,
            Opcode::Sync(Sync::ElectSync | Sync::MbarrierArriveDrop) => true,
            Opcode::Sync(Sync::MatchSync) => self.spec.second.is_some(),
            Opcode::Sync(Sync::MbarrierArrive) => scope.module.version >= Version { major: 7, minor: 1 },
            _ => false,
        }
    }

    fn describe(&self, ty: Type) -> String {
        let mut text = format!("a register of {ty}");
        if self.spec.may_be_wider {
            text += " or wider";
        }
        let literals = [Immediate::int(0), Immediate::F32(0), Immediate::F64(0)];
        let has_literals = literals.into_iter().any(|literal| literal_fits(ty, literal));
        if self.spec.access == Access::Read && self.spec.may_be_literal && has_literals {
            text += ", or a literal";
        }
        text
    }
}

/// A predicate register, or nothing, as the second destination of `d|p`.
fn predicate(scope: &Scope<'_>, operand: &Operand) -> Result<(), String> {
    match operand {
        Operand::Sink => Ok(()),
        Operand::Register(register) if scope.function.registers[register.0 as usize].ty == Type::Pred => {
            Ok(())
        }
        other => Err(format!("expected a predicate after the bar, found {}", describe(scope, other))),
    }
}

/// The space of an operand. Where a form names two, the first is that of the destination.
fn space(form: &Form, spec: &OperandSpec, modifiers: &[Modifier]) -> Option<Space> {
    let mut spaces = modifiers.iter().filter_map(|modifier| modifier.space());
    let (first, second) = (spaces.next(), spaces.next());
    match spec.name {
        "mbar" => Some(if modifiers.iter().any(is_shared) { Space::Shared } else { Space::Generic }),
        // These are in tensor memory, which has no variables.
        "taddr" | "a" | "d" | "meta" | "scale_a" | "scale_b" if matches!(form.opcode, Opcode::Tcgen05(_)) => {
            Some(Space::Reg)
        }
        "src" | "map" if second.is_some() && form.operands.iter().any(|operand| operand.name == "dst") => {
            second
        }
        "src" if second.is_some() => second,
        _ if form.name.starts_with("mbarrier.") => Some(first.unwrap_or(Space::Shared)),
        _ if form.name == "mapa" || form.name == "getctarank" => Some(Space::Shared),
        _ if form.name == "fence.proxy.tensormap::generic" => None,
        _ if form.name == "prefetchu" => Some(Space::Global),
        _ => Some(first.unwrap_or(Space::Generic)),
    }
}

fn is_shared(modifier: &Modifier) -> bool {
    matches!(modifier.space(), Some(Space::Shared | Space::SharedCluster))
}

/// Whether an address in a space may be that of a variable of another.
fn window_holds(expected: Space, found: Space) -> bool {
    match expected {
        Space::Generic => matches!(found, Space::Global | Space::Shared | Space::Local),
        Space::SharedCluster => found == Space::Shared,
        _ => expected == found,
    }
}

fn space_name(space: Space) -> String {
    match space {
        Space::Generic => "the generic space".to_owned(),
        Space::Reg => "a register".to_owned(),
        other => format!(".{}", other.name()),
    }
}

/// The space of a variable; `None` for a function.
fn space_of(scope: &Scope<'_>, symbol: Symbol) -> Option<Space> {
    match symbol {
        Symbol::Module(index) => Some(scope.module.variables[index as usize].space),
        Symbol::Local(index) => Some(scope.function.variables[index as usize].space),
        Symbol::Function(_) => None,
    }
}

fn name_of<'m>(scope: &Scope<'m>, symbol: Symbol) -> &'m str {
    match symbol {
        Symbol::Module(index) => &scope.module.variables[index as usize].name,
        Symbol::Local(index) => &scope.function.variables[index as usize].name,
        Symbol::Function(index) => &scope.module.functions[index as usize].name,
    }
}

/// Whether a variable is declared in a body to pass arguments to calls.
fn is_call_argument(scope: &Scope<'_>, symbol: Symbol) -> bool {
    let function = scope.function;
    matches!(symbol, Symbol::Local(index) if index >= function.return_count + function.parameter_count
        && function.variables[index as usize].space == Space::Param)
}

/// Arguments of a call have no address.
fn address_exists(scope: &Scope<'_>, symbol: Symbol) -> Result<(), String> {
    if is_call_argument(scope, symbol) {
        return Err(format!("`{}` is an argument of a call and has no address", name_of(scope, symbol)));
    }
    Ok(())
}

/// `mov`, whose operands are of many kinds.
pub(super) fn mov(scope: &Scope<'_>, instruction: &Instruction) -> Result<(), String> {
    let (Some(ty), [destination, source]) = (instruction.ty(), &instruction.operands[..]) else {
        return Ok(());
    };
    match destination {
        Operand::Vector(elements) => return packed(scope, ty, elements, false),
        _ if instruction.form.operands[0].expect == Expect::Any => {
            return Err(format!("`d`: expected registers in braces, found {}", describe(scope, destination)));
        }
        _ => {}
    }
    let wrong = || Err(format!("`a`: expected a value of {ty}, found {}", describe(scope, source)));
    match source {
        Operand::Vector(elements) => packed(scope, ty, elements, true),
        Operand::Register(register) | Operand::Not(register) => {
            let fits = register_fits(ty, scope.function.registers[register.0 as usize].ty, false);
            if fits { Ok(()) } else { wrong() }
        }
        Operand::Immediate(literal) if !literal_fits(ty, *literal) => wrong(),
        Operand::Special(special) => {
            special_since(scope, *special)?;
            let kind_fits = matches!(ty.kind(), Kind::Bits | Kind::Unsigned | Kind::Signed | Kind::Predicate);
            if kind_fits && special_fits(*special, ty.bits()) { Ok(()) } else { wrong() }
        }
        Operand::Symbol(symbol, _) => {
            let bits_fit = match space_of(scope, *symbol) {
                Some(Space::Global) => ty.bits() == 64,
                _ => matches!(ty.bits(), 32 | 64),
            };
            if !bits_fit || ty.is_float() {
                return wrong();
            }
            address_exists(scope, *symbol)
        }
        _ => Ok(()),
    }
}

/// The vector that a register of type `ty` is packed from or unpacked to.
fn packed(scope: &Scope<'_>, ty: Type, elements: &[Operand], literals: bool) -> Result<(), String> {
    let bits = |operand: &Operand| match operand {
        Operand::Register(register) => Some(scope.function.registers[register.0 as usize].ty.bits()),
        _ => None,
    };
    let known = elements.iter().find_map(bits);
    let fits = |operand: &Operand| match operand {
        Operand::Register(_) => bits(operand) == known,
        Operand::Sink => !literals,
        Operand::Immediate(_) => literals,
        _ => false,
    };
    let Some(known) = known.filter(|_| ty.kind() == Kind::Bits && elements.iter().all(fits)) else {
        return Err(format!("expected registers of one size in braces that make up {ty}"));
    };
    let found = known as usize * elements.len();
    if found != ty.bits() as usize {
        return Err(format!("expected registers of {} bits together in braces, found {found}", ty.bits()));
    }
    Ok(())
}

/// Whether `mov` of so many bits reads a special register. Indices of threads and CTAs once had 16 bits.
fn special_fits(special: SpecialRegister, bits: u32) -> bool {
    let name = special.name();
    let index = ["%tid.", "%ntid.", "%ctaid.", "%nctaid."].iter().any(|prefix| name.starts_with(prefix));
    bits == special.bits() || (bits == 16 && index) || (bits == 32 && special == SpecialRegister::Gridid)
}

fn special_type(special: SpecialRegister) -> Type {
    match special.bits() {
        1 => Type::Pred,
        64 => Type::U64,
        _ => Type::U32,
    }
}

/// That a special register is there since a version and architecture (PTX ISA chapter 10).
fn special_since(scope: &Scope<'_>, special: SpecialRegister) -> Result<(), String> {
    let name = special.name();
    let (version, sm) = match name {
        "%is_explicit_cluster" => ((7, 8), 90),
        "%aggr_smem_size" => ((8, 1), 90),
        "%current_graph_exec" => ((8, 0), 50),
        _ if name.starts_with("%cluster") || name.starts_with("%nclusterid") => ((7, 8), 90),
        _ if name.starts_with("%reserved_smem_offset") => ((7, 6), 80),
        _ => return Ok(()),
    };
    needs(scope.module, name, version, sm)
}

/// An operand in the words of a message.
pub(super) fn describe(scope: &Scope<'_>, operand: &Operand) -> String {
    match operand {
        Operand::Register(register) => {
            let info = &scope.function.registers[register.0 as usize];
            format!("{} of {}", info.name, info.ty)
        }
        Operand::Not(register) => format!("!{}", scope.function.registers[register.0 as usize].name),
        Operand::Pair(pair) => format!("{}|{}", describe(scope, &pair[0]), describe(scope, &pair[1])),
        Operand::Immediate(literal) => describe_literal(*literal),
        Operand::Special(special) => special.name().to_owned(),
        Operand::Symbol(symbol, _) => format!("the address of `{}`", name_of(scope, *symbol)),
        Operand::Label(label) => format!("the label `{}`", scope.function.labels[label.0 as usize].name),
        Operand::Vector(elements) => format!("{} in braces", elements.len()),
        Operand::Address(_) => "an address".to_owned(),
        Operand::Sink => "`_`".to_owned(),
        Operand::Arguments(_) => "arguments".to_owned(),
    }
}
