//! The `rorqual` command.
//!
//! Results go to stdout, progress and errors to stderr. Exit status: 0 done; 1 a check failed; 2 bad usage or bad
//! input; 3 inconclusive: the simulator lacks what a kernel needs, or a budget ran out.
#![forbid(unsafe_code)]

mod arguments;
mod checkpoint;
mod demo;
mod devices;
mod emit;
mod failure;
mod generate;
mod logits;
mod memory;
mod mutate;
mod place;
mod progress;
mod speed;
mod sums;
mod verify;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let command = arguments.command.unwrap_or(Command::Demo(arguments.demo));
    let done = match command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Logits(arguments) => logits::run(&arguments),
        Command::Emit(arguments) => emit::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Mutate(arguments) => mutate::run(&arguments),
        Command::Devices(arguments) => devices::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
