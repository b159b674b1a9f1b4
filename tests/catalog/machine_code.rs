//! What feature `aot` embeds: machine code of every row of an architecture for that very one, as ptxas makes it.

use rorqual::catalog::{Catalog, embedded, embedded_targets, rows_for};
use rorqual_kernels::assemble::{Assembler, Search};
use rorqual_kernels::parallel::in_parallel;

#[test]
fn every_row_has_machine_code_of_its_architecture() {
    let targets: Vec<_> = embedded_targets().collect();
    assert!(!targets.is_empty(), "a build for no architecture embeds nothing that could be tested");
    for target in targets {
        let mut bytes = 0;
        let rows = rows_for(target);
        for row in &rows {
            let artifact = embedded(&row.spec, target).expect("a row that is embedded");
            let name = &artifact.contract.kernel;
            let cubin = artifact.cubin.unwrap_or_else(|| panic!("{name} has no machine code"));
            let code = cubin.bytes();
            assert_eq!(&code[..4], b"\x7fELF", "{name}");
            // The two places that CUDA's ELF conventions have for the architecture.
            let flags = u32::from_le_bytes(code[48..52].try_into().unwrap());
            let sm = if code[8] == 7 { flags & 0xff } else { flags >> 8 & 0xff };
            assert_eq!(sm, u32::from(target.sm), "{name}");
            assert!(cubin.functions().contains(name), "{name}: {cubin:?}");
            bytes += code.len();
        }
        println!("{target}: {} kernels, {bytes} bytes of machine code", rows.len());
    }
}

#[test]
fn it_is_what_ptxas_makes_of_the_text() {
    let ptxas =
        Search::in_environment().ptxas.expect("the ptxas of the build").expect("one that was asked for");
    let directory = tempfile::tempdir().unwrap();
    let assembler = Assembler::new(&ptxas, directory.path()).unwrap();
    let target = embedded_targets().last().expect("an architecture");
    let artifacts: Vec<_> = rows_for(target).iter().filter_map(|row| embedded(&row.spec, target)).collect();
    for (artifact, assembled) in
        artifacts.iter().zip(in_parallel(&artifacts, |artifact| assembler.assemble(artifact)))
    {
        assert_eq!(artifact.cubin, Some(assembled.unwrap().cubin), "{}", artifact.contract.kernel);
    }
}

#[test]
fn only_what_is_embedded_has_it() {
    let catalog = Catalog::new();
    let target = embedded_targets().last().expect("an architecture");
    assert!(catalog.kernel(&rows_for(target)[0].spec, target).unwrap().cubin.is_some());
    if cfg!(feature = "jit") {
        assert!(catalog.kernel(&crate::uncommon(336), target).unwrap().cubin.is_none());
    }
}
