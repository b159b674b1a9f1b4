//! Matrix instructions of warps (PTX ISA 9.7.16): decoding, and the code of `mma` and `wmma.mma`.

use super::matrix_operand::{Lines, format_of, padded_macs, undefined_results};
use crate::context::Context;
use crate::counters::Class;
use crate::decode::{Decoded, Decoder, Unsupported};
use crate::program::{Flow, Step};
use crate::registers::{Destination, Source};
use crate::report::Fault;
use crate::tensor_core::fragment::{Fragment, Strides};
use crate::tensor_core::{
    Arithmetic, BitOperation, Format, Instruction as Unit, Panel, Precision, f16_bits, multiply_accumulate,
    multiply_accumulate_bits, multiply_accumulate_double, multiply_accumulate_integer,
};
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::{Modifier, Shape};
use rorqual_ptx::table::ExecMma;
use rorqual_ptx::types::Type;

/// Buffers of the products; nothing stays in them.
#[derive(Debug, Default)]
pub struct Scratch {
    a: Panel,
    b: Panel,
    floats: Vec<f32>,
    integers: Vec<i32>,
    sums: Vec<f32>,
    doubles: [Vec<f64>; 3],
    words: [Vec<u32>; 2],
}

/// The arithmetic of a product.
#[derive(Debug, Clone, Copy)]
enum Arithmetics {
    /// Floats; whether C and D are f16.
    Float { a: Format, b: Format, half_c: bool, half_d: bool },
    /// Four products of 8 rows and columns each, of f16.
    QuadPairs { half_c: bool, half_d: bool },
    /// Integers.
    Integer { a: Format, b: Format, saturate: bool },
    /// Single bits.
    Bits(BitOperation),
    /// f64.
    Double,
}

/// The fragments of D = A * B + C.
#[derive(Debug, Clone, Copy)]
struct Fragments {
    a: Fragment,
    b: Fragment,
    c: Fragment,
    d: Fragment,
}

/// `mma` or `wmma.mma`, decoded.
#[derive(Debug)]
struct WarpProduct {
    name: &'static str,
    fragments: Fragments,
    arithmetics: Arithmetics,
    a: Vec<Source>,
    b: Vec<Source>,
    c: Vec<Source>,
    d: Vec<Destination>,
    /// Multiplications.
    macs: u64,
}

/// Which parts of a result are undefined.
struct Undefined {
    rows: Lines,
    columns: Lines,
    /// Whether each register of C passes its undefined lanes to the same register of D.
    same_layout: bool,
}

impl WarpProduct {
    fn run(&self, context: &mut Context<'_>) -> Step {
        if let Some(flow) = context.whole_warp(self.name)? {
            return Ok(flow);
        }
        let undefined = self.undefined(context)?;
        let mut scratch = std::mem::take(&mut context.cluster.panels.warp);
        let result = self.multiply(context, &mut scratch, undefined.as_ref());
        context.cluster.panels.warp = scratch;
        context.counters.matrix_macs += self.macs;
        result.map(|()| Flow::Next)
    }

    /// What undefined operands make of the result; `None` if they are defined.
    fn undefined(&self, context: &Context<'_>) -> Result<Option<Undefined>, Box<Fault>> {
        let mut any = 0;
        for source in self.a.iter().chain(&self.b).chain(&self.c) {
            any |= context.taint(*source)?;
        }
        if any == 0 {
            return Ok(None);
        }
        let lines = |fragment: &Fragment, sources: &[Source]| -> Result<Lines, Box<Fault>> {
            let mut lines = Lines::default();
            for (number, source) in sources.iter().enumerate() {
                lines.insert_held(fragment, number, context.taint(*source)?);
            }
            Ok(lines)
        };
        let (mut rows, columns) = (lines(&self.fragments.a, &self.a)?, lines(&self.fragments.b, &self.b)?);
        let same_layout = self.fragments.c == self.fragments.d;
        if !same_layout {
            let c = lines(&self.fragments.c, &self.c)?;
            (0..self.fragments.c.lines()).filter(|line| c.contains(*line)).for_each(|line| rows.insert(line));
        }
        Ok(Some(Undefined { rows, columns, same_layout }))
    }

    fn multiply(
        &self,
        context: &mut Context<'_>,
        scratch: &mut Scratch,
        undefined: Option<&Undefined>,
    ) -> Result<(), Box<Fault>> {
        let Fragments { a, b, c, d } = self.fragments;
        let strides = Strides { line: c.places(), place: 1 };
        let size = c.lines() * c.places();
        let lacking: Vec<u32> =
            undefined.map_or_else(Vec::new, |undefined| self.undefined_results(context, undefined));
        match self.arithmetics {
            Arithmetics::Float { half_c, half_d, .. } | Arithmetics::QuadPairs { half_c, half_d } => {
                scratch.floats.resize(size, 0.0);
                let register = |number: usize| context.u32(self.c[number]);
                if half_c {
                    c.load(&mut scratch.floats, strides, register, |bits| Format::F16.decode(bits));
                } else {
                    c.load(&mut scratch.floats, strides, register, f32::from_bits);
                }
                match self.arithmetics {
                    Arithmetics::Float { a, b, .. } => self.multiply_floats(context, scratch, [a, b], half_d),
                    _ => self.multiply_quad_pairs(context, scratch, half_d),
                }
                let floats = &scratch.floats[..];
                if half_d {
                    self.write(context, &lacking, |write| {
                        d.store(floats, strides, write, |value| u32::from(f16_bits(value)));
                    })
                } else {
                    self.write(context, &lacking, |write| d.store(floats, strides, write, f32::to_bits))
                }
            }
            Arithmetics::Integer { a: a_format, b: b_format, saturate } => {
                scratch.integers.resize(size, 0);
                c.load(
                    &mut scratch.integers,
                    strides,
                    |number| context.u32(self.c[number]),
                    u32::cast_signed,
                );
                self.fill(context, scratch, [a_format, b_format], Precision::Exact);
                let Scratch { a, b, integers, sums, .. } = scratch;
                multiply_accumulate_integer(a, b, integers, saturate, sums);
                count_padding(context, a, b);
                self.write(context, &lacking, |write| d.store(integers, strides, write, i32::cast_unsigned))
            }
            Arithmetics::Bits(operation) => {
                let Scratch { integers, words: [a_words, b_words], .. } = scratch;
                integers.resize(size, 0);
                c.load(integers, strides, |number| context.u32(self.c[number]), u32::cast_signed);
                let words = a.places();
                let along = Strides { line: words, place: 1 };
                a_words.resize(a.lines() * words, 0);
                b_words.resize(b.lines() * words, 0);
                a.load(a_words, along, |number| context.u32(self.a[number]), |word| word);
                b.load(b_words, along, |number| context.u32(self.b[number]), |word| word);
                multiply_accumulate_bits(a_words, b_words, words, integers, operation);
                self.write(context, &lacking, |write| d.store(integers, strides, write, i32::cast_unsigned))
            }
            Arithmetics::Double => self.multiply_doubles(context, scratch, &lacking),
        }
    }

    fn fill(&self, context: &Context<'_>, scratch: &mut Scratch, [a, b]: [Format; 2], precision: Precision) {
        let Fragments { a: a_fragment, b: b_fragment, .. } = self.fragments;
        scratch.a.fill_fragment(a, a_fragment, 1, precision, |_, number| context.u32(self.a[number]));
        scratch.b.fill_fragment(b, b_fragment, 1, precision, |_, number| context.u32(self.b[number]));
    }

    fn multiply_floats(
        &self,
        context: &mut Context<'_>,
        scratch: &mut Scratch,
        formats: [Format; 2],
        half: bool,
    ) {
        let grid = context.grid;
        let precision = grid.options.precision;
        self.fill(context, scratch, formats, precision);
        let depth = self.fragments.a.places();
        let arithmetic = Arithmetic::new(precision, grid.generation, Unit::Mma, formats[0], depth, half);
        multiply_accumulate(&scratch.a, &scratch.b, &mut scratch.floats, arithmetic);
        count_padding(context, &scratch.a, &scratch.b);
    }

    fn multiply_quad_pairs(&self, context: &mut Context<'_>, scratch: &mut Scratch, half: bool) {
        let grid = context.grid;
        let precision = grid.options.precision;
        let Scratch { a, b, floats, words: [a_words, b_words], .. } = scratch;
        let Fragments { a: a_fragment, b: b_fragment, .. } = self.fragments;
        let depth = a_fragment.places();
        let along = Strides { line: depth, place: 1 };
        for (fragment, words, sources) in
            [(a_fragment, &mut *a_words, &self.a), (b_fragment, &mut *b_words, &self.b)]
        {
            words.resize(fragment.lines() * depth, 0);
            fragment.load(words, along, |number| context.u32(sources[number]), |word| word);
        }
        let arithmetic = Arithmetic::new(precision, grid.generation, Unit::Mma, Format::F16, depth, half);
        for (pair, floats) in floats.chunks_exact_mut(64).enumerate() {
            a.fill(Format::F16, 8, depth, precision, |line, k| a_words[(8 * pair + line) * depth + k]);
            b.fill(Format::F16, 8, depth, precision, |line, k| b_words[(8 * pair + line) * depth + k]);
            multiply_accumulate(a, b, floats, arithmetic);
            count_padding(context, a, b);
        }
    }

    fn multiply_doubles(
        &self,
        context: &mut Context<'_>,
        scratch: &mut Scratch,
        lacking: &[u32],
    ) -> Result<(), Box<Fault>> {
        let Fragments { a, b, c, d } = self.fragments;
        let [a_values, b_values, sums] = &mut scratch.doubles;
        // Factors lie by k, the sums by row.
        for (fragment, sources, values, by_row) in [
            (a, &self.a, &mut *a_values, false),
            (b, &self.b, &mut *b_values, false),
            (c, &self.c, &mut *sums, true),
        ] {
            values.resize(fragment.lines() * fragment.places(), 0.0);
            for (number, source) in sources.iter().enumerate() {
                for (lane, value) in context.f64(*source).iter().enumerate() {
                    let at = fragment.position(lane, number, 0);
                    let row = at.line * fragment.places() + at.place;
                    values[if by_row { row } else { at.place * fragment.lines() + at.line }] = *value;
                }
            }
        }
        multiply_accumulate_double(a_values, b_values, a.lines(), b.lines(), sums);
        for (number, to) in self.d.iter().enumerate() {
            let values = std::array::from_fn(|lane| {
                let at = d.position(lane, number, 0);
                sums[at.line * d.places() + at.place].to_bits()
            });
            context.write_u64(*to, &values, lacking.get(number).copied().unwrap_or(0))?;
        }
        Ok(())
    }

    /// Lanes of each register of D that are undefined.
    fn undefined_results(&self, context: &Context<'_>, undefined: &Undefined) -> Vec<u32> {
        let results = (0..self.d.len()).map(|number| {
            let passed =
                if undefined.same_layout { context.taint(self.c[number]).unwrap_or(u32::MAX) } else { 0 };
            let d = &self.fragments.d;
            match self.arithmetics {
                // The columns of the four products lie one below the other.
                Arithmetics::QuadPairs { .. } if !undefined.columns.is_empty() => u32::MAX,
                _ => passed | undefined_results(d, number, &undefined.rows, &undefined.columns),
            }
        });
        results.collect()
    }

    /// Writes the registers of D that `store` hands out.
    fn write(
        &self,
        context: &mut Context<'_>,
        lacking: &[u32],
        store: impl FnOnce(&mut dyn FnMut(usize, &[u32; 32])),
    ) -> Result<(), Box<Fault>> {
        let mut result = Ok(());
        store(&mut |number, values| {
            let undefined = lacking.get(number).copied().unwrap_or(0);
            let written = context.write_u32(self.d[number], values, undefined);
            if result.is_ok() {
                result = written;
            }
        });
        result
    }
}

/// Counts the multiply-adds of padding, if the launch asks for counts.
fn count_padding(context: &mut Context<'_>, a: &Panel, b: &Panel) {
    if context.grid.options.count_accesses {
        context.counters.padded_macs += padded_macs(a, b);
    }
}

impl Decoder<'_> {
    /// `mma` or `wmma.mma` with these fragments.
    fn product(
        &mut self,
        instruction: &Instruction,
        name: &'static str,
        shape: Shape,
        arithmetics: Arithmetics,
        fragments: impl FnOnce([usize; 4]) -> Fragments,
    ) -> Decoded {
        let ty = if matches!(arithmetics, Arithmetics::Double) { Type::B64 } else { Type::B32 };
        let a = self.fragment_sources(instruction, "a", ty)?;
        let b = self.fragment_sources(instruction, "b", ty)?;
        let c = self.fragment_sources(instruction, "c", ty)?;
        let d = self.fragment_destinations(instruction, "d", ty)?;
        let counts = [a.len(), b.len(), c.len(), d.len()];
        let fragments = fragments(counts);
        if [fragments.a, fragments.b, fragments.c, fragments.d].map(|fragment| fragment.registers()) != counts
        {
            return Err(Unsupported::new("fragments of a size that the simulator does not know"));
        }
        let products = if matches!(arithmetics, Arithmetics::QuadPairs { .. }) { 4 } else { 1 };
        let macs = products * u64::from(shape.m) * u64::from(shape.n) * u64::from(shape.k);
        let product = WarpProduct { name, fragments, arithmetics, a, b, c, d, macs };
        self.emit_with(Class::Matrix, move |context| product.run(context));
        Ok(())
    }
}

/// The types of D, A, B and C; `wmma.mma` on f16 names only those of D and C.
fn types_of(instruction: &Instruction) -> Option<[Type; 4]> {
    let types: Vec<Type> = instruction.types().collect();
    match types[..] {
        [d, c] => Some([d, Type::F16, Type::F16, c]),
        [d, a, b, c] => Some([d, a, b, c]),
        _ => None,
    }
}

fn arithmetics_of(instruction: &Instruction, [d, a, b, c]: [Type; 4]) -> Result<Arithmetics, Unsupported> {
    let lacking = || Unsupported::new(format!("a product of {a} and {b}"));
    let halves = |a, b| Arithmetics::Float { a, b, half_c: c == Type::F16, half_d: d == Type::F16 };
    Ok(match a {
        Type::F64 => {
            let directed = [Modifier::Rz, Modifier::Rm, Modifier::Rp];
            if directed.iter().any(|rounding| instruction.has(*rounding)) {
                return Err(Unsupported::new("f64 products with directed rounding"));
            }
            Arithmetics::Double
        }
        Type::B1 if instruction.has(Modifier::And) => Arithmetics::Bits(BitOperation::And),
        Type::B1 => Arithmetics::Bits(BitOperation::Xor),
        _ => {
            let (a, b) = (format_of(a).ok_or_else(lacking)?, format_of(b).ok_or_else(lacking)?);
            let saturate = instruction.has(Modifier::Satfinite);
            if d == Type::S32 { Arithmetics::Integer { a, b, saturate } } else { halves(a, b) }
        }
    })
}

/// Bits of an element as it lies in its register: 6-bit elements take a byte, 4-bit floats beside others too.
fn register_bits(ty: Type) -> u32 {
    match ty {
        Type::E3m2 | Type::E2m3 | Type::E2m1 => 8,
        ty => ty.bits(),
    }
}

/// A multiplicand of single bits is one of words.
fn multiplicand(lines: u16, k: u16, ty: Type) -> Fragment {
    let (depth, bits) = if ty == Type::B1 { (k / 32, 32) } else { (k, register_bits(ty)) };
    Fragment::operand(lines.into(), depth.into(), bits)
}

impl ExecMma for Decoder<'_> {
    type Output = Decoded;

    fn ldmatrix(&mut self, instruction: &Instruction) -> Decoded {
        self.decode_ldmatrix(instruction)
    }

    fn stmatrix(&mut self, instruction: &Instruction) -> Decoded {
        self.decode_stmatrix(instruction)
    }

    fn movmatrix(&mut self, instruction: &Instruction) -> Decoded {
        self.decode_movmatrix(instruction)
    }

    fn wmma_load_a(&mut self, instruction: &Instruction) -> Decoded {
        self.decode_wmma_load(instruction, "a")
    }

    fn wmma_load_b(&mut self, instruction: &Instruction) -> Decoded {
        self.decode_wmma_load(instruction, "b")
    }

    fn wmma_load_c(&mut self, instruction: &Instruction) -> Decoded {
        self.decode_wmma_load(instruction, "c")
    }

    fn wmma_store_d(&mut self, instruction: &Instruction) -> Decoded {
        self.decode_wmma_store(instruction)
    }

    fn wmma_mma(&mut self, instruction: &Instruction) -> Decoded {
        let lacking = || Unsupported::new("a wmma.mma of an unknown shape or type");
        let shape = instruction.shape().ok_or_else(lacking)?;
        let types @ [d, a, b, c] = types_of(instruction).ok_or_else(lacking)?;
        let arithmetics = arithmetics_of(instruction, types)?;
        self.product(instruction, "wmma.mma", shape, arithmetics, |counts| Fragments {
            a: wmma_fragment(shape, 'a', a, counts[0]),
            b: wmma_fragment(shape, 'b', b, counts[1]),
            c: wmma_fragment(shape, 'c', c, counts[2]),
            d: wmma_fragment(shape, 'd', d, counts[3]),
        })
    }

    fn mma(&mut self, instruction: &Instruction) -> Decoded {
        let lacking = || Unsupported::new("an mma of an unknown shape or type");
        if instruction.has(Modifier::BlockScale) {
            return Err(Unsupported::new("block-scaled products"));
        }
        let shape = instruction.shape().ok_or_else(lacking)?;
        let types @ [d, a, b, c] = types_of(instruction).ok_or_else(lacking)?;
        let arithmetics = arithmetics_of(instruction, types)?;
        if a == Type::F16 && shape == (Shape { m: 8, n: 8, k: 4 }) {
            let Arithmetics::Float { half_c, half_d, .. } = arithmetics else { return Err(lacking()) };
            let layouts: Vec<bool> = instruction
                .modifiers
                .iter()
                .filter_map(|modifier| match modifier {
                    Modifier::Row => Some(true),
                    Modifier::Col => Some(false),
                    _ => None,
                })
                .collect();
            let [a_by_row, b_by_row] = layouts[..] else { return Err(lacking()) };
            return self.product(
                instruction,
                "mma",
                shape,
                Arithmetics::QuadPairs { half_c, half_d },
                |_| Fragments {
                    a: Fragment::quad_pair_operand(a_by_row),
                    b: Fragment::quad_pair_operand(!b_by_row),
                    c: Fragment::quad_pair_accumulator(c.bits()),
                    d: Fragment::quad_pair_accumulator(d.bits()),
                },
            );
        }
        let accumulator = |ty: Type| Fragment::accumulator(shape.m.into(), shape.n.into(), ty.bits());
        let fragments = Fragments {
            a: multiplicand(shape.m, shape.k, a),
            b: multiplicand(shape.n, shape.k, b),
            c: accumulator(c),
            d: accumulator(d),
        };
        self.product(instruction, "mma", shape, arithmetics, |_| fragments)
    }

    fn mma_sp(&mut self, _: &Instruction) -> Decoded {
        Err(Unsupported::new("sparse products"))
    }

    fn mma_sp_ordered_metadata(&mut self, _: &Instruction) -> Decoded {
        Err(Unsupported::new("sparse products"))
    }

    fn wgmma_fence(&mut self, _: &Instruction) -> Decoded {
        self.decode_wgmma_fence();
        Ok(())
    }

    fn wgmma_commit_group(&mut self, _: &Instruction) -> Decoded {
        self.decode_wgmma_commit_group();
        Ok(())
    }

    fn wgmma_wait_group(&mut self, instruction: &Instruction) -> Decoded {
        self.decode_wgmma_wait_group(instruction)
    }

    fn wgmma_mma_async(&mut self, instruction: &Instruction) -> Decoded {
        self.decode_wgmma(instruction)
    }

    fn wgmma_mma_async_sp(&mut self, instruction: &Instruction) -> Decoded {
        self.decode_wgmma(instruction)
    }
}

/// How the matrix `role` (`a` to `d`) of `wmma` lies in `registers` registers. The ISA leaves it open.
#[must_use]
pub fn wmma_fragment(shape: Shape, role: char, ty: Type, registers: usize) -> Fragment {
    let (m, n, k) = (usize::from(shape.m), usize::from(shape.n), usize::from(shape.k));
    let (lines, places) = match role {
        'a' => (m, k),
        'b' => (n, k),
        _ => (m, n),
    };
    match ty {
        // Elements narrower than a byte are moved in words of memory, as `mma` holds them.
        Type::S4 | Type::U4 => Fragment::operand(lines, places, 4),
        Type::B1 => Fragment::operand(lines, places / 32, 32),
        _ => Fragment::wmma(lines, places, ty.bits(), registers),
    }
}
