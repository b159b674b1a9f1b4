//! One kernel for one opcode: its text, what it is given and what it must leave behind.

use rorqual_sim::tensor_map::{TensorMap, TileSpec};
use rorqual_sim::{Device, Launch, Rule};

/// Bytes of the input and of the output that belong to one thread.
pub const SLOT: usize = 64;

/// A kernel with its input and its expectation. In the body these registers are set:
///
/// | register | value |
/// |---|---|
/// | `%thread` | number of the thread in its CTA |
/// | `%rank` | number of the CTA |
/// | `%in`, `%out` | input and output |
/// | `%src`, `%dst` | the thread's [`SLOT`] bytes of each |
///
/// Free are `%p0` to `%p9` (predicates), and of `%h` (16 bits), `%r` (32), `%d` (64), `%q` (128) 0 to 199. The
/// parameter `map` is a tensor map, `value` the first [`SLOT`] bytes of the input.
#[derive(Clone)]
pub struct Case {
    /// What stands before the kernel.
    pub module: String,
    /// Performance directives of the kernel.
    pub directives: &'static str,
    /// Variables of the kernel.
    pub variables: String,
    /// What it executes, without the final `ret`.
    pub body: String,
    /// Threads of a CTA.
    pub threads: u32,
    /// CTAs, which make up one cluster.
    pub ctas: u32,
    /// The input.
    pub input: Vec<u8>,
    /// What the output, first filled with 0xee, must hold.
    pub expected: Vec<u8>,
    /// Whether the output is of `f32` that may differ by a few units in the last place.
    pub approximate: bool,
    /// The tensor map, with the address counted from the start of the input, or of the output if it is `.1`.
    pub map: Option<(TileSpec, bool)>,
    /// What the kernel must print.
    pub printed: &'static str,
    /// The rule by which it must end.
    pub ends_by: Option<Rule>,
}

impl Case {
    /// A kernel of one warp that gives every thread the same expectation: nothing.
    pub fn new(body: impl Into<String>) -> Self {
        Self {
            module: String::new(),
            directives: "",
            variables: String::new(),
            body: body.into(),
            threads: 32,
            ctas: 1,
            input: vec![],
            expected: vec![],
            approximate: false,
            map: None,
            printed: "",
            ends_by: None,
        }
    }

    /// With the input and output slots of its threads.
    pub fn slots(mut self, input: impl Fn(usize) -> Vec<u8>, expected: impl Fn(usize) -> Vec<u8>) -> Self {
        let threads = (self.threads * self.ctas) as usize;
        self.input = padded((0..threads).map(input));
        self.expected = padded((0..threads).map(expected));
        self
    }

    /// With variables of the kernel.
    pub fn variables(mut self, variables: &str) -> Self {
        self.variables.push_str(variables);
        self
    }

    /// Whether the kernel executes an opcode in this spelling.
    pub fn has(&self, opcode: &str) -> bool {
        let ends = |at: usize| self.body[at + opcode.len()..].starts_with([' ', ';']);
        self.body.match_indices(opcode).any(|(at, _)| ends(at))
    }

    /// The text of the module for a target.
    fn text(&self, target: &str) -> String {
        let version = if matches!(target, "sm_80" | "sm_89") { "8.8" } else { "9.5" };
        let Self { module, directives, variables, body, .. } = self;
        format!(
            ".version {version}
.target {target}
.address_size 64
{module}
.visible .entry kernel(
    .param .u64 input, .param .u64 output, .param .align 64 .b8 map[128], .param .align 16 .b8 value[{SLOT}])
    {directives}
{{
    .reg .pred %p<10>;
    .reg .b16 %h<200>;
    .reg .b32 %r<200>, %thread, %rank, %number;
    .reg .b64 %d<200>, %in, %out, %src, %dst;
    .reg .b128 %q<4>;
    {variables}
    ld.param.b64 %in, [input];
    ld.param.b64 %out, [output];
    mov.u32 %thread, %tid.x;
    mov.u32 %rank, %ctaid.x;
    mov.u32 %number, %ntid.x;
    mad.lo.u32 %number, %rank, %number, %thread;
    mad.wide.u32 %src, %number, {SLOT}, %in;
    mad.wide.u32 %dst, %number, {SLOT}, %out;
    {body}
    ret;
}}
"
        )
    }

    /// Runs the kernel on a device; what is wrong, in words.
    pub fn run(&self, target: &str) -> Result<(), String> {
        let text = self.text(target);
        self.launch(target, &text).map_err(|message| format!("{message}\n{text}"))
    }

    fn launch(&self, target: &str, text: &str) -> Result<(), String> {
        let words = |error: rorqual_sim::DeviceError| error.to_string();
        let mut device = Device::new(target.parse().map_err(|_| "no target")?).map_err(words)?;
        // What orders the snippets' accesses is the business of other tests.
        device.options_mut().race = None;
        let module = device.load(text).map_err(words)?;
        if let Some((line, what)) = module.unsupported().first() {
            return Err(format!("line {line}: {what}"));
        }
        let mut value = self.input.clone();
        value.resize(value.len().max(SLOT), 0);
        let input = device.allocate_from("input", &value).map_err(words)?;
        let output =
            device.allocate_from("output", &vec![0xee; self.expected.len().max(SLOT)]).map_err(words)?;
        let map = self.map.map(|(spec, of_output)| {
            let base = if of_output { output } else { input };
            TensorMap::encode(&TileSpec { address: base.0 + spec.address, ..spec })
                .map_err(|error| error.to_string())
        });
        let map = map.transpose()?.map_or(vec![0; 128], |map| map.to_bytes().to_vec());
        let launch = Launch::new(&module, "kernel")
            .ctas([self.ctas, 1, 1])
            .cluster([self.ctas, 1, 1])
            .threads([self.threads, 1, 1])
            .argument(input)
            .argument(output)
            .argument(rorqual_sim::Argument(map))
            .argument(rorqual_sim::Argument(value[..SLOT].to_vec()));
        let outcome = device.launch(&launch).map_err(words)?;
        if outcome.reports.first().map(|report| report.rule) != self.ends_by {
            return Err(outcome.reports.first().map_or("it ended well".to_owned(), ToString::to_string));
        }
        let printed = String::from_utf8_lossy(&outcome.output);
        if printed != self.printed {
            return Err(format!("printed {printed:?}, expected {:?}", self.printed));
        }
        let left = device.read(output, self.expected.len()).map_err(words)?;
        self.compare(&left)
    }

    fn compare(&self, left: &[u8]) -> Result<(), String> {
        let fits = |at: usize| {
            let (left, expected) = (word(left, at), word(&self.expected, at));
            let (near, exact) = (f32::from_bits(left), f32::from_bits(expected));
            left == expected || self.approximate && (near - exact).abs() <= 2e-6 + 2e-6 * exact.abs()
        };
        match (0..self.expected.len().div_ceil(4)).find(|at| !fits(4 * at)) {
            None => Ok(()),
            Some(at) => Err(format!(
                "word {} of thread {}: {:#010x}, expected {:#010x}",
                at % 16,
                at / 16,
                word(left, 4 * at),
                word(&self.expected, 4 * at)
            )),
        }
    }
}

/// Slots one after the other, filled up with what the output holds before.
fn padded(slots: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    slots
        .flat_map(|mut slot| {
            assert!(slot.len() <= SLOT, "a slot of {} bytes", slot.len());
            slot.resize(SLOT, 0xee);
            slot
        })
        .collect()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    let end = bytes.len().min(at + 4);
    word[..end - at].copy_from_slice(&bytes[at..end]);
    u32::from_le_bytes(word)
}

/// A number that looks random, from a number.
pub fn noise(seed: u64) -> u64 {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x2545_f491_4f6c_dd1d);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// So many bytes that look random.
pub fn noise_bytes(seed: usize, count: usize) -> Vec<u8> {
    (0..count).map(|at| (noise((seed * 4096 + at) as u64) >> 24) as u8).collect()
}
