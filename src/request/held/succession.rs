//! Another process takes this one's place, and its clients' watches with it.

use std::sync::Arc;

use tokio::sync::watch;

use crate::upstream::Successor;

/// Who has taken this process's place, once somebody has.
#[derive(Default)]
pub struct Succession(watch::Sender<Option<Arc<Successor>>>);

impl Succession {
    /// Clients' watches are left to this one from now on.
    pub fn is(&self, successor: Arc<Successor>) {
        self.0.send_replace(Some(successor));
    }

    pub(super) fn now(&self) -> Option<Arc<Successor>> {
        self.0.borrow().clone()
    }

    /// Returns once somebody has.
    pub(super) fn comes(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut successor = self.0.subscribe();
        async move {
            if successor.wait_for(Option::is_some).await.is_err() {
                std::future::pending().await
            }
        }
    }
}
