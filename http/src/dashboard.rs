//! The dashboard: files that are part of the program. Nothing of it comes from elsewhere, and its pages are not allowed to fetch
//! anything from elsewhere.

use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

use crate::body::Body;

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// One of the files.
#[derive(Debug)]
pub(crate) struct Asset {
    path: &'static str,
    media_type: &'static str,
    text: &'static str,
}

macro_rules! asset {
    ($path:literal, $media_type:literal, $file:literal) => {
        Asset {
            path: $path,
            media_type: $media_type,
            text: include_str!(concat!("dashboard/", $file)),
        }
    };
}

const ASSETS: [Asset; 7] = [
    asset!("/", "text/html; charset=utf-8", "index.html"),
    asset!("/dashboard/style.css", "text/css; charset=utf-8", "style.css"),
    asset!("/dashboard/main.js", "text/javascript; charset=utf-8", "main.js"),
    asset!("/dashboard/format.js", "text/javascript; charset=utf-8", "format.js"),
    asset!("/dashboard/plot.js", "text/javascript; charset=utf-8", "plot.js"),
    asset!(
        "/dashboard/overview.js",
        "text/javascript; charset=utf-8",
        "overview.js"
    ),
    asset!("/dashboard/events.js", "text/javascript; charset=utf-8", "events.js"),
];

/// The file at a path.
pub(crate) fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

impl Asset {
    /// The answer to a request for it; without a body when the browser has it.
    pub(crate) fn response(&self, headers: &HeaderMap) -> Response<Body> {
        let tag = self.tag();
        let known = headers
            .get(IF_NONE_MATCH)
            .is_some_and(|known| known.as_bytes() == tag.as_bytes());
        let mut response = match known {
            true => Response::new(Body::empty()),
            false => Response::new(Body::whole(self.text)),
        };
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        headers.insert(CONTENT_SECURITY_POLICY, POLICY);
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(ETAG, tag);
        }
        response
    }

    fn tag(&self) -> String {
        format!("\"{:08x}\"", tailwater::oplog::codec::checksum(self.text.as_bytes()))
    }
}
