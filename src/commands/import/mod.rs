//! `testwire import FILE…`: finished reports and old event files → Loki, with their own times; and refused entries.

mod inputs;
mod refused;
mod run;
mod table;
mod watch;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::inputs::{Input, Kind};
use self::run::{Report, Row};
use super::session::{output, run_info};
use super::shipping::{Says, Shipping, eprint_line, limits, zone};
use crate::config::{Origin, Output as Destination, Progress, Settings};
use crate::decode::{Format, Zone};
use crate::exit::{Exit, Failure};
use crate::normalize::RunInfo;
use crate::pipeline::output::OutputError;

/// What `import` was asked to do.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Files, patterns and directories.
    pub files: Vec<PathBuf>,
    /// Format of all of them; `None`: found out from their first bytes.
    pub format: Option<Format>,
    /// Ship what appears in this directory, until stopped.
    pub watch: Option<PathBuf>,
    /// Say of each file what it is taken for, and why.
    pub explain: bool,
}

/// What was found among the files.
#[derive(Default)]
struct Found {
    reports: Vec<(Input, Format)>,
    entries: Vec<PathBuf>,
    errors: Vec<String>,
}

/// Imports files.
///
/// # Errors
/// If the spool or the client cannot be made.
pub async fn import(settings: &Settings, options: &Options) -> Result<Exit, Failure> {
    if let Some(directory) = &options.watch {
        return watch::watch(settings, directory, options).await;
    }
    let found = sort_out(options);
    for error in &found.errors {
        eprint_line(&format!("error: {error}"));
    }
    let mut exit = if found.errors.is_empty() { Exit::Ok } else { Exit::Input };
    if !found.entries.is_empty() {
        exit = worse(exit, refused::import(settings, &found.entries).await?);
    }
    if !found.reports.is_empty() {
        exit = worse(exit, import_reports(settings, found.reports).await?);
    } else if found.entries.is_empty() && found.errors.is_empty() {
        eprint_line("warning: there are no reports");
    }
    Ok(exit)
}

/// An unreadable input is worse than entries that wait.
fn worse(a: Exit, b: Exit) -> Exit {
    match (a, b) {
        (Exit::Input, _) | (_, Exit::Input) => Exit::Input,
        (Exit::Ok, other) | (other, _) => other,
    }
}

/// Looks at the files.
fn sort_out(options: &Options) -> Found {
    let (inputs, errors) = inputs::find(&options.files);
    let mut found = Found { errors, ..Found::default() };
    for input in inputs {
        let name = input.name();
        let (what, why) = match inputs::look(&input, options.format) {
            Ok(Kind::Report(format, reason)) => {
                found.reports.push((input, format));
                (format.as_str(), reason)
            }
            Ok(Kind::Entries) => {
                found.entries.push(input.path);
                ("entries", "Line 1 is an entry of testwire.".into())
            }
            Ok(Kind::Unknown(reason)) => {
                if input.named {
                    found.errors.push(format!("{name}: this is no report of a known format: {reason}"));
                }
                ("unknown", reason)
            }
            Err(error) => {
                found.errors.push(format!("cannot read {name}: {error}"));
                continue;
            }
        };
        if options.explain {
            eprint_line(&format!("{name}: {what}: {why}"));
        }
    }
    found
}

async fn import_reports(settings: &Settings, reports: Vec<(Input, Format)>) -> Result<Exit, Failure> {
    let limits = limits(settings).await;
    let name = format!("import-{}", super::events_file::name(settings.run.run_id.as_str()));
    let to_loki = settings.output == Destination::Loki;
    let shipping = to_loki.then(|| Shipping::start(settings, &name, &limits)).transpose()?;
    let mut output = output(settings, shipping.as_ref());
    let bar = bar(settings, &reports);
    let (common, given) = common(settings);
    let zone = zone(settings);
    // It blocks on disk, and at the spool's cap.
    let work = tokio::task::spawn_blocking(move || {
        let (runs, errors) = group(reports, given, &zone, &bar);
        let mut rows = Vec::new();
        let result = runs.into_iter().try_for_each(|reports| {
            let info = identify(&common, &reports, given);
            rows.extend(run::write(info, &reports, &zone, &limits, &mut *output, &bar)?);
            Ok(())
        });
        bar.finish_and_clear();
        (rows, errors, result)
    });
    let (rows, errors, result) = work.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    conclude(settings, shipping, &rows, &errors, result).await
}

/// Says how it went, and waits for Loki.
async fn conclude(
    settings: &Settings,
    shipping: Option<Shipping>,
    rows: &[Row],
    errors: &[String],
    result: Result<(), OutputError>,
) -> Result<Exit, Failure> {
    let says = Says { quiet: settings.quiet, loki: settings.loki.url.to_string(), link: None };
    if !settings.quiet {
        table::lines(rows).iter().for_each(|line| eprint_line(line));
    }
    let damaged =
        rows.iter().filter_map(|row| Some(format!("{}:{}; what came before is kept", row.file, row.error.as_ref()?)));
    let errors: Vec<String> = errors.iter().cloned().chain(damaged).collect();
    errors.iter().for_each(|error| eprint_line(&format!("error: {error}")));
    let mut exit = if errors.is_empty() { Exit::Ok } else { Exit::Input };
    let total: u64 = rows.iter().map(|row| row.entries).sum();
    if let Some(mut shipping) = shipping {
        let left = shipping.drain(settings.drain_timeout, &says).await;
        let stats = shipping.shipper.stats();
        let (rejected, last) = (stats.rejected_total(), stats.last_error().map(|(_, error)| error));
        shipping.end(settings.drain_timeout, &says).await;
        says.line(&format!("{} of {total} entries in Loki", total.saturating_sub(left + rejected)));
        if left > 0 {
            let why = last.as_deref().unwrap_or("it did not take all in time");
            eprint_line(&format!(
                "warning: {left} entries wait in the spool for Loki: {why}; the next start or `testwire flush` delivers them"
            ));
            exit = worse(exit, Exit::Undelivered);
        } else if rejected > 0 {
            eprint_line(&format!(
                "warning: Loki refused {rejected} entries; they are kept in rejected/ with its answer"
            ));
            exit = worse(exit, Exit::Rejected);
        }
    }
    match result {
        Ok(()) => Ok(exit),
        Err(error) => Err(Failure::new(Exit::Spool, "entries cannot be handed on").cause(&error)),
    }
}

/// Which reports are of one run: all, where its id is given; else those that Surefire, Gradle and others write into one
/// folder for the classes of a run, `TEST-*.xml`; any other is a run of its own.
fn group(inputs: Vec<(Input, Format)>, given: bool, zone: &Zone, bar: &ProgressBar) -> (Vec<Vec<Report>>, Vec<String>) {
    let (mut groups, mut errors): (BTreeMap<(PathBuf, String), Vec<Report>>, _) = (BTreeMap::new(), Vec::new());
    for (input, format) in inputs {
        let name = input.name();
        let short = input.short_name();
        let key = if given {
            (PathBuf::new(), String::new())
        } else if format == Format::Junit && short.starts_with("TEST-") {
            (input.folder(), String::new())
        } else {
            (input.folder(), short)
        };
        match run::survey(input, format, zone, bar) {
            Ok(report) => groups.entry(key).or_default().push(report),
            Err(error) => errors.push(format!("cannot read {name}: {error}")),
        }
    }
    let mut runs: Vec<Vec<Report>> = groups.into_values().collect();
    for reports in &mut runs {
        // Names of folders and archives may differ when they are imported again.
        reports.sort_by_key(|report| (report.first, report.input.short_name(), report.contents));
    }
    (runs, errors)
}

/// What all runs have in common, without anything that depends on when and where they are imported; and whether the id of
/// the run is given.
fn common(settings: &Settings) -> (RunInfo, bool) {
    let mut info = run_info(settings, "");
    let prefix = crate::names::meta::ATTR_PREFIX;
    info.metadata.retain(|(name, _)| name.starts_with(prefix));
    info.host = String::new();
    let made_up = |origin: &Origin| matches!(origin, Origin::Derived(_) | Origin::Default);
    if settings.shown.iter().any(|row| row.name == "shard" && made_up(&row.origin)) {
        info.shard = String::new();
    }
    (info, settings.run.run_id_given)
}

/// The run of these reports. Several imports into one run must not count their entries alike, so that each is a shard.
fn identify(common: &RunInfo, reports: &[Report], given: bool) -> RunInfo {
    let mut info = common.clone();
    if !given {
        info.run_id = run::run_id(reports);
    } else if info.shard.is_empty() {
        info.shard = run::fingerprint(reports);
    }
    info
}

/// A bar over the bytes of both readings, on a terminal.
fn bar(settings: &Settings, reports: &[(Input, Format)]) -> ProgressBar {
    let wanted = match settings.progress {
        Progress::Auto => std::io::stderr().is_terminal(),
        Progress::Always => true,
        Progress::Never => false,
    };
    if settings.quiet || !wanted {
        return ProgressBar::hidden();
    }
    let style = "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    let total = reports.iter().map(|(input, _)| input.size() * 2).sum();
    ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr()).with_style(style)
}
