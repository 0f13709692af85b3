//! `pontoon doctor`: what this machine has and lacks, what each lack costs, and what to do about it.
//!
//! First the host is looked at from where we stand ([`host`]), then the process moves into private namespaces and
//! tries out in there what only trying shows ([`probe`]): the host is left as it was.

use std::process::ExitCode;

use serde::Serialize;

use crate::cli::output::Output;
use crate::cli::table::wrap;
use crate::failure::Failure;

mod host;
mod probe;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// All is there.
    Ok,
    /// Pontoon works, with the cost that is named.
    Warn,
    /// Something essential lacks.
    Lacks,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    /// What was looked at; stable.
    name: &'static str,
    /// How it came out.
    status: Status,
    /// What was found.
    found: String,
    /// What the lack costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
    /// Another user, root at the latest, would not lack it.
    #[serde(skip)]
    users: bool,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Check {
        Check { name, status: Status::Ok, found: found.into(), cost: None, remedy: None, users: false }
    }

    fn warn(name: &'static str, found: impl Into<String>, cost: &str, remedy: &str) -> Check {
        let (cost, remedy) = (Some(cost.to_owned()), Some(remedy.to_owned()));
        Check { name, status: Status::Warn, found: found.into(), cost, remedy, users: false }
    }

    fn lacks(name: &'static str, found: impl Into<String>, cost: &str, remedy: &str) -> Check {
        Check { status: Status::Lacks, ..Check::warn(name, found, cost, remedy) }
    }

    /// The lack is this user's, not the machine's.
    fn of_this_user(self) -> Check {
        Check { users: true, ..self }
    }
}

/// All checks and what follows from them.
#[derive(Debug, Serialize)]
struct Report {
    checks: Vec<Check>,
    /// Whether `pontoon daemon` can run here as this user.
    daemon: bool,
    /// Whether `pontoon demo` can run here as this user.
    demo: bool,
    /// Nothing essential lacks.
    ok: bool,
}

impl Report {
    fn of(checks: Vec<Check>) -> Report {
        // In private namespaces the demo is root: what this user lacks on the host does not matter to it.
        let lack = |check: &Check| check.status == Status::Lacks;
        let ok = !checks.iter().any(lack);
        let demo = !checks.iter().any(|c| lack(c) && c.name != host::CAPABILITIES)
            && checks.iter().any(|c| c.name == probe::TAP && c.status == Status::Ok);
        Report { checks, daemon: ok, demo, ok }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for check in &self.checks {
            let status = match check.status {
                Status::Ok => "ok",
                Status::Warn => "warn",
                Status::Lacks => "lacks",
            };
            let head = format!("{status:<6} {:<16}", check.name);
            out += &paragraph(&head, &check.found);
            for (label, text) in [("costs:", &check.cost), ("do:", &check.remedy)] {
                if let Some(text) = text {
                    out += &paragraph(&format!("{:23} {label:<6}", ""), text);
                }
            }
        }
        let can = |can| if can { "can" } else { "cannot" };
        let mut lacks = self.checks.iter().filter(|check| check.status == Status::Lacks).peekable();
        // Who could do more as another user is told so; nobody else is sent to look for one.
        let who = if lacks.peek().is_some() && lacks.all(|check| check.users) { " as this user" } else { "" };
        let (daemon, demo) = (can(self.daemon), can(self.demo));
        out += &format!("\n`pontoon daemon` {daemon} run here{who}; `pontoon demo` {demo}.\n");
        out
    }
}

/// `text` wrapped at 100 columns, beside `head`.
fn paragraph(head: &str, text: &str) -> String {
    let indent = head.chars().count();
    let lines = wrap(text, 99 - indent).into_iter().enumerate();
    lines.map(|(i, line)| format!("{:indent$} {line}\n", if i == 0 { head } else { "" })).collect()
}

/// Looks and prints. The process is in private namespaces afterwards, so this is the last thing that it does.
///
/// # Errors
/// When standard output cannot be written to.
pub fn run(out: Output) -> Result<ExitCode, Failure> {
    let mut checks = host::checks();
    checks.extend(probe::checks());
    let report = Report::of(checks);
    out.show(&report, || report.text())?;
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lacks_decides_who_can_run() {
        let tap = || Check::ok(probe::TAP, "made");
        let caps = || Check::lacks(host::CAPABILITIES, "no CAP_SYS_ADMIN", "no daemon.", "Be root.");
        let kernel = || Check::lacks("kernel", "2.6", "all.", "Upgrade.");
        let verdict = |checks: Vec<Check>| {
            let report = Report::of(checks);
            (report.daemon, report.demo, report.ok)
        };
        assert_eq!(verdict(vec![tap()]), (true, true, true));
        assert_eq!(verdict(vec![tap(), caps()]), (false, true, false));
        assert_eq!(verdict(vec![tap(), kernel()]), (false, false, false));
        assert_eq!(verdict(vec![Check::warn(probe::TAP, "not tried", "c", "r")]), (true, false, true));
    }

    #[test]
    fn the_user_is_blamed_only_for_what_root_would_not_lack() {
        let caps = || Check::lacks(host::CAPABILITIES, "none", "c", "r").of_this_user();
        let tun = || Check::lacks("tun device", "/dev/net/tun is not character device 10:200", "c", "r");
        let last = |checks| Report::of(checks).text().lines().last().unwrap().to_owned();
        assert!(last(vec![caps()]).starts_with("`pontoon daemon` cannot run here as this user;"));
        assert!(last(vec![tun()]).starts_with("`pontoon daemon` cannot run here;"));
        assert!(last(vec![caps(), tun()]).starts_with("`pontoon daemon` cannot run here;"));
    }

    #[test]
    fn each_lack_comes_with_cost_and_remedy() {
        let report = Report::of(vec![
            Check::ok("kernel", "6.18"),
            Check::warn("offloads", "no USO", "UDP is slower.", "Use Linux 6.2."),
        ]);
        assert_eq!(
            report.text(),
            "ok     kernel           6.18\n\
             warn   offloads         no USO\n\
             \x20                       costs: UDP is slower.\n\
             \x20                       do:    Use Linux 6.2.\n\
             \n`pontoon daemon` can run here; `pontoon demo` cannot.\n"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["checks"][1]["status"], "warn");
        assert!(json["checks"][0].get("cost").is_none());
    }
}
