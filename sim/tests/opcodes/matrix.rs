//! Matrix instructions: fragments laid out by the figures of the PTX ISA (9.7.16.5, 9.7.17.5), products summed in
//! integers that every type holds.

use crate::evaluate::encode_e4m3;
use crate::harness::{Case, noise};
use rorqual_ptx::modifier::{Modifier, Shape};
use rorqual_ptx::types::Type;
use std::fmt::Write;

fn shape_of(modifiers: &[Modifier]) -> Shape {
    let shape =
        modifiers.iter().find_map(|word| if let Modifier::Shape(shape) = word { Some(*shape) } else { None });
    shape.expect("a shape")
}

/// The type of A and B.
fn factor_type(modifiers: &[Modifier]) -> Type {
    let types =
        modifiers.iter().filter_map(|word| if let Modifier::Type(ty) = word { Some(*ty) } else { None });
    types.into_iter().nth(1).expect("the type of A")
}

/// An element of matrix number `matrix`.
fn element(matrix: u64, row: usize, column: usize) -> i32 {
    (noise(matrix << 32 | (row as u64) << 16 | column as u64) % 9) as i32 - 4
}

/// The bytes of an element.
fn encode(value: i32, ty: Type) -> Vec<u8> {
    let value = value as f32;
    match ty {
        Type::F16 => half::f16::from_f32(value).to_le_bytes().to_vec(),
        Type::Bf16 => half::bf16::from_f32(value).to_le_bytes().to_vec(),
        Type::E4m3 => vec![encode_e4m3(value)],
        _ => value.to_le_bytes().to_vec(),
    }
}

fn f32_bytes(value: i32) -> Vec<u8> {
    (value as f32).to_le_bytes().to_vec()
}

/// Row and column of element `at` of register `register` of A; the columns of B are rows of its transpose.
fn factor_place(lane: usize, register: usize, at: usize, in_register: usize) -> (usize, usize) {
    let (group, member) = (lane / 4, lane % 4);
    (group + 8 * (register % 2), member * in_register + at + 4 * in_register * (register / 2))
}

/// Row and column of register `register` of C and D.
fn sum_place(lane: usize, register: usize) -> (usize, usize) {
    (lane / 4 + 8 * (register / 2 % 2), 8 * (register / 4) + lane % 4 * 2 + register % 2)
}

/// The fragment of A of a lane whose rows start at `first_row`.
fn factor_a(lane: usize, first_row: usize, ty: Type) -> Vec<u8> {
    let in_register = 32 / ty.bits() as usize;
    let elements = (0..4).flat_map(|register| (0..in_register).map(move |at| (register, at)));
    elements
        .flat_map(|(register, at)| {
            let (row, column) = factor_place(lane, register, at, in_register);
            encode(element(1, first_row + row, column), ty)
        })
        .collect()
}

fn product(row: usize, column: usize, k: usize) -> i32 {
    (0..k).map(|k| element(1, row, k) * element(2, k, column)).sum()
}

/// `mma` of shape m16n8.
pub fn mma(opcode: &str, modifiers: &[Modifier]) -> Vec<Case> {
    let (k, ty) = (usize::from(shape_of(modifiers).k), factor_type(modifiers));
    let in_register = 32 / ty.bits() as usize;
    let body = format!(
        "ld.global.v4.b32 {{%r0, %r1, %r2, %r3}}, [%src];
    ld.global.v2.b32 {{%r4, %r5}}, [%src+16];
    ld.global.v4.b32 {{%r6, %r7, %r8, %r9}}, [%src+32];
    {opcode} {{%r10, %r11, %r12, %r13}}, {{%r0, %r1, %r2, %r3}}, {{%r4, %r5}}, {{%r6, %r7, %r8, %r9}};
    st.global.v4.b32 [%dst], {{%r10, %r11, %r12, %r13}};"
    );
    let factor_b = |lane: usize| -> Vec<u8> {
        let elements = (0..2).flat_map(|register| (0..in_register).map(move |at| (register, at)));
        elements
            .flat_map(|(register, at)| {
                let row = lane % 4 * in_register + at + 4 * in_register * register;
                encode(element(2, row, lane / 4), ty)
            })
            .collect()
    };
    let sums = |lane: usize, value: &dyn Fn(usize, usize) -> i32| -> Vec<u8> {
        (0..4)
            .map(|register| sum_place(lane, register))
            .flat_map(|(row, column)| f32_bytes(value(row, column)))
            .collect()
    };
    let input = |lane: usize| {
        let c = sums(lane, &|row, column| element(3, row, column));
        [factor_a(lane, 0, ty), factor_b(lane), vec![0; 8], c].concat()
    };
    let expected = |lane: usize| sums(lane, &|row, column| product(row, column, k) + element(3, row, column));
    vec![Case::new(body).slots(input, expected)]
}

/// `wgmma.mma_async` with B, and A or not, in shared memory without swizzle; on top of what is there or not.
pub fn wgmma(opcode: &str, modifiers: &[Modifier]) -> Vec<Case> {
    let (shape, ty) = (shape_of(modifiers), factor_type(modifiers));
    let (n, k) = (usize::from(shape.n), usize::from(shape.k));
    let mut cases = Vec::new();
    for (a_in_registers, adds) in [(false, false), (false, true), (true, true)] {
        cases.push(warpgroup_product(opcode, n, k, ty, a_in_registers, adds));
    }
    cases
}

/// The instructions around a product.
pub fn wgmma_groups() -> Vec<Case> {
    vec![warpgroup_product(
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16",
        64,
        16,
        Type::Bf16,
        false,
        true,
    )]
}

fn warpgroup_product(opcode: &str, n: usize, k: usize, ty: Type, a_in_registers: bool, adds: bool) -> Case {
    let registers = n / 2;
    let bytes = 32 * (64 + n);
    let start = |register: usize| register as i32 % 5;
    let mut body = String::new();
    for register in 0..registers {
        writeln!(body, "mov.b32 %r{register}, 0f{:08x};", (start(register) as f32).to_bits())
            .expect("memory suffices");
    }
    let d: Vec<String> = (0..registers).map(|register| format!("%r{register}")).collect();
    let a = if a_in_registers { "{%r150, %r151, %r152, %r153}" } else { "%d1" };
    let scale = if adds { "%p1" } else { "0" };
    let transposes = match (ty, a_in_registers) {
        (Type::F16 | Type::Bf16, false) => ", 0, 0",
        (Type::F16 | Type::Bf16, true) => ", 0",
        _ => "",
    };
    write!(
        body,
        "mov.u32 %r160, matrices;
    mad.lo.u32 %r161, %thread, 4, %r160;
    mad.wide.u32 %d0, %thread, 4, %in;
    mov.u32 %r162, %thread;
    FILL:
    ld.global.b32 %r163, [%d0];
    st.shared.b32 [%r161], %r163;
    add.u64 %d0, %d0, 512;
    add.u32 %r161, %r161, 512;
    add.u32 %r162, %r162, 128;
    setp.lt.u32 %p0, %r162, {};
    @%p0 bra FILL;
    fence.proxy.async.shared::cta;
    bar.sync 0;
    mad.wide.u32 %d3, %thread, 16, %in;
    ld.global.v4.b32 {{%r150, %r151, %r152, %r153}}, [%d3+{bytes}];
    shr.u32 %r164, %r160, 4;
    cvt.u64.u32 %d1, %r164;
    or.b64 %d1, %d1, 0x1000080000;
    add.u64 %d2, %d1, {};
    setp.eq.u32 %p1, 0, 0;
    wgmma.fence.sync.aligned;
    {opcode} {{{}}}, {a}, %d2, {scale}, 1, 1{transposes};
    wgmma.commit_group.sync.aligned;
    wgmma.wait_group.sync.aligned 0;
    mad.wide.u32 %d4, %thread, {}, %out;",
        bytes / 4,
        32 * 64 / 16,
        d.join(", "),
        4 * registers
    )
    .expect("memory suffices");
    for (register, name) in d.iter().enumerate() {
        write!(body, "\n    st.global.b32 [%d4+{}], {name};", 4 * register).expect("memory suffices");
    }
    let mut case = Case::new(body);
    case.threads = 128;
    case.variables = ".shared .align 1024 .b8 matrices[10240];".to_owned();
    let (in_a, in_b) = (
        core_matrices(64, k, ty, |row, k| element(1, row, k)),
        core_matrices(n, k, ty, |column, k| element(2, k, column)),
    );
    let fragments = (0..128).flat_map(|thread| factor_a(thread % 32, 16 * (thread / 32), ty));
    case.input = in_a.into_iter().chain(in_b).chain(fragments).collect();
    case.expected = (0..128)
        .flat_map(|thread| (0..registers).map(move |register| (thread, register)))
        .flat_map(|(thread, register)| {
            let (row, column) = sum_place(thread % 32, register);
            f32_bytes(product(16 * (thread / 32) + row, column, k) + if adds { start(register) } else { 0 })
        })
        .collect();
    case
}

/// Lines of 32 bytes along k as `wgmma` reads them without swizzle: blocks of 8 lines by 16 bytes, those of the same
/// lines one after the other.
fn core_matrices(lines: usize, k: usize, ty: Type, element: impl Fn(usize, usize) -> i32) -> Vec<u8> {
    let bytes = ty.bytes() as usize;
    let mut matrix = vec![0; 32 * lines];
    for line in 0..lines {
        for at in 0..k {
            let byte = at * bytes;
            let place = line / 8 * 256 + byte / 16 * 128 + line % 8 * 16 + byte % 16;
            matrix[place..place + bytes].copy_from_slice(&encode(element(line, at), ty));
        }
    }
    matrix
}

/// `ldmatrix` and `stmatrix`: rows of 8 numbers of 16 bits in shared memory, against fragments.
pub fn moves(opcode: &str, modifiers: &[Modifier]) -> Vec<Case> {
    let count = if modifiers.contains(&Modifier::X4) { 4 } else { 2 };
    let transposed = modifiers.contains(&Modifier::Trans);
    let loads = opcode.starts_with("ldmatrix");
    let registers = (0..count).map(|register| format!("%r{register}")).collect::<Vec<_>>().join(", ");
    let address = "mov.u32 %r10, rows;\n    mad.lo.u32 %r10, %thread, 16, %r10;";
    let body = match loads {
        true => format!(
            "{address}
    ld.global.v2.b64 {{%d0, %d1}}, [%src];
    st.shared.v2.b64 [%r10], {{%d0, %d1}};
    bar.warp.sync -1;
    {opcode} {{{registers}}}, [%r10];
    st.global.v{count}.b32 [%dst], {{{registers}}};"
        ),
        false => format!(
            "{address}
    ld.global.v{count}.b32 {{{registers}}}, [%src];
    st.shared.v2.b64 [%r10], {{-1, -1}};
    bar.warp.sync -1;
    {opcode} [%r10], {{{registers}}};
    bar.warp.sync -1;
    ld.shared.v2.b64 {{%d0, %d1}}, [%r10];
    st.global.v2.b64 [%dst], {{%d0, %d1}};"
        ),
    };
    let number =
        |matrix: usize, row: usize, column: usize| noise((matrix << 8 | row << 4 | column) as u64) as u16;
    let rows = |lane: usize| -> Vec<u8> {
        if lane / 8 >= count {
            return vec![0xff; 16];
        }
        (0..8).flat_map(|column| number(lane / 8, lane % 8, column).to_le_bytes()).collect()
    };
    let fragment = |lane: usize| -> Vec<u8> {
        let halves = (0..count).flat_map(|matrix| (0..2).map(move |half| (matrix, half)));
        halves
            .flat_map(|(matrix, half)| {
                let (row, column) = (lane / 4, lane % 4 * 2 + half);
                let value =
                    if transposed { number(matrix, column, row) } else { number(matrix, row, column) };
                value.to_le_bytes()
            })
            .collect()
    };
    let case = Case::new(body).variables(".shared .align 16 .b8 rows[512];");
    vec![if loads { case.slots(rows, fragment) } else { case.slots(fragment, rows) }]
}
