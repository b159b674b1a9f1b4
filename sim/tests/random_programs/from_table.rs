//! Kernels made from the table of instructions: forms are chosen at random, operands as the forms ask for them, within
//! branches, loops and calls. Nothing in them is undefined: registers and memory are written before they are read, each
//! thread keeps to its own bytes between barriers, collective instructions stand where all threads of the CTA come by.

use rorqual_ptx::build::FunctionBuilder;
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::module::{Initializer, Linkage, Module, Variable, Version};
use rorqual_ptx::operand::{Immediate, Label, Operand, Register, SpecialRegister, Symbol};
use rorqual_ptx::table::{Access, Count, Expect, Form, Opcode, OperandSpec, Presence, find_row, rows};
use rorqual_ptx::target::Target;
use rorqual_ptx::types::{Kind, Space, Type};
use std::sync::LazyLock;

/// Bytes of global memory that belong to a thread: the first half is for loads and stores, the rest for its registers.
pub const SLOT: i64 = 512;
/// Cells of 8 bytes that all threads reduce into, one for each operation.
pub const CELLS: usize = 8;
/// Bytes of shared memory, and of local memory, that belong to a thread.
const SCRATCH: i64 = 64;
/// Threads of a CTA at most.
const MOST_THREADS: i64 = 96;
/// Braces of control flow inside each other.
const DEEPEST: u32 = 3;

/// Decisions: bytes, and zeros when they are used up.
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        let mut number = 0;
        let mut reach = 1;
        while reach < bound {
            let byte = self.0.split_off_first().copied().unwrap_or(0);
            (number, reach) = (number << 8 | usize::from(byte), reach << 8);
        }
        number % bound.max(1)
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 1
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn are_left(&self) -> bool {
        !self.0.is_empty()
    }
}

/// A module with the kernel `main`, whose parameters are the addresses of all threads' bytes and of the cells.
pub struct Program {
    pub module: Module,
    pub threads: u32,
}

/// The types that registers are declared with, and how many there are of each.
const POOLS: &[(Type, usize)] = &[
    (Type::B16, 2),
    (Type::U16, 1),
    (Type::S16, 1),
    (Type::F16, 1),
    (Type::B32, 4),
    (Type::U32, 2),
    (Type::S32, 2),
    (Type::F32, 3),
    (Type::F16x2, 1),
    (Type::B64, 3),
    (Type::U64, 1),
    (Type::S64, 1),
    (Type::F64, 2),
    (Type::Pred, 3),
];

/// Forms whose operands are all single registers or literals, and whose result depends on nothing else.
static PLAIN_FORMS: LazyLock<Vec<&'static Form>> = LazyLock::new(|| {
    let plain_operand = |spec: &OperandSpec| {
        spec.count == Count::Scalar
            && matches!(
                spec.expect,
                Expect::Type(_) | Expect::Slot(_) | Expect::Predicate | Expect::Immediate(..)
            )
    };
    let about_addresses =
        ["cvta", "isspacep", "mapa", "getctarank", "createpolicy", "alloca", "stackrestore"];
    let forms = rows().iter().flat_map(|row| &row.forms);
    forms
        .filter(|form| {
            matches!(form.opcode, Opcode::Arith(_) | Opcode::Float(_) | Opcode::Bits(_) | Opcode::Convert(_))
                && !about_addresses.iter().any(|name| form.name.starts_with(name))
                && form.operands.iter().all(plain_operand)
                // What carries a condition code on has no result without the instruction before it.
                && !matches!(form.name, "addc" | "subc" | "madc")
        })
        .collect()
});

/// A program that the choices make.
pub fn generate(choices: &mut Choices<'_>) -> Program {
    let target = choices.pick(&["sm_80", "sm_89", "sm_90", "sm_90a", "sm_100a", "sm_120"]);
    let target: Target = target.parse().expect("a target");
    let mut module = Module::new(Version { major: 9, minor: 2 }, target);
    let table = Variable {
        initializer: Some(
            (0..16).map(|word| Initializer::Value(Immediate::int(word * 0x0101_0101))).collect(),
        ),
        ..Variable::new("table", Space::Const, Type::B32).array(Some(16)).aligned(16)
    };
    let table = module.add_variable(table);
    let shared = Variable::new("shared_bytes", Space::Shared, Type::B8);
    let shared = module.add_variable(shared.array(Some((SCRATCH * MOST_THREADS) as u64)).aligned(16));

    let functions = (0..choices.below(3)).map(|number| {
        let in_parameters = choices.one_in(2);
        let function = device_function(&module, &format!("function{number}"), in_parameters, choices);
        (module.add_function(function), in_parameters)
    });
    let functions: Vec<_> = functions.collect();

    let parameter = |name: &str| Variable::new(name, Space::Param, Type::U64);
    let builder = FunctionBuilder::kernel("main", vec![parameter("data"), parameter("cells")]);
    let mut kernel = Writer::new(builder, &module, choices);
    let places = kernel.prologue(table, shared);
    kernel.places = Some(places);
    kernel.functions = functions;
    kernel.block(0, true);
    kernel.epilogue();
    let function = kernel.builder.define();
    let threads = 32 * (1 + choices.below(MOST_THREADS as usize / 32)) as u32;
    module.add_function(function);
    Program { module, threads }
}

/// `.func (.b32 result) name(.b32 a, .b64 b)`, with registers or `.param` variables.
fn device_function(
    module: &Module,
    name: &str,
    in_parameters: bool,
    choices: &mut Choices<'_>,
) -> rorqual_ptx::module::Function {
    let space = if in_parameters { Space::Param } else { Space::Reg };
    let builder = FunctionBuilder::device(
        name,
        vec![Variable::new("result", space, Type::B32)],
        vec![Variable::new("a", space, Type::B32), Variable::new("b", space, Type::B64)],
    )
    .linkage(Linkage::Internal);
    let mut writer = Writer::new(builder, module, choices);
    let (narrow, wide) = (writer.builder.register(Type::B32), writer.builder.register(Type::B64));
    let [result, a, b] = [0, 1, 2].map(|index| writer.builder.parameter(index));
    let formal = |index| Register(index);
    if in_parameters {
        writer.emit("ld", "param.b32", vec![Operand::Register(narrow), Operand::at_symbol(a, 0)]);
        writer.emit("ld", "param.b64", vec![Operand::Register(wide), Operand::at_symbol(b, 0)]);
    } else {
        writer.emit("mov", "b32", vec![Operand::Register(narrow), Operand::Register(formal(1))]);
        writer.emit("mov", "b64", vec![Operand::Register(wide), Operand::Register(formal(2))]);
    }
    writer.fill_pools(narrow, wide);
    for _ in 0..2 + writer.choices.below(6) {
        writer.plain_instruction();
    }
    let value = writer.register(Type::B32);
    if in_parameters {
        writer.emit("st", "param.b32", vec![Operand::at_symbol(result, 0), Operand::Register(value)]);
    } else {
        writer.emit("mov", "b32", vec![Operand::Register(formal(0)), Operand::Register(value)]);
    }
    writer.emit("ret", "", vec![]);
    writer.builder.define()
}

/// Where a thread's memory lies: registers with addresses, and variables.
#[derive(Clone, Copy)]
struct Places {
    thread: Register,
    own: Register,
    cells: Register,
    table: Symbol,
    shared: Symbol,
    own_shared: Register,
    local: Symbol,
    own_local: Register,
    /// Different between CTAs, the same in all threads of one.
    uniform: Register,
}

/// Writes a function.
struct Writer<'c, 'b> {
    choices: &'c mut Choices<'b>,
    builder: FunctionBuilder,
    version: Version,
    target: Target,
    pools: Vec<(Type, Vec<Register>)>,
    places: Option<Places>,
    functions: Vec<(Symbol, bool)>,
}

fn modifiers(text: &str) -> Vec<Modifier> {
    let words = text.split('.').filter(|word| !word.is_empty());
    words.map(|word| Modifier::from_name(word).unwrap_or_else(|| panic!("no modifier {word}"))).collect()
}

impl<'c, 'b> Writer<'c, 'b> {
    fn new(mut builder: FunctionBuilder, module: &Module, choices: &'c mut Choices<'b>) -> Self {
        let pools = POOLS.iter().map(|&(ty, count)| (ty, builder.registers(ty, count))).collect();
        let (version, target) = (module.version, module.target);
        Self { choices, builder, version, target, pools, places: None, functions: Vec::new() }
    }

    fn emit(&mut self, name: &str, words: &str, operands: Vec<Operand>) {
        let full = format!("{name}.{words}");
        let opcode = full.trim_end_matches('.');
        let (row, rest) = find_row(opcode).unwrap_or_else(|| panic!("no instruction {opcode}"));
        self.builder
            .emit(row.name, &modifiers(rest), operands)
            .unwrap_or_else(|error| panic!("{opcode}: {error}"));
    }

    /// Some register of a pool whose type the test allows.
    fn any_register(&mut self, fits: impl Fn(Type) -> bool) -> Option<Register> {
        let fitting: Vec<Register> = self
            .pools
            .iter()
            .filter(|(ty, _)| fits(*ty))
            .flat_map(|(_, registers)| registers)
            .copied()
            .collect();
        (!fitting.is_empty()).then(|| self.choices.pick(&fitting))
    }

    /// Some register that is declared with just this type.
    fn register(&mut self, ty: Type) -> Register {
        self.any_register(|declared| declared == ty).expect("a pool of every type that is asked for")
    }

    /// Some register of so many bits, whatever its type.
    fn register_of_size(&mut self, bits: u32) -> Register {
        self.any_register(|ty| ty.bits() == bits && ty != Type::Pred)
            .expect("registers of 16, 32 and 64 bits")
    }

    fn places(&self) -> Places {
        self.places.expect("in a kernel")
    }

    /// Addresses, and a value in every register and in all of the thread's memory.
    fn prologue(&mut self, table: Symbol, shared: Symbol) -> Places {
        let operand = Operand::Register;
        let [thread, cta, size, flat, uniform] = [(); 5].map(|()| self.builder.register(Type::U32));
        let [own, cells, offset, own_local] = [(); 4].map(|()| self.builder.register(Type::U64));
        let own_shared = self.builder.register(Type::U32);
        let local =
            Variable::new("local_bytes", Space::Local, Type::B8).array(Some(SCRATCH as u64)).aligned(16);
        let local = self.builder.variable(local);
        for (register, special) in
            [(thread, SpecialRegister::TidX), (cta, SpecialRegister::CtaidX), (size, SpecialRegister::NtidX)]
        {
            self.emit("mov", "u32", vec![operand(register), Operand::Special(special)]);
        }
        self.emit("mad", "lo.u32", vec![operand(flat), operand(cta), operand(size), operand(thread)]);
        self.emit("ld", "param.u64", vec![operand(own), Operand::at_symbol(self.builder.parameter(0), 0)]);
        self.emit("ld", "param.u64", vec![operand(cells), Operand::at_symbol(self.builder.parameter(1), 0)]);
        self.emit("mul", "wide.u32", vec![operand(offset), operand(flat), Operand::int(SLOT)]);
        self.emit("add", "u64", vec![operand(own), operand(own), operand(offset)]);
        self.emit("mov", "u32", vec![operand(own_shared), Operand::Symbol(shared, 0)]);
        self.emit(
            "mad",
            "lo.u32",
            vec![operand(own_shared), operand(thread), Operand::int(SCRATCH), operand(own_shared)],
        );
        self.emit("mov", "u64", vec![operand(own_local), Operand::Symbol(local, 0)]);
        self.emit("mov", "u32", vec![operand(uniform), operand(cta)]);
        let (narrow, wide) = (self.builder.register(Type::B32), self.builder.register(Type::B64));
        self.emit("ld", "global.b32", vec![operand(narrow), Operand::at(own, 0)]);
        self.emit("ld", "global.b64", vec![operand(wide), Operand::at(own, 8)]);
        self.fill_pools(narrow, wide);
        for at in (0..SCRATCH).step_by(8) {
            self.emit("st", "shared.b64", vec![Operand::at(own_shared, at), operand(wide)]);
            self.emit("st", "local.b64", vec![Operand::at_symbol(local, at), operand(wide)]);
        }
        Places { thread, own, cells, table, shared, own_shared, local, own_local, uniform }
    }

    /// Gives every register of the pools a value that depends on two registers.
    fn fill_pools(&mut self, narrow: Register, wide: Register) {
        let half = self.builder.register(Type::B16);
        let operand = Operand::Register;
        self.emit("cvt", "u16.u32", vec![operand(half), operand(narrow)]);
        for (ty, registers) in self.pools.clone() {
            for register in registers {
                match ty.bits() {
                    1 => {
                        self.emit(
                            "setp",
                            "lt.s32",
                            vec![operand(register), operand(narrow), Operand::int(1 << 20)],
                        );
                    }
                    16 => self.emit("mov", "b16", vec![operand(register), operand(half)]),
                    32 => self.emit("mov", "b32", vec![operand(register), operand(narrow)]),
                    _ => self.emit("mov", "b64", vec![operand(register), operand(wide)]),
                }
                self.emit(
                    "mad",
                    "lo.u32",
                    vec![
                        operand(narrow),
                        operand(narrow),
                        Operand::int(1_664_525),
                        Operand::int(1_013_904_223),
                    ],
                );
            }
        }
    }

    /// Stores every register of the pools.
    fn epilogue(&mut self) {
        let own = self.places().own;
        let word = self.builder.register(Type::B32);
        let operand = Operand::Register;
        let mut at = SLOT / 2;
        for (ty, registers) in self.pools.clone() {
            for register in registers {
                let (bits, stored) = if ty == Type::Pred { (32, word) } else { (ty.bits(), register) };
                if ty == Type::Pred {
                    self.emit(
                        "selp",
                        "b32",
                        vec![operand(word), Operand::int(1), Operand::int(0), operand(register)],
                    );
                }
                self.emit("st", &format!("global.b{bits}"), vec![Operand::at(own, at), operand(stored)]);
                at += 8;
            }
        }
        assert!(at <= SLOT, "the registers fit their part of the slot");
        self.emit("ret", "", vec![]);
    }

    /// Statements until the choices say otherwise; `uniform`: every thread of the CTA comes by.
    fn block(&mut self, depth: u32, uniform: bool) {
        let most = if depth == 0 { usize::MAX } else { 1 + self.choices.below(6) };
        let mut written = 0;
        while written < most && self.choices.are_left() {
            match self.choices.below(32) {
                0..=15 => self.plain_instruction(),
                16..=19 => self.access(),
                20 => self.atomic(),
                21..=22 if uniform => self.collective(),
                23 if uniform => self.exchange(),
                24 => self.call(),
                25..=28 if depth < DEEPEST => self.branch(depth, uniform),
                29..=30 if depth < DEEPEST => self.repeat(depth, uniform),
                _ => self.select_or_move(),
            }
            written += 1;
        }
    }

    /// An instruction of a form of the table, perhaps guarded.
    fn plain_instruction(&mut self) {
        for _ in 0..8 {
            let form = self.choices.pick(&PLAIN_FORMS);
            if let Some(instruction) = self.of_form(form) {
                let guard = self.choices.one_in(8).then(|| self.register(Type::Pred));
                self.builder.push(match guard {
                    Some(predicate) if self.choices.one_in(2) => instruction.unless(predicate),
                    Some(predicate) => instruction.when(predicate),
                    None => instruction,
                });
                return;
            }
        }
    }

    fn of_form(&mut self, form: &'static Form) -> Option<Instruction> {
        let mut words = Vec::new();
        let mut filled = Vec::new();
        let mut before = false;
        for slot in &form.slots {
            before = if slot.joined { before } else { !slot.optional || self.choices.one_in(2) };
            let word = before.then(|| self.choices.pick(&slot.choices));
            words.extend(word);
            filled.push(word);
        }
        let (version, target) = (self.version, self.target);
        let exists = |words: &[Modifier]| {
            form.requirements(words).all(|since| since.version <= version && since.allows(target))
        };
        if !exists(&words) {
            return None;
        }
        let optional =
            form.operands.iter().any(|spec| spec.presence == Presence::Optional) && self.choices.one_in(2);
        let present =
            (0..=form.operands.len()).rev().filter_map(|count| Some(form.layout(&words, count)?.collect()));
        let layouts: Vec<Vec<&OperandSpec>> = present.collect();
        let layout = layouts.get(usize::from(optional)).or(layouts.first())?;
        let operands = layout.iter().map(|spec| self.operand(spec, &filled)).collect::<Option<Vec<_>>>()?;
        let instruction = Instruction::build(form.name, &words, operands).ok()?;
        // The first form that fits may be another one: any that exists will do for the verifier.
        let rules_hold = |form: &Form, words: &[Modifier]| {
            let as_form = |instruction: &Instruction| Instruction {
                form: rows()
                    .iter()
                    .flat_map(|row| &row.forms)
                    .find(|other| std::ptr::eq(*other, form))
                    .expect("a row"),
                modifiers: words.into(),
                ..instruction.clone()
            };
            exists(words) && form.rules.iter().all(|rule| (rule.holds)(&as_form(&instruction)))
        };
        rules_hold(form, &form.order_modifiers(&words)?).then_some(instruction)
    }

    fn operand(&mut self, spec: &OperandSpec, filled: &[Option<Modifier>]) -> Option<Operand> {
        let ty = match spec.expect {
            Expect::Immediate(low, high) => {
                let span = usize::try_from(high.saturating_sub(low)).unwrap_or(255).min(255) + 1;
                return Some(Operand::int(low.max(0) + self.choices.below(span) as i64));
            }
            Expect::Predicate => Type::Pred,
            Expect::Type(ty) => ty,
            Expect::Slot(slot) => match filled[slot] {
                Some(Modifier::Type(ty)) => ty,
                _ => return None,
            },
            _ => return None,
        };
        let ty = if spec.wide { twice(ty)? } else { ty };
        if spec.access == Access::Read
            && spec.may_be_literal
            && self.choices.one_in(4)
            && let Some(literal) = self.literal(ty)
        {
            return Some(literal);
        }
        let wider = spec.may_be_wider;
        let register = self.any_register(|declared| fits(ty, declared, wider))?;
        if ty == Type::Pred && spec.access == Access::Read && self.choices.one_in(4) {
            return Some(Operand::Not(register));
        }
        let second = spec.second.filter(|_| self.choices.one_in(2)).map(|_| self.register(Type::Pred));
        Some(match second {
            Some(second) if second != register => {
                Operand::Pair(Box::new([Operand::Register(register), Operand::Register(second)]))
            }
            _ => Operand::Register(register),
        })
    }

    /// A literal of a type, if there are any.
    fn literal(&mut self, ty: Type) -> Option<Operand> {
        let integers = [
            0,
            1,
            2,
            5,
            7,
            8,
            15,
            16,
            31,
            32,
            33,
            63,
            64,
            127,
            128,
            255,
            -1,
            -128,
            0x7fff_ffff,
            -0x8000_0000,
        ];
        let floats = [0.0, -0.0, 1.0, -1.5, 0.1, 65504.0, 1e-40, 3e38, f32::INFINITY, f32::NAN];
        let is_packed = ty.element_bits() != ty.bits();
        match (ty.kind(), ty) {
            _ if is_packed => None,
            (Kind::Bits | Kind::Unsigned | Kind::Signed, _) => {
                let value = self.choices.pick(&integers);
                let keep = if ty.bits() == 64 { i64::MAX } else { (1 << ty.bits()) - 1 };
                Some(Operand::int(if ty.is_signed() || ty.bits() == 64 { value } else { value & keep }))
            }
            (_, Type::F32) => Some(Operand::f32(self.choices.pick(&floats))),
            (_, Type::F64) => {
                let value = f64::from(self.choices.pick(&floats));
                Some(Operand::Immediate(Immediate::F64(value.to_bits())))
            }
            _ => None,
        }
    }

    fn select_or_move(&mut self) {
        let size = self.choices.pick(&[16, 32, 64]);
        let [d, a, b] = [(); 3].map(|()| Operand::Register(self.register_of_size(size)));
        let condition = Operand::Register(self.register(Type::Pred));
        if self.choices.one_in(2) {
            self.emit("selp", &format!("b{size}"), vec![d, a, b, condition]);
        } else {
            self.emit("mov", &format!("b{size}"), vec![d, a]);
        }
    }

    /// A load or store of the thread's own bytes, in some space.
    fn access(&mut self) {
        let Places { own, own_shared, own_local, shared: _, local, table, .. } = self.places();
        let width = self.choices.pick(&[8, 16, 32, 64]);
        let vector = self.choices.pick(&[1, 1, 2, 4]);
        let vector = if width * vector > 128 { 1 } else { vector };
        let bytes = i64::from(width / 8 * vector);
        let (space, size, base) = match self.choices.below(8) {
            0 | 1 => ("global", SLOT / 2, Some(own)),
            2 => ("", SLOT / 2, Some(own)),
            3 | 4 => ("shared", SCRATCH, Some(own_shared)),
            5 => ("local", SCRATCH, Some(own_local)),
            6 => ("local", SCRATCH, None),
            _ => ("const", 64, None),
        };
        let at = bytes * self.choices.below((size / bytes) as usize) as i64;
        let address = match base {
            Some(register) => Operand::at(register, at),
            None if space == "const" => Operand::at_symbol(table, at),
            None => Operand::at_symbol(local, at),
        };
        let load = space == "const" || self.choices.one_in(2);
        let letter = self.choices.pick(&["b", "u", "s"]);
        let letter = if vector > 1 { "b" } else { letter };
        let value = |writer: &mut Self| match (width, letter) {
            (8, _) => writer.register(Type::B16),
            (_, "b") => writer.register_of_size(width),
            _ => writer
                .any_register(|ty| ty.bits() == width && !matches!(ty.kind(), Kind::Float))
                .expect("integers"),
        };
        let mut registers: Vec<Register> = Vec::new();
        for _ in 0..vector {
            registers.push(value(self));
        }
        // Two components of a load must not go to the same register.
        let distinct: std::collections::BTreeSet<_> = registers.iter().collect();
        if load && distinct.len() < registers.len() {
            return;
        }
        let operand = if vector == 1 { Operand::Register(registers[0]) } else { Operand::vector(&registers) };
        let cache = match (space, self.choices.below(4)) {
            ("global", 1) => ".relaxed.gpu",
            ("global", 2) => ".volatile",
            _ => "",
        };
        let dot = if space.is_empty() { "" } else { "." };
        let count = if vector == 1 { String::new() } else { format!(".v{vector}") };
        let words = format!("{}{dot}{space}{count}.{letter}{width}", cache.trim_start_matches('.'));
        let operands = if load { vec![operand, address] } else { vec![address, operand] };
        self.emit(if load { "ld" } else { "st" }, &words, operands);
    }

    /// An atomic operation on the thread's own bytes, or a reduction into the cell of its operation.
    fn atomic(&mut self) {
        let Places { own, own_shared, cells, .. } = self.places();
        if self.choices.one_in(2) {
            let reductions =
                ["add.u32", "min.u32", "max.s32", "and.b32", "or.b32", "xor.b32", "add.u64", "max.u64"];
            let cell = self.choices.below(CELLS);
            let bits = if reductions[cell].ends_with("64") { 64 } else { 32 };
            let value = self.integer(bits);
            self.emit(
                "red",
                &format!("global.{}", reductions[cell]),
                vec![Operand::at(cells, 8 * cell as i64), Operand::Register(value)],
            );
            return;
        }
        let (operation, bits, operands) = self.choices.pick(&[
            ("add.u32", 32, 1),
            ("add.s32", 32, 1),
            ("inc.u32", 32, 1),
            ("dec.u32", 32, 1),
            ("exch.b32", 32, 1),
            ("cas.b32", 32, 2),
            ("min.s32", 32, 1),
            ("xor.b32", 32, 1),
            ("add.u64", 64, 1),
            ("exch.b64", 64, 1),
            ("cas.b64", 64, 2),
            ("and.b64", 64, 1),
            ("max.s64", 64, 1),
        ]);
        let (space, base, size) =
            if self.choices.one_in(2) { ("shared", own_shared, SCRATCH) } else { ("global", own, SLOT / 2) };
        let bytes = i64::from(bits / 8);
        let at = bytes * self.choices.below((size / bytes) as usize) as i64;
        let mut all = vec![Operand::Register(self.integer(bits)), Operand::at(base, at)];
        for _ in 0..operands {
            all.push(Operand::Register(self.integer(bits)));
        }
        self.emit("atom", &format!("{space}.{operation}"), all);
    }

    /// Some register of so many bits that is no float.
    fn integer(&mut self, bits: u32) -> Register {
        let fits = |ty: Type| ty.bits() == bits && ty.kind() != Kind::Float && ty != Type::Pred;
        self.any_register(fits).expect("integers of 32 and 64 bits")
    }

    /// An instruction of the whole warp or CTA.
    fn collective(&mut self) {
        let all = Operand::int(0xffff_ffff);
        let word = |writer: &mut Self| Operand::Register(writer.integer(32));
        let predicate = |writer: &mut Self| Operand::Register(writer.register(Type::Pred));
        match self.choices.below(9) {
            0 | 1 => {
                let mode = self.choices.pick(&["up", "down", "bfly", "idx"]);
                let (distance, clamp) =
                    (self.choices.below(32) as i64, self.choices.pick(&[31, 0, 0x1c1f, 0x100f]));
                let (d, p, a) = (word(self), predicate(self), word(self));
                let d = Operand::Pair(Box::new([d, p]));
                self.emit(
                    "shfl.sync",
                    &format!("{mode}.b32"),
                    vec![d, a, Operand::int(distance), Operand::int(clamp), all],
                );
            }
            2 => {
                let mode = self.choices.pick(&["all", "any", "uni"]);
                let (d, a) = (predicate(self), predicate(self));
                self.emit("vote.sync", &format!("{mode}.pred"), vec![d, a, all]);
            }
            3 => {
                let (d, a) = (word(self), predicate(self));
                self.emit("vote.sync", "ballot.b32", vec![d, a, all]);
            }
            4 => {
                let (d, a) = (word(self), word(self));
                self.emit("match.sync", "any.b32", vec![d, a, all]);
            }
            5 => {
                let (operation, d, a) = (
                    self.choices.pick(&["add.u32", "min.s32", "max.u32", "and.b32", "xor.b32"]),
                    word(self),
                    word(self),
                );
                self.emit("redux.sync", operation, vec![d, a, all]);
            }
            6 => self.emit("bar.warp.sync", "", vec![all]),
            7 => {
                let (d, p) = (word(self), predicate(self));
                self.emit("bar.red", "popc.u32", vec![d, Operand::int(1), p]);
            }
            _ => self.barrier(),
        }
    }

    fn barrier(&mut self) {
        if self.choices.one_in(2) {
            self.emit("bar.sync", "", vec![Operand::int(0)]);
        } else {
            self.emit("barrier.sync", "", vec![Operand::int(0)]);
        }
    }

    /// Each thread stores, and loads what another thread of the CTA stored.
    fn exchange(&mut self) {
        let Places { thread, own_shared, shared, .. } = self.places();
        let at = 4 * self.choices.below(SCRATCH as usize / 4) as i64;
        let (mine, theirs) = (self.integer(32), self.integer(32));
        let [other, base] = [(); 2].map(|()| self.builder.register(Type::U32));
        let operand = Operand::Register;
        self.emit("st", "shared.b32", vec![Operand::at(own_shared, at), operand(mine)]);
        self.barrier();
        // Lanes swap within their warp, so that the other thread exists.
        let distance = Operand::int(self.choices.below(32) as i64);
        self.emit("xor", "b32", vec![operand(other), operand(thread), distance]);
        self.emit("mov", "u32", vec![operand(base), Operand::Symbol(shared, 0)]);
        self.emit("mad", "lo.u32", vec![operand(base), operand(other), Operand::int(SCRATCH), operand(base)]);
        self.emit("ld", "shared.b32", vec![operand(theirs), Operand::at(base, at)]);
        self.barrier();
    }

    fn call(&mut self) {
        if self.functions.is_empty() {
            return self.plain_instruction();
        }
        let functions = self.functions.clone();
        let (function, in_parameters) = self.choices.pick(&functions);
        let (result, a, b) = (self.register(Type::B32), self.register(Type::B32), self.register(Type::B64));
        let operand = Operand::Register;
        if !in_parameters {
            let arguments = Operand::Arguments(vec![operand(a), operand(b)]);
            let results = Operand::Arguments(vec![operand(result)]);
            return self.emit("call", "", vec![results, Operand::Symbol(function, 0), arguments]);
        }
        let mut argument = |name: &str, ty| {
            let number = self.builder.registers(Type::B32, 0).len();
            self.builder.variable(Variable::new(format!("{name}{number}"), Space::Param, ty))
        };
        let [first, second, back] =
            [("a", Type::B32), ("b", Type::B64), ("r", Type::B32)].map(|(name, ty)| argument(name, ty));
        self.emit("st", "param.b32", vec![Operand::at_symbol(first, 0), operand(a)]);
        self.emit("st", "param.b64", vec![Operand::at_symbol(second, 0), operand(b)]);
        let arguments = Operand::Arguments(vec![Operand::Symbol(first, 0), Operand::Symbol(second, 0)]);
        let results = Operand::Arguments(vec![Operand::Symbol(back, 0)]);
        self.emit("call", "", vec![results, Operand::Symbol(function, 0), arguments]);
        self.emit("ld", "param.b32", vec![operand(result), Operand::at_symbol(back, 0)]);
    }

    fn jump(&mut self, to: Label, condition: Register, negated: bool) {
        let jump = Instruction::build("bra", &[], vec![Operand::Label(to)]).expect("a branch");
        self.builder.push(if negated { jump.unless(condition) } else { jump.when(condition) });
    }

    /// A branch with one or two sides.
    fn branch(&mut self, depth: u32, uniform: bool) {
        let together = uniform && self.choices.one_in(2);
        let condition = self.builder.register(Type::Pred);
        let operand = Operand::Register;
        if together {
            let cta = self.places().uniform;
            self.emit("setp", "eq.u32", vec![operand(condition), operand(cta), Operand::int(1)]);
        } else {
            let chosen = self.register(Type::Pred);
            self.emit("mov", "pred", vec![operand(condition), operand(chosen)]);
        }
        let (otherwise, end) = (self.builder.label(), self.builder.label());
        let negated = self.choices.one_in(2);
        self.jump(otherwise, condition, negated);
        self.block(depth + 1, together);
        let two_sided = self.choices.one_in(2);
        if two_sided {
            self.emit("bra", "", vec![Operand::Label(end)]);
        }
        self.builder.place(otherwise);
        if two_sided {
            self.block(depth + 1, together);
        }
        self.builder.place(end);
    }

    /// A loop of up to four rounds; their number may differ between threads.
    fn repeat(&mut self, depth: u32, uniform: bool) {
        let together = uniform && self.choices.one_in(2);
        let [count, rounds] = [(); 2].map(|()| self.builder.register(Type::U32));
        let again = self.builder.register(Type::Pred);
        let operand = Operand::Register;
        let most = if together { self.places().uniform } else { self.integer(32) };
        self.emit("and", "b32", vec![operand(rounds), operand(most), Operand::int(3)]);
        self.emit("mov", "u32", vec![operand(count), Operand::int(0)]);
        let start = self.builder.label();
        self.builder.place(start);
        self.block(depth + 1, together);
        self.emit("add", "u32", vec![operand(count), operand(count), Operand::int(1)]);
        self.emit("setp", "le.u32", vec![operand(again), operand(count), operand(rounds)]);
        self.jump(start, again, false);
    }
}

/// Whether a register may stand where a value of the type is expected.
fn fits(ty: Type, declared: Type, wider: bool) -> bool {
    if ty == Type::Pred || declared == Type::Pred {
        return ty == declared;
    }
    let size_fits = declared.bits() == ty.bits() || wider && declared.bits() > ty.bits();
    let is_bits = declared.kind() == Kind::Bits;
    let is_packed = ty.element_bits() != ty.bits();
    match ty.kind() {
        _ if declared == ty => true,
        Kind::Bits => size_fits,
        Kind::Unsigned | Kind::Signed if !is_packed => size_fits && declared.kind() != Kind::Float,
        _ => size_fits && is_bits,
    }
}

/// The integer type of twice the bits.
fn twice(ty: Type) -> Option<Type> {
    Some(match ty {
        Type::U16 => Type::U32,
        Type::S16 => Type::S32,
        Type::U32 => Type::U64,
        Type::S32 => Type::S64,
        _ => return None,
    })
}
