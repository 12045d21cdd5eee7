//! Grafana's HTTP API, as far as dashboards need it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::config::Settings;
use crate::config::secret::SecretSource;
use crate::exit::{Exit, Failure};
use crate::loki::push::{Auth, Client, Transport, brief};
use crate::loki::query::QueryError;

/// How long Grafana may take for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Most bytes of an answer. A list of all dashboards of a large Grafana has some MB.
const ANSWER_MAX: usize = 32 << 20;

/// A Grafana that is talked to.
pub struct Grafana {
    client: Client,
    url: String,
}

/// A data source of type Loki.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSource {
    /// Its lasting name.
    pub uid: String,
    /// Its name for people.
    pub name: String,
    /// Whether it is Grafana's default.
    pub is_default: bool,
}

impl DataSource {
    /// Those of type Loki in Grafana's list.
    pub fn of_loki(list: &Value) -> Vec<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let of_loki = list.as_array().into_iter().flatten().filter(|source| source["type"] == "loki");
        let read = |source: &Value| Self {
            uid: text(&source["uid"]),
            name: text(&source["name"]),
            is_default: source["isDefault"] == true,
        };
        of_loki.map(read).collect()
    }
}

/// What a Grafana token says: a token proper, or `user:password`.
///
/// # Errors
/// If it cannot be read.
pub fn credentials(token: Option<&SecretSource>) -> Result<Auth, Failure> {
    let Some(source) = token else { return Ok(Auth::None) };
    let token = source.read()?;
    Ok(match token.0.split_once(':') {
        Some((user, password)) => {
            let password = crate::loki::push::Secret(password.to_owned());
            Auth::Basic { user: user.to_owned(), password }
        }
        None => Auth::Bearer(token),
    })
}

impl Grafana {
    /// The Grafana of the settings; nothing is sent yet. The rules for proxies and redirects are those for Loki.
    ///
    /// # Errors
    /// If the token cannot be read, or the HTTP client cannot be made.
    pub fn new(settings: &Settings) -> Result<Self, Failure> {
        let url = settings.grafana_url.as_str().to_owned();
        let mut transport = Transport::new(&url);
        transport.auth = credentials(settings.grafana_token.as_ref())?;
        let client = Client::new(&transport)
            .map_err(|error| Failure::new(Exit::Config, format!("Grafana at {url} cannot be asked")).cause(&error))?;
        Ok(Self { client, url })
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its version, if it tells it.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn version(&self) -> Result<Option<String>, Failure> {
        let health = self.ask(Method::GET, "/api/health", None).await?.unwrap_or_default();
        Ok(health["version"].as_str().filter(|version| !version.is_empty()).map(str::to_owned))
    }

    /// Its data sources of type Loki.
    ///
    /// # Errors
    /// If it does not tell them.
    pub async fn loki_sources(&self) -> Result<Vec<DataSource>, Failure> {
        let all = self.ask(Method::GET, "/api/datasources", None).await?.unwrap_or_default();
        Ok(DataSource::of_loki(&all))
    }

    /// The uid of the folder with this title at the top level, if there is one.
    ///
    /// # Errors
    /// If it does not tell them.
    pub async fn folder(&self, title: &str) -> Result<Option<String>, Failure> {
        let all = self.ask(Method::GET, "/api/folders?limit=1000", None).await?.unwrap_or_default();
        let found = all.as_array().into_iter().flatten().find(|folder| folder["title"] == title);
        Ok(found.and_then(|folder| folder["uid"].as_str()).map(str::to_owned))
    }

    /// Makes a folder and gives its uid.
    ///
    /// # Errors
    /// If it may not be made.
    pub async fn make_folder(&self, title: &str) -> Result<String, Failure> {
        let made = self.ask(Method::POST, "/api/folders", Some(&json!({ "title": title }))).await?.unwrap_or_default();
        made["uid"].as_str().map(str::to_owned).ok_or_else(|| self.odd("a folder without a uid"))
    }

    /// Removes a folder.
    ///
    /// # Errors
    /// If it may not be removed, for example because alert rules are in it.
    pub async fn remove_folder(&self, uid: &str) -> Result<(), Failure> {
        self.ask(Method::DELETE, &format!("/api/folders/{uid}"), None).await.map(drop)
    }

    /// A dashboard with what Grafana says about it (`meta`), if it is there.
    ///
    /// # Errors
    /// If it may not be read.
    pub async fn dashboard(&self, uid: &str) -> Result<Option<Value>, Failure> {
        self.ask(Method::GET, &format!("/api/dashboards/uid/{uid}"), None).await
    }

    /// Makes a dashboard, or replaces the one with its uid.
    ///
    /// # Errors
    /// If it may not be written.
    pub async fn save(&self, dashboard: &Value, folder: &str) -> Result<(), Failure> {
        let message = concat!("testwire ", env!("CARGO_PKG_VERSION"));
        let body = json!({"dashboard": dashboard, "folderUid": folder, "overwrite": true, "message": message});
        self.ask(Method::POST, "/api/dashboards/db", Some(&body)).await.map(drop)
    }

    /// Removes a dashboard.
    ///
    /// # Errors
    /// If it may not be removed.
    pub async fn remove(&self, uid: &str) -> Result<(), Failure> {
        self.ask(Method::DELETE, &format!("/api/dashboards/uid/{uid}"), None).await.map(drop)
    }

    /// Whether anything is left in a folder.
    ///
    /// # Errors
    /// If it does not tell.
    pub async fn is_empty(&self, folder: &str) -> Result<bool, Failure> {
        let all = self.ask(Method::GET, "/api/search?type=dash-db&limit=5000", None).await?.unwrap_or_default();
        Ok(all.as_array().into_iter().flatten().all(|found| found["folderUid"] != folder))
    }

    /// Sends a request: the JSON of a 2xx, or `None` after 404.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Option<Value>, Failure> {
        match self.client.call(method.clone(), path, body, ANSWER_WITHIN, ANSWER_MAX).await {
            // Of a folder that it removed, Grafana says nothing at all.
            Ok(text) if text.is_empty() && method == Method::DELETE => Ok(Some(Value::Null)),
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|_| self.odd("an answer that is no JSON")),
            Err(QueryError::Status { status: 404, .. }) if path != "/api/health" => Ok(None),
            Err(error) => Err(self.failure(&method, path, &error)),
        }
    }

    fn odd(&self, what: &str) -> Failure {
        let failure = Failure::new(Exit::Undelivered, format!("{} gave {what}", self.url));
        failure.hint("see whether --grafana-url is Grafana's own address")
    }

    fn failure(&self, method: &Method, path: &str, error: &QueryError) -> Failure {
        let url = &self.url;
        let (text, hint) = match error {
            QueryError::Status { status, answer } => {
                let text = format!("{url} answered {method} {path} with {status}: {}", brief(answer));
                let hint = match status {
                    401 | 403 => {
                        "make a service account with the role Admin in Grafana, and give its token with \
                         --grafana-token-file or TESTWIRE_GRAFANA_TOKEN; user:password works too"
                    }
                    _ => "see Grafana's log, and whether --grafana-url is Grafana's own address",
                };
                (text, hint)
            }
            error => (format!("{url}: {error}"), "start Grafana, or say with --grafana-url where it is"),
        };
        Failure::new(Exit::Undelivered, text).hint(hint)
    }
}
