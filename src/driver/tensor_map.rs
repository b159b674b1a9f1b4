//! The rules of tensor maps (`cuTensorMapEncodeTiled` in the CUDA driver API, tensor maps): they are checked here, since a
//! driver only says that some argument is invalid.

use super::buffer::Region;
use super::contract::{SwizzleMode, TensorMap};
use super::{ArgumentError, ElementType};
use std::fmt::Display;

/// The most dimensions.
const MAX_RANK: usize = 5;
/// The most elements of a box along a dimension.
const MAX_BOX: u32 = 256;
/// The largest stride in bytes, exclusive.
const STRIDE_END: u64 = 1 << 40;
/// The most elements of a tensor along a dimension.
const MAX_EXTENT: u64 = 1 << 32;

/// Checks a map by itself.
pub(super) fn check(map: &TensorMap) -> Result<(), ArgumentError> {
    let rule = |holds: bool, rule: &str, given: &dyn Display| {
        let error = || ArgumentError::TensorMap { rule: rule.to_owned(), given: given.to_string() };
        if holds { Ok(()) } else { Err(error()) }
    };
    let rank = map.extents.len();
    rule((1..=MAX_RANK).contains(&rank), "there are 1 to 5 dimensions", &rank)?;
    rule(
        map.strides_bytes.len() == rank - 1,
        "every dimension but the innermost has a stride",
        &format!("{} strides of {rank} dimensions", map.strides_bytes.len()),
    )?;
    rule(
        map.box_extents.len() == rank,
        "the box has an extent for every dimension",
        &format!("{} extents of {rank} dimensions", map.box_extents.len()),
    )?;
    rule(map.address.is_multiple_of(16), "the address is a multiple of 16", &format!("{:#x}", map.address))?;
    for extent in &map.extents {
        rule((1..=MAX_EXTENT).contains(extent), "an extent is in 1 to 2^32", extent)?;
    }
    for stride in &map.strides_bytes {
        rule(
            stride.is_multiple_of(16) && *stride < STRIDE_END,
            "a stride is a multiple of 16 below 2^40",
            stride,
        )?;
    }
    for extent in &map.box_extents {
        rule((1..=MAX_BOX).contains(extent), "an extent of the box is in 1 to 256", extent)?;
    }
    let row = map.box_extents[0] * map.element.bytes();
    rule(row.is_multiple_of(16), "a row of the box is a multiple of 16 bytes", &row)?;
    let span = swizzle_bytes(map.swizzle);
    rule(
        span == 0 || row <= span,
        "a row of the box is no longer than the span of the swizzle",
        &format!("{row} bytes with a span of {span}"),
    )
}

/// Bytes that a swizzle exchanges among themselves; 0 for none.
const fn swizzle_bytes(swizzle: SwizzleMode) -> u32 {
    match swizzle {
        SwizzleMode::None => 0,
        SwizzleMode::B32 => 32,
        SwizzleMode::B64 => 64,
        SwizzleMode::B128 => 128,
    }
}

/// Checks that a map, which passed [`check`], describes part of a buffer.
pub(super) fn check_within(map: &TensorMap, region: &Region<'_>) -> Result<(), ArgumentError> {
    let is_fp8 = matches!(region.element, ElementType::E4m3 | ElementType::E5m2);
    if map.element != region.element && !(is_fp8 && map.element == ElementType::U8) {
        return Err(ArgumentError::ElementType { expected: map.element, given: region.element });
    }
    let innermost = u128::from(map.extents[0]) * u128::from(map.element.bytes());
    let outer = map.extents[1..].iter().zip(&map.strides_bytes);
    let bytes =
        outer.fold(innermost, |bytes, (extent, stride)| bytes + u128::from(extent - 1) * u128::from(*stride));
    let left = u128::from(region.address() + region.bytes).saturating_sub(map.address.into());
    if map.address < region.address() || bytes > left {
        return Err(ArgumentError::TensorMap {
            rule: format!("the tensor is within its buffer, {left} bytes from its address on"),
            given: format!("{bytes} bytes"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> TensorMap {
        TensorMap {
            address: 0x1000,
            element: ElementType::Bf16,
            extents: vec![100, 7],
            strides_bytes: vec![256],
            box_extents: vec![64, 8],
            swizzle: SwizzleMode::B128,
        }
    }

    #[test]
    fn every_rule_is_named() {
        assert_eq!(check(&map()), Ok(()));
        type Break<'a> = &'a dyn Fn(&mut TensorMap);
        let broken: [(&str, Break<'_>); 9] = [
            ("dimensions", &|map| map.extents.clear()),
            ("stride", &|map| map.strides_bytes.clear()),
            ("box has an extent", &|map| map.box_extents.push(1)),
            ("multiple of 16", &|map| map.address = 0x1008),
            ("2^32", &|map| map.extents[1] = 0),
            ("2^40", &|map| map.strides_bytes[0] = 24),
            ("1 to 256", &|map| map.box_extents[1] = 257),
            ("row of the box is a multiple", &|map| map.box_extents[0] = 4),
            ("span", &|map| map.swizzle = SwizzleMode::B64),
        ];
        for (words, break_it) in broken {
            let mut map = map();
            break_it(&mut map);
            let error = check(&map).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
