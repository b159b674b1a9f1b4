//! Kernels of these tests, written by hand, with their contracts.

use crate::target;
use rorqual::driver::contract::{Access, Argument, Contract, Extent, Parameter, ParameterKind};
use rorqual::driver::{Device, ElementType, Kernel, Module};

/// `y[i] = alpha * x[i] + y[i]`, a thread an element.
pub const SAXPY: &str = "
    .version 7.0
    .target sm_80
    .address_size 64
    .visible .entry saxpy(.param .u64 x, .param .u64 y, .param .u32 count, .param .f32 alpha) {
        .reg .pred %p<2>; .reg .b32 %r<6>; .reg .b64 %rd<8>; .reg .f32 %f<5>;
        ld.param.u64 %rd1, [x];
        ld.param.u64 %rd2, [y];
        ld.param.u32 %r1, [count];
        ld.param.f32 %f1, [alpha];
        mov.u32 %r2, %ctaid.x;
        mov.u32 %r3, %ntid.x;
        mov.u32 %r4, %tid.x;
        mad.lo.s32 %r5, %r2, %r3, %r4;
        setp.ge.u32 %p1, %r5, %r1;
        @%p1 bra DONE;
        mul.wide.u32 %rd3, %r5, 4;
        add.s64 %rd4, %rd1, %rd3;
        add.s64 %rd5, %rd2, %rd3;
        ld.global.f32 %f2, [%rd4];
        ld.global.f32 %f3, [%rd5];
        fma.rn.f32 %f4, %f1, %f2, %f3;
        st.global.f32 [%rd5], %f4;
    DONE:
        ret;
    }";

/// Every thread writes its number to dynamic shared memory, and reads what stands at the mirrored place.
pub const REVERSE: &str = "
    .version 7.0
    .target sm_80
    .address_size 64
    .extern .shared .align 16 .b8 pool[];
    .visible .entry reverse(.param .u64 out, .param .u32 words) {
        .reg .b32 %r<9>; .reg .b64 %rd<4>;
        ld.param.u64 %rd1, [out];
        ld.param.u32 %r1, [words];
        mov.u32 %r2, %tid.x;
        mov.u32 %r3, pool;
        sub.s32 %r4, %r1, %r2;
        shl.b32 %r5, %r4, 2;
        add.s32 %r6, %r3, %r5;
        st.shared.u32 [%r6+-4], %r2;
        bar.sync 0;
        ld.shared.u32 %r7, [%r6+-4];
        mul.wide.u32 %rd2, %r2, 4;
        add.s64 %rd3, %rd1, %rd2;
        st.global.u32 [%rd3], %r7;
        ret;
    }";

/// Every CTA writes its rank in the cluster.
pub const RANKS: &str = "
    .version 8.0
    .target sm_90a
    .address_size 64
    .visible .entry ranks(.param .u64 out) {
        .reg .b32 %r<3>; .reg .b64 %rd<4>;
        ld.param.u64 %rd1, [out];
        mov.u32 %r1, %cluster_ctarank;
        mov.u32 %r2, %ctaid.x;
        mul.wide.u32 %rd2, %r2, 4;
        add.s64 %rd3, %rd1, %rd2;
        barrier.cluster.arrive.aligned;
        barrier.cluster.wait.aligned;
        st.global.u32 [%rd3], %r1;
        ret;
    }";

/// A thread loads the box of 4 rows of 8 f32 at (4, 1) through a tensor map and stores it, row after row.
pub const TILE: &str = "
    .version 8.0
    .target sm_90a
    .address_size 64
    .visible .entry tile(.param .align 64 .b8 map[128], .param .u64 out) {
        .reg .pred %p<3>; .reg .b32 %r<8>; .reg .b64 %rd<6>; .reg .f32 %f<2>;
        .shared .align 128 .b8 box[128];
        .shared .align 8 .b8 full[8];
        mov.b64 %rd1, map;
        cvta.param.u64 %rd2, %rd1;
        ld.param.u64 %rd3, [out];
        mov.u32 %r1, full;
        mov.u32 %r2, box;
        mbarrier.init.shared::cta.b64 [%r1], 1;
        fence.mbarrier_init.release.cluster;
        fence.proxy.async.shared::cta;
        mov.u32 %r3, 4;
        mov.u32 %r4, 1;
        mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 128;
        cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%rd2, {%r3, %r4}], [%r1];
    WAIT:
        mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r1], 0;
        @!%p1 bra WAIT;
        mov.u32 %r5, 0;
    COPY:
        add.s32 %r6, %r2, %r5;
        ld.shared.f32 %f1, [%r6];
        cvt.u64.u32 %rd4, %r5;
        add.s64 %rd5, %rd3, %rd4;
        st.global.f32 [%rd5], %f1;
        add.s32 %r5, %r5, 4;
        setp.lt.u32 %p2, %r5, 128;
        @%p2 bra COPY;
        ret;
    }";

pub fn pointer(name: &'static str, element: ElementType, access: Access) -> Parameter {
    parameter(name, ParameterKind::Pointer(element, access))
}

pub fn parameter(name: &'static str, kind: ParameterKind) -> Parameter {
    Parameter { name: name.into(), kind, doc: "".into() }
}

pub fn contract(kernel: &str, parameters: Vec<Parameter>, ctas: Extent, threads: u32) -> Contract {
    Contract {
        kernel: kernel.to_owned(),
        spec: String::new(),
        target: target("sm_80"),
        parameters,
        grid: [ctas, 1.into(), 1.into()],
        threads,
        cluster: None,
        shared_bytes: 0,
        dependent_launch: false,
    }
}

pub fn saxpy_contract() -> Contract {
    let parameters = vec![
        pointer("x", ElementType::F32, Access::In),
        pointer("y", ElementType::F32, Access::InOut),
        parameter("count", ParameterKind::U32),
        parameter("alpha", ParameterKind::F32),
    ];
    contract("saxpy", parameters, Extent::argument("count").ceil_divide(128), 128)
}

pub fn saxpy(device: &Device) -> Kernel {
    kernel(device, SAXPY, &saxpy_contract())
}

pub fn saxpy_arguments(x: u64, y: u64, count: usize, alpha: f32) -> [Argument; 4] {
    let count = u32::try_from(count).expect("a small count");
    [Argument::Address(x), Argument::Address(y), Argument::U32(count), Argument::F32(alpha)]
}

pub fn kernel(device: &Device, ptx: &str, contract: &Contract) -> Kernel {
    let module = Module::load(device, ptx).unwrap_or_else(|error| panic!("{device}: {error}"));
    assert_eq!(module.kernels().collect::<Vec<_>>(), [contract.kernel.as_str()]);
    module.kernel(contract).unwrap_or_else(|error| panic!("{device}: {error}"))
}
