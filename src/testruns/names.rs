//! Names of test files: those of clients are not trusted.

use std::path::{Component, Path};

use super::Refused;

/// Longest name that is looked at.
const MAX_NAME: usize = 1024;
/// Longest name of a file that was sent along.
const MAX_SENT: usize = 100;

/// The file below `root` that a client names, relative to it. Blocks on the disk.
///
/// # Errors
/// If it lies elsewhere, also by a link, or is no file.
pub(super) fn below(root: &Path, name: &str) -> Result<String, Refused> {
    // A command would take a dash for an option.
    if name.is_empty() || name.len() > MAX_NAME || name.contains(char::is_control) || name.starts_with('-') {
        return Err(Refused::Name(name.chars().take(MAX_SENT).collect()));
    }
    let mut parts = Vec::new();
    for part in Path::new(name).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str().ok_or_else(|| Refused::Name(name.into()))?),
            Component::CurDir => {}
            _ => return Err(Refused::Outside(name.into())),
        }
    }
    let relative = parts.join("/");
    let real = root.join(&relative).canonicalize().map_err(|_| Refused::Missing(name.into()))?;
    if !real.starts_with(root) {
        return Err(Refused::Outside(name.into()));
    }
    if relative.is_empty() || !real.is_file() {
        return Err(Refused::Missing(name.into()));
    }
    if relative.starts_with('-') {
        return Err(Refused::Name(name.into()));
    }
    Ok(relative)
}

/// A name for a file that was sent along: the last part of the client's, of letters, digits, `.`, `_` and `-` only.
///
/// # Errors
/// If nothing is left of it.
pub(super) fn sent(name: &str) -> Result<String, Refused> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let clean: String = last.trim_start_matches(['.', '-', ' ']).chars().map(safe).collect();
    if clean.is_empty() || clean.len() > MAX_SENT {
        return Err(Refused::Name(name.chars().take(MAX_SENT).collect()));
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_below_the_root_are_taken() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        let root = place.join("tests");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        for file in ["tests/a.py", "tests/sub/b c.py", "secret.py", "tests/-x.py"] {
            std::fs::write(place.join(file), "").unwrap();
        }
        std::os::unix::fs::symlink(place.join("secret.py"), root.join("out.py")).unwrap();
        std::os::unix::fs::symlink("a.py", root.join("in.py")).unwrap();
        std::os::unix::fs::symlink(&place, root.join("up")).unwrap();
        for (name, relative) in [("a.py", "a.py"), ("./sub//b c.py", "sub/b c.py"), ("in.py", "in.py")] {
            assert_eq!(below(&root, name).unwrap(), relative);
        }
        let absolute = place.join("secret.py");
        for name in
            ["../secret.py", "sub/../../secret.py", "out.py", "up/secret.py", "/etc/passwd", absolute.to_str().unwrap()]
        {
            assert!(matches!(below(&root, name), Err(Refused::Outside(_))), "{name}");
        }
        for name in ["no.py", "sub", ".", "a.py/x", "..%2fsecret.py"] {
            assert!(matches!(below(&root, name), Err(Refused::Missing(_))), "{name}");
        }
        for name in ["", "-x.py", "./-x.py", "a\0.py", "a\n.py", &"x".repeat(2000)] {
            assert!(matches!(below(&root, name), Err(Refused::Name(_))), "{name}");
        }
    }

    #[test]
    fn names_of_sent_files_cannot_lead_anywhere() {
        for (name, clean) in [
            ("test_a.py", "test_a.py"),
            ("../../etc/cron.d/x", "x"),
            ("C:\\temp\\test a.py", "test_a.py"),
            ("..hidden.py", "hidden.py"),
            ("--help", "help"),
            ("tëst$(id);.py", "t_st__id__.py"),
        ] {
            assert_eq!(sent(name).unwrap(), clean);
        }
        for name in ["", "..", "a/", "---", &"x".repeat(101)] {
            assert!(matches!(sent(name), Err(Refused::Name(_))), "{name}");
        }
    }
}
