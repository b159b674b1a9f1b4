//! What can go wrong with a plan: each error names the operation, the argument, what was expected and what was given.

use crate::catalog::CatalogError;
use crate::driver;
use thiserror::Error;

/// A result of an operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of an operation. Nothing was launched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The specialisation of a plan breaks a rule.
    #[error("{operation}: {rule}")]
    Spec {
        /// The operation.
        operation: &'static str,
        /// The rule: the field, what it is and what was expected.
        rule: String,
    },
    /// The device is older than any that kernels are generated for.
    #[error("{operation}: {device} runs {target}, expected sm_80 or later")]
    Target {
        /// The operation.
        operation: &'static str,
        /// The device.
        device: String,
        /// What it runs.
        target: driver::Target,
    },
    /// There is no kernel.
    #[error("{operation}: {source}")]
    Catalog {
        /// The operation.
        operation: &'static str,
        /// Why not.
        source: Box<CatalogError>,
    },
    /// A tensor has another shape.
    #[error("{operation}: `{argument}`: expected shape {expected}, got {given}")]
    Shape {
        /// The operation.
        operation: &'static str,
        /// The tensor.
        argument: String,
        /// Its extents, outermost first; a name stands for any number.
        expected: String,
        /// The extents that it has.
        given: String,
    },
    /// A number is out of its range.
    #[error("{operation}: `{argument}`: expected {expected}, got {given}")]
    Range {
        /// The operation.
        operation: &'static str,
        /// The argument, and which number of it.
        argument: String,
        /// The range.
        expected: String,
        /// The number.
        given: String,
    },
    /// A tensor or the stream is of another device than the plan.
    #[error("{operation}: `{argument}`: expected on {expected}, got on {given}")]
    OtherDevice {
        /// The operation.
        operation: &'static str,
        /// The argument.
        argument: String,
        /// The device of the plan.
        expected: String,
        /// The device of the argument.
        given: String,
    },
    /// A tensor does not start where vectors of its elements may.
    #[error(
        "{operation}: `{argument}`: expected an address that is a multiple of {expected}, got {given:#x}"
    )]
    Alignment {
        /// The operation.
        operation: &'static str,
        /// The tensor.
        argument: String,
        /// What the address should be a multiple of, in bytes.
        expected: u64,
        /// The address.
        given: u64,
    },
    /// A result overlaps another tensor.
    #[error("{operation}: `{argument}`: expected memory of its own, got {given} overlapping `{other}`")]
    Overlap {
        /// The operation.
        operation: &'static str,
        /// The result.
        argument: String,
        /// The other tensor.
        other: String,
        /// The bytes of the result.
        given: String,
    },
    /// The device or its driver refused.
    #[error("{operation}: {source}")]
    Driver {
        /// The operation.
        operation: &'static str,
        /// What it says.
        source: Box<driver::Error>,
    },
}

impl Error {
    /// An error of the device, met by an operation.
    pub(super) fn of(operation: &'static str) -> impl Fn(driver::Error) -> Self {
        move |source| Self::Driver { operation, source: Box::new(source) }
    }
}
