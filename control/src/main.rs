//! The one binary: see [`pontoon::cli`].

fn main() -> std::process::ExitCode {
    pontoon::cli::main()
}
