//! What is in deploy/, each file checked by the tool that knows its format, and what must agree between them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// systemd's measure of what a service could do, in tenths; 100 for one that nothing holds back.
const MOST_EXPOSED: u32 = 20;

#[test]
fn the_configurations_have_no_problems() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["gateway.example".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap().pem();
    for (file, place) in [("systemd", "/etc/testgate/"), ("kubernetes", "/run/secrets/")] {
        // The files that it names are there, elsewhere.
        let folder = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(deploy().join(file).join("testgate.toml")).unwrap();
        let text = text.replace(place, &format!("{}/", folder.path().display()));
        let named = text.lines().filter_map(|line| line.split_once("_file = \"")?.1.split('"').next());
        for path in named.map(Path::new) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let content = match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => certificate.clone(),
                Some("key") => key.serialize_pem(),
                _ => path.file_name().unwrap().to_str().unwrap().to_owned(),
            };
            fs::write(path, content).unwrap();
        }
        let copy = folder.path().join("testgate.toml");
        fs::write(&copy, &text).unwrap();
        ran(Command::new(env!("CARGO_BIN_EXE_testgate")).args(["check", "--config"]).arg(&copy));
    }
}

#[test]
fn the_image_satisfies_its_linter() {
    ran(Command::new(tool("hadolint")).args(["--no-color", "--failure-threshold", "info"]).arg(dockerfile()));
}

#[test]
fn the_manifests_agree_with_the_schemas() {
    let mut manifests: Vec<PathBuf> = fs::read_dir(deploy().join("kubernetes"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .filter(|path| !path.ends_with("kustomization.yaml"))
        .collect();
    manifests.sort();
    // All that there are must be applied, and nothing that is not there.
    let list = fs::read_to_string(deploy().join("kubernetes/kustomization.yaml")).unwrap();
    let mut applied: Vec<PathBuf> = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ").filter(|name| name.ends_with(".yaml")))
        .map(|name| deploy().join("kubernetes").join(name))
        .collect();
    applied.sort();
    assert_eq!(applied, manifests);
    // The oldest version that has all of it, and the newest.
    for version in ["1.34", "1.37"] {
        ran(Command::new(tool("kubernetes-validate")).args(["--strict", "-k", version]).args(&manifests));
    }
}

#[test]
fn the_units_are_valid_and_leave_little_to_exploit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        // tests/run installs it where it can, and says so aloud where it can't.
        println!("SKIPPED: systemd-analyze is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for unit in ["testgate.service", "testgate.socket"] {
        let text = fs::read_to_string(deploy().join("systemd").join(unit)).unwrap();
        let copy = folder.path().join(unit);
        // The program must exist to be taken for one.
        fs::write(&copy, text.replace("/usr/local/bin/testgate", env!("CARGO_BIN_EXE_testgate"))).unwrap();
        units.push(copy);
    }
    let said = ran(Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&units));
    assert_eq!(said, "", "warnings");
    let threshold = format!("--threshold={MOST_EXPOSED}");
    ran(Command::new("systemd-analyze").args(["security", "--offline=true", &threshold]).arg(&units[0]));
}

#[test]
fn whoever_ends_it_waits_longer_than_it_drains() {
    let seconds = |file: &str, key: &str| -> u64 {
        let text = fs::read_to_string(deploy().join(file)).unwrap();
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key)).expect(key);
        line.trim_start_matches([' ', ':', '=', '"'])
            .chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .unwrap()
    };
    let kubernetes = seconds("kubernetes/workload.yaml", "terminationGracePeriodSeconds");
    let before = seconds("kubernetes/workload.yaml", "sleep: {seconds");
    let drain = seconds("kubernetes/testgate.toml", "drain_timeout");
    assert!(kubernetes > before + drain, "{kubernetes} s for {before} and {drain} s");
    let systemd = seconds("systemd/testgate.service", "TimeoutStopSec");
    let drain = seconds("systemd/testgate.toml", "drain_timeout");
    assert!(systemd > drain, "{systemd} s for {drain} s");
}

#[test]
fn the_image_is_built_with_the_pinned_compiler() {
    let pinned =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("rust-toolchain.toml")).unwrap();
    let version = pinned.split('"').nth(1).unwrap();
    let image = fs::read_to_string(dockerfile()).unwrap();
    assert!(image.contains(&format!("FROM rust:{version}-")), "{version} is pinned");
}

#[test]
fn the_image_is_built_from_what_it_copies_and_without_a_network() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let image = fs::read_to_string(dockerfile()).unwrap();
    let copied: Vec<&str> = image
        .lines()
        .filter_map(|line| line.strip_prefix("COPY ").filter(|rest| !rest.starts_with("--")))
        .flat_map(|line| line.split(' ').rev().skip(1))
        .collect();
    assert!(
        ["Cargo.lock", "Cargo.toml", "build", "build.rs", "proto", "src"]
            .iter()
            .all(|part| copied.contains(part))
    );
    // What the sources include is among it.
    let mut folders = vec![root.join("src"), root.join("build.rs")];
    while let Some(path) = folders.pop() {
        if path.ends_with("tests") || path.ends_with("tests.rs") {
            continue;
        }
        if path.is_dir() {
            folders.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let included =
            ["include_str!(\"", "include_bytes!(\""].into_iter().flat_map(|start| text.split(start).skip(1));
        for included in included.filter_map(|rest| rest.split('"').next()) {
            let found = path.parent().unwrap().join(included).canonicalize().unwrap();
            let within = |part: &&str| found.starts_with(root.join(part).canonicalize().unwrap());
            assert!(copied.iter().any(within), "{} includes {included}", path.display());
        }
    }
    let networkless: Vec<&str> = image.lines().filter(|line| line.contains("cargo build")).collect();
    assert_eq!(
        networkless,
        ["RUN --network=none cargo build --profile dist --locked --offline --bin testgate"]
    );
    // The stage before it has Cargo's two files alone. They name all that there is to fetch, and agree.
    let folder = tempfile::tempdir().unwrap();
    for file in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(root.join(file), folder.path().join(file)).unwrap();
    }
    let tree = ["tree", "--locked", "--offline", "--edges", "normal,build"];
    ran(Command::new(env!("CARGO")).args(tree).current_dir(folder.path()));
}

#[test]
fn the_linker_can_read_which_functions_a_start_runs() {
    let list = include_str!("../build/startup.txt");
    let is_symbol = |c: char| c.is_ascii_alphanumeric() || "_.$*".contains(c);
    for pattern in list.lines() {
        assert!(!pattern.is_empty() && pattern.chars().all(is_symbol), "{pattern:?}");
    }
    assert!(list.lines().is_sorted() && list.lines().count() > 100);
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn dockerfile() -> PathBuf {
    deploy().join("container/Dockerfile")
}

/// A program beside the Python that the test command installs.
fn tool(name: &str) -> PathBuf {
    let python = std::env::var_os("TESTGATE_PYTHON_DEPLOY").map(PathBuf::from).expect(
        "TESTGATE_PYTHON_DEPLOY is not set: run tests/run, which installs the checkers of deploy/ and sets it",
    );
    python.with_file_name(name)
}

/// What a command says on stderr; it must succeed.
fn ran(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{said}",
        output.status,
        String::from_utf8_lossy(&output.stdout)
    );
    said
}
