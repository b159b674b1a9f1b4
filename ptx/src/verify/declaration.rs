//! Variables, parameters, function headers and their limits (PTX ISA 5.1 to 5.5, 11.4 to 11.7).

use super::needs;
use crate::module::{
    Directive, Function, Initializer, Item, Linkage, Module, Prototype, Statement, Variable,
};
use crate::operand::{Base, Immediate, Operand, Symbol};
use crate::types::{Kind, Space, Type};
use std::collections::BTreeSet;

/// Bytes of the bank that `.const` variables share.
const CONSTANT_BYTES: u64 = 64 << 10;
/// Bytes that the parameters of a kernel may take before PTX 8.1, and since.
const PARAMETER_BYTES: (u64, u64) = (4352, 32764);

/// A variable of the module.
pub(super) fn module_variable(module: &Module, variable: &Variable) -> Result<(), String> {
    let name = &variable.name;
    if variable.space == Space::Local {
        return Err(format!("`{name}`: .local variables belong in a function"));
    }
    if variable.linkage == Linkage::Common && variable.space != Space::Global {
        let space = variable.space.name();
        return Err(format!("`{name}`: a .common variable must be in .global, found .{space}"));
    }
    if variable.linkage == Linkage::Extern && variable.initializer.is_some() {
        return Err(format!("`{name}`: an .extern variable has no initialiser"));
    }
    common(module, variable)?;
    if variable.linkage == Linkage::Extern { Ok(()) } else { is_complete(variable) }
}

/// A variable of a function.
pub(super) fn local_variable(module: &Module, variable: &Variable) -> Result<(), String> {
    let name = &variable.name;
    if variable.linkage != Linkage::Internal {
        return Err(format!("`{name}`: a variable of a function has no linkage directive"));
    }
    no_parameter_vector(variable)?;
    common(module, variable)?;
    is_complete(variable)
}

/// What holds for every variable and parameter.
fn common(module: &Module, variable: &Variable) -> Result<(), String> {
    let Variable { name, space, ty, vector, .. } = variable;
    if *ty == Type::B128 {
        needs(module, &format!("`{name}`: the type .b128"), (8, 3), 70)?;
    }
    if *ty == Type::Pred && *space != Space::Reg {
        return Err(format!("`{name}`: a .pred variable must be in .reg, found .{}", space.name()));
    }
    let bits = ty.bits() * u32::from(*vector);
    if *vector > 1 && bits > 128 {
        return Err(format!("`{name}`: a vector has at most 128 bits, found {bits}"));
    }
    if let Some(attribute) = &variable.attribute {
        match attribute.split(['(', ',']).next().unwrap_or("").trim() {
            ".managed" if *space == Space::Global => {}
            ".managed" => return Err(format!("`{name}`: .managed is for .global, found .{}", space.name())),
            ".unified" => needs(module, &format!("`{name}`: .unified"), (8, 0), 90)?,
            other => return Err(format!("`{name}`: unknown attribute `{other}`")),
        }
    }
    match &variable.initializer {
        Some(_) if !matches!(space, Space::Global | Space::Const) => Err(format!(
            "`{name}`: only .global and .const variables are initialised, found .{}",
            space.name()
        )),
        Some(values) => values.iter().try_for_each(|value| initializer(module, variable, value)),
        None => Ok(()),
    }
}

fn is_complete(variable: &Variable) -> Result<(), String> {
    match variable.dimensions.iter().find(|extent| extent.is_none_or(|extent| extent == 0)) {
        Some(None) => Err(format!("`{}`: `[]` needs .extern or an initialiser", variable.name)),
        Some(Some(_)) => Err(format!("`{}`: an extent must not be 0", variable.name)),
        None => Ok(()),
    }
}

/// One value of an initialiser.
fn initializer(module: &Module, variable: &Variable, value: &Initializer) -> Result<(), String> {
    let Variable { name, ty, .. } = variable;
    let is_integer = matches!(ty.kind(), Kind::Bits | Kind::Unsigned | Kind::Signed);
    let symbol = match value {
        Initializer::Value(literal) => {
            let fits = match (ty.kind(), literal) {
                (Kind::Bits, _) => true,
                (Kind::Unsigned | Kind::Signed, Immediate::Integer { .. }) => true,
                (Kind::Float, Immediate::F32(_) | Immediate::F64(_)) => matches!(ty, Type::F32 | Type::F64),
                // Rows that are shorter than their dimension are filled up with integer zeros.
                (Kind::Float, Immediate::Integer { value: 0, .. }) => matches!(ty, Type::F32 | Type::F64),
                _ => false,
            };
            return if fits {
                Ok(())
            } else {
                Err(format!("`{name}`: no value of {ty}: {}", describe_literal(*literal)))
            };
        }
        Initializer::Address { symbol, .. } if is_integer && ty.bits() >= 32 => symbol,
        Initializer::MaskedAddress { mask, .. } if !(0..8).any(|byte| *mask == 0xff << (8 * byte)) => {
            return Err(format!("`{name}`: a mask takes one byte of an address, found {mask:#x}"));
        }
        Initializer::MaskedAddress { symbol, .. } if is_integer && (*ty == Type::U8 || ty.bits() >= 32) => {
            symbol
        }
        _ => return Err(format!("`{name}`: an address does not fit {ty}")),
    };
    match symbol {
        Symbol::Module(index) => {
            let target = &module.variables[*index as usize];
            if matches!(target.space, Space::Global | Space::Const) {
                return Ok(());
            }
            let space = target.space.name();
            Err(format!(
                "`{name}`: only addresses in .global and .const are known, `{}` is in .{space}",
                target.name
            ))
        }
        Symbol::Function(_) | Symbol::Local(_) => Ok(()),
    }
}

/// A literal in the words of a message.
pub(super) fn describe_literal(literal: Immediate) -> String {
    match literal {
        Immediate::Integer { value, unsigned: true } => format!("the integer {}", value as u64),
        Immediate::Integer { value, unsigned: false } => format!("the integer {value}"),
        Immediate::F32(bits) => format!("the .f32 {:?}", f32::from_bits(bits)),
        Immediate::F64(bits) => format!("the floating-point number {:?}", f64::from_bits(bits)),
    }
}

/// Constants of the whole module fit their bank.
pub(super) fn constant_bank(module: &Module) -> Result<(), String> {
    let locals = module.functions.iter().flat_map(|function| &function.variables);
    let constants = module.variables.iter().chain(locals).filter(|variable| variable.space == Space::Const);
    let bytes = constants.fold(0, place);
    if bytes > CONSTANT_BYTES {
        return Err(format!(".const variables may take {CONSTANT_BYTES} bytes, found {bytes}"));
    }
    Ok(())
}

/// The end of a variable that is laid out after `bytes`.
fn place(bytes: u64, variable: &Variable) -> u64 {
    let start = bytes.checked_next_multiple_of(variable.alignment.max(1).into()).unwrap_or(u64::MAX);
    start.saturating_add(size(variable))
}

/// Bytes of a variable; of `[]` none.
pub(super) fn size(variable: &Variable) -> u64 {
    let extents = variable.dimensions.iter().map(|extent| extent.unwrap_or(0));
    let element = u64::from(variable.ty.bytes()) * u64::from(variable.vector);
    extents.fold(element, u64::saturating_mul)
}

/// A kernel or function, without its body.
pub(super) fn function(module: &Module, function: &Function) -> Result<(), String> {
    let name = &function.name;
    let is_aliased = module.items.iter().any(|item| match item {
        Item::Alias(alias, _) => module.functions[*alias as usize].name == *name,
        _ => false,
    });
    match (&function.body, function.linkage) {
        (Some(_), Linkage::Extern) => return Err(format!("`{name}` is .extern and must have no body")),
        (None, linkage) if linkage != Linkage::Extern && !is_aliased => {
            return Err(format!("`{name}` has no body and is not .extern"));
        }
        _ => {}
    }
    let (returns, rest) = function.variables.split_at(function.return_count as usize);
    let parameters = &rest[..function.parameter_count as usize];
    let no_return = function.directives.contains(&Directive::NoReturn);
    if function.is_kernel {
        kernel_parameters(module, name, parameters)?;
    } else {
        signature(module, name, returns, parameters, no_return)?;
    }
    directives(module, function)
}

/// The prototype of an indirect call.
pub(super) fn prototype(module: &Module, prototype: &Prototype) -> Result<(), String> {
    signature(module, ".callprototype", &prototype.returns, &prototype.parameters, prototype.no_return)
}

fn kernel_parameters(module: &Module, name: &str, parameters: &[Variable]) -> Result<(), String> {
    for parameter in parameters {
        if parameter.space != Space::Param {
            return Err(format!("`{}`: a parameter of a kernel must be in .param", parameter.name));
        }
        if parameter.dimensions.contains(&None) {
            return Err(format!("`{}`: a parameter of a kernel must have a size", parameter.name));
        }
        no_parameter_vector(parameter)?;
        common(module, parameter)?;
    }
    let bytes = parameters.iter().fold(0, place);
    let (before, since) = PARAMETER_BYTES;
    if bytes > since {
        return Err(format!("the parameters of `{name}` may take {since} bytes, found {bytes}"));
    }
    if bytes > before {
        needs(module, &format!("`{name}`: more than {before} bytes of parameters"), (8, 1), 70)?;
    }
    Ok(())
}

fn signature(
    module: &Module,
    name: &str,
    returns: &[Variable],
    parameters: &[Variable],
    no_return: bool,
) -> Result<(), String> {
    for parameter in returns.iter().chain(parameters) {
        no_parameter_vector(parameter)?;
        common(module, parameter)?;
    }
    if no_return && !returns.is_empty() {
        return Err(format!("`{name}` is .noreturn and must have no return parameter"));
    }
    if returns.len() > 1 && returns.iter().any(|parameter| parameter.space == Space::Param) {
        return Err(format!("several return parameters of `{name}` must be in .reg"));
    }
    let sized = parameters.split_last().map_or(&[][..], |(_, before)| before);
    if returns.iter().chain(sized).any(|parameter| parameter.dimensions.contains(&None)) {
        return Err(format!("only the last parameter of `{name}` may be without size"));
    }
    Ok(())
}

fn no_parameter_vector(variable: &Variable) -> Result<(), String> {
    if variable.space == Space::Param && variable.vector > 1 {
        return Err(format!("`{}`: a vector cannot be in .param", variable.name));
    }
    Ok(())
}

/// Performance and launch directives: where they may stand, since when, their values, what excludes what.
fn directives(module: &Module, function: &Function) -> Result<(), String> {
    let has = |kind: fn(&Directive) -> bool| function.directives.iter().any(kind);
    for directive in &function.directives {
        let (name, values, version, sm, kernels) = facts(directive);
        if let Some(kernels) = kernels
            && kernels != function.is_kernel
        {
            let kind = if function.is_kernel { "kernel" } else { "function" };
            return Err(format!("{name} cannot stand on the {kind} `{}`", function.name));
        }
        needs(module, name, version, sm)?;
        if values.contains(&0) {
            return Err(format!("{name} of `{}` needs values above 0", function.name));
        }
        if matches!(directive, Directive::MaxCtasPerMultiprocessor(_)) {
            return Err(format!("{name} of `{}` is no longer supported; use .minnctapersm", function.name));
        }
    }
    let required = has(|directive| matches!(directive, Directive::RequiredThreads(_)));
    if required && has(|directive| matches!(directive, Directive::MaxThreads(_))) {
        return Err(format!("`{}` has both .maxntid and .reqntid, which exclude each other", function.name));
    }
    let clustered = has(|directive| matches!(directive, Directive::RequiredCluster(_)));
    if clustered && has(|directive| matches!(directive, Directive::MaxClusterRank(_))) {
        return Err(format!(
            "`{}` has both .reqnctapercluster and .maxclusterrank, which exclude each other",
            function.name
        ));
    }
    if has(|directive| matches!(directive, Directive::BlocksAreClusters)) && !(required && clustered) {
        return Err(format!("`{}`: .blocksareclusters needs .reqntid and .reqnctapercluster", function.name));
    }
    Ok(())
}

/// A directive's name, the values that must not be 0, the PTX version and architecture that it needs, and whether it
/// is for kernels or for functions only.
fn facts(directive: &Directive) -> (&str, &[u32], (u8, u8), u16, Option<bool>) {
    use std::slice::from_ref;
    let kernels = Some(true);
    match directive {
        Directive::MaxThreads(extents) => (".maxntid", extents, (1, 3), 10, kernels),
        Directive::RequiredThreads(extents) => (".reqntid", extents, (2, 1), 20, kernels),
        Directive::MinCtasPerMultiprocessor(count) => (".minnctapersm", from_ref(count), (2, 0), 10, kernels),
        Directive::MaxCtasPerMultiprocessor(count) => (".maxnctapersm", from_ref(count), (1, 3), 10, kernels),
        Directive::MaxRegisters(count) => (".maxnreg", from_ref(count), (1, 3), 10, kernels),
        Directive::NoReturn => (".noreturn", &[], (6, 4), 30, Some(false)),
        Directive::ExplicitCluster => (".explicitcluster", &[], (7, 8), 90, kernels),
        Directive::RequiredCluster(_) => (".reqnctapercluster", &[], (7, 8), 90, kernels),
        Directive::MaxClusterRank(_) => (".maxclusterrank", &[], (7, 8), 90, kernels),
        Directive::BlocksAreClusters => (".blocksareclusters", &[], (9, 0), 90, kernels),
        Directive::Pragma(_) => (".pragma", &[], (2, 0), 10, None),
        Directive::Other(text) if text.starts_with(".abi_preserve") => {
            (".abi_preserve", &[], (9, 0), 80, Some(false))
        }
        Directive::Other(_) => (".attribute", &[], (8, 0), 90, None),
    }
}

/// `.alias a, b;`: `a` has no body, `b` has one, and they agree.
pub(super) fn aliases(module: &Module) -> Result<(), String> {
    for item in &module.items {
        let Item::Alias(alias, aliased) = item else { continue };
        let (alias, aliased) = (&module.functions[*alias as usize], &module.functions[*aliased as usize]);
        let names = format!(".alias {}, {}", alias.name, aliased.name);
        if alias.is_kernel || aliased.is_kernel {
            return Err(format!("{names}: both must be functions, not kernels"));
        }
        if alias.body.is_some() || aliased.body.is_none() {
            return Err(format!("{names}: the first must have no body, the second must have one"));
        }
        let counts = |function: &Function| (function.return_count, function.parameter_count);
        if counts(alias) != counts(aliased) {
            return Err(format!("{names}: both must have as many parameters"));
        }
    }
    Ok(())
}

/// The static shared memory of a kernel: its own, and what it and the functions that it calls use of the module's.
pub(super) fn shared_memory(module: &Module, kernel: &Function) -> Result<(), String> {
    let Some(architecture) =
        module.target.architecture().filter(|_| kernel.is_kernel && kernel.body.is_some())
    else {
        return Ok(());
    };
    let is_shared =
        |variable: &&Variable| variable.space == Space::Shared && variable.linkage != Linkage::Extern;
    if !module.variables.iter().chain(&kernel.variables).any(|variable| is_shared(&variable)) {
        return Ok(());
    }
    let mut used = BTreeSet::new();
    let mut functions = vec![kernel];
    let mut seen = BTreeSet::new();
    let mut bytes = 0;
    while let Some(function) = functions.pop() {
        bytes = function.variables.iter().filter(is_shared).fold(bytes, place);
        for symbol in symbols(function) {
            match symbol {
                Symbol::Module(index) => _ = used.insert(index),
                Symbol::Function(index) if seen.insert(index) => {
                    functions.push(&module.functions[index as usize]);
                }
                Symbol::Function(_) | Symbol::Local(_) => {}
            }
        }
    }
    let variables = used.iter().map(|index| &module.variables[*index as usize]);
    bytes = variables.filter(is_shared).fold(bytes, place);
    let limit = u64::from(architecture.static_shared_bytes(module.target.features));
    if bytes > limit {
        let target = module.target;
        return Err(format!(
            "`{}` may declare {limit} bytes of shared memory for {target}, found {bytes}; more must be dynamic",
            kernel.name
        ));
    }
    Ok(())
}

/// What the instructions of a function name.
fn symbols(function: &Function) -> impl Iterator<Item = Symbol> + '_ {
    let instructions = function.body.iter().flatten().filter_map(|statement| match statement {
        Statement::Instruction(instruction) => Some(instruction),
        _ => None,
    });
    instructions.flat_map(|instruction| &instruction.operands).filter_map(|operand| match operand {
        Operand::Symbol(symbol, _) => Some(*symbol),
        Operand::Address(address) => match address.base {
            Base::Symbol(symbol) => Some(symbol),
            _ => None,
        },
        _ => None,
    })
}
