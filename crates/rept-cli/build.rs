//! Builds the program that `rept demo` lets crash, with the compiler that Cargo uses,
//! so that the demo needs nothing but Cargo. The result is embedded in the command.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = "victim/sensors.rs";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed=build.rs");
    let directory = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let victim = directory.join("sensors");
    if traceable(&env::var("TARGET").unwrap_or_default()) {
        compile(&victim);
    } else {
        // `rept demo` says so when the embedded program is empty.
        std::fs::write(&victim, b"").expect("OUT_DIR is writable");
    }
}

/// The software tracer runs x86-64 Linux programs that are dynamically linked.
fn traceable(target: &str) -> bool {
    target.starts_with("x86_64-") && target.ends_with("-linux-gnu")
}

fn compile(victim: &Path) {
    let manifest = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let mut command = Command::new(env::var_os("RUSTC").expect("cargo sets RUSTC"));
    command
        .args(["--edition", "2024", "--crate-type", "bin", "-O", "-g"])
        .args(["-C", "panic=abort"])
        // Positions in reports are then relative to the workspace, not to the build machine.
        .arg(format!("--remap-path-prefix={manifest}=crates/rept-cli"))
        .arg("--target")
        .arg(env::var_os("TARGET").expect("cargo sets TARGET"))
        .arg("-o")
        .arg(victim)
        .arg(Path::new(&manifest).join(SOURCE));
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = OsString::from("linker=");
        option.push(linker);
        command.arg("-C").arg(option);
    }
    let status = command.status().expect("rustc can be started");
    assert!(status.success(), "rustc could not build {SOURCE}");
}
