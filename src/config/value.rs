//! Values of settings: how each is written, and what is allowed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What a value should have been; the text follows "expected".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct Expected(pub String);

/// A length of time with its unit: `50ms`, `10s`, `2m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

/// Unit and milliseconds in it, largest first.
const TIME_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Longer would overflow sums with points in time, and nobody means it.
const MAX_PERIOD_MS: u64 = 365 * 24 * 3_600_000;

impl FromStr for Period {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        with_unit(text, &TIME_UNITS)
            .filter(|ms| *ms <= MAX_PERIOD_MS)
            .map(|ms| Self(Duration::from_millis(ms)))
            .ok_or_else(|| Expected("a duration of whole units, at most a year, such as 50ms, 10s, 2m or 1h".into()))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if ms == 0 { f.write_str("0s") } else { write_with_unit(f, ms, &TIME_UNITS) }
    }
}

/// A number of bytes with its unit: `500MB`, `64KiB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Unit and bytes in it, in the order in which a number is shown.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
    ("B", 1),
];

impl FromStr for Bytes {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        with_unit(text, &SIZE_UNITS)
            .map(Self)
            .ok_or_else(|| Expected("a size of whole units such as 64KiB, 500MB or 1GiB".into()))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.write_str("0B") } else { write_with_unit(f, self.0, &SIZE_UNITS) }
    }
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = text.split_at_checked(text.find(|c: char| !c.is_ascii_digit())?)?;
    let (_, scale) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim_start()))?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

/// Writes `amount` in the first unit that divides it; the last unit is 1.
fn write_with_unit(f: &mut fmt::Formatter<'_>, amount: u64, units: &[(&str, u64)]) -> fmt::Result {
    let unit = units.iter().find(|(_, scale)| amount.is_multiple_of(*scale));
    let (name, scale) = unit.copied().unwrap_or(("", 1));
    write!(f, "{}{name}", amount / scale)
}

/// A name for people that becomes a label or metadata: 1 to 128 characters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

/// Characters of the longest name. Loki's limit is 2048 bytes for a label value; dashboards need less.
pub const MAX_NAME: usize = 128;

impl Name {
    /// Makes a name of any text: control characters become spaces, the rest is cut; `None` if nothing is left.
    pub fn clean(text: &str) -> Option<Self> {
        let spaced = text.replace(char::is_control, " ");
        let cut: String = spaced.trim().chars().take(MAX_NAME).collect();
        (!cut.is_empty()).then_some(Self(cut))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let text = text.trim();
        if text.is_empty() || text.chars().count() > MAX_NAME || text.contains(char::is_control) {
            return Err(Expected(format!("1 to {MAX_NAME} characters without control characters")));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The tenant sent as `X-Scope-OrgID`. Loki's own rule (dskit `tenant.ValidTenantID`): at most 150 characters of letters,
/// digits and ``!-_.*'()``, and neither `.` nor `..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant(String);

impl Tenant {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tenant {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
        if text.is_empty() || text.len() > 150 || !text.chars().all(allowed) || text == "." || text == ".." {
            return Err(Expected("a Loki tenant: 1 to 150 letters, digits or !-_.*'(), and not . or ..".into()));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an HTTP server is: scheme, host, port and a path prefix that does not end in `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// The URL of `path` on this server; `path` starts with `/`.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// The URL without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BaseUrl {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let wrong = |what: &str| Expected(what.into());
        let Ok(url) = reqwest::Url::parse(text.trim()) else {
            return Err(wrong("a URL such as http://127.0.0.1:3100 or https://logs.example.org/loki-prefix"));
        };
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(wrong("a URL that starts with http:// or https:// and names a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("a URL without user and password; use --user with --password-file or TESTWIRE_PASSWORD"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("a URL without ? and #"));
        }
        let base = url.as_str().trim_end_matches('/');
        if url.path().contains("/loki/api/") {
            return Err(wrong("the URL of the server only, without /loki/api/…"));
        }
        Ok(Self(base.into()))
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where to listen: an IP address, or `localhost`, and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub std::net::SocketAddr);

impl FromStr for Address {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let text = text.trim();
        let local = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        let address = local.as_deref().unwrap_or(text).parse();
        address.map(Self).map_err(|_| Expected("an address and a port such as 127.0.0.1:8765 or [::]:8765".into()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A fact given with `--attr name=value`; it is sent as the metadata `attr_<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Matches `[a-z][a-z0-9_]*`, at most 64 characters.
    pub name: String,
    /// 1 to 1024 characters without control characters.
    pub value: String,
}

impl FromStr for Attribute {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let wrong = || {
            let name = "a name of a-z, 0-9 and _ that starts with a letter (at most 64 characters)";
            Expected(format!("name=value with {name}, and 1 to 1024 characters without control characters as value"))
        };
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        let (name, value) = (name.trim(), value.trim());
        let name_ok = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && name.len() <= 64;
        let value_ok = !value.is_empty() && value.chars().count() <= 1024 && !value.contains(char::is_control);
        if !(name_ok && value_ok) {
            return Err(wrong());
        }
        Ok(Self { name: name.into(), value: value.into() })
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

/// `true` or `false` and their common spellings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch(pub bool);

impl FromStr for Switch {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(Self(true)),
            "false" | "0" | "no" | "off" => Ok(Self(false)),
            _ => Err(Expected("true or false".into())),
        }
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
