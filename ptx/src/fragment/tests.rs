//! Numbers of registers against the figures of the manual.

use super::*;
use crate::table::find_row;

/// Registers of an operand of an instruction as written.
fn of(opcode: &str, operand: &str) -> Option<(u16, Type)> {
    let (row, rest) = find_row(opcode).expect("a row");
    let words: Option<Vec<_>> = rest.split('.').skip(1).map(Modifier::from_name).collect();
    let words = words.expect("modifiers");
    let ordered = row.forms.iter().find_map(|form| form.order_modifiers(&words));
    registers(row.opcode, &ordered.expect("a form"), operand)
}

/// Registers of A, B and of C or D: number and type.
type Figures = [(u16, Type); 3];

#[test]
fn mma_fragments_are_those_of_the_manual() {
    use Type::{B32, F16x2, F32, F64, S32};
    let figures: &[(&str, Figures)] = &[
        ("mma.sync.aligned.m8n8k4.row.col.f16.f16.f16.f16", [(2, F16x2), (2, F16x2), (4, F16x2)]),
        ("mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32", [(2, F16x2), (2, F16x2), (8, F32)]),
        ("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64", [(1, F64), (1, F64), (2, F64)]),
        ("mma.sync.aligned.m8n8k16.row.col.s32.s8.u8.s32", [(1, B32), (1, B32), (2, S32)]),
        ("mma.sync.aligned.m8n8k32.row.col.s32.s4.u4.s32", [(1, B32), (1, B32), (2, S32)]),
        ("mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32.xor.popc", [(1, B32), (1, B32), (2, S32)]),
        ("mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32", [(2, B32), (1, B32), (4, F32)]),
        ("mma.sync.aligned.m16n8k4.row.col.f64.f64.f64.f64", [(2, F64), (1, F64), (4, F64)]),
        ("mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16", [(2, F16x2), (1, F16x2), (2, F16x2)]),
        ("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32", [(2, B32), (1, B32), (4, F32)]),
        ("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", [(4, B32), (2, B32), (4, F32)]),
        ("mma.sync.aligned.m16n8k8.row.col.f64.f64.f64.f64", [(4, F64), (2, F64), (4, F64)]),
        ("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", [(4, F16x2), (2, F16x2), (4, F32)]),
        ("mma.sync.aligned.m16n8k16.row.col.f64.f64.f64.f64", [(8, F64), (4, F64), (4, F64)]),
        ("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32", [(2, B32), (1, B32), (4, S32)]),
        ("mma.sync.aligned.m16n8k16.row.col.f16.e4m3.e5m2.f16", [(2, B32), (1, B32), (2, F16x2)]),
        ("mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32", [(4, B32), (2, B32), (4, S32)]),
        ("mma.sync.aligned.m16n8k32.row.col.s32.u4.u4.s32", [(2, B32), (1, B32), (4, S32)]),
        ("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32", [(4, B32), (2, B32), (4, F32)]),
        ("mma.sync.aligned.m16n8k32.row.col.kind::f8f6f4.f32.e3m2.e2m1.f32", [(4, B32), (2, B32), (4, F32)]),
        (
            "mma.sync.aligned.m16n8k64.row.col.kind::mxf4.block_scale.f32.e2m1.e2m1.f32.ue8m0",
            [(4, B32), (2, B32), (4, F32)],
        ),
        ("mma.sync.aligned.m16n8k64.row.col.s32.s4.s4.s32", [(4, B32), (2, B32), (4, S32)]),
        ("mma.sync.aligned.m16n8k128.row.col.s32.b1.b1.s32.and.popc", [(2, B32), (1, B32), (4, S32)]),
        ("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc", [(4, B32), (2, B32), (4, S32)]),
        ("mma.sp.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16", [(2, F16x2), (2, F16x2), (2, F16x2)]),
        ("mma.sp.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32", [(4, B32), (4, B32), (4, F32)]),
        ("mma.sp.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", [(2, B32), (2, B32), (4, F32)]),
        ("mma.sp.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32", [(2, B32), (2, B32), (4, S32)]),
        ("mma.sp.sync.aligned.m16n8k64.row.col.f32.e5m2.e4m3.f32", [(4, B32), (4, B32), (4, F32)]),
        ("mma.sp.sync.aligned.m16n8k64.row.col.s32.s4.s4.s32", [(2, B32), (2, B32), (4, S32)]),
        ("mma.sp.sync.aligned.m16n8k128.row.col.s32.u4.u4.s32", [(4, B32), (4, B32), (4, S32)]),
        (
            "mma.sp::ordered_metadata.sync.aligned.m16n8k128.row.col.kind::mxf4.block_scale.f32.e2m1.e2m1.f32.ue8m0",
            [(4, B32), (4, B32), (4, F32)],
        ),
        (
            "mma.sp::ordered_metadata.sync.aligned.m16n8k64.row.col.kind::f8f6f4.f16.e2m3.e2m1.f16",
            [(4, B32), (4, B32), (2, F16x2)],
        ),
        ("wmma.mma.sync.aligned.row.col.m16n16k16.f32.f16", [(8, F16x2), (8, F16x2), (4, F16x2)]),
        ("wmma.mma.sync.aligned.row.col.m8n32k16.f16.f32", [(8, F16x2), (8, F16x2), (8, F32)]),
        ("wmma.mma.sync.aligned.row.col.m32n8k16.f32.bf16.bf16.f32", [(8, B32), (2, B32), (8, F32)]),
        ("wmma.mma.sync.aligned.row.col.m8n32k16.s32.s8.s8.s32", [(1, B32), (4, B32), (8, S32)]),
        ("wmma.mma.sync.aligned.row.col.m16n16k8.f32.tf32.tf32.f32", [(4, B32), (4, B32), (8, F32)]),
        ("wmma.mma.sync.aligned.row.col.m8n8k4.f64.f64.f64.f64", [(1, F64), (1, F64), (2, F64)]),
        ("wmma.mma.sync.aligned.row.col.m8n8k32.s32.s4.s4.s32", [(1, B32), (1, B32), (2, S32)]),
        ("wmma.mma.xor.popc.sync.aligned.row.col.m8n8k128.s32.b1.b1.s32", [(1, B32), (1, B32), (2, S32)]),
    ];
    for (opcode, [a, b, c]) in figures {
        assert_eq!(
            [of(opcode, "a"), of(opcode, "b"), of(opcode, "c")],
            [Some(*a), Some(*b), Some(*c)],
            "{opcode}"
        );
    }
    let mixed = "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f16";
    assert_eq!([of(mixed, "d"), of(mixed, "c")], [Some((8, F32)), Some((4, F16x2))]);
    let mixed = "wmma.mma.sync.aligned.row.col.m16n16k16.f32.f16";
    assert_eq!([of(mixed, "d"), of(mixed, "c")], [Some((8, F32)), Some((4, F16x2))]);
    assert_eq!(of("mma.sp.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", "e"), Some((1, B32)));
}

#[test]
fn wmma_loads_and_stores_hold_the_fragments_of_wmma_mma() {
    assert_eq!(of("wmma.load.a.sync.aligned.row.m16n16k16.f16", "a"), Some((8, Type::F16x2)));
    assert_eq!(of("wmma.load.b.sync.aligned.col.m8n32k16.bf16", "b"), Some((8, Type::B32)));
    assert_eq!(of("wmma.load.c.sync.aligned.row.m32n8k16.shared.f32", "c"), Some((8, Type::F32)));
    assert_eq!(of("wmma.store.d.sync.aligned.row.m16n16k16.global.s32", "d"), Some((8, Type::S32)));
    assert_eq!(of("wmma.store.d.sync.aligned.row.m8n8k4.f64", "d"), Some((2, Type::F64)));
}

#[test]
fn wgmma_holds_half_of_n_and_four_registers_of_a() {
    for n in (8..=256).step_by(8) {
        for (k, types) in [(16, "f16.f16"), (8, "tf32.tf32"), (32, "e4m3.e5m2")] {
            let opcode = format!("wgmma.mma_async.sync.aligned.m64n{n}k{k}.f32.{types}");
            assert_eq!(of(&opcode, "d"), Some((n / 2, Type::F32)), "{opcode}");
            assert_eq!(of(&opcode, "a").map(|(count, _)| count), Some(4), "{opcode}");
            assert_eq!(of(&opcode, "b"), None, "{opcode}");
        }
    }
    let opcode = "wgmma.mma_async.sync.aligned.m64n64k16.f16.f16.f16";
    assert_eq!(of(opcode, "d"), Some((16, Type::F16x2)));
    let opcode = "wgmma.mma_async.sync.aligned.m64n96k32.s32.s8.u8";
    assert_eq!([of(opcode, "d"), of(opcode, "a")], [Some((48, Type::S32)), Some((4, Type::B32))]);
    let opcode = "wgmma.mma_async.sync.aligned.m64n8k256.s32.b1.b1.and.popc";
    assert_eq!([of(opcode, "d"), of(opcode, "a")], [Some((4, Type::S32)), Some((4, Type::B32))]);
    let opcode = "wgmma.mma_async.sp.sync.aligned.m64n8k64.f32.e4m3.e4m3";
    assert_eq!([of(opcode, "a"), of(opcode, "meta")], [Some((4, Type::B32)), Some((1, Type::B32))]);
}

#[test]
fn loads_and_stores_count_by_shape() {
    let counts = [
        ("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16", 4),
        ("ldmatrix.sync.aligned.m16n16.x2.trans.shared.b8", 4),
        ("ldmatrix.sync.aligned.m8n16.x4.shared.b8x16.b4x16_p64", 4),
        ("stmatrix.sync.aligned.m16n8.x2.trans.shared.b8", 2),
        ("tcgen05.ld.sync.aligned.32x32b.x128.b32", 128),
        ("tcgen05.ld.sync.aligned.16x128b.x64.b32", 128),
        ("tcgen05.ld.sync.aligned.16x256b.x1.b32", 4),
        ("tcgen05.ld.red.sync.aligned.16x32bx2.x8.max.u32", 8),
        ("tcgen05.st.sync.aligned.16x64b.x2.unpack::16b.b32", 2),
    ];
    for (opcode, count) in counts {
        assert_eq!(of(opcode, "r"), Some((count, Type::B32)), "{opcode}");
    }
    assert_eq!(of("ldmatrix.sync.aligned.m8n8.x4.shared.b16", "p"), None);
}

#[test]
fn what_does_not_fill_registers_is_no_fragment() {
    let shape = Shape { m: 8, n: 8, k: 0 };
    assert_eq!(of_matrix(Unit::Mma, shape, Type::S8, Role::A, false), None);
    assert_eq!(of_matrix(Unit::Wgmma, Shape { m: 64, n: 8, k: 16 }, Type::F16, Role::B, false), None);
}
