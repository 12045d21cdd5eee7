//! TestRunner's paths: runs that clients order, with the real `testwire batch` behind them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::daemon::{Daemon, Reply};
use crate::replay::{directory, recorded};

const TOKEN: &str = "s3cret";

/// A place with tests and a file of settings, which outlives daemons.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// `more` is added to `[testruns]`; its root is `tests`, and its commands are `sh` and `python`.
    fn new(more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("tests")).unwrap();
        let place = Self { directory };
        place.write(
            "testwire.toml",
            &format!(
                "[testruns]\nroot = \"tests\"\ncommand = \"sh\"\ncommands = {{ sh = \"sh {{}}\", python = \"python3 {{}}\" }}\n{more}"
            ),
        );
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn listen(&self) -> Daemon {
        self.listen_with(&[])
    }

    fn listen_with(&self, arguments: &[&str]) -> Daemon {
        let (config, state) = (self.path("testwire.toml"), self.path("state"));
        let own = ["--config-file", config.to_str().unwrap(), "--state-dir", state.to_str().unwrap()];
        let path = std::env::var("PATH").unwrap();
        Daemon::start_with(&[&own[..], arguments].concat(), &[("TESTWIRE_TOKEN", TOKEN), ("PATH", &path)])
    }
}

fn ask(daemon: &Daemon, method: &str, path: &str, kind: &str, body: &[u8]) -> Reply {
    let token = format!("Bearer {TOKEN}");
    daemon.request(method, path, &[("Authorization", &token), ("Content-Type", kind)], body)
}

fn get(daemon: &Daemon, path: &str) -> Reply {
    ask(daemon, "GET", path, "", b"")
}

fn order(daemon: &Daemon, order: &Value) -> Reply {
    ask(daemon, "POST", "/api/testruns", "application/json", order.to_string().as_bytes())
}

fn json(reply: &Reply) -> Value {
    serde_json::from_str(&reply.body).unwrap_or_else(|error| panic!("{error}: {reply:?}"))
}

fn until<T>(what: &str, daemon: &Daemon, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "waited for: {what}\n{}", daemon.said());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until a run has this status, and gives it.
fn is(daemon: &Daemon, id: u64, status: &str) -> Value {
    let mut last = Value::Null;
    let path = format!("/api/testruns/{id}");
    until(&format!("{id} is {status}"), daemon, || {
        let run = json(&get(daemon, &path));
        if run != last {
            println!("{run}");
        }
        last = run;
        (last["status"] == status).then(|| last.clone())
    })
}

#[test]
fn nothing_is_there_unless_the_settings_say_so_and_then_only_with_a_token() {
    let plain = Daemon::start_with(&[], &[("TESTWIRE_TOKEN", TOKEN)]);
    for path in ["/newTestrun", "/api/testruns"] {
        assert_eq!(ask(&plain, "POST", path, "application/json", b"{}").status, 404, "{path}");
    }
    let place = Place::new("");
    let mut command = Command::new(env!("CARGO_BIN_EXE_testwire"));
    command.args(["listen", "--listen", "127.0.0.1:0", "--output", "none", "--config-file"]);
    let done = command.arg(place.path("testwire.toml")).env_clear().env("HOME", place.path("")).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(3), "{said}");
    assert!(said.contains("there is no token") && said.contains("--token-file"), "{said}");
}

#[test]
fn the_recorded_form_is_taken_and_its_files_run() {
    let place = Place::new("uploads = true\nworkers = 2\n");
    place.write(
        "testwire.toml",
        &std::fs::read_to_string(place.path("testwire.toml")).unwrap().replace("\"sh\"\n", "\"python\"\n"),
    );
    let daemon = place.listen();
    let form = recorded("testrunner_form").remove(0);
    assert_eq!(form.send(&daemon).status, 401);
    let reply = form.to(&format!("/t/{TOKEN}/newTestrun")).send(&daemon);
    assert_eq!((reply.status, reply.body.as_str()), (200, "{\"message\":\"Testrun created\"}"));
    let failing = form.with("assert func(3) == 5\n", "assert func(3) == 5\n\ntest_answer()\n");
    assert_eq!(failing.to(&format!("/t/{TOKEN}/newTestrun/")).send(&daemon).status, 200);
    let run = is(&daemon, 1, "SUCCESS");
    let expected = json!([
        {"id": 1, "testrun_id": 1, "url": "1/test_sample01.py"},
        {"id": 2, "testrun_id": 1, "url": "1/test_sample02.py"},
    ]);
    assert_eq!((&run["username"], &run["testfiles"], &run["state"]), (&json!("Steve"), &expected, &json!("passed")));
    let failed = is(&daemon, 2, "FAILED");
    let results = failed["results"].as_str().unwrap();
    assert!(results.contains("Tested: test_sample01.py\nResult: FAIL (exit code 1)\n"), "{results}");
    assert!(
        results.contains("AssertionError") && results.contains("Tested: test_sample02.py\nResult: SUCCESS\n"),
        "{results}"
    );
    assert_eq!(failed["state"], "failed");
    let runner = json(&get(&daemon, &format!("/api/testrunners/{}", failed["testrunner_id"].as_str().unwrap())));
    assert_eq!((&runner["state"], &runner["info"]), (&json!("SUCCESS"), &json!({"status": "FAILED", "testrun_id": 2})));
}

#[test]
fn files_below_the_root_are_run_and_listed_page_by_page_the_newest_first() {
    let place = Place::new("max-running = 2\n");
    place.write("tests/good.sh", "echo all is well\n");
    place.write("tests/bad.sh", "echo no good >&2; exit 3\n");
    let daemon = place.listen();
    let created = order(&daemon, &json!({"username": "Api", "files": ["good.sh", "bad.sh"]}));
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!((&json(&created)["id"], &json(&created)["status"]), (&json!(1), &json!("CREATED")));
    let run = is(&daemon, 1, "FAILED");
    let results = run["results"].as_str().unwrap();
    assert!(results.contains("Tested: good.sh\nResult: SUCCESS\nStdout: all is well\n"), "{results}");
    assert!(results.contains("Tested: bad.sh\nResult: FAIL (exit code 3)\nStdout: no good\n"), "{results}");
    for _ in 0..2 {
        assert_eq!(order(&daemon, &json!({"username": "Api", "files": ["good.sh"], "command": "sh"})).status, 201);
    }
    let page = get(&daemon, "/api/testruns?results_per_page=2");
    let listed = json(&page);
    assert_eq!((&listed["num_results"], &listed["page"], &listed["total_pages"]), (&json!(3), &json!(1), &json!(2)));
    assert_eq!((&listed["objects"][0]["id"], &listed["objects"][1]["id"]), (&json!(3), &json!(2)));
    let links = page.header("link").unwrap();
    assert!(links.contains("page=2&results_per_page=2>; rel=\"next\"") && links.contains("rel=\"last\""), "{links}");
    assert_eq!(json(&get(&daemon, "/api/testruns?results_per_page=2&page=2"))["objects"][0]["id"], 1);
    (1..=3).for_each(|id| {
        until("its end", &daemon, || {
            json(&get(&daemon, &format!("/api/testruns/{id}")))["ended"].is_string().then_some(())
        })
    });
    assert_eq!(ask(&daemon, "DELETE", "/api/testruns/1", "", b"").status, 204);
    for method in ["GET", "DELETE"] {
        let gone = ask(&daemon, method, "/api/testruns/1", "", b"");
        assert_eq!((gone.status, gone.body.as_str()), (404, "{}"));
    }
    let patch = ask(&daemon, "PATCH", "/api/testruns/2", "application/json", b"{}");
    assert_eq!((patch.status, patch.header("allow")), (405, Some("GET, HEAD, DELETE")));
}

/// Where an answer differs from that of the original, and why.
const OTHERWISE: [(&str, u16, &str); 2] = [
    ("create via API", 400, "it names no test files; the original makes a run of nothing, and answers 500"),
    ("newTestrun GET (SPA catch-all or 405)", 405, "there is no page here"),
];

#[test]
fn answers_are_those_of_the_original_but_where_it_is_said_why_not() {
    let place = Place::new("uploads = true\n");
    place.write("tests/good.sh", "true\n");
    let daemon = place.listen();
    assert_eq!(order(&daemon, &json!({"username": "Steve", "files": ["good.sh"]})).status, 201);
    is(&daemon, 1, "SUCCESS");
    let text = std::fs::read_to_string(directory().join("testrunner_server.jsonl")).unwrap();
    for row in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let get = |name: &str| row[name].as_str().unwrap();
        let kind = row["headers"]["Content-Type"].as_str().unwrap_or("");
        let reply = ask(&daemon, get("method"), get("path"), kind, get("body").as_bytes());
        let own = row["status"].as_u64().unwrap();
        let otherwise = OTHERWISE.iter().find(|(note, ..)| *note == get("note"));
        assert_eq!(
            u64::from(reply.status),
            otherwise.map_or(own, |(_, status, _)| u64::from(*status)),
            "{row} {reply:?}"
        );
        let names = |text: &str| -> Vec<String> {
            let value: Value = serde_json::from_str(text).unwrap_or_default();
            value.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
        };
        let said = names(&reply.body);
        let missing: Vec<_> = names(get("reply")).into_iter().filter(|name| !said.contains(name)).collect();
        assert!(otherwise.is_some() || missing.is_empty(), "{missing:?} of {} are not in {reply:?}", get("note"));
    }
}

#[test]
fn what_is_not_allowed_is_refused_logged_and_not_run() {
    let place = Place::new("max-upload = \"1MiB\"\nuploads = true\nmax-files = 2\n");
    let mark = place.path("ran");
    let touch = format!("touch {}\n", mark.display());
    place.write("outside.sh", &touch);
    place.write("tests/inside.sh", &touch);
    std::os::unix::fs::symlink(place.path("outside.sh"), place.path("tests/link.sh")).unwrap();
    let daemon = place.listen();
    let of = |files: &[&str]| json!({"username": "Mallory", "files": files});
    let outside = place.path("outside.sh").display().to_string();
    for (order, status, why) in [
        (of(&["../outside.sh"]), 403, "lies outside"),
        (of(&["inside.sh", "a/../../outside.sh"]), 403, "lies outside"),
        (of(&[&outside]), 403, "lies outside"),
        (of(&["link.sh"]), 403, "lies outside"),
        (of(&["/etc/passwd"]), 403, "lies outside"),
        (of(&["no.sh"]), 400, "there is no test file"),
        (of(&["-c"]), 400, "cannot be the name"),
        (of(&[]), 400, "no test files"),
        (of(&["inside.sh", "inside.sh", "inside.sh"]), 400, "too many"),
        (json!({"username": "Mallory", "files": ["inside.sh"], "command": "rm -rf /"}), 400, "there are: python, sh"),
        (json!({"username": "Mallory", "files": ["inside.sh"], "root": "/"}), 400, "unknown field `root`"),
        (json!({"username": " ", "files": ["inside.sh"]}), 400, "`username` is missing"),
    ] {
        let reply = ask(&daemon, "POST", "/api/testruns", "application/json", order.to_string().as_bytes());
        assert_eq!(reply.status, status, "{order} {reply:?}");
        assert!(reply.body.contains(why), "{order} {reply:?}");
        until("it is logged", &daemon, || {
            let said = daemon.said();
            said.lines().any(|line| line.contains("test run refused") && line.contains(why)).then_some(())
        });
    }
    let body = of(&["inside.sh"]).to_string();
    for (path, header) in [("/api/testruns", "Bearer no"), ("/api/testruns", ""), ("/t/no/api/testruns", "")] {
        let headers = [("Content-Type", "application/json"), ("Authorization", header)];
        assert_eq!(daemon.request("POST", path, &headers, body.as_bytes()).status, 401, "{path} {header}");
    }
    a_gigabyte(&daemon);
    let said = daemon.said();
    let refused: Vec<&str> = said.lines().filter(|line| line.contains("test run refused")).collect();
    assert_eq!(refused.len(), 12 + 3 + 2, "{said}");
    assert!(refused.iter().all(|line| line.contains("127.0.0.1") && line.contains("POST")), "{said}");
    assert!(refused.iter().filter(|line| line.contains("Mallory")).count() >= 11, "{said}");
    assert_eq!(refused.iter().filter(|line| line.contains("too large")).count(), 2, "{said}");
    assert!(!said.contains(TOKEN), "{said}");
    assert_eq!(json(&get(&daemon, "/api/testruns"))["num_results"], 0);
    assert_eq!(order(&daemon, &of(&["inside.sh"])).status, 201, "and what is allowed is run");
    is(&daemon, 1, "SUCCESS");
    std::fs::remove_file(&mark).unwrap();
}

/// An upload of 1 GB, once with its length said before and once without.
fn a_gigabyte(daemon: &Daemon) {
    use std::io::Write as _;
    let head =
        format!("POST /t/{TOKEN}/newTestrun HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n");
    let begun = Instant::now();
    let said = daemon.raw(format!("{head}Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n").as_bytes());
    assert_eq!((said.status, said.header("connection")), (413, Some("close")), "{said:?}");
    let mut stream = daemon.connect();
    write!(stream, "{head}Transfer-Encoding: chunked\r\n\r\n").unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    let sent = (0..1_000_000_000 / 0x10000).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    assert!(sent < 1000, "{sent} chunks were taken in {:?}", begun.elapsed());
    until("it is logged", daemon, || (daemon.said().matches("too large").count() == 2).then_some(()));
}

#[test]
fn runs_outlive_the_death_of_the_daemon_and_none_runs_twice() {
    let place = Place::new("");
    let (began, go) = (place.path("began"), place.path("go"));
    place.write(
        "tests/slow.sh",
        &format!(
            "echo slow >>{0}; while [ ! -e {1} ]; do sleep 0.05; done; echo done\n",
            began.display(),
            go.display()
        ),
    );
    place.write("tests/next.sh", &format!("echo next >>{}\n", began.display()));
    let ran = || std::fs::read_to_string(&began).unwrap_or_default();
    {
        let daemon = place.listen();
        for file in ["slow.sh", "next.sh"] {
            assert_eq!(order(&daemon, &json!({"username": "Kim", "files": [file]})).status, 201);
        }
        until("it has begun", &daemon, || (ran() == "slow\n").then_some(()));
        // The daemon is killed as it is dropped.
    }
    let daemon = place.listen();
    assert_eq!(json(&get(&daemon, "/api/testruns/1"))["status"], "RUNNING");
    assert_eq!(json(&get(&daemon, "/api/testruns/2"))["status"], "CREATED");
    let ended = daemon.stop();
    assert!(ended.err.contains("that the next start finds: 1"), "{}", ended.err);
    let daemon = place.listen();
    place.write("go", "");
    assert!(is(&daemon, 1, "SUCCESS")["results"].as_str().unwrap().contains("done"));
    is(&daemon, 2, "SUCCESS");
    assert_eq!(ran(), "slow\nnext\n", "nothing ran twice");
}

#[test]
fn a_run_is_cancelled_with_all_its_processes() {
    let place = Place::new("");
    let pid = place.path("pid");
    place.write("tests/slow.sh", &format!("sleep 1000 & echo $! >{0}.new; mv {0}.new {0}; wait\n", pid.display()));
    let daemon = place.listen();
    let run = json(&order(&daemon, &json!({"username": "Kim", "files": ["slow.sh"]})));
    let pid = until("it has begun", &daemon, || std::fs::read_to_string(&pid).ok());
    let runner = format!("/api/testrunners/{}", run["testrunner_id"].as_str().unwrap());
    assert_eq!(json(&get(&daemon, &runner))["state"], "PROGRESS");
    assert_eq!(ask(&daemon, "DELETE", "/api/testruns/1", "", b"").status, 204);
    assert_eq!(get(&daemon, "/api/testruns/1").status, 404);
    let lives = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        // A zombie is as good as gone.
        stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
    };
    until("its processes are gone", &daemon, || (!lives()).then_some(()));
    assert_eq!(json(&get(&daemon, &runner))["state"], "PENDING", "as for every id that is not known");
}

#[test]
fn a_test_that_puts_links_in_the_place_of_what_is_kept_shows_nobody_what_is_behind_them() {
    let place = Place::new("");
    place.write("secret", "hidden\n");
    let (state, secret) = (place.path("state"), place.path("secret"));
    let script = format!(
        "for log in {}/batch/*/output/0.log; do ln -sf {} $log; done\necho printed\n",
        state.display(),
        secret.display()
    );
    place.write("tests/links.sh", &script);
    let daemon = place.listen();
    assert_eq!(order(&daemon, &json!({"username": "Kim", "files": ["links.sh"]})).status, 201);
    let run = is(&daemon, 1, "SUCCESS");
    let results = run["results"].as_str().unwrap();
    assert!(results.contains("Result: SUCCESS") && !results.contains("hidden"), "{results}");
}

#[test]
fn settings_that_are_read_anew_without_a_token_are_refused_while_test_runs_are_on() {
    let place = Place::new("");
    place.write("token", TOKEN);
    let text = std::fs::read_to_string(place.path("testwire.toml")).unwrap();
    place.write("testwire.toml", &format!("token-file = \"token\"\n{text}"));
    let (config, state) = (place.path("testwire.toml"), place.path("state"));
    let arguments = ["--config-file", config.to_str().unwrap(), "--state-dir", state.to_str().unwrap()];
    let daemon = Daemon::start_with(&arguments, &[]);
    place.write("testwire.toml", "");
    let hangup = Command::new("kill").args(["-HUP", &daemon.id().to_string()]).status().unwrap();
    assert!(hangup.success());
    until("it has read them", &daemon, || daemon.said().contains("the settings stay as they were").then_some(()));
    let open = daemon.post("/api/testruns", json!({"username": "Kim", "files": ["x.sh"]}).to_string());
    assert_eq!(open.status, 401, "{open:?}");
}

#[test]
fn memory_is_bounded_and_the_tokens_are_not_handed_on() {
    let place = Place::new("max-memory = \"512MiB\"\n");
    place.write("tests/big.py", "x = bytearray(1 << 30)\nprint('it fits')\n");
    place.write("tests/env.py", "import os\nprint(sorted(os.environ.items()))\n");
    let (config, state) = (place.path("testwire.toml"), place.path("state"));
    let path = std::env::var("PATH").unwrap();
    let daemon = Daemon::start_with(
        &["--config-file", config.to_str().unwrap(), "--state-dir", state.to_str().unwrap()],
        &[("TESTWIRE_TOKEN", TOKEN), ("TESTWIRE_GRAFANA_TOKEN", "graf"), ("PATH", &path)],
    );
    for file in ["big.py", "env.py"] {
        let order = order(&daemon, &json!({"username": "Kim", "files": [file], "command": "python"}));
        assert_eq!(order.status, 201);
    }
    let big = is(&daemon, 1, "FAILED");
    assert!(big["results"].as_str().unwrap().contains("MemoryError"), "{big}");
    let env = is(&daemon, 2, "SUCCESS");
    let results = env["results"].as_str().unwrap();
    assert!(results.contains("'PATH'") && !results.contains(TOKEN) && !results.contains("'graf'"), "{results}");
}

/// With another account: tests have it, or the daemon says why they cannot.
#[test]
fn tests_run_as_the_configured_user_or_not_at_all() {
    let place = Place::new("user = \"nobody\"\n");
    place.write("tests/who.sh", "id -un\n");
    let listens = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_testwire"));
        command.args(["listen", "--listen", "127.0.0.1:0", "--output", "none", "--config-file"]);
        command.arg(place.path("testwire.toml")).arg("--state-dir").arg(place.path("state"));
        command.env_clear().env("PATH", std::env::var("PATH").unwrap()).env("TESTWIRE_TOKEN", TOKEN);
        command
    };
    let allow = |path: &Path, mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(place.directory.path(), 0o700);
    let done = listens().output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(3), "{said}");
    if !rustix::process::geteuid().is_root() {
        assert!(said.contains("only root can run tests as another user"), "{said}");
        return;
    }
    assert!(said.contains("nobody cannot read") && said.contains("hint: "), "{said}");
    allow(place.directory.path(), 0o755);
    allow(&place.path("tests"), 0o755);
    for name in ["testwire.toml", "tests/who.sh"] {
        allow(&place.path(name), 0o644);
    }
    let is_reachable = |path: &Path| {
        path.ancestors().skip(1).all(|above| {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::metadata(above).unwrap().permissions().mode() & 0o001 != 0
        })
    };
    assert!(is_reachable(place.directory.path()), "nobody cannot reach {}", place.directory.path().display());
    let reachable = is_reachable(Path::new(env!("CARGO_BIN_EXE_testwire")));
    if !reachable {
        let said = String::from_utf8(listens().output().unwrap().stderr).unwrap();
        assert!(said.contains("nobody cannot execute"), "{said}");
        return;
    }
    let daemon = place.listen();
    assert_eq!(order(&daemon, &json!({"username": "Kim", "files": ["who.sh"]})).status, 201);
    let run = is(&daemon, 1, "SUCCESS");
    assert!(run["results"].as_str().unwrap().contains("Stdout: nobody\n"), "{run}");
}
