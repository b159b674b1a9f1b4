//! `docs/machine_code.md`: the figures, and the texts that they are of.

use crate::kernels::Listed;
use crate::loop_figures::LoopFigures;
use crate::measurement::Measured;
use rorqual::catalog::text_hash;
use std::collections::BTreeMap;
use std::fmt::Write;

/// How the page is written.
pub const COMMAND: &str = "RORQUAL_PTXAS=/path/to/ptxas RORQUAL_NVDISASM=/path/to/nvdisasm BLESS=1 cargo test -p rorqual \
    --test machine_code";

const HEAD: &str = "# The machine code of the products on Hopper

Exact counts of what ptxas makes of the kernels whose speed depends on it, a kernel for each shape of loop. A change of a
count is a change of this page. No kernel spills a register or uses local memory, and ptxas has no advice for any; what
else they keep to is in `tests/machine_code/budgets.rs`. Nothing here ran on a GPU.
";

const KERNELS: &str = "
## Kernels

Registers of a thread at launch; those up to the highest that the code of consumers and of the producer names, of those
that `setmaxnreg` gives them; instructions in all. The hash is the start of the SHA-256 of the PTX text.

| kernel | launch | consumers | producer | instructions | text |
|---|--:|--:|--:|--:|---|
";

const LOOPS: &str = "
## Loops over K

What a warp of a consumer issues in a round of the loop. A group is 64 rows of the tile and 128 bytes of K. Clocks are
those that the words of the instructions hold the warp back at least; what is issued while none of the warp's own
products is under way is exposed: other warpgroups have to keep the tensor cores busy then. Of both, the mean of a group
is in brackets. Fences hold a warp for as long as memory takes, which no count here tells. Gaps are the clocks between
the products of a group, with the number of groups that have them. The last column is the part of the time in which
tensor cores can be busy at most: what they need, of what the port of shared memory or the issue of instructions needs.
Kernels for groups have a second loop for those of at most 32 rows, whose operands are swapped.

| kernel | products | groups | instructions | clocks | exposed instructions | exposed clocks | fences | gaps | busy at most |
|---|---|--:|--:|--:|--:|--:|--:|---|--:|
";

fn name(kernel: &Listed) -> &str {
    &kernel.artifact.contract.kernel
}

fn hash(kernel: &Listed) -> String {
    text_hash(&kernel.artifact)[..16].to_owned()
}

/// The line that names the program.
fn made_by(version: &str) -> String {
    format!("Made by ptxas {version}.")
}

/// The page.
pub fn page(version: &str, kernels: &[Listed], measured: &[Measured]) -> String {
    let mut page = format!("{HEAD}\n{} Written by\n\n```sh\n{COMMAND}\n```\n{KERNELS}", made_by(version));
    let mut line = |text: String| writeln!(page, "{text}").expect("a string grows");
    for (kernel, Measured { report, roles, instructions, .. }) in kernels.iter().zip(measured) {
        let role = |index: usize| match roles {
            Some(roles) => format!("{} of {}", roles[index].uses, roles[index].has),
            None => "-".to_owned(),
        };
        let (name, hash, registers) = (name(kernel), hash(kernel), report.registers);
        line(format!("| `{name}` | {registers} | {} | {} | {instructions} | `{hash}` |", role(1), role(0)));
    }
    line(LOOPS.trim_end().to_owned());
    for (kernel, measured) in kernels.iter().zip(measured) {
        for figures in &measured.loops {
            line(row(kernel, figures));
        }
    }
    page
}

/// The line of a loop.
fn row(kernel: &Listed, figures: &LoopFigures) -> String {
    let LoopFigures { columns, groups, products, fences, .. } = *figures;
    let of_group = |count: u32| format!("{count} ({:.1})", f64::from(count) / f64::from(groups));
    let counts = [figures.instructions, figures.clocks, figures.exposed_instructions, figures.exposed_clocks];
    let counts = counts.map(of_group).join(" | ");
    let gaps = figures.gaps.iter().map(|(gaps, count)| {
        let gaps: Vec<String> = gaps.iter().map(u32::to_string).collect();
        format!("{count} x {}", gaps.join(" "))
    });
    let gaps = gaps.collect::<Vec<_>>().join(", ");
    let busy = if columns == kernel.shape.product_columns {
        let busy = figures.busy_at_most(kernel.shape.consumers, kernel.shape.stage_bytes(groups));
        format!("{}.{} %", busy / 10, busy % 10)
    } else {
        "swapped".to_owned()
    };
    format!(
        "| `{}` | {products} x 64x{columns} | {groups} | {counts} | {fences} | {gaps} | {busy} |",
        name(kernel)
    )
}

/// Whether the figures of a page are of this program.
pub fn is_made_by(page: &str, version: &str) -> bool {
    page.contains(&made_by(version))
}

/// The kernels of a page with the hashes of their texts.
fn listed(page: &str) -> BTreeMap<String, String> {
    let unquoted = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let entry = |line: &str| {
        let cells: Vec<&str> = line.split('|').collect();
        (cells.len() == 8).then(|| (unquoted(cells[1]), unquoted(cells[6])))
    };
    page.lines().filter(|line| line.starts_with("| `")).filter_map(entry).collect()
}

/// What of a page is not about these kernels and their texts, in words.
pub fn stale(page: &str, kernels: &[Listed]) -> Vec<String> {
    let mut listed = listed(page);
    let of_kernel = |kernel: &Listed| match listed.remove(name(kernel)) {
        None => Some(format!("{} is not on docs/machine_code.md", name(kernel))),
        Some(found) => (found != hash(kernel)).then(|| {
            format!("{} has another text than that whose figures docs/machine_code.md has", name(kernel))
        }),
    };
    let mut stale: Vec<String> = kernels.iter().filter_map(of_kernel).collect();
    stale.extend(listed.keys().map(|gone| format!("docs/machine_code.md has {gone}, which is not measured")));
    stale
}

/// The first line in which two pages differ, in words.
pub fn difference(written: &str, measured: &str) -> Option<String> {
    let longest = written.lines().count().max(measured.lines().count());
    let line = |page: &str, index: usize| page.lines().nth(index).unwrap_or("nothing").to_owned();
    (0..longest).map(|index| (index, line(written, index), line(measured, index))).find_map(
        |(index, written, measured)| {
            (written != measured)
                .then(|| format!("line {}:\n  written  {written}\n  measured {measured}", index + 1))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_compared_with_the_kernels_that_there_are() {
        let kernels = crate::kernels::kernels();
        let figures = LoopFigures { columns: 128, groups: 1, ..LoopFigures::default() };
        let report = rorqual_kernels::assemble::Report::default();
        let measured = Measured { report, roles: None, instructions: 1, loops: vec![figures] };
        let page = page("13.5.37", &kernels, &vec![measured; kernels.len()]);
        assert!(is_made_by(&page, "13.5.37") && !is_made_by(&page, "13.5.3"));
        assert_eq!(stale(&page, &kernels), Vec::<String>::new());

        let (first, last) = (name(&kernels[0]), name(&kernels[kernels.len() - 1]));
        let other_text = page.replace(&hash(&kernels[0]), "0123456789abcdef");
        let expected = format!("{first} has another text than that whose figures docs/machine_code.md has");
        assert_eq!(stale(&other_text, &kernels), [expected]);
        let other_name = page.replace(last, "product");
        let expected = [
            format!("{last} is not on docs/machine_code.md"),
            "docs/machine_code.md has product, which is not measured".to_owned(),
        ];
        assert_eq!(stale(&other_name, &kernels), expected);
    }

    #[test]
    fn the_first_line_that_differs_is_shown() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        let message = "line 2:\n  written  b\n  measured c".to_owned();
        assert_eq!(difference("a\nb\nd\n", "a\nc\n"), Some(message));
        assert!(difference("a\n", "a\nb\n").is_some_and(|message| message.contains("written  nothing")));
    }
}
