//! docs/nat-conformance.md names tests: those must be there.

use std::path::{Path, PathBuf};

use crate::{Test, test};

/// The test, given the names of all trials.
pub(crate) fn test_of(trials: Vec<String>) -> Test {
    test("conformance/tests-exist", move || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
        let text = std::fs::read_to_string(root.join("docs/nat-conformance.md")).unwrap();
        // What stands between backticks.
        let quoted = text.split('`').skip(1).step_by(2);
        let named: Vec<(&str, &str)> = quoted.filter_map(|name| name.split_once("::")).collect();
        let missing: Vec<_> = named.iter().filter(|it| !exists(root, &trials, it)).collect();
        assert!(missing.is_empty(), "there are no such tests: {missing:?}");
        assert!(named.len() > 80, "{} names", named.len());
    })
}

fn exists(root: &Path, trials: &[String], &(place, name): &(&str, &str)) -> bool {
    if (place, name) == ("e2e/FILE", "NAME") || (place, name) == ("fuzz", "TARGET") {
        return true;
    }
    if place == "fuzz" {
        return root.join("fuzz/seeds").join(name).is_dir();
    }
    if let Some(file) = place.strip_prefix("e2e/") {
        let begins = |trial: &String| trial.split_once('/').is_some_and(|(_, rest)| rest.starts_with(name));
        let first = name.split('/').next().unwrap_or(name);
        return trials.iter().any(begins)
            && contains(root.join("control/tests/e2e").join(format!("{file}.rs")), first);
    }
    let below = if place.starts_with("dataplane/") { "" } else { "dataplane/src/edge" };
    contains(root.join(below).join(place), &format!("fn {name}("))
}

fn contains(file: PathBuf, text: &str) -> bool {
    std::fs::read_to_string(file).is_ok_and(|source| source.contains(text))
}
