//! The parser, the printer and the verifier of PTX. Replayed by the test `fuzz_replay` of `rorqual-ptx`.

use std::fmt::Display;

use rorqual_ptx::module::{Module, Position};
use rorqual_ptx::verify::{verify, verify_all};
use rorqual_ptx::{parse, print};

/// The longest message that an error may have, in bytes: it may list the forms of an instruction.
const LONGEST_MESSAGE: usize = 20_000;

/// Bytes as PTX: an error is at a place of the text; what is accepted prints, and prints the same when read back.
pub fn ptx_parse(bytes: &[u8]) {
    if let Some(module) = parsed(bytes) {
        read_back(&module);
    }
}

/// Bytes as PTX that is verified: errors are those of the whole list; what passes still passes when it is printed.
pub fn ptx_verify(bytes: &[u8]) {
    let Some(module) = parsed(bytes) else { return };
    let errors = verify_all(&module);
    errors.iter().for_each(|error| assert_presentable(error));
    match verify(module) {
        Ok(verified) => {
            assert!(errors.is_empty(), "{}", errors[0]);
            let again = verify(read_back(&verified)).unwrap_or_else(|error| panic!("printed: {error}"));
            assert_eq!(print(&again), print(&verified));
        }
        Err(error) => assert_eq!(Some(&error), errors.first()),
    }
}

/// The module that the bytes are, if they are one.
fn parsed(bytes: &[u8]) -> Option<Module> {
    let text = std::str::from_utf8(bytes).ok()?;
    match parse(text) {
        Ok(module) => Some(module),
        Err(error) => {
            let Position { line, column } = error.position;
            let lines = text.lines().count() + 1;
            assert!((1..=lines).contains(&(line as usize)) && column >= 1, "{error}, of {lines} lines");
            assert_presentable(&error);
            None
        }
    }
}

/// The module that the printed text is.
fn read_back(module: &Module) -> Module {
    let printed = print(module);
    let again = parse(&printed).unwrap_or_else(|error| panic!("printed: {error}"));
    assert_eq!(print(&again), printed);
    again
}

/// A message has a length that a person reads, and cannot move the cursor of a terminal.
fn assert_presentable(error: &dyn Display) {
    let message = error.to_string();
    assert!(!message.is_empty() && message.len() <= LONGEST_MESSAGE, "{} bytes", message.len());
    assert!(!message.contains(|c: char| c.is_control() && c != '\n'), "{message:?}");
}
