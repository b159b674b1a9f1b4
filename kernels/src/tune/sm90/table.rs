//! A choice as a table.

use super::choice::{Choice, TIE, shortest};
use super::problem::{Problem, Weights};
use crate::gemm::hopper::tile::{Multicast, Tile};
use std::fmt;

/// Tiles that are shown.
const PRINTED: usize = 6;

/// The problem, the choice and why, and a table of the best tiles, each with its best cluster. `tensor`, `shared` and
/// `block` are clocks of a block of K: of the tensor cores, of the port of shared memory, and of whatever takes longest.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { format, rows, n, k, weights, output, multiprocessors, .. } = self.problem;
        let weights = match weights {
            Weights::Dense => "dense".to_owned(),
            Weights::Groups(count) => format!("{count} groups"),
            Weights::Batches(count) => format!("{count} batches"),
        };
        writeln!(
            f,
            "{format:?} {rows} x {n} x {k}, {weights}, output {output:?}, {multiprocessors} multiprocessors"
        )?;
        let Tile { m, n, .. } = self.tile;
        let fastest = shortest(&self.considered);
        let equal = self.considered.iter().filter(|other| other.microseconds <= TIE * fastest).count();
        let why = match equal {
            1 => "the fastest".to_owned(),
            _ => format!(
                "of {equal} within 1 % of the fastest, the first by waste, waves, shared memory, L2 traffic"
            ),
        };
        writeln!(f, "{m} x {n}: {why}")?;
        writeln!(
            f,
            "{:<9} {:>6} {:<7} {:>6} {:>5} {:>6} {:>6} {:>6} {:<13} {:>8} {:>7}  reason",
            "tile",
            "stages",
            "cluster",
            "tiles",
            "waves",
            "tensor",
            "shared",
            "block",
            "bound",
            "us",
            "TFLOP/s"
        )?;
        let mut shapes = Vec::new();
        for estimate in &self.considered {
            let Tile { m, n, stages, multicast } = estimate.tile;
            if shapes.contains(&(m, n)) {
                continue;
            }
            shapes.push((m, n));
            if shapes.len() > PRINTED {
                break;
            }
            let cluster = match multicast {
                Multicast::None => "-",
                Multicast::A => "A by 2",
                Multicast::B => "B by 2",
            };
            writeln!(
                f,
                "{:<9} {stages:>6} {cluster:<7} {:>6} {:>5} {:>6.0} {:>6.0} {:>6.0} {:<13} {:>8.1} {:>7.0}  {}",
                format!("{m} x {n}"),
                estimate.tiles,
                estimate.waves,
                estimate.block.tensor_cores,
                estimate.block.shared_memory,
                estimate.block.longest().1,
                estimate.bound.name(),
                estimate.microseconds,
                estimate.tflops,
                estimate.reason,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::sm90::choose;

    #[test]
    fn a_choice_prints_as_a_table() {
        let printed = choose(&Problem { n: 2112, ..Problem::FP8 }).to_string();
        assert_eq!(printed, TABLE);
    }

    const TABLE: &str = "\
Fp8 4096 x 2112 x 7168, dense, output Bf16, 132 multiprocessors
128 x 192: of 3 within 1 % of the fastest, the first by waste, waves, shared memory, L2 traffic
tile      stages cluster  tiles waves tensor shared  block bound               us TFLOP/s  reason
128 x 192      5 B by 2     352     3    768    864    864 shared memory     89.1    1392  tensor cores busy 85 % of a tile, 5 % its ends, waste 11 %
128 x 144      6 B by 2     480     4    576    720    720 shared memory     98.6    1258  tensor cores busy 76 % of a tile, 5 % its ends, waste 11 %
128 x 160      5 B by 2     448     4    640    768    768 shared memory    104.5    1186  tensor cores busy 79 % of a tile, 5 % its ends, waste 20 %
128 x 112      6 B by 2     608     5    448    624    624 shared memory    105.6    1174  tensor cores busy 69 % of a tile, 5 % its ends, waste 9 %
256 x 96       4 A by 2     352     3    768   1040   1040 shared memory    105.6    1174  tensor cores busy 70 % of a tile, 5 % its ends, waste 11 %
128 x 128      6 B by 2     544     5    512    664    664 shared memory    111.8    1109  tensor cores busy 74 % of a tile, 4 % its ends, waste 20 %
";
}
