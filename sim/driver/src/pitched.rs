//! Memory in rows that lie a pitch apart: allocation, copies and fills.

use crate::boundary::{Address, In, Out};
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use crate::graph::Operation;
use crate::handles::Handle;

/// Pitches are multiples of this, in bytes.
const PITCH_STEP: usize = 512;
/// `CUmemorytype`: where the rows are; unified addresses say so themselves.
const HOST: u32 = 1;
const DEVICE: u32 = 2;
const ARRAY: u32 = 3;
const UNIFIED: u32 = 4;

/// One side of `CUDA_MEMCPY2D`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Side {
    x_bytes: usize,
    y: usize,
    kind: u32,
    host: Address,
    device: Address,
    array: Handle,
    pitch_bytes: usize,
}

/// `CUDA_MEMCPY2D`
#[derive(Clone, Copy)]
#[repr(C)]
struct Copy2d {
    from: Side,
    to: Side,
    width_bytes: usize,
    height: usize,
}

const _: () = assert!(size_of::<Copy2d>() == 128, "as in cuda.h");

impl Side {
    /// The address of a row; a pitch of 0 is that of rows side by side.
    fn row(&self, row: usize, width_bytes: usize) -> Result<Address> {
        let address = match self.kind {
            HOST => self.host,
            DEVICE | UNIFIED => self.device,
            ARRAY => return Err(Code::NotSupported.because("arrays")),
            _ => return Err(Code::InvalidValue.into()),
        };
        let pitch = if self.pitch_bytes == 0 { width_bytes } else { self.pitch_bytes };
        let offset =
            self.y.checked_add(row).and_then(|row| row.checked_mul(pitch)?.checked_add(self.x_bytes));
        Ok(address.offset(offset.ok_or(Code::InvalidValue)?))
    }

    const fn is_narrow(&self, width_bytes: usize) -> bool {
        self.pitch_bytes != 0 && self.pitch_bytes < width_bytes
    }
}

impl Driver {
    fn copy_rows(&mut self, stream: Handle, copy: &Copy2d) -> Result<()> {
        let Copy2d { from, to, width_bytes, height } = copy;
        if from.is_narrow(*width_bytes) || to.is_narrow(*width_bytes) {
            return Err(Code::InvalidValue.because("rows wider than their pitch"));
        }
        let mut rows = Vec::new();
        for row in 0..if *width_bytes == 0 { 0 } else { *height } {
            let (from_row, to_row) = (from.row(row, *width_bytes)?, to.row(row, *width_bytes)?);
            let bytes = *width_bytes;
            rows.push(match (from.kind, to.kind) {
                (HOST, HOST) => Operation::Move { from: from_row.on_host(), to: to_row.on_host(), bytes },
                (HOST, DEVICE) => Operation::Upload { from: from_row.on_host(), to: to_row.value(), bytes },
                (DEVICE, HOST) => Operation::Download { from: from_row.value(), to: to_row.on_host(), bytes },
                _ => self.unified_copy(to_row, from_row, bytes),
            });
        }
        self.submit(stream, Operation::Copies(rows))
    }

    fn fill_rows(
        &mut self,
        stream: Handle,
        to: u64,
        pitch: usize,
        pattern: &[u8],
        size: [usize; 2],
    ) -> Result<()> {
        let [width, height] = size;
        let row_bytes = width.checked_mul(pattern.len()).ok_or(Code::InvalidValue)?;
        if height > 1 && pitch < row_bytes || !pitch.is_multiple_of(pattern.len()) {
            return Err(Code::InvalidValue.into());
        }
        for row in 0..if width == 0 { 0 } else { height } {
            let offset = row.checked_mul(pitch).ok_or(Code::InvalidValue)? as u64;
            let to = to.checked_add(offset).ok_or(Code::InvalidValue)?;
            self.submit(stream, Operation::Fill { to, pattern: pattern.to_vec(), count: width })?;
        }
        Ok(())
    }
}

driver_functions! {
    fn cuMemAllocPitch_v2[3020](
        address: Out<u64>, pitch_bytes: Out<usize>, width_bytes: usize, height: usize, element_bytes: u32,
    ) {
        let pitch = width_bytes.checked_next_multiple_of(PITCH_STEP).ok_or(Code::OutOfMemory)?;
        if ![4, 8, 16].contains(&element_bytes) {
            return Err(Code::InvalidValue.into());
        }
        let bytes = pitch.checked_mul(height).ok_or(Code::OutOfMemory)?;
        address.set(driver()?.allocate(bytes)?);
        pitch_bytes.set(pitch);
        Ok(())
    }

    /// Not of arrays.
    fn cuMemcpy2D_v2[3020 _ptds](copy: In<Copy2d>) {
        let mut driver = driver()?;
        driver.copy_rows(Handle::NULL, &copy.get()?)?;
        driver.synchronize(Handle::NULL)
    }

    /// Not of arrays.
    fn cuMemcpy2DUnaligned_v2[3020 _ptds](copy: In<Copy2d>) {
        let mut driver = driver()?;
        driver.copy_rows(Handle::NULL, &copy.get()?)?;
        driver.synchronize(Handle::NULL)
    }

    /// Not of arrays.
    fn cuMemcpy2DAsync_v2[3020 _ptsz](copy: In<Copy2d>, stream: Handle) {
        driver()?.copy_rows(stream, &copy.get()?)
    }

    fn cuMemsetD2D8_v2[3020 _ptds](to: u64, pitch: usize, value: u8, width: usize, height: usize) {
        driver()?.fill_rows(Handle::NULL, to, pitch, &[value], [width, height])
    }

    fn cuMemsetD2D8Async[3020 _ptsz](
        to: u64, pitch: usize, value: u8, width: usize, height: usize, stream: Handle,
    ) {
        driver()?.fill_rows(stream, to, pitch, &[value], [width, height])
    }

    fn cuMemsetD2D16_v2[3020 _ptds](to: u64, pitch: usize, value: u16, width: usize, height: usize) {
        driver()?.fill_rows(Handle::NULL, to, pitch, &value.to_le_bytes(), [width, height])
    }

    fn cuMemsetD2D16Async[3020 _ptsz](
        to: u64, pitch: usize, value: u16, width: usize, height: usize, stream: Handle,
    ) {
        driver()?.fill_rows(stream, to, pitch, &value.to_le_bytes(), [width, height])
    }

    fn cuMemsetD2D32_v2[3020 _ptds](to: u64, pitch: usize, value: u32, width: usize, height: usize) {
        driver()?.fill_rows(Handle::NULL, to, pitch, &value.to_le_bytes(), [width, height])
    }

    fn cuMemsetD2D32Async[3020 _ptsz](
        to: u64, pitch: usize, value: u32, width: usize, height: usize, stream: Handle,
    ) {
        driver()?.fill_rows(stream, to, pitch, &value.to_le_bytes(), [width, height])
    }
}
