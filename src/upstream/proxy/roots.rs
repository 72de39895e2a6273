//! By what a proxy that speaks TLS is verified: the certificates that this machine trusts. They are read once, for they are as
//! many as in a browser.

use std::path::Path;
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
    let roots = match std::env::var_os(NAMED).filter(|name| !name.is_empty()) {
        Some(named) => roots(Path::new(&named)),
        None => USUAL.iter().find_map(|file| roots(Path::new(file)).ok()).ok_or_else(|| format!("none of {}", USUAL.join(", "))),
    };
    let roots = roots.map_err(|why| format!("{why}: name a PEM file of certificates in {NAMED}"))?;
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// Those in a file. One that cannot be read is no reason to do without the others.
fn roots(file: &Path) -> Result<RootCertStore, String> {
    let bad = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| bad(&error))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.flatten());
    if roots.is_empty() { Err(bad(&"no certificate is in it")) } else { Ok(roots) }
}
