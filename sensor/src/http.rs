//! HTTP: /metrics, /healthz, /readyz and the read-only API. It answers; it is never asked to do
//! anything. Who is answered, and whether over TLS, the web config says: the one that held when the
//! connection was taken.
//!
//! A connection carries one request and is over after [`CONNECTION_TIME`] whatever its client does,
//! and when there are [`CONNECTIONS_MAX`] the oldest makes room for the next: however many clients
//! are silent or slow, who comes with a request is heard at once. Answers that read the kernel's maps
//! are made [`ANSWERS_MAX`] at a time, whether or not somebody still waits for them.

mod guard;
mod passwords;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use axum::Router;
use axum::extract::State as Extract;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use sensor_ebpf::abi::{Side, index_of};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::clock::{boot_at, now_ns};
use crate::flows::end;
use crate::metrics::{self, Process};
use crate::state::{Standing, State};
use crate::test_alert::{self, TestAlert};
use crate::verdict::Role;
use crate::web_config::Web;
use passwords::Passwords;

/// Content type of the text format (prometheus.io, exposition formats).
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Connections at a time; for who comes next the oldest is hung up on.
pub const CONNECTIONS_MAX: usize = 64;
/// Answers from the kernel's maps that are made at a time; the others wait.
pub const ANSWERS_MAX: usize = 4;
/// From a connection's first byte to the last of its answer.
pub const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// From a connection's beginning to the last byte of the request's head: clients that never finish
/// must not keep a scraper waiting for as long as it is willing to wait. Before that, a TLS handshake
/// may take as long.
pub const HEAD_TIME: Duration = Duration::from_secs(2);
/// A request's head; a larger one is answered with 431.
pub const HEAD_MAX_BYTES: usize = 16 << 10;
/// After a connection could not be taken, when no descriptor is left for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone)]
struct Shared {
    state: Arc<State>,
    process: Arc<Process>,
    answers: Arc<Semaphore>,
}

impl Shared {
    /// Makes an answer on a thread where it may take its time.
    async fn read<T: Send + 'static>(
        self,
        make: impl FnOnce(&State, &Process) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let place = self.answers.acquire_owned().await?;
        let answer = tokio::task::spawn_blocking(move || {
            // Kept to the end, also when the client is gone.
            let _place = place;
            make(&self.state, &self.process)
        });
        answer.await?
    }
}

/// Answers on `listener` until `stop` changes; answers that are under way then are still given.
///
/// # Errors
/// When the kernel gives no random numbers.
pub async fn serve(listener: TcpListener, state: Arc<State>, mut stop: watch::Receiver<bool>) -> Result<()> {
    let router = router(Arc::clone(&state), Arc::new(Passwords::new()?));
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(HEAD_MAX_BYTES);
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    let graceful = GracefulShutdown::new();
    let mut open = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            // An error means that the sender is gone, which is a stop as well.
            _ = stop.changed() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("taking an HTTP connection: {error:#}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        make_room(&mut open);
        let connection = Connection {
            http: http.clone(),
            router: router.clone(),
            web: state.web.get(),
            watcher: graceful.watcher(),
        };
        let served = connection.serve(stream, peer, stop.clone());
        let task = tokio::spawn(async move { drop(timeout(CONNECTION_TIME, served).await) });
        open.push_back(task.abort_handle());
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}

/// What a connection is served with.
struct Connection {
    http: http1::Builder,
    router: Router,
    web: Arc<Web>,
    watcher: Watcher,
}

impl Connection {
    /// A client that breaks off, is too slow or not let in has itself to blame: nobody else is told.
    async fn serve(self, stream: TcpStream, peer: SocketAddr, mut stop: watch::Receiver<bool>) {
        let Some(tls) = self.web.tls.clone() else { return self.answer(stream).await };
        let handshake = timeout(HEAD_TIME, TlsAcceptor::from(tls).accept(stream));
        let shaken = tokio::select! {
            _ = stop.changed() => return,
            shaken = handshake => shaken,
        };
        match shaken {
            Ok(Ok(stream)) => self.answer(stream).await,
            Ok(Err(error)) => tracing::debug!(%peer, "TLS: {error}"),
            Err(_) => tracing::debug!(%peer, "TLS: the handshake took too long"),
        }
    }

    async fn answer(self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
        let Self { http, router, web, watcher } = self;
        let router = TowerToHyperService::new(router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Arc::clone(&web));
            router.call(request)
        });
        drop(watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await);
    }
}

/// Forgets connections that are over, and ends the oldest where that is not enough.
fn make_room(open: &mut VecDeque<AbortHandle>) {
    open.retain(|connection| !connection.is_finished());
    if open.len() >= CONNECTIONS_MAX
        && let Some(oldest) = open.pop_front()
    {
        oldest.abort();
    }
}

fn router(state: Arc<State>, passwords: Arc<Passwords>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/api/v1/interfaces", get(interfaces))
        .route("/api/v1/targets", get(targets))
        .route("/api/v1/detections", get(detections))
        .with_state(Shared {
            state,
            process: Arc::new(Process::default()),
            answers: Arc::new(Semaphore::new(ANSWERS_MAX)),
        })
        // Around what is not found, too.
        .layer(from_fn_with_state(passwords, guard::guard))
}

async fn index() -> Response {
    let page = "<!doctype html><meta charset=utf-8><title>poolwatch</title><h1>poolwatch</h1>\
        <ul><li><a href=/metrics>metrics</a><li><a href=/readyz>ready?</a>\
        <li><a href=/api/v1/targets>targets</a><li><a href=/api/v1/detections>detections</a><li><a href=/api/v1/interfaces>interfaces</a></ul>\n";
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

async fn metrics(Extract(shared): Extract<Shared>) -> Response {
    match shared.read(metrics::text).await {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => failed(&error),
    }
}

async fn readyz(Extract(shared): Extract<Shared>) -> Response {
    let complaints = shared.state.interfaces.get().complaints();
    if complaints.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", complaints.join("; "))).into_response()
}

/// One element of /api/v1/interfaces.
#[derive(Serialize)]
struct InterfaceView {
    interface: String,
    attached: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    hook: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

async fn interfaces(Extract(shared): Extract<Shared>) -> Response {
    let interfaces = shared.state.interfaces.get();
    let views: Vec<_> = interfaces
        .0
        .iter()
        .map(|(name, standing)| {
            let (hook, reason) = match standing {
                Standing::Attached { hook, .. } => (Some(hook.name()), None),
                Standing::Failed(why) => (None, Some(why.clone())),
                Standing::Absent => (None, Some("absent".to_owned())),
            };
            InterfaceView { interface: name.clone(), attached: hook.is_some(), hook, reason }
        })
        .collect();
    Json(views).into_response()
}

/// One element of /api/v1/targets: sums over directions, initiators and transports.
#[derive(Serialize)]
struct TargetView {
    watchlist: String,
    target: String,
    category: &'static str,
    confidence: &'static str,
    connections: u64,
    established: u64,
    joined: u64,
    packets: u64,
    bytes: u64,
    /// Connections recognised by what they say.
    detections: u64,
    /// Mining sessions that are alive.
    mining_sessions: u64,
    /// Of a test alert, which nothing caused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    synthetic: bool,
}

impl TargetView {
    fn of_test_alert(shown: &TestAlert) -> Self {
        Self {
            watchlist: test_alert::NAME.to_owned(),
            target: test_alert::NAME.to_owned(),
            category: test_alert::CATEGORY,
            confidence: test_alert::CONFIDENCE,
            connections: 0,
            established: 0,
            joined: 0,
            packets: 0,
            bytes: 0,
            detections: shown.count,
            mining_sessions: 1,
            synthetic: true,
        }
    }
}

async fn targets(Extract(shared): Extract<Shared>) -> Response {
    let read = shared.read(|state, _| {
        let (watched, recognised) = (state.watched.get(), state.recognised.get());
        let shown = Some(state.test_alert.get()).filter(|test| test.is_shown(now_ns()));
        let test = shown.map(|test| Ok(TargetView::of_test_alert(&test)));
        watched
            .slots
            .iter()
            .map(|slot| {
                let totals = state.kernel.totals(slot.index)?;
                Ok(TargetView {
                    watchlist: slot.watchlist.clone(),
                    target: slot.target.clone(),
                    category: slot.category,
                    confidence: slot.confidence,
                    connections: totals.connections.as_flattened().iter().sum(),
                    established: totals.established.as_flattened().iter().sum(),
                    joined: totals.joined,
                    packets: totals.packets.as_flattened().iter().sum(),
                    bytes: totals.bytes.as_flattened().iter().sum(),
                    detections: state.kernel.findings(slot.index, &recognised).detections.iter().sum(),
                    mining_sessions: recognised.sessions_of(slot.index),
                    synthetic: false,
                })
            })
            .chain(test)
            .collect::<Result<Vec<_>>>()
    });
    match read.await {
        Ok(views) => Json(views).into_response(),
        Err(error) => failed(&error),
    }
}

/// One element of /api/v1/detections, the newest first; one that concerns two targets is two.
#[derive(Serialize)]
struct DetectionView<'a> {
    /// Seconds since the epoch.
    at: f64,
    watchlist: &'a str,
    target: &'a str,
    signal: &'static str,
    role: &'static str,
    local: SocketAddr,
    remote: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coin: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<&'a str>,
    /// Of a test alert, which nothing caused: what it says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    synthetic: Option<&'static str>,
}

impl DetectionView<'_> {
    fn of_test_alert(asked_at: SystemTime) -> Self {
        Self {
            at: seconds(asked_at),
            watchlist: test_alert::NAME,
            target: test_alert::NAME,
            signal: test_alert::NAME,
            role: Role::Miner.name(),
            local: test_alert::MINER,
            remote: test_alert::POOL,
            interface: None,
            agent: None,
            coin: None,
            server_name: None,
            synthetic: Some(test_alert::MESSAGE),
        }
    }
}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

async fn detections(Extract(shared): Extract<Shared>) -> Response {
    let state = &shared.state;
    let (recognised, watched) = (state.recognised.get(), state.watched.get());
    let (interfaces, boot_at) = (state.interfaces.get(), boot_at());
    let mut views = Vec::new();
    let test = state.test_alert.get();
    if test.is_shown(now_ns()) {
        views.push(DetectionView::of_test_alert(boot_at + Duration::from_nanos(test.asked_ns())));
    }
    for found in &recognised.recent {
        let slots = found
            .targets
            .slots()
            .filter_map(|slot| watched.slots.iter().find(|it| it.index == index_of(slot)));
        let at = boot_at + Duration::from_nanos(found.at_ns);
        views.extend(slots.map(|slot| DetectionView {
            at: seconds(at),
            watchlist: &slot.watchlist,
            target: &slot.target,
            signal: found.signal.name(),
            role: found.role.name(),
            local: end(&found.key, Side::Local),
            remote: end(&found.key, Side::Remote),
            interface: interfaces.name(found.interface),
            agent: found.about.agent.as_deref(),
            coin: found.about.coin.as_deref(),
            server_name: found.server_name.as_deref(),
            synthetic: None,
        }));
    }
    Json(views).into_response()
}

/// What went wrong goes to the log; the client learns that something did.
fn failed(error: &anyhow::Error) -> Response {
    tracing::error!("answering HTTP: {error:#}");
    (StatusCode::INTERNAL_SERVER_ERROR, "internal error: see the log\n").into_response()
}
