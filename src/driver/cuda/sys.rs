//! Every call of the CUDA driver: objects that own what they got from it, with methods that bind its context first.
//!
//! `cudarc` has no safe layer for tensor maps, cluster launches, programmatic launches and the log of the compiler;
//! those go through its bindings. Variants of enums are named only if CUDA 12.0 has them, since the version of the
//! bindings cannot be asked. No other module of the driver touches a raw handle.
#![allow(unsafe_code, reason = "calls of the CUDA driver")]

use super::preflight;
use crate::driver::backend::LaunchShape;
use crate::driver::contract::{Argument, Contract, SwizzleMode, TensorMap};
use crate::driver::device::{MemoryInfo, Properties};
use crate::driver::memory::Mode;
use crate::driver::{ElementType, Error, Result, Target};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, sys};
use rorqual_kernels::cubin::Cubin;
use rorqual_ptx::target::Features;
use std::ffi::{CStr, CString, c_void};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The compiler's log that is kept, in bytes.
const LOG_BYTES: usize = 32 << 10;
/// CTAs of the largest cluster that needs no opting in.
const PORTABLE_CLUSTER: u32 = 8;
/// The oldest device that kernels are made for, as its major compute capability.
const OLDEST_MAJOR: u16 = 8;

/// Gives an error of the driver the name of the operation. The preflight has seen the functions that describe it.
fn call<T>(operation: &'static str, result: Result<T, DriverError>) -> Result<T> {
    result.map_err(|error| {
        let text = |text: Result<&CStr, DriverError>| {
            text.map_or_else(|_| "unknown".to_owned(), |text| text.to_string_lossy().into_owned())
        };
        Error::Cuda {
            operation,
            code: error.0 as u32,
            name: text(error.error_name()),
            message: text(error.error_string()),
        }
    })
}

/// What fails while something is dropped cannot be returned.
fn dropped(operation: &'static str, result: Result<(), DriverError>) {
    if let Err(error) = call(operation, result) {
        tracing::warn!(%error, "dropping failed");
    }
}

/// A device: its primary context.
#[derive(Debug)]
pub(in crate::driver) struct Context {
    context: Arc<CudaContext>,
}

impl Context {
    pub fn open(ordinal: usize) -> Result<(Self, Properties)> {
        let devices = preflight::devices()?;
        if ordinal >= devices {
            return Err(Error::NoDevice { ordinal, devices });
        }
        let context = call("open a device", CudaContext::new(ordinal))?;
        // SAFETY: it is about `CudaSlice`s of this context, of which there are none: `Memory` orders its own uses.
        unsafe { context.disable_event_tracking() };
        let attribute =
            |attribute| call("ask for an attribute", context.attribute(attribute)).map(i32::unsigned_abs);
        let name = call("ask for the name", context.name())?;
        let major = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let target = target(major as u16, minor as u16);
        let unsupported = |reason: String| Error::UnsupportedDevice { device: name.clone(), reason };
        if major < u32::from(OLDEST_MAJOR) {
            return Err(unsupported(format!(
                "its compute capability is {major}.{minor}, at least 8.0 is needed"
            )));
        }
        if !context.has_async_alloc() {
            return Err(unsupported("it has no memory pools".to_owned()));
        }
        let properties = Properties {
            target,
            multiprocessors: attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            shared_bytes: attribute(
                sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
            )?,
            name,
        };
        Ok((Self { context }, properties))
    }

    /// The context as `cudarc` knows it.
    pub const fn cuda_context(&self) -> &Arc<CudaContext> {
        &self.context
    }

    pub fn memory_info(&self) -> Result<MemoryInfo> {
        let (free, total) = call("ask for the memory", self.context.mem_get_info())?;
        Ok(MemoryInfo { free: free as u64, total: total as u64 })
    }

    pub fn synchronize(&self) -> Result<()> {
        call("synchronize", self.context.synchronize())
    }

    pub fn stream(&self) -> Result<Stream> {
        call("make a stream", self.context.new_stream()).map(Stream::new)
    }

    pub fn pinned(&self, bytes: usize) -> Result<Pinned> {
        let operation = "allocate pinned memory";
        call(operation, self.context.bind_to_thread())?;
        // SAFETY: the context is bound; the memory is overwritten before anybody reads it.
        let pointer = call(operation, unsafe { result::malloc_host(bytes, 0) })?.cast::<u8>();
        let Some(pointer) = NonNull::new(pointer) else {
            let (name, message) = ("no memory".to_owned(), "the driver gave a null pointer".to_owned());
            return Err(Error::Cuda { operation, code: 0, name, message });
        };
        // SAFETY: there are so many bytes, which nobody else knows yet.
        unsafe { pointer.write_bytes(0, bytes) };
        Ok(Pinned { pointer, bytes, in_use_until: None, context: Arc::clone(&self.context) })
    }

    /// Loads a module of these kernels.
    pub fn load(&self, ptx: &str, cubin: Option<&Cubin>, kernels: &[String]) -> Result<Module> {
        call("load", self.context.bind_to_thread())?;
        match cubin.map(|cubin| self.load_image(cubin.bytes(), true, kernels)) {
            Some(Ok(module)) => return Ok(module),
            Some(Err(error)) => tracing::warn!(%error, "machine code is refused, the text is compiled"),
            None => {}
        }
        let text = CString::new(ptx).map_err(|error| Error::Shape {
            operation: "load",
            expected: "text without NUL".to_owned(),
            given: format!("a NUL at byte {}", error.nul_position()),
        })?;
        self.load_image(text.as_bytes_with_nul(), false, kernels)
    }

    /// Loads text that ends in NUL, or a whole file of machine code. The context is bound.
    fn load_image(&self, image: &[u8], is_machine_code: bool, kernels: &[String]) -> Result<Module> {
        let mut log = vec![0u8; LOG_BYTES];
        let mut options = [
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
        ];
        // Sizes are passed in the place of pointers.
        let mut values = [log.as_mut_ptr().cast::<c_void>(), std::ptr::without_provenance_mut(LOG_BYTES)];
        let mut module = std::ptr::null_mut();
        // SAFETY: the context is bound; text ends in 0, and a `Cubin` has all that its headers speak of; there are two
        // options with a value each, of which the buffer has the size that is given and outlives the call.
        let loaded = unsafe {
            sys::cuModuleLoadDataEx(
                &raw mut module,
                image.as_ptr().cast(),
                options.len() as u32,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        match call("load", loaded.result()) {
            Ok(()) => {
                let context = Arc::clone(&self.context);
                Ok(Module(Arc::new(OwnedModule { module: Handle(module), is_machine_code, context })))
            }
            Err(Error::Cuda { code, name, message, .. }) => {
                let end = log.iter().position(|byte| *byte == 0).unwrap_or(LOG_BYTES);
                let log = String::from_utf8_lossy(&log[..end]).trim().to_owned();
                let log = if log.is_empty() { message } else { log };
                Err(Error::Compile { kernels: kernels.to_vec(), code, name, log })
            }
            Err(error) => Err(error),
        }
    }
}

/// The target that a device of a compute capability runs: that of its own where there is one.
fn target(major: u16, minor: u16) -> Target {
    let plain = Target { sm: 10 * major + minor, features: Features::Baseline };
    let own = Target { features: Features::Specific, ..plain };
    if own.architecture().is_some() { own } else { plain }
}

/// A handle of the driver, which may be used from any thread whose context is bound.
#[derive(Debug, Clone, Copy)]
struct Handle<T>(T);

// SAFETY: the driver's functions may be called from any thread (CUDA programming guide, driver API: contexts); what
// must not be called at the same time on one object takes it by `&mut` or is called by one owner.
unsafe impl<T> Send for Handle<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Handle<T> {}

/// Work in order.
#[derive(Debug)]
pub(in crate::driver) struct Stream {
    stream: Arc<CudaStream>,
    /// The modules that a graph under capture uses.
    captured: Mutex<Option<Vec<Arc<OwnedModule>>>>,
}

impl Stream {
    pub const fn new(stream: Arc<CudaStream>) -> Self {
        Self { stream, captured: Mutex::new(None) }
    }

    /// The stream as `cudarc` knows it.
    pub const fn cuda_stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    fn bind(&self, operation: &'static str) -> Result<sys::CUstream> {
        call(operation, self.stream.context().bind_to_thread())?;
        Ok(self.stream.cu_stream())
    }

    fn captured(&self) -> MutexGuard<'_, Option<Vec<Arc<OwnedModule>>>> {
        self.captured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory with any contents; `None` if there is not enough.
    pub fn allocate(&self, bytes: u64) -> Result<Option<Memory>> {
        let stream = self.bind("allocate")?;
        // SAFETY: the stream is alive and its context bound.
        let allocate = || unsafe { result::malloc_async(stream, bytes as usize) };
        let no_memory = sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;
        let mut allocated = allocate();
        if allocated.as_ref().is_err_and(|error| error.0 == no_memory) {
            // What was freed by work that has not been done yet comes back.
            call("allocate", self.stream.context().synchronize())?;
            allocated = allocate();
        }
        match allocated {
            Ok(address) => Ok(Some(Memory { address, bytes })),
            Err(error) if error.0 == no_memory => Ok(None),
            Err(error) => call("allocate", Err(error)),
        }
    }

    pub fn release(&self, memory: Memory) -> Result<()> {
        let stream = self.bind("free")?;
        // SAFETY: the memory came from `allocate`, is given up here, and the caller ordered its uses before.
        call("free", unsafe { result::free_async(memory.address, stream) })
    }

    /// Memory of somebody else.
    #[expect(clippy::unnecessary_wraps, reason = "the other backend can fail")]
    pub const fn adopt(&self, address: u64, bytes: u64) -> Result<Memory> {
        Ok(Memory { address, bytes })
    }

    /// Copies from memory that may change when this returns.
    pub fn upload(&self, to: &Memory, offset: u64, bytes: &[u8]) -> Result<()> {
        let address = to.at("write", offset, bytes.len() as u64)?;
        let stream = self.bind("write")?;
        // SAFETY: the range is in the allocation; the source is borrowed until the copy has been done.
        call("write", unsafe { result::memcpy_htod_async(address, bytes, stream) })?;
        // Where the device reads pageable memory itself, the driver need not have staged it.
        call("write", self.stream.synchronize())
    }

    pub fn download(&self, from: &Memory, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let address = from.at("read", offset, bytes.len() as u64)?;
        let stream = self.bind("read")?;
        // SAFETY: the range is in the allocation; the target is borrowed until the copy has been done.
        let copied = unsafe { result::memcpy_dtoh_async(bytes, address, stream) };
        let done = self.stream.synchronize();
        call("read", copied)?;
        call("read", done)
    }

    /// Copies between memory of the device and pinned memory, which the transfer keeps until it has been done.
    pub fn transfer(
        &self,
        block: &Memory,
        offset: u64,
        bytes: usize,
        mut pinned: Pinned,
        mode: Mode,
    ) -> Result<Transfer> {
        let operation = "copy between device and pinned memory";
        let address = block.at(operation, offset, bytes as u64)?;
        let stream = self.bind(operation)?;
        let done = call(operation, self.stream.context().new_event(None))?;
        let copied = match mode {
            // SAFETY: the range is in the allocation; the transfer owns the pinned memory until the copy has been done.
            Mode::Write => unsafe { result::memcpy_htod_async(address, &pinned.bytes()[..bytes], stream) },
            // SAFETY: as above.
            Mode::Read => unsafe {
                result::memcpy_dtoh_async(&mut pinned.bytes_mut()[..bytes], address, stream)
            },
        };
        if let Err(error) = copied.and_then(|()| done.record(&self.stream)) {
            // The copy may be under way without an event to wait for.
            if self.stream.synchronize().is_err() {
                std::mem::forget(pinned);
            }
            return call(operation, Err(error));
        }
        pinned.in_use_until = Some(done);
        Ok(Transfer(pinned))
    }

    pub fn copy(
        &self,
        from: &Memory,
        from_offset: u64,
        to: &Memory,
        to_offset: u64,
        bytes: u64,
    ) -> Result<()> {
        let (source, target) = (from.at("copy", from_offset, bytes)?, to.at("copy", to_offset, bytes)?);
        let stream = self.bind("copy")?;
        // SAFETY: both ranges are in their allocations, which live until the work has been done.
        call("copy", unsafe { result::memcpy_dtod_async(target, source, bytes as usize, stream) })
    }

    pub fn zero(&self, block: &Memory, offset: u64, bytes: u64) -> Result<()> {
        self.fill("zero", block, offset, bytes, 0)
    }

    pub fn poison(&self, block: &Memory, offset: u64, bytes: u64) -> Result<()> {
        self.fill("poison", block, offset, bytes, 0xff)
    }

    fn fill(
        &self,
        operation: &'static str,
        block: &Memory,
        offset: u64,
        bytes: u64,
        value: u8,
    ) -> Result<()> {
        let address = block.at(operation, offset, bytes)?;
        let stream = self.bind(operation)?;
        // SAFETY: the range is in the allocation, which lives until the work has been done.
        call(operation, unsafe { result::memset_d8_async(address, value, bytes as usize, stream) })
    }

    pub fn record(&self, timed: bool) -> Result<Event> {
        let flags = if timed {
            sys::CUevent_flags::CU_EVENT_DEFAULT
        } else {
            sys::CUevent_flags::CU_EVENT_DISABLE_TIMING
        };
        call("record an event", self.stream.record_event(Some(flags))).map(Event)
    }

    pub fn wait(&self, event: &Event) -> Result<()> {
        call("wait for an event", self.stream.wait(&event.0))
    }

    pub fn synchronize(&self) -> Result<()> {
        call("synchronize", self.stream.synchronize())
    }

    /// Launches a kernel.
    ///
    /// # Safety
    ///
    /// Number and kinds of the arguments are those of the kernel's parameters. Until the work of the stream has been
    /// done, what the kernel touches through them is memory that it may touch.
    pub unsafe fn launch(
        &self,
        function: &Function,
        shape: &LaunchShape,
        arguments: &[Argument],
    ) -> Result<()> {
        let stream = self.bind("launch")?;
        let mut words = Vec::with_capacity(arguments.len());
        let mut maps = Vec::new();
        for argument in arguments {
            words.push(match argument {
                Argument::Address(value) | Argument::U64(value) => *value,
                Argument::U32(value) => u64::from(*value),
                Argument::F32(value) => u64::from(value.to_bits()),
                Argument::TensorMap(map) => {
                    maps.push(encode(map)?);
                    0
                }
            });
        }
        // A parameter of 4 bytes is the first half of its word: devices and their hosts are little-endian.
        let mut next_map = maps.iter_mut();
        let mut parameters: Vec<*mut c_void> = Vec::with_capacity(arguments.len());
        for (argument, word) in arguments.iter().zip(&mut words) {
            parameters.push(match (argument, &mut next_map) {
                (Argument::TensorMap(_), maps) => {
                    maps.next().map_or(std::ptr::null_mut(), |map| std::ptr::from_mut(map).cast())
                }
                _ => std::ptr::from_mut(word).cast(),
            });
        }

        let mut attributes = Vec::with_capacity(2);
        if let Some([x, y, z]) = shape.cluster {
            let mut attribute = attribute(sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION);
            attribute.value.clusterDim.x = x;
            attribute.value.clusterDim.y = y;
            attribute.value.clusterDim.z = z;
            attributes.push(attribute);
        }
        if shape.programmatic {
            let id = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
            let mut attribute = attribute(id);
            attribute.value.programmaticStreamSerializationAllowed = 1;
            attributes.push(attribute);
        }
        let config = sys::CUlaunchConfig {
            gridDimX: shape.grid[0],
            gridDimY: shape.grid[1],
            gridDimZ: shape.grid[2],
            blockDimX: shape.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: shape.shared_bytes,
            hStream: stream,
            attrs: attributes.as_mut_ptr(),
            numAttrs: attributes.len() as u32,
        };
        if let Some(modules) = &mut *self.captured() {
            modules.push(Arc::clone(&function.module));
        }
        // SAFETY: the function's module is loaded, and stays so while a graph may launch it; configuration, attributes
        // and parameters outlive the call, which copies them; the rest is the caller's promise.
        let launched = unsafe {
            let no_extra = std::ptr::null_mut();
            sys::cuLaunchKernelEx(&raw const config, function.function.0, parameters.as_mut_ptr(), no_extra)
        };
        call("launch", launched.result())
    }

    pub fn begin_capture(&self) -> Result<()> {
        let operation = "begin a capture";
        let stream = self.bind(operation)?;
        // Relaxed: what other streams and threads do meanwhile is their affair.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream is alive and its context bound.
        call(operation, unsafe { result::stream::begin_capture(stream, mode) })?;
        *self.captured() = Some(Vec::new());
        Ok(())
    }

    pub fn end_capture(&self) -> Result<Graph> {
        let operation = "end a capture";
        let modules = self.captured().take().unwrap_or_default();
        let stream = self.bind(operation)?;
        // SAFETY: the stream is alive and its context bound.
        let graph = call(operation, unsafe { result::stream::end_capture(stream) })?;
        let mut executable = std::ptr::null_mut();
        // SAFETY: the graph came from the driver just now.
        let made = unsafe { sys::cuGraphInstantiateWithFlags(&raw mut executable, graph, 0) };
        // SAFETY: as above; the executable graph does not need it any more.
        dropped("destroy a graph", unsafe { result::graph::destroy(graph) });
        call(operation, made.result())?;
        let context = Arc::clone(self.stream.context());
        Ok(Graph { executable: Handle(executable), context, _modules: modules })
    }

    pub fn launch_graph(&self, graph: &Graph) -> Result<()> {
        let stream = self.bind("launch a graph")?;
        // SAFETY: the graph is alive, with its modules and, by the caller, its memory.
        call("launch a graph", unsafe { result::graph::launch(graph.executable.0, stream) })
    }
}

/// An attribute of a launch without its value.
fn attribute(id: sys::CUlaunchAttributeID) -> sys::CUlaunchAttribute {
    // SAFETY: all bytes zero are the attribute that is ignored.
    let mut attribute: sys::CUlaunchAttribute = unsafe { std::mem::zeroed() };
    attribute.id = id;
    attribute
}

/// The map as the driver writes it.
fn encode(map: &TensorMap) -> Result<sys::CUtensorMap> {
    use sys::CUtensorMapDataType as Type;
    let element = match map.element {
        ElementType::Bf16 => Type::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        ElementType::F16 => Type::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
        ElementType::F32 => Type::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
        ElementType::E4m3 | ElementType::E5m2 | ElementType::U8 => Type::CU_TENSOR_MAP_DATA_TYPE_UINT8,
        ElementType::U32 => Type::CU_TENSOR_MAP_DATA_TYPE_UINT32,
        ElementType::I32 => Type::CU_TENSOR_MAP_DATA_TYPE_INT32,
        ElementType::U64 => Type::CU_TENSOR_MAP_DATA_TYPE_UINT64,
    };
    let swizzle = match map.swizzle {
        SwizzleMode::None => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_NONE,
        SwizzleMode::B32 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_32B,
        SwizzleMode::B64 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_64B,
        SwizzleMode::B128 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
    };
    let rank = map.extents.len();
    let element_strides = vec![1u32; rank];
    let operation = "encode a tensor map";
    if map.strides_bytes.len() + 1 != rank || map.box_extents.len() != rank {
        let (expected, given) = (format!("strides and a box of {rank} dimensions"), format!("{map:?}"));
        return Err(Error::Shape { operation, expected, given });
    }
    // SAFETY: zeros are a value of its integers.
    let mut encoded: sys::CUtensorMap = unsafe { std::mem::zeroed() };
    // SAFETY: the arrays have a value for every dimension that the rank announces, strides one less; the map is
    // aligned by its type; the address is data to the encoder.
    let result = unsafe {
        sys::cuTensorMapEncodeTiled(
            &raw mut encoded,
            element,
            rank as u32,
            std::ptr::without_provenance_mut(map.address as usize),
            map.extents.as_ptr(),
            map.strides_bytes.as_ptr(),
            map.box_extents.as_ptr(),
            element_strides.as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            swizzle,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    call(operation, result.result())?;
    Ok(encoded)
}

/// Memory of the device; it is given back by [`Stream::release`] alone.
#[derive(Debug)]
pub(in crate::driver) struct Memory {
    address: u64,
    bytes: u64,
}

impl Memory {
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// The address of a range, which is in the allocation.
    fn at(&self, operation: &'static str, offset: u64, bytes: u64) -> Result<u64> {
        if offset.checked_add(bytes).is_some_and(|end| end <= self.bytes) {
            return Ok(self.address + offset);
        }
        let expected = format!("a range within {} bytes", self.bytes);
        Err(Error::Shape { operation, expected, given: format!("{bytes} bytes at {offset}") })
    }
}

/// A point in the work of a stream.
#[derive(Debug)]
pub(in crate::driver) struct Event(CudaEvent);

impl Event {
    pub fn is_complete(&self) -> Result<bool> {
        call("ask for an event", self.0.context().bind_to_thread())?;
        call("ask for an event", self.0.try_is_complete())
    }

    pub fn synchronize(&self) -> Result<()> {
        call("wait for an event", self.0.synchronize())
    }

    pub fn elapsed(&self, later: &Self) -> Result<Duration> {
        preflight::check(preflight::ELAPSED)?;
        let milliseconds = call("time between events", self.0.elapsed_ms(&later.0))?;
        Ok(Duration::from_secs_f64(f64::from(milliseconds.max(0.0)) / 1e3))
    }
}

/// A loaded module.
#[derive(Debug)]
pub(in crate::driver) struct Module(Arc<OwnedModule>);

#[derive(Debug)]
struct OwnedModule {
    module: Handle<sys::CUmodule>,
    is_machine_code: bool,
    context: Arc<CudaContext>,
}

impl Module {
    pub fn is_machine_code(&self) -> bool {
        self.0.is_machine_code
    }

    /// The kernel, allowed as much shared memory and as large a cluster as its contract asks for.
    pub fn function(&self, contract: &Contract) -> Result<Function> {
        use sys::CUfunction_attribute as Attribute;
        let operation = "get a kernel";
        call(operation, self.0.context.bind_to_thread())?;
        let name = CString::new(contract.kernel.as_str()).map_err(|_| Error::Shape {
            operation,
            expected: "a name without NUL".to_owned(),
            given: format!("{:?}", contract.kernel),
        })?;
        // SAFETY: the module is loaded.
        let function = call(operation, unsafe { result::module::get_function(self.0.module.0, name) })?;
        let shared = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function is of a loaded module.
        let allowed = call(operation, unsafe { result::function::get_function_attribute(function, shared) })?;
        let set = |attribute, value| {
            // SAFETY: as above.
            call(operation, unsafe { result::function::set_function_attribute(function, attribute, value) })
        };
        // Another contract of the same kernel may have asked for more.
        if allowed.unsigned_abs() < contract.shared_bytes {
            set(shared, contract.shared_bytes as i32)?;
        }
        let ctas = contract.cluster.map_or(1, |cluster| cluster.iter().product());
        if ctas > PORTABLE_CLUSTER {
            set(Attribute::CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1)?;
        }
        Ok(Function { function: Handle(function), module: Arc::clone(&self.0) })
    }
}

impl Drop for OwnedModule {
    fn drop(&mut self) {
        // Its kernels may be running.
        let unload = self.context.synchronize().and_then(|()| {
            // SAFETY: nothing of the module is in use any more, and nobody else unloads it.
            unsafe { result::module::unload(self.module.0) }
        });
        dropped("unload a module", unload);
    }
}

/// A kernel, with the module that it is in.
#[derive(Debug)]
pub(in crate::driver) struct Function {
    function: Handle<sys::CUfunction>,
    module: Arc<OwnedModule>,
}

/// An executable graph, with the modules that it uses.
#[derive(Debug)]
pub(in crate::driver) struct Graph {
    executable: Handle<sys::CUgraphExec>,
    context: Arc<CudaContext>,
    _modules: Vec<Arc<OwnedModule>>,
}

impl Drop for Graph {
    fn drop(&mut self) {
        let destroyed = self.context.bind_to_thread().and_then(|()| {
            // SAFETY: nobody else destroys it; the driver waits for work that uses it.
            unsafe { result::graph::exec_destroy(self.executable.0) }
        });
        dropped("destroy a graph", destroyed);
    }
}

/// Page-locked host memory.
#[derive(Debug)]
pub(in crate::driver) struct Pinned {
    pointer: NonNull<u8>,
    bytes: usize,
    /// The end of the copy that uses it, if one is under way.
    in_use_until: Option<CudaEvent>,
    context: Arc<CudaContext>,
}

// SAFETY: it owns its bytes.
unsafe impl Send for Pinned {}
// SAFETY: shared references only read.
unsafe impl Sync for Pinned {}

impl Pinned {
    pub const fn bytes(&self) -> &[u8] {
        // SAFETY: so many bytes were allocated and written; while a copy uses them the transfer owns them.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.bytes) }
    }

    pub const fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else has a reference.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let done = self.in_use_until.as_ref().map_or(Ok(()), CudaEvent::synchronize);
        let freed = done.and_then(|()| self.context.bind_to_thread()).and_then(|()| {
            // SAFETY: it came from the driver's allocator, no copy uses it, and it is given up here.
            unsafe { result::free_host(self.pointer.as_ptr().cast()) }
        });
        dropped("free pinned memory", freed);
    }
}

/// A copy under way.
#[derive(Debug)]
pub(in crate::driver) struct Transfer(Pinned);

impl Transfer {
    pub fn wait(mut self) -> Result<Pinned> {
        if let Some(done) = self.0.in_use_until.take()
            && let Err(error) = done.synchronize()
        {
            // The device may still use it.
            std::mem::forget(self.0);
            return call("wait for a copy", Err(error));
        }
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_run_their_own_target() {
        let expected = [
            ((8, 0), "sm_80"),
            ((8, 9), "sm_89"),
            ((9, 0), "sm_90a"),
            ((10, 0), "sm_100a"),
            ((12, 0), "sm_120a"),
            ((13, 7), "sm_137"),
        ];
        for ((major, minor), name) in expected {
            assert_eq!(target(major, minor).to_string(), name);
        }
    }
}
