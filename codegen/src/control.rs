//! Branches, loops and roles as closures.

use crate::builder::Builder;
use crate::value::{Input, Predicate, Value};
use rorqual_ptx::operand::Operand;

impl Builder {
    /// Runs `body` in the threads where a predicate holds.
    #[track_caller]
    pub fn when(&self, predicate: Predicate<'_>, body: impl FnOnce()) {
        match predicate.known() {
            Some(false) => {}
            Some(true) => body(),
            None => {
                let end = self.label();
                self.emit_when(!predicate, "bra", vec![Operand::Label(end)]);
                self.within(body);
                self.place(end);
            }
        }
    }

    /// Runs one of two bodies in each thread.
    #[track_caller]
    pub fn when_else(&self, predicate: Predicate<'_>, yes: impl FnOnce(), no: impl FnOnce()) {
        match predicate.known() {
            Some(true) => yes(),
            Some(false) => no(),
            None => {
                let (otherwise, end) = (self.label(), self.label());
                self.emit_when(!predicate, "bra", vec![Operand::Label(otherwise)]);
                self.within(yes);
                self.emit("bra", vec![Operand::Label(end)]);
                self.place(otherwise);
                self.within(no);
                self.place(end);
            }
        }
    }

    /// Runs `body` for `start`, `start + step`, .. below `end`. Threads may have different bounds; where literals leave
    /// nothing, nothing is written.
    #[track_caller]
    pub fn for_each<'k>(
        &'k self,
        start: impl Into<Input<'k, u32>>,
        end: impl Into<Input<'k, u32>>,
        step: impl Into<Input<'k, u32>>,
        body: impl FnOnce(Value<'k, u32>),
    ) {
        let (start, end) = (start.into().value(self), end.into().value(self));
        let step = step.into().value(self);
        if let (Some(start), Some(end)) = (start.known(), end.known())
            && start >= end
        {
            return;
        }
        let index = start.variable();
        let (again, done) = (self.label(), self.label());
        // The condition is tested at the bottom, so that an iteration has one branch.
        self.emit_when(start.at_least(end), "bra", vec![Operand::Label(done)]);
        self.place(again);
        self.within(|| body(index.peek()));
        index.add(step);
        self.emit_when(index.peek().less(end), "bra", vec![Operand::Label(again)]);
        self.place(done);
    }

    /// Runs `body` as long as `condition` holds, which is tested before each round.
    #[track_caller]
    pub fn repeat_while<'k>(&'k self, condition: impl FnOnce() -> Predicate<'k>, body: impl FnOnce()) {
        let (again, done) = (self.label(), self.label());
        self.place(again);
        self.enter();
        let holds = condition();
        self.emit_when(!holds, "bra", vec![Operand::Label(done)]);
        body();
        self.leave();
        self.emit("bra", vec![Operand::Label(again)]);
        self.place(done);
    }

    /// Runs `body` in the warps `first..first + count` of the CTA, together.
    #[track_caller]
    pub fn role(&self, first_warp: u32, warps: u32, body: impl FnOnce()) {
        if first_warp + warps > self.warps() {
            self.fail(format!("warps {first_warp}..{} of {}", first_warp + warps, self.warps()));
        }
        let warp = self.warp();
        let inside = if first_warp == 0 {
            warp.less(warps)
        } else {
            // Below the first one wraps around and is large.
            (warp - first_warp).less(warps)
        };
        self.when(inside, body);
    }

    /// Ends the thread.
    #[track_caller]
    pub fn exit_when(&self, predicate: Predicate<'_>) {
        self.emit_when(predicate, "exit", vec![]);
    }

    fn within(&self, body: impl FnOnce()) {
        self.enter();
        body();
        self.leave();
    }
}
