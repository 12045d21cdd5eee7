//! The command line: what was typed → an [`Invocation`] with validated settings.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};

use crate::config::{Begin, Env, Place, Settings, TailSource, Typed};
use crate::decode::Format;
use crate::exit::Failure;

mod batch;
mod dashboards;
mod examples;
mod invocation;
mod tail;
mod typed;

use batch::BatchArgs;
pub use dashboards::Dashboards;
pub use invocation::Invocation;
use tail::{Further, TailArgs};
use typed::ListenTyped;

/// Turns any test runner's events and logs into labelled Grafana Loki streams, live.
///
/// testwire wraps or follows a test command, sends what happens to Loki while it happens, and passes the command's output
/// and exit code through untouched. Grafana dashboards come with it.
#[derive(Debug, Parser)]
#[command(name = "testwire", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = examples::TOP, disable_help_subcommand = true, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a test command; ship its tests and logs live
    ///
    /// Finds out the runner (Robot Framework, pytest, unittest, go test, cargo, Jest, Vitest, Mocha, Playwright, node --test,
    /// Cucumber, prove, ctest, Maven, Gradle), adds what makes it speak, and ships tests, logs and progress while it runs. With any other command every line of output becomes a log entry and the exit code the run's result. Output,
    /// signals and the exit code are the command's own; what testwire says goes to stderr.
    #[command(after_long_help = examples::RUN, after_help = examples::MORE)]
    Run {
        /// Run the command as it is: add no listener, take its output lines for log entries
        #[arg(long)]
        no_inject: bool,
        /// A log to follow while it runs, or a pattern of logs; repeatable
        #[arg(long, value_name = "FILE")]
        tail: Vec<PathBuf>,
        #[command(flatten)]
        further: Further,
        #[command(flatten)]
        typed: Typed,
        /// The test command and its arguments, behind `--`
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Run many test files on several workers, as one run
    ///
    /// Each file is run in a process group of its own: by its kind (pytest for test_*.py and *_test.py, robot for *.robot, python3,
    /// sh, bats and node --test for what they read, anything executable by itself) or by --command. What takes longest begins
    /// first, as far as earlier runs are known. A file that crashes or takes too long costs only itself. SIGTERM and Ctrl-C end
    /// all files, a second one kills them, and none outlives testwire, even if it is killed.
    #[command(after_long_help = examples::BATCH, after_help = examples::MORE)]
    Batch(Box<BatchArgs>),
    /// Ends what is left of a batch whose testwire is gone
    #[command(hide = true, name = "batch-guard", after_help = examples::BATCH_GUARD)]
    BatchGuard {
        /// Marks the processes of the batch
        mark: String,
    },
    /// Ship test events that arrive on stdin
    ///
    /// Reads a runner's event stream until its end. Exits with 1 if the run that it saw failed, because a shell without
    /// `pipefail` would hide that.
    #[command(after_long_help = examples::PIPE, after_help = examples::MORE)]
    Pipe(PipeArgs),
    /// Take test events over HTTP, as a daemon
    ///
    /// Listeners and other clients post events while tests run, and testwire ships them to Loki. An event is answered when
    /// testwire holds it; no answer waits for Loki. SIGTERM and SIGINT end it: open requests are finished, and what waits is
    /// delivered as far as the drain timeout allows. Runs that are on wait for the next start. SIGHUP reads the settings
    /// anew: tokens, --run-timeout, --max-body, --loader-path, --project, --env and --attr; it says what needs a restart.
    #[command(after_long_help = examples::LISTEN, after_help = examples::MORE)]
    Listen {
        /// Ask a running daemon at the address whether it takes events, and end with 0 if so, else with 4
        #[arg(long)]
        health: bool,
        #[command(flatten)]
        further: Further,
        #[command(flatten)]
        typed: ListenTyped,
    },
    /// Follow log files
    ///
    /// Ships every line that is written to the files, through rotation, truncation and restarts, until SIGTERM or SIGINT. How
    /// far each file was read is kept in the state directory. Without FILE, what [[tail]] in testwire.toml names is followed.
    #[command(after_long_help = examples::TAIL, after_help = examples::MORE)]
    Tail(TailArgs),
    /// Play a realistic run, in the terminal and into Loki
    ///
    /// Three runners with failures, retries and logs. Needs nothing; with a Loki at hand the run is shipped there.
    #[command(after_long_help = examples::DEMO, after_help = examples::MORE)]
    Demo {
        #[command(flatten)]
        typed: Typed,
    },
    /// Get the Grafana dashboards that come with testwire
    #[command(after_help = examples::DASHBOARDS, arg_required_else_help = true)]
    Dashboards {
        #[command(subcommand)]
        command: dashboards::Command,
    },
    /// Check the settings, and whether Loki answers
    #[command(after_long_help = examples::CHECK, after_help = examples::MORE)]
    Check {
        /// Print every setting with its value and where it comes from (secrets as ***), and end
        #[arg(long)]
        config: bool,
        #[command(flatten)]
        typed: Typed,
    },
    /// Prove that every entry of a run is in Loki, and none twice
    ///
    /// Reads the run back from Loki. Every entry carries its number in the last digits of its time, and the run's end says
    /// how many there are, so a loss or a double shows.
    #[command(after_long_help = examples::AUDIT, after_help = examples::MORE)]
    Audit {
        /// Id of the run, as `testwire run` says it
        #[arg(value_name = "RUN")]
        run: String,
        /// How many days back to look for it
        #[arg(long, value_name = "N", default_value = "30", value_parser = clap::value_parser!(u16).range(1..))]
        days: u16,
        #[command(flatten)]
        typed: Typed,
    },
    /// List the runs in Loki, the newest first
    #[command(after_long_help = examples::RUNS, after_help = examples::MORE)]
    Runs {
        /// How many days back to look
        #[arg(long, value_name = "N", default_value = "30", value_parser = clap::value_parser!(u16).range(1..))]
        days: u16,
        /// List no more than so many
        #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u16).range(1..))]
        most: u16,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        typed: Typed,
    },
    /// Say what changed between two runs in Loki
    ///
    /// Newly failing, fixed, slower, missing and new tests. Without ids the last two runs of the project that have ended are
    /// compared, if they have the same environment and runner; with one id, that run with the one before it.
    #[command(after_long_help = examples::DIFF, after_help = examples::MORE)]
    Diff {
        /// Ids of the run before and of the run after, or what only they begin or end with
        #[arg(value_name = "RUN", num_args = 0..=2)]
        runs: Vec<String>,
        /// How many days back to look
        #[arg(long, value_name = "N", default_value = "30", value_parser = clap::value_parser!(u16).range(1..))]
        days: u16,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        typed: Typed,
    },
    /// Ship finished reports and old event files, with their own times
    ///
    /// Takes files, patterns and directories, also gzipped and zipped. A report is a run; the TEST-*.xml of a folder are one
    /// run, and with --run-id all files are. What an entry says depends on the reports alone, so importing them again changes
    /// nothing. Entries that Loki refused (rejected/*.ndjson below the state directory) are sent again as they are, once the
    /// cause is mended; their file is then renamed to FILE.sent.
    #[command(after_long_help = examples::IMPORT, after_help = examples::MORE)]
    Import {
        /// Reports, event files, refused entries, or directories with reports
        #[arg(value_name = "FILE", required_unless_present = "watch", conflicts_with = "watch")]
        files: Vec<PathBuf>,
        /// Format of the files [default: found out from the first bytes of each]
        #[arg(long, value_name = "FORMAT")]
        format: Option<Format>,
        /// Ship the reports that appear in this directory, as one run, until Ctrl-C
        #[arg(long, value_name = "DIR")]
        watch: Option<PathBuf>,
        /// Say what each file is taken for, and why
        #[arg(long)]
        explain: bool,
        #[command(flatten)]
        typed: Typed,
    },
    /// Deliver what ended or killed testwire processes left in the spool
    ///
    /// Every start of `run` and `pipe` does the same beside its own work; `flush` waits until all is delivered, as long as
    /// the drain timeout allows.
    #[command(after_long_help = examples::FLUSH, after_help = examples::MORE)]
    Flush {
        #[command(flatten)]
        typed: Typed,
    },
    /// Say what waits in the spool, and what Loki refused
    #[command(after_long_help = examples::STATUS, after_help = examples::MORE)]
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        typed: Typed,
    },
    /// Write a testwire.toml with every setting, explained
    #[command(after_help = examples::INIT)]
    Init {
        /// The file
        #[arg(value_name = "FILE", default_value = "testwire.toml")]
        file: PathBuf,
    },
    /// Print a completion script for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
struct PipeArgs {
    /// Format of the events [default: found out from the first lines]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Copy stdin to stdout, byte for byte
    #[arg(long)]
    tee: bool,
    /// Exit with 0 although the run failed
    #[arg(long)]
    no_fail: bool,
    /// Say what format stdin is taken for, and why
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    typed: Typed,
}

/// Reads the command line, the environment and the file of settings. Help, version and a wrong command line are printed
/// here, and end the process with 0 or 2.
///
/// # Errors
/// A setting is wrong.
pub fn parse() -> Result<Invocation, Failure> {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    let env: Env = std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
    let place = Place::observe(&env);
    match parse_from(std::env::args_os(), &env, &place) {
        Ok(invocation) => Ok(invocation),
        Err(Refusal::CommandLine(error)) => error.exit(),
        Err(Refusal::Settings(failure)) => Err(failure),
    }
}

/// Why there is no invocation.
#[derive(Debug)]
pub enum Refusal {
    /// Clap's: a usage error, or help and version, which it handles alike.
    CommandLine(clap::Error),
    /// Settings are wrong.
    Settings(Failure),
}

/// [`parse`] of any arguments (the program's name first), environment and surroundings.
///
/// # Errors
/// See [`Refusal`].
pub fn parse_from<I, T>(args: I, env: &Env, place: &Place) -> Result<Invocation, Refusal>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = Cli::try_parse_from(args).map_err(|error| Refusal::CommandLine(with_dashes_tip(error)))?;
    let load = |typed: &Typed| Settings::load(typed, env, place).map(Box::new).map_err(Refusal::Settings);
    Ok(match cli.command {
        Command::Run { no_inject, tail, further, typed, command } => {
            let source = |path: &PathBuf| TailSource::typed(std::slice::from_ref(path), None, Begin::End, place);
            let tails: Result<Vec<_>, _> = tail.iter().map(source).collect();
            let tails = tails.map_err(|error| Refusal::Settings(error.into()))?.into_iter().flatten();
            let tails = tails.chain(further.tails(place)?).collect();
            Invocation::Run { settings: load(&typed)?, command, no_inject, tails }
        }
        Command::Batch(args) => {
            let settings = load(&args.typed.0)?;
            Invocation::Batch { settings, batch: Box::new(args.batch()) }
        }
        Command::BatchGuard { mark } => Invocation::BatchGuard { mark },
        Command::Pipe(PipeArgs { format, tee, no_fail, explain, typed }) => {
            Invocation::Pipe { settings: load(&typed)?, format, tee, no_fail, explain }
        }
        Command::Listen { health, further, typed: ListenTyped(typed) } => {
            let mut settings = load(&typed)?;
            settings.tails.extend(further.tails(place)?);
            Invocation::Listen { settings, health }
        }
        Command::Tail(args) => Invocation::Tail { tails: args.tails(place)?, settings: load(&args.typed)? },
        Command::Demo { typed } => Invocation::Demo { settings: load(&typed)? },
        Command::Dashboards { command } => Invocation::Dashboards(command.resolve(load)?),
        Command::Check { config, typed } => Invocation::Check { settings: load(&typed)?, config },
        Command::Audit { run, days, typed } => Invocation::Audit { settings: load(&typed)?, run, days },
        Command::Runs { days, most, json, typed } => Invocation::Runs { settings: load(&typed)?, days, most, json },
        Command::Diff { runs, days, json, typed } => Invocation::Diff { settings: load(&typed)?, runs, days, json },
        Command::Import { files, format, watch, explain, typed } => {
            Invocation::Import { settings: load(&typed)?, files, format, watch, explain }
        }
        Command::Flush { typed } => Invocation::Flush { settings: load(&typed)? },
        Command::Status { json, typed } => Invocation::Status { settings: load(&typed)?, json },
        Command::Init { file } => Invocation::Init { file },
        Command::Completions { shell } => Invocation::Completions { shell },
    })
}

/// `testwire run pytest` is the most likely slip, and clap's message for it does not mention the dashes.
fn with_dashes_tip(mut error: clap::Error) -> clap::Error {
    let word = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) if error.kind() == ErrorKind::UnknownArgument => word.clone(),
        _ => return error,
    };
    let in_run = matches!(error.get(ContextKind::Usage), Some(ContextValue::StyledStr(usage)) if usage.to_string().contains("testwire run"));
    if in_run && !word.starts_with('-') {
        let tip = format!("put `--` before the test command: testwire run -- {word} …");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// The completion script for a shell.
pub fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut <Cli as clap::CommandFactory>::command(), "testwire", &mut script);
    script
}

#[cfg(test)]
mod tests;
