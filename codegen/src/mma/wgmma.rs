//! Products of a warpgroup, D += A * B, from shared memory (PTX ISA 9.7.17; sm_90a).
//!
//! A is 64 rows by `k`, B is `n` columns by `k`, both with k contiguous in tiles of the 128-byte swizzle: 8 rows of 128
//! bytes are an atom of 1024 bytes, atoms of further rows follow. `k` of an instruction is 32 bytes. D is 64 by `n` in
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

    /// The descriptor of a tile of the 128-byte swizzle with k contiguous, at a multiple of 1024 bytes. `k` bytes
    /// further within the rows it is the descriptor plus `k / 16`.
    #[must_use]
    #[track_caller]
    pub fn swizzled_descriptor<T>(&self, tile: Pointer<'_, Shared, T>) -> Value<'_, u64> {
        // Start address, leading offset (not used with a swizzle), 1024 bytes between atoms, all in units of 16 bytes;
        // layout 1 is the 128-byte swizzle.
        const FIXED: u64 = 1 << 62 | (1024 / 16) << 32 | 1 << 16;
        let builder = tile.builder();
        let address: Value<'_, u32> = (tile.address() & 0x3_ffff) >> 4;
        let low = address | (FIXED as u32);
        let high = builder.constant((FIXED >> 32) as u32);
        let halves = Operand::Vector(vec![
            Operand::Register(low.in_register()),
            Operand::Register(high.in_register()),
        ]);
        self.compute("mov.b64", &[halves])
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
    pub fn multiply_add(
        &self,
        element: ElementType,
        a: Value<'k, u64>,
        b: Value<'k, u64>,
        adds: Predicate<'k>,
    ) {
        let (ty, k) = match element {
            ElementType::E4m3 => ("e4m3", 32),
            ElementType::E5m2 => ("e5m2", 32),
            ElementType::Bf16 => ("bf16", 16),
            ElementType::F16 => ("f16", 16),
            other => return self.builder.fail(format!("no product of a warpgroup takes {other}")),
        };
        let opcode = format!("wgmma.mma_async.sync.aligned.m64n{}k{k}.f32.{ty}.{ty}", self.columns);
        let d = Operand::Vector(self.registers.iter().map(|register| register.operand()).collect());
        let descriptor = |value: Value<'k, u64>| Operand::Register(value.in_register());
        let mut operands =
            vec![d, descriptor(a), descriptor(b), adds.operand(), Operand::int(1), Operand::int(1)];
        if matches!(element, ElementType::Bf16 | ElementType::F16) {
            operands.extend([Operand::int(0), Operand::int(0)]);
        }
        self.builder.emit(&opcode, operands);
    }
}
