//! A plan takes the arguments of its own family.

use rorqual::driver::Stream;
use rorqual::ops::Plan;
use rorqual::ops::spec::norm::RmsNorm;
use rorqual::ops::spec::residual::ResidualArguments;

fn wrong(stream: &Stream, plan: &Plan<RmsNorm>, arguments: &ResidualArguments) {
    let _ = plan.launch(stream, arguments, &[]);
}

fn main() {}
