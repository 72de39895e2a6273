//! May this caller have this, as far as the cloud has said?

use http::StatusCode;

use crate::request::context::{Caller, Context, Refusal, Whose};
use crate::store::{Grant, Knowledge, NODE, StoreError};

/// Refuses with 401 a token the cloud has not vouched for or that has expired, with
/// 403 what it has not granted to the token's user before.
pub(super) fn authorize(knowledge: &Knowledge, context: &Context) -> Result<(), Refusal> {
    let user = match &context.caller {
        Caller::Node => NODE.to_owned(),
        Caller::Bearer(bearer) => {
            let known = knowledge.token(bearer.digest)?;
            known.map(|known| known.user).ok_or_else(|| {
                Refusal::unauthorized("the link to the cloud is down, and this token has expired or was never accepted by the cloud through this hub")
            })?
        }
        Caller::Nobody | Caller::Other => {
            return Err(Refusal::unauthorized("the link to the cloud is down, and this credential cannot be checked without it"));
        }
    };
    if is_own_lease(context) || may_discover(knowledge, context, &user)? {
        return Ok(());
    }
    for grant in context.grants(&user) {
        if knowledge.granted(&grant)? {
            return Ok(());
        }
    }
    let info = &context.info;
    let what = if info.is_resource {
        format!("{} {} in namespace {:?}", info.verb, info.resource_path(), info.namespace)
    } else {
        format!("{} {}", info.verb, info.path)
    };
    let who = user.split_whitespace().last().unwrap_or_default();
    Err(Refusal::new(
        StatusCode::FORBIDDEN,
        "Forbidden",
        Whose::Client,
        format!("the link to the cloud is down, and the cloud has not granted this to {who:?} before: {what}"),
    ))
}

/// What describes the API is for everybody whom the cloud has accepted (its role `system:discovery`), where the cloud has
/// given it to the node and has not refused it to this user.
fn may_discover(knowledge: &Knowledge, context: &Context, user: &str) -> Result<bool, StoreError> {
    let info = &context.info;
    if !info.is_discovery() {
        return Ok(false);
    }
    // Read again in each round, as what is below them is not.
    let root = ["/apis", "/api", "/openapi", "/version"].into_iter().find(|root| info.path.starts_with(root));
    let thing = root.map_or("", |root| if root == "/openapi" { "/openapi/v3" } else { root }).to_owned();
    let nodes = Grant { user: NODE.to_owned(), verb: info.verb.clone(), thing };
    Ok(knowledge.granted(&nodes)? && knowledge.answer_to(&context.grant(user))? != Some(false))
}

/// Kubelet's heartbeat, checked by name where it is answered.
fn is_own_lease(context: &Context) -> bool {
    matches!(context.caller, Caller::Node) && context.info.resource == "leases" && context.info.verb == "update"
}
