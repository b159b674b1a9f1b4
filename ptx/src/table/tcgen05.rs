//! Tensor memory and the matrix instructions that use it (PTX ISA 9.4, 9.7.18).

use super::form::literal_is;
use crate::instruction::Instruction;
use crate::modifier::Modifier;

section! {
    /// Instructions of the fifth generation of tensor cores.
    Tcgen05, ExecTcgen05;

    /// Allocates columns of tensor memory, waiting until there are enough, and writes their address to shared
    /// memory.
    tcgen05_alloc = Tcgen05Alloc "tcgen05.alloc" "9.7.18.7.1" {
        "tcgen05.alloc.cta_group.sync.aligned{.shared::cta}.b32 [dst], columns:u32"
            since "8.6 sm_100f sm_110f"
            where "the columns must be a power of 2 from 32 to 512"
                  |i| literal_is(i, "columns", is_allocation);
        "tcgen05.alloc.exclusive.cta_group.sync.aligned{.shared::cta}.b32 [dst], columns:u32"
            since "9.4 sm_100f sm_110f"
            where "the columns must be a multiple of 32 from 32 to 576"
                  |i| literal_is(i, "columns", is_exclusive_allocation);
    }

    /// Frees columns of tensor memory.
    tcgen05_dealloc = Tcgen05Dealloc "tcgen05.dealloc" "9.7.18.7.1" {
        "tcgen05.dealloc.cta_group.sync.aligned.b32 taddr:u32, columns:u32" since "8.6 sm_100f sm_110f"
            where "the columns must be a power of 2 from 32 to 512"
                  |i| literal_is(i, "columns", is_allocation);
        "tcgen05.dealloc.exclusive.cta_group.sync.aligned.b32 taddr:u32, columns:u32"
            since "9.4 sm_100f sm_110f"
            where "the columns must be a multiple of 32 from 32 to 576"
                  |i| literal_is(i, "columns", is_exclusive_allocation);
    }

    /// Gives up the right of the CTA to allocate more tensor memory.
    tcgen05_relinquish_alloc_permit = Tcgen05RelinquishAllocPermit "tcgen05.relinquish_alloc_permit"
        "9.7.18.7.1" {
        "tcgen05.relinquish_alloc_permit.cta_group.sync.aligned" since "8.6 sm_100f sm_110f";
    }

    /// Starts a load from tensor memory into the registers of a warp.
    tcgen05_ld = Tcgen05Ld "tcgen05.ld" "9.7.18.8.3" {
        "tcgen05.ld.sync.aligned.shape.num{.pack::16b}.b32 r*frag=b32, [taddr] | shape = 16x64b 32x32b; \
         num = x1 x2 x4 x8 x16 x32 x64 x128" since "8.6 sm_100f sm_110f";
        "tcgen05.ld.sync.aligned.16x128b.num{.pack::16b}.b32 r*frag=b32, [taddr] | num = x1 x2 x4 x8 x16 x32 \
         x64" since "8.6 sm_100f sm_110f";
        "tcgen05.ld.sync.aligned.16x256b.num{.pack::16b}.b32 r*frag=b32, [taddr] | num = x1 x2 x4 x8 x16 x32"
            since "8.6 sm_100f sm_110f";
        "tcgen05.ld.sync.aligned.16x32bx2.num{.pack::16b}.b32 r*frag=b32, [taddr], offset:imm | num = x1 x2 \
         x4 x8 x16 x32 x64 x128" since "8.6 sm_100f sm_110f";
    }

    /// [`tcgen05.ld`](Tcgen05::Tcgen05Ld) that also reduces what each lane loads.
    tcgen05_ld_red = Tcgen05LdRed "tcgen05.ld.red" "9.7.18.8.3" {
        "tcgen05.ld.red.sync.aligned.32x32b.num.op{.abs}{.NaN}.f32 r*frag=f32, red=f32, [taddr] | num = x2 \
         x4 x8 x16 x32 x64 x128; op = min max" since "8.6 sm_101a sm_103f sm_110f";
        "tcgen05.ld.red.sync.aligned.16x32bx2.num.op{.abs}{.NaN}.f32 r*frag=f32, red=f32, [taddr], \
         offset:imm | num = x2 x4 x8 x16 x32 x64 x128; op = min max" since "8.6 sm_101a sm_103f sm_110f";
        "tcgen05.ld.red.sync.aligned.32x32b.num.op.type r*frag=b32, red=type, [taddr] | num = x2 x4 x8 x16 \
         x32 x64 x128; op = min max; type = u32 s32" since "8.6 sm_101a sm_103f sm_110f";
        "tcgen05.ld.red.sync.aligned.16x32bx2.num.op.type r*frag=b32, red=type, [taddr], offset:imm \
         | num = x2 x4 x8 x16 x32 x64 x128; op = min max; type = u32 s32" since "8.6 sm_101a sm_103f sm_110f";
    }

    /// Starts a store of the registers of a warp to tensor memory.
    tcgen05_st = Tcgen05St "tcgen05.st" "9.7.18.8.4" {
        "tcgen05.st.sync.aligned.shape.num{.unpack::16b}.b32 [taddr], r*frag:b32 | shape = 16x64b 32x32b; \
         num = x1 x2 x4 x8 x16 x32 x64 x128" since "8.6 sm_100f sm_110f";
        "tcgen05.st.sync.aligned.16x128b.num{.unpack::16b}.b32 [taddr], r*frag:b32 | num = x1 x2 x4 x8 x16 \
         x32 x64" since "8.6 sm_100f sm_110f";
        "tcgen05.st.sync.aligned.16x256b.num{.unpack::16b}.b32 [taddr], r*frag:b32 | num = x1 x2 x4 x8 x16 \
         x32" since "8.6 sm_100f sm_110f";
        "tcgen05.st.sync.aligned.16x32bx2.num{.unpack::16b}.b32 [taddr], offset:imm, r*frag:b32 | num = x1 \
         x2 x4 x8 x16 x32 x64 x128" since "8.6 sm_100f sm_110f";
    }

    /// Waits for the thread's loads from tensor memory.
    tcgen05_wait_ld = Tcgen05WaitLd "tcgen05.wait::ld" "9.7.18.8.5" {
        "tcgen05.wait::ld.sync.aligned" since "8.6 sm_100f sm_110f";
    }

    /// Waits for the thread's stores to tensor memory.
    tcgen05_wait_st = Tcgen05WaitSt "tcgen05.wait::st" "9.7.18.8.5" {
        "tcgen05.wait::st.sync.aligned" since "8.6 sm_100f sm_110f";
    }

    /// Starts a copy from shared to tensor memory.
    tcgen05_cp = Tcgen05Cp "tcgen05.cp" "9.7.18.9.2" {
        "tcgen05.cp.cta_group.shape{.b8x16.from} [taddr], s_desc:u64 | shape = 128x256b 4x256b 128x128b; \
         from = b6x16_p32 b4x16_p64" since "8.6 sm_100f sm_110f";
        "tcgen05.cp.cta_group.64x128b.multicast{.b8x16.from} [taddr], s_desc:u64 | multicast = warpx2::02_13 \
         warpx2::01_23; from = b6x16_p32 b4x16_p64" since "8.6 sm_100f sm_110f";
        "tcgen05.cp.cta_group.32x128b.warpx4{.b8x16.from} [taddr], s_desc:u64 | from = b6x16_p32 b4x16_p64"
            since "8.6 sm_100f sm_110f";
    }

    /// Starts moving the rows of a matrix in tensor memory down by one.
    tcgen05_shift = Tcgen05Shift "tcgen05.shift" "9.7.18.9.3" {
        "tcgen05.shift.cta_group.down [taddr]" since "8.6 sm_100a sm_101a sm_103a sm_107a sm_110a";
    }

    /// Starts D = A * B + D (D = A * B if `enable_d` is false) with D in tensor memory; one thread starts all
    /// of it.
    tcgen05_mma = Tcgen05Mma "tcgen05.mma" "9.7.18.10.10.1" {
        "tcgen05.mma.cta_group.kind{.collector} [d], a_desc:u64, b_desc:u64, idesc:u32, enable_d:pred \
         | kind = kind::f16 kind::tf32 kind::f8f6f4" since "8.6 sm_100f sm_110f";
        "tcgen05.mma.cta_group::1.kind{.collector} [d], a_desc:u64, b_desc:u64, idesc:u32, lanes*4:u32, \
         enable_d:pred | kind = kind::f16 kind::tf32 kind::f8f6f4" since "8.6 sm_100f sm_110f";
        "tcgen05.mma.cta_group::2.kind{.collector} [d], a_desc:u64, b_desc:u64, idesc:u32, lanes*8:u32, \
         enable_d:pred | kind = kind::f16 kind::tf32 kind::f8f6f4" since "8.6 sm_100f sm_110f";
        "tcgen05.mma.cta_group.kind{.ashift}{.collector} [d], [a], b_desc:u64, idesc:u32, enable_d:pred \
         | kind = kind::f16 kind::tf32 kind::f8f6f4" since "8.6 sm_100f sm_110f"
            where ".ashift goes with collector::a::lastuse and collector::a::discard only" shifts_unkept;
        "tcgen05.mma.cta_group::1.kind{.ashift}{.collector} [d], [a], b_desc:u64, idesc:u32, lanes*4:u32, \
         enable_d:pred | kind = kind::f16 kind::tf32 kind::f8f6f4" since "8.6 sm_100f sm_110f"
            where ".ashift goes with collector::a::lastuse and collector::a::discard only" shifts_unkept;
        "tcgen05.mma.cta_group::2.kind{.ashift}{.collector} [d], [a], b_desc:u64, idesc:u32, lanes*8:u32, \
         enable_d:pred | kind = kind::f16 kind::tf32 kind::f8f6f4" since "8.6 sm_100f sm_110f"
            where ".ashift goes with collector::a::lastuse and collector::a::discard only" shifts_unkept;
        "tcgen05.mma.cta_group.kind{.collector} [d], a_desc:u64, b_desc:u64, idesc:u32, enable_d:pred, \
         scale_d:imm(0..15) | kind = kind::f16 kind::tf32" since "8.6 sm_100f";
        "tcgen05.mma.cta_group::1.kind{.collector} [d], a_desc:u64, b_desc:u64, idesc:u32, lanes*4:u32, \
         enable_d:pred, scale_d:imm(0..15) | kind = kind::f16 kind::tf32" since "8.6 sm_100f";
        "tcgen05.mma.cta_group::2.kind{.collector} [d], a_desc:u64, b_desc:u64, idesc:u32, lanes*8:u32, \
         enable_d:pred, scale_d:imm(0..15) | kind = kind::f16 kind::tf32" since "8.6 sm_100f";
        "tcgen05.mma.cta_group.kind{.ashift}{.collector} [d], [a], b_desc:u64, idesc:u32, enable_d:pred, \
         scale_d:imm(0..15) | kind = kind::f16 kind::tf32" since "8.6 sm_100f"
            where ".ashift goes with collector::a::lastuse and collector::a::discard only" shifts_unkept;
        "tcgen05.mma.cta_group::1.kind{.ashift}{.collector} [d], [a], b_desc:u64, idesc:u32, lanes*4:u32, \
         enable_d:pred, scale_d:imm(0..15) | kind = kind::f16 kind::tf32" since "8.6 sm_100f"
            where ".ashift goes with collector::a::lastuse and collector::a::discard only" shifts_unkept;
        "tcgen05.mma.cta_group::2.kind{.ashift}{.collector} [d], [a], b_desc:u64, idesc:u32, lanes*8:u32, \
         enable_d:pred, scale_d:imm(0..15) | kind = kind::f16 kind::tf32" since "8.6 sm_100f"
            where ".ashift goes with collector::a::lastuse and collector::a::discard only" shifts_unkept;
        "tcgen05.mma.cta_group.kind.block_scale{.scale_size}{.collector} [d], a_desc:u64, b_desc:u64, \
         idesc:u32, [scale_a], [scale_b], enable_d:pred | kind = kind::mxf8f6f4 kind::mxf4 \
         kind::mxf4nvf4@8.7" since "8.6 sm_100f sm_110f"
            where "kind::mxf8f6f4 takes scale_vec::1X or block32, kind::mxf4 scale_vec::2X or block32, \
                   kind::mxf4nvf4 needs scale_vec::2X, scale_vec::4X, block16 or block32" scales_blocks;
        "tcgen05.mma.cta_group.kind.block_scale{.scale_size}{.collector} [d], [a], b_desc:u64, idesc:u32, \
         [scale_a], [scale_b], enable_d:pred | kind = kind::mxf8f6f4 kind::mxf4 kind::mxf4nvf4@8.7"
            since "8.6 sm_100f sm_110f"
            where "kind::mxf8f6f4 takes scale_vec::1X or block32, kind::mxf4 scale_vec::2X or block32, \
                   kind::mxf4nvf4 needs scale_vec::2X, scale_vec::4X, block16 or block32" scales_blocks;
        "tcgen05.mma.cta_group.kind::i8{.collector} [d], a_desc:u64, b_desc:u64, idesc:u32, enable_d:pred"
            since "8.6 sm_100a sm_101a sm_110a";
        "tcgen05.mma.cta_group::1.kind::i8{.collector} [d], a_desc:u64, b_desc:u64, idesc:u32, lanes*4:u32, \
         enable_d:pred" since "8.6 sm_100a sm_101a sm_110a";
        "tcgen05.mma.cta_group::2.kind::i8{.collector} [d], a_desc:u64, b_desc:u64, idesc:u32, lanes*8:u32, \
         enable_d:pred" since "8.6 sm_100a sm_101a sm_110a";
        "tcgen05.mma.cta_group.kind::i8{.ashift}{.collector} [d], [a], b_desc:u64, idesc:u32, enable_d:pred"
            since "8.6 sm_100a sm_101a sm_110a"
            where ".ashift goes with collector::a::lastuse and collector::a::discard only" shifts_unkept;
        "tcgen05.mma.cta_group::1.kind::i8{.ashift}{.collector} [d], [a], b_desc:u64, idesc:u32, \
         lanes*4:u32, enable_d:pred" since "8.6 sm_100a sm_101a sm_110a"
            where ".ashift goes with collector::a::lastuse and collector::a::discard only" shifts_unkept;
        "tcgen05.mma.cta_group::2.kind::i8{.ashift}{.collector} [d], [a], b_desc:u64, idesc:u32, \
         lanes*8:u32, enable_d:pred" since "8.6 sm_100a sm_101a sm_110a"
            where ".ashift goes with collector::a::lastuse and collector::a::discard only" shifts_unkept;
    }

    /// [`tcgen05.mma`](Tcgen05::Tcgen05Mma) with sparse A.
    tcgen05_mma_sp = Tcgen05MmaSp "tcgen05.mma.sp" "9.7.18.10.10.2" {
        "tcgen05.mma.sp.cta_group.kind{.collector} [d], a_desc:u64, b_desc:u64, [meta], idesc:u32, \
         enable_d:pred | kind = kind::f16 kind::tf32 kind::f8f6f4" since "8.6 sm_100f sm_110f";
        "tcgen05.mma.sp.cta_group::1.kind{.collector} [d], a_desc:u64, b_desc:u64, [meta], idesc:u32, \
         lanes*4:u32, enable_d:pred | kind = kind::f16 kind::tf32 kind::f8f6f4" since "8.6 sm_100f sm_110f";
        "tcgen05.mma.sp.cta_group::2.kind{.collector} [d], a_desc:u64, b_desc:u64, [meta], idesc:u32, \
         lanes*8:u32, enable_d:pred | kind = kind::f16 kind::tf32 kind::f8f6f4" since "8.6 sm_100f sm_110f";
        "tcgen05.mma.sp.cta_group.kind{.ashift}{.collector} [d], [a], b_desc:u64, [meta], idesc:u32, \
         enable_d:pred | kind = kind::f16 kind::tf32 kind::f8f6f4" since "8.6 sm_100f sm_110f"
            where ".ashift goes with collector::a::lastuse and collector::a::discard only" shifts_unkept;
        "tcgen05.mma.sp.cta_group::1.kind{.ashift}{.collector} [d], [a], b_desc:u64, [meta], idesc:u32, \
         lanes*4:u32, enable_d:pred | kind = kind::f16 kind::tf32 kind::f8f6f4" since "8.6 sm_100f sm_110f"
            where ".ashift goes with collector::a::lastuse and collector::a::discard only" shifts_unkept;
        "tcgen05.mma.sp.cta_group::2.kind{.ashift}{.collector} [d], [a], b_desc:u64, [meta], idesc:u32, \
         lanes*8:u32, enable_d:pred | kind = kind::f16 kind::tf32 kind::f8f6f4" since "8.6 sm_100f sm_110f"
            where ".ashift goes with collector::a::lastuse and collector::a::discard only" shifts_unkept;
        "tcgen05.mma.sp.cta_group.kind{.collector} [d], a_desc:u64, b_desc:u64, [meta], idesc:u32, \
         enable_d:pred, scale_d:imm(0..15) | kind = kind::f16 kind::tf32" since "8.6 sm_100f";
        "tcgen05.mma.sp.cta_group::1.kind{.collector} [d], a_desc:u64, b_desc:u64, [meta], idesc:u32, \
         lanes*4:u32, enable_d:pred, scale_d:imm(0..15) | kind = kind::f16 kind::tf32" since "8.6 sm_100f";
        "tcgen05.mma.sp.cta_group::2.kind{.collector} [d], a_desc:u64, b_desc:u64, [meta], idesc:u32, \
         lanes*8:u32, enable_d:pred, scale_d:imm(0..15) | kind = kind::f16 kind::tf32" since "8.6 sm_100f";
        "tcgen05.mma.sp.cta_group.kind{.ashift}{.collector} [d], [a], b_desc:u64, [meta], idesc:u32, \
         enable_d:pred, scale_d:imm(0..15) | kind = kind::f16 kind::tf32" since "8.6 sm_100f"
            where ".ashift goes with collector::a::lastuse and collector::a::discard only" shifts_unkept;
        "tcgen05.mma.sp.cta_group::1.kind{.ashift}{.collector} [d], [a], b_desc:u64, [meta], idesc:u32, \
         lanes*4:u32, enable_d:pred, scale_d:imm(0..15) | kind = kind::f16 kind::tf32" since "8.6 sm_100f"
            where ".ashift goes with collector::a::lastuse and collector::a::discard only" shifts_unkept;
        "tcgen05.mma.sp.cta_group::2.kind{.ashift}{.collector} [d], [a], b_desc:u64, [meta], idesc:u32, \
         lanes*8:u32, enable_d:pred, scale_d:imm(0..15) | kind = kind::f16 kind::tf32" since "8.6 sm_100f"
            where ".ashift goes with collector::a::lastuse and collector::a::discard only" shifts_unkept;
        "tcgen05.mma.sp.cta_group.kind.block_scale{.scale_size}{.collector} [d], a_desc:u64, b_desc:u64, \
         [meta], idesc:u32, [scale_a], [scale_b], enable_d:pred | kind = kind::mxf8f6f4 \
         kind::mxf4@8.6/sm_100a,sm_101a,sm_103a,sm_107a,sm_110a \
         kind::mxf4nvf4@8.7/sm_100a,sm_101a,sm_103a,sm_107a,sm_110a" since "8.6 sm_100f sm_110f"
            where "kind::mxf8f6f4 takes scale_vec::1X or block32, kind::mxf4 scale_vec::2X or block32, \
                   kind::mxf4nvf4 needs scale_vec::2X, scale_vec::4X, block16 or block32" scales_blocks;
        "tcgen05.mma.sp.cta_group.kind.block_scale{.scale_size}{.collector} [d], [a], b_desc:u64, [meta], \
         idesc:u32, [scale_a], [scale_b], enable_d:pred | kind = kind::mxf8f6f4 \
         kind::mxf4@8.6/sm_100a,sm_101a,sm_103a,sm_107a,sm_110a \
         kind::mxf4nvf4@8.7/sm_100a,sm_101a,sm_103a,sm_107a,sm_110a" since "8.6 sm_100f sm_110f"
            where "kind::mxf8f6f4 takes scale_vec::1X or block32, kind::mxf4 scale_vec::2X or block32, \
                   kind::mxf4nvf4 needs scale_vec::2X, scale_vec::4X, block16 or block32" scales_blocks;
        "tcgen05.mma.sp.cta_group.kind::i8{.collector} [d], a_desc:u64, b_desc:u64, [meta], idesc:u32, \
         enable_d:pred" since "8.6 sm_100a sm_101a sm_110a";
        "tcgen05.mma.sp.cta_group::1.kind::i8{.collector} [d], a_desc:u64, b_desc:u64, [meta], idesc:u32, \
         lanes*4:u32, enable_d:pred" since "8.6 sm_100a sm_101a sm_110a";
        "tcgen05.mma.sp.cta_group::2.kind::i8{.collector} [d], a_desc:u64, b_desc:u64, [meta], idesc:u32, \
         lanes*8:u32, enable_d:pred" since "8.6 sm_100a sm_101a sm_110a";
        "tcgen05.mma.sp.cta_group.kind::i8{.ashift}{.collector} [d], [a], b_desc:u64, [meta], idesc:u32, \
         enable_d:pred" since "8.6 sm_100a sm_101a sm_110a"
            where ".ashift goes with collector::a::lastuse and collector::a::discard only" shifts_unkept;
        "tcgen05.mma.sp.cta_group::1.kind::i8{.ashift}{.collector} [d], [a], b_desc:u64, [meta], idesc:u32, \
         lanes*4:u32, enable_d:pred" since "8.6 sm_100a sm_101a sm_110a"
            where ".ashift goes with collector::a::lastuse and collector::a::discard only" shifts_unkept;
        "tcgen05.mma.sp.cta_group::2.kind::i8{.ashift}{.collector} [d], [a], b_desc:u64, [meta], idesc:u32, \
         lanes*8:u32, enable_d:pred" since "8.6 sm_100a sm_101a sm_110a"
            where ".ashift goes with collector::a::lastuse and collector::a::discard only" shifts_unkept;
    }

    /// [`tcgen05.mma`](Tcgen05::Tcgen05Mma) that keeps B, the weights, in a buffer.
    tcgen05_mma_ws = Tcgen05MmaWs "tcgen05.mma.ws" "9.7.18.10.10.3" {
        "tcgen05.mma.ws.cta_group::1.kind{.collector_b} [d], a_desc:u64, b_desc:u64, idesc:u32, \
         enable_d:pred, zero_mask?:u64 | kind = kind::f16 kind::tf32 kind::f8f6f4" since "8.6 sm_100f sm_110f";
        "tcgen05.mma.ws.cta_group::1.kind{.collector_b} [d], [a], b_desc:u64, idesc:u32, enable_d:pred, \
         zero_mask?:u64 | kind = kind::f16 kind::tf32 kind::f8f6f4" since "8.6 sm_100f sm_110f";
        "tcgen05.mma.ws.cta_group::1.kind::i8{.collector_b} [d], a_desc:u64, b_desc:u64, idesc:u32, \
         enable_d:pred, zero_mask?:u64" since "8.6 sm_100a sm_101a sm_110a";
        "tcgen05.mma.ws.cta_group::1.kind::i8{.collector_b} [d], [a], b_desc:u64, idesc:u32, enable_d:pred, \
         zero_mask?:u64" since "8.6 sm_100a sm_101a sm_110a";
    }

    /// [`tcgen05.mma.ws`](Tcgen05::Tcgen05MmaWs) with sparse A.
    tcgen05_mma_ws_sp = Tcgen05MmaWsSp "tcgen05.mma.ws.sp" "9.7.18.10.10.4" {
        "tcgen05.mma.ws.sp.cta_group::1.kind{.collector_b} [d], a_desc:u64, b_desc:u64, [meta], idesc:u32, \
         enable_d:pred, zero_mask?:u64 | kind = kind::f16 kind::tf32 kind::f8f6f4" since "8.6 sm_100f sm_110f";
        "tcgen05.mma.ws.sp.cta_group::1.kind{.collector_b} [d], [a], b_desc:u64, [meta], idesc:u32, \
         enable_d:pred, zero_mask?:u64 | kind = kind::f16 kind::tf32 kind::f8f6f4" since "8.6 sm_100f sm_110f";
        "tcgen05.mma.ws.sp.cta_group::1.kind::i8{.collector_b} [d], a_desc:u64, b_desc:u64, [meta], \
         idesc:u32, enable_d:pred, zero_mask?:u64" since "8.6 sm_100a sm_101a sm_110a";
        "tcgen05.mma.ws.sp.cta_group::1.kind::i8{.collector_b} [d], [a], b_desc:u64, [meta], idesc:u32, \
         enable_d:pred, zero_mask?:u64" since "8.6 sm_100a sm_101a sm_110a";
    }

    /// Orders the thread's tensor core operations before the synchronisation of threads that follows.
    tcgen05_fence_before_thread_sync = Tcgen05FenceBeforeThreadSync "tcgen05.fence::before_thread_sync"
        "9.7.18.11.1" {
        "tcgen05.fence::before_thread_sync" since "8.6 sm_100f sm_110f";
    }

    /// Orders the thread's tensor core operations after the synchronisation of threads before.
    tcgen05_fence_after_thread_sync = Tcgen05FenceAfterThreadSync "tcgen05.fence::after_thread_sync"
        "9.7.18.11.1" {
        "tcgen05.fence::after_thread_sync" since "8.6 sm_100f sm_110f";
    }

    /// Arrives at an mbarrier when the thread's tensor core operations so far are complete.
    tcgen05_commit = Tcgen05Commit "tcgen05.commit" "9.7.18.12.1" {
        "tcgen05.commit.cta_group.mbarrier::arrive::one{.shared::cluster}{.multicast::cluster}.b64 [mbar], \
         mask?multicast::cluster:u16" since "8.6 sm_100f sm_110f";
    }
}

fn is_allocation(columns: i64) -> bool {
    (32..=512).contains(&columns) && columns & (columns - 1) == 0
}

fn is_exclusive_allocation(columns: i64) -> bool {
    (32..=576).contains(&columns) && columns % 32 == 0
}

fn shifts_unkept(instruction: &Instruction) -> bool {
    let kept = [Modifier::CollectorAFill, Modifier::CollectorAUse].iter().any(|word| instruction.has(*word));
    !(instruction.has(Modifier::Ashift) && kept)
}

/// Whether the number of scales a row or the block size is one that the kind has.
fn scales_blocks(instruction: &Instruction) -> bool {
    let kind = |modifier| instruction.has(modifier);
    let size = instruction.find(|modifier| {
        matches!(
            modifier,
            Modifier::ScaleVec1X
                | Modifier::ScaleVec2X
                | Modifier::ScaleVec4X
                | Modifier::Block16
                | Modifier::Block32
        )
        .then_some(modifier)
    });
    match size {
        None => !kind(Modifier::KindMxf4nvf4),
        Some(Modifier::ScaleVec1X) => kind(Modifier::KindMxf8f6f4),
        Some(Modifier::ScaleVec2X) => !kind(Modifier::KindMxf8f6f4),
        Some(Modifier::Block32) => true,
        Some(_) => kind(Modifier::KindMxf4nvf4),
    }
}
