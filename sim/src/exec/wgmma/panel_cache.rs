//! Operands of `wgmma` in shared memory, decoded, and kept while shared memory keeps their bytes.
//!
//! The warpgroups of a CTA multiply different rows of A with the same B: the second finds B decoded.

use crate::exec::matrix_operand::Lines;
use crate::memory::{DEFINED, SHARED_DATA_OFFSET, SharedMemory};
use crate::report::{Fault, Rule};
use crate::tensor_core::descriptor::{CHUNK, Descriptor, DescriptorError, Major, SharedOperand, Swizzle};
use crate::tensor_core::{Format, Panel, Precision};

/// Panels kept. A stage of a pipeline has about a dozen.
const MOST_PANELS: usize = 24;

/// A matrix in shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operand {
    /// The matrix descriptor.
    pub descriptor: u64,
    /// Which index runs through consecutive bytes.
    pub major: Major,
    /// The elements.
    pub format: Format,
    /// Rows of A or columns of B.
    pub lines: usize,
    /// Extent of k in 32 bytes: 1, or 2 for what meets sparse A.
    pub steps: usize,
    /// Whether the elements change their sign.
    pub negated: bool,
    /// `A` or `B`, for messages.
    pub name: &'static str,
}

impl Operand {
    /// Where the elements of a step lie, counted from the data of the CTA's shared memory.
    fn locate(&self, step: usize) -> Result<SharedOperand, Box<Fault>> {
        let descriptor = Descriptor::decode(self.descriptor).map_err(|error| self.fault(&error))?;
        // The swizzle looks at address bits below the reserved part's size: it stays the same.
        let start = descriptor.start.checked_sub(SHARED_DATA_OFFSET).ok_or_else(|| {
            self.out_of_bounds(
                &descriptor,
                "its start lies in the first 1 KiB of shared memory, which the system keeps",
            )
        })?;
        // From one step to the next: two chunks of 16 bytes along k, or two blocks of 8 k.
        let distance = match (self.major, descriptor.swizzle) {
            (Major::K, Swizzle::None) | (Major::Mn, Swizzle::None) => 2 * descriptor.leading,
            (Major::K, _) => 2 * CHUNK as u32,
            (Major::Mn, _) => 2 * descriptor.stride,
        };
        let start = start + step as u32 * distance;
        SharedOperand::new(Descriptor { start, ..descriptor }, self.major, self.format, self.lines)
            .map_err(|error| self.fault(&error))
    }

    fn fault(&self, error: &DescriptorError) -> Box<Fault> {
        let descriptor = Descriptor::decode(self.descriptor);
        match (error, descriptor) {
            (DescriptorError::OutOfBounds { address, size }, Ok(descriptor)) => {
                let address = address.wrapping_add(SHARED_DATA_OFFSET);
                let what = format!(
                    "it reads 16 bytes at shared address {address:#x}, the CTA's {size} bytes end at {:#x}",
                    size + SHARED_DATA_OFFSET as usize
                );
                self.out_of_bounds(&descriptor, &what)
            }
            _ => Box::new(Fault::new(Rule::Descriptor, format!("matrix {} of wgmma: {error}", self.name))),
        }
    }

    fn out_of_bounds(&self, descriptor: &Descriptor, what: &str) -> Box<Fault> {
        Box::new(Fault::new(
            Rule::Bounds,
            format!(
                "matrix {} of wgmma does not lie in shared memory: {what}; its descriptor {:#018x} has start {:#x}, \
                 leading offset {}, stride offset {}, base offset {}, swizzle {:?}",
                self.name,
                self.descriptor,
                descriptor.start,
                descriptor.leading,
                descriptor.stride,
                descriptor.base_offset,
                descriptor.swizzle
            ),
        ))
    }

    /// The elements of k in a step.
    const fn depth(&self) -> usize {
        256 / self.format.bits() as usize
    }

    /// Adds where the chunks that the operand reads lie in the CTA's shared memory; none if its descriptor is wrong.
    pub fn chunks(&self, chunks: &mut Vec<u32>) {
        for step in 0..self.steps {
            if let Ok(located) = self.locate(step) {
                chunks.extend(located.chunks());
            }
        }
    }

    /// The lines with an undefined byte, and the range of bytes that the operand reads.
    fn examine(&self, shared: &SharedMemory) -> Result<(Lines, u32, u32), Box<Fault>> {
        let (data, flags) = all(shared);
        let (mut first, mut last) = (u32::MAX, 0);
        let mut undefined = Lines::default();
        for step in 0..self.steps {
            let located = self.locate(step)?;
            let mut defined = DEFINED;
            for address in located.chunks() {
                let chunk = flags.get(address as usize..).and_then(|tail| tail.first_chunk::<CHUNK>());
                let chunk = chunk
                    .ok_or_else(|| self.fault(&DescriptorError::OutOfBounds { address, size: data.len() }))?;
                defined &= chunk.iter().fold(DEFINED, |all, flag| all & flag);
                first = first.min(address);
                last = last.max(address);
            }
            if defined != DEFINED {
                self.find_undefined(&located, flags, &mut undefined);
            }
        }
        Ok((undefined, first, last + CHUNK as u32 - first))
    }

    #[cold]
    fn find_undefined(&self, located: &SharedOperand, flags: &[u8], undefined: &mut Lines) {
        let bytes = self.format.bits() / 8;
        for line in 0..self.lines {
            let known = (0..self.depth()).all(|k| {
                let address = located.address(line, k);
                flags[address as usize..(address + bytes) as usize].iter().all(|flag| *flag == DEFINED)
            });
            if !known {
                undefined.insert(line);
            }
        }
    }

    /// The elements' bits, line by line, and the lines that are undefined.
    ///
    /// # Errors
    ///
    /// If the descriptor is wrong, or the matrix does not lie in shared memory.
    pub fn elements(&self, shared: &SharedMemory) -> Result<(Vec<u32>, Lines), Box<Fault>> {
        let (undefined, ..) = self.examine(shared)?;
        let (data, _) = all(shared);
        let mut elements = vec![0; self.lines * self.depth() * self.steps];
        let bytes = self.format.bits() as usize / 8;
        for step in 0..self.steps {
            let located = self.locate(step)?;
            for (line, elements) in elements.chunks_exact_mut(self.depth() * self.steps).enumerate() {
                for (k, element) in elements[step * self.depth()..][..self.depth()].iter_mut().enumerate() {
                    let at = located.address(line, k) as usize;
                    let mut word = [0; 4];
                    word[..bytes].copy_from_slice(&data[at..at + bytes]);
                    *element = u32::from_le_bytes(word);
                }
            }
        }
        Ok((elements, undefined))
    }

    /// Decodes the matrix, which has been [examined](Self::examine).
    fn decode(
        &self,
        shared: &SharedMemory,
        precision: Precision,
        panel: &mut Panel,
    ) -> Result<(), Box<Fault>> {
        if self.steps == 1 {
            let gathered = self.locate(0)?.gather(panel, all(shared).0, precision);
            gathered.map_err(|error| self.fault(&error))?;
        } else {
            let depth = self.depth() * self.steps;
            let (elements, _) = self.elements(shared)?;
            panel.fill(self.format, self.lines, depth, precision, |line, k| elements[line * depth + k]);
        }
        if self.negated {
            panel.negate();
        }
        Ok(())
    }
}

fn all(shared: &SharedMemory) -> (&[u8], &[u8]) {
    shared.range(shared.base(), shared.size()).expect("the whole of it")
}

/// A decoded operand.
#[derive(Debug)]
struct Entry {
    operand: Operand,
    rank: u32,
    precision: Precision,
    /// Bytes that the operand was read from lie between this shared address and so many bytes further.
    first: u32,
    bytes: u32,
    /// The shared memory's time when it was read.
    read: u64,
    /// When it was last asked for.
    used: u64,
    panel: Panel,
    undefined: Lines,
}

/// Buffers of the products; nothing stays in them.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Accumulators of floating-point products.
    pub floats: Vec<f32>,
    /// Accumulators of integer products.
    pub integers: Vec<i32>,
    /// What integer products need besides.
    pub sums: Vec<f32>,
}

/// The decoded operands of a cluster.
#[derive(Debug, Default)]
pub struct PanelCache {
    entries: Vec<Entry>,
    requests: u64,
    /// The operand in registers of the current product.
    pub fragment: Panel,
    /// Buffers.
    pub scratch: Scratch,
    /// Buffers of `mma.sync`.
    pub warp: crate::exec::mma::Scratch,
}

impl PanelCache {
    /// The number of the panel of an operand. It stays valid for one more call.
    ///
    /// # Errors
    ///
    /// If the descriptor is wrong, or the operand does not lie in shared memory.
    pub fn find(
        &mut self,
        operand: &Operand,
        shared: &SharedMemory,
        precision: Precision,
    ) -> Result<usize, Box<Fault>> {
        self.requests += 1;
        let (used, rank) = (self.requests, shared.rank());
        let known = self.entries.iter().position(|entry| {
            entry.rank == rank && entry.operand == *operand && entry.precision == precision
        });
        if let Some(at) = known {
            let entry = &mut self.entries[at];
            if shared.generation(entry.first, entry.bytes) <= entry.read {
                entry.used = used;
                return Ok(at);
            }
        }
        let (undefined, first, bytes) = operand.examine(shared)?;
        let at = known.unwrap_or_else(|| self.make_room(operand, rank, precision));
        let entry = &mut self.entries[at];
        operand.decode(shared, precision, &mut entry.panel)?;
        entry.undefined = undefined;
        (entry.first, entry.bytes) = (first + shared.base(), bytes);
        (entry.read, entry.used) = (shared.clock(), used);
        Ok(at)
    }

    /// A new entry, or the one that has not been asked for the longest.
    fn make_room(&mut self, operand: &Operand, rank: u32, precision: Precision) -> usize {
        if self.entries.len() < MOST_PANELS {
            self.entries.push(Entry {
                operand: *operand,
                rank,
                precision,
                first: 0,
                bytes: 0,
                read: 0,
                used: 0,
                panel: Panel::new(),
                undefined: Lines::default(),
            });
            return self.entries.len() - 1;
        }
        let oldest = (0..self.entries.len()).min_by_key(|&at| self.entries[at].used).expect("there are some");
        let entry = &mut self.entries[oldest];
        (entry.operand, entry.rank, entry.precision) = (*operand, rank, precision);
        oldest
    }

    /// The undefined lines of a panel.
    #[must_use]
    pub fn undefined(&self, at: usize) -> Lines {
        self.entries[at].undefined
    }

    /// The panels of A (`None` for the one in registers) and B, and buffers.
    pub fn operands(&mut self, a: Option<usize>, b: usize) -> (&Panel, &Panel, &mut Scratch) {
        let Self { entries, fragment, scratch, .. } = self;
        let a = a.map_or(&*fragment, |at| &entries[at].panel);
        (a, &entries[b].panel, scratch)
    }
}
