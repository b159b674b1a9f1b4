//! Kernels of one instruction: from its operands' kinds to operands, PTX text, a launch, and the results.

use rorqual_sim::{Argument, Device, Launch, Options, Report};
use std::fmt::Write;

/// What an operand or result holds: the width of its register, and what it is drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    I16,
    I32,
    I64,
    F16,
    Bf16,
    F16x2,
    Bf16x2,
    F32,
    F32x2,
    F64,
    /// A 32-bit word that is mostly small: a shift count, a position, a length.
    Count,
    /// A predicate: 0 or 1.
    Pred,
    /// As a result, two predicates `p|q`: p + 2q.
    Pair,
}

impl Kind {
    pub const fn bits(self) -> u32 {
        match self {
            Self::I16 | Self::F16 | Self::Bf16 => 16,
            Self::I64 | Self::F64 | Self::F32x2 => 64,
            _ => 32,
        }
    }

    const fn is_predicate(self) -> bool {
        matches!(self, Self::Pred | Self::Pair)
    }

    const fn edges(self) -> &'static [u64] {
        match self {
            Self::I16 => &[0, 1, 2, 3, 7, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff],
            Self::I32 => &[
                0,
                1,
                2,
                3,
                7,
                0x80,
                0xff,
                0x7fff,
                0x8000,
                0xffff,
                0x1_0000,
                0x00ff_ffff,
                0x0100_0000,
                0x7fff_ffff,
                0x8000_0000,
                0x8000_0001,
                0xffff_fffe,
                0xffff_ffff,
            ],
            Self::I64 => &[
                0,
                1,
                2,
                3,
                0xff,
                0x7fff_ffff,
                0x8000_0000,
                0xffff_ffff,
                0x1_0000_0000,
                i64::MAX as u64,
                1 << 63,
                (1 << 63) + 1,
                u64::MAX - 1,
                u64::MAX,
            ],
            Self::F16 | Self::F16x2 => &[
                0, 0x8000, 1, 0x8001, 0x3ff, 0x83ff, 0x400, 0x8400, 0x401, 0x3800, 0x3bff, 0x3c00, 0xbc00,
                0x3c01, 0x4000, 0xc200, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00, 0xfe01, 0x7fff, 0x7c01,
            ],
            Self::Bf16 | Self::Bf16x2 => &[
                0, 0x8000, 1, 0x8001, 0x7f, 0x807f, 0x80, 0x8080, 0x81, 0x3f00, 0x3f7f, 0x3f80, 0xbf80,
                0x3f81, 0x4000, 0xc040, 0x7f7f, 0xff7f, 0x7f80, 0xff80, 0x7fc0, 0xffc1, 0x7fff, 0x7f81,
            ],
            Self::F32 | Self::F32x2 => &[
                0,
                0x8000_0000,
                1,
                0x8000_0001,
                0x7f_ffff,
                0x807f_ffff,
                0x80_0000,
                0x8080_0000,
                0x80_0001,
                0x3f00_0000,
                0x3f7f_ffff,
                0x3f80_0000,
                0xbf80_0000,
                0x3f80_0001,
                0x3fc0_0000,
                0x4020_0000,
                0xc060_0000,
                0x4f00_0000,
                0xcf00_0000,
                0x4f80_0000,
                0x5f00_0000,
                0x7f7f_ffff,
                0xff7f_ffff,
                0x7f80_0000,
                0xff80_0000,
                0x7fc0_0000,
                0xffc0_0001,
                0x7f80_0001,
                0x7fff_ffff,
                0x1f80_0000,
                0x2000_0000,
                0x5e80_0000,
            ],
            Self::F64 => &[
                0,
                1 << 63,
                1,
                0x000f_ffff_ffff_ffff,
                0x0010_0000_0000_0000,
                0x3ff0_0000_0000_0000,
                0xbff0_0000_0000_0000,
                0x3ff0_0000_0000_0001,
                0x3ff8_0000_0000_0000,
                0x4004_0000_0000_0000,
                0x41e0_0000_0000_0000,
                0xc1e0_0000_0020_0000,
                0x43e0_0000_0000_0000,
                0x47ef_ffff_e000_0000,
                0x36a0_0000_0000_0000,
                0x3810_0000_0000_0000,
                0x3f10_0000_0000_0000,
                0x40ef_fc00_0000_0000,
                0x7fef_ffff_ffff_ffff,
                0x7ff0_0000_0000_0000,
                0xfff0_0000_0000_0000,
                0x7ff8_0000_0000_0000,
                0xfff8_0000_0000_0001,
            ],
            Self::Count => {
                &[0, 1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 0x8000_0000, u32::MAX as u64]
            }
            Self::Pred | Self::Pair => &[0, 1],
        }
    }

    /// A value for the operand: half the time an edge case.
    fn draw(self, random: &mut Random) -> u64 {
        let edges = self.edges();
        let edge = edges[random.below(edges.len() as u64) as usize];
        let plain = random.next();
        match self {
            Self::Pred | Self::Pair => edge,
            Self::F16x2 | Self::Bf16x2 => {
                let single = if self == Self::F16x2 { Self::F16 } else { Self::Bf16 };
                single.draw(random) << 16 | single.draw(random)
            }
            Self::F32x2 => Self::F32.draw(random) << 32 | Self::F32.draw(random),
            _ if plain & 1 == 0 => edge,
            Self::Count => (plain >> 8) % 70,
            // Numbers whose sums and products stay finite are what most random bits are not.
            Self::F32 if plain & 2 == 0 => {
                (0x3f00_0000 + (plain >> 8) % 0x0180_0000) | ((plain >> 2 & 1) << 31)
            }
            Self::F64 if plain & 2 == 0 => {
                (0x3fe0_0000_0000_0000 + (plain >> 8) % 0x0040_0000_0000_0000) | ((plain >> 2 & 1) << 63)
            }
            // Small magnitudes and single bits too.
            Self::I16 | Self::I32 | Self::I64 if plain & 2 == 0 => {
                (plain.cast_signed() >> (66 - self.bits() as u64 + plain / 8 % (self.bits() as u64 - 2)))
                    .cast_unsigned()
                    & (u64::MAX >> (64 - self.bits()))
            }
            _ => plain >> (64 - self.bits()),
        }
    }

    const fn declaration(self) -> &'static str {
        match self {
            Self::Pred | Self::Pair => "pred",
            Self::F32 => "f32",
            Self::F64 => "f64",
            _ => match self.bits() {
                16 => "b16",
                32 => "b32",
                _ => "b64",
            },
        }
    }
}

/// A sequence of numbers (xorshift with a multiplication).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub const fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }
}

/// Names of the operands in a kernel.
const NAMES: [&str; 5] = ["a", "b", "c", "e", "f"];

/// A kernel of one instruction.
#[derive(Debug, Clone)]
pub struct Case {
    /// The instruction, its result `%d` (predicates `%d|%q`), its operands `%a`, `%b`, `%c`, `%e`, `%f`.
    pub instruction: String,
    pub result: Kind,
    pub operands: Vec<Kind>,
    /// `.target`, and the device.
    pub target: &'static str,
    pub options: Options,
}

impl Case {
    /// The opcode with the result and all operands in order.
    pub fn new(opcode: &str, result: Kind, operands: &[Kind]) -> Self {
        let names: Vec<String> = NAMES[..operands.len()].iter().map(|name| format!("%{name}")).collect();
        let to = if result == Kind::Pair { "%d|%q" } else { "%d" };
        Self::of(&format!("{opcode} {to}, {};", names.join(", ")), result, operands)
    }

    /// An instruction as written.
    pub fn of(instruction: &str, result: Kind, operands: &[Kind]) -> Self {
        Self {
            instruction: instruction.to_owned(),
            result,
            operands: operands.to_vec(),
            target: "sm_90a",
            options: Options { threads: 1, report_division_by_zero: false, ..Options::default() },
        }
    }

    pub const fn on(mut self, target: &'static str) -> Self {
        self.target = target;
        self
    }

    fn text(&self) -> String {
        let mut text = format!(".version 9.2\n.target {}\n.address_size 64\n", self.target);
        text += ".visible .entry test(.param .u64 in, .param .u64 out) {\n";
        text += ".reg .b32 %index, %word, %word2, %number; .reg .b64 %from, %to; .reg .pred %q, %flag;\n";
        for (name, kind) in NAMES.iter().zip(&self.operands).chain([(&"d", &self.result)]) {
            writeln!(text, ".reg .{} %{name};", kind.declaration()).expect("a string");
        }
        text += "ld.param.u64 %from, [in]; ld.param.u64 %to, [out];\n";
        text += "mov.u32 %index, %tid.x; mov.u32 %word, %ctaid.x; mad.lo.u32 %index, %word, 32, %index;\n";
        let stride = 8 * self.operands.len();
        writeln!(text, "mad.wide.u32 %from, %index, {stride}, %from; mad.wide.u32 %to, %index, 8, %to;")
            .expect("a string");
        for (index, (name, kind)) in NAMES.iter().zip(&self.operands).enumerate() {
            if kind.is_predicate() {
                writeln!(text, "ld.global.b32 %word, [%from+{}]; setp.ne.b32 %{name}, %word, 0;", 8 * index)
            } else {
                writeln!(text, "ld.global.b{} %{name}, [%from+{}];", kind.bits(), 8 * index)
            }
            .expect("a string");
        }
        writeln!(text, "{}", self.instruction).expect("a string");
        match self.result {
            Kind::Pred => text += "selp.b32 %word, 1, 0, %d; st.global.b32 [%to], %word;\n",
            Kind::Pair => {
                text += "selp.b32 %word, 1, 0, %d; selp.b32 %word2, 2, 0, %q; or.b32 %word, %word, %word2;\n";
                text += "st.global.b32 [%to], %word;\n";
            }
            _ => writeln!(text, "st.global.b{} [%to], %d;", self.result.bits()).expect("a string"),
        }
        text + "ret;\n}\n"
    }

    /// Runs it on tuples of operands; the results as bits, zero-extended.
    pub fn run(&self, inputs: &[Vec<u64>]) -> Result<Vec<u64>, Report> {
        let text = self.text();
        let target = self.target.parse().expect("a target");
        let mut device = Device::new(target).expect("a simulated target");
        *device.options_mut() = self.options.clone();
        let module =
            device.load(&text).unwrap_or_else(|error| panic!("{}: {error}\n{text}", self.instruction));
        let bytes: Vec<u8> = inputs.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
        let from = device.allocate_from("in", &bytes).expect("memory");
        let to = device.allocate_from("out", &vec![0; inputs.len() * 8]).expect("memory");
        assert_eq!(inputs.len() % 32, 0);
        let launch = Launch::new(&module, "test")
            .ctas([inputs.len() as u32 / 32, 1, 1])
            .threads([32, 1, 1])
            .argument(Argument::from(from))
            .argument(Argument::from(to));
        let outcome = device.launch(&launch).unwrap_or_else(|error| panic!("{}: {error}", self.instruction));
        if let Some(report) = outcome.reports.into_iter().next() {
            return Err(report);
        }
        let results = device.read(to, inputs.len() * 8).expect("memory");
        Ok(results.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
    }

    /// Operands for it: every edge case of the first one, edge cases and random ones of all.
    pub fn inputs(&self, count: usize) -> Vec<Vec<u64>> {
        let mut random = Random::new(0x9e37_79b9 + self.instruction.len() as u64);
        let first = self.operands[0].edges();
        (0..count)
            .map(|index| {
                let mut tuple: Vec<u64> = self.operands.iter().map(|kind| kind.draw(&mut random)).collect();
                if index < first.len()
                    && !matches!(self.operands[0], Kind::F16x2 | Kind::Bf16x2 | Kind::F32x2)
                {
                    tuple[0] = first[index];
                }
                // Operands that are alike meet their own edge cases seldom.
                if tuple.len() > 1 && index % 16 == 15 && self.operands[0] == self.operands[1] {
                    tuple[1] = tuple[0];
                }
                tuple
            })
            .collect()
    }

    /// Compares every result that `expected` has an opinion on.
    #[track_caller]
    pub fn check_some(&self, expected: impl Fn(&[u64]) -> Option<u64>) {
        let inputs = self.inputs(2048);
        let results = self.run(&inputs).unwrap_or_else(|report| panic!("{}: {report}", self.instruction));
        let mut compared = 0;
        for (input, result) in inputs.iter().zip(results) {
            let Some(expected) = expected(input) else { continue };
            compared += 1;
            assert_eq!(
                result, expected,
                "{} of {input:x?}: {result:#x}, expected {expected:#x}",
                self.instruction
            );
        }
        assert!(compared > 200, "{}: only {compared} results compared", self.instruction);
    }

    /// Has every result judged.
    #[track_caller]
    pub fn check_by(&self, accepts: impl Fn(&[u64], u64) -> bool) {
        let inputs = self.inputs(2048);
        let results = self.run(&inputs).unwrap_or_else(|report| panic!("{}: {report}", self.instruction));
        for (input, result) in inputs.iter().zip(results) {
            assert!(accepts(input, result), "{} of {input:x?}: {result:#x}", self.instruction);
        }
    }
}

/// Runs an instruction with its operands in order and compares every result.
#[track_caller]
pub fn check(opcode: &str, result: Kind, operands: &[Kind], expected: impl Fn(&[u64]) -> u64) {
    Case::new(opcode, result, operands).check_some(|x| Some(expected(x)));
}

/// The same for an instruction that only an architecture has.
#[track_caller]
pub fn check_on(
    target: &'static str,
    opcode: &str,
    result: Kind,
    operands: &[Kind],
    expected: impl Fn(&[u64]) -> u64,
) {
    Case::new(opcode, result, operands).on(target).check_some(|x| Some(expected(x)));
}

pub const fn f32(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

pub const fn f64(bits: u64) -> f64 {
    f64::from_bits(bits)
}
