//! What the fuzz targets run: the readers of untrusted bytes, and what must hold of anything they accept.
//!
//! Each module is included by a test of the package that it is about, which runs every input in `seeds` and
//! `regressions` through it: it may depend on that package, what the package itself depends on, `tempfile` and the
//! standard library, and on no other module.
#![forbid(unsafe_code)]

pub mod model;
pub mod ptx;
pub mod sim;
