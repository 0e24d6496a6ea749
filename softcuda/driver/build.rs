//! Gives the shared library the name by which programs know the driver.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The file keeps its own name: a `libcuda.so.1` in the target folder would hide a real driver from every program
    // that cargo runs.
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcuda.so.1");
    }
}
