//! Mutants of small kernels: what is made of an instruction, what is caught, and which rules hold.

use rorqual_sim::launch_file::{self, LaunchFile};
use rorqual_sim::mutate::judge::{Caught, Fate, Score, Subject, judge};
use rorqual_sim::mutate::{Mutant, Mutator, Rule};
use rorqual_sim::race::{RacePolicy, WarpPolicy};
use rorqual_sim::{Device, Launch, Options};
use std::path::Path;

/// A kernel of 64 threads over an array `data`, with these statements.
fn kernel(body: &str) -> String {
    let text = format!(
        ".version 8.7 .target sm_90a .address_size 64
        .visible .entry k(.param .u64 data) {{
            .reg .u32 %r<8>; .reg .u64 %rd<4>; .reg .pred %p<4>; .shared .align 16 .b8 tile[512];
            .shared .align 8 .b64 barrier;
            ld.param.u64 %rd1, [data]; cvta.to.global.u64 %rd1, %rd1;
            mov.u32 %r0, %tid.x; mad.wide.u32 %rd2, %r0, 4, %rd1;
            mov.u32 %r1, tile; mad.lo.u32 %r2, %r0, 4, %r1; xor.b32 %r3, %r0, 63; mad.lo.u32 %r4, %r3, 4, %r1;
            {body}
            ret;
        }}"
    );
    rorqual_ptx::print(&rorqual_ptx::parse(&text).unwrap_or_else(|error| panic!("{error}")))
}

/// Each thread puts its number to shared memory and takes that of the thread opposite.
const EXCHANGE: &str =
    "st.shared.u32 [%r2], %r0; bar.sync 0; ld.shared.u32 %r5, [%r4]; st.global.u32 [%rd2], %r5;";

/// Runs a text under some schedules; the result of `EXCHANGE` is right.
struct Exchange;

impl Subject for Exchange {
    fn trials(&self) -> usize {
        3
    }

    fn run(&self, text: &str, trial: usize) -> Result<(), Caught> {
        let mut device = Device::new("sm_90a".parse().expect("a target")).expect("a device");
        let race = Some(RacePolicy { warp: WarpPolicy::Report, ..RacePolicy::default() });
        let options = Options {
            seed: trial as u64,
            race,
            instruction_budget: 100_000,
            threads: 1,
            ..Options::default()
        };
        *device.options_mut() = options;
        let module = device.load(text).expect("a module");
        let data = device.allocate("data", 256).expect("memory");
        let launch = Launch::new(&module, "k").threads([64, 1, 1]).argument(data);
        let outcome = device.launch(&launch).expect("a launch");
        if let Some(report) = outcome.reports.first() {
            return Err(Caught::Report(report.rule));
        }
        let got = device.read(data, 256).map_err(|_| Caught::Unwritten)?;
        let expected: Vec<u8> = (0..64_u32).flat_map(|thread| (63 - thread).to_le_bytes()).collect();
        if got == expected { Ok(()) } else { Err(Caught::WrongValue) }
    }
}

/// Mutants by instruction and mutation, without the line.
fn names(body: &str) -> Vec<String> {
    let mutants = Mutator::new(&kernel(body)).expect("PTX").mutants();
    mutants.iter().map(|mutant| format!("{} {}", mutant.instruction, mutant.mutation)).collect()
}

fn score(body: &str) -> Score {
    let text = kernel(body);
    assert_eq!(Exchange.run(&text, 0), Ok(()), "{text}");
    let mutator = Mutator::new(&text).expect("PTX");
    let mut score = Score::default();
    for mutant in mutator.mutants() {
        score.count(&mutator, &mutant, judge(&mutator, &mutant, &Exchange));
    }
    score
}

#[test]
fn the_table_says_what_is_made_of_an_instruction() {
    assert_eq!(names(EXCHANGE), ["bar.sync deleted", "bar.sync moved up", "bar.sync moved down"]);
    let named = EXCHANGE.replace("bar.sync 0", "bar.sync 1, 64");
    assert_eq!(names(&named)[1..3], ["bar.sync count +32", "bar.sync count -32"]);
    let waits = "cp.async.ca.shared.global [%r2], [%rd2], 4; cp.async.commit_group; cp.async.wait_group 0;
        ld.shared.u32 %r5, [%r2];";
    assert_eq!(
        names(waits),
        [
            "cp.async.commit_group deleted",
            "cp.async.commit_group moved up",
            "cp.async.commit_group moved down",
            "cp.async.wait_group deleted",
            "cp.async.wait_group one group deeper",
            "cp.async.wait_group moved down",
        ]
    );
    let barrier = "mbarrier.init.shared.b64 [barrier], 2;
        L: mbarrier.try_wait.parity.shared.b64 %p1, [barrier], %r5; @!%p1 bra L;
        mbarrier.arrive.expect_tx.shared.b64 _, [barrier], 64;
        fence.acq_rel.gpu; ld.acquire.sys.global.u32 %r6, [%rd2];";
    let names = names(barrier);
    for expected in [
        "mbarrier.init.shared.b64 count +1",
        "mbarrier.init.shared.b64 count -1",
        "mbarrier.try_wait.parity.shared.b64 deleted",
        "mbarrier.try_wait.parity.shared.b64 other parity",
        "mbarrier.arrive.expect_tx.shared.b64 bytes +16",
        "mbarrier.arrive.expect_tx.shared.b64 bytes -16",
        "mbarrier.arrive.expect_tx.shared.b64 relaxed",
        "fence.acq_rel.gpu scope narrowed",
        "ld.acquire.sys.global.u32 relaxed",
        "ld.acquire.sys.global.u32 scope narrowed",
    ] {
        assert!(names.iter().any(|name| name == expected), "{expected} is not among {names:#?}");
    }
}

#[test]
fn a_wait_is_deleted_with_its_loop() {
    let body = "mov.u32 %r5, 0;
        L: mbarrier.try_wait.parity.shared.b64 %p1, [barrier], %r5; @%p1 bra D; bra L; D: ld.shared.u32 %r6, [%r2];";
    let mutator = Mutator::new(&kernel(body)).expect("PTX");
    let mutants = mutator.mutants();
    let text = |name: &str| {
        let mutant = mutants.iter().find(|mutant| mutant.to_string().ends_with(name));
        mutator.text(mutant.unwrap_or_else(|| panic!("no {name}: {mutants:?}"))).expect("a text")
    };
    assert!(!text(" deleted").contains("try_wait") && !text(" deleted").contains("bra"));
    let flipped = text(" other parity");
    assert!(flipped.contains("xor.b32"), "{flipped}");
    let moved = text(" moved down");
    assert!(moved.find("ld.shared") < moved.find("try_wait"), "{moved}");
}

#[test]
fn what_a_barrier_is_needed_for_is_caught() {
    let score = score(EXCHANGE);
    assert_eq!((score.mutants(), score.caught()), (3, 3), "{score:?}");
    assert!(score.contradictions.is_empty(), "{score:?}");
}

#[test]
fn a_barrier_that_is_not_needed_is_equivalent_by_a_rule() {
    let twice = EXCHANGE.replace("bar.sync 0;", "bar.sync 0; bar.sync 0;");
    let score = score(&twice);
    assert_eq!(score.alive, []);
    assert!(score.equivalent.contains_key(&Rule::NothingBehind), "{score:?}");
    let last = fate_of_last_barrier();
    assert_eq!(last, Some(Fate::Equivalent(Rule::NothingBehind)));
}

/// A barrier at the end, behind which the kernel only stores what nobody loads.
fn fate_of_last_barrier() -> Option<Fate> {
    let text = kernel(&EXCHANGE.replace("st.global", "bar.sync 0; st.global"));
    let mutator = Mutator::new(&text).ok()?;
    let mutants = mutator.mutants();
    let deleted: Vec<_> = mutants.iter().filter(|mutant| mutant.to_string().ends_with("deleted")).collect();
    Some(judge(&mutator, deleted.last()?, &Exchange))
}

/// The rule of the mutant of a kernel whose name ends so, by the text alone.
fn rule_of(body: &str, name: &str) -> Option<Rule> {
    let mutator = Mutator::new(&kernel(body)).expect("PTX");
    let mutants = mutator.mutants();
    let mutant = mutants.iter().find(|mutant| mutant.to_string().ends_with(name));
    mutator.equivalent(mutant.unwrap_or_else(|| panic!("no {name}: {mutants:?}")))
}

#[test]
fn a_look_whose_answer_nobody_reads_may_be_anything() {
    const LOOK: &str = "mov.u32 %r5, 0; L: mbarrier.try_wait.parity.shared.b64 %p1, [barrier], %r5;";
    let unread =
        format!("{LOOK} ld.shared.u32 %r6, [%r2]; setp.eq.u32 %p1, %r6, 0; @%p1 st.shared.u32 [%r2], %r6;");
    for change in [" deleted", " other parity", " relaxed", " moved down"] {
        assert_eq!(
            rule_of(&unread, &format!("try_wait.parity.shared.b64{change}")),
            Some(Rule::AnswerUnread)
        );
    }
    let read = format!("{LOOK} @%p1 st.shared.u32 [%r2], %r5;");
    assert_eq!(rule_of(&read, "b64 relaxed"), None);
    let read_on_one_way = format!("{LOOK} @%p2 setp.eq.u32 %p1, %r5, 0; @%p1 st.shared.u32 [%r2], %r5;");
    assert_eq!(rule_of(&read_on_one_way, "b64 relaxed"), None, "a guarded write leaves the answer");
    let read_around_the_loop =
        format!("@%p1 bra D; {LOOK} setp.eq.u32 %p2, %r0, 0; @%p2 bra B; D: ret; B: @%p1 bra L;");
    assert_eq!(rule_of(&read_around_the_loop, "b64 relaxed"), None);
}

#[test]
fn a_warp_may_meet_on_either_side_of_a_wait_for_products() {
    let waits = "st.shared.u32 [%r2], %r0; wgmma.commit_group.sync.aligned; bar.warp.sync 0xffffffff;
        wgmma.wait_group.sync.aligned 0; ld.shared.u32 %r5, [%r4];";
    assert_eq!(rule_of(waits, "bar.warp.sync moved up"), Some(Rule::NothingCrossed));
    assert_eq!(rule_of(waits, "bar.warp.sync moved down"), Some(Rule::NothingCrossed));
    assert_eq!(rule_of(waits, "bar.warp.sync deleted"), None);
    let accesses = "st.shared.u32 [%r2], %r0; bar.warp.sync 0xffffffff; ld.shared.u32 %r5, [%r4];";
    assert_eq!(rule_of(accesses, "bar.warp.sync moved up"), None);
    assert_eq!(rule_of(accesses, "bar.warp.sync moved down"), None);
}

#[test]
fn of_two_waits_either_may_be_the_first() {
    const WAIT: &str = "A: mbarrier.try_wait.parity.shared.b64 %p1, [barrier], %r5; @!%p1 bra A;";
    let second = "B: mbarrier.try_wait.parity.shared.b64 %p2, [barrier+8], %r5; @!%p2 bra B;";
    let waits = format!("mov.u32 %r5, 0; {WAIT} {second} ld.shared.u32 %r6, [%r2];");
    assert_eq!(rule_of(&waits, "b64 moved down"), Some(Rule::EitherFirst));
    assert_eq!(rule_of(&waits, "b64 deleted"), None);
    let accesses = format!("mov.u32 %r5, 0; {WAIT} ld.shared.u32 %r6, [%r2]; {second}");
    assert_eq!(rule_of(&accesses, "b64 moved down"), None);
    let look = "mbarrier.try_wait.parity.shared.b64 %p2, [barrier+8], %r5; @!%p2 ret;";
    let looks = format!("mov.u32 %r5, 0; {WAIT} {look}");
    assert_eq!(rule_of(&looks, "b64 moved down"), None, "a look may find the other one not over");
}

#[test]
fn what_no_rule_explains_is_alive() {
    // A barrier between accesses that never meet: each thread has its own word.
    let own = EXCHANGE.replace(
        "st.shared.u32 [%r2], %r0;",
        "st.shared.u32 [%r2+256], %r0; bar.sync 0; st.shared.u32 [%r2], %r0;",
    );
    let alive = score(&own).alive;
    assert!(
        alive.iter().any(|(mutant, reached)| mutant.to_string().ends_with("bar.sync deleted") && *reached)
    );
    // One that is never executed.
    let never = EXCHANGE.replace("ld.shared", "ld.shared.u32 %r6, [%r2]; setp.gt.u32 %p1, %r0, 99; @!%p1 bra D; bar.sync 0; st.shared.u32 [%r4], 0; D: ld.shared");
    let alive = score(&never).alive;
    assert!(alive.iter().any(|(_, reached)| !reached), "{alive:?}");
}

/// A kernel that nvcc compiled, with what it saves as the oracle.
#[test]
fn mutants_of_a_launch_file_are_judged_by_what_it_saves() {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels/cases/cp_async.sm80-o3");
    let file = LaunchFile::read(&case.join("launch.json")).expect("a launch file");
    let options = Options { threads: 1, ..Options::default() };
    let mut heard = 0;
    let module = file.launches[0].module.as_str();
    let mut judged = |mutant: &Mutant, fate: Fate| {
        println!("{mutant}: {fate:?}");
        heard += 1;
    };
    let score = launch_file::mutate((&file, &case), module, &options, 2, &mut judged).expect("a score");
    assert_eq!(heard, score.mutants());
    assert!(score.caught() >= 3 && score.contradictions.is_empty(), "{score:?}");
    let unknown = launch_file::mutate((&file, &case), "nowhere.ptx", &options, 1, &mut |_, _| {});
    assert_eq!(unknown.expect_err("an error").to_string(), "no launch is of the module `nowhere.ptx`");
}

#[test]
fn marks_tell_which_instructions_are_executed() {
    let (text, lines) = Mutator::new(&kernel(EXCHANGE)).expect("PTX").marked().expect("marks");
    assert_eq!(lines.len(), 1);
    assert_eq!(Exchange.run(&text, 0), Ok(()), "{text}");
    let marked = text.lines().nth(*lines.first().expect("a line") as usize - 1).expect("a line");
    assert!(marked.contains("mutation_marks"), "{marked}");
    assert!(Mutator::new(&kernel("")).expect("PTX").marked().is_none());
}
