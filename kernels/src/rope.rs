//! Rotary positional embedding of rows of bf16, in place.
//!
//! ```text
//! (a, b) = bf16(a * cos - b * sin, a * sin + b * cos)      pair p: (x[2p], x[2p + 1]) or (x[p], x[p + width / 2])
//! ```
//!
//! Cosine and sine come from a table `[positions, width / 2, 2]` of f32 that the host computes (angles in f64, YaRN's
//! magnitude included), so that the device knows nothing of frequencies. A CTA takes a token, a thread some
//! neighbouring pairs of a head at a time. Products and sums are rounded one by one, as in the reference: same bits.
//!
//! A token whose position lies behind the table keeps its row, and [`POSITION`] is raised.
//!
//! Source: YaRN (Peng et al., 2023). Oracle: the reference's `rotate_pairs` and `rotate_halves`.

use crate::Family;
use crate::device_error::POSITION;
use crate::rows::target_name;
use crate::rule::{Rule, positive, require};
use rorqual_codegen::contract::{Extent, In, InOut};
use rorqual_codegen::element::Bf16;
use rorqual_codegen::run::RunLayout;
use rorqual_codegen::{Builder, GenerateError, Global, Header, Kernel, Pointer, Predicate, Value, generate};
use rorqual_ptx::target::Target;

/// Which elements of a head are a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Pairing {
    /// Neighbours: queries and the shared key of MLA.
    Interleaved,
    /// Half the width apart.
    Halves,
}

/// What a rotation is specialised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct RopeSpec {
    /// Elements of a head that are rotated; even.
    pub width: u32,
    /// Heads of a token.
    pub heads: u32,
    /// Elements from one head to the next, at least `offset + width`.
    pub head_pitch: u32,
    /// Elements from one token to the next, at least `heads * head_pitch`.
    pub token_pitch: u32,
    /// First rotated element of a head.
    pub offset: u32,
    /// Which elements are a pair.
    pub pairing: Pairing,
}

rorqual_codegen::arguments! {
    /// Arguments of [`Rope`].
    pub struct RopeArguments, RopeParameters {
        /// `[tokens, heads, ..]`, rotated in place.
        x: InOut<Bf16>,
        /// Cosine and sine, `[position_count, width / 2, 2]`.
        table: In<f32>,
        /// `[tokens]`
        positions: In<u32>,
        /// One word, to which [`POSITION`] is raised.
        error: InOut<u32>,
        /// Rows.
        tokens: u32,
        /// Positions of the table.
        position_count: u32,
    }
}

/// Rotary positional embedding; see the [module](self).
#[derive(Debug)]
pub struct Rope;

impl Family for Rope {
    const NAME: &'static str = "rope";
    type Spec = RopeSpec;
    type Arguments = RopeArguments;

    const RULES: &[Rule<RopeSpec>] = &[
        Rule::new("width", |spec| {
            require(spec.width != 0 && spec.width % 2 == 0 && spec.width <= 4096, || {
                format!("`width` is {}, expected an even number from 2 to 4096", spec.width)
            })
        }),
        Rule::new("heads", |spec| positive("heads", spec.heads)),
        Rule::new("head_pitch", |spec| {
            let RopeSpec { width, head_pitch, offset, .. } = *spec;
            require(u64::from(head_pitch) >= u64::from(offset) + u64::from(width), || {
                format!(
                    "`head_pitch` is {head_pitch}, expected at least `offset + width`, {offset} + {width}"
                )
            })
        }),
        Rule::new("token_pitch", |spec| {
            let RopeSpec { heads, head_pitch, token_pitch, .. } = *spec;
            require(u64::from(token_pitch) >= u64::from(heads) * u64::from(head_pitch), || {
                format!(
                    "`token_pitch` is {token_pitch}, expected at least `heads * head_pitch`, {heads} * {head_pitch}"
                )
            })
        }),
    ];

    fn emit(spec: &RopeSpec, target: Target) -> Result<Kernel, GenerateError> {
        let header = Header::new(name(spec, target), spec, target, 128);
        generate::<RopeArguments>(header.grid(Extent::argument("tokens"), 1, 1), |builder, arguments| {
            rotate_token(builder, spec, arguments);
        })
    }
}

fn name(spec: &RopeSpec, target: Target) -> String {
    let RopeSpec { width, heads, head_pitch, token_pitch, offset, pairing } = *spec;
    let pairing = match pairing {
        Pairing::Interleaved => "interleaved",
        Pairing::Halves => "halves",
    };
    let target = target_name(target);
    format!("rope_{pairing}_w{width}_h{heads}_o{offset}_p{head_pitch}_t{token_pitch}_{target}")
}

fn rotate_token<'k>(builder: &'k Builder, spec: &RopeSpec, arguments: RopeParameters<'k>) {
    let RopeSpec { width, heads, head_pitch, token_pitch, offset, pairing } = *spec;
    let token = builder.cta(0);
    let position = arguments.positions.at(token).load();
    let known = position.less(arguments.position_count);
    arguments.error.atomic_or_when(!known & builder.thread().equals(0), POSITION);

    let aligned = [head_pitch, token_pitch, offset].iter().all(|pitch| pitch % 8 == 0);
    let rotation = Rotation::new(width, pairing, aligned);
    let row = arguments.x.at(token.multiply_wide(token_pitch)).at(offset);
    let table = arguments.table.at(position.multiply_wide(width));
    let runs_of_head = rotation.runs();
    builder.for_each(builder.thread(), heads * runs_of_head, builder.threads(), |run| {
        let (head, run) = (run / runs_of_head, run % runs_of_head);
        let head = row.at(head.multiply_wide(head_pitch));
        let rotated = rotation.rotate(head, table, run, known);
        rotation.store(head, run, known, &rotated);
    });
}

/// How threads share out the rotation of `width` elements: runs of neighbouring pairs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rotation {
    width: u32,
    pairing: Pairing,
    /// Pairs of a run.
    pairs: u32,
}

impl Rotation {
    /// The rotation of heads of `width`, which start at multiples of 8 elements if `aligned`.
    pub(crate) fn new(width: u32, pairing: Pairing, aligned: bool) -> Self {
        let (wide, elements) = match pairing {
            Pairing::Interleaved => (4, 8),
            Pairing::Halves => (8, 16),
        };
        let pairs = if aligned && width.is_multiple_of(elements) { wide } else { 1 };
        Self { width, pairing, pairs }
    }

    /// Runs of a head.
    pub(crate) fn runs(self) -> u32 {
        self.width / 2 / self.pairs
    }

    /// Where the elements of a run lie in a head: the first of each stretch, and how a stretch is moved.
    fn stretches<'k>(self, run: Value<'k, u32>) -> (Vec<Value<'k, u32>>, RunLayout) {
        let first = run * self.pairs;
        let (starts, elements) = match self.pairing {
            Pairing::Interleaved => (vec![first * 2], 2 * self.pairs),
            Pairing::Halves => (vec![first, first + self.width / 2], self.pairs),
        };
        (starts, RunLayout { elements: elements as usize, whole: self.pairs > 1 })
    }

    /// The elements of a run, rotated by a row of the table but not yet rounded, in the order of
    /// [`store`](Self::store). Nothing is loaded where `when` does not hold.
    pub(crate) fn rotate<'k>(
        self,
        head: Pointer<'k, Global, Bf16>,
        table: Pointer<'k, Global, f32>,
        run: Value<'k, u32>,
        when: Predicate<'k>,
    ) -> Vec<Value<'k, f32>> {
        let remaining = self.remaining(run.builder(), when);
        let (starts, layout) = self.stretches(run);
        let x: Vec<_> = starts.iter().flat_map(|start| layout.load(head.at(*start), remaining)).collect();
        let table_layout = RunLayout { elements: 2 * self.pairs as usize, whole: self.pairs > 1 };
        let table = table_layout.load(table.at(run * (2 * self.pairs)), remaining);
        let mut rotated = x.clone();
        for pair in 0..self.pairs as usize {
            let (first, second) = match self.pairing {
                Pairing::Interleaved => (2 * pair, 2 * pair + 1),
                Pairing::Halves => (pair, pair + self.pairs as usize),
            };
            let (a, b, cos, sin) = (x[first], x[second], table[2 * pair], table[2 * pair + 1]);
            rotated[first] = a * cos - b * sin;
            rotated[second] = a * sin + b * cos;
        }
        rotated
    }

    /// Stores what [`rotate`](Self::rotate) gave, rounded.
    pub(crate) fn store<'k>(
        self,
        head: Pointer<'k, Global, Bf16>,
        run: Value<'k, u32>,
        when: Predicate<'k>,
        rotated: &[Value<'k, f32>],
    ) {
        let remaining = self.remaining(run.builder(), when);
        let (starts, layout) = self.stretches(run);
        for (start, elements) in starts.into_iter().zip(rotated.chunks(layout.elements)) {
            layout.store(head.at(start), remaining, elements);
        }
    }

    /// All of a run's elements, or none.
    fn remaining<'k>(self, builder: &'k Builder, when: Predicate<'k>) -> Value<'k, u32> {
        when.select(builder.constant(2 * self.pairs), builder.constant(0))
    }
}
