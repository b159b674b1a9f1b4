//! Which kernels compute a product, and how they are launched: those of Hopper where there are some, else the portable
//! one. [`ProductPlan`] is for the plans of operations; the network goes by [`Factors`] and [`Operands`] alone.

use super::call::{Call, Word};
use super::plan::{CATALOG, Plan, target_of};
use super::{DeviceFlags, Error, Result};
use crate::driver::{Device, Kernel, Stream};
use crate::num::{E4m3, bf16};
use rorqual_kernels::gemm::hopper::{
    Format, HopperBf16Gemm, HopperBf16GemmArguments, HopperFp8Gemm, HopperFp8GemmArguments, HopperGemmSpec,
};
use rorqual_kernels::gemm::{
    Bf16Gemm, Bf16GemmArguments, Fp8Gemm, Fp8GemmArguments, GemmSpec, Grouping, Output,
};
use rorqual_kernels::tune::hopper::{HopperChoice, MOST_FEW_ROWS};
use rorqual_kernels::{Family, Registered};
use std::fmt;

/// Rows of A of all groups together that kernels of Hopper count.
const MOST_ROWS_ON_HOPPER: u64 = i32::MAX as u64;

/// What addresses of operands are multiples of on Hopper.
const ALIGNMENT_ON_HOPPER: u64 = 16;

/// Where the elements of a tensor are, and their scales if they have some.
#[derive(Debug, Clone, Copy, Default)]
pub struct Addresses {
    /// The first element.
    pub elements: u64,
    /// The first scale; 0 if there are none.
    pub scales: u64,
}

/// What a product takes, whichever kernel computes it: addresses, and rows as the portable families count them.
#[derive(Debug, Clone, Copy)]
pub struct Operands {
    /// The rows that are multiplied.
    pub a: Addresses,
    /// The weights.
    pub b: Addresses,
    /// The results, of the type that the specialisation says.
    pub d: u64,
    /// Offsets or counts of the groups; 0 without groups.
    pub groups: u64,
    /// The word that kernels report to.
    pub error: u64,
    /// The rows.
    pub rows: u32,
}

impl Operands {
    /// That kernels of Hopper can take them.
    ///
    /// # Errors
    ///
    /// What is wrong: the argument, what was expected and what it is.
    pub fn suit_hopper(&self, grouping: Grouping) -> Result<(), [String; 3]> {
        let (name, rows) = match grouping {
            Grouping::Masked { groups } => ("groups * rows", u64::from(groups) * u64::from(self.rows)),
            Grouping::Dense | Grouping::Prefix { .. } | Grouping::Batched { .. } => {
                ("rows", self.rows.into())
            }
        };
        if rows > MOST_ROWS_ON_HOPPER {
            return Err([name.to_owned(), "less than 2^31".to_owned(), rows.to_string()]);
        }
        for (name, address) in [("a", self.a.elements), ("weight", self.b.elements), ("d", self.d)] {
            if rows > 0 && !address.is_multiple_of(ALIGNMENT_ON_HOPPER) {
                let expected = format!("an address that is a multiple of {ALIGNMENT_ON_HOPPER}");
                return Err([name.to_owned(), expected, format!("{address:#x}")]);
            }
        }
        Ok(())
    }

    /// The address for the parameter of bf16 results, and that for f32 ones.
    const fn d_by_output(&self, output: Output) -> [u64; 2] {
        match output {
            Output::Bf16 => [self.d, 0],
            Output::F32 => [0, self.d],
        }
    }
}

/// A format of factors, and the families that multiply it.
pub trait Factors {
    /// The family for every device.
    type Portable: Registered<Spec = GemmSpec> + fmt::Debug;
    /// The family for Hopper.
    type Hopper: Registered<Spec = HopperGemmSpec> + fmt::Debug;
    /// The format as Hopper's tiles know it.
    const FORMAT: Format;

    /// The arguments of a portable kernel.
    fn portable(spec: &GemmSpec, operands: &Operands) -> <Self::Portable as Family>::Arguments;

    /// The arguments of a kernel for Hopper.
    fn on_hopper(spec: &HopperGemmSpec, operands: &Operands) -> <Self::Hopper as Family>::Arguments;
}

impl Factors for bf16 {
    type Portable = Bf16Gemm;
    type Hopper = HopperBf16Gemm;
    const FORMAT: Format = Format::Bf16;

    fn portable(spec: &GemmSpec, operands: &Operands) -> Bf16GemmArguments {
        let &Operands { a, b, groups, error, rows, .. } = operands;
        let [d, d_f32] = operands.d_by_output(spec.output);
        Bf16GemmArguments { a: a.elements, b: b.elements, d, d_f32, groups, error, rows }
    }

    fn on_hopper(spec: &HopperGemmSpec, operands: &Operands) -> HopperBf16GemmArguments {
        let &Operands { groups, error, rows, .. } = operands;
        let [a, a_few] = spec.a_maps(operands.a.elements, rows);
        let [b, b_few] = spec.b_maps(operands.b.elements);
        let [d, d_f32] = operands.d_by_output(spec.output);
        HopperBf16GemmArguments { a, a_few, b, b_few, bias: 0, d, d_f32, groups, error, rows }
    }
}

impl Factors for E4m3 {
    type Portable = Fp8Gemm;
    type Hopper = HopperFp8Gemm;
    const FORMAT: Format = Format::Fp8;

    fn portable(spec: &GemmSpec, operands: &Operands) -> Fp8GemmArguments {
        let &Operands { a, b, groups, error, rows, .. } = operands;
        let [d, d_f32] = operands.d_by_output(spec.output);
        let (a_scales, b_scales) = (a.scales, b.scales);
        let (a, b) = (a.elements, b.elements);
        Fp8GemmArguments { a, a_scales, b, b_scales, d, d_f32, groups, error, rows }
    }

    fn on_hopper(spec: &HopperGemmSpec, operands: &Operands) -> HopperFp8GemmArguments {
        let &Operands { groups, error, rows, .. } = operands;
        let [a, a_few] = spec.a_maps(operands.a.elements, rows);
        let [b, b_few] = spec.b_maps(operands.b.elements);
        let [d, d_f32] = operands.d_by_output(spec.output);
        HopperFp8GemmArguments {
            a,
            a_few,
            b,
            b_few,
            a_scales: operands.a.scales,
            // Scales are row-major.
            a_scale_pitch: 0,
            b_scales: operands.b.scales,
            bias: 0,
            d,
            d_f32,
            groups,
            error,
            rows,
        }
    }
}

/// The kernels of a product, loaded on a device: on Hopper one for few rows and one for more, or one that serves both, if
/// its rules allow that; else the portable one. Printed, it says which, and why.
#[derive(Debug)]
pub struct ProductPlan<T: Factors> {
    spec: GemmSpec,
    kernels: Kernels<T>,
}

#[derive(Debug)]
enum Kernels<T: Factors> {
    Portable {
        plan: Box<Plan<T::Portable>>,
        /// Why it is not one of Hopper.
        because: String,
    },
    Hopper {
        few: Box<Plan<T::Hopper>>,
        /// Where `few` is not for these, too.
        many: Option<Box<Plan<T::Hopper>>>,
    },
}

impl<T: Factors> ProductPlan<T> {
    /// Checks a specialisation, and chooses and loads its kernels.
    pub(super) fn new(operation: &'static str, device: &Device, spec: &GemmSpec) -> Result<Self> {
        T::Portable::check(spec).map_err(|rule| Error::Spec { operation, rule })?;
        let target = target_of(&CATALOG, operation, device)?;
        let kernels = match HopperChoice::new(T::FORMAT, spec, target) {
            Ok(choice) => {
                let plan = |spec| Plan::new(operation, device, spec).map(Box::new);
                let many = if choice.is_one() { None } else { Some(plan(&choice.many)?) };
                Kernels::Hopper { few: plan(&choice.few)?, many }
            }
            Err(because) => {
                Kernels::Portable { plan: Box::new(Plan::new(operation, device, spec)?), because }
            }
        };
        Ok(Self { spec: *spec, kernels })
    }

    /// The product.
    #[must_use]
    pub const fn spec(&self) -> &GemmSpec {
        &self.spec
    }

    /// The kernels: one, or one for few rows and one for more.
    #[must_use]
    pub fn kernels(&self) -> Vec<&Kernel> {
        match &self.kernels {
            Kernels::Portable { plan, .. } => vec![plan.kernel()],
            Kernels::Hopper { few, many } => {
                std::iter::once(few).chain(many).map(|plan| plan.kernel()).collect()
            }
        }
    }

    /// As [`Plan::flags`].
    ///
    /// # Errors
    ///
    /// As of [`Plan::flags`].
    pub fn flags(&self, stream: &Stream) -> Result<DeviceFlags> {
        match &self.kernels {
            Kernels::Portable { plan, .. } => plan.flags(stream),
            Kernels::Hopper { few, .. } => few.flags(stream),
        }
    }

    /// The word that all of its kernels report to, held during a run.
    pub(super) fn word(&self) -> Word<'_> {
        match &self.kernels {
            Kernels::Portable { plan, .. } => plan.word(),
            Kernels::Hopper { few, .. } => few.word(),
        }
    }

    /// A run on a stream.
    pub(super) fn call<'a>(&'a self, stream: &'a Stream, word: &'a mut Word<'_>) -> Result<Call<'a>> {
        match &self.kernels {
            Kernels::Portable { plan, .. } => Call::new(plan, stream, word),
            Kernels::Hopper { few, .. } => Call::new(few, stream, word),
        }
    }

    /// Launches the kernel for the rows of the operands, which are those of the call.
    pub(super) fn launch(&self, call: &Call<'_>, operands: &Operands) -> Result<()> {
        match &self.kernels {
            Kernels::Portable { plan, .. } => call.launch(plan, &T::portable(&self.spec, operands)),
            Kernels::Hopper { few, many } => {
                if let Err([argument, expected, given]) = operands.suit_hopper(self.spec.grouping) {
                    return call.check(&argument, false, &expected, given);
                }
                let plan = if operands.rows <= MOST_FEW_ROWS { few } else { many.as_ref().unwrap_or(few) };
                call.launch(plan, &T::on_hopper(plan.spec(), operands))
            }
        }
    }
}

impl<T: Factors> fmt::Display for ProductPlan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kernels {
            Kernels::Portable { plan, because } => write!(f, "{plan}; portable: {because}"),
            Kernels::Hopper { few, many: None } => write!(f, "{few}; for any number of rows"),
            Kernels::Hopper { few, many: Some(many) } => {
                write!(f, "{few}; for up to {MOST_FEW_ROWS} rows\n{many}; for more rows")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hopper_cannot_address_is_told() {
        let at = |elements| Addresses { elements, scales: 0 };
        let good =
            Operands { a: at(0x100), b: at(0x200), d: 0x300, groups: 0, error: 0, rows: i32::MAX as u32 };
        let told =
            |operands: Operands, grouping| operands.suit_hopper(grouping).map_err(|wrong| wrong.join("; "));
        assert_eq!(told(good, Grouping::Dense), Ok(()));
        let more = Operands { rows: 1 << 31, ..good };
        assert_eq!(told(more, Grouping::Dense), Err("rows; less than 2^31; 2147483648".to_owned()));
        let of_groups = Operands { rows: 1 << 28, ..good };
        assert_eq!(told(of_groups, Grouping::Prefix { groups: 8 }), Ok(()));
        assert_eq!(
            told(of_groups, Grouping::Masked { groups: 8 }),
            Err("groups * rows; less than 2^31; 2147483648".to_owned())
        );
        assert_eq!(
            told(Operands { d: 0x308, ..good }, Grouping::Dense),
            Err("d; an address that is a multiple of 16; 0x308".to_owned())
        );
    }
}
