//! What ptxas makes of the products for Hopper, counted and pinned: no GPU is needed to see that a loop got longer.
//!
//! | module | what it is |
//! |---|---|
//! | [`kernels`] | the kernels that are measured |
//! | [`measurement`] | from a kernel to its figures |
//! | [`listing`], [`control_flow`] | machine code as nvdisasm prints it; its loops, and the usual way through one |
//! | [`loop_figures`], [`role_registers`] | what is counted |
//! | [`budgets`] | the limits that hold for any ptxas |
//! | [`page`] | `docs/machine_code.md`, the exact figures for one |
//!
//! `RORQUAL_PTXAS` and `RORQUAL_NVDISASM` name the programs; with both the kernels are measured, and with `BLESS=1` the page
//! is written. Without them the page must have the kernels and the hashes of their texts: the figures are of these.

mod budgets;
mod control_flow;
mod kernels;
mod listing;
mod loop_figures;
mod measurement;
mod page;
mod role_registers;

use kernels::Listed;
use measurement::{Measured, Tools};
use rorqual_kernels::parallel::in_parallel;
use std::{env, fs};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/machine_code.md");

#[test]
fn the_page_has_the_figures_of_the_kernels() {
    let kernels = kernels::kernels();
    let directory = tempfile::tempdir().expect("a directory");
    let written = fs::read_to_string(PAGE).unwrap_or_default();
    let how = format!("write docs/machine_code.md anew by\n{}", page::COMMAND);
    if let Some(tools) = Tools::named(directory.path()) {
        let measured = measure(&tools, &kernels);
        let version = tools.assembler.version();
        let page = page::page(version, &kernels, &measured);
        if env::var_os("BLESS").is_some() {
            return fs::write(PAGE, page).expect("a page that can be written");
        }
        if page::is_made_by(&written, version) {
            let difference = page::difference(&written, &page);
            assert_eq!(
                difference, None,
                "docs/machine_code.md is not what was measured; if that is right, {how}"
            );
        } else {
            println!(
                "the figures of docs/machine_code.md are not of ptxas {version}: only limits are checked"
            );
        }
    } else {
        println!("not measured: RORQUAL_PTXAS and RORQUAL_NVDISASM do not name programs");
    }
    let stale = page::stale(&written, &kernels);
    assert!(stale.is_empty(), "{}\n{how}", stale.join("\n"));
}

/// The figures of all kernels, which keep to the limits.
fn measure(tools: &Tools, kernels: &[Listed]) -> Vec<Measured> {
    let results = in_parallel(kernels, |kernel| tools.measure(kernel));
    let wrong: Vec<&String> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let measured: Vec<Measured> = results.into_iter().filter_map(Result::ok).collect();
    let broken = budgets::broken(kernels, &measured);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    measured
}
