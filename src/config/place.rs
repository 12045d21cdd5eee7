//! The surroundings from which settings follow that nobody set. They are looked at once, here; all else is pure.

use std::path::PathBuf;

use super::Env;
use super::git::{self, Repository};
use crate::event::Timestamp;

/// Where and when testwire was started.
#[derive(Clone, Debug)]
pub struct Place {
    /// Current directory, absolute.
    pub cwd: PathBuf,
    /// Home directory; `None` if there is none worth the name.
    pub home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`, else `~/.config`.
    pub config_home: Option<PathBuf>,
    /// Directory for state of its own, before `--state-dir` is known.
    pub state_home: PathBuf,
    /// Machine name; empty if unknown.
    pub host: String,
    /// Repository around the current directory.
    pub git: Option<Repository>,
    /// Now.
    pub now: Timestamp,
    /// Randomness for ids.
    pub seed: u64,
}

impl Place {
    /// Looks around.
    pub fn observe(env: &Env) -> Self {
        let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let absolute = |name: &str| env.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        // Service managers and containers give accounts without a home `/`, or one that is not there.
        let home = absolute("HOME").filter(|home| home.parent().is_some() && home.is_dir());
        let config_home = absolute("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
        let state_home = match (absolute("XDG_STATE_HOME"), &home) {
            (Some(state), _) => state.join("testwire"),
            (None, Some(home)) => home.join(".local/state/testwire"),
            (None, None) => homeless_state(rustix::process::getuid().as_raw(), std::env::temp_dir()),
        };
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let now = Timestamp(chrono::Utc::now().timestamp_nanos_opt().unwrap_or_default());
        Self { git: git::find(&cwd), cwd, home, config_home, state_home, host, now, seed: fastrand::u64(..) }
    }
}

/// State of an account without a home.
fn homeless_state(uid: u32, temp: PathBuf) -> PathBuf {
    if uid == 0 { PathBuf::from("/var/lib/testwire") } else { temp.join(format!("testwire-{uid}")) }
}

#[cfg(test)]
impl Place {
    /// A fixed place: `/home/kim/shop` on `host-1` at 2026-11-20T11:42:05Z.
    pub(crate) fn for_tests() -> Self {
        Self {
            cwd: "/home/kim/shop".into(),
            home: Some("/home/kim".into()),
            config_home: Some("/home/kim/.config".into()),
            state_home: "/home/kim/.local/state/testwire".into(),
            host: "host-1".into(),
            git: None,
            now: Timestamp(1_795_174_925_000_000_000),
            seed: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe(pairs: &[(&str, &str)]) -> Place {
        Place::observe(&pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    #[test]
    fn state_follows_xdg_then_home() {
        let home = tempfile::tempdir().unwrap();
        let text = home.path().to_str().unwrap();
        assert_eq!(observe(&[("HOME", text)]).state_home, home.path().join(".local/state/testwire"));
        let xdg = observe(&[("HOME", text), ("XDG_STATE_HOME", "/state")]);
        assert_eq!(xdg.state_home, PathBuf::from("/state/testwire"));
        let relative = observe(&[("HOME", text), ("XDG_STATE_HOME", "state")]);
        assert_eq!(relative.state_home, home.path().join(".local/state/testwire"));
    }

    #[test]
    fn an_account_without_home_has_a_place_too() {
        for home in ["", "/", "/nonexistent", "relative"] {
            let place = observe(&[("HOME", home)]);
            assert_eq!((place.home, place.config_home), (None, None), "{home}");
            assert!(place.state_home.is_absolute());
        }
        assert_eq!(homeless_state(0, "/tmp".into()), PathBuf::from("/var/lib/testwire"));
        assert_eq!(homeless_state(1000, "/tmp".into()), PathBuf::from("/tmp/testwire-1000"));
    }
}
