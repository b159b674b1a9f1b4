//! Every kind of stress brings out a mistake that the same order without it hides: a program, its wrong sibling whose
//! result is wrong under that stress alone, and the schedule that shrinking leaves. And runs replay bit for bit.

use proptest::prelude::*;
use rorqual_sim::race::RacePolicy;
use rorqual_sim::schedule::shrink;
use rorqual_sim::{Device, Launch, Options, Outcome, Schedule};

/// A program and a wrong one that differs in a few lines.
struct Trial {
    name: &'static str,
    /// The body of the kernel; what stands in `FAULT {` or `REMEDY {` and `}` is in one sibling only.
    body: &'static str,
    /// What brings the mistake out.
    stress: &'static str,
    /// The same without it.
    calm: &'static str,
    ctas: u32,
    threads: u32,
    cluster: u32,
    /// Devices that run it together, each with its number as role.
    devices: u32,
    /// The first words of the output.
    expected: fn(usize) -> u32,
    words: usize,
}

/// Issues a bulk copy of 512 bytes of sevens.
const COPY: &str = "
    mbarrier.init.shared.b64 [%r2], 1;
    mbarrier.arrive.expect_tx.shared.b64 %rd3, [%r2], 512;
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd1], 512, [%r2];";

/// Waits for it.
const WAIT: &str = "
WAITING:
    mbarrier.try_wait.parity.shared.b64 %p2, [%r2], 0;
    @!%p2 bra WAITING;";

/// Takes some turns of time.
const DELAY: &str = "
    mov.u32 %r9, 0;
DELAYING:
    add.u32 %r9, %r9, 1;
    setp.lt.u32 %p1, %r9, 600;
    @%p1 bra DELAYING;";

/// Sets both words of a litmus test to 0.
const CLEAR: &str = "
    mov.u32 %r3, 0;
    st.relaxed.cta.shared.u32 [%r1], %r3;
    st.relaxed.cta.shared.u32 [%r1+64], %r3;
    bar.sync 0;";

const PREPARE_PRODUCT: &str = "
    mad.lo.u32 %r5, %r20, 16, %r1;
    mov.u32 %r6, 0x3c003c00;
    st.shared.v4.u32 [%r5], {%r6, %r6, %r6, %r6};
    st.shared.v4.u32 [%r5+2048], {%r6, %r6, %r6, %r6};
    fence.proxy.async.shared::cta;
    bar.sync 0;
    cvt.u64.u32 %rd4, %r1;
    shr.u64 %rd4, %rd4, 4;
    or.b64 %rd4, %rd4, 0x1000080000;
    add.u64 %rd5, %rd4, 128;
    wgmma.fence.sync.aligned;
    wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f1, %f2, %f3, %f4}, %rd4, %rd5, 0, 1, 1, 0, 0;
    wgmma.commit_group.sync.aligned;";

const DOUBLE_A: &str = "
    mov.u32 %r6, 0x40004000;
    st.shared.v4.u32 [%r5], {%r6, %r6, %r6, %r6};";

const GIVE_PRODUCT: &str = "
    cvt.rzi.u32.f32 %r7, %f1;
    mad.wide.u32 %rd6, %r20, 4, %rd2;
    st.global.u32 [%rd6], %r7;";

/// The module of a sibling.
fn text(trial: &Trial, wrong: bool) -> String {
    let mut body = trial.body.to_owned();
    for (name, code) in [
        ("COPY", COPY),
        ("WAIT", WAIT),
        ("DELAY", DELAY),
        ("CLEAR", CLEAR),
        ("PREPARE_PRODUCT", PREPARE_PRODUCT),
        ("DOUBLE_A", DOUBLE_A),
        ("GIVE_PRODUCT", GIVE_PRODUCT),
    ] {
        body = body.replace(&format!("<{name}>"), code);
    }
    let (kept, left) = if wrong { ("FAULT", "REMEDY") } else { ("REMEDY", "FAULT") };
    let body = strip(&body, left, kept);
    format!(
        "
.version 8.7
.target sm_90a
.address_size 64
.visible .entry main(.param .u64 source, .param .u64 out, .param .u32 role)
{{
    .reg .pred %p<8>;
    .reg .b32 %r<32>;
    .reg .b64 %rd<16>;
    .reg .f32 %f<8>;
    .shared .align 128 .b8 data[4096];
    .shared .align 8 .b8 bar[8];
    ld.param.u64 %rd1, [source];
    ld.param.u64 %rd2, [out];
    ld.param.u32 %r21, [role];
    mov.u32 %r20, %tid.x;
    mov.u32 %r1, data;
    mov.u32 %r2, bar;
{body}
    ret;
}}
"
    )
}

/// Leaves out what stands between `LEFT {` and `}` and keeps what stands between `KEPT {` and `}`.
fn strip(body: &str, left: &str, kept: &str) -> String {
    let (mut out, mut skips) = (String::new(), false);
    for line in body.lines() {
        match line.trim() {
            mark if mark == format!("{left} {{") => skips = true,
            mark if mark == format!("{kept} {{") => {}
            "}" => skips = false,
            _ if skips => {}
            _ => out = out + line + "\n",
        }
    }
    out
}

/// What a run left: the words, and everything that it says.
fn run(trial: &Trial, wrong: bool, options: Options) -> (Vec<u32>, Outcome) {
    let target = "sm_90a".parse().expect("a target");
    let mut device = Device::new(target).expect("a simulated architecture").with_devices(trial.devices);
    *device.options_mut() = options;
    let sevens = device.allocate_from("source", &7_u32.to_le_bytes().repeat(128)).expect("memory");
    let out = device.allocate_from("out", &[0; 1024]).expect("memory");
    for number in 1..trial.devices {
        device.memory_mut().map_peer(out.0, number, true).expect("an allocation");
        device.memory_mut().map_peer(sevens.0, number, true).expect("an allocation");
    }
    let text = text(trial, wrong);
    let launches: Vec<Launch> = (0..trial.devices)
        .map(|number| {
            let module = device
                .load_on(number, &text)
                .unwrap_or_else(|error| panic!("{}: {error}\n{text}", trial.name));
            Launch::new(&module, "main")
                .ctas([trial.ctas, 1, 1])
                .threads([trial.threads, 1, 1])
                .cluster([trial.cluster, 1, 1])
                .argument(sevens)
                .argument(out)
                .argument(number)
        })
        .collect();
    let outcome = device.launch_together(&launches).expect("a launch that suits the kernel");
    let bytes = device.read(out, 4 * trial.words).expect("the output");
    let words = bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("4 bytes")));
    (words.collect(), outcome)
}

/// Values are to be wrong, not reports made: nothing is checked that would find the mistake without the stress.
fn unchecked(seed: u64, schedule: &str) -> Options {
    let schedule: Schedule = schedule.parse().expect("a schedule");
    // What may be older is known to race detection; accesses that are all strong do not race.
    let race = schedule.stale.then(RacePolicy::default);
    Options { seed, schedule, race, check_initialized: false, threads: 1, ..Options::default() }
}

const PLAIN: Trial = Trial {
    name: "",
    body: "",
    stress: "",
    calm: "round-robin",
    ctas: 1,
    threads: 1,
    cluster: 1,
    devices: 1,
    expected: |_| 7,
    words: 1,
};

const TRIALS: &[Trial] = &[
    Trial {
        name: "reads after some time what has not arrived",
        stress: "round-robin,copies=late",
        body: "
    <COPY>
    FAULT {
    <DELAY>
    ld.shared.u32 %r3, [%r1];
    }
    <WAIT>
    REMEDY {
    ld.shared.u32 %r3, [%r1];
    }
    st.global.u32 [%rd2], %r3;",
        ..PLAIN
    },
    Trial {
        name: "reads what a copy that is under way overwrites",
        stress: "round-robin,copies=early",
        body: "
    mov.u32 %r4, 5;
    st.shared.u32 [%r1], %r4;
    REMEDY {
    ld.shared.u32 %r3, [%r1];
    fence.proxy.async;
    }
    <COPY>
    FAULT {
    ld.shared.u32 %r3, [%r1];
    }
    <WAIT>
    st.global.u32 [%rd2], %r3;",
        expected: |_| 5,
        ..PLAIN
    },
    Trial {
        name: "takes the last bytes of a copy for the signal that all have come",
        stress: "round-robin,copies=shredded",
        body: "
    <COPY>
    FAULT {
POLLING:
    ld.volatile.shared.u32 %r3, [%r1+508];
    setp.ne.u32 %p3, %r3, 7;
    @%p3 bra POLLING;
    ld.shared.u32 %r3, [%r1];
    ld.shared.u32 %r4, [%r1+256];
    }
    <WAIT>
    REMEDY {
    ld.shared.u32 %r3, [%r1];
    ld.shared.u32 %r4, [%r1+256];
    }
    min.u32 %r3, %r3, %r4;
    st.global.u32 [%rd2], %r3;",
        ..PLAIN
    },
    Trial {
        name: "takes the end of try_wait for the end of the phase",
        stress: "round-robin,spurious=100",
        body: "
    <COPY>
    FAULT {
    mbarrier.try_wait.parity.shared.b64 %p2, [%r2], 0;
    ld.shared.u32 %r3, [%r1];
    }
    <WAIT>
    REMEDY {
    ld.shared.u32 %r3, [%r1];
    }
    st.global.u32 [%rd2], %r3;",
        ..PLAIN
    },
    Trial {
        name: "overwrites an operand of wgmma after some time",
        stress: "round-robin,wgmma=late",
        threads: 128,
        body: "
    <PREPARE_PRODUCT>
    FAULT {
    <DELAY>
    <DOUBLE_A>
    }
    wgmma.wait_group.sync.aligned 0;
    REMEDY {
    bar.sync 0;
    <DOUBLE_A>
    }
    <GIVE_PRODUCT>",
        expected: |_| 16,
        words: 128,
        ..PLAIN
    },
    Trial {
        name: "writes an operand of wgmma after it has issued it",
        stress: "round-robin,wgmma=early",
        threads: 128,
        body: "
    <PREPARE_PRODUCT>
    FAULT {
    <DOUBLE_A>
    }
    wgmma.wait_group.sync.aligned 0;
    REMEDY {
    bar.sync 0;
    <DOUBLE_A>
    fence.proxy.async.shared::cta;
    bar.sync 0;
    wgmma.fence.sync.aligned;
    wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f1, %f2, %f3, %f4}, %rd4, %rd5, 0, 1, 1, 0, 0;
    wgmma.commit_group.sync.aligned;
    wgmma.wait_group.sync.aligned 0;
    }
    <GIVE_PRODUCT>",
        expected: |_| 32,
        words: 128,
        ..PLAIN
    },
    Trial { name: "does not wait for a warp", stress: "round-robin,starve=warp:4", ..MESSAGE },
    Trial { name: "does not wait for a warpgroup", stress: "round-robin,starve=warpgroup:1", ..MESSAGE },
    Trial {
        name: "does not wait for a CTA of the cluster",
        stress: "round-robin,ahead=cta:1",
        ctas: 2,
        cluster: 2,
        body: "
    mov.u32 %r4, %cluster_ctarank;
    mov.u32 %r5, 7;
    setp.eq.u32 %p3, %r4, 0;
    @%p3 st.global.u32 [%rd2+4], %r5;
    REMEDY {
    barrier.cluster.arrive.aligned;
    barrier.cluster.wait.aligned;
    }
    @%p3 ret;
    FAULT {
    <DELAY>
    }
    ld.global.u32 %r3, [%rd2+4];
    st.global.u32 [%rd2], %r3;",
        ..PLAIN
    },
    Trial { name: "does not wait for a cluster", stress: "round-robin,ahead=cluster:1", ctas: 2, ..FLAG },
    Trial { name: "does not wait for a device", stress: "round-robin,ahead=device:1", devices: 2, ..FLAG },
    Trial {
        name: "expects lanes to run together after a branch",
        stress: "round-robin,apart",
        threads: 32,
        body: "
    setp.lt.u32 %p3, %r20, 16;
    @%p3 bra JOIN;
    mov.u32 %r4, 0;
JOIN:
    mov.u32 %r5, %r1;
    add.u32 %r5, %r5, %r20;
    add.u32 %r5, %r5, %r20;
    add.u32 %r5, %r5, %r20;
    add.u32 %r5, %r5, %r20;
    st.shared.u32 [%r5], %r20;
    REMEDY {
    bar.warp.sync 0xffffffff;
    }
    sub.u32 %r6, 31, %r20;
    mad.lo.u32 %r7, %r6, 4, %r1;
    ld.shared.u32 %r8, [%r7];
    add.u32 %r8, %r8, 1;
    mad.wide.u32 %rd6, %r20, 4, %rd2;
    st.global.u32 [%rd6], %r8;",
        expected: |lane| 32 - lane as u32,
        words: 32,
        ..PLAIN
    },
    Trial { name: "expects lane 0 to be elected", stress: "round-robin,elect=highest", ..ELECTION },
    Trial { name: "expects one lane to be elected", stress: "round-robin,elect=random", ..ELECTION },
    Trial {
        name: "adds without an atomic",
        stress: "pct:2",
        threads: 64,
        body: "
    mov.u32 %r3, 0;
    setp.eq.u32 %p4, %r20, 0;
    @%p4 st.shared.u32 [%r1], %r3;
    bar.sync 0;
    and.b32 %r4, %r20, 31;
    setp.eq.u32 %p3, %r4, 0;
    FAULT {
    @%p3 ld.volatile.shared.u32 %r3, [%r1];
    add.u32 %r3, %r3, 1;
    membar.cta;
    @%p3 st.volatile.shared.u32 [%r1], %r3;
    }
    REMEDY {
    @%p3 red.shared.add.u32 [%r1], 1;
    }
    bar.sync 0;
    ld.shared.u32 %r3, [%r1];
    @%p4 st.global.u32 [%rd2], %r3;",
        expected: |_| 2,
        ..PLAIN
    },
    Trial {
        name: "passes a message by relaxed accesses",
        stress: "round-robin,stale",
        body: "
    <CLEAR>
    setp.ge.u32 %p3, %r20, 32;
    @%p3 bra WRITER;
POLLING:
    FAULT {
    ld.relaxed.cta.shared.u32 %r3, [%r1];
    }
    REMEDY {
    ld.acquire.cta.shared.u32 %r3, [%r1];
    }
    setp.ne.u32 %p4, %r3, 1;
    @%p4 bra POLLING;
    ld.relaxed.cta.shared.u32 %r4, [%r1+64];
    setp.eq.u32 %p4, %r20, 0;
    @%p4 st.global.u32 [%rd2], %r4;
    ret;
WRITER:
    mov.u32 %r5, 7;
    setp.eq.u32 %p4, %r20, 32;
    @%p4 st.relaxed.cta.shared.u32 [%r1+64], %r5;
    mov.u32 %r5, 1;
    FAULT {
    @%p4 st.relaxed.cta.shared.u32 [%r1], %r5;
    }
    REMEDY {
    @%p4 st.release.cta.shared.u32 [%r1], %r5;
    }",
        ..LITMUS
    },
    Trial {
        name: "stores and then loads without a sequentially consistent fence",
        stress: "round-robin,stale",
        body: "
    // Each of the warps stores to one word and loads the other; one of them must see the other's store.
    <CLEAR>
    and.b32 %r4, %r20, 31;
    setp.ne.u32 %p4, %r4, 0;
    @%p4 bra DONE;
    shl.b32 %r5, %r20, 1;
    add.u32 %r6, %r1, %r5;
    xor.b32 %r5, %r5, 64;
    add.u32 %r7, %r1, %r5;
    mov.u32 %r3, 1;
    st.relaxed.cta.shared.u32 [%r6], %r3;
    REMEDY {
    fence.sc.cta;
    }
    ld.relaxed.cta.shared.u32 %r8, [%r7];
    shr.u32 %r9, %r20, 3;
    add.u32 %r9, %r9, %r1;
    st.shared.u32 [%r9+128], %r8;
DONE:
    bar.sync 0;
    ld.shared.u32 %r8, [%r1+128];
    ld.shared.u32 %r9, [%r1+132];
    or.b32 %r8, %r8, %r9;
    setp.eq.u32 %p4, %r20, 0;
    @%p4 st.global.u32 [%rd2], %r8;",
        expected: |_| 1,
        ..LITMUS
    },
    Trial {
        name: "expects a load to return what another thread stored some time before",
        stress: "round-robin,stale",
        body: "
    // One warp counts up; what the other sees never goes down.
    <CLEAR>
    and.b32 %r4, %r20, 31;
    setp.ne.u32 %p4, %r4, 0;
    @%p4 ret;
    setp.ge.u32 %p3, %r20, 32;
    @%p3 bra WRITER;
    mov.u32 %r6, 7;
    FAULT {
    <DELAY>
    ld.relaxed.cta.shared.u32 %r7, [%r1];
    setp.ne.u32 %p5, %r7, 300;
    @%p5 mov.u32 %r6, 8;
    }
    REMEDY {
    mov.u32 %r5, 0;
    mov.u32 %r10, 0;
READING:
    ld.relaxed.cta.shared.u32 %r7, [%r1];
    setp.lt.u32 %p5, %r7, %r5;
    @%p5 mov.u32 %r6, 9;
    mov.u32 %r5, %r7;
    add.u32 %r10, %r10, 1;
    setp.lt.u32 %p5, %r10, 240;
    @%p5 bra READING;
    }
    st.global.u32 [%rd2], %r6;
    ret;
WRITER:
    mov.u32 %r5, 1;
WRITING:
    st.relaxed.cta.shared.u32 [%r1], %r5;
    add.u32 %r5, %r5, 1;
    setp.le.u32 %p5, %r5, 300;
    @%p5 bra WRITING;",
        ..LITMUS
    },
];

/// Strong accesses of two warps to two words of shared memory.
const LITMUS: Trial = Trial { threads: 64, ..PLAIN };

const MESSAGE: Trial = Trial {
    threads: 256,
    body: "
    mov.u32 %r5, 7;
    setp.eq.u32 %p3, %r20, 128;
    @%p3 st.shared.u32 [%r1], %r5;
    REMEDY {
    bar.sync 0;
    }
    setp.ne.u32 %p4, %r20, 0;
    @%p4 ret;
    FAULT {
    <DELAY>
    }
    ld.shared.u32 %r3, [%r1];
    st.global.u32 [%rd2], %r3;",
    ..PLAIN
};

const FLAG: Trial = Trial {
    body: "
    mov.u32 %r4, %ctaid.x;
    add.u32 %r4, %r4, %r21;
    mov.u32 %r5, 7;
    setp.eq.u32 %p3, %r4, 0;
    @%p3 st.release.sys.global.u32 [%rd2+4], %r5;
    @%p3 ret;
    FAULT {
    <DELAY>
    ld.acquire.sys.global.u32 %r3, [%rd2+4];
    }
    REMEDY {
POLLING:
    ld.acquire.sys.global.u32 %r3, [%rd2+4];
    setp.ne.u32 %p4, %r3, 7;
    @%p4 bra POLLING;
    }
    st.global.u32 [%rd2], %r3;",
    ..PLAIN
};

const ELECTION: Trial = Trial {
    threads: 32,
    body: "
    mov.u32 %r4, 7;
    FAULT {
    setp.ne.u32 %p4, %r20, 0;
    @%p4 mov.u32 %r4, 9;
    }
    elect.sync %r5|%p3, 0xffffffff;
    @%p3 st.global.u32 [%rd2], %r4;",
    ..PLAIN
};

const SEEDS: u64 = 24;

impl Trial {
    fn is_right(&self, words: &[u32]) -> bool {
        words.iter().enumerate().all(|(index, word)| *word == (self.expected)(index))
    }

    /// Runs a sibling, of which nothing may be reported; an error has the words, which are wrong.
    fn run(&self, wrong: bool, options: Options) -> Result<(), Vec<u32>> {
        let schedule = options.schedule;
        let (words, outcome) = run(self, wrong, options);
        assert!(outcome.reports.is_empty(), "{} under {schedule}: {}", self.name, outcome.reports[0]);
        if self.is_right(&words) { Ok(()) } else { Err(words) }
    }
}

#[test]
fn stress_brings_out_what_the_same_order_without_it_hides() {
    for trial in TRIALS {
        let mut found = 0;
        for seed in 0..SEEDS {
            for (wrong, schedule) in [(false, trial.calm), (false, trial.stress), (true, trial.calm)] {
                let result = trial.run(wrong, unchecked(seed, schedule));
                assert_eq!(result, Ok(()), "{}, wrong: {wrong}, {schedule}, seed {seed}", trial.name);
            }
            found += u32::from(trial.run(true, unchecked(seed, trial.stress)).is_err());
        }
        assert!(found > 0, "{} is not brought out by {}", trial.name, trial.stress);
    }
}

#[test]
fn right_programs_run_clean_under_all_stress() {
    for trial in TRIALS {
        for (seed, schedule) in (0..).zip(Schedule::stress()) {
            let options = Options { seed, schedule, threads: 1, ..Options::default() };
            assert_eq!(trial.run(false, options), Ok(()), "{} under {schedule}", trial.name);
        }
    }
}

#[test]
fn a_failing_schedule_is_shrunk_to_what_it_takes() {
    for (trial, noise) in [
        (
            "does not wait for a warp",
            "pct:3,copies=late+shredded,wgmma=early,starve=warp:4,spurious=50,apart,elect=random",
        ),
        (
            "reads after some time what has not arrived",
            "random,copies=late,starve=warp:3,ahead=cta:1,elect=highest",
        ),
        ("does not wait for a device", "pct:2,ahead=device:1,wgmma=late,spurious=75"),
    ] {
        let trial = TRIALS.iter().find(|other| other.name == trial).expect("a trial");
        let fails = |schedule: &Schedule| {
            let (words, outcome) = run(trial, true, unchecked(3, &schedule.to_string()));
            outcome.reports.is_empty() && !trial.is_right(&words)
        };
        let noisy = noise.parse().expect("a schedule");
        assert!(fails(&noisy), "{} under {noise}", trial.name);
        let shrunk = shrink(noisy, fails);
        let until = shrunk.until.expect("round robin alone does not fail");
        assert_eq!(format!("{},until={until}", trial.stress), shrunk.to_string());
        assert!(fails(&shrunk), "{} under {shrunk}", trial.name);
        let shorter = Schedule { until: Some(until - 1), ..shrunk };
        assert!(!fails(&shorter), "{} under {shorter}", trial.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_run_is_a_function_of_program_schedule_and_seed(
        trial in 0..TRIALS.len(),
        wrong in any::<bool>(),
        schedule in prop::sample::select(Schedule::stress()),
        seed in any::<u64>(),
    ) {
        let options = Options { seed, schedule, ..Options::default() };
        let [first, second] = [(); 2].map(|()| run(&TRIALS[trial], wrong, options.clone()));
        prop_assert_eq!(first.0, second.0);
        // Reports, warnings, output and every counter.
        prop_assert_eq!(format!("{:?}", first.1), format!("{:?}", second.1));
    }
}
