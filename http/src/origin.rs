//! Which pages may read what is served, and by which names the server may be asked.
//!
//! Browsers send requests to a server on the user's own machine for any page on the web. What protects it: a request that names
//! an origin is answered if that is the server's own or an allowed one, WebSockets included, which the browsers' own rule does
//! not cover; and where there is no login, the name that the server is asked by must be an address, `localhost` or an allowed
//! name, so that a name that was made to point here is none.

use std::net::IpAddr;

use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, HOST, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use hyper::{Response, StatusCode};

use crate::body::Body;
use crate::options::HttpOptions;
use crate::problem::{Answer, Problem};

/// The page that asks, if one does.
pub(crate) enum Asking {
    /// No page of another origin.
    Own,
    /// A page of an allowed origin.
    Allowed(HeaderValue),
}

/// Refuses requests of strangers' pages.
pub(crate) fn check(headers: &HeaderMap, options: &HttpOptions, asks_for_login: bool) -> Answer<Asking> {
    let host = headers.get(HOST).map(HeaderValue::to_str).transpose();
    let host = host.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the header Host is no text"))?;
    if let Some(host) = host
        && !asks_for_login
        && !is_own_name(host, options)
    {
        let detail = format!("this server does not go by the name {host}: ask it by its address, or allow that host");
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail));
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return Ok(Asking::Own);
    };
    let text = origin.to_str().unwrap_or_default();
    if host.is_some_and(|host| is_own_origin(text, host, options.tls.is_some())) {
        return Ok(Asking::Own);
    }
    match options.allowed_origins.iter().any(|allowed| allowed == text) {
        true => Ok(Asking::Allowed(origin.clone())),
        false => {
            let detail = format!("pages of the origin {text} may not read this server: allow that origin");
            Err(Problem::new(StatusCode::FORBIDDEN, detail))
        }
    }
}

/// Anybody on the way can be a page without encryption, so for who encrypts that is another origin. For who does not, somebody who
/// does may stand in front.
fn is_own_origin(origin: &str, host: &str, encrypts: bool) -> bool {
    let parts = origin.split_once("://");
    parts.is_some_and(|(scheme, authority)| authority == host && (scheme == "https" || !encrypts))
}

fn is_own_name(host: &str, options: &HttpOptions) -> bool {
    let name = match host.strip_prefix('[') {
        // An IPv6 address with its port.
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || options
            .allowed_hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(name))
}

impl Asking {
    /// Lets the browser give the answer to the page.
    pub(crate) fn mark(&self, response: &mut Response<Body>) {
        let headers = response.headers_mut();
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Asking::Allowed(origin) = self {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

/// The answer to a browser that asks whether a page may ask.
pub(crate) fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
    let allowed = "accept, authorization, cache-control, last-event-id";
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(host: &str, origin: Option<&str>, asks_for_login: bool) -> Option<u16> {
        let options = HttpOptions {
            allowed_origins: vec!["https://shop.example".into()],
            allowed_hosts: vec!["db.internal".into()],
            ..HttpOptions::default()
        };
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        let checked = check(&headers, &options, asks_for_login);
        checked.err().map(|problem| problem.status().as_u16())
    }

    #[test]
    fn a_name_that_cannot_be_read_is_refused() {
        for asks_for_login in [false, true] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_bytes(b"localhost\xff").unwrap());
            let checked = check(&headers, &HttpOptions::default(), asks_for_login);
            let refused = checked.err().map(|problem| problem.status().as_u16());
            assert_eq!(refused, Some(400));
        }
    }

    #[test]
    fn a_page_without_encryption_is_no_page_of_a_server_with_it() {
        for (origin, encrypts, own) in [
            ("https://db.example:27080", true, true),
            ("http://db.example:27080", true, false),
            ("https://db.example:27080", false, true),
            ("http://db.example:27080", false, true),
            ("https://db.example", true, false),
            ("db.example:27080", false, false),
        ] {
            assert_eq!(
                is_own_origin(origin, "db.example:27080", encrypts),
                own,
                "{origin} {encrypts}"
            );
        }
    }

    #[test]
    fn only_own_names_and_origins_are_answered() {
        for (host, origin, refused) in [
            ("127.0.0.1:27080", None, None),
            ("[::1]:27080", None, None),
            ("localhost", None, None),
            ("LOCALHOST:80", None, None),
            ("db.internal:27080", None, None),
            ("rebound.example:27080", None, Some(421)),
            ("localhost.example", None, Some(421)),
            ("127.0.0.1:27080", Some("http://127.0.0.1:27080"), None),
            ("127.0.0.1:27080", Some("https://shop.example"), None),
            ("127.0.0.1:27080", Some("https://shop.example.evil"), Some(403)),
            ("127.0.0.1:27080", Some("http://127.0.0.1:8000"), Some(403)),
            ("127.0.0.1:27080", Some("null"), Some(403)),
        ] {
            assert_eq!(status(host, origin, false), refused, "{host} {origin:?}");
        }
        // A browser sends no login to a name that was made to point here.
        assert_eq!(status("any.example", None, true), None);
    }
}
