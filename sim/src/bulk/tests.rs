//! Tensor copies against a model that moves one element at a time, plain copies, and what each check finds.

use proptest::prelude::*;

use super::*;
use crate::memory::GlobalMemory;

const SHARED_BYTES: u32 = 64 << 10;

/// Where a byte lies that would be at `address` without swizzle: the atom of its span, exclusive or the number of the
/// 128-byte row within what the pattern repeats after.
fn swizzled(swizzle: Swizzle, address: u32) -> u32 {
    let row = address / 128;
    let (span, atom, repeat) = match swizzle {
        Swizzle::None => return address,
        Swizzle::B32 => (32, 16, 2),
        Swizzle::B96 => (32, 16, 2),
        Swizzle::B64 => (64, 16, 4),
        Swizzle::B128 => (128, 16, 8),
        Swizzle::B128Atom32 | Swizzle::B128Atom32Flip8 => (128, 32, 4),
        Swizzle::B128Atom64 => (128, 64, 2),
    };
    let within = if swizzle == Swizzle::B128Atom32Flip8 && row % 2 == 1 {
        (address + 8) % 16 + address % atom / 16 * 16
    } else {
        address % atom
    };
    address / span * span + ((address % span / atom) ^ (row % repeat)) * atom + within
}

/// One element of a box: whether it is inside, its global address, and the shared address of each of its bytes.
struct Element {
    global: Option<u64>,
    shared: Vec<u32>,
}

fn elements(spec: &TileSpec, coordinates: &[i32], base: u32) -> Vec<Element> {
    let bytes = spec.element.bytes();
    let count = |dim: usize| {
        let step = if dim == 0 { 1 } else { spec.element_strides[dim] };
        (0..spec.box_dims[dim]).filter(|position| position % step == 0).count() as u32
    };
    let pitch = (count(0) * bytes).max(spec.swizzle.span());
    let total: u32 = (0..spec.rank).map(count).product();
    (0..total)
        .map(|number| {
            let (mut rest, mut inside, mut offset) = (number, true, 0i128);
            for (dim, start) in coordinates.iter().enumerate() {
                let position = rest % count(dim);
                rest /= count(dim);
                let step = if dim == 0 { 1 } else { spec.element_strides[dim] };
                let coordinate = i128::from(*start) + i128::from(position * step);
                inside &= coordinate >= 0 && coordinate < i128::from(spec.dims[dim]);
                offset +=
                    coordinate * i128::from(if dim == 0 { u64::from(bytes) } else { spec.strides[dim] });
            }
            let start = base + number / count(0) * pitch + number % count(0) * bytes;
            Element {
                global: inside.then(|| (i128::from(spec.address) + offset) as u64),
                shared: (start..start + bytes).map(|address| swizzled(spec.swizzle, address)).collect(),
            }
        })
        .collect()
}

/// What memory holds at a position, for a model that needs no state.
fn pattern_byte(seed: u64, address: u64) -> u8 {
    ((address ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

#[derive(Debug, Clone)]
struct Case {
    spec: TileSpec,
    coordinates: Vec<i32>,
    shared_offset: u32,
    seed: u64,
}

/// Any valid map of a small tensor, with coordinates around it.
fn case(stores: bool) -> impl Strategy<Value = Case> {
    let dims = prop::collection::vec(1..12u64, 1..=5);
    let start = if stores { 0..14i32 } else { -6..14 };
    (
        (0..ElementType::ALL.len(), dims, prop::array::uniform4(0..3u64), 0..Swizzle::ALL.len()),
        (1..=8u32, prop::array::uniform4(1..=4u32), prop::array::uniform4(1..=3u32)),
        (prop::array::uniform5(start), 0..16u32, any::<bool>(), any::<bool>(), any::<u64>()),
    )
        .prop_map(
            |(
                (element, dims, pads, swizzle),
                (units, boxes, steps),
                (starts, line, nan, broadcast, seed),
            )| {
                let (element, swizzle) = (ElementType::ALL[element], Swizzle::ALL[swizzle]);
                let swizzle = if stores_cannot(swizzle) && starts.iter().all(|start| *start >= 0) {
                    Swizzle::B128Atom32
                } else {
                    swizzle
                };
                let rank = dims.len();
                let mut strides = Vec::new();
                let mut span = dims[0] * u64::from(element.bytes());
                for dim in 1..rank {
                    span = span.next_multiple_of(16) + 16 * pads[dim - 1];
                    strides.push(if broadcast && dim == 2 { 0 } else { span });
                    span *= dims[dim];
                }
                let units =
                    if swizzle == Swizzle::None { units } else { 1 + (units - 1) % (swizzle.span() / 16) };
                let mut box_dims = vec![16 * units / element.bytes()];
                box_dims.extend_from_slice(&boxes[..rank - 1]);
                let mut element_strides = vec![1];
                element_strides.extend_from_slice(&steps[..rank - 1]);
                let mut spec =
                    TileSpec::new(element, 0, &dims, &strides, &box_dims, &element_strides).unwrap();
                spec.swizzle = swizzle;
                spec.fill = if nan && element.is_float() { OobFill::Nan } else { OobFill::Zero };
                Case { spec, coordinates: starts[..rank].to_vec(), shared_offset: 128 * line, seed }
            },
        )
}

/// The swizzle that only loads have.
fn stores_cannot(swizzle: Swizzle) -> bool {
    swizzle == Swizzle::B128Atom32Flip8
}

/// The bytes from the first to the last of a tensor.
fn tensor_bytes(spec: &TileSpec) -> u64 {
    (0..spec.rank).map(|dim| (spec.dims[dim] - 1) * spec.strides[dim]).sum::<u64>()
        + u64::from(spec.element.bytes())
}

/// Memories with the pattern in them, and the map's address set. Some bytes are undefined.
fn prepare(case: &mut Case) -> (GlobalMemory, SharedMemory) {
    let mut global = GlobalMemory::new();
    global.allocate_zeroed(0, "before", 100).unwrap();
    let bytes = tensor_bytes(&case.spec);
    case.spec.address = global.allocate(0, "tensor", bytes).unwrap();
    let seed = case.seed;
    let range = |from: u64, bytes: u64| from..from + bytes;
    let data: Vec<u8> = range(case.spec.address, bytes).map(|address| pattern_byte(seed, address)).collect();
    let flags: Vec<u8> = range(case.spec.address, bytes).map(|address| flag(seed, address)).collect();
    global.device(0).write_range(case.spec.address, &data, &flags, 0).unwrap();
    let mut shared = SharedMemory::new(1, 0, SHARED_BYTES);
    let base = shared.base();
    let data: Vec<u8> =
        (base..base + SHARED_BYTES).map(|address| pattern_byte(!seed, address.into())).collect();
    let flags: Vec<u8> = (base..base + SHARED_BYTES).map(|address| flag(!seed, address.into())).collect();
    shared.write_range(base, &data, &flags).unwrap();
    (global, shared)
}

fn flag(seed: u64, address: u64) -> u8 {
    if pattern_byte(seed ^ 0x55, address) < 8 { 0 } else { DEFINED }
}

fn tf32(bits: u32) -> u32 {
    let value = f32::from_bits(bits);
    if value.is_nan() {
        return 0x7fff_e000;
    }
    let (below, above) = (bits & !0x1fff, (bits & !0x1fff) + 0x2000);
    match (bits - below).cmp(&0x1000) {
        _ if value.is_infinite() => bits,
        std::cmp::Ordering::Less => below,
        std::cmp::Ordering::Greater => above,
        std::cmp::Ordering::Equal => {
            if below >> 13 & 1 == 0 {
                below
            } else {
                above
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn loads_move_each_element(mut case in case(false)) {
        let (global, mut shared) = prepare(&mut case);
        let Case { spec, coordinates, shared_offset, seed } = case;
        spec.check().unwrap();
        let base = shared.base();
        let before = shared.clone();
        let bytes = load_tile(&spec, &coordinates, global.device(0), &mut shared, base + shared_offset).unwrap();
        let moved = elements(&spec, &coordinates, base + shared_offset);
        prop_assert_eq!(bytes, spec.box_bytes());
        let inside = moved.iter().filter(|element| element.global.is_some()).count() as u32;
        prop_assert_eq!(inside_bytes(&spec, &coordinates), inside * spec.element.bytes());
        prop_assert_eq!(bytes as usize, moved.iter().map(|element| element.shared.len()).sum::<usize>());
        let (mut data, mut flags) = {
            let (data, flags) = before.range(base, SHARED_BYTES).unwrap();
            (data.to_vec(), flags.to_vec())
        };
        for element in &moved {
            let width = element.shared.len();
            let mut value = match (element.global, spec.fill) {
                (Some(from), _) => (0..width as u64).map(|byte| pattern_byte(seed, from + byte)).collect(),
                (None, OobFill::Zero) => vec![0; width],
                (None, OobFill::Nan) => [0xf7, 0x7f].repeat(width / 2),
            };
            if spec.element.rounds_on_load() && element.global.is_some() {
                value = tf32(u32::from_le_bytes(value.try_into().unwrap())).to_le_bytes().to_vec();
            }
            for (byte, address) in element.shared.iter().enumerate() {
                data[(address - base) as usize] = value[byte];
                flags[(address - base) as usize] =
                    element.global.map_or(DEFINED, |from| flag(seed, from + byte as u64));
            }
        }
        let (found, found_flags) = shared.range(base, SHARED_BYTES).unwrap();
        prop_assert_eq!(found, data);
        prop_assert_eq!(found_flags, flags);

        // The runs are the same bytes, and as long as they can be.
        let mut runs = Vec::new();
        load_runs(&spec, &coordinates, base + shared_offset, |run| {
            assert!(run.bytes > 0 && (spec.swizzle == Swizzle::None || run.bytes <= spec.swizzle.unit()));
            runs.extend((0..run.bytes).map(|byte| {
                (run.shared + byte, run.inside.then(|| run.global + u64::from(byte)))
            }));
            Ok::<(), BulkError>(())
        }).unwrap();
        let expected: Vec<_> = moved.iter().flat_map(|element| {
            element.shared.iter().enumerate().map(|(byte, shared)| (*shared, element.global.map(|from| from + byte as u64)))
        }).collect();
        prop_assert_eq!(runs, expected);
    }

    #[test]
    fn stores_move_each_element_inside(mut case in case(true)) {
        let (global, shared) = prepare(&mut case);
        let Case { spec, coordinates, shared_offset, seed } = case;
        let base = shared.base();
        let size = tensor_bytes(&spec);
        let device = global.device(0);
        let stored = store_tile(&spec, &coordinates, &shared, base + shared_offset, device, 9).unwrap();
        let moved = elements(&spec, &coordinates, base + shared_offset);
        let (mut data, mut flags) = (Vec::new(), Vec::new());
        for address in spec.address..spec.address + size {
            data.push(pattern_byte(seed, address));
            flags.push(flag(seed, address));
        }
        let mut count = 0;
        for element in &moved {
            let Some(to) = element.global else { continue };
            for (byte, from) in element.shared.iter().enumerate() {
                let at = (to - spec.address) as usize + byte;
                data[at] = pattern_byte(!seed, (*from).into());
                flags[at] = flag(!seed, (*from).into());
                count += 1;
            }
        }
        prop_assert_eq!(stored, count);
        prop_assert_eq!(inside_bytes(&spec, &coordinates), count);
        let (mut found, mut found_flags) = (vec![0; size as usize], vec![0; size as usize]);
        device.read_range(spec.address, &mut found, &mut found_flags).unwrap();
        prop_assert_eq!(found, data);
        prop_assert_eq!(found_flags, flags);
        let mut bytes = 0;
        store_runs(&spec, &coordinates, base + shared_offset, |run| {
            bytes += run.bytes;
            Ok::<(), BulkError>(())
        }).unwrap();
        prop_assert_eq!(bytes, count);
    }

    #[test]
    fn reductions_combine_each_element_inside(mut case in case(true), op in 0..8usize) {
        let op = ReduceOp::ALL[op];
        let (global, shared) = prepare(&mut case);
        let Case { spec, coordinates, shared_offset, seed } = case;
        let (base, width) = (shared.base(), spec.element.bytes() as usize);
        let device = global.device(0);
        let result = reduce_tile(&spec, &coordinates, op, &shared, base + shared_offset, device, 9);
        let ty = ReduceType::from_name(spec.element.name()).or(match spec.element {
            ElementType::Tf32 => Some(ReduceType::F32),
            ElementType::Tf32Ftz => Some(ReduceType::F32Ftz),
            _ => None,
        });
        let Some(ty) = ty.filter(|ty| reduce_element(op, *ty, 0, 0).is_ok()) else {
            let refused = matches!(result, Err(BulkError::ReduceType { .. }));
            prop_assert!(refused);
            return Ok(());
        };
        let size = tensor_bytes(&spec) as usize;
        let mut data: Vec<u8> = (spec.address..).take(size).map(|address| pattern_byte(seed, address)).collect();
        let mut defined: Vec<u8> = (spec.address..).take(size).map(|address| flag(seed, address)).collect();
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        for element in elements(&spec, &coordinates, base + shared_offset) {
            let Some(to) = element.global else { continue };
            let at = (to - spec.address) as usize;
            let operand: Vec<u8> = element.shared.iter().map(|from| pattern_byte(!seed, (*from).into())).collect();
            let new = reduce_element(op, ty, word(&data[at..at + width]), word(&operand)).unwrap();
            data[at..at + width].copy_from_slice(&new.to_le_bytes()[..width]);
            let all = element.shared.iter().all(|from| flag(!seed, (*from).into()) != 0)
                && defined[at..at + width].iter().all(|flag| *flag != 0);
            defined[at..at + width].fill(if all { DEFINED } else { 0 });
        }
        result.unwrap();
        let (mut found, mut found_flags) = (vec![0; size], vec![0; size]);
        device.read_range(spec.address, &mut found, &mut found_flags).unwrap();
        prop_assert_eq!(found, data);
        prop_assert_eq!(found_flags, defined);
    }

    #[test]
    fn any_coordinates_are_safe(mut case in case(false), coordinates in prop::array::uniform5(any::<i32>())) {
        let (global, mut shared) = prepare(&mut case);
        let base = shared.base();
        case.spec.dims[0] = 1 << 32;
        let coordinates = &coordinates[..case.spec.rank];
        let _ = load_tile(&case.spec, coordinates, global.device(0), &mut shared, base);
        let _ = store_tile(&case.spec, coordinates, &shared, base, global.device(0), 0);
    }
}

/// A map of a matrix of 64 x 64 elements.
fn matrix(global: &mut GlobalMemory, element: ElementType) -> TileSpec {
    let row = 64 * u64::from(element.bytes());
    let address = global.allocate_zeroed(0, "matrix", 64 * row).unwrap();
    TileSpec::new(element, address, &[64, 64], &[row], &[32, 8], &[1, 1]).unwrap()
}

#[test]
fn what_a_tensor_copy_must_not_do() {
    let mut global = GlobalMemory::new();
    let spec = matrix(&mut global, ElementType::F32);
    let mut shared = SharedMemory::new(0, 0, 4096);
    let base = shared.base();
    let mut load = |spec: &TileSpec, coordinates: &[i32], address: u32| {
        load_tile(spec, coordinates, global.device(0), &mut shared, address)
            .map_err(|error| error.to_string())
    };
    assert_eq!(load(&spec, &[0, 0], base), Ok(1024));
    assert_eq!(load(&spec, &[0], base).unwrap_err(), "1 coordinates for a tensor map of 2 dimensions");
    assert_eq!(
        load(&spec, &[0, 0], base + 64).unwrap_err(),
        "the shared address 0x440 of the bulk copy must be a multiple of 128"
    );
    assert!(load(&spec, &[0, 0], base + 3200).unwrap_err().contains("beyond the 4096 bytes"));
    let mut long = spec;
    long.dims[1] = 65;
    assert_eq!(
        load(&long, &[32, 57], base).unwrap_err(),
        "access at offset 16512 of 128 bytes is beyond the end of buffer `matrix` of 16384 bytes"
    );
    let mut interleaved = spec;
    interleaved.interleave = Interleave::B16;
    let error = check_tile(&interleaved, &[0, 0], base, false).unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("interleaved"));
    assert!(check_tile(&spec, &[3, -1], base, true).is_ok());
    let error = check_store_start(&[3, -1]).unwrap_err();
    assert_eq!(error, BulkError::NegativeStart { dim: 1, value: -1 });
    assert!(!error.is_unsupported());
    let mut flip = spec;
    flip.swizzle = Swizzle::B128Atom32Flip8;
    assert!(check_tile(&flip, &[0, 0], base, false).is_ok());
    let error = check_tile(&flip, &[0, 0], base, true).unwrap_err();
    assert_eq!(error.to_string(), "swizzle 128B_ATOM_32B_FLIP_8B is for copies from global to shared memory");
}

#[test]
fn tf32_rounds_only_what_is_inside() {
    let mut global = GlobalMemory::new();
    let mut spec = matrix(&mut global, ElementType::Tf32);
    spec.fill = OobFill::Nan;
    let values =
        [0x3f80_1000u32, 0x3f80_3000, 0x3f80_1001, 0x7f7f_ffff, 0x7f80_0000, 0x7f80_0001, 0xbf80_0fff];
    for (index, value) in values.iter().enumerate() {
        global.write(spec.address + 4 * index as u64, &value.to_le_bytes()).unwrap();
    }
    let mut shared = SharedMemory::new(0, 0, 4096);
    let base = shared.base();
    load_tile(&spec, &[-1, 0], global.device(0), &mut shared, base).unwrap();
    let loaded = |index: u32| shared.load(base + 4 * index, 4).unwrap().low() as u32;
    assert_eq!(loaded(0), 0x7ff7_7ff7);
    let expected =
        [0x3f80_0000, 0x3f80_4000, 0x3f80_2000, 0x7f80_0000, 0x7f80_0000, 0x7fff_e000, 0xbf80_0000u32];
    assert_eq!((1..8).map(loaded).collect::<Vec<_>>(), expected);
}

#[test]
fn plain_copies() {
    let mut global = GlobalMemory::new();
    let a = global.allocate(0, "a", 256).unwrap();
    let device = global.device(0);
    global.write(a, &(0..128).collect::<Vec<u8>>()).unwrap();
    let mut first = SharedMemory::new(0, 0, 256);
    let mut second = SharedMemory::new(1, 0, 256);
    let (base, other) = (first.base(), second.base());
    load_bulk(device, a + 112, &mut first, base + 16, 32).unwrap();
    assert_eq!(
        first.load(base + 24, 8).unwrap().low(),
        u64::from_le_bytes(std::array::from_fn(|i| 120 + i as u8))
    );
    assert_eq!(
        (first.load(base + 16, 16).unwrap().defined, first.load(base + 32, 16).unwrap().defined),
        (0xffff, 0)
    );
    copy_bulk(&first, base + 16, &mut second, other + 64, 32).unwrap();
    assert_eq!(second.load(other + 64, 16).unwrap(), first.load(base + 16, 16).unwrap());
    store_bulk(&second, other + 64, device, a + 128, 32, 5).unwrap();
    assert_eq!(device.load(a + 128, 16).unwrap(), first.load(base + 16, 16).unwrap());
    assert_eq!(
        global.undefined_writes().iter().map(|write| (write.offset, write.len)).collect::<Vec<_>>(),
        [(144, 16)]
    );
    assert!(
        load_bulk(device, a + 240, &mut first, base, 32)
            .unwrap_err()
            .to_string()
            .contains("offset 240 of 32 bytes")
    );
    assert!(store_bulk(&first, base + 240, device, a, 32, 0).is_err());

    assert!(check_bulk(16, 32, 0).is_ok());
    let text = |source, destination, bytes| check_bulk(source, destination, bytes).unwrap_err().to_string();
    assert_eq!(text(8, 16, 16), "the source address 0x8 of the bulk copy must be a multiple of 16");
    assert_eq!(text(16, 17, 16), "the destination address 0x11 of the bulk copy must be a multiple of 16");
    assert_eq!(text(16, 16, 24), "the size of the bulk copy is 24 bytes: it must be a multiple of 16");
}

#[test]
fn plain_reductions() {
    let mut global = GlobalMemory::new();
    let a = global.allocate_zeroed(0, "a", 64).unwrap();
    let device = global.device(0);
    let mut first = SharedMemory::new(0, 0, 64);
    let mut second = SharedMemory::new(1, 0, 64);
    let (base, other) = (first.base(), second.base());
    let words = |words: [u32; 4]| words.map(u32::to_le_bytes).concat();
    first.write_range(base, &words([1, 2, 3, 4]), &[DEFINED; 16]).unwrap();
    second.write_range(other, &words([10, 20, 30, u32::MAX]), &[DEFINED; 16]).unwrap();
    second.store(other + 4, 4, 20, 0).unwrap();
    reduce_bulk_shared(&first, base, &mut second, other, 16, ReduceOp::Add, ReduceType::U32).unwrap();
    let (data, flags) = second.range(other, 16).unwrap();
    assert_eq!(data, words([11, 22, 33, 3]));
    assert_eq!(flags, [[DEFINED; 4], [0; 4], [DEFINED; 4], [DEFINED; 4]].concat());
    reduce_bulk_global(&second, other, device, a, 16, ReduceOp::Max, ReduceType::S32, 3).unwrap();
    assert_eq!(device.load(a, 16).unwrap().defined, 0xff0f);
    assert_eq!(device.load(a, 4).unwrap().low(), 11);
    let refused = reduce_bulk_shared(&first, base, &mut second, other, 16, ReduceOp::Add, ReduceType::F32);
    assert!(matches!(refused, Err(BulkError::ReduceType { .. })));

    // Additions of f32 flush subnormals, and the bulk form has no other.
    let tiny = f32::MIN_POSITIVE.to_bits() / 4;
    first.write_range(base, &words([tiny, tiny | 1 << 31, 1f32.to_bits(), 0]), &[DEFINED; 16]).unwrap();
    global.write(a, &words([tiny, tiny | 1 << 31, 2f32.to_bits(), tiny])).unwrap();
    reduce_bulk_global(&first, base, device, a, 16, ReduceOp::Add, ReduceType::F32, 3).unwrap();
    let mut found = [0; 16];
    global.read(a, &mut found).unwrap();
    assert_eq!(found.to_vec(), words([0, 1 << 31, 3f32.to_bits(), 0]));
}

#[test]
fn two_threads_reduce_into_one_tensor() {
    let mut global = GlobalMemory::new();
    let spec = matrix(&mut global, ElementType::U32);
    let mut shared = SharedMemory::new(0, 0, 4096);
    let base = shared.base();
    shared.range_mut(base, 1024).unwrap().1.fill(DEFINED);
    for index in 0..256 {
        shared.store(base + 4 * index, 4, 1, 0xf).unwrap();
    }
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..100 {
                    reduce_tile(&spec, &[48, 60], ReduceOp::Add, &shared, base, global.device(0), 0).unwrap();
                }
            });
        }
    });
    let at = |x: u64, y: u64| global.device(0).load(spec.address + 256 * y + 4 * x, 4).unwrap().low();
    assert_eq!((at(48, 60), at(63, 63), at(47, 60), at(48, 59)), (200, 200, 0, 0));
}
