//! mbarriers, and what completes on them: `cp.async`, bulk copies and stores to another CTA.

use crate::harness::{Case, SLOT, noise_bytes};

/// Waits for a phase of the mbarrier at `%r10`, in a loop as compilers write it.
pub fn wait(parity: u32) -> String {
    format!(
        "{{
    .reg .pred done;
    WAIT:
    mbarrier.try_wait.parity.shared::cta.b64 done, [%r10], {parity}, 10000000;
    @done bra DONE;
    bra WAIT;
    DONE:
    }}"
    )
}

/// Makes an mbarrier with so many arrivals, at `%r10`; `%p9` is the thread that did.
pub fn make(arrivals: u32) -> String {
    format!(
        "mov.u32 %r10, barrier;
    setp.eq.u32 %p9, %thread, 0;
    @%p9 mbarrier.init.shared::cta.b64 [%r10], {arrivals};
    fence.mbarrier_init.release.cluster;
    bar.sync 0;"
    )
}

/// The declaration of the mbarrier, and of the threads' bytes in shared memory.
pub const SHARED: &str = ".shared .align 8 .b64 barrier;\n    .shared .align 1024 .b8 buffer[8192];";

fn given(thread: usize) -> Vec<u8> {
    noise_bytes(thread, 16)
}

/// Threads leave 16 bytes in shared memory, arrive, wait, and read those of a thread of the other warp.
fn rendezvous(arrivals: u32, arrive: &str) -> Case {
    let mut case = Case::new(format!(
        "{}
    mov.u32 %r0, buffer;
    mad.lo.u32 %r1, %thread, 16, %r0;
    ld.global.v2.b64 {{%d0, %d1}}, [%src];
    st.shared.v2.b64 [%r1], {{%d0, %d1}};
    {arrive}
    {}
    xor.b32 %r2, %thread, 32;
    mad.lo.u32 %r1, %r2, 16, %r0;
    ld.shared.v2.b64 {{%d0, %d1}}, [%r1];
    st.global.v2.b64 [%dst], {{%d0, %d1}};
    bar.sync 0;
    @%p9 mbarrier.inval.shared::cta.b64 [%r10];
    @%p9 st.shared.b64 [%r10], 0;",
        make(arrivals),
        wait(0)
    ));
    case.threads = 64;
    case.variables = SHARED.to_owned();
    case.slots(given, |thread| given(thread ^ 32))
}

/// `mbarrier.init`, `.inval`, `.try_wait` and arrivals of the own CTA.
pub fn local(opcode: &str) -> Vec<Case> {
    if opcode.contains("expect_tx") {
        return bulk_load("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint");
    }
    let arrive = "mbarrier.arrive.shared::cta.b64";
    vec![
        rendezvous(64, &format!("{arrive} _, [%r10];")),
        rendezvous(64, &format!("{arrive} %d5, [%r10];")),
        rendezvous(
            64,
            &format!(
                "and.b32 %r3, %thread, 1;\n    setp.eq.u32 %p1, %r3, 0;\n    @%p1 {arrive} _, [%r10], 2;"
            ),
        ),
    ]
}

/// Every CTA of a cluster of two writes to the other and arrives at the mbarrier there.
pub fn remote(opcode: &str) -> Vec<Case> {
    let is_store = opcode.starts_with("st.async");
    let expected_bytes = "@%p9 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r10], 512;";
    let send = match is_store {
        true => format!("{opcode} [%r4], {{%d0, %d1}}, [%r5];"),
        false => {
            let arrive = "mbarrier.arrive.shared::cluster.b64";
            format!(
                "st.shared::cluster.v2.b64 [%r4], {{%d0, %d1}};\n    fence.acq_rel.cluster;\n    {arrive} _, [%r5];"
            )
        }
    };
    let mut case = Case::new(format!(
        "{}
    mov.u32 %r0, buffer;
    mad.lo.u32 %r1, %thread, 16, %r0;
    ld.global.v2.b64 {{%d0, %d1}}, [%src];
    {}
    barrier.cluster.arrive.relaxed.aligned;
    barrier.cluster.wait.aligned;
    xor.b32 %r3, %rank, 1;
    mapa.shared::cluster.u32 %r4, %r1, %r3;
    mapa.shared::cluster.u32 %r5, %r10, %r3;
    {send}
    {}
    ld.shared.v2.b64 {{%d0, %d1}}, [%r1];
    st.global.v2.b64 [%dst], {{%d0, %d1}};
    barrier.cluster.arrive.aligned;
    barrier.cluster.wait.aligned;",
        make(if is_store { 1 } else { 32 }),
        if is_store { expected_bytes } else { "" },
        wait(0)
    ));
    case.ctas = 2;
    case.variables = SHARED.to_owned();
    vec![case.slots(given, |thread| given(thread ^ 32))]
}

/// `cp.async` copies of each thread, 16 bytes or fewer, some with zeros at the end.
pub fn thread_copies(opcode: &str) -> Vec<Case> {
    let policy = if opcode.contains("cache_hint") { ", 0x12f0000000000000" } else { "" };
    let case = |bytes: usize, source: Option<usize>| {
        let count = source.map_or(String::new(), |source| format!(", {source}"));
        let mut case = Case::new(format!(
            "mov.u32 %r0, buffer;
    mad.lo.u32 %r0, %thread, 16, %r0;
    st.shared.v2.b64 [%r0], {{-1, -1}};
    {opcode} [%r0], [%src], {bytes}{count}{policy};
    cp.async.commit_group;
    cp.async.wait_group 0;
    ld.shared.v2.b64 {{%d0, %d1}}, [%r0];
    st.global.v2.b64 [%dst], {{%d0, %d1}};"
        ));
        case.variables = SHARED.to_owned();
        case.slots(given, |thread| {
            let mut bytes_left = vec![0xff; 16];
            let copied = source.unwrap_or(bytes);
            bytes_left[..copied].copy_from_slice(&given(thread)[..copied]);
            bytes_left[copied..bytes].fill(0);
            bytes_left
        })
    };
    let mut cases = vec![case(16, None), case(16, Some(16)), case(16, Some(6)), case(16, Some(0))];
    if opcode.contains(".ca.") {
        cases.extend([case(4, None), case(8, Some(3))]);
    }
    cases
}

/// Two groups of `cp.async` copies: the first one is there when one is still pending.
pub fn groups() -> Vec<Case> {
    let mut case = Case::new(
        "mov.u32 %r0, buffer;
    mad.lo.u32 %r0, %thread, 32, %r0;
    cp.async.ca.shared.global [%r0], [%src], 16;
    cp.async.commit_group;
    cp.async.ca.shared.global [%r0+16], [%src+16], 16;
    cp.async.commit_group;
    cp.async.wait_group 1;
    ld.shared.v2.b64 {%d0, %d1}, [%r0];
    cp.async.wait_group 0;
    ld.shared.v2.b64 {%d2, %d3}, [%r0+16];
    st.global.v2.b64 [%dst], {%d0, %d1};
    st.global.v2.b64 [%dst+16], {%d2, %d3};",
    );
    case.variables = SHARED.to_owned();
    vec![case.slots(|thread| noise_bytes(thread, 32), |thread| noise_bytes(thread, 32))]
}

/// `cp.async` copies whose completion is an arrival.
pub fn copy_arrivals(opcode: &str) -> Vec<Case> {
    // Without .noinc the arrival is one more than the mbarrier expects; the threads still arrive themselves.
    let own = if opcode.contains("noinc") { "" } else { "mbarrier.arrive.shared::cta.b64 _, [%r10];" };
    let mut case = Case::new(format!(
        "{}
    mov.u32 %r0, buffer;
    mad.lo.u32 %r1, %thread, 16, %r0;
    cp.async.cg.shared.global [%r1], [%src], 16;
    {opcode} [%r10];
    {own}
    {}
    xor.b32 %r2, %thread, 32;
    mad.lo.u32 %r1, %r2, 16, %r0;
    ld.shared.v2.b64 {{%d0, %d1}}, [%r1];
    st.global.v2.b64 [%dst], {{%d0, %d1}};
    bar.sync 0;",
        make(64),
        wait(0)
    ));
    case.threads = 64;
    case.variables = SHARED.to_owned();
    vec![case.slots(given, |thread| given(thread ^ 32))]
}

/// A bulk copy to shared memory by one thread, for all.
pub fn bulk_load(opcode: &str) -> Vec<Case> {
    let mut case = Case::new(format!(
        "{}
    mov.u32 %r0, buffer;
    mov.u32 %r1, {};
    @%p9 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r10], %r1;
    @%p9 {opcode} [%r0], [%in], %r1, [%r10], 0x12f0000000000000;
    {}
    mad.lo.u32 %r2, %thread, {SLOT}, %r0;
    ld.shared.v2.b64 {{%d0, %d1}}, [%r2];
    st.global.v2.b64 [%dst], {{%d0, %d1}};
    bar.sync 0;
    @%p9 mbarrier.inval.shared::cta.b64 [%r10];",
        make(1),
        32 * SLOT,
        wait(0)
    ));
    case.variables = SHARED.to_owned();
    vec![case.slots(given, given)]
}

/// Bulk copies of every thread from shared memory, in two groups; the second waits only until the source is read.
pub fn bulk_store(store: &str) -> Vec<Case> {
    let policy = if store.contains("cache_hint") { ", 0x12f0000000000000" } else { "" };
    let mut case = Case::new(format!(
        "mov.u32 %r0, buffer;
    mad.lo.u32 %r0, %thread, 32, %r0;
    ld.global.v2.b64 {{%d0, %d1}}, [%src];
    st.shared.v2.b64 [%r0], {{%d0, %d1}};
    st.shared.v2.b64 [%r0+16], {{%d1, %d0}};
    fence.proxy.async.shared::cta;
    mov.u32 %r1, 16;
    {store} [%dst], [%r0], %r1{policy};
    cp.async.bulk.commit_group;
    add.u64 %d2, %dst, 32;
    {store} [%d2], [%r0+16], 16{policy};
    cp.async.bulk.commit_group;
    cp.async.bulk.wait_group 1;
    ld.global.b64 %d3, [%dst];
    st.global.b64 [%dst+16], %d3;
    cp.async.bulk.wait_group.read 0;
    st.shared.v2.b64 [%r0+16], {{-1, -1}};
    cp.async.bulk.wait_group 0;"
    ));
    case.variables = SHARED.to_owned();
    vec![case.slots(given, |thread| {
        let bytes = given(thread);
        [&bytes[..], &bytes[..8], &[0xee; 8], &bytes[8..], &bytes[..8]].concat()
    })]
}
