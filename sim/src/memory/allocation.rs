//! One allocation of global memory: words that many threads of the simulation may access at once, and what is known
//! about each of their bytes.
//!
//! Words are relaxed atomics. That is no statement about the simulated memory model, whose rules are checked
//! elsewhere; it only makes a racy simulated program a well-defined simulator run. A store of less than a word is a
//! compare-exchange, unless a single thread runs the simulation.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lanes::Lane;
use super::{DEFINED, LANES, Loaded, MemoryError, byte_mask, poison_word};

/// The undefined words of an allocation whose instruction is remembered; those with the lowest addresses are.
const ORIGINS: usize = 1 << 16;

/// One allocation of global memory. Offsets are bytes from its base; the callers have checked bounds and alignment.
#[derive(Debug)]
pub struct Allocation {
    name: Arc<str>,
    base: u64,
    size: u64,
    device: u32,
    pub(super) read_only: bool,
    /// Bit d: device d may access it.
    pub(super) visible_to: u32,
    /// Whether several threads may access it at once.
    pub(super) concurrent: bool,
    words: Vec<AtomicU64>,
    /// Per word: in the low byte the bytes that are undefined, in the high byte those of them that an instruction
    /// wrote. Zero, what fresh pages hold, is a word that is defined.
    states: Vec<AtomicU16>,
    /// Every state is zero: loads need not look at them.
    fully_defined: AtomicBool,
    /// Some undefined byte was written by an instruction.
    undefined_written: AtomicBool,
    /// The instructions that wrote undefined bytes, by word.
    origins: Mutex<BTreeMap<u64, u32>>,
    /// Held during atomic accesses of 16 bytes.
    wide: Mutex<()>,
}

/// Locks what cannot be left inconsistent by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The mask of `bytes` bytes of a word, `bytes` at most 8.
#[inline(always)]
const fn value_mask(bytes: u32) -> u64 {
    if bytes >= 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 }
}

/// One flag byte for each of the 8 bits of a mask of undefined bytes.
fn flags_of(undefined: u16) -> [u8; 8] {
    std::array::from_fn(|byte| if undefined >> byte & 1 == 0 { DEFINED } else { 0 })
}

/// The mask of the undefined bytes among at most 8 flags.
#[inline]
pub(super) fn undefined_mask(flags: &[u8]) -> u16 {
    if let Ok(word) = <[u8; 8]>::try_from(flags)
        && u64::from_ne_bytes(word) == u64::MAX
    {
        return 0;
    }
    flags.iter().enumerate().fold(0, |mask, (byte, flag)| mask | u16::from(*flag == 0) << byte)
}

impl Allocation {
    /// An allocation of defined zeros, visible to its own device.
    pub(super) fn zeroed(name: Arc<str>, base: u64, size: u64, device: u32) -> Option<Self> {
        let words = usize::try_from(size.div_ceil(8)).ok()?;
        Some(Self {
            name,
            base,
            size,
            device,
            read_only: false,
            visible_to: 1 << device,
            concurrent: true,
            words: bytemuck::allocation::try_zeroed_vec(words).ok()?,
            states: bytemuck::allocation::try_zeroed_vec(words).ok()?,
            fully_defined: AtomicBool::new(true),
            undefined_written: AtomicBool::new(false),
            origins: Mutex::default(),
            wide: Mutex::default(),
        })
    }

    /// The name it has in messages.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its first address.
    #[must_use]
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// Its bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The device it is on.
    #[must_use]
    pub const fn device(&self) -> u32 {
        self.device
    }

    /// Whether kernels may only read it.
    #[must_use]
    pub const fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether every byte is known to be defined. May be false although they are, until memory is settled.
    #[must_use]
    pub fn is_fully_defined(&self) -> bool {
        self.fully_defined.load(Relaxed)
    }

    /// The offset of an access, if all of it is inside.
    #[inline(always)]
    pub(super) fn offset_of(&self, address: u64, bytes: u64) -> Option<u64> {
        let offset = address.wrapping_sub(self.base);
        (offset <= self.size && bytes <= self.size - offset).then_some(offset)
    }

    /// The error of an access that is not inside.
    pub(super) fn out_of_bounds(&self, address: u64, bytes: u64) -> MemoryError {
        let offset = address.wrapping_sub(self.base);
        MemoryError::OutOfBounds { buffer: self.name.clone(), size: self.size, offset, bytes }
    }

    // Accesses within one word.

    /// Loads 1, 2, 4 or 8 bytes: the value, and the mask of its undefined bytes.
    #[inline(always)]
    pub(super) fn load(&self, offset: u64, bytes: u32) -> (u64, u16) {
        let (word, byte) = split(offset);
        let value = self.words[word].load(Relaxed) >> (8 * byte) & value_mask(bytes);
        if self.is_fully_defined() {
            return (value, 0);
        }
        (value, self.states[word].load(Relaxed) >> byte & byte_mask(bytes))
    }

    /// Stores at most 8 bytes, those in the mask undefined.
    #[inline(always)]
    pub(super) fn store(&self, offset: u64, bytes: u32, value: u64, undefined: u16, origin: u32) {
        let (word, byte) = split(offset);
        let mask = value_mask(bytes) << (8 * byte);
        let value = value << (8 * byte) & mask;
        let cell = &self.words[word];
        if mask == u64::MAX {
            cell.store(value, Relaxed);
        } else if self.concurrent {
            cell.update(Relaxed, Relaxed, |old| old & !mask | value);
        } else {
            cell.store(cell.load(Relaxed) & !mask | value, Relaxed);
        }
        if undefined != 0 || !self.is_fully_defined() {
            self.mark(word, byte_mask(bytes) << byte, undefined << byte, origin);
        }
    }

    /// Records which of the stored bytes of a word are undefined.
    #[inline]
    fn mark(&self, word: usize, stored: u16, undefined: u16, origin: u32) {
        if undefined != 0 {
            self.note_undefined(word, origin);
        }
        let cell = &self.states[word];
        let keep = !(stored | stored << 8);
        let new = undefined | undefined << 8;
        if keep == 0 {
            cell.store(new, Relaxed);
        } else if self.concurrent {
            cell.update(Relaxed, Relaxed, |old| old & keep | new);
        } else {
            cell.store(cell.load(Relaxed) & keep | new, Relaxed);
        }
    }

    /// Remembers the instruction that wrote an undefined byte of a word.
    #[cold]
    fn note_undefined(&self, word: usize, origin: u32) {
        self.fully_defined.store(false, Relaxed);
        self.undefined_written.store(true, Relaxed);
        let mut origins = lock(&self.origins);
        let word = word as u64;
        if origins.len() < ORIGINS || origins.contains_key(&word) {
            origins.insert(word, origin);
        } else if origins.last_key_value().is_some_and(|(last, _)| word < *last) {
            origins.pop_last();
            origins.insert(word, origin);
        }
    }

    /// Replaces 1, 2, 4 or 8 bytes atomically; what was there, and the mask of its undefined bytes.
    pub(super) fn fetch_update(
        &self,
        offset: u64,
        bytes: u32,
        origin: u32,
        mut update: impl FnMut(u64) -> u64,
        defined: impl Fn(bool) -> bool,
    ) -> (u64, u16) {
        let (word, byte) = split(offset);
        let (shift, mask) = (8 * byte, value_mask(bytes));
        let old = self.words[word].update(Relaxed, Relaxed, |old| {
            let new = update(old >> shift & mask) & mask;
            old & !(mask << shift) | new << shift
        });
        (old >> shift & mask, self.carry(word, byte_mask(bytes) << byte, origin, defined) >> byte)
    }

    /// After an atomic update: the bytes that were undefined, once those that are now have been marked.
    fn carry(&self, word: usize, touched: u16, origin: u32, defined: impl Fn(bool) -> bool) -> u16 {
        let undefined = if self.is_fully_defined() { 0 } else { self.states[word].load(Relaxed) & touched };
        let now = if defined(undefined == 0) { 0 } else { touched };
        if now | undefined != 0 {
            self.mark(word, touched, now, origin);
        }
        undefined
    }

    // Accesses of 16 bytes, each one single access.

    /// Loads 16 bytes.
    pub(super) fn load_wide(&self, offset: u64) -> Loaded {
        let _guard = self.concurrent.then(|| lock(&self.wide));
        let (low, low_undefined) = self.load(offset, 8);
        let (high, high_undefined) = self.load(offset + 8, 8);
        Loaded {
            bits: u128::from(high) << 64 | u128::from(low),
            defined: !(low_undefined | high_undefined << 8),
        }
    }

    /// Stores 16 bytes.
    pub(super) fn store_wide(&self, offset: u64, bits: u128, undefined: u16, origin: u32) {
        let _guard = self.concurrent.then(|| lock(&self.wide));
        self.store(offset, 8, bits as u64, undefined & 0xff, origin);
        self.store(offset + 8, 8, (bits >> 64) as u64, undefined >> 8, origin);
    }

    /// Replaces 16 bytes atomically, with regard to other accesses of 16 bytes; what was there.
    pub(super) fn fetch_update_wide(
        &self,
        offset: u64,
        origin: u32,
        mut update: impl FnMut(u128) -> u128,
        defined: impl Fn(bool) -> bool,
    ) -> Loaded {
        let _guard = lock(&self.wide);
        let (low, low_undefined) = self.load(offset, 8);
        let (high, high_undefined) = self.load(offset + 8, 8);
        let bits = u128::from(high) << 64 | u128::from(low);
        let undefined = low_undefined | high_undefined << 8;
        let new = update(bits);
        let new_undefined = if defined(undefined == 0) { 0 } else { 0xff };
        self.store(offset, 8, new as u64, new_undefined, origin);
        self.store(offset + 8, 8, (new >> 64) as u64, new_undefined, origin);
        Loaded { bits, defined: !undefined }
    }

    // Accesses of a whole warp, lane i at `offset + i * BYTES`.

    /// Loads for every lane; the lanes whose bytes are all defined.
    #[inline]
    pub(super) fn load_unit_stride<const BYTES: usize, R: Lane>(
        &self,
        offset: u64,
        out: &mut [R; LANES],
    ) -> u32 {
        if !offset.is_multiple_of(8) {
            let mut defined = 0;
            for (lane, out) in out.iter_mut().enumerate() {
                let (value, undefined) = self.load(offset + (lane * BYTES) as u64, BYTES as u32);
                *out = R::from_bits(value);
                defined |= u32::from(undefined == 0) << lane;
            }
            return defined;
        }
        let first = (offset / 8) as usize;
        let words = &self.words[first..first + LANES * BYTES / 8];
        for (lanes, word) in out.chunks_exact_mut(8 / BYTES).zip(words) {
            let word = word.load(Relaxed);
            for (position, lane) in lanes.iter_mut().enumerate() {
                *lane = R::from_bits(word >> (8 * BYTES * position) & value_mask(BYTES as u32));
            }
        }
        if self.is_fully_defined() {
            return u32::MAX;
        }
        let states = &self.states[first..first + LANES * BYTES / 8];
        if states.iter().fold(0, |any, state| any | state.load(Relaxed)) == 0 {
            return u32::MAX;
        }
        (0..LANES).fold(0, |defined, lane| {
            let state = states[lane * BYTES / 8].load(Relaxed) >> (lane * BYTES % 8);
            defined | u32::from(state & byte_mask(BYTES as u32) == 0) << lane
        })
    }

    /// Stores for every lane.
    #[inline]
    pub(super) fn store_unit_stride<const BYTES: usize, R: Lane>(
        &self,
        offset: u64,
        values: &[R; LANES],
        defined: u32,
        origin: u32,
    ) {
        if !offset.is_multiple_of(8) || defined != u32::MAX {
            for (lane, value) in values.iter().enumerate() {
                let undefined = if defined >> lane & 1 == 0 { byte_mask(BYTES as u32) } else { 0 };
                self.store(offset + (lane * BYTES) as u64, BYTES as u32, value.to_bits(), undefined, origin);
            }
            return;
        }
        let first = (offset / 8) as usize;
        let words = &self.words[first..first + LANES * BYTES / 8];
        for (lanes, word) in values.chunks_exact(8 / BYTES).zip(words) {
            let bits = lanes.iter().enumerate().fold(0, |bits, (position, lane)| {
                bits | (lane.to_bits() & value_mask(BYTES as u32)) << (8 * BYTES * position)
            });
            word.store(bits, Relaxed);
        }
        if !self.is_fully_defined() {
            for state in &self.states[first..first + LANES * BYTES / 8] {
                state.store(0, Relaxed);
            }
        }
    }

    // Ranges of any length and alignment.

    /// Copies bytes out, with a flag for each; whether all are defined.
    pub(super) fn read(&self, offset: u64, data: &mut [u8], flags: &mut [u8]) -> bool {
        self.read_data(offset, data);
        if self.is_fully_defined() {
            flags.fill(DEFINED);
            return true;
        }
        let mut all = 0;
        for (at, piece) in pieces(offset, flags.len()) {
            let (word, byte) = split(offset + at as u64);
            let undefined = self.states[word].load(Relaxed) >> byte & byte_mask(piece as u32);
            all |= undefined;
            if undefined == 0 {
                flags[at..at + piece].fill(DEFINED);
            } else {
                flags[at..at + piece].copy_from_slice(&flags_of(undefined)[..piece]);
            }
        }
        all == 0
    }

    /// Copies bytes out.
    pub(super) fn read_data(&self, offset: u64, data: &mut [u8]) {
        let (head, body) = data.split_at_mut(head_len(offset, data.len()));
        if !head.is_empty() {
            let value = self.load(offset, 8 - (offset % 8) as u32).0;
            head.copy_from_slice(&value.to_le_bytes()[..head.len()]);
        }
        let first = ((offset + head.len() as u64) / 8) as usize;
        for (piece, word) in body.chunks_mut(8).zip(&self.words[first.min(self.words.len())..]) {
            piece.copy_from_slice(&word.load(Relaxed).to_le_bytes()[..piece.len()]);
        }
    }

    /// Stores bytes, those with flag 0 undefined.
    pub(super) fn write(&self, offset: u64, data: &[u8], flags: &[u8], origin: u32) {
        for (at, piece) in pieces(offset, data.len()) {
            let undefined = undefined_mask(&flags[at..at + piece]);
            self.store(offset + at as u64, piece as u32, word_of(&data[at..at + piece]), undefined, origin);
        }
    }

    /// Stores bytes that are all defined.
    pub(super) fn write_defined(&self, offset: u64, data: &[u8]) {
        let (head, body) = data.split_at(head_len(offset, data.len()));
        let (body, tail) = body.as_chunks::<8>();
        self.store_piece(offset, head);
        let first = (offset + head.len() as u64) / 8;
        let range = (first as usize).min(self.words.len())..;
        for (word, bytes) in self.words[range.clone()].iter().zip(body) {
            word.store(u64::from_le_bytes(*bytes), Relaxed);
        }
        if !self.is_fully_defined() {
            self.states[range].iter().take(body.len()).for_each(|state| state.store(0, Relaxed));
        }
        self.store_piece(8 * (first + body.len() as u64), tail);
    }

    /// Stores less than a word, all of it in one.
    fn store_piece(&self, offset: u64, data: &[u8]) {
        if !data.is_empty() {
            self.store(offset, data.len() as u32, word_of(data), 0, 0);
        }
    }

    /// Stores one byte over and over, defined.
    pub(super) fn fill(&self, offset: u64, bytes: u64, value: u8) {
        let value = u64::from_ne_bytes([value; 8]);
        for (at, piece) in pieces(offset, bytes as usize) {
            self.store(offset + at as u64, piece as u32, value, 0, 0);
        }
    }

    /// Makes bytes what they are before anything is written.
    pub(super) fn poison(&self, offset: u64, bytes: u64) {
        if bytes > 0 {
            self.fully_defined.store(false, Relaxed);
        }
        for (at, piece) in pieces(offset, bytes as usize) {
            let (word, byte) = split(offset + at as u64);
            self.store(offset + at as u64, piece as u32, poison_word(word as u64) >> (8 * byte), 0, 0);
            self.states[word].fetch_or(byte_mask(piece as u32) << byte, Relaxed);
        }
    }

    /// Whether every byte of a range is defined.
    pub(super) fn is_defined(&self, offset: u64, bytes: u64) -> bool {
        self.is_fully_defined()
            || pieces(offset, bytes as usize).all(|(at, piece)| {
                let (word, byte) = split(offset + at as u64);
                self.states[word].load(Relaxed) >> byte & byte_mask(piece as u32) == 0
            })
    }

    /// Notices that every byte has become defined.
    pub(super) fn settle(&self) {
        if !self.is_fully_defined() && self.states.iter().all(|state| state.load(Relaxed) == 0) {
            self.fully_defined.store(true, Relaxed);
            self.undefined_written.store(false, Relaxed);
            lock(&self.origins).clear();
        }
    }

    /// Calls `visit` with offset, length and instruction of every run of bytes that an instruction wrote an undefined
    /// value to, ascending; the instruction is 0 where it was not remembered.
    pub(super) fn undefined_writes(&self, mut visit: impl FnMut(u64, u64, u32)) {
        if !self.undefined_written.load(Relaxed) {
            return;
        }
        let origins = lock(&self.origins);
        let mut run: Option<(u64, u64, u32)> = None;
        for (word, state) in self.states.iter().enumerate() {
            let written = state.load(Relaxed) >> 8;
            for byte in (0..8).filter(|byte| written >> byte & 1 != 0) {
                let offset = 8 * word as u64 + byte;
                let origin = origins.get(&(word as u64)).copied().unwrap_or(0);
                run = match run {
                    Some((start, end, line)) if end == offset && line == origin => {
                        Some((start, end + 1, line))
                    }
                    done => {
                        if let Some((start, end, line)) = done {
                            visit(start, end - start, line);
                        }
                        Some((offset, offset + 1, origin))
                    }
                };
            }
        }
        if let Some((start, end, line)) = run {
            visit(start, end - start, line);
        }
    }
}

/// Word and byte within it.
#[inline(always)]
const fn split(offset: u64) -> (usize, u32) {
    ((offset / 8) as usize, (offset % 8) as u32)
}

/// The bytes of a range before its first whole word.
#[inline(always)]
fn head_len(offset: u64, len: usize) -> usize {
    ((offset.wrapping_neg() % 8) as usize).min(len)
}

/// A range cut at word boundaries: position in the range, and length.
#[inline(always)]
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let piece = (8 - ((offset + at as u64) % 8) as usize).min(len - at);
        let start = at;
        at += piece;
        (piece > 0).then_some((start, piece))
    })
}

/// At most 8 bytes as a word.
#[inline(always)]
fn word_of(bytes: &[u8]) -> u64 {
    match bytes.try_into() {
        Ok(word) => u64::from_le_bytes(word),
        Err(_) => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}
