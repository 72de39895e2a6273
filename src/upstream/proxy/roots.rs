//! By what a proxy that speaks TLS is verified: the certificates that this machine trusts. They are read once, for they are as
//! many as in a browser.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// OpenSSL, curl and Go read it, too.
const NAMED: &str = "SSL_CERT_FILE";
/// Where Linux distributions have them, as Go knows them (`crypto/x509/root_linux.go`).
const USUAL: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

pub(super) fn client_config() -> Result<Arc<ClientConfig>, String> {
    let named = std::env::var_os(NAMED).filter(|name| !name.is_empty()).map(PathBuf::from);
    let file = named.or_else(|| USUAL.iter().map(PathBuf::from).find(|file| file.exists()));
    let file =
        file.ok_or_else(|| format!("there is none of {}: name a PEM file of certificates in {NAMED}", USUAL.join(", ")))?;
    let bad = |why: &str| format!("{}: {why}: name a PEM file of certificates in {NAMED}", file.display());
    let certificates = CertificateDer::pem_file_iter(&file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut roots = RootCertStore::empty();
    // One that cannot be read is no reason to do without the others.
    roots.add_parsable_certificates(certificates.map_err(|error| bad(&error.to_string()))?);
    if roots.is_empty() {
        return Err(bad("no certificate is in it"));
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}
