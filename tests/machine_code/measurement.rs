//! From a kernel to its figures: ptxas assembles it, nvdisasm lists it, the listing is read.

use crate::control_flow::ControlFlow;
use crate::kernels::Listed;
use crate::listing::parse;
use crate::loop_figures::LoopFigures;
use crate::role_registers::{RoleRegisters, roles};
use rorqual_kernels::assemble::{Assembled, Assembler, Report, Search};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The variable that names nvdisasm.
const DISASSEMBLER_VARIABLE: &str = "RORQUAL_NVDISASM";

/// The figures of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    pub report: Report,
    /// Of the producer and of the consumers, where they change their registers.
    pub roles: Option<[RoleRegisters; 2]>,
    /// Instructions in all.
    pub instructions: usize,
    /// The loops over K: where groups of few rows have their operands swapped, theirs and the usual one.
    pub loops: Vec<LoopFigures>,
}

/// The programs that measure.
pub struct Tools {
    pub assembler: Assembler,
    disassembler: PathBuf,
}

impl Tools {
    /// Those that the environment names; `None` unless it names both. Results are kept in a directory.
    pub fn named(directory: &Path) -> Option<Self> {
        let ptxas = Search::named()?;
        let disassembler = PathBuf::from(env::var_os(DISASSEMBLER_VARIABLE)?);
        let assembler = Assembler::new(&ptxas, directory).unwrap_or_else(|error| panic!("{error}"));
        Some(Self { assembler, disassembler })
    }

    /// Assembles and counts.
    ///
    /// # Errors
    ///
    /// What is wrong with the kernel, with its name.
    pub fn measure(&self, listed: &Listed) -> Result<Measured, String> {
        let name = &listed.artifact.contract.kernel;
        let Assembled { cubin, report } =
            self.assembler.assemble(&listed.artifact).map_err(|error| error.to_string())?;
        let measured = self.disassemble(name, cubin.bytes()).and_then(|text| {
            let instructions = parse(&text)?;
            let flow = ControlFlow::new(&instructions)?;
            let ways = flow.product_loops();
            let loops: Result<Vec<_>, _> =
                ways.iter().map(|found| LoopFigures::new(&flow.usual_way(found))).collect();
            let (roles, instructions) = (roles(&instructions, &flow)?, instructions.len());
            Ok(Measured { report, roles, instructions, loops: loops? })
        });
        measured.map_err(|wrong| format!("{name}: {wrong}"))
    }

    /// The listing of machine code.
    fn disassemble(&self, name: &str, code: &[u8]) -> Result<String, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = directory.path().join(format!("{name}.cubin"));
        fs::write(&path, code).map_err(|error| error.to_string())?;
        let program = self.disassembler.display();
        let output = Command::new(&self.disassembler).args(["-hex", "-c"]).arg(&path).output();
        let output = output.map_err(|error| format!("{program} does not run: {error}"))?;
        if !output.status.success() {
            return Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        String::from_utf8(output.stdout).map_err(|error| format!("{program}: {error}"))
    }
}
