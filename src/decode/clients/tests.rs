//! Every client's messages, damaged in every way: nothing panics, and what is no message is refused.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use super::*;

/// Keeps nothing but the names of runs, and checks what may be expected of every client.
#[derive(Default)]
struct Checked {
    open: HashSet<String>,
    events: u64,
}

impl Runs for Checked {
    fn open(&mut self, key: &str, facts: RunFacts) {
        assert!(!facts.runner.is_empty());
        assert!(facts.attributes.iter().all(|(name, _)| !name.is_empty()), "{facts:?}");
        self.open.insert(key.to_owned());
    }

    fn event(&mut self, _: &str, event: &Event<'_>) {
        assert!(event.time.is_none_or(|time| time.0 > -(1 << 62)), "{event:?}");
        self.events += 1;
    }

    fn close(&mut self, key: &str) {
        self.open.remove(key);
    }

    fn close_soon(&mut self, _: &str) {}

    fn discard(&mut self, _: &str) {}
    fn ambient(&mut self, _: &Ambient) {
        self.events += 1;
    }

    fn now(&self) -> Timestamp {
        Timestamp(1_795_180_000_000_000_000)
    }
}

fn bodies() -> Vec<(String, Vec<u8>)> {
    let directory = format!("{}/tests/fixtures/clients", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|ext| ext == "jsonl")).collect();
    files.sort();
    let mut found = Vec::new();
    for line in files
        .iter()
        .flat_map(|path| std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
    {
        let row: serde_json::Value = serde_json::from_str(&line).unwrap();
        let path = row["path"].as_str().unwrap_or_default();
        // Those that order test runs are no messages.
        let orders = path.starts_with("/newTestrun") || path.starts_with("/api/testruns");
        if let Some(body) = row["body_text"].as_str().filter(|_| !orders) {
            found.push((row["path"].as_str().unwrap().to_owned(), body.as_bytes().to_vec()));
        }
    }
    found
}

fn parse(path: &str, body: &[u8], number: u64) -> Result<Vec<Message>, Answer> {
    let context = Context {
        peer: IpAddr::V4(Ipv4Addr::new(10, 0, 0, (number % 3) as u8)),
        project: String::new(),
        env: String::new(),
        run_id: if number.is_multiple_of(17) { "given".into() } else { String::new() },
        part: own::Part::default(),
    };
    let realtime = |kind, context| Ok(vec![Message::Realtime(realtime::parse(kind, body)?, context)]);
    let stpt = |kind, context| Ok(vec![Message::Stpt(stpt::parse(kind, body)?, context)]);
    match path {
        "/event" => realtime(realtime::Kind::Event, context),
        "/event/log_message" => realtime(realtime::Kind::LogMessage, context),
        "/log" => realtime(realtime::Kind::Log, context),
        "/metric" => realtime(realtime::Kind::Metric, context),
        "/loki/api/v1/push" => Ok(vec![Message::Realtime(realtime::parse_push(body)?, context)]),
        "/loader" => Ok(vec![Message::Loader(loader::parse(body)?, context)]),
        "/tm_api/dry_run/" => stpt(stpt::Kind::DryRun, context),
        "/tm_api/test_start/" => stpt(stpt::Kind::Start, context),
        "/tm_api/test_stop/" => stpt(stpt::Kind::Stop, context),
        "/api/upload" => {
            let upload = resultsdb::parse(body, &context, number)?;
            let key = upload.head.key.clone();
            let results = resultsdb::Part::Results(key.clone(), 0, upload.leaves);
            let parts = [resultsdb::Part::Begin(Box::new(upload.head)), results, resultsdb::Part::End(key)];
            Ok(parts.into_iter().map(Message::Results).collect())
        }
        other => panic!("nobody knows {other}"),
    }
}

/// Cuts, doubles, replaces and mixes bytes and JSON values.
fn damage(body: &mut Vec<u8>, random: &mut fastrand::Rng) {
    const VALUES: [&str; 16] = [
        "null",
        "[]",
        "{}",
        "0",
        "-1",
        "1e308",
        "true",
        "\"\"",
        "\"\\ud800\"",
        "\"\\u0000\"",
        "18446744073709551615",
        "1795167053.9",
        "\"1e400\"",
        "\"../../x\"",
        "[[[[[[[[{}]]]]]]]]",
        "\"9999-12-31T23:59:59.999999999Z\"",
    ];
    for _ in 0..random.usize(..4) {
        let at = random.usize(..=body.len());
        match random.u8(..6) {
            0 => body.truncate(at),
            1 => body.insert(at, random.u8(..)),
            2 if at < body.len() => body[at] = random.u8(..),
            3 => {
                let end = (at + random.usize(..20)).min(body.len());
                body.drain(at..end);
            }
            // Another value behind a colon.
            _ => {
                let Some(colon) = memchr::memchr(b':', &body[at..]) else { continue };
                let from = at + colon + 1;
                let end =
                    body[from..].iter().position(|b| matches!(b, b',' | b'}' | b']')).map_or(body.len(), |n| from + n);
                body.splice(from..end, VALUES[random.usize(..VALUES.len())].bytes());
            }
        }
    }
}

/// Sets have no order of their own.
fn sorted(mut value: serde_json::Value) -> serde_json::Value {
    match &mut value {
        serde_json::Value::Array(values) => {
            values.iter_mut().for_each(|value| *value = sorted(value.take()));
            values.sort_by_key(ToString::to_string);
        }
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|value| *value = sorted(value.take())),
        _ => {}
    }
    value
}

#[test]
fn damaged_messages_are_refused_or_taken_and_never_panic() {
    let bodies = bodies();
    let mut random = fastrand::Rng::with_seed(7);
    let mut clients = Clients::new(Box::new(|wall| wall.and_utc().timestamp_nanos_opt().map(Timestamp)));
    let mut runs = Checked::default();
    // Takes the messages in the form in which they are kept for a restart.
    let mut again = Clients::new(Box::new(|wall| wall.and_utc().timestamp_nanos_opt().map(Timestamp)));
    let mut runs_again = Checked::default();
    let (mut taken, mut refused) = (0, 0);
    let rounds: u64 = std::env::var("FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    for number in 0..rounds {
        let (path, body) = &bodies[random.usize(..bodies.len())];
        let mut body = body.clone();
        damage(&mut body, &mut random);
        match parse(path, &body, number) {
            Ok(messages) => {
                for message in messages {
                    let kept = serde_json::to_string(&message).ok();
                    let answer = clients.take(message, &mut runs);
                    if let Some(kept) = kept {
                        again.take(serde_json::from_str(&kept).unwrap(), &mut runs_again);
                    }
                    assert!(matches!(answer.status, 200..=208 | 400), "{answer:?}");
                }
                taken += 1;
            }
            Err(answer) => {
                assert_eq!(answer.status, 400, "{answer:?}");
                refused += 1;
            }
        }
        // As the timeout does.
        if number.is_multiple_of(1000)
            && let Some(key) = runs.open.iter().next().cloned()
        {
            runs.open.remove(&key);
            clients.forget(&key);
            again.forget(&key);
        }
        if number.is_multiple_of(5_000) {
            let state = |clients: &Clients| sorted(serde_json::to_value(clients.state()).unwrap());
            for (part, value) in state(&clients).as_object().unwrap() {
                assert!(state(&again)[part] == *value, "{part} differs after {number}");
            }
            // Nor does the form of the state lose anything.
            again.set_state(serde_json::from_value(serde_json::to_value(again.state()).unwrap()).unwrap());
        }
    }
    assert!(taken > rounds / 4 && refused > rounds / 10, "{taken} taken, {refused} refused");
    assert!(runs.events > rounds / 4);
}
