//! What each command does.

mod adopt;
pub mod audit;
pub mod batch;
pub mod check;
pub mod dashboards;
pub mod demo;
pub mod diff;
mod events_file;
pub mod flush;
pub mod health;
mod history;
pub mod import;
pub mod init;
pub mod listen;
mod outcome;
pub mod pipe;
mod pulse;
pub mod run;
pub mod runs;
mod runs_kept;
mod session;
mod shipping;
pub mod status;
mod status_line;
pub mod tail;
mod tails;
mod totals;

/// Prints to standard output. A reader that has seen enough closes the pipe; nothing is lost by that.
fn print(text: &str) {
    std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()).ok();
}

/// Whether standard output is a terminal that wants colours.
fn wants_colour() -> bool {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::IsTerminal::is_terminal(&std::io::stdout()) && !no_colour
}

/// `text` in the colour with this SGR code, if colours are wanted.
fn painted(text: &str, code: &str, colour: bool) -> String {
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
