//! Operations of streams, and graphs of them: executed in the order in which they were added, which all orders allow.

use crate::boundary::{HostCall, HostFunction, HostMemory, In, InOut, Out, OutOrNull, Text, say};
use crate::driver::{Driver, driver};
use crate::error::{Code, Result, code_of};
use crate::handles::Handle;
use crate::time;
use crate::user_object::Kept;
use std::io::{Write, stdout};
use std::sync::Arc;

/// What a stream does, now or as part of a graph.
#[derive(Debug, Clone)]
pub enum Operation {
    Upload {
        from: HostMemory,
        to: u64,
        bytes: usize,
    },
    Download {
        from: u64,
        to: HostMemory,
        bytes: usize,
    },
    Move {
        from: HostMemory,
        to: HostMemory,
        bytes: usize,
    },
    Copy {
        from: u64,
        to: u64,
        bytes: usize,
    },
    /// Of one node.
    Copies(Vec<Self>),
    Fill {
        to: u64,
        pattern: Vec<u8>,
        count: usize,
    },
    Launch {
        launch: Box<rorqual_sim::Launch>,
        ctas: u64,
    },
    Call(HostCall),
    Nothing,
}

/// A node of a graph.
#[derive(Debug, Clone)]
pub struct Node {
    pub handle: Handle,
    pub operation: Operation,
    /// The nodes before it, by their numbers in the graph, which are lower.
    dependencies: Vec<usize>,
}

/// Operations with their dependencies.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    pub nodes: Vec<Node>,
    pub kept: Kept,
}

/// A graph that can be launched.
#[derive(Debug)]
pub struct Executable {
    nodes: Arc<[Node]>,
    flags: u64,
    _kept: Kept,
}

/// `CUDA_HOST_NODE_PARAMS`
#[derive(Clone, Copy)]
#[repr(C)]
struct HostNode {
    function: HostFunction,
    data: HostMemory,
}

/// `CUDA_GRAPH_INSTANTIATE_PARAMS`
#[derive(Clone, Copy)]
#[repr(C)]
struct InstantiateParameters {
    flags: u64,
    upload_stream: Handle,
    failed_node: Handle,
    result: u32,
}

/// `CUgraphExecUpdateResultInfo`
#[derive(Clone, Copy)]
#[repr(C)]
struct UpdateResult {
    result: u32,
    node: Handle,
    from: Handle,
}

/// `CUgraphExecUpdateResult`: nodes differ in number, in kind, in what they depend on.
const TOPOLOGY_CHANGED: u32 = 2;
const NODE_TYPE_CHANGED: u32 = 3;

impl Operation {
    /// What a picture of a graph says of it.
    const fn name(&self) -> &'static str {
        match self.kind() {
            0 => "kernel",
            1 => "copy",
            2 => "fill",
            3 => "host",
            _ => "empty",
        }
    }

    /// `CUgraphNodeType`
    const fn kind(&self) -> u32 {
        match self {
            Self::Launch { .. } => 0,
            Self::Upload { .. }
            | Self::Download { .. }
            | Self::Move { .. }
            | Self::Copy { .. }
            | Self::Copies(_) => 1,
            Self::Fill { .. } => 2,
            Self::Call(_) => 3,
            Self::Nothing => 5,
        }
    }
}

impl Graph {
    /// Adds a node; its number.
    pub fn add(&mut self, operation: Operation, dependencies: Vec<usize>) -> usize {
        self.nodes.push(Node { handle: Handle::fresh(), operation, dependencies });
        self.nodes.len() - 1
    }

    /// The number of a node.
    pub fn index(&self, node: Handle) -> Result<usize> {
        let found = self.nodes.iter().position(|known| known.handle == node);
        found.ok_or_else(|| Code::InvalidValue.because("the node is not of this graph"))
    }

    /// Whether every node is one of these or before one of them.
    pub fn all_lead_to(&self, last: &[usize]) -> bool {
        let mut leads = vec![false; self.nodes.len()];
        last.iter().for_each(|node| leads[*node] = true);
        for (index, node) in self.nodes.iter().enumerate().rev() {
            if leads[index] {
                node.dependencies.iter().for_each(|before| leads[*before] = true);
            }
        }
        leads.into_iter().all(|leads| leads)
    }

    /// The graph in the language of Graphviz.
    fn to_dot(&self) -> String {
        let nodes = self.nodes.iter().enumerate();
        let nodes =
            nodes.map(|(index, node)| format!("  {index} [label=\"{index}: {}\"];\n", node.operation.name()));
        let edges = self.edges().map(|(from, to)| format!("  {from} -> {to};\n"));
        format!("digraph graph_of_stream {{\n{}}}\n", nodes.chain(edges).collect::<String>())
    }

    /// The edges, as numbers of nodes.
    fn edges(&self) -> impl Iterator<Item = (usize, usize)> {
        let before = |(index, node): (usize, &'_ Node)| -> Vec<(usize, usize)> {
            node.dependencies.iter().map(|from| (*from, index)).collect()
        };
        self.nodes.iter().enumerate().flat_map(before)
    }
}

/// Gives a caller as many handles as it has room for, and says how many there are: without a place, only that.
fn list(handles: &[Handle], places: OutOrNull<Handle>, count: InOut<usize>) {
    if places.is_null() {
        return count.set(handles.len());
    }
    let room = count.get();
    let kept = handles.len().min(room);
    places.set_several(handles[..kept].iter().copied());
    count.set(kept);
}

impl Driver {
    /// Does an operation; the nanoseconds that it takes in virtual time.
    pub fn perform(&mut self, context: Handle, operation: &Operation) -> Result<u64> {
        match operation {
            Operation::Upload { from, to, bytes } => {
                self.upload(*from, *to, *bytes)?;
                Ok(time::of_host_copy(*bytes))
            }
            Operation::Download { from, to, bytes } => {
                self.download(*from, *to, *bytes)?;
                Ok(time::of_host_copy(*bytes))
            }
            Operation::Move { from, to, bytes } => {
                from.read(*bytes, <[u8]>::to_vec)
                    .and_then(|data| to.write(*bytes, |to| to.copy_from_slice(&data)))?;
                Ok(time::of_host_copy(*bytes))
            }
            Operation::Copy { from, to, bytes } => {
                self.copy(*from, *to, *bytes)?;
                let is_peer = self.device_of(*from).ok() != self.device_of(*to).ok();
                Ok(time::of_device_copy(*bytes, is_peer))
            }
            Operation::Copies(copies) => copies.iter().map(|copy| self.perform(context, copy)).sum(),
            Operation::Fill { to, pattern, count } => {
                self.fill(*to, pattern, *count)?;
                Ok(time::of_device_copy(count * pattern.len(), false))
            }
            Operation::Launch { launch, ctas } => self.run(context, launch, *ctas),
            // Calls are made where the driver is not locked.
            Operation::Call(_) | Operation::Nothing => Ok(0),
        }
    }

    /// Runs a kernel. Its fault is that of the context, and of this call if launches block.
    fn run(&mut self, context: Handle, launch: &rorqual_sim::Launch, ctas: u64) -> Result<u64> {
        let outcome = self.simulator.launch(launch)?;
        // Nothing can be done where nobody reads what kernels print.
        let _ = stdout().write_all(&outcome.output);
        for report in &outcome.reports {
            say("a kernel failed", &report.to_string());
        }
        if let Some(code) = outcome.reports.first().map(code_of) {
            self.contexts.set_fault(context, code);
            if self.is_blocking {
                return Err(code.into());
            }
        }
        Ok(time::of_kernel(&outcome.counters, ctas.min(self.simulator.limits().multiprocessors.into())))
    }

    fn instantiate(&mut self, graph: Handle, flags: u64) -> Result<Handle> {
        let context = self.current()?.context;
        let Graph { nodes, kept } = self.graph(graph)?.clone();
        let executable = Executable { nodes: nodes.into(), flags, _kept: kept };
        Ok(self.executable_graphs.insert(context, executable))
    }

    /// A graph that no capture is adding to.
    fn graph(&self, graph: Handle) -> Result<&Graph> {
        if self.captures.iter().any(|(_, capture)| capture.graph == graph) {
            return Err(Code::IllegalState.because("the graph is being captured"));
        }
        self.graphs.get(graph).map_err(|_| Code::InvalidValue.into())
    }

    /// Takes over the parameters of a graph with the same nodes.
    fn update(&mut self, executable: Handle, graph: Handle) -> Result<UpdateResult> {
        let nodes: Arc<[Node]> = self.graph(graph)?.nodes.clone().into();
        let executable = self.executable_graphs.get_mut(executable)?;
        let failed = |result, node| UpdateResult { result, node, from: Handle::NULL };
        if nodes.len() != executable.nodes.len() {
            return Ok(failed(TOPOLOGY_CHANGED, Handle::NULL));
        }
        for (new, old) in nodes.iter().zip(executable.nodes.iter()) {
            if new.operation.kind() != old.operation.kind() {
                return Ok(failed(NODE_TYPE_CHANGED, new.handle));
            }
            if new.dependencies != old.dependencies {
                return Ok(failed(TOPOLOGY_CHANGED, new.handle));
            }
        }
        executable.nodes = nodes;
        Ok(failed(0, Handle::NULL))
    }

    /// Adds a node to a graph behind others.
    fn add_node(&mut self, graph: Handle, before: &[Handle], operation: Operation) -> Result<Handle> {
        self.graph(graph)?;
        let graph = self.graphs.get_mut(graph)?;
        let dependencies = before.iter().map(|node| graph.index(*node)).collect::<Result<_>>()?;
        let node = graph.add(operation, dependencies);
        Ok(graph.nodes[node].handle)
    }

    fn node(&self, node: Handle) -> Result<(&Graph, usize)> {
        let mut found = self.graphs.iter().filter_map(|(_, graph)| Some((graph, graph.index(node).ok()?)));
        found.next().ok_or_else(|| Code::InvalidValue.into())
    }

    fn list_edges(
        &self,
        graph: Handle,
        from: OutOrNull<Handle>,
        to: OutOrNull<Handle>,
        data: OutOrNull<[u8; 8]>,
        count: InOut<usize>,
    ) -> Result<()> {
        let graph = self.graph(graph)?;
        if from.is_null() != to.is_null() {
            return Err(Code::InvalidValue.into());
        }
        let of = |node: usize| graph.nodes[node].handle;
        let (starts, ends): (Vec<_>, Vec<_>) = graph.edges().map(|(from, to)| (of(from), of(to))).unzip();
        let room = if from.is_null() { starts.len() } else { count.get().min(starts.len()) };
        from.set_several(starts.into_iter().take(room));
        to.set_several(ends.into_iter().take(room));
        data.set_several(std::iter::repeat_n([0; 8], room));
        count.set(room);
        Ok(())
    }

    fn neighbours(&self, node: Handle, are_before: bool) -> Result<Vec<Handle>> {
        let (graph, index) = self.node(node)?;
        let other = |(from, to)| match are_before {
            true => (to == index).then_some(from),
            false => (from == index).then_some(to),
        };
        Ok(graph.edges().filter_map(other).map(|index: usize| graph.nodes[index].handle).collect())
    }
}

/// Does what a graph holds. The driver is locked for each node, not over the functions of the caller.
fn launch_graph(executable: Handle, stream: Handle) -> Result<()> {
    let nodes = {
        let mut driver = driver()?;
        // Before anything is done.
        driver.stream(stream)?;
        Arc::clone(&driver.executable_graphs.get(executable)?.nodes)
    };
    for node in nodes.iter() {
        if let Operation::Call(call) = node.operation {
            Driver::call_host(stream, call)?;
            continue;
        }
        let mut driver = driver()?;
        driver.submit(stream, node.operation.clone())?;
        if driver.current().is_err() {
            break;
        }
    }
    Ok(())
}

driver_functions! {
    fn cuGraphCreate[10000](graph: Out<Handle>, flags: u32) {
        let mut driver = driver()?;
        let context = driver.current()?.context;
        if flags != 0 {
            return Err(Code::InvalidValue.into());
        }
        graph.set(driver.graphs.insert(context, Graph::default()));
        Ok(())
    }

    fn cuGraphClone[10000](clone: Out<Handle>, graph: Handle) {
        let mut driver = driver()?;
        let context = driver.current()?.context;
        let mut copy = driver.graph(graph)?.clone();
        copy.nodes.iter_mut().for_each(|node| node.handle = Handle::fresh());
        clone.set(driver.graphs.insert(context, copy));
        Ok(())
    }

    fn cuGraphAddEmptyNode[10000](node: Out<Handle>, graph: Handle, before: In<Handle>, count: usize) {
        node.set(driver()?.add_node(graph, &before.several(count)?, Operation::Nothing)?);
        Ok(())
    }

    fn cuGraphAddHostNode[10000](
        node: Out<Handle>, graph: Handle, before: In<Handle>, count: usize, call: In<HostNode>,
    ) {
        let HostNode { function, data } = call.get()?;
        let call = Operation::Call(HostCall::Function(function, data));
        node.set(driver()?.add_node(graph, &before.several(count)?, call)?);
        Ok(())
    }

    fn cuGraphInstantiateWithFlags[11040](executable: Out<Handle>, graph: Handle, flags: u64) {
        executable.set(driver()?.instantiate(graph, flags)?);
        Ok(())
    }

    fn cuGraphInstantiateWithParams[12000 _ptsz](
        executable: Out<Handle>, graph: Handle, parameters: InOut<InstantiateParameters>,
    ) {
        let asked = parameters.get();
        executable.set(driver()?.instantiate(graph, asked.flags)?);
        parameters.set(InstantiateParameters { failed_node: Handle::NULL, result: 0, ..asked });
        Ok(())
    }

    fn cuGraphInstantiate_v2[11000](
        executable: Out<Handle>, graph: Handle, _node: In<Handle>, log: HostMemory, log_bytes: usize,
    ) {
        executable.set(driver()?.instantiate(graph, 0)?);
        log.write(log_bytes.min(1), |log| log.fill(0))
    }

    fn cuGraphExecGetFlags[12000](executable: Handle, flags: Out<u64>) {
        flags.set(driver()?.executable_graphs.get(executable)?.flags);
        Ok(())
    }

    /// The nodes must be the same, in the same order.
    fn cuGraphExecUpdate_v2[12000](executable: Handle, graph: Handle, result: OutOrNull<UpdateResult>) {
        let updated = driver()?.update(executable, graph)?;
        result.set(updated);
        if updated.result == 0 { Ok(()) } else { Err(Code::GraphExecUpdateFailure.into()) }
    }

    /// Nothing has to be brought to the device.
    fn cuGraphUpload[11010 _ptsz](executable: Handle, stream: Handle) {
        let mut driver = driver()?;
        driver.stream(stream)?;
        driver.executable_graphs.get(executable).map(drop)
    }

    fn cuGraphLaunch[10000 _ptsz](executable: Handle, stream: Handle) {
        launch_graph(executable, stream)
    }

    fn cuGraphGetNodes[10000](graph: Handle, nodes: OutOrNull<Handle>, count: InOut<usize>) {
        let driver = driver()?;
        let handles: Vec<Handle> = driver.graph(graph)?.nodes.iter().map(|node| node.handle).collect();
        list(&handles, nodes, count);
        Ok(())
    }

    fn cuGraphGetRootNodes[10000](graph: Handle, nodes: OutOrNull<Handle>, count: InOut<usize>) {
        let driver = driver()?;
        let roots = driver.graph(graph)?.nodes.iter().filter(|node| node.dependencies.is_empty());
        let roots: Vec<Handle> = roots.map(|node| node.handle).collect();
        list(&roots, nodes, count);
        Ok(())
    }

    fn cuGraphGetEdges[10000](graph: Handle, from: OutOrNull<Handle>, to: OutOrNull<Handle>, count: InOut<usize>) {
        driver()?.list_edges(graph, from, to, OutOrNull::NULL, count)
    }

    /// No edge carries data.
    fn cuGraphGetEdges_v2[12030](
        graph: Handle, from: OutOrNull<Handle>, to: OutOrNull<Handle>, data: OutOrNull<[u8; 8]>, count: InOut<usize>,
    ) {
        driver()?.list_edges(graph, from, to, data, count)
    }

    fn cuGraphNodeGetType[10000](node: Handle, kind: Out<u32>) {
        let driver = driver()?;
        let (graph, index) = driver.node(node)?;
        kind.set(graph.nodes[index].operation.kind());
        Ok(())
    }

    fn cuGraphNodeGetDependencies[10000](node: Handle, nodes: OutOrNull<Handle>, count: InOut<usize>) {
        list(&driver()?.neighbours(node, true)?, nodes, count);
        Ok(())
    }

    /// No edge carries data.
    fn cuGraphNodeGetDependencies_v2[12030](
        node: Handle, nodes: OutOrNull<Handle>, data: OutOrNull<[u8; 8]>, count: InOut<usize>,
    ) {
        list(&driver()?.neighbours(node, true)?, nodes, count);
        data.set_several(std::iter::repeat_n([0; 8], if nodes.is_null() { 0 } else { count.get() }));
        Ok(())
    }

    /// No edge carries data.
    fn cuGraphNodeGetDependentNodes_v2[12030](
        node: Handle, nodes: OutOrNull<Handle>, data: OutOrNull<[u8; 8]>, count: InOut<usize>,
    ) {
        list(&driver()?.neighbours(node, false)?, nodes, count);
        data.set_several(std::iter::repeat_n([0; 8], if nodes.is_null() { 0 } else { count.get() }));
        Ok(())
    }

    fn cuGraphNodeGetDependentNodes[10000](node: Handle, nodes: OutOrNull<Handle>, count: InOut<usize>) {
        list(&driver()?.neighbours(node, false)?, nodes, count);
        Ok(())
    }

    /// Nodes with their kinds, whatever the flags.
    fn cuGraphDebugDotPrint[11030](graph: Handle, path: Text, _flags: u32) {
        let driver = driver()?;
        let (path, picture) = (path.text()?, driver.graph(graph)?.to_dot());
        std::fs::write(path, picture).map_err(|error| Code::InvalidValue.because(format!("{path}: {error}")))
    }

    fn cuGraphDestroy[10000](graph: Handle) {
        let mut driver = driver()?;
        driver.graph(graph)?;
        driver.graphs.remove(graph).map(drop)
    }

    fn cuGraphExecDestroy[10000](executable: Handle) {
        driver()?.executable_graphs.remove(executable).map(drop)
    }
}
