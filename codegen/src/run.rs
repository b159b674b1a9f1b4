//! Runs: neighbouring elements of a row that one thread holds as f32, loaded and stored as wide as the layout allows.

use crate::element::B32;
use crate::format::Format;
use crate::pointer::{Pointer, StateSpace};
use crate::value::{Predicate, Value};

/// How the rows that runs are cut from lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLayout {
    /// Elements of a run.
    pub elements: usize,
    /// Whether every run starts at a multiple of its size in bytes and every row is a whole number of runs; else each
    /// element is moved alone, those behind the end of the row not at all.
    pub whole: bool,
}

impl RunLayout {
    /// Runs of `elements` of rows that start at multiples of `pitch` elements and are `length` long. Base addresses
    /// are aligned to 16 bytes.
    #[must_use]
    pub fn of_rows<T: Format>(elements: usize, length: u32, pitch: u32) -> Self {
        let run = elements as u32;
        let bytes = run * T::ELEMENT.bytes();
        let whole = length.is_multiple_of(run) && pitch.is_multiple_of(run) && bytes.is_multiple_of(4);
        Self { elements, whole }
    }

    /// Loads a run as f32. `remaining` elements of the row are left from its start; what is behind the end is 0.
    #[must_use]
    #[track_caller]
    pub fn load<'k, S: StateSpace, T: Format>(
        self,
        run: Pointer<'k, S, T>,
        remaining: Value<'k, u32>,
    ) -> Vec<Value<'k, f32>> {
        let builder = run.builder();
        if self.whole {
            let words = self.words::<T>();
            let present = remaining.greater(0);
            let load =
                |first: usize| run.bytes(4 * first).load_words_or_zero(present, (words - first).min(4));
            return (0..words).step_by(4).flat_map(load).flat_map(T::unpack).collect();
        }
        let zero = T::of_f32(builder.constant(0.0));
        let load = |index: usize| T::to_f32(run.at(index).load_or(remaining.greater(index as u32), zero));
        (0..self.elements).map(load).collect()
    }

    /// Stores a run, rounded; nothing behind the end of the row.
    #[track_caller]
    pub fn store<'k, S: StateSpace, T: Format>(
        self,
        run: Pointer<'k, S, T>,
        remaining: Value<'k, u32>,
        values: &[Value<'k, f32>],
    ) {
        if self.whole {
            let words: Vec<Value<'k, B32>> = values.chunks(T::PER_WORD).map(T::pack).collect();
            let present = remaining.greater(0);
            for (index, words) in words.chunks(4).enumerate() {
                run.bytes(16 * index).store_words_when(present, words);
            }
            return;
        }
        for (index, value) in values.iter().enumerate() {
            let present: Predicate<'k> = remaining.greater(index as u32);
            run.at(index).store_when(present, T::of_f32(*value));
        }
    }

    fn words<T: Format>(self) -> usize {
        self.elements / T::PER_WORD
    }
}
