//! What the demo shows: a line for each check as it is done, then who is who, then what to try.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::checks::{Check, Findings};
use super::kept::Kept;
use super::lab::{Lab, NAMES, PUBLISHED};
use super::outside::{self, HOST};
use super::service::LARGE;
use crate::api::types::PortStats;
use crate::cli::output::print;
use crate::cli::show;
use crate::cli::table::Table;
use crate::failure::Failure;
use crate::private::Way;

/// Prints as the demo goes. With `--json` only the progress bar is shown, and that on a terminal only.
#[derive(Debug)]
pub(super) struct Stage {
    bar: ProgressBar,
    silent: bool,
    colour: bool,
}

impl Stage {
    pub(super) fn new(silent: bool) -> Stage {
        let bar = ProgressBar::with_draw_target(Some(100), ProgressDrawTarget::stderr());
        // The template is a constant; a bar without style still shows progress.
        if let Ok(style) = ProgressStyle::with_template(" {bar:30} {percent:>3} %  {msg}") {
            bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        let colour =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Stage { bar, silent, colour }
    }

    /// The bar, to be cleared by whoever ends the process.
    pub(super) fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// Whether only JSON is printed.
    pub(super) fn silent(&self) -> bool {
        self.silent
    }

    /// What is being done now, and how much of all is done.
    pub(super) fn now(&self, percent: u64, what: impl Into<String>) {
        self.bar.set_position(percent);
        self.bar.set_message(what.into());
    }

    pub(super) fn print(&self, text: &str) -> Result<(), Failure> {
        if self.silent { Ok(()) } else { self.bar.suspend(|| print(text)) }
    }

    pub(super) fn check(&self, check: &Check) -> Result<(), Failure> {
        let (word, colour) = if check.ok { ("ok  ", "32") } else { ("FAIL", "1;31") };
        self.print(&format!(" {}  {:<20} {}\n", self.paint(word, colour), check.name, check.detail))
    }

    /// The picture of the network.
    pub(super) fn picture(&self, lab: &Lab) -> Result<(), Failure> {
        let mut out = String::from(
            "\npontoon demo: three namespaces, their host and the world outside;\n\
             no kernel bridge, no veth, no firewall rules\n\n",
        );
        let way = format!("──┼── pontoon ── host {HOST} ── outside {}", outside::ADDRESS);
        let gateway = format!("──┘   gateway {}", lab.network.gateway);
        let arms = ["──┐".to_owned(), way, gateway];
        for (station, arm) in lab.stations.iter().zip(arms) {
            out += &format!("   {}  {} {arm}\n", self.name(station.name, 5), station.ip);
        }
        self.print(&(out + "\n"))
    }

    /// Who is who: the ARP tables beside the FDB; then the ports' counters.
    pub(super) fn tables(&self, lab: &Lab, findings: &Findings) -> Result<(), Failure> {
        let knowing = |mac| {
            let has = |name: &&&str| {
                findings.arp.get(*name).is_some_and(|table| table.iter().any(|e| e.mac == mac))
            };
            NAMES.iter().filter(has).copied().collect::<Vec<_>>().join(" ")
        };
        let mut table = Table::new(&["STATION", "ADDRESS", "MAC", "LEARNED ON PORT", "IN ARP TABLES OF"]);
        for station in &lab.stations {
            let entry = findings.fdb.iter().find(|entry| entry.mac == station.mac);
            table.row([
                station.name.to_owned(),
                station.ip.to_string(),
                station.mac.to_string(),
                entry.map(|entry| format!("{} ({})", entry.port, entry.kind)).unwrap_or_default(),
                knowing(station.mac),
            ]);
        }
        let gateway_mac = lab.network.gateway_mac;
        table.row([
            "gateway".to_owned(),
            lab.network.gateway.to_string(),
            gateway_mac.to_string(),
            "pontoon itself".to_owned(),
            knowing(gateway_mac),
        ]);
        // All are of the one network, and a line has room for 80 columns.
        let short = |port: &PortStats| {
            let name = port.port.split_once('/').map_or(&*port.port, |(_, name)| name);
            PortStats { port: name.to_owned(), ..port.clone() }
        };
        let ports: Vec<_> = findings.ports.iter().map(short).collect();
        let mut out = format!("\n{}\n{}", table.render(), show::traffic(&ports));
        let drops = show::drops(&ports);
        if !drops.is_empty() {
            out = out + "\n" + &drops;
        }
        self.print(&indent(&out))
    }

    /// The last word.
    pub(super) fn verdict(&self, findings: &Findings) -> Result<(), Failure> {
        let (all, failed) = (findings.checks.len(), findings.checks.iter().filter(|check| !check.ok).count());
        let word = if failed == 0 {
            self.paint(&format!("All {all} checks passed"), "1;32")
        } else {
            self.paint(&format!("{failed} of {all} checks failed"), "1;31")
        };
        self.print(&format!("\n {word} in {:.1} s.", findings.seconds))
    }

    /// What to try from another terminal.
    pub(super) fn suggestions(&self, lab: &Lab, kept: &Kept) -> Result<(), Failure> {
        let program = std::env::args().next().unwrap_or_else(|| "pontoon".to_owned());
        let enter = kept.sandboxes.first().map(|sandbox| sandbox.enter.join(" ")).unwrap_or_default();
        let from_outside = kept.outside.enter.join(" ");
        let [_, green, _] = NAMES;
        let target =
            lab.stations.iter().find(|s| s.name == green).map(|s| s.ip.to_string()).unwrap_or_default();
        let who = match kept.way {
            Way::Root => "as root",
            Way::User => "as the same user",
        };
        self.print(&format!(
            " It stays up until Ctrl-C. To try from another terminal, {who}:\n\n\
             \x20  export PONTOON_SOCKET={}\n\
             \x20  {program} network show demo\n\
             \x20  {program} port ls\n\
             \x20  {program} fdb ls\n\
             \x20  {program} stats\n\
             \x20  {program} ports\n\
             \x20  {program} nat ls\n\
             \x20  {enter} ping {target}\n\
             \x20  {enter} ping {address}\n\
             \x20  {enter} curl http://{address}/\n\
             \x20  {enter} curl -s http://{address}{} | sha256sum\n\
             \x20  {from_outside} curl http://{HOST}:{PUBLISHED}/\n\
             \x20  {enter} ip neigh\n\n",
            kept.socket,
            LARGE.path,
            address = outside::ADDRESS,
        ))
    }

    fn name(&self, name: &str, width: usize) -> String {
        let colour = match name {
            "red" => "31",
            "green" => "32",
            _ => "34",
        };
        self.paint(&format!("{name:>width$}"), colour)
    }

    /// `text` in an ECMA-48 colour, on a terminal.
    fn paint(&self, text: &str, colour: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!(" {line}\n") }).collect()
}
