//! How a command fails, and what exit status that is.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::process::ExitCode;

use rorqual::driver;

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// It ran, and what it checked is wrong.
    Check(String),
    /// It ran, but could not tell.
    Inconclusive(String),
    /// What it was given cannot be used.
    Input(String),
    /// Whoever reads the output has closed it, which is no failure of ours.
    OutputClosed,
}

impl Failure {
    /// Bad input, described by `message`.
    pub fn input(message: impl Display) -> Self {
        Self::Input(message.to_string())
    }

    /// Says on stderr what is wrong and returns the exit status.
    pub fn report(self) -> ExitCode {
        match self {
            Self::Check(message) => {
                say(format_args!("error: {message}"));
                ExitCode::from(1)
            }
            Self::Inconclusive(message) => {
                say(format_args!("inconclusive: {message}"));
                ExitCode::from(3)
            }
            Self::Input(message) => {
                say(format_args!("error: {message}"));
                ExitCode::from(2)
            }
            Self::OutputClosed => ExitCode::SUCCESS,
        }
    }
}

/// Writes a line to stderr. Where stderr cannot be written there is nobody to tell.
pub fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

impl From<rorqual::Error> for Failure {
    fn from(error: rorqual::Error) -> Self {
        match error {
            rorqual::Error::Driver(error) => error.into(),
            error => Self::input(error),
        }
    }
}

impl From<driver::Error> for Failure {
    fn from(error: driver::Error) -> Self {
        match error {
            error if error.is_inconclusive() => Self::Inconclusive(error.to_string()),
            error @ driver::Error::Simulated { .. } => Self::Check(error.to_string()),
            error => Self::input(error),
        }
    }
}

impl From<rorqual::reference::InputError> for Failure {
    fn from(error: rorqual::reference::InputError) -> Self {
        Self::input(error)
    }
}

/// Errors of writing to stdout.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::input(format_args!("cannot write the output: {error}"))
        }
    }
}
