//! Global memory against a naive model of bytes, every error, and atomics on two threads.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::memory::{DEFINED, DeviceMemory, LANES, LaneError, Loaded, SHARED_WINDOW_BASE};

const ALL: u32 = u32::MAX;

fn lanes(step: u64) -> [u64; LANES] {
    std::array::from_fn(|lane| lane as u64 * step)
}

#[test]
fn allocations_are_aligned_apart_and_by_device() {
    let mut memory = GlobalMemory::new();
    let a = memory.allocate(0, "a", 5).unwrap();
    let b = memory.allocate(0, "b", 0).unwrap();
    let c = memory.allocate(3, "c", 4096).unwrap();
    assert_eq!(a, GLOBAL_BASE);
    assert_eq!(b, GLOBAL_BASE + 1024);
    assert_eq!(c, GLOBAL_BASE + (3 << DEVICE_SHIFT));
    assert_eq!(memory.locate(a + 4).unwrap().name().as_ref(), "a");
    assert_eq!(memory.locate(c + 4095).unwrap().device(), 3);
    assert!(memory.locate(b).is_err());
    assert_eq!(memory.allocations().count(), 3);
    assert_eq!(memory.allocate(16, "x", 1), Err(MemoryError::UnknownDevice { device: 16 }));
}

#[test]
fn address_space_is_reused_when_it_ends() {
    let mut memory = GlobalMemory::new();
    // Zeroed pages are never touched, so large allocations cost nothing.
    let large = 20 << 30;
    let a = memory.allocate_zeroed(1, "a", large).unwrap();
    let b = memory.allocate_zeroed(1, "b", large).unwrap();
    let c = memory.allocate_zeroed(1, "c", large).unwrap();
    assert!(matches!(memory.allocate_zeroed(1, "d", large), Err(MemoryError::OutOfMemory { .. })));
    memory.free(b).unwrap();
    assert!(matches!(memory.locate(b + 7), Err(MemoryError::Freed { offset: 7, .. })));
    assert_eq!(memory.allocate_zeroed(1, "d", large).unwrap(), b);
    assert_eq!(memory.locate(b + 7).unwrap().name().as_ref(), "d");
    assert!(a < b && b < c);
    memory.free(a).unwrap();
    memory.free(b).unwrap();
    memory.free(c).unwrap();
    assert_eq!(memory.allocate_zeroed(1, "e", 8).unwrap() % GRANULE, 0);
}

#[test]
fn budget() {
    let mut memory = GlobalMemory::with_budget(100);
    let a = memory.allocate(0, "a", 60).unwrap();
    let error = memory.allocate(0, "b", 41).unwrap_err();
    assert!(error.is_limit());
    assert_eq!(error.to_string(), "41 bytes for buffer `b`: 40 bytes are left");
    memory.free(a).unwrap();
    memory.allocate(0, "b", 100).unwrap();
}

#[test]
fn errors_name_the_buffer() {
    let mut memory = GlobalMemory::new();
    let out = memory.allocate(0, "out", 4096).unwrap();
    let gone = memory.allocate(0, "gone", 64).unwrap();
    memory.free(gone).unwrap();
    assert!(matches!(memory.free(out + 8), Err(MemoryError::NotABase { offset: 8, .. })));
    let view = memory.device(0);
    let text = |result: Result<Loaded, MemoryError>| result.unwrap_err().to_string();
    assert_eq!(
        text(view.load(out + 4096, 4)),
        "access at offset 4096 of 4 bytes is beyond the end of buffer `out` of 4096 bytes"
    );
    let mut bytes = [0; 4];
    assert_eq!(
        memory.read(out + 4094, &mut bytes).unwrap_err().to_string(),
        "access at offset 4094 of 4 bytes is beyond the end of buffer `out` of 4096 bytes"
    );
    assert!(
        text(view.load(gone + 8, 4)).ends_with("at offset 8 of buffer `gone` of 64 bytes, which was freed")
    );
    assert!(text(view.load(out + (1 << 30), 4)).contains("bytes behind the end of buffer `out`"));
    assert!(text(view.load(GLOBAL_BASE + (5 << DEVICE_SHIFT), 4)).contains("in no allocation"));
    assert!(text(view.load(out + 2, 4)).contains("no multiple of 4"));
    assert!(text(view.load(SHARED_WINDOW_BASE + 4, 4)).contains("is in shared memory, not in global memory"));
    assert!(text(view.load(0, 4)).contains("no state space"));
    assert!(text(view.load(out, 3)).contains("an access of 3 bytes"));
    assert!(matches!(
        GlobalMemory::new().locate(GLOBAL_BASE),
        Err(MemoryError::Unallocated { nearest: None, .. })
    ));
}

#[test]
fn constants_and_peers() {
    let mut memory = GlobalMemory::new();
    let constant = memory.allocate_zeroed(0, "constant", 256).unwrap();
    memory.set_read_only(constant, true).unwrap();
    memory.write(constant, &[1, 2, 3, 4]).unwrap();
    let view = memory.device(0);
    assert_eq!(view.load(constant, 4).unwrap().low(), 0x0403_0201);
    assert_eq!(
        view.store(constant + 8, 4, 0, 0xf, 0),
        Err(MemoryError::ReadOnly { buffer: "constant".into(), offset: 8 })
    );
    let values = [0u32; LANES];
    let error = view.store_lanes::<4, u32>(&lanes(4), constant, ALL, &values, ALL, 0).unwrap_err();
    assert_eq!(
        (error.lane, error.to_string()),
        (0, "write at offset 0 of the read-only buffer `constant`".into())
    );
    assert!(view.fetch_update(constant, 4, 0, |old| old, |old| old).is_err());
    assert!(view.write_range(constant, &[0], &[DEFINED], 0).is_err());

    let other = memory.device(1);
    assert_eq!(
        other.load(constant, 4),
        Err(MemoryError::NotMapped { buffer: "constant".into(), owner: 0, device: 1 })
    );
    let mut out = [0u32; LANES];
    assert!(other.load_lanes::<4, u32>(&lanes(4), constant, ALL, &mut out).is_err());
    memory.map_peer(constant, 1, true).unwrap();
    assert!(memory.device(1).load(constant, 4).is_ok());
    memory.map_peer(constant, 1, false).unwrap();
    memory.map_peer(constant, 0, false).unwrap();
    assert!(memory.device(1).load(constant, 4).is_err());
    assert!(memory.device(0).load(constant, 4).is_ok());
}

#[test]
fn undefined_writes_name_their_instruction() {
    let mut memory = GlobalMemory::new();
    let a = memory.allocate_zeroed(0, "a", 64).unwrap();
    let b = memory.allocate(0, "b", 256).unwrap();
    assert!(memory.undefined_writes().is_empty(), "nothing was written to b");
    let view = memory.device(0);
    view.store(a + 4, 4, 1, 0xf, 10).unwrap();
    view.store(a + 8, 8, 1, 0x0f, 11).unwrap();
    view.store(a + 16, 16, 1, 0xfffe, 11).unwrap();
    view.store(a + 32, 4, 1, 0, 12).unwrap();
    view.store(a + 32, 2, 1, 0x3, 13).unwrap();
    view.store_lanes::<4, u32>(&lanes(4), b, ALL, &[0; LANES], !0x6, 20).unwrap();
    let found: Vec<_> = memory
        .undefined_writes()
        .into_iter()
        .map(|write| {
            assert_eq!(write.address - write.offset, if write.allocation.as_ref() == "a" { a } else { b });
            (write.allocation.to_string(), write.offset, write.len, write.origin)
        })
        .collect();
    let expected = [("a", 12, 5, 11), ("a", 34, 2, 12), ("b", 4, 8, 20)];
    assert_eq!(found, expected.map(|(name, offset, len, line)| (name.to_owned(), offset, len, line)));
    assert!(!memory.locate(a).unwrap().is_fully_defined());
    memory.fill(a, 64, 0).unwrap();
    memory.settle();
    assert!(memory.locate(a).unwrap().is_fully_defined() && !memory.locate(b).unwrap().is_fully_defined());
    assert_eq!(memory.undefined_writes().len(), 1);
}

#[test]
fn origins_beyond_the_limit_are_the_lowest() {
    let mut memory = GlobalMemory::new();
    let words = (1 << 16) + 8;
    let a = memory.allocate_zeroed(0, "a", 8 * words).unwrap();
    let view = memory.device(0);
    for word in (0..words).rev() {
        view.store(a + 8 * word, 8, 0, 0, 7).unwrap();
    }
    let found: Vec<_> =
        memory.undefined_writes().iter().map(|write| (write.offset, write.len, write.origin)).collect();
    assert_eq!(found, [(0, 8 << 16, 7), (8 << 16, 64, 0)]);
}

#[test]
fn a_uniform_load_and_vector_stores() {
    let mut memory = GlobalMemory::new();
    let a = memory.allocate(0, "a", 32 * 32).unwrap();
    let view = memory.device(0);
    let components: [[u32; LANES]; 4] =
        std::array::from_fn(|component| std::array::from_fn(|lane| (lane * 16 + component) as u32));
    let values = components.each_ref();
    view.store_vector::<4, u32>(&lanes(16), a, ALL, &values, &[ALL, ALL, !2, ALL], 5).unwrap();
    let mut out = [0u32; LANES];
    for component in 0..4 {
        let defined = view.load_lanes::<4, u32>(&lanes(16), a + 4 * component, ALL, &mut out).unwrap();
        assert_eq!(defined, if component == 2 { !2 } else { ALL });
        assert_eq!(out, components[component as usize]);
    }
    assert_eq!(view.load_lanes::<4, u32>(&[a; LANES], 16, ALL, &mut out), Ok(ALL));
    assert_eq!(out, [16; LANES]);
    assert_eq!(view.load_lanes::<4, u32>(&[a; LANES], 24, ALL, &mut out), Ok(0));
    assert_eq!(view.load_lanes::<4, u32>(&[0; LANES], 0, 0, &mut out), Ok(0));
    let halves = [[0x1234u32; LANES], [0xabcd; LANES]];
    view.store_vector::<2, u32>(&lanes(4), a, 0b10, &halves.each_ref(), &[ALL, ALL], 0).unwrap();
    assert_eq!(view.load(a + 4, 4).unwrap(), Loaded { bits: 0xabcd_1234, defined: 0xf });
    let wide = [[1u64; LANES], [2; LANES], [3; LANES], [4; LANES]];
    view.store_vector::<8, u64>(&lanes(32), a, ALL, &wide.each_ref(), &[ALL; 4], 0).unwrap();
    assert_eq!(view.load(a + 32 * 31 + 16, 16).unwrap().bits, 4 << 64 | 3);
    let error =
        view.store_vector::<8, u64>(&lanes(32), a + 16, ALL, &wide.each_ref(), &[ALL; 4], 0).unwrap_err();
    assert!(error.lane == 0 && error.error.is_alignment());
    let error =
        view.store_vector::<8, u64>(&lanes(32), a + 32, ALL, &wide.each_ref(), &[ALL; 4], 0).unwrap_err();
    assert_eq!(error.lane, 31);
    assert!(view.store_vector::<4, u32>(&lanes(16), a, ALL, &values[..3], &[ALL; 3], 0).is_err());
}

#[test]
fn atomics_on_two_threads_lose_nothing() {
    let mut memory = GlobalMemory::new();
    let a = memory.allocate_zeroed(0, "a", 64).unwrap();
    const ROUNDS: u64 = 20_000;
    std::thread::scope(|scope| {
        for thread in 0..2u64 {
            let view = memory.device(0);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    // Two counters in one word, one of 8 bytes, one of 16, and a store beside a counter.
                    view.fetch_update(a, 4, 0, |old| old + 1, |old| old).unwrap();
                    view.fetch_update(a + 4, 2, 0, |old| old + 1, |old| old).unwrap();
                    view.fetch_update(a + 8, 8, 0, |old| old + 3, |old| old).unwrap();
                    view.fetch_update_wide(a + 16, 0, |old| old + (1 << 64) + 1, |old| old).unwrap();
                    view.store(a + 6 + thread, 1, u128::from(round as u8), 1, 0).unwrap();
                    let wide = view.load(a + 16, 16).unwrap().bits;
                    assert_eq!(wide >> 64, wide & u128::from(u64::MAX), "a torn load");
                }
            });
        }
    });
    let view = memory.device(0);
    assert_eq!(view.load(a, 4).unwrap().low(), 2 * ROUNDS);
    assert_eq!(view.load(a + 4, 2).unwrap().low(), (2 * ROUNDS) & 0xffff);
    assert_eq!(view.load(a + 8, 8).unwrap().low(), 6 * ROUNDS);
    assert_eq!(view.load(a + 16, 8).unwrap().low(), 2 * ROUNDS);
    let last = (ROUNDS - 1) as u8;
    assert_eq!(view.load(a + 6, 2).unwrap().low(), u64::from(u16::from_le_bytes([last, last])));
}

#[test]
fn a_store_beside_a_counter_loses_nothing() {
    let mut memory = GlobalMemory::new();
    let a = memory.allocate_zeroed(0, "a", 8).unwrap();
    let view = memory.device(0);
    const ROUNDS: u64 = 100_000;
    let start = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            (0..ROUNDS).for_each(|_| {
                view.fetch_update(a, 4, 0, |old| old + 1, |old| old).unwrap();
            });
        });
        scope.spawn(|| {
            start.wait();
            (0..ROUNDS).for_each(|round| view.store(a + 4, 2, round.into(), 3, 0).unwrap());
        });
    });
    assert_eq!(view.load(a, 4).unwrap().low(), ROUNDS);
    assert_eq!(view.load(a + 4, 2).unwrap().low(), (ROUNDS - 1) & 0xffff);
}

#[test]
fn atomics_carry_definedness() {
    let mut memory = GlobalMemory::new();
    let a = memory.allocate(0, "a", 64).unwrap();
    let view = memory.device(0);
    // An addition to an undefined value is undefined, an exchange defines it.
    assert_eq!(view.fetch_update(a, 4, 1, |old| old + 1, |old| old).unwrap().defined, 0);
    assert!(!view.load(a, 4).unwrap().is_defined(4));
    assert_eq!(view.fetch_update(a, 4, 1, |_| 7, |_| true).unwrap().defined, 0);
    let old = view.fetch_update(a, 4, 1, |old| old * 2, |old| old).unwrap();
    assert_eq!((old.low(), old.is_defined(4)), (7, true));
    assert_eq!(view.load(a, 4).unwrap(), Loaded { bits: 14, defined: 0xf });
    assert!(!view.fetch_update_wide(a + 16, 1, |_| 5, |_| true).unwrap().is_defined(16));
    assert_eq!(
        view.fetch_update_wide(a + 16, 1, |_| 6, |old| old).unwrap(),
        Loaded { bits: 5, defined: 0xffff }
    );
    assert!(view.fetch_update(a, 16, 1, |old| old, |old| old).is_err());
}

/// One access of the model test.
#[derive(Debug, Clone)]
enum Step {
    Load { at: u64, width: usize, stride: u64, mask: u32 },
    Store { at: u64, width: usize, stride: u64, mask: u32, seed: u64, defined: u32 },
    Read { at: u64, len: usize },
    Write { at: u64, len: usize, seed: u64 },
    Fill { at: u64, len: u64 },
    Poison { at: u64, len: u64 },
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let access = || {
        let mask = prop_oneof![Just(ALL), any::<u32>()];
        (0u64..700, 0usize..4, prop_oneof![Just(0u64), Just(1), 2..5u64], mask)
    };
    prop_oneof![
        4 => access().prop_map(|(at, width, stride, mask)| Step::Load { at, width, stride, mask }),
        6 => (access(), any::<u64>(), prop_oneof![Just(ALL), any::<u32>()]).prop_map(
            |((at, width, stride, mask), seed, defined)| Step::Store { at, width, stride, mask, seed, defined }
        ),
        2 => (0u64..1200, 0usize..100).prop_map(|(at, len)| Step::Read { at, len }),
        2 => (0u64..1200, 0usize..100, any::<u64>()).prop_map(|(at, len, seed)| Step::Write { at, len, seed }),
        1 => (0u64..1200, 0u64..900).prop_map(|(at, len)| Step::Fill { at, len }),
        1 => (0u64..1200, 0u64..100).prop_map(|(at, len)| Step::Poison { at, len }),
        1 => Just(Step::Settle),
    ]
}

/// Bytes, whether they are defined, and who wrote those that are not.
struct Model {
    bytes: Vec<u8>,
    defined: Vec<bool>,
    written_by: BTreeMap<u64, u32>,
}

impl Model {
    fn store(&mut self, at: u64, bytes: &[u8], defined: bool, origin: u32) {
        for (index, byte) in bytes.iter().enumerate() {
            let at = at + index as u64;
            self.bytes[at as usize] = *byte;
            self.defined[at as usize] = defined;
            self.written_by.remove(&at);
            if !defined {
                self.written_by.insert(at, origin);
            }
        }
    }
}

fn load_any(
    view: DeviceMemory<'_>,
    width: usize,
    addresses: &[u64; LANES],
    mask: u32,
    out: &mut [u64; LANES],
) -> Result<u32, Box<LaneError>> {
    match width {
        1 => view.load_lanes::<1, u64>(addresses, 0, mask, out),
        2 => view.load_lanes::<2, u64>(addresses, 0, mask, out),
        4 => view.load_lanes::<4, u64>(addresses, 0, mask, out),
        _ => view.load_lanes::<8, u64>(addresses, 0, mask, out),
    }
}

fn store_any(
    view: DeviceMemory<'_>,
    width: usize,
    addresses: &[u64; LANES],
    mask: u32,
    values: &[u64; LANES],
    defined: u32,
    origin: u32,
) -> Result<(), Box<LaneError>> {
    match width {
        1 => view.store_lanes::<1, u64>(addresses, 0, mask, values, defined, origin),
        2 => view.store_lanes::<2, u64>(addresses, 0, mask, values, defined, origin),
        4 => view.store_lanes::<4, u64>(addresses, 0, mask, values, defined, origin),
        _ => view.store_lanes::<8, u64>(addresses, 0, mask, values, defined, origin),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn accesses_against_a_model_of_bytes(
        size in 900u64..1200,
        zeroed in any::<bool>(),
        concurrent in any::<bool>(),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut memory = GlobalMemory::new();
        memory.set_concurrent(concurrent);
        let base = if zeroed { memory.allocate_zeroed(0, "m", size) } else { memory.allocate(0, "m", size) }.unwrap();
        let view = memory.device(0);
        let mut model =
            Model { bytes: vec![0; size as usize], defined: vec![zeroed; size as usize], written_by: BTreeMap::new() };
        memory.read(base, &mut model.bytes).unwrap();
        for (line, step) in steps.into_iter().enumerate() {
            let line = line as u32 + 1;
            match step {
                Step::Load { at, width, stride, mask } => {
                    let width = 1 << width;
                    let at = at / width * width;
                    let addresses = std::array::from_fn(|lane| base + at + lane as u64 * stride * width);
                    let mut out = [u64::MAX; LANES];
                    let result = load_any(view, width as usize, &addresses, mask, &mut out);
                    let wrong = (0..LANES).find(|lane| {
                        mask >> lane & 1 == 1 && addresses[*lane] - base + width > size
                    });
                    match (result, wrong) {
                        (Err(error), Some(lane)) => prop_assert_eq!(error.lane as usize, lane),
                        (Ok(defined), None) => for lane in 0..LANES {
                            if mask >> lane & 1 == 0 {
                                prop_assert_eq!((out[lane], defined >> lane & 1), (u64::MAX, 0));
                                continue;
                            }
                            let from = (addresses[lane] - base) as usize;
                            let range = from..from + width as usize;
                            let mut bytes = [0; 8];
                            bytes[..width as usize].copy_from_slice(&model.bytes[range.clone()]);
                            prop_assert_eq!(out[lane], u64::from_le_bytes(bytes));
                            let all = model.defined[range].iter().all(|defined| *defined);
                            prop_assert_eq!(defined >> lane & 1 == 1, all);
                        },
                        (result, wrong) => prop_assert!(false, "{:?} {:?}", result, wrong),
                    }
                }
                Step::Store { at, width, stride, mask, seed, defined } => {
                    let width = 1 << width;
                    let at = at / width * width;
                    let addresses: [u64; LANES] =
                        std::array::from_fn(|lane| base + at + lane as u64 * stride * width);
                    let values = std::array::from_fn(|lane| seed.wrapping_mul(2 * lane as u64 + 1));
                    let result = store_any(view, width as usize, &addresses, mask, &values, defined, line);
                    let outside = |lane: &usize| mask >> lane & 1 == 1 && addresses[*lane] - base + width > size;
                    prop_assert_eq!(result.is_err(), (0..LANES).any(|lane| outside(&lane)));
                    if result.is_ok() {
                        for lane in (0..LANES).filter(|lane| mask >> lane & 1 == 1) {
                            let bytes = &values[lane].to_le_bytes()[..width as usize];
                            model.store(addresses[lane] - base, bytes, defined >> lane & 1 == 1, line);
                        }
                    }
                }
                Step::Read { at, len } => {
                    let (mut data, mut flags) = (vec![0; len], vec![1; len]);
                    let result = view.read_range(base + at, &mut data, &mut flags);
                    let range = at as usize..at as usize + len;
                    prop_assert_eq!(result.is_ok(), range.end <= size as usize);
                    if let Ok(all) = result {
                        prop_assert_eq!(&data, &model.bytes[range.clone()]);
                        let expected: Vec<u8> = model.defined[range].iter().map(|d| if *d { DEFINED } else { 0 }).collect();
                        prop_assert_eq!(all, expected.iter().all(|flag| *flag != 0));
                        prop_assert_eq!(all, memory.is_defined(base + at, len as u64).unwrap());
                        prop_assert_eq!(flags, expected);
                    }
                }
                Step::Write { at, len, seed } => {
                    let data: Vec<u8> = (0..len).map(|index| (seed >> (index % 57)) as u8).collect();
                    let flags: Vec<u8> = (0..len).map(|index| if seed >> (index % 61) & 1 == 0 { 0 } else { DEFINED }).collect();
                    let result = view.write_range(base + at, &data, &flags, line);
                    prop_assert_eq!(result.is_ok(), at as usize + len <= size as usize);
                    if result.is_ok() {
                        for index in 0..len {
                            model.store(at + index as u64, &data[index..=index], flags[index] != 0, line);
                        }
                    }
                }
                Step::Fill { at, len } => {
                    let result = memory.fill(base + at, len, 0x5a);
                    prop_assert_eq!(result.is_ok(), at + len <= size);
                    if result.is_ok() {
                        model.store(at, &vec![0x5a; len as usize], true, 0);
                    }
                }
                Step::Poison { at, len } => {
                    if memory.poison(base + at, len).is_ok() {
                        let mut data = vec![0; len as usize];
                        memory.read(base + at, &mut data).unwrap();
                        model.store(at, &data, false, 0);
                        (at..at + len).for_each(|at| { model.written_by.remove(&at); });
                    }
                }
                Step::Settle => memory.settle(),
            }
        }
        let mut bytes = vec![0; size as usize];
        memory.read(base, &mut bytes).unwrap();
        prop_assert_eq!(bytes, model.bytes);
        let found: Vec<u64> =
            memory.undefined_writes().iter().flat_map(|write| write.offset..write.offset + write.len).collect();
        prop_assert_eq!(found, model.written_by.keys().copied().collect::<Vec<_>>());
    }
}
