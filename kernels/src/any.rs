//! The register of the families: a specialisation of any of them as one type, which can be named, stored and generated.
//!
//! A family is a line of [`families!`](self) below. Its specialisation must have `serde` behind the feature of that name:
//! `#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]`.

use crate::rule::first_broken;
use crate::{Family, Kernel, KernelError, generate};
use rorqual_ptx::target::Target;

macro_rules! families {
    ($($family:ident in $module:ident $(:: $inner:ident)* as $name:literal,)*) => {
        /// A specialisation of any family. In JSON an object of its fields, and `family` with the family's name.
        #[derive(Debug, Clone, PartialEq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(tag = "family"))]
        pub enum AnySpec {
            $(
                #[doc = concat!("Of the family `", $name, "`.")]
                #[cfg_attr(feature = "serde", serde(rename = $name))]
                $family(<crate::$module $(:: $inner)* ::$family as Family>::Spec),
            )*
        }

        impl AnySpec {
            /// The names of all families.
            pub const FAMILIES: &[&str] = &[$(<crate::$module $(:: $inner)* ::$family as Family>::NAME),*];

            /// The name of its family.
            #[must_use]
            pub const fn family(&self) -> &'static str {
                match self {
                    $(Self::$family(_) => <crate::$module $(:: $inner)* ::$family as Family>::NAME,)*
                }
            }

            /// Whether its family has kernels for a target.
            #[must_use]
            pub fn serves(&self, target: Target) -> bool {
                match self {
                    $(Self::$family(_) => {
                        <crate::$module $(:: $inner)* ::$family as Family>::TARGETS.serve(target)
                    })*
                }
            }

            /// The first rule that it breaks, in words.
            ///
            /// # Errors
            ///
            /// If there is one.
            pub fn check(&self) -> Result<(), String> {
                match self {
                    $(Self::$family(spec) => <crate::$module $(:: $inner)* ::$family as Family>::check(spec),)*
                }
            }

            /// The names of the rules of its family, in the order in which they are looked at.
            #[must_use]
            pub fn rules(&self) -> Vec<&'static str> {
                match self {
                    $(Self::$family(_) => {
                        <crate::$module $(:: $inner)* ::$family as Family>::RULES.iter().map(|rule| rule.name).collect()
                    })*
                }
            }

            /// The name of the first rule that it breaks.
            #[must_use]
            pub fn broken_rule(&self) -> Option<&'static str> {
                match self {
                    $(Self::$family(spec) => {
                        first_broken(<crate::$module $(:: $inner)* ::$family as Family>::RULES, spec)
                    })*
                }
            }

            /// Checks it and generates its kernel.
            ///
            /// # Errors
            ///
            /// As of [`generate`].
            pub fn generate(&self, target: Target) -> Result<Kernel, KernelError> {
                match self {
                    $(Self::$family(spec) => generate::<crate::$module $(:: $inner)* ::$family>(spec, target),)*
                }
            }
        }

        $(
            impl Registered for crate::$module $(:: $inner)* ::$family {
                fn any(spec: &Self::Spec) -> AnySpec {
                    AnySpec::$family(spec.clone())
                }
            }
        )*

        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),*];

        /// The names of the rules of each family.
        #[cfg(test)]
        fn rules() -> Vec<Vec<&'static str>> {
            vec![$(<crate::$module $(:: $inner)* ::$family as Family>::RULES.iter().map(|rule| rule.name).collect()),*]
        }
    };
}

families! {
    RmsNorm in norm as "rms_norm",
    Bf16Gemm in gemm as "gemm_bf16",
    Fp8Gemm in gemm as "gemm_fp8",
    Router in gemm::router as "router",
    Quantize1x128 in quant as "quantize_1x128",
    Quantize128x128 in quant as "quantize_128x128",
    Dequantize128x128 in quant as "dequantize_128x128",
    QuantizeTranspose in transpose as "quantize_transpose",
    Embedding in embedding as "embedding",
    Residual in residual as "residual",
    Gate in moe::gate as "moe_gate",
    Layout in moe::layout as "moe_layout",
    Permute in moe::permute as "moe_permute",
    Swiglu in moe::swiglu as "moe_swiglu",
    Combine in moe::combine as "moe_combine",
    Argmax in sample as "argmax",
    Sample in sample as "sample",
    Rope in rope as "rope",
    CacheAppend in attention::append as "cache_append",
    CacheGather in attention::gather as "cache_gather",
    MlaDecode in attention::decode as "mla_decode",
    MlaCombine in attention::combine as "mla_combine",
    MlaPrefill in attention::prefill as "mla_prefill",
    CopyRows in copy as "copy_rows",
    HopperFp8Gemm in gemm::hopper as "hopper_gemm_fp8",
    HopperBf16Gemm in gemm::hopper as "hopper_gemm_bf16",
    HopperFp8Swiglu in gemm::hopper as "hopper_gemm_fp8_swiglu",
    HopperWeightGradient in gemm::hopper as "hopper_gemm_fp8_1d1d",
}

/// A family of the register.
pub trait Registered: Family {
    /// A specialisation of it as one of any family.
    fn any(spec: &Self::Spec) -> AnySpec;
}

/// A specialisation that could not be read.
#[cfg(feature = "serde")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadSpecError {
    /// There is no family of this name.
    #[error("`{given}` is not a family, expected one of {}", AnySpec::FAMILIES.join(", "))]
    Family {
        /// The name.
        given: String,
    },
    /// The text is no specialisation.
    #[error("specialisation of {}: {message}", family.as_deref().unwrap_or("a family"))]
    Text {
        /// The family, if it was said apart from the text.
        family: Option<String>,
        /// What is wrong, and where in the text.
        message: String,
    },
}

#[cfg(feature = "serde")]
impl AnySpec {
    /// Its JSON, on one line, fields in the order in which they are declared: equal texts are equal specialisations.
    ///
    /// # Panics
    ///
    /// Never: specialisations are plain data.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }

    /// Reads a specialisation; the text needs no field `family` where the family is said apart from it.
    ///
    /// # Errors
    ///
    /// If there is no such family, a field is missing, unknown or of the wrong type, or the text is no JSON object.
    pub fn from_json(family: Option<&str>, text: &str) -> Result<Self, ReadSpecError> {
        let wrong = |error: &dyn std::fmt::Display| {
            let family = family.map(str::to_owned);
            ReadSpecError::Text { family, message: error.to_string() }
        };
        let mut value: serde_json::Value = serde_json::from_str(text).map_err(|error| wrong(&error))?;
        let object = value.as_object_mut().ok_or_else(|| wrong(&"expected a JSON object"))?;
        if let Some(family) = family {
            let said = object.insert("family".to_owned(), family.into());
            if said.as_ref().is_some_and(|said| said != family) {
                return Err(wrong(&format!("`family` is {}", said.unwrap_or_default())));
            }
        }
        match object.get("family").map(|name| name.as_str().unwrap_or_default()) {
            None => {
                return Err(wrong(&format!(
                    "`family` is missing, expected one of {}",
                    Self::FAMILIES.join(", ")
                )));
            }
            Some(name) if !Self::FAMILIES.contains(&name) => {
                return Err(ReadSpecError::Family {
                    given: object["family"].to_string().trim_matches('"').to_owned(),
                });
            }
            Some(_) => {}
        }
        serde_json::from_value(value).map_err(|error| wrong(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_register_has_the_names_of_the_families() {
        assert_eq!(NAMES, AnySpec::FAMILIES);
        let distinct: std::collections::HashSet<_> = NAMES.iter().collect();
        assert_eq!(distinct.len(), NAMES.len());
    }

    #[test]
    fn rules_have_names_of_their_own() {
        for rules in rules() {
            let distinct: std::collections::HashSet<_> = rules.iter().collect();
            assert_eq!(distinct.len(), rules.len(), "{rules:?}");
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn specialisations_go_to_json_and_back() {
        for row in crate::catalog::rows() {
            let text = row.spec.to_json();
            assert_eq!(AnySpec::from_json(None, &text).as_ref(), Ok(&row.spec), "{text}");
            assert_eq!(AnySpec::from_json(Some(row.spec.family()), &text).as_ref(), Ok(&row.spec), "{text}");
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_wrong_text_says_what_is_wrong() {
        let message = |family, text| AnySpec::from_json(family, text).unwrap_err().to_string();
        let fields = r#"{"hidden":8,"x_pitch":8,"residual":false,"bf16":true,"fp8":null}"#;
        assert!(AnySpec::from_json(Some("rms_norm"), fields).is_ok());
        assert!(message(None, fields).contains("`family` is missing"), "{}", message(None, fields));
        assert!(message(Some("norm"), fields).starts_with("`norm` is not a family, expected one of "));
        let other = message(Some("rms_norm"), r#"{"family":"gemm"}"#);
        assert_eq!(other, "specialisation of rms_norm: `family` is \"gemm\"");
        let missing = message(Some("rms_norm"), r#"{"hidden":8}"#);
        assert_eq!(missing, "specialisation of rms_norm: missing field `x_pitch`");
        let renamed = fields.replace("bf16", "f16");
        let unknown = message(Some("rms_norm"), &renamed);
        assert!(
            unknown.starts_with("specialisation of rms_norm: unknown field `f16`, expected one of"),
            "{unknown}"
        );
        assert_eq!(message(None, "[]"), "specialisation of a family: expected a JSON object");
        assert!(message(None, "{").contains("line 1"), "{}", message(None, "{"));
        assert!(message(None, r#"{"family":3}"#).starts_with("`3` is not a family"));
    }
}
