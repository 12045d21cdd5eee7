use super::*;
use crate::event::{Fact, Level, Status};

/// Facts that the decoder finds in a story's lines.
fn decoded(story: &Story, mut take: impl FnMut(Fact<'_>)) {
    let mut decoder = Format::Testwire.decoder();
    for step in script(story) {
        decoder.line(step.event.to_string().as_bytes(), &mut |event| take(event.fact));
    }
    decoder.finish(&mut |event| take(event.fact));
    assert_eq!(decoder.runner(), story.runner);
}

#[test]
fn every_line_of_the_stories_is_an_event_of_the_documented_format() {
    for story in STORIES {
        decoded(story, |fact| {
            if let Fact::Note(note) = fact {
                panic!("{}: {}", story.runner, note.text);
            }
        });
    }
}

#[test]
fn the_demo_shows_what_it_promises_in_15_to_20_seconds() {
    let (mut statuses, mut logs, mut longest) = (Vec::new(), Vec::new(), Duration::ZERO);
    for story in STORIES {
        let steps = script(story);
        assert!(steps.is_sorted_by_key(|step| step.at));
        let length = steps.last().unwrap().at;
        assert!((10..=20).contains(&length.as_secs()), "{} takes {length:?}", story.runner);
        longest = longest.max(length);
        decoded(story, |fact| match fact {
            Fact::TestFinished(end) => statuses.push(end.status),
            Fact::Log(log) if log.level == Some(Level::Error) => logs.push(log.source.as_str().to_owned()),
            _ => {}
        });
    }
    assert!(longest >= Duration::from_secs(15), "{longest:?}");
    let count = |status| statuses.iter().filter(|s| **s == status).count();
    assert_eq!(count(Status::Failed), 4);
    assert_eq!((count(Status::Errored), count(Status::Retried), count(Status::Xfailed)), (1, 1, 1));
    assert_eq!(count(Status::Skipped), 3);
    assert!(count(Status::Passed) > 80, "{}", count(Status::Passed));
    assert!(logs.contains(&"payments".to_owned()) && logs.contains(&"shop-api".to_owned()), "{logs:?}");
}

#[test]
fn every_plot_belongs_to_a_test() {
    for (name, _) in stories::PLOTS {
        let tests = STORIES.iter().flat_map(|story| story.suites).flat_map(|suite| suite.tests);
        assert_eq!(tests.filter(|test| *test == name).count(), 1, "{name}");
    }
}

#[test]
fn only_what_a_person_should_look_at_is_said() {
    let event = serde_json::json!({"event": "test_finished", "test": "a", "status": "failed", "message": "b\nc"});
    let at = Duration::from_millis(4210);
    assert_eq!(saying("robot", at, &event).unwrap(), "  4.2s robot   FAIL  a  b");
    assert_eq!(saying("robot", at, &serde_json::json!({"event": "test_finished", "status": "passed"})), None);
}
