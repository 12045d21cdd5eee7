//! Exit codes, and the one way in which a command fails in words.

use std::error::Error;
use std::io::{IsTerminal as _, Write as _};

/// How testwire ends. `run` is the exception: it ends with the code of the command that it wraps, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All input was read and every entry was taken.
    Ok = 0,
    /// `pipe` only: the run that it saw failed, unless `--no-fail`.
    RunFailed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A setting from the environment or a file is wrong.
    Config = 3,
    /// An input could not be read to its end.
    Input = 4,
    /// Ended while entries wait in the spool; the next start or `testwire flush` delivers them.
    Undelivered = 5,
    /// Loki refused entries; they are kept under `rejected/`.
    Rejected = 6,
    /// The spool cannot be used.
    Spool = 7,
    /// `run` only, as a shell says it: the command is there and cannot be run.
    CannotRun = 126,
    /// `run` only, as a shell says it: there is no such command.
    NotFound = 127,
}

impl Exit {
    /// The process exit code.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command could not do its work, for a person.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    exit: Exit,
    text: String,
    hint: Option<String>,
}

impl Failure {
    /// `what` failed: a fragment in lower case without a full stop.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, text: what.into(), hint: None }
    }

    /// Adds a cause and the causes behind it. A cause whose text is already there is left out, because many errors
    /// repeat their source in their own text.
    #[must_use]
    pub fn cause(mut self, cause: &dyn Error) -> Self {
        let mut next = Some(cause);
        while let Some(error) = next {
            let text = error.to_string();
            if !self.text.contains(&text) {
                self.text.push_str(": ");
                self.text.push_str(&text);
            }
            next = error.source();
        }
        self
    }

    /// Says what to do: a full sentence or a command, without the full stop.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What failed, without the hint.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The exit code that follows.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// `error: <what>: <cause>` and, on a second line, `hint: <what to do>`.
    pub fn render(&self, colour: bool) -> String {
        let paint = |code: &str, word: &str| if colour { format!("\x1b[1;{code}m{word}\x1b[0m") } else { word.into() };
        let mut out = format!("{} {}\n", paint("31", "error:"), self.text);
        if let Some(hint) = &self.hint {
            out.push_str(&format!("{} {hint}\n", paint("36", "hint:")));
        }
        out
    }

    /// Prints it to stderr, coloured on a terminal unless `NO_COLOR` is set, and gives the exit code.
    pub fn report(&self) -> Exit {
        let mut stderr = std::io::stderr().lock();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let text = self.render(stderr.is_terminal() && !no_colour);
        // A closed stderr leaves nobody to tell; the exit code still says it.
        stderr.write_all(text.as_bytes()).ok();
        self.exit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_each_cause_once_and_ends_with_the_hint() {
        let inner = std::io::Error::other("connection refused");
        let outer = std::io::Error::other(inner);
        let failure = Failure::new(Exit::Input, "cannot read events.ndjson").cause(&outer).hint("check the path");
        assert_eq!(
            failure.render(false),
            "error: cannot read events.ndjson: connection refused\nhint: check the path\n"
        );
        assert_eq!(failure.exit().code(), 4);
    }

    #[test]
    fn colour_is_only_around_the_two_words() {
        let text = Failure::new(Exit::Config, "no").hint("yes").render(true);
        assert_eq!(text, "\x1b[1;31merror:\x1b[0m no\n\x1b[1;36mhint:\x1b[0m yes\n");
    }
}
