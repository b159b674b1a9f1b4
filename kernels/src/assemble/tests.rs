//! A stand-in for ptxas does well, fails, warns, is too old: each with its result.

use super::*;
use crate::catalog;
use crate::cubin::tests::elf;
use std::fs;

const STAND_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stand_in_ptxas.sh");

/// What ptxas says of a kernel that is as it should be.
const CONTENT: &str = "\
// say ptxas info    : Function properties for kernel
// say     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
// say ptxas info    : Used 24 registers, used 1 barriers, 96 bytes smem
";

/// A directory of a test, and the stand-in that works there.
struct Bench {
    directory: PathBuf,
    assembler: Assembler,
    artifact: Artifact,
}

impl Bench {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("rorqual-assemble-{name}-{}", std::process::id()));
        let assembler = Assembler::new(Path::new(STAND_IN), &directory).unwrap();
        let target = "sm_80".parse().unwrap();
        let row = catalog::rows_for(target).remove(0);
        let artifact = Artifact::from(&row.spec.generate(target).unwrap());
        Self { directory, assembler, artifact }
    }

    /// The kernel with comments that the stand-in obeys.
    fn kernel(&self, comments: &str) -> Artifact {
        Artifact { ptx: format!("{comments}\n{}", self.artifact.ptx), ..self.artifact.clone() }
    }

    /// The comment that gives a kernel the machine code of this architecture and function.
    fn code(&self, sm: u8, function: &str) -> String {
        self.raw_code(&elf(8, sm, function))
    }

    fn raw_code(&self, bytes: &[u8]) -> String {
        let path = self.directory.join("given");
        fs::write(&path, bytes).unwrap();
        format!("// copy {}\n", path.display())
    }

    fn name(&self) -> &str {
        &self.artifact.contract.kernel
    }

    /// What is wrong, without the name of the kernel.
    fn error(&self, comments: &str) -> String {
        let error = self.assembler.assemble(&self.kernel(comments)).unwrap_err().to_string();
        let (name, rest) = error.split_once(": ").unwrap();
        assert_eq!(name, self.name());
        rest.to_owned()
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.directory.join("runs")).map_or(0, |runs| runs.lines().count())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn what_was_assembled_is_not_assembled_again() {
    let bench = Bench::new("again");
    let comments = CONTENT.to_owned() + &bench.code(80, bench.name());
    let kernel = bench.kernel(&comments);
    let assembled = bench.assembler.assemble(&kernel).unwrap();
    assert_eq!(assembled.cubin.bytes(), elf(8, 80, bench.name()));
    assert_eq!((assembled.report.registers, assembled.report.static_shared_bytes), (24, 96));
    assert_eq!(bench.assembler.assemble(&kernel), Ok(assembled.clone()));
    assert_eq!(bench.runs(), 1);

    // A changed text is another kernel; so is the same text for another target.
    let changed = bench.kernel(&(comments + "// changed\n"));
    assert_eq!(bench.assembler.assemble(&changed), Ok(assembled.clone()));
    assert_eq!(bench.runs(), 2);
    let mut other = kernel.clone();
    other.contract.target = "sm_89".parse().unwrap();
    assert!(bench.assembler.assemble(&other).unwrap_err().to_string().contains("sm_89"));
    assert_eq!(
        fs::read_to_string(bench.directory.join("runs")).unwrap(),
        "-arch=sm_80\n-arch=sm_80\n-arch=sm_89\n"
    );

    // A damaged result is no result.
    let entry = bench.assembler.entry(&kernel);
    let whole = fs::read(&entry).unwrap();
    for damaged in [&[], &whole[..whole.len() / 2], &whole[..whole.len() - 1]] {
        let runs = bench.runs();
        fs::write(&entry, damaged).unwrap();
        assert_eq!(bench.assembler.assemble(&kernel), Ok(assembled.clone()));
        assert_eq!((fs::read(&entry).unwrap(), bench.runs()), (whole.clone(), runs + 1));
    }

    bench.assembler.keep_only([&kernel]).unwrap();
    let left: Vec<_> = fs::read_dir(&bench.directory).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(left, [entry]);
}

#[test]
fn refusals_are_told_in_its_words() {
    let bench = Bench::new("refused");
    let message = "ptxas kernel.ptx, line 4; error   : Not a name of any known instruction: 'foo'";
    assert_eq!(
        bench.error(&format!(
            "// say {message}\n// say ptxas fatal   : Ptx assembly aborted due to errors\n// exit 255"
        )),
        format!("ptxas 12.3 fails for sm_80: {message}; ptxas fatal   : Ptx assembly aborted due to errors")
    );
    let text = fs::read_to_string(bench.directory.join(format!("{}.ptx", bench.name()))).unwrap();
    assert!(text.ends_with(&bench.artifact.ptx), "the text stays, to be looked at");
    assert_eq!(bench.error("// exit 3"), "ptxas 12.3 fails for sm_80: exit status: 3");
}

#[test]
fn an_old_ptxas_is_called_old() {
    let bench = Bench::new("old");
    let language = "// say ptxas kernel.ptx, line 1; fatal   : Unsupported .version 8.6; current version is '8.3'\n\
        // say ptxas fatal   : Ptx assembly aborted due to errors\n// exit 255";
    assert_eq!(
        bench.error(language),
        "ptxas 12.3 reads PTX up to 8.3, the kernel needs 8.6; use a newer ptxas"
    );
    let target = "// say ptxas fatal   : Value 'sm_80' is not defined for option 'gpu-name'\n// exit 255";
    assert_eq!(
        bench.error(target),
        "ptxas 12.3 does not know sm_80; use another ptxas, or leave its feature out"
    );
}

#[test]
fn spills_local_memory_and_serialised_products_are_errors() {
    let bench = Bench::new("faulty");
    let code = bench.code(80, bench.name());
    let with = |words: &str, instead: &str| {
        assert!(CONTENT.contains(words));
        bench.error(&(CONTENT.replace(words, instead) + &code))
    };
    let head = "as ptxas 12.3 assembles it for sm_80: ";
    assert_eq!(
        with("0 bytes spill stores, 0 bytes spill loads", "8 bytes spill stores, 16 bytes spill loads"),
        format!("{head}24 bytes of registers are spilled, expected 0")
    );
    assert_eq!(
        with("0 bytes stack frame", "40 bytes stack frame"),
        format!("{head}40 bytes of local memory, expected 0")
    );
    let serialized =
        "(C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized due to a call";
    let said = format!("{CONTENT}// say ptxas info    : {serialized}\n{code}");
    assert_eq!(bench.error(&said), format!("{head}{serialized}"));
    // Nothing of it was kept: it is an error the next time too.
    assert_eq!(bench.error(&said), format!("{head}{serialized}"));
}

#[test]
fn other_warnings_are_passed_on_each_time() {
    let bench = Bench::new("warned");
    let code = bench.code(80, bench.name());
    let kernel =
        bench.kernel(&format!("{CONTENT}// say ptxas kernel.ptx, line 3; warning : It is old\n{code}"));
    for _ in 0..2 {
        assert_eq!(bench.assembler.assemble(&kernel).unwrap().report.warnings, ["It is old"]);
    }
    assert_eq!(bench.runs(), 1);
}

#[test]
fn what_it_writes_is_checked() {
    let bench = Bench::new("written");
    let says = |code: &str| bench.error(&(CONTENT.to_owned() + code));
    let head = "ptxas 12.3 for sm_80: ";
    assert_eq!(says(&bench.raw_code(b"text")), format!("{head}not machine code: no ELF file"));
    assert_eq!(
        says(&bench.code(80, "other")),
        format!(
            "{head}expected machine code of the kernel, found Cubin {{ {} bytes for sm_80: other }}",
            elf(8, 80, "other").len()
        )
    );
    assert!(
        says(&bench.code(89, bench.name()))
            .starts_with(&format!("{head}expected machine code of the kernel"))
    );
    let silent = bench.error(&bench.code(80, bench.name()));
    assert_eq!(silent, format!("{head}expected a number of registers in what it says: "));
    let error = bench.assembler.assemble(&bench.kernel(CONTENT)).unwrap_err();
    assert!(matches!(error, AssembleError::File { .. }), "nothing was written: {error}");
}

#[test]
fn what_is_no_ptxas_is_refused() {
    let directory = std::env::temp_dir();
    let error = |program: &str| Assembler::new(Path::new(program), &directory).unwrap_err().to_string();
    assert!(error("/no/such/ptxas").starts_with("`/no/such/ptxas` is no ptxas that runs: No such file"));
    assert!(
        error("false")
            .starts_with("`false` is no ptxas that runs: with --version it ends with exit status: 1"),
        "{}",
        error("false")
    );
    assert!(error("echo").contains("expected `ptxas` and `release`"));
}
