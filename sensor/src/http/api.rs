//! /api/v1: what the status page, `poolwatch status` and scripts read, as JSON. Each element is a struct
//! here; a test alert is among them, marked.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use axum::extract::State as Extract;
use axum::response::{IntoResponse, Json, Response};
use sensor_ebpf::abi::{Side, index_of};
use serde::Serialize;

use super::{Shared, failed};
use crate::clock::{boot_at, now_ns};
use crate::flows::end;
use crate::state::Standing;
use crate::test_alert::{self, TestAlert};
use crate::verdict::Role;

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

pub(super) async fn interfaces(Extract(shared): Extract<Shared>) -> Response {
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

pub(super) async fn targets(Extract(shared): Extract<Shared>) -> Response {
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

pub(super) async fn detections(Extract(shared): Extract<Shared>) -> Response {
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
