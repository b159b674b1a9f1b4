//! What a rule of a specialisation is, and the commonest ones.

use crate::ScaleFormat;
use std::ops::RangeInclusive;

/// A rule of a family's specialisations. A family has a list of them, of which each may rely on those before it.
#[derive(Debug)]
pub struct Rule<S> {
    /// What it is about: a field, mostly. No other rule of the family has this name.
    pub name: &'static str,
    check: fn(&S) -> Result<(), String>,
}

impl<S> Rule<S> {
    /// A rule, which says in words what is wrong with a specialisation that breaks it.
    #[must_use]
    pub const fn new(name: &'static str, check: fn(&S) -> Result<(), String>) -> Self {
        Self { name, check }
    }

    /// Whether a specialisation that obeys all rules before this one obeys this one.
    ///
    /// # Errors
    ///
    /// If it does not: what it has, and what was expected.
    pub fn check(&self, spec: &S) -> Result<(), String> {
        (self.check)(spec)
    }
}

/// The name of the first of some rules that a specialisation breaks.
pub(crate) fn first_broken<S>(rules: &[Rule<S>], spec: &S) -> Option<&'static str> {
    rules.iter().find(|rule| rule.check(spec).is_err()).map(|rule| rule.name)
}

/// That something is so, else what is wrong.
pub(crate) fn require(holds: bool, wrong: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(wrong()) }
}

/// That a field is within a range.
pub(crate) fn within(name: &str, value: u32, range: RangeInclusive<u32>) -> Result<(), String> {
    require(range.contains(&value), || {
        format!("`{name}` is {value}, expected {} to {}", range.start(), range.end())
    })
}

/// That a field is not 0.
pub(crate) fn positive(name: &str, value: u32) -> Result<(), String> {
    require(value != 0, || format!("`{name}` is 0, expected at least 1"))
}

/// That a field is at least another.
pub(crate) fn at_least(name: &str, value: u32, other: &str, least: u32) -> Result<(), String> {
    require(value >= least, || format!("`{name}` is {value}, expected at least `{other}`, {least}"))
}

/// That a field is a multiple of `unit` from `unit` to `most`.
pub(crate) fn multiple(name: &str, value: u32, unit: u32, most: u32) -> Result<(), String> {
    require(value != 0 && value.is_multiple_of(unit) && value <= most, || {
        format!("`{name}` is {value}, expected a multiple of {unit} from {unit} to {most}")
    })
}

/// That a kernel writes something.
pub(crate) fn an_output(bf16: bool, fp8: Option<ScaleFormat>) -> Result<(), String> {
    require(bf16 || fp8.is_some(), || "neither `bf16` nor `fp8` is asked for".to_owned())
}
