//! From one process of the hub to the next: the new one is started by the old one, with a socket between them as its
//! standard input.
//!
//! The new one says that its configuration and files are in order; the old one then gives it the sockets that clients come
//! to, and with them the store; the new one says that it serves. From then on the socket is an HTTP/2 connection, over which
//! the old one asks for what its clients still watch. A new one that does not come so far is killed.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;

/// The old process's number, so that nobody else's child takes itself for a successor.
const SUCCEEDS: &str = "HOLDFAST_SUCCEEDS";
/// Sockets that are given at most.
const SOCKETS: usize = 3;
/// A new process reads its configuration, and makes keys.
const PREPARES: Duration = Duration::from_secs(30);
/// A large store on a slow disk takes its time.
const OPENS: Duration = Duration::from_secs(60);

/// What is killed ends at once, as a rule.
const ENDS: Duration = Duration::from_secs(1);

const PREPARED: u8 = b'p';
const GO: u8 = b'g';
const SERVES: u8 = b's';

/// The process whose place this one takes.
pub(super) struct Predecessor {
    socket: UnixStream,
}

impl Predecessor {
    /// `None`: nobody's place is taken.
    pub(super) fn of_environment() -> anyhow::Result<Option<Self>> {
        let of_parent = std::os::unix::process::parent_id().to_string();
        if std::env::var(SUCCEEDS).ok() != Some(of_parent) {
            return Ok(None);
        }
        let socket = std::os::unix::net::UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        socket.set_nonblocking(true)?;
        // Else the other end would not see this one's.
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        Ok(Some(Self { socket: UnixStream::from_std(socket)? }))
    }

    /// Says that all is prepared; returns the sockets that clients come to, with which the store is given up.
    pub(super) async fn gives_way(&mut self) -> anyhow::Result<Vec<std::net::TcpListener>> {
        self.socket.write_all(&[PREPARED]).await.context("the process before has ended")?;
        let given = self.socket.async_io(Interest::READABLE, || received(self.socket.as_fd()));
        let sockets = given.await.context("the process before has changed its mind")?;
        Ok(sockets.into_iter().map(Into::into).collect())
    }

    /// Says that this one serves; what is left is the other one's way to ask it.
    pub(super) async fn takes_its_place(mut self) -> anyhow::Result<UnixStream> {
        self.socket.write_all(&[SERVES]).await.context("the process before has ended")?;
        Ok(self.socket)
    }
}

fn received(socket: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
    let (mut control, mut word) = (RecvAncillaryBuffer::new(&mut space), [0]);
    recvmsg(socket, &mut [IoSliceMut::new(&mut word)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if word != [GO] {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(given) = message {
            sockets.extend(given);
        }
    }
    Ok(sockets)
}

/// The process that is to take this one's place. Dropping it before it has ends it.
pub(super) struct Heir {
    begun: Begun,
    socket: UnixStream,
}

/// `None`: it stands on its own.
struct Begun(Option<Child>);

impl Heir {
    /// Starts what is now found where this program was started from, with the same arguments, and waits until it is prepared.
    pub(super) async fn prepared() -> anyhow::Result<Self> {
        let (own, other) = std::os::unix::net::UnixStream::pair()?;
        own.set_nonblocking(true)?;
        let mut arguments = std::env::args_os();
        let program = arguments.next().context("it is not known from where this program was started")?;
        let child = Command::new(&program)
            .args(arguments)
            .env(SUCCEEDS, std::process::id().to_string())
            .stdin(Stdio::from(OwnedFd::from(other)))
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let mut heir = Self { begun: Begun(Some(child)), socket: UnixStream::from_std(own)? };
        heir.says(PREPARED, PREPARES).await?;
        Ok(heir)
    }

    /// Gives it the sockets, and waits until it serves.
    pub(super) async fn takes(&mut self, sockets: &[OwnedFd]) -> anyhow::Result<()> {
        ensure!(sockets.len() <= SOCKETS, "more than {SOCKETS} sockets cannot be given");
        let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(OwnedFd::as_fd).collect();
        let socket = &self.socket;
        socket.async_io(Interest::WRITABLE, || sent(socket.as_fd(), &sockets)).await.context("the new process has ended")?;
        self.says(SERVES, OPENS).await
    }

    async fn says(&mut self, word: u8, within: Duration) -> anyhow::Result<()> {
        match tokio::time::timeout(within, self.socket.read_u8()).await {
            Ok(Ok(said)) if said == word => Ok(()),
            Ok(Ok(_)) => bail!("the new process is none of the hub"),
            Ok(Err(_)) => bail!("the new process has ended: what it has said is in the log"),
            Err(_) => bail!("the new process has not come up within {} s", within.as_secs()),
        }
    }

    /// It serves: its number, and the way to ask it.
    pub(super) fn has_taken_over(mut self) -> anyhow::Result<(u32, UnixStream)> {
        let child = self.begun.0.take().context("it has taken over before")?;
        Ok((child.id(), self.socket))
    }
}

impl Drop for Begun {
    /// Waits for its end, so that what it had is free again; but not for a disk that does not answer it.
    fn drop(&mut self) {
        let Some(mut child) = self.0.take() else { return };
        let _ = child.kill();
        let (end, ended) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let _ = end.send(child.wait());
        });
        let _ = ended.recv_timeout(ENDS);
    }
}

fn sent(socket: BorrowedFd<'_>, sockets: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(sockets));
    Ok(sendmsg(socket, &[IoSlice::new(&[GO])], &mut control, SendFlags::empty())?)
}
