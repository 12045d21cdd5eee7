//! Which path means what, and the answers that are the same for all.

use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, LINK, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response};

use super::body::{self, BodyError};
use super::door::Shut;
use super::metrics::Endpoint;
use super::testruns::{self, Asked};
use super::{App, auth, results};
use crate::decode::clients::{Answer, Context, Message, loader, own, realtime, stpt};

/// What a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Events,
    Realtime(realtime::Kind),
    OldPush,
    Loader,
    Stpt(stpt::Kind),
    Upload,
    UploadEws,
    UploadArchive,
    Testruns(Asked),
    Health,
    Alive,
    Ready,
    Metrics,
}

impl Route {
    /// A slash more or less at the end, or at the beginning where a base URL ended in one, means the same; there are no
    /// redirects, because clients make a GET of a redirected POST.
    fn of(path: &str, loader: Option<&str>) -> Option<Self> {
        Some(match path.trim_matches('/') {
            "loader" => Self::Loader,
            path if Some(path) == loader => Self::Loader,
            "v1/events" => Self::Events,
            "event" => Self::Realtime(realtime::Kind::Event),
            "event/log_message" => Self::Realtime(realtime::Kind::LogMessage),
            "log" => Self::Realtime(realtime::Kind::Log),
            "metric" => Self::Realtime(realtime::Kind::Metric),
            "api/upload" => Self::Upload,
            "api/upload/archive" => Self::UploadArchive,
            "api/upload/ews" => Self::UploadEws,
            "tm_api/dry_run" => Self::Stpt(stpt::Kind::DryRun),
            "tm_api/test_start" => Self::Stpt(stpt::Kind::Start),
            "tm_api/test_stop" => Self::Stpt(stpt::Kind::Stop),
            "loki/api/v1/push" => Self::OldPush,
            "health" => Self::Health,
            "healthz" => Self::Alive,
            "ready" => Self::Ready,
            "metrics" => Self::Metrics,
            path => Self::Testruns(Asked::of(path)?),
        })
    }

    fn endpoint(self) -> Endpoint {
        match self {
            Self::Events => Endpoint::Events,
            Self::Loader => Endpoint::Loader,
            Self::Stpt(_) => Endpoint::Stpt,
            Self::Upload | Self::UploadEws | Self::UploadArchive => Endpoint::Results,
            Self::Realtime(_) | Self::OldPush => Endpoint::Realtime,
            Self::Testruns(_) => Endpoint::Testruns,
            Self::Health | Self::Alive | Self::Ready | Self::Metrics => Endpoint::Health,
        }
    }

    /// The methods that work, as a header says it.
    fn methods(self) -> &'static str {
        match self {
            Self::Testruns(asked) => asked.methods(),
            route if route.is_read() => "GET, HEAD",
            _ => "POST",
        }
    }

    fn is_read(self) -> bool {
        matches!(self, Self::Health | Self::Alive | Self::Ready | Self::Metrics)
    }
}

/// Answers a request.
pub(super) async fn answer(app: &App, peer: IpAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let begun = Instant::now();
    let (shown, path) = auth::prefix(request.uri().path());
    let route = Route::of(path, app.rules().loader_path.as_deref());
    let allowed = is_allowed(app, route, shown, &request);
    let method = request.method().clone();
    let mut links = None;
    let answer = match (route, allowed) {
        (Some(Route::Testruns(_)), Err(answer)) => {
            testruns::log_refused(peer, &method, path, "", &answer.body);
            answer
        }
        (_, Err(answer)) => answer,
        (None, Ok(())) => Answer::error(404, "there is nothing at this path"),
        (Some(route), Ok(())) if route.is_read() => match method {
            Method::GET | Method::HEAD => read_only(app, route),
            _ => Answer::error(405, "only GET works here"),
        },
        (Some(Route::Testruns(asked)), Ok(())) => {
            let (answer, linked) = testruns::answer(app, asked, peer, request).await;
            links = linked;
            answer
        }
        (Some(_), Ok(())) if method != Method::POST => Answer::error(405, "only POST works here"),
        (Some(route), Ok(())) => post(app, route, peer, request).await,
    };
    app.counts.count_time(begun.elapsed());
    app.counts.count(route.map_or(Endpoint::Other, Route::endpoint), answer.status);
    respond(answer, route.map_or("POST", Route::methods), links)
}

fn is_allowed(app: &App, route: Option<Route>, shown: Option<&str>, request: &Request<Incoming>) -> Result<(), Answer> {
    if matches!(route, Some(Route::Health | Route::Alive | Route::Ready)) {
        return Ok(());
    }
    match &app.rules().token {
        Some(token) => {
            let shown = auth::bearer(request.headers()).or(shown);
            if shown.is_some_and(|shown| token.is(shown)) {
                Ok(())
            } else {
                Err(Answer::error(401, "the token is missing or wrong"))
            }
        }
        // A page in a browser on this machine reaches loopback, too, but no client is one.
        None if request.headers().contains_key(ORIGIN) => Err(Answer::error(403, "browsers must show a token")),
        None => Ok(()),
    }
}

fn read_only(app: &App, route: Route) -> Answer {
    let text = |status, body: String| Answer { status, media_type: "text/plain; charset=utf-8", body: body.into() };
    match route {
        // As the RealtimeResults server says it.
        Route::Health => Answer::json(200, "{\"status\":\"ok\"}"),
        Route::Alive => text(200, "ok\n".into()),
        Route::Ready if app.door.is_open() => text(200, "ready\n".into()),
        Route::Ready => text(503, "the spool is full\n".into()),
        Route::Metrics => {
            let mut out = String::with_capacity(8 << 10);
            app.counts.write(&mut out);
            (app.more_metrics)(&mut out);
            Answer { status: 200, media_type: "text/plain; version=0.0.4; charset=utf-8", body: out.into() }
        }
        _ => Answer::error(405, "only POST works here"),
    }
}

async fn post(app: &App, route: Route, peer: IpAddr, request: Request<Incoming>) -> Answer {
    let context = context(peer, request.uri().query().unwrap_or_default());
    let result = match route {
        Route::Events => events(app, &context, request).await,
        Route::Realtime(kind) => {
            whole(app, request, |body| realtime::parse(kind, body).map(|parsed| Message::Realtime(parsed, context)))
                .await
        }
        Route::Stpt(kind) => {
            whole(app, request, |body| stpt::parse(kind, body).map(|told| Message::Stpt(told, context))).await
        }
        Route::Upload => results::upload(app, false, &context, request).await,
        Route::UploadEws => results::upload(app, true, &context, request).await,
        Route::UploadArchive => results::archive(app, &context, request).await,
        Route::Loader => load(app, context, request).await,
        Route::OldPush => {
            let parse = |body: &[u8]| realtime::parse_push(body).map(|parsed| Message::Realtime(parsed, context));
            // What Loki says, and the sink looks at it.
            whole(app, request, parse).await.map(|_| Answer::empty(204))
        }
        Route::Testruns(_) | Route::Health | Route::Alive | Route::Ready | Route::Metrics => {
            return read_only(app, route);
        }
    };
    result.unwrap_or_else(|error| error)
}

/// Reads a body, understands it and hands it in.
async fn whole(
    app: &App,
    request: Request<Incoming>,
    parse: impl FnOnce(&[u8]) -> Result<Message, Answer>,
) -> Result<Answer, Answer> {
    let body::Held { bytes, room } = body_of(app, request).await?;
    let message = parse(&bytes)?;
    drop(bytes);
    let answer = app.door.hand_in(message).await.map_err(shut);
    // What waits at the door is as large as the body was.
    drop(room);
    answer
}

pub(super) async fn body_of(app: &App, request: Request<Incoming>) -> Result<body::Held, Answer> {
    let (head, incoming) = request.into_parts();
    let body = body::read(&head.headers, incoming, app.rules().max_body, &app.room).await.map_err(refused)?;
    app.counts.count_bytes(body.bytes.len());
    Ok(body)
}

/// Takes a message of pytest-rt or nose2rt; its pictures are kept as files before.
async fn load(app: &App, context: Context, request: Request<Incoming>) -> Result<Answer, Answer> {
    let body::Held { bytes, room } = body_of(app, request).await?;
    let mut loaded = loader::parse(&bytes)?;
    drop(bytes);
    if !loaded.screens.is_empty() {
        let attachments = app.attachments.clone();
        let kept = tokio::task::spawn_blocking(move || {
            for screen in &mut loaded.screens {
                match attachments.keep(&std::mem::take(&mut screen.bytes)) {
                    Ok(path) => screen.path = path.display().to_string(),
                    // A picture is no reason to lose the result.
                    Err(error) => tracing::error!(%error, "a screenshot cannot be kept"),
                }
            }
            loaded
        });
        loaded = kept.await.map_err(|_| Answer::error(500, "a screenshot could not be kept"))?;
    }
    let answer = app.door.hand_in(Message::Loader(loaded, context)).await.map_err(shut);
    drop(room);
    answer
}

/// Takes a body of any length line by line, while it comes.
async fn events(app: &App, context: &Context, request: Request<Incoming>) -> Result<Answer, Answer> {
    let (head, incoming) = request.into_parts();
    if !context.part.is_known() {
        return Err(Answer::error(400, "`format` is none of testwire, pytest and robot"));
    }
    let mut parts = body::Parts::new(&head.headers, incoming, app.rules().max_body).map_err(refused)?;
    let number = app.bodies.fetch_add(1, Relaxed);
    let mut piece: Option<own::Piece> = None;
    let (mut held, mut room) = (Vec::new(), body::Room::new(&app.room));
    let mut answer = Answer::empty(204);
    let broken = loop {
        // What has begun a line must go on with it: it takes up memory.
        let pace = if held.is_empty() { body::Pace::Free } else { body::Pace::Part };
        let part = match parts.next(pace).await {
            Ok(Some(part)) => part,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        app.counts.count_bytes(part.len());
        let old = held.len();
        if held.is_empty() {
            held = part
        } else {
            held.extend_from_slice(&part)
        }
        if held.len() > app.rules().max_body {
            break Some(BodyError::TooLarge);
        }
        if let Err(error) = room.hold(held.len()).await {
            break Some(error);
        }
        let Some(end) = held.get(old..).and_then(|fresh| memchr::memrchr(b'\n', fresh)) else { continue };
        let rest = held.split_off(old + end + 1);
        answer = hand_in(app, context, &mut piece, std::mem::replace(&mut held, rest), number, false).await?;
        // The rest of a line is small, and takes its place again with what follows.
        room.leave();
    };
    // What came of a broken body counts; its last line may be cut, and is none.
    let lines = if broken.is_some() { Vec::new() } else { held };
    if piece.is_some() || !lines.is_empty() {
        answer = hand_in(app, context, &mut piece, lines, number, true).await?;
    }
    match broken {
        None => Ok(answer),
        Some(error) => Err(refused(error)),
    }
}

async fn hand_in(
    app: &App,
    context: &Context,
    before: &mut Option<own::Piece>,
    lines: Vec<u8>,
    number: u64,
    last: bool,
) -> Result<Answer, Answer> {
    let piece = match before.as_ref() {
        Some(before) => before.next(lines),
        None => own::Piece::first(context, lines, number),
    };
    *before = Some(piece.next(Vec::new()));
    app.door.hand_in(Message::Own(own::Piece { last, ..piece })).await.map_err(shut)
}

fn context(peer: IpAddr, query: &str) -> Context {
    let mut context =
        Context { peer, project: String::new(), env: String::new(), run_id: String::new(), part: own::Part::default() };
    for (name, value) in reqwest::Url::parse(&format!("http://x/?{query}")).iter().flat_map(|url| url.query_pairs()) {
        let to = match &*name {
            "project" => &mut context.project,
            "env" => &mut context.env,
            "run_id" => &mut context.run_id,
            "shard" => &mut context.part.shard,
            "writer" => &mut context.part.writer,
            "format" => &mut context.part.format,
            "shards" => {
                context.part.shards = own::shards(&value);
                continue;
            }
            "line" => {
                context.part.line = value.parse().ok().filter(|line| *line > 0);
                continue;
            }
            _ => continue,
        };
        *to = crate::decode::clients::name(&value);
    }
    context
}

pub(super) fn refused(error: BodyError) -> Answer {
    match error {
        BodyError::TooLarge => Answer::error(413, "the body, or a line of it, is too large; see --max-body"),
        BodyError::Slow => Answer::error(408, "the body came too slowly"),
        BodyError::NoRoom => shut(Shut::Busy),
        BodyError::Broken(why) => Answer::error(400, why),
        BodyError::Encoding => Answer::error(415, "bodies may be packed with gzip only"),
    }
}

pub(super) fn shut(shut: Shut) -> Answer {
    match shut {
        Shut::Busy => Answer::error(503, "too much waits for Loki; try again"),
        Shut::Ending => Answer::error(503, "testwire is ending"),
    }
}

fn respond(answer: Answer, methods: &'static str, links: Option<String>) -> Response<Full<Bytes>> {
    let body = match answer.body {
        std::borrow::Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        std::borrow::Cow::Owned(text) => Bytes::from(text),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = hyper::StatusCode::from_u16(answer.status).expect("answers have statuses of HTTP");
    let headers = response.headers_mut();
    if !answer.media_type.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.media_type));
    }
    if let Some(links) = links.and_then(|links| HeaderValue::try_from(links).ok()) {
        headers.insert(LINK, links);
    }
    match answer.status {
        401 => drop(headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
        405 => drop(headers.insert(ALLOW, HeaderValue::from_static(methods))),
        // What is left of the body is not read.
        408 | 413 => drop(headers.insert(CONNECTION, HeaderValue::from_static("close"))),
        503 => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
        _ => {}
    }
    response
}
