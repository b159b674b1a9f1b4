//! Where C ends: types for what a caller in C passes, and the macro that makes functions of the driver API of Rust.
//!
//! All that is unsafe is here. A value of these types is made by the caller alone, who promises in cuda.h what it
//! points to; no Rust code can make one of a number.
#![allow(unsafe_code, reason = "pointers of a caller in C")]

use crate::error::{Code, Error, Result};
use crate::handles::Handle;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_void};
use std::io::{Write, stderr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

/// A parameter of a function of the driver API.
pub trait Parameter {
    /// Whether it has a value, as nearly all must.
    fn is_given(&self) -> bool {
        true
    }
}

macro_rules! always_given {
    ($($ty:ty)*) => { $(impl Parameter for $ty {})* };
}

always_given!(u8 u16 u32 i32 u64 usize Handle HostMemory Arguments Address IpcHandle);

/// Where a result goes; null is an error.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Out<T>(*mut T);

impl<T> Parameter for Out<T> {
    fn is_given(&self) -> bool {
        !self.0.is_null() && self.0.is_aligned()
    }
}

impl<T> Out<T> {
    /// Stores the result.
    pub fn set(self, value: T) {
        // SAFETY: `enter` has seen that it is neither null nor misaligned, and the caller promises a place for a `T`.
        unsafe { self.0.write(value) };
    }
}

/// Where a result goes if it is wanted.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct OutOrNull<T>(*mut T);

impl<T> Parameter for OutOrNull<T> {
    fn is_given(&self) -> bool {
        self.0.is_aligned()
    }
}

impl<T> OutOrNull<T> {
    /// A place for nothing.
    pub const NULL: Self = Self(std::ptr::null_mut());

    /// Whether the result is not wanted.
    pub const fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// Stores several results unless the place is null.
    pub fn set_several(self, values: impl IntoIterator<Item = T>) {
        if !self.0.is_null() {
            for (index, value) in values.into_iter().enumerate() {
                // SAFETY: it is neither null nor, as `enter` has seen, misaligned; the caller promises so many places.
                unsafe { self.0.add(index).write(value) };
            }
        }
    }

    /// Stores the result unless the place is null.
    pub fn set(self, value: T) {
        if !self.0.is_null() {
            Out(self.0).set(value);
        }
    }
}

/// Where a value is that the function replaces; null is an error.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct InOut<T>(*mut T);

impl<T> Parameter for InOut<T> {
    fn is_given(&self) -> bool {
        Out(self.0).is_given()
    }
}

impl<T: Copy> InOut<T> {
    /// The value that the caller has put there.
    pub fn get(self) -> T {
        // SAFETY: `enter` has seen that it is neither null nor misaligned, and the caller promises a value.
        unsafe { self.0.read() }
    }

    /// Stores the result.
    pub fn set(self, value: T) {
        Out(self.0).set(value);
    }
}

/// A value, or the first of several; null only where there are none.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct In<T>(*const T);

impl<T> Parameter for In<T> {
    fn is_given(&self) -> bool {
        self.0.is_aligned()
    }
}

impl<T: Copy> In<T> {
    /// No values.
    pub const NULL: Self = Self(std::ptr::null());

    /// Whether there are none.
    pub const fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// The value.
    pub fn get(self) -> Result<T> {
        Ok(self.several(1)?[0])
    }

    /// So many values.
    pub fn several(self, count: usize) -> Result<Vec<T>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        if self.0.is_null() {
            return Err(Error::from(Code::InvalidValue));
        }
        // SAFETY: it is neither null nor, as `enter` has seen, misaligned; the caller promises so many values.
        Ok(unsafe { std::slice::from_raw_parts(self.0, count) }.to_vec())
    }
}

/// Text that ends in 0.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Text(*const c_char);

impl Parameter for Text {
    fn is_given(&self) -> bool {
        !self.0.is_null()
    }
}

impl Text {
    /// Its bytes without the 0.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: it is not null, and the caller promises a 0 at its end and that it stays for the call.
        unsafe { CStr::from_ptr(self.0) }.to_bytes()
    }

    /// The text.
    pub fn text(&self) -> Result<&str> {
        str::from_utf8(self.bytes()).map_err(|_| Code::InvalidValue.into())
    }
}

/// Memory of the caller, to copy to and from; null only where there is nothing to copy.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct HostMemory(*mut c_void);

// SAFETY: an address, which any thread may use as the caller promised.
unsafe impl Send for HostMemory {}
// SAFETY: as above.
unsafe impl Sync for HostMemory {}

impl HostMemory {
    fn is_for(self, bytes: usize) -> Result<bool> {
        if bytes > isize::MAX as usize || (self.0.is_null() && bytes > 0) {
            return Err(Code::InvalidValue.into());
        }
        Ok(bytes > 0)
    }

    /// Reads so many bytes of it.
    pub fn read<T>(self, bytes: usize, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        if !self.is_for(bytes)? {
            return Ok(read(&[]));
        }
        // SAFETY: it is not null, and the caller promises so many bytes that nobody writes meanwhile.
        Ok(read(unsafe { std::slice::from_raw_parts(self.0.cast(), bytes) }))
    }

    /// Writes so many bytes of it.
    pub fn write<T>(self, bytes: usize, write: impl FnOnce(&mut [u8]) -> T) -> Result<T> {
        if !self.is_for(bytes)? {
            return Ok(write(&mut []));
        }
        // SAFETY: it is not null, and the caller promises so many bytes that nobody else uses meanwhile.
        Ok(write(unsafe { std::slice::from_raw_parts_mut(self.0.cast(), bytes) }))
    }

    /// Reads a number that it points to.
    pub fn read_number(self) -> Result<u64> {
        self.read(8, |bytes| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// The address.
    pub fn address(self) -> usize {
        self.0.addr()
    }
}

/// An address of a device or of the host: the address alone says which.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct Address(*mut c_void);

impl Address {
    /// The number.
    pub fn value(self) -> u64 {
        self.0.addr() as u64
    }

    /// The address so many bytes further.
    pub fn offset(self, bytes: usize) -> Self {
        Self(self.0.wrapping_byte_add(bytes))
    }

    /// As memory of the host, if the caller meant that.
    pub const fn on_host(self) -> HostMemory {
        HostMemory(self.0)
    }
}

/// `CUipcMemHandle` and `CUipcEventHandle`, which are passed by value.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct IpcHandle(pub [u8; 64]);

/// A function of the caller that a stream calls.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct HostFunction(Option<extern "C" fn(HostMemory)>);

impl Parameter for HostFunction {
    fn is_given(&self) -> bool {
        self.0.is_some()
    }
}

/// A function of the caller that a stream calls with itself and the code of its last error.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct StreamCallback(Option<extern "C" fn(Handle, u32, HostMemory)>);

impl Parameter for StreamCallback {
    fn is_given(&self) -> bool {
        self.0.is_some()
    }
}

/// Dynamic shared memory of a CTA by its threads, as the caller computes it; or nothing.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct SharedBytesOfThreads(Option<extern "C" fn(i32) -> usize>);

impl Parameter for SharedBytesOfThreads {}

impl SharedBytesOfThreads {
    /// What the caller computes.
    pub fn bytes(self, threads: u32) -> Option<usize> {
        self.0.map(|function| function(threads as i32))
    }
}

thread_local! {
    static IS_IN_HOST_FUNCTION: Cell<bool> = const { Cell::new(false) };
}

/// A call of a function of the caller.
#[derive(Debug, Clone, Copy)]
pub enum HostCall {
    Function(HostFunction, HostMemory),
    Callback(StreamCallback, Handle, HostMemory),
}

impl HostCall {
    /// Calls it. The driver must not be locked: the function may wait for a thread that calls the driver.
    pub fn run(self) {
        IS_IN_HOST_FUNCTION.set(true);
        match self {
            Self::Function(HostFunction(function), data) => function.into_iter().for_each(|call| call(data)),
            Self::Callback(StreamCallback(function), stream, data) => {
                function.into_iter().for_each(|call| call(stream, 0, data));
            }
        }
        IS_IN_HOST_FUNCTION.set(false);
    }
}

/// Whether this thread is in a function of the caller that a stream calls, which may not call the driver.
pub fn is_in_host_function() -> bool {
    IS_IN_HOST_FUNCTION.get()
}

/// Where something of the driver is, for the caller to read while it is there.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Pointer<T>(*const T);

impl<T> Pointer<T> {
    /// The first of several.
    pub const fn to(values: &[T]) -> Self {
        Self(values.as_ptr())
    }
}

impl Pointer<c_char> {
    /// Text that ends in 0.
    pub const fn to_text(text: &CStr) -> Self {
        Self(text.as_ptr())
    }
}

/// Addresses of arguments, or of values of options.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Arguments(*mut *mut c_void);

impl Arguments {
    /// No addresses.
    pub const NULL: Self = Self(std::ptr::null_mut());

    /// Whether there are none.
    pub const fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// What the entry of this number points to, or is.
    pub fn at(self, index: usize) -> Result<HostMemory> {
        if self.0.is_null() {
            return Err(Code::InvalidValue.into());
        }
        // SAFETY: it is not null, and the caller promises an entry for every argument or option.
        Ok(HostMemory(unsafe { self.0.add(index).read() }))
    }

    /// Entries up to a null, in pairs of a key and what stands beside it.
    pub fn pairs(self) -> Result<Vec<(usize, HostMemory)>> {
        // More than there are kinds of.
        const MOST: usize = 8;
        let mut pairs = Vec::new();
        while pairs.len() < MOST {
            let key = self.at(2 * pairs.len())?.address();
            if key == 0 {
                break;
            }
            pairs.push((key, self.at(2 * pairs.len() + 1)?));
        }
        Ok(pairs)
    }

    /// Replaces the entry of this number by a number, as the options of the compiler do with sizes.
    pub fn set_number(self, index: usize, number: usize) {
        if !self.0.is_null() {
            // SAFETY: as above.
            unsafe { self.0.add(index).write(std::ptr::without_provenance_mut(number)) };
        }
    }
}

/// The address of a function of the driver.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct EntryPoint(pub *const c_void);

/// What is to be called once the driver is not locked.
static AFTER_CALL: Mutex<Vec<HostCall>> = Mutex::new(Vec::new());

/// Has a function of the caller called at the end of this call of the driver.
pub fn run_after_call(call: HostCall) {
    AFTER_CALL.lock().unwrap_or_else(PoisonError::into_inner).push(call);
}

/// Calls the meaning of a function. Errors become codes; what is worth a sentence is said on stderr.
pub fn enter(function: &str, parameters: &[&dyn Parameter], body: impl FnOnce() -> Result<()>) -> u32 {
    if !parameters.iter().all(|parameter| parameter.is_given()) {
        return Code::InvalidValue as u32;
    }
    let outcome = catch_unwind(AssertUnwindSafe(body));
    let calls = std::mem::take(&mut *AFTER_CALL.lock().unwrap_or_else(PoisonError::into_inner));
    calls.into_iter().for_each(HostCall::run);
    match outcome {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            if let Some(message) = error.message {
                say(function, &message);
            }
            error.code as u32
        }
        Err(_) => {
            say(function, "an error in the simulator");
            Code::Unknown as u32
        }
    }
}

/// A line on stderr, if that is there.
pub fn say(function: &str, message: &str) {
    let _ = writeln!(stderr(), "PTX simulator: {function}: {message}");
}

/// A function of the driver API, as programs find it.
pub struct Function {
    /// The exported name, `cuMemAlloc_v2`.
    pub name: &'static str,
    /// The version of CUDA that brought it, 3020 for 3.2.
    pub since: u32,
    pub address: EntryPoint,
    /// The same where the null stream is that of the thread: what its exported name ends in, and where it is.
    pub per_thread: Option<(&'static str, EntryPoint)>,
    /// What differs from the reference of the API.
    #[cfg(test)]
    pub notes: &'static [&'static str],
    /// Whether it refuses whatever is asked.
    #[cfg(test)]
    pub is_refused: bool,
}

thread_local! {
    static NULL_IS_PER_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Calls a function for a program whose null stream is that of the thread.
pub fn with_stream_of_thread(function: impl FnOnce() -> u32) -> u32 {
    NULL_IS_PER_THREAD.set(true);
    let code = function();
    NULL_IS_PER_THREAD.set(false);
    code
}

/// Whether this call takes the null stream for that of the thread.
pub fn is_null_stream_of_thread() -> bool {
    NULL_IS_PER_THREAD.get()
}

/// Functions of the driver API under their names, each with the version of CUDA that brought it and what the name of its
/// variant for per-thread streams ends in: `fn cuMemsetD8Async[3020 _ptsz](..)`. Parameters that must not be null are
/// checked, no panic leaves them, and an error becomes its code. `FUNCTIONS` lists them. From this list, the exports of
/// the library, what `cuGetProcAddress` finds and the documentation are made.
macro_rules! driver_functions {
    (@list $is_refused:literal $($(#[doc = $note:literal])* fn $name:ident[$since:literal $($suffix:ident)?]($($parameter:ident: $type:ty),* $(,)?) $body:block)*) => {
        $($(#[doc = $note])*
        #[allow(unsafe_code, reason = "the name is that of cuda.h, by which callers find the function")]
        #[allow(non_snake_case, reason = "as above")]
        #[allow(clippy::too_many_arguments, reason = "those of cuda.h")]
        #[unsafe(no_mangle)]
        extern "C" fn $name($($parameter: $type),*) -> u32 {
            let given: &[&dyn $crate::boundary::Parameter] = &[$(&$parameter),*];
            $crate::boundary::enter(stringify!($name), given, || -> $crate::error::Result<()> { $body })
        })*

        /// The functions of this file.
        pub const FUNCTIONS: &[$crate::boundary::Function] = &[$($crate::boundary::Function {
            name: stringify!($name),
            since: $since,
            address: $crate::boundary::EntryPoint($name as *const std::ffi::c_void),
            per_thread: driver_functions!(@per_thread $name [$($suffix)?] ($($parameter: $type),*)),
            #[cfg(test)]
            notes: &[$($note),*],
            #[cfg(test)]
            is_refused: $is_refused,
        }),*];
    };
    (@per_thread $name:ident [] $parameters:tt) => { None };
    (@per_thread $name:ident [$suffix:ident] ($($parameter:ident: $type:ty),*)) => {{
        #[allow(unsafe_code, reason = "the name is that of cuda.h, by which callers find the function")]
        #[allow(clippy::too_many_arguments, reason = "those of cuda.h")]
        #[unsafe(export_name = concat!(stringify!($name), stringify!($suffix)))]
        extern "C" fn per_thread($($parameter: $type),*) -> u32 {
            $crate::boundary::with_stream_of_thread(|| $name($($parameter),*))
        }
        Some((stringify!($suffix), $crate::boundary::EntryPoint(per_thread as *const std::ffi::c_void)))
    }};
    ($($functions:tt)*) => { driver_functions! { @list false $($functions)* } };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_codes_comes_back() {
        let given: [&dyn Parameter; 2] = [&5u32, &In::<u32>::NULL];
        assert_eq!(enter("cuTest", &given, || Ok(())), 0);
        assert_eq!(enter("cuTest", &given, || Err(Code::NotFound.because("a sentence"))), 500);
        assert_eq!(enter("cuTest", &given, || panic!("on purpose")), 999);
        let nowhere = Out::<u32>(std::ptr::null_mut());
        assert_eq!(enter("cuTest", &[&nowhere], || panic!("not called")), 1);
        let misaligned = Out::<u32>(std::ptr::without_provenance_mut(2));
        assert_eq!(enter("cuTest", &[&misaligned], || panic!("not called")), 1);
    }
}
