//! The PTX language: parse it, check it, print it, build it. Knows no kernel and no device.
#![forbid(unsafe_code)]

pub mod build;
pub mod error;
pub mod fragment;
pub mod instruction;
mod lexer;
pub mod modifier;
pub mod module;
pub mod operand;
mod parse;
pub mod print;
pub mod table;
pub mod target;
pub mod types;
pub mod verify;
pub mod visit;

pub use parse::parse;
pub use print::print;
