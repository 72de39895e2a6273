//! Where the loops run, and which of them are at work.

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;

/// The loops' runtime, on its own thread.
pub(super) struct Loops {
    pub handle: Handle,
    end: tokio::sync::oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Loops {
    pub(super) fn start() -> anyhow::Result<Self> {
        let runtime: Runtime = Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("loops".into()).spawn(move || {
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, end, thread })
    }

    pub(super) fn end(self) {
        let _ = self.end.send(());
        let _ = self.thread.join();
    }
}

/// Loops at work; they end when it is dropped.
pub(super) struct AtWork {
    handle: Handle,
    lasting: JoinSet<()>,
    of_store: JoinSet<()>,
}

impl AtWork {
    pub(super) fn on(handle: &Handle) -> Self {
        Self { handle: handle.clone(), lasting: JoinSet::new(), of_store: JoinSet::new() }
    }

    /// What goes on as long as clients are served.
    pub(super) fn spawn<T: Send>(&mut self, task: impl Future<Output = T> + Send + 'static) {
        self.lasting.spawn_on(async { drop(task.await) }, &self.handle);
    }

    /// What only one process of a node may do.
    pub(super) fn spawn_of_store(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.of_store.spawn_on(task, &self.handle);
    }

    /// Another process is to do that.
    pub(super) fn leave_store(&mut self) {
        self.of_store.abort_all();
    }
}
