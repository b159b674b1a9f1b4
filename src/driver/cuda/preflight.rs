//! Is there a driver that can be worked with? Asked before the first call through `cudarc`, which would panic without one.
#![allow(unsafe_code, reason = "a library is loaded and its functions are called by their C signatures")]

use crate::driver::{Error, Result};
use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_uint};

/// Names a library to use in place of the system's driver.
const LIBRARY_VARIABLE: &str = "RORQUAL_CUDA_DRIVER_LIBRARY";

/// Names of the driver, those that `cudarc` tries first before others.
#[cfg(not(windows))]
const NAMES: &[&str] = &["libcuda.so", "libcuda.so.1"];
#[cfg(windows)]
const NAMES: &[&str] = &["cuda.dll", "nvcuda.dll"];

/// Everything that `sys.rs` and the parts of `cudarc` that it uses call.
const FUNCTIONS: &[&str] = &[
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventQuery",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuFuncGetAttribute",
    "cuFuncSetAttribute",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuInit",
    "cuLaunchKernelEx",
    "cuMemAllocAsync",
    "cuMemFreeAsync",
    "cuMemFreeHost",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadDataEx",
    "cuModuleUnload",
    "cuStreamBeginCapture_v2",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamEndCapture",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
    "cuTensorMapEncodeTiled",
];

/// The time between events is one of these, by the version of the bindings, which cannot be asked.
pub const ELAPSED: &[&str] = &["cuEventElapsedTime", "cuEventElapsedTime_v2"];

/// The oldest driver that has all of it.
const OLDEST_VERSION: c_int = 12_000;
/// The driver to recommend: CUDA 12.8, driver 570.
const RECOMMENDED_VERSION: c_int = 12_080;

const ERROR_STUB_LIBRARY: c_int = 34;
const ERROR_NO_DEVICE: c_int = 100;

/// How many devices the driver offers, once it is known to be usable.
pub fn devices() -> Result<usize> {
    let (name, library) = load()?;
    require(&name, &library, FUNCTIONS)?;
    let call = |operation: &'static str, code: c_int| match code {
        0 => Ok(()),
        ERROR_STUB_LIBRARY => Err(Error::StubLibrary { library: name.clone() }),
        code => Err(refused(&library, operation, code)),
    };

    let mut version = 0;
    call("cuDriverGetVersion", integer(&library, b"cuDriverGetVersion\0", &mut version))?;
    if version < OLDEST_VERSION {
        return Err(Error::OldDriver { version: version.unsigned_abs() });
    }
    if version < RECOMMENDED_VERSION {
        tracing::warn!(
            version,
            "this CUDA driver is older than 12.8 (driver 570), with which kernels are tested"
        );
    }
    let mut count = 0;
    match initialize(&library) {
        ERROR_NO_DEVICE => {}
        code => {
            call("cuInit", code)?;
            call("cuDeviceGetCount", integer(&library, b"cuDeviceGetCount\0", &mut count))?;
        }
    }
    Ok(count.unsigned_abs() as usize)
}

/// That the driver has these functions as well.
pub fn check(functions: &[&str]) -> Result<()> {
    let (name, library) = load()?;
    require(&name, &library, functions)
}

/// The driver by the name under which `cudarc` will find it.
fn load() -> Result<(String, Library)> {
    let Some(path) = std::env::var_os(LIBRARY_VARIABLE) else { return load_by_name() };
    let path = path.to_string_lossy().into_owned();
    let chosen = open(&path).map_err(|error| Error::NoDriver { reason: reason(&path, &error) })?;
    // The loader answers a name with a library that is loaded already and calls itself so.
    let found = load_by_name().ok().filter(|(_, found)| {
        address(&chosen, "cuInit").is_some() && address(&chosen, "cuInit") == address(found, "cuInit")
    });
    let Some((_, found)) = found else {
        let name = NAMES[0];
        let reason =
            format!("{LIBRARY_VARIABLE} names {path}, which is no driver or does not call itself {name}");
        return Err(Error::NoDriver { reason });
    };
    // It must stay the one that answers to the name.
    std::mem::forget(chosen);
    Ok((path, found))
}

fn load_by_name() -> Result<(String, Library)> {
    let mut reasons = Vec::new();
    for name in NAMES {
        match open(name) {
            Ok(library) => return Ok(((*name).to_owned(), library)),
            Err(error) => reasons.push(reason(name, &error)),
        }
    }
    Err(Error::NoDriver { reason: reasons.join("; ") })
}

fn reason(name: &str, error: &libloading::Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{name}: {error}{}", cause.unwrap_or_default())
}

fn open(name: &str) -> Result<Library, libloading::Error> {
    #[cfg(unix)]
    {
        use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
        // SAFETY: initialisers of a CUDA driver may be run at any time. A program whose environment names another
        // library asks for that library's.
        unsafe { Library::open(Some(name), RTLD_NOW | RTLD_GLOBAL) }.map(Into::into)
    }
    #[cfg(not(unix))]
    // SAFETY: as above.
    unsafe {
        Library::new(name)
    }
}

fn require(name: &str, library: &Library, functions: &[&str]) -> Result<()> {
    let missing = functions.iter().filter(|function| address(library, function).is_none());
    let symbols: Vec<String> = missing.map(|function| (*function).to_owned()).collect();
    if symbols.is_empty() { Ok(()) } else { Err(Error::MissingSymbols { library: name.to_owned(), symbols }) }
}

fn address(library: &Library, function: &str) -> Option<usize> {
    // SAFETY: the symbol is looked at, never called.
    let symbol = unsafe { library.get::<unsafe extern "C" fn()>(function.as_bytes()) };
    symbol.ok().map(|symbol| *symbol as usize)
}

/// `cuInit`; the code. Results are integers here, so that a code of a newer driver is nothing special.
fn initialize(library: &Library) -> c_int {
    // SAFETY: the signature of cuda.h.
    let symbol = unsafe { library.get::<unsafe extern "C" fn(c_uint) -> c_int>(b"cuInit\0") };
    // SAFETY: it may be called at any time, any number of times.
    symbol.map_or(c_int::MAX, |function| unsafe { function(0) })
}

/// A function that stores an integer; the code.
fn integer(library: &Library, function: &[u8], value: &mut c_int) -> c_int {
    // SAFETY: `cuDriverGetVersion` and `cuDeviceGetCount` have this signature in cuda.h.
    let symbol = unsafe { library.get::<unsafe extern "C" fn(*mut c_int) -> c_int>(function) };
    // SAFETY: the pointer is to an integer that outlives the call.
    symbol.map_or(c_int::MAX, |function| unsafe { function(value) })
}

/// The error of a code.
fn refused(library: &Library, operation: &'static str, code: c_int) -> Error {
    let text = |function: &[u8]| {
        type Describe = unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int;
        // SAFETY: `cuGetErrorName` and `cuGetErrorString` have this signature in cuda.h.
        let symbol = unsafe { library.get::<Describe>(function) };
        let mut text = std::ptr::null();
        // SAFETY: the pointer is to a pointer that outlives the call.
        let known = symbol.is_ok_and(|function| unsafe { function(code, &raw mut text) } == 0);
        if !known || text.is_null() {
            return "unknown".to_owned();
        }
        // SAFETY: the driver gives texts that end in 0 and are never freed.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    };
    let (name, message) = (text(b"cuGetErrorName\0"), text(b"cuGetErrorString\0"));
    Error::Cuda { operation, code: code.unsigned_abs(), name, message }
}
