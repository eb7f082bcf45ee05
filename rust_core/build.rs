//! Builds the launcher of the sandbox, which the crate embeds. On other systems than Linux there is none.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(variable("OUT_DIR"));
    let embedded = out.join("claw-sandbox");
    println!("cargo:rerun-if-changed=build.rs");
    for part in ["src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", here.join("launcher").join(part).display());
    }
    if variable("CARGO_CFG_TARGET_OS") == "linux" {
        fs::copy(build(&here.join("launcher"), &out), embedded).expect("the launcher can be copied");
    } else {
        fs::write(embedded, b"").expect("the output folder can be written");
    }
}

fn build(launcher: &Path, out: &Path) -> PathBuf {
    let target = variable("TARGET");
    let folder = out.join("launcher");
    let mut cargo = Command::new(variable("CARGO"));
    cargo.args(["build", "--release", "--locked", "--quiet", "--target", &target]);
    cargo.arg("--manifest-path").arg(launcher.join("Cargo.toml")).arg("--target-dir").arg(&folder);
    // Flags and wrappers are meant for the crate itself: linters, coverage, `maturin`'s link arguments.
    for name in ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(name);
    }
    let status = cargo.status().expect("cargo can be started");
    assert!(status.success(), "the launcher of the sandbox (rust_core/launcher) could not be built; see above");
    folder.join(target).join("release/claw-sandbox")
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}
