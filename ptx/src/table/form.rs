//! The language of the table's rows. A form is written as the manual writes a syntax line, with operand types
//! added: `"fma.rnd{.ftz}.f32 d=f32, a:f32, b:f32, c:f32 | rnd = rn rz rm rp"`.
//!
//! - Modifiers: `.word` is required, `{.word}` optional, of `{.one.two}` both are present or neither. A word that
//!   is defined after the bar, or in `COMMON_SLOTS`, is a slot that takes one of the listed modifiers, any other
//!   word stands for itself. `m64n8..256:8k16` lists the shapes with N from 8 to 256 in steps of 8, `word@8.6` or
//!   `word@8.6/sm_90,sm_100f` says that a word came later than the form.
//! - Operands: `name`, then `*count` for a vector, then `=type` for what is written, `:type` for what is read,
//!   `+type` for both. `d{|p}` may carry a second, predicate destination. `name?` may be absent, `name?word` is
//!   present exactly if the modifier is or the slot is filled. `[name]` is an address, `[name*dim]` one with tensor
//!   coordinates.
//! - Counts: a number, `vec` (`.v2` and so on; without such a modifier the operand is a plain one), `num` (`.x4`),
//!   `dim` (`.2d`), `im2col` (two less than `.3d` says), `frag` (see [`fragment`](crate::fragment)).
//! - Types: a type or the name of a slot; `wide(..)` of it has twice the bits. A trailing `^` lets the register be
//!   wider, a `%` after that be a special one, a `@` admits the address of a symbol, a `!` forbids a literal.
//!   `pred`, `imm`, `imm(0..15)`, `any`, `label`, `function`, `arguments`, `sink` speak for themselves; `frag` is
//!   both type and count.

use super::Opcode;
use crate::instruction::Instruction;
use crate::modifier::Modifier;
use crate::module::Version;
use crate::operand::{Immediate, Operand};
use crate::target::Target;
use crate::types::Type;

/// The oldest PTX version and the architectures that have a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    /// `.version` must be at least this.
    pub version: Version,
    /// `.target` must be covered by one of these.
    pub targets: Vec<Target>,
}

impl Since {
    pub(super) fn parse(text: &str) -> Self {
        let mut words = text.split_whitespace();
        let (major, minor) = words.next().and_then(|word| word.split_once('.')).expect("a version");
        let number = |digits: &str| digits.parse().expect("a number");
        let targets: Vec<_> = words.map(|word| Target::from_name(word).expect("a target")).collect();
        assert!(!targets.is_empty(), "{text}: no target");
        Self { version: Version { major: number(major), minor: number(minor) }, targets }
    }

    /// Whether code for `target` may use the form.
    #[must_use]
    pub fn allows(&self, target: Target) -> bool {
        self.targets.iter().any(|since| since.is_offered_by(target))
    }
}

/// A rule that types and counts do not express.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// What must hold, in the words of the message.
    pub text: &'static str,
    /// Whether it does.
    pub holds: fn(&Instruction) -> bool,
}

/// Slots that mean the same in every form.
const COMMON_SLOTS: &[(&str, &str)] = &[
    ("scope", "cta cluster gpu sys"),
    ("rnd", "rn rz rm rp"),
    ("irnd", "rni rzi rmi rpi"),
    ("bcmp", "eq ne"),
    ("icmp", "eq ne lt le gt ge"),
    ("ucmp", "eq ne lt le gt ge lo ls hi hs"),
    ("fcmp", "eq ne lt le gt ge equ neu ltu leu gtu geu num nan"),
    ("bool", "and or xor"),
    ("sem", "relaxed acquire release acq_rel"),
    ("space", "global shared shared::cta shared::cluster"),
    ("level1", "L1::evict_normal L1::evict_unchanged L1::evict_first L1::evict_last L1::no_allocate"),
    ("level2", "L2::evict_normal L2::evict_first L2::evict_last"),
    ("prefetch", "L2::64B L2::128B L2::256B"),
    ("vec", "v2 v4"),
    ("ss", "shared shared::cta"),
    ("layout", "row col"),
    ("alayout", "row col"),
    ("blayout", "row col"),
    ("dim", "1d 2d 3d 4d 5d"),
    ("cta_group", "cta_group::1@8.6/sm_100f,sm_110f cta_group::2@8.6/sm_100f,sm_110f"),
    (
        "scale_size",
        "scale_vec::1X@8.6/sm_100a,sm_101a,sm_103a,sm_107a,sm_110a \
         scale_vec::2X@8.6/sm_100a,sm_101a,sm_103a,sm_107a,sm_110a \
         scale_vec::4X@8.6/sm_100a,sm_101a,sm_103a,sm_107a,sm_110a block16@8.8 block32@8.8",
    ),
    ("collector", "collector::a::fill collector::a::use collector::a::lastuse collector::a::discard"),
    (
        "collector_b",
        "collector::b0::fill collector::b0::use collector::b0::lastuse collector::b0::discard \
         collector::b1::fill collector::b1::use collector::b1::lastuse collector::b1::discard \
         collector::b2::fill collector::b2::use collector::b2::lastuse collector::b2::discard \
         collector::b3::fill collector::b3::use collector::b3::lastuse collector::b3::discard",
    ),
];

/// Whether the integer literal that the form calls `name` passes; true too if it is absent or no such literal.
pub(super) fn literal_is(instruction: &Instruction, name: &str, passes: fn(i64) -> bool) -> bool {
    match instruction.operand(name) {
        Some(Operand::Immediate(Immediate::Integer { value, .. })) => passes(*value),
        _ => true,
    }
}

/// A row of the table as it is written.
#[derive(Debug, Clone, Copy)]
pub struct RowText {
    /// Which instruction it is.
    pub opcode: Opcode,
    /// The leading words of the opcode, e.g. `mbarrier.try_wait`.
    pub name: &'static str,
    /// Other spellings of the name with the same meaning, e.g. `bar.cta.sync` for `bar.sync`.
    pub aliases: &'static [&'static str],
    /// Sections of the PTX ISA.
    pub section: &'static str,
    /// Its forms, in the order in which they are tried.
    pub forms: &'static [FormText],
}

/// A form as it is written.
#[derive(Debug, Clone, Copy)]
pub struct FormText {
    /// In the language of this module.
    pub text: &'static str,
    /// `"8.0 sm_90a"`: version, then targets.
    pub since: &'static str,
    /// Further rules.
    pub rules: &'static [Rule],
}

/// One modifier of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The word in the form's text.
    pub name: &'static str,
    /// What may stand here.
    pub choices: Vec<Modifier>,
    /// Whether nothing may stand here.
    pub optional: bool,
    /// Whether something stands here exactly if something stands in the slot before.
    pub joined: bool,
    /// Of what may stand here, what came later than the form.
    pub later: Vec<(Modifier, Since)>,
}

/// What an instruction does with an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads it.
    Read,
    /// Writes it.
    Write,
    /// Reads, then writes it.
    ReadWrite,
}

/// When an operand is present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Always.
    Always,
    /// As the author likes.
    Optional,
    /// Exactly if the modifier is.
    With(Modifier),
    /// Exactly if something stands in the slot (an index).
    WithSlot(usize),
}

/// How many registers an operand has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// One, without braces.
    Scalar,
    /// So many, in braces.
    Fixed(u16),
    /// As `.v2`, `.v4`, `.v8` say; without them one, in braces or not.
    Vector,
    /// As `.x1` to `.x128` say.
    Num,
    /// As `.1d` to `.5d` say.
    Dim,
    /// Two less than `.3d` to `.5d` say: the offsets of the im2col mode.
    Im2col,
    /// As the matrix shape and types say.
    Fragment,
}

/// The type of an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// This type.
    Type(Type),
    /// The type that this slot (an index) took.
    Slot(usize),
    /// A predicate register.
    Predicate,
    /// A literal in a range.
    Immediate(i64, i64),
    /// Anything with a value.
    Any,
    /// The type of a matrix fragment.
    Fragment,
    /// A label.
    Label,
    /// A function, or a register with its address.
    Function,
    /// An argument list.
    Arguments,
    /// An address.
    Address,
    /// `_` alone.
    Sink,
}

/// One operand of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperandSpec {
    /// The name in the manual.
    pub name: &'static str,
    /// When it is present.
    pub presence: Presence,
    /// The name of the second destination of `d|p`, where the form has one.
    pub second: Option<&'static str>,
    /// How many registers.
    pub count: Count,
    /// Of which type.
    pub expect: Expect,
    /// Whether the type has twice the bits.
    pub wide: bool,
    /// Whether the register may be wider than the type.
    pub may_be_wider: bool,
    /// Whether it may be a special register.
    pub may_be_special: bool,
    /// Whether it may be the address of a symbol.
    pub may_be_symbol: bool,
    /// Whether it may be a literal.
    pub may_be_literal: bool,
    /// Read or written.
    pub access: Access,
}

/// A form of an instruction: modifiers and operands.
#[derive(Debug)]
pub struct Form {
    /// Its row.
    pub opcode: Opcode,
    /// Its number within the row.
    pub index: usize,
    /// The leading words of the opcode.
    pub name: &'static str,
    /// As written in the table.
    pub text: &'static str,
    /// Modifiers in canonical order.
    pub slots: Vec<Slot>,
    /// Operands in order.
    pub operands: Vec<OperandSpec>,
    /// Where it exists.
    pub since: Since,
    /// Further rules.
    pub rules: &'static [Rule],
}

impl Form {
    /// Reads one form.
    ///
    /// # Panics
    ///
    /// If the text is not in the language of this module: the table is wrong, and a test reads all of it.
    pub(super) fn parse(row: &RowText, index: usize) -> Self {
        let FormText { text, since, rules } = row.forms[index];
        let (syntax, definitions) = text.rsplit_once(" | ").unwrap_or((text, ""));
        let since = Since::parse(since);
        let definitions: Vec<(&str, &str)> = definitions
            .split(';')
            .filter(|line| !line.trim().is_empty())
            .map(|line| {
                let (name, words) = line.split_once('=').unwrap_or_else(|| panic!("{text}: {line}"));
                (name.trim(), words)
            })
            .collect();
        let syntax = syntax.trim();
        let (opcode, operands) = syntax.split_once(' ').unwrap_or((syntax, ""));
        let slots = opcode.strip_prefix(row.name).unwrap_or_else(|| panic!("{text}: not {}", row.name));
        let slots = parse_slots(slots, &definitions, &since, text);
        let operands =
            split_operands(operands).into_iter().map(|word| parse_operand(word, &slots, text)).collect();
        Self { opcode: row.opcode, index, name: row.name, text, slots, operands, since, rules }
    }

    /// Orders `words` as the form does, or `None` if they are not its modifiers.
    #[must_use]
    pub fn order_modifiers(&self, words: &[Modifier]) -> Option<Vec<Modifier>> {
        let mut used = vec![false; words.len()];
        let mut ordered = Vec::with_capacity(words.len());
        let mut before = false;
        for slot in &self.slots {
            let found =
                words.iter().enumerate().position(|(i, word)| !used[i] && slot.choices.contains(word));
            if slot.joined && before != found.is_some() {
                return None;
            }
            match found {
                Some(i) => {
                    used[i] = true;
                    ordered.push(words[i]);
                }
                None if slot.optional => {}
                None => return None,
            }
            before = found.is_some();
        }
        // Modifiers may come in any order; types, spaces and matrix layouts among themselves may not.
        let is_type: fn(&Modifier) -> bool = |word| matches!(word, Modifier::Type(_));
        let is_space: fn(&Modifier) -> bool = |word| word.space().is_some();
        let is_layout: fn(&Modifier) -> bool = |word| matches!(word, Modifier::Row | Modifier::Col);
        let keeps = |kind: fn(&Modifier) -> bool| {
            words.iter().filter(|word| kind(word)).eq(ordered.iter().filter(|word| kind(word)))
        };
        let fits = used.iter().all(|used| *used) && keeps(is_type) && keeps(is_space) && keeps(is_layout);
        fits.then_some(ordered)
    }

    /// The operands that `count` written ones are, given the modifiers; `None` if the number does not fit.
    pub fn layout<'a, 'm>(
        &'a self,
        modifiers: &'m [Modifier],
        count: usize,
    ) -> Option<impl Iterator<Item = &'a OperandSpec> + Clone + use<'a, 'm>> {
        let present = move |spec: &&OperandSpec| match spec.presence {
            Presence::With(modifier) => modifiers.contains(&modifier),
            Presence::WithSlot(slot) => {
                modifiers.iter().any(|modifier| self.slots[slot].choices.contains(modifier))
            }
            Presence::Always | Presence::Optional => true,
        };
        let possible = self.operands.iter().filter(present).count();
        let optional = self.operands.iter().filter(|spec| spec.presence == Presence::Optional).count();
        if count > possible || count + optional < possible {
            return None;
        }
        // Optional operands fill up from the left.
        let mut left = optional - (possible - count);
        Some(self.operands.iter().filter(present).filter(move |spec| {
            if spec.presence != Presence::Optional {
                return true;
            }
            let take = left > 0;
            left = left.saturating_sub(1);
            take
        }))
    }

    /// Whether written operands have the shapes of the form: braces, brackets, pairs, literals.
    #[must_use]
    pub fn fits(&self, modifiers: &[Modifier], operands: &[Operand]) -> bool {
        self.layout(modifiers, operands.len()).is_some_and(|mut specs| {
            operands.iter().all(|operand| specs.next().is_some_and(|spec| spec.fits(operand)))
        })
    }
}

impl OperandSpec {
    /// Whether the operand is of the right shape, types aside.
    #[must_use]
    pub fn fits(&self, operand: &Operand) -> bool {
        match operand {
            Operand::Pair(_) => self.second.is_some(),
            Operand::Vector(_) => !matches!(self.count, Count::Scalar) || self.expect == Expect::Any,
            Operand::Address(address) => {
                self.expect == Expect::Address
                    && (self.count == Count::Scalar) == address.coordinates.is_empty()
            }
            Operand::Arguments(_) => self.expect == Expect::Arguments,
            Operand::Sink => self.expect == Expect::Sink || self.access == Access::Write,
            Operand::Label(_) => matches!(self.expect, Expect::Label | Expect::Function),
            Operand::Not(_) => self.expect == Expect::Predicate && self.access == Access::Read,
            Operand::Immediate(_) => {
                self.access == Access::Read
                    && self.may_be_literal
                    && matches!(self.count, Count::Scalar | Count::Vector)
                    && !matches!(
                        self.expect,
                        Expect::Address | Expect::Label | Expect::Function | Expect::Sink | Expect::Arguments
                    )
            }
            Operand::Symbol(..) => {
                self.access == Access::Read
                    && (self.may_be_symbol || matches!(self.expect, Expect::Any | Expect::Function))
            }
            Operand::Special(_) => self.expect == Expect::Any || self.may_be_special,
            Operand::Register(_) => {
                matches!(self.count, Count::Scalar | Count::Vector)
                    && !matches!(
                        self.expect,
                        Expect::Immediate(..)
                            | Expect::Address
                            | Expect::Label
                            | Expect::Sink
                            | Expect::Arguments
                    )
            }
        }
    }
}

fn parse_slots(text: &'static str, definitions: &[(&str, &str)], since: &Since, form: &str) -> Vec<Slot> {
    let mut slots = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let optional = rest.starts_with('{');
        let (words, after) = if optional {
            rest[1..].split_once('}').unwrap_or_else(|| panic!("{form}: unclosed brace"))
        } else {
            rest.split_at(rest[1..].find(['.', '{']).map_or(rest.len(), |at| at + 1))
        };
        let words =
            words.strip_prefix('.').unwrap_or_else(|| panic!("{form}: expected a dot before {words}"));
        for (index, name) in words.split('.').enumerate() {
            let words = definitions.iter().chain(COMMON_SLOTS).find(|(slot, _)| *slot == name);
            let mut slot = Slot { name, choices: vec![], optional, joined: index > 0, later: vec![] };
            for word in words.map_or(name, |(_, words)| words).split_whitespace() {
                let (word, later) = word.split_once('@').map_or((word, None), |(word, at)| (word, Some(at)));
                let choices = parse_choice(word, form);
                if let Some(later) = later {
                    let later = parse_later(later, since);
                    slot.later.extend(choices.iter().map(|choice| (*choice, later.clone())));
                }
                slot.choices.extend(choices);
            }
            slots.push(slot);
        }
        rest = after;
    }
    slots
}

/// `8.6`, or `8.6/sm_90,sm_100f`; without targets those of the form.
fn parse_later(text: &str, form: &Since) -> Since {
    match text.split_once('/') {
        Some((version, targets)) => Since::parse(&format!("{version} {}", targets.replace(',', " "))),
        None => {
            Since { version: Since::parse(&format!("{text} sm_10")).version, targets: form.targets.clone() }
        }
    }
}

/// A modifier, or the shapes of a range of N.
fn parse_choice(word: &str, form: &str) -> Vec<Modifier> {
    let modifier = |word: &str| Modifier::from_name(word).unwrap_or_else(|| panic!("{form}: .{word}"));
    let Some((low, rest)) = word.split_once("..") else { return vec![modifier(word)] };
    let range = || {
        let (m, low) = low.split_once('n')?;
        let (high, rest) = rest.split_once(':')?;
        let (step, k) = rest.split_once('k')?;
        let (low, high, step) = (low.parse().ok()?, high.parse().ok()?, step.parse().ok()?);
        Some((low..=high).step_by(step).map(|n: u16| modifier(&format!("{m}n{n}k{k}"))).collect())
    };
    range().unwrap_or_else(|| panic!("{form}: range {word}"))
}

/// Splits at commas outside parentheses.
fn split_operands(text: &'static str) -> Vec<&'static str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect()
}

fn parse_operand(word: &'static str, slots: &[Slot], form: &str) -> OperandSpec {
    if let Some(inner) = word.strip_prefix('[') {
        let (inner, after) = inner.split_once(']').unwrap_or_else(|| panic!("{form}: unclosed bracket"));
        let (name, count) =
            inner.split_once('*').map_or((inner, Count::Scalar), |(name, n)| (name, parse_count(n, form)));
        let presence = parse_presence(after.strip_prefix('?'), slots, form);
        return OperandSpec {
            name,
            presence,
            second: None,
            count,
            expect: Expect::Address,
            wide: false,
            may_be_wider: false,
            may_be_special: false,
            may_be_symbol: false,
            may_be_literal: false,
            access: Access::Read,
        };
    }
    let at = word.rfind(['=', '+']).or_else(|| {
        // The mark is the last single colon: `::` belongs to a modifier after `?`.
        word.match_indices(':')
            .map(|(i, _)| i)
            .rfind(|i| !word[i + 1..].starts_with(':') && !word[..*i].ends_with(':'))
    });
    let at = at.unwrap_or_else(|| panic!("{form}: {word} has no type"));
    let access = match word.as_bytes()[at] {
        b'=' => Access::Write,
        b'+' => Access::ReadWrite,
        _ => Access::Read,
    };
    let (left, ty) = (&word[..at], &word[at + 1..]);
    let (left, count) =
        left.split_once('*').map_or((left, Count::Scalar), |(name, count)| (name, parse_count(count, form)));
    let (left, presence) = left
        .split_once('?')
        .map_or((left, Presence::Always), |(name, with)| (name, parse_presence(Some(with), slots, form)));
    let (name, second) = left
        .split_once("{|")
        .map_or((left, None), |(name, second)| (name, Some(second.trim_end_matches('}'))));
    let (ty, may_be_literal) = ty.strip_suffix('!').map_or((ty, true), |ty| (ty, false));
    let (ty, may_be_symbol) = ty.strip_suffix('@').map_or((ty, false), |ty| (ty, true));
    let (ty, may_be_special) = ty.strip_suffix('%').map_or((ty, false), |ty| (ty, true));
    let (ty, may_be_wider) = ty.strip_suffix('^').map_or((ty, false), |ty| (ty, true));
    let (ty, wide) = ty.strip_prefix("wide(").map_or((ty, false), |ty| (ty.trim_end_matches(')'), true));
    let expect = parse_expect(ty, slots, form);
    let count = if expect == Expect::Fragment { Count::Fragment } else { count };
    OperandSpec {
        name,
        presence,
        second,
        count,
        expect,
        wide,
        may_be_wider,
        may_be_special,
        may_be_symbol,
        may_be_literal,
        access,
    }
}

fn parse_presence(with: Option<&str>, slots: &[Slot], form: &str) -> Presence {
    let slot = |word| slots.iter().position(|slot| slot.name == word);
    match with {
        None => Presence::Always,
        Some("") => Presence::Optional,
        Some(word) => Modifier::from_name(word)
            .map(Presence::With)
            .or_else(|| slot(word).map(Presence::WithSlot))
            .unwrap_or_else(|| panic!("{form}: no modifier .{word}")),
    }
}

fn parse_count(text: &str, form: &str) -> Count {
    match text {
        "vec" => Count::Vector,
        "num" => Count::Num,
        "dim" => Count::Dim,
        "im2col" => Count::Im2col,
        "frag" => Count::Fragment,
        number => Count::Fixed(number.parse().unwrap_or_else(|_| panic!("{form}: count {number}"))),
    }
}

fn parse_expect(text: &str, slots: &[Slot], form: &str) -> Expect {
    if let Some(slot) = slots.iter().position(|slot| slot.name == text && !is_type(text)) {
        return Expect::Slot(slot);
    }
    match text {
        "pred" => Expect::Predicate,
        "imm" => Expect::Immediate(i64::MIN, i64::MAX),
        "any" => Expect::Any,
        "frag" => Expect::Fragment,
        "label" => Expect::Label,
        "function" => Expect::Function,
        "arguments" => Expect::Arguments,
        "sink" => Expect::Sink,
        range if range.starts_with("imm(") => {
            let (low, high) = range[4..]
                .trim_end_matches(')')
                .split_once("..")
                .unwrap_or_else(|| panic!("{form}: {range}"));
            let number = |digits: &str| digits.parse().unwrap_or_else(|_| panic!("{form}: {range}"));
            Expect::Immediate(number(low), number(high))
        }
        ty => Expect::Type(Type::from_name(ty).unwrap_or_else(|| panic!("{form}: no type {ty}"))),
    }
}

fn is_type(text: &str) -> bool {
    Type::from_name(text).is_some()
}
