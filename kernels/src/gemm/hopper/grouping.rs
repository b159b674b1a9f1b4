//! Which weight a row of A meets: [`Groups`] are what [`Grouping`] is for the portable products, and one way more.

use crate::gemm::{Grouping, Slices};

/// Which weight a row of A meets: as [`Grouping`] has it, or [`Indexed`](Self::Indexed), which no portable product has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Groups {
    /// One weight for all.
    Dense,
    /// Rows `offsets[g]..offsets[g + 1]` meet weight `g`; rows outside of all groups are not touched.
    Prefix {
        /// Weights.
        groups: u32,
    },
    /// Row `i` meets weight `index[i]`; rows whose index is 2^32 - 1 are not touched. Any order is right; fast is one in
    /// which the rows of a weight lie together.
    Indexed {
        /// Weights.
        groups: u32,
    },
    /// A and D are `[groups, rows, ..]`; of group `g` the first `counts[g]` rows meet weight `g`, others are not touched.
    Masked {
        /// Weights.
        groups: u32,
    },
    /// Products of the same rows side by side, each with its slice of A, B and D.
    Batched {
        /// Products.
        batches: u32,
        /// Where the first element of A of a product is.
        a: Slices,
        /// Of B.
        b: Slices,
        /// Of D; no element is of two slices.
        d: Slices,
    },
}

impl Groups {
    /// Weights that there are.
    #[must_use]
    pub const fn weights(self) -> u32 {
        match self {
            Self::Dense => 1,
            Self::Prefix { groups } | Self::Indexed { groups } | Self::Masked { groups } => groups,
            Self::Batched { batches, .. } => batches,
        }
    }

    /// The part of a kernel's name.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Dense => String::new(),
            Self::Prefix { groups } => format!("_prefix{groups}"),
            Self::Indexed { groups } => format!("_indexed{groups}"),
            Self::Masked { groups } => format!("_masked{groups}"),
            Self::Batched { batches, a, b, d } => {
                let slices = [a, b, d].map(|slices| format!("{}p{}", slices.stride, slices.first));
                format!("_batched{batches}_a{}_b{}_d{}", slices[0], slices[1], slices[2])
            }
        }
    }
}

impl From<Grouping> for Groups {
    fn from(grouping: Grouping) -> Self {
        match grouping {
            Grouping::Dense => Self::Dense,
            Grouping::Prefix { groups } => Self::Prefix { groups },
            Grouping::Masked { groups } => Self::Masked { groups },
            Grouping::Batched { batches, a, b, d } => Self::Batched { batches, a, b, d },
        }
    }
}
