//! Barriers, mbarriers, fences, votes, shuffles and launch control (PTX ISA 9.4, 9.7.15 and 9.7.10.6).

use super::form::literal_is;
use crate::instruction::Instruction;
use crate::operand::Operand;

section! {
    /// Instructions by which threads meet, exchange values and order their memory accesses.
    Sync, ExecSync;

    /// Waits at a barrier of the CTA, all threads of a warp together.
    bar_sync = BarSync "bar.sync" | "bar.cta.sync" "9.7.15.1" {
        "bar.sync a:u32, b?:u32" since "1.0 sm_20"
            where "a CTA has the barriers 0 to 15" is_barrier,
                  "the number of threads must be a multiple of 32" is_whole_warps;
    }

    /// Arrives at a barrier of the CTA without waiting, all threads of a warp together.
    bar_arrive = BarArrive "bar.arrive" | "bar.cta.arrive" "9.7.15.1" {
        "bar.arrive a:u32, b:u32" since "2.0 sm_20"
            where "a CTA has the barriers 0 to 15" is_barrier,
                  "the number of threads must be a multiple of 32, not 0"
                  |i| is_whole_warps(i) && is_positive(i, "b");
    }

    /// Waits at a barrier of the CTA and combines a predicate of every thread, all threads of a warp
    /// together.
    bar_red = BarRed "bar.red" | "bar.cta.red" "9.7.15.1" {
        "bar.red.popc.u32 d=u32, a:u32, b?:u32, c:pred" since "2.0 sm_20"
            where "a CTA has the barriers 0 to 15" is_barrier,
                  "the number of threads must be a multiple of 32" is_whole_warps;
        "bar.red.op.pred d=pred, a:u32, b?:u32, c:pred | op = and or" since "2.0 sm_20"
            where "a CTA has the barriers 0 to 15" is_barrier,
                  "the number of threads must be a multiple of 32" is_whole_warps;
    }

    /// Waits at a barrier of the CTA.
    barrier_sync = BarrierSync "barrier.sync" | "barrier.cta.sync" "9.7.15.1" {
        "barrier.sync{.aligned} a:u32, b?:u32" since "6.0 sm_30"
            where "a CTA has the barriers 0 to 15" is_barrier,
                  "the number of threads must be a multiple of 32" is_whole_warps;
    }

    /// Arrives at a barrier of the CTA without waiting.
    barrier_arrive = BarrierArrive "barrier.arrive" | "barrier.cta.arrive" "9.7.15.1" {
        "barrier.arrive{.aligned} a:u32, b:u32" since "6.0 sm_30"
            where "a CTA has the barriers 0 to 15" is_barrier,
                  "the number of threads must be a multiple of 32, not 0"
                  |i| is_whole_warps(i) && is_positive(i, "b");
    }

    /// Waits at a barrier of the CTA and combines a predicate of every thread.
    barrier_red = BarrierRed "barrier.red" | "barrier.cta.red" "9.7.15.1" {
        "barrier.red.popc{.aligned}.u32 d=u32, a:u32, b?:u32, c:pred" since "6.0 sm_30"
            where "a CTA has the barriers 0 to 15" is_barrier,
                  "the number of threads must be a multiple of 32" is_whole_warps;
        "barrier.red.op{.aligned}.pred d=pred, a:u32, b?:u32, c:pred | op = and or" since "6.0 sm_30"
            where "a CTA has the barriers 0 to 15" is_barrier,
                  "the number of threads must be a multiple of 32" is_whole_warps;
    }

    /// Waits for the lanes of `mask` and orders memory among them.
    bar_warp_sync = BarWarpSync "bar.warp.sync" "9.7.15.2" {
        "bar.warp.sync mask:u32" since "6.0 sm_30";
    }

    /// Arrives at the barrier of the cluster.
    barrier_cluster_arrive = BarrierClusterArrive "barrier.cluster.arrive" "9.7.15.3" {
        "barrier.cluster.arrive{.sem}{.aligned} | sem = release@8.0 relaxed@8.0" since "7.8 sm_90";
    }

    /// Waits until all threads of the cluster have arrived at its barrier.
    barrier_cluster_wait = BarrierClusterWait "barrier.cluster.wait" "9.7.15.3" {
        "barrier.cluster.wait{.acquire}{.aligned} | acquire = acquire@8.0" since "7.8 sm_90";
    }

    /// Orders the thread's memory accesses sequentially consistently: `fence.sc` by its old name.
    membar = Membar "membar" "9.7.15.4" {
        "membar.level | level = cta gl sys" since "1.4 sm_20";
    }

    /// Orders the thread's memory accesses.
    fence = Fence "fence" "9.7.15.4" {
        "fence{.sem}.scope | sem = sc acq_rel; scope = cta gpu sys" since "6.0 sm_70";
        "fence{.sem}.cluster | sem = sc acq_rel" since "7.8 sm_90";
        "fence.sem.scope | sem = acquire release" since "8.6 sm_90";
        "fence.acquire.sync_restrict::shared::cluster.cluster" since "8.6 sm_90";
        "fence.release.sync_restrict::shared::cta.cluster" since "8.6 sm_90";
    }

    /// Releases the thread's `mbarrier.init` operations, and only those, to the cluster.
    fence_mbarrier_init = FenceMbarrierInit "fence.mbarrier_init" "9.7.15.4" {
        "fence.mbarrier_init.release.cluster" since "8.0 sm_90";
    }

    /// Orders accesses through different virtual addresses of the same memory.
    fence_proxy_alias = FenceProxyAlias "fence.proxy.alias" | "membar.proxy.alias" "9.7.15.4" {
        "fence.proxy.alias" since "7.5 sm_70";
        "fence.proxy.alias.sem.sys | sem = acquire release" since "9.4 sm_90";
    }

    /// Orders accesses of the generic and the async proxy, both ways, in one space or in all.
    fence_proxy_async = FenceProxyAsync "fence.proxy.async" | "membar.proxy.async" "9.7.15.4" {
        "fence.proxy.async{.space} | space = global shared::cta shared::cluster" since "8.0 sm_90";
    }

    /// Orders generic accesses before those of the async proxy that follow, in shared memory of the cluster.
    fence_proxy_async_generic = FenceProxyAsyncGeneric "fence.proxy.async::generic" "9.7.15.4" {
        "fence.proxy.async::generic.acquire.sync_restrict::shared::cluster.cluster" since "8.6 sm_90";
        "fence.proxy.async::generic.release.sync_restrict::shared::cta.cluster" since "8.6 sm_90";
        "fence.proxy.async::generic.release.sync_restrict::shared::cluster::read.scope | scope = cta cluster"
            since "9.4 sm_90";
    }

    /// Orders generic accesses to a tensor map before its use by tensor copies.
    fence_proxy_tensormap = FenceProxyTensormap "fence.proxy.tensormap::generic" "9.7.15.4" {
        "fence.proxy.tensormap::generic.release.scope" since "8.3 sm_90";
        "fence.proxy.tensormap::generic.acquire.scope [addr], size:imm(128..128)" since "8.3 sm_90";
    }

    /// Combines a predicate of the lanes of `mask`.
    vote_sync = VoteSync "vote" "9.7.15.10" {
        "vote.sync.mode.pred d=pred, a:pred, mask:u32 | mode = all any uni" since "6.0 sm_30";
        "vote.sync.ballot.b32 d=b32, a:pred, mask:u32" since "6.0 sm_30";
    }

    /// Finds the lanes of `mask` that hold the same value, or whether all do.
    match_sync = MatchSync "match" "9.7.15.11" {
        "match.any.sync.type d=u32, a:type, mask:u32 | type = b32 b64" since "6.0 sm_70";
        "match.all.sync.type d{|p}=u32, a:type, mask:u32 | type = b32 b64" since "6.0 sm_70";
    }

    /// The lanes that execute this together.
    activemask = Activemask "activemask" "9.7.15.12" {
        "activemask.b32 d=b32" since "6.2 sm_30";
    }

    /// Reduces a value over the lanes of `mask`.
    redux_sync = ReduxSync "redux" "9.7.15.13" {
        "redux.sync.op.type d=type, a:type, mask:u32 | op = add min max; type = u32 s32" since "7.0 sm_80";
        "redux.sync.op.b32 d=u32, a:u32, mask:u32 | op = and or xor" since "7.0 sm_80";
        "redux.sync.op{.abs}{.NaN}.f32 d=f32, a:f32, mask:u32 | op = min max" since "8.6 sm_100f";
    }

    /// Takes the value of another lane of `mask`.
    shfl_sync = ShflSync "shfl" "9.7.10.6" {
        "shfl.sync.mode.b32 d{|p}=b32, a:b32, b:b32, c:b32, mask:u32 | mode = up down bfly idx"
            since "6.0 sm_30"
            where "the value of a shuffle cannot be discarded" |i| !is_sink(i, "d");
    }

    /// Chooses one lane of `mask`.
    elect_sync = ElectSync "elect" "9.7.15.15" {
        "elect.sync d{|p}=b32, mask:u32" since "8.0 sm_90"
            where "elect.sync writes a lane, or _, and a predicate: d|p" elects;
    }

    /// Makes an mbarrier that expects `count` arrivals in every phase.
    mbarrier_init = MbarrierInit "mbarrier.init" "9.7.15.16.12" {
        "mbarrier.init{.layout}{.ss}.b64 [addr], count:u32 | layout = layout::v0@9.3/sm_90 \
         layout::v1@9.3/sm_90" since "7.0 sm_80"
            where "an mbarrier counts 1 to 1048575 arrivals"
                  |i| literal_is(i, "count", |n| (1..1 << 20).contains(&n));
    }

    /// Ends an mbarrier, so that its memory may serve for something else.
    mbarrier_inval = MbarrierInval "mbarrier.inval" "9.7.15.16.13" {
        "mbarrier.inval{.ss}.b64 [addr]" since "7.0 sm_80";
    }

    /// Adds to the bytes that the current phase of an mbarrier waits for.
    mbarrier_expect_tx = MbarrierExpectTx "mbarrier.expect_tx" "9.7.15.16.14" {
        "mbarrier.expect_tx{.relaxed.scope}{.space}.b64 [addr], bytes:u32 | scope = cta cluster; \
         space = shared shared::cta shared::cluster" since "8.0 sm_90";
    }

    /// Takes from the bytes that the current phase of an mbarrier waits for.
    mbarrier_complete_tx = MbarrierCompleteTx "mbarrier.complete_tx" "9.7.15.16.15" {
        "mbarrier.complete_tx{.relaxed.scope}{.space}.b64 [addr], bytes:u32 | scope = cta cluster; \
         space = shared shared::cta shared::cluster" since "8.0 sm_90";
    }

    /// Arrives at an mbarrier, with `.expect_tx` after adding to the bytes it waits for; `state` is its phase
    /// before.
    mbarrier_arrive = MbarrierArrive "mbarrier.arrive" "9.7.15.16.16" {
        "mbarrier.arrive{.sem.scope}{.ss}.b64 state=u64, [addr] | sem = release@8.0 relaxed@8.6/sm_90; \
         scope = cta cluster@8.0/sm_90" since "7.0 sm_80";
        "mbarrier.arrive{.sem.scope}{.ss}.b64 state=u64, [addr], count:u32 | sem = release@8.0 \
         relaxed@8.6/sm_90; scope = cta cluster@8.0/sm_90" since "7.8 sm_90"
            where "an arrival counts at least 1" |i| is_positive(i, "count");
        "mbarrier.arrive{.sem.scope}.shared::cluster.b64 state=sink, [addr], count?:u32 | sem = release \
         relaxed@8.6; scope = cta cluster" since "8.0 sm_90"
            where "an arrival counts at least 1" |i| is_positive(i, "count");
        "mbarrier.arrive.expect_tx{.sem.scope}{.ss}.b64 state=u64, [addr], bytes:u32 | sem = release \
         relaxed@8.6; scope = cta cluster" since "8.0 sm_90";
        "mbarrier.arrive.expect_tx{.sem.scope}.shared::cluster.b64 state=sink, [addr], bytes:u32 \
         | sem = release relaxed@8.6; scope = cta cluster" since "8.0 sm_90";
        "mbarrier.arrive.noComplete{.release.cta}{.ss}.b64 state=u64, [addr], count:u32 \
         | release = release@8.0" since "7.0 sm_80"
            where "an arrival counts at least 1" |i| is_positive(i, "count");
    }

    /// Arrives at an mbarrier and lowers the arrivals that it expects in later phases.
    mbarrier_arrive_drop = MbarrierArriveDrop "mbarrier.arrive_drop" "9.7.15.16.17" {
        "mbarrier.arrive_drop{.sem.scope}{.ss}.b64 state=u64, [addr] | sem = release@8.0 relaxed@8.6/sm_90; \
         scope = cta cluster@8.0/sm_90" since "7.0 sm_80";
        "mbarrier.arrive_drop{.sem.scope}{.ss}.b64 state=u64, [addr], count:u32 | sem = release@8.0 \
         relaxed@8.6/sm_90; scope = cta cluster@8.0/sm_90" since "7.8 sm_90"
            where "an arrival counts at least 1" |i| is_positive(i, "count");
        "mbarrier.arrive_drop{.sem.scope}.shared::cluster.b64 state=sink, [addr], count?:u32 | sem = release \
         relaxed@8.6; scope = cta cluster" since "8.0 sm_90"
            where "an arrival counts at least 1" |i| is_positive(i, "count");
        "mbarrier.arrive_drop.expect_tx{.sem.scope}{.ss}.b64 state=u64, [addr], bytes:u32 | sem = release \
         relaxed@8.6; scope = cta cluster" since "8.0 sm_90";
        "mbarrier.arrive_drop.expect_tx{.sem.scope}.shared::cluster.b64 state=sink, [addr], bytes:u32 \
         | sem = release relaxed@8.6; scope = cta cluster" since "8.0 sm_90";
        "mbarrier.arrive_drop.noComplete{.release.cta}{.ss}.b64 state=u64, [addr], count:u32 \
         | release = release@8.0" since "7.0 sm_80"
            where "an arrival counts at least 1" |i| is_positive(i, "count");
    }

    /// Arrives at an mbarrier when the thread's `cp.async` copies so far are complete.
    cp_async_mbarrier_arrive = CpAsyncMbarrierArrive "cp.async.mbarrier.arrive" "9.7.15.16.18" {
        "cp.async.mbarrier.arrive{.noinc}{.ss}.b64 [addr]" since "7.0 sm_80";
    }

    /// Asks whether a phase of an mbarrier is complete.
    mbarrier_test_wait = MbarrierTestWait "mbarrier.test_wait" "9.7.15.16.19" {
        "mbarrier.test_wait{.sem.scope}{.ss}.b64 done=pred, [addr], state:u64 | sem = acquire@8.0 \
         relaxed@8.6/sm_90; scope = cta cluster@8.0/sm_90" since "7.0 sm_80";
        "mbarrier.test_wait.parity{.sem.scope}{.ss}.b64 done=pred, [addr], parity:u32 | sem = acquire@8.0 \
         relaxed@8.6/sm_90; scope = cta cluster@8.0/sm_90" since "7.1 sm_80"
            where "a parity is 0 or 1" is_parity;
        "mbarrier.test_wait.phase_type::primary{.sem.scope}{.ss}.b64 done{|report}=pred, value?=b8, [addr], \
         state:u64 | sem = acquire relaxed; scope = cta cluster" since "9.3 sm_90";
        "mbarrier.test_wait.parity.phase_type::primary{.sem.scope}{.ss}.b64 done{|report}=pred, value?=b8, \
         [addr], parity:u32 | sem = acquire relaxed; scope = cta cluster" since "9.3 sm_90"
            where "a parity is 0 or 1" is_parity;
        "mbarrier.test_wait.parity.phase_type::conditional{.sem.scope}{.ss}.b64 done=pred, [addr], \
         parity:u32 | sem = acquire relaxed; scope = cta cluster" since "9.3 sm_90"
            where "a parity is 0 or 1" is_parity;
    }

    /// Asks whether a phase of an mbarrier is complete and may wait for it, up to a time limit in
    /// nanoseconds.
    mbarrier_try_wait = MbarrierTryWait "mbarrier.try_wait" "9.7.15.16.19" {
        "mbarrier.try_wait{.sem.scope}{.ss}.b64 done=pred, [addr], state:u64, hint?:u32 | sem = acquire@8.0 \
         relaxed@8.6/sm_90; scope = cta cluster@8.0/sm_90" since "7.8 sm_90";
        "mbarrier.try_wait.parity{.sem.scope}{.ss}.b64 done=pred, [addr], parity:u32, hint?:u32 \
         | sem = acquire@8.0 relaxed@8.6/sm_90; scope = cta cluster@8.0/sm_90" since "7.8 sm_90"
            where "a parity is 0 or 1" is_parity;
        "mbarrier.try_wait.phase_type::primary{.sem.scope}{.ss}.b64 done{|report}=pred, [addr], state:u64, \
         hint?:u32 | sem = acquire relaxed; scope = cta cluster" since "9.3 sm_90";
        "mbarrier.try_wait.phase_type::primary{.sem.scope}{.ss}.b64 done{|report}=pred, value=b8, [addr], \
         state:u64, hint?:u32 | sem = acquire relaxed; scope = cta cluster" since "9.3 sm_90";
        "mbarrier.try_wait.parity.phase_type::primary{.sem.scope}{.ss}.b64 done{|report}=pred, [addr], \
         parity:u32, hint?:u32 | sem = acquire relaxed; scope = cta cluster" since "9.3 sm_90"
            where "a parity is 0 or 1" is_parity;
        "mbarrier.try_wait.parity.phase_type::primary{.sem.scope}{.ss}.b64 done{|report}=pred, value=b8, \
         [addr], parity:u32, hint?:u32 | sem = acquire relaxed; scope = cta cluster" since "9.3 sm_90"
            where "a parity is 0 or 1" is_parity;
        "mbarrier.try_wait.parity.phase_type::conditional{.sem.scope}{.ss}.b64 done=pred, [addr], \
         parity:u32, hint?:u32 | sem = acquire relaxed; scope = cta cluster" since "9.3 sm_90"
            where "a parity is 0 or 1" is_parity;
    }

    /// The arrivals that were pending before the arrival that gave `state`.
    mbarrier_pending_count = MbarrierPendingCount "mbarrier.pending_count" "9.7.15.16.20" {
        "mbarrier.pending_count{.layout}.b64 count=u32, state:u64 | layout = layout::v0@9.3/sm_90"
            since "7.0 sm_80";
    }

    /// Asks whether an mbarrier was made with a layout.
    mbarrier_check_layout = MbarrierCheckLayout "mbarrier.check_layout" "9.7.15.16.21" {
        "mbarrier.check_layout.layout{.shared::cta}.b64 p=pred, [addr] | layout = layout::v0 layout::v1"
            since "9.3 sm_90";
    }

    /// Asks that a cluster that has not started be cancelled, so that this one may do its work.
    clusterlaunchcontrol_try_cancel = ClusterlaunchcontrolTryCancel "clusterlaunchcontrol.try_cancel"
        "9.7.15.18" {
        "clusterlaunchcontrol.try_cancel.async{.shared::cta}.mbarrier::complete_tx::bytes.b128 [addr], [mbar]"
            since "8.6 sm_100";
        "clusterlaunchcontrol.try_cancel.async{.shared::cta}\
         .mbarrier::complete_tx::bytes.multicast::cluster::all.b128 [addr], [mbar]"
            since "8.6 sm_100f sm_110f sm_120f";
    }

    /// Reads the answer to `clusterlaunchcontrol.try_cancel`.
    clusterlaunchcontrol_query_cancel = ClusterlaunchcontrolQueryCancel "clusterlaunchcontrol.query_cancel"
        "9.7.15.19" {
        "clusterlaunchcontrol.query_cancel.is_canceled.pred.b128 p=pred, answer:b128" since "8.6 sm_100";
        "clusterlaunchcontrol.query_cancel.get_first_ctaid.v4.b32.b128 d*4=b32, answer:b128"
            since "8.6 sm_100";
        "clusterlaunchcontrol.query_cancel.axis.b32.b128 d=b32, answer:b128 | axis = get_first_ctaid::x \
         get_first_ctaid::y get_first_ctaid::z" since "8.6 sm_100";
    }
}

fn is_barrier(instruction: &Instruction) -> bool {
    literal_is(instruction, "a", |barrier| (0..16).contains(&barrier))
}

fn is_whole_warps(instruction: &Instruction) -> bool {
    literal_is(instruction, "b", |threads| threads % 32 == 0)
}

fn is_positive(instruction: &Instruction, name: &str) -> bool {
    literal_is(instruction, name, |value| value > 0)
}

fn is_parity(instruction: &Instruction) -> bool {
    literal_is(instruction, "parity", |parity| matches!(parity, 0 | 1))
}

/// Whether the value of the operand is discarded.
fn is_sink(instruction: &Instruction, name: &str) -> bool {
    match instruction.operand(name) {
        Some(Operand::Pair(pair)) => pair[0] == Operand::Sink,
        Some(operand) => *operand == Operand::Sink,
        None => false,
    }
}

fn elects(instruction: &Instruction) -> bool {
    matches!(instruction.operand("d"), Some(Operand::Pair(pair)) if pair[1] != Operand::Sink)
}
