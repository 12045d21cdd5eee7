//! The `testwire` command: arguments → settings → command → exit code.

use std::io::Write as _;
use std::process::ExitCode;

use testwire::cli::{self, Dashboards, Invocation};
use testwire::commands;
use testwire::commands::dashboards::install::Wish;
use testwire::config::Settings;
use testwire::exit::{Exit, Failure};

/// Blocks up to this size come from memory that the process keeps; it gives back what is beyond twice of it.
const KEPT_BLOCK: usize = 4 << 20;

fn main() -> ExitCode {
    keep_memory();
    match cli::parse().and_then(carry_out) {
        Ok(code) => code,
        Err(failure) => failure.report().into(),
    }
}

/// Buffers of entries of some 100 KiB come and go all the time, and glibc would give each back to the system, which zeroes
/// it before it comes again: 9 % of the time of `tail`. It learns from the largest block that was freed how large such
/// buffers are. Where another allocator is in use, nothing happens; nothing writes to the block, so it costs no memory.
fn keep_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(KEPT_BLOCK)));
}

fn carry_out(invocation: Invocation) -> Result<ExitCode, Failure> {
    match invocation {
        Invocation::Run { settings, command, no_inject, tails } => {
            serve(&settings, commands::run::run(&settings, &command, !no_inject, &tails))
        }
        Invocation::Batch { settings, batch } => {
            serve(&settings, async { commands::batch::batch(&settings, &batch).await })
        }
        Invocation::BatchGuard { mark } => commands::batch::guard::guard(&mark).map(|()| Exit::Ok.into()),
        Invocation::Pipe { settings, format, tee, no_fail, explain } => {
            let options = commands::pipe::Options { format, tee, no_fail, explain };
            serve(&settings, async { commands::pipe::pipe(&settings, options).await.map(ExitCode::from) })
        }
        Invocation::Listen { settings, health: true } => {
            serve(&settings, async { commands::health::health(&settings).await.map(ExitCode::from) })
        }
        Invocation::Listen { settings, health: false } => {
            serve(&settings, async { commands::listen::listen(&settings, reloaded).await.map(ExitCode::from) })
        }
        Invocation::Tail { settings, tails } => {
            serve(&settings, async { commands::tail::tail(&settings, tails).await.map(ExitCode::from) })
        }
        Invocation::Demo { settings } => serve(&settings, commands::demo::demo(&settings)),
        Invocation::Check { settings, config: true } => Ok(print(settings.table().as_bytes())),
        Invocation::Check { settings, config: false } => {
            serve(&settings, async { commands::check::check(&settings).await.map(ExitCode::from) })
        }
        Invocation::Audit { settings, run, days } => {
            serve(&settings, async { commands::audit::audit(&settings, &run, days).await.map(ExitCode::from) })
        }
        Invocation::Runs { settings, days, most, json } => serve(&settings, async {
            commands::runs::runs(&settings, days, most.into(), json).await.map(ExitCode::from)
        }),
        Invocation::Diff { settings, runs, days, json } => {
            serve(&settings, async { commands::diff::diff(&settings, &runs, days, json).await.map(ExitCode::from) })
        }
        Invocation::Import { settings, files, format, watch, explain } => {
            let options = commands::import::Options { files, format, watch, explain };
            serve(&settings, async { commands::import::import(&settings, &options).await.map(ExitCode::from) })
        }
        Invocation::Flush { settings } => {
            serve(&settings, async { commands::flush::flush(&settings).await.map(ExitCode::from) })
        }
        Invocation::Status { settings, json } => commands::status::status(&settings, json).map(ExitCode::from),
        Invocation::Dashboards(command) => dashboards(command),
        Invocation::Init { file } => commands::init::init(&file),
        Invocation::Completions { shell } => Ok(print(&cli::completions(shell))),
    }
}

fn dashboards(command: Dashboards) -> Result<ExitCode, Failure> {
    match command {
        Dashboards::Export { directory } => commands::dashboards::export(&directory).map(|()| Exit::Ok.into()),
        Dashboards::Install { settings, folder, datasource, dry_run, uninstall } => {
            let wish = Wish { folder, datasource, dry_run, uninstall };
            serve(&settings, async {
                commands::dashboards::install::install(&settings, &wish).await.map(|()| Exit::Ok.into())
            })
        }
        Dashboards::Alerts { datasource, on } => {
            Ok(print(commands::dashboards::alerts(datasource.as_deref(), on).as_bytes()))
        }
    }
}

/// The settings of `listen` as they are now.
fn reloaded() -> Result<Settings, Failure> {
    match cli::parse()? {
        Invocation::Listen { settings, .. } => Ok(*settings),
        _ => Err(Failure::new(Exit::Usage, "these are no arguments of listen")),
    }
}

/// A reader that has seen enough closes the pipe; nothing is lost by that.
fn print(text: &[u8]) -> ExitCode {
    std::io::stdout().write_all(text).ok();
    Exit::Ok.into()
}

/// Runs a command on the runtime: two threads are enough for pushes, signals and timers.
fn serve(settings: &Settings, command: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    tracing_subscriber::fmt()
        .with_max_level(settings.log_level.filter())
        .with_target(false)
        .without_time()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Spool, "cannot start").cause(&e))?
        .block_on(command)
}
