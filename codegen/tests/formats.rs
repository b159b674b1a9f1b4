//! Conversion between f32 and the formats of tensors, against plain arithmetic, on a target that has instructions for
//! FP8 and on one that has not.

use half::{bf16, f16};
use rorqual_codegen::contract::{Arguments, Extent, In, Out};
use rorqual_codegen::element::{Bf16, E4m3, F16};
use rorqual_codegen::format::Format;
use rorqual_codegen::run::RunLayout;
use rorqual_codegen::{Builder, Header, Kernel, Value, generate};
use rorqual_ptx::target::Target;
use rorqual_sim::{Argument, Device, Launch};

/// The first has no FP8 instructions.
const TARGETS: [&str; 2] = ["sm_80", "sm_89"];
const THREADS: u32 = 128;
/// Elements of a thread: a word of the widest packing.
const RUN: u32 = 4;

/// The value of a code: NaN is all ones but the sign, there is no infinity.
fn e4m3_value(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    let magnitude = match (exponent, code & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa / 8.0 * 2.0_f32.powi(-6),
        _ => (1.0 + mantissa / 8.0) * 2.0_f32.powi(exponent - 7),
    };
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

/// The code of the nearest value, ties to the even code; what is too large becomes 448, NaN stays NaN.
fn e4m3_code(value: f32) -> u8 {
    let sign = if value.is_sign_negative() { 0x80 } else { 0 };
    if value.is_nan() {
        return sign | 0x7f;
    }
    let magnitude = f64::from(value.abs()).min(448.0);
    // Codes of positive numbers are in the order of their values.
    let above = (0..=0x7e_u8).find(|code| f64::from(e4m3_value(*code)) >= magnitude).unwrap_or(0x7e);
    if above == 0 {
        return sign;
    }
    let below = above - 1;
    let middle = (f64::from(e4m3_value(below)) + f64::from(e4m3_value(above))) / 2.0;
    let up = magnitude > middle || (magnitude == middle && above % 2 == 0);
    sign | if up { above } else { below }
}

/// Random numbers (SplitMix64).
fn random_bits(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// All bf16, the middles between neighbouring e4m3 and what is next to them, and random f32 of all sizes, most of them
/// in the range of e4m3.
fn values() -> Vec<f32> {
    let mut values: Vec<f32> = (0..=u16::MAX).map(|bits| f32::from_bits(u32::from(bits) << 16)).collect();
    for code in 0..0x7e_u8 {
        let middle = (e4m3_value(code) + e4m3_value(code + 1)) / 2.0;
        for value in [e4m3_value(code), middle, middle.next_up(), middle.next_down()] {
            values.extend([value, -value]);
        }
    }
    values.extend([448.0, 464.0, 464.0_f32.next_up(), 480.0, 512.0, f32::MAX, f32::from_bits(1)]);
    values.extend([f32::from_bits(0x7f80_0001), f32::from_bits(0xffff_ffff), f32::from_bits(0x7fff_ffff)]);
    let mut state = 7;
    for _ in 0..20_000 {
        let bits = random_bits(&mut state);
        let exponent = 127 - 12 + (bits >> 40) as u32 % 24;
        values.push(f32::from_bits(bits as u32));
        values.push(f32::from_bits(bits as u32 & 0x807f_ffff | exponent << 23));
    }
    while !values.len().is_multiple_of(RUN as usize) {
        values.push(0.0);
    }
    values
}

/// Loads the run of the thread, and stores it; behind the end nothing.
fn move_run<'k, A: Format, B: Format>(
    builder: &'k Builder,
    from: rorqual_codegen::Pointer<'k, rorqual_codegen::Global, A>,
    to: rorqual_codegen::Pointer<'k, rorqual_codegen::Global, B>,
    count: Value<'k, u32>,
    packed: bool,
) {
    let first = (builder.cta(0) * THREADS + builder.thread()) * RUN;
    let remaining = first.less(count).select(count - first, builder.constant(0));
    let layout = RunLayout { elements: RUN as usize, whole: packed };
    let values = layout.load(from.at(first), remaining);
    layout.store(to.at(first), remaining, &values);
}

macro_rules! conversions {
    ($($host:ident $device:ident $name:ident: $from:ty, $to:ty;)*) => {
        $(rorqual_codegen::arguments! {
            /// Arguments of a conversion.
            pub struct $host, $device {
                /// `[count]`
                from: In<$from>,
                /// `[count]`
                to: Out<$to>,
                /// Elements.
                count: u32,
            }
        }

        fn $name(target: &str, packed: bool) -> Kernel {
            let target = Target::from_name(target).expect("a target");
            let grid = Extent::argument("count").ceil_divide(THREADS * RUN);
            let header = Header::new(stringify!($name), packed, target, THREADS).grid(grid, 1, 1);
            generate::<$host>(header, |builder, arguments| {
                move_run(builder, arguments.from, arguments.to, arguments.count, packed);
            })
            .expect("a kernel")
        })*
    };
}

conversions! {
    ToE4m3Arguments ToE4m3Parameters to_e4m3: f32, E4m3;
    OfE4m3Arguments OfE4m3Parameters of_e4m3: E4m3, f32;
    ToBf16Arguments ToBf16Parameters to_bf16: f32, Bf16;
    OfBf16Arguments OfBf16Parameters of_bf16: Bf16, f32;
    ToF16Arguments ToF16Parameters to_f16: f32, F16;
    OfF16Arguments OfF16Parameters of_f16: F16, f32;
}

/// Runs a conversion of `count` elements to as many of `bytes` bytes each.
fn run(kernel: &Kernel, from: &[u8], count: usize, bytes: usize) -> Vec<u8> {
    let contract = &kernel.contract;
    let mut device = Device::new(contract.target).expect("a device");
    let from = device.allocate_from("from", from).expect("room");
    let to = device.allocate_from("to", &vec![0xa5; count * bytes]).expect("room");
    let arguments = ToE4m3Arguments { from: from.0, to: to.0, count: count as u32 };
    let grid = contract.grid(&arguments.pack(), 4).expect("a grid");
    let module = device.load(&kernel.text()).expect("a module");
    let launch = Launch::new(&module, &contract.kernel)
        .ctas(grid)
        .threads([contract.threads, 1, 1])
        .argument(Argument::from(from.0))
        .argument(Argument::from(to.0))
        .argument(Argument::from(count as u32));
    let outcome = device.launch(&launch).expect("a run");
    assert_eq!(outcome.reports.len(), 0);
    device.read(to, count * bytes).expect("bytes")
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn u16s(bytes: &[u8]) -> Vec<u16> {
    bytes.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect()
}

#[test]
fn f32_to_e4m3() {
    let values = values();
    let expected: Vec<u8> = values.iter().map(|value| e4m3_code(*value)).collect();
    for target in TARGETS {
        for packed in [true, false] {
            let got = run(&to_e4m3(target, packed), &f32_bytes(&values), values.len(), 1);
            for (at, (got, expected)) in got.iter().zip(&expected).enumerate() {
                let bits = values[at].to_bits();
                // The sign of NaN is the instruction's own.
                let same = got == expected || (values[at].is_nan() && got & 0x7f == 0x7f);
                assert!(same, "{target}, packed {packed}: {bits:#x} is {got:#x}, expected {expected:#x}");
            }
        }
    }
}

#[test]
fn e4m3_to_f32() {
    let codes: Vec<u8> = (0..=u8::MAX).collect();
    for target in TARGETS {
        for packed in [true, false] {
            let got = f32s(&run(&of_e4m3(target, packed), &codes, codes.len(), 4));
            for (code, got) in codes.iter().zip(got) {
                let expected = e4m3_value(*code);
                let same = got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan());
                assert!(same, "{target}, packed {packed}: {code:#x} is {got}, expected {expected}");
            }
        }
    }
}

#[test]
fn f32_to_halves() {
    let values = values();
    for target in TARGETS {
        for packed in [true, false] {
            let of = |kernel: &Kernel| u16s(&run(kernel, &f32_bytes(&values), values.len(), 2));
            let (bf16s, f16s) = (of(&to_bf16(target, packed)), of(&to_f16(target, packed)));
            for (at, value) in values.iter().enumerate() {
                let (got, expected) = (bf16::from_bits(bf16s[at]), bf16::from_f32(*value));
                let same = got.to_bits() == expected.to_bits() || (got.is_nan() && value.is_nan());
                assert!(same, "{target}, packed {packed}: {value} is {got}, expected {expected}");
                let (got, expected) = (f16::from_bits(f16s[at]), f16::from_f32(*value));
                let same = got.to_bits() == expected.to_bits() || (got.is_nan() && value.is_nan());
                assert!(same, "{target}, packed {packed}: {value} is {got}, expected {expected}");
            }
        }
    }
}

#[test]
fn halves_to_f32() {
    let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let count = bytes.len() / 2;
    for target in TARGETS {
        for packed in [true, false] {
            let bf16s = f32s(&run(&of_bf16(target, packed), &bytes, count, 4));
            let f16s = f32s(&run(&of_f16(target, packed), &bytes, count, 4));
            for bits in 0..=u16::MAX {
                let at = usize::from(bits);
                for (got, expected) in
                    [(bf16s[at], bf16::from_bits(bits).to_f32()), (f16s[at], f16::from_bits(bits).to_f32())]
                {
                    let same = got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan());
                    assert!(same, "{target}, packed {packed}: {bits:#x} is {got}, expected {expected}");
                }
            }
        }
    }
}
