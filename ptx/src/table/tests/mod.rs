//! Tests of the table: that it can be read, that it takes what compilers write and refuses what it should.

mod async_sync_mma;
mod scalar;

use super::*;
use crate::modifier::Modifier;
use crate::module::Version;
use crate::target::Target;

/// The forms whose modifiers `opcode` has, with the modifiers in their order.
fn forms(opcode: &str) -> Vec<(&'static Form, Vec<Modifier>)> {
    let Some((row, rest)) = find_row(opcode) else { return vec![] };
    let words: Option<Vec<_>> = rest.split('.').skip(1).map(Modifier::from_name).collect();
    let Some(words) = words else { return vec![] };
    row.forms.iter().filter_map(|form| Some((form, form.order_modifiers(&words)?))).collect()
}

/// Whether the first form that `opcode` has exists in a version for a target.
fn exists(opcode: &str, version: (u8, u8), target: &str) -> bool {
    let found = forms(opcode);
    let (form, modifiers) = found.first().unwrap_or_else(|| panic!("{opcode} is no form of the table"));
    let target = Target::from_name(target).expect("a target");
    let version = Version { major: version.0, minor: version.1 };
    form.requirements(modifiers).all(|since| since.version <= version && since.allows(target))
}

#[test]
fn every_form_reads_and_names_a_row() {
    assert!(rows().len() > 100, "{} rows", rows().len());
    for row in rows() {
        assert!(!row.forms.is_empty(), "{} has no form", row.name);
        assert!(row.section.starts_with("9.7."), "{}: section {}", row.name, row.section);
        let (found, rest) = find_row(row.name).expect("a row by its name");
        assert_eq!((found.opcode, rest), (row.opcode, ""), "{}", row.name);
    }
}

#[test]
fn no_two_slots_of_a_form_fight_for_a_modifier() {
    for form in rows().iter().flat_map(|row| &row.forms) {
        let one_of_each = |optional: bool| -> Vec<Modifier> {
            form.slots.iter().filter(|slot| optional || !slot.optional).map(|slot| slot.choices[0]).collect()
        };
        for modifiers in [one_of_each(false), one_of_each(true)] {
            let ordered = form.order_modifiers(&modifiers);
            assert_eq!(ordered, Some(modifiers), "{}", form.text);
        }
    }
}

/// Every opcode of the kernels of DeepGEMM, FlashMLA, DeepEP and Triton, as nvcc 13.5 and Triton 3.9 write them.
#[test]
fn every_spelling_of_real_kernels_is_a_form() {
    let missing: Vec<_> =
        include_str!("spellings.txt").lines().filter(|opcode| forms(opcode).is_empty()).collect();
    assert!(missing.is_empty(), "no form for {missing:?}");
}

#[test]
fn the_longest_name_wins() {
    let name = |opcode| find_row(opcode).map(|(row, rest)| (row.name, rest));
    assert_eq!(name("st.async.weak.shared::cluster.b32"), Some(("st.async", ".weak.shared::cluster.b32")));
    assert_eq!(name("st.global.b32"), Some(("st", ".global.b32")));
    assert_eq!(name("cvt.pack.sat.u8.s32.b32"), Some(("cvt.pack", ".sat.u8.s32.b32")));
    assert_eq!(name("frobnicate.b32"), None);
    assert_eq!(name(""), None);
}
