//! The API server's HTTP interface: requests in Kubernetes' paths and content types, and answers as JSON with
//! Kubernetes' status codes. Owns what the operator sends: get, list, create, replace, apply, patch, delete, evict, and
//! events. Does not own the objects (`api_server.rs`).

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::fields::Part;
use super::kinds::Kind;
use super::{ApiServer, Deletion, Expected, Refused, Writer};

/// The object or objects to which a request refers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A kind that is stored.
    Stored(Kind),
    /// Events, which are accepted and not stored.
    Events,
    /// A kind of which no object exists.
    Absent,
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Reads one object.
    Get,
    /// Reads all objects that match a selector.
    List,
    /// Creates an object.
    Create,
    /// Replaces an object.
    Replace,
    /// Applies an object on the server side.
    Apply,
    /// Applies a merge patch.
    Patch,
    /// Deletes an object.
    Delete,
    /// Evicts a pod.
    Evict,
}

/// A request.
#[derive(Clone, Debug)]
pub struct ApiRequest {
    /// What it does.
    pub verb: Verb,
    /// To what it refers.
    pub target: Target,
    /// Name of the object; empty for a list.
    pub name: String,
    /// The part of the object that it writes.
    pub part: Part,
    /// The body; null if there is none.
    pub body: Value,
    query: BTreeMap<String, String>,
}

impl ApiRequest {
    /// Parses a request.
    ///
    /// # Panics
    /// Panics if the simulated API server does not know the request. It must then be added here.
    #[must_use]
    pub fn parse(head: &http::request::Parts, body: &Bytes) -> Self {
        let path: Vec<&str> = head.uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let (group, rest) = match &path[..] {
            ["api", _, rest @ ..] => ("", rest),
            ["apis", group, _, rest @ ..] => (*group, rest),
            _ => panic!("the simulated API server has no {}", head.uri),
        };
        let (plural, name, subresource) = match rest {
            ["namespaces", _, plural, name, sub] => (*plural, *name, *sub),
            ["namespaces", _, plural, name] => (*plural, *name, ""),
            ["namespaces", _, plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            _ => panic!("the simulated API server has no {}", head.uri),
        };
        let target = match (Kind::of_path(group, plural), plural) {
            (Some(kind), _) => Target::Stored(kind),
            (None, "events") => Target::Events,
            (None, _) => Target::Absent,
        };
        let content = head.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let verb = match (&head.method, subresource) {
            (&Method::GET, _) if name.is_empty() => Verb::List,
            (&Method::GET, _) => Verb::Get,
            (&Method::POST, "eviction") => Verb::Evict,
            (&Method::POST, _) => Verb::Create,
            (&Method::PUT, _) => Verb::Replace,
            (&Method::DELETE, _) => Verb::Delete,
            (&Method::PATCH, _) if content.is_some_and(|content| content.starts_with("application/apply-patch")) => {
                Verb::Apply
            }
            (&Method::PATCH, _) if content.is_some_and(|content| content.starts_with("application/merge-patch")) => {
                Verb::Patch
            }
            (method, _) => panic!("the simulated API server has no {method} {} with {content:?}", head.uri),
        };
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        // The subresource `scale` contains only the number of replicas, in the place where the objects have it.
        let body = if subresource == "scale" { json!({ "spec": body["spec"] }) } else { body };
        let part = if subresource == "status" { Part::Status } else { Part::Main };
        Self { verb, target, name: name.to_owned(), part, body, query: query(head.uri.query().unwrap_or_default()) }
    }

    /// Returns whether the request changes nothing that a pass depends on: a read, or an event.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.target == Target::Events || matches!(self.verb, Verb::Get | Verb::List)
    }

    /// Returns the name of the object, which a request to create one has in its body.
    #[must_use]
    pub fn object_name(&self) -> &str {
        if self.name.is_empty() { self.body["metadata"]["name"].as_str().unwrap_or_default() } else { &self.name }
    }

    /// Returns the object in the body.
    ///
    /// # Panics
    /// Panics if the body is no object of the type.
    #[must_use]
    pub fn parse_body<K: DeserializeOwned>(&self) -> K {
        K::deserialize(&self.body).expect("an object of its kind")
    }

    /// Returns the preconditions that the request names.
    #[must_use]
    pub fn expected(&self) -> Expected {
        let options = match self.verb {
            Verb::Evict => &self.body["deleteOptions"],
            Verb::Delete => &self.body,
            Verb::Get | Verb::List | Verb::Create | Verb::Replace | Verb::Apply | Verb::Patch => {
                return Expected::in_metadata(&self.body);
            }
        };
        let text = |field: &str| options["preconditions"][field].as_str().map(str::to_owned);
        Expected { uid: text("uid"), version: text("resourceVersion") }
    }

    fn labels(&self) -> Vec<(String, String)> {
        let selector = self.query.get("labelSelector").map(String::as_str).unwrap_or_default();
        let pairs = selector.split(',').filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

impl fmt::Display for ApiRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {}", self.verb, self.target, self.object_name())?;
        match (self.verb, self.target) {
            (Verb::Patch, _) => write!(f, " {}", self.body),
            (Verb::Create, Target::Stored(Kind::StatefulSet)) => write!(f, " {}", self.body["metadata"]["annotations"]),
            (_, Target::Stored(Kind::Budget)) => write!(f, " {}", self.body["spec"]["minAvailable"]),
            _ => Ok(()),
        }
    }
}

/// An answer, ready to be sent.
pub type Answer = Response<Bytes>;

impl ApiServer {
    /// Carries out a request. A read sees the objects as they were `age` versions ago.
    pub fn answer(&mut self, request: &ApiRequest, age: usize, now: Timestamp) -> Answer {
        match self.try_answer(request, age, now) {
            Ok((status, body)) => respond(status, body),
            Err(refused) => {
                let (status, body) = explain(refused, &request.name);
                respond(status, body)
            }
        }
    }

    fn try_answer(&mut self, request: &ApiRequest, age: usize, now: Timestamp) -> Result<(StatusCode, Bytes), Refused> {
        let name = request.name.as_str();
        let kind = match (request.target, request.verb) {
            (Target::Stored(kind), _) => kind,
            (_, Verb::List) => return Ok((StatusCode::OK, list([].iter()))),
            (Target::Events, Verb::Create | Verb::Patch) => {
                return Ok((StatusCode::CREATED, json!(request.body).to_string().into()));
            }
            (Target::Events | Target::Absent, _) => return Err(Refused::NotFound),
        };
        let manager = request.query.get("fieldManager").map_or("unknown", String::as_str);
        let writer = Writer { manager, part: request.part };
        let record = match request.verb {
            Verb::Get => self.get(kind, name, age).ok_or(Refused::NotFound)?,
            Verb::List => {
                let found = self.list(kind, &request.labels(), age);
                return Ok((StatusCode::OK, list(found.iter().map(|record| &record.bytes))));
            }
            Verb::Create => self.post(kind, request.body.clone(), manager)?,
            Verb::Replace if kind.replaces_only_a_version() && request.expected().version.is_none() => {
                if let Some(live) = self.get(kind, name, 0) {
                    request.expected().check(&live.object)?;
                    return Err(Refused::Invalid("metadata.resourceVersion"));
                }
                self.replace(kind, name, writer, request.body.clone())?
            }
            Verb::Replace => self.replace(kind, name, writer, request.body.clone())?,
            Verb::Apply => {
                let force = request.query.get("force").is_some_and(|force| force == "true");
                self.apply(kind, name, writer, &request.body, force)?
            }
            Verb::Patch => self.merge(kind, name, writer, &request.body)?,
            Verb::Delete => {
                // A kubelet sends this grace period after the processes of a pod have ended.
                if kind == Kind::Pod && request.body["gracePeriodSeconds"] == 0 {
                    self.end(kind, name, &request.expected(), Deletion::AtOnce, now)?;
                } else {
                    self.remove(kind, name, &request.expected(), now)?;
                }
                return Ok((StatusCode::OK, success()));
            }
            Verb::Evict => {
                self.evict(name, &request.expected(), now)?;
                return Ok((StatusCode::CREATED, success()));
            }
        };
        let status = if request.verb == Verb::Create { StatusCode::CREATED } else { StatusCode::OK };
        Ok((status, record.bytes.clone()))
    }
}

fn respond(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}

fn list<'b>(items: impl Iterator<Item = &'b Bytes>) -> Bytes {
    let mut body = br#"{"kind":"List","apiVersion":"v1","metadata":{},"items":["#.to_vec();
    for (place, item) in items.enumerate() {
        if place > 0 {
            body.push(b',');
        }
        body.extend_from_slice(item);
    }
    body.extend_from_slice(b"]}");
    body.into()
}

fn success() -> Bytes {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 200 }).to_string().into()
}

/// Returns the code and the body with which Kubernetes answers a refused request.
fn explain(refused: Refused, name: &str) -> (StatusCode, Bytes) {
    let mut details = json!({ "name": name });
    if let Refused::Invalid(field) = refused {
        details["causes"] = json!([{ "reason": "FieldValueInvalid", "message": "it is invalid", "field": field }]);
    }
    let (code, reason, message) = match refused {
        Refused::NotFound => (StatusCode::NOT_FOUND, "NotFound", format!("{name:?} not found")),
        Refused::Conflict => (StatusCode::CONFLICT, "Conflict", format!("a precondition on {name:?} does not hold")),
        Refused::AlreadyExists => (StatusCode::CONFLICT, "AlreadyExists", format!("{name:?} already exists")),
        Refused::Invalid(field) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "Invalid", format!("{name:?}: {field} is invalid"))
        }
        Refused::Forbidden => (StatusCode::FORBIDDEN, "Forbidden", format!("{name:?} is forbidden: exceeded quota")),
        Refused::Budget => (
            StatusCode::TOO_MANY_REQUESTS,
            "TooManyRequests",
            "Cannot evict pod as it would violate the pod's disruption budget.".to_owned(),
        ),
    };
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message, "details": details, "code": code.as_u16(),
    });
    (code, body.to_string().into())
}

fn query(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (decoded(key), decoded(value))).collect()
}

/// Decodes percent-encoded text.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                let digits = std::str::from_utf8(&digits).expect("a URI is ASCII");
                bytes.push(u8::from_str_radix(digits, 16).expect("a URI is encoded correctly"));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).expect("a URI contains UTF-8")
}
