//! Whether Grafana answers, shows what is in Loki, and has the dashboards. Testwire itself does not need Grafana, so nothing
//! here is a failure.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::canary::Canary;
use super::{ANSWER_WITHIN, Finding};
use crate::commands::dashboards::grafana::{DataSource, credentials};
use crate::commands::dashboards::install::{State, state_of};
use crate::config::Settings;
use crate::loki::push::{Client, Transport};
use crate::loki::query::QueryError;

/// How long Grafana's way to Loki may take.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);
/// How often it is asked.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Most bytes of an answer.
const ANSWER_MAX: usize = 4 << 20;
/// The data source of `docker-compose.yml`, which is tried where Grafana does not say which there are.
const OUR_SOURCE: &str = "testwire-loki";

/// What is found, each with the name of its step.
pub(super) async fn findings(settings: &Settings, canary: Option<&Canary>) -> Vec<(&'static str, Finding)> {
    let url = settings.grafana_url.as_str();
    let mut transport = Transport::new(url);
    match credentials(settings.grafana_token.as_ref()) {
        Ok(auth) => transport.auth = auth,
        Err(failure) => {
            return vec![("Grafana", Finding::Warning(failure.text().to_owned(), "see --grafana-token-file".into()))];
        }
    }
    // The same rules for proxies, redirects and bounds as for Loki; none of Loki's credentials.
    let Ok(client) = Client::new(&transport) else {
        return vec![("Grafana", Finding::Warning(format!("{url} cannot be asked"), "see --grafana-url".into()))];
    };
    let grafana = Grafana { client, url };
    let health = match grafana.get("/api/health", &[]).await {
        Ok(health) => health,
        Err(error) => {
            let hint =
                "start it with `docker compose up -d`, or say with --grafana-url where it is; only links need it";
            return vec![("Grafana", Finding::Warning(grafana.words(&error), hint.into()))];
        }
    };
    let health: Value = serde_json::from_str(&health).unwrap_or_default();
    let version = health["version"].as_str().map(|version| format!(", version {version}")).unwrap_or_default();
    let mut found = vec![("Grafana", Finding::Ok(format!("{url} answers{version}")))];
    if let Some(canary) = canary {
        found.push(("shown", grafana.shows(canary).await));
    }
    found.push(("dashboards", grafana.dashboards().await));
    found
}

struct Grafana<'a> {
    client: Client,
    url: &'a str,
}

impl Grafana<'_> {
    async fn get(&self, path: &str, params: &[(&str, &str)]) -> Result<String, QueryError> {
        self.client.get(path, params, ANSWER_WITHIN, ANSWER_MAX).await
    }

    /// An error of the client, whose own words are about Loki.
    fn words(&self, error: &QueryError) -> String {
        match error {
            QueryError::Status { status, .. } => format!("{} answers with {status}", self.url),
            error => format!("{}: {error}", self.url),
        }
    }

    /// Whether a data source of Grafana finds the entry that was sent to Loki.
    async fn shows(&self, canary: &Canary) -> Finding {
        let told: Option<Value> =
            self.get("/api/datasources", &[]).await.ok().and_then(|text| serde_json::from_str(&text).ok());
        let is_told = told.is_some();
        let sources = told.map_or_else(
            || vec![DataSource { uid: OUR_SOURCE.into(), name: OUR_SOURCE.into(), is_default: false }],
            |list| DataSource::of_loki(&list),
        );
        let deadline = Instant::now() + SHOWN_WITHIN;
        loop {
            for DataSource { uid, name, .. } in &sources {
                if self.finds(uid, canary).await {
                    return Finding::Ok(format!("its data source {name} ({uid}) finds the entry"));
                }
            }
            if Instant::now() >= deadline || !is_told {
                break;
            }
            sleep(LOOK_EVERY).await;
        }
        if !is_told {
            return Finding::Ok(
                "not for everyone to see whether it reads from this Loki; --grafana-token-file lets testwire ask"
                    .into(),
            );
        }
        let listed: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        let text = if listed.is_empty() {
            "it has no data source of type Loki".to_owned()
        } else {
            format!("no data source finds the entry that was sent to Loki; asked were {}", listed.join(", "))
        };
        Finding::Warning(text, "compare the data source's address and tenant with --loki-url and --tenant".into())
    }

    /// Asks as the pages do. Grafana's way through to Loki's own API would not do: up to 9.4 it fails on a uid with a hyphen.
    async fn finds(&self, source: &str, canary: &Canary) -> bool {
        // Whole milliseconds; the entry lies just behind the first.
        let from = canary.time.0 / 1_000_000;
        let body = json!({
            "from": from.to_string(),
            "to": (from + 1).to_string(),
            "queries": [{
                "refId": "A",
                "datasource": {"type": "loki", "uid": source},
                "expr": canary.selector,
                "queryType": "range",
                "maxLines": 10,
                "intervalMs": 1000,
                "maxDataPoints": 10,
            }],
        });
        let answer = self.client.call(Method::POST, "/api/ds/query", Some(&body), ANSWER_WITHIN, ANSWER_MAX).await;
        answer.is_ok_and(|text| has_line(&text, &canary.run_id))
    }

    /// Whether the dashboards of this testwire are there.
    async fn dashboards(&self) -> Finding {
        let install = || {
            "`testwire dashboards install` puts them there, `testwire dashboards export DIR` writes files".to_owned()
        };
        let (mut there, mut old, mut missing) = (0, Vec::new(), Vec::new());
        for (name, ours) in crate::commands::dashboards::all() {
            let uid = ours["uid"].as_str().unwrap_or_default();
            match self.get(&format!("/api/dashboards/uid/{uid}"), &[]).await {
                Ok(text) => {
                    there += 1;
                    if matches!(state_of(&ours, &serde_json::from_str(&text).unwrap_or_default()), State::Differs) {
                        old.push(name);
                    }
                }
                Err(QueryError::Status { status: 404, .. }) => missing.push(name),
                Err(QueryError::Status { status: 401 | 403, .. }) => {
                    return Finding::Ok("whether it has them is not for everyone to see".into());
                }
                Err(error) => return Finding::Warning(self.words(&error), "see Grafana's log".into()),
            }
        }
        match (missing.is_empty(), old.is_empty()) {
            (true, true) => Finding::Ok(format!("all {there} are there")),
            (false, _) if there == 0 => Finding::Warning("it does not have testwire's dashboards".into(), install()),
            (false, _) => Finding::Warning(format!("it lacks {}", missing.join(", ")), install()),
            (true, false) => Finding::Warning(format!("it has other versions of {}", old.join(", ")), install()),
        }
    }
}

/// Whether an answer has an entry of this run, among its labels or metadata.
fn has_line(answer: &str, run_id: &str) -> bool {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    let frames = answer["results"]["A"]["frames"].as_array();
    frames.into_iter().flatten().any(|frame| frame["data"]["values"].to_string().contains(run_id))
}
