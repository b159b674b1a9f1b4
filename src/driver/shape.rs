//! Shapes: extents of a tensor, outermost first, row-major.

use super::{Error, Result};
use std::fmt;

/// The most dimensions of a shape.
const MAX_RANK: usize = 6;

/// Extents of a row-major tensor, outermost first; at most 6. No extents is one element.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    extents: [usize; MAX_RANK],
    rank: usize,
}

impl Shape {
    /// The extents.
    #[must_use]
    pub fn extents(&self) -> &[usize] {
        &self.extents[..self.rank]
    }

    /// How many elements it has; `None` if there is no number for that.
    #[must_use]
    pub fn elements(&self) -> Option<usize> {
        // A zero anywhere makes the tensor empty, whatever the other extents multiply to.
        if self.extents().contains(&0) {
            return Some(0);
        }
        self.extents().iter().try_fold(1usize, |elements, extent| elements.checked_mul(*extent))
    }

    /// Elements and bytes of a tensor of this shape.
    pub(super) fn size(&self, operation: &'static str, element_bytes: usize) -> Result<(usize, usize)> {
        self.elements()
            .and_then(|elements| Some((elements, elements.checked_mul(element_bytes)?)))
            .filter(|(_, bytes)| *bytes <= isize::MAX as usize)
            .ok_or_else(|| Error::Shape {
                operation,
                expected: format!("at most {} bytes", isize::MAX),
                given: format!("{self} with elements of {element_bytes} bytes"),
            })
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(given: [usize; N]) -> Self {
        const { assert!(N <= MAX_RANK, "a shape has at most 6 extents") };
        let mut extents = [1; MAX_RANK];
        extents[..N].copy_from_slice(&given);
        Self { extents, rank: N }
    }
}

impl From<usize> for Shape {
    fn from(elements: usize) -> Self {
        [elements].into()
    }
}

impl TryFrom<&[usize]> for Shape {
    type Error = Error;

    fn try_from(given: &[usize]) -> Result<Self> {
        if given.len() > MAX_RANK {
            return Err(Error::Shape {
                operation: "shape",
                expected: format!("at most {MAX_RANK} extents"),
                given: format!("{given:?}"),
            });
        }
        let mut extents = [1; MAX_RANK];
        extents[..given.len()].copy_from_slice(given);
        Ok(Self { extents, rank: given.len() })
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.extents().fmt(f)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.extents())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_counted_without_overflow() {
        assert_eq!(Shape::from([]).elements(), Some(1));
        assert_eq!(Shape::from([2, 3, 4]).elements(), Some(24));
        assert_eq!(Shape::from([usize::MAX, 2]).elements(), None);
        assert_eq!(Shape::from([usize::MAX, 2, 0]).elements(), Some(0));
        assert!(Shape::from(usize::MAX / 2).size("test", 4).is_err());
        assert!(Shape::try_from([1; 7].as_slice()).is_err());
        assert_eq!(Shape::try_from([1, 2].as_slice()).expect("two extents"), Shape::from([1, 2]));
    }
}
