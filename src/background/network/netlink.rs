//! What is asked of the kernel about interfaces and their addresses: rtnetlink(7).

use std::io;
use std::net::IpAddr;

use neli::consts::nl::NlmF;
use neli::consts::rtnl::{Ifa, Iff, Ifla, IflaInfo, RtAddrFamily, RtScope, Rtm};
use neli::consts::socket::NlFamily;
use neli::err::RouterError;
use neli::nl::NlPayload;
use neli::router::asynchronous::NlRouter;
use neli::rtnl::{Ifaddrmsg, IfaddrmsgBuilder, Ifinfomsg, IfinfomsgBuilder, Rtattr, RtattrBuilder};
use neli::types::{Buffer, RtBuffer};
use neli::utils::Groups;
use neli::{FromBytesWithInput, Size, ToBytes};

pub(super) struct Netlink(NlRouter);

pub(super) struct Link {
    pub index: u32,
    pub name: String,
    pub is_up: bool,
}

impl Netlink {
    pub(super) async fn connect() -> io::Result<Self> {
        let (router, _) = NlRouter::connect(NlFamily::Route, None, Groups::empty()).await.map_err(failed)?;
        Ok(Self(router))
    }

    pub(super) async fn links(&self) -> io::Result<Vec<Link>> {
        let all = IfinfomsgBuilder::default().ifi_family(RtAddrFamily::Unspecified).build().map_err(io::Error::other)?;
        let link = |link: &Ifinfomsg| {
            let name = link.rtattrs().iter().find(|attribute| *attribute.rta_type() == Ifla::Ifname);
            let name = name.map_or(&b""[..], |attribute| attribute.rta_payload().as_ref());
            let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
            Link { index: link.ifi_index().unsigned_abs(), name, is_up: link.ifi_flags().contains(Iff::UP) }
        };
        self.ask(Rtm::Getlink, NlmF::DUMP, all, link).await
    }

    /// The interfaces that have this address.
    pub(super) async fn indices_with(&self, address: IpAddr) -> io::Result<Vec<u32>> {
        let octets = octets(address);
        let with_it = |told: &Ifaddrmsg| {
            let is_own = |of: &Ifa| matches!(of, Ifa::Local | Ifa::Address);
            let has_it = |one: &Rtattr<Ifa, Buffer>| is_own(one.rta_type()) && *one.rta_payload().as_ref() == *octets;
            told.rtattrs().iter().any(has_it).then_some(*told.ifa_index())
        };
        let all = message(0, address, 0, RtBuffer::new())?;
        Ok(self.ask(Rtm::Getaddr, NlmF::DUMP, all, with_it).await?.into_iter().flatten().collect())
    }

    pub(super) async fn add_link(&self, name: &str, kind: &str) -> io::Result<()> {
        let info = attributes([attribute(IflaInfo::Kind, format!("{kind}\0"))?]);
        let attributes = attributes([attribute(Ifla::Ifname, format!("{name}\0"))?, attribute(Ifla::Linkinfo, info)?]);
        let link = IfinfomsgBuilder::default().ifi_family(RtAddrFamily::Unspecified).rtattrs(attributes).build();
        self.tell(Rtm::Newlink, NlmF::CREATE | NlmF::EXCL, link.map_err(io::Error::other)?).await
    }

    pub(super) async fn set_up(&self, index: u32) -> io::Result<()> {
        let index = i32::try_from(index).map_err(io::Error::other)?;
        let link = IfinfomsgBuilder::default().ifi_family(RtAddrFamily::Unspecified).ifi_index(index).up().build();
        self.tell(Rtm::Newlink, NlmF::empty(), link.map_err(io::Error::other)?).await
    }

    /// Of this one host.
    pub(super) async fn add_address(&self, index: u32, address: IpAddr) -> io::Result<()> {
        let own = |of| attribute(of, octets(address).as_slice());
        let attributes = attributes([own(Ifa::Local)?, own(Ifa::Address)?]);
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        self.tell(Rtm::Newaddr, NlmF::CREATE | NlmF::EXCL, message(index, address, prefix, attributes)?).await
    }

    /// Asks for what the kernel tells in messages of the same form, each of which is read.
    async fn ask<M, T>(&self, kind: Rtm, flags: NlmF, message: M, read: impl Fn(&M) -> T) -> io::Result<Vec<T>>
    where
        M: Size + ToBytes + FromBytesWithInput<Input = usize>,
    {
        let payload = NlPayload::Payload(message);
        let mut answer = self.0.send::<Rtm, M, Rtm, M>(kind, flags, payload).await.map_err(failed)?;
        let mut told = Vec::new();
        while let Some(message) = answer.next::<Rtm, M>().await {
            told.extend(message.map_err(failed)?.get_payload().map(&read));
        }
        Ok(told)
    }

    /// Says what the kernel is to do; it says that it has.
    async fn tell<M>(&self, kind: Rtm, flags: NlmF, message: M) -> io::Result<()>
    where
        M: Size + ToBytes + FromBytesWithInput<Input = usize>,
    {
        self.ask(kind, flags | NlmF::ACK, message, |_| ()).await.map(drop)
    }
}

fn attribute<T: Size, P: Size + ToBytes>(of: T, payload: P) -> io::Result<Rtattr<T, Buffer>> {
    RtattrBuilder::default().rta_type(of).rta_payload(payload).build().map_err(io::Error::other)
}

fn attributes<T>(all: impl IntoIterator<Item = Rtattr<T, Buffer>>) -> RtBuffer<T, Buffer> {
    all.into_iter().collect()
}

fn message(index: u32, address: IpAddr, prefix: u8, attributes: RtBuffer<Ifa, Buffer>) -> io::Result<Ifaddrmsg> {
    let family = if address.is_ipv4() { RtAddrFamily::Inet } else { RtAddrFamily::Inet6 };
    let message = IfaddrmsgBuilder::default().ifa_family(family).ifa_prefixlen(prefix).ifa_scope(RtScope::Universe);
    message.ifa_index(index).rtattrs(attributes).build().map_err(io::Error::other)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// What the kernel refuses it says with a number of errno(3).
fn failed<T, P>(error: RouterError<T, P>) -> io::Error {
    match error {
        RouterError::Nlmsgerr(refused) => io::Error::from_raw_os_error(-*refused.error()),
        RouterError::Io(kind) => kind.into(),
        _ => io::Error::other("the kernel's answer over netlink is not understood"),
    }
}
