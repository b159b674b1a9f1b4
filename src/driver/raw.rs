//! Entry points for those who own their memory: raw addresses instead of buffers.
#![allow(unsafe_code, reason = "the caller vouches for raw addresses")]

use super::backend::wrapped;
use super::buffer::Buffer;
use super::contract::Argument;
use super::element::DeviceElement;
use super::memory::Memory;
use super::{Error, Kernel, Result, Shape, Stream, tensor_map};

impl Kernel {
    /// Launches the kernel with addresses that nobody checks. A grid that the contract makes empty is no launch.
    ///
    /// # Errors
    ///
    /// If the arguments are not those of the contract, the grid is too large, a tensor map breaks a rule, or the stream
    /// is of another device.
    ///
    /// # Safety
    ///
    /// - Every address in the arguments, and every one that the kernel finds behind them, is memory of the stream's
    ///   device, as large as the kernel assumes for these arguments.
    /// - It stays allocated until the work of the stream has been done; for a stream that is being captured, until the
    ///   graph is gone and its work has been done.
    /// - What the kernel writes is used by nothing else meanwhile, and no Rust reference points to it.
    pub unsafe fn launch_raw(&self, stream: &Stream, arguments: &[Argument]) -> Result<()> {
        self.device().check_same(stream.device(), "launch")?;
        let Some(shape) = self.shape(arguments)? else { return Ok(()) };
        for (parameter, argument) in self.contract.parameters.iter().zip(arguments) {
            if let Argument::TensorMap(map) = argument {
                tensor_map::check(map).map_err(|source| Error::Argument {
                    kernel: self.contract.kernel.clone(),
                    parameter: parameter.name.to_string(),
                    source,
                })?;
            }
        }
        // SAFETY: the caller promises it.
        unsafe { self.submit(stream, &shape, arguments) }
    }
}

impl Stream {
    /// A buffer in memory that belongs to somebody else, who frees it. It is ordered behind the work of this stream.
    ///
    /// # Errors
    ///
    /// If the shape has no size.
    ///
    /// # Safety
    ///
    /// - From `address` on there is memory of the stream's device for the elements of the shape, aligned to them.
    /// - It stays allocated until the buffer has been dropped and all work on it has been done.
    /// - Work of others on that memory is ordered behind this buffer's and before it by the caller.
    pub unsafe fn borrow_raw<T: DeviceElement>(
        &self,
        address: u64,
        shape: impl Into<Shape>,
    ) -> Result<Buffer<T>> {
        let shape = shape.into();
        let (_, bytes) = shape.size("borrow memory", size_of::<T>())?;
        let block = match bytes as u64 {
            0 => None,
            bytes => {
                let adopt = wrapped!(Stream self.backend() => stream: Memory stream.adopt(address, bytes));
                Some(adopt?)
            }
        };
        Ok(Buffer::new(Memory::new(self.state(), block, false), shape))
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use crate::driver::contract::{Access, Argument, Contract, Parameter, ParameterKind};
    use crate::driver::{Device, ElementType, Error, Kernel, Module, Stream};

    const NEGATE: &str = "
        .version 7.0
        .target sm_80
        .address_size 64
        .visible .entry negate(.param .u64 x, .param .u64 y) {
            .reg .f32 %f<3>; .reg .b32 %r<2>; .reg .b64 %rd<6>;
            ld.param.u64 %rd1, [x];
            ld.param.u64 %rd2, [y];
            mov.u32 %r1, %tid.x;
            mul.wide.u32 %rd3, %r1, 4;
            add.s64 %rd4, %rd1, %rd3;
            add.s64 %rd5, %rd2, %rd3;
            ld.global.f32 %f1, [%rd4];
            neg.f32 %f2, %f1;
            st.global.f32 [%rd5], %f2;
            ret;
        }";

    fn negate() -> (Stream, Kernel) {
        let device = Device::simulated("sm_80".parse().expect("a target")).expect("a device");
        let pointer = |name, access| Parameter {
            name,
            kind: ParameterKind::Pointer(ElementType::F32, access),
            doc: "".into(),
        };
        let contract = Contract {
            kernel: "negate".to_owned(),
            spec: String::new(),
            target: device.target(),
            parameters: vec![pointer("x".into(), Access::In), pointer("y".into(), Access::Out)],
            grid: [1.into(), 1.into(), 1.into()],
            threads: 4,
            cluster: None,
            shared_bytes: 0,
            dependent_launch: false,
        };
        let module = Module::load(&device, NEGATE).expect("a right module");
        (device.stream().expect("a stream"), module.kernel(&contract).expect("a right contract"))
    }

    #[test]
    fn raw_addresses_are_launched() {
        let (stream, kernel) = negate();
        let x = stream.upload(4, &[1.0f32, 2.0, 3.0, 4.0]).expect("room");
        let y = stream.allocate::<f32>(4).expect("room");
        let arguments = [Argument::Address(x.address()), Argument::Address(y.address())];
        // SAFETY: both buffers have the elements of the only CTA, and live on.
        unsafe { kernel.launch_raw(&stream, &arguments) }.expect("a right launch");
        assert_eq!(stream.download(&y).expect("results"), [-1.0, -2.0, -3.0, -4.0]);
    }

    #[test]
    fn overlaps_of_borrowed_memory_are_refused() {
        let (stream, kernel) = negate();
        let owned = stream.upload(6, &[1.0f32; 6]).expect("room");
        let borrow = |first: u64| {
            // SAFETY: six elements are there, and these are not used at the same time.
            unsafe { stream.borrow_raw::<f32>(owned.address() + 4 * first, 4) }.expect("memory")
        };
        let (x, mut y) = (borrow(0), borrow(2));
        let arguments = [Argument::Address(x.address()), Argument::Address(y.address())];
        let error = kernel.launch(&stream, &arguments, &[x.reads(), y.writes()]).expect_err("two elements");
        assert!(matches!(error, Error::Overlap { .. }), "{error}");
        let words = format!("4 f32 at {:#x} (16 bytes) is written and overlaps", owned.address() + 8);
        assert!(error.to_string().contains(&words), "{error}");
        drop((x, y));
        assert_eq!(stream.download(&owned).expect("not freed by those who borrowed"), [1.0; 6]);
    }
}
