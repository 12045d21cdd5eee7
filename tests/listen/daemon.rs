//! The daemon, a plain HTTP client, and what came out.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A daemon with `--output ndjson` in an empty place; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) address: String,
    pub(crate) directory: tempfile::TempDir,
    out: Option<JoinHandle<()>>,
    written: Arc<Mutex<Vec<u8>>>,
    err: Option<JoinHandle<String>>,
    said: Arc<Mutex<String>>,
}

/// How it ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) entries: Vec<Value>,
    pub(crate) err: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

impl Daemon {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    pub(crate) fn start_with(arguments: &[&str], env: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_testwire"));
        command.args([
            "listen",
            "--listen",
            "127.0.0.1:0",
            "--output",
            "ndjson",
            "--project",
            "shop",
            "--timezone",
            "UTC",
        ]);
        command.args(arguments).current_dir(directory.path()).env_clear();
        // What it says of itself would be among the entries on slow machines only.
        command.env("TESTWIRE_HEALTH_EVERY", "0s").envs(env.iter().copied());
        command.env("HOME", directory.path()).env("TESTWIRE_STATE_DIR", directory.path().join("state"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let written = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&written);
        let out = std::thread::spawn(move || {
            let mut bytes = [0; 16 * 1024];
            while let count @ 1.. = stdout.read(&mut bytes).unwrap() {
                shared.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        stderr.read_line(&mut first).unwrap();
        let address = first.trim().strip_prefix("testwire: listening on http://").unwrap_or_else(|| panic!("{first}"));
        let address = address.to_owned();
        let said = Arc::new(Mutex::new(first));
        let shared = Arc::clone(&said);
        let err = std::thread::spawn(move || {
            let mut line = String::new();
            while stderr.read_line(&mut line).unwrap() > 0 {
                shared.lock().unwrap().push_str(&line);
                line.clear();
            }
            shared.lock().unwrap().clone()
        });
        Self { child, address, directory, out: Some(out), written, err: Some(err), said }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its memory, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// What it wrote to standard error so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it has written so many entries with this in them.
    pub(crate) fn wait_for(&self, count: usize, what: &str) {
        let begun = Instant::now();
        let found = || String::from_utf8_lossy(&self.written.lock().unwrap()).matches(what).count();
        while found() < count {
            assert!(begun.elapsed() < Duration::from_secs(60), "{} of {count} {what}", found());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until so many runs are over, which they are when the hub has waited for another process of each.
    pub(crate) fn wait_for_ends(&self, runs: usize) {
        self.wait_for(runs, "\"entries\":");
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
        stream
    }

    /// Sends bytes as they are and reads to the end of the connection.
    pub(crate) fn raw(&self, request: &[u8]) -> Reply {
        let mut stream = self.connect();
        // An answer may come, and the connection end, before all was sent.
        stream.write_all(request).ok();
        read_reply(&mut stream)
    }

    pub(crate) fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.raw(&[head.as_bytes(), b"\r\n", body].concat())
    }

    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.request("POST", path, &[], body.as_ref())
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.request("GET", path, &[], b"")
    }

    /// Stops it as a service manager does.
    pub(crate) fn stop(mut self) -> Ended {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not stop");
            std::thread::sleep(Duration::from_millis(5));
        };
        self.out.take().unwrap().join().unwrap();
        let out = self.written.lock().unwrap().clone();
        let entries = out.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        let entries = entries.map(|line| serde_json::from_slice(line).unwrap()).collect();
        Ended { code: status.code(), entries, err: self.err.take().unwrap().join().unwrap() }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has mostly ended before.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Reads an answer to the end of the connection, and checks that its length is as it says.
pub(crate) fn read_reply(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    // A connection that is reset after the answer has given it.
    stream.read_to_end(&mut bytes).ok();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let reply = Reply { status, head: head.to_owned(), body: body.to_owned() };
    assert_eq!(reply.header("transfer-encoding"), None, "{reply:?}");
    assert_eq!(reply.header("content-encoding"), None, "{reply:?}");
    assert_eq!(reply.header("location"), None, "{reply:?}");
    if status != 204 {
        assert_eq!(reply.header("content-length"), Some(body.len().to_string().as_str()), "{reply:?}");
    }
    reply
}

impl Ended {
    /// Entries with these values of labels and metadata.
    pub(crate) fn find(&self, wanted: &[(&str, &str)]) -> Vec<&Value> {
        let has = |entry: &Value, name: &str, value: &str| {
            entry["labels"][name].as_str().or(entry["metadata"][name].as_str()) == Some(value)
        };
        self.entries.iter().filter(|entry| wanted.iter().all(|(name, value)| has(entry, name, value))).collect()
    }

    /// The runs' end entries by run id.
    pub(crate) fn ends(&self) -> BTreeMap<String, &Value> {
        let ends = self.find(&[("kind", "run")]).into_iter().filter(|entry| entry["labels"]["status"] != "started");
        ends.map(|entry| (text(entry, "run_id").to_owned(), entry)).collect()
    }

    /// The end of the only run.
    pub(crate) fn end(&self) -> &Value {
        let ends = self.ends();
        assert_eq!(ends.len(), 1, "{ends:#?}");
        ends.into_values().next().unwrap()
    }
}

/// A value of an entry's metadata.
pub(crate) fn text<'e>(entry: &'e Value, name: &str) -> &'e str {
    entry["metadata"][name].as_str().unwrap_or("")
}

/// `status passed/failed/errored/skipped/unfinished of planned` of a run's end entry.
pub(crate) fn counts(end: &Value) -> String {
    let n = |name| text(end, name).parse::<u64>().unwrap_or(0);
    format!(
        "{} {}/{}/{}/{}/{} of {}",
        end["labels"]["status"].as_str().unwrap(),
        n("passed"),
        n("failed"),
        n("errored"),
        n("skipped"),
        n("unfinished"),
        n("planned")
    )
}
