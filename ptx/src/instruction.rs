//! One instruction: its row and form of the table, modifiers, operands and guard.

use crate::modifier::{Modifier, Shape};
use crate::module::Position;
use crate::operand::{Operand, Register};
use crate::table::{Form, Opcode, OperandSpec};
use crate::types::{Space, Type};
use std::sync::Arc;

/// `@p` or `@!p`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// The predicate.
    pub register: Register,
    /// Whether the instruction runs where the predicate is false.
    pub negated: bool,
}

/// An instruction that matches a form of the table in modifiers and operand shapes.
/// Types, spaces and immediates are checked by [`verify`](crate::verify).
#[derive(Debug, Clone)]
pub struct Instruction {
    /// The form of the table that it matches.
    pub form: &'static Form,
    /// Modifiers in the order of the form: the canonical order.
    pub modifiers: Arc<[Modifier]>,
    /// Operands as written. Optional ones that are absent are absent here too:
    /// see [`operand`](Self::operand).
    pub operands: Vec<Operand>,
    /// The guard.
    pub guard: Option<Guard>,
    /// Where the opcode stands.
    pub position: Position,
}

impl PartialEq for Instruction {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.form, other.form)
            && self.modifiers == other.modifiers
            && self.operands == other.operands
            && self.guard == other.guard
    }
}

impl Instruction {
    /// The row of the table.
    #[must_use]
    pub fn opcode(&self) -> Opcode {
        self.form.opcode
    }

    /// The opcode with its modifiers in canonical order, e.g. `fma.rn.ftz.f32`.
    #[must_use]
    pub fn spelling(&self) -> String {
        self.modifiers.iter().fold(self.form.name.to_owned(), |text, modifier| format!("{text}{modifier}"))
    }

    /// Whether a modifier is present.
    #[must_use]
    pub fn has(&self, modifier: Modifier) -> bool {
        self.modifiers.contains(&modifier)
    }

    /// The first modifier that `choose` maps to a value.
    pub fn find<T>(&self, choose: impl Fn(Modifier) -> Option<T>) -> Option<T> {
        self.modifiers.iter().find_map(|modifier| choose(*modifier))
    }

    /// Type modifiers in canonical order.
    pub fn types(&self) -> impl Iterator<Item = Type> + '_ {
        self.modifiers.iter().filter_map(|modifier| match modifier {
            Modifier::Type(ty) => Some(*ty),
            _ => None,
        })
    }

    /// The first type modifier.
    #[must_use]
    pub fn ty(&self) -> Option<Type> {
        self.types().next()
    }

    /// The matrix shape.
    #[must_use]
    pub fn shape(&self) -> Option<Shape> {
        self.find(|modifier| if let Modifier::Shape(shape) = modifier { Some(shape) } else { None })
    }

    /// The first state space among the modifiers, generic if there is none.
    #[must_use]
    pub fn space(&self) -> Space {
        self.find(Modifier::space).unwrap_or(Space::Generic)
    }

    /// Elements of a `.v2`, `.v4` or `.v8` access; 1 without.
    #[must_use]
    pub fn vector(&self) -> usize {
        self.find(|modifier| match modifier {
            Modifier::V2 => Some(2),
            Modifier::V4 => Some(4),
            Modifier::V8 => Some(8),
            _ => None,
        })
        .unwrap_or(1)
    }

    /// Operands with what the form says of each.
    pub fn operands_with_specs(&self) -> impl Iterator<Item = (&'static OperandSpec, &Operand)> + '_ {
        self.form.layout(&self.modifiers, self.operands.len()).into_iter().flatten().zip(&self.operands)
    }

    /// The operand that the form calls `name`, if it is present.
    #[must_use]
    pub fn operand(&self, name: &str) -> Option<&Operand> {
        self.operands_with_specs().find_map(|(spec, operand)| (spec.name == name).then_some(operand))
    }
}
