//! Loads, stores, prefetches and cache policies: the bytes that are read and written.

use crate::harness::{Case, SLOT, noise_bytes};
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::types::{Space, Type};

/// Where a state space has the thread's [`SLOT`] bytes: the variables, and what makes `%d100` their address there.
struct Home {
    variables: &'static str,
    address: &'static str,
    /// The plain words of a load or store there.
    space: &'static str,
}

fn home(space: Space, of_input: bool) -> Home {
    let shared = ".shared .align 16 .b8 buffer[2048];";
    let local = ".local .align 16 .b8 buffer[64];";
    match space {
        Space::Shared => Home {
            variables: shared,
            address: "mov.b64 %d100, buffer;\n    mad.wide.u32 %d100, %thread, 64, %d100;",
            space: ".shared",
        },
        Space::Local => Home { variables: local, address: "mov.b64 %d100, buffer;", space: ".local" },
        Space::Param => Home { variables: "", address: "mov.b64 %d100, value;", space: ".param" },
        // A generic address of global memory is the same.
        _ => Home {
            variables: "",
            address: if of_input { "mov.b64 %d100, %src;" } else { "mov.b64 %d100, %dst;" },
            space: ".global",
        },
    }
}

/// Copies the thread's bytes between two addresses.
fn copy(from: &str, from_space: &str, to: &str, to_space: &str) -> String {
    (0..SLOT / 16)
        .map(|part| {
            let at = 16 * part;
            format!(
                "ld{from_space}.v2.b64 {{%d110, %d111}}, [{from}+{at}];
    st{to_space}.v2.b64 [{to}+{at}], {{%d110, %d111}};
    "
            )
        })
        .collect()
}

/// The type and elements of an access.
fn access(modifiers: &[Modifier]) -> (Type, usize, Space) {
    let ty = modifiers.iter().find_map(|word| if let Modifier::Type(ty) = word { Some(*ty) } else { None });
    let elements = modifiers.iter().find_map(|word| match word {
        Modifier::V2 => Some(2),
        Modifier::V4 => Some(4),
        _ => None,
    });
    let space = modifiers.iter().find_map(|word| word.space()).unwrap_or(Space::Generic);
    (ty.expect("a type"), elements.unwrap_or(1), space)
}

/// The registers that hold the elements, the bytes of each, and the operand that names them.
fn registers(ty: Type, elements: usize) -> (Vec<String>, usize, String) {
    let (class, bytes) = match ty.bits() {
        8 | 16 => ("%h", 2),
        32 => ("%r", 4),
        64 => ("%d", 8),
        _ => ("%q", 16),
    };
    let registers: Vec<String> = (0..elements).map(|index| format!("{class}{index}")).collect();
    let operand = if elements == 1 { registers[0].clone() } else { format!("{{{}}}", registers.join(", ")) };
    (registers, bytes, operand)
}

/// The policy operand, where there is one.
fn policy(modifiers: &[Modifier]) -> &'static str {
    if modifiers.contains(&Modifier::L2CacheHint) { ", 0x12f0000000000000" } else { "" }
}

/// Loads of bytes that the kernel or the host put there.
pub fn loads(opcode: &str, modifiers: &[Modifier]) -> Vec<Case> {
    let (ty, elements, space) = access(modifiers);
    let (registers, width, operand) = registers(ty, elements);
    let Home { variables, address, space: words } = home(space, true);
    let is_copy = matches!(space, Space::Shared | Space::Local);
    let fill = if is_copy { copy("%src", ".global", "%d100", words) } else { String::new() };
    let stores: String = registers
        .iter()
        .enumerate()
        .map(|(index, register)| {
            format!("st.global.b{} [%dst+{}], {register};\n    ", 8 * width, index * width)
        })
        .collect();
    let policy = policy(modifiers);
    let body = format!("{address}\n    {fill}{opcode} {operand}, [%d100+16]{policy};\n    {stores}");
    // A parameter is the same for all threads.
    let input = move |thread: usize| noise_bytes(if space == Space::Param { 0 } else { thread }, SLOT);
    let expected = |thread: usize| {
        let bytes = ty.bytes() as usize;
        let extend = |element: &[u8]| {
            let sign = if ty.is_signed() && element[bytes - 1] >= 0x80 { 0xff } else { 0 };
            let mut register = vec![sign; width];
            register[..bytes].copy_from_slice(element);
            register
        };
        input(thread)[16..16 + bytes * elements].chunks(bytes).flat_map(extend).collect()
    };
    vec![Case::new(body).variables(variables).slots(input, expected)]
}

/// Stores, of which the whole surroundings are read back.
pub fn stores(opcode: &str, modifiers: &[Modifier]) -> Vec<Case> {
    let (ty, elements, space) = access(modifiers);
    let (registers, width, operand) = registers(ty, elements);
    let bytes = ty.bytes() as usize;
    let loads: String = registers
        .iter()
        .enumerate()
        .map(|(index, register)| {
            format!("ld.global.b{} {register}, [%src+{}];\n    ", 8 * width, index * width)
        })
        .collect();
    let input = |thread: usize| noise_bytes(thread, SLOT);
    let stored = move |thread: usize| -> Vec<u8> {
        input(thread)[..width * elements]
            .chunks(width)
            .flat_map(|register| register[..bytes].to_vec())
            .collect()
    };
    if space == Space::Param {
        return vec![argument(opcode, ty, &loads, &operand).slots(input, stored)];
    }
    let Home { variables, address, space: words } = home(space, false);
    let is_copy = matches!(space, Space::Shared | Space::Local);
    let (fill, read) = match is_copy {
        true => (copy("%src", ".global", "%d100", words), copy("%d100", words, "%dst", ".global")),
        false => (copy("%src", ".global", "%dst", ".global"), String::new()),
    };
    let policy = policy(modifiers);
    let body = format!("{address}\n    {fill}{loads}{opcode} [%d100+16], {operand}{policy};\n    {read}");
    let expected = move |thread: usize| {
        let mut slot = input(thread);
        slot[16..16 + bytes * elements].copy_from_slice(&stored(thread));
        slot
    };
    vec![Case::new(body).variables(variables).slots(input, expected)]
}

/// A store to the parameter of a call, which gives it back.
fn argument(opcode: &str, ty: Type, loads: &str, operand: &str) -> Case {
    let bits = ty.bits();
    let mut case = Case::new(format!(
        "{loads}{{
    .param .b{bits} given, taken;
    {opcode} [given], {operand};
    call.uni (taken), same, (given);
    ld.param.b{bits} {operand}, [taken];
    }}
    st.global.b{bits} [%dst], {operand};"
    ));
    case.module = format!(
        ".func (.param .b{bits} result) same(.param .b{bits} argument)
{{
    .reg .b{bits} %value;
    ld.param.b{bits} %value, [argument];
    st.param.b{bits} [result], %value;
    ret;
}}"
    );
    case
}

/// A prefetch, which changes nothing.
pub fn prefetches(opcode: &str) -> Vec<Case> {
    let body = format!(
        "mov.b64 %d0, map;
    cvta.param.u64 %d0, %d0;
    {opcode} [%d0];
    ld.global.b32 %r0, [%src];
    st.global.b32 [%dst], %r0;"
    );
    let input = |thread: usize| noise_bytes(thread, 4);
    vec![Case::new(body).slots(input, input)]
}

/// A policy, used by a load and a store.
pub fn policies(opcode: &str) -> Vec<Case> {
    let body = format!(
        "{opcode} %d0, 1.0;
    ld.global.L2::cache_hint.b32 %r0, [%src], %d0;
    st.global.L2::cache_hint.b32 [%dst], %r0, %d0;"
    );
    let input = |thread: usize| noise_bytes(thread, 4);
    vec![Case::new(body).slots(input, input)]
}

/// Conversions of addresses between a space and the generic one, and questions about them: the address must lead to
/// the thread's bytes.
pub fn addresses(opcode: &str, modifiers: &[Modifier]) -> Vec<Case> {
    let space = modifiers.iter().find_map(|word| word.space()).expect("a space");
    let input = |thread: usize| noise_bytes(if space == Space::Param { 0 } else { thread }, SLOT);
    let Home { variables, address, space: words } = home(space, true);
    let is_copy = matches!(space, Space::Shared | Space::Local);
    let fill = if is_copy { copy("%src", ".global", "%d100", words) } else { String::new() };
    let question = opcode.starts_with("isspacep");
    let body = if question {
        format!(
            "{address}
    cvta{words}.u64 %d100, %d100;
    {opcode} %p0, %d100;
    selp.b32 %r0, 1, 0, %p0;
    {opcode} %p0, %dst;
    selp.b32 %r1, 1, 0, %p0;
    st.global.v2.b32 [%dst], {{%r0, %r1}};"
        )
    } else if modifiers.contains(&Modifier::To) {
        format!(
            "{address}
    {fill}cvta{words}.u64 %d101, %d100;
    {opcode} %d102, %d101;
    ld{words}.b64 %d0, [%d102];
    st.global.b64 [%dst], %d0;"
        )
    } else {
        format!(
            "{address}\n    {fill}{opcode} %d101, %d100;\n    ld.b64 %d0, [%d101];\n    st.global.b64 [%dst], %d0;"
        )
    };
    let expected = |thread: usize| match question {
        true => [1u32.to_le_bytes(), 0u32.to_le_bytes()].concat(),
        false => input(thread)[..8].to_vec(),
    };
    vec![Case::new(body).variables(variables).slots(input, expected)]
}

/// A load from the same address in all threads.
pub fn uniform_load(opcode: &str) -> Vec<Case> {
    let body = format!("{opcode} {{%r0, %r1}}, [%in+8];\n    st.global.v2.b32 [%dst], {{%r0, %r1}};");
    vec![Case::new(body).slots(|thread| noise_bytes(thread, SLOT), |_| noise_bytes(0, SLOT)[8..16].to_vec())]
}

/// What is discarded may be written anew.
pub fn discard(opcode: &str) -> Vec<Case> {
    let body = format!(
        "shl.b32 %r0, %thread, 31;
    setp.eq.u32 %p0, %r0, 0;
    @%p0 {opcode} [%dst], 128;
    bar.warp.sync -1;
    {}",
        copy("%src", ".global", "%dst", ".global")
    );
    let input = |thread: usize| noise_bytes(thread, SLOT);
    vec![Case::new(body).slots(input, input)]
}

/// Zeros over a part of the threads' bytes in shared memory.
pub fn zeros(opcode: &str) -> Vec<Case> {
    let Home { variables, address, space } = home(Space::Shared, true);
    let (fill, read) = (copy("%src", ".global", "%d100", space), copy("%d100", space, "%dst", ".global"));
    let body = format!(
        "{address}
    {fill}bar.sync 0;
    mov.b64 %d0, 1024;
    mov.b64 %d1, buffer;
    setp.eq.u32 %p0, %thread, 0;
    @%p0 {opcode} [%d1], %d0, 0;
    bar.sync 0;
    {read}"
    );
    let input = |thread: usize| noise_bytes(thread, SLOT);
    let expected = |thread: usize| if thread < 1024 / SLOT { vec![0; SLOT] } else { input(thread) };
    vec![Case::new(body).variables(variables).slots(input, expected)]
}
