//! Random shapes and values, the same for the same seed everywhere.

use half::bf16;

/// A source of random numbers (SplitMix64, Steele et al. 2014).
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
    /// After so many numbers it goes on as another source.
    fork: Option<(u32, u64)>,
}

impl Random {
    /// A source by seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed, fork: None }
    }

    /// The first `draws` numbers of the source of `seed`, then those of another `stream`: cases whose specialisation is
    /// drawn first keep it, and get other shapes and values.
    pub fn forked(seed: u64, draws: u32, stream: u64) -> Self {
        Self { state: seed, fork: Some((draws, stream)) }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        match &mut self.fork {
            Some((0, stream)) => {
                self.state = stream.wrapping_mul(0x2545_f491_4f6c_dd1d);
                self.fork = None;
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound.max(1) as u64) as usize
    }

    /// Whether a thing of probability `1 / of` happens.
    pub fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    /// One of a list.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// A size around those where kernels change their ways: 0, 1, and a few more or less than multiples of tiles.
    pub fn size(&mut self, most: usize) -> usize {
        let near = |random: &mut Self, tile: usize| {
            let multiple = tile * random.below(most / tile + 1);
            (multiple + random.below(5)).saturating_sub(2)
        };
        let size = match self.below(8) {
            0 => self.below(3),
            1 | 2 => self.below(most + 1),
            3 => near(self, 16),
            4 | 5 => near(self, 64),
            _ => near(self, 128),
        };
        size.min(most)
    }

    /// About normally distributed, of unit variance.
    pub fn normal(&mut self) -> f32 {
        let sum: f64 = (0..12).map(|_| (self.bits() >> 11) as f64 / (1_u64 << 53) as f64).sum();
        (sum - 6.0) as f32
    }

    /// Values of a kind of `style`, rounded to bf16.
    pub fn bf16s(&mut self, count: usize, style: Style) -> Vec<f32> {
        (0..count).map(|_| bf16::from_f32(self.value(style)).to_f32()).collect()
    }

    /// Values of a kind of `style`.
    pub fn f32s(&mut self, count: usize, style: Style) -> Vec<f32> {
        (0..count).map(|_| self.value(style)).collect()
    }

    fn value(&mut self, style: Style) -> f32 {
        let special =
            [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-40, -1e15, f32::MIN_POSITIVE];
        match style {
            Style::Normal => self.normal(),
            Style::Wide => self.normal() * 2.0_f32.powi(self.below(40) as i32 - 20),
            Style::Sparse if !self.one_in(8) => 0.0,
            Style::Sparse => self.normal(),
            Style::Special if self.one_in(64) => self.pick(&special),
            Style::Special => self.normal(),
        }
    }

    /// A style; one in five is [`Style::Special`], the only one with values that are not finite.
    pub fn style(&mut self) -> Style {
        self.pick(&[Style::Normal, Style::Normal, Style::Wide, Style::Sparse, Style::Special])
    }
}

/// What values are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Of about unit size.
    Normal,
    /// Over twelve orders of magnitude.
    Wide,
    /// Mostly zeros.
    Sparse,
    /// Now and then a zero, a denormal, an infinity or NaN.
    Special,
}
