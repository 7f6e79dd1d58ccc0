//! What a route makes of one request: the changes on its way to a server, or the answer without one.

use http::StatusCode;

use super::context::RequestContext;
use crate::downstream::session::Downstream;
use crate::route::{Action, FixedAnswer, Forward, PathRewrite, ReadyEdits, RequestValues, Route};

/// What is done with the request, with every value of the request filled in.
pub(super) enum Step<'r> {
    Forward(&'r Forward, ForwardEdits<'r>),
    /// The status and the `location`.
    Redirect(StatusCode, String),
    Respond(&'r FixedAnswer),
}

/// How the route changes the request on its way, and paths in the answer on theirs.
#[derive(Default)]
pub(super) struct ForwardEdits<'r> {
    /// The target in place of the client's.
    pub(super) target: Option<Vec<u8>>,
    pub(super) fields: Option<ReadyEdits>,
    pub(super) path: Option<&'r PathRewrite>,
}

impl<'r> Step<'r> {
    /// The step of `route` for a request to `host`. The route's edits of the response are left with `down`.
    pub(super) fn of(
        route: &'r Route,
        host: &str,
        scheme: &'static str,
        down: &mut Downstream<'_>,
        context: &RequestContext<'_>,
    ) -> Self {
        // The usual case: no value is needed.
        if let Action::Forward(forward @ Forward { path: None, request_fields: None, .. }) = &route.action
            && route.response_fields.is_none()
        {
            return Self::Forward(forward, ForwardEdits::default());
        }
        let request_id = context.request_id();
        let (client_ip, target) = (context.client.ip(), &*down.head.target);
        let values = RequestValues { client_ip, host, target, request_id: &request_id, scheme };
        if let Some(edits) = &route.response_fields {
            down.edit_response(edits.ready(&values));
        }
        match &route.action {
            Action::Forward(forward) => {
                let target = forward.path.as_ref().map(|path| path.target(target));
                let fields = forward.request_fields.as_ref().map(|edits| edits.ready(&values));
                Self::Forward(forward, ForwardEdits { target, fields, path: forward.path.as_ref() })
            }
            Action::Redirect(redirect) => Self::Redirect(redirect.status, redirect.location(&values)),
            Action::Respond(fixed) => Self::Respond(fixed),
        }
    }
}
