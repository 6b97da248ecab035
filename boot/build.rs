//! Tells the linker how to make a PVH image: for this crate's own self-test image, and through
//! cargo's `links` metadata for the `build.rs` of any other image (see `link_args` below).

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=link.ld");
    let dir = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let script = Path::new(&dir).join("link.ld");
    let script_arg = format!("-Wl,-T,{}", script.display());
    let args = [
        // No C runtime, no libraries, no dynamic loading, one fixed address.
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--no-dynamic-linker",
        // Nothing in the file that the image doesn't need.
        "-Wl,--gc-sections",
        "-Wl,--build-id=none",
        "-Wl,--no-eh-frame-hdr",
        "-Wl,-z,norelro",
        "-Wl,-z,noexecstack",
        // Segments start on 4 KiB pages: the unit of the W^X mapping.
        "-Wl,-z,max-page-size=4096",
        &script_arg,
    ];
    // An image's build.rs reads this as DEP_LUTHIER_BOOT_LINK_ARGS, one argument a `;`.
    println!("cargo::metadata=link_args={}", args.join(";"));
    if env::var_os("CARGO_FEATURE_KERNEL").is_some() {
        for arg in args {
            println!("cargo::rustc-link-arg-bins={arg}");
        }
    }
}
