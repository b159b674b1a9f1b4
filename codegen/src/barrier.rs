//! Barriers of the CTA, the cluster, and fences between memory proxies (PTX ISA 9.7.15).

use crate::builder::Builder;
use crate::value::Value;
use rorqual_ptx::operand::Operand;

impl Builder {
    /// All threads of the CTA meet; what they wrote to memory is seen by all.
    #[track_caller]
    pub fn sync_threads(&self) {
        self.emit("bar.sync", vec![Operand::int(0)]);
    }

    /// `threads` threads, whole warps, meet at barrier `id`, 1 to 15.
    #[track_caller]
    pub fn sync_named(&self, id: u32, threads: u32) {
        self.require((1..16).contains(&id) && threads.is_multiple_of(32) && threads > 0, || {
            format!("barrier {id} of {threads} threads: 1 to 15, and whole warps")
        });
        self.emit("bar.sync", vec![Operand::int(i64::from(id)), Operand::int(i64::from(threads))]);
    }

    /// As [`sync_named`](Self::sync_named), at a barrier that is known only when the kernel runs.
    #[track_caller]
    pub fn sync_barrier(&self, id: Value<'_, u32>, threads: u32) {
        self.require(threads.is_multiple_of(32) && threads > 0, || format!("{threads} threads: whole warps"));
        self.emit("bar.sync", vec![id.operand(), Operand::int(i64::from(threads))]);
    }

    /// Arrives at barrier `id` without waiting for the `threads` threads in all.
    #[track_caller]
    pub fn arrive_named(&self, id: u32, threads: u32) {
        self.require((1..16).contains(&id) && threads.is_multiple_of(32) && threads > 0, || {
            format!("barrier {id} of {threads} threads: 1 to 15, and whole warps")
        });
        self.emit("bar.arrive", vec![Operand::int(i64::from(id)), Operand::int(i64::from(threads))]);
    }

    /// The lanes of the warp meet; what they wrote to memory is seen by all of them.
    #[track_caller]
    pub fn sync_warp(&self) {
        self.emit("bar.warp.sync", vec![Operand::int(0xffff_ffff)]);
    }

    /// The CTAs of the cluster meet (PTX ISA 9.7.15.4).
    #[track_caller]
    pub fn sync_cluster(&self) {
        self.emit("barrier.cluster.arrive.aligned", vec![]);
        self.emit("barrier.cluster.wait.aligned", vec![]);
    }

    /// The CTAs of the cluster meet, which makes known only what fences have: new mbarriers, by
    /// [`fence_mbarrier_init`](Self::fence_mbarrier_init).
    #[track_caller]
    pub fn meet_cluster(&self) {
        self.emit("barrier.cluster.arrive.relaxed.aligned", vec![]);
        self.emit("barrier.cluster.wait.aligned", vec![]);
    }

    /// Orders writes through addresses before asynchronous copies and wgmma that read shared memory
    /// (PTX ISA 9.7.15.3, proxy fences).
    #[track_caller]
    pub fn fence_async_shared(&self) {
        self.emit("fence.proxy.async.shared::cta", vec![]);
    }

    /// Orders accesses to global memory through addresses before asynchronous copies that read or write it.
    #[track_caller]
    pub fn fence_async_global(&self) {
        self.emit("fence.proxy.async.global", vec![]);
    }

    /// The CTA's rank in its cluster.
    #[track_caller]
    pub fn cluster_rank(&self) -> Value<'_, u32> {
        self.special(rorqual_ptx::operand::SpecialRegister::ClusterCtarank)
    }

    /// Waits for the kernels before this one, if it was launched to start while they still run; else it does nothing
    /// (PTX ISA 9.7.15.14; sm_90).
    #[track_caller]
    pub fn wait_for_earlier_kernels(&self) {
        self.emit("griddepcontrol.wait", vec![]);
    }

    /// Lets the kernel behind this one start, once each CTA has said so or ended: it takes multiprocessors as they become
    /// free. Nothing is published by this; that kernel [waits](Self::wait_for_earlier_kernels) for the end of this one
    /// before it reads (PTX ISA 9.7.15.14; sm_90).
    #[track_caller]
    pub fn let_next_kernel_start(&self) {
        self.emit("griddepcontrol.launch_dependents", vec![]);
    }
}
