//! Headers that every answer carries: the five that the toolkit lets one set, and no other.

use anyhow::Result;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::Place;
use super::written::Texts;
use crate::config::quote;

/// The headers, and what each may be where that is settled.
const PERMITTED: [(&str, HeaderName, &[&str]); 5] = [
    ("Content-Security-Policy", header::CONTENT_SECURITY_POLICY, &[]),
    ("Strict-Transport-Security", header::STRICT_TRANSPORT_SECURITY, &[]),
    ("X-Content-Type-Options", header::X_CONTENT_TYPE_OPTIONS, &["nosniff"]),
    ("X-Frame-Options", header::X_FRAME_OPTIONS, &["deny", "sameorigin"]),
    ("X-XSS-Protection", header::X_XSS_PROTECTION, &[]),
];

/// # Errors
/// For another header, or a value that it cannot have.
pub(super) fn headers(place: &Place<'_>, written: Texts) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in written {
        let refuse = |message: String| {
            place.error(value.defined.line(), &format!("http_server_config.headers.{name}"), message)
        };
        let Some((_, header, values)) = PERMITTED.iter().find(|(permitted, ..)| *permitted == name) else {
            let names = PERMITTED.map(|(name, ..)| name).join(", ");
            return Err(refuse(format!("this header cannot be set; there are {names}")));
        };
        let text = value.value.as_str();
        if text.is_empty() {
            continue;
        }
        if !values.is_empty() && !values.contains(&text) {
            return Err(refuse(format!("{} is not one of {}", quote(text), values.join(", "))));
        }
        let is_text = |_| refuse(format!("{} cannot be the value of a header", quote(text)));
        headers.insert(header.clone(), HeaderValue::from_str(text).map_err(is_text)?);
    }
    Ok(headers)
}
