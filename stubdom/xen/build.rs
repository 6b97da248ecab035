//! Hands the linker's arguments for a PVH image to the self-test image.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_KERNEL").is_some() {
        let args = env::var("DEP_LUTHIER_BOOT_LINK_ARGS").unwrap_or_default();
        for arg in args.split(';').filter(|arg| !arg.is_empty()) {
            println!("cargo::rustc-link-arg-bins={arg}");
        }
    }
}
