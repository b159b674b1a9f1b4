//! Each rule with a map that breaks it, the 128 bytes, the edits, and the swizzle tables.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A map that breaks no rule.
fn spec() -> TileSpec {
    let mut spec = TileSpec::new(
        ElementType::Bf16,
        0x7f00_0000_0100,
        &[100, 200, 3],
        &[256, 51200],
        &[64, 8, 1],
        &[1, 2, 1],
    )
    .unwrap();
    spec.swizzle = Swizzle::B128;
    spec
}

/// What encoding says of a map after a change.
fn broken(change: impl FnOnce(&mut TileSpec)) -> String {
    let mut spec = spec();
    change(&mut spec);
    TensorMap::encode(&spec).unwrap_err().to_string()
}

#[test]
fn every_rule_has_an_example_that_breaks_it() {
    assert!(TensorMap::encode(&spec()).is_ok());
    let cases = [
        (broken(|s| s.rank = 0), "tensorRank is 0: it must be in 1..=5"),
        (broken(|s| s.rank = 6), "tensorRank is 6: it must be in 1..=5"),
        (
            broken(|s| (s.rank, s.interleave) = (2, Interleave::B16)),
            "tensorRank is 2: with interleave 16B it must be at least 3",
        ),
        (
            broken(|s| s.address += 8),
            "globalAddress is 0x7f0000000108: with interleave none it must be a multiple of 16",
        ),
        (
            broken(|s| (s.address, s.interleave) = (s.address + 16, Interleave::B32)),
            "globalAddress is 0x7f0000000110: with interleave 32B it must be a multiple of 32",
        ),
        (broken(|s| s.dims[1] = 0), "globalDim[1] is 0: it must be in 1..=4294967296"),
        (broken(|s| s.dims[2] = (1 << 32) + 1), "globalDim[2] is 4294967297: it must be in 1..=4294967296"),
        (
            broken(|s| s.strides[1] = 200),
            "globalStrides[0] is 200: with interleave none it must be a multiple of 16",
        ),
        (
            broken(|s| (s.strides[2], s.interleave) = (51216, Interleave::B32)),
            "globalStrides[1] is 51216: with interleave 32B it must be a multiple of 32",
        ),
        (broken(|s| s.strides[2] = 1 << 40), "globalStrides[1] is 1099511627776: it must be less than 2^40"),
        (broken(|s| s.box_dims[2] = 0), "boxDim[2] is 0: it must be in 1..=256"),
        (broken(|s| s.box_dims[1] = 257), "boxDim[1] is 257: it must be in 1..=256"),
        (
            broken(|s| s.box_dims[0] = 12),
            "boxDim[0] is 12 elements of 2 bytes: a row must be a multiple of 16 bytes",
        ),
        (broken(|s| s.element_strides[1] = 0), "elementStrides[1] is 0: it must be in 1..=8"),
        (broken(|s| s.element_strides[2] = 9), "elementStrides[2] is 9: it must be in 1..=8"),
        (
            broken(|s| s.box_dims[0] = 72),
            "boxDim[0] is 144 bytes: with swizzle 128B a row has at most 128 bytes",
        ),
        (
            broken(|s| s.swizzle = Swizzle::B64),
            "boxDim[0] is 128 bytes: with swizzle 64B a row has at most 64 bytes",
        ),
        (broken(|s| s.interleave = Interleave::B32), "swizzle is 128B: interleave 32B requires swizzle 32B"),
        (
            broken(|s| (s.swizzle, s.interleave) = (Swizzle::B96, Interleave::B16)),
            "swizzle is 96B: interleave 16B excludes it",
        ),
        (
            broken(|s| (s.element, s.fill) = (ElementType::U16, OobFill::Nan)),
            "oobFill is nan: tensorDataType u16 is no floating-point type",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

#[test]
fn what_the_limits_allow() {
    let mut spec = spec();
    spec.element_strides[0] = 0; // ignored without interleave
    spec.dims[1] = 1 << 32;
    spec.strides[1] = 0; // a broadcast dimension
    spec.strides[2] = (1 << 40) - 16;
    spec.box_dims = [64, 256, 256, 1, 1];
    spec.element_strides[1] = 8;
    spec.fill = OobFill::Nan;
    assert_eq!(TensorMap::encode(&spec).unwrap().decode(), Ok(spec));
    let mut interleaved = spec;
    interleaved.interleave = Interleave::B16;
    assert!(TensorMap::encode(&interleaved).is_err(), "with interleave it is not ignored");
    interleaved.element_strides[0] = 1;
    interleaved.box_dims[0] = 3;
    assert!(TensorMap::encode(&interleaved).is_ok());
}

#[test]
fn lengths_of_the_slices() {
    let new = |dims: &[u64], strides: &[u64], box_dims: &[u32], element_strides: &[u32]| {
        TileSpec::new(ElementType::U8, 0, dims, strides, box_dims, element_strides).unwrap_err().to_string()
    };
    assert_eq!(new(&[], &[], &[], &[]), "tensorRank is 0: it must be in 1..=5");
    assert_eq!(new(&[1; 6], &[16; 5], &[16; 6], &[1; 6]), "tensorRank is 6: it must be in 1..=5");
    assert_eq!(
        new(&[1, 2], &[16, 16], &[16, 1], &[1, 1]),
        "globalStrides has 2 elements: a tensor of 2 dimensions needs 1"
    );
    assert_eq!(
        new(&[1, 2], &[16], &[16], &[1, 1]),
        "boxDim has 1 elements: a tensor of 2 dimensions needs 2"
    );
    assert_eq!(new(&[1], &[], &[16], &[]), "elementStrides has 0 elements: a tensor of 1 dimensions needs 1");
}

#[test]
fn sizes_of_a_box() {
    let spec = spec();
    assert_eq!((spec.counts(), spec.box_bytes(), spec.row_pitch()), ([64, 4, 1, 1, 1], 512, 128));
    let mut short = spec;
    short.box_dims[0] = 16;
    assert_eq!((short.box_bytes(), short.row_pitch(), short.shared_bytes()), (128, 128, 512));
    short.swizzle = Swizzle::None;
    assert_eq!((short.row_pitch(), short.shared_bytes()), (32, 128));
}

#[test]
fn names_and_codes() {
    for element in ElementType::ALL {
        assert_eq!(ElementType::from_isa_code(element.isa_code()), Some(*element));
        assert_eq!(ElementType::for_data(element.name()), Some(*element));
    }
    let driver: Vec<_> = (0..13).map(|code| ElementType::from_driver(code).unwrap().name()).collect();
    let order =
        ["u8", "u16", "u32", "s32", "u64", "s64", "f16", "f32", "f64", "bf16", "f32_ftz", "tf32", "tf32_ftz"];
    assert_eq!(driver, order);
    assert_eq!(ElementType::for_data("f8e4m3"), Some(ElementType::U8));
    assert_eq!(ElementType::for_data("s16"), Some(ElementType::U16));
    assert_eq!(ElementType::for_data("f128"), None);
    assert!((13..16).all(|code| ElementType::from_driver(code).unwrap_err().is_unsupported()));
    assert_eq!(ElementType::from_driver(16), Err(TensorMapError::Code { field: "tensorDataType", code: 16 }));
    assert_eq!(ElementType::Bf16.isa_code(), 0xa);
    for mode in Swizzle::ALL {
        assert_eq!(Swizzle::from_name(mode.name()), Some(*mode));
        let (code, atomicity) = mode.isa_codes();
        assert_eq!(Swizzle::from_isa_codes(code, atomicity), Some(*mode));
    }
    assert_eq!(Swizzle::from_driver_code(4), Some(Swizzle::B128Atom32));
    assert_eq!(Swizzle::from_driver_code(7), None);
    assert_eq!(Swizzle::from_isa_codes(2, 1), None);
    assert_eq!(Interleave::from_name("16B"), Some(Interleave::B16));
    assert_eq!(L2Promotion::from_name("256B"), Some(L2Promotion::B256));
    assert_eq!(OobFill::from_name("nan"), Some(OobFill::Nan));
    for field in Field::ALL {
        assert_eq!(Field::from_name(field.name()), Some(*field));
    }
}

#[test]
fn bytes_that_are_no_map() {
    let bytes = TensorMap::encode(&spec()).unwrap().to_bytes();
    assert_eq!(TensorMap::from_bytes(&[1; 128]), Err(TensorMapError::Foreign));
    assert_eq!(TensorMap::from_bytes(&[0; 128]), Ok(TensorMap::default()), "fields are still to be replaced");
    let mut other = bytes;
    other[7] = 2;
    assert_eq!(TensorMap::from_bytes(&other), Err(TensorMapError::Version { version: 2, expected: 1 }));
    for at in 8..128 {
        let mut other = bytes;
        other[at] ^= 0x10;
        assert_eq!(TensorMap::from_bytes(&other), Err(TensorMapError::Checksum), "{at}");
    }
    assert!(TensorMap::check_address(0x40).is_ok());
    assert_eq!(TensorMap::check_address(0x20), Err(TensorMapError::MapAddress { address: 0x20 }));
}

#[test]
fn edits_one_by_one() {
    // As a device-side descriptor is made: every field of a map is written over.
    let mut map = TensorMap::encode(&spec()).unwrap();
    let edits = [
        (Field::GlobalAddress, 0, 0x7f00_0000_2000),
        (Field::Rank, 0, 1),
        (Field::BoxDim, 0, 32),
        (Field::BoxDim, 1, 64),
        (Field::GlobalDim, 0, 1000),
        (Field::GlobalDim, 1, 77),
        (Field::GlobalStride, 0, 4096),
        (Field::ElementStride, 0, 1),
        (Field::ElementStride, 1, 1),
        (Field::ElementType, 0, 7),
        (Field::InterleaveLayout, 0, 0),
        (Field::SwizzleMode, 0, 3),
        (Field::SwizzleAtomicity, 0, 1),
        (Field::FillMode, 0, 1),
    ];
    for (field, ordinal, value) in edits {
        map.replace(field, ordinal, value).unwrap();
        map = TensorMap::from_bytes(&map.to_bytes()).unwrap();
    }
    let mut expected =
        TileSpec::new(ElementType::F32, 0x7f00_0000_2000, &[1000, 77], &[4096], &[32, 64], &[1, 1]).unwrap();
    (expected.swizzle, expected.fill) = (Swizzle::B128Atom32, OobFill::Nan);
    assert_eq!(map.decode(), Ok(expected));

    let mut edited = |field, ordinal, value| {
        let before = map;
        map.replace(field, ordinal, value).unwrap();
        let result = TensorMap::from_bytes(&map.to_bytes()).unwrap().decode();
        map = before;
        result.unwrap_err().to_string()
    };
    assert_eq!(edited(Field::Rank, 0, 5), "tensorRank is 6: it must be in 1..=5");
    assert_eq!(edited(Field::Rank, 0, 1000), "tensorRank is 256: it must be in 1..=5");
    assert_eq!(edited(Field::BoxDim, 1, 1 << 20), "boxDim[1] is 1048576: it must be in 1..=256");
    assert!(edited(Field::GlobalStride, 0, 24).contains("multiple of 16"));
    assert_eq!(edited(Field::ElementStride, 1, 300), "elementStrides[1] is 255: it must be in 1..=8");
    assert_eq!(edited(Field::ElementType, 0, 16), "elemtype has code 16, which stands for nothing");
    assert!(edited(Field::ElementType, 0, 14).starts_with("not supported"));
    assert_eq!(
        edited(Field::InterleaveLayout, 0, 3),
        "interleave_layout has code 3, which stands for nothing"
    );
    assert_eq!(edited(Field::SwizzleMode, 0, 2), "swizzle mode 2 does not exist with swizzle atomicity 1");
    assert_eq!(edited(Field::FillMode, 0, 2), "fill_mode has code 2, which stands for nothing");
    assert!(edited(Field::GlobalAddress, 0, 4).contains("multiple of 16"));
    assert_eq!(
        map.replace(Field::GlobalStride, 4, 16).unwrap_err().to_string(),
        "tensormap.replace of global_stride with ordinal 4: it must be at most 3"
    );
    assert!(map.replace(Field::BoxDim, 5, 16).is_err());
    assert!(map.replace_address(8).is_err());
    map.replace_address(0x7f00_0000_4000).unwrap();
    assert_eq!(map.decode().unwrap().address, 0x7f00_0000_4000);
}

/// The atoms of the spans of 8 rows of 128 bytes, as the tables of the PTX ISA (5.5.7) give them: entry [row][atom] is
/// the atom of the unpermuted row that is stored there.
fn table(swizzle: Swizzle, atom: u32) -> Vec<Vec<u32>> {
    let atoms = 128 / atom;
    let mut table = vec![vec![u32::MAX; atoms as usize]; 8];
    for row in 0..8 {
        for column in 0..atoms {
            let to = swizzle.apply(row * 128 + column * atom);
            assert_eq!(to / 128, row, "a swizzle stays within 128 bytes");
            table[row as usize][(to % 128 / atom) as usize] = column;
        }
    }
    table
}

#[test]
fn swizzle_tables() {
    let rows = |text: &str| -> Vec<Vec<u32>> {
        text.split('/').map(|row| row.bytes().map(|digit| u32::from(digit - b'0')).collect()).collect()
    };
    assert_eq!(
        table(Swizzle::B128, 16),
        rows("01234567/10325476/23016745/32107654/45670123/54761032/67452301/76543210")
    );
    assert_eq!(
        table(Swizzle::B64, 16),
        rows("01234567/10325476/23016745/32107654/01234567/10325476/23016745/32107654")
    );
    assert_eq!(
        table(Swizzle::B32, 16),
        rows("01234567/10325476/01234567/10325476/01234567/10325476/01234567/10325476")
    );
    assert_eq!(table(Swizzle::B96, 16), table(Swizzle::B32, 16));
    assert_eq!(table(Swizzle::B128Atom32, 32), rows("0123/1032/2301/3210/0123/1032/2301/3210"));
    assert_eq!(table(Swizzle::B128Atom64, 64), rows("01/10/01/10/01/10/01/10"));
    assert_eq!(table(Swizzle::B128Atom32Flip8, 8)[0], (0..16).collect::<Vec<_>>());
    assert_eq!(table(Swizzle::B128Atom32Flip8, 8)[1], [5, 4, 7, 6, 1, 0, 3, 2, 13, 12, 15, 14, 9, 8, 11, 10]);
    for swizzle in Swizzle::ALL {
        let image: BTreeSet<u32> = (0..2048).map(|address| swizzle.apply(address)).collect();
        assert_eq!(image, (0..2048).collect(), "{} is a permutation", swizzle.name());
        for address in 0..2048 {
            assert_eq!(
                swizzle.apply(swizzle.apply(address)),
                address,
                "{} is its own inverse",
                swizzle.name()
            );
            let unit = swizzle.unit().min(2048);
            assert_eq!(swizzle.apply(address) % unit, address % unit);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn encoding_survives_its_bytes(
        element in 0..13u32,
        address in 0..1u64 << 40,
        dims in prop::collection::vec(1..=1u64 << 32, 1..=5),
        strides in prop::array::uniform4(0..1u64 << 36),
        boxes in prop::array::uniform5(1..=256u32),
        steps in prop::array::uniform5(1..=8u32),
        swizzle in 0..7u32,
        l2 in 0..4u32,
        nan in any::<bool>(),
    ) {
        let element = ElementType::from_isa_code(element).unwrap();
        let rank = dims.len();
        let strides: Vec<u64> = strides.iter().map(|stride| 16 * stride).collect();
        let mut spec =
            TileSpec::new(element, 16 * address, &dims, &strides[..rank - 1], &boxes[..rank], &steps[..rank]).unwrap();
        spec.swizzle = Swizzle::from_driver_code(swizzle).unwrap();
        spec.l2_promotion = L2Promotion::from_isa_code(l2).unwrap();
        spec.fill = if nan { OobFill::Nan } else { OobFill::Zero };
        let row = spec.box_dims[0] * element.bytes();
        let valid = row.is_multiple_of(16)
            && (spec.swizzle == Swizzle::None || row <= spec.swizzle.span())
            && (!nan || element.is_float());
        match TensorMap::encode(&spec) {
            Ok(map) => {
                prop_assert!(valid);
                prop_assert_eq!(TensorMap::from_bytes(&map.to_bytes()).unwrap(), map);
                prop_assert_eq!(map.decode().unwrap(), spec);
            }
            Err(_) => prop_assert!(!valid),
        }
    }

    #[test]
    fn any_bytes_and_edits_are_safe(
        bytes in prop::collection::vec(any::<u8>(), 128),
        edits in prop::collection::vec((0..11usize, 0..8u32, any::<u64>()), 0..8),
    ) {
        let _ = TensorMap::from_bytes(&bytes.try_into().unwrap());
        let mut map = TensorMap::encode(&spec()).unwrap();
        for (field, ordinal, value) in edits {
            let _ = map.replace(Field::ALL[field], ordinal, value);
        }
        if let Ok(spec) = TensorMap::from_bytes(&map.to_bytes()).unwrap().decode() {
            let _ = (spec.box_bytes(), spec.shared_bytes());
        }
    }
}
