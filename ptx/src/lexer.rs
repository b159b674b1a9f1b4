//! Cuts PTX text into tokens on demand (PTX ISA chapter 4). The lexer stands on a token at all times: blanks and
//! comments after a token are skipped with it, and nothing is allocated.

use crate::error::{ParseError, ParseErrorKind};
use crate::module::Position;
use crate::operand::Immediate;

/// Errors are boxed on the way up, so that the good case stays small.
pub(crate) type Result<T> = std::result::Result<T, Box<ParseError>>;

const NAME_START: u8 = 1;
const NAME: u8 = 2;
const OPCODE: u8 = 4;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => NAME_START | NAME | OPCODE,
            b'0'..=b'9' => NAME | OPCODE,
            b'$' => NAME_START | NAME,
            b'%' => NAME_START,
            b'.' => OPCODE,
            _ => 0,
        };
        byte += 1;
    }
    table
}

/// Whether a name may start with the byte.
#[inline]
pub(crate) fn starts_name(byte: u8) -> bool {
    CLASSES[byte as usize] & NAME_START != 0
}

#[inline]
fn continues_name(byte: u8) -> bool {
    CLASSES[byte as usize] & NAME != 0
}

/// A cursor over the text. A copy remembers a place, for an error that may turn out later.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    line_start: usize,
}

impl<'a> Lexer<'a> {
    /// Stands on the first token.
    pub fn new(text: &'a str) -> Self {
        let mut lexer = Self { text, at: 0, line: 1, line_start: 0 };
        lexer.skip();
        lexer
    }

    /// The whole text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The byte at a distance from the current one; 0 past the end.
    #[inline]
    fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    /// The first byte of the token; 0 at the end.
    #[inline]
    pub fn peek(&self) -> u8 {
        self.byte(0)
    }

    /// The first two bytes of the token and what follows.
    pub fn peek_two(&self) -> [u8; 2] {
        [self.byte(0), self.byte(1)]
    }

    /// Whether the text is used up.
    pub fn at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    /// Where the token stands.
    #[inline]
    pub fn position(&self) -> Position {
        Position { line: self.line, column: (self.at - self.line_start + 1) as u32 }
    }

    /// Skips blanks and comments. An unterminated comment stays, for [`error`](Self::error) to find.
    #[inline]
    fn skip(&mut self) {
        loop {
            match self.byte(0) {
                b' ' | b'\t' | b'\r' | 0x0b | 0x0c => self.at += 1,
                b'\n' => {
                    self.at += 1;
                    self.line += 1;
                    self.line_start = self.at;
                }
                b'/' => {
                    if !self.skip_comment() {
                        return;
                    }
                }
                _ => return,
            }
        }
    }

    #[cold]
    fn skip_comment(&mut self) -> bool {
        let rest = &self.text[self.at..];
        if rest.starts_with("//") {
            self.at += rest.find('\n').unwrap_or(rest.len());
            return true;
        }
        let Some(end) = rest.strip_prefix("/*").and_then(|inner| inner.find("*/")) else { return false };
        let comment = &rest[..end + 4];
        self.line += comment.matches('\n').count() as u32;
        if let Some(newline) = comment.rfind('\n') {
            self.line_start = self.at + newline + 1;
        }
        self.at += comment.len();
        true
    }

    /// Takes `length` bytes as a token.
    #[inline]
    fn take_bytes(&mut self, length: usize) -> &'a str {
        let token = &self.text[self.at..self.at + length];
        self.at += length;
        self.skip();
        token
    }

    /// Takes the punctuation mark if it is there.
    #[inline]
    pub fn take(&mut self, mark: u8) -> bool {
        let found = self.byte(0) == mark && !self.at_end();
        if found {
            self.at += 1;
            self.skip();
        }
        found
    }

    /// Takes the operator if it is there.
    pub fn take_text(&mut self, operator: &str) -> bool {
        let found = self.text[self.at..].starts_with(operator);
        if found {
            self.take_bytes(operator.len());
        }
        found
    }

    /// Takes the punctuation mark, or complains that `what` is missing.
    #[inline]
    pub fn expect(&mut self, mark: u8, what: &'static str) -> Result<()> {
        if self.take(mark) { Ok(()) } else { Err(self.expected(what)) }
    }

    #[inline]
    fn name_length(&self) -> usize {
        let bytes = &self.text.as_bytes()[self.at..];
        match bytes.first() {
            Some(&first) if starts_name(first) => {
                bytes[1..].iter().position(|byte| !continues_name(*byte)).map_or(bytes.len(), |end| end + 1)
            }
            _ => 0,
        }
    }

    /// A name, e.g. `%r1`, `$L__BB0_2`, `_Z3addv`.
    pub fn name(&mut self) -> Result<&'a str> {
        match self.name_length() {
            0 => Err(self.expected("a name")),
            length => Ok(self.take_bytes(length)),
        }
    }

    /// A run of letters, digits and dots, e.g. `8.0`; empty if there is none.
    pub fn word(&mut self) -> &'a str {
        let bytes = &self.text.as_bytes()[self.at..];
        let length =
            bytes.iter().position(|byte| CLASSES[*byte as usize] & OPCODE == 0).unwrap_or(bytes.len());
        self.take_bytes(length)
    }

    /// A name that may have a component, e.g. `%tid.x`.
    #[inline]
    pub fn operand_name(&mut self) -> Result<&'a str> {
        let mut length = self.name_length();
        if length == 0 {
            return Err(self.expected("an operand"));
        }
        if self.byte(length) == b'.' && starts_name(self.byte(length + 1)) {
            length += 2;
            while continues_name(self.byte(length)) {
                length += 1;
            }
        }
        Ok(self.take_bytes(length))
    }

    /// The opcode or label that a statement starts with: `Ok` is a label, whose colon is taken too, `Err` is an
    /// opcode with its modifiers, blanks between them included.
    #[inline]
    pub fn label_or_opcode(&mut self) -> Result<Statement<'a>> {
        let start = self.at;
        let length = self.name_length();
        if length == 0 {
            return Err(self.expected("an instruction"));
        }
        if self.byte(length) != b'.' {
            let name = self.take_bytes(length);
            if self.byte(0) == b':' && self.byte(1) != b':' {
                self.take(b':');
                return Ok(Statement::Label(name));
            }
        } else {
            self.at += length;
        }
        let mut end = start + length;
        while self.byte(0) == b'.' {
            self.at += self.opcode_length();
            end = self.at;
            self.skip();
        }
        Ok(Statement::Opcode(&self.text[start..end]))
    }

    /// A run of letters, digits, dots and double colons.
    #[inline]
    fn opcode_length(&self) -> usize {
        let mut length = 0;
        loop {
            let byte = self.byte(length);
            if CLASSES[byte as usize] & OPCODE != 0 {
                length += 1;
            } else if byte == b':' && self.byte(length + 1) == b':' {
                length += 2;
            } else {
                return length;
            }
        }
    }

    /// A run of letters, digits, dots and double colons as a token, at least one byte of the text.
    pub fn opcode_word(&mut self) -> &'a str {
        self.take_bytes(self.opcode_length().max(usize::from(!self.at_end())))
    }

    /// The word after a dot, e.g. `reg` of `.reg`, `shared::cta`, or `None` if there is no dot.
    pub fn directive(&mut self) -> Option<&'a str> {
        let bytes = &self.text.as_bytes()[self.at..];
        if bytes.first() != Some(&b'.') || !starts_name(self.byte(1)) {
            return None;
        }
        let mut length = 1;
        loop {
            let byte = self.byte(length);
            if continues_name(byte) {
                length += 1;
            } else if byte == b':' && self.byte(length + 1) == b':' {
                length += 2;
            } else {
                break;
            }
        }
        Some(&self.take_bytes(length)[1..])
    }

    /// What lies between quotes, escapes kept.
    pub fn string(&mut self) -> Result<&'a str> {
        if self.peek() != b'"' {
            return Err(self.expected("a string"));
        }
        let mut length = 1;
        loop {
            match self.byte(length) {
                b'"' => return Ok(self.take_bytes(length + 1)).map(|text| &text[1..length]),
                b'\\' if self.byte(length + 1) != b'\n' => length += 2,
                b'\n' => return Err(self.error(ParseErrorKind::UnterminatedString)),
                _ if self.at + length >= self.text.len() => {
                    return Err(self.error(ParseErrorKind::UnterminatedString));
                }
                _ => length += 1,
            }
        }
    }

    /// Everything up to the closing mark that balances an opening one already taken; the closing mark is taken.
    pub fn balanced(&mut self, open: u8, close: u8) -> Result<&'a str> {
        let start = self.at;
        let mut depth = 1_usize;
        while !self.at_end() {
            let byte = self.peek();
            if byte == close {
                depth -= 1;
                if depth == 0 {
                    let inner = &self.text[start..self.at];
                    self.take(close);
                    return Ok(inner);
                }
            }
            depth += usize::from(byte == open);
            self.at += 1;
            while !self.text.is_char_boundary(self.at) {
                self.at += 1;
            }
            self.skip();
        }
        Err(self.error(ParseErrorKind::Unbalanced(open as char)))
    }

    /// An integer or floating-point literal without sign (PTX ISA 4.5.1, 4.5.2).
    pub fn number(&mut self) -> Result<Immediate> {
        let bytes = &self.text.as_bytes()[self.at..];
        let fraction = self.byte(0) == b'.' && self.byte(1).is_ascii_digit();
        if !self.peek().is_ascii_digit() && !fraction {
            return Err(self.expected("a number"));
        }
        let (value, length) = match (self.byte(0), self.byte(1)) {
            (b'0', b'x' | b'X') => self.integer(bytes, 2, 16)?,
            (b'0', b'b' | b'B') => self.integer(bytes, 2, 2)?,
            (b'0', b'f' | b'F') => {
                let (bits, length) = self.bits(bytes, 8)?;
                (Immediate::F32(bits as u32), length)
            }
            (b'0', b'd' | b'D') => {
                let (bits, length) = self.bits(bytes, 16)?;
                (Immediate::F64(bits), length)
            }
            _ => {
                let digits = bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len());
                if matches!(bytes.get(digits), Some(b'.' | b'e' | b'E')) {
                    self.decimal_float(bytes)?
                } else if bytes[0] == b'0' && digits > 1 {
                    self.integer(bytes, 1, 8)?
                } else {
                    self.integer(bytes, 0, 10)?
                }
            }
        };
        if bytes.get(length).is_some_and(|byte| continues_name(*byte)) {
            return Err(self.error(ParseErrorKind::MalformedNumber));
        }
        self.take_bytes(length);
        Ok(value)
    }

    fn integer(&self, bytes: &[u8], prefix: usize, radix: u32) -> Result<(Immediate, usize)> {
        let mut value = 0_u64;
        let mut length = prefix;
        while let Some(digit) = bytes.get(length).and_then(|byte| (*byte as char).to_digit(radix)) {
            value = value
                .checked_mul(radix.into())
                .and_then(|value| value.checked_add(digit.into()))
                .ok_or_else(|| self.error(ParseErrorKind::OutOfRange))?;
            length += 1;
        }
        if length == prefix {
            return Err(self.error(ParseErrorKind::MalformedNumber));
        }
        let suffix = bytes.get(length) == Some(&b'U');
        let value =
            Immediate::Integer { value: value as i64, unsigned: suffix || i64::try_from(value).is_err() };
        Ok((value, length + usize::from(suffix)))
    }

    /// Exactly so many hexadecimal digits after `0f` or `0d`.
    fn bits(&self, bytes: &[u8], digits: usize) -> Result<(u64, usize)> {
        let mut value = 0;
        for place in 2..2 + digits {
            let digit = bytes.get(place).and_then(|byte| (*byte as char).to_digit(16));
            value = value << 4 | u64::from(digit.ok_or_else(|| self.error(ParseErrorKind::MalformedNumber))?);
        }
        Ok((value, 2 + digits))
    }

    fn decimal_float(&self, bytes: &[u8]) -> Result<(Immediate, usize)> {
        let digits =
            |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count() + from;
        let mut length = digits(0);
        if bytes.get(length) == Some(&b'.') {
            length = digits(length + 1);
        }
        if matches!(bytes.get(length), Some(b'e' | b'E')) {
            let signed = matches!(bytes.get(length + 1), Some(b'+' | b'-'));
            length = digits(length + 1 + usize::from(signed));
        }
        let value = self.text[self.at..self.at + length].parse::<f64>().ok();
        let value = value.ok_or_else(|| self.error(ParseErrorKind::MalformedNumber))?;
        if value.is_finite() {
            Ok((Immediate::F64(value.to_bits()), length))
        } else {
            Err(self.error(ParseErrorKind::OutOfRange))
        }
    }

    /// The current token for an error message, cut short if it is long.
    #[cold]
    fn token(&self) -> &'a str {
        const LONGEST: usize = 60;
        let rest = &self.text[self.at..];
        let plain = |byte: u8| CLASSES[byte as usize] != 0;
        let length = rest
            .bytes()
            .position(|byte| !plain(byte))
            .unwrap_or(rest.len())
            .max(rest.chars().next().map_or(0, char::len_utf8));
        let mut length = length.min(LONGEST);
        while !rest.is_char_boundary(length) {
            length -= 1;
        }
        &rest[..length]
    }

    /// An error at the current token.
    #[cold]
    pub fn error(&self, kind: ParseErrorKind) -> Box<ParseError> {
        let unterminated = self.text[self.at..].starts_with("/*");
        let kind = if unterminated { ParseErrorKind::UnterminatedComment } else { kind };
        Box::new(ParseError { position: self.position(), token: self.token().to_owned(), kind })
    }

    /// An error at the current token, where `what` should be.
    #[cold]
    pub fn expected(&self, what: &'static str) -> Box<ParseError> {
        self.error(ParseErrorKind::Expected(what))
    }
}

/// What a statement starts with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Statement<'a> {
    /// A label; its colon is taken.
    Label(&'a str),
    /// An opcode with its modifiers, as spelled: there may be blanks before a dot.
    Opcode(&'a str),
}
