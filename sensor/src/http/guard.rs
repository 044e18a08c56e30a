//! What stands before every answer, whatever its path: the web config's rate limit, its passwords and
//! its headers, in the order of the toolkit.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Request, State as Extract};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::passwords::Passwords;
use crate::web_config::Web;

pub(super) async fn guard(
    Extract(passwords): Extract<Arc<Passwords>>,
    Extension(web): Extension<Arc<Web>>,
    request: Request,
    next: Next,
) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION).cloned();
    let mut response = if web.rate.as_ref().is_some_and(|rate| !rate.admits(Instant::now())) {
        (StatusCode::TOO_MANY_REQUESTS, "too many requests\n").into_response()
    } else if is_admitted(&passwords, &web, authorization).await {
        next.run(request).await
    } else {
        let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"poolwatch\", charset=\"UTF-8\"")];
        (StatusCode::UNAUTHORIZED, ask, "unauthorized\n").into_response()
    };
    for (name, value) in &web.headers {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

async fn is_admitted(passwords: &Passwords, web: &Web, authorization: Option<HeaderValue>) -> bool {
    match authorization {
        _ if web.users.is_empty() => true,
        Some(authorization) => passwords.admit(web, &authorization).await,
        None => false,
    }
}
