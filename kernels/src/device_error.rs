//! Bits of the `error` word of kernels that meet bad input which only the device can see.
//!
//! A kernel sets bits and clears none. The caller zeroes the word, and reads it when it waits for the device anyway.
//! [`DeviceFlags`] says in words what was found:
//!
//! ```
//! use rorqual_kernels::device_error::{DeviceFlags, EXPERT, PAGE};
//!
//! let flags = DeviceFlags::from_bits(EXPERT | PAGE);
//! assert!(flags.contains(PAGE) && !flags.is_empty());
//! assert_eq!(flags.iter().map(|flag| flag.name).collect::<Vec<_>>(), ["EXPERT", "PAGE"]);
//! assert!(flags.to_string().starts_with("EXPERT: an expert does not exist"));
//! ```

use std::fmt;

/// A bit of the word, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// The bit.
    pub bit: u32,
    /// The name of its constant.
    pub name: &'static str,
    /// What was wrong, and what the kernel did about it.
    pub meaning: &'static str,
}

macro_rules! flags {
    ($($name:ident = $position:literal: $meaning:literal,)*) => {
        $(
            #[doc = concat!("Bit ", $position, ": ", $meaning, ".")]
            pub const $name: u32 = 1 << $position;
        )*

        /// Every bit, from the lowest on.
        pub const FLAGS: &[Flag] = &[$(Flag { bit: $name, name: stringify!($name), meaning: $meaning }),*];
    };
}

flags! {
    TOKEN = 0: "a token is not in the vocabulary; its row is zero",
    EXPERT = 1: "an expert does not exist; the slot is left out",
    SLOT = 2: "a slot or a row does not exist; it is left out",
    LOGIT_NAN = 3: "a logit is NaN; the token is u32::MAX",
    LOGIT_INFINITE = 4: "a logit is positive infinity; the token is u32::MAX",
    NO_TOKEN = 5: "no logit is above negative infinity; the token is u32::MAX",
    SETTING = 6: "a setting of the sampling is out of its range; the token is u32::MAX",
    POSITION = 7: "a position is behind the table of rotations; its row is not rotated, or not written",
    PAGE = 8: "a slot or a page number lies outside the pool of the cache; there is no record",
    SEQUENCE = 9: "a sequence does not exist, or its extent does not fit the tensors; what does not fit is left out",
    GROUPS = 10: "offsets of groups fall or lead behind the last row, or a count exceeds the rows of a group; \
        groups from the first bad offset on are left out, a count is cut",
}

/// The bits of an `error` word. Prints their meanings, one a line; without any `no flags`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[must_use]
pub struct DeviceFlags(u32);

impl DeviceFlags {
    /// The flags of a word.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The word.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether nothing was wrong.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether any of these bits is set.
    #[must_use]
    pub const fn contains(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    /// The flags that are set, from the lowest bit on.
    pub fn iter(self) -> impl Iterator<Item = &'static Flag> {
        FLAGS.iter().filter(move |flag| self.contains(flag.bit))
    }
}

impl fmt::Display for DeviceFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no flags");
        }
        let known = FLAGS.iter().fold(0, |bits, flag| bits | flag.bit);
        let mut lines: Vec<String> =
            self.iter().map(|flag| format!("{}: {}", flag.name, flag.meaning)).collect();
        if self.0 & !known != 0 {
            lines.push(format!("bits {:#x}, which no kernel sets", self.0 & !known));
        }
        f.write_str(&lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_has_a_bit_of_its_own() {
        let all = FLAGS.iter().fold(0, |bits: u32, flag| {
            assert_eq!(flag.bit.count_ones(), 1, "{}", flag.name);
            assert_eq!(bits & flag.bit, 0, "{}", flag.name);
            bits | flag.bit
        });
        assert_eq!(all.count_ones() as usize, FLAGS.len());
    }

    #[test]
    fn flags_are_said_in_words() {
        assert_eq!(DeviceFlags::default().to_string(), "no flags");
        let text = DeviceFlags::from_bits(GROUPS | 1 << 30).to_string();
        assert!(text.starts_with("GROUPS: offsets of groups fall"), "{text}");
        assert!(text.ends_with("bits 0x40000000, which no kernel sets"), "{text}");
    }
}
