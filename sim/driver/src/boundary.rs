//! Where C ends: types for what a caller in C passes, and the macro that makes functions of the driver API of Rust.
//!
//! All that is unsafe is here. A value of these types is made by the caller alone, who promises in cuda.h what it
//! points to; no Rust code can make one of a number.
#![allow(unsafe_code, reason = "pointers of a caller in C")]

use crate::error::{Code, Error, Result};
use crate::handles::Handle;
use std::ffi::{CStr, c_char, c_void};
use std::io::{Write, stderr};
use std::panic::{AssertUnwindSafe, catch_unwind};

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

always_given!(u8 u16 u32 i32 u64 usize Handle HostMemory Arguments);

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
    /// Stores the result unless the place is null.
    pub fn set(self, value: T) {
        if !self.0.is_null() {
            Out(self.0).set(value);
        }
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

    /// The address.
    pub fn address(self) -> usize {
        self.0.addr()
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

/// Calls the meaning of a function. Errors become codes; what is worth a sentence is said on stderr.
pub fn enter(function: &str, parameters: &[&dyn Parameter], body: impl FnOnce() -> Result<()>) -> u32 {
    if !parameters.iter().all(|parameter| parameter.is_given()) {
        return Code::InvalidValue as u32;
    }
    match catch_unwind(AssertUnwindSafe(body)) {
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

/// Functions of the driver API under their names: parameters that must not be null are checked, no panic leaves them,
/// and an error becomes its code. `FUNCTIONS` lists them with their addresses.
macro_rules! driver_functions {
    ($($(#[$doc:meta])* fn $name:ident($($parameter:ident: $type:ty),* $(,)?) $body:block)*) => {
        $($(#[$doc])*
        #[allow(unsafe_code, reason = "the name is that of cuda.h, by which callers find the function")]
        #[allow(non_snake_case, reason = "as above")]
        #[allow(clippy::too_many_arguments, reason = "those of cuda.h")]
        #[unsafe(no_mangle)]
        extern "C" fn $name($($parameter: $type),*) -> u32 {
            let given: &[&dyn $crate::boundary::Parameter] = &[$(&$parameter),*];
            $crate::boundary::enter(stringify!($name), given, || -> $crate::error::Result<()> { $body })
        })*

        /// The functions of this file.
        pub const FUNCTIONS: &[(&str, $crate::boundary::EntryPoint)] =
            &[$((stringify!($name), $crate::boundary::EntryPoint($name as *const std::ffi::c_void))),*];
    };
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
