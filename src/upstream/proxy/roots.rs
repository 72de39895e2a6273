//! By what a proxy that speaks TLS is verified: the certificates that this machine trusts. They are read once, for they are as
//! many as in a browser.

use std::path::{Path, PathBuf};
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
    let usual = || USUAL.iter().map(PathBuf::from).collect();
    let files: Vec<_> = named.map_or_else(usual, |file| vec![file]);
    let roots = files.iter().find_map(|file| roots(file)).ok_or_else(|| {
        let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        format!("no certificate is in {}: name a PEM file of certificates in {NAMED}", names.join(", "))
    })?;
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// Those in a file. One that cannot be read is no reason to do without the others.
fn roots(file: &Path) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_file_iter(file).ok()?.flatten());
    (!roots.is_empty()).then_some(roots)
}
