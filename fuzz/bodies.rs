//! Any bytes as the body of every endpoint of `listen`: answers are of HTTP, and what was taken survives its serialized
//! form. For the fuzz target, and for a test that needs no fuzzer.

use std::net::{IpAddr, Ipv4Addr};

use testwire::decode::clients::{
    Ambient, Clients, Context, Message, RunFacts, Runs, loader, own, realtime, resultsdb, stpt,
};
use testwire::event::{Event, Timestamp};

/// Keeps nothing.
struct Nobody;

impl Runs for Nobody {
    fn open(&mut self, _: &str, _: RunFacts) {}
    fn event(&mut self, _: &str, _: &Event<'_>) {}
    fn close(&mut self, _: &str) {}
    fn close_soon(&mut self, _: &str) {}
    fn discard(&mut self, _: &str) {}
    fn ambient(&mut self, _: &Ambient) {}
    fn now(&self) -> Timestamp {
        Timestamp(1_795_167_088_000_000_000)
    }
}

fn messages(endpoint: u8, body: &[u8]) -> Vec<Message> {
    let context = Context {
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        project: String::new(),
        env: String::new(),
        run_id: String::new(),
        part: own::Part { writer: "w".into(), line: Some(1), ..own::Part::default() },
    };
    let realtime = |kind| realtime::parse(kind, body).map(|parsed| Message::Realtime(parsed, context.clone()));
    let stpt = |kind| stpt::parse(kind, body).map(|told| Message::Stpt(told, context.clone()));
    let parsed = match endpoint % 11 {
        0 => realtime(realtime::Kind::Event),
        1 => realtime(realtime::Kind::LogMessage),
        2 => realtime(realtime::Kind::Log),
        3 => realtime(realtime::Kind::Metric),
        4 => stpt(stpt::Kind::DryRun),
        5 => stpt(stpt::Kind::Start),
        6 => stpt(stpt::Kind::Stop),
        7 => loader::parse(body).map(|loaded| Message::Loader(loaded, context.clone())),
        8 => realtime::parse_push(body).map(|parsed| Message::Realtime(parsed, context.clone())),
        9 => Ok(Message::Own(own::Piece { last: true, ..own::Piece::first(&context, body.to_vec(), 1) })),
        _ => match resultsdb::parse(body, &context, 1) {
            Ok(resultsdb::Upload { head, leaves }) => {
                let key = head.key.clone();
                return vec![
                    Message::Results(resultsdb::Part::Begin(Box::new(head))),
                    Message::Results(resultsdb::Part::Results(key.clone(), 0, leaves)),
                    Message::Results(resultsdb::Part::End(key)),
                ];
            }
            Err(answer) => Err(answer),
        },
    };
    match parsed {
        Ok(message) => vec![message],
        Err(answer) => {
            assert!((400..500).contains(&answer.status), "{answer:?}");
            Vec::new()
        }
    }
}

/// Takes a body; the first byte chooses the endpoint.
pub(crate) fn take(bytes: &[u8]) {
    let Some((endpoint, body)) = bytes.split_first() else { return };
    let mut clients = Clients::new(Box::new(|wall| wall.and_utc().timestamp_nanos_opt().map(Timestamp)));
    for message in messages(*endpoint, body) {
        let kept = serde_json::to_string(&message).ok();
        assert!((200..500).contains(&clients.take(message, &mut Nobody).status));
        if let Some(kept) = kept {
            let again: Message = serde_json::from_str(&kept).expect("a kept message can be read");
            clients.take(again, &mut Nobody);
        }
    }
    let state = serde_json::to_string(clients.state()).expect("the state can be kept");
    clients.set_state(serde_json::from_str(&state).expect("the state can be read"));
}
