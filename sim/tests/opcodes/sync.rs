//! Barriers, fences, votes and shuffles: a value of one thread reaches another one.

use crate::harness::{Case, SLOT, noise};

/// The word that a thread is given.
fn given(thread: usize) -> u32 {
    noise(thread as u64) as u32
}

fn word(value: u32) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

/// Every thread leaves its word in shared memory, meets the others, and reads that of the thread `%thread ^ 32` (of the
/// next lane in a CTA of one warp).
fn meeting(barrier: &str, threads: u32) -> Case {
    let distance = if threads > 32 { 32 } else { 1 };
    let mut case = Case::new(format!(
        "ld.global.b32 %r0, [%src];
    mov.u32 %r1, cells;
    mad.lo.u32 %r2, %thread, 4, %r1;
    st.shared.b32 [%r2], %r0;
    {barrier}
    xor.b32 %r3, %thread, {distance};
    mad.lo.u32 %r4, %r3, 4, %r1;
    ld.shared.b32 %r5, [%r4];
    st.global.b32 [%dst], %r5;"
    ));
    case.threads = threads;
    case.variables = ".shared .align 4 .b32 cells[64];".to_owned();
    case.slots(|thread| word(given(thread)), |thread| word(given(thread ^ distance)))
}

/// `bar.sync` and `barrier.sync` in the ways that compilers write them.
pub fn cta_barrier(opcode: &str) -> Vec<Case> {
    let mut cases = vec![
        meeting(&format!("{opcode} 0;"), 64),
        meeting(&format!("{opcode} 3, 64;"), 64),
        meeting(&format!("mov.u32 %r10, 15;\n    mov.u32 %r11, 64;\n    {opcode} %r10, %r11;"), 64),
    ];
    if opcode == "barrier.sync" {
        // Not aligned: the lanes may come one after the other.
        let body = format!(
            "and.b32 %r10, %thread, 1;
    setp.eq.b32 %p0, %r10, 0;
    @%p0 bra EVEN;
    {opcode} 1, 64;
    bra MET;
    EVEN:
    {opcode} 1, 64;
    MET:"
        );
        cases.push(meeting(&body, 64));
    }
    cases
}

/// The first warp arrives, the second one waits for it.
pub fn cta_arrival(opcode: &str) -> Vec<Case> {
    let body = format!(
        "setp.ge.u32 %p0, %thread, 32;
    @%p0 bra WAITS;
    mov.u32 %r10, 2;
    mov.u32 %r11, 64;
    {opcode} %r10, %r11;
    bra.uni MET;
    WAITS:
    bar.sync 2, 64;
    MET:
    @!%p0 ret;"
    );
    let mut case = meeting(&body, 64);
    case.expected[..32 * SLOT].fill(0xee);
    vec![case]
}

/// `bar.warp.sync`
pub fn warp_barrier(opcode: &str) -> Vec<Case> {
    vec![meeting(&format!("{opcode} -1;"), 32)]
}

/// A barrier of the cluster, completed by its counterpart: every thread reads the word of its twin in the other CTA.
pub fn cluster_barrier(opcode: &str) -> Vec<Case> {
    let aligned = if opcode.ends_with(".aligned") { ".aligned" } else { "" };
    let barrier = if opcode.starts_with("barrier.cluster.arrive") {
        format!("{opcode};\n    barrier.cluster.wait{aligned};")
    } else {
        format!("barrier.cluster.arrive{aligned};\n    {opcode};")
    };
    let mut case = Case::new(format!(
        "ld.global.b32 %r0, [%src];
    mov.u32 %r1, cells;
    mad.lo.u32 %r1, %thread, 4, %r1;
    st.shared.b32 [%r1], %r0;
    fence.acq_rel.cluster;
    {barrier}
    xor.b32 %r2, %rank, 1;
    mapa.shared::cluster.u32 %r3, %r1, %r2;
    ld.shared::cluster.b32 %r4, [%r3];
    st.global.b32 [%dst], %r4;
    barrier.cluster.arrive;
    barrier.cluster.wait;"
    ));
    case.ctas = 2;
    case.variables = ".shared .align 4 .b32 cells[32];".to_owned();
    vec![case.slots(|thread| word(given(thread)), |thread| word(given(thread ^ 32)))]
}

/// A fence, or another instruction without a result, between writing a word and saying so in one warp, and between
/// hearing of it and reading it in the other.
pub fn fence(opcode: &str) -> Vec<Case> {
    let operands =
        if opcode.starts_with("fence.proxy.tensormap::generic.acquire") { " [%in], 128" } else { "" };
    let mut case = Case::new(format!(
        "mov.u32 %r1, flags;
    and.b32 %r2, %thread, 31;
    mad.lo.u32 %r1, %r2, 4, %r1;
    setp.ge.u32 %p0, %thread, 32;
    @!%p0 st.shared.b32 [%r1], 0;
    bar.sync 0;
    @%p0 bra READER;
    ld.global.b32 %r3, [%src];
    st.global.b32 [%dst], %r3;
    {opcode}{operands};
    st.volatile.shared.b32 [%r1], 1;
    bra.uni DONE;
    READER:
    ld.volatile.shared.b32 %r4, [%r1];
    setp.eq.b32 %p1, %r4, 0;
    @%p1 bra READER;
    {opcode}{operands};
    ld.global.b32 %r3, [%dst+-{}];
    st.global.b32 [%dst], %r3;
    DONE:",
        32 * SLOT
    ));
    case.threads = 64;
    case.variables = ".shared .align 4 .b32 flags[32];".to_owned();
    vec![case.slots(|thread| word(given(thread)), |thread| word(given(thread % 32)))]
}

/// A vote on whether the lane is below a number.
pub fn vote(opcode: &str) -> Vec<Case> {
    let case = |ayes: u32| {
        let ballot = opcode.contains("ballot");
        let vote = match ballot {
            true => format!("{opcode} %r0, %p0, -1;"),
            false => format!("{opcode} %p1, %p0, -1;\n    selp.b32 %r0, 1, 0, %p1;"),
        };
        let body = format!("setp.lt.u32 %p0, %thread, {ayes};\n    {vote}\n    st.global.b32 [%dst], %r0;");
        let expected = match () {
            () if ballot => ((1u64 << ayes) - 1) as u32,
            () if opcode.contains("all") => u32::from(ayes == 32),
            () => u32::from(ayes > 0),
        };
        Case::new(body).slots(|_| vec![], |_| word(expected))
    };
    [0, 1, 20, 32].map(case).to_vec()
}

/// The lanes with the same value.
pub fn matching(opcode: &str) -> Vec<Case> {
    let value = |lane: usize| noise(lane as u64 % 5) as u32;
    let body =
        format!("ld.global.b32 %r0, [%src];\n    {opcode} %r1, %r0, -1;\n    st.global.b32 [%dst], %r1;");
    let same = move |lane: usize| {
        (0..32).filter(|other| value(*other) == value(lane)).fold(0u32, |set, other| set | 1 << other)
    };
    vec![Case::new(body).slots(|lane| word(value(lane)), |lane| word(same(lane)))]
}

/// A reduction over the warp.
pub fn redux(opcode: &str) -> Vec<Case> {
    let all = (0..32).map(given);
    let expected = match opcode {
        "redux.sync.add.s32" => all.fold(0, u32::wrapping_add),
        "redux.sync.or.b32" => all.fold(0, |set, bits| set | bits >> 16 & 0x5a5a),
        _ => return vec![],
    };
    let or = opcode.contains("or");
    let given = move |lane| if or { given(lane) >> 16 & 0x5a5a } else { given(lane) };
    let body =
        format!("ld.global.b32 %r0, [%src];\n    {opcode} %r1, %r0, -1;\n    st.global.b32 [%dst], %r1;");
    vec![Case::new(body).slots(|lane| word(given(lane)), |_| word(expected))]
}

/// A shuffle by a literal and by a number of each lane, with and without the predicate.
pub fn shuffle(opcode: &str) -> Vec<Case> {
    let source: fn(usize, usize) -> Option<usize> = match opcode {
        "shfl.sync.bfly.b32" => |lane, by| Some(lane ^ by),
        "shfl.sync.idx.b32" => |_, by| Some(by),
        "shfl.sync.up.b32" => |lane, by| lane.checked_sub(by),
        _ => return vec![],
    };
    // Lanes below the clamp of `up` are none.
    let clamp = if opcode.contains("up") { 0 } else { 31 };
    let taken = move |lane: usize, by: usize| given(source(lane, by).unwrap_or(lane));
    let literal = Case::new(format!(
        "ld.global.b32 %r0, [%src];
    {opcode} %r1, %r0, 5, {clamp}, -1;
    st.global.b32 [%dst], %r1;"
    ));
    let each = Case::new(format!(
        "ld.global.b32 %r0, [%src];
    mul.lo.u32 %r2, %thread, 3;
    and.b32 %r2, %r2, 31;
    mov.u32 %r3, {clamp};
    mov.u32 %r4, -1;
    {opcode} %r1|%p0, %r0, %r2, %r3, %r4;
    selp.b32 %r5, 1, 0, %p0;
    st.global.v2.b32 [%dst], {{%r1, %r5}};"
    ));
    let by = |lane: usize| lane * 3 % 32;
    vec![
        literal.slots(|lane| word(given(lane)), |lane| word(taken(lane, 5))),
        each.slots(
            |lane| word(given(lane)),
            |lane| [word(taken(lane, by(lane))), word(u32::from(source(lane, by(lane)).is_some()))].concat(),
        ),
    ]
}

/// An election: one lane wins, and all know which.
pub fn election(opcode: &str) -> Vec<Case> {
    let case = |mask: &str, choose: &str| {
        let body = format!(
            "{choose}
    {opcode} %r0|%p0, {mask};
    vote.sync.ballot.b32 %r1, %p0, {mask};
    popc.b32 %r2, %r1;
    bfind.u32 %r3, %r1;
    setp.eq.b32 %p1, %r3, %r0;
    selp.b32 %r4, 1, 0, %p1;
    st.global.v2.b32 [%dst], {{%r2, %r4}};"
        );
        Case::new(body)
    };
    let won = || [word(1), word(1)].concat();
    let half = "setp.ge.u32 %p2, %thread, 16;\n    @%p2 ret;\n    mov.u32 %r10, 0xffff;";
    vec![
        case("-1", "").slots(|_| vec![], |_| won()),
        case("%r10", half).slots(|_| vec![], |lane| if lane < 16 { won() } else { vec![] }),
    ]
}
