//! The rows of asynchronous copies, synchronisation and matrix instructions take what compilers and libraries write.

use super::forms;
use crate::instruction::Instruction;
use crate::module::Position;
use crate::operand::{Immediate, Operand, Register};
use crate::table::{find_row, rows};
use crate::target::Target;
use std::sync::Arc;

/// Spellings from kernels of nvcc, Triton, CUTLASS, DeepGEMM, FlashMLA and DeepEP, and from the manual where those
/// have none.
const SPELLINGS: &[&str] = &[
    "activemask.b32",
    "bar.arrive",
    "bar.cta.red.and.pred",
    "bar.red.and.pred",
    "bar.red.or.pred",
    "bar.red.popc.u32",
    "bar.sync",
    "bar.warp.sync",
    "barrier.cluster.arrive",
    "barrier.cluster.arrive.aligned",
    "barrier.cluster.arrive.relaxed",
    "barrier.cluster.arrive.relaxed.aligned",
    "barrier.cluster.arrive.release.aligned",
    "barrier.cluster.wait",
    "barrier.cluster.wait.acquire",
    "barrier.cluster.wait.acquire.aligned",
    "barrier.cluster.wait.aligned",
    "barrier.cta.arrive.aligned",
    "barrier.cta.red.popc.u32",
    "barrier.cta.sync",
    "barrier.red.or.aligned.pred",
    "barrier.sync",
    "clusterlaunchcontrol.query_cancel.get_first_ctaid.v4.b32.b128",
    "clusterlaunchcontrol.query_cancel.get_first_ctaid::z.b32.b128",
    "clusterlaunchcontrol.try_cancel.async.shared::cta.mbarrier::complete_tx::bytes.multicast::cluster::all.b128",
    "cp.async.bulk.commit_group",
    "cp.async.bulk.global.shared::cta.bulk_group",
    "cp.async.bulk.global.shared::cta.bulk_group.L2::cache_hint",
    "cp.async.bulk.prefetch.L2.global",
    "cp.async.bulk.prefetch.L2.global.L2::cache_hint",
    "cp.async.bulk.prefetch.tensor.4d.L2.global.im2col",
    "cp.async.bulk.relaxed.gpu.global.shared::cta.bulk_group.cp_mask.b128",
    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes",
    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint",
    "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes",
    "cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes",
    "cp.async.bulk.tensor.1d.global.shared::cta.tile.bulk_group",
    "cp.async.bulk.tensor.1d.shared::cluster.global.tile.mbarrier::complete_tx::bytes",
    "cp.async.bulk.tensor.2d.cta_group::2.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint",
    "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group",
    "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group",
    "cp.async.bulk.tensor.2d.global.shared::cta.tile::scatter4.bulk_group",
    "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes",
    "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint",
    "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster",
    "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster.L2::cache_hint",
    "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes",
    "cp.async.bulk.tensor.2d.shared::cta.global.mbarrier::complete_tx::bytes",
    "cp.async.bulk.tensor.2d.tile::gather4.shared::cta.global.mbarrier::complete_tx::bytes",
    "cp.async.bulk.tensor.3d.global.shared::cta.bulk_group",
    "cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group",
    "cp.async.bulk.tensor.3d.im2col::w::128.shared::cluster.global.mbarrier::complete_tx::bytes",
    "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint",
    "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster.L2::cache_hint",
    "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes",
    "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group",
    "cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group",
    "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint",
    "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes",
    "cp.async.bulk.tensor.5d.global.shared::cta.bulk_group",
    "cp.async.bulk.tensor.5d.global.shared::cta.tile.bulk_group",
    "cp.async.bulk.tensor.5d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes.multicast::cluster.cta_group::2.L2::cache_hint",
    "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes",
    "cp.async.bulk.wait_group",
    "cp.async.bulk.wait_group.read",
    "cp.async.ca.shared.global",
    "cp.async.ca.shared.global.L2::128B",
    "cp.async.ca.shared::cta.global.L2::128B",
    "cp.async.cg.shared.global",
    "cp.async.cg.shared.global.L2::128B",
    "cp.async.cg.shared.global.L2::cache_hint.L2::256B",
    "cp.async.commit_group",
    "cp.async.mbarrier.arrive.noinc.shared.b64",
    "cp.async.mbarrier.arrive.noinc.shared::cta.b64",
    "cp.async.mbarrier.arrive.shared.b64",
    "cp.async.mbarrier.arrive.shared::cta.b64",
    "cp.async.wait_all",
    "cp.async.wait_group",
    "cp.reduce.async.bulk.global.shared::cta.bulk_group.L2::cache_hint.add.noftz.bf16",
    "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32",
    "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.s32",
    "cp.reduce.async.bulk.global.shared::cta.bulk_group.max.s32",
    "cp.reduce.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes.add.u64",
    "cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.bulk_group",
    "cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile.bulk_group",
    "cp.reduce.async.bulk.tensor.2d.global.shared::cta.max.tile.bulk_group",
    "cp.reduce.async.bulk.tensor.2d.global.shared::cta.min.tile.bulk_group",
    "cp.reduce.async.bulk.tensor.2d.global.shared::cta.or.tile.bulk_group",
    "cp.reduce.async.bulk.tensor.2d.global.shared::cta.xor.tile.bulk_group",
    "cp.reduce.async.bulk.tensor.3d.global.shared::cta.xor.im2col_no_offs.bulk_group",
    "elect.sync",
    "fence.acq_rel.cta",
    "fence.acq_rel.gpu",
    "fence.acq_rel.sys",
    "fence.acquire.cta",
    "fence.acquire.gpu",
    "fence.acquire.sync_restrict::shared::cluster.cluster",
    "fence.acquire.sys",
    "fence.gpu",
    "fence.mbarrier_init.release.cluster",
    "fence.proxy.alias.release.sys",
    "fence.proxy.async",
    "fence.proxy.async.global",
    "fence.proxy.async.shared::cta",
    "fence.proxy.async::generic.acquire.sync_restrict::shared::cluster.cluster",
    "fence.proxy.tensormap::generic.acquire.gpu",
    "fence.proxy.tensormap::generic.release.gpu",
    "fence.release.cta",
    "fence.release.gpu",
    "fence.sc.cluster",
    "fence.sc.cta",
    "fence.sc.gpu",
    "fence.sc.sys",
    "ldmatrix.sync.aligned.m16n16.x2.trans.shared::cta.b8x16.b6x16_p32",
    "ldmatrix.sync.aligned.m8n8.x1.shared.b16",
    "ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16",
    "ldmatrix.sync.aligned.m8n8.x2.shared.b16",
    "ldmatrix.sync.aligned.m8n8.x4.shared.b16",
    "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16",
    "ldmatrix.sync.aligned.x1.m8n8.shared.b16",
    "ldmatrix.sync.aligned.x2.m8n8.shared.b16",
    "ldmatrix.sync.aligned.x2.trans.m8n8.shared.b16",
    "ldmatrix.sync.aligned.x4.m8n8.shared.b16",
    "ldmatrix.sync.aligned.x4.trans.m8n8.shared.b16",
    "match.all.sync.b32",
    "match.all.sync.b64",
    "match.any.sync.b32",
    "match.any.sync.b64",
    "match.sync.any.b32",
    "mbarrier.arrive.expect_tx.shared::cta.b64",
    "mbarrier.arrive.noComplete.release.cta.shared::cta.b64",
    "mbarrier.arrive.noComplete.shared.b64",
    "mbarrier.arrive.relaxed.cluster.shared::cluster.b64",
    "mbarrier.arrive.release.cluster.shared::cluster.b64",
    "mbarrier.arrive.release.cta.shared::cta.b64",
    "mbarrier.arrive.shared.b64",
    "mbarrier.arrive.shared::cluster.b64",
    "mbarrier.arrive.shared::cta.b64",
    "mbarrier.arrive_drop.expect_tx.shared::cta.relaxed.cluster.b64",
    "mbarrier.complete_tx.b64",
    "mbarrier.expect_tx.relaxed.cta.shared.b64",
    "mbarrier.expect_tx.relaxed.cta.shared::cta.b64",
    "mbarrier.expect_tx.shared::cta.b64",
    "mbarrier.init.layout::v1.shared::cta.b64",
    "mbarrier.init.shared.b64",
    "mbarrier.init.shared::cta.b64",
    "mbarrier.inval.shared.b64",
    "mbarrier.inval.shared::cta.b64",
    "mbarrier.pending_count.b64",
    "mbarrier.test_wait.parity.acquire.cluster.shared::cta.b64",
    "mbarrier.test_wait.parity.shared.b64",
    "mbarrier.test_wait.shared.b64",
    "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64",
    "mbarrier.try_wait.parity.phase_type::conditional.relaxed.cluster.shared::cta.b64",
    "mbarrier.try_wait.parity.shared::cta.b64",
    "mbarrier.try_wait.shared::cta.b64",
    "membar.cta",
    "membar.gl",
    "membar.proxy.alias",
    "membar.sys",
    "mma.sp.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32",
    "mma.sp::ordered_metadata.sync.aligned.m16n8k64.row.col.kind::mxf8f6f4.block_scale.f32.e5m2.e4m3.f32.ue8m0",
    "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16",
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
    "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32",
    "mma.sync.aligned.m16n8k16.row.col.f64.f64.f64.f64.rn",
    "mma.sync.aligned.m16n8k16.row.col.satfinite.s32.u8.s8.s32",
    "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc",
    "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32",
    "mma.sync.aligned.m16n8k32.row.col.f32.e5m2.e4m3.f32",
    "mma.sync.aligned.m16n8k32.row.col.f32.e5m2.e5m2.f32",
    "mma.sync.aligned.m16n8k32.row.col.kind::f8f6f4.f32.e3m2.e2m1.f32",
    "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32",
    "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32.satfinite",
    "mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.s8.s32",
    "mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32",
    "mma.sync.aligned.m16n8k4.row.col.f64.f64.f64.f64",
    "mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32.ue4m3",
    "mma.sync.aligned.m16n8k64.row.col.satfinite.s32.u4.s4.s32",
    "mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16",
    "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32",
    "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32",
    "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32",
    "mma.sync.aligned.m16n8k8.row.col.f64.f64.f64.f64",
    "mma.sync.aligned.m8n8k16.row.col.s32.u8.u8.s32",
    "mma.sync.aligned.m8n8k4.col.row.f32.f16.f16.f16",
    "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64",
    "movmatrix.sync.aligned.m8n8.trans.b16",
    "multimem.cp.async.bulk.global.shared::cta.bulk_group",
    "multimem.cp.reduce.async.bulk.relaxed.sys.global.shared::cta.bulk_group.add.f32",
    "redux.sync.add.s32",
    "redux.sync.and.b32",
    "redux.sync.max.s32",
    "redux.sync.max.u32",
    "redux.sync.min.abs.NaN.f32",
    "redux.sync.min.s32",
    "redux.sync.min.u32",
    "redux.sync.or.b32",
    "redux.sync.xor.b32",
    "shfl.sync.bfly.b32",
    "shfl.sync.down.b32",
    "shfl.sync.idx.b32",
    "shfl.sync.up.b32",
    "stmatrix.sync.aligned.m16n8.x1.trans.shared.b8",
    "stmatrix.sync.aligned.m8n8.x1.shared.b16",
    "stmatrix.sync.aligned.m8n8.x2.shared.b16",
    "stmatrix.sync.aligned.m8n8.x2.trans.shared.b16",
    "stmatrix.sync.aligned.m8n8.x4.shared.b16",
    "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16",
    "stmatrix.sync.aligned.x1.m8n8.shared.b16",
    "stmatrix.sync.aligned.x2.m8n8.shared.b16",
    "stmatrix.sync.aligned.x2.trans.m8n8.shared.b16",
    "stmatrix.sync.aligned.x4.m8n8.shared.b16",
    "stmatrix.sync.aligned.x4.m8n8.shared.b16.trans",
    "stmatrix.sync.aligned.x4.trans.m8n8.shared.b16",
    "tcgen05.alloc.cta_group::2.sync.aligned.shared::cta.b32",
    "tcgen05.commit.cta_group::1.mbarrier::arrive::one.b64",
    "tcgen05.commit.cta_group::2.mbarrier::arrive::one.shared::cluster.multicast::cluster.b64",
    "tcgen05.cp.cta_group::1.64x128b.warpx2::02_13.b8x16.b4x16_p64",
    "tcgen05.cp.cta_group::2.32x128b.warpx4",
    "tcgen05.dealloc.cta_group::2.sync.aligned.b32",
    "tcgen05.fence::after_thread_sync",
    "tcgen05.fence::before_thread_sync",
    "tcgen05.ld.red.sync.aligned.16x32bx2.x8.u32.max",
    "tcgen05.ld.sync.aligned.16x256b.x1.b32",
    "tcgen05.mma.cta_group::1.kind::f16.ashift.collector::a::lastuse",
    "tcgen05.mma.cta_group::2.kind::mxf8f6f4.block_scale",
    "tcgen05.mma.sp.cta_group::2.kind::i8",
    "tcgen05.mma.ws.cta_group::1.kind::tf32.collector::b3::use",
    "tcgen05.mma.ws.sp.cta_group::1.kind::i8",
    "tcgen05.relinquish_alloc_permit.cta_group::1.sync.aligned",
    "tcgen05.shift.down.cta_group::1",
    "tcgen05.st.sync.aligned.16x128b.x4.unpack::16b.b32",
    "tcgen05.wait::ld.sync.aligned",
    "tcgen05.wait::st.sync.aligned",
    "tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.gpu.sync.aligned",
    "tensormap.replace.tile.box_dim.shared::cta.b1024.b32",
    "tensormap.replace.tile.element_stride.shared::cta.b1024.b32",
    "tensormap.replace.tile.elemtype.shared::cta.b1024.b32",
    "tensormap.replace.tile.fill_mode.global.b1024.b32",
    "tensormap.replace.tile.fill_mode.shared::cta.b1024.b32",
    "tensormap.replace.tile.global_address.shared::cta.b1024.b64",
    "tensormap.replace.tile.global_dim.shared::cta.b1024.b32",
    "tensormap.replace.tile.global_stride.shared::cta.b1024.b64",
    "tensormap.replace.tile.interleave_layout.shared::cta.b1024.b32",
    "tensormap.replace.tile.rank.shared::cta.b1024.b32",
    "tensormap.replace.tile.swizzle_atomicity.b1024.b32",
    "tensormap.replace.tile.swizzle_mode.shared::cta.b1024.b32",
    "vote.all.sync.pred",
    "vote.sync.all.pred",
    "vote.sync.any.pred",
    "vote.sync.ballot.b32",
    "vote.sync.uni.pred",
    "wgmma.commit_group.sync.aligned",
    "wgmma.fence.sync.aligned",
    "wgmma.mma_async.sp.sync.aligned.m64n128k32.f32.bf16.bf16",
    "wgmma.mma_async.sp.sync.aligned.m64n128k64.f32.e4m3.e4m3",
    "wgmma.mma_async.sp.sync.aligned.m64n248k64.f16.e5m2.e4m3",
    "wgmma.mma_async.sync.aligned.m64n112k32.f32.e4m3.e4m3",
    "wgmma.mma_async.sync.aligned.m64n128k16.f16.f16.f16",
    "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16",
    "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16",
    "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3",
    "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e5m2",
    "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8",
    "wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32",
    "wgmma.mma_async.sync.aligned.m64n152k32.f32.e4m3.e4m3",
    "wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16",
    "wgmma.mma_async.sync.aligned.m64n16k32.f32.e4m3.e4m3",
    "wgmma.mma_async.sync.aligned.m64n16k32.f32.e5m2.e4m3",
    "wgmma.mma_async.sync.aligned.m64n192k32.f32.e4m3.e4m3",
    "wgmma.mma_async.sync.aligned.m64n224k32.satfinite.s32.u8.s8",
    "wgmma.mma_async.sync.aligned.m64n240k256.s32.b1.b1.and.popc",
    "wgmma.mma_async.sync.aligned.m64n24k32.s32.u8.s8.satfinite",
    "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16",
    "wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16",
    "wgmma.mma_async.sync.aligned.m64n32k16.f16.f16.f16",
    "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16",
    "wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16",
    "wgmma.mma_async.sync.aligned.m64n32k32.f16.e4m3.e5m2",
    "wgmma.mma_async.sync.aligned.m64n32k32.f32.e4m3.e4m3",
    "wgmma.mma_async.sync.aligned.m64n32k32.s32.s8.s8",
    "wgmma.mma_async.sync.aligned.m64n32k8.f32.tf32.tf32",
    "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16",
    "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16",
    "wgmma.mma_async.sync.aligned.m64n64k32.f32.e4m3.e4m3",
    "wgmma.mma_async.sync.aligned.m64n64k32.f32.e5m2.e4m3",
    "wgmma.mma_async.sync.aligned.m64n64k32.f32.e5m2.e5m2",
    "wgmma.mma_async.sync.aligned.m64n64k32.s32.s8.s8",
    "wgmma.mma_async.sync.aligned.m64n72k32.f32.e4m3.e4m3",
    "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16",
    "wgmma.mma_async.sync.aligned.m64n8k8.f32.tf32.tf32",
    "wgmma.mma_async.sync.aligned.m64n96k32.f32.e4m3.e5m2",
    "wgmma.wait_group.sync.aligned",
    "wmma.load.a.sync.aligned.col.m16n16k16.f16",
    "wmma.load.a.sync.aligned.col.m16n16k16.global.f16",
    "wmma.load.a.sync.aligned.col.m16n16k16.global.u8",
    "wmma.load.a.sync.aligned.col.m16n16k16.u8",
    "wmma.load.a.sync.aligned.row.m16n16k16.f16",
    "wmma.load.a.sync.aligned.row.m16n16k16.global.f16",
    "wmma.load.a.sync.aligned.row.m16n16k16.global.s8",
    "wmma.load.a.sync.aligned.row.m16n16k16.s8",
    "wmma.load.a.sync.aligned.row.m16n16k8.tf32",
    "wmma.load.a.sync.aligned.row.m32n8k16.f16",
    "wmma.load.a.sync.aligned.row.m32n8k16.global.f16",
    "wmma.load.a.sync.aligned.row.m8n32k16.bf16",
    "wmma.load.a.sync.aligned.row.m8n8k4.f64",
    "wmma.load.b.sync.aligned.col.m16n16k16.f16",
    "wmma.load.b.sync.aligned.col.m16n16k16.global.f16",
    "wmma.load.b.sync.aligned.col.m16n16k16.global.s8",
    "wmma.load.b.sync.aligned.col.m16n16k16.s8",
    "wmma.load.b.sync.aligned.col.m16n16k8.tf32",
    "wmma.load.b.sync.aligned.col.m8n32k16.bf16",
    "wmma.load.b.sync.aligned.col.m8n8k4.f64",
    "wmma.load.b.sync.aligned.m16n16k16.col.shared.s8",
    "wmma.load.b.sync.aligned.row.m16n16k16.global.u8",
    "wmma.load.b.sync.aligned.row.m16n16k16.u8",
    "wmma.load.b.sync.aligned.row.m32n8k16.f16",
    "wmma.load.b.sync.aligned.row.m32n8k16.global.f16",
    "wmma.load.c.sync.aligned.col.m16n16k16.f16",
    "wmma.load.c.sync.aligned.col.m16n16k16.f32",
    "wmma.load.c.sync.aligned.col.m16n16k16.s32",
    "wmma.load.c.sync.aligned.col.m16n16k8.f32",
    "wmma.load.c.sync.aligned.col.m32n8k16.f32",
    "wmma.load.c.sync.aligned.col.m8n32k16.f32",
    "wmma.load.c.sync.aligned.col.m8n8k4.f64",
    "wmma.load.c.sync.aligned.row.m16n16k16.f16",
    "wmma.load.c.sync.aligned.row.m16n16k16.f32",
    "wmma.load.c.sync.aligned.row.m16n16k16.global.f16",
    "wmma.load.c.sync.aligned.row.m16n16k16.global.f32",
    "wmma.load.c.sync.aligned.row.m16n16k16.global.s32",
    "wmma.load.c.sync.aligned.row.m16n16k16.s32",
    "wmma.load.c.sync.aligned.row.m16n16k8.f32",
    "wmma.load.c.sync.aligned.row.m32n8k16.f32",
    "wmma.load.c.sync.aligned.row.m32n8k16.global.f32",
    "wmma.load.c.sync.aligned.row.m8n32k16.f32",
    "wmma.load.c.sync.aligned.row.m8n32k16.global.f32",
    "wmma.load.c.sync.aligned.row.m8n8k4.f64",
    "wmma.mma.and.popc.sync.aligned.row.col.m8n8k128.s32.b1.b1.s32",
    "wmma.mma.sync.aligned.col.col.m16n16k16.f16.f16",
    "wmma.mma.sync.aligned.col.row.m16n16k16.s32.u8.u8.s32",
    "wmma.mma.sync.aligned.col.row.m16n16k16.s32.u8.u8.s32.satfinite",
    "wmma.mma.sync.aligned.row.col.m16n16k16.f32.f16",
    "wmma.mma.sync.aligned.row.col.m16n16k16.f32.f32",
    "wmma.mma.sync.aligned.row.col.m16n16k16.s32.s8.s8.s32",
    "wmma.mma.sync.aligned.row.col.m16n16k16.s32.s8.s8.s32.satfinite",
    "wmma.mma.sync.aligned.row.col.m16n16k8.f32.tf32.tf32.f32",
    "wmma.mma.sync.aligned.row.col.m32n8k16.s32.u8.u8.s32.satfinite",
    "wmma.mma.sync.aligned.row.col.m8n32k16.f32.bf16.bf16.f32",
    "wmma.mma.sync.aligned.row.col.m8n8k4.f64.f64.f64.f64.rn",
    "wmma.mma.sync.aligned.row.row.m32n8k16.f32.f32",
    "wmma.store.d.sync.aligned.col.m16n16k16.f16",
    "wmma.store.d.sync.aligned.col.m16n16k16.f32",
    "wmma.store.d.sync.aligned.col.m16n16k16.s32",
    "wmma.store.d.sync.aligned.col.m16n16k8.f32",
    "wmma.store.d.sync.aligned.col.m32n8k16.f32",
    "wmma.store.d.sync.aligned.col.m8n32k16.f32",
    "wmma.store.d.sync.aligned.col.m8n8k4.f64",
    "wmma.store.d.sync.aligned.row.m16n16k16.f16",
    "wmma.store.d.sync.aligned.row.m16n16k16.f32",
    "wmma.store.d.sync.aligned.row.m16n16k16.global.f16",
    "wmma.store.d.sync.aligned.row.m16n16k16.global.f32",
    "wmma.store.d.sync.aligned.row.m16n16k16.global.s32",
    "wmma.store.d.sync.aligned.row.m16n16k16.s32",
    "wmma.store.d.sync.aligned.row.m16n16k8.f32",
    "wmma.store.d.sync.aligned.row.m32n8k16.f32",
    "wmma.store.d.sync.aligned.row.m32n8k16.global.f32",
    "wmma.store.d.sync.aligned.row.m8n32k16.f32",
    "wmma.store.d.sync.aligned.row.m8n32k16.global.f32",
    "wmma.store.d.sync.aligned.row.m8n8k128.s32",
    "wmma.store.d.sync.aligned.row.m8n8k4.f64",
];

/// What `ptxas` refuses too.
const WRONG: &[&str] = &[
    "bar.sync.aligned",
    "bar.warp.sync.aligned",
    "barrier.cluster.arrive.acquire",
    "barrier.cluster.wait.relaxed",
    "membar.cluster",
    "fence.release.sync_restrict::shared::cluster.cluster",
    "fence.mbarrier_init.release.cta",
    "fence.proxy.async.shared",
    "fence.proxy.alias.acquire.gpu",
    "vote.all.pred",
    "shfl.idx.b32",
    "redux.sync.add.b32",
    "mbarrier.arrive.relaxed.shared::cta.b64",
    "mbarrier.arrive.cluster.shared::cta.b64",
    "mbarrier.arrive.noComplete.relaxed.cta.b64",
    "mbarrier.arrive.expect_tx.noComplete.b64",
    "mbarrier.init.shared::cluster.b64",
    "mbarrier.try_wait.shared::cluster.b64",
    "mbarrier.pending_count.shared.b64",
    "cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes.multicast::cluster",
    "cp.async.bulk.relaxed.gpu.global.shared::cta.bulk_group",
    "cp.async.bulk.tensor.2d.global.shared::cta.im2col_no_offs.bulk_group",
    "cp.async.bulk.tensor.3d.shared::cluster.global.tile::gather4.mbarrier::complete_tx::bytes",
    "tensormap.replace.tile.global_address.shared.b1024.b64",
    "tensormap.replace.tile.global_stride.b1024.b32",
    "mma.sync.aligned.m16n8k16.col.row.f32.bf16.bf16.f32",
    "mma.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32",
    "mma.sync.aligned.m16n8k16.row.col.bf16.f32.f32.bf16",
    "wgmma.mma_async.sync.aligned.m64n8k32.e4m3.f32.e5m2",
    "cp.async.ca.global.shared",
    "cp.async.bulk.shared::cta.global.bulk_group",
    "wmma.mma.sync.aligned.row.col.m16n16k16.s32.s8.u4.s32",
    "ldmatrix.sync.aligned.m8n8.x8.shared.b16",
    "stmatrix.sync.aligned.m16n8.x1.shared.b8",
    "wgmma.mma_async.sync.aligned.m64n12k16.f32.f16.f16",
    "wgmma.mma_async.sync.aligned.m64n264k16.f32.f16.f16",
    "wgmma.mma_async.sync.aligned.m64n40k32.s32.s8.s8",
    "wgmma.mma_async.sync.aligned.m64n64k16.f16.bf16.bf16",
    "tcgen05.ld.sync.aligned.16x256b.x64.b32",
    "tcgen05.cp.cta_group::1.32x128b",
    "tcgen05.mma.ws.cta_group::2.kind::f16",
];

#[test]
fn forms_take_what_is_written() {
    let missing: Vec<_> = SPELLINGS.iter().filter(|opcode| forms(opcode).is_empty()).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn forms_refuse_what_ptxas_refuses() {
    let taken: Vec<_> = WRONG.iter().filter(|opcode| !forms(opcode).is_empty()).collect();
    assert!(taken.is_empty(), "{taken:#?}");
}

#[test]
fn the_order_of_different_modifiers_is_free() {
    for (written, canonical) in [
        ("ldmatrix.aligned.sync.x4.m8n8.shared.b16.trans", "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16"),
        ("fence.sys.sc", "fence.sc.sys"),
        ("shfl.sync.b32.bfly", "shfl.sync.bfly.b32"),
        (
            "mbarrier.try_wait.b64.shared::cta.cluster.acquire",
            "mbarrier.try_wait.acquire.cluster.shared::cta.b64",
        ),
        ("cp.async.bulk.bulk_group.global.shared::cta", "cp.async.bulk.global.shared::cta.bulk_group"),
    ] {
        let (form, words) = forms(written).remove(0);
        let spelled = words.iter().fold(form.name.to_owned(), |spelled, word| spelled + &word.to_string());
        assert_eq!(spelled, canonical);
    }
}

#[test]
fn aliases_lead_to_the_row() {
    for (alias, name) in [("bar.cta.sync", "bar.sync"), ("membar.proxy.alias", "fence.proxy.alias")] {
        assert_eq!(find_row(alias).map(|(row, rest)| (row.name, rest)), Some((name, "")));
    }
    assert_eq!(
        find_row("barrier.cta.red.popc.u32").map(|(row, rest)| (row.name, rest)),
        Some(("barrier.red", ".popc.u32"))
    );
}

#[test]
fn shape_ranges_hold_every_step() {
    let shapes = |text: &str| {
        let row = rows().iter().find(|row| row.name == "wgmma.mma_async").expect("a row");
        let form = row.forms.iter().find(|form| form.text.contains(text)).expect("a form");
        form.slots.iter().find(|slot| slot.name == "shape").expect("a slot").choices.len()
    };
    assert_eq!(shapes("f16.f16"), 32);
    assert_eq!(shapes("satfinite"), 18);
    assert_eq!(shapes("b1.b1"), 18);
}

/// An instruction of the first form that takes the modifiers and the operands.
fn instruction(opcode: &str, operands: Vec<Operand>) -> Option<Instruction> {
    let (form, modifiers) = forms(opcode).into_iter().find(|(form, words)| form.fits(words, &operands))?;
    Some(Instruction {
        form,
        modifiers: Arc::from(modifiers),
        operands,
        guard: None,
        position: Position::default(),
    })
}

/// The first rule that the instruction breaks.
fn broken(instruction: &Instruction) -> Option<&'static str> {
    instruction.form.rules.iter().find(|rule| !(rule.holds)(instruction)).map(|rule| rule.text)
}

#[test]
fn rules_name_what_is_wrong() {
    let literal = |value| Operand::Immediate(Immediate::int(value));
    let register = |index| Operand::Register(Register(index));
    let pair = |d, p| Operand::Pair(Box::new([d, p]));
    let cases = [
        ("bar.sync", vec![literal(15), literal(64)], None),
        ("bar.sync", vec![literal(16)], Some("a CTA has the barriers 0 to 15")),
        ("bar.sync", vec![register(0), literal(33)], Some("the number of threads must be a multiple of 32")),
        (
            "bar.arrive",
            vec![literal(1), literal(0)],
            Some("the number of threads must be a multiple of 32, not 0"),
        ),
        ("elect.sync", vec![pair(Operand::Sink, register(1)), literal(-1)], None),
        (
            "elect.sync",
            vec![register(0), literal(-1)],
            Some("elect.sync writes a lane, or _, and a predicate: d|p"),
        ),
        (
            "shfl.sync.idx.b32",
            vec![pair(Operand::Sink, register(1)), register(2), literal(0), literal(31), literal(-1)],
            Some("the value of a shuffle cannot be discarded"),
        ),
    ];
    for (opcode, operands, expected) in cases {
        let instruction = instruction(opcode, operands).unwrap_or_else(|| panic!("{opcode}"));
        assert_eq!(broken(&instruction), expected, "{opcode}");
    }
}

#[test]
fn operands_choose_the_form() {
    let register = |index| Operand::Register(Register(index));
    let literal = |value| Operand::Immediate(Immediate::int(value));
    let vector = |count| Operand::Vector((0..count).map(register).collect());
    let tail = [register(9), literal(1), literal(1), literal(1)];
    let opcode = "wgmma.mma_async.sync.aligned.m64n8k8.f32.tf32.tf32";
    let with = |a: Operand| {
        let operands = [vec![vector(4), a, register(8)], tail[..3].to_vec()].concat();
        instruction(opcode, operands)
    };
    let in_memory = with(register(7)).expect("a descriptor");
    let in_registers = with(vector(4)).expect("a fragment");
    assert!(in_memory.operand("a_desc").is_some() && in_memory.operand("a").is_none());
    assert!(in_registers.operand("a").is_some() && in_registers.operand("a_desc").is_none());
    assert!(instruction("movmatrix.sync.aligned.m8n8.trans.b16", vec![register(0), literal(1)]).is_none());
}

#[test]
fn modifiers_bring_their_own_requirements() {
    let allows = |opcode: &str, target: &str| {
        let target = Target::from_name(target).expect("a target");
        forms(opcode).iter().any(|(form, words)| form.requirements(words).all(|since| since.allows(target)))
    };
    let copy = "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes";
    assert!(allows(copy, "sm_90") && allows(copy, "sm_120"));
    let pair = format!("{copy}.cta_group::2");
    assert!(!allows(&pair, "sm_90a") && allows(&pair, "sm_103a") && !allows(&pair, "sm_120a"));
    let scaled = "tcgen05.mma.cta_group::1.kind::mxf4.block_scale.scale_vec::2X";
    assert!(allows(scaled, "sm_100a") && !allows(scaled, "sm_100f"));
    assert!(allows("wgmma.fence.sync.aligned", "sm_90a") && !allows("wgmma.fence.sync.aligned", "sm_100a"));
}
