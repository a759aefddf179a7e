//! The hub over HTTP: addresses, the token, one request, and the meaning of its response.
//!
//! The variables are those of the hub's own tools: `HF_ENDPOINT` is its address, `HF_TOKEN` a login, and
//! `HF_HUB_DOWNLOAD_TIMEOUT` the seconds a connection may be silent. A proxy is taken from `HTTPS_PROXY` and the like,
//! certificates from the system (`SSL_CERT_FILE`, `SSL_CERT_DIR`).

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use tokio::runtime::{Builder, Runtime};

use super::FetchError;

/// The public hub.
const PUBLIC_HUB: &str = "https://huggingface.co";
/// Longest time to establish a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest silence of an open connection, seconds.
const SILENCE_TIMEOUT_S: f64 = 30.0;
/// Redirects followed; a hub needs two.
const MAX_REDIRECTS: usize = 10;

/// A hub, and the login for it.
pub(super) struct Hub {
    endpoint: String,
    token: Option<HeaderValue>,
    client: Client,
    /// Drives the client's connections in this thread.
    runtime: Runtime,
    /// Whether it has answered before; then a refused connection does not mean that there is no network.
    answered: Cell<bool>,
}

/// A file of a repository at a revision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Address<'a> {
    pub repository: &'a str,
    pub revision: &'a str,
    pub file: &'a str,
}

/// The part of a file to request: from `start` to its end.
#[derive(Debug, Default)]
pub(super) struct Remainder {
    pub start: u64,
    /// The part is requested only if the file still has this entity tag; otherwise the hub sends the whole file.
    pub etag: Option<String>,
}

/// A response of the hub that has a file.
pub(super) struct HubResponse<'a> {
    pub kind: ResponseKind,
    /// Bytes of the whole file, if the hub states them.
    pub total: Option<u64>,
    /// A strong entity tag.
    pub etag: Option<String>,
    pub body: Body<'a>,
}

/// The body of a response, read chunk by chunk.
pub(super) struct Body<'a> {
    hub: &'a Hub,
    response: Response,
}

impl Body<'_> {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`RequestError`] when the connection breaks or the body is shorter than announced.
    pub fn next(&mut self) -> Result<Option<impl AsRef<[u8]>>, RequestError> {
        self.hub.runtime.block_on(self.response.chunk()).map_err(|error| self.hub.trouble(error))
    }
}

/// What the body of a response holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseKind {
    /// The file from its first byte.
    Whole,
    /// The file from this byte.
    Rest { start: u64 },
    /// Nothing: the file has no such part.
    OutOfRange,
}

/// Why there is no response, or why it broke off.
#[derive(Debug)]
pub(super) enum RequestError {
    /// No connection to the hub can be established.
    Unreachable(String),
    /// It may work the next time, after the wait that the hub asked for.
    Passing { reason: String, wait: Option<Duration> },
    /// There is no such file.
    NotThere(String),
    /// It will not work the next time either. The reason names the cure.
    Lasting(String),
    /// What arrived cannot be kept.
    Disk(FetchError),
}

impl From<FetchError> for RequestError {
    fn from(error: FetchError) -> Self {
        RequestError::Disk(error)
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Hub {
    /// The hub that the environment names.
    ///
    /// # Errors
    /// [`FetchError::Variable`], whose message holds no secret.
    pub fn from_environment() -> Result<Self, FetchError> {
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| PUBLIC_HUB.to_owned());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let secure = is_secure(&endpoint).ok_or(FetchError::Variable {
            name: "HF_ENDPOINT",
            expected: "the hub's address without a login, like `https://hub.example.org`",
        })?;
        let token = variable("HF_TOKEN").map(|token| bearer(&token)).transpose()?;
        let silence = silence_timeout()?;
        let mut headers = HeaderMap::new();
        // Lengths and ranges count the file's own bytes.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let client = Client::builder()
            .default_headers(headers)
            .user_agent(concat!("mixprec/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            // No redirect leads from an encrypted connection to an open one. The token goes to the endpoint's host and port
            // only: the client removes it from a redirect to any other.
            .https_only(secure)
            .redirect(Policy::limited(MAX_REDIRECTS))
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(silence)
            .build()
            .map_err(|error| FetchError::Client(innermost(&error)))?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| FetchError::Client(error.to_string()))?;
        Ok(Hub { endpoint, token, client, runtime, answered: Cell::new(false) })
    }

    /// The address of the hub.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Requests a file, or the rest of it.
    pub fn get(&self, address: Address<'_>, rest: &Remainder) -> Result<HubResponse<'_>, RequestError> {
        let Address { repository, revision, file } = address;
        let mut request = self.client.get(format!("{}/{repository}/resolve/{revision}/{file}", self.endpoint));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token.clone());
        }
        if rest.start > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", rest.start));
            if let Some(etag) = &rest.etag {
                request = request.header(header::IF_RANGE, etag);
            }
        }
        let response = self.runtime.block_on(async { request.send().await }).map_err(|error| self.trouble(error))?;
        self.answered.set(true);
        self.answer(response)
    }

    fn answer(&self, response: Response) -> Result<HubResponse<'_>, RequestError> {
        let headers = response.headers();
        let range = content_range(headers);
        let (kind, total) = match response.status() {
            StatusCode::OK => (ResponseKind::Whole, response.content_length()),
            StatusCode::PARTIAL_CONTENT => match range {
                Some(ContentRange { start: Some(start), total }) => (ResponseKind::Rest { start }, total),
                _ => {
                    return Err(RequestError::Lasting(
                        "the hub sends a part of the file and does not say which part".to_owned(),
                    ));
                }
            },
            StatusCode::RANGE_NOT_SATISFIABLE => (ResponseKind::OutOfRange, None),
            status => return Err(self.refusal(status, headers)),
        };
        let encoding = text(headers, header::CONTENT_ENCODING);
        if let Some(encoding) = encoding.filter(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            return Err(RequestError::Lasting(format!(
                "the hub sends it encoded as {encoding}, which was not asked for"
            )));
        }
        let etag = text(headers, header::ETAG).filter(|etag| !etag.starts_with("W/")).map(str::to_owned);
        Ok(HubResponse { kind, total, etag, body: Body { hub: self, response } })
    }

    fn refusal(&self, status: StatusCode, headers: &HeaderMap) -> RequestError {
        let answered = format!("the hub answers {status}");
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RequestError::Lasting(match &self.token {
                Some(_) => format!("{answered}: the login in HF_TOKEN may not read it, or there is no such repository"),
                None => format!("{answered}: it wants a login, so set HF_TOKEN, or there is no such repository"),
            }),
            StatusCode::NOT_FOUND => RequestError::NotThere(format!(
                "{answered}: there is no such file at this revision; correct `hub` or `revision` in the manifest (weights in \
                 several files are named under `files`)"
            )),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                RequestError::Passing { reason: answered, wait: retry_after(headers) }
            }
            status if status.is_server_error() => {
                RequestError::Passing { reason: answered, wait: retry_after(headers) }
            }
            _ => RequestError::Lasting(format!("{answered}, not the file; is HF_ENDPOINT ({}) a hub?", self.endpoint)),
        }
    }

    /// Classifies the failure of a request or of reading a body.
    fn trouble(&self, error: reqwest::Error) -> RequestError {
        // An address that a hub redirects to may hold a signature.
        let error = error.without_url();
        let reason = innermost(&error);
        if causes(&error).any(is_insecure) {
            return RequestError::Lasting(format!(
                "no secure connection: {reason}; name whom to trust in SSL_CERT_FILE"
            ));
        }
        match () {
            () if error.is_connect() && !self.answered.get() => RequestError::Unreachable(reason),
            () if error.is_redirect() || error.is_builder() => RequestError::Lasting(reason),
            () if error.is_timeout() && !error.is_connect() => {
                RequestError::Passing { reason: "silent for too long (HF_HUB_DOWNLOAD_TIMEOUT)".to_owned(), wait: None }
            }
            () => RequestError::Passing { reason, wait: None },
        }
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The message of the last error in a chain: the operating system's, if there is one.
fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map_or_else(String::new, ToString::to_string)
}

/// Whether an error is about encryption. The client reports a bad certificate as this kind, wrapped in errors of the same
/// type that do not name it as their source.
fn is_insecure(error: &(dyn Error + 'static)) -> bool {
    let Some(error) = error.downcast_ref::<io::Error>() else { return false };
    error.kind() == io::ErrorKind::InvalidData || error.get_ref().is_some_and(|inner| is_insecure(inner))
}

/// The value of a variable, if it is set and not blank.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Whether connections to this address are encrypted; `None` if it cannot be a hub's address or contains a login.
fn is_secure(endpoint: &str) -> Option<bool> {
    let url = Url::parse(endpoint).ok()?;
    let login = !url.username().is_empty() || url.password().is_some();
    if login || url.query().is_some() || url.fragment().is_some() || !url.has_host() {
        return None;
    }
    match url.scheme() {
        "https" => Some(true),
        "http" => Some(false),
        _ => None,
    }
}

fn bearer(token: &str) -> Result<HeaderValue, FetchError> {
    let wrong = FetchError::Variable { name: "HF_TOKEN", expected: "a token without spaces and control characters" };
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong);
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| wrong)?;
    value.set_sensitive(true);
    Ok(value)
}

fn silence_timeout() -> Result<Duration, FetchError> {
    let Some(text) = variable("HF_HUB_DOWNLOAD_TIMEOUT") else {
        return Ok(Duration::from_secs_f64(SILENCE_TIMEOUT_S));
    };
    let seconds = text.parse().ok().filter(|&seconds: &f64| seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or(FetchError::Variable { name: "HF_HUB_DOWNLOAD_TIMEOUT", expected: "a number of seconds above 0" })
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// `Retry-After` in seconds. Its other form, a date, is ignored: the usual waits serve as well.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    text(headers, header::RETRY_AFTER)?.trim().parse().ok().map(Duration::from_secs)
}

/// `bytes 10-19/20`, `bytes 10-19/*` or `bytes */20`.
#[derive(Debug, PartialEq, Eq)]
struct ContentRange {
    start: Option<u64>,
    total: Option<u64>,
}

fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let (range, total) = text(headers, header::CONTENT_RANGE)?.trim().strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-').and_then(|(start, _)| start.trim().parse().ok());
    Some(ContentRange { start, total: total.trim().parse().ok() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_without_a_login() {
        assert_eq!(is_secure("http://127.0.0.1:8080"), Some(false));
        assert_eq!(is_secure("https://hub.example.org/mirror"), Some(true));
        for wrong in ["hub.example.org", "ftp://hub.example.org", "https://", "https://me:secret@hub", "http://h?a=b"] {
            assert_eq!(is_secure(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_with_a_line_break_is_refused_and_not_quoted() {
        assert!(bearer("hf_abc").unwrap().is_sensitive());
        let message = bearer("hf_secret\nX-Header: 1").unwrap_err().to_string();
        assert!(message.contains("HF_TOKEN") && !message.contains("secret"), "{message}");
    }

    #[test]
    fn ranges_and_waits_are_read_from_headers() {
        let range = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_RANGE, HeaderValue::try_from(value).unwrap());
            content_range(&headers).map(|range| (range.start, range.total))
        };
        assert_eq!(range("bytes 10-19/20"), Some((Some(10), Some(20))));
        assert_eq!(range("bytes 10-19/*"), Some((Some(10), None)));
        assert_eq!(range("bytes */20"), Some((None, Some(20))));
        assert_eq!(range("lines 1-2/3"), None);
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("7"));
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(7)));
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("Fri, 31 Dec 1999 23:59:59 GMT"));
        assert_eq!(retry_after(&headers), None);
    }
}
