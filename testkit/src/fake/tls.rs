//! TLS of the server side: its certificate, and who the client is by its own.
//!
//! As in the real server (`tls.RequestClientCert`), a client certificate never fails the
//! handshake: it is verified afterwards, for each request, so that it can expire in the middle of
//! a connection.

use std::sync::Arc;

use anyhow::Context;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme};

use super::access::User;
use crate::pki::Identity;

/// Verifies client certificates once asked to; takes any in the handshake.
#[derive(Debug)]
pub(crate) struct LateVerifier(Arc<dyn ClientCertVerifier>);

impl LateVerifier {
    pub(crate) fn new(client_ca_pem: &str) -> anyhow::Result<Arc<Self>> {
        let mut roots = RootCertStore::empty();
        for cert in CertificateDer::pem_slice_iter(client_ca_pem.as_bytes()) {
            roots.add(cert.context("client authority")?)?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        Ok(Arc::new(Self(builder.allow_unauthenticated().build()?)))
    }

    /// The user of a chain that verifies now.
    pub(crate) fn user(&self, chain: &[CertificateDer<'static>]) -> Option<User> {
        let (leaf, rest) = chain.split_first()?;
        self.0.verify_client_cert(leaf, rest, UnixTime::now()).ok()?;
        let (names, groups) = subject(leaf)?;
        Some(User::new(names.first()?, groups))
    }
}

impl ClientCertVerifier for LateVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The provider every test uses.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The server's configuration; `http2` offers h2 before http/1.1.
pub(crate) fn server_config(identity: &Identity, verifier: Arc<LateVerifier>, http2: bool) -> anyhow::Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_slice_iter(identity.cert_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())?;
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let mut config = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
    let offered: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
    config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Common names and organizations of a certificate's subject.
fn subject(cert: &[u8]) -> Option<(Vec<String>, Vec<String>)> {
    const COMMON_NAME: &[u8] = &[0x55, 4, 3];
    const ORGANIZATION: &[u8] = &[0x55, 4, 10];
    let (_, certificate, _) = der(cert)?;
    let (_, mut rest, _) = der(certificate)?;
    if rest.first() == Some(&0xa0) {
        rest = der(rest)?.2;
    }
    for _serial_algorithm_issuer_validity in 0..4 {
        rest = der(rest)?.2;
    }
    let (_, mut names, _) = der(rest)?;
    let (mut common, mut groups) = (Vec::new(), Vec::new());
    while let Some((_, set, after)) = der(names) {
        names = after;
        let (_, pair, _) = der(set)?;
        let (_, oid, value) = der(pair)?;
        let text = String::from_utf8(der(value)?.1.to_vec()).ok()?;
        match oid {
            COMMON_NAME => common.push(text),
            ORGANIZATION => groups.push(text),
            _ => {}
        }
    }
    Some((common, groups))
}

/// The first DER element: its tag, its content, what follows.
fn der(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        length = digits.iter().try_fold(0_usize, |sum, digit| sum.checked_mul(256)?.checked_add(usize::from(*digit)))?;
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}
