//! What a call must be like before anything is made of it.

use nines_proto::ctl::{MAX_NOTE, MAX_RESOURCE, MAX_SESSION, Request, VALUE_DIGITS};

/// What the request is about, where it is about a resource.
pub(super) fn resource(request: &Request) -> Option<&str> {
    match request {
        Request::Lock { resource, .. }
        | Request::Convert { resource, .. }
        | Request::Unlock { resource, .. }
        | Request::Offer { resource, .. }
        | Request::Accept { resource, .. }
        | Request::Retract { resource, .. } => Some(resource),
        _ => None,
    }
}

pub(super) fn invalid(request: &Request) -> Option<String> {
    let resource = resource(request)?;
    if resource.is_empty() || resource.len() > MAX_RESOURCE || resource.chars().any(|c| c.is_control() || c == ' ') {
        return Some(format!("`{resource}' is not a resource name: 1 to {MAX_RESOURCE} bytes, no blanks"));
    }
    if let Request::Lock { session: Some(session), .. }
    | Request::Convert { session: Some(session), .. }
    | Request::Unlock { session: Some(session), .. } = request
        && (session.is_empty() || session.len() > MAX_SESSION || session.chars().any(|c| c.is_control() || c == ' '))
    {
        return Some(format!("{resource}: `{session}' is not a session's name: 1 to {MAX_SESSION} bytes, no blanks"));
    }
    if let Request::Convert { value: Some(value), .. } | Request::Unlock { value: Some(value), .. } = request
        && (value.len() != VALUE_DIGITS || !value.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Some(format!("{resource}: a value block has {VALUE_DIGITS} hexadecimal digits"));
    }
    if let Request::Lock { note, .. } = request
        && (note.len() > MAX_NOTE || note.chars().any(char::is_control))
    {
        return Some(format!("{resource}: the note is longer than {MAX_NOTE} bytes or has control characters"));
    }
    None
}
