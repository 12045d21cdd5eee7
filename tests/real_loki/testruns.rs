//! Test runs on order, as clients see them and as Loki has them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::binary::{Scratch, Started, start, until};
use crate::loki::Loki;
use crate::query::{now, unique_project, wait_for};

const SETTINGS: &str = "[testruns]\nroot = \"tests\"\nuploads = true\nmax-running = 2\ncommand = \"pytest\"\n\
                        commands = { pytest = \"pytest -p no:cacheprovider {}\", sh = \"sh {}\" }\n";
/// The request of `curl -F username=Steve -F files[]=@…`, as it was recorded.
const FORM: &str = include_str!("../fixtures/clients/testrunner_form.jsonl");
const LONG: Duration = Duration::from_secs(80);

/// A daemon, and how it is asked.
struct Daemon {
    base: String,
    started: Started,
}

impl Daemon {
    fn start(scratch: &Scratch, project: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let common = ["listen", "--project", project, "--loki-url", Loki::get().url(), "--listen", &address];
        let mut command = Scratch::with_runners(scratch.testwire(common));
        let started = start(command.env("TESTWIRE_TOKEN", "s3cret"));
        until("the daemon listens", || std::net::TcpStream::connect(&address).ok());
        Self { base: format!("http://{address}"), started }
    }

    async fn ask(&self, method: &str, path: &str, kind: &str, body: String) -> (u16, Value) {
        let url = format!("{}{path}", self.base);
        let request = Loki::get().client().request(method.parse().unwrap(), url).bearer_auth("s3cret");
        let reply = request.header("Content-Type", kind).body(body).send().await.unwrap();
        let status = reply.status().as_u16();
        (status, serde_json::from_str(&reply.text().await.unwrap()).unwrap_or_default())
    }

    async fn order(&self, order: Value) -> Value {
        let (status, run) = self.ask("POST", "/api/testruns", "application/json", order.to_string()).await;
        assert_eq!(status, 201, "{run}");
        run
    }

    async fn is(&self, id: u64, wanted: &str) -> Value {
        wait_for(&format!("run {id} is {wanted}"), LONG, || async {
            let (_, run) = self.ask("GET", &format!("/api/testruns/{id}"), "", String::new()).await;
            (run["status"] == wanted).then_some(run)
        })
        .await
    }
}

#[tokio::test]
async fn runs_on_order_are_in_loki_live_and_whole_although_the_daemon_is_killed() {
    let (scratch, project) = (Scratch::new(), unique_project("ordered"));
    scratch.add("testwire.toml", SETTINGS);
    std::fs::create_dir(scratch.work().join("tests")).unwrap();
    let go = scratch.work().join("go");
    scratch.add("tests/slow.sh", &format!("echo it begins; while [ ! -e {} ]; do sleep 0.1; done\n", go.display()));
    scratch.add("tests/never.sh", "while :; do sleep 0.1; done\n");
    let daemon = Daemon::start(&scratch, &project);
    let recorded: Value = serde_json::from_str(FORM.lines().next().unwrap()).unwrap();
    let kind = "multipart/form-data; boundary=------------------------b6c5fc4a1b493d21";
    let (status, said) =
        daemon.ask("POST", "/newTestrun", kind, recorded["body_text"].as_str().unwrap().to_owned()).await;
    assert_eq!((status, said), (200, json!({"message": "Testrun created"})));
    let form = daemon.is(1, "FAILED").await;
    let results = form["results"].as_str().unwrap();
    assert!(results.contains("Tested: test_sample02.py\nResult: SUCCESS") && results.contains("1 passed"), "{results}");
    assert!(results.contains("Tested: test_sample01.py\nResult: FAIL") && results.contains("1 failed"), "{results}");
    let slow = daemon.order(json!({"username": "Kim", "files": ["slow.sh"], "command": "sh"})).await;
    let never = daemon.order(json!({"username": "Kim", "files": ["never.sh"], "command": "sh"})).await;
    let id = |run: &Value| run["testrunner_id"].as_str().unwrap().to_owned();
    let rows = |selector: &str, run: &Value| {
        let expr = format!("{{service_name=\"{project}\", {selector}}} | run_id=\"{}\"", id(run));
        async move { Loki::get().query_range(&expr, now() - 900_000_000_000, now() + 1_000_000_000, usize::MAX).await }
    };
    wait_for("its output, while it runs", LONG, || async {
        rows("kind=\"log\"", &slow).await.iter().any(|row| row.line == "it begins").then_some(())
    })
    .await;
    daemon.is(3, "RUNNING").await;
    daemon.started.signal("KILL");
    daemon.started.wait();
    let daemon = Daemon::start(&scratch, &project);
    daemon.is(2, "RUNNING").await;
    assert_eq!(daemon.ask("DELETE", "/api/testruns/3", "", String::new()).await.0, 204);
    std::fs::write(&go, "").unwrap();
    daemon.is(2, "SUCCESS").await;
    for (run, status, user) in [(&form, "failed", "Steve"), (&slow, "passed", "Kim"), (&never, "aborted", "Kim")] {
        let selector = format!("kind=\"run\", status=\"{status}\"");
        let end = wait_for(&format!("a run that {status}"), LONG, || async {
            let ends = rows(&selector, run).await;
            (!ends.is_empty()).then_some(ends)
        })
        .await;
        assert_eq!((end.len(), end[0].labels["user"].as_str()), (1, user), "{end:?}");
        let arguments = ["audit", "--project", &project, "--loki-url", Loki::get().url(), &id(run)];
        // Entries of other streams may come after the end.
        wait_for(&format!("a whole run that {status}"), LONG, || async {
            let audit = crate::binary::run(&mut scratch.testwire(arguments), b"");
            (audit.code == 0 && audit.out().contains(" 0 missing, 0 doubled")).then_some(())
        })
        .await;
    }
    daemon.started.signal("TERM");
    let ended = daemon.started.wait();
    assert_eq!(ended.code, 0, "{}", ended.err());
}
