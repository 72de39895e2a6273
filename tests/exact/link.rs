//! A link to the kube-apiserver that can be cut while the server goes on.

use std::net::SocketAddr;

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

    pub fn is_up(&self, up: bool) {
        self.up.send_replace(up);
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
