//! nodeportisolation: a NodePort is open only in the pools that it is meant for.
//!
//! Receives this node's pool and what is known of a Service. Promises to look only at types NodePort and LoadBalancer
//! with annotation `nodeport.openyurt.io/listen`, a comma list of pools: `pool` keeps the Service there, `-pool` hides it
//! there, `*` keeps it in all pools that are not excluded. The first mention of a pool wins; a pool that is not mentioned
//! and an empty list hide it. A node without a pool keeps everything.

use crate::state::inputs::Service;

pub(super) fn hides(pool: Option<&str>, service: &Service) -> bool {
    let (Some(pool), Some(listen)) = (pool.filter(|pool| !pool.is_empty()), &service.listen) else { return false };
    matches!(service.kind.as_str(), "NodePort" | "LoadBalancer") && !listens(pool, listen)
}

fn listens(pool: &str, listen: &str) -> bool {
    let mut everywhere = false;
    for word in listen.split(',').map(str::trim) {
        match word.strip_prefix('-') {
            Some(excluded) if excluded.trim() == pool => return false,
            None if word == pool => return true,
            None if word == "*" => everywhere = true,
            _ => {}
        }
    }
    everywhere
}

#[cfg(test)]
mod tests;
