//! Links between the pages of the repository, which people also read where they are.

use std::path::Path;

use crate::{files, root};

/// The targets of a page's links, without those in code.
fn targets(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            let prose: String = line.split('`').step_by(2).collect();
            for part in prose.split("](").skip(1) {
                found.push(part.split(')').next().unwrap().to_owned());
            }
        }
    }
    found
}

/// The anchors of a page, one for each heading.
fn anchors(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside && line.starts_with('#') {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            found.push(kept.collect::<String>().replace(' ', "-"));
        }
    }
    found
}

/// What is wrong with a link of a page.
fn broken(page: &Path, text: &str, target: &str) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() { page.to_owned() } else { page.parent().unwrap().join(file) };
    if !path.exists() {
        return Some(format!("{}: {target} does not exist", page.display()));
    }
    let text =
        if file.is_empty() { text.to_owned() } else { std::fs::read_to_string(&path).unwrap_or_default() };
    (!anchor.is_empty() && !anchors(&text).iter().any(|one| one == anchor))
        .then(|| format!("{}: {target} has no such heading", page.display()))
}

#[test]
fn every_link_of_every_page_leads_somewhere() {
    let mut count = 0;
    let mut problems = Vec::new();
    for page in files(".", ".md") {
        let text = std::fs::read_to_string(&page).unwrap();
        for target in targets(&text) {
            count += 1;
            problems.extend(broken(&page, &text, &target));
        }
    }
    assert!(count > 60, "only {count} links");
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn links_and_headings_are_found() {
    let text = "# A `b`: c\n[one](x.md#a-b) and `[no](code)`\n```text\n# no [no](code)\n```\n[two](#a)\n";
    assert_eq!(targets(text), ["x.md#a-b", "#a"]);
    assert_eq!(anchors(text), ["a-b-c"]);
    let page = root().join("README.md");
    assert!(broken(&page, "# Here\n", "nowhere.md").is_some());
    assert!(broken(&page, "# Here\n", "#there").is_some());
    assert!(broken(&page, "# Here\n", "#here").is_none());
}
