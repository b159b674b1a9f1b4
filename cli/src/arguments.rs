//! The command line: what can be asked, and which values make sense.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rorqual::catalog::Target;
use rorqual::model::sampling::Sampling;
use rorqual::reference::Precision;

/// Kernels for DeepSeek-style mixture-of-experts models.
#[derive(Debug, Parser)]
#[command(name = "rorqual", version, about, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What to do; the demo, if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Arguments of the demo.
    #[command(flatten)]
    pub demo: DemoArguments,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Generate the kernels, check every family, and let the bundled checkpoint do sums on a device and on the reference
    /// path (the default)
    Demo(DemoArguments),
    /// Continue a prompt
    Generate(GenerateArguments),
    /// Write the logits of every position of a prompt
    Logits(LogitsArguments),
    /// Write kernels as PTX, each with what a launch of it must know
    Emit(EmitArguments),
    /// Check every kernel family against the CPU reference, on random cases
    Verify(VerifyArguments),
    /// Break the kernels of every family, one fence, wait or barrier at a time, and see that the simulator notices
    Mutate(MutateArguments),
    /// List the devices that can run the network
    Devices(DevicesArguments),
}

/// Arguments of `demo`.
#[derive(Args, Debug)]
pub struct DemoArguments {
    /// Checkpoint directory; the one in `assets` of the checkout, if nothing is said
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Cases of each kernel family; 0 checks none
    #[arg(long, value_name = "N", default_value_t = 20, allow_negative_numbers = true)]
    pub cases: u64,
    /// Sums to do; all 16, if nothing is said
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub sums: Option<u16>,
    /// How to run it
    #[command(flatten)]
    pub run: RunArguments,
}

/// Arguments of `generate`.
#[derive(Args, Debug)]
pub struct GenerateArguments {
    /// Checkpoint directory in the Hugging Face layout
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// What to continue
    #[command(flatten)]
    pub prompt: PromptArguments,
    /// Tokens to generate at most
    #[arg(long, value_name = "N", default_value_t = 256, allow_negative_numbers = true)]
    pub max_new_tokens: usize,
    /// Draw at this temperature; 0 takes the likeliest token
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
    pub temperature: f32,
    /// Draw from the K likeliest tokens only
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub top_k: Option<usize>,
    /// Draw from the likeliest tokens that reach this probability together
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true)]
    pub top_p: f32,
    /// Key of the random numbers: the same seed draws the same tokens
    #[arg(long, value_name = "S", default_value_t = 0, allow_negative_numbers = true)]
    pub seed: u64,
    /// Go on behind tokens that end a text
    #[arg(long)]
    pub ignore_eos: bool,
    /// Let the multi-token-prediction module draft a token ahead; the tokens stay the same
    #[arg(long)]
    pub speculate: bool,
    /// How to run it
    #[command(flatten)]
    pub run: RunArguments,
}

impl GenerateArguments {
    /// How tokens are chosen.
    pub fn sampling(&self) -> Sampling {
        Sampling { temperature: self.temperature, top_k: self.top_k, top_p: self.top_p, seed: self.seed }
    }
}

/// Arguments of `logits`.
#[derive(Args, Debug)]
pub struct LogitsArguments {
    /// Checkpoint directory in the Hugging Face layout
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// The prompt
    #[command(flatten)]
    pub prompt: PromptArguments,
    /// File to write: a safetensors file with the tensor "logits", f32 [tokens, vocab]
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// How to run it
    #[command(flatten)]
    pub run: RunArguments,
}

/// Arguments of `emit`.
#[derive(Args, Debug)]
pub struct EmitArguments {
    /// What to generate for, e.g. sm_80 or sm_90a
    #[arg(long, value_name = "TARGET", default_value = "sm_90a")]
    pub target: Target,
    /// The only family to write; every one, if nothing is said
    #[arg(long, value_name = "F")]
    pub family: Option<String>,
    /// The one kernel to write, as a JSON object of the fields of its specialisation; every row of the catalog, if nothing
    /// is said
    #[arg(long, value_name = "JSON")]
    pub spec: Option<String>,
    /// Directory to write to; it is made where it is missing
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `verify`.
#[derive(Args, Debug)]
pub struct VerifyArguments {
    /// The only family to check; every one, if nothing is said
    #[arg(long, value_name = "F")]
    pub family: Option<String>,
    /// Cases of each family
    #[arg(long, value_name = "N", default_value_t = 20, allow_negative_numbers = true)]
    pub cases: u64,
    /// Seed of the first case; the next ones count on
    #[arg(long, value_name = "S", default_value_t = 0, allow_negative_numbers = true)]
    pub seed: u64,
    /// Device: sim[:N] or cuda[:I]
    #[arg(long, value_name = "DEVICE", default_value = "sim")]
    pub device: Device,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `mutate`.
#[derive(Args, Debug)]
pub struct MutateArguments {
    /// The only family to break; every one, if nothing is said
    #[arg(long, value_name = "F")]
    pub family: Option<String>,
    /// Kernels of each family
    #[arg(long, value_name = "N", default_value_t = 2, allow_negative_numbers = true)]
    pub kernels: usize,
    /// Cases that each mutant is run in, at most
    #[arg(long, value_name = "N", default_value_t = 8, allow_negative_numbers = true)]
    pub cases: u64,
    /// Judge so many mutants, drawn from all; all, if nothing is said
    #[arg(long, value_name = "N")]
    pub sample: Option<usize>,
    /// Seed of the cases and of the sample
    #[arg(long, value_name = "S", default_value_t = 0, allow_negative_numbers = true)]
    pub seed: u64,
    /// List the mutants and judge none
    #[arg(long)]
    pub list: bool,
    /// Print the table of docs/mutation.md
    #[arg(long, conflicts_with_all = ["json", "list"])]
    pub markdown: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `devices`.
#[derive(Args, Debug)]
pub struct DevicesArguments {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A prompt, as text or as token ids.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct PromptArguments {
    /// Prompt as text; tokens that begin a text are added as tokenizer.json says
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Prompt as token ids, taken verbatim
    #[arg(long, value_name = "IDS", value_parser = parse_ids)]
    pub prompt_ids: Option<TokenIds>,
}

/// How to run the network, whatever for.
#[derive(Args, Clone, Debug)]
pub struct RunArguments {
    /// Device: reference, sim or cuda[:I]; the reference path, if nothing is said, and of the demo the first GPU, else a
    /// simulated one
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<Device>,
    /// What a simulated device is; sm_90a, if nothing is said
    #[arg(long, value_name = "TARGET")]
    pub target: Option<Target>,
    /// Where the reference path rounds values; f32, if nothing is said. A device always rounds as its kernels do
    #[arg(long, value_enum)]
    pub precision: Option<PrecisionArgument>,
    /// Threads of the reference path; as many as there are cores, which is also the most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// No progress on stderr
    #[arg(long)]
    pub quiet: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Token ids separated by commas.
#[derive(Clone, Debug)]
pub struct TokenIds(pub Vec<u32>);

fn parse_ids(text: &str) -> Result<TokenIds, String> {
    if text.trim().is_empty() {
        return Ok(TokenIds(Vec::new()));
    }
    let parse = |id: &str| {
        let id = id.trim();
        id.parse().map_err(|_| format!("\"{id}\" is no token id, expected a number below 2^32"))
    };
    text.split(',').map(parse).collect::<Result<_, _>>().map(TokenIds)
}

/// Where values are rounded; see `rorqual::reference::Precision`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArgument {
    /// The mathematics, in f32
    F32,
    /// The rounding points of the GPU kernels
    Kernel,
}

impl PrecisionArgument {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Kernel => "kernel",
        }
    }
}

impl From<PrecisionArgument> for Precision {
    fn from(argument: PrecisionArgument) -> Self {
        match argument {
            PrecisionArgument::F32 => Self::F32,
            PrecisionArgument::Kernel => Self::Kernel,
        }
    }
}

/// A device that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The CPU reference path.
    Reference,
    /// So many simulated GPUs.
    Simulated(u32),
    /// The GPU of this number.
    Cuda(u32),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = match text.split_once(':') {
            None => (text, None),
            Some((name, number)) => {
                let number =
                    number.parse::<u32>().map_err(|_| format!("\"{number}\" is no device number"))?;
                (name, Some(number))
            }
        };
        match (name, number) {
            ("reference", None) => Ok(Self::Reference),
            ("sim", Some(0)) => Err("expected at least one simulated GPU".to_owned()),
            ("sim", count) => Ok(Self::Simulated(count.unwrap_or(1))),
            ("cuda", ordinal) => Ok(Self::Cuda(ordinal.unwrap_or(0))),
            _ => Err("expected reference, sim, sim:N, cuda or cuda:I".to_owned()),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reference => write!(f, "reference"),
            Self::Simulated(count) => write!(f, "sim:{count}"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}
