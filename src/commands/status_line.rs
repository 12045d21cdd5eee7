//! The live line at the bottom of a terminal.
//!
//! The runner's own output goes to the terminal untouched and unseen by testwire, so a progress bar that redraws its line
//! would be torn apart. The last row is therefore taken out of the scrolling region (DECSTBM), as `apt` does, and only
//! that row is written to. A runner that draws over the screen itself, as those with a progress display do, gets no such line: it
//! would erase it, and count rows that are not its own.

use std::io::{self, Write};
use std::time::Duration;

use rustix::process::{Signal, getpgrp, getpid, kill_process};
use rustix::termios::{isatty, tcgetpgrp, tcgetwinsize};
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::config::{Progress as Wanted, Settings};
use crate::normalize::Progress;

/// Rows below which a terminal is left alone.
const MIN_ROWS: u16 = 5;
/// How often the line is drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// How often a plain line is written where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Shows how a run goes, while it lives.
#[derive(Debug)]
pub(super) struct StatusLine {
    place: Place,
    tick: Interval,
    /// Ctrl-Z; listened to only with a terminal.
    stops: Option<unix::Signal>,
}

/// Where it is shown.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    /// As lines among others.
    Lines,
    /// In the last row of the terminal on standard error: rows and columns while the row is taken.
    Row(Option<(u16, u16)>),
}

impl StatusLine {
    /// As the settings want it: the last row of a terminal, or with `--progress always` plain lines elsewhere.
    pub(super) fn new(settings: &Settings) -> Self {
        Self::at(place(settings, settings.progress == Wanted::Always))
    }

    /// The same, but with plain lines wherever there is no terminal.
    pub(super) fn always(settings: &Settings) -> Self {
        Self::at(place(settings, true))
    }

    fn at(place: Place) -> Self {
        let every = if place == Place::Lines { PLAIN_EVERY } else { DRAW_EVERY };
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        if place == Place::Lines {
            tick.reset();
        }
        // Without the signal the line would only stay on the screen of a stopped testwire.
        let is_row = matches!(place, Place::Row(_));
        let stops = is_row.then(|| signal(SignalKind::from_raw(Signal::TSTP.as_raw())).ok()).flatten();
        Self { place, tick, stops }
    }

    /// Waits until something is to be shown; for ever if nothing ever is. May be dropped and called again.
    pub(super) async fn due(&mut self) {
        if self.place == Place::Nowhere {
            return std::future::pending().await;
        }
        loop {
            let stop = async {
                match &mut self.stops {
                    Some(stops) => stops.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.tick.tick() => return,
                _ = stop => self.stop(),
            }
        }
    }

    /// Shows `text`.
    pub(super) fn show(&mut self, text: &str) {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        match &self.place {
            Place::Nowhere => {}
            Place::Lines => write(&format!("testwire: {}\n", text.trim())),
            // The screen belongs to somebody else.
            Place::Row(_) if !in_foreground() => {}
            Place::Row(taken) => {
                let size = size();
                if size != *taken {
                    // Taken again with its new size, or left alone where it became too small.
                    let reset = if taken.is_some() { "\x1b7\x1b[r\x1b8" } else { "" };
                    write(&format!("{reset}{}", size.map(take).unwrap_or_default()));
                    self.place = Place::Row(size);
                }
                if let Some((rows, columns)) = size {
                    write(&draw(&text, rows, columns));
                }
            }
        }
    }

    /// Writes a line among the output, above the status line and no wider than the terminal.
    pub(super) fn say(&self, text: &str) {
        let columns = if let Place::Row(Some((_, columns))) = self.place { usize::from(columns) } else { usize::MAX };
        let text: String = text.chars().take(columns).collect();
        write(&format!("{text}\n"));
    }

    /// Ctrl-Z: the shell gets a whole screen, and the row is taken again by the next [`Self::show`].
    fn stop(&mut self) {
        self.release();
        kill_process(getpid(), Signal::STOP).ok();
        self.tick.reset_immediately();
    }

    /// Leaves the terminal alone from now on: its screen is drawn by somebody else.
    pub(super) fn give_up(&mut self) {
        if matches!(self.place, Place::Row(_)) {
            self.release();
            self.place = Place::Nowhere;
        }
    }

    fn release(&mut self) {
        if let Place::Row(taken @ Some(_)) = &mut self.place
            && let Some((rows, _)) = taken.take()
        {
            write(&format!("\x1b7\x1b[r\x1b[{rows};1H\x1b[K\x1b8"));
        }
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.release();
    }
}

fn place(settings: &Settings, plain_lines: bool) -> Place {
    let stderr = io::stderr();
    let terminal = isatty(&stderr) && std::env::var_os("TERM").is_some_and(|t| t != "dumb");
    if settings.quiet || settings.progress == Wanted::Never {
        Place::Nowhere
    } else if terminal {
        Place::Row(None)
    } else if plain_lines {
        Place::Lines
    } else {
        Place::Nowhere
    }
}

/// Makes room and takes the last row out of the scrolling region. First down a row, because the cursor may be in the last
/// one, and then up again; by IND, as a line feed would lose the column of an unfinished line.
fn take((rows, _): (u16, u16)) -> String {
    format!("\x1bD\x1b7\x1b[1;{}r\x1b8\x1b[1A", rows - 1)
}

/// Writes `text` into the last row and comes back. The region is set each time, because a program that clears the screen
/// resets it. Without autowrap, the terminal itself cuts what is too wide, whatever the width of a character is.
fn draw(text: &str, rows: u16, columns: u16) -> String {
    let text: String = text.chars().take(usize::from(columns)).collect();
    format!("\x1b7\x1b[1;{}r\x1b[{rows};1H\x1b[?7l\x1b[7m{text}\x1b[0m\x1b[K\x1b[?7h\x1b8", rows - 1)
}

/// One write call, so that the runner's output cannot come in between. A terminal that is gone is no reason to stop.
fn write(text: &str) {
    io::stderr().lock().write_all(text.as_bytes()).ok();
}

/// Rows and columns; `None` for a terminal that is too small to give a row away.
fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stderr()).ok()?;
    (size.ws_row >= MIN_ROWS && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// False while a shell has put this process into the background.
fn in_foreground() -> bool {
    tcgetpgrp(io::stderr()).is_ok_and(|group| group == getpgrp())
}

/// ` 37/120 30%  2 failed  12s, 26s left  {more}  4s checkout.test_pay`. What matters least, and may be long, comes last,
/// as the terminal's edge cuts it.
pub(super) fn progress_text(progress: &Progress, more: &str) -> String {
    let c = &progress.counters;
    let mut parts = Vec::new();
    if c.planned.max(c.seen()) == 0 {
        parts.push("no tests yet".into());
    } else if c.planned > c.seen() + c.running {
        parts.push(format!("{}/{} {}%", c.done(), c.planned, c.done() * 100 / c.planned));
    } else {
        parts.push(format!("{} done", c.done()));
    }
    for (n, word) in [
        (c.failed, "failed"),
        (c.new_failures, "new"),
        (c.errored, "errored"),
        (c.fixed, "fixed"),
        (c.flaky, "flaky"),
        (progress.hung, "hung"),
        (c.running, "running"),
    ] {
        if n > 0 {
            parts.push(format!("{n} {word}"));
        }
    }
    let mut time = seconds(progress.elapsed);
    if let Some(eta) = progress.eta.filter(|e| e.as_secs() > 0) {
        time.push_str(&format!(", {} left", seconds(eta)));
    }
    parts.push(time);
    if !more.is_empty() {
        parts.push(more.to_owned());
    }
    if let Some((test, age)) = &progress.oldest {
        let age = if age.as_secs() > 0 { format!("{} ", seconds(*age)) } else { String::new() };
        parts.push(format!("{age}{test}"));
    }
    format!(" {}", parts.join("  "))
}

/// `42s`, `3m05s`, `2h10m`.
pub(super) fn seconds(duration: Duration) -> String {
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
            hung: 0,
            oldest: Some(("checkout.test_pay".into(), Duration::from_secs(4))),
        };
        let text = " 37/120 30%  2 failed  1 running  12s, 1m26s left  4s checkout.test_pay";
        assert_eq!(progress_text(&progress, ""), text);
        let text = " 37/120 30%  2 failed  1 running  12s, 1m26s left  9 wait  4s checkout.test_pay";
        assert_eq!(progress_text(&progress, "9 wait"), text);
        let counters = Counters { new_failures: 1, fixed: 3, ..counters };
        let progress = Progress { counters, hung: 1, ..progress };
        let text = " 37/120 30%  2 failed  1 new  3 fixed  1 hung  1 running  12s, 1m26s left  4s checkout.test_pay";
        assert_eq!(progress_text(&progress, ""), text);
    }
}
