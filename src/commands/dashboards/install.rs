//! `testwire dashboards install`: the dashboards into a Grafana, by its HTTP API.

use serde_json::{Value, json};

use super::all;
use super::diff::differences;
use super::grafana::{DataSource, Grafana};
use crate::commands::print;
use crate::config::Settings;
use crate::exit::{Exit, Failure};

/// Differences that are shown of a dashboard.
const MOST_SHOWN: usize = 12;
/// The uid that the dashboards start with, and that the data source of `docker-compose.yml` has.
const OUR_SOURCE: &str = "testwire-loki";

/// What is wished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Title of the folder; it is made if it is not there.
    pub folder: String,
    /// Name or uid of the data source, where Grafana has several of Loki.
    pub datasource: Option<String>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Remove the dashboards instead.
    pub uninstall: bool,
}

/// What became of a dashboard.
enum Done {
    New,
    Unchanged,
    Changed(Vec<String>),
    /// It comes from a file there, which the API may not overrule.
    Provisioned,
}

/// Installs, updates or removes the dashboards and prints what it does, and how what was there differs.
///
/// # Errors
/// If Grafana does not answer or refuses, or has no fitting data source.
pub async fn install(settings: &Settings, wish: &Wish) -> Result<(), Failure> {
    let grafana = Grafana::new(settings)?;
    let version = grafana.version().await?.map(|version| format!(", version {version}")).unwrap_or_default();
    say("Grafana", &format!("{}{version}", grafana.url()));
    if wish.uninstall { uninstall(&grafana, wish).await } else { put(&grafana, wish).await }
}

async fn put(grafana: &Grafana, wish: &Wish) -> Result<(), Failure> {
    let source = choose(grafana.loki_sources().await?, wish.datasource.as_deref())?;
    say("data source", &format!("{} ({})", source.name, source.uid));
    let folder = folder(grafana, wish).await?;
    let mut provisioned = false;
    for (name, ours) in all() {
        let ours = with_source(ours, &source);
        let done = put_one(grafana, &ours, folder.as_deref(), wish.dry_run).await?;
        provisioned |= matches!(done, Done::Provisioned);
        report(name, &done, wish.dry_run);
    }
    if provisioned {
        print(
            "Provisioned dashboards come from files on Grafana's machine; `testwire dashboards export` writes such files.\n",
        );
    }
    if !wish.dry_run {
        print(&format!("\n{}/d/testwire-runs\n", grafana.url()));
    }
    Ok(())
}

/// The folder's uid; `None` where it would have to be made.
async fn folder(grafana: &Grafana, wish: &Wish) -> Result<Option<String>, Failure> {
    let there = grafana.folder(&wish.folder).await?;
    let is_new = there.is_none();
    let uid = match there {
        None if !wish.dry_run => Some(grafana.make_folder(&wish.folder).await?),
        there => there,
    };
    say("folder", &format!("{}{}", wish.folder, if is_new { " (new)" } else { "" }));
    Ok(uid)
}

async fn put_one(grafana: &Grafana, ours: &Value, folder: Option<&str>, dry_run: bool) -> Result<Done, Failure> {
    let uid = ours["uid"].as_str().unwrap_or_default();
    let done = match grafana.dashboard(uid).await? {
        None => Done::New,
        Some(there) if comes_from_file(&there) => Done::Provisioned,
        Some(there) => {
            let mut found = differences(ours, &there["dashboard"]);
            if folder.is_some_and(|folder| there["meta"]["folderUid"] != folder) {
                found.push(format!("folder: moves from {}", there["meta"]["folderTitle"]));
            }
            if found.is_empty() { Done::Unchanged } else { Done::Changed(found) }
        }
    };
    if let (Done::New | Done::Changed(_), Some(folder), false) = (&done, folder, dry_run) {
        grafana.save(ours, folder).await?;
    }
    Ok(done)
}

/// Grafana would refuse to remove it, and read the file again after a change. Where its provider allows changes in the browser,
/// only the file's name tells.
fn comes_from_file(there: &Value) -> bool {
    let file = there["meta"]["provisionedExternalId"].as_str();
    there["meta"]["provisioned"] == true || file.is_some_and(|file| !file.is_empty())
}

async fn uninstall(grafana: &Grafana, wish: &Wish) -> Result<(), Failure> {
    let mut removed = 0;
    for (name, ours) in all() {
        let uid = ours["uid"].as_str().unwrap_or_default();
        let word = match grafana.dashboard(uid).await? {
            None => "not there",
            Some(there) if comes_from_file(&there) => "comes from a file on Grafana's machine; left alone",
            Some(_) if wish.dry_run => "would be removed",
            Some(_) => {
                grafana.remove(uid).await?;
                removed += 1;
                "removed"
            }
        };
        say(name, word);
    }
    // Only a folder that was emptied now: others may have put something of their own beside the dashboards.
    if let Some(folder) = grafana.folder(&wish.folder).await?.filter(|_| removed > 0) {
        if grafana.is_empty(&folder).await? {
            grafana.remove_folder(&folder).await?;
            say("folder", &format!("{} was empty then; removed", wish.folder));
        } else {
            say("folder", &format!("{} has other dashboards; left alone", wish.folder));
        }
    }
    Ok(())
}

/// The data source that is wished, else the one of `docker-compose.yml`, else the only one, else Grafana's default.
fn choose(sources: Vec<DataSource>, wished: Option<&str>) -> Result<DataSource, Failure> {
    let listed: Vec<String> = sources.iter().map(|source| format!("{} ({})", source.name, source.uid)).collect();
    let by = |wanted: &dyn Fn(&DataSource) -> bool| sources.iter().find(|source| wanted(source)).cloned();
    let found = match wished {
        Some(wished) => by(&|source| source.uid == wished).or_else(|| by(&|source| source.name == wished)),
        None => by(&|source| source.uid == OUR_SOURCE)
            .or_else(|| by(&|_| sources.len() == 1))
            .or_else(|| by(&|source| source.is_default)),
    };
    found.ok_or_else(|| match (wished, listed.is_empty()) {
        (_, true) => Failure::new(Exit::Usage, "this Grafana has no data source of type Loki, or does not show it")
            .hint("add one under Connections > Data sources, with the address at which Grafana reaches Loki"),
        (Some(wished), false) => Failure::new(Exit::Usage, format!("this Grafana has no Loki data source {wished:?}"))
            .hint(format!("it has: {}", listed.join(", "))),
        (None, false) => {
            Failure::new(Exit::Usage, "this Grafana has several Loki data sources, none of them its default")
                .hint(format!("name one with --datasource: {}", listed.join(", ")))
        }
    })
}

/// The dashboard as it is, but that it begins with this data source.
fn with_source(mut dashboard: Value, source: &DataSource) -> Value {
    for variable in dashboard["templating"]["list"].as_array_mut().into_iter().flatten() {
        if variable["type"] == "datasource" {
            variable["current"] = json!({"selected": true, "text": source.name, "value": source.uid});
        }
    }
    dashboard
}

/// How a dashboard in Grafana stands to ours.
pub enum State {
    /// It is ours, whatever its data source.
    Same,
    /// It is another.
    Differs,
}

/// Compares ours with Grafana's answer about it.
pub fn state_of(ours: &Value, answer: &Value) -> State {
    let mut ours = ours.clone();
    let mut there = answer["dashboard"].clone();
    for dashboard in [&mut ours, &mut there] {
        for variable in dashboard["templating"]["list"].as_array_mut().into_iter().flatten() {
            variable["current"] = Value::Null;
        }
    }
    if differences(&ours, &there).is_empty() { State::Same } else { State::Differs }
}

fn report(name: &str, done: &Done, dry_run: bool) {
    match done {
        Done::New => say(name, if dry_run { "would be new" } else { "new" }),
        Done::Unchanged => say(name, "unchanged"),
        Done::Provisioned => say(name, "comes from a file on Grafana's machine; left alone"),
        Done::Changed(places) => {
            let word = if dry_run { "would change" } else { "changed" };
            let count = if places.len() == 1 { "1 place".into() } else { format!("{} places", places.len()) };
            say(name, &format!("{word} in {count}"));
            for place in places.iter().take(MOST_SHOWN) {
                say("", &format!("  {place}"));
            }
            if places.len() > MOST_SHOWN {
                say("", &format!("  and {} more", places.len() - MOST_SHOWN));
            }
        }
    }
}

fn say(what: &str, text: &str) {
    print(&format!("{what:12} {text}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(uid: &str, is_default: bool) -> DataSource {
        DataSource { uid: uid.into(), name: format!("Name of {uid}"), is_default }
    }

    #[test]
    fn the_data_source_is_found_or_the_choice_is_told() {
        let chosen = |sources: &[DataSource], wished| choose(sources.to_vec(), wished).map(|source| source.uid);
        let two = [source("a", false), source("b", true)];
        assert_eq!(chosen(&two, None).unwrap(), "b");
        assert_eq!(chosen(&two[..1], None).unwrap(), "a");
        assert_eq!(chosen(&two, Some("a")).unwrap(), "a");
        assert_eq!(chosen(&two, Some("Name of a")).unwrap(), "a");
        assert_eq!(chosen(&[source("a", true), source(OUR_SOURCE, false)], None).unwrap(), OUR_SOURCE);
        for (sources, wished, hint) in [
            (&two[..], Some("c"), "Name of a (a), Name of b (b)"),
            (&[source("a", false), source("b", false)][..], None, "--datasource: Name of a (a)"),
            (&[][..], None, "add one"),
        ] {
            let failure = chosen(sources, wished).unwrap_err();
            assert!(failure.render(false).contains(hint), "{}", failure.render(false));
            assert_eq!(failure.exit(), Exit::Usage);
        }
    }

    #[test]
    fn a_dashboard_from_a_file_is_known_also_where_it_may_be_changed_in_the_browser() {
        let told = |meta: Value| comes_from_file(&json!({ "meta": meta }));
        assert!(told(json!({"provisioned": true, "provisionedExternalId": "runs.json"})));
        assert!(told(json!({"provisioned": false, "provisionedExternalId": "runs.json"})));
        assert!(!told(json!({"provisioned": false, "provisionedExternalId": ""})));
        assert!(!told(json!({})));
    }

    #[test]
    fn the_dashboards_begin_with_the_data_source() {
        for (name, ours) in all() {
            let other = with_source(ours.clone(), &source("a", false));
            let variables = other["templating"]["list"].as_array().unwrap();
            let own = variables.iter().find(|variable| variable["type"] == "datasource").unwrap();
            assert_eq!(own["current"], json!({"selected": true, "text": "Name of a", "value": "a"}), "{name}");
            assert!(matches!(state_of(&ours, &json!({"dashboard": other})), State::Same), "{name}");
            assert!(matches!(state_of(&ours, &json!({"dashboard": {"title": "x"}})), State::Differs), "{name}");
        }
    }
}
