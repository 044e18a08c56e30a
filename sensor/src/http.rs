//! HTTP: /metrics, /healthz, /readyz and the read-only API. It answers; it is never asked to do
//! anything. Who is answered, and whether over TLS, the web config says: the one that held when the
//! connection was taken.
//!
//! A connection carries one request and is over after [`CONNECTION_TIME`] whatever its client does,
//! and when there are [`CONNECTIONS_MAX`] the oldest makes room for the next: however many clients
//! are silent or slow, who comes with a request is heard at once. Answers that read the kernel's maps
//! are made [`ANSWERS_MAX`] at a time, whether or not somebody still waits for them.

mod api;
mod guard;
mod passwords;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::extract::State as Extract;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::metrics::{self, Process};
use crate::state::State;
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
        .route("/api/v1/interfaces", get(api::interfaces))
        .route("/api/v1/targets", get(api::targets))
        .route("/api/v1/detections", get(api::detections))
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

/// What went wrong goes to the log; the client learns that something did.
fn failed(error: &anyhow::Error) -> Response {
    tracing::error!("answering HTTP: {error:#}");
    (StatusCode::INTERNAL_SERVER_ERROR, "internal error: see the log\n").into_response()
}
