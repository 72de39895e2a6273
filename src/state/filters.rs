//! The filters by name, in the order in which they are applied, and whom each serves.
//!
//! Names and components are yurthub's; docs/filters.md says what each does.

/// A filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Filter {
    DiscardCloudService,
    NodePortIsolation,
    MasterService,
    ServiceTopology,
    ForwardKubeSvcTraffic,
    InClusterConfig,
    ServiceEnvUpdater,
}

impl Filter {
    /// All of them: what hides comes before what rewrites.
    pub const ALL: [Self; 7] = [
        Self::DiscardCloudService,
        Self::NodePortIsolation,
        Self::MasterService,
        Self::ServiceTopology,
        Self::ForwardKubeSvcTraffic,
        Self::InClusterConfig,
        Self::ServiceEnvUpdater,
    ];

    /// The name in flags, in ConfigMap yurt-hub-cfg and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::DiscardCloudService => "discardcloudservice",
            Self::NodePortIsolation => "nodeportisolation",
            Self::MasterService => "masterservice",
            Self::ServiceTopology => "servicetopology",
            Self::ForwardKubeSvcTraffic => "forwardkubesvctraffic",
            Self::InClusterConfig => "inclusterconfig",
            Self::ServiceEnvUpdater => "serviceenvupdater",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|filter| filter.name() == name)
    }

    /// The components it serves without any configuration.
    pub fn components(self) -> &'static [&'static str] {
        match self {
            Self::MasterService | Self::InClusterConfig | Self::ServiceEnvUpdater => &["kubelet"],
            Self::DiscardCloudService | Self::NodePortIsolation | Self::ForwardKubeSvcTraffic => &["kube-proxy"],
            // CoreDNS calls itself by its name since 1.11.2, and by that of its program before.
            Self::ServiceTopology => &["kube-proxy", "coredns", "CoreDNS", "nginx-ingress-controller"],
        }
    }

    /// Whether it also serves a node in working mode `cloud`.
    pub fn in_cloud_mode(self) -> bool {
        !matches!(self, Self::DiscardCloudService | Self::ForwardKubeSvcTraffic | Self::ServiceEnvUpdater)
    }

    /// Whether an answer that it could not look at must not be passed on.
    pub fn is_for_safety(self) -> bool {
        matches!(self, Self::DiscardCloudService | Self::NodePortIsolation | Self::MasterService)
    }
}
