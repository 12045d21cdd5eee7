//! Documents → uploads.

use serde_json::{Value, json};

use super::super::json::{self, Fields};
use super::super::{Answer, Context, RunFacts};
use super::Leaf;
use crate::decode::time::epoch_seconds;
use crate::event::Timestamp;
use crate::names::meta;

/// What an upload says beside its results.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Head {
    /// Names this upload among those under way.
    pub key: String,
    /// Follows from what the database keys runs by.
    pub run_id: String,
    pub(super) suite: String,
    /// Hash of the whole document.
    pub(super) content: u64,
    /// When the run ended, else began.
    pub(super) time: Option<Timestamp>,
    /// Number of results.
    pub(super) tests: usize,
    pub(super) facts: RunFacts,
}

impl Head {
    /// When the run ended, else began, as the document says.
    pub(in crate::decode) fn time(&self) -> Option<Timestamp> {
        self.time
    }
}

/// A document.
#[derive(Debug)]
pub struct Upload {
    /// What it says beside its results.
    pub head: Head,
    /// Its results.
    pub leaves: Vec<Leaf>,
}

/// An answer as the database words it; the client shows `description`, and fails without it.
pub fn refusal(status: u16, description: &str) -> Answer {
    let error = match status {
        400 => "Bad Request",
        413 => "Request Entity Too Large",
        503 => "Service Unavailable",
        _ => "Error",
    };
    Answer::json(status, json!({ "status": "error", "error": error, "description": description }).to_string())
}

/// Reads `/api/upload`. `number` tells uploads apart.
///
/// # Errors
/// In the words of the database.
pub fn parse(body: &[u8], context: &Context, number: u64) -> Result<Upload, Answer> {
    read(body, context, number, false)
}

/// Reads `/api/upload/ews`, whose results are flat.
///
/// # Errors
/// In the words of the database.
pub fn parse_ews(body: &[u8], context: &Context, number: u64) -> Result<Upload, Answer> {
    read(body, context, number, true)
}

fn read(body: &[u8], context: &Context, number: u64, flat: bool) -> Result<Upload, Answer> {
    let fields = json::object(body).ok_or_else(|| refusal(400, "Expected uploaded data to be json"))?;
    let configuration = configuration(fields.get("configuration"))?;
    let suite = json::text(&fields, "suite");
    if suite.is_empty() {
        return Err(refusal(400, "No test suite specified"));
    }
    let Some(Value::Object(results)) = fields.get("test_results") else {
        return Err(refusal(400, "No test results specified"));
    };
    let commits: Vec<&Fields> = objects(fields.get("commits"));
    if commits.is_empty() {
        return Err(refusal(400, "Each test result must have at least 1 associated commit"));
    }
    let mut leaves = Vec::new();
    if let Some(Value::Object(trie)) = results.get("results") {
        if flat {
            leaves.extend(
                trie.iter().map(|(path, leaf)| Leaf::read(path.clone(), leaf.as_object().unwrap_or(&Fields::new()))),
            );
        } else {
            flatten(trie, &mut String::new(), &mut leaves);
        }
    }
    let details = results.get("details").or_else(|| fields.get("details")).and_then(Value::as_object);
    let mut head = head(&fields, &configuration, &suite, &commits, details, context);
    head.key = format!("resultsdb/{number}");
    head.content = fnv(body);
    head.tests = leaves.len();
    let stats = results.get("run_stats").and_then(Value::as_object);
    let ended = stats.and_then(|stats| json::number(stats, "end_time"));
    head.time = ended.or_else(|| json::number(&fields, "timestamp")).and_then(epoch_seconds);
    if let Some(skipped) = stats.map(|stats| json::text(stats, "tests_skipped")).filter(|text| !text.is_empty()) {
        head.facts.attributes.push(("tests_skipped".into(), skipped));
    }
    Ok(Upload { head, leaves })
}

/// The id of the run that the fields of an archive's form belong to.
///
/// # Errors
/// In the words of the database.
pub fn run_of_form(form: &[(String, String)], context: &Context) -> Result<String, Answer> {
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let configuration = configuration(field("configuration").map(Value::from).as_ref())?;
    let suite =
        field("suite").filter(|suite| !suite.is_empty()).ok_or_else(|| refusal(400, "No test suite specified"))?;
    let commits = field("commits").and_then(|text| json::parse(text.as_bytes()));
    let commits = objects(commits.as_ref());
    if commits.is_empty() {
        return Err(refusal(400, "Each test result must have at least 1 associated commit"));
    }
    let fields: Fields =
        field("timestamp").map(|time| ("timestamp".to_owned(), Value::from(time))).into_iter().collect();
    Ok(head(&fields, &configuration, suite, &commits, None, context).run_id)
}

fn objects(list: Option<&Value>) -> Vec<&Fields> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object).collect()
}

/// An object, or a JSON document in a string.
fn configuration(value: Option<&Value>) -> Result<Fields, Answer> {
    let invalid = || refusal(400, "Invalid configuration");
    let mut fields = match value {
        Some(Value::Object(fields)) => fields.clone(),
        Some(Value::String(text)) => json::object(text.as_bytes()).ok_or_else(invalid)?,
        _ => return Err(invalid()),
    };
    fields.retain(|_, value| !value.is_null());
    if ["platform", "version", "architecture", "is_simulator"].iter().any(|name| !fields.contains_key(*name)) {
        return Err(refusal(400, "Cannot register a partial configuration"));
    }
    Ok(fields)
}

/// What the database keys a run by: suite, configuration, branch, place of the commit, sdk and second of the start.
fn head(
    fields: &Fields,
    configuration: &Fields,
    suite: &str,
    commits: &[&Fields],
    details: Option<&Fields>,
    context: &Context,
) -> Head {
    let place = |commit: &Fields| {
        let number = |name| json::number(commit, name).unwrap_or(0.0);
        number("timestamp") * 100.0 + number("order")
    };
    let newest = commits.iter().copied().max_by(|a, b| place(a).total_cmp(&place(b)));
    let of_newest = |name: &str| newest.map(|commit| json::text(commit, name)).unwrap_or_default();
    let branch = match of_newest("branch") {
        branch if matches!(branch.as_str(), "main" | "master" | "trunk" | "") => "default".to_owned(),
        branch => branch,
    };
    let commit = Some(of_newest("hash")).filter(|hash| !hash.is_empty()).unwrap_or_else(|| of_newest("id"));
    let began = json::number(fields, "timestamp").map(f64::floor);
    let link = details.map(|details| json::text(details, "link")).unwrap_or_default();
    let build = details.map(|details| json::text(details, "build_url")).filter(|url| !url.is_empty()).unwrap_or(link);
    let parts = json!([suite, configuration, branch, newest.map(place), commit, began, build_part(fields, &build)]);
    let attributes =
        configuration.iter().map(|(name, value)| (super::super::attribute_name(name), json::value_text(value)));
    let worker = details.map(|details| {
        let of = |name: &str| json::text(details, name);
        Some(of("buildbot-worker")).filter(|worker| !worker.is_empty()).unwrap_or_else(|| of("worker"))
    });
    let mut attributes: Vec<(String, String)> =
        attributes.filter(|(name, value)| !name.is_empty() && !value.is_empty()).collect();
    attributes.push(("suite".into(), suite.to_owned()));
    Head {
        key: String::new(),
        run_id: super::super::name(&format!("{suite}-{:016x}", fnv(parts.to_string().as_bytes()))),
        suite: suite.to_owned(),
        content: 0,
        time: None,
        tests: 0,
        facts: RunFacts {
            runner: "resultsdb".into(),
            project: context.project.clone(),
            env: context.env.clone(),
            host: super::super::name(&worker.unwrap_or_default()),
            attributes,
            known: vec![
                (meta::COMMIT.into(), commit),
                (meta::BRANCH.into(), of_newest("branch")),
                (meta::BUILD_URL.into(), build),
            ],
            ..RunFacts::default()
        },
    }
}

/// Results of patches that are tried have no time of their own run; their build tells them apart.
fn build_part<'b>(fields: &Fields, build: &'b str) -> &'b str {
    if fields.contains_key("flaky_type") { build } else { "" }
}

/// Collects the leaves. A place that has both results and places below it, which the database loses, is both.
fn flatten(trie: &Fields, path: &mut String, leaves: &mut Vec<Leaf>) {
    for (name, value) in trie {
        let Value::Object(below) = value else { continue };
        let length = path.len();
        if length > 0 {
            path.push('/');
        }
        path.push_str(name);
        let has_places = below.values().any(Value::is_object);
        if !has_places || below.values().any(|value| !value.is_object()) {
            leaves.push(Leaf::read(path.clone(), below));
        }
        if has_places {
            flatten(below, path, leaves);
        }
        path.truncate(length);
    }
}

/// FNV-1a: an id must be the same for ever, so it is no hash of a library.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
