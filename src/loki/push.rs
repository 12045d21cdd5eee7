//! One push: a request to Loki, and what its answer means.
//!
//! Loki's answers are taken from its source and from measurements on 3.7: only 204 means that all was stored; 260 and
//! 200 say that ingestion is blocked; a 400 has mostly stored the other entries; a 500 may be for good.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use prost::bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, Url};

use super::reason::Reason;
use super::tls::{self, Tls, TlsError};

/// Where pushes go below Loki's base URL.
const PUSH_PATH: &str = "/loki/api/v1/push";
/// More of an answer than this is not read.
const ANSWER_MAX: usize = 8 * 1024;
/// A `Retry-After` beyond this is taken as this: a clock may be wrong, and a person may be waiting.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Who pushes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// Nobody.
    #[default]
    None,
    /// `Authorization: Basic`.
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: Secret,
    },
    /// `Authorization: Bearer`.
    Bearer(Secret),
}

/// How Loki is reached. Its `Debug` shows no secret.
#[derive(Clone)]
pub struct Transport {
    /// Base, `http://127.0.0.1:3100`; the push path is added unless it is there.
    pub url: String,
    /// `X-Scope-OrgID`.
    pub tenant: Option<String>,
    /// Who pushes. Without, user and password of the URL are taken.
    pub auth: Auth,
    /// Further headers of every request.
    pub headers: Vec<(String, Secret)>,
    /// Files for HTTPS.
    pub tls: Tls,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a request may take, connection and answer included.
    pub request_timeout: Duration,
}

impl Transport {
    /// To this URL, without authentication; 5 s to connect, 30 s for a request.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            tenant: None,
            auth: Auth::None,
            headers: Vec::new(),
            tls: Tls::default(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password, so what is shown is what is used.
        let url = resolve(self).map_or_else(|_| "***".to_owned(), |(url, _)| url.to_string());
        f.debug_struct("Transport")
            .field("url", &url)
            .field("tenant", &self.tenant)
            .field("auth", &self.auth)
            .field("headers", &self.headers)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Why a [`Transport`] cannot work.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Not the URL of an HTTP server. The text does not repeat it, as it may hold a password.
    #[error("the Loki URL is not usable: {0}")]
    Url(&'static str),
    /// A header that HTTP does not allow; its value is not shown.
    #[error("the header {0:?} is not allowed in HTTP")]
    Header(String),
    /// A file for HTTPS does not serve.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The HTTP client could not be made, for example because the system's certificates are not readable.
    #[error("the HTTP client could not be made")]
    Client(#[source] reqwest::Error),
}

/// Why a push is to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryClass {
    /// 429.
    RateLimited,
    /// 5xx.
    Server,
    /// No answer in time, or 408.
    Timeout,
    /// No connection, or it broke.
    Connection,
    /// A 2xx that is not 204: ingestion is blocked (260, or the status the tenant chose), or it is not Loki.
    NotStored,
    /// 401, 403, 404, redirects, certificates that are not accepted, and others that stay until a person acts.
    Person,
    /// The queue or the place for rejected entries failed on this machine.
    Local,
}

impl RetryClass {
    /// Every class there is.
    pub const ALL: [Self; 7] =
        [Self::RateLimited, Self::Server, Self::Timeout, Self::Connection, Self::NotStored, Self::Person, Self::Local];

    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::Server => "server_error",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::NotStored => "not_stored",
            Self::Person => "person",
            Self::Local => "local",
        }
    }
}

/// What became of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 204: every entry is stored.
    Accepted,
    /// To be tried again as it is.
    Retry {
        /// Why.
        class: RetryClass,
        /// What `Retry-After` asks for, at most 5 minutes.
        after: Option<Duration>,
        /// For people: status and text, or what broke.
        error: String,
        /// False if it surely did not reach Loki: there was no connection.
        sent: bool,
    },
    /// Too large for Loki; to be tried again in smaller pieces.
    Split {
        /// HTTP status.
        status: u16,
        /// The text of the answer.
        answer: String,
    },
    /// Some entry is refused for good; the others of the push are mostly stored.
    Refused {
        /// HTTP status.
        status: u16,
        /// Exact if the push had one entry.
        reason: Reason,
        /// The text of the answer, at most 8 KiB.
        answer: String,
    },
}

/// Pushes to one Loki; its connections are kept and shared. Redirects are not followed, as a redirected POST loses its
/// body and then "succeeds". A proxy that the system names is used, but never to this machine itself.
#[derive(Debug, Clone)]
pub struct Client {
    pub(super) http: reqwest::Client,
    url: Url,
    auth: Auth,
}

impl Client {
    /// A client for this transport; nothing is sent yet.
    pub fn new(transport: &Transport) -> Result<Self, TransportError> {
        let (url, auth) = resolve(transport)?;
        // Fails if there is a provider already, which then serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("testwire/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers(transport)?)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(transport.connect_timeout)
            .timeout(transport.request_timeout);
        if is_loopback(&url) {
            builder = builder.no_proxy();
        }
        if url.scheme() == "http" {
            // The system's certificates are not needed, and reading them costs time and may fail.
            builder = builder.tls_certs_only([]);
        } else {
            builder = transport.tls.apply(builder)?;
        }
        let http = builder.build().map_err(TransportError::Client)?;
        Ok(Self { http, url, auth })
    }

    /// Where it pushes, without user and password.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Sends one body of [`super::encode::Packer::body`] and says what became of it.
    pub async fn push(&self, body: Bytes) -> Outcome {
        let request = self.http.post(self.url.clone()).header(CONTENT_TYPE, "application/x-protobuf").body(body);
        match self.authorised(request).send().await {
            Ok(response) => classify(response).await,
            Err(error) => {
                let sent = !error.is_connect();
                let error = error.without_url();
                let text = chain(&error);
                let (class, error) = match tls::advice(&error) {
                    Some(advice) => (RetryClass::Person, format!("{text} ({advice})")),
                    None if error.is_timeout() => (RetryClass::Timeout, text),
                    None => (RetryClass::Connection, text),
                };
                Outcome::Retry { class, after: None, error, sent }
            }
        }
    }

    /// The URL of another path of the same Loki, such as `/ready`.
    pub(super) fn sibling(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        let base = url.path().strip_suffix(PUSH_PATH).unwrap_or_default().to_owned();
        url.set_path(&(base + path));
        url
    }

    /// Says who asks.
    pub(super) fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.auth {
            Auth::None => request,
            Auth::Basic { user, password } => request.basic_auth(user, Some(&password.0)),
            Auth::Bearer(token) => request.bearer_auth(&token.0),
        }
    }
}

/// Push URL and who pushes.
fn resolve(transport: &Transport) -> Result<(Url, Auth), TransportError> {
    let mut url = Url::parse(&transport.url).map_err(|_| TransportError::Url("it does not parse"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(TransportError::Url("it must begin with http:// or https:// and a host"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(TransportError::Url("it must end with the path"));
    }
    let mut auth = transport.auth.clone();
    if auth == Auth::None && !url.username().is_empty() {
        let password = Secret(url.password().unwrap_or_default().to_owned());
        auth = Auth::Basic { user: url.username().to_owned(), password };
    }
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    cleared.map_err(|()| TransportError::Url("it has no host"))?;
    let path = url.path().trim_end_matches('/');
    let base = path.strip_suffix(PUSH_PATH).unwrap_or(path).to_owned();
    url.set_path(&(base + PUSH_PATH));
    Ok((url, auth))
}

fn headers(transport: &Transport) -> Result<HeaderMap, TransportError> {
    let mut headers = HeaderMap::new();
    let tenant = transport.tenant.iter().map(|tenant| ("X-Scope-OrgID", tenant));
    let others = transport.headers.iter().map(|(name, value)| (name.as_str(), &value.0));
    for (name, value) in tenant.chain(others) {
        let bad = || TransportError::Header(name.to_owned());
        let key = HeaderName::try_from(name).map_err(|_| bad())?;
        let mut value = HeaderValue::try_from(value).map_err(|_| bad())?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn classify(response: Response) -> Outcome {
    let status = response.status().as_u16();
    if status == 204 {
        return Outcome::Accepted;
    }
    let after = retry_after(response.headers());
    let plain = answers_in_text(response.headers());
    let answer = read(response, ANSWER_MAX).await;
    let error = || format!("Loki answered {status}: {}", brief(&answer));
    let retry = |class| Outcome::Retry { class, after, error: error(), sent: true };
    match status {
        200..=299 => retry(RetryClass::NotStored),
        408 => retry(RetryClass::Timeout),
        413 => Outcome::Split { status, answer },
        429 => retry(RetryClass::RateLimited),
        // A proxy, or an HTTPS server that was asked in HTTP, answers 400 too; that is not about any entry.
        400 | 422 if plain => Outcome::Refused { status, reason: Reason::of(&answer), answer },
        // Loki's own gRPC limit of 4 MiB: the same push would get the same answer for ever.
        500..=599 if answer.contains("ResourceExhausted") && answer.contains("larger than max") => {
            Outcome::Split { status, answer }
        }
        500..=599 => retry(RetryClass::Server),
        _ => retry(RetryClass::Person),
    }
}

/// Loki's refusals are text or JSON; an HTML page or an answer without a type comes from something else.
fn answers_in_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.starts_with("text/plain") || kind.starts_with("application/json")
}

/// The text of an answer, at most `max` bytes of it; what came before an error.
async fn read(mut response: Response, max: usize) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = max - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if bytes.len() == max {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// An answer on one line of bounded length, for messages.
pub fn brief(answer: &str) -> String {
    const LENGTH: usize = 300;
    let mut text: String = answer.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LENGTH).collect();
    if answer.chars().nth(LENGTH).is_some() {
        text.push('…');
    }
    text
}

/// `Retry-After` as seconds or as an HTTP date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let after = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
            date.signed_duration_since(chrono::Utc::now()).to_std().unwrap_or_default()
        }
    };
    Some(after.min(RETRY_AFTER_MAX))
}

/// An error and what caused it, on one line, without the links that tell a person nothing.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    const EMPTY: [&str; 3] = ["error sending request", "client error (Connect)", "tcp connect error"];
    let mut text = String::new();
    for error in std::iter::successors(Some(error), |error| error.source()) {
        let cause = error.to_string();
        if (error.source().is_some() && EMPTY.contains(&cause.as_str())) || text.ends_with(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(url: &str) -> Option<(String, Auth)> {
        resolve(&Transport::new(url)).ok().map(|(url, auth)| (url.to_string(), auth))
    }

    #[test]
    fn the_push_path_is_added_once() {
        for (given, wanted) in [
            ("http://127.0.0.1:3100", "http://127.0.0.1:3100/loki/api/v1/push"),
            ("http://127.0.0.1:3100/", "http://127.0.0.1:3100/loki/api/v1/push"),
            ("https://a.example/logs/", "https://a.example/logs/loki/api/v1/push"),
            ("https://a.example/loki/api/v1/push", "https://a.example/loki/api/v1/push"),
            ("https://a.example/x/loki/api/v1/push/", "https://a.example/x/loki/api/v1/push"),
        ] {
            assert_eq!(resolved(given).unwrap().0, wanted);
        }
    }

    #[test]
    fn urls_that_are_no_http_base_are_refused_without_being_repeated() {
        for url in
            ["", "localhost:3100", "ftp://x", "http://", "http://u:hunter2@h/?a=b", "http://u:hunter2@h/#f", "h ttp"]
        {
            let error = Client::new(&Transport::new(url)).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn user_and_password_move_from_the_url_to_the_header() {
        let (url, auth) = resolved("http://u:hunter2@127.0.0.1:1").unwrap();
        assert_eq!(url, "http://127.0.0.1:1/loki/api/v1/push");
        assert_eq!(auth, Auth::Basic { user: "u".into(), password: Secret("hunter2".into()) });
    }

    #[test]
    fn debug_shows_no_secret() {
        let mut transport = Transport::new("http://v:hunter2@127.0.0.1:1");
        transport.auth = Auth::Basic { user: "u".into(), password: Secret("hunter2".into()) };
        transport.headers = vec![("X-Key".into(), Secret("hunter2".into()))];
        let client = Client::new(&transport).unwrap();
        let bearer = Auth::Bearer(Secret("hunter2".into()));
        let shown = format!("{transport:?} {client:?} {bearer:?}");
        assert!(shown.contains("***"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn loopback_is_known_by_name_and_number() {
        for (url, loopback) in [
            ("http://localhost:1", true),
            ("http://127.0.0.9", true),
            ("http://[::1]:3100", true),
            ("http://loki.localhost", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), loopback, "{url}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            retry_after(&headers)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("99999"), Some(RETRY_AFTER_MAX));
        assert_eq!(read("soon"), None);
        assert_eq!(read("-1"), None);
        assert_eq!(read("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let soon =
            (chrono::Utc::now() + chrono::TimeDelta::seconds(20)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let waits = read(&soon).unwrap();
        assert!(waits > Duration::from_secs(17) && waits <= Duration::from_secs(20), "{waits:?}");
    }
}
