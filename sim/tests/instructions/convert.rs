//! Conversion between types (PTX ISA 9.7.10.24, 9.7.10.25).

use crate::harness::{Case, Kind, check, check_on, f32, f64};
use crate::oracle::{NAN16, NAN32, flush32, narrowed, round_of, widen};
use Kind::{Bf16, Bf16x2, F16, F16x2, F32, F64, I16, I32, I64};
use rustc_apfloat::ieee::{BFloat, Double, Half, Single};
use rustc_apfloat::{Float, Round};

/// Every integer type: width, signedness, and the register that holds it.
const INTEGERS: [(&str, u32, bool, Kind); 8] = [
    ("u8", 8, false, I16),
    ("s8", 8, true, I16),
    ("u16", 16, false, I16),
    ("s16", 16, true, I16),
    ("u32", 32, false, I32),
    ("s32", 32, true, I32),
    ("u64", 64, false, I64),
    ("s64", 64, true, I64),
];

fn number(bits: u64, width: u32, signed: bool) -> i128 {
    let unused = 64 - width;
    if signed {
        i128::from((bits << unused).cast_signed() >> unused)
    } else {
        i128::from(bits << unused >> unused)
    }
}

fn range(width: u32, signed: bool) -> (i128, i128) {
    if signed { (-(1 << (width - 1)), (1 << (width - 1)) - 1) } else { (0, (1 << width) - 1) }
}

/// What a register of some width holds of a number that has been cut to a narrower type.
fn extended(value: i128, width: u32, signed: bool, register: Kind) -> u64 {
    (number(value as u64, width, signed) as u64) & (u64::MAX >> (64 - register.bits()))
}

#[test]
fn integers() {
    for (to, to_width, to_signed, to_register) in INTEGERS {
        for (from, from_width, from_signed, from_register) in INTEGERS {
            // Wider registers too: the source is cut, the result extended.
            for (result, operand) in [(to_register, from_register), (I64, I64), (I32, I32)] {
                if result.bits() < to_width || operand.bits() < from_width {
                    continue;
                }
                check(&format!("cvt.{to}.{from}"), result, &[operand], |x| {
                    extended(number(x[0], from_width, from_signed), to_width, to_signed, result)
                });
            }
            let ((least, most), (smallest, largest)) =
                (range(to_width, to_signed), range(from_width, from_signed));
            if least <= smallest && largest <= most {
                continue;
            }
            check(&format!("cvt.sat.{to}.{from}"), to_register, &[from_register], |x| {
                let value = number(x[0], from_width, from_signed).clamp(least, most);
                extended(value, to_width, to_signed, to_register)
            });
        }
    }
    Case::of("cvt.u64.u32 %d, %ctaid.x;", I64, &[I32]).run(&vec![vec![0]; 64]).map_or_else(
        |report| panic!("{report}"),
        |results| assert!(results[..32] == [0; 32] && results[32..] == [1; 32]),
    );
}

#[test]
fn floats_to_integers() {
    type Value = fn(u64) -> f64;
    let sources: [(&str, Kind, Value); 4] = [
        ("f32", F32, |x| f32(x).into()),
        ("f64", F64, f64),
        ("f16", F16, |x| widen(x, false).into()),
        ("bf16", Bf16, |x| widen(x, true).into()),
    ];
    let roundings: [(&str, fn(f64) -> f64); 4] =
        [("rni", f64::round_ties_even), ("rzi", f64::trunc), ("rmi", f64::floor), ("rpi", f64::ceil)];
    for (from, kind, value) in sources {
        for (to, width, signed, register) in INTEGERS {
            if from == "bf16" && width == 8 {
                continue;
            }
            for (name, round) in roundings {
                for register in [register, I64] {
                    // Of bfloat16 numbers only to a register of the type's width.
                    if from == "bf16" && register.bits() != width {
                        continue;
                    }
                    check(&format!("cvt.{name}.{to}.{from}"), register, &[kind], |x| {
                        let x = value(x[0]);
                        let (least, most) = range(width, signed);
                        let integer = if x.is_nan() {
                            // The highest bit alone, or nothing.
                            if kind == F64 || width == 64 { 1 << (width - 1) } else { 0 }
                        } else {
                            (round(x) as i128).clamp(least, most)
                        };
                        extended(integer, width, signed, register)
                    });
                }
            }
        }
    }
    check("cvt.rpi.ftz.s32.f32", I32, &[F32], |x| {
        let integer = f64::from(f32(flush32(x[0]))).ceil();
        if integer.is_nan() { 0 } else { (integer as i32).cast_unsigned().into() }
    });
}

#[test]
fn integers_to_floats() {
    for (from, width, signed, register) in INTEGERS {
        for rounding in ["rn", "rz", "rm", "rp"] {
            let round = round_of(rounding);
            let value = |x: &[u64]| number(x[0], width, signed);
            check(&format!("cvt.{rounding}.f32.{from}"), F32, &[register], |x| {
                Single::from_i128_r(value(x), round).value.to_bits() as u64
            });
            check(&format!("cvt.{rounding}.f64.{from}"), F64, &[register], |x| {
                Double::from_i128_r(value(x), round).value.to_bits() as u64
            });
            check(&format!("cvt.{rounding}.f16.{from}"), F16, &[register], |x| {
                Half::from_i128_r(value(x), round).value.to_bits() as u64
            });
            if width > 8 {
                check(&format!("cvt.{rounding}.bf16.{from}"), Bf16, &[register], |x| {
                    BFloat::from_i128_r(value(x), round).value.to_bits() as u64
                });
            }
        }
    }
    check("cvt.rn.sat.f32.s32", F32, &[I32], |x| {
        f32::from(number(x[0], 32, true).clamp(0, 1) as u8).to_bits().into()
    });
}

#[test]
fn floats_to_narrower_floats() {
    for rounding in ["rn", "rz", "rm", "rp"] {
        let round = round_of(rounding);
        let wide = |x: &[u64]| f64::from(f32(x[0]));
        check(&format!("cvt.{rounding}.f16.f32"), F16, &[F32], |x| {
            narrowed::<Half>(wide(x), round).unwrap_or(NAN16)
        });
        check(&format!("cvt.{rounding}.bf16.f32"), Bf16, &[F32], |x| {
            narrowed::<BFloat>(wide(x), round).unwrap_or(NAN16)
        });
        Case::new(&format!("cvt.{rounding}.f32.f64"), F32, &[F64]).check_by(|x, result| {
            narrowed::<Single>(f64(x[0]), round).map_or(f32(result).is_nan(), |expected| result == expected)
        });
        Case::new(&format!("cvt.{rounding}.f16.f64"), F16, &[F64]).check_by(|x, result| {
            narrowed::<Half>(f64(x[0]), round)
                .map_or(widen(result, false).is_nan(), |expected| result == expected)
        });
        Case::new(&format!("cvt.{rounding}.bf16.f64"), Bf16, &[F64]).check_by(|x, result| {
            narrowed::<BFloat>(f64(x[0]), round)
                .map_or(widen(result, true).is_nan(), |expected| result == expected)
        });
    }
    let nearest = Round::NearestTiesToEven;
    check("cvt.rn.ftz.f16.f32", F16, &[F32], |x| {
        narrowed::<Half>(f32(flush32(x[0])).into(), nearest).unwrap_or(NAN16)
    });
    check("cvt.rn.sat.f16.f32", F16, &[F32], |x| {
        let x = f32(x[0]);
        let clamped = if x > 0.0 { x.min(1.0) } else { 0.0 };
        narrowed::<Half>(clamped.into(), nearest).unwrap_or(NAN16)
    });
    for rounding in ["rn", "rz"] {
        let round = round_of(rounding);
        let relu = |x: u64| if x & 0x8000 != 0 && x != NAN16 { 0 } else { x };
        check(&format!("cvt.{rounding}.relu.bf16.f32"), Bf16, &[F32], |x| {
            relu(narrowed::<BFloat>(f32(x[0]).into(), round).unwrap_or(NAN16))
        });
        check(&format!("cvt.{rounding}.satfinite.f16.f32"), F16, &[F32], |x| {
            let x = f64::from(f32(x[0]));
            narrowed::<Half>(if x.is_nan() { x } else { x.clamp(-65504.0, 65504.0) }, round).unwrap_or(NAN16)
        });
        check(&format!("cvt.{rounding}.f16x2.f32"), F16x2, &[F32, F32], |x| {
            let half = |x: u64| narrowed::<Half>(f32(x).into(), round).unwrap_or(NAN16);
            half(x[0]) << 16 | half(x[1])
        });
        check(&format!("cvt.{rounding}.bf16x2.f32"), Bf16x2, &[F32, F32], |x| {
            let half = |x: u64| narrowed::<BFloat>(f32(x).into(), round).unwrap_or(NAN16);
            half(x[0]) << 16 | half(x[1])
        });
        check(&format!("cvt.{rounding}.relu.f16x2.f32"), F16x2, &[F32, F32], |x| {
            let half = |x: u64| relu(narrowed::<Half>(f32(x).into(), round).unwrap_or(NAN16));
            half(x[0]) << 16 | half(x[1])
        });
    }
    check("cvt.rna.tf32.f32", I32, &[F32], |x| {
        let magnitude = x[0] & 0x7fff_ffff;
        if f32(x[0]).is_finite() {
            (magnitude + 0x1000) & !0x1fff | x[0] & 0x8000_0000
        } else {
            tf32_special(x[0])
        }
    });
    check("cvt.rz.tf32.f32", I32, &[F32], |x| if f32(x[0]).is_nan() { 0x7fff_e000 } else { x[0] & !0x1fff });
}

/// Infinity stays; the bits of a NaN are rounded like a number's, short of the sign.
fn tf32_special(x: u64) -> u64 {
    (((x & 0x7fff_ffff) + 0x1000) & !0x1fff).min(0x7fff_e000) | x & 0x8000_0000
}

#[test]
fn floats_to_wider_floats() {
    let canonical = |x: f32| if x.is_nan() { NAN32 } else { x.to_bits().into() };
    check("cvt.f32.f16", F32, &[F16], |x| canonical(widen(x[0], false)));
    check("cvt.ftz.f32.f16", F32, &[F16], |x| canonical(widen(x[0], false)));
    check("cvt.f32.bf16", F32, &[Bf16], |x| x[0] << 16);
    check("cvt.sat.f32.f16", F32, &[F16], |x| {
        let x = widen(x[0], false);
        if x > 0.0 { x.min(1.0).to_bits().into() } else { 0 }
    });
    let same = |expected: f64, result: u64| {
        if expected.is_nan() { f64(result).is_nan() } else { expected.to_bits() == result }
    };
    Case::new("cvt.f64.f32", F64, &[F32]).check_by(|x, result| same(f32(x[0]).into(), result));
    Case::new("cvt.ftz.f64.f32", F64, &[F32]).check_by(|x, result| same(f32(flush32(x[0])).into(), result));
    Case::new("cvt.f64.f16", F64, &[F16]).check_by(|x, result| same(widen(x[0], false).into(), result));
    Case::new("cvt.f64.bf16", F64, &[Bf16]).check_by(|x, result| same(widen(x[0], true).into(), result));
    check("cvt.rn.bf16.f16", Bf16, &[F16], |x| {
        narrowed::<BFloat>(widen(x[0], false).into(), Round::NearestTiesToEven).unwrap_or(NAN16)
    });
    check("cvt.rz.f16.bf16", F16, &[Bf16], |x| {
        narrowed::<Half>(widen(x[0], true).into(), Round::TowardZero).unwrap_or(NAN16)
    });
}

#[test]
fn floats_to_whole_floats() {
    let roundings: [(&str, fn(f64) -> f64); 4] =
        [("rni", f64::round_ties_even), ("rzi", f64::trunc), ("rmi", f64::floor), ("rpi", f64::ceil)];
    for (name, round) in roundings {
        check(&format!("cvt.{name}.f32.f32"), F32, &[F32], |x| {
            let whole = round(f32(x[0]).into()) as f32;
            if whole.is_nan() { NAN32 } else { whole.to_bits().into() }
        });
        check(&format!("cvt.{name}.ftz.sat.f32.f32"), F32, &[F32], |x| {
            let whole = round(f32(flush32(x[0])).into()) as f32;
            if whole > 0.0 { whole.min(1.0).to_bits().into() } else { 0 }
        });
        Case::new(&format!("cvt.{name}.f64.f64"), F64, &[F64]).check_by(|x, result| {
            let whole = round(f64(x[0]));
            if whole.is_nan() { f64(result).is_nan() } else { whole.to_bits() == result }
        });
        for (ty, kind, bfloat) in [("f16", F16, false), ("bf16", Bf16, true)] {
            check(&format!("cvt.{name}.{ty}.{ty}"), kind, &[kind], |x| {
                let whole = round(widen(x[0], bfloat).into());
                let nearest = Round::NearestTiesToEven;
                let code = if bfloat {
                    narrowed::<BFloat>(whole, nearest)
                } else {
                    narrowed::<Half>(whole, nearest)
                };
                code.unwrap_or(NAN16)
            });
        }
    }
}

/// A format of 8 bits or less: every code's value, found by its definition.
struct Narrow {
    name: &'static str,
    bits: u32,
    mantissa: u32,
    bias: i32,
    /// Magnitudes up to this one are finite.
    largest: u32,
    nan: u32,
    target: &'static str,
}

const NARROW: [Narrow; 5] = [
    Narrow { name: "e4m3", bits: 8, mantissa: 3, bias: 7, largest: 0x7e, nan: 0x7f, target: "sm_90a" },
    Narrow { name: "e5m2", bits: 8, mantissa: 2, bias: 15, largest: 0x7b, nan: 0x7f, target: "sm_90a" },
    Narrow { name: "e3m2", bits: 6, mantissa: 2, bias: 3, largest: 0x1f, nan: 0x1f, target: "sm_100a" },
    Narrow { name: "e2m3", bits: 6, mantissa: 3, bias: 1, largest: 0x1f, nan: 0x1f, target: "sm_100a" },
    Narrow { name: "e2m1", bits: 4, mantissa: 1, bias: 1, largest: 0x7, nan: 0x7, target: "sm_100a" },
];

impl Narrow {
    /// The value of a code without its sign.
    fn magnitude(&self, code: u32) -> f64 {
        let (field, mantissa) = (code >> self.mantissa, code & ((1 << self.mantissa) - 1));
        let unit = 0.5_f64.powi(self.mantissa as i32);
        match field {
            0 => f64::from(mantissa) * unit * 2.0_f64.powi(1 - self.bias),
            _ => (1.0 + f64::from(mantissa) * unit) * 2.0_f64.powi(field as i32 - self.bias),
        }
    }

    fn value(&self, code: u64) -> f64 {
        let sign = 1 << (self.bits - 1);
        let magnitude = code as u32 & (sign - 1);
        let value = match magnitude {
            _ if magnitude <= self.largest => self.magnitude(magnitude),
            _ if self.name == "e5m2" && magnitude == 0x7c => f64::INFINITY,
            _ => return f64::NAN,
        };
        if code as u32 & sign == 0 { value } else { -value }
    }

    /// The code nearest to a number, of two the even one; beyond the largest that one.
    fn nearest(&self, x: f64) -> u64 {
        if x.is_nan() {
            return self.nan.into();
        }
        let magnitude = x.abs();
        let mut best = 0;
        for code in 1..=self.largest {
            let [old, new] = [best, code].map(|code| (self.magnitude(code) - magnitude).abs());
            if new < old || new == old && code % 2 == 0 {
                best = code;
            }
        }
        if magnitude >= self.magnitude(self.largest) {
            best = self.largest;
        }
        u64::from(best | u32::from(x.is_sign_negative()) << (self.bits - 1))
    }

    /// Bits of a code in a register.
    const fn field(&self) -> u32 {
        if self.bits == 4 { 4 } else { 8 }
    }

    /// The instruction with its 8-bit result or operand in a register of its own.
    fn case(&self, opcode: &str, result: Kind, operands: &[Kind], narrow_result: bool) -> Case {
        let names = ["%a", "%b"][..operands.len()].join(", ");
        let text = match (self.bits, narrow_result) {
            (4, true) => format!("{{ .reg .b8 %n; {opcode} %n, {names}; cvt.u16.u8 %d, %n; }}"),
            (4, false) => format!("{{ .reg .b8 %n, %m; mov.b16 {{%n, %m}}, %a; {opcode} %d, %n; }}"),
            _ => format!("{opcode} %d, {names};"),
        };
        Case::of(&text, result, operands).on(self.target)
    }
}

#[test]
fn packed_narrow_floats() {
    for format in &NARROW {
        let name = format!("{}x2", format.name);
        let to_narrow = |high: f64, low: f64| format.nearest(high) << format.field() | format.nearest(low);
        let case = format.case(&format!("cvt.rn.satfinite.{name}.f32"), I16, &[F32, F32], true);
        case.check_some(|x| Some(to_narrow(f32(x[0]).into(), f32(x[1]).into())));
        let case = format.case(&format!("cvt.rn.satfinite.relu.{name}.f32"), I16, &[F32, F32], true);
        case.check_some(|x| {
            let relu = |x: f32| if x <= 0.0 { 0.0 } else { f64::from(x) };
            Some(to_narrow(relu(f32(x[0])), relu(f32(x[1]))))
        });
        let case = format.case(&format!("cvt.rn.satfinite.{name}.f16x2"), I16, &[F16x2], true);
        case.check_some(|x| {
            Some(to_narrow(widen(x[0] >> 16, false).into(), widen(x[0] & 0xffff, false).into()))
        });
        let mask = (1 << format.bits) - 1;
        let halves = move |x: u64| [x >> format.field() & mask, x & mask].map(|code| format.value(code));
        for relu in [false, true] {
            let modifier = if relu { ".relu" } else { "" };
            let case = format.case(&format!("cvt.rn{modifier}.f16x2.{name}"), F16x2, &[I16], false);
            case.check_some(|x| {
                let [high, low] = halves(x[0]).map(|x| if relu && x <= 0.0 { 0.0 } else { x });
                let half = |x: f64| narrowed::<Half>(x, Round::NearestTiesToEven).unwrap_or(NAN16);
                Some(half(high) << 16 | half(low))
            });
        }
        let mut case = format.case(&format!("cvt.rn.bf16x2.{name}"), Bf16x2, &[I16], false);
        case.target = "sm_100a";
        case.check_some(|x| {
            let [high, low] = halves(x[0]);
            let half = |x: f64| narrowed::<BFloat>(x, Round::NearestTiesToEven).unwrap_or(NAN16);
            Some(half(high) << 16 | half(low))
        });
    }
}

#[test]
fn scales() {
    let value = |code: u64| if code == 0xff { f64::NAN } else { 2.0_f64.powi(code as i32 - 127) };
    let half = |x: f64| narrowed::<BFloat>(x, Round::NearestTiesToEven).unwrap_or(NAN16);
    check_on("sm_100a", "cvt.rn.bf16x2.ue8m0x2", Bf16x2, &[I16], |x| {
        half(value(x[0] >> 8)) << 16 | half(value(x[0] & 0xff))
    });
    for (rounding, up) in [("rz", false), ("rp", true)] {
        let code = |x: f32| {
            let x = f64::from(x.abs());
            (0..0xff).rev().find(|&code| value(code) <= x).map_or(u64::from(x.is_nan()) * 0xff, |code| {
                if x.is_infinite() { 0xff } else { code + u64::from(up && value(code) < x) }
            })
        };
        check_on("sm_100a", &format!("cvt.{rounding}.ue8m0x2.f32"), I16, &[F32, F32], |x| {
            code(f32(x[0])) << 8 | code(f32(x[1]))
        });
    }
    let fixed = |x: f32| {
        if x.is_nan() {
            0x7f
        } else {
            u64::from(((f64::from(x) * 64.0).round_ties_even() as i8).cast_unsigned())
        }
    };
    check_on("sm_100a", "cvt.rn.satfinite.s2f6x2.f32", I16, &[F32, F32], |x| {
        fixed(f32(x[0])) << 8 | fixed(f32(x[1]))
    });
    check_on("sm_100a", "cvt.rn.satfinite.s2f6x2.bf16x2", I16, &[Bf16x2], |x| {
        fixed(widen(x[0] >> 16, true)) << 8 | fixed(widen(x[0] & 0xffff, true))
    });
    check_on("sm_100a", "cvt.rn.bf16x2.s2f6x2", Bf16x2, &[I16], |x| {
        let value = |code: u64| half(f64::from(code as u8 as i8) / 64.0);
        value(x[0] >> 8) << 16 | value(x[0] & 0xff)
    });
    check_on("sm_100a", "cvt.rn.scaled::n2::ue8m0.bf16x2.e4m3x2", Bf16x2, &[I16, I16], |x| {
        let part = |shift: u32| half(NARROW[0].value(x[0] >> shift & 0xff) * value(x[1] >> shift & 0xff));
        part(8) << 16 | part(0)
    });
}

/// Rounding by random bits: toward zero with none set, and never further than the neighbour.
#[test]
fn stochastic() {
    let text = "{ mov.b32 %c, 0; cvt.rs.f16x2.f32 %d, %a, %b, %c; }";
    Case::of(text, F16x2, &[F32, F32, I32]).on("sm_100a").check_some(|x| {
        let half = |x: u64| {
            let x = f64::from(f32(x));
            let toward_zero = narrowed::<Half>(x, Round::TowardZero)?;
            // What overflows does so to infinity.
            (x.abs() < 65536.0).then_some(toward_zero)
        };
        Some(half(x[0])? << 16 | half(x[1])?)
    });
    let text = "{ .reg .b32 %r; mov.b32 %r, 0; cvt.rs.satfinite.e4m3x4.f32 %d, {%a, %b, %c, %e}, %r; }";
    Case::of(text, I32, &[F32; 4]).on("sm_100a").check_some(|x| {
        let mut packed = 0;
        for x in x {
            let x = f64::from(f32(*x));
            if x.is_nan() {
                return None;
            }
            let below = (0..=0x7e).rev().find(|&code| NARROW[0].magnitude(code) <= x.abs())?;
            packed = packed << 8 | u64::from(below | u32::from(x.is_sign_negative()) << 7);
        }
        Some(packed)
    });
}

#[test]
fn packed_integers() {
    for (ty, width, signed) in [
        ("u16", 16, false),
        ("s16", 16, true),
        ("u8", 8, false),
        ("s8", 8, true),
        ("u4", 4, false),
        ("s2", 2, true),
    ] {
        let element = |x: u64| {
            let (least, most) = range(width, signed);
            (number(x, 32, true).clamp(least, most) as u64) & ((1 << width) - 1)
        };
        let pair = |x: &[u64]| element(x[0]) << width | element(x[1]);
        if width == 16 {
            check(&format!("cvt.pack.sat.{ty}.s32"), I32, &[I32, I32], pair);
        } else {
            check(&format!("cvt.pack.sat.{ty}.s32.b32"), I32, &[I32, I32, I32], |x| {
                (x[2] << (2 * width) | pair(x)) & 0xffff_ffff
            });
        }
    }
}
