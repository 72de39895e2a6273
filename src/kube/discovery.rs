//! The documents by which the API says which groups and versions it has (k8s.io/apimachinery/pkg/apis/meta/v1:
//! `APIVersions`, `APIGroupList`), as far as they are read here.

use serde::Deserialize;

/// `/api`
#[derive(Deserialize)]
pub struct Versions {
    pub versions: Vec<String>,
}

/// `/apis`
#[derive(Deserialize)]
pub struct Groups {
    pub groups: Vec<Group>,
}

#[derive(Deserialize)]
pub struct Group {
    pub name: String,
    pub versions: Vec<GroupVersion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupVersion {
    /// `apps/v1`
    pub group_version: String,
}

impl GroupVersion {
    /// `v1`
    pub fn version(&self) -> &str {
        self.group_version.rsplit('/').next().unwrap_or_default()
    }
}
