//! Shared memory against a naive model of bytes, its bounds, and the times of writing.

use proptest::prelude::*;

use super::*;

const ALL: u32 = u32::MAX;

fn lanes(step: u32) -> [u32; LANES] {
    std::array::from_fn(|lane| lane as u32 * step)
}

#[test]
fn addresses_carry_the_rank() {
    let mut memory = SharedMemory::new(2, 100, 28);
    assert_eq!(
        (memory.base(), memory.size(), memory.static_size(), memory.rank()),
        (0x0200_0400, 128, 100, 2)
    );
    memory.store(memory.base() + 4, 4, 0x0102_0304, 0xf).unwrap();
    assert_eq!(memory.load(0x0200_0404, 4), Ok(Loaded { bits: 0x0102_0304, defined: 0xf }));
    let text = |address, bytes| memory.load(address, bytes).unwrap_err().to_string();
    assert_eq!(
        text(0x0200_0480, 4),
        "access at shared address 0x2000480 of 4 bytes is beyond the 128 bytes of the CTA's shared memory"
    );
    assert!(text(0x0200_03fc, 4).contains("is below the 128 bytes"));
    assert!(text(0x0300_0404, 4).contains("is of CTA 3 of the cluster, and this is CTA 2"));
    assert!(text(0x0200_0406, 4).contains("no multiple of 4"));
    assert!(memory.load(0x0200_0400, 5).is_err());
    assert!(memory.load(0x0200_0478, 16).is_err());
    assert!(memory.load(0x0200_0470, 16).is_ok());
    let addresses = std::array::from_fn(|lane| (lane as u32 % 3) << 24 | 0x400);
    assert_eq!(lanes_of_rank(&addresses, 8, 0xff, 1), 0b1001_0010);
}

#[test]
fn everything_is_undefined_until_written() {
    let mut memory = SharedMemory::new(0, 0, 256);
    let mut out = [0u32; LANES];
    let base = memory.base();
    assert_eq!(memory.load_lanes::<4, u32>(&lanes(4), base, ALL, &mut out), Ok(0));
    assert!(out.iter().all(|bits| f32::from_bits(*bits).is_nan()));
    memory.store_lanes::<4, u32>(&lanes(4), base, ALL, &[9; LANES], !4).unwrap();
    assert_eq!(memory.load_lanes::<4, u32>(&lanes(4), base, ALL, &mut out), Ok(!4));
    assert_eq!(out, [9; LANES]);
    memory.fill_defined(base, 256, 1).unwrap();
    assert_eq!(memory.load_lanes::<8, u32>(&lanes(8), base, ALL, &mut out), Ok(ALL));
    memory.reset(1);
    assert!(memory.load(base, 4).is_err());
    assert_eq!(memory.load(base | 1 << 24, 4).unwrap().defined, 0);
}

#[test]
fn updates_carry_definedness() {
    let mut memory = SharedMemory::new(0, 0, 64);
    let base = memory.base();
    assert!(!memory.fetch_update(base, 4, |_| 5, |_| true).unwrap().is_defined(4));
    let old = memory.fetch_update(base, 4, |old| old + 1, |old| old).unwrap();
    assert_eq!((old.low(), old.is_defined(4)), (5, true));
    memory.fetch_update(base, 16, |old| old, |old| old).unwrap();
    assert_eq!(memory.load(base, 4).unwrap(), Loaded { bits: 6, defined: 0 });
}

#[test]
fn times_of_writing() {
    let mut memory = SharedMemory::new(0, 0, 4096);
    let base = memory.base();
    let stamp = memory.clock();
    assert!(memory.generation(base, 4096) <= stamp);
    memory.store(base + 1020, 4, 0, 0xf).unwrap();
    assert!(memory.generation(base, 16) > stamp && memory.generation(base + 1024, 2048) <= stamp);
    let stamp = memory.clock();
    memory.write_range(base + 2000, &[1; 100], &[DEFINED; 100]).unwrap();
    assert!(memory.generation(base + 1024, 1) > stamp && memory.generation(base + 2048, 1) > stamp);
    assert!(memory.generation(base + 3072, 1024) <= stamp && memory.generation(base, 1024) <= stamp);
    let stamp = memory.clock();
    memory.store_lanes::<4, u32>(&lanes(64), base, 0x8000_0000, &[0; LANES], ALL).unwrap();
    assert!(memory.generation(base + 1024, 1024) > stamp && memory.generation(base, 1024) <= stamp);
    let stamp = memory.clock();
    memory.reset(0);
    assert!(memory.generation(base + 3072, 1) > stamp);
    let _ = memory.generation(0, u32::MAX);
}

fn load_any(
    memory: &SharedMemory,
    width: usize,
    addresses: &[u32; LANES],
    mask: u32,
    out: &mut [u64; LANES],
) -> Result<u32, Box<LaneError>> {
    let base = memory.base();
    match width {
        1 => memory.load_lanes::<1, u64>(addresses, base, mask, out),
        2 => memory.load_lanes::<2, u64>(addresses, base, mask, out),
        4 => memory.load_lanes::<4, u64>(addresses, base, mask, out),
        _ => memory.load_lanes::<8, u64>(addresses, base, mask, out),
    }
}

fn store_any(
    memory: &mut SharedMemory,
    width: usize,
    addresses: &[u32; LANES],
    mask: u32,
    values: &[u64; LANES],
    defined: u32,
) -> Result<(), Box<LaneError>> {
    let base = memory.base();
    match width {
        1 => memory.store_lanes::<1, u64>(addresses, base, mask, values, defined),
        2 => memory.store_lanes::<2, u64>(addresses, base, mask, values, defined),
        4 => memory.store_lanes::<4, u64>(addresses, base, mask, values, defined),
        _ => memory.store_lanes::<8, u64>(addresses, base, mask, values, defined),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn lanes_against_a_model_of_bytes(
        steps in prop::collection::vec(
            (
                any::<bool>(),
                0usize..4,
                prop_oneof![(0u32..40, prop_oneof![Just(0u32), Just(1), 2..9u32]).prop_map(|(at, step)| {
                    std::array::from_fn::<u32, LANES, _>(|lane| at + step * lane as u32)
                }), prop::array::uniform32(0u32..160)],
                prop_oneof![Just(ALL), any::<u32>()],
                any::<u64>(),
                prop_oneof![Just(ALL), any::<u32>()],
            ),
            1..40,
        ),
        odd in prop_oneof![9 => Just(0u32), 1 => 1..8u32],
    ) {
        const SIZE: u32 = 1024;
        let mut memory = SharedMemory::new(1, 24, SIZE - 24);
        let (mut bytes, mut defined) = (memory.range(memory.base(), SIZE).unwrap().0.to_vec(), vec![false; SIZE as usize]);
        for (store, width, units, mask, seed, lanes_defined) in steps {
            let width = 1u32 << width;
            let addresses = units.map(|unit| unit * width + odd);
            let wrong = (0..LANES).find(|lane| {
                mask >> lane & 1 == 1 && (addresses[*lane] + width > SIZE || addresses[*lane] % width != 0)
            });
            if store {
                let values = std::array::from_fn(|lane| seed.wrapping_mul(2 * lane as u64 + 1));
                match (store_any(&mut memory, width as usize, &addresses, mask, &values, lanes_defined), wrong) {
                    (Err(error), Some(lane)) => prop_assert_eq!(error.lane as usize, lane),
                    (Ok(()), None) => for lane in (0..LANES).filter(|lane| mask >> lane & 1 == 1) {
                        for (byte, value) in values[lane].to_le_bytes()[..width as usize].iter().enumerate() {
                            bytes[addresses[lane] as usize + byte] = *value;
                            defined[addresses[lane] as usize + byte] = lanes_defined >> lane & 1 == 1;
                        }
                    },
                    other => prop_assert!(false, "{:?}", other),
                }
            } else {
                let mut out = [u64::MAX; LANES];
                match (load_any(&memory, width as usize, &addresses, mask, &mut out), wrong) {
                    (Err(error), Some(lane)) => prop_assert_eq!(error.lane as usize, lane),
                    (Ok(found), None) => for lane in 0..LANES {
                        if mask >> lane & 1 == 0 {
                            prop_assert_eq!((out[lane], found >> lane & 1), (u64::MAX, 0));
                            continue;
                        }
                        let range = addresses[lane] as usize..(addresses[lane] + width) as usize;
                        let mut word = [0; 8];
                        word[..width as usize].copy_from_slice(&bytes[range.clone()]);
                        prop_assert_eq!(out[lane], u64::from_le_bytes(word));
                        prop_assert_eq!(found >> lane & 1 == 1, defined[range].iter().all(|defined| *defined));
                    },
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
        let (data, flags) = memory.range(memory.base(), SIZE).unwrap();
        prop_assert_eq!(data, &bytes[..]);
        prop_assert!(flags.iter().zip(&defined).all(|(flag, defined)| (*flag == DEFINED) == *defined));
    }
}
