//! `pontoon bench`: pontoon beside the kernel's bridge and whatever else this machine has, in the same run.
//!
//! As the demo, it first moves into private namespaces ([`crate::private`]), so that the kernel clears everything away when the process
//! ends, however it ends. In there every contender ([`contender`]) gets a lab ([`lab`]), and each scenario ([`scenario`]) is measured
//! in all labs in turn, round by round ([`round`]), by a generator of our own ([`traffic`]). [`statistics`] and [`noise`] say what that
//! proves, [`report`] shows it, [`compare`] holds a run against another.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::thread::CapabilitySet;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::output::Output;
use crate::clock;
use crate::failure::Failure;
use crate::private;

pub mod compare;
mod contender;
pub mod document;
pub mod error;
mod lab;
mod machine;
mod meter;
pub mod noise;
pub mod process;
mod report;
mod round;
mod scenario;
pub mod statistics;
mod traffic;

use contender::{Contender, DOCKER, SUBJECT};
use document::{Document, Listing, Participant, SCHEMA, Settings};
use report::progress::Progress;
use round::{Plan, Spectator};
use scenario::Scenario;
use traffic::{Time, iperf3};

/// How the bench runs.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Print the JSON document instead of the table.
    pub json: bool,
    /// Write it to this file as well.
    pub save: Option<PathBuf>,
    /// Write a page for people to this file.
    pub html: Option<PathBuf>,
    /// An earlier document, and maybe a later one: say what changed. Without a later one the bench is run as the earlier one was.
    pub compare: Vec<PathBuf>,
    /// A few scenarios, in less than a minute.
    pub quick: bool,
    /// Scenarios or families of them; all when empty.
    pub scenarios: Vec<String>,
    /// Whom to compare with; everybody that this machine has when empty.
    pub against: Vec<String>,
    /// Whether the real docker0 takes part.
    pub docker: bool,
    /// Whether TCP streams are measured by iperf3 as well.
    pub with_iperf3: bool,
    /// Rounds of each scenario.
    pub rounds: Option<usize>,
    /// How long a measurement takes.
    pub window: Option<Duration>,
    /// Only say what there is.
    pub list: bool,
}

/// Of a usual run, and of a quick one.
const ROUNDS: [usize; 2] = [6, 5];
const WINDOWS: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(400)];
/// Whom a quick run compares with, if nobody is named: the first of them that this machine has.
const QUICK_AGAINST: [&str; 3] = ["bridge", "bridge-hooks", "bridge-off"];

/// Runs the bench. Call it before the process has started any thread.
///
/// # Errors
/// One sentence that says what is missing. A measurement that fails is no error but a note in the report.
pub fn run(options: &Options) -> Result<ExitCode, Failure> {
    let out = Output { json: options.json };
    let documents = options.compare.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    match &documents[..] {
        [] => {
            if let Some(document) = run_here(options)? {
                out.show(&document, || report::table::of(&document))?;
            }
        }
        [old] => {
            if let Some(new) = run_here(&as_before(options, old))? {
                let differences = compare::compare(old, &new);
                out.show(&differences, || {
                    report::table::of(&new) + "\n" + &report::changes::of(&differences)
                })?;
            }
        }
        [old, new, ..] => {
            let differences = compare::compare(old, new);
            out.show(&differences, || report::changes::of(&differences))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// None when there was only to say what there is.
fn run_here(options: &Options) -> Result<Option<Document>, Failure> {
    let scenarios = wanted_scenarios(options)?;
    let contenders = wanted_contenders(options)?;
    if options.with_iperf3 {
        process::need(&[iperf3::PROGRAM], iperf3::PROGRAM)
            .map_err(|error| Failure::Sentence(error.to_string()))?;
    }
    if !private::has_capability(CapabilitySet::SYS_ADMIN) {
        return Err(Failure::sentence(
            "the bench makes network namespaces, which needs root; try `sudo pontoon bench`",
        ));
    }
    let [save, html] =
        [&options.save, &options.html].map(|path| path.as_deref().map(Written::create).transpose());
    let (save, html) = (save?, html?);
    private::enter().map_err(|error| Failure::Sentence(format!("the bench cannot run: {error}")))?;
    let progress = Progress::new();
    watch_signals(&progress)?;
    let (present, participants) = lacking(contenders, options.quick && options.against.is_empty(), &progress);
    if options.list {
        progress.clear();
        let listing = Listing::of(participants, &scenarios);
        Output { json: options.json }.show(&listing, || report::table::list(&listing))?;
        return Ok(None);
    }
    if let Some(reason) = participants.iter().find(|it| it.name == SUBJECT).and_then(|it| it.absent.as_ref())
    {
        return Err(Failure::Sentence(format!(
            "pontoon itself does not run here: {reason}; `pontoon doctor` says more"
        )));
    }
    let document = measure(options, &scenarios, present, participants, &progress)?;
    progress.clear();
    if let Some(file) = save {
        file.write(&report::json(&document)?)?;
    }
    if let Some(file) = html {
        file.write(&report::html::page(&document))?;
    }
    Ok(Some(document))
}

/// What the options leave open is as it was in an earlier run.
fn as_before(options: &Options, old: &Document) -> Options {
    let mut options = options.clone();
    options.rounds = options.rounds.or(Some(old.settings.rounds));
    options.window = options.window.or(Duration::try_from_secs_f64(old.settings.seconds).ok());
    let known = |name: &&String| scenario::all(false).iter().any(|it| it.name == **name);
    if options.scenarios.is_empty() {
        options.scenarios = old.scenarios.iter().map(|it| &it.name).filter(known).cloned().collect();
    }
    let known = |name: &&String| contender::all().iter().any(|it| it.name() == name.as_str());
    let present = old.contenders.iter().filter(|it| it.absent.is_none()).map(|it| &it.name);
    if options.against.is_empty() {
        options.against = present.filter(known).cloned().collect();
    }
    options
}

fn read(file: &Path) -> Result<Document, Failure> {
    let cannot = |reason: &dyn std::fmt::Display| {
        Failure::Sentence(format!(
            "cannot read {} as what `pontoon bench --json` prints: {reason}",
            file.display()
        ))
    };
    let text = std::fs::read_to_string(file).map_err(|error| cannot(&error))?;
    let document: Document = serde_json::from_str(&text).map_err(|error| cannot(&error))?;
    match document.schema {
        SCHEMA => Ok(document),
        other => Err(cannot(&format!("it is of schema {other}, and this version of pontoon knows {SCHEMA}"))),
    }
}

fn measure(
    options: &Options,
    scenarios: &[Scenario],
    contenders: Vec<Box<dyn Contender>>,
    participants: Vec<Participant>,
    progress: &Progress,
) -> Result<Document, Failure> {
    let (quick, start, started) = (usize::from(options.quick), Instant::now(), clock::now());
    let machine = machine::look();
    let (rounds, window) =
        (options.rounds.unwrap_or(ROUNDS[quick]), options.window.unwrap_or(WINDOWS[quick]));
    let plan = Plan { scenarios, contenders: &contenders, rounds, time: Time::of(window) };
    progress.of(plan.measurements());
    let outcomes = plan.run(progress);
    let settings = Settings {
        rounds,
        seconds: window.as_secs_f64(),
        quick: options.quick,
        subject: SUBJECT.to_owned(),
        baseline: contenders.first().map(|it| it.name().to_owned()).unwrap_or_default(),
        mtu: lab::MTU,
        interval: statistics::METHOD.to_owned(),
    };
    Ok(Document {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
        started,
        seconds: (start.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        machine,
        settings,
        contenders: participants,
        scenarios: outcomes,
    })
}

/// Those that were named, or all; of a quick run the few that are quick.
fn wanted_scenarios(options: &Options) -> Result<Vec<Scenario>, Failure> {
    let all = scenario::all(options.with_iperf3);
    for wish in &options.scenarios {
        if !all.iter().any(|scenario| scenario::is_named(&scenario.name, wish)) {
            return Err(Failure::Sentence(format!(
                "there is no scenario {wish}; `pontoon bench --list` names them"
            )));
        }
    }
    let wanted = |scenario: &Scenario| match options.scenarios.is_empty() {
        true => scenario.quick || !options.quick,
        false => options.scenarios.iter().any(|wish| scenario::is_named(&scenario.name, wish)),
    };
    Ok(all.into_iter().filter(wanted).collect())
}

/// Those that were named, or all; pontoon itself in any case.
fn wanted_contenders(options: &Options) -> Result<Vec<Box<dyn Contender>>, Failure> {
    let all = contender::all();
    for wish in &options.against {
        if !all.iter().any(|contender| contender.name() == wish) {
            return Err(Failure::Sentence(format!(
                "there is no contender {wish}; `pontoon bench --list` names them"
            )));
        }
    }
    let named = |name: &str| options.against.iter().any(|it| it == name);
    let wanted = |name: &str| match name {
        SUBJECT => true,
        DOCKER => options.docker || options.list || named(name),
        _ => options.against.is_empty() || named(name),
    };
    Ok(all.into_iter().filter(|contender| wanted(contender.name())).collect())
}

/// Takes out whom this machine lacks something for, and says what. Of a quick run, all but the first of those that are quick.
fn lacking(
    contenders: Vec<Box<dyn Contender>>,
    quick: bool,
    progress: &Progress,
) -> (Vec<Box<dyn Contender>>, Vec<Participant>) {
    let (mut present, mut participants) = (Vec::<Box<dyn Contender>>::new(), Vec::new());
    for contender in contenders {
        let (name, about) = (contender.name(), contender.about().to_owned());
        let unneeded = || name != SUBJECT && (!QUICK_AGAINST.contains(&name) || !present.is_empty());
        if quick && unneeded() {
            continue;
        }
        progress.now(&format!("looking for {name}"));
        let lack = contender.lack();
        participants.push(Participant { name: name.to_owned(), about, absent: lack.clone() });
        if lack.is_none() {
            present.push(contender);
        }
    }
    (present, participants)
}

/// A file that is written when all is done. It is opened before the process moves into private namespaces, which have a /run of their
/// own; and who may not write it learns so now, and not after minutes.
struct Written<'a> {
    path: &'a Path,
    file: File,
}

impl Written<'_> {
    fn create(path: &Path) -> Result<Written<'_>, Failure> {
        let file = File::create(path).map_err(cannot_write(path))?;
        Ok(Written { path, file })
    }

    fn write(mut self, text: &str) -> Result<(), Failure> {
        self.file.write_all(text.as_bytes()).map_err(cannot_write(self.path))
    }
}

fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::Sentence(format!("cannot write {}: {error}", path.display()))
}

/// Ends the process on a signal. What the bench made is in its private namespaces, and its programs die with it; only an Engine has
/// to be told.
fn watch_signals(progress: &Progress) -> Result<(), Failure> {
    let cannot = |error: io::Error| Failure::Sentence(format!("cannot watch for signals: {error}"));
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(cannot)?;
    let progress = progress.clone();
    let wait = move || {
        if let Some(signal) = signals.forever().next() {
            progress.clear();
            contender::clean_up();
            // Whether anybody reads it does not matter any more.
            let _ = writeln!(
                io::stderr(),
                "\npontoon: ended by a signal; nothing is left: the namespaces were private"
            );
            std::process::exit(128 + signal);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map_err(cannot)?;
    Ok(())
}
