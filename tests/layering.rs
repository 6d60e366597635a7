//! Which module may import which: the table of docs/architecture.md, checked against the sources.
#![allow(clippy::unwrap_used, clippy::string_slice, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A layer and what it may import of ours. `tasks`, `telemetry`, `metrics`, `audit` and `trace` are open to all but `model`.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("tasks", &[]),
    ("telemetry", &[]),
    ("metrics", &[]),
    ("audit", &[]),
    ("trace", &["model"]),
    ("proto", &["model"]),
    ("config", &["model"]),
    ("token", &["model"]),
    ("auth", &["model", "config"]),
    ("tls", &["model", "config"]),
    ("backend", &["model", "config"]),
    ("backend/adapter", &["backend", "model", "config"]),
    ("backend/registry", &["backend", "backend/adapter", "config", "model"]),
    ("store", &["model", "proto", "config"]),
    ("tracker", &["model", "backend", "store", "proto"]),
    ("grpc", &["tracker", "proto", "model", "token", "auth", "backend", "store", "server"]),
    ("doors", &["proto", "config"]),
    ("server", &["proto", "model", "config", "auth", "tls", "doors"]),
    ("admin", &["config", "model", "server"]),
    ("sandbox", &[]),
    (
        "app",
        &[
            "model",
            "proto",
            "config",
            "token",
            "auth",
            "tls",
            "backend",
            "backend/registry",
            "store",
            "tracker",
            "grpc",
            "doors",
            "server",
            "admin",
            "sandbox",
        ],
    ),
    ("cli", &["proto", "model", "app", "config", "sandbox"]),
];
const OPEN_TO_ALL: &[&str] = &["tasks", "telemetry", "metrics", "audit", "trace"];
const ADAPTERS: &[&str] = &["connect", "lex", "openmetadata"];

#[test]
fn every_import_is_allowed_by_the_table() {
    let mut wrong = Vec::new();
    for (file, layer) in sources() {
        let text = fs::read_to_string(&file).unwrap();
        for imported in imports(&file, &text) {
            let allowed = imported == layer
                || (OPEN_TO_ALL.contains(&imported.as_str()) && layer != "model")
                || ALLOWED.iter().any(|(name, may)| *name == layer && may.contains(&imported.as_str()));
            if !allowed {
                wrong.push(format!("{}: {layer} imports {imported}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that the table does not allow:\n{}", wrong.join("\n"));
}

#[test]
fn adapters_do_not_know_each_other() {
    let mut wrong = Vec::new();
    for (file, layer) in sources() {
        if layer != "backend/adapter" {
            continue;
        }
        let own = ADAPTERS
            .iter()
            .find(|name| file.components().any(|c| stem(c.as_os_str().as_ref()) == **name))
            .unwrap();
        let text = fs::read_to_string(&file).unwrap();
        for other in ADAPTERS.iter().filter(|name| *name != own) {
            if text.contains(&format!("backend::{other}")) {
                wrong.push(format!("{}: {own} imports {other}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_cycle() {
    let mut open: BTreeMap<&str, BTreeSet<&str>> = ALLOWED
        .iter()
        .map(|(name, may)| (*name, may.iter().copied().filter(|other| other != name).collect()))
        .collect();
    while !open.is_empty() {
        let free: Vec<&str> = open.iter().filter(|(_, may)| may.is_empty()).map(|(name, _)| *name).collect();
        assert!(!free.is_empty(), "a cycle among {:?}", open.keys());
        for name in &free {
            open.remove(name);
        }
        for may in open.values_mut() {
            may.retain(|other| !free.contains(other));
        }
    }
}

#[test]
fn the_architecture_page_has_this_table() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md")).unwrap();
    let rows: BTreeMap<&str, BTreeSet<&str>> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |").map(|(name, may)| (name, quoted(may))))
        .collect();
    for (name, may) in
        ALLOWED.iter().filter(|(name, _)| !name.starts_with("backend") && !OPEN_TO_ALL.contains(name))
    {
        let row = rows.get(name).unwrap_or_else(|| panic!("docs/architecture.md has no row for {name}"));
        assert_eq!(*row, may.iter().copied().collect(), "the row of {name}");
    }
}

/// What stands between backticks.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn each_source_file_is_at_most_500_lines_without_its_tests() {
    let mut long = Vec::new();
    for (file, _) in sources() {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let lines = code.lines().count();
        if lines > 500 {
            long.push(format!("{}: {lines} lines", file.display()));
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// All sources but tests, with their layer.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(&root).unwrap().to_owned();
                let is_test = relative.components().any(|c| stem(c.as_os_str().as_ref()) == "tests")
                    // The service's own file of that name is not a test.
                    && !relative.starts_with("grpc");
                if !is_test && relative != Path::new("lib.rs") && relative != Path::new("main.rs") {
                    let layer = layer_of(&relative);
                    found.push((path, layer));
                }
            }
        }
    }
    assert!(found.len() > 50, "only {} sources were found", found.len());
    found
}

fn layer_of(relative: &Path) -> String {
    let parts: Vec<&str> = relative.components().map(|c| stem(c.as_os_str().as_ref())).collect();
    match parts.as_slice() {
        ["backend", "registry", ..] => "backend/registry".into(),
        ["backend", part, ..] if ADAPTERS.contains(part) => "backend/adapter".into(),
        [first, ..] => (*first).into(),
        [] => unreachable!("a file has a name"),
    }
}

fn stem(part: &Path) -> &str {
    part.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
}

/// The layers that a source imports, outside its inline tests.
fn imports(file: &Path, text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let path: String = code[at + "crate::".len()..]
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':')
            .collect();
        let parts: Vec<&str> = path.split("::").collect();
        match parts.as_slice() {
            ["backend", "registry", ..] => found.insert("backend/registry".to_owned()),
            ["backend", part, ..] if ADAPTERS.contains(part) => found.insert("backend/adapter".to_owned()),
            [first, ..] if !first.is_empty() => found.insert((*first).to_owned()),
            _ => panic!(
                "{}: an import of several layers in one `use crate::{{..}}` can't be checked",
                file.display()
            ),
        };
    }
    found
}
