//! What the matrix instructions share: element formats, fragments as registers, and where undefined operands show.

use crate::decode::{Decoder, Unsupported};
use crate::registers::{Destination, Source};
use crate::tensor_core::fragment::Fragment;
use crate::tensor_core::{Format, Panel};
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::operand::{Immediate, Operand};
use rorqual_ptx::types::Type;

/// The format of a multiplicand; `None` for types that have their own arithmetic.
#[must_use]
pub const fn format_of(ty: Type) -> Option<Format> {
    Some(match ty {
        Type::F16 => Format::F16,
        Type::Bf16 => Format::Bf16,
        Type::Tf32 => Format::Tf32,
        Type::E4m3 => Format::E4m3,
        Type::E5m2 => Format::E5m2,
        Type::E3m2 => Format::E3m2,
        Type::E2m3 => Format::E2m3,
        Type::E2m1 => Format::E2m1,
        Type::S8 => Format::S8,
        Type::U8 => Format::U8,
        Type::S4 => Format::S4,
        Type::U4 => Format::U4,
        _ => return None,
    })
}

/// A set of up to 256 rows or columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lines([u64; 4]);

impl Lines {
    /// Every line.
    pub const ALL: Self = Self([u64::MAX; 4]);

    /// Adds a line.
    pub fn insert(&mut self, line: usize) {
        self.0[line / 64] |= 1 << (line % 64);
    }

    /// Whether a line is in the set.
    #[must_use]
    pub fn contains(&self, line: usize) -> bool {
        self.0[line / 64] >> (line % 64) & 1 == 1
    }

    /// The first sixteen lines, as bits.
    #[must_use]
    pub const fn first_sixteen(&self) -> u16 {
        self.0[0] as u16
    }

    /// Adds the lines of another set.
    pub fn insert_all(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine |= theirs);
    }

    /// Adds lines `16 * number` to `16 * number + 15`, given as bits; `number` is below 4.
    pub fn insert_sixteen(&mut self, number: usize, lines: u16) {
        self.0[0] |= u64::from(lines) << (16 * number);
    }

    /// Of 64 lines, the sixteen that warp `number` of a warpgroup holds, counted from 0.
    #[must_use]
    pub const fn warp(&self, number: usize) -> Self {
        Self([self.0[0] >> (16 * number) & 0xffff, 0, 0, 0])
    }

    /// Whether no line is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds the lines of which `lanes` hold an element in register `register` of a fragment.
    pub fn insert_held(&mut self, fragment: &Fragment, register: usize, lanes: u32) {
        for lane in (0..32).filter(|lane| lanes >> lane & 1 == 1) {
            for element in 0..fragment.elements() {
                self.insert(fragment.position(lane, register, element).line);
            }
        }
    }
}

/// The multiply-adds of a product that a row of A or a column of B with nothing but zeros takes.
#[must_use]
pub fn padded_macs(a: &Panel, b: &Panel) -> u64 {
    let useful = (a.lanes() - a.zero_lanes()) * (b.lanes() - b.zero_lanes());
    ((a.lanes() * b.lanes() - useful) * a.depth()) as u64
}

/// The lanes whose register `register` of a result depends on an undefined row or column.
#[must_use]
pub fn undefined_results(fragment: &Fragment, register: usize, rows: &Lines, columns: &Lines) -> u32 {
    (0..32).fold(0, |lanes, lane| {
        let undefined = (0..fragment.elements()).any(|element| {
            let position = fragment.position(lane, register, element);
            rows.contains(position.line) || columns.contains(position.place)
        });
        lanes | u32::from(undefined) << lane
    })
}

impl Decoder<'_> {
    /// The registers of a fragment that is read; `ty` says how wide they are.
    ///
    /// # Errors
    ///
    /// If it is no fragment.
    pub fn fragment_sources(
        &mut self,
        instruction: &Instruction,
        name: &str,
        ty: Type,
    ) -> Result<Vec<Source>, Unsupported> {
        let elements = elements(self.need(instruction, name)?);
        elements.iter().map(|element| self.source(element, ty)).collect()
    }

    /// The registers of a fragment that is written; `ty` says how wide they are.
    ///
    /// # Errors
    ///
    /// If it is no fragment of registers.
    pub fn fragment_destinations(
        &mut self,
        instruction: &Instruction,
        name: &str,
        ty: Type,
    ) -> Result<Vec<Destination>, Unsupported> {
        let elements = elements(self.need(instruction, name)?);
        elements.iter().map(|element| self.destination(element, ty)).collect()
    }
}

fn elements(operand: &Operand) -> &[Operand] {
    match operand {
        Operand::Vector(elements) => elements,
        single => std::slice::from_ref(single),
    }
}

/// The literal that the form calls `name`, if it is present.
#[must_use]
pub fn literal(instruction: &Instruction, name: &str) -> Option<i64> {
    match instruction.operand(name)? {
        Operand::Immediate(Immediate::Integer { value, .. }) => Some(*value),
        _ => None,
    }
}
