//! TestRunner's paths: orders of test runs, and what became of them.

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Method, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use super::form::Form;
use super::{App, body, routes};
use crate::decode::clients::Answer;
use crate::testruns::{Files, Order, Queue, Record, Refused, State};

/// Runs on a page, as upstream has it.
const PER_PAGE: usize = 10;
const MOST_PER_PAGE: usize = 100;
/// Bytes of the results of a run, by itself and on a page of several.
const RESULTS: u64 = 1 << 20;
const RESULTS_LISTED: u64 = 64 << 10;
/// Bytes of an order beside the files that are sent along.
const ORDER: usize = 64 << 10;
/// What the parts of a form cost beside the contents of the files, for each.
const PART: usize = 512;

/// What a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// `/newTestrun`: a form with files.
    New,
    /// `/api/testruns`.
    All,
    /// `/api/testruns/ID`.
    One,
    /// `/api/testrunners/RUN`.
    Runner,
}

impl Asked {
    /// `path` has no slashes around it.
    pub(super) fn of(path: &str) -> Option<Self> {
        let below =
            |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && !rest.contains('/'));
        Some(match path {
            "newTestrun" => Self::New,
            "api/testruns" => Self::All,
            _ if below("api/testruns/") => Self::One,
            _ if below("api/testrunners/") => Self::Runner,
            _ => return None,
        })
    }

    /// The methods that work, as a header says it.
    pub(super) fn methods(self) -> &'static str {
        match self {
            Self::New => "POST",
            Self::All => "GET, HEAD, POST",
            Self::One => "GET, HEAD, DELETE",
            Self::Runner => "GET, HEAD",
        }
    }
}

/// An answer, and the header `Link` of it.
pub(super) type Linked = (Answer, Option<String>);

/// An order in JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    username: String,
    #[serde(default)]
    files: Vec<String>,
    command: Option<String>,
}

/// Tells the log who wanted what and did not get it.
pub(super) fn log_refused(peer: IpAddr, method: &Method, path: &str, username: &str, why: &dyn Display) {
    tracing::warn!(%peer, %method, ?path, ?username, "test run refused: {why}");
}

/// Answers what was let in. `path` has no token before it.
pub(super) async fn answer(app: &App, asked: Asked, peer: IpAddr, request: Request<Incoming>) -> Linked {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let refuse = |username: &str, answer: Answer| {
        log_refused(peer, &method, path_without_token(&path), username, &answer.body);
        (answer, None)
    };
    let Some(queue) = app.testruns.clone() else {
        return refuse("", message(404, "test runs are not switched on here; see [testruns] in the README"));
    };
    let reads = matches!(method, Method::GET | Method::HEAD);
    let ordered = match (asked, &method) {
        (Asked::All, _) if reads => {
            let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            return list(queue, request.uri().query().unwrap_or_default(), host).await;
        }
        (Asked::One, _) if reads => return (one(queue, last(&path)).await, None),
        (Asked::Runner, _) if reads => return (runner(&queue, last(&path)), None),
        (Asked::One, &Method::DELETE) => return (cancel(queue, peer, last(&path)).await, None),
        (Asked::New, &Method::POST) => sent(app, &queue, request).await,
        (Asked::All, &Method::POST) => named(app, request).await.map(|order| (order, None)),
        _ => return refuse("", message(405, "this method does not work here")),
    };
    // What was sent along is in memory until it is on the disk.
    let (order, _room) = match ordered {
        Ok(ordered) => ordered,
        Err((username, answer)) => return refuse(&username, answer),
    };
    let username = order.username.clone();
    match blocking(move || queue.submit(order)).await {
        Ok(Ok(record)) => {
            tracing::info!(%peer, ?username, id = record.id, run = record.run_id, files = record.files.len(), "test run ordered");
            let answer = match asked {
                Asked::New => message(200, "Testrun created"),
                _ => Answer::json(201, shown(&record, String::new()).to_string()),
            };
            (answer, None)
        }
        Ok(Err(refused)) => refuse(&username, said(&refused)),
        Err(answer) => refuse(&username, answer),
    }
}

/// What `path` is without `/t/<token>`, which must not get into a log.
fn path_without_token(path: &str) -> &str {
    super::auth::prefix(path).1
}

/// The last part of a path.
fn last(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

fn message(status: u16, text: &str) -> Answer {
    Answer::json(status, json!({ "message": text }).to_string())
}

fn said(refused: &Refused) -> Answer {
    message(refused.status(), &refused.to_string())
}

/// Does what blocks on the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Answer> {
    tokio::task::spawn_blocking(work).await.map_err(|_| message(500, "the run could not be looked at"))
}

/// Why there is no order, and who wanted one, if that is known.
type NoOrder = (String, Answer);

/// An order with files in a form.
async fn sent(
    app: &App,
    queue: &Arc<Queue>,
    request: Request<Incoming>,
) -> Result<(Order, Option<body::Room>), NoOrder> {
    let nobody = |answer| (String::new(), answer);
    let Some(most) = queue.max_upload() else { return Err(nobody(said(&Refused::Uploads))) };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let limit = most.saturating_add(ORDER).saturating_add(queue.max_files() * PART);
    let (head, incoming) = request.into_parts();
    let held = body::read(&head.headers, incoming, limit, &app.room).await.map_err(|error| match error {
        body::BodyError::TooLarge => nobody(message(413, &too_large(most))),
        error => nobody(routes::refused(error)),
    })?;
    app.counts.count_bytes(held.bytes.len());
    let body::Held { bytes, room } = held;
    let form = Form::read(&head.headers, bytes).await.map_err(|why| nobody(message(400, &why)))?;
    let username = form.field("username").to_owned();
    if form.files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > most {
        return Err((username, message(413, &too_large(most))));
    }
    let command = Some(form.field("command").to_owned()).filter(|name| !name.is_empty());
    Ok((Order { username, command, files: Files::Sent(form.files) }, Some(room)))
}

fn too_large(most: usize) -> String {
    format!("the test files are too large; `max-upload` of [testruns] allows {most} bytes")
}

/// An order of files below the root.
async fn named(app: &App, request: Request<Incoming>) -> Result<Order, NoOrder> {
    let nobody = |answer| (String::new(), answer);
    if !is_json(request.headers()) {
        return Err(nobody(message(415, "Request must have \"Content-Type: application/json\" header")));
    }
    let body = routes::body_of(app, request).await.map_err(nobody)?;
    let value: Value = serde_json::from_slice(&body.bytes)
        .map_err(|error| nobody(message(400, &format!("the body is no JSON: {error}"))))?;
    let username = value.get("username").and_then(Value::as_str).unwrap_or_default().to_owned();
    match serde_json::from_value::<Written>(value) {
        Ok(order) => Ok(Order { username: order.username, command: order.command, files: Files::Named(order.files) }),
        // The key is upstream's; it has no words for what is wrong.
        Err(error) => Err((username, Answer::json(400, json!({ "validation_errors": error.to_string() }).to_string()))),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// A run as clients see it: upstream's keys, and then testwire's.
fn shown(record: &Record, results: String) -> Value {
    let files = record.files.iter().enumerate().map(
        |(index, file)| json!({ "id": index + 1, "testrun_id": record.id, "url": format!("{}/{file}", record.id) }),
    );
    let time = |micros: Option<i64>| {
        let time = chrono::DateTime::from_timestamp_micros(micros?)?;
        Some(time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
    };
    json!({
        "id": record.id,
        "username": record.username,
        "status": record.state.word(),
        "testrunner_id": record.run_id,
        "results": results,
        "testfiles": files.collect::<Vec<_>>(),
        "command": record.command,
        "state": record.state.status(),
        "reason": record.reason,
        "created": time(Some(record.created)),
        "started": time(record.started),
        "ended": time(record.ended),
    })
}

async fn one(queue: Arc<Queue>, id: &str) -> Answer {
    let id = id.parse().ok();
    let found = blocking(move || {
        let record = queue.get(id?)?;
        Some(shown(&record, queue.results(&record, RESULTS)))
    });
    match found.await {
        Ok(Some(run)) => Answer::json(200, run.to_string()),
        Ok(None) => Answer::json(404, "{}"),
        Err(answer) => answer,
    }
}

async fn list(queue: Arc<Queue>, query: &str, host: &str) -> Linked {
    let (mut page, mut per_page) = (1, PER_PAGE);
    for (name, value) in reqwest::Url::parse(&format!("http://x/?{query}")).iter().flat_map(|url| url.query_pairs()) {
        let number = value.parse::<usize>().ok().filter(|number| *number > 0);
        match &*name {
            "page" => page = number.unwrap_or(1),
            "results_per_page" => per_page = number.unwrap_or(PER_PAGE).min(MOST_PER_PAGE),
            "q" => return (message(400, "Unable to construct query"), None),
            _ => {}
        }
    }
    let listed = blocking(move || {
        let listed = queue.list(page, per_page);
        let runs: Vec<Value> =
            listed.records.iter().map(|record| shown(record, queue.results(record, RESULTS_LISTED))).collect();
        (listed, runs)
    });
    let (listed, runs) = match listed.await {
        Ok(listed) => listed,
        Err(answer) => return (answer, None),
    };
    let link = |page: usize, rel: &str| {
        format!("<http://{host}/api/testruns?page={page}&results_per_page={per_page}>; rel=\"{rel}\"")
    };
    let last = link(listed.pages.max(1), "last");
    let links = if page < listed.pages { format!("{}, {last}", link(page + 1, "next")) } else { last };
    let body = json!({
        "num_results": listed.total,
        "objects": runs,
        "page": listed.page,
        "total_pages": listed.pages,
    });
    (Answer::json(200, body.to_string()), Some(links))
}

/// The state of the task behind a run, in Celery's words: a task that found failures has done its work.
fn runner(queue: &Queue, run_id: &str) -> Answer {
    let record = queue.by_run_id(run_id);
    let state = match record.as_ref().map(|record| record.state) {
        None | Some(State::Created) => "PENDING",
        Some(State::Started) => "PROGRESS",
        Some(State::Passed | State::Failed) => "SUCCESS",
        Some(State::Aborted) => "FAILURE",
    };
    let info = record.map(|record| json!({ "testrun_id": record.id, "status": record.state.word() }));
    let body = json!({
        "id": run_id,
        "state": state,
        "failed": state == "FAILURE",
        "finished": matches!(state, "SUCCESS" | "FAILURE"),
        "info": info,
    });
    Answer::json(200, body.to_string())
}

async fn cancel(queue: Arc<Queue>, peer: IpAddr, id: &str) -> Answer {
    let Ok(id) = id.parse::<u64>() else { return Answer::json(404, "{}") };
    match blocking(move || queue.cancel(id)).await {
        Ok(Ok(true)) => {
            tracing::info!(%peer, id, "test run cancelled");
            Answer::empty(204)
        }
        Ok(Ok(false)) => Answer::json(404, "{}"),
        Ok(Err(error)) => said(&error.into()),
        Err(answer) => answer,
    }
}
