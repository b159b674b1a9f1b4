//! `mma.sync` and `wmma`: every type, against naive sums.

use super::elements::{B1, Bf16, E4m3, E5m2, F16, F64, Matrix, Random, S4, S8, Sum, Tf32, Type, U4, U8};
use super::{bytes, module, run_well, words};
use std::fmt::Write;

/// `mma` with one layout of the ISA: A by row, B by column.
fn check(m: usize, n: usize, k: usize, [a_type, b_type]: [Type; 2], sum: Sum, operation: &str) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let a = Matrix::random(a_type, m, k, &mut random, sum == Sum::F16);
    let b = Matrix::random(b_type, n, k, &mut random, sum == Sum::F16);
    let c: Vec<f64> = (0..m * n).map(|_| sum.random(&mut random)).collect();
    let elements = 32 / a_type.bits();
    let operand = |matrix: &Matrix| -> Vec<u32> {
        let halves = matrix.lines() / 8;
        let registers = matrix.lines() * matrix.places * matrix.ty.bits() / 1024;
        let word = |register: usize, lane: usize| {
            matrix.word(lane / 4 + 8 * (register % halves), (lane % 4 + 4 * (register / halves)) * elements)
        };
        (0..registers)
            .flat_map(|register| (0..32).map(move |lane| (register, lane)))
            .map(|(r, l)| word(r, l))
            .collect()
    };
    let halves = m / 8;
    let half = sum == Sum::F16;
    let d_registers = m * n / if half { 64 } else { 32 };
    let d_position = |register: usize, lane: usize| {
        let pair = if half { register } else { register / 2 };
        let odd = if half { 0 } else { register % 2 };
        (lane / 4 + 8 * (pair % halves), 8 * (pair / halves) + 2 * (lane % 4) + odd)
    };
    let mut c_words = Vec::new();
    for register in 0..d_registers {
        for lane in 0..32 {
            let (row, column) = d_position(register, lane);
            let at = |column| sum.encode(c[row * n + column]);
            c_words.push(if half { at(column) | at(column + 1) << 16 } else { at(column) });
        }
    }
    let (a_words, b_words) = (operand(&a), operand(&b));
    let name = sum.name();
    let (a_name, b_name) = (a_type.name(), b_type.name());
    let instruction =
        format!("mma.sync.aligned.m{m}n{n}k{k}.row.col.{name}.{a_name}.{b_name}.{name}{operation}");
    let text = kernel(&instruction, "b32", 4, [a_words.len(), b_words.len(), c_words.len(), c_words.len()]);
    let output = run_well(&text, 32, &[bytes(&a_words), bytes(&b_words), bytes(&c_words)], 4 * c_words.len());
    for (index, word) in words(&output).into_iter().enumerate() {
        let (row, column) = d_position(index / 32, index % 32);
        for element in 0..=usize::from(half) {
            let column = column + element;
            let product: f64 = if operation == ".xor.popc" {
                (0..k).map(|at| (a.at(row, at) - b.at(column, at)).abs()).sum()
            } else {
                a.dot(row, &b, column)
            };
            let got = sum.decode(word >> (16 * element));
            assert_eq!(got, c[row * n + column] + product, "{instruction}: row {row}, column {column}");
        }
    }
}

/// A kernel that loads fragments of so many words, runs the instruction and stores D.
fn kernel(instruction: &str, register_type: &str, size: usize, words: [usize; 4]) -> String {
    let mut body = format!(
        "    mov.u32 %r0, %tid.x;\n    mul.wide.u32 %rd10, %r0, {size};\n    .reg .{register_type} %a<99>, %b<99>, %c<99>, %d<99>;\n"
    );
    let mut lists = Vec::new();
    for (pointer, (name, words)) in ["a", "b", "c", "d"].iter().zip(words).enumerate() {
        let _ = writeln!(body, "    add.u64 %rd{}, %rd{pointer}, %rd10;", 20 + pointer);
        let registers: Vec<String> = (0..words / 32).map(|index| format!("%{name}{index}")).collect();
        if *name != "d" {
            for (index, register) in registers.iter().enumerate() {
                let _ = writeln!(
                    body,
                    "    ld.global.{register_type} {register}, [%rd{}+{}];",
                    20 + pointer,
                    index * 32 * size
                );
            }
        }
        lists.push(format!("{{{}}}", registers.join(", ")));
    }
    let _ = writeln!(body, "    {instruction} {}, {}, {}, {};", lists[3], lists[0], lists[1], lists[2]);
    for index in 0..words[3] / 32 {
        let _ = writeln!(body, "    st.global.{register_type} [%rd23+{}], %d{index};", index * 32 * size);
    }
    module(4, "", &body)
}

#[test]
fn floats() {
    for (k, sum) in [(8, Sum::F32), (16, Sum::F32), (8, Sum::F16), (16, Sum::F16)] {
        check(16, 8, k, [F16; 2], sum, "");
    }
    [8, 16].into_iter().for_each(|k| check(16, 8, k, [Bf16; 2], Sum::F32, ""));
    [4, 8].into_iter().for_each(|k| check(16, 8, k, [Tf32; 2], Sum::F32, ""));
    for types in [[E4m3, E4m3], [E4m3, E5m2], [E5m2, E4m3], [E5m2; 2]] {
        check(16, 8, 32, types, Sum::F32, "");
    }
}

#[test]
fn integers() {
    for types in [[S8, S8], [S8, U8], [U8, S8], [U8, U8]] {
        check(8, 8, 16, types, Sum::S32, "");
        [16, 32].into_iter().for_each(|k| check(16, 8, k, types, Sum::S32, ""));
    }
    for types in [[S4, S4], [S4, U4], [U4, S4], [U4, U4]] {
        check(8, 8, 32, types, Sum::S32, "");
        [32, 64].into_iter().for_each(|k| check(16, 8, k, types, Sum::S32, ""));
    }
}

#[test]
fn single_bits() {
    for operation in [".xor.popc", ".and.popc"] {
        check(8, 8, 128, [B1; 2], Sum::S32, operation);
        [128, 256].into_iter().for_each(|k| check(16, 8, k, [B1; 2], Sum::S32, operation));
    }
}

#[test]
fn doubles() {
    for (m, k) in [(8, 4), (16, 4), (16, 8), (16, 16)] {
        let mut random = Random(7);
        let a = Matrix::random(F64, m, k, &mut random, false);
        let b = Matrix::random(F64, 8, k, &mut random, false);
        let halves = m / 8;
        let operand = |matrix: &Matrix| -> Vec<u64> {
            let halves = matrix.lines() / 8;
            let registers = matrix.bits.len() / 32;
            let at = |register: usize, lane: usize| {
                matrix.bits_at(lane / 4 + 8 * (register % halves), lane % 4 + 4 * (register / halves))
            };
            (0..registers * 32).map(|index| at(index / 32, index % 32)).collect()
        };
        let position = |index: usize| {
            let (register, lane) = (index / 32, index % 32);
            (lane / 4 + 8 * (register / 2 % halves), 2 * (lane % 4) + register % 2)
        };
        let c: Vec<u64> = (0..m * 8).map(|index| (index as f64).to_bits()).collect();
        let (a_words, b_words) = (operand(&a), operand(&b));
        let instruction = format!("mma.sync.aligned.m{m}n8k{k}.row.col.f64.f64.f64.f64");
        let text = kernel(&instruction, "f64", 8, [a_words.len(), b_words.len(), c.len(), c.len()]);
        let bytes = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let output = run_well(&text, 32, &[bytes(&a_words), bytes(&b_words), bytes(&c)], 8 * c.len());
        for (index, word) in output.as_chunks::<8>().0.iter().enumerate() {
            let (row, column) = position(index);
            let expected = index as f64 + a.dot(row, &b, column);
            assert_eq!(f64::from_le_bytes(*word), expected, "m{m}k{k}: row {row}, column {column}");
        }
    }
}

/// `mma.m8n8k4` on f16: quad pair p is lanes 4p to 4p + 3 and those 16 above (PTX ISA 9.7.16.5.1).
#[test]
fn quad_pairs() {
    for (a_row, b_row, sum) in [(true, false, Sum::F32), (false, true, Sum::F32), (true, true, Sum::F16)] {
        let mut random = Random(99);
        let a: Vec<Matrix> = (0..4).map(|_| Matrix::random(F16, 8, 4, &mut random, true)).collect();
        let b: Vec<Matrix> = (0..4).map(|_| Matrix::random(F16, 8, 4, &mut random, true)).collect();
        let pair = |lane: usize| (lane / 4 % 4, lane % 4, lane / 16 * 4);
        // Four consecutive k of a line, or four lines of a k.
        let operand = |matrices: &[Matrix], along_k: bool| -> Vec<u32> {
            let at = |register: usize, lane: usize| {
                let (pair, t, upper) = pair(lane);
                let element = |i: usize| {
                    let (line, k) = if along_k { (upper + t, i) } else { (upper + i, t) };
                    matrices[pair].bits_at(line, k) as u32
                };
                element(2 * register) | element(2 * register + 1) << 16
            };
            (0..64).map(|index| at(index / 32, index % 32)).collect()
        };
        let half = sum == Sum::F16;
        let position = |lane: usize, i: usize| {
            let (pair, t, upper) = pair(lane);
            if half {
                (pair, upper + t, i)
            } else {
                (pair, upper + (lane & 1) + (i & 2), (i & 4) + (lane & 2) + (i & 1))
            }
        };
        let c = |pair: usize, row: usize, column: usize| (pair * 64 + row * 8 + column) as f64;
        let mut c_words = Vec::new();
        for register in 0..if half { 4 } else { 8 } {
            for lane in 0..32 {
                let at = |i| {
                    let (pair, row, column) = position(lane, i);
                    sum.encode(c(pair, row, column))
                };
                c_words.push(if half { at(2 * register) | at(2 * register + 1) << 16 } else { at(register) });
            }
        }
        let name = |row: bool| if row { "row" } else { "col" };
        let instruction = format!(
            "mma.sync.aligned.m8n8k4.{}.{}.{}.f16.f16.{}",
            name(a_row),
            name(b_row),
            sum.name(),
            sum.name()
        );
        let inputs = [bytes(&operand(&a, a_row)), bytes(&operand(&b, !b_row)), bytes(&c_words)];
        let text = kernel(&instruction, "b32", 4, [64, 64, c_words.len(), c_words.len()]);
        let output = words(&run_well(&text, 32, &inputs, 4 * c_words.len()));
        for lane in 0..32 {
            for i in 0..8 {
                let (pair, row, column) = position(lane, i);
                let word =
                    if half { output[i / 2 * 32 + lane] >> (16 * (i % 2)) } else { output[i * 32 + lane] };
                let expected = c(pair, row, column) + a[pair].dot(row, &b[pair], column);
                assert_eq!(sum.decode(word), expected, "{instruction}: lane {lane}, element {i}");
            }
        }
    }
}

/// A whole `wmma` product in memory: `a` and `b` by row or by column.
fn wmma(shape: [usize; 3], ty: Type, sum: Sum, [a_row, b_row]: [bool; 2], counts: [usize; 4], form: &str) {
    let [m, n, k] = shape;
    let mut random = Random(5);
    let a = Matrix::random(ty, m, k, &mut random, sum == Sum::F16);
    let b = Matrix::random(ty, n, k, &mut random, sum == Sum::F16);
    // The matrix in memory, with rows of the given stride.
    let place = |matrix: &Matrix, along_k: bool, stride: usize| {
        let bits = ty.bits();
        let (outer, inner) =
            if along_k { (matrix.lines(), matrix.places) } else { (matrix.places, matrix.lines()) };
        let mut memory = vec![0u8; outer * stride * bits / 8];
        for o in 0..outer {
            for i in 0..inner {
                let element = if along_k { matrix.bits_at(o, i) } else { matrix.bits_at(i, o) };
                let at = (o * stride + i) * bits;
                for byte in 0..bits.div_ceil(8) {
                    memory[at / 8 + byte] |= ((element >> (8 * byte)) as u8) << (at % 8);
                }
            }
        }
        memory
    };
    let (a_stride, b_stride) = (if a_row { k } else { m } + 128, if b_row { n } else { k } + 128);
    let inputs = [place(&a, a_row, a_stride), place(&b, !b_row, b_stride)];
    let sum_bits = if sum == Sum::F16 { 16 } else { 32 };
    let c: Vec<u8> = (0..m * n)
        .flat_map(|index| sum.encode(index as f64).to_le_bytes().into_iter().take(sum_bits / 8))
        .collect();
    let name = |row: bool| if row { "row" } else { "col" };
    let (a_layout, b_layout, element, sum_name) = (name(a_row), name(b_row), ty.name(), sum.name());
    let list = |register: &str, count: usize| {
        let registers: Vec<String> = (0..count).map(|index| format!("%{register}{index}")).collect();
        format!("{{{}}}", registers.join(", "))
    };
    let [x, y, z, w] =
        [("a", counts[0]), ("b", counts[1]), ("c", counts[2]), ("d", counts[3])].map(|(r, c)| list(r, c));
    let body = format!(
        "    .reg .b32 %a<9>, %b<9>, %c<9>, %d<9>;\n    mov.u32 %r1, {a_stride};\n    \
         wmma.load.a.sync.aligned.{a_layout}.m{m}n{n}k{k}.global.{element} {x}, [%rd0], %r1;\n    \
         wmma.load.b.sync.aligned.{b_layout}.m{m}n{n}k{k}.{element} {y}, [%rd1], {b_stride};\n    \
         wmma.load.c.sync.aligned.row.m{m}n{n}k{k}.global.{sum_name} {z}, [%rd2];\n    \
         wmma.mma{form} {w}, {x}, {y}, {z};\n    \
         wmma.store.d.sync.aligned.col.m{m}n{n}k{k}.global.{sum_name} [%rd3], {w};\n"
    );
    let inputs = [&inputs[..], &[c]].concat();
    let output = run_well(&module(4, "", &body), 32, &inputs, m * n * sum_bits / 8);
    for (index, element) in output.chunks_exact(sum_bits / 8).enumerate() {
        // By column, without padding.
        let (row, column) = (index % m, index / m);
        let mut word = [0; 4];
        word[..element.len()].copy_from_slice(element);
        let expected = (row * n + column) as f64 + a.dot(row, &b, column);
        assert_eq!(
            sum.decode(u32::from_le_bytes(word)),
            expected,
            "wmma.mma{form}: row {row}, column {column}"
        );
    }
}

#[test]
fn whole_wmma_products() {
    for layouts in [[true, true], [true, false], [false, true], [false, false]] {
        let [a, b] = layouts.map(|row| if row { "row" } else { "col" });
        for [m, n, k] in [[16, 16, 16], [8, 32, 16], [32, 8, 16]] {
            let shape = format!(".sync.aligned.{a}.{b}.m{m}n{n}k{k}");
            wmma([m, n, k], F16, Sum::F32, layouts, [8, 8, 8, 8], &format!("{shape}.f32.f32"));
            wmma([m, n, k], F16, Sum::F16, layouts, [8, 8, 4, 4], &format!("{shape}.f16.f16"));
            let (a_count, b_count) = (m * 16 / 128, n * 16 / 128);
            let counts = [a_count, b_count, 8, 8];
            wmma([m, n, k], S8, Sum::S32, layouts, counts, &format!("{shape}.s32.s8.s8.s32"));
            let counts = [2 * a_count, 2 * b_count, 8, 8];
            wmma([m, n, k], Bf16, Sum::F32, layouts, counts, &format!("{shape}.f32.bf16.bf16.f32"));
        }
        let shape = format!(".sync.aligned.{a}.{b}.m16n16k8");
        wmma([16, 16, 8], Tf32, Sum::F32, layouts, [4, 4, 8, 8], &format!("{shape}.f32.tf32.tf32.f32"));
    }
    let narrow = ".sync.aligned.row.col.m8n8k32.s32";
    wmma([8, 8, 32], U4, Sum::S32, [true, false], [1, 1, 2, 2], &format!("{narrow}.u4.u4.s32"));
    let bits = ".and.popc.sync.aligned.row.col.m8n8k128.s32.b1.b1.s32";
    wmma([8, 8, 128], B1, Sum::S32, [true, false], [1, 1, 2, 2], bits);
}
