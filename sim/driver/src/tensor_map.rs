//! Tensor maps, encoded as the simulator reads them.

use crate::boundary::{In, InOut, Out};
use crate::error::{Code, Error};
use rorqual_sim::tensor_map::{
    ElementType, Interleave, L2Promotion, MAX_RANK, OobFill, Swizzle, TENSOR_MAP_BYTES, TensorMap,
    TensorMapError, TileSpec,
};

/// `CUtensorMap`.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Encoded([u8; TENSOR_MAP_BYTES]);

impl From<TensorMapError> for Error {
    fn from(error: TensorMapError) -> Self {
        let code = if error.is_unsupported() { Code::NotSupported } else { Code::InvalidValue };
        code.because(error.to_string())
    }
}

/// The error of a number that is none of an enumeration's.
const fn unknown(field: &'static str, code: u32) -> TensorMapError {
    TensorMapError::Code { field, code }
}

driver_functions! {
    fn cuTensorMapEncodeTiled[12000](
        map: Out<Encoded>, element: u32, rank: u32, address: u64, extents: In<u64>, strides_bytes: In<u64>,
        box_extents: In<u32>, element_strides: In<u32>, interleave: u32, swizzle: u32, l2_promotion: u32, fill: u32,
    ) {
        let rank = rank as usize;
        if rank == 0 || rank > MAX_RANK {
            return Err(TensorMapError::Rank { rank: rank as u64 }.into());
        }
        let spec = TileSpec::new(
            ElementType::from_driver(element)?,
            address,
            &extents.several(rank)?,
            &strides_bytes.several(rank - 1)?,
            &box_extents.several(rank)?,
            &element_strides.several(rank)?,
        )?;
        let spec = TileSpec {
            interleave: Interleave::from_driver_code(interleave).ok_or(unknown("interleave", interleave))?,
            swizzle: Swizzle::from_driver_code(swizzle).ok_or(unknown("swizzle", swizzle))?,
            l2_promotion: L2Promotion::from_driver_code(l2_promotion)
                .ok_or(unknown("l2Promotion", l2_promotion))?,
            fill: OobFill::from_driver_code(fill).ok_or(unknown("oobFill", fill))?,
            ..spec
        };
        map.set(Encoded(TensorMap::encode(&spec)?.to_bytes()));
        Ok(())
    }

    fn cuTensorMapReplaceAddress[12000](map: InOut<Encoded>, address: u64) {
        let mut known = TensorMap::from_bytes(&map.get().0)?;
        known.replace_address(address)?;
        map.set(Encoded(known.to_bytes()));
        Ok(())
    }
}
