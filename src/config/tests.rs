use std::path::Path;

use super::*;
use crate::exit::Exit;
use crate::loki::push::{Auth as Credentials, Secret};

fn env(pairs: &[(&str, &str)]) -> Env {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn typed(pairs: &[(&'static str, &str)]) -> Typed {
    let mut typed = Typed::default();
    for (name, value) in pairs {
        typed.values.entry(name).or_default().push(value.to_string());
    }
    typed
}

/// Flags, environment, text of `/etc/tw/testwire.toml`.
fn resolve(flags: &[(&'static str, &str)], variables: &[(&str, &str)], toml: &str) -> Result<Settings, Failure> {
    let file = File::parse(Path::new("/etc/tw/testwire.toml"), toml).unwrap();
    Ok(Settings::resolve(&typed(flags), &env(variables), Some(&file), &Place::for_tests())?)
}

fn shown<'a>(settings: &'a Settings, name: &str) -> (Option<&'a str>, String) {
    let row = settings.shown.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("{name} is not shown"));
    (row.value.as_deref(), row.origin.to_string())
}

fn failure(flags: &[(&'static str, &str)], variables: &[(&str, &str)], toml: &str) -> String {
    match resolve(flags, variables, toml) {
        Err(failure) => failure.render(false),
        Ok(settings) => panic!("{flags:?} {variables:?} {toml} was taken:\n{}", settings.table()),
    }
}

/// A value that is not the preset, for every setting that one line can set.
const EXAMPLES: &[(&str, [&str; 3])] = &[
    ("project", ["flag", "env", "file"]),
    ("env", ["flag", "env", "file"]),
    ("run-id", ["flag", "env", "file"]),
    ("shard", ["flag", "env", "file"]),
    ("timezone", ["Asia/Tokyo", "+02:00", "UTC"]),
    ("loki-url", ["http://flag:1", "http://env:1", "http://file:1"]),
    ("tenant", ["flag", "env", "file"]),
    ("tls-ca-file", ["/flag.pem", "/env.pem", "/file.pem"]),
    ("output", ["none", "ndjson", "none"]),
    ("state-dir", ["/flag", "/env", "/file"]),
    ("spool-max", ["2GiB", "3GiB", "4GiB"]),
    ("fsync", ["true", "false", "true"]),
    ("linger", ["1ms", "2ms", "3ms"]),
    ("drain-timeout", ["1m", "2m", "3m"]),
    ("health-every", ["1m", "2m", "0s"]),
    ("listen", ["127.0.0.1:1", "127.0.0.1:2", "[::1]:3"]),
    ("token-file", ["/flag", "/env", "/file"]),
    ("allow-open", ["true", "false", "true"]),
    ("max-body", ["1MiB", "2MiB", "3MiB"]),
    ("loader-path", ["/flag", "/env", "/file"]),
    ("run-timeout", ["1m", "2m", "3m"]),
    ("baseline-branch", ["flag", "env", "file"]),
    ("attachments-max", ["1GiB", "2GiB", "3GiB"]),
    ("attachments-age", ["2h", "3h", "4h"]),
    ("hung-after", ["1m", "2m", "3m"]),
    ("known-failures", ["/flag", "/env", "/file"]),
    ("grafana-url", ["http://flag:1", "http://env:1", "http://file:1"]),
    ("progress", ["never", "always", "never"]),
    ("quiet", ["true", "false", "true"]),
    ("log-level", ["trace", "debug", "error"]),
];

#[test]
fn for_every_setting_a_flag_wins_over_the_environment_and_that_over_the_file() {
    for (name, [flag, variable, file]) in EXAMPLES {
        let env_name = setting::named(name).unwrap().env_name();
        let toml = format!("\n{name} = \"{file}\"");
        let all = resolve(&[(name, flag)], &[(&env_name, variable)], &toml).unwrap();
        assert_eq!(shown(&all, name), (Some(*flag), "flag".into()), "{name}");
        let two = resolve(&[], &[(&env_name, variable)], &toml).unwrap();
        assert_eq!(shown(&two, name), (Some(*variable), env_name.clone()), "{name}");
        for one in [resolve(&[], &[], &toml), resolve(&[], &[(&env_name, "")], &toml)] {
            assert_eq!(shown(&one.unwrap(), name), (Some(*file), "/etc/tw/testwire.toml:2".into()), "{name}");
        }
    }
}

#[test]
fn every_setting_is_resolved_shown_once_in_order_and_tested_above() {
    let settings = resolve(&[], &[], "").unwrap();
    let names: Vec<&str> = settings.shown.iter().map(|row| row.name).collect();
    let all: Vec<&str> = setting::ALL.iter().map(|setting| setting.name).collect();
    assert_eq!(names, all);
    let elsewhere = [
        "attr",
        "header",
        "user",
        "password-file",
        "bearer-token-file",
        "grafana-token-file",
        "tls-cert-file",
        "tls-key-file",
    ];
    let tested: Vec<&str> = EXAMPLES.iter().map(|(name, _)| *name).collect();
    assert!(all.iter().all(|name| tested.contains(name) || elsewhere.contains(name)));
}

#[test]
fn without_any_setting_the_documented_defaults_hold() {
    let settings = resolve(&[], &[], "").unwrap();
    assert_eq!(settings.loki.url.join("/loki/api/v1/push"), "http://127.0.0.1:3100/loki/api/v1/push");
    assert_eq!(settings.grafana_url.as_str(), "http://127.0.0.1:3000");
    assert_eq!(settings.run.project.as_str(), "shop");
    assert_eq!(settings.run.env.as_str(), "local");
    assert_eq!(settings.run.shard, None);
    assert!(settings.run.run_id.as_str().starts_with("20261120T114205Z-"), "{}", settings.run.run_id);
    assert_eq!(settings.run.run_id.as_str().len(), 23);
    assert!(!settings.run.run_id_given);
    assert_eq!(settings.run.host, Name::clean("host-1"));
    assert_eq!(settings.spool_max, 1 << 30);
    assert_eq!(settings.linger, Duration::from_millis(50));
    assert_eq!(settings.drain_timeout, Duration::from_secs(10));
    assert_eq!(settings.state_dir, Path::new("/home/kim/.local/state/testwire"));
    assert_eq!((settings.fsync, settings.quiet, settings.output), (false, false, Output::Loki));
    assert_eq!(
        (settings.progress, settings.log_level, settings.timezone),
        (Progress::Auto, LogLevel::Warn, Zone::Local)
    );
    assert_eq!((&settings.loki.auth, settings.warnings.len()), (&Auth::None, 0));
}

#[test]
fn presets_are_values_that_a_user_could_write() {
    for setting in setting::ALL {
        if let setting::Preset::Value(text) = setting.preset {
            let settings = resolve(&[(setting.name, text)], &[], "").unwrap();
            assert_eq!(shown(&settings, setting.name), (Some(text), "flag".into()));
        }
    }
}

#[test]
fn the_run_is_described_by_ci_and_else_by_git_and_account() {
    let git = git::Repository {
        root: "/home/kim".into(),
        name: Some("web-shop".into()),
        branch: Some("main".into()),
        commit: Some("abc".into()),
    };
    let place = Place { git: Some(git), ..Place::for_tests() };
    let run = |pairs: &[(&str, &str)]| Settings::resolve(&Typed::default(), &env(pairs), None, &place).unwrap().run;
    let name = Name::clean;
    let local = run(&[("USER", "kim")]);
    assert_eq!((local.project.as_str(), local.user, local.build_url), ("web-shop", name("kim"), None));
    assert_eq!((local.branch, local.commit), (name("main"), name("abc")));
    let gitlab =
        [("USER", "root"), ("GITLAB_CI", "true"), ("CI_COMMIT_REF_NAME", "fix"), ("CI_JOB_URL", "https://j/1")];
    let ci = run(&gitlab);
    assert_eq!((ci.branch, ci.commit, ci.user), (name("fix"), name("abc"), name("root")));
    assert_eq!(ci.build_url.as_deref(), Some("https://j/1"));
}

#[test]
fn a_run_id_from_outside_brings_a_shard_of_its_own_unless_one_is_given() {
    let given = resolve(&[], &[("TESTWIRE_RUN_ID", "nightly-7")], "").unwrap().run;
    assert!(given.run_id_given);
    assert_eq!(given.shard.unwrap().as_str().len(), 6);
    let both = resolve(&[("shard", "2/4")], &[("TESTWIRE_RUN_ID", "nightly-7")], "").unwrap().run;
    assert_eq!(both.shard.unwrap().as_str(), "2/4");
}

#[test]
fn run_ids_differ_between_two_runs_of_the_same_second() {
    let id = |seed| {
        let place = Place { seed, ..Place::for_tests() };
        Settings::resolve(&Typed::default(), &Env::new(), None, &place).unwrap().run.run_id
    };
    assert_eq!(id(7), id(7));
    assert_ne!(id(7), id(8));
}

#[test]
fn attributes_of_all_layers_are_joined_and_the_best_layer_wins() {
    let toml = "[attr]\nbrowser = \"safari\"\nlocale = \"de\"\nshard = 3";
    let settings =
        resolve(&[("attr", "browser=firefox"), ("attr", "q=a,b=c")], &[("TESTWIRE_ATTR", "locale=fr,browser=x")], toml);
    let settings = settings.unwrap();
    let attributes: Vec<String> = settings.run.attributes.iter().map(ToString::to_string).collect();
    assert_eq!(attributes, ["browser=firefox", "locale=fr", "q=a,b=c", "shard=3"]);
    let many: Vec<String> = (0..33).map(|i| format!("a{i}=x")).collect();
    assert!(failure(&[], &[("TESTWIRE_ATTR", &many.join(","))], "").contains("more than 32 attributes"));
}

#[test]
fn bad_values_of_every_kind_name_setting_value_origin_and_what_is_allowed() {
    let long = "x".repeat(129);
    for (name, value, allowed) in [
        ("project", "", "1 to 128 characters"),
        ("project", &*long, "1 to 128 characters"),
        ("env", "a\tb", "without control characters"),
        ("run-id", " ", "1 to 128 characters"),
        ("tenant", "a|b", "a Loki tenant"),
        ("tenant", "..", "a Loki tenant"),
        ("loki-url", "127.0.0.1:3100", "a URL"),
        ("loki-url", "localhost:3100", "http:// or https://"),
        ("loki-url", "ftp://x", "http:// or https://"),
        ("loki-url", "http://kim:s@x", "--password-file"),
        ("loki-url", "http://x/loki/api/v1/push", "without /loki/api/"),
        ("loki-url", "http://x?y=1", "without ? and #"),
        ("grafana-url", "grafana", "a URL"),
        ("timezone", "Mars/Olympus", "an IANA name"),
        ("spool-max", "1", "a size of whole units"),
        ("spool-max", "1XB", "a size of whole units"),
        ("spool-max", "99999999999TiB", "a size of whole units"),
        ("spool-max", "1MiB", "at least 16MiB"),
        ("linger", "50", "a duration of whole units"),
        ("linger", "-1s", "a duration of whole units"),
        ("linger", "1.5s", "a duration of whole units"),
        ("linger", "2m", "at most 1m"),
        ("drain-timeout", "9999999999h", "at most a year"),
        ("fsync", "maybe", "true or false"),
        ("output", "lokki", "one of loki, ndjson, none"),
        ("progress", "sometimes", "one of auto, always, never"),
        ("log-level", "loud", "one of off, error, warn, info, debug, trace"),
        ("attr", "browser", "name=value"),
        ("attr", "Browser=x", "starts with a letter"),
        ("attr", "browser=", "1 to 1024 characters"),
        ("state-dir", " ", "a path"),
    ] {
        let flag = failure(&[(name, value)], &[], "");
        assert!(flag.starts_with(&format!("error: bad value: --{name} {value:?}: expected ")), "{flag}");
        assert!(flag.contains(allowed) && flag.contains("\nhint: "), "{flag}");
        if value.is_empty() || name == "attr" {
            continue;
        }
        let variable = setting::named(name).unwrap().env_name();
        assert!(failure(&[], &[(&variable, value)], "").contains(&format!("{variable}={value:?}: expected")));
        let file = failure(&[], &[], &format!("\n\n{name} = {value:?}"));
        assert!(file.contains(&format!("/etc/tw/testwire.toml:3: {name} = {value:?}: expected")), "{file}");
    }
    let number = failure(&[], &[], "linger = 50");
    assert!(number.contains("testwire.toml:1: linger = \"50\": expected a duration"), "{number}");
    let attribute = failure(&[], &[], "[attr]\nBrowser = \"x\"");
    assert!(attribute.contains("testwire.toml:1: attr = \"Browser=x\""), "{attribute}");
}

#[test]
fn sizes_and_durations_are_read_and_shown_with_units() {
    for (text, bytes, shown) in [
        ("64KiB", 65536, "64KiB"),
        ("1 gib", 1 << 30, "1GiB"),
        ("500MB", 500_000_000, "500MB"),
        ("1024MiB", 1 << 30, "1GiB"),
        ("7B", 7, "7B"),
        ("0B", 0, "0B"),
    ] {
        let size: Bytes = text.parse().unwrap();
        assert_eq!((size.0, size.to_string().as_str()), (bytes, shown));
    }
    for (text, ms, shown) in [("50ms", 50, "50ms"), ("90s", 90_000, "90s"), ("2m", 120_000, "2m"), ("0s", 0, "0s")] {
        let period: value::Period = text.parse().unwrap();
        assert_eq!((period.0.as_millis(), period.to_string().as_str()), (ms, shown));
    }
}

#[test]
fn secrets_come_from_files_or_the_environment_and_are_never_shown() {
    let basic = resolve(&[("user", "kim")], &[("TESTWIRE_PASSWORD", "s3cret")], "").unwrap();
    assert!(matches!(&basic.loki.auth, Auth::Basic { user, .. } if user == "kim"));
    let Credentials::Basic { password, .. } = basic.loki.auth.credentials().unwrap() else { panic!() };
    assert_eq!(password.0, "s3cret");
    assert!(!format!("{basic:?}{}", basic.table()).contains("s3cret"));
    assert_eq!(shown(&basic, "password"), (Some("***"), "TESTWIRE_PASSWORD".into()));
    let bearer = resolve(&[], &[("TESTWIRE_BEARER_TOKEN", "s3cret")], "").unwrap();
    assert_eq!(bearer.loki.auth.credentials().unwrap(), Credentials::Bearer(Secret("s3cret".into())));
    assert!(!format!("{:?}{bearer:?}{}", bearer.loki.auth.credentials(), bearer.table()).contains("s3cret"));
}

#[test]
fn headers_come_from_the_environment_or_a_file_and_their_values_are_never_shown() {
    let toml = "[header]\nX-Api-Key = \"s3cret, with a comma\"\nX-Team = \"s3cret\"";
    let settings = resolve(&[], &[("TESTWIRE_HEADER", "x-team=other-s3cret,X-B=s3cret=2")], toml).unwrap();
    let headers: Vec<_> = settings.loki.headers.iter().map(|(name, value)| (name.as_str(), value.0.as_str())).collect();
    assert_eq!(headers, [("x-api-key", "s3cret, with a comma"), ("x-b", "s3cret=2"), ("x-team", "other-s3cret")]);
    assert!(!format!("{settings:?}{}", settings.table()).contains("s3cret"));
    assert!(settings.table().contains("x-team=***"), "{}", settings.table());
    let bad_variable = |text: &str| failure(&[], &[("TESTWIRE_HEADER", text)], "");
    let bad_file = |text: &str| Failure::from(File::parse(Path::new("testwire.toml"), text).unwrap_err()).render(false);
    for text in ["s3cret", "X Y=s3cret", "X-A=s3\u{7}cret", "host=s3cret"]
        .map(bad_variable)
        .into_iter()
        .chain(["header = \"s3cret\"", "[header]\nA = [\"s3cret\"]"].map(bad_file))
    {
        assert!(text.contains("***") && !text.contains("s3") && !text.contains("cret\""), "{text}");
    }
}

#[test]
fn a_secret_file_is_relative_to_the_file_that_names_it_and_read_when_needed() {
    let temp = tempfile::tempdir().unwrap();
    let config = temp.path().join("testwire.toml");
    let token = temp.path().join("token");
    let file = File::parse(&config, "bearer-token-file = \"token\"").unwrap();
    let settings = Settings::resolve(&Typed::default(), &Env::new(), Some(&file), &Place::for_tests()).unwrap();
    let read = || settings.loki.auth.credentials().map_err(|error| Failure::from(error).render(false));
    assert!(read().unwrap_err().contains("cannot read"));
    for (text, result) in [("s3cret\n", Some("s3cret")), ("new\r\n", Some("new")), ("\n", None), ("a\nb", None)] {
        std::fs::write(&token, text).unwrap();
        match (read(), result) {
            (Ok(Credentials::Bearer(secret)), Some(expected)) => assert_eq!(secret.0, expected),
            (Err(error), None) => assert!(error.contains("no usable secret"), "{error}"),
            (other, _) => panic!("{text:?}: {other:?}"),
        }
    }
    let home = resolve(&[("bearer-token-file", "~/t")], &[("TESTWIRE_BEARER_TOKEN", "x")], "").unwrap();
    assert_eq!(shown(&home, "bearer-token-file"), (Some("/home/kim/t"), "flag".into()));
    assert!(
        matches!(home.loki.auth, Auth::Bearer { token: secret::SecretSource::File(_) }),
        "a flag wins over a variable"
    );
}

#[test]
fn settings_that_do_not_go_together_are_refused_with_a_way_out() {
    let password = ("TESTWIRE_PASSWORD", "x");
    assert!(failure(&[("user", "kim")], &[], "").contains("hint: set password-file or TESTWIRE_PASSWORD"));
    assert!(failure(&[], &[password], "").contains("without user"));
    assert!(
        failure(&[("user", "kim")], &[password, ("TESTWIRE_BEARER_TOKEN", "y")], "").contains("both a bearer token")
    );
    assert!(failure(&[("tls-cert-file", "c.pem")], &[], "").contains("set both, or neither"));
    let tls =
        resolve(&[("tls-cert-file", "c.pem"), ("tls-key-file", "k.pem")], &[], "tls-ca-file = \"ca.pem\"").unwrap();
    let client = Some(("/home/kim/shop/c.pem".into(), "/home/kim/shop/k.pem".into()));
    assert_eq!(tls.loki.tls, Tls { ca: Some("/etc/tw/ca.pem".into()), client });
}

#[test]
fn what_is_odd_but_allowed_is_a_warning() {
    let open = resolve(&[("loki-url", "http://logs.example.org")], &[("TESTWIRE_BEARER_TOKEN", "x")], "").unwrap();
    assert!(open.warnings.iter().any(|text| text.contains("plain HTTP")), "{:?}", open.warnings);
    let local = resolve(&[("loki-url", "http://127.0.0.1:1")], &[("TESTWIRE_BEARER_TOKEN", "x")], "").unwrap();
    assert_eq!(local.warnings, [""; 0]);
    let slip = resolve(&[], &[("TESTWIRE_LOKIURL", "x"), ("TESTWIRE_EVENTS_DIR", "x")], "").unwrap();
    assert_eq!(slip.warnings, ["TESTWIRE_LOKIURL is not a setting; did you mean TESTWIRE_LOKI_URL?"]);
}

#[test]
fn a_settings_file_named_by_flag_or_variable_must_be_there() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("my.json");
    std::fs::write(&path, "{\"env\": \"ci\"}").unwrap();
    let place = Place { config_home: None, ..Place::for_tests() };
    let variable = env(&[(CONFIG_FILE_ENV, path.to_str().unwrap())]);
    let settings = Settings::load(&Typed::default(), &variable, &place).unwrap();
    assert_eq!(settings.run.env.as_str(), "ci");
    let missing = Typed { config_file: Some("no.toml".into()), ..Typed::default() };
    let error = Settings::load(&missing, &variable, &place).unwrap_err();
    assert_eq!(error.exit(), Exit::Config);
    assert!(error.render(false).contains("cannot read /home/kim/shop/no.toml: No such file"), "{error:?}");
}

#[test]
fn the_table_of_settings_has_a_line_for_each_with_its_origin() {
    let settings = resolve(&[("env", "ci")], &[("TESTWIRE_LINGER", "1s")], "\nquiet = true").unwrap();
    let table = settings.table();
    assert_eq!(table.lines().count(), setting::ALL.len());
    for (name, value, origin) in [
        ("env", "ci", "flag"),
        ("linger", "1s", "TESTWIRE_LINGER"),
        ("quiet", "true", "/etc/tw/testwire.toml:2"),
        ("tenant", "(not set)", "default"),
        ("project", "shop", "current directory"),
    ] {
        let found = table
            .lines()
            .any(|line| line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).eq([name, value, origin]));
        assert!(found, "{name}:\n{table}");
    }
}
