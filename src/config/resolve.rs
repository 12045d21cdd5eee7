//! Flag > environment > file > default, for every setting.

mod history;
mod listen;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use reqwest::header::{HeaderName, HeaderValue};

use super::error::{ConfigError, Origin};
use super::file::File;
use super::secret::{Auth, SecretSource};
use super::setting::{self, Kind, Preset, Setting};
use super::value::{Attribute, Bytes, Expected, Name, Period, Switch};
use super::{
    BEARER_TOKEN_ENV, Env, GRAFANA_TOKEN_ENV, LokiServer, PASSWORD_ENV, Place, RunIdentity, Settings, Shown, Typed, ci,
};
use crate::event::Timestamp;
use crate::loki::push::Secret;
use crate::loki::tls::Tls;

/// Longest wait for company; more would only make live pages late.
const MAX_LINGER: Duration = Duration::from_secs(60);
/// Smallest spool: room for pushes in flight and for what inputs hand over at once.
const MIN_SPOOL: u64 = 16 << 20;
/// Loki takes 128 pairs an entry by default; the other 96 are left to what testwire says itself.
const MAX_ATTRIBUTES: usize = 32;

impl Settings {
    /// Settings from what was typed, the environment, a file and the surroundings. No I/O.
    ///
    /// # Errors
    /// The first bad value, or settings that do not go together.
    pub fn resolve(typed: &Typed, env: &Env, file: Option<&File>, place: &Place) -> Result<Self, ConfigError> {
        let mut from = Layers { typed, env, file, place, shown: Vec::new() };
        let run = run_identity(&mut from)?;
        let loki = loki_server(&mut from)?;
        let warnings = plain_credentials(&loki).into_iter().chain(misspelt(env)).collect();
        let at_most_a_minute = |period: &Period| period.0 <= MAX_LINGER;
        let enough = |bytes: &Bytes| bytes.0 >= MIN_SPOOL;
        let settings = Self {
            run,
            loki,
            output: from.choice(&setting::OUTPUT)?,
            state_dir: state_dir(&mut from)?,
            spool_max: from.value_if(&setting::SPOOL_MAX, enough, "a size of at least 16MiB")?.0,
            fsync: from.value::<Switch>(&setting::FSYNC)?.0,
            linger: from.value_if(&setting::LINGER, at_most_a_minute, "a duration of at most 1m")?.0,
            drain_timeout: from.value::<Period>(&setting::DRAIN_TIMEOUT)?.0,
            health_every: from.value::<Period>(&setting::HEALTH_EVERY)?.0,
            listen: listen::listen(&mut from)?,
            tails: file.map(File::tails).transpose()?.unwrap_or_default(),
            history: history::history(&mut from)?,
            timezone: from.value(&setting::TIMEZONE)?,
            grafana_url: from.value(&setting::GRAFANA_URL)?,
            grafana_token: secret(&mut from, &setting::GRAFANA_TOKEN_FILE, GRAFANA_TOKEN_ENV, "grafana-token")?,
            progress: from.choice(&setting::PROGRESS)?,
            quiet: from.value::<Switch>(&setting::QUIET)?.0,
            log_level: from.choice(&setting::LOG_LEVEL)?,
            warnings,
            shown: Vec::new(),
        };
        // In the order of the help; secrets from the environment come last.
        let row = |shown: &Shown| setting::ALL.iter().position(|setting| setting.name == shown.name);
        from.shown.sort_by_key(|shown| row(shown).unwrap_or(usize::MAX));
        Ok(Self { shown: from.shown, ..settings })
    }
}

/// The layers, best first, and what was taken from them.
struct Layers<'a> {
    typed: &'a Typed,
    env: &'a Env,
    file: Option<&'a File>,
    place: &'a Place,
    shown: Vec<Shown>,
}

impl Layers<'_> {
    /// What each layer says about a setting, best first.
    fn all(&self, setting: &Setting) -> Vec<(Vec<String>, Origin)> {
        let typed = self.typed.values.get(setting.name).map(|texts| (texts.clone(), Origin::Flag));
        let name = setting.env_name();
        let env = self.env.get(&name).filter(|text| !text.is_empty()).map(|text| {
            let texts = match setting.kind {
                Kind::Pairs | Kind::SecretPairs => text.split(',').map(str::to_owned).collect(),
                Kind::One | Kind::Switch | Kind::Choice(_) => vec![text.clone()],
            };
            (texts, Origin::Env(name))
        });
        let file = self.file.and_then(|file| file.get(setting));
        [typed, env, file].into_iter().flatten().collect()
    }

    /// The best layer's text, else the preset's.
    fn text(&self, setting: &Setting) -> Option<(String, Origin)> {
        let found =
            self.all(setting).into_iter().next().and_then(|(texts, origin)| Some((texts.into_iter().next()?, origin)));
        match setting.preset {
            Preset::Value(text) => found.or_else(|| Some((text.to_owned(), Origin::Default))),
            Preset::Derived(_) | Preset::Unset => found,
        }
    }

    fn show(&mut self, setting: &Setting, value: Option<String>, origin: Origin) {
        self.shown.push(Shown { name: setting.name, value, origin });
    }

    /// Reads a setting by `parse`; `None` if nobody set it and it has no preset.
    fn read<T: Display>(
        &mut self,
        setting: &'static Setting,
        parse: impl Fn(&str) -> Result<T, Expected>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((text, origin)) = self.text(setting) else {
            if matches!(setting.preset, Preset::Unset) {
                self.show(setting, None, Origin::Default);
            }
            return Ok(None);
        };
        let value = parse(&text).map_err(|expected| bad(setting, &text, &origin, expected))?;
        self.show(setting, Some(value.to_string()), origin);
        Ok(Some(value))
    }

    fn optional<T: FromStr<Err = Expected> + Display>(
        &mut self,
        setting: &'static Setting,
    ) -> Result<Option<T>, ConfigError> {
        self.read(setting, str::parse)
    }

    /// A setting that has a preset value.
    fn value<T: FromStr<Err = Expected> + Display>(&mut self, setting: &'static Setting) -> Result<T, ConfigError> {
        self.value_if(setting, |_| true, "")
    }

    /// A setting that has a preset value, and of which only values with `holds` are allowed.
    fn value_if<T: FromStr<Err = Expected> + Display>(
        &mut self,
        setting: &'static Setting,
        holds: impl Fn(&T) -> bool,
        allowed: &str,
    ) -> Result<T, ConfigError> {
        let parse = |text: &str| {
            let value: T = text.parse()?;
            if holds(&value) { Ok(value) } else { Err(Expected(allowed.into())) }
        };
        Ok(self.read(setting, parse)?.expect("it has a preset; a test resolves an empty configuration"))
    }

    /// One of the words of `T`.
    fn choice<T: ValueEnum>(&mut self, setting: &'static Setting) -> Result<T, ConfigError> {
        let words = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let words: Vec<String> = words.map(|word| word.get_name().to_owned()).collect();
        let expected = || Expected(format!("one of {}", words.join(", ")));
        let parse = |text: &str| {
            let text = text.trim().to_ascii_lowercase();
            words.iter().find(|word| **word == text).cloned().ok_or_else(expected)
        };
        let word = self.read(setting, parse)?.expect("it has a preset; a test resolves an empty configuration");
        Ok(T::from_str(&word, false).expect("it is one of the words"))
    }

    /// A path: relative to the file that names it, else to the current directory; `~/` is the home directory.
    fn path(&mut self, setting: &'static Setting) -> Result<Option<PathBuf>, ConfigError> {
        let Some((text, origin)) = self.text(setting) else {
            if matches!(setting.preset, Preset::Unset) {
                self.show(setting, None, Origin::Default);
            }
            return Ok(None);
        };
        if text.trim().is_empty() {
            return Err(bad(setting, &text, &origin, Expected("a path".into())));
        }
        let path = match (text.strip_prefix("~/"), &self.place.home, &origin) {
            (Some(rest), Some(home), _) => home.join(rest),
            (_, _, Origin::File(file, _)) => self.place.cwd.join(file).with_file_name("").join(&text),
            _ => self.place.cwd.join(&text),
        };
        self.show(setting, Some(path.display().to_string()), origin);
        Ok(Some(path))
    }

    /// Takes a value that follows from the surroundings.
    fn derived(&mut self, setting: &Setting, value: Option<&dyn Display>, how: &'static str) {
        self.show(setting, value.map(ToString::to_string), Origin::Derived(how));
    }
}

fn bad(setting: &'static Setting, text: &str, origin: &Origin, expected: Expected) -> ConfigError {
    ConfigError::BadValue { name: setting.name, value: text.to_owned(), origin: origin.clone(), expected }
}

fn state_dir(from: &mut Layers<'_>) -> Result<PathBuf, ConfigError> {
    if let Some(path) = from.path(&setting::STATE_DIR)? {
        return Ok(path);
    }
    let path = from.place.state_home.clone();
    from.derived(&setting::STATE_DIR, Some(&path.display()), "default");
    Ok(path)
}

fn run_identity(from: &mut Layers<'_>) -> Result<RunIdentity, ConfigError> {
    let place = from.place;
    let mut random = fastrand::Rng::with_seed(place.seed);
    let project = match from.optional(&setting::PROJECT)? {
        Some(name) => name,
        None => {
            let (name, how) = project_name(place);
            from.derived(&setting::PROJECT, Some(&name), how);
            name
        }
    };
    let env = from.value(&setting::ENV)?;
    let given: Option<Name> = from.optional(&setting::RUN_ID)?;
    let run_id_given = given.is_some();
    let run_id = given.unwrap_or_else(|| {
        let id = new_run_id(place.now, &mut random);
        from.derived(&setting::RUN_ID, Some(&id), "start time and random");
        id
    });
    let mut shard = from.optional(&setting::SHARD)?;
    if shard.is_none() {
        shard = if run_id_given { Name::clean(&random_word(&mut random)) } else { None };
        let how = if run_id_given { "random, as the run id is given" } else { "default" };
        from.derived(&setting::SHARD, shard.as_ref().map(|name| name as &dyn Display), how);
    }
    let build = ci::build(from.env);
    let git = place.git.as_ref();
    let clean = |text: Option<&String>| text.and_then(|text| Name::clean(text));
    let account = ["USER", "LOGNAME"].iter().find_map(|name| from.env.get(*name).filter(|text| !text.is_empty()));
    Ok(RunIdentity {
        project,
        env,
        run_id,
        run_id_given,
        shard,
        attributes: attributes(from)?,
        host: Name::clean(&place.host),
        user: clean(build.user.as_ref().or(account)),
        commit: clean(build.commit.as_ref().or(git.and_then(|git| git.commit.as_ref()))),
        branch: clean(build.branch.as_ref().or(git.and_then(|git| git.branch.as_ref()))),
        build_url: build.build_url,
    })
}

/// The repository's name, else the current directory's.
fn project_name(place: &Place) -> (Name, &'static str) {
    let repository = place.git.as_ref().and_then(|git| Name::clean(git.name.as_ref()?));
    if let Some(name) = repository {
        return (name, "git repository");
    }
    let directory = place.cwd.file_name().and_then(|name| Name::clean(&name.to_string_lossy()));
    match directory {
        Some(name) => (name, "current directory"),
        None => (Name::clean("unnamed").expect("it has letters"), "default"),
    }
}

/// `20261120T114205Z-k3x9q2`: sorts by time, and is unique without a registry.
fn new_run_id(now: Timestamp, random: &mut fastrand::Rng) -> Name {
    let time = chrono::DateTime::from_timestamp_nanos(now.0).format("%Y%m%dT%H%M%SZ");
    Name::clean(&format!("{time}-{}", random_word(random))).expect("it has letters")
}

/// 6 characters that people do not mix up: 30^6 are 729 million words.
fn random_word(random: &mut fastrand::Rng) -> String {
    const ALPHABET: &[u8; 30] = b"23456789abcdefghjkmnpqrstvwxyz";
    (0..6).map(|_| char::from(ALPHABET[random.usize(..ALPHABET.len())])).collect()
}

/// Attributes of all layers; of the same name the best layer's, and the last within a layer.
fn attributes(from: &mut Layers<'_>) -> Result<Vec<Attribute>, ConfigError> {
    let mut found: BTreeMap<String, (Attribute, Origin)> = BTreeMap::new();
    for (texts, origin) in from.all(&setting::ATTR).into_iter().rev() {
        for text in texts {
            let attribute: Attribute =
                text.parse().map_err(|expected| bad(&setting::ATTR, &text, &origin, expected))?;
            found.insert(attribute.name.clone(), (attribute, origin.clone()));
        }
    }
    if found.len() > MAX_ATTRIBUTES {
        let what = "more than 32 attributes (--attr, TESTWIRE_ATTR, [attr]) were given";
        return Err(ConfigError::Conflict { what, hint: "keep those that people look for" });
    }
    if found.is_empty() {
        from.show(&setting::ATTR, None, Origin::Default);
    }
    for (attribute, origin) in found.values() {
        from.show(&setting::ATTR, Some(attribute.to_string()), origin.clone());
    }
    Ok(found.into_values().map(|(attribute, _)| attribute).collect())
}

fn loki_server(from: &mut Layers<'_>) -> Result<LokiServer, ConfigError> {
    let url = from.value(&setting::LOKI_URL)?;
    let tenant = from.optional(&setting::TENANT)?;
    let auth = auth(from)?;
    let headers = headers(from)?;
    let ca = from.path(&setting::TLS_CA_FILE)?;
    let client = match (from.path(&setting::TLS_CERT_FILE)?, from.path(&setting::TLS_KEY_FILE)?) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => {
            let what = "tls-cert-file and tls-key-file go together, and only one is set";
            return Err(ConfigError::Conflict { what, hint: "set both, or neither" });
        }
    };
    Ok(LokiServer { url, tenant, auth, headers, tls: Tls { ca, client } })
}

/// Headers of all layers; of the same name the best layer's. Values are never shown, not even in errors.
fn headers(from: &mut Layers<'_>) -> Result<Vec<(String, Secret)>, ConfigError> {
    let mut found: BTreeMap<String, (Secret, Origin)> = BTreeMap::new();
    for (texts, origin) in from.all(&setting::HEADER).into_iter().rev() {
        for text in texts {
            let (name, value) = text.split_once('=').unwrap_or((&text, ""));
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            let fits = |text: &str| HeaderValue::try_from(text).is_ok() && !text.is_empty();
            let reserved = ["content-type", "content-length", "host", "x-scope-orgid"].contains(&name.as_str());
            if HeaderName::try_from(&name).is_err() || !fits(value) || reserved {
                let what = "NAME=VALUE as HTTP allows them, and none that testwire sets itself";
                // What stands before `=` may be a secret too, if there is no `=`.
                let shown = if text.contains('=') { format!("{name}=***") } else { "***".into() };
                return Err(bad(&setting::HEADER, &shown, &origin, Expected(what.into())));
            }
            found.insert(name, (Secret(value.to_owned()), origin.clone()));
        }
    }
    if found.is_empty() {
        from.show(&setting::HEADER, None, Origin::Default);
    }
    for (name, (_, origin)) in &found {
        from.show(&setting::HEADER, Some(format!("{name}=***")), origin.clone());
    }
    Ok(found.into_iter().map(|(name, (value, _))| (name, value)).collect())
}

fn auth(from: &mut Layers<'_>) -> Result<Auth, ConfigError> {
    let conflict = |what, hint| Err(ConfigError::Conflict { what, hint });
    let user: Option<Name> = from.optional(&setting::USER)?;
    let password = secret(from, &setting::PASSWORD_FILE, PASSWORD_ENV, "password")?;
    let token = secret(from, &setting::BEARER_TOKEN_FILE, BEARER_TOKEN_ENV, "bearer-token")?;
    match (user, password, token) {
        (None, None, None) => Ok(Auth::None),
        (Some(user), Some(password), None) => Ok(Auth::Basic { user: user.to_string(), password }),
        (None, None, Some(token)) => Ok(Auth::Bearer { token }),
        (Some(_), None, None) => conflict("user is set without a password", "set password-file or TESTWIRE_PASSWORD"),
        (None, Some(_), None) => conflict("a password is set without user", "set user too"),
        (_, _, Some(_)) => conflict(
            "both a bearer token and a user or password are set",
            "keep one; `testwire check --config` shows where each comes from",
        ),
    }
}

/// A secret: the file named by a flag, else the variable that holds it, else the file named elsewhere.
fn secret(
    from: &mut Layers<'_>,
    file: &'static Setting,
    variable: &'static str,
    name: &'static str,
) -> Result<Option<SecretSource>, ConfigError> {
    let path = from.path(file)?;
    let value = from.env.get(variable).filter(|text| !text.is_empty());
    match (path, value) {
        (path, Some(value)) if path.is_none() || !from.typed.values.contains_key(file.name) => {
            from.shown.push(Shown { name, value: Some("***".into()), origin: Origin::Env(variable.into()) });
            Ok(Some(SecretSource::Env(variable, Secret(value.clone()))))
        }
        (path, _) => Ok(path.map(SecretSource::File)),
    }
}

/// Credentials over plain HTTP can be read on the way.
fn plain_credentials(loki: &LokiServer) -> Option<String> {
    let url = reqwest::Url::parse(loki.url.as_str()).ok()?;
    let local = matches!(url.host_str(), Some("localhost" | "[::1]")) || url.host_str()?.starts_with("127.");
    let open = (loki.auth != Auth::None || !loki.headers.is_empty()) && url.scheme() == "http" && !local;
    open.then(|| format!("{} is plain HTTP, so that others on the way can read the credentials", loki.url))
}

/// Variables that are most likely meant as settings. Others with the prefix are left alone: listeners and CI scripts
/// have some.
fn misspelt(env: &Env) -> Vec<String> {
    let known: Vec<String> = setting::ALL.iter().map(|setting| setting.env_name()).collect();
    let others = [super::CONFIG_FILE_ENV, PASSWORD_ENV, BEARER_TOKEN_ENV, super::TOKEN_ENV, super::GRAFANA_TOKEN_ENV];
    let is_known = |name: &str| known.iter().any(|other| other == name) || others.contains(&name);
    let unknown = env.keys().filter(|name| name.starts_with("TESTWIRE_") && !is_known(name));
    let close = |name: &String| {
        let meant = known.iter().find(|other| strsim::osa_distance(name, other) <= 2)?;
        Some(format!("{name} is not a setting; did you mean {meant}?"))
    };
    unknown.filter_map(close).collect()
}
