//! Uploads of WebKit's results database.

use std::sync::atomic::Ordering::Relaxed;

use hyper::Request;
use hyper::body::Incoming;

use super::archive::{ArchiveError, Form};
use super::routes::{body_of, refused, shut};
use super::{App, body};
use crate::decode::clients::resultsdb::{self, Part, Upload};
use crate::decode::clients::{Ambient, Answer, Context, Message};

/// Results that are handed in together.
const PART: usize = 500;
/// Label `source` of the lines that say where archives are.
const ARCHIVE: &str = "archive";

/// What the results database's processors answer when all is well; the client counts any other status as a failure.
const PROCESSED: &str = "{\"status\":\"ok\",\"processing\":{\"ci-urls\":{\"status\":\"ok\"},\
    \"commit-identifiers\":{\"status\":\"ok\"},\"suite-results\":{\"status\":\"ok\"},\
    \"test-failures\":{\"status\":\"ok\"},\"test-results\":{\"status\":\"ok\"}}}";

/// Takes an upload in parts, so that other clients are answered between them.
async fn upload_words(
    app: &App,
    is_ews: bool,
    context: &Context,
    request: Request<Incoming>,
) -> Result<Answer, Answer> {
    let body = body_of(app, request).await?;
    let number = app.bodies.fetch_add(1, Relaxed);
    let context = context.clone();
    // Tens of thousands of results take long enough to hold up this thread's other connections.
    let parsed = tokio::task::spawn_blocking(move || match is_ews {
        true => resultsdb::parse_ews(&body.bytes, &context, number),
        false => resultsdb::parse(&body.bytes, &context, number),
    });
    let Upload { head, leaves } = parsed.await.map_err(|_| Answer::error(500, "the upload could not be read"))??;
    let answer = if is_ews {
        let names: Vec<&str> = leaves.iter().map(resultsdb::Leaf::path).collect();
        Answer::json(200, serde_json::json!({ "status": "ok", "tests": names }).to_string())
    } else {
        Answer::json(200, PROCESSED)
    };
    let key = head.key.clone();
    let hand_in = |part| async { app.door.hand_in(Message::Results(part)).await.map_err(shut) };
    if hand_in(Part::Begin(Box::new(head))).await? == resultsdb::KNOWN {
        return Ok(answer);
    }
    let mut first = 0;
    let mut leaves = leaves.into_iter();
    while leaves.len() > 0 {
        let part: Vec<_> = leaves.by_ref().take(PART).collect();
        let count = part.len();
        hand_in(Part::Results(key.clone(), first, part)).await?;
        first += count;
    }
    hand_in(Part::End(key)).await?;
    Ok(answer)
}

/// Takes an upload; errors are in the words of the database.
pub(super) async fn upload(
    app: &App,
    is_ews: bool,
    context: &Context,
    request: Request<Incoming>,
) -> Result<Answer, Answer> {
    upload_words(app, is_ews, context, request).await.map_err(described)
}

/// Keeps an archive as a file that is called after its run, and says where it is.
pub(super) async fn archive(app: &App, context: &Context, request: Request<Incoming>) -> Result<Answer, Answer> {
    let failed = |error: ArchiveError| match error {
        ArchiveError::Form(why) => resultsdb::refusal(400, why),
        ArchiveError::TooLarge => resultsdb::refusal(413, "the archive is too large"),
        ArchiveError::Io(error) => {
            tracing::error!(%error, "an archive cannot be kept");
            // The one refusal that does not make the uploader fail: its results are taken all the same.
            resultsdb::refusal(413, "the archive cannot be kept")
        }
    };
    let (head, incoming) = request.into_parts();
    let mut parts =
        body::Parts::new(&head.headers, incoming, app.rules().max_body).map_err(|e| described(refused(e)))?;
    let half = app.attachments.begin().map_err(|e| failed(e.into()))?;
    let mut form = Form::new(&head.headers, half).map_err(failed)?;
    while let Some(part) = parts.next(body::Pace::Body).await.map_err(|e| described(refused(e)))? {
        app.counts.count_bytes(part.len());
        form.take(&part).map_err(failed)?;
    }
    let (fields, half) = form.finish().map_err(failed)?;
    if !half.is_zip().map_err(|e| failed(e.into()))? {
        return Err(resultsdb::refusal(400, "the archive is no zip file"));
    }
    let run_id = resultsdb::run_of_form(&fields, context)?;
    let path = half.keep(&format!("{run_id}.zip")).map_err(|e| failed(e.into()))?;
    let what = Ambient {
        source: ARCHIVE.into(),
        text: format!("archive of run {run_id}: {}", path.display()),
        project: context.project.clone(),
        env: context.env.clone(),
        ..Ambient::default()
    };
    if let Err(error) = app.door.hand_in(Message::Ambient(what)).await {
        // The archive is there, and any other answer would make the uploader fail.
        tracing::warn!(?error, "no entry says where the archive {} is", path.display());
    }
    Ok(Answer::json(200, "{\"status\":\"ok\"}"))
}

/// An error in the words of the results database.
fn described(answer: Answer) -> Answer {
    let value: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
    match value.get("error").and_then(|error| error.as_str()) {
        Some(error) if value.get("description").is_none() => resultsdb::refusal(answer.status, error),
        _ => answer,
    }
}
