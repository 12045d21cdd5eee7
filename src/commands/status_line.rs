//! The live line at the bottom of a terminal.
//!
//! The runner's own output goes to the terminal untouched and unseen by testwire, so a progress bar that redraws its line
//! would be torn apart. The last row is therefore taken out of the scrolling region (DECSTBM), as `apt` does, and only
//! that row is written to.

use std::io::{self, Write};
use std::time::Duration;

use rustix::termios::{isatty, tcgetwinsize};

use crate::config::{Progress as Wanted, Settings};
use crate::normalize::Progress;

/// Rows below which a terminal is left alone.
const MIN_ROWS: u16 = 5;

/// Owns the last row of the terminal on standard error while it lives.
#[derive(Debug)]
pub struct StatusLine {
    rows: u16,
    columns: u16,
}

impl StatusLine {
    /// Takes the last row; `None` where standard error is no terminal, or too small a one.
    pub fn take(settings: &Settings) -> Option<Self> {
        let stderr = io::stderr();
        let terminal = isatty(&stderr) && std::env::var_os("TERM").is_some_and(|t| t != "dumb");
        if settings.quiet || settings.progress == Wanted::Never || (settings.progress == Wanted::Auto && !terminal) {
            return None;
        }
        let (rows, columns) = size()?;
        let line = Self { rows, columns };
        line.reserve();
        Some(line)
    }

    /// Sets the scrolling region. The line feed first: the row to take may hold text.
    fn reserve(&self) {
        self.write(&format!("\n\x1b7\x1b[1;{}r\x1b8\x1b[1A", self.rows - 1));
    }

    /// Shows `text`, cut to the width; adapts to a changed size.
    pub fn show(&mut self, text: &str) {
        if let Some((rows, columns)) = size().filter(|&size| size != (self.rows, self.columns)) {
            (self.rows, self.columns) = (rows, columns);
            self.reserve();
        }
        let text: String = text.chars().filter(|c| !c.is_control()).take(usize::from(self.columns)).collect();
        self.write(&format!("\x1b7\x1b[{};1H\x1b[7m{text}\x1b[0m\x1b[K\x1b8", self.rows));
    }

    /// One write call, so that the runner's output cannot come in between. A terminal that is gone is no reason to stop.
    fn write(&self, text: &str) {
        io::stderr().lock().write_all(text.as_bytes()).ok();
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.write(&format!("\x1b7\x1b[r\x1b[{};1H\x1b[K\x1b8", self.rows));
    }
}

fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stderr()).ok()?;
    (size.ws_row >= MIN_ROWS && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// ` 37/120  31%  2 failed  12s, 26s left  checkout.test_pay 4s`.
pub fn progress_text(progress: &Progress) -> String {
    let c = &progress.counters;
    let mut parts = Vec::new();
    if c.planned > c.seen() + c.running {
        parts.push(format!("{}/{} {}%", c.done(), c.planned, c.done() * 100 / c.planned));
    } else {
        parts.push(format!("{} done", c.done()));
    }
    for (n, word) in [(c.failed, "failed"), (c.errored, "errored"), (c.flaky, "flaky"), (c.running, "running")] {
        if n > 0 {
            parts.push(format!("{n} {word}"));
        }
    }
    let mut time = seconds(progress.elapsed);
    if let Some(eta) = progress.eta.filter(|e| e.as_secs() > 0) {
        time.push_str(&format!(", {} left", seconds(eta)));
    }
    parts.push(time);
    if let Some((test, age)) = &progress.oldest {
        parts.push(format!("{} {test}", seconds(*age)));
    }
    format!(" {}", parts.join("  "))
}

/// `42s`, `3m05s`, `2h10m`.
pub fn seconds(duration: Duration) -> String {
    let s = duration.as_secs();
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        _ => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalize::Counters;

    #[test]
    fn the_line_says_what_a_person_wants_to_know() {
        let counters = Counters { planned: 120, passed: 35, failed: 2, running: 1, ..Counters::default() };
        let progress = Progress {
            counters,
            elapsed: Duration::from_secs(12),
            eta: Some(Duration::from_secs(86)),
            oldest: Some(("checkout.test_pay".into(), Duration::from_secs(4))),
        };
        assert_eq!(progress_text(&progress), " 37/120 30%  2 failed  1 running  12s, 1m26s left  4s checkout.test_pay");
    }
}
