//! Test programs as PTX files that carry how they are launched and what must be found in comments.
//!
//! ```text
//! // launch: grid 2 block 64 cluster 2 shared 1024 seeds 3 budget 100000
//! // buffer: data f32[4,8] random 1     an argument; filled with `fill 0`, `poison` or `random` and a seed
//! // storage: tensor f32[4,8] fill 0    memory that is no argument
//! // map: {"buffer": "tensor", ...}     an argument, as are u32, u64, s32, f32 and bytes
//!     st.global.u32 [%rd1+4], %r1;  // fix: st.global.u32 [%rd1], %r1;
//! ```
//!
//! Replacing each line that has a `fix:` by what follows it gives the corrected twin.

use rorqual_sim::launch_file::LaunchFile;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const FIX: &str = "// fix:";

/// A program of a corpus: the kernel's name, which is the file's, and its text.
#[derive(Debug, Clone)]
pub struct Program {
    pub kernel: String,
    pub text: String,
}

/// Every program of a folder of the tests, by name.
pub fn corpus(folder: &Path) -> Vec<Program> {
    let mut programs = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder of programs") {
        let path = entry.expect("an entry of the folder").path();
        let kernel = path.file_stem().expect("a file name").to_string_lossy().into_owned();
        assert!(path.extension().is_some_and(|extension| extension == "ptx"), "{kernel} is no .ptx file");
        let text = std::fs::read_to_string(&path).expect("a text file");
        programs.push(Program { kernel, text });
    }
    programs.sort_by(|a, b| a.kernel.cmp(&b.kernel));
    programs
}

impl Program {
    /// Whether the program says how it is corrected.
    pub fn has_twin(&self) -> bool {
        self.text.contains(FIX)
    }

    /// The corrected program; lines keep their numbers.
    pub fn twin(&self) -> Self {
        let lines = self.text.lines().map(|line| match line.split_once(FIX) {
            Some((_, replacement)) => replacement.trim_start(),
            None => line,
        });
        Self { kernel: self.kernel.clone(), text: lines.collect::<Vec<_>>().join("\n") }
    }

    /// The lines without what corrects them, with their numbers.
    pub fn numbered_lines(&self) -> impl Iterator<Item = (&str, u32)> {
        self.text.lines().map(|line| line.split(FIX).next().unwrap_or("")).zip(1..)
    }

    /// Writes the program to a folder, with these reports instead of those that it has.
    pub fn write_report(&self, folder: &Path, marker: &str, report: &str) {
        let kept = self.text.lines().filter(|line| !format!("{line} ").starts_with(marker));
        let mut text = kept.collect::<Vec<_>>().join("\n").trim_end().to_owned() + "\n\n";
        report.lines().for_each(|line| text.extend([marker, line, "\n"]));
        std::fs::write(folder.join(format!("{}.ptx", self.kernel)), text)
            .expect("the program can be written");
    }
}

/// How the comments of a program say that it is launched.
#[derive(Debug)]
pub struct Header {
    launch: Value,
    buffers: Value,
    arguments: Vec<Value>,
    /// Seeds to run with, if it says so.
    pub seeds: Option<u64>,
    /// Warp instructions of a launch, if it says so.
    pub budget: Option<u64>,
}

impl Header {
    /// Of a kernel without arguments, one thread of it.
    pub fn new(kernel: &str) -> Self {
        let mut launch = json!({"module": format!("{kernel}.ptx"), "kernel": kernel});
        (launch["grid"], launch["block"]) = (json!([1, 1, 1]), json!([1, 1, 1]));
        Self { launch, buffers: json!({}), arguments: Vec::new(), seeds: None, budget: None }
    }

    /// Reads a directive; false if it says nothing about the launch.
    pub fn read(&mut self, key: &str, value: &str) -> Result<bool, String> {
        match key {
            "launch" => self.read_launch(value)?,
            "buffer" | "storage" => {
                let (name, contents) = buffer(value)?;
                self.buffers[&name] = contents;
                if key == "buffer" {
                    self.arguments.push(json!({"buffer": name}));
                }
            }
            "map" => self.arguments.push(json!({"tensor_map": json_text(value)?})),
            "bytes" => self.arguments.push(json!({"bytes": value})),
            "u32" | "u64" | "s32" | "s64" | "f32" => self.arguments.push(json!({key: json_text(value)?})),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn read_launch(&mut self, value: &str) -> Result<(), String> {
        for pair in value.split_whitespace().collect::<Vec<_>>().chunks(2) {
            let &[name, value] = pair else {
                return Err(format!("`{}` without a value", pair[0]));
            };
            let number = || value.parse().map_err(|_| format!("{name} `{value}`"));
            match name {
                "grid" | "block" | "cluster" => self.launch[name] = extents(value)?,
                "shared" => self.launch["dynamic_smem"] = json_text(value)?,
                "seeds" => self.seeds = Some(number()?),
                "budget" => self.budget = Some(number()?),
                _ => return Err(format!("launch option `{name}`")),
            }
        }
        Ok(())
    }

    /// The launch.
    pub fn launch(mut self) -> Result<LaunchFile, String> {
        self.launch["args"] = Value::Array(self.arguments);
        let file = json!({"buffers": self.buffers, "launches": [self.launch]});
        LaunchFile::parse(&file.to_string()).map_err(|error| error.to_string())
    }
}

fn json_text(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("`{text}`: {error}"))
}

/// `2` or `2,3,1`
fn extents(text: &str) -> Result<Value, String> {
    let mut extents = [1u32; 3];
    for (extent, number) in extents.iter_mut().zip(text.split(',')) {
        *extent = number.parse().map_err(|_| format!("extents `{text}`"))?;
    }
    Ok(json!(extents))
}

/// `name f32[4,8] random 1`
fn buffer(text: &str) -> Result<(String, Value), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (name, element, fill) = match words[..] {
        [name, element, "poison"] => (name, element, json!("poison")),
        [name, element, "fill", value] => (name, element, json_text(value)?),
        [name, element, "random", seed] => (name, element, json!({"random": json_text(seed)?})),
        _ => return Err(format!("buffer `{text}`")),
    };
    let (dtype, shape) = element.split_once('[').ok_or_else(|| format!("buffer `{text}`"))?;
    Ok((name.to_owned(), json!({"dtype": dtype, "shape": json_text(&format!("[{shape}"))?, "fill": fill})))
}

/// What `check` finds wrong with any of the programs.
pub fn failures(programs: &[Program], check: impl Fn(&Program) -> Result<(), String> + Sync) -> Vec<String> {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(program) = programs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(message) = check(program) {
                        let text = format!("{} {message}", program.kernel);
                        failures.lock().expect("no worker panics").push(text);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("no worker panics");
    failures.sort();
    failures
}
