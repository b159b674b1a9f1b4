//! Tensor copies between global and shared memory (PTX ISA 9.7.10.28.5; sm_90), and the tensor maps they need.

use crate::builder::Builder;
use crate::contract::{Argument, ParameterKind, ParameterType, SwizzleMode, TensorMap};
use crate::element::{Element, ElementType};
use crate::mbarrier::Mbarrier;
use crate::pointer::{Global, Pointer, Shared};
use crate::value::Value;
use rorqual_ptx::operand::{Base, Operand};

/// A tensor map as a parameter; see [`arguments!`](crate::arguments).
#[derive(Debug, Clone, Copy)]
pub struct TensorMapParameter;

/// A tensor map as the kernel's code sees it: its generic address.
#[derive(Debug, Clone, Copy)]
pub struct TensorMapAddress<'k> {
    address: Value<'k, u64>,
}

impl ParameterType for TensorMapParameter {
    type Device<'k> = TensorMapAddress<'k>;
    type Host = TensorMap;
    const KIND: ParameterKind = ParameterKind::TensorMap;

    fn load<'k>(builder: &'k Builder, name: &'static str) -> TensorMapAddress<'k> {
        let symbol = builder.parameter_symbol(name);
        let address: Value<'_, u64> = builder.compute("mov.b64", &[Operand::Symbol(symbol, 0)]);
        TensorMapAddress { address: builder.compute("cvta.param.u64", &[address.operand()]) }
    }

    fn pack(host: &TensorMap) -> Argument {
        Argument::TensorMap(Box::new(host.clone()))
    }
}

/// The box of a tile: what one copy moves, and how it lies in shared memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Box2d {
    /// The type of the elements.
    pub element: ElementType,
    /// Rows of the box.
    pub rows: u32,
    /// Elements of a row, next to each other in global memory.
    pub columns: u32,
    /// How rows lie in shared memory.
    pub swizzle: SwizzleMode,
}

impl Box2d {
    /// A box whose rows are as long as the swizzle's.
    #[must_use]
    pub fn swizzled<T: Element>(rows: u32, swizzle: SwizzleMode) -> Self {
        let bytes = match swizzle {
            SwizzleMode::None => 16,
            SwizzleMode::B32 => 32,
            SwizzleMode::B64 => 64,
            SwizzleMode::B128 => 128,
        };
        Self { element: T::ELEMENT, rows, columns: bytes / T::ELEMENT.bytes(), swizzle }
    }

    /// Bytes in shared memory, which is what a barrier expects of a copy, whatever part of it lies outside.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        self.rows * self.columns * self.element.bytes()
    }

    /// The map of a matrix `[rows, columns]` at an address, rows `pitch` elements apart.
    #[must_use]
    pub fn map(&self, address: u64, rows: u64, columns: u64, pitch: u64) -> TensorMap {
        TensorMap {
            address,
            element: self.element,
            extents: vec![columns, rows],
            strides_bytes: vec![pitch * u64::from(self.element.bytes())],
            box_extents: vec![self.columns, self.rows],
            swizzle: self.swizzle,
        }
    }
}

impl Builder {
    /// Copies the box whose first element is at `coordinates`, innermost first, to shared memory, at a multiple of 128
    /// bytes, of 1024 for the 128-byte swizzle; what lies outside of the tensor is zero. The barrier gets the bytes of
    /// the whole box. One thread does it.
    #[track_caller]
    pub fn copy_tensor_to_shared<T>(
        &self,
        to: Pointer<'_, Shared, T>,
        map: TensorMapAddress<'_>,
        coordinates: &[Value<'_, i32>],
        barrier: Mbarrier<'_>,
    ) {
        let opcode = format!(
            "cp.async.bulk.tensor.{}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes",
            coordinates.len()
        );
        let operands = vec![to.operand(), map.operand(coordinates), barrier.pointer().operand()];
        self.emit(&opcode, operands);
    }

    /// As [`copy_tensor_to_shared`](Self::copy_tensor_to_shared), to the same place in every CTA of the cluster whose
    /// bit is set in `ctas`; each one's own barrier gets the bytes.
    #[track_caller]
    pub fn multicast_tensor<T>(
        &self,
        to: Pointer<'_, Shared, T>,
        map: TensorMapAddress<'_>,
        coordinates: &[Value<'_, i32>],
        barrier: Mbarrier<'_>,
        ctas: u16,
    ) {
        let mask = self.compute::<crate::element::B16>("mov.b16", &[Operand::int(i64::from(ctas))]);
        let opcode = format!(
            "cp.async.bulk.tensor.{}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes\
             .multicast::cluster",
            coordinates.len()
        );
        let operands =
            vec![to.operand(), map.operand(coordinates), barrier.pointer().operand(), mask.operand()];
        self.emit(&opcode, operands);
    }

    /// Copies a box from shared memory to `coordinates`, innermost first; what lies outside of the tensor is dropped.
    /// Writes by addresses need [`fence_async_shared`](Self::fence_async_shared) before. One thread does it.
    #[track_caller]
    pub fn copy_tensor_to_global<T>(
        &self,
        map: TensorMapAddress<'_>,
        coordinates: &[Value<'_, i32>],
        from: Pointer<'_, Shared, T>,
    ) {
        let opcode =
            format!("cp.async.bulk.tensor.{}d.global.shared::cta.tile.bulk_group", coordinates.len());
        self.emit(&opcode, vec![map.operand(coordinates), from.operand()]);
    }

    /// Copies so many bytes, a multiple of 16, from shared to global memory, both at multiples of 16 bytes. Writes by
    /// addresses need [`fence_async_shared`](Self::fence_async_shared) before. The calling thread alone does it.
    #[track_caller]
    pub fn copy_bytes_to_global<T, U>(
        &self,
        to: Pointer<'_, Global, T>,
        from: Pointer<'_, Shared, U>,
        bytes: Value<'_, u32>,
    ) {
        let operands = vec![to.operand(), from.operand(), bytes.operand()];
        self.emit("cp.async.bulk.global.shared::cta.bulk_group", operands);
    }

    /// Closes a group of copies to global memory.
    #[track_caller]
    pub fn commit_stores(&self) {
        self.emit("cp.async.bulk.commit_group", vec![]);
    }

    /// Waits until shared memory has been read by all but the thread's newest `groups` groups.
    #[track_caller]
    pub fn wait_stores_read(&self, groups: u32) {
        self.emit("cp.async.bulk.wait_group.read", vec![Operand::int(i64::from(groups))]);
    }
}

impl TensorMapAddress<'_> {
    #[track_caller]
    fn operand(self, coordinates: &[Value<'_, i32>]) -> Operand {
        let coordinates = coordinates.iter().map(|coordinate| coordinate.operand()).collect();
        let register = self.address.in_register();
        Operand::Address(Box::new(rorqual_ptx::operand::Address {
            base: Base::Register(register),
            offset: 0,
            coordinates,
        }))
    }
}
