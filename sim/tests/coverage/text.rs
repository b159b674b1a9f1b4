//! A module with one instruction, its operands made from the form of the table.

use crate::choices::{Choice, Literal};
use rorqual_ptx::fragment;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::table::{AsyncCopy, Control, Count, Expect, Form, Memory, Opcode, OperandSpec, Presence};
use rorqual_ptx::target::Target;
use rorqual_ptx::types::{Space, Type};

/// A module, and the line of it that holds the instruction.
pub struct Text {
    /// The module.
    pub module: String,
    /// The line.
    pub line: u32,
}

/// A target that has everything that a form needs with these modifiers; one that the simulator runs before others.
pub fn target(form: &Form, modifiers: &[Modifier]) -> Option<Target> {
    let names = "sm_80 sm_89 sm_90 sm_90a sm_100a sm_103a sm_110a sm_120a sm_121a";
    names
        .split(' ')
        .map(|name| name.parse().expect("a target"))
        .find(|target| form.requirements(modifiers).all(|since| since.allows(*target)))
}

/// The opcode as it is written.
pub fn spelling(form: &Form, modifiers: &[Modifier]) -> String {
    modifiers.iter().fold(form.name.to_owned(), |text, modifier| format!("{text}{modifier}"))
}

/// The module, or `None` if the form has no operands for these modifiers.
pub fn module(form: &'static Form, choice: &Choice, target: Target) -> Option<Text> {
    let opcode = spelling(form, &choice.modifiers);
    let instruction = match form.opcode {
        Opcode::Control(Control::Call) => call(form, &opcode),
        _ => {
            let mut names = Names { form, choice, next: 0 };
            let present = form.operands.iter().filter(|spec| is_present(form, spec, choice));
            let operands: Option<Vec<String>> = present.map(|spec| names.operand(spec)).collect();
            format!("{opcode} {};", operands?.join(", "))
        }
    };
    // Parameters of calls are read and written by the function that has them.
    let of_call =
        has_space(&choice.modifiers, "param::func") || is_store_to_parameter(form, &choice.modifiers);
    let signature = match of_call {
        true => ".func (.param .align 16 .b8 result[64]) function(.param .align 16 .b8 argument[64])",
        false => ".visible .entry kernel(.param .align 128 .b8 value[128])",
    };
    let before = format!(
        ".version 9.5
.target {target}
.address_size 64
.const .align 16 .b8 constant[64];
.func (.param .b32 result) both(.param .b32 argument) {{ ret; }}
.func (.param .b32 result) gives() {{ ret; }}
.func takes(.param .b32 argument) {{ ret; }}
.func nothing() {{ ret; }}
{signature} {{
    .reg .pred %p<9>; .reg .b8 %b<40>; .reg .b16 %h<40>; .reg .b32 %r<200>; .reg .b64 %d<40>; .reg .b128 %q<9>;
    .param .b32 given; .param .b32 taken;
    PBOTH: .callprototype (.param .b32 _) _ (.param .b32 _);
    PGIVES: .callprototype (.param .b32 _) _ ();
    PTAKES: .callprototype _ (.param .b32 _);
    PNOTHING: .callprototype _ ();
    TARGETS: .branchtargets LABEL;
"
    );
    let line = before.lines().count() as u32 + 1;
    Some(Text { module: format!("{before}    {instruction}\n    LABEL: ret; }}\n"), line })
}

fn has_space(modifiers: &[Modifier], name: &str) -> bool {
    modifiers.iter().any(|modifier| modifier.to_string() == format!(".{name}"))
}

fn is_store_to_parameter(form: &Form, modifiers: &[Modifier]) -> bool {
    form.opcode == Opcode::Memory(Memory::St)
        && modifiers.iter().any(|word| word.space() == Some(Space::Param))
}

fn is_present(form: &Form, spec: &OperandSpec, choice: &Choice) -> bool {
    match spec.presence {
        Presence::Always => true,
        Presence::Optional => choice.with_optional,
        Presence::With(modifier) => choice.modifiers.contains(&modifier),
        Presence::WithSlot(slot) => {
            choice.modifiers.iter().any(|word| form.slots[slot].choices.contains(word))
        }
    }
}

/// A call of a function, direct, or by address with a prototype.
fn call(form: &Form, opcode: &str) -> String {
    let has = |name| form.operands.iter().any(|spec| spec.name == name);
    let (function, prototype) = match (has("results"), has("parameters")) {
        (true, true) => ("both", "PBOTH"),
        (true, false) => ("gives", "PGIVES"),
        (false, true) => ("takes", "PTAKES"),
        (false, false) => ("nothing", "PNOTHING"),
    };
    let indirect = has("targets");
    let words = [
        has("results").then_some("(taken)"),
        Some(if indirect { "%d0" } else { function }),
        has("parameters").then_some("(given)"),
        indirect.then_some(prototype),
    ];
    format!("{opcode} {};", words.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// Makes operands, of registers that were not used before.
struct Names<'a> {
    form: &'static Form,
    choice: &'a Choice,
    next: usize,
}

impl Names<'_> {
    fn operand(&mut self, spec: &OperandSpec) -> Option<String> {
        if spec.expect == Expect::Address {
            return Some(self.address(spec));
        }
        let first = self.values(spec)?;
        match spec.second {
            Some(_) if self.choice.with_second => Some(format!("{first}|%p8")),
            _ => Some(first),
        }
    }

    fn values(&mut self, spec: &OperandSpec) -> Option<String> {
        let modifiers = &self.choice.modifiers;
        let fragment = || fragment::registers(self.form.opcode, modifiers, spec.name);
        let ty = match spec.expect {
            Expect::Type(ty) => ty,
            Expect::Slot(slot) => self.type_in(slot)?,
            Expect::Predicate => Type::Pred,
            Expect::Fragment => fragment()?.1,
            Expect::Immediate(low, high) => {
                let wanted =
                    if self.choice.literal == Literal::Size { 16 } else { i64::from(low <= 0 && high == 1) };
                return Some(wanted.clamp(low, high).to_string());
            }
            Expect::Label if self.form.opcode == Opcode::Control(Control::BrxIdx) => {
                return Some("TARGETS".to_owned());
            }
            Expect::Label => return Some("LABEL".to_owned()),
            Expect::Sink => return Some("_".to_owned()),
            Expect::Any if self.form.opcode == Opcode::AsyncCopy(AsyncCopy::CpAsync) => Type::B32,
            Expect::Any => return self.any(spec),
            Expect::Function | Expect::Arguments | Expect::Address => return None,
        };
        let ty = if spec.wide { twice(ty)? } else { ty };
        let count = match spec.count {
            Count::Scalar => None,
            Count::Fixed(count) => Some(usize::from(count)),
            Count::Vector => self.number_in("v"),
            Count::Num => self.number_in("x"),
            Count::Dim => self.number_in("d"),
            Count::Im2col => self.number_in("d").map(|dim| dim - 2),
            Count::Fragment => Some(usize::from(fragment()?.0)),
        };
        Some(match count {
            None => self.register(ty),
            Some(count) => {
                let registers: Vec<String> = (0..count).map(|_| self.register(ty)).collect();
                format!("{{{}}}", registers.join(", "))
            }
        })
    }

    /// The source or destination of a `mov`: of the form that unpacks, two halves.
    fn any(&mut self, spec: &OperandSpec) -> Option<String> {
        let ty = self.choice.modifiers.iter().find_map(|word| type_of(*word))?;
        if spec.name != "d" {
            return Some(self.register(ty));
        }
        let half = match ty.bits() {
            16 => Type::B8,
            32 => Type::B16,
            64 => Type::B32,
            _ => Type::B64,
        };
        Some(format!("{{{}, {}}}", self.register(half), self.register(half)))
    }

    fn address(&mut self, spec: &OperandSpec) -> String {
        let modifiers = &self.choice.modifiers;
        if is_store_to_parameter(self.form, modifiers) {
            return "[result+16]".to_owned();
        }
        if has_space(modifiers, "param::func") {
            return "[argument+16]".to_owned();
        }
        match modifiers.iter().find_map(|word| word.space()) {
            Some(Space::Param) => return "[value]".to_owned(),
            Some(Space::Const) => return "[constant]".to_owned(),
            _ => {}
        }
        let in_tensor_memory = matches!(spec.name, "taddr" | "d" | "a" | "meta" | "scale_a" | "scale_b");
        if matches!(self.form.opcode, Opcode::Tcgen05(_)) && in_tensor_memory {
            return format!("[{}]", self.register(Type::B32));
        }
        let base = self.register(Type::B64);
        let count = match spec.count {
            Count::Dim => self.number_in("d").unwrap_or(0),
            Count::Fixed(count) => usize::from(count),
            _ => return format!("[{base}]"),
        };
        let coordinates: Vec<String> = (0..count).map(|_| self.register(Type::B32)).collect();
        format!("[{base}, {{{}}}]", coordinates.join(", "))
    }

    fn register(&mut self, ty: Type) -> String {
        let (class, most) = match ty.bits() {
            1 => ("%p", 8),
            2..=8 => ("%b", 40),
            9..=16 => ("%h", 40),
            17..=32 => ("%r", 200),
            33..=64 => ("%d", 40),
            _ => ("%q", 9),
        };
        self.next += 1;
        format!("{class}{}", (self.next - 1) % most)
    }

    fn type_in(&self, slot: usize) -> Option<Type> {
        let choices = &self.form.slots[slot].choices;
        // Two slots may have the same choices: their types stand in their order.
        let same = self.form.slots[..slot]
            .iter()
            .filter(|other| !other.optional && is_type_slot(&other.choices))
            .count();
        let types: Vec<Type> = self.choice.modifiers.iter().filter_map(|word| type_of(*word)).collect();
        types.get(same).copied().filter(|ty| choices.contains(&Modifier::Type(*ty)))
    }

    /// The number in `.v4`, `.x4` or `.2d`, whose letter this is.
    fn number_in(&self, letter: &str) -> Option<usize> {
        self.choice.modifiers.iter().find_map(|word| {
            let word = word.to_string();
            let digits = word.trim_start_matches('.').trim_start_matches(letter).trim_end_matches(letter);
            let is_number = word.len() == 2 + digits.len() && word.contains(letter);
            digits.parse().ok().filter(|_| is_number)
        })
    }
}

fn is_type_slot(choices: &[Modifier]) -> bool {
    choices.iter().any(|choice| type_of(*choice).is_some())
}

fn type_of(modifier: Modifier) -> Option<Type> {
    if let Modifier::Type(ty) = modifier { Some(ty) } else { None }
}

fn twice(ty: Type) -> Option<Type> {
    Some(match ty {
        Type::U16 => Type::U32,
        Type::S16 => Type::S32,
        Type::U32 => Type::U64,
        Type::S32 => Type::S64,
        _ => return None,
    })
}
