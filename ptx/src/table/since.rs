//! Since when a modifier exists, where the forms that take it are older.

use super::form::{Form, Since};
use crate::modifier::Modifier;
use rustc_hash::FxHashMap;
use std::sync::LazyLock;

const MODIFIERS: &[(&str, &str)] = &[
    ("weak relaxed acquire release acq_rel", "6.0 sm_70"),
    ("xorsign", "7.2 sm_86"),
    ("L1::evict_normal L1::evict_unchanged L1::evict_first L1::evict_last L1::no_allocate", "7.4 sm_70"),
    ("L2::64B L2::128B", "7.4 sm_75"),
    ("L2::256B L2::cache_hint", "7.4 sm_80"),
    ("shared::cta", "7.8 sm_30"),
    ("cluster shared::cluster", "7.8 sm_90"),
    ("param::entry param::func", "8.3 sm_20"),
];

static SINCE: LazyLock<FxHashMap<Modifier, Since>> = LazyLock::new(|| {
    let modifier = |word| Modifier::from_name(word).unwrap_or_else(|| panic!("no modifier .{word}"));
    let since = |(words, since): &(&'static str, &str)| {
        let since = Since::parse(since);
        words.split_whitespace().map(move |word| (modifier(word), since.clone()))
    };
    MODIFIERS.iter().flat_map(since).collect()
});

impl Form {
    /// Everything that code needs to use the form with these modifiers: what the form needs and what each of them
    /// does, everywhere and in this form.
    pub fn requirements<'a>(&'a self, modifiers: &'a [Modifier]) -> impl Iterator<Item = &'a Since> {
        let later = self.slots.iter().flat_map(|slot| &slot.later);
        let later = later.filter(|(modifier, _)| modifiers.contains(modifier)).map(|(_, since)| since);
        let everywhere = modifiers.iter().filter_map(|modifier| SINCE.get(modifier));
        std::iter::once(&self.since).chain(everywhere).chain(later)
    }
}
