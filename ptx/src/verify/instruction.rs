//! Instructions: of the forms that modifiers and operand shapes allow, one must hold in full.

use super::operand::{Expected, describe, mov};
use super::{Scope, call};
use crate::instruction::Instruction;
use crate::modifier::Modifier;
use crate::module::{Module, Version};
use crate::operand::Operand;
use crate::table::{Control, Form, Memory, Opcode, Since, find_row};
use crate::target::Target;
use crate::types::Type;
use rustc_hash::FxHashMap;

/// What is known of a form with certain modifiers and so many operands.
struct Spelling {
    /// Version or target that it lacks.
    missing: Option<String>,
    operands: Vec<Expected>,
}

/// The spellings that were met so far.
pub(super) struct Opcodes {
    version: Version,
    target: Target,
    /// By form, modifiers and number of operands. The parser shares the modifiers of a spelling, so their address
    /// stands for them while the module lives.
    known: FxHashMap<(usize, usize, usize), Spelling>,
}

impl Opcodes {
    pub fn new(module: &Module) -> Self {
        Self { version: module.version, target: module.target, known: FxHashMap::default() }
    }

    /// Checks an instruction. It may turn out to be of another form than the parser took: that instruction is given.
    pub fn check(
        &mut self,
        scope: &Scope<'_>,
        instruction: &Instruction,
    ) -> Result<Option<Instruction>, String> {
        let address = |pointer: *const Form| pointer as usize;
        let key =
            (address(instruction.form), instruction.modifiers.as_ptr() as usize, instruction.operands.len());
        let (version, target) = (self.version, self.target);
        let spelling = self.known.entry(key).or_insert_with(|| {
            Spelling::new(
                instruction.form,
                &instruction.modifiers,
                instruction.operands.len(),
                version,
                target,
            )
        });
        let Err(message) = check_form(scope, instruction, spelling) else { return Ok(None) };
        let row = find_row(instruction.form.name).map_or(&[][..], |(row, _)| &row.forms);
        for form in row.iter().filter(|form| !std::ptr::eq(*form, instruction.form)) {
            let Some(modifiers) = form.order_modifiers(&instruction.modifiers) else { continue };
            if !form.fits(&modifiers, &instruction.operands) {
                continue;
            }
            let spelling = Spelling::new(form, &modifiers, instruction.operands.len(), version, target);
            let other = Instruction { form, modifiers: modifiers.into(), ..instruction.clone() };
            if check_form(scope, &other, &spelling).is_ok() {
                return Ok(Some(other));
            }
        }
        Err(format!("`{}`: {message}", opcode(instruction)))
    }
}

impl Spelling {
    fn new(
        form: &'static Form,
        modifiers: &[Modifier],
        count: usize,
        version: Version,
        target: Target,
    ) -> Self {
        let mut missing = form.requirements(modifiers).find_map(|since| missing(since, version, target));
        // The parser sees to this.
        let in_order = form.order_modifiers(modifiers).is_some_and(|ordered| ordered == modifiers);
        if !in_order || form.layout(modifiers, count).is_none() {
            missing = Some(format!("modifiers and operands are not of the form {}", form.text));
        }
        let filled = fill(form, modifiers);
        let specs = form.layout(modifiers, count).into_iter().flatten();
        let operands = specs.map(|spec| Expected::new(form, spec, modifiers, &filled)).collect();
        Self { missing, operands }
    }
}

/// The modifier in every slot, of modifiers in the order of the form.
fn fill(form: &Form, modifiers: &[Modifier]) -> Vec<Option<Modifier>> {
    let mut rest = modifiers.iter().copied().peekable();
    form.slots.iter().map(|slot| rest.next_if(|modifier| slot.choices.contains(modifier))).collect()
}

fn missing(since: &Since, version: Version, target: Target) -> Option<String> {
    if version < since.version {
        return Some(format!("needs .version {}, found {version}", since.version));
    }
    if since.allows(target) {
        return None;
    }
    let targets: Vec<_> = since.targets.iter().map(Target::to_string).collect();
    Some(format!("needs .target {} or one that includes it, found {target}", targets.join(" or ")))
}

fn check_form(scope: &Scope<'_>, instruction: &Instruction, spelling: &Spelling) -> Result<(), String> {
    if let Some(missing) = &spelling.missing {
        return Err(missing.clone());
    }
    for (expected, operand) in spelling.operands.iter().zip(&instruction.operands) {
        expected
            .check(scope, operand)
            .map_err(|message| format!("operand `{}`: {message}", expected.spec.name))?;
    }
    if let Some(guard) = instruction.guard
        && scope.function.registers[guard.register.0 as usize].ty != Type::Pred
    {
        let found = describe(scope, &Operand::Register(guard.register));
        return Err(format!("the guard must be a predicate, found {found}"));
    }
    for rule in instruction.form.rules {
        if !(rule.holds)(instruction) {
            return Err(rule.text.to_owned());
        }
    }
    match instruction.form.opcode {
        Opcode::Memory(Memory::Mov) => mov(scope, instruction),
        Opcode::Control(Control::Call) => call::call(scope, instruction),
        Opcode::Control(Control::Bra | Control::BrxIdx) => call::branch(scope, instruction),
        _ => Ok(()),
    }
}

/// The opcode with its modifiers, as it is printed.
fn opcode(instruction: &Instruction) -> String {
    instruction
        .modifiers
        .iter()
        .fold(instruction.form.name.to_owned(), |text, modifier| text + &modifier.to_string())
}
