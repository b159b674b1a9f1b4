//! What can be wrong with PTX text. Every error carries the place and the offending token.

use crate::module::Position;
use thiserror::Error;

/// The first thing that is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {}, column {}: {}", .position.line, .position.column, sentence(.kind, .token))]
pub struct ParseError {
    /// Where the offending token stands.
    pub position: Position,
    /// The offending token, cut short if it is long; empty at the end of the text.
    pub token: String,
    /// What is wrong with it.
    pub kind: ParseErrorKind,
}

/// One variant for every way to be wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// Something else must stand here.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A `/*` without its `*/`.
    #[error("unterminated comment")]
    UnterminatedComment,
    /// A `"` without its partner on the same line.
    #[error("unterminated string")]
    UnterminatedString,
    /// A `{` of a section or a `(` of an attribute without its partner.
    #[error("unbalanced `{0}`")]
    Unbalanced(char),
    /// A word after a dot that is no directive, or none that may stand here.
    #[error("is not a directive that may stand here")]
    UnknownDirective,
    /// A word after a dot that is no type.
    #[error("is not a type that can be declared")]
    UnknownType,
    /// A `.version` that is not `major.minor`, or differs from an earlier one.
    #[error("is not a PTX version, or not the one given before")]
    BadVersion,
    /// A `.target` that is not `sm_` and a number.
    #[error("is not a target")]
    BadTarget,
    /// An `.address_size` other than 64.
    #[error("address size {0} is not supported, only 64 is")]
    AddressSize(u64),
    /// No row of the table starts like this.
    #[error("is not an instruction{}", did_you_mean(.suggestion))]
    UnknownInstruction {
        /// A close name.
        suggestion: Option<String>,
    },
    /// An instruction of the PTX ISA that the table leaves out: textures, surfaces, the scalar video instructions.
    #[error("is not supported")]
    UnsupportedInstruction,
    /// A texture, sampler or surface variable.
    #[error("is not supported as a type")]
    UnsupportedType,
    /// A modifier that no form of the instruction takes.
    #[error("unknown modifier {modifier} of `{instruction}`; its forms are:{forms}")]
    UnknownModifier {
        /// The modifier with its dot.
        modifier: String,
        /// The row of the table.
        instruction: &'static str,
        /// Forms of the row, one a line.
        forms: String,
    },
    /// Every modifier exists, but no form takes just these.
    #[error("no form of `{instruction}` takes exactly these modifiers; its forms are:{forms}")]
    ModifierCombination {
        /// The row of the table.
        instruction: &'static str,
        /// Forms of the row, one a line.
        forms: String,
    },
    /// The operands fit none of the forms with these modifiers.
    #[error("the operands do not fit; the form is one of:{forms}")]
    Operands {
        /// The forms with these modifiers, one a line.
        forms: String,
    },
    /// A name that is not declared in an enclosing scope.
    #[error("is not declared{}", did_you_mean(.suggestion))]
    Undeclared {
        /// A close name that is.
        suggestion: Option<String>,
    },
    /// A name that is declared twice in one scope.
    #[error("is already declared at line {}, column {}", .first.line, .first.column)]
    Duplicate {
        /// The first declaration.
        first: Position,
    },
    /// A function whose definition differs from its declaration in linkage or parameters.
    #[error("does not match its declaration at line {}, column {}", .first.line, .first.column)]
    Mismatch {
        /// The declaration.
        first: Position,
    },
    /// A number that is not well formed.
    #[error("is not a number")]
    MalformedNumber,
    /// A number that its place cannot hold.
    #[error("is out of range")]
    OutOfRange,
    /// A constant expression with a division by zero.
    #[error("division by zero in a constant expression")]
    DivisionByZero,
    /// An operator between operands that it does not take, e.g. `%` of floats.
    #[error("is not an operator of floating-point constants")]
    FloatOperator,
    /// A variable of more than 4 GiB, or an initialiser that fills up too many rows.
    #[error("is too large")]
    TooLarge,
    /// An initialiser with more elements than the variable.
    #[error("the initialiser has more elements than the variable")]
    TooManyInitializers,
    /// Parentheses or braces nested deeper than the parser follows.
    #[error("nested too deeply")]
    TooDeep,
    /// A component that a register does not have.
    #[error("is not a component of a vector register")]
    NoComponent,
}

impl ParseErrorKind {
    /// Whether the text may be right PTX, of a part of the ISA that is left out here.
    #[must_use]
    pub const fn is_unsupported(&self) -> bool {
        matches!(self, Self::UnsupportedInstruction | Self::UnsupportedType)
    }
}

/// Words the error: some messages say something of the token, others say what should be there instead of it.
fn sentence(kind: &ParseErrorKind, token: &str) -> String {
    let token = printable(token);
    match kind {
        ParseErrorKind::Expected(_) if token.is_empty() => format!("{kind}, found the end of the text"),
        ParseErrorKind::Expected(_) => format!("{kind}, found `{token}`"),
        ParseErrorKind::UnknownDirective
        | ParseErrorKind::UnknownType
        | ParseErrorKind::BadVersion
        | ParseErrorKind::BadTarget
        | ParseErrorKind::UnknownInstruction { .. }
        | ParseErrorKind::UnsupportedInstruction
        | ParseErrorKind::UnsupportedType
        | ParseErrorKind::Undeclared { .. }
        | ParseErrorKind::Duplicate { .. }
        | ParseErrorKind::Mismatch { .. }
        | ParseErrorKind::MalformedNumber
        | ParseErrorKind::OutOfRange
        | ParseErrorKind::FloatOperator
        | ParseErrorKind::TooLarge
        | ParseErrorKind::NoComponent => format!("`{token}` {kind}"),
        ParseErrorKind::Operands { .. } => format!("`{token}`: {kind}"),
        _ => kind.to_string(),
    }
}

/// The token without what a terminal would obey, cut short if it is long.
fn printable(token: &str) -> String {
    const LONGEST: usize = 120;
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    token.chars().take(LONGEST).map(escape).collect()
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// The candidate nearest to `name`, if it is a plausible misspelling: at most a third of the letters differ, and
/// not just the number at the end.
pub(crate) fn closest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    const LONGEST: usize = 64;
    let limit = (name.len() / 3).min(3);
    candidates
        .filter(|candidate| candidate.len() <= LONGEST && candidate.len().abs_diff(name.len()) <= limit)
        .filter(|candidate| stem(candidate) != stem(name))
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}

fn stem(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit())
}

/// Levenshtein's distance.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.bytes().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_holds_nothing_that_a_terminal_obeys() {
        let token = format!("\u{1b}[2J{}", "x".repeat(1000));
        let position = Position { line: 1, column: 1 };
        let message = ParseError { position, token, kind: ParseErrorKind::Expected("`;`") }.to_string();
        assert!(message.contains("`\\u{1b}[2Jxx") && message.len() < 200, "{message}");
    }

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let names = ["%rd1", "counter", "shared_buffer"];
        let suggest = |name| closest(name, names.into_iter());
        assert_eq!(suggest("coutner"), Some("counter".to_owned()));
        assert_eq!(suggest("%rb1"), Some("%rd1".to_owned()));
        assert_eq!(suggest("%rd2"), None);
        assert_eq!(suggest("%r"), None);
        assert_eq!(suggest("shared_bufer"), Some("shared_buffer".to_owned()));
        assert_eq!(suggest("something"), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
