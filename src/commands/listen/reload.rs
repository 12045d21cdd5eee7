//! What SIGHUP changes.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::super::shipping::{Says, eprint_line};
use super::common_of;
use crate::config::{Listen, Settings};
use crate::exit::Failure;
use crate::loki::push::Secret;
use crate::pipeline::hub::Change;
use crate::source::http::{App, Rules, Token};

/// Settings that a daemon changes while it runs. The token is besides them: its file is read anew each time.
const LIVE: [&str; 7] = ["max-body", "run-timeout", "loader-path", "project", "env", "attr", "quiet"];
/// Settings that differ from start to start by themselves.
const OWN: [&str; 1] = ["run-id"];

/// The settings that hold now.
pub(super) struct Reloading<'s, R> {
    settings: Settings,
    started: &'s Settings,
    read: R,
    app: Arc<App>,
    changes: Sender<Change>,
    token: Option<String>,
}

/// What requests must keep to.
pub(super) fn rules(settings: &Settings, token: Option<Secret>) -> Rules {
    Rules {
        token: token.map(|secret| Token::new(secret.0)),
        max_body: usize::try_from(settings.listen.max_body).unwrap_or(usize::MAX),
        loader_path: settings.listen.loader_path.as_ref().map(|path| path.trim_matches('/').to_owned()),
    }
}

fn token(settings: &Settings) -> Result<Option<Secret>, Failure> {
    Ok(settings.listen.token.as_ref().map(|token| token.read()).transpose()?)
}

impl<'s, R: Fn() -> Result<Settings, Failure>> Reloading<'s, R> {
    /// `token` is the one that holds now.
    pub(super) fn new(
        started: &'s Settings,
        token: Option<String>,
        read: R,
        app: &Arc<App>,
        changes: Sender<Change>,
    ) -> Self {
        Self { settings: started.clone(), started, read, app: Arc::clone(app), changes, token }
    }

    /// Reads the settings, takes over what can change, and says what did.
    pub(super) fn reload(&mut self, says: &Says) {
        match self.take_over() {
            Ok(said) => said.iter().for_each(|line| says.line(line)),
            // Settings that were right stay.
            Err(failure) => {
                failure.report();
                eprint_line("the settings stay as they were");
            }
        }
    }

    fn take_over(&mut self) -> Result<Vec<String>, Failure> {
        let mut new = (self.read)()?;
        // Test runs stay as they are until the restart, and want a token.
        let testruns = new.listen.testruns.clone().or_else(|| self.started.listen.testruns.clone());
        Listen { testruns, ..new.listen.clone() }.check()?;
        let secret = token(&new)?;
        let shown = secret.as_ref().map(|secret| secret.0.to_string());
        let mut said = Vec::new();
        if shown != self.token {
            said.push("settings read anew: the token has changed".to_owned());
            self.token = shown;
        }
        let old = &self.settings;
        for (name, value) in values(&new) {
            if OWN.contains(&name) || values(old).any(|(other, before)| other == name && before == value) {
                continue;
            }
            said.push(match LIVE.contains(&name) {
                true => format!("settings read anew: {name} is {value} now"),
                false => format!("settings read anew: {name} has changed, which needs a restart"),
            });
        }
        if new.listen.testruns != old.listen.testruns {
            said.push("settings read anew: [testruns] has changed, which needs a restart".into());
        }
        if said.is_empty() {
            said.push("settings read anew: nothing has changed".into());
        }
        // Runs without an id are named after the process.
        new.run = crate::config::RunIdentity { run_id: self.started.run.run_id.clone(), ..new.run };
        self.app.set_rules(rules(&new, secret));
        // A hub that is gone is noticed elsewhere.
        self.changes.send(Change::Common(common_of(&new))).ok();
        self.settings = new;
        Ok(said)
    }
}

fn values(settings: &Settings) -> impl Iterator<Item = (&str, &str)> {
    settings.shown.iter().map(|shown| (shown.name, shown.value.as_deref().unwrap_or_default()))
}
