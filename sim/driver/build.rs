//! Makes the library answer to a driver's name once it is loaded, whatever its file is called.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Never the name of the file: cargo puts the folder with it where the loader searches, and a driver would be hidden.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcuda.so");
    }
}
