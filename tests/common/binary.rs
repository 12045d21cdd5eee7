//! The testwire binary, and the runners that it wraps, as a person starts them: in a place and an environment of their own.

use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// No command of a test takes longer; what does hangs, and the test fails.
const TIMEOUT: Duration = Duration::from_secs(90);

/// What a command may see of the environment: enough to find programs and Go's caches, nothing of settings or of CI.
const KEPT: [&str; 8] = ["PATH", "HOME", "TMPDIR", "GOPATH", "GOCACHE", "GOROOT", "GOFLAGS", "GOPROXY"];

/// A directory that goes away, with a state directory in it.
pub(crate) struct Scratch {
    directory: tempfile::TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("work")).unwrap();
        Self { directory }
    }

    /// Where commands run.
    pub(crate) fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// testwire's state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// A command that runs here.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.work()).env_clear();
        command.envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.env("XDG_CONFIG_HOME", self.directory.path().join("config"));
        // What testwire says of itself would be among the entries on slow machines only.
        command.env("TESTWIRE_HEALTH_EVERY", "0s");
        command.env("TESTWIRE_STATE_DIR", self.state()).env("LC_ALL", "C.UTF-8").env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// testwire with these arguments.
    pub(crate) fn testwire<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_testwire"));
        command.args(arguments);
        command
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Done {
    /// Exit code, or 128 + the signal, as a shell says it.
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Done {
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// A command that runs; killed when it is dropped.
pub(crate) struct Started {
    name: String,
    child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    out: Option<JoinHandle<Vec<u8>>>,
    err: Option<JoinHandle<Vec<u8>>>,
}

/// Starts a command whose standard input is a pipe.
pub(crate) fn start(command: &mut Command) -> Started {
    start_as_set(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// Starts a command with the standard streams that it was given; outputs that are pipes are read.
pub(crate) fn start_as_set(command: &mut Command) -> Started {
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (out, err) = (child.stdout.take().map(collect), child.stderr.take().map(collect));
    Started { name: format!("{command:?}"), stdin: child.stdin.take(), child, out, err }
}

/// Starts a command, gives it `input` and waits for its end.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Done {
    let mut started = start(command);
    let mut stdin = started.stdin.take().expect("it is piped");
    let input = input.to_vec();
    // Beside, because a command that does not read must not block the test. That it has enough is no error.
    let writer = std::thread::spawn(move || stdin.write_all(&input).ok());
    let done = started.wait();
    drop(writer);
    done
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

impl Started {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Closes its input and waits for its end and that of its outputs.
    pub(crate) fn wait(mut self) -> Done {
        drop(self.stdin.take());
        let status = self.wait_for_exit();
        let read = |thread: Option<JoinHandle<Vec<u8>>>| thread.map_or_else(Vec::new, |thread| thread.join().unwrap());
        Done { code: code(status), stdout: read(self.out.take()), stderr: read(self.err.take()) }
    }

    fn wait_for_exit(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < TIMEOUT, "{} hangs", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal by its name (`INT`).
    pub(crate) fn signal(&self, name: &str) {
        kill(self.id(), name);
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It has mostly ended before.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).expect("it ended somehow")
}

/// Sends a signal by its name.
pub(crate) fn kill(id: u32, signal: &str) {
    let status = Command::new("kill").args([format!("-{signal}"), id.to_string()]).status().unwrap();
    assert!(status.success(), "kill -{signal} {id}");
}

/// Waits for something that happens soon.
pub(crate) fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(begun.elapsed() < TIMEOUT, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for a file with a line in it and returns its text.
pub(crate) fn text_of(path: &Path) -> String {
    until(&format!("{} is written", path.display()), || {
        std::fs::read_to_string(path).ok().filter(|text| text.ends_with('\n'))
    })
}
