//! `wgmma`: every type, operands in shared memory in every layout or in registers, against naive sums.

use super::elements::{B1, Bf16, E4m3, E5m2, F16, Matrix, Random, S8, Sum, Tf32, Type, U8};
use super::{bytes, module, run_on, words};
use rorqual_sim::{Device, Precision};
use std::fmt::Write;

/// How an operand lies in shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    /// Bytes of a row of the swizzle pattern; 16 for none.
    width: usize,
    /// Whether lines, not k, run through consecutive bytes.
    transposed: bool,
}

const K128: Layout = Layout { width: 128, transposed: false };

/// A product to test: so many `steps` of the instruction, one after the other.
#[derive(Debug, Clone, Copy)]
struct Case {
    a: Type,
    b: Type,
    d: Sum,
    n: usize,
    steps: usize,
    /// `None` if A is in registers.
    a_layout: Option<Layout>,
    b_layout: Layout,
    /// imm-scale-a and imm-scale-b.
    signs: [i32; 2],
    /// Whether the first step adds to what D holds.
    accumulates: bool,
    saturates: bool,
    /// The sparsity selector, if A is sparse.
    sparse: Option<usize>,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            a: F16,
            b: F16,
            d: Sum::F32,
            n: 16,
            steps: 1,
            a_layout: Some(K128),
            b_layout: K128,
            signs: [1, 1],
            accumulates: true,
            saturates: false,
            sparse: None,
        }
    }
}

/// An operand as it lies in shared memory, with the offsets of its descriptor and of a step in k.
struct Image {
    bytes: Vec<u8>,
    leading: usize,
    stride: usize,
    step: usize,
}

impl Layout {
    fn place(self, matrix: &Matrix) -> Image {
        let Self { width, transposed } = self;
        let (lines, bits) = (matrix.lines(), matrix.ty.bits());
        let k_bytes = matrix.places * bits / 8;
        let (leading, stride, step) = match (transposed, width) {
            (false, 16) => (128, 8 * k_bytes, 256),
            (false, _) => (16, 8 * width, 32),
            (true, 16) => (128 * lines / 8, 128, 2 * 128 * lines / 8),
            (true, _) => (8 * width * matrix.places / 8, 8 * width, 2 * 8 * width),
        };
        let size = 2 * lines.next_multiple_of(64) * k_bytes.max(128);
        let mut image = vec![0; size];
        for line in 0..lines {
            for k in 0..matrix.places {
                let k_byte = k * bits / 8;
                let offset = match (transposed, width) {
                    (false, 16) => line % 8 * 16 + line / 8 * stride + k_byte / 16 * leading + k_byte % 16,
                    (false, _) => line % 8 * width + line / 8 * stride + k_byte,
                    (true, 16) => line % 8 * 2 + k % 8 * 16 + line / 8 * stride + k / 8 * leading,
                    (true, _) => {
                        line % (width / 2) * 2 + k % 8 * width + k / 8 * stride + line / (width / 2) * leading
                    }
                };
                // The pattern exchanges chunks of 16 bytes by the address bits from 128 on.
                let offset = offset ^ ((offset / 128 % (width / 16)) * 16);
                for byte in 0..bits.div_ceil(8) {
                    image[offset + byte] |= ((matrix.bits_at(line, k) >> (8 * byte)) as u8) << (k * bits % 8);
                }
            }
        }
        Image { bytes: image, leading, stride, step }
    }

    fn descriptor(self, image: &Image, start: usize) -> u64 {
        let swizzle: u64 = match self.width {
            16 => 0,
            128 => 1,
            64 => 2,
            _ => 3,
        };
        let field = |bytes: usize| (bytes as u64 & 0x3ffff) >> 4;
        field(start) | field(image.leading) << 16 | field(image.stride) << 32 | swizzle << 62
    }
}

impl Case {
    /// Elements of k that A holds.
    const fn a_depth(&self) -> usize {
        256 / self.a.bits()
    }

    const fn depth(&self) -> usize {
        if self.sparse.is_some() { 2 * self.a_depth() } else { self.a_depth() }
    }

    const fn d_registers(&self) -> usize {
        match self.d {
            Sum::F16 => self.n / 4,
            _ => self.n / 2,
        }
    }

    /// Row and column of the element (one, or two f16) of a register of a thread.
    fn d_position(&self, thread: usize, register: usize) -> (usize, usize) {
        let (warp, g, t) = (thread / 32, thread % 32 / 4, thread % 4);
        match self.d {
            Sum::F16 => (16 * warp + g + 8 * (register % 2), 8 * (register / 2) + 2 * t),
            _ => (16 * warp + g + 8 * (register / 2 % 2), 8 * (register / 4) + 2 * t + register % 2),
        }
    }

    fn text(&self, a: Option<&Image>, b: &Image) -> String {
        let a_size = a.map_or(0, |image| image.bytes.len()).next_multiple_of(1024);
        let size = a_size + b.bytes.len();
        let (a_name, b_name, d_name) = (self.a.name(), self.b.name(), self.d.name());
        let mut body = String::from(
            "    mov.u32 %r0, %tid.x;\n    mul.wide.u32 %rd10, %r0, 4;\n    add.u64 %rd13, %rd2, %rd10;\n    \
             add.u64 %rd14, %rd3, %rd10;\n    add.u64 %rd15, %rd4, %rd10;\n",
        );
        for (pointer, start, length) in
            [(0, 0, a.map_or(0, |image| image.bytes.len())), (1, a_size, b.bytes.len())]
        {
            if length == 0 {
                continue;
            }
            let _ = write!(
                body,
                "    mov.u32 %r1, smem;\n    add.u32 %r1, %r1, {start};\n    mul.lo.u32 %r2, %r0, 16;\n\
                 copy{pointer}:\n    cvt.u64.u32 %rd11, %r2;\n    add.u64 %rd11, %rd11, %rd{pointer};\n    \
                 add.u32 %r3, %r1, %r2;\n    ld.global.v4.u32 {{%r4, %r5, %r6, %r7}}, [%rd11];\n    \
                 st.shared.v4.u32 [%r3], {{%r4, %r5, %r6, %r7}};\n    add.u32 %r2, %r2, 2048;\n    \
                 setp.lt.u32 %p0, %r2, {length};\n    @%p0 bra copy{pointer};\n"
            );
        }
        body += "    fence.proxy.async;\n    bar.sync 0;\n";
        let count = self.d_registers();
        let d: Vec<String> = (0..count).map(|index| format!("%d{index}")).collect();
        let d = d.join(", ");
        let _ = writeln!(body, "    .reg .b32 %d<{count}>;\n    .reg .b32 %a<{}>;", 4 * self.steps + 1);
        for register in 0..count {
            let _ = writeln!(body, "    ld.global.u32 %d{register}, [%rd14+{}];", register * 512);
        }
        if a.is_none() {
            for register in 0..4 * self.steps {
                let _ = writeln!(body, "    ld.global.u32 %a{register}, [%rd13+{}];", register * 512);
            }
        }
        if self.sparse.is_some() {
            let metadata = 4 * self.steps;
            let _ = writeln!(body, "    ld.global.u32 %a{metadata}, [%rd13+{}];", metadata * 512);
        }
        body += "    wgmma.fence.sync.aligned;\n";
        // The window starts with 1 KiB of the system; static shared memory follows.
        let start = 1024;
        for step in 0..self.steps {
            let b_descriptor = self.b_layout.descriptor(b, start + a_size + step * b.step);
            let _ = writeln!(body, "    mov.b64 %rd12, {b_descriptor:#x};");
            let a_operand = match (a, self.a_layout) {
                (Some(image), Some(layout)) => {
                    let _ = writeln!(
                        body,
                        "    mov.b64 %rd11, {:#x};",
                        layout.descriptor(image, start + step * image.step)
                    );
                    "%rd11".to_owned()
                }
                _ => {
                    let first = 4 * step;
                    format!("{{%a{first}, %a{}, %a{}, %a{}}}", first + 1, first + 2, first + 3)
                }
            };
            let accumulates = i32::from(self.accumulates || step > 0);
            let _ = writeln!(body, "    setp.ne.b32 %p1, {accumulates}, 0;");
            let satfinite = if self.saturates { ".satfinite" } else { "" };
            let operation = if self.a == B1 { ".and.popc" } else { "" };
            let (sp, metadata) = match self.sparse {
                Some(selector) => (".sp", format!(", %a{}, {selector}", 4 * self.steps)),
                None => ("", String::new()),
            };
            let mut immediates = String::new();
            if self.d != Sum::S32 {
                let _ = write!(immediates, ", {}, {}", self.signs[0], self.signs[1]);
            }
            if self.a.bits() == 16 {
                for layout in [self.a_layout, Some(self.b_layout)].into_iter().flatten() {
                    let _ = write!(immediates, ", {}", i32::from(layout.transposed));
                }
            }
            let _ = writeln!(
                body,
                "    wgmma.mma_async{sp}.sync.aligned.m64n{}k{}{satfinite}.{d_name}.{a_name}.{b_name}{operation} {{{d}}}, \
                 {a_operand}, %rd12{metadata}, %p1{immediates};",
                self.n,
                self.depth()
            );
        }
        body += "    wgmma.commit_group.sync.aligned;\n    wgmma.wait_group.sync.aligned 0;\n";
        for register in 0..count {
            let _ = writeln!(body, "    st.global.u32 [%rd15+{}], %d{register};", register * 512);
        }
        module(5, &format!(".shared .align 1024 .b8 smem[{size}];"), &body)
    }

    fn check(&self, device: &mut Device) {
        let mut random = Random(0x1234_5678_9abc_def1);
        let whole = self.d == Sum::F16;
        let depth = self.depth() * self.steps;
        let held = Matrix::random(self.a, 64, self.a_depth() * self.steps, &mut random, whole);
        let (a, metadata) = match self.sparse {
            Some(selector) => spread(&held, selector, &mut random),
            None => (held.clone(), vec![]),
        };
        let b = Matrix::random(self.b, self.n, depth, &mut random, whole);
        let sums: Vec<f64> = (0..64 * self.n)
            .map(|_| match self.saturates {
                true => f64::from(i32::MAX) - random.below(100_000) as f64,
                false => self.d.random(&mut random),
            })
            .collect();
        let a_image = self.a_layout.map(|layout| layout.place(&held));
        let b_image = self.b_layout.place(&b);
        let text = self.text(a_image.as_ref(), &b_image);

        let elements = 32 / self.a.bits();
        let mut a_words = Vec::new();
        for step in 0..self.steps {
            for register in 0..4 {
                a_words.extend((0..128).map(|thread| {
                    let (warp, g, t) = (thread / 32, thread % 32 / 4, thread % 4);
                    let k = step * self.a_depth() + (t + 4 * (register / 2)) * elements;
                    held.word(16 * warp + g + 8 * (register % 2), k)
                }));
            }
        }
        a_words.extend(metadata);
        let half = self.d == Sum::F16;
        let mut c_words = Vec::new();
        for register in 0..self.d_registers() {
            c_words.extend((0..128).map(|thread| {
                let (row, column) = self.d_position(thread, register);
                let at = |column| self.d.encode(sums[row * self.n + column]);
                if half { at(column) | at(column + 1) << 16 } else { at(column) }
            }));
        }
        let inputs = [
            a_image.map_or_else(|| vec![0; 16], |image| image.bytes),
            b_image.bytes,
            bytes(&a_words),
            bytes(&c_words),
        ];
        let (outcome, output) = run_on(device, &text, 128, &inputs, 4 * c_words.len());
        assert!(outcome.reports.is_empty(), "{self:?}: {}\n{text}", outcome.reports[0]);
        assert_eq!(outcome.counters.matrix_macs, (64 * self.n * depth) as u64);
        for (index, word) in words(&output).into_iter().enumerate() {
            let (register, thread) = (index / 128, index % 128);
            let (row, column) = self.d_position(thread, register);
            for element in 0..=usize::from(half) {
                let column = column + element;
                let product = a.dot(row, &b, column) * f64::from(self.signs[0] * self.signs[1]);
                let added = if self.accumulates { sums[row * self.n + column] } else { 0.0 };
                let mut expected = added + product;
                if self.saturates {
                    expected = expected.clamp(i32::MIN.into(), i32::MAX.into());
                }
                let got = self.d.decode(word >> (16 * element));
                assert_eq!(got, expected, "{self:?}: row {row}, column {column}");
            }
        }
    }
}

/// Puts the elements of packed A where they belong, by chance, with the metadata of the 128 threads: two of four, of tf32
/// one of two, each group in four bits that name 16-bit halves or 8-bit elements (PTX ISA 9.7.17.6.1).
fn spread(held: &Matrix, selector: usize, random: &mut Random) -> (Matrix, Vec<u32>) {
    let (ty, depth) = (held.ty, 2 * held.places);
    let mut whole = Matrix { ty, places: depth, bits: vec![0; 64 * depth] };
    // Lanes that hold none have anything.
    let mut metadata: Vec<u32> = (0..128).map(|_| random.below(1 << 32) as u32).collect();
    let group_length = if ty == Tf32 { 2 } else { 4 };
    for row in 0..64 {
        for group in 0..depth / group_length {
            let pairs = [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]];
            let places = match ty {
                Tf32 => [[0, 1], [2, 3]][random.below(2) as usize],
                _ => pairs[random.below(6) as usize],
            };
            if ty == Tf32 {
                whole.bits[row * depth + 2 * group + places[0] / 2] = held.bits_at(row, group);
            } else {
                for (index, place) in places.into_iter().enumerate() {
                    whole.bits[row * depth + 4 * group + place] = held.bits_at(row, 2 * group + index);
                }
            }
            let (lane, shift) = if ty.bits() == 8 {
                (row % 16 / 8 + group / 8 * 2, 4 * (group % 8))
            } else {
                (2 * selector + group / 4, row % 16 / 8 * 16 + 4 * (group % 4))
            };
            let word = &mut metadata[32 * (row / 16) + 4 * (row % 8) + lane];
            *word = *word & !(0xf << shift) | ((places[0] | places[1] << 2) as u32) << shift;
        }
    }
    (whole, metadata)
}

fn device() -> Device {
    Device::new("sm_90a".parse().expect("an architecture")).expect("a device")
}

fn check(cases: impl IntoIterator<Item = Case>) {
    let mut device = device();
    for case in cases {
        for precision in [Precision::Exact, Precision::Hardware] {
            device.options_mut().precision = precision;
            case.check(&mut device);
        }
    }
}

const fn layout(width: usize, transposed: bool) -> Layout {
    Layout { width, transposed }
}

#[test]
fn sixteen_bit_operands_in_every_layout() {
    let layouts = [16, 32, 64, 128].map(|width| [layout(width, false), layout(width, true)]).concat();
    let one = layouts.iter().map(|&layout| Case { a_layout: Some(layout), n: 64, ..Case::default() });
    let other =
        layouts.iter().map(|&layout| Case { a: Bf16, b: Bf16, b_layout: layout, n: 64, ..Case::default() });
    check(one.chain(other));
}

#[test]
fn operands_in_registers() {
    check(layouts_of_b().map(|b_layout| Case { a_layout: None, b_layout, n: 64, ..Case::default() }));
    check([Tf32, E5m2, S8, B1].map(|ty| Case {
        a: ty,
        b: ty,
        d: if matches!(ty, S8 | B1) { Sum::S32 } else { Sum::F32 },
        a_layout: None,
        n: 24,
        ..Case::default()
    }));
}

fn layouts_of_b() -> impl Iterator<Item = Layout> {
    [layout(16, false), layout(128, true), layout(64, false)].into_iter()
}

#[test]
fn every_type() {
    let floats =
        [(F16, F16), (Bf16, Bf16), (Tf32, Tf32), (E4m3, E4m3), (E4m3, E5m2), (E5m2, E4m3), (E5m2, E5m2)];
    let integers = [(S8, S8), (S8, U8), (U8, S8), (U8, U8), (B1, B1)];
    for width in [16, 32, 64, 128] {
        let layout = layout(width, false);
        let case = Case { a_layout: Some(layout), b_layout: layout, n: 24, ..Case::default() };
        check(floats.map(|(a, b)| Case { a, b, ..case }));
        check(integers.map(|(a, b)| Case { a, b, d: Sum::S32, ..case }));
    }
    check([F16, E4m3, E5m2].map(|ty| Case { a: ty, b: ty, d: Sum::F16, n: 40, ..Case::default() }));
}

#[test]
fn narrow_and_wide() {
    check([8, 96, 200, 256].map(|n| Case { n, ..Case::default() }));
    check([8, 256].map(|n| Case { a: S8, b: U8, d: Sum::S32, n, ..Case::default() }));
}

#[test]
fn steps_through_k_inside_and_across_the_swizzle_pattern() {
    for transposed in [false, true] {
        check([16, 64, 128].map(|width| {
            let layout = layout(width, transposed);
            let steps = if transposed { 4 } else { (width / 32).max(2) };
            Case { a_layout: Some(layout), b_layout: layout, steps, n: 64, ..Case::default() }
        }));
    }
    check([Case { a: E4m3, b: E4m3, steps: 4, a_layout: None, n: 128, ..Case::default() }]);
}

#[test]
fn signs_scale_and_saturation() {
    check([[-1, 1], [1, -1], [-1, -1]].map(|signs| Case { signs, ..Case::default() }));
    check([Case { signs: [-1, 1], a_layout: None, ..Case::default() }]);
    check([Case { accumulates: false, steps: 2, ..Case::default() }]);
    check([Case { a: U8, b: U8, d: Sum::S32, saturates: true, ..Case::default() }]);
}

#[test]
fn sparse_factors() {
    for a_layout in [Some(K128), Some(layout(16, false)), None] {
        let case = Case { a_layout, sparse: Some(0), n: 24, ..Case::default() };
        check([0, 1].map(|selector| Case { sparse: Some(selector), ..case }));
        check([Case { a: Tf32, b: Tf32, sparse: Some(1), ..case }]);
        check([(E4m3, E5m2, Sum::F32), (S8, U8, Sum::S32)].map(|(a, b, d)| Case { a, b, d, ..case }));
    }
    let layouts = [layout(16, false), layout(64, false), layout(16, true), layout(128, true)];
    check(layouts.map(|b_layout| Case { b_layout, sparse: Some(0), n: 64, ..Case::default() }));
    let transposed = layout(64, true);
    check([Case { a_layout: Some(transposed), sparse: Some(1), signs: [-1, 1], ..Case::default() }]);
}
