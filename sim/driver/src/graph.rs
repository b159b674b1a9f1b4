//! Operations of streams, and graphs of them: in the order in which they were captured, which all orders allow.

use crate::boundary::{HostMemory, In, Out, say};
use crate::driver::{Driver, driver};
use crate::error::{Code, Result, code_of};
use crate::handles::Handle;
use std::io::{Write, stdout};
use std::sync::Arc;

/// What a stream does, now or as part of a graph.
#[derive(Debug, Clone)]
pub enum Operation {
    Upload { from: HostMemory, to: u64, bytes: usize },
    Download { from: u64, to: HostMemory, bytes: usize },
    Copy { from: u64, to: u64, bytes: usize },
    Fill { to: u64, pattern: Vec<u8>, count: usize },
    Launch(Box<rorqual_sim::Launch>),
}

/// A capture under way.
#[derive(Debug)]
pub struct Capture {
    /// The stream that it began and must end on.
    pub origin: Handle,
    pub operations: Vec<Operation>,
    /// Whether something was asked of one of its streams that cannot be captured.
    pub is_invalid: bool,
}

/// Captured operations.
#[derive(Debug, Clone)]
pub struct Graph(pub Arc<[Operation]>);

impl Driver {
    /// Does an operation.
    pub fn perform(&mut self, context: Handle, operation: &Operation) -> Result<()> {
        match operation {
            Operation::Upload { from, to, bytes } => self.upload(*from, *to, *bytes),
            Operation::Download { from, to, bytes } => self.download(*from, *to, *bytes),
            Operation::Copy { from, to, bytes } => self.copy(*from, *to, *bytes),
            Operation::Fill { to, pattern, count } => self.fill(*to, pattern, *count),
            Operation::Launch(launch) => self.run(context, launch),
        }
    }

    /// Runs a kernel. Its fault is that of the context, and of this call if launches block.
    fn run(&mut self, context: Handle, launch: &rorqual_sim::Launch) -> Result<()> {
        let outcome = self.simulator.launch(launch)?;
        // Nothing can be done where nobody reads what kernels print.
        let _ = stdout().write_all(&outcome.output);
        for report in &outcome.reports {
            say("a kernel failed", &report.to_string());
        }
        let Some(code) = outcome.reports.first().map(code_of) else { return Ok(()) };
        self.contexts.set_fault(context, code);
        if self.is_blocking { Err(code.into()) } else { Ok(()) }
    }

    fn launch_graph(&mut self, graph: Handle, stream: Handle) -> Result<()> {
        let operations = Arc::clone(&self.executable_graphs.get(graph)?.0);
        // Before anything is done.
        self.capture_of(stream)?;
        for operation in operations.iter() {
            self.submit(stream, operation.clone())?;
            if self.current().is_err() {
                break;
            }
        }
        Ok(())
    }

    fn instantiate(&mut self, graph: Handle) -> Result<Handle> {
        let context = self.current()?.context;
        let graph = self.graphs.get(graph)?.clone();
        Ok(self.executable_graphs.insert(context, graph))
    }
}

driver_functions! {
    fn cuGraphInstantiateWithFlags(executable: Out<Handle>, graph: Handle, _flags: u64) {
        executable.set(driver()?.instantiate(graph)?);
        Ok(())
    }

    fn cuGraphInstantiate_v2(
        executable: Out<Handle>, graph: Handle, _node: In<Handle>, log: HostMemory, log_bytes: usize,
    ) {
        executable.set(driver()?.instantiate(graph)?);
        log.write(log_bytes.min(1), |log| log.fill(0))
    }

    /// Nothing has to be brought to the device.
    fn cuGraphUpload(executable: Handle, stream: Handle) {
        let driver = driver()?;
        driver.capture_of(stream)?;
        driver.executable_graphs.get(executable).map(drop)
    }

    fn cuGraphLaunch(executable: Handle, stream: Handle) {
        driver()?.launch_graph(executable, stream)
    }

    /// The number of nodes alone.
    fn cuGraphGetNodes(graph: Handle, nodes: In<Handle>, count: Out<usize>) {
        if !nodes.is_null() {
            return Err(Code::NotSupported.because("nodes of graphs have no handles"));
        }
        count.set(driver()?.graphs.get(graph)?.0.len());
        Ok(())
    }

    fn cuGraphDestroy(graph: Handle) {
        driver()?.graphs.remove(graph).map(drop)
    }

    fn cuGraphExecDestroy(executable: Handle) {
        driver()?.executable_graphs.remove(executable).map(drop)
    }
}
