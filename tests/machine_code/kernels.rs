//! The kernels whose machine code is pinned: the products for Hopper, each shape of loop that the families write.

use rorqual::catalog::{AnySpec, Artifact};
use rorqual_kernels::gemm::hopper::{
    Format, Groups, HopperGemmSpec, HopperSwigluSpec, HopperWeightGradientSpec, Multicast, Tile,
};
use rorqual_kernels::gemm::{Order, Output};
use rorqual_ptx::target::Target;

/// Bytes of K in a stage.
const STAGE_K_BYTES: u32 = 128;

/// What a CTA of a kernel computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub rows: u32,
    /// Columns, gate and up counted both.
    pub columns: u32,
    /// Columns of a product, unless groups of few rows have their operands swapped.
    pub product_columns: u32,
    /// Warpgroups that multiply.
    pub consumers: u32,
}

impl Shape {
    /// Bytes that are copied while a consumer has groups of products issued.
    pub fn stage_bytes(&self, groups: u32) -> u32 {
        let groups_of_stage = self.rows * self.columns / (64 * self.product_columns * self.consumers);
        groups / groups_of_stage * (self.rows + self.columns) * STAGE_K_BYTES
    }
}

/// A kernel to be measured.
pub struct Listed {
    pub spec: AnySpec,
    pub artifact: Artifact,
    pub shape: Shape,
}

impl Listed {
    fn new(spec: AnySpec) -> Self {
        let target = Target::from_name("sm_90a").expect("a target");
        let kernel = spec.generate(target).unwrap_or_else(|error| panic!("{spec:?}: {error}"));
        let of_tile = |tile: &Tile| Shape {
            rows: tile.m,
            columns: tile.n,
            product_columns: tile.n,
            consumers: tile.consumer_warpgroups(),
        };
        let shape = match &spec {
            AnySpec::HopperFp8Gemm(HopperGemmSpec { tile, .. })
            | AnySpec::HopperBf16Gemm(HopperGemmSpec { tile, .. })
            | AnySpec::HopperWeightGradient(HopperWeightGradientSpec { tile, .. }) => of_tile(tile),
            AnySpec::HopperFp8Swiglu(_) => {
                Shape { rows: 128, columns: 256, product_columns: 128, consumers: 2 }
            }
            other => panic!("{other:?} is no product for Hopper"),
        };
        Self { artifact: Artifact::from(&kernel), spec, shape }
    }
}

fn tile(m: u32, n: u32, stages: u32, multicast: Multicast) -> Tile {
    Tile { m, n, stages, multicast }
}

/// The kernels, in the order of the page.
pub fn kernels() -> Vec<Listed> {
    use Multicast::{A, B, None as Alone};
    let fp8 = |n, k, tile| HopperGemmSpec::new(Format::Fp8, n, k, tile);
    let bf16 = |n, k, tile| HopperGemmSpec::new(Format::Bf16, n, k, tile);
    let fp8_specs = [
        fp8(4096, 7168, tile(128, 128, 4, Alone)),
        fp8(7168, 18432, tile(128, 128, 6, Alone)),
        fp8(7168, 18432, tile(128, 128, 6, B)),
        fp8(4096, 7168, tile(256, 128, 4, A)),
        fp8(7168, 16384, tile(256, 128, 4, A)),
        fp8(36864, 7168, tile(128, 192, 5, B)),
        fp8(576, 7168, tile(128, 144, 6, B)),
        HopperGemmSpec {
            grouping: Groups::Prefix { groups: 256 },
            ..fp8(4096, 7168, tile(128, 192, 5, Alone))
        },
        HopperGemmSpec {
            grouping: Groups::Prefix { groups: 256 },
            ..fp8(7168, 2048, tile(128, 192, 5, Alone))
        },
        fp8(576, 7168, tile(64, 8, 14, Alone)),
        fp8(1536, 7168, tile(64, 16, 14, Alone)),
        fp8(4096, 7168, tile(64, 32, 14, Alone)),
        fp8(7168, 16384, tile(64, 56, 14, Alone)),
        fp8(7168, 18432, tile(64, 56, 12, Alone)),
        fp8(36864, 7168, tile(64, 144, 8, Alone)),
        fp8(24576, 1536, tile(64, 192, 6, Alone)),
    ];
    let bf16_specs = [
        bf16(5120, 16384, tile(128, 256, 4, B)),
        HopperGemmSpec { output: Output::F32, ..bf16(129_280, 7168, tile(128, 256, 4, B)) },
        HopperGemmSpec {
            grouping: Groups::Prefix { groups: 160 },
            ..bf16(3072, 5120, tile(128, 256, 4, Alone))
        },
        HopperGemmSpec {
            b_order: Order::InputMajor,
            b_pitch: 512,
            ..bf16(512, 7168, tile(128, 256, 4, Alone))
        },
        bf16(1536, 5120, tile(128, 192, 5, B)),
        bf16(576, 5120, tile(128, 144, 5, B)),
        bf16(1536, 5120, tile(64, 16, 16, Alone)),
        bf16(5120, 16384, tile(64, 40, 16, Alone)),
        HopperGemmSpec { output: Output::F32, ..bf16(129_280, 7168, tile(64, 256, 5, Alone)) },
    ];
    let swiglu = HopperSwigluSpec::new(2048, 7168);
    let swiglu_specs =
        [swiglu, HopperSwigluSpec { grouping: Groups::Prefix { groups: 256 }, row_weights: true, ..swiglu }];
    let gradient = HopperWeightGradientSpec::new(4096, 7168, tile(128, 128, 6, Alone));
    let gradient_specs = [
        gradient,
        HopperWeightGradientSpec { groups: Some(8), accumulate: true, ..gradient },
        HopperWeightGradientSpec { tile: tile(128, 160, 5, Alone), ..gradient },
        HopperWeightGradientSpec { tile: tile(256, 112, 4, Alone), ..gradient },
    ];
    let specs = fp8_specs.map(AnySpec::HopperFp8Gemm).into_iter();
    let specs = specs.chain(bf16_specs.map(AnySpec::HopperBf16Gemm));
    let specs = specs.chain(swiglu_specs.map(AnySpec::HopperFp8Swiglu));
    specs.chain(gradient_specs.map(AnySpec::HopperWeightGradient)).map(Listed::new).collect()
}
