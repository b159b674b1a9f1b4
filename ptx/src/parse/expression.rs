//! Constant expressions (PTX ISA 4.5): evaluated as they are read, in 64 bits like the manual says.

use super::Parser;
use crate::error::ParseErrorKind;
use crate::lexer::{Lexer, Result, starts_name};
use crate::operand::Immediate;

/// Parentheses, casts, signs and conditionals nested deeper than this are refused.
const DEEPEST: u32 = 64;

/// Binary operators, loosest first; longer spellings before their prefixes.
const OPERATORS: &[&[&str]] = &[
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<=", ">=", "<", ">"],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];

impl Parser<'_> {
    /// A constant expression.
    #[inline]
    pub(super) fn constant(&mut self) -> Result<Immediate> {
        let [first, second] = self.lexer.peek_two();
        let value = match first {
            b'0'..=b'9' => self.lexer.number()?,
            b'-' if second.is_ascii_digit() => unary(&mut self.lexer, 0)?,
            _ => return conditional(&mut self.lexer, None, 0),
        };
        if ends(self.lexer.peek()) { Ok(value) } else { self.constant_after(value) }
    }

    /// The rest of a constant expression whose first operand is read.
    pub(super) fn constant_after(&mut self, first: Immediate) -> Result<Immediate> {
        conditional(&mut self.lexer, Some(first), 0)
    }

    /// A constant expression that is an integer, as the two's complement it is.
    pub(super) fn integer(&mut self) -> Result<i64> {
        let start = self.lexer;
        match self.constant()? {
            Immediate::Integer { value, .. } => Ok(value),
            _ => Err(start.expected("an integer")),
        }
    }

    /// An integer literal that is not negative.
    pub(super) fn natural(&mut self) -> Result<u64> {
        let start = self.lexer;
        match self.lexer.number()? {
            Immediate::Integer { value, .. } => Ok(value as u64),
            _ => Err(start.expected("an integer")),
        }
    }

    /// An integer literal in the range of a `u32`.
    pub(super) fn small(&mut self) -> Result<u32> {
        let start = self.lexer;
        self.natural()?.try_into().map_err(|_| start.error(ParseErrorKind::OutOfRange))
    }
}

/// Whether an expression is over here at the latest.
fn ends(byte: u8) -> bool {
    matches!(byte, b',' | b';' | b']' | b'}' | b')' | b'{')
}

fn conditional(lexer: &mut Lexer<'_>, first: Option<Immediate>, depth: u32) -> Result<Immediate> {
    if depth > DEEPEST {
        return Err(lexer.error(ParseErrorKind::TooDeep));
    }
    let condition = binary(lexer, first, 0, depth)?;
    if !lexer.take(b'?') {
        return Ok(condition);
    }
    let yes = conditional(lexer, None, depth + 1)?;
    lexer.expect(b':', "`:`")?;
    let no = conditional(lexer, None, depth + 1)?;
    Ok(if is_true(condition) { yes } else { no })
}

/// Operators of `level` and tighter.
fn binary(lexer: &mut Lexer<'_>, first: Option<Immediate>, level: usize, depth: u32) -> Result<Immediate> {
    let Some(operators) = OPERATORS.get(level) else {
        return first.map_or_else(|| unary(lexer, depth), Ok);
    };
    let mut left = binary(lexer, first, level + 1, depth)?;
    while let Some(operator) = next_operator(lexer, operators) {
        let at = *lexer;
        lexer.take_text(operator);
        let right = binary(lexer, None, level + 1, depth)?;
        left = apply(operator, left, right).map_err(|kind| at.error(kind))?;
    }
    Ok(left)
}

/// The operator that stands here, if it is one of these: `<` is not the start of `<<`.
fn next_operator(lexer: &Lexer<'_>, operators: &[&'static str]) -> Option<&'static str> {
    let [first, second] = lexer.peek_two();
    let doubled = match (first, second) {
        (b'<' | b'>' | b'&' | b'|', _) if first == second => Some(second),
        (b'<' | b'>' | b'=' | b'!', b'=') => Some(b'='),
        _ => None,
    };
    operators.iter().copied().find(|operator| match (operator.as_bytes(), doubled) {
        ([a], None) => *a == first,
        ([a, b], Some(doubled)) => *a == first && *b == doubled,
        _ => false,
    })
}

fn unary(lexer: &mut Lexer<'_>, depth: u32) -> Result<Immediate> {
    if depth > DEEPEST {
        return Err(lexer.error(ParseErrorKind::TooDeep));
    }
    let sign = lexer.peek();
    match sign {
        b'-' | b'+' | b'~' | b'!' => {
            let at = *lexer;
            lexer.take(sign);
            if matches!(lexer.peek_two(), [b'0', b'f' | b'F']) {
                return Err(lexer.expected("a decimal constant after a sign"));
            }
            let value = unary(lexer, depth + 1)?;
            signed(sign, value).ok_or_else(|| at.error(ParseErrorKind::FloatOperator))
        }
        b'(' => {
            lexer.take(b'(');
            let cast = lexer.directive();
            if let Some(ty) = cast {
                let unsigned = match ty {
                    "u64" => true,
                    "s64" => false,
                    _ => return Err(lexer.expected("a cast to .s64 or .u64")),
                };
                lexer.expect(b')', "`)`")?;
                return match unary(lexer, depth + 1)? {
                    Immediate::Integer { value, .. } => Ok(Immediate::Integer { value, unsigned }),
                    float => {
                        let value = to_f64(float);
                        let value = if unsigned { value as u64 as i64 } else { value as i64 };
                        Ok(Immediate::Integer { value, unsigned })
                    }
                };
            }
            let value = conditional(lexer, None, depth + 1)?;
            lexer.expect(b')', "`)`")?;
            Ok(value)
        }
        b'W' => {
            let at = *lexer;
            if lexer.name()? == "WARP_SZ" { Ok(Immediate::int(32)) } else { Err(at.expected("a constant")) }
        }
        byte if starts_name(byte) => Err(lexer.expected("a constant")),
        _ => lexer.number(),
    }
}

fn signed(sign: u8, value: Immediate) -> Option<Immediate> {
    match (sign, value) {
        (b'+', value) => Some(value),
        (b'-', Immediate::Integer { value, unsigned }) => {
            // The most negative number is the one whose digits alone do not fit.
            let unsigned = unsigned && value != i64::MIN;
            Some(Immediate::Integer { value: value.wrapping_neg(), unsigned })
        }
        (b'-', float) => Some(Immediate::F64((-to_f64(float)).to_bits())),
        (b'~', Immediate::Integer { value, unsigned }) => {
            Some(Immediate::Integer { value: !value, unsigned })
        }
        (b'!', Immediate::Integer { value, .. }) => Some(Immediate::int((value == 0).into())),
        _ => None,
    }
}

fn is_true(value: Immediate) -> bool {
    match value {
        Immediate::Integer { value, .. } => value != 0,
        float => to_f64(float) != 0.0,
    }
}

fn to_f64(value: Immediate) -> f64 {
    match value {
        Immediate::Integer { value, unsigned: true } => value as u64 as f64,
        Immediate::Integer { value, unsigned: false } => value as f64,
        Immediate::F32(bits) => f32::from_bits(bits).into(),
        Immediate::F64(bits) => f64::from_bits(bits),
    }
}

fn apply(
    operator: &str,
    left: Immediate,
    right: Immediate,
) -> std::result::Result<Immediate, ParseErrorKind> {
    match (left, right) {
        (
            Immediate::Integer { value: a, unsigned: a_unsigned },
            Immediate::Integer { value: b, unsigned: b_unsigned },
        ) => apply_integer(operator, a, b, a_unsigned, a_unsigned || b_unsigned),
        _ => apply_float(operator, to_f64(left), to_f64(right)),
    }
}

fn apply_integer(
    operator: &str,
    a: i64,
    b: i64,
    left_unsigned: bool,
    unsigned: bool,
) -> std::result::Result<Immediate, ParseErrorKind> {
    let typed = |value| Ok(Immediate::Integer { value, unsigned });
    let truth = |value: bool| Ok(Immediate::int(value.into()));
    // A shift has the type of its left side, its count wraps as in hardware.
    let shifted = |value| Ok(Immediate::Integer { value, unsigned: left_unsigned });
    let less = if unsigned { (a as u64) < (b as u64) } else { a < b };
    match operator {
        "+" => typed(a.wrapping_add(b)),
        "-" => typed(a.wrapping_sub(b)),
        "*" => typed(a.wrapping_mul(b)),
        "/" | "%" if b == 0 => Err(ParseErrorKind::DivisionByZero),
        "/" if unsigned => typed((a as u64 / b as u64) as i64),
        "/" => typed(a.wrapping_div(b)),
        "%" if unsigned => typed((a as u64 % b as u64) as i64),
        "%" => typed(a.wrapping_rem(b)),
        "<<" => shifted(a.wrapping_shl(b as u32)),
        ">>" if left_unsigned => shifted((a as u64).wrapping_shr(b as u32) as i64),
        ">>" => shifted(a.wrapping_shr(b as u32)),
        "&" => typed(a & b),
        "|" => typed(a | b),
        "^" => typed(a ^ b),
        "==" => truth(a == b),
        "!=" => truth(a != b),
        "<" => truth(less),
        ">=" => truth(!less),
        "<=" => truth(less || a == b),
        ">" => truth(!less && a != b),
        "&&" => truth(a != 0 && b != 0),
        _ => truth(a != 0 || b != 0),
    }
}

fn apply_float(operator: &str, a: f64, b: f64) -> std::result::Result<Immediate, ParseErrorKind> {
    let number = |value: f64| Ok(Immediate::F64(value.to_bits()));
    let truth = |value: bool| Ok(Immediate::int(value.into()));
    match operator {
        "+" => number(a + b),
        "-" => number(a - b),
        "*" => number(a * b),
        "/" => number(a / b),
        "==" => truth(a == b),
        "!=" => truth(a != b),
        "<" => truth(a < b),
        ">=" => truth(a >= b),
        "<=" => truth(a <= b),
        ">" => truth(a > b),
        _ => Err(ParseErrorKind::FloatOperator),
    }
}
