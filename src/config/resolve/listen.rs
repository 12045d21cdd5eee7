//! Settings of `testwire listen`.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::file::File;
use super::super::value::{Address, Bytes, Expected, Period, Switch};
use super::super::{Listen, TOKEN_ENV, setting};
use super::{ConfigError, Layers, secret};

/// Below it, no runner's plan of tests would fit.
const MIN_BODY: u64 = 64 << 10;
/// Bodies are held in memory.
const MAX_BODY: u64 = 1 << 30;
/// Somebody may be looking at it.
const MIN_ATTACHMENTS_AGE: Duration = Duration::from_secs(3_600);
/// Between two tests there is more than that.
const MIN_RUN_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn listen(from: &mut Layers<'_>) -> Result<Listen, ConfigError> {
    let address: Address = from.value(&setting::LISTEN)?;
    let bounded = |bytes: &Bytes| (MIN_BODY..=MAX_BODY).contains(&bytes.0);
    let old_enough = |period: &Period| period.0 >= MIN_ATTACHMENTS_AGE;
    let long_enough = |period: &Period| period.0 >= MIN_RUN_TIMEOUT;
    Ok(Listen {
        address: address.0,
        token: secret(from, &setting::TOKEN_FILE, TOKEN_ENV, "token")?,
        allow_open: from.value::<Switch>(&setting::ALLOW_OPEN)?.0,
        max_body: from.value_if(&setting::MAX_BODY, bounded, "a size from 64KiB to 1GiB")?.0,
        loader_path: from.read(&setting::LOADER_PATH, loader_path)?,
        attachments_max: from.value::<Bytes>(&setting::ATTACHMENTS_MAX)?.0,
        attachments_age: from.value_if(&setting::ATTACHMENTS_AGE, old_enough, "a duration of at least 1h")?.0,
        testruns: from.file.map(File::testruns).transpose()?.flatten(),
        run_timeout: from.value_if(&setting::RUN_TIMEOUT, long_enough, "a duration of at least 1s")?.0,
    })
}

fn loader_path(text: &str) -> Result<String, Expected> {
    let usable = text.starts_with('/') && text.trim_matches('/').len() > 1 && !text.contains(['?', '#', ' ']);
    usable.then(|| text.to_owned()).ok_or_else(|| Expected("a path such as /testgr/loader".into()))
}

impl Listen {
    /// Settings that let in whoever reaches the address are an error unless they were asked for. Only `listen` cares, so
    /// that a file with half of them does not stop the other commands.
    ///
    /// # Errors
    /// If the address is not loopback, and there is neither a token nor `--allow-open`; or if clients may order test runs
    /// and there is no token.
    pub fn check(&self) -> Result<(), ConfigError> {
        if is_open(self.address) && self.token.is_none() && !self.allow_open {
            return Err(ConfigError::Conflict {
                what: "the address to listen on can be reached from other machines, and there is no token",
                hint: "set --token-file or TESTWIRE_TOKEN, or say --allow-open",
            });
        }
        if self.testruns.is_some() && self.token.is_none() {
            return Err(ConfigError::Conflict {
                what: "the file of settings allows test runs ([testruns]), and there is no token",
                hint: "set --token-file or TESTWIRE_TOKEN: whoever starts commands here must show one",
            });
        }
        Ok(())
    }
}

fn is_open(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::super::super::{Env, Place, Settings, Typed};

    fn check(address: &str, env: &[(&str, &str)]) -> bool {
        let typed = Typed { values: [("listen", vec![address.to_owned()])].into(), config_file: None };
        let env: Env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::resolve(&typed, &env, None, &Place::for_tests()).unwrap().listen.check().is_ok()
    }

    #[test]
    fn other_machines_are_let_in_by_a_token_or_by_word_only() {
        for local in ["127.0.0.1:1", "127.8.0.1:1", "[::1]:1", "localhost:1", "[::ffff:127.0.0.1]:1"] {
            assert!(check(local, &[]), "{local}");
        }
        for open in ["0.0.0.0:1", "[::]:1", "192.0.2.7:1"] {
            assert!(!check(open, &[]), "{open}");
            assert!(check(open, &[("TESTWIRE_TOKEN", "x")]), "{open}");
            assert!(check(open, &[("TESTWIRE_ALLOW_OPEN", "true")]), "{open}");
        }
    }
}
