//! The git repository around a directory, read from its files: no `git` needed, and nothing that can hang or fail.

use std::fs;
use std::path::{Path, PathBuf};

/// What is known about the repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repository {
    /// Top of the work tree.
    pub root: PathBuf,
    /// Last part of the URL of the remote `origin`, else the name of the main work tree's directory.
    pub name: Option<String>,
    /// Branch; `None` on a detached head.
    pub branch: Option<String>,
    /// Commit; `None` before the first.
    pub commit: Option<String>,
}

/// Files larger than this are not git's small ones; they are left alone.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// The repository that `start` is in.
pub fn find(start: &Path) -> Option<Repository> {
    let root = start.ancestors().find(|directory| directory.join(".git").exists())?;
    let git_dir = git_dir(&root.join(".git"))?;
    // A linked work tree has its own HEAD; refs and config are the main one's.
    let common = match read(&git_dir.join("commondir")) {
        Some(text) => git_dir.join(text.trim()),
        None => git_dir.clone(),
    };
    let common = fs::canonicalize(&common).unwrap_or(common);
    let head = read(&git_dir.join("HEAD")).unwrap_or_default();
    let (branch, commit) = match head.trim().strip_prefix("ref: ") {
        Some(reference) => {
            let branch = reference.strip_prefix("refs/heads/").map(str::to_owned);
            (branch, commit_of(&git_dir, reference).or_else(|| commit_of(&common, reference)))
        }
        None => (None, commit_id(&head)),
    };
    let directory = if common.ends_with(".git") { common.parent() } else { Some(root) };
    let directory = directory.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let name = read(&common.join("config")).and_then(|config| origin_name(&config)).or(directory);
    Some(Repository { root: root.to_owned(), name, branch, commit })
}

/// `.git` is a directory, or in linked work trees and submodules a file that names one.
fn git_dir(dot_git: &Path) -> Option<PathBuf> {
    if dot_git.is_dir() {
        return Some(dot_git.to_owned());
    }
    let text = read(dot_git)?;
    let path = text.trim().strip_prefix("gitdir:")?.trim();
    Some(dot_git.parent()?.join(path))
}

fn read(path: &Path) -> Option<String> {
    let small = fs::metadata(path).is_ok_and(|facts| facts.is_file() && facts.len() <= MAX_FILE);
    if small { fs::read_to_string(path).ok() } else { None }
}

/// A ref is a file of its own, or a line `<commit> <ref>` of `packed-refs`.
fn commit_of(git_dir: &Path, reference: &str) -> Option<String> {
    if let Some(commit) = read(&git_dir.join(reference)).as_deref().and_then(commit_id) {
        return Some(commit);
    }
    let packed = read(&git_dir.join("packed-refs"))?;
    let line = packed.lines().find(|line| line.split_once(' ').is_some_and(|(_, name)| name == reference))?;
    commit_id(line.split_once(' ')?.0)
}

/// A whole commit id: 40 hex digits, or 64 in SHA-256 repositories.
fn commit_id(text: &str) -> Option<String> {
    let text = text.trim();
    let hex = matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit());
    hex.then(|| text.to_owned())
}

fn origin_name(config: &str) -> Option<String> {
    let mut lines = config.lines().map(str::trim).skip_while(|line| *line != "[remote \"origin\"]").skip(1);
    let url = lines
        .by_ref()
        .take_while(|line| !line.starts_with('['))
        .find_map(|line| line.strip_prefix("url")?.trim_start().strip_prefix('='))?;
    let url = url.trim().trim_matches('"').trim_end_matches('/');
    let url = url.strip_suffix(".git").unwrap_or(url).trim_end_matches('/');
    let name = url.rsplit(['/', ':', '\\']).next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "1234567890abcdef1234567890abcdef12345678";

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_repository_tells_name_branch_and_commit_from_a_directory_below_it() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("checkout");
        write(&root.join(".git/HEAD"), "ref: refs/heads/feature/pay\n");
        write(&root.join(".git/refs/heads/feature/pay"), &format!("{COMMIT}\n"));
        let config =
            "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = git@example.org:acme/web-shop.git\n\tfetch = x\n";
        write(&root.join(".git/config"), config);
        let below = root.join("tests/deep");
        fs::create_dir_all(&below).unwrap();
        let found = find(&below).unwrap();
        let name = Some("web-shop".into());
        assert_eq!(found, Repository { root, name, branch: Some("feature/pay".into()), commit: Some(COMMIT.into()) });
    }

    #[test]
    fn packed_refs_detached_heads_and_new_repositories_are_read_too() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("shop");
        write(&root.join(".git/HEAD"), "ref: refs/heads/main\n");
        let new = find(&root).unwrap();
        assert_eq!((new.name.as_deref(), new.branch.as_deref(), new.commit), (Some("shop"), Some("main"), None));
        write(&root.join(".git/packed-refs"), &format!("# pack-refs with: peeled\n{COMMIT} refs/heads/main\n"));
        assert_eq!(find(&root).unwrap().commit.as_deref(), Some(COMMIT));
        write(&root.join(".git/HEAD"), COMMIT);
        let detached = find(&root).unwrap();
        assert_eq!((detached.branch, detached.commit.as_deref()), (None, Some(COMMIT)));
    }

    #[test]
    fn a_linked_work_tree_has_its_own_head_and_the_main_ones_name() {
        let temp = tempfile::tempdir().unwrap();
        let main = temp.path().join("shop");
        let own = main.join(".git/worktrees/w");
        write(&own.join("HEAD"), "ref: refs/heads/w\n");
        write(&own.join("commondir"), "../..\n");
        write(&main.join(".git/refs/heads/w"), COMMIT);
        let tree = temp.path().join("elsewhere");
        write(&tree.join(".git"), &format!("gitdir: {}\n", own.display()));
        let found = find(&tree).unwrap();
        assert_eq!((found.name.as_deref(), found.branch.as_deref()), (Some("shop"), Some("w")));
        assert_eq!((found.root, found.commit.as_deref()), (tree, Some(COMMIT)));
    }

    #[test]
    fn broken_git_files_give_less_and_never_fail() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(find(temp.path()), None);
        write(&temp.path().join("a/.git"), "not a pointer");
        assert_eq!(find(&temp.path().join("a")), None);
        write(&temp.path().join("b/.git/HEAD"), "garbage");
        let found = find(&temp.path().join("b")).unwrap();
        assert_eq!((found.name.as_deref(), found.branch, found.commit), (Some("b"), None, None));
    }

    #[test]
    fn the_last_part_of_an_origin_url_is_the_name() {
        for (url, name) in [
            ("https://example.org/acme/shop.git", "shop"),
            ("https://example.org/acme/shop/", "shop"),
            ("host:shop.git", "shop"),
            ("/srv/git/shop", "shop"),
        ] {
            assert_eq!(origin_name(&format!("[remote \"origin\"]\n url={url}\n")).as_deref(), Some(name), "{url}");
        }
        assert_eq!(origin_name("[remote \"upstream\"]\n url = https://example.org/other\n"), None);
        assert_eq!(origin_name("[remote \"origin\"]\n fetch = x\n[remote \"b\"]\n url = y/z\n"), None);
    }
}
