//! Gets a runner's events out of it by its own means.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use super::recognise::{Recognised, Runner};
use crate::decode::Format;

/// How the events of a run come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Channel {
    /// A listener appends them to a file; the runner's output is not touched at all: a run must outlive testwire, and a
    /// terminal stays a terminal for it.
    File(Format),
    /// On standard output, instead of what the user is to see there.
    Stdout(Format),
    /// Among what the user sees: every output line is an event or a log line.
    Shown(Option<Format>),
    /// Perhaps among what the user sees, in a format that the first event tells.
    Watched,
    /// In reports that the runner writes one after the other; they are copied to the event file.
    Reports(Format),
}

/// What is run, and how it is made to speak.
#[derive(Debug)]
pub(in crate::commands) struct Injection {
    /// How its events come.
    pub(in crate::commands) channel: Channel,
    /// The command line, with what had to be added.
    pub(in crate::commands) argv: Vec<OsString>,
    /// Environment variables to set for it.
    pub(in crate::commands) env: Vec<(&'static str, OsString)>,
    /// The file that its listener writes; empty if it has none.
    pub(in crate::commands) events: PathBuf,
    /// Descriptor that the command inherits: holds the lock on that file until the listener has its own.
    pub(in crate::commands) lock: Option<OwnedFd>,
    /// What was done, in one line; empty if nothing.
    pub(in crate::commands) note: String,
}

impl Runner {
    /// The format of what its listener writes; `None` if it needs none.
    pub(in crate::commands) fn listener(self) -> Option<Format> {
        match self {
            Self::Robot => Some(Format::Robot),
            Self::Pytest => Some(Format::Pytest),
            Self::Jest
            | Self::Vitest
            | Self::Mocha
            | Self::Playwright
            | Self::Cucumber
            | Self::NodeTest
            | Self::Unittest
            | Self::Prove => Some(Format::Testwire),
            Self::Java => Some(Format::Junit),
            Self::GoTest | Self::Nextest | Self::CargoTest | Self::Ctest | Self::Plain | Self::Untouched => None,
        }
    }
}

/// True if `go test` was asked for JSON by the user.
pub(in crate::commands) fn wants_json(argv: &[OsString]) -> bool {
    argv.iter().any(|arg| matches!(arg.to_str(), Some("-json" | "--json" | "-json=true" | "--json=true")))
}

/// What a listener needs to know.
#[derive(Debug)]
pub(in crate::commands) struct Place<'a> {
    /// Directory with testwire's listeners.
    pub(in crate::commands) listeners: PathBuf,
    /// The file that they write.
    pub(in crate::commands) events: PathBuf,
    /// A descriptor with the lock on it, which the command inherits.
    pub(in crate::commands) lock: OwnedFd,
    /// The run.
    pub(in crate::commands) run_id: &'a str,
}

/// How to run a command whose events are on its standard output, or that has none.
pub(in crate::commands) fn without_listener(runner: Runner, argv: &[OsString], run_id: &str) -> Injection {
    let env = vec![("TESTWIRE_RUN_ID", run_id.into())];
    let channel = Channel::Shown(None);
    let mut plan =
        Injection { channel, argv: argv.to_vec(), env, events: PathBuf::new(), lock: None, note: String::new() };
    match runner {
        Runner::GoTest => go_test(&mut plan),
        Runner::Nextest => nextest(&mut plan),
        Runner::CargoTest => cargo_test(&mut plan),
        Runner::Ctest => {
            plan.channel = Channel::Shown(Some(Format::Ctest));
            plan.note = "the lines of ctest are read as they come".into();
        }
        Runner::Plain => plan.channel = Channel::Watched,
        _ => {}
    }
    plan
}

fn go_test(plan: &mut Injection) {
    plan.channel = Channel::Stdout(Format::GoTest);
    if !wants_json(&plan.argv) {
        let is_test = |words: &[OsString]| words.last().is_some_and(|word| word == "test");
        if let Some(at) = plan.argv.windows(2).position(is_test) {
            plan.argv.insert(at + 2, "-json".into());
            plan.note = "added -json to go test; its output is shown as text".into();
        }
    }
}

/// The harness's lines say all but when a test starts; words of the user's that change them are left alone.
fn cargo_test(plan: &mut Injection) {
    plan.channel = Channel::Shown(Some(Format::Cargo));
    plan.note = "the lines of cargo test are read as they come".into();
}

/// What nextest prints for people is on standard error; standard output is free for its messages, unless tests write there
/// themselves (`--no-capture`).
fn nextest(plan: &mut Injection) {
    let has = |names: &[&str]| plan.argv.iter().filter_map(|arg| arg.to_str()).any(|arg| names.contains(&arg));
    let own_format =
        plan.argv.iter().filter_map(|arg| arg.to_str()).any(|arg| arg.split('=').next() == Some("--message-format"));
    if has(&["--no-capture", "--nocapture", "--no-run", "list"]) || own_format {
        plan.note = "nextest is run as it was typed; its lines are log lines".into();
        return;
    }
    let is_run =
        |words: &[OsString]| matches!(words, [nextest, run] if nextest == "nextest" && (run == "run" || run == "r"));
    if let Some(at) = plan.argv.windows(2).position(is_run) {
        plan.argv.insert(at + 2, "--message-format=libtest-json-plus".into());
        plan.env.push(("NEXTEST_EXPERIMENTAL_LIBTEST_JSON", "1".into()));
        plan.channel = Channel::Stdout(Format::Libtest);
        plan.note = "added --message-format to nextest, which then shows stdout and stderr of a failure as one".into();
    }
}

/// How to run a command whose runner loads a listener that writes `format`. `env` gives the present environment.
pub(in crate::commands) fn with_listener(
    found: &Recognised,
    format: Format,
    argv: &[OsString],
    place: Place<'_>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Injection {
    let mut plan = without_listener(found.runner, argv, place.run_id);
    plan.channel = Channel::File(format);
    match found.runner {
        Runner::Java => {
            plan.channel = Channel::Reports(format);
            java(&mut plan, found, &place.listeners, env);
        }
        Runner::Unittest => unittest(&mut plan, &place.listeners, env),
        Runner::Prove => prove(&mut plan, &place.listeners, env),
        Runner::Pytest => {
            plan.note = "added the pytest plugin testwire_pytest through PYTEST_ADDOPTS".into();
            plan.env.push(("PYTEST_ADDOPTS", joined("-p testwire_pytest", " ", env("PYTEST_ADDOPTS"))));
            plan.env.push(("PYTHONPATH", joined(&place.listeners, ":", env("PYTHONPATH"))));
        }
        Runner::Robot => {
            let listeners = "--listener testwire_robot.Listener --listener testwire_robot.Keywords";
            plan.note = "added the Robot Framework listener testwire_robot through ROBOT_OPTIONS".into();
            plan.env.push(("ROBOT_OPTIONS", joined(listeners, " ", env("ROBOT_OPTIONS"))));
            plan.env.push(("PYTHONPATH", joined(&place.listeners, ":", env("PYTHONPATH"))));
        }
        _ => node(&mut plan, found, &place.listeners, env),
    }
    plan.env.push(("TESTWIRE_EVENTS_LOCK", place.lock.as_raw_fd().to_string().into()));
    plan.env.push(("TESTWIRE_EVENTS", place.events.clone().into()));
    plan.events = place.events;
    plan.lock = Some(place.lock);
    plan
}

/// Surefire and Failsafe put what this property of the user's names on the class path of the tests, where the JUnit Platform
/// finds our listener (`additionalClasspathElements`; `TestExecutionListener`s by `ServiceLoader`).
const MAVEN_CLASSPATH: &str = "-Dmaven.test.additionalClasspath=";

/// Reports say of all tests, when a class is over; a listener says more, if the runner is Maven and the tests are JUnit 5's.
fn java(plan: &mut Injection, found: &Recognised, listeners: &Path, env: impl Fn(&str) -> Option<OsString>) {
    plan.note = "the reports of the tests are read as they are written, one for each class".into();
    let present = env("MAVEN_OPTS");
    let is_maven = found.words.iter().any(|word| word.rsplit('/').next().is_some_and(|name| name.starts_with("mvn")));
    let is_taken = |text: &str| text.contains(MAVEN_CLASSPATH);
    let taken = found.words.iter().any(|word| is_taken(word))
        || present.as_ref().is_some_and(|options| is_taken(&options.to_string_lossy()));
    let jar = listeners.join("testwire-junit.jar");
    // Maven's script splits the variable at spaces, also within quotes.
    let is_splittable = jar.to_string_lossy().contains(char::is_whitespace);
    if !is_maven || taken || is_splittable {
        return;
    }
    let mut option = OsString::from(MAVEN_CLASSPATH);
    option.push(jar);
    plan.env.push(("MAVEN_OPTS", joined(option, " ", present)));
    plan.note =
        "added a listener for JUnit 5 through MAVEN_OPTS; reports of other tests are read as classes end".into();
}

/// Our module is unittest's own, which tells what it does.
fn unittest(plan: &mut Injection, listeners: &Path, env: impl Fn(&str) -> Option<OsString>) {
    let is_module = |words: &[OsString]| matches!(words, [option, name] if option == "-m" && name == "unittest");
    let Some(at) = plan.argv.windows(2).position(is_module) else { return within_a_shell(plan, "unittest") };
    if let Some(word) = plan.argv.get_mut(at + 1) {
        *word = "testwire_unittest".into();
    }
    plan.env.push(("PYTHONPATH", joined(listeners, ":", env("PYTHONPATH"))));
    plan.note = "python runs unittest through testwire_unittest, which listens".into();
}

/// A plugin gives prove a harness that tells what it reads.
fn prove(plan: &mut Injection, listeners: &Path, env: impl Fn(&str) -> Option<OsString>) {
    let is_prove = |word: &OsString| Path::new(word).file_name() == Some(OsStr::new("prove"));
    let Some(at) = plan.argv.iter().position(is_prove) else { return within_a_shell(plan, "prove") };
    plan.argv.insert(at + 1, "-PTestwireProve".into());
    plan.env.push(("PERL5LIB", joined(listeners, ":", env("PERL5LIB"))));
    plan.note = "added the plugin TestwireProve to prove".into();
}

/// What has to be in the command line itself cannot be put into a piece of shell.
fn within_a_shell(plan: &mut Injection, runner: &str) {
    plan.channel = Channel::Watched;
    plan.note = format!("{runner} is called within a shell; put `testwire run --` where it is called");
}

/// Node loads our module first, in whatever process below a package manager or shell the runner is.
fn node(plan: &mut Injection, found: &Recognised, listeners: &Path, env: impl Fn(&str) -> Option<OsString>) {
    let runner = found.runner.label();
    if found.runner == Runner::Playwright {
        let reporter = "PW_TEST_REPORTER";
        if env(reporter).is_some() {
            plan.channel = Channel::Shown(None);
            plan.note = format!("{reporter} is set already, so its lines are log lines");
            return;
        }
        plan.env.push((reporter, listeners.join("testwire_playwright.cjs").into()));
        plan.note = format!("added a reporter to playwright through {reporter}");
        return;
    }
    let mut options = format!("--require {}", quoted(&listeners.join("testwire_node.cjs")));
    if found.runner == Runner::NodeTest {
        for option in node_reporters(&found.words, listeners) {
            options.push(' ');
            options.push_str(&option);
        }
    }
    plan.env.push(("TESTWIRE_NODE_OPTIONS", options.clone().into()));
    plan.env.push(("NODE_OPTIONS", joined(options, " ", env("NODE_OPTIONS"))));
    plan.note = format!("added a reporter to {runner} through NODE_OPTIONS");
}

/// Options that add ours to the reporters of `node --test`. There must be as many destinations as reporters, but for a lone
/// one (`parseCommandLine` in node's `lib/internal/test_runner/utils.js`).
fn node_reporters(words: &[String], listeners: &Path) -> Vec<String> {
    let count = |name: &str| words.iter().filter(|word| *word == name || word.starts_with(&format!("{name}="))).count();
    let file = format!("file://{}", url_path(&listeners.join("testwire_node_test.mjs")));
    let mut options = Vec::new();
    let mut add = |reporter: Option<&str>, destination: &str| {
        options.extend(reporter.map(|reporter| format!("--test-reporter={reporter}")));
        options.push(format!("--test-reporter-destination={destination}"));
    };
    let typed = (count("--test-reporter"), count("--test-reporter-destination"));
    if typed == (0, 0) {
        add(Some(&format!("{file}?default")), "stdout");
    }
    add(Some(&file), "/dev/null");
    if typed == (1, 0) {
        add(None, "stdout");
    }
    options
}

/// A path as the words of `NODE_OPTIONS` take it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{text}\"")
}

/// A path in a URL.
fn url_path(path: &Path) -> String {
    let plain = |c: &u8| c.is_ascii_alphanumeric() || b"/-_.~".contains(c);
    let encode = |c: u8| if plain(&c) { char::from(c).to_string() } else { format!("%{c:02X}") };
    path.to_string_lossy().bytes().map(encode).collect()
}

/// Puts `own` before what the variable holds already.
fn joined(own: impl AsRef<OsStr>, separator: &str, present: Option<OsString>) -> OsString {
    let mut value = own.as_ref().to_owned();
    if let Some(present) = present.filter(|p| !p.is_empty()) {
        value.push(separator);
        value.push(present);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Vec<OsString> {
        words.iter().map(Into::into).collect()
    }

    fn with(runner: Runner, words: &[&str], present: &[(&str, &str)]) -> Injection {
        with_at("/l l", runner, words, present)
    }

    fn with_at(listeners: &str, runner: Runner, words: &[&str], present: &[(&str, &str)]) -> Injection {
        let env = |name: &str| present.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
        let lock = std::fs::File::open("/dev/null").unwrap().into();
        let place = Place { listeners: listeners.into(), events: "/e".into(), lock, run_id: "r" };
        let found = Recognised { runner, words: words.iter().map(|word| (*word).to_owned()).collect() };
        with_listener(&found, runner.listener().unwrap(), &argv(words), place, env)
    }

    fn get(plan: &Injection, name: &str) -> String {
        let found = plan.env.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    #[test]
    fn go_test_gets_json_once() {
        let plan = |words: &[&str]| without_listener(Runner::GoTest, &argv(words), "r").argv;
        assert_eq!(plan(&["go", "test", "./..."]), argv(&["go", "test", "-json", "./..."]));
        assert_eq!(plan(&["go", "test", "-json", "./..."]), argv(&["go", "test", "-json", "./..."]));
        assert_eq!(plan(&["go", "test"]), argv(&["go", "test", "-json"]));
    }

    #[test]
    fn nextest_gets_messages_unless_standard_output_is_taken() {
        let plan = |words: &[&str]| without_listener(Runner::Nextest, &argv(words), "r");
        let with = plan(&["cargo", "nextest", "run", "-j", "1"]);
        let expected = argv(&["cargo", "nextest", "run", "--message-format=libtest-json-plus", "-j", "1"]);
        assert_eq!((with.channel, &with.argv), (Channel::Stdout(Format::Libtest), &expected));
        assert_eq!(get(&with, "NEXTEST_EXPERIMENTAL_LIBTEST_JSON"), "1");
        for more in ["--no-capture", "--no-run", "--message-format=human"] {
            let typed = ["cargo", "nextest", "run", more];
            let without = plan(&typed);
            assert_eq!((without.channel, &without.argv), (Channel::Shown(None), &argv(&typed)));
        }
    }

    #[test]
    fn what_the_user_had_in_the_environment_is_kept() {
        let plan = with(Runner::Pytest, &["pytest"], &[("PYTEST_ADDOPTS", "-q")]);
        assert_eq!(get(&plan, "PYTEST_ADDOPTS"), "-p testwire_pytest -q");
        assert_eq!(get(&plan, "PYTHONPATH"), "/l l");
        assert_eq!(get(&plan, "TESTWIRE_EVENTS"), "/e");
        let plan = with(Runner::Jest, &["jest"], &[("NODE_OPTIONS", "--max-old-space-size=99")]);
        assert_eq!(get(&plan, "NODE_OPTIONS"), "--require \"/l l/testwire_node.cjs\" --max-old-space-size=99");
        assert_eq!(plan.argv, argv(&["jest"]));
        let plan = with(Runner::Playwright, &["playwright", "test"], &[("PW_TEST_REPORTER", "/mine.js")]);
        assert_eq!((get(&plan, "PW_TEST_REPORTER"), plan.channel), (String::new(), Channel::Shown(None)));
    }

    #[test]
    fn runners_whose_command_line_is_changed_are_left_alone_within_a_shell() {
        let plan = with(Runner::Unittest, &["python3", "-m", "unittest", "-v"], &[]);
        assert_eq!(plan.argv, argv(&["python3", "-m", "testwire_unittest", "-v"]));
        assert_eq!((plan.channel, get(&plan, "PYTHONPATH").as_str()), (Channel::File(Format::Testwire), "/l l"));
        let plan = with(Runner::Unittest, &["sh", "-c", "python3 -m unittest"], &[]);
        assert_eq!((plan.channel, &plan.argv), (Channel::Watched, &argv(&["sh", "-c", "python3 -m unittest"])));
        let plan = with(Runner::Prove, &["/usr/bin/prove", "-j2"], &[("PERL5LIB", "/mine")]);
        assert_eq!(plan.argv, argv(&["/usr/bin/prove", "-PTestwireProve", "-j2"]));
        assert_eq!(get(&plan, "PERL5LIB"), "/l l:/mine");
    }

    #[test]
    fn maven_gets_a_listener_where_it_can_take_one() {
        let opts = |words: &[&str], present| {
            let plan = with_at("/l", Runner::Java, words, present);
            assert_eq!((plan.channel, get(&plan, "TESTWIRE_EVENTS")), (Channel::Reports(Format::Junit), "/e".into()));
            get(&plan, "MAVEN_OPTS")
        };
        let ours = "-Dmaven.test.additionalClasspath=/l/testwire-junit.jar";
        assert_eq!(opts(&["mvn", "test"], &[]), ours);
        assert_eq!(opts(&["sh", "-c", "./mvnw", "verify"], &[("MAVEN_OPTS", "-Xmx1g")]), format!("{ours} -Xmx1g"));
        assert_eq!(opts(&["mvn", "test", "-Dmaven.test.additionalClasspath=/mine"], &[]), "");
        assert_eq!(opts(&["mvn", "test"], &[("MAVEN_OPTS", "-Dmaven.test.additionalClasspath=/mine")]), "");
        assert_eq!(opts(&["./gradlew", "test"], &[]), "");
        let spaced = with(Runner::Java, &["mvn", "test"], &[]);
        assert_eq!(get(&spaced, "MAVEN_OPTS"), "", "a path with a space");
    }

    #[test]
    fn node_has_as_many_destinations_as_reporters() {
        let options = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            node_reporters(&words, Path::new("/l"))
                .join(" ")
                .replace("--test-reporter", "R")
                .replace("-destination", "D")
        };
        let ours = "R=file:///l/testwire_node_test.mjs RD=/dev/null";
        let default = "R=file:///l/testwire_node_test.mjs?default RD=stdout";
        assert_eq!(options(&["node", "--test"]), format!("{default} {ours}"));
        assert_eq!(options(&["node", "--test", "--test-reporter=dot"]), format!("{ours} RD=stdout"));
        let both = &["node", "--test", "--test-reporter", "tap", "--test-reporter-destination", "x.tap"];
        assert_eq!(options(both), ours);
    }
}
