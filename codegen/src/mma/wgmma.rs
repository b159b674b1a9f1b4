//! Products of a warpgroup, D += A * B, from shared memory (PTX ISA 9.7.17; sm_90a).
//!
//! A is 64 rows by `k`, B is `n` columns by `k`, in tiles of the 128-byte swizzle ([`Major`]). `k` of an instruction is 32
//! bytes of a row. D is 64 by `n` in
//! f32 over the registers of the warpgroup: with `warp = thread / 32 % 4`, `group = lane / 4` and `member = lane % 4`,
//! register `r` of a thread is row `16 * warp + group + 8 * (r / 2 % 2)`, column `8 * (r / 4) + 2 * member + r % 2`.
//!
//! The registers of D are in flight between [`Accumulator::multiply_add`] and [`Builder::wait_products`]: the code
//! between them may not touch them.

use crate::builder::Builder;
use crate::element::ElementType;
use crate::pointer::{Pointer, Shared};
use crate::value::{Predicate, Value, Variable};
use rorqual_ptx::operand::Operand;

/// Rows of D.
pub const ROWS: u32 = 64;
/// Bytes of A and B along k that an instruction takes.
pub const K_BYTES: u32 = 32;

/// How an operand lies in a tile of the 128-byte swizzle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Major {
    /// Rows of 128 bytes of k; 8 rows are an atom of 1024 bytes, atoms of further rows follow.
    K,
    /// Rows of 64 elements of 16 bits of m or n, for each k; 8 of these are an atom, atoms of further k follow. What
    /// is behind the 64 elements is so many bytes further.
    Mn {
        /// From 64 elements to the next.
        next_bytes: u32,
    },
}

impl Major {
    /// Leading offset (not used where k is contiguous), 1024 bytes between atoms, in units of 16 bytes; layout 1 is the
    /// 128-byte swizzle.
    const fn fixed_bits(self) -> u64 {
        let leading = match self {
            Self::K => 1,
            Self::Mn { next_bytes } => next_bytes as u64 / 16,
        };
        1 << 62 | (1024 / 16) << 32 | leading << 16
    }

    /// Bytes from the k of a product to those of the next.
    #[must_use]
    pub const fn k_bytes(self) -> u32 {
        match self {
            Self::K => K_BYTES,
            Self::Mn { .. } => K_BYTES / 2 * 128,
        }
    }
}

/// Where an operand of a product is in shared memory, and how it lies there (PTX ISA 9.7.17.5.2).
#[derive(Debug, Clone, Copy)]
pub struct Descriptor<'k> {
    /// The half that depends on the place: it is one register, which is cheap to advance.
    low: Value<'k, u32>,
    /// Bytes further, known while the kernel is generated.
    bytes: u32,
    major: Major,
}

impl<'k> Descriptor<'k> {
    /// So many bytes further, a multiple of 16: along k within the rows, or by whole atoms.
    #[must_use]
    pub fn bytes(self, bytes: u32) -> Self {
        Self { bytes: self.bytes + bytes, ..self }
    }

    /// So many pieces of so many bytes further, a multiple of 16.
    #[must_use]
    #[track_caller]
    pub fn pieces(self, pieces: Value<'k, u32>, bytes: u32) -> Self {
        Self { low: pieces.multiply_add(bytes / 16, self.low), ..self }
    }

    /// The same descriptor, which all lanes of the warp hold alike; see [`Value::uniform`].
    #[must_use]
    #[track_caller]
    pub fn uniform(self) -> Self {
        Self { low: self.low.uniform(), ..self }
    }

    /// The operand of an instruction. Where operands of several products are encoded before the first of them, these
    /// follow each other at once.
    #[must_use]
    #[track_caller]
    pub fn encode(self) -> Encoded<'k> {
        let builder = self.low.builder();
        let high = builder.constant((self.major.fixed_bits() >> 32) as u32);
        let halves = [self.low.in_register(), high.in_register()].map(Operand::Register);
        let whole = builder.compute::<u64>("mov.b64", &[Operand::Vector(halves.to_vec())]);
        Encoded { whole: whole + u64::from(self.bytes / 16), major: self.major }
    }
}

/// A [`Descriptor`] as an instruction takes it.
#[derive(Debug, Clone, Copy)]
pub struct Encoded<'k> {
    whole: Value<'k, u64>,
    major: Major,
}

/// The D of a warpgroup: 64 by `columns` in f32.
#[derive(Debug, Clone)]
pub struct Accumulator<'k> {
    builder: &'k Builder,
    columns: u32,
    registers: Vec<Variable<'k, f32>>,
}

/// Row and column in D of register `register` of thread `thread` of the warpgroup.
#[must_use]
pub const fn d_coordinate(thread: u32, register: u32) -> (u32, u32) {
    let (warp, lane) = (thread / 32 % 4, thread % 32);
    (16 * warp + lane / 4 + 8 * (register / 2 % 2), 8 * (register / 4) + 2 * (lane % 4) + register % 2)
}

impl Builder {
    /// A new accumulator, not set yet.
    #[must_use]
    #[track_caller]
    pub fn accumulator(&self, columns: u32) -> Accumulator<'_> {
        self.require(columns.is_multiple_of(8) && (8..=256).contains(&columns), || {
            format!("a product of {columns} columns: 8 to 256 in steps of 8")
        });
        let registers = (0..columns / 2).map(|_| Variable::unset(self)).collect();
        Accumulator { builder: self, columns, registers }
    }

    /// Orders accesses to registers and shared memory before the products that follow. The whole warpgroup does it.
    #[track_caller]
    pub fn fence_products(&self) {
        self.emit("wgmma.fence.sync.aligned", vec![]);
    }

    /// Closes a group of products.
    #[track_caller]
    pub fn commit_products(&self) {
        self.emit("wgmma.commit_group.sync.aligned", vec![]);
    }

    /// Waits until at most the newest `groups` groups are under way.
    #[track_caller]
    pub fn wait_products(&self, groups: u32) {
        self.emit("wgmma.wait_group.sync.aligned", vec![Operand::int(i64::from(groups))]);
    }

    /// The descriptor of a tile of the 128-byte swizzle, at a multiple of 1024 bytes.
    #[must_use]
    #[track_caller]
    pub fn swizzled_descriptor<'k, T>(
        &'k self,
        tile: Pointer<'k, Shared, T>,
        major: Major,
    ) -> Descriptor<'k> {
        // Above 18 bits the address has the CTA's rank in its cluster.
        let low = ((tile.address() & 0x3_ffff) >> 4) | (major.fixed_bits() as u32);
        Descriptor { low, bytes: 0, major }
    }

    /// Gives registers of a thread back to the CTA, down to so many, or takes them, up to so many; the whole warpgroup
    /// does it (PTX ISA 9.7.21.5).
    #[track_caller]
    pub fn set_registers(&self, count: u32, increase: bool) {
        self.require(count.is_multiple_of(8) && (24..=256).contains(&count), || {
            format!("{count} registers of a thread: 24 to 256 in steps of 8")
        });
        let action = if increase { "inc" } else { "dec" };
        let opcode = format!("setmaxnreg.{action}.sync.aligned.u32");
        self.emit(&opcode, vec![Operand::int(i64::from(count))]);
    }
}

impl<'k> Accumulator<'k> {
    /// The registers of a thread.
    #[must_use]
    pub fn registers(&self) -> &[Variable<'k, f32>] {
        &self.registers
    }

    /// Columns of D.
    #[must_use]
    pub fn columns(&self) -> u32 {
        self.columns
    }

    /// Sets every element.
    #[track_caller]
    pub fn fill(&self, value: f32) {
        for register in &self.registers {
            register.set(self.builder.constant(value));
        }
    }

    /// Issues D = A * B, plus D where `adds` holds, over 32 bytes of k.
    #[track_caller]
    pub fn multiply_add(&self, element: ElementType, a: Encoded<'k>, b: Encoded<'k>, adds: Predicate<'k>) {
        let (ty, k) = match element {
            ElementType::E4m3 => ("e4m3", 32),
            ElementType::E5m2 => ("e5m2", 32),
            ElementType::Bf16 => ("bf16", 16),
            ElementType::F16 => ("f16", 16),
            other => return self.builder.fail(format!("no product of a warpgroup takes {other}")),
        };
        let opcode = format!("wgmma.mma_async.sync.aligned.m64n{}k{k}.f32.{ty}.{ty}", self.columns);
        let d = Operand::Vector(self.registers.iter().map(|register| register.operand()).collect());
        let mut operands =
            vec![d, a.whole.operand(), b.whole.operand(), adds.operand(), Operand::int(1), Operand::int(1)];
        let transposed = [a, b].map(|operand| i64::from(operand.major != Major::K));
        if matches!(element, ElementType::Bf16 | ElementType::F16) {
            operands.extend(transposed.map(Operand::int));
        } else if transposed != [0, 0] {
            return self.builder.fail(format!("a product of {element} takes operands with k contiguous"));
        }
        self.builder.emit(&opcode, operands);
    }
}
