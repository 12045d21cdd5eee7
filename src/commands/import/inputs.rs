//! What was named on the command line → files to read, packed ones by their contents.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use flate2::bufread::MultiGzDecoder;
use indicatif::ProgressBar;
use zip::ZipArchive;

use crate::decode::{DETECT_LIMIT, Detection, Format, detect};
use crate::event::Timestamp;

/// Room for one read.
const READ: usize = 256 * 1024;

/// One report: a file, or a file in an archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Input {
    pub(super) path: PathBuf,
    /// Number and name within a zip archive.
    pub(super) member: Option<(usize, String)>,
    /// True if it was named, and not only found in a directory: then it must be a report.
    pub(super) named: bool,
    /// When it was last written.
    pub(super) modified: Timestamp,
}

impl Input {
    /// What it is called in messages.
    pub(super) fn name(&self) -> String {
        match &self.member {
            Some((_, name)) => format!("{}!{name}", self.path.display()),
            None => self.path.display().to_string(),
        }
    }

    /// The name of the report without folders and endings that say how it is packed.
    pub(super) fn short_name(&self) -> String {
        let name = match &self.member {
            Some((_, name)) => name.rsplit('/').next().unwrap_or_default().to_owned(),
            None => self.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        };
        name.strip_suffix(".gz").unwrap_or(&name).to_owned()
    }

    /// The folder or archive that it lies in.
    pub(super) fn folder(&self) -> PathBuf {
        match &self.member {
            Some((_, name)) => self.path.join(name.rsplit_once('/').map_or("", |(folder, _)| folder)),
            None => self.path.parent().unwrap_or(Path::new("")).to_owned(),
        }
    }

    /// Opens it and gives its unpacked bytes to `read`. `bar` counts what comes from the disk.
    pub(super) fn open<T>(
        &self,
        bar: &ProgressBar,
        read: impl FnOnce(&mut dyn BufRead) -> io::Result<T>,
    ) -> io::Result<T> {
        let file = File::open(&self.path)?;
        if let Some((number, _)) = &self.member {
            let mut archive = ZipArchive::new(BufReader::new(file)).map_err(io::Error::other)?;
            let member = archive.by_index(*number).map_err(io::Error::other)?;
            return plain_or_gzip(BufReader::with_capacity(READ, bar.wrap_read(member)), read);
        }
        plain_or_gzip(BufReader::with_capacity(READ, bar.wrap_read(file)), read)
    }

    /// The first bytes, and whether there are more.
    pub(super) fn head(&self) -> io::Result<(Vec<u8>, bool)> {
        self.open(&ProgressBar::hidden(), |reader| {
            let mut head = Vec::new();
            reader.take(DETECT_LIMIT as u64).read_to_end(&mut head)?;
            let more = head.len() >= DETECT_LIMIT;
            Ok((head, more))
        })
    }

    /// Bytes on the disk.
    pub(super) fn size(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |facts| facts.len())
    }
}

fn plain_or_gzip<T>(mut reader: impl BufRead, read: impl FnOnce(&mut dyn BufRead) -> io::Result<T>) -> io::Result<T> {
    if reader.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        return read(&mut BufReader::with_capacity(READ, MultiGzDecoder::new(reader)));
    }
    read(&mut reader)
}

/// What a file is, by its first bytes.
pub(super) enum Kind {
    Report(Format, String),
    /// Entries that testwire has made before.
    Entries,
    Unknown(String),
}

/// Looks at the first bytes of an input.
///
/// # Errors
/// If it cannot be read.
pub(super) fn look(input: &Input, format: Option<Format>) -> io::Result<Kind> {
    let (head, more) = input.head()?;
    if let Some(format) = format {
        return Ok(Kind::Report(format, "--format says so.".into()));
    }
    if super::refused::is_one(&head) {
        return Ok(Kind::Entries);
    }
    Ok(match detect(&head, !more) {
        Detection::Found { format, reason } => Kind::Report(format, reason),
        Detection::Unknown { reason } => Kind::Unknown(reason),
        Detection::NeedMore => Kind::Unknown("It says nothing in its first bytes.".into()),
    })
}

/// Finds the files that were meant: files, patterns that no shell has expanded, and directories with all below them.
/// Errors name what cannot be read; the rest goes on.
pub(super) fn find(named: &[PathBuf]) -> (Vec<Input>, Vec<String>) {
    let (mut inputs, mut errors) = (Vec::new(), Vec::new());
    for path in named {
        let text = path.to_string_lossy();
        if path.exists() || !text.contains(['*', '?', '[']) {
            add(path, true, &mut inputs, &mut errors);
            continue;
        }
        match glob::glob(&text) {
            Ok(found) => {
                let found: Vec<PathBuf> = found.filter_map(Result::ok).collect();
                if found.is_empty() {
                    errors.push(format!("{text}: no file has such a name"));
                }
                found.iter().for_each(|path| add(path, true, &mut inputs, &mut errors));
            }
            Err(error) => errors.push(format!("{text}: {error}")),
        }
    }
    inputs.sort_by(|a, b| (&a.path, &a.member).cmp(&(&b.path, &b.member)));
    inputs.dedup_by(|a, b| (&a.path, &a.member) == (&b.path, &b.member));
    (inputs, errors)
}

/// Adds a file, the files in an archive, or those below a directory. Hidden ones are left out there, and links are not
/// followed into other directories.
fn add(path: &Path, named: bool, inputs: &mut Vec<Input>, errors: &mut Vec<String>) {
    if let Err(error) = try_add(path, named, inputs, errors) {
        errors.push(format!("cannot read {}: {error}", path.display()));
    }
}

fn try_add(path: &Path, named: bool, inputs: &mut Vec<Input>, errors: &mut Vec<String>) -> io::Result<()> {
    let facts = fs::metadata(path)?;
    if facts.is_dir() {
        let mut below: Vec<PathBuf> = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        below.sort();
        for path in below {
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            let leads_away = path.is_symlink() && path.is_dir();
            if !(hidden || leads_away) {
                add(&path, false, inputs, errors);
            }
        }
        return Ok(());
    }
    let since = facts.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let modified = Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX));
    let input = Input { path: path.to_owned(), member: None, named, modified };
    let mut magic = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut magic)?;
    if magic != b"PK\x03\x04" {
        inputs.push(input);
        return Ok(());
    }
    let mut archive = ZipArchive::new(BufReader::new(File::open(path)?)).map_err(io::Error::other)?;
    for number in 0..archive.len() {
        let member = archive.by_index_raw(number).map_err(io::Error::other)?;
        if member.is_file() {
            let name = member.name().map_err(io::Error::other)?.into_owned();
            let member = Some((number, name));
            inputs.push(Input { member, named: false, ..input.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_patterns_and_directories_give_each_file_once_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("deep")).unwrap();
        for name in ["b.xml", "a.xml", "deep/c.xml", ".hidden.xml"] {
            fs::write(path(name), "<testsuite/>").unwrap();
        }
        let (inputs, errors) = find(&[path("*.xml"), folder.path().to_owned(), path("none.xml"), path("no*.json")]);
        let names: Vec<String> = inputs.iter().map(Input::short_name).collect();
        assert_eq!(names, [".hidden.xml", "a.xml", "b.xml", "c.xml"], "a pattern names hidden files too");
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(inputs.iter().filter(|input| input.named).count() >= 3);
    }
}
