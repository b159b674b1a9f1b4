//! Runs a launch file: buffers, modules, launches in order, saved buffers.

use super::argument::Buffers;
use super::buffer::{BufferText, Contents, read_file};
use super::{LaunchFile, LaunchFileError, LaunchText};
use crate::counters::Counters;
use crate::device::{Argument, Device, DeviceError, DevicePointer, Launch, Module};
use crate::grid::Options;
use crate::report::{Report, Rule, Verdict};
use crate::trace::Recording;
use rorqual_ptx::target::Target;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The bytes that a module may have.
const MOST_MODULE_BYTES: u64 = 1 << 30;

/// What running a launch file gave.
#[derive(Debug, Default)]
pub struct FileOutcome {
    /// What was found in the launches that ran; after a finding the later ones do not run.
    pub reports: Vec<Report>,
    /// What is worth a look and does not make a launch wrong.
    pub warnings: Vec<Report>,
    /// The kernel and counters of each launch (of launches that ran together: of all of them).
    pub counters: Vec<(String, Counters)>,
    /// What `printf` wrote.
    pub output: Vec<u8>,
    /// What was recorded of the cluster to trace.
    pub trace: Option<Box<Recording>>,
    /// The bytes of each buffer that is saved, by name.
    pub saved: BTreeMap<String, Vec<u8>>,
}

impl FileOutcome {
    /// The worst verdict of the reports.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.reports.iter().map(|report| report.rule.verdict()).next().unwrap_or(Verdict::Ok)
    }
}

/// Addresses and bytes of the buffers.
struct Placed(BTreeMap<String, (DevicePointer, u64)>);

impl Buffers for Placed {
    fn find(&self, name: &str) -> Option<(u64, u64)> {
        self.0.get(name).map(|(pointer, bytes)| (pointer.0, *bytes))
    }
}

/// Runs a launch file whose paths are relative to `folder`. Saved buffers are returned, not written.
///
/// # Errors
///
/// If the file is wrong; programs that are wrong are in the outcome's reports.
pub fn run(file: &LaunchFile, folder: &Path, options: &Options) -> Result<FileOutcome, LaunchFileError> {
    run_with(file, folder, options, None)
}

/// As [`run`], with another text in place of that of one module.
pub(super) fn run_with(
    file: &LaunchFile,
    folder: &Path,
    options: &Options,
    replaced: Option<(&str, &str)>,
) -> Result<FileOutcome, LaunchFileError> {
    if let Some(target) = options.trace.filter(|target| target.launch >= file.launches.len() as u64) {
        return Err(LaunchFileError::TracedLaunch { launch: target.launch, launches: file.launches.len() });
    }
    let mut session = Session::new(file, folder, options)?;
    if let Some((module, text)) = replaced {
        session.texts.insert(module.to_owned(), text.to_owned());
    }
    let mut outcome = FileOutcome::default();
    let mut at = 0;
    while at < file.launches.len() && outcome.reports.is_empty() {
        let group = file.launches[at].concurrent;
        let together =
            file.launches[at..].iter().take_while(|launch| group.is_some() && launch.concurrent == group);
        let end = at + together.count().max(1);
        session.run(at..end, &mut outcome)?;
        at = end;
    }
    for (name, buffer) in &file.buffers {
        if buffer.save.is_some() {
            let (pointer, bytes) = session.buffers.0[name];
            outcome.saved.insert(name.clone(), session.device.read(pointer, bytes as usize)?);
        }
    }
    Ok(outcome)
}

struct Session<'a> {
    file: &'a LaunchFile,
    folder: &'a Path,
    device: Device,
    buffers: Placed,
    modules: HashMap<(String, u32), Module>,
    texts: HashMap<String, String>,
}

impl<'a> Session<'a> {
    fn new(file: &'a LaunchFile, folder: &'a Path, options: &Options) -> Result<Self, LaunchFileError> {
        let mut texts = HashMap::new();
        for launch in &file.launches {
            if !texts.contains_key(&launch.module) {
                let path = folder.join(&launch.module);
                let read_error = |message: String| LaunchFileError::Read { path: path.clone(), message };
                let bytes = read_file(&path, MOST_MODULE_BYTES)?;
                if bytes.len() as u64 > MOST_MODULE_BYTES {
                    return Err(read_error(format!("more than {MOST_MODULE_BYTES} bytes")));
                }
                let text = String::from_utf8(bytes).map_err(|_| read_error("not UTF-8 text".to_owned()))?;
                texts.insert(launch.module.clone(), text);
            }
        }
        let arch = match file.launches.first() {
            Some(launch) => architecture(0, launch, &texts[&launch.module])?,
            None => Target { sm: 90, features: rorqual_ptx::target::Features::Specific },
        };
        const MOST_DEVICES: u32 = 16;
        if file.devices == 0 || file.devices > MOST_DEVICES {
            return Err(LaunchFileError::Devices { devices: file.devices, most: MOST_DEVICES });
        }
        let mut device = Device::new(arch)?.with_devices(file.devices);
        *device.options_mut() = options.clone();
        let buffers = place(file, folder, &mut device)?;
        Ok(Self { file, folder, device, buffers, modules: HashMap::new(), texts })
    }

    /// Runs launches, together if they are several.
    fn run(
        &mut self,
        range: std::ops::Range<usize>,
        outcome: &mut FileOutcome,
    ) -> Result<(), LaunchFileError> {
        let file = self.file;
        let mut launches = Vec::new();
        for number in range.clone() {
            match self.prepare(number, &file.launches[number]) {
                Ok(launch) => launches.push(launch),
                Err(error) => {
                    outcome.reports.push(unsupported_module(error)?);
                    return Ok(());
                }
            }
        }
        let first = &file.launches[range.start];
        let ran = self
            .device
            .launch_together(&launches)
            .map_err(|source| self.device_error(range.start, first, source))?;
        outcome.reports.extend(ran.reports);
        outcome.warnings.extend(ran.warnings);
        outcome.counters.push((first.kernel.clone(), ran.counters));
        outcome.output.extend(ran.output);
        outcome.trace = outcome.trace.take().or(ran.trace);
        Ok(())
    }

    fn device_error(&self, launch: usize, text: &LaunchText, source: DeviceError) -> LaunchFileError {
        LaunchFileError::Device {
            launch,
            kernel: text.kernel.clone(),
            module: self.folder.join(&text.module),
            source: Box::new(source),
        }
    }

    fn prepare(&mut self, number: usize, text: &LaunchText) -> Result<Launch, LaunchFileError> {
        let arch = architecture(number, text, &self.texts[&text.module])?;
        self.device.set_arch(arch).map_err(|source| self.device_error(number, text, source))?;
        let key = (text.module.clone(), text.device);
        if !self.modules.contains_key(&key) {
            let loaded = self.device.load_on(text.device, &self.texts[&text.module]);
            let module = loaded.map_err(|source| self.device_error(number, text, source))?;
            self.modules.insert(key.clone(), module);
        }
        let module = &self.modules[&key];
        let mut launch = Launch::new(module, &text.kernel)
            .ctas(text.grid)
            .threads(text.block)
            .dynamic_shared_bytes(text.dynamic_smem)
            .cooperative(text.attributes.cooperative);
        if let Some(cluster) = text.cluster.filter(|cluster| *cluster != [1; 3]) {
            launch = launch.cluster(cluster);
        }
        for (index, argument) in text.args.iter().enumerate() {
            let bytes = argument.encode(&self.buffers).map_err(|message| LaunchFileError::Argument {
                launch: number,
                kernel: text.kernel.clone(),
                index,
                message,
            })?;
            launch = launch.argument(Argument(bytes));
        }
        Ok(launch)
    }
}

/// The word after the first `.target` outside of comments.
fn target(mut module: &str) -> Option<&str> {
    loop {
        module = module.trim_start();
        module = if let Some(rest) = module.strip_prefix("//") {
            rest.split_once('\n')?.1
        } else if let Some(rest) = module.strip_prefix("/*") {
            rest.split_once("*/")?.1
        } else if let Some(rest) = module.strip_prefix(".target") {
            let word = rest.trim_start();
            return Some(
                &word[..word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len())],
            );
        } else {
            let word = module.find(|c: char| c.is_whitespace() || c == '/').unwrap_or(module.len());
            module.get(word.max(1)..)?
        }
    }
}

/// The report on a module that has parts of the PTX ISA which the parser leaves out, or else the error.
fn unsupported_module(error: LaunchFileError) -> Result<Report, LaunchFileError> {
    if let LaunchFileError::Device { kernel, source, .. } = &error
        && let DeviceError::Parse(wrong) = source.as_ref()
        && wrong.kind.is_unsupported()
    {
        return Ok(Report {
            rule: Rule::Unsupported,
            kernel: kernel.clone(),
            line: wrong.position.line,
            other_line: None,
            source: None,
            place: None,
            device: None,
            message: format!("the module does not load: {wrong}"),
        });
    }
    Err(error)
}

/// The architecture that a launch names, or the module's `.target`.
fn architecture(launch: usize, text: &LaunchText, module: &str) -> Result<Target, LaunchFileError> {
    let name = match &text.arch {
        Some(name) => name.as_str(),
        // The parser says what is wrong with a module that has none.
        None => target(module).unwrap_or("sm_90a"),
    };
    Target::from_name(name).ok_or_else(|| LaunchFileError::Architecture {
        launch,
        kernel: text.kernel.clone(),
        name: name.to_owned(),
    })
}

/// Makes a multicast object; its address and bytes.
fn place_multicast(
    name: &str,
    buffer: &BufferText,
    replicas: &[String],
    placed: &BTreeMap<String, (DevicePointer, u64)>,
    device: &mut Device,
) -> Result<(DevicePointer, u64), LaunchFileError> {
    if !buffer.is_only_multicast() {
        let message = "`multicast` excludes every other key: the buffers that it names have them";
        return Err(LaunchFileError::buffer(name, message.to_owned()));
    }
    let (mut addresses, mut size) = (Vec::new(), None);
    for replica in replicas {
        let unknown = || LaunchFileError::UnknownBuffer { name: replica.clone() };
        let &(pointer, bytes) = placed.get(replica).ok_or_else(unknown)?;
        let expected = *size.get_or_insert(bytes);
        if bytes != expected {
            let message = format!("`{replica}` has {bytes} bytes, `{}` has {expected}", replicas[0]);
            return Err(LaunchFileError::buffer(name, message));
        }
        addresses.push(pointer.0);
    }
    let bytes = size.unwrap_or(0);
    let base = device.memory_mut().create_multicast(name, bytes, &addresses);
    let base = base.map_err(|error| LaunchFileError::buffer(name, error.to_string()))?;
    Ok((DevicePointer(base), bytes))
}

fn place(file: &LaunchFile, folder: &Path, device: &mut Device) -> Result<Placed, LaunchFileError> {
    let mut placed = BTreeMap::new();
    for (name, buffer) in file.buffers.iter().filter(|(_, buffer)| buffer.multicast.is_none()) {
        let contents = buffer.contents(name, folder, device.options().memory_budget)?;
        let pointer = device
            .allocate_on(buffer.device, name, contents.len())
            .map_err(|error| LaunchFileError::buffer(name, error.to_string()))?;
        if let Contents::Bytes(bytes) = &contents {
            device.write(pointer, bytes)?;
        }
        for peer in &buffer.peers {
            device
                .map_peer(pointer, *peer)
                .map_err(|error| LaunchFileError::buffer(name, error.to_string()))?;
        }
        placed.insert(name.clone(), (pointer, contents.len()));
    }
    for (name, buffer) in &file.buffers {
        if let Some(replicas) = &buffer.multicast {
            placed.insert(name.clone(), place_multicast(name, buffer, replicas, &placed, device)?);
        }
    }
    let placed = Placed(placed);
    for (name, buffer) in &file.buffers {
        let Some(pointers) = &buffer.pointers else { continue };
        let mut bytes = Vec::new();
        for pointer in pointers {
            let (address, size) = placed
                .find(&pointer.buffer)
                .ok_or_else(|| LaunchFileError::UnknownBuffer { name: pointer.buffer.clone() })?;
            if pointer.offset > size {
                return Err(LaunchFileError::buffer(
                    name,
                    format!("offset {} in buffer `{}` of {size} bytes", pointer.offset, pointer.buffer),
                ));
            }
            bytes.extend((address + pointer.offset).to_le_bytes());
        }
        device.write(placed.0[name].0, &bytes)?;
    }
    Ok(placed)
}
