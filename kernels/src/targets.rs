//! The targets that a family has kernels for.

use rorqual_ptx::target::{Features, Target};
use std::fmt;

/// The targets that a family has kernels for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Targets {
    /// sm_80 and later.
    Portable,
    /// sm_90a alone: tensor copies and products of warpgroups.
    Hopper,
}

impl Targets {
    /// Whether there are kernels for a target.
    #[must_use]
    pub fn serve(self, target: Target) -> bool {
        match self {
            Self::Portable => target.sm >= 80 && target.architecture().is_some(),
            Self::Hopper => target == Target { sm: 90, features: Features::Specific },
        }
    }
}

/// What is expected of a target, for messages.
impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "sm_80 or later",
            Self::Hopper => "sm_90a",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Arguments, Out};
    use crate::rule::Rule;
    use crate::{Family, GenerateError, Kernel, generate};
    use rorqual_codegen::Header;

    rorqual_codegen::arguments! {
        struct NothingArguments, NothingParameters {
            /// Never written.
            out: Out<u32>,
        }
    }

    /// A family that exists on one architecture.
    struct OnHopper;

    impl Family for OnHopper {
        const NAME: &'static str = "on_hopper";
        type Spec = ();
        type Arguments = NothingArguments;
        const TARGETS: Targets = Targets::Hopper;
        const RULES: &'static [Rule<()>] = &[];

        fn emit(spec: &(), target: Target) -> Result<Kernel, GenerateError> {
            let header = Header::new("on_hopper", spec, target, 32);
            rorqual_codegen::generate::<NothingArguments>(header, |_, _| {})
        }
    }

    #[test]
    fn a_family_serves_its_targets_and_refuses_others_in_words() {
        let all = ["sm_75", "sm_80", "sm_90", "sm_90a", "sm_100a", "sm_120", "sm_81"];
        let served = |targets: Targets| -> Vec<&str> {
            all.into_iter().filter(|name| targets.serve(name.parse().unwrap())).collect()
        };
        assert_eq!(served(Targets::Portable), ["sm_80", "sm_90", "sm_90a", "sm_100a", "sm_120"]);
        assert_eq!(served(Targets::Hopper), ["sm_90a"]);
        let generate = |name: &str| generate::<OnHopper>(&(), name.parse().unwrap());
        assert_eq!(generate("sm_90a").unwrap().contract.parameters, NothingArguments::parameters());
        for name in ["sm_80", "sm_90", "sm_100a"] {
            let error = generate(name).unwrap_err().to_string();
            assert_eq!(error, format!("on_hopper: {name} is not served, expected sm_90a"));
        }
    }
}
