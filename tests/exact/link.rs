//! A link to the kube-apiserver that can be cut while the server goes on.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::hub::{Hub, eventually};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Link {
    pub url: String,
    up: watch::Sender<bool>,
}

impl Link {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (sender, up) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server, up.clone()));
            }
        });
        Self { url, up: sender }
    }

    /// Makes or cuts it, and waits until the hub has noticed.
    pub async fn is_up(&self, up: bool, hub: &Hub) {
        self.up.send_replace(up);
        let value = if up { 1.0 } else { 0.0 };
        eventually("the verdict changes", Duration::from_secs(60), async || {
            Ok(hub.metric("node_yurthub_server_healthy_status").await? == value)
        })
        .await
        .unwrap();
    }
}

/// Until one of both ends it, or the link is cut.
async fn carry(mut client: TcpStream, server: SocketAddr, mut up: watch::Receiver<bool>) {
    let carried = async {
        let mut server = TcpStream::connect(server).await?;
        copy_bidirectional(&mut client, &mut server).await
    };
    tokio::select! {
        biased;
        _ = up.wait_for(|up| !*up) => {}
        _ = carried => {}
    }
}
