//! The text of `vprintf` (CUDA programming guide, formatted output): conversions of C, arguments packed in memory with
//! natural alignment.

use crate::context::Context;
use crate::memory::{Window, all_defined, classify};
use crate::report::{Fault, Rule};

/// The longest string that is read.
const MOST_BYTES: u64 = 1 << 16;

/// Reads bytes at a generic address of a lane, all of which must be defined.
fn read(context: &Context<'_>, lane: usize, address: u64, bytes: &mut [u8]) -> Result<(), Box<Fault>> {
    let outside =
        |text: String| Box::new(Fault::new(Rule::Bounds, format!("printf reads {address:#x}: {text}")));
    let mut defined = true;
    match classify(address) {
        Window::Global => {
            let mut flags = vec![0; bytes.len()];
            context
                .grid
                .global()
                .read_range(address, bytes, &mut flags)
                .map_err(|error| outside(error.to_string()))?;
            defined = all_defined(&flags);
        }
        Window::Shared(shared) => {
            let cta = &context.cluster.ctas[context.warp.cta];
            let (data, flags) =
                cta.shared.range(shared, bytes.len() as u32).map_err(|error| outside(error.to_string()))?;
            bytes.copy_from_slice(data);
            defined = all_defined(flags);
        }
        Window::Local(local) => {
            for (offset, byte) in bytes.iter_mut().enumerate() {
                let mut value = [0u32; 32];
                let found = context
                    .warp
                    .local
                    .load_lanes::<1, u32>(&[local; 32], offset as u32, 1 << lane, &mut value)
                    .map_err(|error| outside(error.to_string()))?;
                *byte = value[lane] as u8;
                defined &= found >> lane & 1 == 1;
            }
        }
        _ => return Err(outside("no such memory".to_owned())),
    }
    if !defined && context.grid.options.check_initialized {
        return Err(context.undefined_fault(1 << lane, "what printf prints"));
    }
    Ok(())
}

/// Reads a string that ends with a zero byte.
///
/// # Errors
///
/// If it is not in memory, or does not end.
pub fn read_string(context: &Context<'_>, lane: usize, address: u64) -> Result<Vec<u8>, Box<Fault>> {
    let mut text = Vec::new();
    for offset in 0..MOST_BYTES {
        let mut byte = [0];
        read(context, lane, address.wrapping_add(offset), &mut byte)?;
        if byte[0] == 0 {
            return Ok(text);
        }
        text.push(byte[0]);
    }
    Err(Box::new(Fault::new(Rule::Bounds, format!("the string at {address:#x} does not end"))))
}

/// One conversion of a format string.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Conversion {
    left: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    zeros: bool,
    width: usize,
    precision: Option<usize>,
    /// Whether an integer has 8 bytes.
    long: bool,
    kind: u8,
}

/// Formats the text for one lane; gives it with the number of arguments that it took.
///
/// # Errors
///
/// If a string or argument is not in memory.
pub fn format(
    context: &Context<'_>,
    lane: usize,
    format: u64,
    arguments: u64,
) -> Result<(Vec<u8>, u64), Box<Fault>> {
    let pattern = read_string(context, lane, format)?;
    let (mut offset, mut taken) = (0u64, 0);
    let mut next = |bytes: u64| -> Result<u64, Box<Fault>> {
        offset = offset.next_multiple_of(bytes);
        let mut word = [0; 8];
        read(context, lane, arguments.wrapping_add(offset), &mut word[..bytes as usize])?;
        offset += bytes;
        taken += 1;
        Ok(u64::from_le_bytes(word))
    };
    let mut out = Vec::new();
    let mut at = 0;
    while at < pattern.len() {
        if pattern[at] != b'%' {
            out.push(pattern[at]);
            at += 1;
            continue;
        }
        let (conversion, end) = parse(&pattern, at + 1, &mut next)?;
        at = end;
        match conversion.kind {
            b'%' => out.push(b'%'),
            b's' => {
                let text = read_string(context, lane, next(8)?)?;
                let shown = &text[..conversion.precision.unwrap_or(text.len()).min(text.len())];
                pad(&mut out, "", shown, conversion, false);
            }
            b'c' => pad(&mut out, "", &[next(4)? as u8], conversion, false),
            b'e' | b'E' | b'f' | b'F' | b'g' | b'G' | b'a' | b'A' => {
                float(&mut out, f64::from_bits(next(8)?), conversion);
            }
            b'p' => {
                let address = format!("{:#x}", next(8)?);
                pad(&mut out, "", address.as_bytes(), conversion, false);
            }
            b'd' | b'i' | b'u' | b'x' | b'X' | b'o' => {
                let value = next(if conversion.long { 8 } else { 4 })?;
                integer(&mut out, value, conversion);
            }
            // What C does not know is written as it stands.
            other => out.extend([b'%', other].iter().filter(|byte| **byte != 0)),
        }
    }
    Ok((out, taken))
}

/// Reads a conversion behind its `%`; gives where it ends.
fn parse(
    pattern: &[u8],
    mut at: usize,
    next: &mut impl FnMut(u64) -> Result<u64, Box<Fault>>,
) -> Result<(Conversion, usize), Box<Fault>> {
    let mut conversion = Conversion::default();
    while let Some(flag) = pattern.get(at) {
        match flag {
            b'-' => conversion.left = true,
            b'+' => conversion.plus = true,
            b' ' => conversion.space = true,
            b'#' => conversion.alternate = true,
            b'0' => conversion.zeros = true,
            _ => break,
        }
        at += 1;
    }
    const MOST_COLUMNS: usize = 4096;
    let mut number = |at: &mut usize| -> Result<Option<usize>, Box<Fault>> {
        if pattern.get(*at) == Some(&b'*') {
            *at += 1;
            return Ok(Some((next(4)? as usize).min(MOST_COLUMNS)));
        }
        let start = *at;
        while pattern.get(*at).is_some_and(u8::is_ascii_digit) {
            *at += 1;
        }
        let digits = pattern[start..*at].iter();
        let value =
            digits.fold(0usize, |value, digit| (value * 10 + usize::from(digit - b'0')).min(MOST_COLUMNS));
        Ok((*at > start).then_some(value))
    };
    conversion.width = number(&mut at)?.unwrap_or(0);
    if pattern.get(at) == Some(&b'.') {
        at += 1;
        conversion.precision = Some(number(&mut at)?.unwrap_or(0));
    }
    while let Some(length) = pattern.get(at) {
        match length {
            b'l' | b'j' | b'z' | b't' => conversion.long = true,
            b'h' | b'L' => {}
            _ => break,
        }
        at += 1;
    }
    conversion.kind = pattern.get(at).copied().unwrap_or(0);
    Ok((conversion, (at + 1).min(pattern.len().max(at))))
}

fn pad(out: &mut Vec<u8>, sign: &str, body: &[u8], conversion: Conversion, zeros: bool) {
    let fill = conversion.width.saturating_sub(sign.len() + body.len());
    let (before, inner, after) = match (conversion.left, zeros && conversion.zeros) {
        (true, _) => (0, 0, fill),
        (false, true) => (0, fill, 0),
        (false, false) => (fill, 0, 0),
    };
    out.extend(std::iter::repeat_n(b' ', before));
    out.extend(sign.bytes());
    out.extend(std::iter::repeat_n(b'0', inner));
    out.extend(body);
    out.extend(std::iter::repeat_n(b' ', after));
}

fn sign_of(negative: bool, conversion: Conversion) -> &'static str {
    match (negative, conversion.plus, conversion.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    }
}

fn integer(out: &mut Vec<u8>, value: u64, conversion: Conversion) {
    let signed = if conversion.long { value.cast_signed() } else { i64::from(value as u32 as i32) };
    let (mut sign, mut digits) = match conversion.kind {
        b'd' | b'i' => (sign_of(signed < 0, conversion), signed.unsigned_abs().to_string()),
        b'x' => (if conversion.alternate && value != 0 { "0x" } else { "" }, format!("{value:x}")),
        b'X' => (if conversion.alternate && value != 0 { "0X" } else { "" }, format!("{value:X}")),
        b'o' => (if conversion.alternate && value != 0 { "0" } else { "" }, format!("{value:o}")),
        _ => ("", value.to_string()),
    };
    if let Some(precision) = conversion.precision {
        digits = format!("{digits:0>precision$}");
        if precision == 0 && value == 0 {
            (sign, digits) = (sign.trim_start_matches("0x"), String::new());
        }
    }
    pad(out, sign, digits.as_bytes(), conversion, conversion.precision.is_none());
}

fn float(out: &mut Vec<u8>, value: f64, conversion: Conversion) {
    let upper = conversion.kind.is_ascii_uppercase();
    let sign = sign_of(value.is_sign_negative() && !value.is_nan(), conversion);
    let magnitude = value.abs();
    let precision = conversion.precision.unwrap_or(6);
    let body = if value.is_nan() {
        "nan".to_owned()
    } else if value.is_infinite() {
        "inf".to_owned()
    } else {
        match conversion.kind.to_ascii_lowercase() {
            b'f' => format!("{magnitude:.precision$}"),
            b'e' => exponential(magnitude, precision),
            b'g' => general(magnitude, precision.max(1), conversion.alternate),
            _ => hexadecimal(magnitude),
        }
    };
    let body = if upper { body.to_ascii_uppercase() } else { body };
    pad(out, sign, body.as_bytes(), conversion, value.is_finite());
}

/// `d.ddde+dd`
fn exponential(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn general(value: f64, precision: usize, keep_zeros: bool) -> String {
    let scientific = exponential(value, precision - 1);
    let exponent: i32 = scientific.split_once('e').map_or(0, |(_, exponent)| exponent.parse().unwrap_or(0));
    let trim = |text: &str| {
        if keep_zeros || !text.contains('.') {
            text.to_owned()
        } else {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    };
    if exponent < -4 || exponent >= precision as i32 {
        let (digits, tail) = scientific.split_once('e').unwrap_or((&scientific, "+00"));
        return format!("{}e{tail}", trim(digits));
    }
    let decimals = (precision as i32 - 1 - exponent).max(0) as usize;
    trim(&format!("{value:.decimals$}"))
}

fn hexadecimal(value: f64) -> String {
    if value == 0.0 {
        return "0x0p+0".to_owned();
    }
    let bits = value.to_bits();
    let (fraction, exponent) = (bits & ((1 << 52) - 1), (bits >> 52 & 0x7ff) as i32);
    let (lead, exponent) = if exponent == 0 { (0, -1022) } else { (1, exponent - 1023) };
    let digits = format!("{fraction:013x}");
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    format!("0x{lead}{point}{digits}p{exponent:+}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(kind: u8, value: f64, precision: Option<usize>) -> String {
        let mut out = Vec::new();
        float(&mut out, value, Conversion { kind, precision, ..Conversion::default() });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_read_as_in_c() {
        assert_eq!(show(b'f', 1.5, None), "1.500000");
        assert_eq!(show(b'e', 12345.678, Some(2)), "1.23e+04");
        assert_eq!(show(b'g', 0.0001, None), "0.0001");
        assert_eq!(show(b'g', 1e-5, None), "1e-05");
        assert_eq!(show(b'g', 1e6, None), "1e+06");
        assert_eq!(show(b'g', 100000.0, None), "100000");
        assert_eq!(show(b'E', -0.5, Some(0)), "-5E-01");
        assert_eq!(show(b'a', 1.0, None), "0x1p+0");
        assert_eq!(show(b'f', f64::NAN, None), "nan");
    }

    #[test]
    fn integers_read_as_in_c() {
        let show = |kind, value: u64, change: fn(&mut Conversion)| {
            let mut conversion = Conversion { kind, ..Conversion::default() };
            change(&mut conversion);
            let mut out = Vec::new();
            integer(&mut out, value, conversion);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(show(b'd', u64::from(u32::MAX), |_| ()), "-1");
        assert_eq!(show(b'u', u64::from(u32::MAX), |_| ()), "4294967295");
        assert_eq!(show(b'x', 255, |c| c.alternate = true), "0xff");
        assert_eq!(show(b'd', 7, |c| (c.width, c.zeros) = (4, true)), "0007");
        assert_eq!(show(b'd', 7, |c| (c.width, c.left) = (4, true)), "7   ");
        assert_eq!(show(b'd', 7, |c| c.precision = Some(3)), "007");
    }
}
