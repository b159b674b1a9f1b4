//! Snippets made from the table: for every form some that should pass, and mutations of one that does.

use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::module::Version;
use rorqual_ptx::table::{Access, Count, Expect, Form, OperandSpec, Since};
use rorqual_ptx::target::Target;
use rorqual_ptx::types::{Kind, Type};
use rorqual_ptx::{fragment, parse, verify};
use std::fmt;

/// One instruction in a module for a version and target.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Snippet {
    pub version: Version,
    pub target: Target,
    pub text: String,
}

impl fmt::Display for Snippet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} | {}", self.version, self.target, self.text)
    }
}

/// What stands before the kernels of a module.
pub fn header(version: Version, target: Target) -> String {
    format!(
        ".version {version} .target {target} .address_size 64 \
         .global .align 16 .b8 globals[64]; .const .align 16 .b8 constants[64]; .func callee() {{ ret; }} \
         .func callee_in(.reg .b32 x) {{ ret; }} .func (.reg .b32 y) callee_out() {{ mov.b32 y, 0; ret; }} \
         .func (.reg .b32 y) callee_in_out(.reg .b32 x) {{ mov.b32 y, x; ret; }}\n"
    )
}

/// A kernel, on one line, around one instruction.
pub fn kernel(name: &str, instruction: &str) -> String {
    let registers = TYPES.iter().filter(|ty| instruction.contains(&format!("%{ty}_")));
    let registers: String = registers.map(|ty| format!(".reg .{ty} %{ty}_<300>; ")).collect();
    let calls = if instruction.contains("call") {
        "prototype: .callprototype _; prototype_in: .callprototype _ (.reg .b32 _); \
         prototype_out: .callprototype (.reg .b32 _) _; \
         prototype_in_out: .callprototype (.reg .b32 _) _ (.reg .b32 _); "
    } else {
        ""
    };
    format!(
        ".visible .entry {name}(.param .align 16 .b8 parameter[64]) {{ .shared .align 16 .b8 shareds[64]; \
         .local .align 16 .b8 locals[64]; {registers}{calls}code: table: .branchtargets code; \
         {instruction} ret; }}\n"
    )
}

const TYPES: &[&str] = &[
    "b8", "b16", "b32", "b64", "b128", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "f16", "f16x2",
    "f32", "f64", "pred",
];

/// Whether the module around the snippet parses and verifies; else why not.
pub fn verdict(snippet: &Snippet) -> Result<(), String> {
    let text = header(snippet.version, snippet.target) + &kernel("k", &snippet.text);
    let module = parse(&text).map_err(|error| error.to_string())?;
    verify::verify(module).map(|_| ()).map_err(|error| error.to_string())
}

/// An instruction in pieces.
#[derive(Debug, Clone)]
struct Parts {
    guard: &'static str,
    name: &'static str,
    modifiers: Vec<Modifier>,
    operands: Vec<(&'static OperandSpec, String)>,
    /// One that the form does not have.
    extra: Option<&'static str>,
}

impl Parts {
    fn text(&self) -> String {
        let mut text = format!("{}{}", self.guard, self.name);
        text.extend(self.modifiers.iter().map(Modifier::to_string));
        let operands: Vec<_> =
            self.operands.iter().map(|(_, text)| text.as_str()).chain(self.extra).collect();
        if !operands.is_empty() {
            text += " ";
            text += &operands.join(", ");
        }
        text + ";"
    }

    fn with_operand(&self, index: usize, operand: &str) -> Self {
        let mut parts = self.clone();
        operand.clone_into(&mut parts.operands[index].1);
        parts
    }
}

/// The snippets of a form in a fixed order: first what should pass, then what should not.
pub fn of_form(form: &'static Form) -> Vec<Snippet> {
    let good = variants(form);
    let mut snippets: Vec<_> =
        good.iter().filter_map(|parts| at_its_oldest(form, parts, parts.text())).collect();
    let passes = |parts: &&Parts| {
        at_its_oldest(form, parts, parts.text()).is_some_and(|snippet| verdict(&snippet).is_ok())
    };
    if let Some(base) = good.iter().find(passes) {
        snippets.extend(mutations(form, base));
        if let Some(snippet) = at_its_oldest(form, base, base.text()) {
            snippets.extend(too_old(form, base, &snippet));
        }
    }
    let mut seen = std::collections::HashSet::new();
    snippets.retain(|snippet| seen.insert(snippet.clone()));
    snippets
}

fn all_allow(form: &Form, modifiers: &[Modifier], target: Target) -> bool {
    form.requirements(modifiers).all(|since| since.allows(target))
}

fn oldest_version(form: &Form, modifiers: &[Modifier], target: Target) -> Option<Version> {
    let of_target = target.architecture()?.since(target.features)?;
    let required = form.requirements(modifiers).map(|since: &Since| since.version);
    Some(required.fold(of_target, Version::max))
}

/// A snippet for the oldest target, and for that the oldest version, that the form and its modifiers allow.
fn at_its_oldest(form: &Form, parts: &Parts, text: String) -> Option<Snippet> {
    let target = Target::known().find(|target| all_allow(form, &parts.modifiers, *target))?;
    let version = oldest_version(form, &parts.modifiers, target)?;
    Some(Snippet { version, target, text })
}

/// The same text for a target and for a version that lack the form.
fn too_old(form: &Form, parts: &Parts, good: &Snippet) -> Vec<Snippet> {
    let mut snippets = Vec::new();
    let lacks = |target: &Target| !all_allow(form, &parts.modifiers, *target);
    let newest = Version { major: 9, minor: 5 };
    for target in Target::known().filter(lacks) {
        snippets.push(Snippet { version: newest, target, text: good.text.clone() });
    }
    let Version { major, minor } = good.version;
    let before = match (major, minor) {
        (7, 0) => return snippets,
        (8, 0) => Version { major: 7, minor: 8 },
        (9, 0) => Version { major: 8, minor: 8 },
        _ => Version { major, minor: minor - 1 },
    };
    snippets.push(Snippet { version: before, ..good.clone() });
    snippets
}

/// Instructions that should pass: the plainest with its operands in several spellings, one for every choice of every
/// slot, and one with everything.
fn variants(form: &'static Form) -> Vec<Parts> {
    let plain: Vec<Option<Modifier>> =
        form.slots.iter().map(|slot| (!slot.optional).then(|| slot.choices[0])).collect();
    let mut fillings = vec![plain.clone()];
    for (index, slot) in form.slots.iter().enumerate() {
        let many = slot.choices.len() > 12;
        let choices = slot.choices.iter().enumerate();
        for (_, choice) in choices.filter(|(place, _)| !many || matches!(place % 13, 0 | 5)) {
            let mut filling = plain.clone();
            filling[index] = Some(*choice);
            fillings.push(joined(form, filling));
        }
    }
    let everything =
        form.slots.iter().zip(&plain).map(|(slot, plain)| plain.or(Some(slot.choices[0]))).collect();
    fillings.push(everything);
    let mut variants = Vec::new();
    for (place, filling) in fillings.iter().enumerate() {
        let modifiers: Vec<_> = filling.iter().flatten().copied().collect();
        let most = form.operands.len();
        for count in (0..=most).rev() {
            let Some(specs) = form.layout(&modifiers, count) else { continue };
            let parts = parts(form, modifiers.clone(), filling, specs.collect());
            variants.push(parts.clone());
            if place == 0 {
                variants.extend(spelled_otherwise(&parts));
            }
        }
    }
    variants
}

/// Slots that go together are filled together.
fn joined(form: &Form, mut filling: Vec<Option<Modifier>>) -> Vec<Option<Modifier>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, slot) in form.slots.iter().enumerate() {
        match groups.last_mut().filter(|_| slot.joined) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    for group in groups {
        if group.iter().any(|index| filling[*index].is_some()) {
            for index in group {
                filling[index] = filling[index].or(Some(form.slots[index].choices[0]));
            }
        }
    }
    filling
}

/// The same instruction with other operands that should pass: a literal, a pair, a variable, a guard, the ends of the
/// range of a literal.
fn spelled_otherwise(parts: &Parts) -> Vec<Parts> {
    let mut others = vec![Parts { guard: "@!%pred_9 ", ..parts.clone() }];
    for (index, (spec, text)) in parts.operands.iter().enumerate() {
        let mut add = |operand: &str| others.push(parts.with_operand(index, operand));
        if spec.second.is_some() {
            add(&format!("{text}|%pred_7"));
            add(&format!("{text}|_"));
        }
        match spec.expect {
            Expect::Immediate(low, high) => {
                for value in [low, high, 0, 1, 4, 16, 32, 128] {
                    if (low..=high).contains(&value) {
                        add(&value.to_string());
                    }
                }
            }
            Expect::Address if spec.count == Count::Scalar => {
                for variable in ["globals", "shareds", "constants", "locals", "parameter"] {
                    add(&format!("[{variable}+16]"));
                }
            }
            Expect::Type(_) | Expect::Slot(_) | Expect::Predicate | Expect::Any
                if spec.access == Access::Read && !text.starts_with('{') =>
            {
                for literal in ["0", "1", "16", "64", "-1", "1.0", "0f3F800000"] {
                    add(literal);
                }
                if spec.may_be_special || spec.expect == Expect::Any {
                    add("%tid.x");
                    add("%clock64");
                }
                if spec.may_be_symbol || spec.expect == Expect::Any {
                    add("globals");
                    add("shareds+4");
                }
            }
            _ => {}
        }
        if spec.access != Access::Read {
            add("_");
        }
    }
    others
}

fn parts(
    form: &'static Form,
    modifiers: Vec<Modifier>,
    filling: &[Option<Modifier>],
    specs: Vec<&'static OperandSpec>,
) -> Parts {
    let mut next = 1;
    let operands = specs
        .iter()
        .map(|spec| {
            let text = operand(form, spec, &modifiers, filling, &mut next);
            (*spec, if form.name == "call" { call_operand(spec, &specs) } else { text })
        })
        .collect();
    Parts { guard: "", name: form.name, modifiers, operands, extra: None }
}

/// Calls go to a function with just these parameters.
fn call_operand(spec: &OperandSpec, specs: &[&OperandSpec]) -> String {
    let has = |name| specs.iter().any(|spec| spec.name == name);
    let suffix = match (has("parameters"), has("results")) {
        (false, false) => "",
        (true, false) => "_in",
        (false, true) => "_out",
        (true, true) => "_in_out",
    };
    match spec.name {
        "results" => "(%b32_1)".to_owned(),
        "parameters" => "(%b32_2)".to_owned(),
        "f" if has("targets") => "%b64_1".to_owned(),
        "f" => format!("callee{suffix}"),
        _ => format!("prototype{suffix}"),
    }
}

/// The type of a register that is made for a type of an operand.
fn register_type(ty: Type) -> String {
    let plain = ty.bits() == ty.element_bits() && ty.bits() >= 8;
    match ty.kind() {
        Kind::Predicate => "pred".to_owned(),
        Kind::Float if matches!(ty, Type::F16 | Type::F32 | Type::F64) => ty.name().to_owned(),
        Kind::Unsigned | Kind::Signed if plain => ty.name().to_owned(),
        _ => format!("b{}", ty.bits().max(8)),
    }
}

fn wide(ty: Type) -> Type {
    let name = |letter: char| format!("{letter}{}", 2 * ty.bits());
    let letter = ty.name().chars().next().unwrap_or('b');
    Type::from_name(&name(letter)).unwrap_or(ty)
}

fn operand(
    form: &Form,
    spec: &OperandSpec,
    modifiers: &[Modifier],
    filling: &[Option<Modifier>],
    next: &mut usize,
) -> String {
    let of_slot = |slot: usize| match filling[slot] {
        Some(Modifier::Type(ty)) => ty,
        _ => Type::B32,
    };
    let first_type = || {
        modifiers.iter().find_map(|modifier| match modifier {
            Modifier::Type(ty) => Some(*ty),
            _ => None,
        })
    };
    let fragment = || fragment::registers(form.opcode, modifiers, spec.name);
    let ty = match spec.expect {
        Expect::Type(ty) => ty,
        Expect::Slot(slot) => of_slot(slot),
        Expect::Predicate => Type::Pred,
        Expect::Fragment => fragment().map_or(Type::B32, |(_, ty)| ty),
        Expect::Any => first_type().unwrap_or(Type::B32),
        Expect::Immediate(low, high) => return 16.clamp(low, high).to_string(),
        Expect::Label => return if spec.name == "targets" { "table" } else { "code" }.to_owned(),
        Expect::Sink => return "_".to_owned(),
        Expect::Function | Expect::Arguments => return String::new(),
        Expect::Address => Type::B64,
    };
    let ty = register_type(if spec.wide { wide(ty) } else { ty });
    let dimensions = || {
        modifiers
            .iter()
            .find_map(|modifier| modifier.to_string().strip_suffix('d')?[1..].parse::<usize>().ok())
    };
    let vector = || match () {
        () if modifiers.contains(&Modifier::V8) => Some(8),
        () if modifiers.contains(&Modifier::V4) => Some(4),
        () if modifiers.contains(&Modifier::V2) => Some(2),
        () => None,
    };
    let count = match spec.count {
        Count::Scalar => None,
        Count::Fixed(count) => Some(usize::from(count)),
        Count::Vector => vector(),
        Count::Num | Count::Fragment => fragment().map(|(count, _)| usize::from(count)),
        Count::Dim => dimensions(),
        Count::Im2col => dimensions().map(|count| count - 2),
    };
    let mut take = |ty: &str| {
        *next += 1;
        format!("%{ty}_{}", *next - 1)
    };
    if spec.expect == Expect::Address {
        // Tensor memory has addresses of 32 bits.
        let in_tensor_memory = form.name.starts_with("tcgen05.") && !["dst", "mbar"].contains(&spec.name);
        let base = take(if in_tensor_memory { "b32" } else { "b64" });
        return match count {
            Some(count) => {
                let coordinates: Vec<_> = (0..count).map(|_| take("s32")).collect();
                format!("[{base}, {{{}}}]", coordinates.join(", "))
            }
            None => format!("[{base}]"),
        };
    }
    let unpacks = spec.expect == Expect::Any && spec.access == Access::Write;
    if unpacks {
        let half = format!("b{}", first_type().map_or(16, |ty| ty.bits() / 2));
        return format!("{{{}, {}}}", take(&half), take(&half));
    }
    match count {
        Some(count) => {
            let elements: Vec<_> = (0..count).map(|_| take(&ty)).collect();
            format!("{{{}}}", elements.join(", "))
        }
        None => take(&ty),
    }
}

/// What should not pass: a modifier or an operand too many, too few or another, a register of another type, a literal
/// out of range.
fn mutations(form: &'static Form, base: &Parts) -> Vec<Snippet> {
    let Some(good) = at_its_oldest(form, base, base.text()) else { return Vec::new() };
    let mut mutations = Vec::new();
    for index in 0..base.modifiers.len() {
        let mut parts = base.clone();
        parts.modifiers.remove(index);
        mutations.push(parts);
    }
    let strangers =
        [Modifier::Ftz, Modifier::Sat, Modifier::Wide, Modifier::Aligned, Modifier::Type(Type::F64)];
    for stranger in strangers.into_iter().filter(|stranger| !base.modifiers.contains(stranger)) {
        let mut parts = base.clone();
        parts.modifiers.push(stranger);
        mutations.push(parts);
    }
    for (index, modifier) in base.modifiers.iter().enumerate() {
        let other = match modifier {
            Modifier::Type(Type::F32) => Modifier::Type(Type::U32),
            Modifier::Type(_) => Modifier::Type(Type::F32),
            Modifier::Rn => Modifier::Rni,
            Modifier::Approx => Modifier::Full,
            _ => Modifier::Approx,
        };
        let mut parts = base.clone();
        parts.modifiers[index] = other;
        mutations.push(parts);
    }
    for (index, (spec, text)) in base.operands.iter().enumerate() {
        let mut parts = base.clone();
        parts.operands.remove(index);
        mutations.push(parts);
        for other in misfits(spec, text) {
            mutations.push(base.with_operand(index, &other));
        }
    }
    let mut more = base.clone();
    more.extra = Some("%b32_99");
    mutations.push(more);
    mutations.push(Parts { guard: "@%b32_9 ", ..base.clone() });
    mutations.iter().map(|parts| Snippet { text: parts.text(), ..good.clone() }).collect()
}

/// Operands that should not pass in place of one.
fn misfits(spec: &OperandSpec, text: &str) -> Vec<String> {
    let mut misfits: Vec<String> = Vec::new();
    let mut add = |text: &str| misfits.push(text.to_owned());
    match spec.expect {
        Expect::Immediate(low, high) => {
            add("%b32_50");
            if let (Some(below), Some(above)) = (low.checked_sub(1), high.checked_add(1)) {
                add(&below.to_string());
                add(&above.to_string());
            }
        }
        Expect::Address => {
            add("[%f32_50]");
            add("[%pred_5]");
            add("%b64_50");
            add("[constants]");
            add("[16]");
        }
        Expect::Label | Expect::Function | Expect::Arguments => add("%f32_50"),
        Expect::Sink => add("%b64_50"),
        _ if text.starts_with('{') => {
            add(&text.replacen('{', "{%b32_200, ", 1));
            if let Some((first, rest)) = text.split_once(", ") {
                add(&format!("{{{rest}"));
                add(first.trim_start_matches('{'));
            }
            add(&text
                .replacen("%f32_", "%u32_", 1)
                .replacen("%b32_", "%b16_", 1)
                .replacen("%b16_", "%b64_", 1));
        }
        _ => {
            let ty = text.trim_start_matches('%').split('_').next().unwrap_or("");
            let others: &[&str] = match ty {
                "pred" => &["b32", "u16"],
                "f32" => &["u32", "f64", "b64"],
                "f64" => &["u64", "f32", "b32"],
                "f16" => &["u16", "f32", "b32"],
                "b8" | "u8" | "s8" => &["f32", "pred"],
                "b16" | "u16" | "s16" => &["b32", "f32", "f16", "pred"],
                "b32" | "u32" | "s32" => &["b64", "b16", "f32", "f64", "pred"],
                "b64" | "u64" | "s64" => &["b32", "f32", "f64", "pred"],
                _ => &["b32", "f32"],
            };
            for other in others {
                add(&format!("%{other}_60"));
            }
            if spec.access != Access::Read {
                add("5");
                add("[%b64_60]");
            } else {
                add("[%b64_60]");
                add("code");
            }
        }
    }
    misfits
}
