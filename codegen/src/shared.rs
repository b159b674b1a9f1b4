//! Shared memory: declared once, its sizes and offsets derived.

use crate::builder::Builder;
use crate::element::Element;
use crate::pointer::{Pointer, Shared};

impl Builder {
    /// Reserves an array of shared memory for the whole kernel, at a multiple of `alignment_bytes` (a power of two
    /// up to 1024). Declare all of them before the first branch: the address is computed where the first stands.
    #[track_caller]
    pub fn shared<T: Element>(&self, elements: u32, alignment_bytes: u32) -> Pointer<'_, Shared, T> {
        let bytes = elements.saturating_mul(T::ELEMENT.bytes());
        let offset = self.reserve_shared(bytes, alignment_bytes.max(T::ELEMENT.bytes()));
        Pointer::new(self.shared_base()).bytes(offset)
    }
}
