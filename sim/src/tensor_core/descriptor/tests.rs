//! Descriptors against layouts built the other way round: element by element, as CuTe writes the canonical layouts.

use super::*;

/// A descriptor with these fields, in bytes.
fn encode(start: u64, leading: u64, stride: u64, base_offset: u64, swizzle: u64) -> u64 {
    start >> 4 | leading >> 4 << 16 | stride >> 4 << 32 | base_offset << 49 | swizzle << 62
}

#[test]
fn fields() {
    let descriptor = Descriptor::decode(encode(0x3_fff0, 0x1_2340, 0x400, 5, 1)).unwrap();
    assert_eq!(
        descriptor,
        Descriptor {
            start: 0x3_fff0,
            leading: 0x1_2340,
            stride: 0x400,
            base_offset: 5,
            swizzle: Swizzle::B128,
        }
    );
    for (code, swizzle) in [(0, Swizzle::None), (1, Swizzle::B128), (2, Swizzle::B64), (3, Swizzle::B32)] {
        assert_eq!(Descriptor::decode(code << 62).unwrap().swizzle, swizzle);
    }
    for bit in (14..16).chain(30..32).chain(46..49).chain(52..62) {
        assert_eq!(Descriptor::decode(1 << bit), Err(DescriptorError::ReservedBits(1 << bit)));
    }
}

/// CuTe's `Swizzle<B, 4, 3>`: bits from 4 up are XORed with bits from 7 up.
fn cute_swizzle(bits: u32, address: u32) -> u32 {
    address ^ (address & ((1 << bits) - 1) << 7) >> 3
}

/// The canonical layouts of CuTe (`mma_traits_sm90_gmma.hpp`) in bytes, for lines and k counted in elements.
fn canonical(major: Major, swizzle: u32, size: u32, (leading, stride): (u32, u32), line: u32, k: u32) -> u32 {
    let t = 16 / size;
    let w = 1 << swizzle;
    let chunks = match (major, swizzle) {
        // ((T,1,m),(8,k)) : ((1,T,SBO),(1T,LBO))
        (Major::Mn, 0) => (line / t) * (stride / 16) + k % 8 + (k / 8) * (leading / 16),
        // ((T,W,m),(8,k)) : ((1,T,LBO),(W T,SBO))
        (Major::Mn, _) => {
            line / t % w + (line / t / w) * (leading / 16) + (k % 8) * w + (k / 8) * (stride / 16)
        }
        // ((8,m),(T,2)) : ((1T,SBO),(1,LBO))
        (Major::K, 0) => line % 8 + (line / 8) * (stride / 16) + (k / t) * (leading / 16),
        // ((8,m),(T,2)) : ((W T,SBO),(1,T))
        (Major::K, _) => (line % 8) * w + (line / 8) * (stride / 16) + k / t,
    };
    chunks * 16 + size * if major == Major::K { k % t } else { line % t }
}

/// Code, pattern bits and strides to try.
const SWIZZLES: [(u64, u32); 4] = [(0, 0), (3, 1), (2, 2), (1, 3)];

fn operands() -> impl Iterator<Item = (SharedOperand, impl Fn(usize, usize) -> u32)> {
    let mut operands = vec![];
    for (format, major) in [
        (Format::Bf16, Major::K),
        (Format::F16, Major::Mn),
        (Format::E4m3, Major::K),
        (Format::U8, Major::K),
        (Format::Tf32, Major::K),
    ] {
        for (code, bits) in SWIZZLES {
            for lines in [8, 64, 104, 256] {
                for (start, leading, stride) in
                    [(0, 0x1000, 0x400), (0x460, 0x2100, 0x810), (0x7e0, 0x80, 0x100)]
                {
                    let descriptor = Descriptor::decode(encode(start, leading, stride, 0, code)).unwrap();
                    let operand = SharedOperand::new(descriptor, major, format, lines).unwrap();
                    let address = move |line: usize, k: usize| {
                        let strides = (leading as u32, stride as u32);
                        let offset =
                            canonical(major, bits, format.bits() / 8, strides, line as u32, k as u32);
                        cute_swizzle(bits, start as u32 + offset)
                    };
                    operands.push((operand, address));
                }
            }
        }
    }
    operands.into_iter()
}

#[test]
fn addresses_are_canonical() {
    for (operand, address) in operands() {
        for line in 0..operand.lines {
            for k in 0..operand.depth {
                assert_eq!(operand.address(line, k), address(line, k), "{operand:?} line {line} k {k}");
            }
        }
    }
}

#[test]
fn the_base_offset_displaces_the_pattern() {
    // A tile of a 128-byte pattern whose first row stands at row 3 of an aligned 1 KiB.
    let descriptor = Descriptor::decode(encode(0x180, 0, 0x400, 3, 1)).unwrap();
    let operand = SharedOperand::new(descriptor, Major::K, Format::E4m3, 8).unwrap();
    for line in 0..8 {
        assert_eq!(operand.address(line, 0), 0x180 + line as u32 * 128 + line as u32 * 16);
    }
}

#[test]
fn gathering_reads_the_addressed_elements() {
    let memory: Vec<u8> = (0_u32..1 << 18).map(|byte| (byte.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
    let mut panel = Panel::new();
    for (operand, address) in operands() {
        operand.gather(&mut panel, &memory, Precision::Exact).unwrap();
        assert_eq!((panel.lanes(), panel.depth()), (operand.lines, operand.depth));
        let size = operand.format.bits() as usize / 8;
        for (index, value) in panel.values().iter().enumerate() {
            let (k, line) = (index / operand.lines, index % operand.lines);
            let bytes = &memory[address(line, k) as usize..][..size];
            let raw = bytes.iter().rev().fold(0, |raw, &byte| raw << 8 | u32::from(byte));
            assert_eq!(
                value.to_bits(),
                operand.format.decode(raw).to_bits(),
                "{operand:?} line {line} k {k}"
            );
        }
    }
}

#[test]
fn chunks_are_what_is_read() {
    for (operand, _) in operands() {
        let mut chunks: Vec<u32> = operand.chunks().collect();
        chunks.sort_unstable();
        let mut expected: Vec<u32> = (0..operand.lines)
            .flat_map(|line| (0..operand.depth).map(move |k| (line, k)))
            .map(|(line, k)| operand.address(line, k) & !15)
            .collect();
        expected.sort_unstable();
        expected.dedup();
        chunks.dedup();
        assert_eq!(chunks, expected);
    }
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let descriptor = Descriptor::decode(encode(0x400, 0, 0x400, 0, 1)).unwrap();
    assert_eq!(
        SharedOperand::new(descriptor, Major::Mn, Format::E4m3, 64),
        Err(DescriptorError::Major(Format::E4m3))
    );
    let operand = SharedOperand::new(descriptor, Major::K, Format::E4m3, 64).unwrap();
    let mut panel = Panel::new();
    let end = operand.chunks().max().unwrap() as usize + CHUNK;
    assert!(operand.gather(&mut panel, &vec![0; end], Precision::Exact).is_ok());
    assert_eq!(
        operand.gather(&mut panel, &vec![0; end - 1], Precision::Exact),
        Err(DescriptorError::OutOfBounds { address: end as u32 - 16, size: end - 1 })
    );
    let far = Descriptor::decode(0xc00e_3fff_3fff_3fff).unwrap();
    let operand = SharedOperand::new(far, Major::Mn, Format::F16, 256).unwrap();
    assert!(matches!(
        operand.gather(&mut panel, &[0; 4096], Precision::Exact),
        Err(DescriptorError::OutOfBounds { .. })
    ));
}
