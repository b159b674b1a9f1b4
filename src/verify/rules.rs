//! Whether each rule of a family refuses something, and whether all that obeys the rules has a kernel: the
//! specialisations of cases and of the catalog, changed at random.
//!
//! Changes are made to the JSON form, so that they know nothing of any family: a number becomes one at an edge or of
//! another size, a flag its opposite, and any field what a field of its name has in any of them.

use super::random::Random;
use rorqual_kernels::catalog::rows;
use rorqual_kernels::{AnySpec, KernelError};
use rorqual_ptx::target::Target;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// How many specialisations are made.
const CHANGED: usize = 4000;

/// What the rules of a family said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// How many specialisations each rule refused, by family and rule.
    pub refused: BTreeMap<(&'static str, &'static str), usize>,
    /// Specialisations that no rule refused, and whose kernels were generated.
    pub kernels: usize,
}

impl Rules {
    /// Changes specialisations and those of their families that ship, and generates the kernels of up to `most` that no
    /// rule refuses, for one of the targets each; all these families serve all of them.
    ///
    /// # Errors
    /// If there is no kernel of a specialisation that obeys the rules.
    pub fn exercise(
        specs: &[AnySpec],
        targets: &[Target],
        most: usize,
        random: &mut Random,
    ) -> Result<Self, KernelError> {
        let mut rules = Self::default();
        for spec in specs {
            rules.refused.extend(spec.rules().into_iter().map(|rule| ((spec.family(), rule), 0)));
        }
        let shipped = rows().into_iter().map(|row| row.spec);
        let (own, others): (Vec<AnySpec>, Vec<AnySpec>) =
            shipped.partition(|shipped| specs.iter().any(|spec| spec.family() == shipped.family()));
        let forms: Vec<Value> = specs.iter().chain(&own).map(form).collect();
        let known = Known::new(forms.iter().cloned().chain(others.iter().map(form)));
        for index in 0..if forms.is_empty() { 0 } else { CHANGED } {
            let mut changed = forms[index % forms.len()].clone();
            for _ in 0..=random.below(2) {
                known.change(&mut changed, random);
            }
            // A field that became something of another type.
            let Ok(spec) = AnySpec::from_json(None, &changed.to_string()) else { continue };
            if let Some(rule) = spec.broken_rule() {
                *rules.refused.entry((spec.family(), rule)).or_default() += 1;
            } else if rules.kernels < most {
                spec.generate(random.pick(targets))?;
                rules.kernels += 1;
            }
        }
        Ok(rules)
    }

    /// The rules that refused nothing, as `family: rule`.
    #[must_use]
    pub fn idle(&self) -> Vec<String> {
        let idle = self.refused.iter().filter(|(_, refused)| **refused == 0);
        idle.map(|((family, rule), _)| format!("{family}: {rule}")).collect()
    }
}

/// How many rules refused something, of how many, and which did not.
impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let idle = self.idle();
        write!(f, "{}/{}", self.refused.len() - idle.len(), self.refused.len())?;
        if idle.is_empty() { Ok(()) } else { write!(f, " without {}", idle.join(", ")) }
    }
}

fn form(spec: &AnySpec) -> Value {
    serde_json::from_str(&spec.to_json()).expect("what was written can be read")
}

/// The values that fields have, by name.
struct Known(BTreeMap<String, Vec<Value>>);

impl Known {
    /// Of some specialisations.
    fn new(forms: impl Iterator<Item = Value>) -> Self {
        let mut known = BTreeMap::<String, Vec<Value>>::new();
        for form in forms {
            for path in fields(&form) {
                let values = known.entry(name(&path).to_owned()).or_default();
                let value = form.pointer(&path).expect("a field");
                if !values.contains(value) {
                    values.push(value.clone());
                }
            }
        }
        Self(known)
    }

    /// Changes a field of a specialisation.
    fn change(&self, form: &mut Value, random: &mut Random) {
        let paths = fields(form);
        let path = &paths[random.below(paths.len())];
        let field = form.pointer_mut(path).expect("a field");
        *field = match (&*field, random.below(4)) {
            (Value::Bool(flag), _) => (!flag).into(),
            (Value::Number(number), 1..) => other_number(number.as_u64().unwrap_or(0), random).into(),
            _ => {
                let values = &self.0[name(path)];
                values[random.below(values.len())].clone()
            }
        };
    }
}

fn other_number(number: u64, random: &mut Random) -> u64 {
    let power = 1 << random.below(31);
    let edges = [0, u64::from(u32::MAX), number + 1, number.saturating_sub(1)];
    let sizes = [2 * number, 3 * number, power, 3 * power, power + 1];
    random.pick(&[&edges[..], &sizes].concat())
}

/// The paths of all fields of a specialisation, those within others too, but not the name of the family.
fn fields(form: &Value) -> Vec<String> {
    let own = form.as_object().into_iter().flatten().filter(|(name, _)| *name != "family");
    let with_inner = own.flat_map(|(name, value)| {
        let inner = fields(value).into_iter().map(move |path| format!("/{name}{path}"));
        std::iter::once(format!("/{name}")).chain(inner)
    });
    with_inner.collect()
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rorqual_kernels::Registered;
    use rorqual_kernels::norm::{RmsNorm, RmsNormSpec};

    fn norm(residual: bool) -> AnySpec {
        RmsNorm::any(&RmsNormSpec { hidden: 64, x_pitch: 64, residual, bf16: true, fp8: None })
    }

    #[test]
    fn every_rule_of_a_family_refuses_something() {
        let target = "sm_80".parse().expect("a target");
        let exercise = |seed| {
            Rules::exercise(&[norm(false), norm(true)], &[target], 3, &mut Random::new(seed))
                .expect("kernels")
        };
        let rules = exercise(0);
        let names: Vec<_> = rules.refused.keys().copied().collect();
        assert_eq!(names, [("rms_norm", "an output"), ("rms_norm", "hidden"), ("rms_norm", "x_pitch")]);
        assert_eq!((rules.idle(), rules.kernels, rules.to_string().as_str()), (Vec::new(), 3, "3/3"));
        assert_eq!(exercise(0), rules);
    }

    #[test]
    fn a_rule_that_refused_nothing_is_named() {
        let refused = BTreeMap::from([(("rms_norm", "hidden"), 0), (("rms_norm", "x_pitch"), 2)]);
        let rules = Rules { refused, kernels: 0 };
        assert_eq!(rules.to_string(), "1/2 without rms_norm: hidden");
    }

    #[test]
    fn what_obeys_the_rules_must_have_a_kernel() {
        let served_by_none = "sm_70".parse().expect("a target");
        let error = Rules::exercise(&[norm(true)], &[served_by_none], 1, &mut Random::new(0));
        assert!(matches!(error, Err(KernelError::Target { family: "rms_norm", .. })), "{error:?}");
    }

    #[test]
    fn fields_within_fields_are_changed_too() {
        let form: Value = serde_json::from_str(r#"{"family":"f","a":{"b":{"c":1}},"d":null}"#).expect("JSON");
        assert_eq!(fields(&form), ["/a", "/a/b", "/a/b/c", "/d"]);
    }
}
