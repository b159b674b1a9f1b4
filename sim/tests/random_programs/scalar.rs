//! A small language of integer programs: it is written as PTX, and evaluated thread by thread without any of the
//! simulator's code. The operations are those of the PTX ISA, sections 9.7.1, 9.7.7 and 9.7.9.

use proptest::prelude::*;
use std::fmt::Write;

/// 32-bit registers of a thread.
pub const WORDS: usize = 6;
/// 64-bit registers of a thread.
pub const PAIRS: usize = 3;
/// Predicates of a thread.
const PREDICATES: usize = 3;
/// Bytes that a thread reads and writes: its words, its pairs, its predicates as a mask.
pub const BYTES: usize = 4 * WORDS + 8 * PAIRS + 8;

/// Registers of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub words: [u32; WORDS],
    pub pairs: [u64; PAIRS],
    pub predicates: [bool; PREDICATES],
}

impl State {
    /// The state that bytes hold; predicates come from the last word.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let pair = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let mask = word(4 * WORDS + 8 * PAIRS);
        Self {
            words: std::array::from_fn(|index| word(4 * index)),
            pairs: std::array::from_fn(|index| pair(4 * WORDS + 8 * index)),
            predicates: std::array::from_fn(|index| mask >> index & 1 == 1),
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mask = self.predicates.iter().rev().fold(0u32, |mask, bit| mask << 1 | u32::from(*bit));
        let words = self.words.iter().flat_map(|word| word.to_le_bytes());
        let pairs = self.pairs.iter().flat_map(|pair| pair.to_le_bytes());
        words.chain(pairs).chain(mask.to_le_bytes()).chain([0; 4]).collect()
    }
}

/// An operand of 32 bits.
#[derive(Debug, Clone, Copy)]
pub enum Word {
    Register(usize),
    Literal(u32),
}

/// An operand of 64 bits.
#[derive(Debug, Clone, Copy)]
pub enum Pair {
    Register(usize),
    Literal(u64),
}

/// An operation on 32-bit operands, of which it uses as many as it has.
#[derive(Debug, Clone, Copy)]
pub struct WordOperation {
    name: &'static str,
    operands: usize,
    evaluate: fn(u32, u32, u32) -> u32,
}

/// An operation on 64-bit operands.
#[derive(Debug, Clone, Copy)]
pub struct PairOperation {
    name: &'static str,
    operands: usize,
    evaluate: fn(u64, u64) -> u64,
}

macro_rules! operations {
    ($ty:ident, $number:ty: $($name:literal $operands:literal $evaluate:expr;)*) => {
        &[$($ty { name: $name, operands: $operands, evaluate: $evaluate },)*]
    };
}

const fn signed(value: u32) -> i32 {
    value.cast_signed()
}

const fn wide(value: u32) -> u64 {
    value as u64
}

const WORD_OPERATIONS: &[WordOperation] = operations! { WordOperation, u32:
    "add.u32" 2 |a, b, _| a.wrapping_add(b);
    "sub.s32" 2 |a, b, _| a.wrapping_sub(b);
    "mul.lo.u32" 2 |a, b, _| a.wrapping_mul(b);
    "mul.hi.u32" 2 |a, b, _| ((wide(a) * wide(b)) >> 32) as u32;
    "mul.hi.s32" 2 |a, b, _| ((i64::from(signed(a)) * i64::from(signed(b))) >> 32) as u32;
    "mad.lo.s32" 3 |a, b, c| a.wrapping_mul(b).wrapping_add(c);
    "mad.hi.u32" 3 |a, b, c| (((wide(a) * wide(b)) >> 32) as u32).wrapping_add(c);
    "min.u32" 2 |a, b, _| a.min(b);
    "max.u32" 2 |a, b, _| a.max(b);
    "min.s32" 2 |a, b, _| signed(a).min(signed(b)).cast_unsigned();
    "max.s32" 2 |a, b, _| signed(a).max(signed(b)).cast_unsigned();
    "and.b32" 2 |a, b, _| a & b;
    "or.b32" 2 |a, b, _| a | b;
    "xor.b32" 2 |a, b, _| a ^ b;
    "not.b32" 1 |a, _, _| !a;
    "cnot.b32" 1 |a, _, _| u32::from(a == 0);
    "neg.s32" 1 |a, _, _| 0u32.wrapping_sub(a);
    "abs.s32" 1 |a, _, _| if a >> 31 == 1 { 0u32.wrapping_sub(a) } else { a };
    "sad.u32" 3 |a, b, c| a.max(b).wrapping_sub(a.min(b)).wrapping_add(c);
    // Shifts clamp their count; shf.wrap takes it modulo 32.
    "shl.b32" 2 |a, b, _| if b > 31 { 0 } else { a << b };
    "shr.u32" 2 |a, b, _| if b > 31 { 0 } else { a >> b };
    "shr.s32" 2 |a, b, _| (signed(a) >> b.min(31)).cast_unsigned();
    "shf.l.wrap.b32" 3 |a, b, c| ((wide(b) << 32 | wide(a)) << (c & 31) >> 32) as u32;
    "shf.r.clamp.b32" 3 |a, b, c| ((wide(b) << 32 | wide(a)) >> c.min(32)) as u32;
    "popc.b32" 1 |a, _, _| (0..32).map(|bit| a >> bit & 1).sum();
    "clz.b32" 1 |a, _, _| (0..32).take_while(|bit| a >> (31 - bit) & 1 == 0).count() as u32;
    "brev.b32" 1 |a, _, _| (0..32).fold(0, |reversed, bit| reversed | (a >> bit & 1) << (31 - bit));
    "bfind.u32" 1 |a, _, _| (0..32).rev().find(|bit| a >> bit & 1 == 1).unwrap_or(u32::MAX);
    "mul24.lo.u32" 2 |a, b, _| (wide(a & 0xff_ffff) * wide(b & 0xff_ffff)) as u32;
    // The truth table is 0x96: the sum of three bits.
    "lop3.b32" 3 |a, b, c| a ^ b ^ c;
    "dp4a.u32.u32" 3 |a, b, c| (0..4).fold(c, |sum, byte| {
        sum.wrapping_add((a >> (8 * byte) & 0xff) * (b >> (8 * byte) & 0xff))
    });
    // The low three bits of each nibble of `c` choose a byte of `b:a`, the fourth repeats its sign.
    "prmt.b32" 3 |a, b, c| (0..4).fold(0, |word, place| {
        let nibble = c >> (4 * place) & 0xf;
        let byte = ((wide(b) << 32 | wide(a)) >> (8 * (nibble & 7)) & 0xff) as u32;
        word | if nibble < 8 { byte } else if byte > 127 { 0xff } else { 0 } << (8 * place)
    });
    "bfe.u32" 3 |a, b, c| (0..c & 0xff).take(32).filter(|bit| bit + (b & 0xff) < 32)
        .fold(0, |field, bit| field | (a >> (bit + (b & 0xff)) & 1) << bit);
};

const PAIR_OPERATIONS: &[PairOperation] = operations! { PairOperation, u64:
    "add.u64" 2 |a, b| a.wrapping_add(b);
    "sub.s64" 2 |a, b| a.wrapping_sub(b);
    "mul.lo.u64" 2 |a, b| a.wrapping_mul(b);
    "mul.hi.u64" 2 |a, b| ((u128::from(a) * u128::from(b)) >> 64) as u64;
    "min.s64" 2 |a, b| a.cast_signed().min(b.cast_signed()).cast_unsigned();
    "max.u64" 2 |a, b| a.max(b);
    "and.b64" 2 |a, b| a & b;
    "or.b64" 2 |a, b| a | b;
    "xor.b64" 2 |a, b| a ^ b;
    "not.b64" 1 |a, _| !a;
    "neg.s64" 1 |a, _| 0u64.wrapping_sub(a);
};

/// A comparison of `setp`, of unsigned or signed numbers.
#[derive(Debug, Clone, Copy)]
pub struct Comparison {
    name: &'static str,
    is_signed: bool,
    holds: fn(&i128, &i128) -> bool,
}

const COMPARISONS: &[Comparison] = &[
    Comparison { name: "eq", is_signed: false, holds: i128::eq },
    Comparison { name: "ne", is_signed: true, holds: i128::ne },
    Comparison { name: "lt", is_signed: true, holds: i128::lt },
    Comparison { name: "le", is_signed: false, holds: i128::le },
    Comparison { name: "gt", is_signed: true, holds: i128::gt },
    Comparison { name: "ge", is_signed: false, holds: i128::ge },
];

/// A predicate, perhaps negated.
#[derive(Debug, Clone, Copy)]
pub struct Condition {
    predicate: usize,
    negated: bool,
}

impl Condition {
    fn holds(self, state: &State) -> bool {
        state.predicates[self.predicate] != self.negated
    }

    fn guard(self) -> String {
        format!("@{}%p{}", if self.negated { "!" } else { "" }, self.predicate)
    }

    fn inverse(self) -> Self {
        Self { negated: !self.negated, ..self }
    }
}

/// One statement.
#[derive(Debug, Clone)]
pub enum Statement {
    Word {
        to: usize,
        operation: WordOperation,
        from: [Word; 3],
        guard: Option<Condition>,
    },
    /// An unsigned division or remainder by a number that was made odd.
    Divide {
        to: usize,
        remainder: bool,
        from: [Word; 2],
    },
    Pair {
        to: usize,
        operation: PairOperation,
        from: [Pair; 2],
        guard: Option<Condition>,
    },
    /// `shl`, `shr.u64` or `shr.s64`.
    ShiftPair {
        to: usize,
        name: &'static str,
        from: Pair,
        count: Word,
    },
    /// `mul.wide.u32` or `mul.wide.s32`
    Widen {
        to: usize,
        is_signed: bool,
        from: [Word; 2],
    },
    /// The low or high half.
    Half {
        to: usize,
        high: bool,
        from: usize,
    },
    Compare {
        to: usize,
        comparison: Comparison,
        from: [Word; 2],
    },
    ComparePair {
        to: usize,
        comparison: Comparison,
        from: [Pair; 2],
    },
    Select {
        to: usize,
        from: [Word; 2],
        condition: usize,
    },
    If {
        condition: Condition,
        then: Vec<Self>,
        otherwise: Vec<Self>,
    },
    /// As often as the low two bits of a word say, and once more.
    Loop {
        rounds: usize,
        body: Vec<Self>,
    },
}

fn word() -> impl Strategy<Value = Word> {
    let literals =
        prop::sample::select(vec![0, 1, 2, 3, 5, 16, 31, 32, 33, 255, 0x7fff_ffff, 0x8000_0000, u32::MAX]);
    prop_oneof![4 => (0..WORDS).prop_map(Word::Register), 1 => literals.prop_map(Word::Literal)]
}

fn pair() -> impl Strategy<Value = Pair> {
    let literals = prop::sample::select(vec![0, 1, 7, 64, 1 << 32, 1 << 63, u64::MAX]);
    prop_oneof![4 => (0..PAIRS).prop_map(Pair::Register), 1 => literals.prop_map(Pair::Literal)]
}

fn condition() -> impl Strategy<Value = Condition> {
    (0..PREDICATES, any::<bool>()).prop_map(|(predicate, negated)| Condition { predicate, negated })
}

fn simple() -> impl Strategy<Value = Statement> {
    let guard = || prop::option::weighted(0.2, condition());
    let comparison = || prop::sample::select(COMPARISONS);
    let shifts = prop::sample::select(vec!["shl.b64", "shr.u64", "shr.s64"]);
    prop_oneof![
        12 => (0..WORDS, prop::sample::select(WORD_OPERATIONS), [word(), word(), word()], guard())
            .prop_map(|(to, operation, from, guard)| Statement::Word { to, operation, from, guard }),
        1 => (0..WORDS, any::<bool>(), [word(), word()])
            .prop_map(|(to, remainder, from)| Statement::Divide { to, remainder, from }),
        4 => (0..PAIRS, prop::sample::select(PAIR_OPERATIONS), [pair(), pair()], guard())
            .prop_map(|(to, operation, from, guard)| Statement::Pair { to, operation, from, guard }),
        1 => (0..PAIRS, shifts, pair(), word())
            .prop_map(|(to, name, from, count)| Statement::ShiftPair { to, name, from, count }),
        1 => (0..PAIRS, any::<bool>(), [word(), word()])
            .prop_map(|(to, is_signed, from)| Statement::Widen { to, is_signed, from }),
        1 => (0..WORDS, any::<bool>(), 0..PAIRS).prop_map(|(to, high, from)| Statement::Half { to, high, from }),
        3 => (0..PREDICATES, comparison(), [word(), word()])
            .prop_map(|(to, comparison, from)| Statement::Compare { to, comparison, from }),
        1 => (0..PREDICATES, comparison(), [pair(), pair()])
            .prop_map(|(to, comparison, from)| Statement::ComparePair { to, comparison, from }),
        1 => (0..WORDS, [word(), word()], 0..PREDICATES)
            .prop_map(|(to, from, condition)| Statement::Select { to, from, condition }),
    ]
}

/// A program: statements, nested in branches and loops.
pub fn program() -> impl Strategy<Value = Vec<Statement>> {
    let statement = simple().prop_recursive(3, 40, 6, |inner| {
        let block = || prop::collection::vec(inner.clone(), 0..5);
        prop_oneof![
            (condition(), block(), block()).prop_map(|(condition, then, otherwise)| Statement::If {
                condition,
                then,
                otherwise
            }),
            (0..WORDS, block()).prop_map(|(rounds, body)| Statement::Loop { rounds, body }),
        ]
    });
    prop::collection::vec(statement, 1..25)
}

// What a program does.

fn word_of(state: &State, word: Word) -> u32 {
    match word {
        Word::Register(index) => state.words[index],
        Word::Literal(value) => value,
    }
}

fn pair_of(state: &State, pair: Pair) -> u64 {
    match pair {
        Pair::Register(index) => state.pairs[index],
        Pair::Literal(value) => value,
    }
}

/// Runs a program for one thread.
pub fn evaluate(program: &[Statement], state: &mut State) {
    for statement in program {
        step(statement, state);
    }
}

fn step(statement: &Statement, state: &mut State) {
    let runs = |guard: &Option<Condition>, state: &State| guard.is_none_or(|guard| guard.holds(state));
    match statement {
        Statement::Word { to, operation, from, guard } if runs(guard, state) => {
            let [a, b, c] = from.map(|word| word_of(state, word));
            state.words[*to] = (operation.evaluate)(a, b, c);
        }
        Statement::Pair { to, operation, from, guard } if runs(guard, state) => {
            let [a, b] = from.map(|pair| pair_of(state, pair));
            state.pairs[*to] = (operation.evaluate)(a, b);
        }
        Statement::Word { .. } | Statement::Pair { .. } => {}
        Statement::Divide { to, remainder, from } => {
            let [a, b] = from.map(|word| word_of(state, word));
            state.words[*to] = if *remainder { a % (b | 1) } else { a / (b | 1) };
        }
        Statement::ShiftPair { to, name, from, count } => {
            let (value, count) = (pair_of(state, *from), word_of(state, *count));
            state.pairs[*to] = match (*name, count) {
                ("shr.s64", count) => (value.cast_signed() >> count.min(63)).cast_unsigned(),
                (_, 64..) => 0,
                ("shl.b64", count) => value << count,
                (_, count) => value >> count,
            };
        }
        Statement::Widen { to, is_signed, from } => {
            let [a, b] = from.map(|word| word_of(state, word));
            state.pairs[*to] = if *is_signed {
                (i64::from(signed(a)) * i64::from(signed(b))).cast_unsigned()
            } else {
                wide(a) * wide(b)
            };
        }
        Statement::Half { to, high, from } => {
            state.words[*to] = (state.pairs[*from] >> if *high { 32 } else { 0 }) as u32;
        }
        Statement::Compare { to, comparison, from } => {
            let number = |word: Word| {
                let value = word_of(state, word);
                if comparison.is_signed { i128::from(signed(value)) } else { i128::from(value) }
            };
            let [a, b] = from.map(number);
            state.predicates[*to] = (comparison.holds)(&a, &b);
        }
        Statement::ComparePair { to, comparison, from } => {
            let number = |pair: Pair| {
                let value = pair_of(state, pair);
                if comparison.is_signed { i128::from(value.cast_signed()) } else { i128::from(value) }
            };
            let [a, b] = from.map(number);
            state.predicates[*to] = (comparison.holds)(&a, &b);
        }
        Statement::Select { to, from, condition } => {
            let chosen = if state.predicates[*condition] { from[0] } else { from[1] };
            state.words[*to] = word_of(state, chosen);
        }
        Statement::If { condition, then, otherwise } => {
            evaluate(if condition.holds(state) { then } else { otherwise }, state);
        }
        Statement::Loop { rounds, body } => {
            for _ in 0..=state.words[*rounds] & 3 {
                evaluate(body, state);
            }
        }
    }
}

// How it is written as PTX.

fn word_text(word: Word) -> String {
    match word {
        Word::Register(index) => format!("%r{index}"),
        Word::Literal(value) => value.to_string(),
    }
}

fn pair_text(pair: Pair) -> String {
    match pair {
        Pair::Register(index) => format!("%rd{index}"),
        Pair::Literal(value) => value.to_string(),
    }
}

/// A kernel that loads the state of each thread, runs the program and stores the state.
pub fn kernel(program: &[Statement]) -> String {
    let mut text = format!(
        ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry main(.param .u64 states) {{\n\
         .reg .b32 %r<{WORDS}>, %t<6>;\n.reg .b64 %rd<{PAIRS}>, %a<4>;\n.reg .pred %p<{PREDICATES}>;\n\
         ld.param.u64 %a0, [states];\nmov.u32 %t0, %ctaid.x;\nmov.u32 %t1, %ntid.x;\nmov.u32 %t2, %tid.x;\n\
         mad.lo.u32 %t3, %t0, %t1, %t2;\nmul.wide.u32 %a1, %t3, {BYTES};\nadd.u64 %a2, %a0, %a1;\n"
    );
    let mut access = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string grows");
    let mask = 4 * WORDS + 8 * PAIRS;
    (0..WORDS).for_each(|index| access(format_args!("ld.global.b32 %r{index}, [%a2+{}];", 4 * index)));
    (0..PAIRS)
        .for_each(|index| access(format_args!("ld.global.b64 %rd{index}, [%a2+{}];", 4 * WORDS + 8 * index)));
    access(format_args!("ld.global.b32 %t4, [%a2+{mask}];"));
    for index in 0..PREDICATES {
        access(format_args!("and.b32 %t5, %t4, {};\nsetp.ne.u32 %p{index}, %t5, 0;", 1 << index));
    }
    Emitter { text: &mut text, labels: 0 }.block(program);
    let mut access = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string grows");
    (0..WORDS).for_each(|index| access(format_args!("st.global.b32 [%a2+{}], %r{index};", 4 * index)));
    (0..PAIRS)
        .for_each(|index| access(format_args!("st.global.b64 [%a2+{}], %rd{index};", 4 * WORDS + 8 * index)));
    access(format_args!("mov.b32 %t4, 0;"));
    for index in 0..PREDICATES {
        access(format_args!("selp.b32 %t5, {}, 0, %p{index};\nor.b32 %t4, %t4, %t5;", 1 << index));
    }
    access(format_args!("st.global.b32 [%a2+{mask}], %t4;\nst.global.b32 [%a2+{}], 0;\nret;\n}}", mask + 4));
    text
}

struct Emitter<'t> {
    text: &'t mut String,
    labels: usize,
}

impl Emitter<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn block(&mut self, program: &[Statement]) {
        for statement in program {
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &Statement) {
        let guard = |guard: &Option<Condition>| guard.map_or(String::new(), |guard| guard.guard() + " ");
        match statement {
            Statement::Word { to, operation, from, guard: condition } => {
                let WordOperation { name, operands, .. } = operation;
                let from =
                    from[..*operands].iter().map(|word| word_text(*word)).collect::<Vec<_>>().join(", ");
                // Positions and lengths of bfe are bytes; literals beyond are refused, so they go through a register.
                if *name == "bfe.u32" {
                    let [a, b, c]: [&str; 3] =
                        from.split(", ").collect::<Vec<_>>().try_into().expect("three operands");
                    self.line(&format!("and.b32 %t4, {b}, 255;\nand.b32 %t5, {c}, 255;"));
                    return self.line(&format!("{}{name} %r{to}, {a}, %t4, %t5;", guard(condition)));
                }
                let table = if *name == "lop3.b32" { ", 0x96" } else { "" };
                self.line(&format!("{}{name} %r{to}, {from}{table};", guard(condition)));
            }
            Statement::Divide { to, remainder, from } => {
                let [a, b] = from.map(word_text);
                let name = if *remainder { "rem.u32" } else { "div.u32" };
                self.line(&format!("or.b32 %t4, {b}, 1;\n{name} %r{to}, {a}, %t4;"));
            }
            Statement::Pair { to, operation, from, guard: condition } => {
                let PairOperation { name, operands, .. } = operation;
                let from =
                    from[..*operands].iter().map(|pair| pair_text(*pair)).collect::<Vec<_>>().join(", ");
                self.line(&format!("{}{name} %rd{to}, {from};", guard(condition)));
            }
            Statement::ShiftPair { to, name, from, count } => {
                self.line(&format!("{name} %rd{to}, {}, {};", pair_text(*from), word_text(*count)));
            }
            Statement::Widen { to, is_signed, from } => {
                let [a, b] = from.map(word_text);
                self.line(&format!("mul.wide.{} %rd{to}, {a}, {b};", if *is_signed { "s32" } else { "u32" }));
            }
            Statement::Half { to, high, from } => {
                let halves = if *high { format!("_, %r{to}") } else { format!("%r{to}, _") };
                self.line(&format!("mov.b64 {{{halves}}}, %rd{from};"));
            }
            Statement::Compare { to, comparison, from } => {
                let [a, b] = from.map(word_text);
                self.line(&format!("setp.{}.{}32 %p{to}, {a}, {b};", comparison.name, letter(*comparison)));
            }
            Statement::ComparePair { to, comparison, from } => {
                let [a, b] = from.map(pair_text);
                self.line(&format!("setp.{}.{}64 %p{to}, {a}, {b};", comparison.name, letter(*comparison)));
            }
            Statement::Select { to, from, condition } => {
                let [a, b] = from.map(word_text);
                self.line(&format!("selp.b32 %r{to}, {a}, {b}, %p{condition};"));
            }
            Statement::If { condition, then, otherwise } => {
                let label = self.label();
                self.line(&format!("{} bra $else{label};", condition.inverse().guard()));
                self.block(then);
                self.line(&format!("bra $end{label};\n$else{label}:"));
                self.block(otherwise);
                self.line(&format!("$end{label}:"));
            }
            Statement::Loop { rounds, body } => {
                let label = self.label();
                self.line(&format!(
                    "{{ .reg .b32 count, most; .reg .pred again;\nand.b32 most, %r{rounds}, 3;"
                ));
                self.line(&format!("mov.b32 count, 0;\n$again{label}:"));
                self.block(body);
                self.line("add.u32 count, count, 1;\nsetp.le.u32 again, count, most;");
                self.line(&format!("@again bra $again{label}; }}"));
            }
        }
    }

    fn label(&mut self) -> usize {
        self.labels += 1;
        self.labels
    }
}

fn letter(comparison: Comparison) -> &'static str {
    if comparison.is_signed { "s" } else { "u" }
}
