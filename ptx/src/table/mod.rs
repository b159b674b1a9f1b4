//! The table of instructions: one row each, in sections that follow the PTX manual.
//!
//! A row drives the parser, the printer, the verifier, the visitor, the builder and the trait that the simulator
//! implements: [`Exec`] has one method a row and no default, so an instruction without semantics does not compile.

#[macro_use]
mod derive;

mod arith;
mod async_copy;
mod atomic;
mod bits;
mod control;
mod convert;
mod float;
mod form;
mod memory;
mod mma;
mod since;
mod sync;
mod tcgen05;

pub use arith::{Arith, ExecArith};
pub use async_copy::{AsyncCopy, ExecAsyncCopy};
pub use atomic::{Atomic, ExecAtomic};
pub use bits::{Bits, ExecBits};
pub use control::{Control, ExecControl};
pub use convert::{Convert, ExecConvert};
pub use float::{ExecFloat, Float};
pub use form::{Access, Count, Expect, Form, FormText, OperandSpec, Presence, RowText, Rule, Since, Slot};
pub use memory::{ExecMemory, Memory};
pub use mma::{ExecMma, Mma};
pub use sync::{ExecSync, Sync};
pub use tcgen05::{ExecTcgen05, Tcgen05};

use crate::instruction::Instruction;
use rustc_hash::FxHashMap;
use std::sync::LazyLock;

macro_rules! sections {
    ($($section:ident $module:ident $exec:ident $doc:literal;)*) => {
        /// An instruction, by section.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Opcode { $(#[doc = $doc] $section($section),)* }

        /// The meaning of every instruction; the traits of the sections together.
        pub trait Exec: $($exec<Output = <Self as Exec>::Result> +)* {
            /// What executing (or decoding) one instruction gives.
            type Result;

            /// Calls the method of the instruction's row.
            fn dispatch(&mut self, instruction: &Instruction) -> <Self as Exec>::Result {
                match instruction.opcode() {
                    $(Opcode::$section(opcode) => opcode.dispatch(self, instruction),)*
                }
            }
        }

        static TABLE: LazyLock<Table> = LazyLock::new(|| {
            let mut rows = Vec::new();
            $(rows.extend($module::ROWS.iter().map(Row::parse));)*
            Table::new(rows)
        });
    };
}

sections! {
    Arith arith ExecArith "Arithmetic on integers and floating-point numbers.";
    Float float ExecFloat "Floating-point classification and elementary functions.";
    Bits bits ExecBits "Comparison and selection, logic, shifts and bit fields.";
    Convert convert ExecConvert "Conversion between types and between address spaces.";
    Memory memory ExecMemory "Moves, loads, stores, prefetches and cache policies.";
    Atomic atomic ExecAtomic "Atomic operations and reductions in memory.";
    AsyncCopy async_copy ExecAsyncCopy "Asynchronous copies and tensor maps.";
    Sync sync ExecSync "Barriers, mbarriers, fences, votes and shuffles.";
    Control control ExecControl "Branches, calls and everything that steers a kernel.";
    Mma mma ExecMma "Matrix instructions of warps and warpgroups.";
    Tcgen05 tcgen05 ExecTcgen05 "Tensor memory and the matrix instructions that use it.";
}

/// A row with its forms read.
#[derive(Debug)]
pub struct Row {
    /// Which instruction it is.
    pub opcode: Opcode,
    /// The leading words of the opcode.
    pub name: &'static str,
    /// Other spellings of the name.
    pub aliases: &'static [&'static str],
    /// Sections of the PTX ISA.
    pub section: &'static str,
    /// Its forms, in the order in which they are tried.
    pub forms: Vec<Form>,
}

impl Row {
    fn parse(text: &RowText) -> Self {
        let forms = (0..text.forms.len()).map(|index| Form::parse(text, index)).collect();
        Self { opcode: text.opcode, name: text.name, aliases: text.aliases, section: text.section, forms }
    }
}

struct Table {
    rows: Vec<Row>,
    by_name: FxHashMap<&'static str, usize>,
}

impl Table {
    fn new(rows: Vec<Row>) -> Self {
        let mut by_name = FxHashMap::default();
        for (index, row) in rows.iter().enumerate() {
            for name in std::iter::once(&row.name).chain(row.aliases) {
                assert!(by_name.insert(*name, index).is_none(), "two rows are named {name}");
            }
        }
        Self { rows, by_name }
    }
}

/// Every row, section by section.
#[must_use]
pub fn rows() -> &'static [Row] {
    &TABLE.rows
}

/// The row whose name or alias is the longest prefix of the dotted `opcode`, and what follows the name.
#[must_use]
pub fn find_row(opcode: &str) -> Option<(&'static Row, &str)> {
    let mut end = opcode.len();
    loop {
        if let Some(&index) = TABLE.by_name.get(&opcode[..end]) {
            return Some((&TABLE.rows[index], &opcode[end..]));
        }
        end = opcode[..end].rfind('.')?;
    }
}

#[cfg(test)]
mod tests;
