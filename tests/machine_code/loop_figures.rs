//! What is counted of the usual way through a loop of products, for one warp of a consumer.
//!
//! Clocks are those that the words of the instructions say a warp waits at least: not those that it waits for results.

use crate::listing::Instruction;
use std::collections::BTreeMap;

/// Bytes of shared memory that go through its port in a clock.
const PORT_BYTES: f64 = 128.0;

/// Warps of a warpgroup, one on each quarter of a multiprocessor.
const WARPS: u32 = 4;

/// The figures of a loop, each of one round of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoopFigures {
    /// Columns of a product.
    pub columns: u32,
    /// Groups of products: 64 rows of a tile and 128 bytes of K each.
    pub groups: u32,
    /// Products of these groups.
    pub products: u32,
    /// Instructions of a warp.
    pub instructions: u32,
    /// Clocks in which it cannot issue the next one.
    pub clocks: u32,
    /// Of these, instructions that are issued while none of the warp's products is under way: only another warpgroup can
    /// keep the tensor cores busy meanwhile.
    pub exposed_instructions: u32,
    /// And their clocks.
    pub exposed_clocks: u32,
    /// Clocks from the issue of a product to that of the next one of its group, for every group; and how many groups have
    /// them so.
    pub gaps: BTreeMap<Vec<u32>, u32>,
    /// Fences, which hold a warp for as long as memory takes.
    pub fences: u32,
    /// Bytes that a warp moves between registers and shared memory.
    pub shared_bytes: u32,
}

impl LoopFigures {
    /// Counts.
    ///
    /// # Errors
    ///
    /// If products are of several widths, or none ends a group.
    pub fn new(way: &[&Instruction]) -> Result<Self, String> {
        let mut figures = Self { instructions: way.len() as u32, ..Self::default() };
        let (mut clock, mut issued): (u32, Vec<u32>) = (0, vec![]);
        for instruction in way {
            if let Some(columns) = instruction.product_columns() {
                if ![0, columns].contains(&figures.columns) {
                    return Err(format!("products of {} and {columns} columns in a loop", figures.columns));
                }
                figures.columns = columns;
                figures.products += 1;
                issued.push(clock);
            }
            if instruction.ends_group() {
                figures.groups += 1;
                let gaps = issued.windows(2).map(|pair| pair[1] - pair[0]).collect();
                *figures.gaps.entry(gaps).or_default() += 1;
                issued.clear();
            }
            clock += instruction.clocks();
            figures.fences += u32::from(instruction.is_fence());
            figures.shared_bytes += instruction.shared_bytes();
        }
        if figures.groups == 0 || !issued.is_empty() {
            return Err(format!("{} products that are in no group", issued.len()));
        }
        figures.clocks = clock;
        (figures.exposed_instructions, figures.exposed_clocks) = exposed(way);
        Ok(figures)
    }

    /// The part of the time, in thousandths, in which tensor cores can be busy at most, where `consumers` warpgroups run
    /// the loop and each round of it takes `stage_bytes` of copies: what they need, of what the port of shared memory
    /// or the issue of instructions needs.
    ///
    /// A product of `n` columns and 32 bytes of K takes n / 2 clocks; it reads 64 rows of A and n of B.
    pub fn busy_at_most(&self, consumers: u32, stage_bytes: u32) -> u32 {
        let products = f64::from(consumers * self.products);
        let multiplying = products * f64::from(self.columns) / 2.0;
        let operands = products * f64::from((64 + self.columns) * 32);
        let registers = f64::from(consumers * WARPS * self.shared_bytes);
        let port = (operands + registers + f64::from(stage_bytes)) / PORT_BYTES;
        let issue = f64::from(consumers * self.instructions);
        (1000.0 * multiplying / multiplying.max(port).max(issue)).round() as u32
    }
}

/// The instructions that are issued while no product is under way, and their clocks. The second round counts, in which
/// what the first one left under way still is.
fn exposed(way: &[&Instruction]) -> (u32, u32) {
    let (mut open, mut groups) = (false, 0);
    let mut counts = (0, 0);
    for _ in 0..2 {
        counts = (0, 0);
        for instruction in way {
            open |= instruction.product_columns().is_some();
            groups += usize::from(instruction.ends_group());
            if !open && groups == 0 {
                counts = (counts.0 + 1, counts.1 + instruction.clocks());
            }
            if let Some(left) = instruction.awaits_groups() {
                (open, groups) = (false, groups.min(left));
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::tests::listing;

    fn figures(lines: &[&str]) -> Result<LoopFigures, String> {
        let instructions = listing(lines);
        LoopFigures::new(&instructions.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_loop_is_counted() {
        let figures = figures(&[
            "2 LDS.128 R8, [R2]",
            "1 @!PT LDS RZ, [RZ]",
            "1 @!P0 MEMBAR.ALL.GPU",
            "1 QGMMA.64x128x32.F32.E4M3.E4M3 R24, gdesc[UR8], RZ, !UPT",
            "3 UIADD3 UR8, UR8, 0x2, URZ",
            "1 QGMMA.64x128x32.F32.E4M3.E4M3 R24, gdesc[UR8], R24, gsb0",
            "4 WARPGROUP.DEPBAR.LE gsb0, 0x0",
            "1 FFMA R100, R24, R8, R100",
            "5 BRA `(loop)",
            "loop:",
        ]);
        let expected = LoopFigures {
            columns: 128,
            groups: 1,
            products: 2,
            instructions: 9,
            clocks: 19,
            exposed_instructions: 5,
            exposed_clocks: 10,
            gaps: BTreeMap::from([(vec![4], 1)]),
            fences: 1,
            shared_bytes: 512,
        };
        assert_eq!(figures, Ok(expected));
    }

    /// What is issued before the products of a round is exposed, unless those of the round before are still under way.
    #[test]
    fn products_that_are_left_under_way_cover_the_next_round() {
        let round = |left: &str| {
            let wait = format!("4 WARPGROUP.DEPBAR.LE gsb0, {left}");
            let lines =
                ["2 FADD R8, R8, R8", "1 HGMMA.64x64x16.F32.BF16 R24, gdesc[UR8], R24, gsb0", &wait, "1 NOP"];
            figures(&lines).unwrap()
        };
        assert_eq!((round("0x0").exposed_instructions, round("0x0").exposed_clocks), (2, 3));
        assert_eq!((round("0x1").exposed_instructions, round("0x1").exposed_clocks), (0, 0));
    }

    #[test]
    fn what_is_no_loop_of_products_is_refused() {
        assert!(figures(&["1 NOP"]).is_err());
        assert!(figures(&["1 HGMMA.64x8x16.F32.BF16 R24, gdesc[UR8], R24"]).is_err());
        let other = "1 HGMMA.64x16x16.F32.BF16 R24, gdesc[UR8], R24, gsb0";
        assert!(figures(&["1 HGMMA.64x8x16.F32.BF16 R24, gdesc[UR8], R24", other]).is_err());
    }

    /// Tiles of 128 x 192 in fp8, as the port of shared memory bounds them: 768 clocks of 864.
    #[test]
    fn the_port_of_shared_memory_bounds_a_tile() {
        let tile = LoopFigures {
            columns: 192,
            groups: 1,
            products: 4,
            instructions: 150,
            shared_bytes: 512,
            ..LoopFigures::default()
        };
        assert_eq!(tile.busy_at_most(2, (128 + 192) * 128), 889);
        assert_eq!(LoopFigures { instructions: 768, ..tile }.busy_at_most(2, (128 + 192) * 128), 500);
    }
}
