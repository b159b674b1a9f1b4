//! Progress on stderr: bars where a person looks on, nothing where nobody does.

use std::borrow::Cow;
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rorqual::model::OpenStep;

/// Shows how far a command has come, one bar at a time.
pub struct Bars {
    visible: bool,
    bar: ProgressBar,
}

impl Bars {
    /// Bars on stderr if it is a terminal and `quiet` is not asked for.
    pub fn new(quiet: bool) -> Self {
        Self { visible: !quiet && std::io::stderr().is_terminal(), bar: ProgressBar::hidden() }
    }

    /// Shows `done` of `total` steps of `task`.
    pub fn show(&mut self, task: impl Into<Cow<'static, str>>, done: usize, total: usize) {
        if !self.visible {
            return;
        }
        let task = task.into();
        if self.bar.message() != task || self.bar.is_finished() {
            self.bar.finish_and_clear();
            let style =
                ProgressStyle::with_template("{msg:12} {bar:40} {pos}/{len}  {elapsed} gone, {eta} to go");
            self.bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr())
                .with_style(style.expect("a valid template"))
                .with_message(task);
        }
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
    }

    /// Shows how far opening a checkpoint has come.
    pub fn opening(&mut self, step: OpenStep) {
        match step {
            OpenStep::File { number, count } => self.show("files", number, count),
            OpenStep::Layer { number, count } => self.show("layers", number, count),
        }
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
