//! The table of settings: each is defined here, once. From its row follow the flag and its help, the environment
//! variable, the key of the file, the completions, and its line in `testwire check --config`.

mod history;
mod listen;

use clap::builder::PossibleValue;

pub use self::history::{BASELINE_BRANCH, HUNG_AFTER, KNOWN_FAILURES};
pub use self::listen::{
    ALLOW_OPEN, ATTACHMENTS_AGE, ATTACHMENTS_MAX, LISTEN, LISTENING, LOADER_PATH, MAX_BODY, RUN_TIMEOUT, TOKEN_FILE,
};
use super::choice::{self, LogLevel, Output, Progress};

/// One setting: `--name`, `TESTWIRE_NAME`, and the key `name` of `testwire.toml`.
#[derive(Debug)]
pub struct Setting {
    /// Lower case with dashes.
    pub name: &'static str,
    /// What kind of value it takes.
    pub kind: Kind,
    /// What its value is called in the help.
    pub value: &'static str,
    /// What holds if nobody sets it.
    pub preset: Preset,
    /// Heading that it stands under in the help.
    pub group: &'static str,
    /// One line for `-h`: a phrase without a full stop.
    pub help: &'static str,
    /// More for `--help`; empty if the line says all.
    pub more: &'static str,
}

/// Kind of value.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// One text.
    One,
    /// `true` or `false`; the bare flag means `true`.
    Switch,
    /// One of these words.
    Choice(fn() -> Vec<PossibleValue>),
    /// Secret pairs `name=value`: as [`Kind::Pairs`] but no flag, as others can read command lines.
    SecretPairs,
    /// Pairs `name=value`: a repeatable flag, comma-separated in the environment, a table in the file.
    Pairs,
}

/// What holds if nobody sets it.
#[derive(Clone, Copy, Debug)]
pub enum Preset {
    /// This value, written as a user would.
    Value(&'static str),
    /// It follows from the surroundings, as described.
    Derived(&'static str),
    /// Nothing.
    Unset,
}

impl Setting {
    /// Its environment variable.
    pub fn env_name(&self) -> String {
        format!("TESTWIRE_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }
}

const THE_RUN: &str = "The run";
const LOKI: &str = "Loki";
const DELIVERY: &str = "Delivery";
const SHOWN: &str = "What is shown";

/// Project.
pub const PROJECT: Setting = Setting {
    name: "project",
    kind: Kind::One,
    value: "NAME",
    preset: Preset::Derived("the git repository's name, else the directory's"),
    group: THE_RUN,
    help: "Project under test",
    more: "It becomes the label service_name. The repository's name is the last part of its `origin` URL.",
};

/// Environment name.
pub const ENV: Setting = Setting {
    name: "env",
    kind: Kind::One,
    value: "NAME",
    preset: Preset::Value("local"),
    group: THE_RUN,
    help: "Environment in which the tests run, such as ci or staging",
    more: "It becomes the label env, so use few different ones.",
};

/// Run id.
pub const RUN_ID: Setting = Setting {
    name: "run-id",
    kind: Kind::One,
    value: "ID",
    preset: Preset::Derived("the start time and 6 random characters"),
    group: THE_RUN,
    help: "Id of the run",
    more: "Give several testwire processes (machines, shards) the same id to make them one run.",
};

/// Shard.
pub const SHARD: Setting = Setting {
    name: "shard",
    kind: Kind::One,
    value: "NAME",
    preset: Preset::Derived("6 random characters where --run-id is given, else none"),
    group: THE_RUN,
    help: "Which part of a run this process is",
    more: "Each process of a run needs a name of its own.",
};

/// Attributes.
pub const ATTR: Setting = Setting {
    name: "attr",
    kind: Kind::Pairs,
    value: "NAME=VALUE",
    preset: Preset::Unset,
    group: THE_RUN,
    help: "A fact about the run, shown with it; repeatable",
    more: "In the environment: TESTWIRE_ATTR=\"browser=firefox,locale=de\"; in the file: a table [attr]. \
           The same name from a flag wins over the environment, and that over the file.",
};

/// Zone.
pub const TIMEZONE: Setting = Setting {
    name: "timezone",
    kind: Kind::One,
    value: "ZONE",
    preset: Preset::Value("local"),
    group: THE_RUN,
    help: "Zone of times that name none: Europe/Berlin, local, UTC, +02:00",
    more: "",
};

/// Loki.
pub const LOKI_URL: Setting = Setting {
    name: "loki-url",
    kind: Kind::One,
    value: "URL",
    preset: Preset::Value("http://127.0.0.1:3100"),
    group: LOKI,
    help: "Where Loki is",
    more: "",
};

/// Tenant.
pub const TENANT: Setting = Setting {
    name: "tenant",
    kind: Kind::One,
    value: "ID",
    preset: Preset::Unset,
    group: LOKI,
    help: "Tenant, sent as X-Scope-OrgID",
    more: "",
};

/// User.
pub const USER: Setting = Setting {
    name: "user",
    kind: Kind::One,
    value: "NAME",
    preset: Preset::Unset,
    group: LOKI,
    help: "User for basic authentication",
    more: "The password comes from --password-file or TESTWIRE_PASSWORD, never from a flag.",
};

/// Password.
pub const PASSWORD_FILE: Setting = Setting {
    name: "password-file",
    kind: Kind::One,
    value: "FILE",
    preset: Preset::Unset,
    group: LOKI,
    help: "File with the password of --user; or set TESTWIRE_PASSWORD",
    more: "",
};

/// Token.
pub const BEARER_TOKEN_FILE: Setting = Setting {
    name: "bearer-token-file",
    kind: Kind::One,
    value: "FILE",
    preset: Preset::Unset,
    group: LOKI,
    help: "File with a bearer token; or set TESTWIRE_BEARER_TOKEN",
    more: "",
};

/// Headers.
pub const HEADER: Setting = Setting {
    name: "header",
    kind: Kind::SecretPairs,
    value: "NAME=VALUE",
    preset: Preset::Unset,
    group: LOKI,
    help: "Further headers of every request to Loki",
    more: "",
};

/// Authority.
pub const TLS_CA_FILE: Setting = Setting {
    name: "tls-ca-file",
    kind: Kind::One,
    value: "FILE",
    preset: Preset::Unset,
    group: LOKI,
    help: "Certificates (PEM) to trust besides the system's",
    more: "",
};

/// Client certificate.
pub const TLS_CERT_FILE: Setting = Setting {
    name: "tls-cert-file",
    kind: Kind::One,
    value: "FILE",
    preset: Preset::Unset,
    group: LOKI,
    help: "Client certificate (PEM); needs --tls-key-file",
    more: "",
};

/// Its key.
pub const TLS_KEY_FILE: Setting = Setting {
    name: "tls-key-file",
    kind: Kind::One,
    value: "FILE",
    preset: Preset::Unset,
    group: LOKI,
    help: "Key (PEM) of --tls-cert-file",
    more: "",
};

/// Output.
pub const OUTPUT: Setting = Setting {
    name: "output",
    kind: Kind::Choice(choice::words::<Output>),
    value: "WHERE",
    preset: Preset::Value("loki"),
    group: DELIVERY,
    help: "Where entries go",
    more: "",
};

/// State directory.
pub const STATE_DIR: Setting = Setting {
    name: "state-dir",
    kind: Kind::One,
    value: "DIR",
    preset: Preset::Derived("$XDG_STATE_HOME/testwire, else ~/.local/state/testwire"),
    group: DELIVERY,
    help: "Where the spool, event files and refused entries are kept",
    more: "Without a home directory: /var/lib/testwire for root, else testwire-<uid> in the directory for temporary files.",
};

/// Cap of the spool.
pub const SPOOL_MAX: Setting = Setting {
    name: "spool-max",
    kind: Kind::One,
    value: "SIZE",
    preset: Preset::Value("1GiB"),
    group: DELIVERY,
    help: "Most that may wait for Loki on disk, from 16MiB",
    more: "At the cap, inputs wait; nothing is dropped.",
};

/// Durability.
pub const FSYNC: Setting = Setting {
    name: "fsync",
    kind: Kind::Switch,
    value: "BOOL",
    preset: Preset::Value("false"),
    group: DELIVERY,
    help: "Make what was accepted survive a power cut, at some cost",
    more: "Without it, what was accepted survives the death of testwire, not of the machine.",
};

/// Linger.
pub const LINGER: Setting = Setting {
    name: "linger",
    kind: Kind::One,
    value: "TIME",
    preset: Preset::Value("50ms"),
    group: DELIVERY,
    help: "How long an entry may wait for others, to share a push; at most 1m",
    more: "",
};

/// Drain timeout.
pub const DRAIN_TIMEOUT: Setting = Setting {
    name: "drain-timeout",
    kind: Kind::One,
    value: "TIME",
    preset: Preset::Value("10s"),
    group: DELIVERY,
    help: "How long an ending process waits for Loki to take the rest",
    more: "What is left then stays on disk, and the next start delivers it.",
};

/// Own figures.
pub const HEALTH_EVERY: Setting = Setting {
    name: "health-every",
    kind: Kind::One,
    value: "TIME",
    preset: Preset::Value("10s"),
    group: DELIVERY,
    help: "How often a process tells Loki how its delivery goes; 0s: never",
    more: "The dashboard `forwarder` shows it. It is told while something changes, and when the process ends.",
};

/// Grafana.
pub const GRAFANA_URL: Setting = Setting {
    name: "grafana-url",
    kind: Kind::One,
    value: "URL",
    preset: Preset::Value("http://127.0.0.1:3000"),
    group: SHOWN,
    help: "Where Grafana is, for the link to the run",
    more: "",
};

/// Token for Grafana.
pub const GRAFANA_TOKEN_FILE: Setting = Setting {
    name: "grafana-token-file",
    kind: Kind::One,
    value: "FILE",
    preset: Preset::Unset,
    group: SHOWN,
    help: "File with a Grafana token, or user:password; or set TESTWIRE_GRAFANA_TOKEN",
    more: "`testwire dashboards install` needs that of a service account with the role Admin, as Editors may not see data \
           sources.",
};

/// Progress.
pub const PROGRESS: Setting = Setting {
    name: "progress",
    kind: Kind::Choice(choice::words::<Progress>),
    value: "WHEN",
    preset: Preset::Value("auto"),
    group: SHOWN,
    help: "When to show live progress on stderr",
    more: "",
};

/// Quiet.
pub const QUIET: Setting = Setting {
    name: "quiet",
    kind: Kind::Switch,
    value: "BOOL",
    preset: Preset::Value("false"),
    group: SHOWN,
    help: "Say nothing on stderr but errors: no progress, link or summary",
    more: "",
};

/// Log level.
pub const LOG_LEVEL: Setting = Setting {
    name: "log-level",
    kind: Kind::Choice(choice::words::<LogLevel>),
    value: "LEVEL",
    preset: Preset::Value("warn"),
    group: SHOWN,
    help: "How much testwire says about itself on stderr",
    more: "",
};

/// Every setting, in the order of the help.
pub const ALL: &[&Setting] = &[
    &PROJECT,
    &ENV,
    &RUN_ID,
    &SHARD,
    &ATTR,
    &TIMEZONE,
    &LOKI_URL,
    &TENANT,
    &USER,
    &PASSWORD_FILE,
    &BEARER_TOKEN_FILE,
    &HEADER,
    &TLS_CA_FILE,
    &TLS_CERT_FILE,
    &TLS_KEY_FILE,
    &OUTPUT,
    &STATE_DIR,
    &SPOOL_MAX,
    &FSYNC,
    &LINGER,
    &DRAIN_TIMEOUT,
    &HEALTH_EVERY,
    &LISTEN,
    &TOKEN_FILE,
    &ALLOW_OPEN,
    &MAX_BODY,
    &RUN_TIMEOUT,
    &LOADER_PATH,
    &ATTACHMENTS_MAX,
    &ATTACHMENTS_AGE,
    &BASELINE_BRANCH,
    &HUNG_AFTER,
    &KNOWN_FAILURES,
    &GRAFANA_URL,
    &GRAFANA_TOKEN_FILE,
    &PROGRESS,
    &QUIET,
    &LOG_LEVEL,
];

/// The setting of this name.
pub fn named(name: &str) -> Option<&'static Setting> {
    ALL.iter().copied().find(|setting| setting.name == name)
}

/// The setting whose name is most like this one, if any is.
pub fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let scored = ALL.iter().map(|setting| (strsim::jaro_winkler(&name, setting.name), setting.name));
    scored.filter(|(score, _)| *score >= 0.7).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, nearest)| nearest)
}
