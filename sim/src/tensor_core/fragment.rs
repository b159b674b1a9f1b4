//! Which element of a matrix each lane of a warp holds (PTX ISA 9.7.14.4, 9.7.14.5 and 9.7.15.5).
//!
//! With `g = lane / 4` and `t = lane % 4`, and E elements packed in a register, low bits first, nearly all layouts are
//! two patterns.
//!
//! **Operand**, of `mma.sync` A (16 or 8 rows) and B (8 columns) and of `wgmma` A (16 rows a warp): register r holds
//! k = `(t + 4 (r / h)) E + e` of line `g + 8 (r % h)`, with h = lines / 8. A line is a row of A or a column of B.
//!
//! **Accumulator**, of `mma.sync` and `wgmma` C and D: registers go through pairs of columns, then halves of 8 rows,
//! then blocks of 8 columns; a register holds row `g` of its half and column `2t` or `2t + 1` of its block, or both if
//! f16.
//!
//! `mma.m8n8k4` on f16 has its own layouts for four 8x8 products at a time, here stacked: quad pair p (lanes 4p to
//! 4p + 3 and 16 above) holds lines 8p to 8p + 7.
//!
//! The layout of `wmma` fragments is unspecified. Here slot s of lane l, counting packed elements, is element
//! `32 s + l` of the row-major matrix, wrapping round where the instruction has more slots than elements.

use std::convert::Infallible;

use super::Panel;
use super::accumulation::Precision;
use super::format::Format;

/// The 32 lanes of a 32-bit register.
pub type Register = [u32; 32];

/// Where an element lies: row and column of an accumulator; row and k of A; column and k of B.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Row of A or of an accumulator, column of B.
    pub line: usize,
    /// k of a multiplicand, column of an accumulator.
    pub place: usize,
}

/// The layout of a matrix in the registers of a warp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fragment {
    pattern: Pattern,
    lines: usize,
    places: usize,
    bits: u32,
    registers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pattern {
    Operand,
    Accumulator,
    Transposed,
    Bytes,
    QuadPairLines,
    QuadPairPlaces,
    QuadPairAccumulator,
    Dealt,
}

impl Fragment {
    /// A multiplicand of `mma.sync`, or A of `wgmma` (16 lines a warp): 8 or 16 `lines`, `depth` elements of `bits`
    /// bits along k. With `bits` 64 a register is a 64-bit one.
    pub const fn operand(lines: usize, depth: usize, bits: u32) -> Self {
        Self::new(Pattern::Operand, lines, depth, bits)
    }

    /// C or D of `mma.sync` (8 columns) or `wgmma` (16 rows a warp, N columns).
    pub const fn accumulator(rows: usize, columns: usize, bits: u32) -> Self {
        Self::new(Pattern::Accumulator, rows, columns, bits)
    }

    /// A `wmma` fragment in `registers` registers.
    pub const fn wmma(lines: usize, places: usize, bits: u32, registers: usize) -> Self {
        Self { pattern: Pattern::Dealt, lines, places, bits, registers }
    }

    /// A multiplicand of `mma.m8n8k4` on f16. `along_k` if the two registers hold four k of a line: A `.row` and
    /// B `.col`; else they hold four lines of a k.
    pub const fn quad_pair_operand(along_k: bool) -> Self {
        let pattern = if along_k { Pattern::QuadPairLines } else { Pattern::QuadPairPlaces };
        Self::new(pattern, 32, 4, 16)
    }

    /// C or D of `mma.m8n8k4` on f16, in f16 or f32.
    pub const fn quad_pair_accumulator(bits: u32) -> Self {
        let pattern = if bits == 16 { Pattern::QuadPairLines } else { Pattern::QuadPairAccumulator };
        Self::new(pattern, 32, 8, bits)
    }

    /// One 8x8 matrix of `ldmatrix`, `stmatrix` and `movmatrix`, 16-bit elements. A line is what one address points
    /// to, 16 bytes in memory.
    pub const fn matrix(transposed: bool) -> Self {
        Self::new(if transposed { Pattern::Transposed } else { Pattern::Operand }, 8, 8, 16)
    }

    /// One 16x8 matrix of 8-bit elements of `stmatrix.m16n8.trans`: the 8 lines in memory are its columns.
    pub const fn byte_matrix() -> Self {
        Self::new(Pattern::Bytes, 8, 16, 8)
    }

    const fn new(pattern: Pattern, lines: usize, places: usize, bits: u32) -> Self {
        let width = if bits == 64 { 64 } else { 32 };
        Self { pattern, lines, places, bits, registers: lines * places * bits as usize / (32 * width) }
    }

    /// Rows of A or of an accumulator, columns of B.
    pub const fn lines(&self) -> usize {
        self.lines
    }

    /// Extent of k of a multiplicand, columns of an accumulator.
    pub const fn places(&self) -> usize {
        self.places
    }

    /// Registers that each lane gives.
    pub const fn registers(&self) -> usize {
        self.registers
    }

    /// Elements packed in a register.
    pub const fn elements(&self) -> usize {
        if self.bits == 64 { 1 } else { 32 / self.bits as usize }
    }

    /// Where element `element` of register `register` of `lane` lies.
    #[inline]
    pub const fn position(&self, lane: usize, register: usize, element: usize) -> Position {
        let (g, t) = (lane / 4, lane % 4);
        let elements = self.elements();
        let halves = self.lines / 8;
        let slot = register * elements + element;
        let (line, place) = match self.pattern {
            Pattern::Operand => {
                (g + 8 * (register % halves), (t + 4 * (register / halves)) * elements + element)
            }
            Pattern::Accumulator => {
                let pair = slot / 2;
                (g + 8 * (pair % halves), 8 * (pair / halves) + 2 * t + slot % 2)
            }
            Pattern::Transposed => (2 * t + element, g),
            Pattern::Bytes => (2 * t + element % 2, g + 8 * (element / 2)),
            Pattern::QuadPairLines => (quad_pair_line(lane) + t, slot),
            Pattern::QuadPairPlaces => (quad_pair_line(lane) + slot, t),
            Pattern::QuadPairAccumulator => (
                quad_pair_line(lane) + (lane & 1) + (register & 2),
                (register & 4) + (lane & 2) + (register & 1),
            ),
            Pattern::Dealt => {
                let index = (slot * 32 + lane) % (self.lines * self.places);
                (index / self.places, index % self.places)
            }
        };
        Position { line, place }
    }
}

/// First of the four lines of a lane in the stacked matrices of `mma.m8n8k4`.
const fn quad_pair_line(lane: usize) -> usize {
    8 * (lane / 4 % 4) + 4 * (lane / 16)
}

/// How far apart the elements of a matrix lie in a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strides {
    /// From one line to the next.
    pub line: usize,
    /// From one place to the next.
    pub place: usize,
}

impl Fragment {
    /// Copies the registers of a warp to a matrix. `decode` gets each element in its low bits, with whatever shares
    /// its register above. Not for 64-bit elements.
    #[inline]
    pub fn load<'r, T>(
        &self,
        matrix: &mut [T],
        strides: Strides,
        register: impl Fn(usize) -> &'r Register,
        decode: impl Fn(u32) -> T,
    ) {
        if self.pattern != Pattern::Accumulator {
            for number in 0..self.registers {
                for (lane, &word) in register(number).iter().enumerate() {
                    for element in 0..self.elements() {
                        let at = strides.index(self.position(lane, number, element));
                        matrix[at] = decode(word >> (element as u32 * self.bits));
                    }
                }
            }
            return;
        }
        self.for_each_block(|start, even, odd| {
            let block = &mut matrix[strides.index(start)..];
            if even == odd {
                load_block::<T, 16>(block, strides, register(even), register(odd), &decode);
            } else {
                load_block::<T, 0>(block, strides, register(even), register(odd), &decode);
            }
        });
    }

    /// Copies a matrix to the registers of a warp, handing each to `register`. `encode` gives each element in its low
    /// bits. Not for 64-bit elements.
    #[inline]
    pub fn store<T: Copy>(
        &self,
        matrix: &[T],
        strides: Strides,
        mut register: impl FnMut(usize, &Register),
        encode: impl Fn(T) -> u32,
    ) {
        if self.pattern != Pattern::Accumulator {
            for number in 0..self.registers {
                let mut words = [0; 32];
                for (lane, word) in words.iter_mut().enumerate() {
                    for element in 0..self.elements() {
                        let at = strides.index(self.position(lane, number, element));
                        *word |= encode(matrix[at]) << (element as u32 * self.bits);
                    }
                }
                register(number, &words);
            }
            return;
        }
        self.for_each_block(|start, even_number, odd_number| {
            let (mut even, odd) = store_block(&matrix[strides.index(start)..], strides, &encode);
            if even_number == odd_number {
                for (even, odd) in even.iter_mut().zip(odd) {
                    *even |= odd << 16;
                }
            } else {
                register(odd_number, &odd);
            }
            register(even_number, &even);
        });
    }

    /// Visits the 8x8 blocks of an accumulator: the first element, and the registers of the even and odd columns,
    /// which are one if they pack f16 pairs.
    #[inline]
    fn for_each_block(&self, mut visit: impl FnMut(Position, usize, usize)) {
        let halves = self.lines / 8;
        for pair in 0..halves * (self.places / 8) {
            let start = Position { line: 8 * (pair % halves), place: 8 * (pair / halves) };
            if self.bits == 16 { visit(start, pair, pair) } else { visit(start, 2 * pair, 2 * pair + 1) }
        }
    }
}

/// Copies registers to an 8x8 block; those of the odd columns are shifted right.
#[inline(always)]
fn load_block<T, const SHIFT: u32>(
    block: &mut [T],
    strides: Strides,
    even: &Register,
    odd: &Register,
    decode: &impl Fn(u32) -> T,
) {
    for (g, (even, odd)) in even.as_chunks::<4>().0.iter().zip(odd.as_chunks::<4>().0).enumerate() {
        let line = &mut block[g * strides.line..];
        if let (1, Some(line)) = (strides.place, line.first_chunk_mut::<8>()) {
            for ((pair, &even), &odd) in line.as_chunks_mut::<2>().0.iter_mut().zip(even).zip(odd) {
                *pair = [decode(even), decode(odd >> SHIFT)];
            }
        } else {
            for t in 0..4 {
                line[2 * t * strides.place] = decode(even[t]);
                line[(2 * t + 1) * strides.place] = decode(odd[t] >> SHIFT);
            }
        }
    }
}

/// Copies an 8x8 block to registers, of even and of odd columns.
#[inline(always)]
fn store_block<T: Copy>(block: &[T], strides: Strides, encode: &impl Fn(T) -> u32) -> (Register, Register) {
    let mut flat = [block[0]; 64];
    for (g, flat) in flat.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let line = &block[g * strides.line..];
        if let (1, Some(line)) = (strides.place, line.first_chunk()) {
            *flat = *line;
        } else {
            for (element, &source) in flat.iter_mut().zip(line.iter().step_by(strides.place)) {
                *element = source;
            }
        }
    }
    let (mut even, mut odd) = ([0; 32], [0; 32]);
    for ((even, odd), pair) in even.iter_mut().zip(&mut odd).zip(flat.as_chunks::<2>().0) {
        *even = encode(pair[0]);
        *odd = encode(pair[1]);
    }
    (even, odd)
}

impl Strides {
    #[inline]
    const fn index(self, position: Position) -> usize {
        position.line * self.line + position.place * self.place
    }
}

impl Panel {
    /// Fills the panel with the multiplicand that `warps` warps hold, each [`lines`](Fragment::lines) of it, in
    /// `register(warp, number)`.
    pub fn fill_fragment<'r>(
        &mut self,
        format: Format,
        fragment: Fragment,
        warps: usize,
        precision: Precision,
        register: impl Fn(usize, usize) -> &'r Register,
    ) {
        let lanes = warps * fragment.lines;
        let Ok(()) = self.fill_rows(format, lanes, fragment.places, precision, |raw| {
            for warp in 0..warps {
                for number in 0..fragment.registers {
                    let words = register(warp, number);
                    let first = warp * fragment.lines;
                    match format.bits() {
                        16 => spread::<2>(raw, lanes, first, fragment, number, words),
                        32 => spread::<4>(raw, lanes, first, fragment, number, words),
                        _ => spread::<1>(raw, lanes, first, fragment, number, words),
                    }
                }
            }
            Ok::<(), Infallible>(())
        });
    }
}

/// Writes the elements of one register, `SIZE` bytes each, to rows of `[k][lane]`.
#[inline]
fn spread<const SIZE: usize>(
    raw: &mut [u8],
    lanes: usize,
    first: usize,
    fragment: Fragment,
    number: usize,
    words: &Register,
) {
    let raw = raw.as_chunks_mut::<SIZE>().0;
    let mut put = |at: usize, word: u32, element: usize| {
        let bytes = (word >> (element as u32 * fragment.bits)).to_le_bytes();
        raw[at].copy_from_slice(&bytes[..SIZE]);
    };
    if fragment.pattern != Pattern::Operand {
        for (lane, &word) in words.iter().enumerate() {
            for element in 0..fragment.elements() {
                let Position { line, place } = fragment.position(lane, number, element);
                put(place * lanes + first + line, word, element);
            }
        }
        return;
    }
    for t in 0..4 {
        for element in 0..fragment.elements() {
            let Position { line, place } = fragment.position(t, number, element);
            for g in 0..8 {
                put(place * lanes + first + line + g, words[4 * g + t], element);
            }
        }
    }
}

#[cfg(test)]
mod tests;
