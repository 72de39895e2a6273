//! What kubelet does for a Pod's ServiceAccount, by the same requests through the hub:
//! a token bound to the Pod, the authority from ConfigMap kube-root-ca.crt, and three
//! files where every client library looks for them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;
use testkit::cluster::NAMESPACE;

use super::Small;
use crate::door::Door;

pub(super) const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
pub(super) const POD: &str = "sample-0";
pub(super) const ROOT_CA: &str = "kube-root-ca.crt";

/// Writes the files; returns the token.
pub(super) fn give_account(stage: &Small) -> Result<String> {
    let pod = Door::Kubelet.get(stage, &format!("/api/v1/namespaces/{NAMESPACE}/pods/{POD}"))?.expect(200, "the Pod")?.json();
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
        "audiences": ["https://kubernetes.default.svc.cluster.local"],
        "expirationSeconds": 3607,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": POD, "uid": pod["metadata"]["uid"]}}});
    let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/sample/token");
    let issued = Door::Kubelet.ask(stage, "POST", &path, &request)?.expect(201, "the Pod's token")?.json();
    let token = issued["status"]["token"].as_str().context("a TokenRequest without token")?;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{ROOT_CA}");
    let authority = Door::Kubelet.get(stage, &path)?.expect(200, ROOT_CA)?.json();
    let authority = authority["data"]["ca.crt"].as_str().context("no ca.crt")?;
    let folder = Path::new(ACCOUNT);
    fs::create_dir_all(folder)?;
    for (name, text) in [("token", token), ("ca.crt", authority), ("namespace", NAMESPACE)] {
        fs::write(folder.join(name), text)?;
    }
    Ok(token.to_owned())
}
