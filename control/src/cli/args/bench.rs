//! Arguments of `pontoon bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// `pontoon bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
It needs root. Everything is built in private namespaces: the host is left exactly as it was, however the bench ends. What else runs
on the machine is in the figures, so run it on a quiet one; where the machine drifts more than what is to be told, the report says so.

Figures are of the whole path: a generator in one namespace, a sink in another, and whatever joins them. Every contender is measured
in every round; ratios are taken within a round.

Examples:
  pontoon bench --list                        who can take part here, and what is measured
  pontoon bench --quick
  pontoon bench --scenario tcp --scenario rr --against bridge --rounds 9
  pontoon bench --save monday.json --html monday.html
  pontoon bench --compare monday.json         what has changed since
  pontoon bench --compare monday.json friday.json

Exit status: 0 when it ran, whoever was faster.")]
pub struct BenchArgs {
    /// A few scenarios beside one other, in less than a minute
    #[arg(long)]
    pub quick: bool,
    /// Only this scenario, or family of scenarios: `tcp-4-cubic`, `tcp-4`, `tcp`; repeat it for more
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub scenario: Vec<String>,
    /// Compare with this contender only; repeat it for more [default: all that are here]
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub against: Vec<String>,
    /// Measure the real docker0 as well, by containers of this machine's Engine, which are removed again (after SIGKILL the empty
    /// image pontoon-bench:empty is left)
    #[arg(long)]
    pub docker: bool,
    /// Measure TCP streams by iperf3 as well, to check pontoon's own generator
    #[arg(long)]
    pub with_iperf3: bool,
    /// Rounds of each scenario; fewer than 5 prove nothing [default: 6, and 5 with --quick]
    #[arg(long, value_name = "N", value_parser = parse_rounds)]
    pub rounds: Option<usize>,
    /// Seconds of each measurement [default: 0.5, and 0.4 with --quick]
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    pub seconds: Option<Duration>,
    /// Write the JSON document to this file as well
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Write a page for people, with plots, to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Say what changed since an earlier run, of which this is the JSON document; measured now as it was then, unless a second document
    /// is named
    #[arg(long, value_names = ["OLD", "NEW"], num_args = 1..=2)]
    pub compare: Vec<PathBuf>,
    /// Say who can take part here and what can be measured, and do nothing else
    #[arg(long)]
    pub list: bool,
}

fn parse_rounds(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=1000).contains(n)).ok_or_else(|| "give a number, 1 to 1000".to_owned())
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.01..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "give seconds, 0.01 to 3600".to_owned())
}
