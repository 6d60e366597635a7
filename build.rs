//! Compiles the contract without a `protoc`: protox parses it, and the descriptor set that comes out
//! feeds both the generated code and gRPC reflection (with the comments, so `describe` shows them).

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use prost::Message as _;

const PACKAGE: &str = ".testgate.v1";
/// Replies that carry tracked executions. The server has types of its own for them, which hold an execution's bytes.
const ENCODED: [&str; 5] = [
    "GetExecutionResponse",
    "BatchGetExecutionsResponse",
    "ListExecutionsResponse",
    "WaitExecutionResponse",
    "WatchExecutionsResponse",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const PROTO: &str = "proto/testgate/v1/testgate.proto";
    println!("cargo:rerun-if-changed={PROTO}");
    println!("cargo:rerun-if-changed=build/startup.txt");

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true).open_file("testgate/v1/testgate.proto")?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    link_small(&out)?;
    let mut descriptors = compiler.file_descriptor_set();
    for file in &mut descriptors.file {
        lead(file);
    }
    fs::write(out.join("testgate_descriptor.bin"), descriptors.encode_to_vec())?;

    // The generated Rust would otherwise carry the proto comments into rustdoc, where indented
    // text turns into doc tests; the descriptor set above keeps them.
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    let generated =
        || tonic_prost_build::configure().build_transport(false).codec_path("crate::proto::codec::Codec");
    generated().build_server(false).compile_fds(descriptors.clone())?;

    // The server's side of WatchExecutions is not generated: its replies are bodies of our own (src/grpc/watch).

    let server = out.join("server");
    fs::create_dir_all(&server)?;
    let mut generated =
        generated().build_client(false).out_dir(server).extern_path(PACKAGE, "crate::proto::v1");
    for reply in ENCODED {
        generated =
            generated.extern_path(format!("{PACKAGE}.{reply}"), format!("crate::proto::encoded::{reply}"));
    }
    for service in descriptors.file.iter_mut().flat_map(|file| &mut file.service) {
        service.method.retain(|method| !method.server_streaming());
    }
    generated.compile_fds(descriptors)?;
    Ok(())
}

/// Puts what stands behind a field in front of it: clients that describe a service show only comments that lead.
fn lead(file: &mut prost_types::FileDescriptorProto) {
    for location in file.source_code_info.iter_mut().flat_map(|info| &mut info.location) {
        if location.leading_comments.is_none() {
            location.leading_comments = location.trailing_comments.take();
        }
    }
}

/// Has the linker fold functions and constants that came out alike, pack what is to be relocated, and put what a start
/// runs first: an eighth of the binary, and a quarter of an idle server's memory. Only where the linker is known to be
/// LLVM's. What is packed needs glibc 2.36 or later.
fn link_small(out: &Path) -> io::Result<()> {
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    if !is("PROFILE", "release") || !is("TARGET", "x86_64-unknown-linux-gnu") {
        return Ok(());
    }
    let script = out.join("startup.ld");
    fs::write(&script, startup_first(include_str!("build/startup.txt")))?;
    println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    println!("cargo:rustc-link-arg-bins=-Wl,--ignore-data-address-equality");
    println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    println!("cargo:rustc-link-arg-bins=-T{}", script.display());
    Ok(())
}

/// A script that adds a section of those functions to what the linker does anyway. The system loads the pages around
/// each one that runs, so that those which lie among others keep all of them in memory.
fn startup_first(patterns: &str) -> String {
    let sections = patterns.lines().map(|name| format!("*(.text.{name} .text.unlikely.{name})\n"));
    format!("SECTIONS {{ .text.startup : {{\n{} }} }} INSERT BEFORE .text;\n", sections.collect::<String>())
}
