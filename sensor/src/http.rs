//! HTTP: /metrics, /healthz, /readyz and the read-only API. It answers; it is never asked to do
//! anything.

use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State as Extract;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::metrics::{self, Process};
use crate::state::{Standing, State};

/// Content type of the text format (prometheus.io, exposition formats).
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone)]
struct Shared {
    state: Arc<State>,
    process: Arc<Process>,
}

/// Answers on `listener` until `stop` changes.
pub async fn serve(listener: TcpListener, state: Arc<State>, mut stop: watch::Receiver<bool>) -> Result<()> {
    let shared = Shared { state, process: Arc::new(Process::default()) };
    let router = Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/api/v1/interfaces", get(interfaces))
        .route("/api/v1/targets", get(targets))
        .with_state(shared);
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            // An error means that the sender is gone, which is a stop as well.
            let _ = stop.changed().await;
        })
        .await
        .context("serving HTTP")
}

async fn index() -> Response {
    let page = "<!doctype html><meta charset=utf-8><title>poolwatch</title><h1>poolwatch</h1>\
        <ul><li><a href=/metrics>metrics</a><li><a href=/readyz>ready?</a>\
        <li><a href=/api/v1/targets>targets</a><li><a href=/api/v1/interfaces>interfaces</a></ul>\n";
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

async fn metrics(Extract(shared): Extract<Shared>) -> Response {
    let rendered = tokio::task::spawn_blocking(move || metrics::text(&shared.state, &shared.process)).await;
    match rendered {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error.into()),
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
}

async fn targets(Extract(shared): Extract<Shared>) -> Response {
    let read = tokio::task::spawn_blocking(move || {
        let watched = shared.state.watched.get();
        watched
            .slots
            .iter()
            .map(|slot| {
                let totals = shared.state.kernel.totals(slot.index)?;
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
                })
            })
            .collect::<Result<Vec<_>>>()
    });
    match read.await {
        Ok(Ok(views)) => Json(views).into_response(),
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error.into()),
    }
}

/// What went wrong goes to the log; the client learns that something did.
fn failed(error: &anyhow::Error) -> Response {
    tracing::error!("answering HTTP: {error:#}");
    (StatusCode::INTERNAL_SERVER_ERROR, "internal error: see the log\n").into_response()
}
