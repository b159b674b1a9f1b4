//! The contract between a kernel and whoever launches it: arguments, grid and shared memory, as plain data.
//!
//! [`arguments!`](crate::arguments) states the arguments once. The kernel's code gets them as typed values, the host
//! as a struct that packs itself in the same order, so the two cannot disagree. The grid is an expression over the
//! arguments: a launch is a function of its arguments alone.

use crate::builder::Builder;
use crate::element::{Element, ElementType};
use crate::pointer::{Global, Pointer};
use crate::value::Value;
use rorqual_ptx::target::Target;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use thiserror::Error;

/// What a kernel does with the memory behind a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Access {
    /// Reads it.
    In,
    /// Writes it, whatever it held.
    Out,
    /// Reads and writes it.
    InOut,
}

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum ParameterKind {
    /// An address of global memory.
    Pointer(ElementType, Access),
    /// 32-bit unsigned.
    U32,
    /// 64-bit unsigned.
    U64,
    /// binary32.
    F32,
    /// A tensor map of 128 bytes, by value.
    TensorMap,
}

/// A parameter of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Parameter {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its type.
    pub kind: ParameterKind,
    /// What it is: shape, layout, unit.
    pub doc: Cow<'static, str>,
}

/// An argument as the host gives it.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// An address of global memory.
    Address(u64),
    /// 32-bit unsigned.
    U32(u32),
    /// 64-bit unsigned.
    U64(u64),
    /// binary32.
    F32(f32),
    /// A tensor map, to be encoded by the driver.
    TensorMap(Box<TensorMap>),
}

/// How the box of a tensor map lies in shared memory (PTX ISA 5.5.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SwizzleMode {
    /// Row after row.
    #[default]
    None,
    /// 16-byte chunks exchanged within 32 bytes.
    B32,
    /// Within 64 bytes.
    B64,
    /// Within 128 bytes.
    B128,
}

/// A tiled tensor in global memory, and the box that a copy moves (`cuTensorMapEncodeTiled`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorMap {
    /// Where the tensor starts; 16-byte aligned.
    pub address: u64,
    /// Its elements; FP8 counts as bytes.
    pub element: ElementType,
    /// Extents in elements, innermost first; 1 to 5 of them.
    pub extents: Vec<u64>,
    /// Bytes from one index to the next, for every dimension but the innermost; multiples of 16.
    pub strides_bytes: Vec<u64>,
    /// Extents of the box, innermost first; at most 256 each.
    pub box_extents: Vec<u32>,
    /// How the box lies in shared memory.
    pub swizzle: SwizzleMode,
}

/// An extent of the grid: an expression over the arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Extent {
    /// A number.
    Constant(u32),
    /// The value of a `u32` argument.
    Argument(Cow<'static, str>),
    /// A quotient, rounded up.
    CeilDivide(Box<Self>, u32),
    /// A product.
    Product(Box<Self>, Box<Self>),
    /// A sum.
    Sum(Box<Self>, Box<Self>),
    /// The smaller of two.
    Minimum(Box<Self>, Box<Self>),
    /// So many CTAs a multiprocessor.
    PerMultiprocessor(u32),
    /// Clusters of so many CTAs that the multiprocessors hold, each a CTA; at least one.
    Clusters(u32),
}

impl Extent {
    /// The value of a `u32` argument.
    #[must_use]
    pub const fn argument(name: &'static str) -> Self {
        Self::Argument(Cow::Borrowed(name))
    }

    /// Divided by a tile, rounded up.
    #[must_use]
    pub fn ceil_divide(self, tile: u32) -> Self {
        Self::CeilDivide(Box::new(self), tile)
    }

    /// Multiplied.
    #[must_use]
    pub fn times(self, factor: impl Into<Self>) -> Self {
        Self::Product(Box::new(self), Box::new(factor.into()))
    }

    /// Added.
    #[must_use]
    pub fn plus(self, addend: impl Into<Self>) -> Self {
        Self::Sum(Box::new(self), Box::new(addend.into()))
    }

    /// At most `bound`.
    #[must_use]
    pub fn at_most(self, bound: impl Into<Self>) -> Self {
        Self::Minimum(Box::new(self), Box::new(bound.into()))
    }

    fn evaluate(&self, value: &dyn Fn(&str) -> Option<u64>, multiprocessors: u32) -> Option<u64> {
        Some(match self {
            Self::Constant(value) => u64::from(*value),
            Self::Argument(name) => value(name)?,
            Self::CeilDivide(extent, tile) => {
                extent.evaluate(value, multiprocessors)?.div_ceil(u64::from((*tile).max(1)))
            }
            Self::Product(a, b) => {
                a.evaluate(value, multiprocessors)?.saturating_mul(b.evaluate(value, multiprocessors)?)
            }
            Self::Sum(a, b) => {
                a.evaluate(value, multiprocessors)?.saturating_add(b.evaluate(value, multiprocessors)?)
            }
            Self::Minimum(a, b) => {
                a.evaluate(value, multiprocessors)?.min(b.evaluate(value, multiprocessors)?)
            }
            Self::PerMultiprocessor(ctas) => u64::from(*ctas) * u64::from(multiprocessors),
            Self::Clusters(ctas) => u64::from(multiprocessors / (*ctas).max(1)).max(1),
        })
    }
}

impl From<u32> for Extent {
    fn from(value: u32) -> Self {
        Self::Constant(value)
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(value) => write!(f, "{value}"),
            Self::Argument(name) => f.write_str(name),
            Self::CeilDivide(extent, tile) => write!(f, "ceil({extent} / {tile})"),
            Self::Product(a, b) => write!(f, "{a} * {b}"),
            Self::Sum(a, b) => write!(f, "({a} + {b})"),
            Self::Minimum(a, b) => write!(f, "min({a}, {b})"),
            Self::PerMultiprocessor(ctas) => write!(f, "{ctas} * multiprocessors"),
            Self::Clusters(1) => f.write_str("multiprocessors"),
            Self::Clusters(ctas) => write!(f, "multiprocessors / {ctas}"),
        }
    }
}

/// Everything that a launch needs to know of a kernel. With feature `serde` it goes to JSON and back; the target is its
/// name there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Contract {
    /// The entry.
    pub kernel: String,
    /// The specialisation, for people.
    pub spec: String,
    /// The target that it was generated for.
    #[cfg_attr(feature = "serde", serde(with = "target_name"))]
    pub target: Target,
    /// Parameters in order.
    pub parameters: Vec<Parameter>,
    /// CTAs by axis.
    pub grid: [Extent; 3],
    /// Threads of a CTA.
    pub threads: u32,
    /// CTAs of a cluster; `None` for a launch without clusters.
    pub cluster: Option<[u32; 3]>,
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    /// Whether a launch may start before the one before it in the stream has ended (programmatic dependent launch): the
    /// kernel waits for that one itself.
    #[cfg_attr(feature = "serde", serde(default))]
    pub dependent_launch: bool,
}

/// A target as its name, e.g. `"sm_90a"`.
#[cfg(feature = "serde")]
mod target_name {
    use super::Target;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub fn serialize<S: Serializer>(target: &Target, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(target)
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Target, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Arguments that do not suit a contract.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ContractError {
    /// Another number of arguments.
    #[error("kernel `{kernel}` takes {expected} arguments, {given} were given")]
    Count {
        /// The kernel.
        kernel: String,
        /// What it takes.
        expected: usize,
        /// What it got.
        given: usize,
    },
    /// An argument of another kind.
    #[error("argument `{name}` of kernel `{kernel}` is {expected:?}, {given} was given")]
    Kind {
        /// The kernel.
        kernel: String,
        /// The parameter.
        name: String,
        /// Its kind.
        expected: ParameterKind,
        /// What was given.
        given: String,
    },
    /// A grid that no device takes.
    #[error("kernel `{kernel}`: extent {extent} of the grid is {value}, at most {most} is possible")]
    Grid {
        /// The kernel.
        kernel: String,
        /// The expression.
        extent: String,
        /// Its value.
        value: u64,
        /// The bound of its axis.
        most: u64,
    },
}

impl Contract {
    /// The grid for these arguments; an extent of 0 means that there is nothing to launch.
    ///
    /// # Errors
    ///
    /// If the arguments do not suit, or the grid is larger than any device takes.
    pub fn grid(&self, arguments: &[Argument], multiprocessors: u32) -> Result<[u32; 3], ContractError> {
        self.check(arguments)?;
        let value = |name: &str| {
            let at = self.parameters.iter().position(|parameter| parameter.name == name)?;
            match arguments[at] {
                Argument::U32(value) => Some(u64::from(value)),
                Argument::U64(value) => Some(value),
                _ => None,
            }
        };
        let mut grid = [0; 3];
        for (axis, extent) in self.grid.iter().enumerate() {
            let most = if axis == 0 { (1 << 31) - 1 } else { 65535 };
            let value = extent.evaluate(&value, multiprocessors).unwrap_or(u64::MAX);
            if value > most {
                let (kernel, extent) = (self.kernel.clone(), extent.to_string());
                return Err(ContractError::Grid { kernel, extent, value, most });
            }
            grid[axis] = value as u32;
        }
        Ok(grid)
    }

    fn check(&self, arguments: &[Argument]) -> Result<(), ContractError> {
        if arguments.len() != self.parameters.len() {
            return Err(ContractError::Count {
                kernel: self.kernel.clone(),
                expected: self.parameters.len(),
                given: arguments.len(),
            });
        }
        for (parameter, argument) in self.parameters.iter().zip(arguments) {
            let suits = matches!(
                (parameter.kind, argument),
                (ParameterKind::Pointer(..), Argument::Address(_))
                    | (ParameterKind::U32, Argument::U32(_))
                    | (ParameterKind::U64, Argument::U64(_))
                    | (ParameterKind::F32, Argument::F32(_))
                    | (ParameterKind::TensorMap, Argument::TensorMap(_))
            );
            if !suits {
                return Err(ContractError::Kind {
                    kernel: self.kernel.clone(),
                    name: parameter.name.to_string(),
                    expected: parameter.kind,
                    given: format!("{argument:?}"),
                });
            }
        }
        Ok(())
    }
}

/// A type that [`arguments!`](crate::arguments) may give a field: what the kernel sees, and what the host passes.
pub trait ParameterType {
    /// What the kernel's code gets.
    type Device<'k>: Copy;
    /// What the host gives.
    type Host: Clone + fmt::Debug + PartialEq;
    /// The type as data.
    const KIND: ParameterKind;
    /// Loads it, at the start of the kernel.
    fn load<'k>(builder: &'k Builder, name: &'static str) -> Self::Device<'k>;
    /// Packs it.
    fn pack(host: &Self::Host) -> Argument;
}

/// A pointer that the kernel reads through.
#[derive(Debug, Clone, Copy)]
pub struct In<T>(PhantomData<T>);

/// A pointer that the kernel writes through.
#[derive(Debug, Clone, Copy)]
pub struct Out<T>(PhantomData<T>);

/// A pointer that the kernel reads and writes through.
#[derive(Debug, Clone, Copy)]
pub struct InOut<T>(PhantomData<T>);

macro_rules! pointers {
    ($($name:ident)*) => {
        $(impl<T: Element> ParameterType for $name<T> {
            type Device<'k> = Pointer<'k, Global, T>;
            type Host = u64;
            const KIND: ParameterKind = ParameterKind::Pointer(T::ELEMENT, Access::$name);

            fn load<'k>(builder: &'k Builder, name: &'static str) -> Self::Device<'k> {
                Pointer::new(builder.load_parameter(name, Self::KIND))
            }

            fn pack(host: &u64) -> Argument {
                Argument::Address(*host)
            }
        })*
    };
}

pointers!(In Out InOut);

macro_rules! scalars {
    ($($ty:ident $kind:ident)*) => {
        $(impl ParameterType for $ty {
            type Device<'k> = Value<'k, $ty>;
            type Host = $ty;
            const KIND: ParameterKind = ParameterKind::$kind;

            fn load<'k>(builder: &'k Builder, name: &'static str) -> Self::Device<'k> {
                builder.load_parameter(name, Self::KIND)
            }

            fn pack(host: &$ty) -> Argument {
                Argument::$kind(*host)
            }
        })*
    };
}

scalars!(u32 U32 u64 U64 f32 F32);

/// The arguments of a kernel; made by [`arguments!`](crate::arguments).
pub trait Arguments {
    /// What the kernel's code gets.
    type Parameters<'k>: Copy;
    /// The parameters in order.
    fn parameters() -> Vec<Parameter>;
    /// Loads them all.
    fn load(builder: &Builder) -> Self::Parameters<'_>;
    /// The arguments in order.
    fn pack(&self) -> Vec<Argument>;
}

/// States the arguments of a kernel: a struct for the host, and one of values for the kernel's code.
///
/// Types are [`In`], [`Out`] and [`InOut`] of an element, `u32`, `u64`, `f32`, and
/// [`TensorMapParameter`](crate::tma::TensorMapParameter).
///
/// ```
/// use rorqual_codegen::contract::{Arguments, In, Out};
///
/// rorqual_codegen::arguments! {
///     /// Arguments of a kernel that doubles.
///     pub struct DoubleArguments, DoubleParameters {
///         /// `[count]`
///         x: In<f32>,
///         /// `[count]`
///         out: Out<f32>,
///         /// Elements.
///         count: u32,
///     }
/// }
/// let arguments = DoubleArguments { x: 0x1000, out: 0x2000, count: 7 };
/// assert_eq!(arguments.pack().len(), 3);
/// assert_eq!(DoubleArguments::parameters()[1].name, "out");
/// ```
#[macro_export]
macro_rules! arguments {
    ($(#[$meta:meta])* $vis:vis struct $host:ident, $device:ident {
        $($(#[doc = $doc:literal])* $name:ident: $ty:ty,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        $vis struct $host {
            $($(#[doc = $doc])* pub $name: <$ty as $crate::contract::ParameterType>::Host,)*
        }

        #[doc = concat!("What the kernel's code sees of [`", stringify!($host), "`].")]
        #[derive(Debug, Clone, Copy)]
        $vis struct $device<'k> {
            $($(#[doc = $doc])* pub $name: <$ty as $crate::contract::ParameterType>::Device<'k>,)*
        }

        impl $crate::contract::Arguments for $host {
            type Parameters<'k> = $device<'k>;

            fn parameters() -> Vec<$crate::contract::Parameter> {
                vec![$($crate::contract::Parameter {
                    name: stringify!($name).into(),
                    kind: <$ty as $crate::contract::ParameterType>::KIND,
                    doc: concat!($($doc,)* "").trim_ascii().into(),
                },)*]
            }

            fn load(builder: &$crate::builder::Builder) -> $device<'_> {
                $device { $($name: <$ty as $crate::contract::ParameterType>::load(builder, stringify!($name)),)* }
            }

            fn pack(&self) -> Vec<$crate::contract::Argument> {
                vec![$(<$ty as $crate::contract::ParameterType>::pack(&self.$name),)*]
            }
        }
    };
}
