//! Hands the linker the arguments for a PVH image that `boot`'s build script gives.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Set when `boot` is a dependency, that is with the feature `kernel`.
    if let Ok(args) = std::env::var("DEP_LUTHIER_BOOT_LINK_ARGS") {
        for arg in args.split(';') {
            println!("cargo::rustc-link-arg-bins={arg}");
        }
    }
}
