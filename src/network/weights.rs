//! Linear layers in device memory: FP8 codes and scales as they are stored, everything else in bf16.

use crate::driver::{Buffer, Stream};
use crate::error::{Error, Result};
use crate::model::weights::{BLOCK, Matrix};
use crate::num::{E4m3, bf16};
use crate::reference::moe::Mlp;

/// The weights `[n, k]` of one linear layer, or of as many as there are experts.
#[derive(Debug)]
pub(super) struct Linear {
    /// Outputs.
    pub n: usize,
    /// Inputs.
    pub k: usize,
    /// Weights, one after the other.
    pub groups: usize,
    /// The elements.
    pub stored: Stored,
}

/// The elements of a [`Linear`].
#[derive(Debug)]
pub(super) enum Stored {
    /// e4m3 with one scale per 128x128.
    Fp8 {
        /// `[groups, n, k]`
        codes: Buffer<E4m3>,
        /// `[groups, ceil(n / 128), ceil(k / 128)]`
        scales: Buffer<f32>,
    },
    /// bfloat16, `[groups, n, k]`.
    Bf16(Buffer<bf16>),
}

impl Linear {
    /// One weight.
    pub fn upload(stream: &Stream, weight: &Matrix) -> Result<Self> {
        Self::upload_groups(stream, &[vec![weight]])
    }

    /// A weight for each group, of which each is its parts, one below the other. Parts are all block-scaled or all not;
    /// block-scaled parts but the last have multiples of 128 rows, so that blocks stay whole.
    pub fn upload_groups(stream: &Stream, groups: &[Vec<&Matrix>]) -> Result<Self> {
        let parts = || groups.iter().flatten();
        let Some(first) = groups.first() else { return Err(Error::MixedWeights) };
        let (n, k) = (first.iter().map(|part| part.rows()).sum::<usize>(), first[0].columns());
        let scaled = first[0].is_block_scaled();
        if parts().any(|part| part.is_block_scaled() != scaled || part.columns() != k) {
            return Err(Error::MixedWeights);
        }
        let stored = if scaled {
            let block_columns = k.div_ceil(BLOCK);
            let mut codes = stream.allocate([groups.len(), n, k])?;
            let mut scales = stream.allocate([groups.len(), n.div_ceil(BLOCK), block_columns])?;
            let (mut code, mut scale) = (0, 0);
            for (part_codes, part_scales) in parts().filter_map(|part| part.block_scaled()) {
                let part_codes: Vec<E4m3> = part_codes.iter().map(|bits| E4m3::from_bits(*bits)).collect();
                stream.write(codes.slice_mut(code, part_codes.len())?, &part_codes)?;
                stream.write(scales.slice_mut(scale, part_scales.len())?, part_scales)?;
                code += part_codes.len();
                scale += part_scales.len();
            }
            Stored::Fp8 { codes, scales }
        } else {
            let mut elements = stream.allocate([groups.len(), n, k])?;
            let mut next = 0;
            for part in parts() {
                let values = to_bf16(part);
                stream.write(elements.slice_mut(next, values.len())?, &values)?;
                next += values.len();
            }
            Stored::Bf16(elements)
        };
        Ok(Self { n, k, groups: groups.len(), stored })
    }

    /// Whether inputs are quantised for it.
    pub fn is_fp8(&self) -> bool {
        matches!(self.stored, Stored::Fp8 { .. })
    }

    /// Bytes that a weight will take on the device.
    pub fn bytes(weight: &Matrix) -> usize {
        let (rows, columns) = (weight.rows(), weight.columns());
        if weight.is_block_scaled() {
            rows * columns + 4 * rows.div_ceil(BLOCK) * columns.div_ceil(BLOCK)
        } else {
            2 * rows * columns
        }
    }
}

/// The elements of a weight, rounded to bf16, scales applied.
pub(super) fn to_bf16(weight: &Matrix) -> Vec<bf16> {
    let mut values = Vec::with_capacity(weight.rows() * weight.columns());
    let mut row = vec![0.0; weight.columns()];
    for index in 0..weight.rows() {
        weight.read_row(index, &mut row);
        values.extend(row.iter().map(|value| bf16::from_f32(*value)));
    }
    values
}

/// The two projections before SwiGLU, which write one matrix `[rows, 2 * inter]`: in one product where their blocks
/// allow it, else in two.
#[derive(Debug)]
pub(super) struct GateUp {
    /// Each with the column of the result that it starts at.
    pub parts: Vec<(Linear, usize)>,
    /// Columns of either.
    pub inter: usize,
}

impl GateUp {
    /// Of one network, or of as many as there are experts.
    pub fn upload(stream: &Stream, networks: &[&Mlp]) -> Result<Self> {
        let gates = || networks.iter().map(|network| &network.gate_proj);
        let ups = || networks.iter().map(|network| &network.up_proj);
        let inter = gates().next().map_or(0, Matrix::rows);
        let scaled: Vec<bool> = gates().chain(ups()).map(Matrix::is_block_scaled).collect();
        let fits = scaled.iter().all(|scaled| !scaled)
            || (scaled.iter().all(|scaled| *scaled) && inter.is_multiple_of(BLOCK));
        let parts = if fits {
            let groups: Vec<Vec<&Matrix>> = gates().zip(ups()).map(|(gate, up)| vec![gate, up]).collect();
            vec![(Linear::upload_groups(stream, &groups)?, 0)]
        } else {
            let alone = |matrices: Vec<&Matrix>| -> Result<Linear> {
                let groups: Vec<Vec<&Matrix>> = matrices.into_iter().map(|matrix| vec![matrix]).collect();
                Linear::upload_groups(stream, &groups)
            };
            vec![(alone(gates().collect())?, 0), (alone(ups().collect())?, inter)]
        };
        Ok(Self { parts, inter })
    }

    /// Whether any part takes quantised inputs.
    pub fn takes_fp8(&self) -> bool {
        self.parts.iter().any(|(part, _)| part.is_fp8())
    }

    /// Whether any part takes bf16 inputs.
    pub fn takes_bf16(&self) -> bool {
        self.parts.iter().any(|(part, _)| !part.is_fp8())
    }
}
