//! Manual pages in roff, from the definition of the command line.

use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};

use super::args::Cli;

/// The page pontoon(1).
///
/// # Errors
/// What writing into memory may fail with: nothing, in practice.
pub fn page() -> io::Result<String> {
    render(&command())
}

/// Writes a page for `pontoon` and one for every command below it into `dir`, which is made when it is missing.
///
/// # Errors
/// The directory or a file in it cannot be written.
pub fn write_all(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    write_tree(&command(), dir)
}

fn command() -> Command {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Gives the commands below their full names: pontoon-network-create.
    command.build();
    command
}

fn write_tree(command: &Command, dir: &Path) -> io::Result<()> {
    let name = clap_mangen::Man::new(command.clone()).get_filename();
    std::fs::write(dir.join(name), render(command)?)?;
    command.get_subcommands().try_for_each(|below| write_tree(below, dir))
}

fn render(command: &Command) -> io::Result<String> {
    let mut page = Vec::new();
    let version = concat!("pontoon ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command.clone()).source(version).manual("Pontoon").render(&mut page)?;
    let page = String::from_utf8_lossy(&page);
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").replace('\\', "\\\\").replace('-', "\\-");
    let page = synopsis(&page, &usage).replace("\n.SH VERSION\nv", "\n.SH VERSION\npontoon ");
    // Examples keep their line breaks (.nf), under a heading that says what they are.
    Ok(page.replace("\n.SH EXTRA\n", "\n.SH NOTES\n.nf\n").replace("\n.SH VERSION\n", "\n.fi\n.SH VERSION\n"))
}

/// The page with the line of usage that `--help` shows.
fn synopsis(page: &str, usage: &str) -> String {
    const HEADING: &str = "\n.SH SYNOPSIS\n";
    match page.split_once(HEADING).and_then(|(head, rest)| Some((head, rest.split_once('\n')?.1))) {
        Some((head, rest)) => format!("{head}{HEADING}{usage}\n{rest}"),
        None => page.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_commands_environment_and_exit_status() {
        let page = page().unwrap();
        for word in
            [".TH pontoon 1", "PONTOON_SOCKET", "pontoon\\-network(1)", "Exit status", ".nf\nExamples:"]
        {
            assert!(page.contains(word), "no {word} in {page}");
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("man1");
        write_all(&dir).unwrap();
        for page in ["pontoon.1", "pontoon-network-create.1", "pontoon-attach.1", "pontoon-demo.1"] {
            assert!(dir.join(page).metadata().unwrap().len() > 200, "{page}");
        }
        let page = std::fs::read_to_string(dir.join("pontoon-network-create.1")).unwrap();
        let usage = ".SH SYNOPSIS\npontoon network create [OPTIONS] <NAME>\n";
        assert!(page.contains(usage) && page.contains(".SH VERSION\npontoon 0"), "{page}");
    }
}
