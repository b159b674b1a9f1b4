//! The registers of one warp: slots of 32 lanes, with a mask of the lanes that hold no defined value.
//!
//! A 32-bit register (or a narrower one, zero-extended) is one slot, a 64-bit register two consecutive slots read as
//! 32 `u64`, a 128-bit register two such pairs, low half first. Predicates are bit masks of their own.

use bytemuck::{Pod, Zeroable};

/// The lanes of a warp.
pub const LANES: usize = 32;

/// One 32-bit value a lane.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C, align(64))]
pub struct Slot(pub [u32; LANES]);

/// Where an operand is read from: a slot of the frame, or (top bit set) one of the program's constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Source(pub u16);

/// The slot of the frame that an operand is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Destination(pub u16);

impl Source {
    const CONSTANT: u16 = 0x8000;

    /// The constant with this number.
    #[must_use]
    pub const fn constant(index: u16) -> Self {
        Self(index | Self::CONSTANT)
    }

    /// Whether the operand is a constant.
    #[must_use]
    pub const fn is_constant(self) -> bool {
        self.0 & Self::CONSTANT != 0
    }

    /// The slot or constant number.
    #[must_use]
    pub const fn index(self) -> usize {
        (self.0 & !Self::CONSTANT) as usize
    }
}

impl From<Destination> for Source {
    fn from(destination: Destination) -> Self {
        Self(destination.0)
    }
}

/// Registers of a warp, all frames of its call stack.
#[derive(Debug, Default)]
pub struct RegisterFile {
    slots: Vec<Slot>,
    undefined: Vec<u32>,
    predicates: Vec<u32>,
    undefined_predicates: Vec<u32>,
    /// First slot of the current frame.
    base: usize,
    /// First predicate of the current frame.
    predicate_base: usize,
}

impl RegisterFile {
    /// Makes room for a frame and selects it. What is new in it is undefined.
    pub fn enter(&mut self, base: usize, slots: usize, predicate_base: usize, predicates: usize) {
        if self.slots.len() < base + slots {
            self.slots.resize(base + slots, Slot([0; LANES]));
            self.undefined.resize(base + slots, u32::MAX);
        }
        if self.predicates.len() < predicate_base + predicates {
            self.predicates.resize(predicate_base + predicates, 0);
            self.undefined_predicates.resize(predicate_base + predicates, u32::MAX);
        }
        self.select(base, predicate_base);
    }

    /// The bytes that all frames take on the host.
    #[must_use]
    pub const fn host_bytes(&self) -> u64 {
        Self::host_bytes_of(self.slots.len())
    }

    /// The bytes that so many slots take on the host.
    #[must_use]
    pub const fn host_bytes_of(slots: usize) -> u64 {
        slots as u64 * (size_of::<Slot>() + size_of::<u32>()) as u64
    }

    /// Selects a frame that exists.
    pub fn select(&mut self, base: usize, predicate_base: usize) {
        self.base = base;
        self.predicate_base = predicate_base;
    }

    /// Marks every register of the current frame undefined for the lanes.
    pub fn undefine_frame(&mut self, slots: usize, predicates: usize, lanes: u32) {
        for mask in &mut self.undefined[self.base..self.base + slots] {
            *mask |= lanes;
        }
        for mask in &mut self.undefined_predicates[self.predicate_base..self.predicate_base + predicates] {
            *mask |= lanes;
        }
    }

    /// A 32-bit register of the frame.
    #[inline]
    #[must_use]
    pub fn slot(&self, index: usize) -> &[u32; LANES] {
        &self.slots[self.base + index].0
    }

    /// A 32-bit register of the frame, to write. Definedness is the caller's.
    #[inline]
    pub fn slot_mut(&mut self, index: usize) -> &mut [u32; LANES] {
        &mut self.slots[self.base + index].0
    }

    /// A 64-bit register of the frame.
    #[inline]
    #[must_use]
    pub fn pair(&self, index: usize) -> &[u64; LANES] {
        as_pair(&self.slots[self.base + index..self.base + index + 2])
    }

    /// A 64-bit register of the frame, to write. Definedness is the caller's.
    #[inline]
    pub fn pair_mut(&mut self, index: usize) -> &mut [u64; LANES] {
        let at = self.base + index;
        let words: &mut [u64] = bytemuck::cast_slice_mut(&mut self.slots[at..at + 2]);
        words.try_into().expect("two slots hold 32 words")
    }

    /// The lanes whose register is undefined.
    #[inline]
    #[must_use]
    pub fn undefined(&self, index: usize) -> u32 {
        self.undefined[self.base + index]
    }

    /// The lanes whose register is undefined, to change.
    #[inline]
    pub fn undefined_mut(&mut self, index: usize) -> &mut u32 {
        &mut self.undefined[self.base + index]
    }

    /// A predicate of the frame: the lanes where it is true.
    #[inline]
    #[must_use]
    pub fn predicate(&self, index: usize) -> u32 {
        self.predicates[self.predicate_base + index]
    }

    /// The lanes whose predicate is undefined.
    #[inline]
    #[must_use]
    pub fn undefined_predicate(&self, index: usize) -> u32 {
        self.undefined_predicates[self.predicate_base + index]
    }

    /// Writes a predicate for the lanes of `mask`.
    #[inline]
    pub fn set_predicate(&mut self, index: usize, mask: u32, value: u32, undefined: u32) {
        let at = self.predicate_base + index;
        self.predicates[at] = self.predicates[at] & !mask | value & mask;
        self.undefined_predicates[at] = self.undefined_predicates[at] & !mask | undefined & mask;
    }

    /// Every slot and predicate of all frames, for a fingerprint of the warp's state.
    pub fn words(&self) -> impl Iterator<Item = u64> + '_ {
        self.slots
            .iter()
            .flat_map(|slot| slot.0.chunks_exact(2).map(|pair| u64::from(pair[0]) << 32 | u64::from(pair[1])))
            .chain(self.predicates.iter().map(|mask| u64::from(*mask)))
    }
}

/// Two slots as 32 `u64`.
#[inline]
#[must_use]
pub fn as_pair(slots: &[Slot]) -> &[u64; LANES] {
    let words: &[u64] = bytemuck::cast_slice(slots);
    words.try_into().expect("two slots hold 32 words")
}
