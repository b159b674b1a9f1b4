//! Bulk copies and reductions (PTX ISA 9.7.9.25): `cp{.reduce}.async.bulk` of consecutive bytes and
//! `cp{.reduce}.async.bulk.tensor` of boxes.
//!
//! A tensor copy visits a box of the tensor, dimension 0 fastest:
//! - element (i0, i1, ..) of the box is at coordinate `c_k + i_k * elementStride_k` of the tensor;
//! - in shared memory the rows of the box follow each other, each at least as long as the swizzle span, and the swizzle
//!   then permutes the address itself;
//! - a load fills elements outside of the tensor, a store or reduction leaves them out;
//! - the mbarrier is told the bytes of the whole box in any case.
//!
//! When a copy happens is the machine's business; these functions do all of it at once, and every check.

mod reduce;

pub use reduce::{ReduceOp, ReduceType, reduce_element};

use crate::memory::{DEFINED, DeviceMemory, MemoryError, SharedMemory, all_defined};
use crate::tensor_map::{ElementType, Interleave, MAX_RANK, OobFill, Swizzle, TensorMapError, TileSpec};

/// Addresses and sizes of plain bulk copies are multiples of this.
const BULK_UNIT: u64 = 16;
/// The shared address of a tensor copy is a multiple of this.
const TILE_ALIGN: u32 = 128;
/// The bytes of the longest row of a box: 256 elements of 8 bytes.
const MAX_ROW: usize = 2048;
/// What every 16 bits of an element outside of the tensor read as with NaN fill.
const OOB_NAN: u16 = 0x7ff7;

/// Why a bulk copy or reduction cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BulkError {
    /// An access of the copy.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The tensor map.
    #[error(transparent)]
    TensorMap(#[from] TensorMapError),
    /// An address is not aligned.
    #[error("the {what} address {address:#x} of the bulk copy must be a multiple of {align}")]
    Misaligned {
        /// Which address.
        what: &'static str,
        /// The address.
        address: u64,
        /// What it must be a multiple of.
        align: u64,
    },
    /// The size is no multiple of 16.
    #[error("the size of the bulk copy is {bytes} bytes: it must be a multiple of {BULK_UNIT}")]
    Size {
        /// The size.
        bytes: u64,
    },
    /// There are not as many coordinates as dimensions.
    #[error("{count} coordinates for a tensor map of {rank} dimensions")]
    CoordinateCount {
        /// The coordinates.
        count: usize,
        /// The dimensions.
        rank: usize,
    },
    /// A store or reduction begins at a negative coordinate.
    #[error(
        "coordinate {dim} is {value}: a copy from shared to global memory must not begin outside of the tensor"
    )]
    NegativeStart {
        /// The dimension.
        dim: usize,
        /// The coordinate.
        value: i32,
    },
    /// A store or reduction with a swizzle that only loads have.
    #[error("swizzle {} is for copies from global to shared memory", swizzle.name())]
    LoadOnlySwizzle {
        /// The swizzle.
        swizzle: Swizzle,
    },
    /// The operation does not exist for the type.
    #[error("there is no bulk reduction .{} of {}", op.name(), ty)]
    ReduceType {
        /// The operation.
        op: ReduceOp,
        /// The type.
        ty: &'static str,
    },
    /// The simulator does not have it.
    #[error("not supported by the simulator: {what}")]
    Unsupported {
        /// What it does not have.
        what: &'static str,
    },
}

impl BulkError {
    /// Whether the simulator lacks something, rather than the program being wrong.
    #[must_use]
    pub const fn is_unsupported(&self) -> bool {
        match self {
            Self::Unsupported { .. } => true,
            Self::TensorMap(error) => error.is_unsupported(),
            _ => false,
        }
    }
}

/// Consecutive bytes of a tensor copy, in global and in shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The global address; meaningless outside of the tensor.
    pub global: u64,
    /// The shared address, swizzled.
    pub shared: u32,
    /// The bytes.
    pub bytes: u32,
    /// Whether the bytes are inside of the tensor.
    pub inside: bool,
}

/// A row of the box.
struct Row {
    /// The shared address of its first byte, before the swizzle.
    shared: u32,
    /// The global address of its first byte inside of the tensor.
    global: u64,
    /// The bytes of the row that are inside.
    inside: std::ops::Range<u32>,
}

/// Checks what a plain bulk copy needs; the addresses may be of any state space.
///
/// # Errors
/// [`BulkError::Misaligned`], [`BulkError::Size`].
pub fn check_bulk(source: u64, destination: u64, bytes: u64) -> Result<(), BulkError> {
    for (what, address) in [("source", source), ("destination", destination)] {
        if !address.is_multiple_of(BULK_UNIT) {
            return Err(BulkError::Misaligned { what, address, align: BULK_UNIT });
        }
    }
    if !bytes.is_multiple_of(BULK_UNIT) {
        return Err(BulkError::Size { bytes });
    }
    Ok(())
}

/// Checks what a tensor copy needs beyond a valid tensor map; `store` says that it goes from shared to global memory, as
/// reductions do.
///
/// # Errors
/// The rule that is broken, or what the simulator does not have.
pub fn check_tile(
    spec: &TileSpec,
    coordinates: &[i32],
    shared_address: u32,
    store: bool,
) -> Result<(), BulkError> {
    if coordinates.len() != spec.rank {
        return Err(BulkError::CoordinateCount { count: coordinates.len(), rank: spec.rank });
    }
    if spec.interleave != Interleave::None {
        return Err(BulkError::Unsupported { what: "tensor copies of interleaved layouts" });
    }
    if !shared_address.is_multiple_of(TILE_ALIGN) {
        let (address, align) = (shared_address.into(), TILE_ALIGN.into());
        return Err(BulkError::Misaligned { what: "shared", address, align });
    }
    if store && spec.swizzle == Swizzle::B128Atom32Flip8 {
        return Err(BulkError::LoadOnlySwizzle { swizzle: spec.swizzle });
    }
    Ok(())
}

/// Checks that a store or reduction begins inside of the tensor in no dimension below 0. The manual asks for it; that
/// hardware clips such boxes as it clips others is relied on, so the check is a policy of the launch.
///
/// # Errors
///
/// Names the coordinate.
pub fn check_store_start(coordinates: &[i32]) -> Result<(), BulkError> {
    match coordinates.iter().enumerate().find(|(_, value)| **value < 0) {
        Some((dim, &value)) => Err(BulkError::NegativeStart { dim, value }),
        None => Ok(()),
    }
}

/// The bytes of a box that are inside of the tensor.
#[must_use]
pub fn inside_bytes(spec: &TileSpec, coordinates: &[i32]) -> u32 {
    let counts = spec.counts();
    coordinates.iter().take(spec.rank).enumerate().fold(spec.element.bytes(), |bytes, (dim, &start)| {
        let step = i64::from(spec.element_stride(dim));
        let (start, count) = (i64::from(start), i64::from(counts[dim]));
        // The first position at or beyond a coordinate.
        let position = |coordinate: i64| (coordinate - start + step - 1).div_euclid(step).clamp(0, count);
        bytes * (position(spec.dims[dim] as i64) - position(0)) as u32
    })
}

/// Visits the rows of a box. The map is valid, and there are as many coordinates as dimensions.
fn for_each_row<E>(
    spec: &TileSpec,
    coordinates: &[i32],
    shared_address: u32,
    mut visit: impl FnMut(Row) -> Result<(), E>,
) -> Result<(), E> {
    let (counts, element, pitch) = (spec.counts(), i64::from(spec.element.bytes()), spec.row_pitch());
    debug_assert_eq!(coordinates.len(), spec.rank);
    let coordinate = |dim: usize| i64::from(coordinates.get(dim).copied().unwrap_or(0));
    // The elements of a row inside of the tensor are the same in every row that is not outside altogether.
    let start = coordinate(0);
    let length = i64::from(counts[0]);
    let first = (-start).clamp(0, length);
    let last = (spec.dims[0] as i64 - start).clamp(first, length);
    let row_inside = (first * element) as u32..(last * element) as u32;
    let mut index = [0; MAX_RANK];
    let mut shared = shared_address;
    loop {
        let mut inside = true;
        let mut global = spec.address.wrapping_add_signed((start + first) * element);
        for (dim, position) in index.iter().enumerate().take(spec.rank).skip(1) {
            let at = coordinate(dim) + i64::from(*position) * i64::from(spec.element_stride(dim));
            inside &= (0..spec.dims[dim] as i64).contains(&at);
            global = global.wrapping_add_signed(at.wrapping_mul(spec.strides[dim] as i64));
        }
        visit(Row { shared, global, inside: if inside { row_inside.clone() } else { 0..0 } })?;
        shared = shared.wrapping_add(pitch);
        // The next row: dimension 1 counts fastest.
        let Some(advancing) = (1..spec.rank).find(|dim| index[*dim] + 1 < counts[*dim]) else {
            return Ok(());
        };
        index[1..advancing].fill(0);
        index[advancing] += 1;
    }
}

/// Visits the bytes `from..to` of a row in pieces that stay together under the swizzle: position in the row, swizzled
/// address, bytes.
#[inline(always)]
fn for_each_piece<E>(
    swizzle: Swizzle,
    row: u32,
    range: std::ops::Range<u32>,
    mut visit: impl FnMut(u32, u32, u32) -> Result<(), E>,
) -> Result<(), E> {
    let unit = swizzle.unit();
    let mut at = range.start;
    while at < range.end {
        let address = row.wrapping_add(at);
        let bytes = (unit - address % unit).min(range.end - at);
        visit(at, swizzle.apply(address), bytes)?;
        at += bytes;
    }
    Ok(())
}

/// Visits the bytes in global memory of every row of a box that are inside of the tensor: address and bytes.
pub fn global_rows(spec: &TileSpec, coordinates: &[i32], mut visit: impl FnMut(u64, u64)) {
    let visited: Result<(), std::convert::Infallible> = for_each_row(spec, coordinates, 0, |row| {
        if !row.inside.is_empty() {
            visit(row.global, row.inside.len() as u64);
        }
        Ok(())
    });
    let Ok(()) = visited;
}

/// Visits every byte of the box of a load, those outside of the tensor too, in the order of the box. The copy is one that
/// [`check_tile`] finds nothing wrong with.
///
/// # Errors
/// The first error of `visit`.
pub fn load_runs<E>(
    spec: &TileSpec,
    coordinates: &[i32],
    shared_address: u32,
    mut visit: impl FnMut(Run) -> Result<(), E>,
) -> Result<(), E> {
    let row_bytes = spec.counts()[0] * spec.element.bytes();
    for_each_row(spec, coordinates, shared_address, |row| {
        let Row { shared: start, global, inside } = row;
        for (range, is_inside) in
            [(0..inside.start, false), (inside.clone(), true), (inside.end..row_bytes, false)]
        {
            for_each_piece(spec.swizzle, start, range, |at, shared, bytes| {
                let global = if is_inside { global + u64::from(at - inside.start) } else { 0 };
                visit(Run { global, shared, bytes, inside: is_inside })
            })?;
        }
        Ok(())
    })
}

/// Visits every byte of the box of a store or reduction that is inside of the tensor, in the order of the box. The copy
/// is one that [`check_tile`] finds nothing wrong with.
///
/// # Errors
/// The first error of `visit`.
pub fn store_runs<E>(
    spec: &TileSpec,
    coordinates: &[i32],
    shared_address: u32,
    mut visit: impl FnMut(Run) -> Result<(), E>,
) -> Result<(), E> {
    for_each_row(spec, coordinates, shared_address, |row| {
        let Row { shared: start, global, inside } = row;
        for_each_piece(spec.swizzle, start, inside.clone(), |at, shared, bytes| {
            visit(Run { global: global + u64::from(at - inside.start), shared, bytes, inside: true })
        })
    })
}

/// Loads a box. The bytes of the box, which the copy completes on its mbarrier.
///
/// # Errors
/// What [`check_tile`] finds, or an access that is not possible; part of the box may have been copied then.
pub fn load_tile(
    spec: &TileSpec,
    coordinates: &[i32],
    global: DeviceMemory<'_>,
    shared: &mut SharedMemory,
    shared_address: u32,
) -> Result<u32, BulkError> {
    check_tile(spec, coordinates, shared_address, false)?;
    let row_bytes = (spec.counts()[0] * spec.element.bytes()) as usize;
    // A swizzle moves bytes within spans only, so that the whole image is one range of shared memory.
    let (image, image_flags) = shared.range_mut(shared_address, spec.shared_bytes())?;
    let (mut row_data, mut row_flags) = ([0; MAX_ROW], [DEFINED; MAX_ROW]);
    for_each_row(spec, coordinates, shared_address, |row| {
        let (data, flags) = (&mut row_data[..row_bytes], &mut row_flags[..row_bytes]);
        let inside = row.inside.start as usize..row.inside.end as usize;
        if inside.len() < row_bytes {
            fill_outside(spec, data);
            flags.fill(DEFINED);
        }
        if !inside.is_empty() {
            let inside_data = &mut data[inside.clone()];
            global.read_range(row.global, inside_data, &mut flags[inside])?;
            if spec.element.rounds_on_load() {
                round_to_tf32(inside_data);
            }
        }
        for_each_piece(spec.swizzle, row.shared, 0..row_bytes as u32, |at, address, bytes| {
            let (from, to, bytes) =
                (at as usize, address.wrapping_sub(shared_address) as usize, bytes as usize);
            image[to..to + bytes].copy_from_slice(&data[from..from + bytes]);
            image_flags[to..to + bytes].copy_from_slice(&flags[from..from + bytes]);
            Ok::<(), BulkError>(())
        })
    })?;
    Ok(spec.box_bytes())
}

/// What elements outside of the tensor read as.
fn fill_outside(spec: &TileSpec, data: &mut [u8]) {
    match spec.fill {
        OobFill::Zero => data.fill(0),
        OobFill::Nan => data.as_chunks_mut::<2>().0.fill(OOB_NAN.to_le_bytes()),
    }
}

/// Rounds single precision values to 10 bits of fraction, to nearest, ties to even. NaN becomes the canonical one.
fn round_to_tf32(data: &mut [u8]) {
    for element in data.as_chunks_mut::<4>().0 {
        let bits = u32::from_le_bytes(*element);
        let rounded = match f32::from_bits(bits) {
            value if value.is_nan() => 0x7fff_e000,
            value if value.is_infinite() => bits,
            _ => (bits + 0xfff + (bits >> 13 & 1)) & !0x1fff,
        };
        *element = rounded.to_le_bytes();
    }
}

/// Visits the rows of a box that are inside of the tensor: global address, data, flags.
fn for_each_stored_row(
    spec: &TileSpec,
    coordinates: &[i32],
    shared: &SharedMemory,
    shared_address: u32,
    mut visit: impl FnMut(u64, &[u8], &[u8]) -> Result<(), BulkError>,
) -> Result<u32, BulkError> {
    check_tile(spec, coordinates, shared_address, true)?;
    let (image, image_flags) = shared.range(shared_address, spec.shared_bytes())?;
    let (mut row_data, mut row_flags) = ([0; MAX_ROW], [DEFINED; MAX_ROW]);
    let mut stored = 0;
    for_each_row(spec, coordinates, shared_address, |row| {
        let inside = row.inside.start as usize..row.inside.end as usize;
        for_each_piece(spec.swizzle, row.shared, row.inside, |at, address, bytes| {
            let (to, from, bytes) =
                (at as usize, address.wrapping_sub(shared_address) as usize, bytes as usize);
            row_data[to..to + bytes].copy_from_slice(&image[from..from + bytes]);
            row_flags[to..to + bytes].copy_from_slice(&image_flags[from..from + bytes]);
            Ok::<(), BulkError>(())
        })?;
        stored += inside.len() as u32;
        if inside.is_empty() {
            Ok(())
        } else {
            visit(row.global, &row_data[inside.clone()], &row_flags[inside])
        }
    })?;
    Ok(stored)
}

/// Stores the part of a box that is inside of the tensor; its bytes. `origin` is the line of the instruction, for
/// bytes that are undefined.
///
/// # Errors
/// What [`check_tile`] finds, or an access that is not possible; part of the box may have been copied then.
pub fn store_tile(
    spec: &TileSpec,
    coordinates: &[i32],
    shared: &SharedMemory,
    shared_address: u32,
    global: DeviceMemory<'_>,
    origin: u32,
) -> Result<u32, BulkError> {
    for_each_stored_row(spec, coordinates, shared, shared_address, |address, data, flags| {
        Ok(global.write_range(address, data, flags, origin)?)
    })
}

/// Reduces the part of a box that is inside of the tensor into the tensor, each element atomically; its bytes.
///
/// # Errors
/// What [`check_tile`] finds, [`BulkError::ReduceType`], or an access that is not possible; part of the box may have
/// been reduced then.
pub fn reduce_tile(
    spec: &TileSpec,
    coordinates: &[i32],
    op: ReduceOp,
    shared: &SharedMemory,
    shared_address: u32,
    global: DeviceMemory<'_>,
    origin: u32,
) -> Result<u32, BulkError> {
    let ty = match spec.element {
        ElementType::U32 => ReduceType::U32,
        ElementType::S32 => ReduceType::S32,
        ElementType::U64 => ReduceType::U64,
        ElementType::S64 => ReduceType::S64,
        ElementType::F16 => ReduceType::F16,
        ElementType::Bf16 => ReduceType::Bf16,
        ElementType::F32 | ElementType::Tf32 => ReduceType::F32,
        ElementType::F32Ftz | ElementType::Tf32Ftz => ReduceType::F32Ftz,
        ElementType::F64 => ReduceType::F64,
        ElementType::U8 | ElementType::U16 => {
            return Err(BulkError::ReduceType { op, ty: spec.element.name() });
        }
    };
    let combine = ty.combine(op)?;
    for_each_stored_row(spec, coordinates, shared, shared_address, |address, data, flags| {
        Ok(global.update_range(address, ty.bytes(), data, flags, origin, combine)?)
    })
}

/// `cp.async.bulk` from global to shared memory.
///
/// # Errors
/// What [`check_bulk`] finds, or a range that is not in one allocation or not within the CTA's shared memory.
pub fn load_bulk(
    global: DeviceMemory<'_>,
    source: u64,
    shared: &mut SharedMemory,
    destination: u32,
    bytes: u32,
) -> Result<(), BulkError> {
    check_bulk(source, destination.into(), bytes.into())?;
    let (data, flags) = shared.range_mut(destination, bytes)?;
    global.read_range(source, data, flags)?;
    Ok(())
}

/// `cp.async.bulk` from shared to global memory.
///
/// # Errors
/// What [`check_bulk`] finds, or a range that is not in one allocation or not within the CTA's shared memory.
pub fn store_bulk(
    shared: &SharedMemory,
    source: u32,
    global: DeviceMemory<'_>,
    destination: u64,
    bytes: u32,
    origin: u32,
) -> Result<(), BulkError> {
    check_bulk(source.into(), destination, bytes.into())?;
    let (data, flags) = shared.range(source, bytes)?;
    Ok(global.write_range(destination, data, flags, origin)?)
}

/// `cp.async.bulk` from the shared memory of a CTA to that of another.
///
/// # Errors
/// What [`check_bulk`] finds, or a range that is not within its CTA's shared memory.
pub fn copy_bulk(
    from: &SharedMemory,
    source: u32,
    to: &mut SharedMemory,
    destination: u32,
    bytes: u32,
) -> Result<(), BulkError> {
    check_bulk(source.into(), destination.into(), bytes.into())?;
    let (data, flags) = from.range(source, bytes)?;
    Ok(to.write_range(destination, data, flags)?)
}

/// `cp.reduce.async.bulk` from shared to global memory, each element atomic. Additions of f32 flush subnormals.
///
/// # Errors
/// What [`check_bulk`] finds, [`BulkError::ReduceType`], or a range that is not in one allocation or not within the
/// CTA's shared memory.
#[expect(
    clippy::too_many_arguments,
    reason = "two memories, each with its address, and an operation with its type"
)]
pub fn reduce_bulk_global(
    shared: &SharedMemory,
    source: u32,
    global: DeviceMemory<'_>,
    destination: u64,
    bytes: u32,
    op: ReduceOp,
    ty: ReduceType,
    origin: u32,
) -> Result<(), BulkError> {
    check_bulk(source.into(), destination, bytes.into())?;
    let ty = if ty == ReduceType::F32 { ReduceType::F32Ftz } else { ty };
    let combine = ty.combine(op)?;
    let (data, flags) = shared.range(source, bytes)?;
    Ok(global.update_range(destination, ty.bytes(), data, flags, origin, combine)?)
}

/// `cp.reduce.async.bulk` from the shared memory of a CTA to that of another: integers only.
///
/// # Errors
/// What [`check_bulk`] finds, [`BulkError::ReduceType`], or a range that is not within its CTA's shared memory.
pub fn reduce_bulk_shared(
    from: &SharedMemory,
    source: u32,
    to: &mut SharedMemory,
    destination: u32,
    bytes: u32,
    op: ReduceOp,
    ty: ReduceType,
) -> Result<(), BulkError> {
    check_bulk(source.into(), destination.into(), bytes.into())?;
    if !ty.reduces_in_shared(op) {
        return Err(BulkError::ReduceType { op, ty: ty.name() });
    }
    let combine = ty.combine(op)?;
    let (operands, operand_flags) = from.range(source, bytes)?;
    let (data, flags) = to.range_mut(destination, bytes)?;
    let width = ty.bytes() as usize;
    for at in (0..data.len()).step_by(width) {
        let range = at..at + width;
        let new = combine(word_of(&data[range.clone()]), word_of(&operands[range.clone()]));
        data[range.clone()].copy_from_slice(&new.to_le_bytes()[..width]);
        let defined = all_defined(&flags[range.clone()]) && all_defined(&operand_flags[range.clone()]);
        flags[range].fill(if defined { DEFINED } else { 0 });
    }
    Ok(())
}

/// At most 8 bytes as a word.
fn word_of(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
