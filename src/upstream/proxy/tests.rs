use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::connect::ANSWER;
use super::*;

fn proxy(https: &str, no: &str, server: &str) -> Option<String> {
    let proxies = Proxies::of(https, no).unwrap();
    proxies.to(&Address::new(server, 6443).unwrap()).map(|proxy| proxy.to_string())
}

#[test]
fn a_server_is_reached_through_the_proxy_unless_it_is_here_or_listed() {
    let through = Some("http://proxy.example:3128".to_owned());
    for server in ["cloud.example", "192.0.2.7", "2001:db8::7"] {
        assert_eq!(proxy("", "", server), None);
        assert_eq!(proxy("http://proxy.example:3128", "", server), through);
        assert_eq!(proxy("proxy.example:3128", "other.example,10.0.0.0/8", server), through);
        assert_eq!(proxy("http://u:p@proxy.example:3128/", "other.example, *", server), None);
    }
    for server in ["localhost", "127.0.0.1", "127.1.2.3", "::1", "cloud.example", "a.cloud.example", "192.0.2.7"] {
        assert_eq!(proxy("http://proxy.example", "cloud.example, 192.0.2.0/24", server), None, "{server}");
    }
    assert_eq!(proxy("http://[2001:db8::1]", "", "cloud.example").as_deref(), Some("http://[2001:db8::1]:80"));
}

#[test]
fn no_proxy_has_a_port_or_is_for_all() {
    for (no, is_direct) in [
        ("192.0.2.7:6443", true),
        ("192.0.2.7:443", false),
        ("a.example:1, 192.0.2.0/24:6443", true),
        ("2001:db8::/32", false),
        ("*:6443", true),
        ("*:443", false),
        ("192.0.2.7:https", false),
    ] {
        assert_eq!(proxy("http://proxy.example", no, "192.0.2.7").is_none(), is_direct, "{no}");
    }
    for (server, is_direct) in [("a.cloud.example", true), ("192.0.2.7", false)] {
        assert_eq!(proxy("http://proxy.example", "*.cloud.example:6443", server).is_none(), is_direct, "{server}");
    }
    for (no, is_direct) in [
        ("2001:db8::7", true),
        ("2001:db8::/32", true),
        ("[2001:db8::7]", true),
        ("[2001:db8::7]:6443", true),
        ("[2001:db8::7]:443", false),
        ("2001:db8::6443", false),
    ] {
        assert_eq!(proxy("http://proxy.example", no, "2001:db8::7").is_none(), is_direct, "{no}");
    }
}

#[test]
fn a_proxy_that_speaks_socks_has_a_port_of_its_own() {
    for (https, through) in [
        ("socks5://proxy.example", "socks5://proxy.example:1080"),
        ("socks5h://u:p@proxy.example:9", "socks5h://proxy.example:9"),
    ] {
        assert_eq!(proxy(https, "", "cloud.example").as_deref(), Some(through));
    }
}

#[test]
fn a_proxy_that_there_cannot_be_is_refused_without_its_password() {
    for bad in ["socks4://proxy.example", "ftp://proxy.example", "http://", "a b", "http://:80", "http://-:80"] {
        assert_eq!(Proxies::of(bad, "").unwrap_err(), BadProxy::Url(bad.to_owned()));
    }
    for bad in ["ftp://user:secret@proxy.example", "socks5://:secret@proxy.example"] {
        let error = Proxies::of(bad, "").unwrap_err().to_string();
        assert!(error.contains("...@proxy.example") && !error.contains("secret"), "{error}");
    }
    let proxies = format!("{:?}", Proxies::of("http://user:secret@proxy.example", "a.example").unwrap());
    assert!(proxies.contains("...@proxy.example") && !proxies.contains("secret"), "{proxies}");
}

/// What a proxy that answers so says of a tunnel, and what it was asked.
async fn tunnel(answer: Vec<u8>) -> (Result<(), String>, String) {
    let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://user:p%40ss@{}", door.local_addr().unwrap());
    let server = Address::new("2001:db8::7", 6443).unwrap();
    let proxy = Proxies::of(&url, "").unwrap().to(&server).unwrap();
    let answers = tokio::spawn(async move {
        let (mut stream, _) = door.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut asked).await.unwrap();
        }
        // It may have been hung up on.
        let _ = stream.write_all(&answer).await;
        String::from_utf8(asked).unwrap()
    });
    let address = proxy.resolver.addresses().await.unwrap()[0];
    let result = proxy.tunnel(TcpStream::connect(address).await.unwrap(), &server).await.map(drop);
    (result, answers.await.unwrap())
}

#[tokio::test]
async fn a_tunnel_is_asked_for_and_only_a_clean_yes_is_one() {
    let (result, asked) = tunnel(b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n".to_vec()).await;
    assert_eq!(result, Ok(()));
    let expected =
        "CONNECT [2001:db8::7]:6443 HTTP/1.1\r\nHost: [2001:db8::7]:6443\r\nProxy-Authorization: Basic dXNlcjpwQHNz\r\n\r\n";
    assert_eq!(asked, expected);
    let long = [&b"HTTP/1.1 200 OK\r\na: "[..], &[b'a'; ANSWER]].concat();
    for (answer, why) in [
        (&b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..], "407 Proxy Authentication Required"),
        (b"HTTP/1.1 200 OK\r\n\r\nmore", "it says more than its answer"),
        (b"HTTP/1.1 200 OK\r\n", "it has closed the connection"),
        (b"", "it has closed the connection"),
        (b"SSH-2.0-OpenSSH\r\n", "its answer is no HTTP"),
        (&long, "its answer has more than 8192 bytes"),
    ] {
        let (result, _) = tunnel(answer.to_vec()).await;
        assert!(result.as_ref().is_err_and(|error| error.starts_with(why)), "{why}: {result:?}");
    }
}
