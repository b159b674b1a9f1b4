//! Random inputs from a seed, so that a failing case shrinks by its sizes and prints as a few numbers.

use proptest::prelude::*;
use rorqual::model::weights::{BLOCK, Matrix};
use rorqual::num::{E4m3, bf16};

/// Values that arithmetic trips over.
const SPECIAL: [f32; 12] = [
    0.0,
    -0.0,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    // Subnormal.
    1e-40,
    -1e-45,
    1e30,
    -448.5,
];

/// What values look like.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// They spread over this many powers of two on either side of 1.
    binades: usize,
    /// This many of them at most are special instead.
    specials: usize,
}

impl Kind {
    pub const PLAIN: Self = Self { binades: 0, specials: 0 };
}

/// Mostly plain values: in a sum, one NaN hides everything else.
pub fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => Just(Kind::PLAIN),
        1 => Just(Kind { binades: 12, specials: 0 }),
        1 => Just(Kind { binades: 40, specials: 0 }),
        3 => (1_usize..5).prop_map(|specials| Kind { binades: 1, specials }),
    ]
}

/// Sizes of both sides of `edge`, with 1 and the edge itself more often than chance has them.
pub fn size(edge: usize, largest: usize) -> impl Strategy<Value = usize> {
    prop_oneof![2 => Just(1_usize), 1 => Just(edge), 1 => Just(edge + 1), 6 => 1..=largest]
}

/// The generator SplitMix64.
pub struct Draw(pub u64);

impl Draw {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A permutation of `0..count`.
    pub fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for at in (1..count).rev() {
            order.swap(at, self.below(at + 1));
        }
        order
    }

    pub fn values(&mut self, count: usize, kind: Kind) -> Vec<f32> {
        let mut values: Vec<f32> = (0..count)
            .map(|_| {
                let unit = (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0;
                unit * 2_f32.powi(self.below(2 * kind.binades + 1) as i32 - kind.binades as i32)
            })
            .collect();
        if count > 0 {
            for _ in 0..kind.specials {
                let at = self.below(count);
                values[at] = self.pick(&SPECIAL);
            }
        }
        values
    }

    /// A weight of a stored type that is itself drawn.
    pub fn weight(&mut self, rows: usize, columns: usize, kind: Kind) -> Weight {
        let stored = self.pick(&[Stored::F32, Stored::Bf16, Stored::E4m3]);
        self.weight_stored(stored, rows, columns, kind)
    }

    pub fn weight_stored(&mut self, stored: Stored, rows: usize, columns: usize, kind: Kind) -> Weight {
        let values = self.values(rows * columns, kind);
        let (matrix, values, scales) = match stored {
            Stored::F32 => (Matrix::from_f32(rows, columns, &values), values, None),
            Stored::Bf16 => {
                let stored: Vec<bf16> = values.iter().map(|&value| bf16::from_f32(value)).collect();
                let values = stored.iter().map(|value| value.to_f32()).collect();
                (Matrix::from_bf16(rows, columns, &stored), values, None)
            }
            Stored::E4m3 => {
                let codes: Vec<u8> =
                    values.iter().map(|value| E4m3::from_f32(value * 16.0).to_bits()).collect();
                let values = codes.iter().map(|&code| E4m3::from_bits(code).to_f32()).collect();
                let blocks = rows.div_ceil(BLOCK) * columns.div_ceil(BLOCK);
                let scales: Vec<f32> = (0..blocks).map(|_| self.pick(&[0.0625, 0.05, 0.031, 0.17])).collect();
                (Matrix::from_e4m3(rows, columns, &codes, &scales), values, Some(scales))
            }
        };
        Weight { matrix, rows, columns, values, scales }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Stored {
    F32,
    Bf16,
    E4m3,
}

/// A weight, and what its elements are.
#[derive(Debug)]
pub struct Weight {
    pub matrix: Matrix,
    pub rows: usize,
    pub columns: usize,
    /// `[rows, columns]`, scales left out.
    pub values: Vec<f32>,
    /// Of FP8 weights, `[ceil(rows/128), ceil(columns/128)]`.
    pub scales: Option<Vec<f32>>,
}

impl Weight {
    /// The stored element.
    pub fn code(&self, row: usize, column: usize) -> f32 {
        self.values[row * self.columns + column]
    }

    pub fn scale(&self, row: usize, column: usize) -> f32 {
        let across = self.columns.div_ceil(128);
        self.scales.as_ref().map_or(1.0, |scales| scales[row / 128 * across + column / 128])
    }

    /// The element with its scale applied: one f32 rounding.
    pub fn dequantized(&self, row: usize, column: usize) -> f32 {
        self.code(row, column) * self.scale(row, column)
    }
}
