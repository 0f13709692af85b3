//! Declared state in TOML, with errors that say where: `FILE:LINE:COLUMN: sentence`.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::api::types::Document;

/// A file that does not declare anything.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{}:{line}:{column}: {sentence}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What is wrong.
        sentence: String,
    },
}

/// Reads a declaration; `-` is standard input.
///
/// # Errors
/// The file cannot be read, is not TOML, or has unknown keys or wrong types.
pub fn read(path: &Path) -> Result<Document, ConfigError> {
    let stdin = Path::new("<stdin>");
    let (path, bytes) = if path == Path::new("-") {
        let mut bytes = Vec::new();
        (stdin, std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes))
    } else {
        (path, std::fs::read(path))
    };
    let bytes = bytes.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(path, text(path, &bytes)?)
}

/// The file's text, which TOML wants in UTF-8.
fn text<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, ConfigError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let good = String::from_utf8_lossy(good);
        let (line, column) = position(&good, good.len());
        let sentence = "this is not UTF-8 text; TOML files are".to_owned();
        ConfigError::Syntax { path: path.to_owned(), line, column, sentence }
    })
}

/// Parses the text of the file `path`.
///
/// # Errors
/// It is not TOML, or has unknown keys or wrong types.
pub fn parse(path: &Path, text: &str) -> Result<Document, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let (line, column) = position(text, error.span().map_or(0, |span| span.start));
        let at = text.lines().nth(line - 1).unwrap_or_default();
        let sentence = plainly(error.message().trim(), at).replace('\n', "; ");
        ConfigError::Syntax { path: path.to_owned(), line, column, sentence }
    })
}

/// What the parser says in its own terms, in the file's; `line` is what it stumbled over.
fn plainly(message: &str, line: &str) -> String {
    const LISTS: [&str; 9] = [
        "namespace",
        "network",
        "network.endpoint",
        "network.interface",
        "network.fdb",
        "network.publish",
        "network.publish.rule",
        "network.rule",
        "network.link",
    ];
    let line = line.trim();
    let single = line.strip_prefix('[').and_then(|rest| rest.split(']').next()).map(str::trim);
    match single.filter(|name| LISTS.contains(name)) {
        Some(name) => format!("there may be several of these: write [[{name}]]"),
        None if line.starts_with("subnet") && message.contains("invalid IP address") => {
            "write it in CIDR notation, such as 10.88.0.0/24".to_owned()
        }
        None => message.to_owned(),
    }
}

/// Line and column of a byte, both from 1.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str) -> String {
        parse(Path::new("lab.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn a_whole_declaration() {
        let text = r#"
            [[namespace]]
            name = "web"
            create = true

            [[network]]
            name = "app"
            subnet = "10.88.0.0/24"

            [[network.endpoint]]
            netns = "web"
            ip = "10.88.0.7"
            kind = "veth"
            port = { isolated = true }

            [[network.interface]]
            name = "eth1"

            [[network.fdb]]
            mac = "02:00:00:00:00:01"
            port = "eth1"
        "#;
        let document = parse(Path::new("lab.toml"), text).unwrap();
        assert!(document.namespaces[0].create);
        let network = &document.networks[0];
        assert_eq!(network.subnet, Some("10.88.0.0/24".parse().unwrap()));
        assert_eq!(network.endpoints[0].port.isolated, Some(true));
        assert_eq!((network.interfaces.len(), network.fdb.len()), (1, 1));
    }

    #[test]
    fn errors_say_where() {
        let unknown = says("[[network]]\nname = \"a\"\n  subnett = \"10.0.0.0/24\"\n");
        assert!(unknown.starts_with("lab.toml:3:3: unknown field `subnett`"), "{unknown}");
        let wrong = says("[[network]]\nname = \"ä\"\nsubnet = \"10.0.0.0/24\"\nmtu = \"big\"\n");
        assert!(wrong.starts_with("lab.toml:4:7: invalid type"), "{wrong}");
        let subnet = says("[[network]]\nname = \"a\"\nsubnet = \"10.0.0.0/99\"\n");
        assert!(subnet.starts_with("lab.toml:3:10: "), "{subnet}");
        let subnet = says("[[network]]\nname = \"a\"\nsubnet = \"foo\"\n");
        assert_eq!(subnet, "lab.toml:3:10: write it in CIDR notation, such as 10.88.0.0/24");
        let single = says("[network]\nname = \"a\"\nsubnet = \"10.0.0.0/24\"\n");
        assert!(single.ends_with("write [[network]]"), "{single}");
        let bytes = text(Path::new("lab.toml"), b"a = 1\nb = \"\xff\"\n").unwrap_err().to_string();
        assert_eq!(bytes, "lab.toml:2:6: this is not UTF-8 text; TOML files are");
        let syntax = says("[[network]\n");
        assert!(syntax.starts_with("lab.toml:1:"), "{syntax}");
        assert!(!syntax.contains('\n'), "{syntax}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("/nowhere/lab.toml")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /nowhere/lab.toml: "), "{error}");
    }
}
