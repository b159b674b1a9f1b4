//! Instructions (PTX ISA 4.3.2, chapter 6): guard, opcode, operands. The opcode is looked up in the table once per
//! spelling; the forms with exactly its modifiers are the candidates, and the first whose shape the operands have
//! is taken.

use super::Parser;
use super::scope::Meaning;
use crate::error::{ParseError, ParseErrorKind, closest};
use crate::instruction::{Guard, Instruction};
use crate::lexer::{Lexer, Result, starts_name};
use crate::modifier::Modifier;
use crate::module::Statement;
use crate::operand::{Address, Base, Immediate, Operand, Register, SpecialRegister};
use crate::table::{self, Expect, Form, Row};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A form that takes just the modifiers of an opcode, and the modifiers in its order.
struct Candidate {
    form: &'static Form,
    modifiers: Arc<[Modifier]>,
}

/// An opcode as one text spelled it.
struct Opcode {
    candidates: Vec<Candidate>,
    names: Names,
}

/// What names and parentheses among the operands may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    /// Registers and symbols.
    Plain,
    /// Labels only.
    Labels,
    /// Registers and symbols; labels where a name is none of them.
    LabelsToo,
    /// A call: argument lists, a callee, and after it perhaps a label.
    Call,
}

/// The opcodes of a text.
#[derive(Default)]
pub(super) struct Opcodes<'a> {
    by_spelling: FxHashMap<&'a str, usize>,
    opcodes: Vec<Opcode>,
    /// Operands of the statement that is being read.
    operands: Vec<Operand>,
    /// Operands between its braces.
    elements: Vec<Operand>,
}

impl<'a> Opcodes<'a> {
    /// The index of an opcode.
    #[inline]
    fn find(&mut self, spelling: &'a str, at: &Lexer<'a>) -> Result<usize> {
        match self.by_spelling.get(spelling) {
            Some(&index) => Ok(index),
            None => self.insert(spelling, at),
        }
    }

    fn insert(&mut self, spelling: &'a str, at: &Lexer<'a>) -> Result<usize> {
        let opcode = look_up(&without_blanks(spelling)).map_err(|kind| {
            let mut error = at.error(kind);
            spelling.clone_into(&mut error.token);
            error
        })?;
        let index = self.opcodes.len();
        self.opcodes.push(opcode);
        self.by_spelling.insert(spelling, index);
        Ok(index)
    }
}

/// Instructions of the PTX ISA that have no row: textures and surfaces (9.7.10, 9.7.11), and scalar video instructions
/// (9.7.17.1).
const UNSUPPORTED: [&str; 17] = [
    "tex", "tld4", "txq", "istypep", "suld", "sust", "sured", "suq", "vadd", "vsub", "vabsdiff", "vmin",
    "vmax", "vshl", "vshr", "vmad", "vset",
];

/// There may be blanks and comments before the dots of an opcode.
fn without_blanks(spelling: &str) -> String {
    let mut rest = Lexer::new(spelling);
    let mut opcode = rest.opcode_word().to_owned();
    while !rest.at_end() {
        opcode += rest.opcode_word();
    }
    opcode
}

fn look_up(opcode: &str) -> std::result::Result<Opcode, ParseErrorKind> {
    let Some((row, rest)) = table::find_row(opcode) else {
        let first = opcode.split('.').next().unwrap_or("");
        if UNSUPPORTED.contains(&first) {
            return Err(ParseErrorKind::UnsupportedInstruction);
        }
        let names = table::rows().iter().filter_map(|row| row.name.split('.').next());
        return Err(ParseErrorKind::UnknownInstruction { suggestion: closest(first, names) });
    };
    let words = rest.split('.').skip(1).map(|word| known_modifier(row, word));
    let words = words.collect::<std::result::Result<Vec<_>, _>>()?;
    let ordered = |form: &'static Form| {
        let modifiers = form.order_modifiers(&words)?.into();
        Some(Candidate { form, modifiers })
    };
    let candidates: Vec<_> = row.forms.iter().filter_map(ordered).collect();
    if candidates.is_empty() {
        let forms = list(row.forms.iter());
        return Err(ParseErrorKind::ModifierCombination { instruction: row.name, forms });
    }
    let names = names(&candidates);
    Ok(Opcode { candidates, names })
}

/// A modifier that some form of the row takes.
fn known_modifier(row: &'static Row, word: &str) -> std::result::Result<Modifier, ParseErrorKind> {
    let taken = |modifier: &Modifier| {
        row.forms.iter().flat_map(|form| &form.slots).any(|slot| slot.choices.contains(modifier))
    };
    Modifier::from_name(word).filter(taken).ok_or_else(|| ParseErrorKind::UnknownModifier {
        modifier: format!(".{word}"),
        instruction: row.name,
        forms: list(row.forms.iter()),
    })
}

fn names(candidates: &[Candidate]) -> Names {
    let mut specs = candidates.iter().flat_map(|candidate| &candidate.form.operands);
    let expects = |expect: Expect| specs.clone().any(|spec| spec.expect == expect);
    if expects(Expect::Function) {
        Names::Call
    } else if !expects(Expect::Label) {
        Names::Plain
    } else if specs.all(|spec| spec.expect == Expect::Label) {
        Names::Labels
    } else {
        Names::LabelsToo
    }
}

/// Forms as the table has them, one a line.
fn list<'f>(forms: impl Iterator<Item = &'f Form>) -> String {
    const MOST: usize = 12;
    let mut texts: Vec<_> = forms.map(|form| form.text).collect();
    let more = texts.len().saturating_sub(MOST);
    texts.truncate(MOST);
    let mut list: String = texts.iter().map(|text| format!("\n    {text}")).collect();
    if more > 0 {
        list += &format!("\n    and {more} more");
    }
    list
}

impl<'a> Parser<'a> {
    /// `@p` or `@!p`
    pub(super) fn guard(&mut self) -> Result<Guard> {
        self.lexer.take(b'@');
        let negated = self.lexer.take(b'!');
        Ok(Guard { register: self.register()?, negated })
    }

    /// The operands of an instruction, whose opcode stands at `at`, up to the semicolon.
    pub(super) fn instruction(
        &mut self,
        spelling: &'a str,
        guard: Option<Guard>,
        at: &Lexer<'a>,
    ) -> Result<()> {
        let index = self.opcodes.find(spelling, at)?;
        let names = self.opcodes.opcodes[index].names;
        self.opcodes.operands.clear();
        if !self.lexer.take(b';') {
            loop {
                let operand = self.operand(names)?;
                self.opcodes.operands.push(operand);
                if self.lexer.take(b',') {
                    continue;
                }
                self.lexer.expect(b';', "`,` or `;`")?;
                break;
            }
        }
        let Opcodes { opcodes, operands, .. } = &mut self.opcodes;
        let candidates = &opcodes[index].candidates;
        let fits = |candidate: &&Candidate| candidate.form.fits(&candidate.modifiers, operands);
        let Some(candidate) = candidates.iter().find(fits) else {
            return Err(wrong_operands(candidates, spelling, at));
        };
        #[expect(
            clippy::drain_collect,
            reason = "the list stays for the next statement, the copy is no larger than needed"
        )]
        let operands = operands.drain(..).collect();
        let statement = Statement::Instruction(Instruction {
            form: candidate.form,
            modifiers: Arc::clone(&candidate.modifiers),
            operands,
            guard,
            position: at.position(),
        });
        if names == Names::Plain {
            self.body.statements.push(statement);
        } else {
            self.push_with_labels(statement);
        }
        Ok(())
    }

    #[inline]
    fn operand(&mut self, names: Names) -> Result<Operand> {
        match self.lexer.peek() {
            b'[' => self.address(),
            b'{' => self.elements(b'{', b'}', "`,` or `}`").map(Operand::Vector),
            b'(' if names == Names::Call => self.elements(b'(', b')', "`,` or `)`").map(Operand::Arguments),
            _ => self.element(names),
        }
    }

    /// Operands without structure, in braces or parentheses.
    fn elements(&mut self, open: u8, close: u8, what: &'static str) -> Result<Vec<Operand>> {
        self.lexer.take(open);
        if self.lexer.take(close) {
            return Ok(Vec::new());
        }
        self.opcodes.elements.clear();
        loop {
            let element = self.element(Names::Plain)?;
            self.opcodes.elements.push(element);
            if !self.lexer.take(b',') {
                break;
            }
        }
        self.lexer.expect(close, what)?;
        Ok(self.opcodes.elements.drain(..).collect())
    }

    /// A name, a pair, a negated predicate or a constant.
    #[inline]
    fn element(&mut self, names: Names) -> Result<Operand> {
        match self.lexer.peek_two() {
            [first, _] if starts_name(first) => self.named(names),
            [b'!', second] if second != b'=' => {
                let start = self.lexer;
                self.lexer.take(b'!');
                if starts_name(self.lexer.peek()) {
                    return Ok(Operand::Not(self.register()?));
                }
                self.lexer = start;
                self.constant().map(Operand::Immediate)
            }
            [b'0'..=b'9' | b'-' | b'+' | b'~' | b'(' | b'.', _] => self.constant().map(Operand::Immediate),
            _ => Err(self.lexer.expected("an operand")),
        }
    }

    #[inline]
    fn named(&mut self, names: Names) -> Result<Operand> {
        let start = self.lexer;
        let text = self.lexer.operand_name()?;
        let name = self.scopes.intern(text);
        if names == Names::Labels {
            return Ok(Operand::Label(self.scopes.use_label(name, start.position())));
        }
        let operand = match self.scopes.resolve(name) {
            Meaning::Register(register) => Operand::Register(register),
            Meaning::Vector(first, count) => return Ok(Operand::Vector(components(first, count))),
            Meaning::Symbol(symbol) => {
                let offset = if self.lexer.peek() == b'+' { self.integer()? } else { 0 };
                return Ok(Operand::Symbol(symbol, offset));
            }
            Meaning::Nothing => match text {
                "_" => Operand::Sink,
                "WARP_SZ" => return self.constant_after(Immediate::int(32)).map(Operand::Immediate),
                _ => return self.unbound(text, names, &start),
            },
        };
        if self.lexer.peek() == b'|' { self.pair(operand) } else { Ok(operand) }
    }

    /// A name that is not declared: a special register, a component of a vector register, a label.
    fn unbound(&mut self, text: &'a str, names: Names, start: &Lexer<'a>) -> Result<Operand> {
        if let Some(special) = SpecialRegister::from_name(text) {
            return Ok(Operand::Special(special));
        }
        if let Some((vector, component)) = text.split_once('.') {
            let name = self.scopes.intern(vector);
            let component =
                ["x", "y", "z", "w", "r", "g", "b", "a"].iter().position(|name| *name == component);
            let register = match (self.scopes.resolve(name), component) {
                (Meaning::Vector(first, count), Some(place)) if place % 4 < count.into() => {
                    Register(first.0 + place as u32 % 4)
                }
                (Meaning::Nothing, _) => return Err(self.undeclared(*start)),
                _ => {
                    let mut error = start.error(ParseErrorKind::NoComponent);
                    text.clone_into(&mut error.token);
                    return Err(error);
                }
            };
            let operand = Operand::Register(register);
            return if self.lexer.peek() == b'|' { self.pair(operand) } else { Ok(operand) };
        }
        let callee_is_read =
            self.opcodes.operands.iter().any(|operand| !matches!(operand, Operand::Arguments(_)));
        if names == Names::LabelsToo || (names == Names::Call && callee_is_read) {
            let name = self.scopes.intern(text);
            return Ok(Operand::Label(self.scopes.use_label(name, start.position())));
        }
        Err(self.undeclared(*start))
    }

    /// `first|second`, standing on the bar.
    fn pair(&mut self, first: Operand) -> Result<Operand> {
        self.lexer.take(b'|');
        let start = self.lexer;
        let second = match self.named(Names::Plain)? {
            second @ (Operand::Register(_) | Operand::Sink) => second,
            _ => return Err(start.expected("a register")),
        };
        Ok(Operand::Pair(Box::new([first, second])))
    }

    /// A scalar register.
    fn register(&mut self) -> Result<Register> {
        let start = self.lexer;
        match self.named(Names::Plain)? {
            Operand::Register(register) => Ok(register),
            _ => Err(start.expected("a register")),
        }
    }

    /// `[base+offset, {coordinates}]`
    #[inline]
    fn address(&mut self) -> Result<Operand> {
        self.lexer.take(b'[');
        let start = self.lexer;
        let (base, mut offset) = match self.element(Names::Plain)? {
            Operand::Register(register) => (Base::Register(register), 0),
            Operand::Symbol(symbol, offset) => (Base::Symbol(symbol), offset),
            Operand::Immediate(Immediate::Integer { value, .. }) => (Base::Immediate(value), 0),
            _ => return Err(start.expected("a register, a variable or an address")),
        };
        if matches!(base, Base::Register(_)) && self.lexer.peek() == b'+' {
            offset = self.integer()?;
        }
        let mut coordinates = Vec::new();
        if self.lexer.take(b',') {
            if self.lexer.peek() != b'{' {
                return Err(self.lexer.expected("coordinates in braces"));
            }
            coordinates = self.elements(b'{', b'}', "`,` or `}`")?;
        }
        self.lexer.expect(b']', "`]`")?;
        Ok(Operand::Address(Box::new(Address { base, offset, coordinates })))
    }
}

fn components(first: Register, count: u8) -> Vec<Operand> {
    (0..count.into()).map(|place| Operand::Register(Register(first.0 + place))).collect()
}

#[cold]
fn wrong_operands(candidates: &[Candidate], spelling: &str, at: &Lexer<'_>) -> Box<ParseError> {
    let forms = list(candidates.iter().map(|candidate| candidate.form));
    let mut error = at.error(ParseErrorKind::Operands { forms });
    spelling.clone_into(&mut error.token);
    error
}
