//! Every opcode of the kernels of DeepGEMM, FlashMLA, DeepEP and Triton, modifiers included, executes: each has a
//! kernel of its own here that is parsed, verified and run, and whose output is compared.
//!
//! The opcodes are those of `opcodes/spellings.txt`, with the letters of the kernels that have them; each runs on the
//! architectures of those kernels. With `--nocapture` a table says how many there are.

#[path = "opcodes/evaluate.rs"]
mod evaluate;
#[path = "opcodes/harness.rs"]
mod harness;
#[path = "opcodes/scalar.rs"]
mod scalar;

use harness::Case;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::table::{Convert, Form, Memory, Opcode, find_row};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An opcode, and what the list says of it.
struct Spelling {
    family: &'static str,
    groups: &'static str,
    opcode: &'static str,
}

impl Spelling {
    /// The architectures of the kernels that have it.
    fn targets(&self) -> Vec<&'static str> {
        let targets = [("8", "sm_80"), ("9", "sm_89"), ("L", "sm_90"), ("DFET", "sm_90a")];
        let occurs = |letters: &str| letters.chars().any(|letter| self.groups.contains(letter));
        targets.into_iter().filter(|(letters, _)| occurs(letters)).map(|(_, target)| target).collect()
    }

    /// Its kernels.
    fn cases(&self) -> Vec<Case> {
        let Some((form, modifiers)) = form(self.opcode) else { return vec![] };
        match form.opcode {
            Opcode::Memory(Memory::Mov) => scalar::moves(self.opcode, form, &modifiers),
            Opcode::Convert(Convert::Cvta | Convert::Isspacep | Convert::Mapa) => vec![],
            Opcode::Arith(_) | Opcode::Float(_) | Opcode::Bits(_) | Opcode::Convert(_) => {
                scalar::cases(self.opcode, form, &modifiers)
            }
            _ => vec![],
        }
    }
}

/// The first form that has the modifiers of an opcode, and these in its order.
fn form(opcode: &str) -> Option<(&'static Form, Vec<Modifier>)> {
    let (row, rest) = find_row(opcode)?;
    let words: Vec<Modifier> = rest.split('.').skip(1).map(Modifier::from_name).collect::<Option<_>>()?;
    row.forms.iter().find_map(|form| Some((form, form.order_modifiers(&words)?)))
}

fn spellings() -> Vec<Spelling> {
    let mut family = "";
    let mut spellings = Vec::new();
    for line in include_str!("opcodes/spellings.txt").lines() {
        if let Some(name) = line.strip_prefix("## ") {
            family = name;
        } else if let Some((groups, opcode)) = line.split_once(' ').filter(|_| !line.starts_with('#')) {
            spellings.push(Spelling { family, groups, opcode });
        }
    }
    spellings
}

/// What came of one opcode.
#[derive(Default)]
struct Result {
    runs: usize,
    failures: Vec<String>,
}

fn run(spelling: &Spelling) -> Result {
    let mut result = Result::default();
    let cases = spelling.cases();
    if cases.is_empty() {
        result.failures.push(format!("{}: it has no kernel", spelling.opcode));
    }
    for target in spelling.targets() {
        for case in &cases {
            result.runs += 1;
            if let Err(message) = case.run(target) {
                result.failures.push(format!("{} on {target}: {message}", spelling.opcode));
            }
        }
    }
    result
}

#[test]
fn every_opcode_of_real_kernels_executes() {
    let spellings = spellings();
    assert!(spellings.len() > 400, "{} opcodes", spellings.len());
    let wanted = std::env::var("RORQUAL_OPCODES").unwrap_or_default();
    let spellings: Vec<Spelling> = spellings.into_iter().filter(|spelling| spelling.opcode.contains(&wanted)).collect();
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((at, spelling)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, spellings.get(at)?))) {
                    let result = run(spelling);
                    results.lock().expect("no worker panics").push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no worker panics");
    results.sort_by_key(|(at, _)| *at);
    let mut families: Vec<(&str, usize, usize)> = Vec::new();
    for (at, result) in &results {
        let family = spellings[*at].family;
        if families.last().is_none_or(|(name, ..)| *name != family) {
            families.push((family, 0, 0));
        }
        let (_, opcodes, runs) = families.last_mut().expect("one was added");
        *opcodes += usize::from(result.failures.is_empty());
        *runs += result.runs;
    }
    println!("{:>7} {:>6}  family", "opcodes", "runs");
    for (family, opcodes, runs) in &families {
        println!("{opcodes:>7} {runs:>6}  {family}");
    }
    let sum = |count: fn(&(&str, usize, usize)) -> usize| families.iter().map(count).sum::<usize>();
    println!("{:>7} {:>6}  together, of {}", sum(|family| family.1), sum(|family| family.2), spellings.len());
    let failures: Vec<&String> = results.iter().flat_map(|(_, result)| &result.failures).collect();
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.iter().map(|text| text.as_str()).collect::<Vec<_>>().join("\n"));
}
