//! The workload that tests follow: one ordinary in-cluster program, what it may
//! read, and something it may not.

use super::node::SAMPLE_IMAGE;

/// The namespace of everything here.
pub const NAMESPACE: &str = "story";
/// The port on which a sample Pod serves what it has seen.
pub const SAMPLE_PORT: u16 = 8080;

/// YAML of the whole workload: the namespace, a service account `sample` that may
/// read its config maps and the secret `allowed`, that secret and `forbidden`,
/// the config map `greeting`, and a deployment `sample` of one Pod on `node`
/// which no taint evicts.
#[must_use]
pub fn sample_workload(node: &str) -> String {
    format!(
        r#"apiVersion: v1
kind: Namespace
metadata: {{name: {NAMESPACE}}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: sample, namespace: {NAMESPACE}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: sample, namespace: {NAMESPACE}}}
rules:
- {{apiGroups: [""], resources: [configmaps], verbs: [get, list, watch]}}
- {{apiGroups: [""], resources: [secrets], resourceNames: [allowed], verbs: [get]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: sample, namespace: {NAMESPACE}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: sample}}
subjects: [{{kind: ServiceAccount, name: sample, namespace: {NAMESPACE}}}]
---
apiVersion: v1
kind: Secret
metadata: {{name: allowed, namespace: {NAMESPACE}}}
stringData: {{value: open}}
---
apiVersion: v1
kind: Secret
metadata: {{name: forbidden, namespace: {NAMESPACE}}}
stringData: {{value: closed}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: greeting, namespace: {NAMESPACE}}}
data: {{text: hello}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: sample, namespace: {NAMESPACE}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: sample}}}}
  template:
    metadata: {{labels: {{app: sample}}}}
    spec:
      serviceAccountName: sample
      terminationGracePeriodSeconds: 1
      nodeSelector: {{kubernetes.io/hostname: {node}}}
      tolerations: [{{operator: Exists}}]
      containers:
      - name: sample
        image: {SAMPLE_IMAGE}
        imagePullPolicy: Never
        env:
        - {{name: NAMESPACE, value: {NAMESPACE}}}
        - {{name: SECRET, value: allowed}}
        - {{name: FORBIDDEN, value: forbidden}}
        - {{name: PORT, value: "{SAMPLE_PORT}"}}
"#
    )
}
