//! Counters of small kernels, equal to values derived by hand, whatever the number of threads; and the file that
//! `ptxsim --counters` writes.

use rorqual_sim::counters::{AccessCounters, Class, Counters};
use rorqual_sim::tensor_map::{ElementType, Swizzle, TensorMap, TileSpec};
use rorqual_sim::{Argument, Device, DevicePointer, Launch};

/// A kernel to be measured.
struct Case<'a> {
    /// Threads of a CTA.
    threads: u32,
    /// Declarations and instructions. `%t` holds the thread, `%l` four times the thread, `%rd0` the parameter `data`.
    body: &'a str,
    /// Tensor maps of `data` as rows of 16 bf16, parameters `map0` and so on: the rows that there are, those of a box.
    maps: &'a [(u64, u32)],
    /// CTAs of a cluster.
    cluster: u32,
    /// Bytes of the L2 cache, if it is modelled.
    l2_bytes: Option<u64>,
}

const KERNEL: &str = "kernel";

impl<'a> Case<'a> {
    fn new(body: &'a str) -> Self {
        Self { threads: 32, body, maps: &[], cluster: 1, l2_bytes: None }
    }

    fn text(&self) -> String {
        let map = |number| format!(", .param .align 64 .b8 map{number}[128]");
        let maps: String = (0..self.maps.len()).map(map).collect();
        format!(
            ".version 8.6\n.target sm_90a\n.address_size 64\n\
             .visible .entry {KERNEL}(.param .u64 data{maps}) {{\n\
             .reg .b32 %t, %l, %r<40>; .reg .b64 %rd<20>; .reg .pred %p<4>; .reg .f32 %f<10>;\n\
             .shared .align 1024 .b8 tile[8192];\n\
             mov.u32 %t, %tid.x; shl.b32 %l, %t, 2; ld.param.u64 %rd0, [data];\n{}\nret;\n}}\n",
            self.body
        )
    }

    /// The counters of so many clusters on so many threads of the host.
    fn run(&self, ctas: u32, threads: usize) -> Counters {
        let mut device = Device::new("sm_90a".parse().expect("a target")).expect("a simulated target");
        // These kernels only count: some of their accesses race.
        let options = device.options_mut();
        (options.threads, options.count_accesses, options.race) = (threads, true, None);
        options.l2_bytes = self.l2_bytes;
        let module = device.load(&self.text()).unwrap_or_else(|error| panic!("{error}"));
        let ones = [0x80, 0x3f].repeat(2048);
        let data = device.allocate_from("data", &ones).expect("enough memory");
        let mut launch = Launch::new(&module, KERNEL)
            .ctas([ctas * self.cluster, 1, 1])
            .cluster([self.cluster, 1, 1])
            .threads([self.threads, 1, 1])
            .argument(data);
        for &(rows, box_rows) in self.maps {
            launch = launch.argument(map(data, rows, box_rows));
        }
        let outcome = device.launch(&launch).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(outcome.reports, []);
        outcome.counters
    }

    /// The counters of one cluster. Those of several are the same on one thread and on two, and each time.
    fn measure(&self) -> Counters {
        let several = self.run(5, 1);
        for threads in [1, 2, 2] {
            assert_eq!(self.run(5, threads), several, "on {threads} threads");
        }
        self.run(1, 1)
    }

    /// The access counters of each line of the body that has some, in order, with the line.
    fn accesses(&self) -> Vec<(&'a str, [u64; 5])> {
        let counters = self.measure();
        let first = self.text().lines().position(|line| line == self.body.lines().next().expect("a line"));
        let first = first.expect("the body is in the text") + 1;
        let lines = self.body.lines().enumerate().filter_map(|(number, line)| {
            let AccessCounters { requests, bytes, wavefronts, conflicts, sectors } =
                *counters.accesses.get(first + number)?;
            (requests > 0).then_some((line, [requests, bytes, wavefronts, conflicts, sectors]))
        });
        lines.collect()
    }
}

/// The body of which each line is measured, and what each must count: requests, bytes, wavefronts, conflicts, sectors.
fn check(before: &str, rows: &[(&str, [u64; 5])]) {
    let mut body = before.to_owned();
    for (line, _) in rows {
        body.push('\n');
        body.push_str(line);
    }
    assert_eq!(Case::new(&body).accesses(), rows);
}

#[test]
fn shared_accesses() {
    check(
        "mov.u32 %r0, tile; mul.lo.u32 %r1, %t, 4; add.u32 %r1, %r1, %r0; mad.lo.u32 %r2, %t, 8, %r0;\
         mad.lo.u32 %r3, %t, 16, %r0; mad.lo.u32 %r4, %t, 128, %r0; mad.lo.u32 %r5, %t, 32, %r0;\
         setp.lt.u32 %p0, %t, 16; and.b32 %r6, %t, 1; mad.lo.u32 %r6, %r6, 128, %r0;",
        &[
            // Consecutive words: each bank once.
            ("ld.shared.b32 %r10, [%r1];", [1, 128, 1, 0, 0]),
            // Every second word: banks 0, 2, .. 30 twice.
            ("ld.shared.b32 %r10, [%r2];", [1, 128, 2, 1, 0]),
            // Every fourth word: eight banks, four times.
            ("ld.shared.b32 %r10, [%r3];", [1, 128, 4, 3, 0]),
            // Every 32nd word: bank 0 alone.
            ("ld.shared.b32 %r10, [%r4];", [1, 128, 32, 31, 0]),
            // One word for all lanes is broadcast; two words of one bank take two passes.
            ("ld.shared.b32 %r10, [%r0];", [1, 128, 1, 0, 0]),
            ("ld.shared.b32 %r10, [%r6];", [1, 128, 2, 1, 0]),
            // Half of the lanes with every second word: each bank once.
            ("@%p0 ld.shared.b32 %r10, [%r2];", [1, 64, 1, 0, 0]),
            // Bytes: four lanes to a word, eight words.
            ("ld.shared.u8 %r10, [%r1];", [1, 32, 1, 0, 0]),
            // 64 bits go by half-warps: 16 lanes fill the 32 banks, or with gaps of as much half of them twice.
            ("ld.shared.b64 %rd10, [%r2];", [1, 256, 2, 0, 0]),
            ("ld.shared.b64 %rd10, [%r3];", [1, 256, 4, 2, 0]),
            // 128 bits go by quarter-warps, as one register or as a vector.
            ("ld.shared.v4.b32 {%r10, %r11, %r12, %r13}, [%r3];", [1, 512, 4, 0, 0]),
            ("ld.shared.v4.b32 {%r10, %r11, %r12, %r13}, [%r5];", [1, 512, 8, 4, 0]),
            ("ld.shared.v2.b64 {%rd10, %rd11}, [%r4];", [1, 512, 32, 28, 0]),
            // Stores alike.
            ("st.shared.b32 [%r3], %t;", [1, 128, 4, 3, 0]),
            ("st.shared.v2.b32 [%r2], {%t, %l};", [1, 256, 2, 0, 0]),
        ],
    );
}

#[test]
fn matrix_moves() {
    check(
        // Rows 128 bytes apart; the swizzle moves chunk `matrix` of a row to place `matrix ^ row`.
        "mov.u32 %r0, tile; and.b32 %r1, %t, 7; shr.u32 %r2, %t, 3; mad.lo.u32 %r3, %r1, 128, %r0;\
         mad.lo.u32 %r4, %r2, 16, %r3; xor.b32 %r5, %r2, %r1; mad.lo.u32 %r5, %r5, 16, %r3;",
        &[
            // The eight rows of a matrix lie in the same four banks: eight passes each, where one is enough.
            (
                "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10, %r11, %r12, %r13}, [%r4];",
                [1, 512, 32, 28, 0],
            ),
            ("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r10}, [%r4];", [1, 128, 8, 7, 0]),
            // Swizzled they fill the 32 banks.
            ("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10, %r11, %r12, %r13}, [%r5];", [1, 512, 4, 0, 0]),
            ("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r10, %r11}, [%r5];", [1, 256, 2, 0, 0]),
            ("stmatrix.sync.aligned.m8n8.x2.shared.b16 [%r4], {%t, %l};", [1, 256, 16, 14, 0]),
            ("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%r5], {%t, %l, %t, %l};", [1, 512, 4, 0, 0]),
        ],
    );
}

#[test]
fn global_accesses() {
    check(
        "mul.wide.u32 %rd1, %t, 4; add.u64 %rd1, %rd1, %rd0; mul.wide.u32 %rd2, %t, 32; add.u64 %rd2, %rd2, %rd0;\
         mul.wide.u32 %rd3, %t, 16; add.u64 %rd3, %rd3, %rd0; mul.wide.u32 %rd4, %t, 8; add.u64 %rd4, %rd4, %rd0;\
         mov.u32 %r0, tile; mad.lo.u32 %r1, %t, 16, %r0; cvta.shared.u64 %rd5, tile;",
        &[
            // 128 consecutive bytes are four sectors; one word further, five.
            ("ld.global.b32 %r10, [%rd1];", [1, 128, 0, 0, 4]),
            ("ld.global.b32 %r10, [%rd1+4];", [1, 128, 0, 0, 5]),
            // A sector a lane; one for all lanes.
            ("ld.global.b32 %r10, [%rd2];", [1, 128, 0, 0, 32]),
            ("ld.global.b32 %r10, [%rd0];", [1, 128, 0, 0, 1]),
            ("ld.global.v4.b32 {%r10, %r11, %r12, %r13}, [%rd3];", [1, 512, 0, 0, 16]),
            ("st.global.b64 [%rd4], %rd0;", [1, 256, 0, 0, 8]),
            ("st.global.u8 [%rd4], %t;", [1, 32, 0, 0, 8]),
            // Generic addresses count as what they are.
            ("ld.b32 %r10, [%rd3];", [1, 128, 0, 0, 16]),
            ("ld.b32 %r10, [%rd5];", [1, 128, 1, 0, 0]),
            ("red.global.add.u32 [%rd0], %t;", [1, 128, 0, 0, 1]),
            // 512 bytes from 16 sectors to shared memory, by quarter-warps.
            ("cp.async.cg.shared.global [%r1], [%rd3], 16;", [1, 512, 4, 0, 16]),
            // Nothing is read for a size of 0.
            ("cp.async.cg.shared.global [%r1], [%rd3], 16, 0;", [1, 512, 4, 0, 0]),
        ],
    );
}

fn class(counts: &[u64; Class::ALL.len()], class: Class) -> u64 {
    counts[class as usize]
}

#[test]
fn instructions_by_class() {
    let body = "mov.u32 %r1, 3;\n\
                again: sub.u32 %r1, %r1, 1; setp.ne.u32 %p0, %r1, 0; @%p0 bra again;\n\
                setp.lt.u32 %p1, %t, 5; @%p1 add.u32 %r2, %t, %t;\n\
                setp.gt.u32 %p2, %t, 40; @%p2 add.u32 %r2, %t, %t;\n\
                mov.f32 %f0, 0f3f800000; fma.rn.f32 %f1, %f0, %f0, %f0; ex2.approx.f32 %f2, %f1;\n\
                cvt.rni.s32.f32 %r3, %f1; shfl.sync.bfly.b32 %r4, %t, 1, 0x1f, 0xffffffff; bar.sync 0;";
    // Two warps, the second of 8 threads.
    let counters = Case { threads: 40, ..Case::new(body) }.measure();
    let expected = [
        // `shl`, three turns of `sub` and `setp`, two `setp`, two `add`; of them 5 lanes execute one, none the other.
        (Class::Integer, 2 * 11, 9 * 40 + 5),
        (Class::Float, 2, 40),
        (Class::Special, 2, 40),
        (Class::Conversion, 2, 40),
        (Class::Warp, 2, 40),
        (Class::Barrier, 2, 40),
        // Three turns, of which the last branches in no lane; `ret`.
        (Class::Control, 2 * 4, 3 * 40),
    ];
    for (of, issued, lanes) in expected {
        let counted = (class(&counters.issued, of), class(&counters.active_lanes, of));
        assert_eq!(counted, (issued, lanes), "{}", of.name());
    }
    assert_eq!(counters.barrier_arrivals, 2);
}

#[test]
fn bytes_by_space() {
    let body = ".local .align 4 .b8 own[4];\n\
                mul.wide.u32 %rd1, %t, 4; add.u64 %rd1, %rd1, %rd0; mov.u32 %r0, tile; add.u32 %r1, %r0, %l;\n\
                ld.global.b32 %r2, [%rd1]; st.shared.b32 [%r1], %r2; ld.shared.b32 %r3, [%r1];\n\
                st.local.b32 [own], %r3; ld.local.u8 %r4, [own]; st.global.b16 [%rd1], %r4;\n\
                atom.global.add.u32 %r5, [%rd0], 1; atom.shared.cas.b64 %rd2, [%r0], 0, 1;";
    let counters = Case::new(body).measure();
    assert_eq!((counters.global_read_bytes, counters.global_written_bytes), (128, 64));
    assert_eq!((counters.shared_read_bytes, counters.shared_written_bytes), (128, 128));
    assert_eq!((counters.local_read_bytes, counters.local_written_bytes), (32, 128));
    assert_eq!(counters.parameter_read_bytes, 256);
    assert_eq!(counters.atomic_bytes, 128 + 256);
}

/// A map of a tensor of bf16 with rows of 16 elements, swizzled for rows of 32 bytes.
fn map(data: DevicePointer, rows: u64, box_rows: u32) -> Argument {
    let spec = TileSpec::new(ElementType::Bf16, data.0, &[16, rows], &[32], &[16, box_rows], &[1, 1]);
    let spec = TileSpec { swizzle: Swizzle::B32, ..spec.expect("two dimensions") };
    (&TensorMap::encode(&spec).expect("a valid map")).into()
}

#[test]
fn tensor_copies_and_their_padding() {
    // A is a box of 64 rows of a tensor that has 40, B one of 8 rows. The descriptors: 32-byte swizzle, 256 bytes from
    // eight rows to the next.
    let body = "mov.u32 %r0, tile; add.u32 %r1, %r0, 2048; add.u32 %r2, %r0, 4096; mov.u32 %r3, 0;\n\
                mov.b64 %rd1, map0; cvta.param.u64 %rd1, %rd1; mov.b64 %rd2, map1; cvta.param.u64 %rd2, %rd2;\n\
                setp.eq.u32 %p0, %t, 0; @%p0 mbarrier.init.shared.b64 [%r2], 1; bar.sync 0;\n\
                @%p0 mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 2304;\n\
                @%p0 cp.async.bulk.tensor.2d.shared::cta.global.mbarrier::complete_tx::bytes \
                [%r0], [%rd1, {%r3, %r3}], [%r2];\n\
                @%p0 cp.async.bulk.tensor.2d.shared::cta.global.mbarrier::complete_tx::bytes \
                [%r1], [%rd2, {%r3, %r3}], [%r2];\n\
                again: mbarrier.try_wait.parity.shared.b64 %p1, [%r2], 0; @!%p1 bra again;\n\
                shr.u32 %r4, %r0, 4; cvt.u64.u32 %rd3, %r4; or.b64 %rd3, %rd3, 0xC000001000010000;\n\
                add.u64 %rd4, %rd3, 128; setp.ne.u32 %p2, %t, %t; wgmma.fence.sync.aligned;\n\
                wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%f0, %f1, %f2, %f3}, %rd3, %rd4, %p2, 1, 1, 0, 0;\n\
                wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;";
    let counters = Case { threads: 128, maps: &[(40, 64), (8, 8)], ..Case::new(body) }.measure();
    assert_eq!((counters.bulk_loads, counters.bulk_loaded_bytes), (2, (64 + 8) * 32));
    assert_eq!((counters.global_read_bytes, counters.out_of_bounds_bytes), ((40 + 8) * 32, (64 - 40) * 32));
    // The 24 rows that the copy filled with zeros multiply for nothing.
    assert_eq!((counters.matrix_macs, counters.padded_macs), (64 * 8 * 16, 24 * 8 * 16));
    assert_eq!((counters.barrier_arrivals, counters.mbarrier_waits_met), (4, 4));
}

/// An mbarrier at `%r2` in each CTA of a cluster, which waits for 1024 bytes. `%p0` is of one thread.
const BARRIER: &str = "mov.u32 %r0, tile; add.u32 %r2, %r0, 4096; mov.u32 %r3, 0; setp.eq.u32 %p0, %t, 0;\n\
    @%p0 mbarrier.init.shared.b64 [%r2], 1; fence.mbarrier_init.release.cluster;\n\
    barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;\n\
    @%p0 mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 1024;\n";
/// Waits for it, in all CTAs.
const WAIT: &str = "again: mbarrier.try_wait.parity.shared.b64 %p1, [%r2], 0; @!%p1 bra again;\n\
    barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;";

#[test]
fn reads_fetch_what_the_cache_lacks() {
    let addresses = "mul.wide.u32 %rd1, %t, 4; add.u64 %rd1, %rd1, %rd0; mul.wide.u32 %rd2, %t, 128;\
                     add.u64 %rd2, %rd2, %rd0; mov.u32 %r0, tile; mad.lo.u32 %r1, %t, 16, %r0;";
    for (body, expected) in [
        ("ld.global.b32 %r10, [%rd1];", 128),
        ("ld.global.b32 %r10, [%rd1]; ld.b32 %r11, [%rd1+4];", 160),
        // A sector of each line, then another one.
        ("ld.global.u8 %r10, [%rd2]; ld.global.v2.b32 {%r11, %r12}, [%rd2+32];", 2 * 32 * 32),
        ("cp.async.cg.shared.global [%r1], [%rd2], 16; cp.async.wait_all;", 32 * 32),
        ("cp.async.cg.shared.global [%r1], [%rd2], 16, 0; cp.async.wait_all;", 0),
        // What is written is there; the rest of the line is not.
        ("st.global.b32 [%rd1], %t;", 0),
        ("st.global.b32 [%rd1], %t; ld.global.b32 %r10, [%rd2];", 31 * 32),
        ("st.global.u8 [%rd0], %t; ld.global.b32 %r10, [%rd1];", 96),
        ("red.global.add.u32 [%rd0], %t;", 32),
        ("atom.shared.add.u32 %r10, [%r1], %t;", 0),
        ("wmma.load.a.sync.aligned.row.m16n16k16.global.bf16 {%r10, %r11, %r12, %r13}, [%rd0];", 512),
    ] {
        let text = format!("{addresses}\n{body}");
        let case = Case { l2_bytes: Some(1 << 20), ..Case::new(&text) };
        assert_eq!(case.measure().fetched_bytes, expected, "{body}");
        assert_eq!(case.run(5, 1).fetched_bytes, expected, "others find it in the cache: {body}");
        assert_eq!(Case { l2_bytes: None, ..case }.run(1, 1).fetched_bytes, 0, "no cache was asked for");
    }
}

#[test]
fn a_cache_that_is_too_small_fetches_again() {
    let read_two_kib = "mul.wide.u32 %rd1, %t, 64; add.u64 %rd1, %rd1, %rd0; ld.global.b32 %r10, [%rd1];\
                        ld.global.b32 %r11, [%rd1+32]; bar.sync 0; ld.global.b32 %r10, [%rd1];";
    let fetched =
        |l2_bytes| Case { l2_bytes: Some(l2_bytes), ..Case::new(read_two_kib) }.measure().fetched_bytes;
    assert_eq!(fetched(2048), 2048);
    // Of a cycle that is longer than the cache, nothing is left when it comes round.
    assert_eq!(fetched(1024), 3 * 1024);
}

#[test]
fn copies_fetch_once_for_all_ctas_that_they_go_to() {
    let copies = [
        "@%p0 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster \
         [%r0], [%rd0], 512, [%r2], %h0;",
        "@%p0 cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster \
         [%r0], [%rd1, {%r3, %r3}], [%r2], %h0;",
    ];
    for copy in copies {
        let body = format!(
            ".reg .b16 %h0; mov.b16 %h0, 3; mov.b64 %rd1, map0; cvta.param.u64 %rd1, %rd1;\n{BARRIER}{copy}\n{WAIT}"
        );
        // Each CTA of a cluster fills 512 bytes of both.
        let case = Case { maps: &[(16, 16)], cluster: 2, l2_bytes: Some(1 << 20), ..Case::new(&body) };
        let counters = case.measure();
        assert_eq!((counters.bulk_loaded_bytes, counters.global_read_bytes), (2048, 2048), "{copy}");
        assert_eq!(counters.fetched_bytes, 512, "{copy}");
        let least = Case { l2_bytes: Some(0), ..case }.measure();
        assert_eq!(least.fetched_bytes, 1024, "once for each of two multicasts: {copy}");
    }
}

#[test]
fn each_device_has_a_cache_for_its_own_memory() {
    let kib = "mul.wide.u32 %rd1, %t, 32; add.u64 %rd1, %rd1, %rd0; add.u64 %rd2, %rd1, %rd3;";
    let body = format!(
        ".visible .entry kernel(.param .u64 own, .param .u64 peers) {{\n\
         .reg .b32 %t, %r0; .reg .b64 %rd<4>;\n\
         mov.u32 %t, %tid.x; ld.param.u64 %rd0, [own]; ld.param.u64 %rd3, [peers]; sub.u64 %rd3, %rd3, %rd0;\n\
         {kib}\nld.global.u32 %r0, [%rd1]; ld.global.u32 %r0, [%rd2];\n\
         ld.global.u32 %r0, [%rd1]; ld.global.u32 %r0, [%rd2];\nret; }}\n"
    );
    let mut device = Device::new("sm_90a".parse().expect("a target")).expect("a simulated target");
    device = device.with_devices(2);
    device.options_mut().l2_bytes = Some(1024);
    let text = format!(".version 8.6\n.target sm_90a\n.address_size 64\n{body}");
    let module = device.load(&text).unwrap_or_else(|error| panic!("{error}"));
    let mut memory = |owner| {
        let pointer = device.allocate_on(owner, "data", 1024).expect("enough memory");
        device.write(pointer, &[0; 1024]).expect("it is there");
        pointer
    };
    let (own, peers) = (memory(0), memory(1));
    device.map_peer(peers, 0).expect("both are there");
    let launch = Launch::new(&module, "kernel").threads([32, 1, 1]).argument(own).argument(peers);
    let outcome = device.launch(&launch).expect("a launch");
    assert_eq!(outcome.reports, []);
    // One cache for both would fetch all of it again.
    assert_eq!((outcome.counters.fetched_bytes, outcome.counters.global_read_bytes), (2048, 512));
}

#[test]
fn stores_of_copies_are_in_the_cache_and_reductions_fetch() {
    let store =
        "st.shared.b32 [%r1], %t; fence.proxy.async.shared::cta; bar.sync 0; setp.eq.u32 %p0, %t, 0;\n";
    let wait = "\n@%p0 cp.async.bulk.commit_group; @%p0 cp.async.bulk.wait_group 0; bar.sync 0;\
                ld.global.b32 %r10, [%rd2];";
    let start = "mov.u32 %r0, tile; add.u32 %r1, %r0, %l; mov.u32 %r3, 0; mul.wide.u32 %rd2, %t, 4;\
                 add.u64 %rd2, %rd2, %rd0; mov.b64 %rd1, map0; cvta.param.u64 %rd1, %rd1;\n";
    for (copy, expected) in [
        ("@%p0 cp.async.bulk.global.shared::cta.bulk_group [%rd0], [%r0], 64;", 64),
        ("@%p0 cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%rd1, {%r3, %r3}], [%r0];", 64),
        ("@%p0 cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%rd0], [%r0], 64;", 128),
        (
            "@%p0 cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.bulk_group [%rd1, {%r3, %r3}], [%r0];",
            128,
        ),
    ] {
        let body = format!("{start}{store}{copy}{wait}");
        let case = Case { maps: &[(2, 2)], l2_bytes: Some(1 << 20), ..Case::new(&body) };
        assert_eq!(case.measure().fetched_bytes, expected, "{copy}");
    }
}

#[test]
fn products_of_a_warp() {
    let product = |a: &str, b: &str| {
        let body = format!(
            "mov.b32 %r1, 0x3f803f80; mov.b32 %r2, 0; mov.f32 %f0, 0f00000000;\n\
             mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 \
             {{%f1, %f2, %f3, %f4}}, {{{a}}}, {{{b}}}, {{%f0, %f0, %f0, %f0}};"
        );
        let counters = Case::new(&body).measure();
        assert_eq!(counters.matrix_macs, 16 * 8 * 16);
        counters.padded_macs
    };
    let ones = "%r1, %r1, %r1, %r1";
    assert_eq!(product(ones, "%r1, %r1"), 0);
    // The second and fourth register of A hold rows 8 to 15.
    assert_eq!(product("%r1, %r2, %r1, %r2", "%r1, %r1"), 8 * 8 * 16);
    // Zeros in half of k are none of padding; a B of zeros is nothing else.
    assert_eq!(product("%r1, %r1, %r2, %r2", "%r1, %r2"), 0);
    assert_eq!(product(ones, "%r2, %r2"), 16 * 8 * 16);
}

#[test]
fn live_registers() {
    // The address takes two registers, the thread one, and three more are live before the first sum; each sum takes
    // the register of an operand.
    let body = "mov.u32 %r1, 1; mov.u32 %r2, 2; mov.u32 %r3, 3; add.u32 %r4, %r1, %r2; add.u32 %r5, %r4, %r3;\n\
                add.u32 %r6, %r5, %t; st.global.b32 [%rd0], %r6;";
    assert_eq!(Case::new(body).measure().max_live_registers, 6);
}

/// `counters/counters.json` is what `ptxsim` wrote once its values had been checked by hand: two CTAs of 64 threads
/// store to every second word of shared memory and load from there, two passes a warp, and store to 16 sectors.
#[cfg(feature = "ptxsim")]
#[test]
fn counters_file() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("counters.json");
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_ptxsim"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/counters"))
        .args(["run", "launch.json", "--counters"])
        .arg(&path)
        .output()
        .expect("ptxsim runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let written = std::fs::read_to_string(path).expect("the counters");
    assert_eq!(written, include_str!("counters/counters.json"));
}
