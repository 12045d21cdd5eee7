//! `[testruns]` → a queue: which account runs what, in which environment, and whether it can.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::config::secret::SecretSource;
use crate::config::setting::{self, Kind};
use crate::config::{Auth, CONFIG_FILE_ENV, GRAFANA_TOKEN_ENV, Origin, Settings, Shown, TOKEN_ENV, Testruns};
use crate::exit::{Exit, Failure};
use crate::testruns::{Account, Launch, Queue, Rules};

/// Variables of the daemon that mean nothing to a batch, or that tests must not see.
const NOT_INHERITED: [&str; 6] =
    [TOKEN_ENV, GRAFANA_TOKEN_ENV, "TESTWIRE_URL", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];
/// Settings that each batch has of its own.
const OWN: [&str; 3] = ["run-id", "shard", "state-dir"];
/// What to do where the account cannot be taken.
const NOT_ROOT: &str =
    "only root can run tests as another user; start testwire as that user, or leave `user` out of [testruns]";
/// Says what the account cannot do with the directory of tests, the state directory, and further files.
const PROBE: &str = "root=$1; state=$2; testwire=$3; shift 3
    cannot() { echo \"$1\"; exit 1; }
    [ -r \"$root\" ] && [ -x \"$root\" ] || cannot \"read $root\"
    [ -w \"$state\" ] && [ -x \"$state\" ] || cannot \"write to $state\"
    [ -x \"$testwire\" ] || cannot \"execute $testwire\"
    for file; do [ -r \"$file\" ] || cannot \"read $file\"; done";

/// The queue, if the settings allow test runs. Whatever would keep them from running is found out here.
///
/// # Errors
/// If the directory of tests, the account or the state directory cannot be used.
pub(super) fn queue(settings: &Settings) -> Result<Option<Arc<Queue>>, Failure> {
    let Some(table) = &settings.listen.testruns else { return Ok(None) };
    let root = table.root.canonicalize().ok().filter(|root| root.is_dir());
    let root = root.ok_or_else(|| {
        let what = format!("`root` of [testruns] is no directory: {}", table.root.display());
        Failure::new(Exit::Config, what).hint("name the directory that holds the test files")
    })?;
    let account = table.user.as_deref().map(account).transpose()?.flatten();
    let mut environment = environment(settings, table);
    let state_dir = state_dir(settings, account.as_ref().map(|(account, _)| account))?;
    if let Some((account, home)) = &account {
        environment.retain(|name, _| !name.to_string_lossy().starts_with("XDG_"));
        for (name, value) in [("HOME", home), ("USER", &account.name), ("LOGNAME", &account.name)] {
            environment.insert(name.into(), value.into());
        }
    }
    let launch = Launch {
        program: std::env::current_exe()
            .map_err(|e| Failure::new(Exit::Config, "testwire does not find itself, which runs the tests").cause(&e))?,
        environment: environment.into_iter().collect(),
        arguments: arguments(settings),
        state_dir,
        account: account.map(|(account, _)| account),
        workers: table.workers,
        max_memory: table.max_memory,
    };
    probe(settings, table, &launch, &root)?;
    let queue = Queue::open(&settings.state_dir, settings.fsync, rules(table, root), launch);
    let queue = queue.map_err(|e| {
        Failure::new(Exit::Spool, "the queue of test runs cannot be used").cause(&e).hint("see --state-dir")
    })?;
    Ok(Some(Arc::new(queue)))
}

fn rules(table: &Testruns, root: PathBuf) -> Rules {
    let number = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
    Rules {
        root,
        commands: table.commands.clone(),
        command: table.command.clone(),
        uploads: table.uploads,
        max_files: number(table.max_files),
        max_upload: table.max_upload,
        max_time: table.max_time,
        max_running: number(table.max_running),
        max_queued: number(table.max_queued),
        max_kept: number(table.max_kept),
    }
}

/// An account and its home directory; `None` if it is the daemon's own. The system's own tool is asked, which knows more
/// than `/etc/passwd`.
fn account(name: &str) -> Result<Option<(Account, String)>, Failure> {
    let unknown = || Failure::new(Exit::Config, format!("there is no user {name:?}, whom [testruns] names"));
    let found = Command::new("getent").args(["passwd", name]).stdin(Stdio::null()).output();
    let found = found.map_err(|e| unknown().cause(&e).hint("`getent` must be there to find it"))?;
    let line = String::from_utf8_lossy(&found.stdout).into_owned();
    let fields: Vec<&str> = line.trim().split(':').collect();
    let (Some(Ok(uid)), Some(Ok(gid)), Some(home)) =
        (fields.get(2).map(|text| text.parse()), fields.get(3).map(|text| text.parse()), fields.get(5))
    else {
        return Err(unknown().hint("`getent passwd` lists those that there are"));
    };
    if uid == rustix::process::geteuid().as_raw() {
        return Ok(None);
    }
    Ok(Some((Account { name: name.to_owned(), uid, gid }, (*home).to_owned())))
}

/// The daemon's environment with its settings, wherever they come from, as paths may be relative to other directories
/// there.
fn environment(settings: &Settings, table: &Testruns) -> BTreeMap<OsString, OsString> {
    let mut environment: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    for shown in &settings.shown {
        let (Some(setting), Some(value)) = (setting::named(shown.name), &shown.value) else { continue };
        // The project would else follow from the directory of tests.
        let is_said = matches!(shown.origin, Origin::Flag | Origin::Env(_)) || shown.name == setting::PROJECT.name;
        if !is_said || OWN.contains(&shown.name) {
            continue;
        }
        match setting.kind {
            // What was typed of them are arguments again; the rest is in the environment already.
            Kind::SecretPairs | Kind::Pairs => {}
            _ => drop(environment.insert(setting.env_name().into(), value.into())),
        }
    }
    for name in NOT_INHERITED {
        environment.remove(&OsString::from(name));
    }
    for name in OWN {
        environment.remove(&OsString::from(setting::named(name).map(|s| s.env_name()).unwrap_or_default()));
    }
    // Where the tests are, others may write.
    environment.insert(CONFIG_FILE_ENV.into(), table.config_file.clone().into());
    environment
}

/// Attributes that were typed, whose values may hold commas.
fn arguments(settings: &Settings) -> Vec<String> {
    let typed = |shown: &&Shown| shown.name == setting::ATTR.name && shown.origin == Origin::Flag;
    let values = settings.shown.iter().filter(typed).filter_map(|shown| shown.value.as_deref());
    values.map(|value| format!("--{}={value}", setting::ATTR.name)).collect()
}

/// Where batches keep what they know: with everything else, unless another account must write there.
fn state_dir(settings: &Settings, account: Option<&Account>) -> Result<PathBuf, Failure> {
    let path = match account {
        None => settings.state_dir.clone(),
        Some(account) => settings.state_dir.join("testruns").join(&account.name),
    };
    let made = std::fs::create_dir_all(&path).and_then(|()| match account {
        Some(account) => chown(&path, Some(account.uid), Some(account.gid)),
        None => Ok(()),
    });
    made.and_then(|()| path.canonicalize()).map_err(|e| {
        let what = format!("cannot make {} for test runs", path.display());
        Failure::new(Exit::Config, what).cause(&e).hint(NOT_ROOT)
    })
}

/// Tries what each batch will need.
fn probe(settings: &Settings, table: &Testruns, launch: &Launch, root: &Path) -> Result<(), Failure> {
    let name = launch.account.as_ref().map_or("the user of testwire", |account| account.name.as_str());
    let mut files = vec![table.config_file.clone()];
    let tls = &settings.loki.tls;
    files.extend(tls.ca.iter().chain(tls.client.iter().flat_map(|(cert, key)| [cert, key])).cloned());
    if let Auth::Basic { password: SecretSource::File(path), .. } | Auth::Bearer { token: SecretSource::File(path) } =
        &settings.loki.auth
    {
        files.push(path.clone());
    }
    let mut shell = launch.command(Path::new("/bin/sh"));
    shell
        .args(["-c", PROBE, "testwire"])
        .arg(root)
        .arg(&launch.state_dir)
        .arg(&launch.program)
        .args(&files)
        .stdin(Stdio::null());
    let probed = shell
        .output()
        .map_err(|e| Failure::new(Exit::Config, format!("tests cannot be run as {name}")).cause(&e).hint(NOT_ROOT))?;
    if !probed.status.success() {
        let what = String::from_utf8_lossy(&probed.stdout).trim().to_owned();
        return Err(Failure::new(Exit::Config, format!("test runs do not work: {name} cannot {what}")).hint(
            "let it, also through the directories above; or choose another `user` of [testruns] or --state-dir",
        ));
    }
    Ok(())
}
