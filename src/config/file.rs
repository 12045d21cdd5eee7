//! `testwire.toml` and `testwire.json`: where they are looked for, and how keys keep their lines.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Origin};
use super::place::Place;
use super::setting::{self, Kind, Setting};
use super::tail::{self, TailSource};
use super::testruns::{self, Testruns};
use super::value::Expected;

/// Names in the order in which they are looked for in a directory.
const NAMES: [&str; 2] = ["testwire.toml", "testwire.json"];

/// Settings of a file, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    path: PathBuf,
    values: Vec<Value>,
    /// All of it, for tables that are read by others.
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    name: &'static str,
    texts: Vec<String>,
    line: usize,
}

impl File {
    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says about a setting: one text, or one `name=value` for each pair, and where.
    pub(super) fn get(&self, setting: &Setting) -> Option<(Vec<String>, Origin)> {
        let value = self.values.iter().find(|value| value.name == setting.name)?;
        Some((value.texts.clone(), Origin::File(self.path.clone(), value.line)))
    }

    /// The logs that it names.
    ///
    /// # Errors
    /// As [`TailSource::parse`].
    pub fn tails(&self) -> Result<Vec<TailSource>, ConfigError> {
        TailSource::parse(&self.path, &self.text)
    }

    /// What it says of test runs that clients may order.
    ///
    /// # Errors
    /// As [`Testruns::parse`].
    pub fn testruns(&self) -> Result<Option<Testruns>, ConfigError> {
        Testruns::parse(&self.path, &self.text)
    }

    /// The first file found: in the current directory and those above it up to the repository's root or the home
    /// directory, then in `$XDG_CONFIG_HOME/testwire` (`~/.config/testwire`). Outside both repository and home only the
    /// current directory counts, because those above it (`/tmp`) may belong to others.
    pub fn find(place: &Place) -> Option<PathBuf> {
        let top = place.git.as_ref().map(|git| git.root.as_path()).or(place.home.as_deref());
        let top = top.filter(|top| place.cwd.starts_with(top)).unwrap_or(&place.cwd);
        let above = place.cwd.ancestors().take_while(|directory| directory.starts_with(top));
        let user = place.config_home.as_ref().map(|home| home.join("testwire"));
        let directories = above.map(Path::to_owned).chain(user);
        directories.flat_map(|directory| NAMES.map(|name| directory.join(name))).find(|path| path.is_file())
    }

    /// Reads a file; one that ends in `.json` is JSON, any other TOML.
    ///
    /// # Errors
    /// The file cannot be read, or as [`File::parse`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(source) => Err(ConfigError::Unreadable { path: path.to_owned(), source }),
        }
    }

    /// Reads the text of the file `path`.
    ///
    /// # Errors
    /// It is not TOML or JSON, has a key that is no setting, or a value of a kind that no setting takes.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let json = path.extension().is_some_and(|extension| extension == "json");
        let raw = if json { from_json(text) } else { from_toml(text) };
        let raw = raw.map_err(|(line, message)| ConfigError::Syntax { path: path.to_owned(), line, message })?;
        let mut values: Vec<Value> = Vec::new();
        let is_others = |key: &str| tail::KEYS.contains(&key) || key == testruns::KEY;
        for Raw { key, line, texts } in raw.into_iter().filter(|raw| !is_others(&raw.key)) {
            let Some(setting) = setting::named(&key) else {
                let nearest = setting::nearest(&key);
                return Err(ConfigError::UnknownKey { path: path.to_owned(), line, key, nearest });
            };
            let pairs = matches!(setting.kind, Kind::Pairs | Kind::SecretPairs);
            let texts = match (texts, pairs) {
                (Texts::One(text), false) => vec![text],
                (Texts::Pairs(pairs), true) => {
                    pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
                }
                (texts, _) => {
                    let expected =
                        Expected(if pairs { "a table of texts" } else { "a text, a number, true or false" }.into());
                    let origin = Origin::File(path.to_owned(), line);
                    return Err(ConfigError::BadValue {
                        name: setting.name,
                        value: if matches!(setting.kind, Kind::SecretPairs) { "***".into() } else { texts.to_string() },
                        origin,
                        expected,
                    });
                }
            };
            values.push(Value { name: setting.name, texts, line });
        }
        Ok(Self { path: path.to_owned(), values, text: text.to_owned() })
    }
}

/// Reads the parts of a file, TOML or JSON by its name, that `T` is made of.
pub(super) fn deserialize<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    let json = path.extension().is_some_and(|extension| extension == "json");
    let read: Result<T, SyntaxError> = if json {
        serde_json::from_str(text).map_err(|error| (error.line(), error.to_string()))
    } else {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            (line_at(text, error.span().map_or(0, |span| span.start)), error.message().to_owned())
        })
    };
    read.map_err(|(line, message)| ConfigError::Syntax { path: path.to_owned(), line, message })
}

/// A key and its value before their meaning is known.
struct Raw {
    key: String,
    line: usize,
    texts: Texts,
}

/// Kinds of values that settings can have.
enum Texts {
    One(String),
    Pairs(Vec<(String, String)>),
    Other(&'static str),
}

impl fmt::Display for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(text) => f.write_str(text),
            Self::Pairs(_) => f.write_str("{…}"),
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

/// Line, from 1, and what is wrong there.
type SyntaxError = (usize, String);

/// The line, from 1, of a byte of `text`.
fn line_at(text: &str, byte: usize) -> usize {
    1 + memchr::memchr_iter(b'\n', text.as_bytes().get(..byte).unwrap_or(text.as_bytes())).count()
}

fn from_toml(text: &str) -> Result<Vec<Raw>, SyntaxError> {
    let table = DeTable::parse(text).map_err(|error| {
        let byte = error.span().map_or(text.len(), |span| span.start);
        (line_at(text, byte), error.message().to_owned())
    })?;
    let mut found: Vec<Raw> = table
        .get_ref()
        .iter()
        .map(|(key, value)| Raw {
            key: key.get_ref().clone().into_owned(),
            line: line_at(text, key.span().start),
            texts: toml_texts(value.get_ref()),
        })
        .collect();
    // The table sorts by key; people read from the top.
    found.sort_by_key(|raw| raw.line);
    Ok(found)
}

fn toml_texts(value: &DeValue<'_>) -> Texts {
    if let Some(text) = toml_scalar(value) {
        return Texts::One(text);
    }
    let Some(table) = value.as_table() else { return Texts::Other("[…]") };
    let pair = |(key, value): (&toml::Spanned<Cow<'_, str>>, &toml::Spanned<DeValue<'_>>)| {
        Some((key.get_ref().clone().into_owned(), toml_scalar(value.get_ref())?))
    };
    table.iter().map(pair).collect::<Option<_>>().map_or(Texts::Other("{…}"), Texts::Pairs)
}

fn toml_scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Datetime(time) => Some(time.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// A JSON object in its own order; the raw values are slices of the text, so that their lines can be told.
struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of settings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut entries: Vec<(String, &RawValue)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    if entries.iter().any(|(earlier, _)| *earlier == key) {
                        return Err(serde::de::Error::custom(format_args!("`{key}` is there twice")));
                    }
                    entries.push((key, value));
                }
                Ok(Object(entries))
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

fn from_json(text: &str) -> Result<Vec<Raw>, SyntaxError> {
    let object: Object<'_> = serde_json::from_str(text).map_err(|error| (error.line(), error.to_string()))?;
    let start = text.as_ptr().addr();
    let entries = object.0.into_iter();
    let raw = entries.map(|(key, value)| {
        let line = line_at(text, value.get().as_ptr().addr().saturating_sub(start));
        Raw { key, line, texts: json_texts(value) }
    });
    Ok(raw.collect())
}

fn json_texts(raw: &RawValue) -> Texts {
    use serde_json::Value as Json;
    fn scalar(value: &Json) -> Option<String> {
        match value {
            Json::String(text) => Some(text.clone()),
            Json::Number(number) => Some(number.to_string()),
            Json::Bool(value) => Some(value.to_string()),
            Json::Null | Json::Array(_) | Json::Object(_) => None,
        }
    }
    match serde_json::from_str::<Json>(raw.get()) {
        Ok(Json::Object(object)) => {
            let pairs = object.iter().map(|(key, value)| Some((key.clone(), scalar(value)?)));
            pairs.collect::<Option<_>>().map_or(Texts::Other("{…}"), Texts::Pairs)
        }
        Ok(Json::Array(_)) => Texts::Other("[…]"),
        Ok(value) => scalar(&value).map_or(Texts::Other("null"), Texts::One),
        Err(_) => Texts::Other("a value that is no JSON"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(name: &str, text: &str) -> String {
        crate::exit::Failure::from(File::parse(Path::new(name), text).unwrap_err()).render(false)
    }

    #[test]
    fn toml_and_json_give_the_same_settings_with_their_lines() {
        let toml = "# shop\nproject = \"shop\"\nfsync = true\n\n[attr]\nbrowser = \"firefox\"\nbuild = 7\n";
        let json =
            "{\n \"project\": \"shop\",\n \"fsync\": true,\n \"attr\":\n {\"browser\": \"firefox\", \"build\": 7}\n}";
        for (name, text) in [("testwire.toml", toml), ("testwire.json", json)] {
            let file = File::parse(Path::new(name), text).unwrap();
            let at = |line| Origin::File(name.into(), line);
            assert_eq!(file.get(&setting::PROJECT), Some((vec!["shop".into()], at(2))));
            assert_eq!(file.get(&setting::FSYNC), Some((vec!["true".into()], at(3))));
            assert_eq!(file.get(&setting::ATTR), Some((vec!["browser=firefox".into(), "build=7".into()], at(5))));
            assert_eq!(file.get(&setting::ENV), None);
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_setting() {
        assert_eq!(
            error("a/testwire.toml", "env = \"ci\"\n\nloki_url = \"http://x\"\n"),
            "error: a/testwire.toml:3: unknown setting `loki_url`\nhint: did you mean `loki-url`?\n"
        );
        assert_eq!(
            error("testwire.json", "{\"env\": \"ci\",\n\"spoolmax\": 1}"),
            "error: testwire.json:2: unknown setting `spoolmax`\nhint: did you mean `spool-max`?\n"
        );
        assert!(error("testwire.toml", "zzz = 1").contains("lists all settings"));
        assert!(error("testwire.toml", "[logs]\npath = 1").contains("testwire.toml:1: unknown setting `logs`"));
    }

    #[test]
    fn text_that_is_no_toml_or_json_is_named_with_its_line() {
        assert!(error("testwire.toml", "env = \"ci\"\nproject = \n").starts_with("error: testwire.toml:2: "));
        assert!(error("testwire.toml", "env = \"ci\"\nenv = \"x\"\n").starts_with("error: testwire.toml:2: "));
        assert!(error("testwire.json", "{\"env\": \"ci\",\n}").starts_with("error: testwire.json:2: "));
        assert!(error("testwire.json", "{\"env\": \"ci\",\n\"env\": \"x\"}").contains("`env` is there twice"));
        assert!(error("testwire.json", "[]").contains("an object of settings"));
    }

    #[test]
    fn a_value_of_a_kind_that_no_setting_takes_is_refused() {
        let list = error("testwire.toml", "\nenv = [\"ci\"]");
        assert!(list.contains("testwire.toml:2: env = \"[…]\": expected a text"), "{list}");
        assert!(error("testwire.toml", "attr = \"a=b\"").contains("attr = \"a=b\": expected a table of texts"));
        assert!(error("testwire.json", "{\"env\": null}").contains("env = \"null\": expected a text"));
        assert!(error("testwire.toml", "[attr]\na = [1]").contains("attr = \"{…}\": expected a table of texts"));
    }

    #[test]
    fn a_missing_file_and_a_directory_say_so() {
        let temp = tempfile::tempdir().unwrap();
        let missing = crate::exit::Failure::from(File::read(&temp.path().join("no.toml")).unwrap_err());
        assert!(missing.render(false).contains("no.toml: No such file"), "{missing:?}");
        let directory = crate::exit::Failure::from(File::read(temp.path()).unwrap_err());
        assert!(directory.render(false).contains("Is a directory"), "{directory:?}");
    }

    #[test]
    fn the_nearest_file_wins_and_the_search_ends_at_the_repository() {
        let temp = tempfile::tempdir().unwrap();
        let repository = temp.path().join("repo");
        let deep = repository.join("a/b");
        let user = temp.path().join("config");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::create_dir_all(user.join("testwire")).unwrap();
        let git = super::super::git::Repository { root: repository.clone(), ..Default::default() };
        let place = Place { cwd: deep.clone(), git: Some(git), config_home: Some(user.clone()), ..Place::for_tests() };
        assert_eq!(File::find(&place), None);
        for path in [
            temp.path().join("testwire.toml"), // above the repository: never
            user.join("testwire/testwire.toml"),
            repository.join("testwire.json"),
            repository.join("testwire.toml"),
            deep.join("testwire.json"),
        ] {
            std::fs::write(&path, "").unwrap();
            let expected = (path != temp.path().join("testwire.toml")).then_some(path);
            assert_eq!(File::find(&place), expected);
        }
        let outside = Place { git: None, config_home: None, cwd: repository.join("a"), ..place };
        assert_eq!(File::find(&outside), None, "without repository and home only the current directory counts");
    }
}
