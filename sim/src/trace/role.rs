//! What a warp is for, from what it executed.

use super::record::WarpRecord;
use std::fmt;

/// What a warp is for, and the lines that say so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role {
    /// In words.
    pub name: &'static str,
    /// First and last PTX line that it executed and not every warp; of all that it executed if all executed the same.
    pub lines: [u32; 2],
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (lines {}-{})", self.name, self.lines[0], self.lines[1])
    }
}

/// The role of each warp of a cluster.
pub(super) fn roles(warps: &[WarpRecord]) -> Vec<Role> {
    let words = warps.iter().map(|warp| warp.lines.len()).max().unwrap_or(0);
    let word = |warp: &WarpRecord, at: usize| warp.lines.get(at).copied().unwrap_or(0);
    let shared: Vec<u64> =
        (0..words).map(|at| warps.iter().fold(u64::MAX, |all, warp| all & word(warp, at))).collect();
    let multiply = warps.iter().any(|warp| warp.multiplies_as_group || warp.multiplies_alone);
    let role = |warp: &WarpRecord| {
        let own: Vec<u64> = (0..words).map(|at| word(warp, at) & !shared[at]).collect();
        let lines = extent(&own).or_else(|| extent(&warp.lines)).unwrap_or([0; 2]);
        Role { name: name(warp, multiply), lines }
    };
    warps.iter().map(role).collect()
}

/// The first and last of a set of lines.
fn extent(lines: &[u64]) -> Option<[u32; 2]> {
    let first = lines.iter().position(|word| *word != 0)?;
    let last = lines.iter().rposition(|word| *word != 0)?;
    let line = |word: usize, bit: u32| word as u32 * 64 + bit;
    Some([line(first, lines[first].trailing_zeros()), line(last, 63 - lines[last].leading_zeros())])
}

const fn name(warp: &WarpRecord, others_multiply: bool) -> &'static str {
    let copies = warp.loads_in_bulk || warp.copies_by_lane;
    match (warp.multiplies_as_group, warp.multiplies_alone) {
        (true, _) if copies => "copies and wgmma",
        (true, _) if warp.stores => "wgmma consumer and epilogue",
        (true, _) => "wgmma consumer",
        (_, true) if copies => "copies and mma",
        (_, true) if warp.stores => "mma consumer and epilogue",
        (_, true) => "mma consumer",
        _ if warp.loads_in_bulk && others_multiply => "TMA producer",
        _ if warp.copies_by_lane && others_multiply => "cp.async producer",
        _ if others_multiply && warp.stores => "epilogue",
        _ if others_multiply => "no copies, no products",
        _ if copies => "copies",
        _ if warp.stores => "stores",
        _ => "no stores",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_that_not_every_warp_executed() {
        let warp = |lines: &[u64]| {
            let mut warp = WarpRecord::default();
            warp.lines = lines.to_vec();
            warp
        };
        let (mut producer, mut consumer) = (warp(&[0b1110, 1]), warp(&[0b0110, 0b110]));
        producer.loads_in_bulk = true;
        (consumer.multiplies_as_group, consumer.stores) = (true, true);
        let names = |warps: &[WarpRecord]| roles(warps).iter().map(Role::to_string).collect::<Vec<_>>();
        let warps = [producer, consumer, warp(&[0b0110])];
        assert_eq!(
            names(&warps),
            [
                "TMA producer (lines 3-64)",
                "wgmma consumer and epilogue (lines 65-66)",
                "no copies, no products (lines 1-2)"
            ]
        );
        let [producer, ..] = warps;
        assert_eq!(names(&[producer]), ["copies (lines 1-64)"]);
    }
}
