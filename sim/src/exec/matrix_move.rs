//! Moves of matrices between memory and fragments: `ldmatrix`, `stmatrix`, `movmatrix` (PTX ISA 9.7.16.5) and the
//! loads and stores of `wmma` (9.7.16.4).

use super::access::{self, Access};
use super::bulk_copy::memory_rule;
use super::cached::{self, Use};
use super::memory::class_of;
use super::mma::wmma_fragment;
use super::observe;
use crate::context::Context;
use crate::counters::Class;
use crate::decode::{AddressSource, Decoded, Decoder, Relative, Unsupported};
use crate::memory::{DEFINED, MemoryError, Window, check_alignment, classify};
use crate::program::{Flow, Step};
use crate::race::Touch;
use crate::registers::{Destination, Source};
use crate::report::{Fault, Rule};
use crate::tensor_core::fragment::{Fragment, Position};
use crate::warp::Warp;
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::{Modifier, Shape};
use rorqual_ptx::types::{Space, Type};

/// Bytes of a row of a matrix.
const ROW_BYTES: u32 = 16;

/// The rows of up to four matrices of 8 by 8 elements of 16 bits: one address a lane.
#[derive(Debug, Clone, Copy)]
struct Rows {
    address: AddressSource,
    generic: bool,
    matrices: usize,
}

impl Rows {
    /// The shared addresses, of eight lanes a matrix.
    fn addresses(&self, context: &mut Context<'_>, name: &str) -> Result<[u32; 32], Box<Fault>> {
        let whole = context.mask;
        // The addresses of the other lanes do not count.
        context.mask = u32::MAX >> (32 - 8 * self.matrices);
        let addresses = self.address.read(context)?;
        access::count(
            context,
            &addresses,
            if self.generic { Space::Generic } else { Space::Shared },
            ROW_BYTES,
        );
        let lanes = std::mem::replace(&mut context.mask, whole);
        check_alignment(&addresses, 0, lanes, ROW_BYTES).map_err(|error| access::lane_fault(&error))?;
        let mut shared = [0; 32];
        for (lane, (shared, address)) in shared.iter_mut().zip(addresses).enumerate().take(8 * self.matrices)
        {
            *shared = match classify(address) {
                Window::Shared(address) if self.generic => address,
                _ if self.generic => {
                    return Err(Box::new(Fault::new(
                        Rule::Bounds,
                        format!(
                            "lane {lane} gives {name} the row address {address:#x}, which is not in shared memory"
                        ),
                    )));
                }
                _ => address as u32,
            };
        }
        Ok(shared)
    }

    /// Tells race detection that each lane loads the row of its address.
    fn observe(&self, context: &mut Context<'_>, addresses: &[u32; 32]) -> Result<(), Box<Fault>> {
        let whole = std::mem::replace(&mut context.mask, u32::MAX >> (32 - 8 * self.matrices));
        let observed =
            observe::lanes(context, &addresses.map(u64::from), Space::Shared, ROW_BYTES, Touch::READ);
        context.mask = whole;
        observed
    }
}

fn row_fault(warp: &Warp, name: &str, lane: usize, error: &MemoryError) -> Box<Fault> {
    Box::new(Fault::new(
        memory_rule(error),
        format!("the row of lane {lane} of {name} by warp {} of CTA rank {}: {error}", warp.index, warp.cta),
    ))
}

/// The 16-bit elements of a matrix as lanes hold them, from rows; or the other way, which is the same permutation:
/// lane `4 * row + pair` holds elements `2 * pair` and `2 * pair + 1` of a row, or of a column.
fn transpose(words: &[u32; 32]) -> [u32; 32] {
    let half = |line: usize, place: usize| words[4 * line + place / 2] >> (16 * (place % 2)) & 0xffff;
    std::array::from_fn(|lane| {
        let (g, t) = (lane / 4, lane % 4);
        half(2 * t, g) | half(2 * t + 1, g) << 16
    })
}

/// Lanes whose words are undefined after [`transpose`]; per-element knowledge is lost, so whole words spread.
fn transpose_undefined(lanes: u32) -> u32 {
    if lanes == 0 {
        return 0;
    }
    let words: [u32; 32] = std::array::from_fn(|lane| if lanes >> lane & 1 == 1 { u32::MAX } else { 0 });
    transpose(&words).iter().enumerate().fold(0, |lanes, (lane, word)| lanes | u32::from(*word != 0) << lane)
}

/// `ldmatrix`, decoded.
#[derive(Debug)]
struct Load {
    rows: Rows,
    transposed: bool,
    to: Vec<Destination>,
}

impl Load {
    fn run(&self, context: &mut Context<'_>) -> Step {
        const NAME: &str = "ldmatrix";
        if let Some(flow) = context.whole_warp(NAME)? {
            return Ok(flow);
        }
        let addresses = self.rows.addresses(context, NAME)?;
        let (mut words, mut undefined) = ([[0; 32]; 4], [0; 4]);
        for (matrix, (words, undefined)) in
            words.iter_mut().zip(&mut undefined).enumerate().take(self.to.len())
        {
            for (row, words) in words.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let lane = 8 * matrix + row;
                let shared = &context.cluster.cta_of(addresses[lane])?.shared;
                let (data, flags) = shared
                    .range(addresses[lane], ROW_BYTES)
                    .map_err(|error| row_fault(context.warp, NAME, lane, &error))?;
                for (pair, word) in words.iter_mut().enumerate() {
                    *word = u32::from_le_bytes(*data[4 * pair..].first_chunk().expect("a quarter of a row"));
                }
                if flags.iter().fold(DEFINED, |all, flag| all & flag) != DEFINED {
                    for (pair, flags) in flags.chunks_exact(4).enumerate() {
                        let lacks = flags.iter().any(|flag| *flag != DEFINED);
                        *undefined |= u32::from(lacks) << (4 * row + pair);
                    }
                }
            }
        }
        context.counters.shared_read_bytes += 128 * self.to.len() as u64;
        self.rows.observe(context, &addresses)?;
        for (number, to) in self.to.iter().enumerate() {
            if self.transposed {
                context.write_u32(*to, &transpose(&words[number]), transpose_undefined(undefined[number]))?;
            } else {
                context.write_u32(*to, &words[number], undefined[number])?;
            }
        }
        Ok(Flow::Next)
    }
}

/// `stmatrix`, decoded.
#[derive(Debug)]
struct Store {
    rows: Rows,
    transposed: bool,
    from: Vec<Source>,
}

impl Store {
    fn run(&self, context: &mut Context<'_>) -> Step {
        const NAME: &str = "stmatrix";
        if let Some(flow) = context.whole_warp(NAME)? {
            return Ok(flow);
        }
        let addresses = self.rows.addresses(context, NAME)?;
        let (mut words, mut undefined) = ([[0; 32]; 4], [0; 4]);
        for ((from, words), undefined) in self.from.iter().zip(&mut words).zip(&mut undefined) {
            (*words, *undefined) = (*context.u32(*from), context.taint(*from)?);
            if self.transposed {
                (*words, *undefined) = (transpose(words), transpose_undefined(*undefined));
            }
        }
        self.observe(context, &addresses, &words)?;
        for (matrix, (words, undefined)) in words.iter().zip(undefined).enumerate().take(self.from.len()) {
            for (row, words) in words.as_chunks::<4>().0.iter().enumerate() {
                let lane = 8 * matrix + row;
                let shared = &mut context.cluster.cta_of(addresses[lane])?.shared;
                let bytes: [u8; ROW_BYTES as usize] = bytemuck::cast(words.map(u32::to_le_bytes));
                let flags: [[u8; 4]; 4] = std::array::from_fn(|pair| {
                    [if undefined >> (4 * row + pair) & 1 == 1 { 0 } else { DEFINED }; 4]
                });
                shared
                    .write_range(addresses[lane], &bytes, flags.as_flattened())
                    .map_err(|error| row_fault(context.warp, NAME, lane, &error))?;
            }
        }
        context.counters.shared_written_bytes += 128 * self.from.len() as u64;
        context.cluster.changed();
        Ok(Flow::Next)
    }

    /// Tells race detection that each lane stores the row of its address.
    fn observe(
        &self,
        context: &mut Context<'_>,
        addresses: &[u32; 32],
        words: &[[u32; 32]; 4],
    ) -> Result<(), Box<Fault>> {
        let lanes = u32::MAX >> (32 - 8 * self.rows.matrices);
        let whole = std::mem::replace(&mut context.mask, lanes);
        let byte = |_: &Context<'_>, lane: usize, byte: u32| {
            let word = words[lane / 8][4 * (lane % 8) + byte as usize / 4];
            word.to_le_bytes()[byte as usize % 4]
        };
        let addresses = addresses.map(u64::from);
        let observed = observe::store(context, &addresses, Space::Shared, ROW_BYTES, Touch::WRITE, &byte);
        context.mask = whole;
        observed
    }
}

/// The load or store of a `wmma` fragment, decoded.
#[derive(Debug)]
struct Tile {
    name: &'static str,
    address: AddressSource,
    space: Space,
    fragment: Fragment,
    /// Elements between the starts of consecutive rows, or columns: a register, or a literal.
    stride: Source,
    /// Whether the places of a line lie side by side.
    along_places: bool,
    /// Bits of an element of the matrix.
    element_bits: u32,
    /// Bits of what is moved at once: an element, or a word of narrower ones.
    unit_bits: u32,
    /// Bytes of which the address and the stride must be multiples.
    alignment: u64,
}

impl Tile {
    /// The address of the matrix and the bytes from one row or column to the next.
    fn place(&self, context: &Context<'_>) -> Result<(u64, u64), Box<Fault>> {
        let address = self.address.read_uniform(context, "the address of a wmma fragment")?;
        let elements = context.uniform_u64(self.stride, false, "the stride of a wmma fragment")?;
        let stride = elements * u64::from(self.element_bits) / 8;
        for (value, what) in [(address, "address"), (stride, "stride in bytes")] {
            if value % self.alignment != 0 {
                return Err(Box::new(Fault::new(
                    Rule::Alignment,
                    format!(
                        "the {what} of {} is {value:#x}, expected a multiple of {}",
                        self.name, self.alignment
                    ),
                )));
            }
        }
        Ok((address, stride))
    }

    /// The addresses of an element of a register.
    fn addresses(&self, (start, stride): (u64, u64), register: usize, element: usize) -> [u64; 32] {
        std::array::from_fn(|lane| {
            let Position { line, place } = self.fragment.position(lane, register, element);
            let (outer, inner) = if self.along_places { (line, place) } else { (place, line) };
            start.wrapping_add(outer as u64 * stride + inner as u64 * u64::from(self.unit_bits / 8))
        })
    }

    /// Elements of a register.
    const fn elements(&self) -> usize {
        (if self.unit_bits == 64 { 64 } else { 32 } / self.unit_bits) as usize
    }

    const fn access(&self) -> Access {
        Access { space: self.space, bytes: self.unit_bits / 8, offset: 0 }
    }

    fn load(&self, context: &mut Context<'_>, to: &[Destination]) -> Step {
        if let Some(flow) = context.whole_warp(self.name)? {
            return Ok(flow);
        }
        let place = self.place(context)?;
        for (register, to) in to.iter().enumerate() {
            let (mut values, mut defined) = ([0u64; 32], u32::MAX);
            for element in 0..self.elements() {
                let addresses = self.addresses(place, register, element);
                access::count(context, &addresses, self.space, self.unit_bits / 8);
                cached::lanes(context, &addresses, self.space, self.unit_bits / 8, Use::Read);
                let mut part = [0u64; 32];
                defined &= access::load(context, &addresses, self.access(), &mut part)?;
                observe::lanes(context, &addresses, self.space, self.unit_bits / 8, Touch::READ)?;
                let shift = element as u32 * self.unit_bits;
                values.iter_mut().zip(part).for_each(|(value, part)| *value |= part << shift);
            }
            if self.unit_bits == 64 {
                context.write_u64(*to, &values, !defined)?;
            } else {
                context.write_u32(*to, &values.map(|value| value as u32), !defined)?;
            }
        }
        Ok(Flow::Next)
    }

    fn store(&self, context: &mut Context<'_>, from: &[Source]) -> Step {
        if let Some(flow) = context.whole_warp(self.name)? {
            return Ok(flow);
        }
        let place = self.place(context)?;
        for (register, from) in from.iter().enumerate() {
            let defined = !context.taint(*from)?;
            let values =
                if self.unit_bits == 64 { *context.u64(*from) } else { context.u32(*from).map(u64::from) };
            for element in 0..self.elements() {
                let addresses = self.addresses(place, register, element);
                access::count(context, &addresses, self.space, self.unit_bits / 8);
                cached::lanes(context, &addresses, self.space, self.unit_bits / 8, Use::Write);
                let shift = element as u32 * self.unit_bits;
                access::store(
                    context,
                    &addresses,
                    self.access(),
                    &values.map(|value| value >> shift),
                    defined,
                )?;
                observe::lanes(context, &addresses, self.space, self.unit_bits / 8, Touch::WRITE)?;
            }
        }
        Ok(Flow::Next)
    }
}

impl Decoder<'_> {
    fn rows(&mut self, instruction: &Instruction) -> Result<(Rows, bool), Unsupported> {
        if instruction.shape() != Some(Shape { m: 8, n: 8, k: 0 }) || instruction.ty() != Some(Type::B16) {
            return Err(Unsupported::new("matrices other than 8x8 of 16 bits"));
        }
        let address = self.address(self.need(instruction, "p")?)?;
        // A 32-bit base can only be a window address, whatever the instruction says.
        let generic =
            instruction.space() == Space::Generic && address.wide && address.relative == Relative::Absolute;
        let matrices = instruction.find(|modifier| match modifier {
            Modifier::X1 => Some(1),
            Modifier::X2 => Some(2),
            Modifier::X4 => Some(4),
            _ => None,
        });
        let matrices = matrices.ok_or_else(|| Unsupported::new("an unknown number of matrices"))?;
        Ok((Rows { address, generic, matrices }, instruction.has(Modifier::Trans)))
    }

    /// `ldmatrix`
    pub(super) fn decode_ldmatrix(&mut self, instruction: &Instruction) -> Decoded {
        let (rows, transposed) = self.rows(instruction)?;
        let to = self.fragment_destinations(instruction, "r", Type::B32)?;
        let load = Load { rows, transposed, to };
        self.emit_with(Class::Shared, move |context| load.run(context));
        Ok(())
    }

    /// `stmatrix`
    pub(super) fn decode_stmatrix(&mut self, instruction: &Instruction) -> Decoded {
        let (rows, transposed) = self.rows(instruction)?;
        let from = self.fragment_sources(instruction, "r", Type::B32)?;
        let store = Store { rows, transposed, from };
        self.emit_with(Class::Shared, move |context| store.run(context));
        Ok(())
    }

    /// `movmatrix`
    pub(super) fn decode_movmatrix(&mut self, instruction: &Instruction) -> Decoded {
        let to = self.destination(self.need(instruction, "d")?, Type::B32)?;
        let from = self.source(self.need(instruction, "a")?, Type::B32)?;
        self.emit_with(Class::Move, move |context| {
            if let Some(flow) = context.whole_warp("movmatrix")? {
                return Ok(flow);
            }
            let undefined = transpose_undefined(context.taint(from)?);
            context.write_u32(to, &transpose(context.u32(from)), undefined)?;
            Ok(Flow::Next)
        });
        Ok(())
    }

    /// The fragment `role` of a `wmma` load or store.
    fn tile(
        &mut self,
        instruction: &Instruction,
        name: &'static str,
        role: char,
        registers: usize,
    ) -> Result<Tile, Unsupported> {
        let lacking = || Unsupported::new(format!("a {name} of an unknown shape or type"));
        let shape = instruction.shape().ok_or_else(lacking)?;
        let ty = instruction.ty().ok_or_else(lacking)?;
        let fragment = wmma_fragment(shape, role, ty, registers);
        let row_major = instruction.has(Modifier::Row);
        // The lines of B are its columns.
        let along_places = row_major != (role == 'b');
        let operand = self.need(instruction, "p")?;
        let space = self.space(instruction, operand);
        let address = self.address(operand)?;
        let (rows, columns) = match role {
            'a' => (shape.m, shape.k),
            'b' => (shape.k, shape.n),
            _ => (shape.m, shape.n),
        };
        let stride = match instruction.operand("stride") {
            Some(stride) => self.source(stride, Type::B32)?,
            None => self.constant(u64::from(if row_major { columns } else { rows }), false)?,
        };
        let unit_bits = ty.bits().max(8).max(if ty.bits() < 8 { 32 } else { 8 });
        // Words of narrow elements lie as elements do.
        let fragment = if ty.bits() < 8 {
            Fragment::operand(fragment.lines(), usize::from(shape.k) * ty.bits() as usize / 32, 32)
        } else {
            fragment
        };
        if fragment.registers() != registers {
            return Err(lacking());
        }
        // The ISA asks for the size of the fragment; where it repeats elements, its own default stride is less.
        let fragment_bytes = registers as u64 * if unit_bits == 64 { 8 } else { 4 };
        let line_bytes = u64::from(if row_major { columns } else { rows }) * u64::from(ty.bits()) / 8;
        let alignment = fragment_bytes.min(line_bytes);
        Ok(Tile {
            name,
            address,
            space,
            fragment,
            stride,
            along_places,
            element_bits: ty.bits(),
            unit_bits,
            alignment,
        })
    }

    /// `wmma.load.a`, `.b` or `.c`
    pub(super) fn decode_wmma_load(&mut self, instruction: &Instruction, operand: &'static str) -> Decoded {
        let (name, role) = match operand {
            "a" => ("wmma.load.a", 'a'),
            "b" => ("wmma.load.b", 'b'),
            _ => ("wmma.load.c", 'c'),
        };
        let to = self.fragment_destinations(instruction, operand, register_type(instruction))?;
        let tile = self.tile(instruction, name, role, to.len())?;
        self.emit_with(class_of(tile.space), move |context| tile.load(context, &to));
        Ok(())
    }

    /// `wmma.store.d`
    pub(super) fn decode_wmma_store(&mut self, instruction: &Instruction) -> Decoded {
        let from = self.fragment_sources(instruction, "d", register_type(instruction))?;
        let tile = self.tile(instruction, "wmma.store.d", 'd', from.len())?;
        self.emit_with(class_of(tile.space), move |context| tile.store(context, &from));
        Ok(())
    }
}

/// The registers of a `wmma` fragment: 32 bits, or 64 for f64.
fn register_type(instruction: &Instruction) -> Type {
    if instruction.ty() == Some(Type::F64) { Type::B64 } else { Type::B32 }
}
