//! Every opcode of the kernels of DeepGEMM, FlashMLA, DeepEP and Triton, modifiers included, executes: each has a
//! kernel of its own here that is parsed, verified and run, and whose output is compared. So do some others that no other
//! test has.
//!
//! The opcodes are those of `opcodes/spellings.txt`, with the letters of the kernels that have them; each runs on the
//! architectures of those kernels. With `--nocapture` a table says how many there are.

#[path = "opcodes/atomic.rs"]
mod atomic;
#[path = "opcodes/control.rs"]
mod control;
#[path = "opcodes/evaluate.rs"]
mod evaluate;
#[path = "opcodes/harness.rs"]
mod harness;
#[path = "opcodes/matrix.rs"]
mod matrix;
#[path = "opcodes/mbarrier.rs"]
mod mbarrier;
#[path = "opcodes/memory.rs"]
mod memory;
#[path = "opcodes/scalar.rs"]
mod scalar;
#[path = "opcodes/sync.rs"]
mod sync;
#[path = "opcodes/tensor.rs"]
mod tensor;

use harness::Case;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::table::{AsyncCopy, Control, Convert, Form, Memory, Mma, Opcode, Sync, find_row};

/// An opcode, and what the list says of it.
struct Spelling {
    family: &'static str,
    groups: &'static str,
    opcode: &'static str,
}

impl Spelling {
    /// The architectures of the kernels that have it.
    fn targets(&self) -> Vec<&'static str> {
        let targets = [("8", "sm_80"), ("9", "sm_89"), ("L", "sm_90"), ("DFETX", "sm_90a"), ("Y", "sm_100a")];
        let occurs = |letters: &str| letters.chars().any(|letter| self.groups.contains(letter));
        targets.into_iter().filter(|(letters, _)| occurs(letters)).map(|(_, target)| target).collect()
    }

    /// Its kernels.
    fn cases(&self) -> Vec<Case> {
        let Some((form, modifiers)) = form(self.opcode) else { return vec![] };
        let opcode = self.opcode;
        match form.opcode {
            Opcode::Arith(_) | Opcode::Float(_) | Opcode::Bits(_) => scalar::cases(opcode, form, &modifiers),
            Opcode::Convert(row) => match row {
                Convert::Cvta | Convert::Isspacep => memory::addresses(opcode, &modifiers),
                Convert::Mapa => mbarrier::remote(opcode),
                _ => scalar::cases(opcode, form, &modifiers),
            },
            Opcode::Memory(row) => match row {
                Memory::Mov => scalar::moves(opcode, form, &modifiers),
                Memory::Ld => memory::loads(opcode, &modifiers),
                Memory::St => memory::stores(opcode, &modifiers),
                Memory::StAsync => mbarrier::remote(opcode),
                Memory::Prefetch => memory::prefetches(opcode),
                Memory::Createpolicy => memory::policies(opcode),
                Memory::Ldu => memory::uniform_load(opcode),
                Memory::Discard => memory::discard(opcode),
                Memory::StBulk => memory::zeros(opcode),
                _ => vec![],
            },
            Opcode::Atomic(_) => atomic::cases(opcode, form.opcode, &modifiers),
            Opcode::AsyncCopy(row) => match row {
                AsyncCopy::CpAsync => mbarrier::thread_copies(opcode),
                AsyncCopy::CpAsyncCommitGroup | AsyncCopy::CpAsyncWaitGroup => mbarrier::groups(),
                AsyncCopy::CpAsyncBulk if opcode.contains("mbarrier") => mbarrier::bulk_load(opcode),
                AsyncCopy::CpAsyncBulk => mbarrier::bulk_store(opcode),
                AsyncCopy::CpAsyncBulkCommitGroup | AsyncCopy::CpAsyncBulkWaitGroup => {
                    mbarrier::bulk_store("cp.async.bulk.global.shared::cta.bulk_group")
                }
                AsyncCopy::CpAsyncBulkTensor if opcode.contains("mbarrier") => tensor::loads(opcode),
                AsyncCopy::CpAsyncBulkTensor | AsyncCopy::CpReduceAsyncBulkTensor => tensor::stores(opcode),
                AsyncCopy::TensormapReplace => tensor::edits(opcode),
                AsyncCopy::CpAsyncBulkPrefetchTensor => tensor::prefetches(opcode),
                AsyncCopy::TensormapCpFenceproxy => tensor::publications(),
                _ => vec![],
            },
            Opcode::Sync(row) => match row {
                Sync::BarSync | Sync::BarrierSync => sync::cta_barrier(opcode),
                Sync::BarArrive | Sync::BarrierArrive => sync::cta_arrival(opcode),
                Sync::BarWarpSync => sync::warp_barrier(opcode),
                Sync::BarrierClusterArrive | Sync::BarrierClusterWait => sync::cluster_barrier(opcode),
                Sync::Fence
                | Sync::FenceProxyAlias
                | Sync::FenceProxyAsync
                | Sync::FenceProxyAsyncGeneric => sync::fence(opcode),
                Sync::FenceProxyTensormap => [sync::fence(opcode), tensor::publications()].concat(),
                Sync::FenceMbarrierInit => [sync::fence(opcode), mbarrier::remote(opcode)].concat(),
                Sync::VoteSync => sync::vote(opcode),
                Sync::MatchSync => sync::matching(opcode),
                Sync::ReduxSync => sync::redux(opcode),
                Sync::ShflSync => sync::shuffle(opcode),
                Sync::ElectSync => sync::election(opcode),
                Sync::MbarrierArrive if opcode.contains("cluster") => mbarrier::remote(opcode),
                Sync::MbarrierInit | Sync::MbarrierInval | Sync::MbarrierArrive | Sync::MbarrierTryWait => {
                    mbarrier::local(opcode)
                }
                Sync::CpAsyncMbarrierArrive => mbarrier::copy_arrivals(opcode),
                _ => vec![],
            },
            Opcode::Control(row) => match row {
                Control::Bra => control::branch(opcode),
                Control::Ret => control::returning(opcode),
                Control::Trap => control::trap(opcode),
                Control::Call => control::call(opcode),
                Control::Setmaxnreg => control::registers(opcode),
                Control::Griddepcontrol => control::silent(opcode),
                Control::Pmevent => control::silent(&format!("{opcode} 3")),
                Control::Nanosleep => control::silent(&format!("{opcode} %r0")),
                _ => vec![],
            },
            Opcode::Mma(row) => match row {
                Mma::Ldmatrix | Mma::Stmatrix => matrix::moves(opcode, &modifiers),
                Mma::Mma => matrix::mma(opcode, &modifiers),
                Mma::WgmmaMmaAsync => matrix::wgmma(opcode, &modifiers),
                Mma::WgmmaFence | Mma::WgmmaCommitGroup | Mma::WgmmaWaitGroup => matrix::wgmma_groups(),
                _ => vec![],
            },
            Opcode::Tcgen05(_) => vec![],
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

/// Runs the kernels of an opcode: how many there were, and what is wrong.
fn run(spelling: &Spelling) -> (usize, Vec<String>) {
    let cases = spelling.cases();
    let opcode = spelling.opcode;
    if !cases.iter().any(|case| case.has(opcode)) {
        return (0, vec![format!("{opcode}: it has no kernel")]);
    }
    let targets = spelling.targets();
    let runs = targets.iter().flat_map(|target| cases.iter().map(move |case| (target, case)));
    let failures = runs.filter_map(|(target, case)| {
        case.run(target).err().map(|message| format!("{opcode} on {target}: {message}"))
    });
    (targets.len() * cases.len(), failures.collect())
}

#[test]
fn every_opcode_in_the_list_executes() {
    let mut families: Vec<(&str, usize, usize)> = Vec::new();
    let mut failures = Vec::new();
    for spelling in spellings() {
        let (runs, wrong) = run(&spelling);
        if families.last().is_none_or(|(name, ..)| *name != spelling.family) {
            families.push((spelling.family, 0, 0));
        }
        let family = families.last_mut().expect("one was added");
        family.1 += usize::from(wrong.is_empty());
        family.2 += runs;
        failures.extend(wrong);
    }
    println!("{:>7} {:>7}  family", "opcodes", "kernels");
    for (family, opcodes, runs) in &families {
        println!("{opcodes:>7} {runs:>7}  {family}");
    }
    let executed: usize = families.iter().map(|(_, opcodes, _)| opcodes).sum();
    println!("{executed:>7} {:>7}  together", families.iter().map(|(.., runs)| runs).sum::<usize>());
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(executed > 400, "{executed} opcodes are fewer than the kernels have");
}
