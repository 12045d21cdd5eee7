//! Which files run, by which command, and in which order.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use crate::exit::{Exit, Failure};

/// Stands for the file in a command.
const FILE: &str = "{}";
/// Stands for a directory of the file's own in a command.
const DIRECTORY: &str = "{dir}";

/// A file to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// As it was given; its id as a test.
    pub(super) file: String,
    /// Place among all files that were given, from 0.
    pub(super) index: usize,
    /// Words of its command.
    words: Vec<String>,
    /// Stands before the ids of its tests.
    pub(super) prefix: String,
    /// The attempt that is next, or under way.
    pub(super) attempt: u32,
}

impl Job {
    /// The command line; `directory` is one of the file's own.
    pub(super) fn argv(&self, directory: &Path) -> Vec<OsString> {
        // A name that begins with a dash is no option.
        let file = if self.file.starts_with('-') { format!("./{}", self.file) } else { self.file.clone() };
        let fill = |word: &String| word.replace(DIRECTORY, &directory.to_string_lossy()).replace(FILE, &file);
        self.words.iter().map(|word| fill(word).into()).collect()
    }

    /// Its path stands before the ids of its tests.
    pub(super) fn tell_apart(&mut self) {
        self.prefix = format!("{}:", self.file);
    }

    /// True if its command wants a directory of the file's own.
    pub(super) fn wants_directory(&self) -> bool {
        self.words.iter().any(|word| word.contains(DIRECTORY))
    }
}

/// The files, each once, with their commands.
///
/// # Errors
/// If a file is not there, or nobody knows how to run it.
pub(super) fn jobs(files: &[String], command: Option<&str>) -> Result<Vec<Job>, Failure> {
    let typed = command.map(words).transpose()?;
    let mut jobs: Vec<Job> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for file in files.iter().filter(|file| seen.insert(file.as_str())) {
        let about =
            fs::metadata(file).map_err(|e| Failure::new(Exit::Usage, format!("cannot run {file}")).cause(&e))?;
        if about.is_dir() && typed.is_none() {
            let hint = format!("name its files: testwire batch {}/*", file.trim_end_matches('/'));
            return Err(Failure::new(Exit::Usage, format!("{file} is a directory")).hint(hint));
        }
        let words = match &typed {
            Some(words) => words.clone(),
            None => usual(file)?,
        };
        jobs.push(Job { file: file.clone(), index: jobs.len(), words, prefix: String::new(), attempt: 1 });
    }
    tell_apart(&mut jobs);
    Ok(jobs)
}

/// Robot Framework names tests by the file's stem, others below a root of the file's own: where two files have the same stem,
/// the file's path tells their tests apart.
fn tell_apart(jobs: &mut [Job]) {
    let stem = |file: &str| Path::new(file).file_stem().map(|stem| stem.to_string_lossy().to_lowercase());
    let mut count: HashMap<_, u32> = HashMap::new();
    for job in jobs.iter() {
        *count.entry(stem(&job.file)).or_default() += 1;
    }
    for job in jobs {
        if count.get(&stem(&job.file)).is_some_and(|count| *count > 1) {
            job.tell_apart();
        }
    }
}

/// The words of the command by which a file is run if nobody says another.
fn usual(file: &str) -> Result<Vec<String>, Failure> {
    let path = Path::new(file);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
    let is_pytest = name.starts_with("test_") || name.ends_with("_test.py");
    let facts = fs::metadata(path).map_err(|error| {
        let hint = "give the paths of test files; with --command anything that the command takes";
        Failure::new(Exit::Usage, format!("cannot run {file}")).cause(&error).hint(hint)
    })?;
    let is_executable = facts.is_file() && facts.permissions().mode() & 0o111 != 0;
    let words: &[&str] = match extension.as_str() {
        "py" if is_pytest => &["pytest", FILE],
        "robot" => &["robot", "--outputdir", DIRECTORY, FILE],
        // A name without a slash would be looked for on the PATH.
        _ if is_executable && file.contains('/') => &[FILE],
        _ if is_executable => &["./{}"],
        "py" => &["python3", FILE],
        "sh" => &["sh", FILE],
        "bats" => &["bats", FILE],
        "js" | "mjs" | "cjs" if name.contains(".test.") => &["node", "--test", FILE],
        _ => {
            let what = format!("no command is known for {file}");
            let hint = "say one with --command 'CMD {}', or make the file executable";
            return Err(Failure::new(Exit::Usage, what).hint(hint));
        }
    };
    Ok(words.iter().map(|word| (*word).to_owned()).collect())
}

/// The words of a command as a shell would see them, without all that a shell could do else: a file's name shall never be
/// taken for a command.
///
/// # Errors
/// If a quote is not closed, or there is no word.
fn words(command: &str) -> Result<Vec<String>, Failure> {
    let bad = |why: &str| {
        let what = format!("--command '{command}' {why}");
        Failure::new(Exit::Usage, what).hint("write it as in --command 'pytest -q {}'; {} stands for the file")
    };
    let (mut words, mut word, mut quote): (Vec<String>, Option<String>, Option<char>) = (Vec::new(), None, None);
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('\\', None | Some('"')) => {
                word.get_or_insert_default().push(chars.next().ok_or_else(|| bad("ends with a backslash"))?);
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(bad("has a quote that is not closed"));
    }
    words.extend(word);
    if words.is_empty() {
        return Err(bad("is empty"));
    }
    // As xargs has it.
    if !words.iter().any(|word| word.contains(FILE)) {
        words.push(FILE.to_owned());
    }
    Ok(words)
}

/// Which part of the files a machine runs: `2/4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    number: usize,
    of: usize,
}

impl Part {
    /// From the name of a shard; `None` if it names no part.
    ///
    /// # Errors
    /// If there cannot be such a part.
    pub(super) fn of_shard(name: &str) -> Result<Option<Self>, Failure> {
        let Some((number, of)) =
            name.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)))
        else {
            return Ok(None);
        };
        if number == 0 || number > of {
            let what = format!("there is no shard {name}");
            return Err(
                Failure::new(Exit::Usage, what).hint("the first of four is --shard 1/4, the last is --shard 4/4")
            );
        }
        Ok(Some(Self { number, of }))
    }

    /// The jobs of this part: by the names of all files, so that every machine deals them out alike, in whatever order they
    /// were given, and that neighbours go to different machines.
    pub(super) fn keep(self, jobs: Vec<Job>) -> Vec<Job> {
        let mut names: Vec<String> = jobs.iter().map(|job| job.file.clone()).collect();
        names.sort_unstable();
        let own: std::collections::HashSet<&str> =
            names.iter().skip(self.number - 1).step_by(self.of).map(String::as_str).collect();
        jobs.into_iter()
            .filter(|job| own.contains(job.file.as_str()))
            .enumerate()
            .map(|(index, job)| Job { index, ..job })
            .collect()
    }
}

/// Places of the jobs in the order in which they begin: the longest first, by what they took before. One of which nothing is
/// known takes as long as the median of the others; without any history the order is as given.
pub(super) fn order(jobs: &[Job], expected: impl Fn(&str) -> Option<Duration>) -> Vec<usize> {
    let known: Vec<Option<Duration>> = jobs.iter().map(|job| expected(&job.file)).collect();
    let mut sorted: Vec<Duration> = known.iter().flatten().copied().collect();
    sorted.sort_unstable();
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(known.get(*at).copied().flatten().unwrap_or(median)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(file: &str) -> Job {
        Job { file: file.into(), index: 0, words: vec!["x".into(), "{}".into()], prefix: String::new(), attempt: 1 }
    }

    fn names(jobs: &[Job]) -> Vec<&str> {
        jobs.iter().map(|job| job.file.as_str()).collect()
    }

    #[test]
    fn a_command_has_words_and_no_shell() {
        let split = |command: &str| words(command).map(|words| words.join("|"));
        assert_eq!(split("pytest -q {}").unwrap(), "pytest|-q|{}");
        assert_eq!(split("pytest  -k 'a and \"b\"'").unwrap(), "pytest|-k|a and \"b\"|{}");
        assert_eq!(
            split(r#"sh -c "echo \"$HOME\"; x" '' a\ b --f={}"#).unwrap(),
            "sh|-c|echo \"$HOME\"; x||a b|--f={}"
        );
        for bad in ["", "  ", "a 'b", "a \\"] {
            assert_eq!(split(bad).unwrap_err().exit(), Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn the_file_is_one_word_whatever_its_name() {
        let mut job = job("-x; rm {dir} '$(y)'.py");
        job.words = vec!["run".into(), "--out={dir}".into(), "{}".into()];
        assert_eq!(job.argv(Path::new("/d")), ["run", "--out=/d", "./-x; rm {dir} '$(y)'.py"].map(OsString::from));
    }

    #[test]
    fn kinds_of_files_have_their_commands() {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str, mode: u32| {
            let path = directory.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path.to_string_lossy().into_owned()
        };
        for (name, mode, expected) in [
            ("test_a.py", 0o755, "pytest {}"),
            ("a_test.py", 0o644, "pytest {}"),
            ("a.py", 0o644, "python3 {}"),
            ("b.py", 0o755, "{}"),
            ("a.robot", 0o644, "robot --outputdir {dir} {}"),
            ("a.sh", 0o644, "sh {}"),
            ("b.sh", 0o700, "{}"),
            ("check", 0o755, "{}"),
            ("a.test.mjs", 0o644, "node --test {}"),
        ] {
            let jobs = jobs(&[make(name, mode)], None).unwrap();
            assert_eq!(jobs[0].words.join(" "), expected, "{name}");
        }
        assert_eq!(usual("no.txt").unwrap_err().exit(), Exit::Usage);
        let (there, gone) = (make("x.txt", 0o644), "/nowhere/x".to_owned());
        assert_eq!(jobs(&[there.clone(), there.clone()], Some("cat")).unwrap().len(), 1, "each once");
        assert_eq!(jobs(&[there, gone], Some("cat")).unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn shards_have_every_file_once_whatever_the_order() {
        let all = ["d", "a", "c", "b", "e"].map(job).to_vec();
        let mut turned = all.clone();
        turned.reverse();
        let part = |name: &str| Part::of_shard(name).unwrap().unwrap();
        let mut seen = Vec::new();
        for name in ["1/3", "2/3", "3/3"] {
            let own = part(name).keep(all.clone());
            let mut other = names(&part(name).keep(turned.clone())).into_iter().map(str::to_owned).collect::<Vec<_>>();
            other.reverse();
            assert_eq!(names(&own), other);
            assert!(own.iter().enumerate().all(|(at, job)| job.index == at));
            seen.extend(names(&own).into_iter().map(str::to_owned));
        }
        seen.sort();
        assert_eq!(seen, ["a", "b", "c", "d", "e"]);
        assert_eq!(Part::of_shard("linux").unwrap(), None);
        assert!(Part::of_shard("0/2").is_err() && Part::of_shard("3/2").is_err());
    }

    #[test]
    fn the_longest_begin_first_and_the_unknown_stand_in_the_middle() {
        let jobs = ["a", "b", "c", "d"].map(job);
        let known = |file: &str| match file {
            "a" => Some(Duration::from_secs(1)),
            "c" => Some(Duration::from_secs(9)),
            "d" => Some(Duration::from_secs(2)),
            _ => None,
        };
        assert_eq!(order(&jobs, known), [2, 1, 3, 0]);
        assert_eq!(order(&jobs, |_| None), [0, 1, 2, 3]);
    }

    #[test]
    fn tests_of_files_with_the_same_stem_are_told_apart() {
        let mut jobs = ["a/login.robot", "b/Login.robot", "c/other.robot"].map(job);
        tell_apart(&mut jobs);
        assert_eq!(jobs.map(|job| job.prefix), ["a/login.robot:", "b/Login.robot:", ""]);
    }
}
