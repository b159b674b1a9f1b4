//! Products of a warp, D = A * B + D (PTX ISA 9.7.16.5, `mma.sync`; sm_80, FP8 from sm_89).
//!
//! A is 16 rows by `k`, B is `k` by 8 columns with k contiguous, D is 16 by 8 in f32. Let `group = lane / 4` and
//! `member = lane % 4`, and let a register hold `p` elements:
//!
//! | | register | row | column |
//! |---|---|---|---|
//! | A | `r` of 4 | `group + 8 * (r % 2)` | `p * member + 4 * p * (r / 2) ..` |
//! | B | `r` of 2 | `p * member + 4 * p * r ..` | `group` |
//! | D | `r` of 4 | `group + 8 * (r / 2)` | `2 * member + r % 2` |

use crate::builder::Builder;
use crate::element::{B32, ElementType};
use crate::pointer::{Pointer, Shared, vector};
use crate::value::{Value, Variable};
use rorqual_ptx::operand::Operand;

/// Rows of an atom.
pub const ROWS: u32 = 16;
/// Columns of an atom.
pub const COLUMNS: u32 = 8;

/// An instruction by the type of its factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Atom {
    /// The type of the elements of A and B.
    pub element: ElementType,
    /// Length of the products.
    pub k: u32,
    opcode: &'static str,
}

/// bf16.
pub const BF16: Atom =
    Atom { element: ElementType::Bf16, k: 16, opcode: "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32" };
/// binary16.
pub const F16: Atom =
    Atom { element: ElementType::F16, k: 16, opcode: "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32" };
/// binary32 of which 19 bits count.
pub const TF32: Atom =
    Atom { element: ElementType::F32, k: 8, opcode: "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32" };
/// FP8; from sm_89.
pub const E4M3: Atom =
    Atom { element: ElementType::E4m3, k: 32, opcode: "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32" };

/// Row and column in D of register `register` of lane `lane`.
#[must_use]
pub const fn d_coordinate(lane: u32, register: u32) -> (u32, u32) {
    (lane / 4 + 8 * (register / 2), 2 * (lane % 4) + register % 2)
}

impl Atom {
    /// Elements of A and B in a register.
    #[must_use]
    pub const fn per_register(self) -> u32 {
        4 / self.element.bytes()
    }

    /// Row, and column of the first element, in A of register `register` of lane `lane`.
    #[must_use]
    pub const fn a_coordinate(self, lane: u32, register: u32) -> (u32, u32) {
        let packed = self.per_register();
        (lane / 4 + 8 * (register % 2), packed * (lane % 4) + 4 * packed * (register / 2))
    }

    /// Row of the first element, and column, in B of register `register` of lane `lane`.
    #[must_use]
    pub const fn b_coordinate(self, lane: u32, register: u32) -> (u32, u32) {
        let packed = self.per_register();
        (packed * (lane % 4) + 4 * packed * register, lane / 4)
    }

    /// Adds A * B to D.
    #[track_caller]
    pub fn multiply_add<'k>(
        self,
        d: &[Variable<'k, f32>; 4],
        a: &[Value<'k, B32>; 4],
        b: &[Value<'k, B32>; 2],
    ) {
        let d = Operand::Vector(d.iter().map(|register| register.operand()).collect());
        let builder = a[0].builder();
        builder.emit(self.opcode, vec![d.clone(), vector(a), vector(b), d]);
    }
}

impl Builder {
    /// Four accumulators of an atom, zero.
    #[must_use]
    #[track_caller]
    pub fn zero_accumulators(&self) -> [Variable<'_, f32>; 4] {
        [(); 4].map(|()| self.constant(0.0_f32).variable())
    }

    /// Loads four 8x8 matrices of 16 bits from shared memory: lane `8 * i + j` points to row `j` of matrix `i`, 16
    /// bytes at a multiple of 16 (PTX ISA 9.7.16.5.15). Any 16 bytes do, so this loads FP8 and tf32 fragments too.
    #[must_use]
    #[track_caller]
    pub fn load_matrices<T>(&self, row: Pointer<'_, Shared, T>) -> [Value<'_, B32>; 4] {
        let registers = [(); 4].map(|()| self.fresh::<B32>());
        self.emit("ldmatrix.sync.aligned.m8n8.x4.shared.b16", vec![vector(&registers), row.operand()]);
        registers
    }

    /// As [`load_matrices`](Self::load_matrices), each matrix transposed: for B whose rows lie along n.
    #[must_use]
    #[track_caller]
    pub fn load_matrices_transposed<T>(&self, row: Pointer<'_, Shared, T>) -> [Value<'_, B32>; 4] {
        let registers = [(); 4].map(|()| self.fresh::<B32>());
        self.emit("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16", vec![vector(&registers), row.operand()]);
        registers
    }
}
