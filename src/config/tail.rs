//! Logs to follow: `[[tail]]` of `testwire.toml`, `source_log_tails` of a RealtimeResults configuration, or typed.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use regex::bytes::Regex;
use serde::Deserialize;

use super::error::{ConfigError, Origin};
use super::file::deserialize;
use super::place::Place;
use super::value::{Expected, Name};
use super::zone::Zone;

/// Where a file is begun that is not known yet when testwire starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Begin {
    /// At its first line
    #[default]
    Start,
    /// Behind its last line
    End,
}

/// How a log's bytes are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Encoding {
    /// UTF-8, or UTF-16 if a file begins with the mark of that.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// UTF-8.
    #[serde(rename = "utf-8")]
    Utf8,
    /// UTF-16, low byte first.
    #[serde(rename = "utf-16le")]
    Utf16Le,
    /// UTF-16, high byte first.
    #[serde(rename = "utf-16be")]
    Utf16Be,
    /// ISO 8859-1.
    #[serde(rename = "latin-1")]
    Latin1,
}

/// Which lines belong together.
#[derive(Clone, Debug, Default)]
pub enum Multiline {
    /// Found out from the lines.
    #[default]
    Auto,
    /// Each is by itself.
    Off,
    /// One begins where this matches.
    Start(Regex),
}

/// A log to follow.
#[derive(Clone, Debug)]
pub struct TailSource {
    /// The label `source`.
    pub name: Name,
    /// Files, directories and patterns, absolute.
    pub paths: Vec<PathBuf>,
    /// Where unknown files are begun.
    pub begin: Begin,
    /// Whether gzipped generations are read that were not read before they were packed.
    pub compressed: bool,
    /// How bytes are read.
    pub encoding: Encoding,
    /// Zone of times that name none; `None`: that of the settings.
    pub timezone: Option<Zone>,
    /// Which lines belong together.
    pub multiline: Multiline,
    /// Finds the time, and how to read it.
    pub time: Option<(Regex, Option<String>)>,
    /// Finds the level.
    pub level: Option<Regex>,
    /// Finds a trace id.
    pub trace: Option<Regex>,
    /// Finds a test.
    pub test: Option<Regex>,
    /// Finds a worker.
    pub worker: Option<Regex>,
    /// Whether common secrets are taken out.
    pub redact: bool,
    /// Further secrets.
    pub secrets: Vec<Regex>,
    /// Metadata of every entry.
    pub metadata: Vec<(String, String)>,
}

/// `[[tail]]` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    name: Option<String>,
    path: OneOrMany,
    #[serde(default)]
    from: Begin,
    #[serde(default)]
    compressed: bool,
    #[serde(default)]
    encoding: Encoding,
    timezone: Option<String>,
    multiline: Option<String>,
    time: Option<String>,
    time_format: Option<String>,
    level: Option<String>,
    trace: Option<String>,
    test: Option<String>,
    worker: Option<String>,
    #[serde(default)]
    redact: bool,
    #[serde(default)]
    secrets: Vec<String>,
    #[serde(default)]
    metadata: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(PathBuf),
    Many(Vec<PathBuf>),
}

/// A `source_log_tails` of RealtimeResults 0.5: its other keys are how it looks, not what it reads.
#[derive(Debug, Deserialize)]
struct Realtime {
    path: PathBuf,
    label: Option<String>,
    event_type: Option<String>,
    tz_info: Option<String>,
}

/// What of a file is about logs to follow.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tables {
    tail: Vec<Written>,
    source_log_tails: Vec<Realtime>,
}

/// The keys of a file that are read here.
pub(super) const KEYS: [&str; 2] = ["tail", "source_log_tails"];

impl TailSource {
    /// What was typed: files of one source; nothing, if there are none.
    ///
    /// # Errors
    /// If no name can be made of the first file's.
    pub fn typed(
        files: &[PathBuf],
        source: Option<Name>,
        begin: Begin,
        place: &Place,
    ) -> Result<Vec<Self>, ConfigError> {
        let Some(first) = files.first() else { return Ok(Vec::new()) };
        let name = source.or_else(|| name_of(first));
        let Some(name) = name else {
            let what = "the log has no name that can be shown";
            return Err(ConfigError::Conflict { what, hint: "give it one with --source" });
        };
        let paths = files.iter().map(|path| place.cwd.join(path)).collect();
        Ok(vec![Self { begin, ..Self::plain(name, paths) }])
    }

    /// A log without settings of its own.
    pub fn plain(name: Name, paths: Vec<PathBuf>) -> Self {
        Self {
            name,
            paths,
            begin: Begin::Start,
            compressed: false,
            encoding: Encoding::Auto,
            timezone: None,
            multiline: Multiline::Auto,
            time: None,
            level: None,
            trace: None,
            test: None,
            worker: None,
            redact: false,
            secrets: Vec::new(),
            metadata: Vec::new(),
        }
    }

    /// Those of the file at `path`, which may be one of testwire or of RealtimeResults.
    ///
    /// # Errors
    /// If it cannot be read, says nothing of logs, or as [`TailSource::parse`].
    pub fn of_file(path: &Path) -> Result<Vec<Self>, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let tails = Self::parse(path, &std::fs::read_to_string(path).map_err(unreadable)?)?;
        if tails.is_empty() {
            let what = "the file of --tails-from names no log";
            return Err(ConfigError::Conflict {
                what,
                hint: "it needs [[tail]], or source_log_tails of RealtimeResults",
            });
        }
        Ok(tails)
    }

    /// Those of the file `path`, which may be one of testwire or of RealtimeResults; other keys are not looked at.
    ///
    /// # Errors
    /// If it is not TOML or JSON, or what it says of a log is not understood.
    pub fn parse(path: &Path, text: &str) -> Result<Vec<Self>, ConfigError> {
        let written: Tables = deserialize(path, text)?;
        let base = path.parent().unwrap_or(Path::new(""));
        let own = written.tail.into_iter().map(|written| Self::from_written(written, path, base));
        let realtime = written.source_log_tails.into_iter().map(|written| Self::from_realtime(written, path, base));
        let tails: Vec<Self> = own.chain(realtime).collect::<Result<_, _>>()?;
        for (index, tail) in tails.iter().enumerate() {
            if tails.iter().take(index).any(|other| other.name == tail.name) {
                return Err(wrong(path, "tail.name", tail.name.as_str(), "a name of its own for each log"));
            }
        }
        Ok(tails)
    }

    fn from_written(written: Written, file: &Path, base: &Path) -> Result<Self, ConfigError> {
        let paths = match written.path {
            OneOrMany::One(path) => vec![path],
            OneOrMany::Many(paths) => paths,
        };
        let name = match &written.name {
            Some(text) => text.parse().map_err(|Expected(what)| wrong(file, "tail.name", text, &what))?,
            None => paths
                .first()
                .and_then(|path| name_of(path))
                .ok_or_else(|| wrong(file, "tail.path", "", "a path, or a name beside it"))?,
        };
        let regex = |key: &'static str, text: &Option<String>| -> Result<Option<Regex>, ConfigError> {
            let Some(text) = text else { return Ok(None) };
            Regex::new(text).map(Some).map_err(|_| wrong(file, key, text, "a regular expression"))
        };
        let multiline = match written.multiline.as_deref() {
            None | Some("auto") => Multiline::Auto,
            Some("off") => Multiline::Off,
            Some(_) => regex("tail.multiline", &written.multiline)?.map_or(Multiline::Auto, Multiline::Start),
        };
        let secret =
            |text: &String| Regex::new(text).map_err(|_| wrong(file, "tail.secrets", text, "a regular expression"));
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        if let Some(name) = written.metadata.keys().find(|name| !is_name(name)) {
            return Err(wrong(file, "tail.metadata", name, "names of lower-case letters, digits and _"));
        }
        Ok(Self {
            begin: written.from,
            compressed: written.compressed,
            encoding: written.encoding,
            timezone: zone(file, "tail.timezone", written.timezone.as_deref())?,
            multiline,
            time: regex("tail.time", &written.time)?.map(|find| (find, written.time_format)),
            level: regex("tail.level", &written.level)?,
            trace: regex("tail.trace", &written.trace)?,
            test: regex("tail.test", &written.test)?,
            worker: regex("tail.worker", &written.worker)?,
            redact: written.redact,
            secrets: written.secrets.iter().map(secret).collect::<Result<_, _>>()?,
            metadata: written.metadata.into_iter().collect(),
            ..Self::plain(name, paths.iter().map(|path| base.join(path)).collect())
        })
    }

    fn from_realtime(written: Realtime, file: &Path, base: &Path) -> Result<Self, ConfigError> {
        let named = |text: &Option<String>| text.as_deref().filter(|text| *text != "unknown").and_then(Name::clean);
        let name = named(&written.label).or_else(|| named(&written.event_type)).or_else(|| name_of(&written.path));
        let name = name.ok_or_else(|| wrong(file, "source_log_tails.label", "", "a name"))?;
        // RealtimeResults takes Europe/Amsterdam where nothing is said, and begins at the end of a file.
        let timezone =
            zone(file, "source_log_tails.tz_info", Some(written.tz_info.as_deref().unwrap_or("Europe/Amsterdam")))?;
        Ok(Self { timezone, begin: Begin::End, ..Self::plain(name, vec![base.join(&written.path)]) })
    }
}

/// `app` of `logs/app.log`, `logs` of `logs/*.log`.
fn name_of(path: &Path) -> Option<Name> {
    let plain = |name: &str| !name.contains(['*', '?', '[']);
    let stem = path.file_stem().and_then(|name| name.to_str()).filter(|name| plain(name));
    let parent = || path.parent()?.file_name()?.to_str().filter(|name| plain(name));
    Name::clean(stem.or_else(parent)?)
}

fn zone(file: &Path, key: &'static str, text: Option<&str>) -> Result<Option<Zone>, ConfigError> {
    text.map(|text| text.parse().map_err(|Expected(what)| wrong(file, key, text, &what))).transpose()
}

fn wrong(file: &Path, name: &'static str, value: &str, expected: &str) -> ConfigError {
    // The line is not known here; the value is enough to find it.
    let origin = Origin::File(file.to_owned(), 1);
    ConfigError::BadValue { name, value: value.to_owned(), origin, expected: Expected(expected.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_logs_are_read_from_toml_and_json() {
        let toml = "project = \"shop\"\n[[tail]]\npath = \"logs/app.log\"\n[[tail]]\nname = \"db\"\npath = [\"a\", \"/b*\"]\nfrom = \
                    \"end\"\ncompressed = true\nencoding = \"latin-1\"\ntimezone = \"UTC\"\nmultiline = \"^\\\\d\"\n[tail.metadata]\nrack = \"7\"\n";
        let tails = TailSource::parse(Path::new("/etc/testwire.toml"), toml).unwrap();
        let names: Vec<&str> = tails.iter().map(|tail| tail.name.as_str()).collect();
        assert_eq!(names, ["app", "db"]);
        assert_eq!(tails[0].paths, [Path::new("/etc/logs/app.log")]);
        assert_eq!(tails[1].paths, [Path::new("/etc/a"), Path::new("/b*")]);
        assert_eq!((tails[1].begin, tails[1].encoding), (Begin::End, Encoding::Latin1));
        assert_eq!((tails[0].compressed, tails[1].compressed), (false, true));
        assert!(matches!(tails[1].multiline, Multiline::Start(_)));
        assert_eq!(tails[1].metadata, [("rack".to_owned(), "7".to_owned())]);
        let json = r#"{"tail": [{"path": "x.log", "redact": true}]}"#;
        assert!(TailSource::parse(Path::new("/e/testwire.json"), json).unwrap()[0].redact);
    }

    #[test]
    fn a_configuration_of_realtimeresults_is_read_as_it_is() {
        let json = r#"{"listener_sink_type": "http", "source_log_tails": [
            {"path": "app.log", "label": "shop", "event_type": "app", "poll_interval": 1.0, "tz_info": "UTC", "log_level": "INFO"},
            {"path": "/var/log/db.log"}]}"#;
        let tails = TailSource::parse(Path::new("/e/realtimeresults_config.json"), json).unwrap();
        assert_eq!((tails[0].name.as_str(), tails[1].name.as_str()), ("shop", "db"));
        assert_eq!(tails[1].timezone.unwrap().to_string(), "Europe/Amsterdam");
        let toml =
            "loki_endpoint = \"x\"\n[[source_log_tails]]\npath = \"app.log\"\nlabel = \"shop\"\npoll_interval = 1.0\n";
        let tails = TailSource::parse(Path::new("/e/realtimeresults_config.toml"), toml).unwrap();
        assert_eq!((tails[0].name.as_str(), tails[0].begin), ("shop", Begin::End));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let error = |toml: &str| {
            crate::exit::Failure::from(TailSource::parse(Path::new("t.toml"), toml).unwrap_err()).render(false)
        };
        assert!(error("[[tail]]\npath = \"a.log\"\nzone = \"UTC\"\n").contains("t.toml:"));
        assert!(error("[[tail]]\npath = \"a.log\"\nlevel = \"(\"\n").contains("a regular expression"));
        assert!(error("[[tail]]\npath = \"a.log\"\n[[tail]]\npath = \"b/a.log\"\n").contains("of its own"));
        assert!(error("[[tail]]\npath = \"a.log\"\ntimezone = \"Mars\"\n").contains("IANA"));
    }
}
