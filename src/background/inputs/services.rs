//! The Services that filters have anything to do with.

use std::collections::{HashMap, HashSet};

use super::found::Texts;
use crate::state::inputs::{DISCARD, LISTEN, Service, ServiceName, TOPOLOGY_KEYS};

#[derive(Clone, Default)]
pub(super) struct Services {
    pub marked: HashMap<ServiceName, Service>,
    pub topology: HashMap<ServiceName, String>,
    pub unreadable: HashSet<ServiceName>,
}

impl Services {
    /// `read`: its annotations and its type; `None`: they cannot be read.
    pub(super) fn put(&mut self, name: ServiceName, read: Option<(Texts, String)>) {
        self.remove(&name);
        let Some((mut annotations, kind)) = read else {
            self.unreadable.insert(name);
            return;
        };
        if let Some(keys) = annotations.remove(TOPOLOGY_KEYS) {
            self.topology.insert(name.clone(), keys);
        }
        let (listen, discard) = (annotations.remove(LISTEN), annotations.remove(DISCARD));
        if listen.is_some() || discard.is_some() {
            self.marked.insert(name, Service { kind, listen, discard });
        }
    }

    pub(super) fn remove(&mut self, name: &ServiceName) {
        self.marked.remove(name);
        self.topology.remove(name);
        self.unreadable.remove(name);
    }
}
