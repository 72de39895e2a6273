//! Which watches share one of the cloud's.

use std::str::FromStr;
use std::time::Duration;

use crate::kube::request::RequestInfo;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharing {
    /// `None`: all resources.
    pub resources: Option<Vec<Resource>>,
    /// How long it counts that the cloud has said who may watch; half as long at least.
    pub review_period: Duration,
}

/// `group/version/resource`; the core group is empty, and may be left out with its slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    group: String,
    version: String,
    resource: String,
}

impl FromStr for Resource {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Vec<&str> = text.split('/').collect();
        let (group, version, resource) = match parts[..] {
            [group, version, resource] => (group, version, resource),
            [version, resource] => ("", version, resource),
            _ => return Err(()),
        };
        if version.is_empty() || resource.is_empty() {
            return Err(());
        }
        Ok(Self { group: group.into(), version: version.into(), resource: resource.into() })
    }
}

impl Sharing {
    pub fn is_shared(&self, info: &RequestInfo) -> bool {
        let is_it =
            |one: &Resource| (&one.group, &one.version, &one.resource) == (&info.api_group, &info.api_version, &info.resource);
        info.subresource.is_empty() && self.resources.as_ref().is_none_or(|resources| resources.iter().any(is_it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_known_by_group_version_and_name() {
        let pool = ["/v1/services", "discovery.k8s.io/v1/endpointslices", "v1/nodes"].map(|text| text.parse().unwrap());
        let sharing = Sharing { resources: Some(pool.to_vec()), review_period: Duration::from_secs(1) };
        let shared = |target: &str| {
            let info = crate::kube::request::parse(&http::Method::GET, &target.parse().unwrap()).unwrap();
            (sharing.is_shared(&info), Sharing { resources: None, ..sharing.clone() }.is_shared(&info))
        };
        for target in ["/api/v1/namespaces/a/services?watch=1", "/api/v1/nodes", "/apis/discovery.k8s.io/v1/endpointslices"] {
            assert_eq!(shared(target), (true, true), "{target}");
        }
        for target in ["/api/v1/pods", "/apis/discovery.k8s.io/v1beta1/endpointslices", "/apis/a/v1/services"] {
            assert_eq!(shared(target), (false, true), "{target}");
        }
        assert_eq!(shared("/api/v1/namespaces/a/services/s/status"), (false, false));
        for bad in ["services", "v1/", "/v1/", "a/b/c/d", "a//c", ""] {
            assert_eq!(bad.parse::<Resource>(), Err(()), "{bad}");
        }
    }
}
