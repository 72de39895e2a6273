//! A tunnel of a SOCKS 5 proxy (RFC 1928), with user and password where it asks for them (RFC 1929). A server that has a name
//! is looked up by the proxy.

use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::upstream::address::Address;

const VERSION: u8 = 5;
/// Ways to say who one is.
const NOBODY: u8 = 0;
const PASSWORD: u8 = 2;
const PASSWORD_VERSION: u8 = 1;
const CONNECT: u8 = 1;
/// Kinds of addresses.
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Whether both are as long as SOCKS has them.
pub(super) fn fit(user: Option<(&str, &str)>) -> bool {
    user.is_none_or(|(user, password)| !user.is_empty() && length(user).and(length(password)).is_ok())
}

pub(super) async fn tunnel(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    server: &Address,
    user: Option<(&str, &str)>,
) -> Result<(), String> {
    let broken = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "it has closed the connection".to_owned(),
        _ => error.to_string(),
    };
    let ways: &[u8] = if user.is_some() { &[NOBODY, PASSWORD] } else { &[NOBODY] };
    let answer: [u8; 2] = exchange(stream, &[&[VERSION, length(ways)?], ways].concat()).await.map_err(broken)?;
    match (answer, user) {
        ([VERSION, NOBODY], _) => {}
        ([VERSION, PASSWORD], Some((user, password))) => {
            let said = [&[PASSWORD_VERSION, length(user)?], user.as_bytes(), &[length(password)?], password.as_bytes()].concat();
            let [_, refused] = exchange(stream, &said).await.map_err(broken)?;
            if refused != 0 {
                return Err("it does not accept the user and password".to_owned());
            }
        }
        ([VERSION, _], Some(_)) => return Err("it accepts neither a user and password nor nobody".to_owned()),
        ([VERSION, _], None) => return Err("it asks for a user and password, or for what is not known here".to_owned()),
        _ => return Err("its answer is no SOCKS 5".to_owned()),
    }
    let asked = [&[VERSION, CONNECT, 0], &*destination(server)?].concat();
    let [version, refused, _, kind]: [u8; 4] = exchange(stream, &asked).await.map_err(broken)?;
    match (version, reason(refused)) {
        (VERSION, None) => {}
        (VERSION, Some(why)) => return Err(why.to_owned()),
        _ => return Err("its answer is no SOCKS 5".to_owned()),
    }
    // Where the proxy has it from says nothing here.
    let own = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(stream.read_u8().await.map_err(broken)?),
        _ => return Err("its answer is no SOCKS 5".to_owned()),
    };
    let mut rest = vec![0; own + size_of::<u16>()];
    stream.read_exact(&mut rest).await.map_err(broken)?;
    Ok(())
}

async fn exchange<const SIZE: usize>(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    said: &[u8],
) -> std::io::Result<[u8; SIZE]> {
    stream.write_all(said).await?;
    stream.flush().await?;
    let mut answer = [0; SIZE];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

fn destination(server: &Address) -> Result<Vec<u8>, String> {
    let mut destination = match server.host.parse() {
        Ok(IpAddr::V4(address)) => [&[IPV4], &address.octets()[..]].concat(),
        Ok(IpAddr::V6(address)) => [&[IPV6], &address.octets()[..]].concat(),
        Err(_) => [&[NAME, length(&server.host)?], server.host.as_bytes()].concat(),
    };
    destination.extend(server.port.to_be_bytes());
    Ok(destination)
}

fn length(of: &(impl AsRef<[u8]> + ?Sized)) -> Result<u8, String> {
    u8::try_from(of.as_ref().len()).map_err(|_| "SOCKS has no more than 255 bytes for a name".to_owned())
}

/// Why it is refused (RFC 1928, 6).
fn reason(code: u8) -> Option<&'static str> {
    Some(match code {
        0 => return None,
        2 => "its rules do not allow it",
        3 => "it cannot reach the network",
        4 => "it cannot reach the server",
        5 => "the server refuses the connection",
        8 => "it does not know such an address",
        _ => "it has failed",
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    const USER: Option<(&str, &str)> = Some(("edge", "p@ss"));
    /// Bound to 192.0.2.1:9.
    const YES: [u8; 10] = [5, 0, 0, 1, 192, 0, 2, 1, 0, 9];

    /// What a proxy that gives these answers says of a tunnel, and what it was asked.
    async fn asked(server: &str, user: Option<(&str, &str)>, answers: &[&[u8]]) -> (Result<(), String>, Vec<u8>) {
        let server = Address::new(server, 6443).unwrap();
        let (mut here, mut there) = duplex(1024);
        there.write_all(&answers.concat()).await.unwrap();
        let (mut asked, mut answered) = tokio::io::split(there);
        // It says no more.
        answered.shutdown().await.unwrap();
        let result = tunnel(&mut here, &server, user).await;
        let mut rest = Vec::new();
        here.read_to_end(&mut rest).await.unwrap();
        assert!(result.is_err() || rest == b"the server's", "what follows is left where it is: {rest:?}");
        drop(here);
        let mut all = Vec::new();
        asked.read_to_end(&mut all).await.unwrap();
        (result, all)
    }

    #[tokio::test]
    async fn a_tunnel_is_asked_for_by_address_or_name() {
        let v6 = [&[5, 1, 0, 5, 1, 0, 4, 0x20, 0x01, 0x0d, 0xb8], &[0; 11][..], &[7, 0x19, 0x2b]].concat();
        for (server, expected) in [
            ("192.0.2.7", b"\x05\x01\0\x05\x01\0\x01\xc0\0\x02\x07\x19\x2b".to_vec()),
            ("2001:db8::7", v6),
            ("cloud.example", b"\x05\x01\0\x05\x01\0\x03\x0dcloud.example\x19\x2b".to_vec()),
        ] {
            assert_eq!(asked(server, None, &[&[5, 0], &YES, b"the server's"]).await, (Ok(()), expected));
        }
        let bound = |kind: &[u8], rest: usize| [&[5, 0, 0], kind, &vec![1; rest + 2]].concat();
        for answer in [bound(&[4], 16), bound(&[3, 9], 9)] {
            let (result, _) = asked("192.0.2.7", None, &[&[5, 0], &answer, b"the server's"]).await;
            assert_eq!(result, Ok(()));
        }
    }

    #[tokio::test]
    async fn user_and_password_are_said_where_they_are_asked_for() {
        let (result, said) = asked("192.0.2.7", USER, &[&[5, 2], &[1, 0], &YES, b"the server's"]).await;
        assert_eq!(result, Ok(()));
        assert!(said.starts_with(b"\x05\x02\0\x02\x01\x04edge\x04p@ss\x05\x01"), "{said:?}");
        let (result, said) = asked("192.0.2.7", USER, &[&[5, 0], &YES, b"the server's"]).await;
        assert_eq!(result, Ok(()));
        assert!(!said.windows(4).any(|part| part == b"edge"), "{said:?}");
    }

    #[tokio::test]
    async fn only_a_clean_yes_is_one() {
        let closed = "it has closed the connection";
        for (user, answers, why) in [
            (USER, [&[5, 2][..], &[1, 1]], "it does not accept the user and password"),
            (None, [&[5, 2], &[]], "it asks for a user and password"),
            (None, [&[5, 0xff], &[]], "it asks for a user and password"),
            (USER, [&[5, 0xff], &[]], "it accepts neither"),
            (None, [&[5, 0], &[5, 2, 0, 1]], "its rules do not allow it"),
            (None, [&[5, 0], &[5, 5, 0, 1]], "the server refuses the connection"),
            (None, [&[5, 0], &[5, 77, 0, 1]], "it has failed"),
            (None, [&[5, 0], &[5, 0, 0, 9]], "its answer is no SOCKS 5"),
            (None, [&[4, 0], &[]], "its answer is no SOCKS 5"),
            (None, [b"HTTP/1.1 400 Bad Request\r\n\r\n", &[]], "its answer is no SOCKS 5"),
            (None, [&[], &[]], closed),
            (None, [&[5, 0], &YES[..9]], closed),
            (None, [&[5, 0], &[5, 0, 0, 3]], closed),
        ] {
            let (result, _) = asked("192.0.2.7", user, &answers).await;
            assert!(result.as_ref().is_err_and(|error| error.starts_with(why)), "{why}: {result:?}");
        }
    }

    #[test]
    fn a_name_is_no_longer_than_the_protocol_has_it() {
        let long = "a".repeat(256);
        for (user, is_fit) in [
            (None, true),
            (Some(("edge", "")), true),
            (Some(("", "secret")), false),
            (Some((&*long, "secret")), false),
            (Some(("edge", &*long)), false),
        ] {
            assert_eq!(fit(user), is_fit, "{user:?}");
        }
    }
}
