//! A throw-away certificate authority for tests.
//!
//! Receives names; returns PEM text. Every key is fresh and lives only in memory unless
//! [`Identity::write_to`] puts it on disk. Kubernetes reads the subject's common name as the user
//! and each organization as a group, and [`Pki::client`] follows that.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// How long certificates last unless told otherwise.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// A certificate authority.
pub struct Pki {
    ca_pem: String,
    ca_key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key, both PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate alone: the authority is its direct issuer.
    pub cert_pem: String,
    /// PKCS#8.
    pub key_pem: String,
}

impl Pki {
    /// A new authority with a fresh P-256 key.
    #[expect(clippy::new_without_default, reason = "every value differs: a default would mislead")]
    pub fn new() -> Self {
        Self::try_new().expect("a self-signed authority with fixed parameters is well formed")
    }

    fn try_new() -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "fake-ca");
        let ca_pem = params.self_signed(&key)?.pem();
        let ca_key_pem = key.serialize_pem();
        Ok(Self { ca_pem, ca_key_pem, issuer: Issuer::new(params, key) })
    }

    /// The authority's own certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// A serving certificate for host names and IP addresses, in any mix.
    pub fn server(&self, names_and_ips: &[&str]) -> Identity {
        let names: Vec<String> = names_and_ips.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("the names are valid DNS names or IPs");
        let common = names_and_ips.first().copied().unwrap_or("server");
        params.distinguished_name.push(DnType::CommonName, common);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params, LIFETIME)
    }

    /// A client certificate: `cn` is the user, `org` a group (empty for none).
    pub fn client(&self, cn: &str, org: &str) -> Identity {
        self.client_for(cn, org, LIFETIME)
    }

    /// [`Pki::client`] with a lifetime, for tests of expiry and rotation.
    pub fn client_for(&self, cn: &str, org: &str, lifetime: Duration) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).expect("no names, nothing to refuse");
        params.distinguished_name.push(DnType::CommonName, cn);
        if !org.is_empty() {
            params.distinguished_name.push(DnType::OrganizationName, org);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params, lifetime)
    }

    /// Signs a certificate request as the cluster's signer would; returns the certificate, PEM.
    pub fn sign_request(&self, csr_pem: &str, lifetime: Duration) -> anyhow::Result<String> {
        let mut request = CertificateSigningRequestParams::from_pem(csr_pem)?;
        set_validity(&mut request.params, lifetime);
        request.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(request.signed_by(&self.issuer)?.pem())
    }

    /// Writes `ca.crt` and `ca.key`; returns the certificate's path.
    pub fn write_to(&self, dir: &Path) -> anyhow::Result<PathBuf> {
        let cert = dir.join("ca.crt");
        write(&cert, &self.ca_pem)?;
        write(&dir.join("ca.key"), &self.ca_key_pem)?;
        Ok(cert)
    }

    fn issue(&self, mut params: CertificateParams, lifetime: Duration) -> Identity {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, lifetime);
        let key = KeyPair::generate().expect("the system has randomness for a P-256 key");
        let cert = params.signed_by(&key, &self.issuer).expect("parameters are well formed");
        Identity { cert_pem: cert.pem(), key_pem: key.serialize_pem() }
    }
}

impl Identity {
    /// Writes `NAME.crt` and `NAME.key`; returns both paths.
    pub fn write_to(&self, dir: &Path, name: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
        let cert = dir.join(format!("{name}.crt"));
        let key = dir.join(format!("{name}.key"));
        write(&cert, &self.cert_pem)?;
        write(&key, &self.key_pem)?;
        Ok((cert, key))
    }

    /// Writes certificate and key into one file, as the kubelet keeps its own.
    pub fn write_bundle(&self, path: &Path) -> anyhow::Result<()> {
        write(path, &format!("{}{}", self.cert_pem, self.key_pem))
    }
}

/// Valid from five minutes ago, so that clocks may disagree.
fn set_validity(params: &mut CertificateParams, lifetime: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(300)).into();
    params.not_after = (now + lifetime).into();
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
