//! Elements of matrices: their bits, and the numbers that these stand for by the definition of the format.

/// The element types of the matrix instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    F16,
    Bf16,
    Tf32,
    E4m3,
    E5m2,
    S8,
    U8,
    S4,
    U4,
    B1,
    F64,
}

pub use Type::{B1, Bf16, E4m3, E5m2, F16, F64, S4, S8, Tf32, U4, U8};

impl Type {
    pub const fn name(self) -> &'static str {
        match self {
            F16 => "f16",
            Bf16 => "bf16",
            Tf32 => "tf32",
            E4m3 => "e4m3",
            E5m2 => "e5m2",
            S8 => "s8",
            U8 => "u8",
            S4 => "s4",
            U4 => "u4",
            B1 => "b1",
            F64 => "f64",
        }
    }

    pub const fn bits(self) -> usize {
        match self {
            F64 => 64,
            Tf32 => 32,
            F16 | Bf16 => 16,
            E4m3 | E5m2 | S8 | U8 => 8,
            S4 | U4 => 4,
            B1 => 1,
        }
    }

    /// The number that an element is.
    pub fn value(self, bits: u64) -> f64 {
        let float = |exponent_bits: u32, fraction_bits: u32| {
            let bias = (1 << (exponent_bits - 1)) - 1;
            let fraction = (bits & ((1 << fraction_bits) - 1)) as f64 / f64::from(1 << fraction_bits);
            let exponent = (bits >> fraction_bits & ((1 << exponent_bits) - 1)) as i32;
            let sign = if bits >> (exponent_bits + fraction_bits) & 1 == 1 { -1.0 } else { 1.0 };
            let magnitude = match exponent {
                0 => fraction * f64::powi(2.0, 1 - bias),
                exponent => (1.0 + fraction) * f64::powi(2.0, exponent - bias),
            };
            sign * magnitude
        };
        match self {
            F64 => f64::from_bits(bits),
            // The hardware ignores the low 13 bits.
            Tf32 => f64::from(f32::from_bits(bits as u32 & !0x1fff)),
            F16 => float(5, 10),
            Bf16 => float(8, 7),
            E4m3 => float(4, 3),
            E5m2 => float(5, 2),
            S8 => f64::from(bits as u8 as i8),
            U8 => f64::from(bits as u8),
            S4 => f64::from((bits as i8) << 4 >> 4),
            U4 => (bits & 15) as f64,
            B1 => (bits & 1) as f64,
        }
    }

    /// The elements to choose from. Floats are multiples of a quarter up to 4 if not `whole`, else integers up to 2, so
    /// that sums of their products are exact in f32, or in f16.
    fn choice(self, whole: bool) -> Vec<u64> {
        let (step, most) = if whole { (1.0, 2.0) } else { (0.25, 4.0) };
        let suits = |bits: &u64| {
            let value = self.value(*bits);
            value.abs() <= most && value % step == 0.0
        };
        match self {
            S8 | U8 | S4 | U4 | B1 => (0..1 << self.bits()).collect(),
            F64 => (-32..32).map(|value| (f64::from(value) / 8.0).to_bits()).collect(),
            // The bits that the hardware ignores are set.
            Tf32 => (0..1 << 16).map(|bits| bits << 16).filter(suits).map(|bits| bits | 0x1fff).collect(),
            _ => (0..1 << self.bits()).filter(suits).collect(),
        }
    }
}

/// A matrix of elements, line by line.
#[derive(Debug, Clone)]
pub struct Matrix {
    pub ty: Type,
    pub places: usize,
    pub bits: Vec<u64>,
}

impl Matrix {
    pub fn random(ty: Type, lines: usize, places: usize, random: &mut Random, whole: bool) -> Self {
        let choice = ty.choice(whole);
        let mut element = || choice[random.below(choice.len() as u64) as usize];
        Self { ty, places, bits: (0..lines * places).map(|_| element()).collect() }
    }

    pub fn lines(&self) -> usize {
        self.bits.len() / self.places
    }

    pub fn bits_at(&self, line: usize, place: usize) -> u64 {
        self.bits[line * self.places + place]
    }

    pub fn at(&self, line: usize, place: usize) -> f64 {
        self.ty.value(self.bits_at(line, place))
    }

    /// Consecutive elements of a line from `place` on, packed into a word, low bits first.
    pub fn word(&self, line: usize, place: usize) -> u32 {
        let bits = self.ty.bits();
        (0..32 / bits)
            .fold(0, |word, element| word | (self.bits_at(line, place + element) as u32) << (element * bits))
    }

    /// The sum of products of a line of each.
    pub fn dot(&self, line: usize, other: &Self, column: usize) -> f64 {
        (0..self.places).map(|k| self.at(line, k) * other.at(column, k)).sum()
    }
}

/// A sequence of numbers (xorshift).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// Types of accumulators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    F32,
    F16,
    S32,
}

impl Sum {
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::S32 => "s32",
        }
    }

    /// The bits of a number.
    pub fn encode(self, value: f64) -> u32 {
        match self {
            Self::F32 => (value as f32).to_bits(),
            Self::F16 => half::f16::from_f64(value).to_bits().into(),
            Self::S32 => (value as i64) as u32,
        }
    }

    pub fn decode(self, bits: u32) -> f64 {
        match self {
            Self::F32 => f32::from_bits(bits).into(),
            Self::F16 => half::f16::from_bits(bits as u16).into(),
            Self::S32 => f64::from(bits as i32),
        }
    }

    /// A small integer.
    pub fn random(self, random: &mut Random) -> f64 {
        random.below(64) as f64 - 32.0
    }
}
