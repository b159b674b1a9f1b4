//! [`RowFunction`]s of the families whose kernels take the rows of their buffers one by one.

use super::batch_invariance::{RowFunction, gather, upload};
use rorqual::verify::Machine;
use rorqual::verify::bytes::{bf16_bytes, f32_bytes, u32_bytes};
use rorqual::verify::random::{Random, Style};
use rorqual_kernels::contract::{Argument, Arguments};
use rorqual_kernels::moe::combine::{Combine, CombineArguments, CombineSpec};
use rorqual_kernels::moe::gate::{Gate, GateArguments, GateSpec, GroupMethod, Scoring};
use rorqual_kernels::moe::swiglu::{Swiglu, SwigluArguments, SwigluSpec};
use rorqual_kernels::norm::{RmsNorm, RmsNormArguments, RmsNormSpec};
use rorqual_kernels::quant::{Quantize1x128, Quantize1x128Arguments, Quantize1x128Spec, ScaleLayout};
use rorqual_kernels::sample::{Argmax, ArgmaxArguments, Sample, SampleArguments, SampleSpec};
use rorqual_kernels::{Kernel, ScaleFormat, ValueFormat, generate};
use rorqual_ptx::target::Target;

/// A buffer of a launch.
enum Operand {
    /// A row for each row, with its bytes; what is there behind the launch is part of the result.
    Rows(Vec<u8>),
    /// So many bytes of result for each row.
    Result(usize),
    /// The same for all rows.
    Whole(Vec<u8>),
}

/// A launch over rows.
pub struct Elementwise {
    kernel: Kernel,
    rows: usize,
    operands: Vec<Operand>,
    /// The arguments of the addresses of the operands and the number of rows.
    pack: Pack,
}

type Pack = Box<dyn Fn(&[u64], u32) -> Vec<Argument>>;

impl RowFunction for Elementwise {
    fn rows(&self) -> usize {
        self.rows
    }

    fn run(&self, machine: &mut dyn Machine, selection: &[usize]) -> Vec<Vec<u8>> {
        let row_bytes = |operand: &Operand| match operand {
            Operand::Rows(bytes) => bytes.len() / self.rows,
            Operand::Result(row_bytes) => *row_bytes,
            Operand::Whole(_) => 0,
        };
        let bytes = |operand: &Operand| match operand {
            Operand::Rows(bytes) => gather(bytes, row_bytes(operand), selection),
            Operand::Result(row_bytes) => vec![0xa5; row_bytes * selection.len()],
            Operand::Whole(bytes) => bytes.clone(),
        };
        let addresses: Vec<u64> =
            self.operands.iter().map(|operand| upload(machine, &bytes(operand))).collect();
        machine.run(&self.kernel, &(self.pack)(&addresses, selection.len() as u32)).expect("a run");
        let mut results = vec![Vec::new(); selection.len()];
        for (operand, address) in self.operands.iter().zip(addresses) {
            let row_bytes = row_bytes(operand);
            let left = machine.download(address, row_bytes * selection.len()).expect("results");
            for (at, result) in results.iter_mut().enumerate() {
                result.extend(&left[at * row_bytes..][..row_bytes]);
            }
        }
        results
    }
}

fn scale(random: &mut Random) -> ScaleFormat {
    random.pick(&[ScaleFormat::F32, ScaleFormat::PowerOfTwo])
}

/// Rows of RMSNorm with the residual, in bf16 and FP8.
pub fn rms_norm(random: &mut Random, target: Target) -> Elementwise {
    let (rows, hidden) = (1 + random.below(20), 1 + random.below(1100));
    let spec = RmsNormSpec {
        hidden: hidden as u32,
        x_pitch: hidden as u32,
        residual: true,
        bf16: true,
        fp8: Some(scale(random)),
    };
    Elementwise {
        kernel: generate::<RmsNorm>(&spec, target).expect("a kernel"),
        rows,
        operands: vec![
            Operand::Rows(bf16_bytes(&random.bf16s(rows * hidden, Style::Wide))),
            Operand::Rows(bf16_bytes(&random.bf16s(rows * hidden, Style::Wide))),
            Operand::Whole(f32_bytes(&random.f32s(hidden, Style::Normal))),
            Operand::Result(2 * hidden),
            Operand::Result(hidden),
            Operand::Result(4 * hidden.div_ceil(128)),
        ],
        pack: Box::new(|at, tokens| {
            let (x, residual, weight, y, codes, scales) = (at[0], at[1], at[2], at[3], at[4], at[5]);
            RmsNormArguments { x, residual, weight, y, codes, scales, tokens, epsilon: 1e-6 }.pack()
        }),
    }
}

/// Rows of logits to the experts of a token.
pub fn gate(random: &mut Random, target: Target) -> Elementwise {
    let (rows, experts, topk) = (1 + random.below(40), 16 * (1 + random.below(16)), 1 + random.below(8));
    let (scoring, method) =
        random.pick(&[(Scoring::Sigmoid, GroupMethod::SumOfTwo), (Scoring::Softmax, GroupMethod::Best)]);
    let spec = GateSpec {
        experts: experts as u32,
        groups: 8,
        topk_groups: 4,
        topk: topk as u32,
        scoring,
        method,
        bias: scoring == Scoring::Sigmoid,
        normalize: scoring == Scoring::Sigmoid,
        scaling_factor: 2.5,
    };
    Elementwise {
        kernel: generate::<Gate>(&spec, target).expect("a kernel"),
        rows,
        operands: vec![
            Operand::Rows(f32_bytes(&random.f32s(rows * experts, Style::Normal))),
            Operand::Whole(f32_bytes(&random.f32s(experts, Style::Normal))),
            Operand::Result(4 * topk),
            Operand::Result(4 * topk),
        ],
        pack: Box::new(|at, tokens| {
            let (logits, bias, topk_idx, topk_weight) = (at[0], at[1], at[2], at[3]);
            GateArguments { logits, bias, topk_idx, topk_weight, tokens }.pack()
        }),
    }
}

/// Rows of SwiGLU, in bf16 and FP8.
pub fn swiglu(random: &mut Random, target: Target) -> Elementwise {
    let (rows, inter) = (1 + random.below(20), 1 + random.below(500));
    let fp8 = Some(scale(random));
    let spec = SwigluSpec { inter: inter as u32, clamp: false, device_rows: false, bf16: true, fp8 };
    Elementwise {
        kernel: generate::<Swiglu>(&spec, target).expect("a kernel"),
        rows,
        operands: vec![
            Operand::Rows(bf16_bytes(&random.bf16s(rows * 2 * inter, Style::Normal))),
            Operand::Whole(vec![]),
            Operand::Result(2 * inter),
            Operand::Result(inter),
            Operand::Result(4 * inter.div_ceil(128)),
        ],
        pack: Box::new(|at, rows| {
            let (gate_up, row_count, out, codes, scales) = (at[0], at[1], at[2], at[3], at[4]);
            SwigluArguments { gate_up, row_count, out, codes, scales, rows, limit: 0.0 }.pack()
        }),
    }
}

/// Rows in FP8.
pub fn quantize(random: &mut Random, target: Target) -> Elementwise {
    let (rows, k) = (1 + random.below(20), 1 + random.below(500));
    let spec = Quantize1x128Spec {
        k: k as u32,
        x_pitch: k as u32,
        input: ValueFormat::Bf16,
        scale: scale(random),
        scale_layout: ScaleLayout::RowMajor,
    };
    Elementwise {
        kernel: generate::<Quantize1x128>(&spec, target).expect("a kernel"),
        rows,
        operands: vec![
            Operand::Rows(bf16_bytes(&random.bf16s(rows * k, Style::Wide))),
            Operand::Whole(vec![]),
            Operand::Result(k),
            Operand::Result(4 * k.div_ceil(128)),
        ],
        pack: Box::new(|at, tokens| {
            let (x, x_f32, codes, scales) = (at[0], at[1], at[2], at[3]);
            Quantize1x128Arguments { x, x_f32, codes, scales, tokens, scale_pitch: 0 }.pack()
        }),
    }
}

/// The sums of tokens over rows of experts, which stay where they are.
pub fn combine(random: &mut Random, target: Target) -> Elementwise {
    let (tokens, topk, hidden) = (1 + random.below(20), 1 + random.below(8), 1 + random.below(500));
    let rows = tokens * topk;
    let spec = CombineSpec {
        hidden: hidden as u32,
        topk: topk as u32,
        shared: random.one_in(2),
        residual: random.one_in(2),
    };
    let row_of_slot: Vec<u32> = (0..rows).map(|_| random.below(rows) as u32).collect();
    let out = if spec.residual { Operand::Whole(vec![]) } else { Operand::Result(2 * hidden) };
    Elementwise {
        kernel: generate::<Combine>(&spec, target).expect("a kernel"),
        rows: tokens,
        operands: vec![
            Operand::Whole(bf16_bytes(&random.bf16s(rows * hidden, Style::Wide))),
            Operand::Rows(u32_bytes(&row_of_slot)),
            Operand::Rows(f32_bytes(&random.f32s(rows, Style::Normal))),
            Operand::Rows(bf16_bytes(&random.bf16s(tokens * hidden, Style::Wide))),
            out,
            Operand::Rows(bf16_bytes(&random.bf16s(tokens * hidden, Style::Wide))),
            Operand::Whole(vec![0; 4]),
        ],
        pack: Box::new(move |at, tokens| {
            let (expert_out, row_of_slot, weight, shared) = (at[0], at[1], at[2], at[3]);
            let (out, stream, error, rows) = (at[4], at[5], at[6], rows as u32);
            CombineArguments { expert_out, row_of_slot, weight, shared, out, stream, error, rows, tokens }
                .pack()
        }),
    }
}

fn logits(random: &mut Random) -> (usize, SampleSpec, Operand) {
    let (rows, vocab) = (1 + random.below(10), 1 + random.below(700));
    let spec = SampleSpec { vocab: vocab as u32, pitch: vocab as u32 };
    (rows, spec, Operand::Rows(f32_bytes(&random.f32s(rows * vocab, Style::Normal))))
}

/// The likeliest token of rows of logits.
pub fn argmax(random: &mut Random, target: Target) -> Elementwise {
    let (rows, spec, logits) = logits(random);
    Elementwise {
        kernel: generate::<Argmax>(&spec, target).expect("a kernel"),
        rows,
        operands: vec![logits, Operand::Result(4), Operand::Whole(vec![0; 4])],
        pack: Box::new(|at, tokens| {
            ArgmaxArguments { logits: at[0], out: at[1], error: at[2], tokens }.pack()
        }),
    }
}

/// A token drawn from each row of logits.
pub fn sample(random: &mut Random, target: Target) -> Elementwise {
    let (rows, spec, logits) = logits(random);
    let numbers = |random: &mut Random| {
        Operand::Rows((0..rows).flat_map(|_| (random.bits() >> 40).to_le_bytes()).collect())
    };
    let operands = vec![
        logits,
        Operand::Rows((0..rows).flat_map(|_| random.pick(&[0.0_f32, 0.7, 1.5]).to_le_bytes()).collect()),
        Operand::Rows((0..rows).flat_map(|_| random.pick(&[1, 5, 50, u32::MAX]).to_le_bytes()).collect()),
        Operand::Rows((0..rows).flat_map(|_| random.pick(&[0.3_f32, 0.9, 1.0]).to_le_bytes()).collect()),
        numbers(random),
        numbers(random),
        numbers(random),
        Operand::Result(4),
        Operand::Whole(vec![0; 4]),
    ];
    Elementwise {
        kernel: generate::<Sample>(&spec, target).expect("a kernel"),
        rows,
        operands,
        pack: Box::new(|at, tokens| {
            let (temperature, top_k, top_p) = (at[1], at[2], at[3]);
            let (seed, sequence, position) = (at[4], at[5], at[6]);
            let (logits, out, error) = (at[0], at[7], at[8]);
            SampleArguments {
                logits,
                temperature,
                top_k,
                top_p,
                seed,
                sequence,
                position,
                out,
                error,
                tokens,
            }
            .pack()
        }),
    }
}
