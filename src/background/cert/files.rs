//! TLS configurations from PEM files, and the loop that reads them again.
//!
//! Files are looked at every few seconds by their metadata (a symlink that turns, as
//! kubelet rotates its certificate, counts). New files that cannot be used change
//! nothing: the configuration at hand stays, and the log says why.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::state::credentials::{Credentials, Serving};

const LOOK: Duration = Duration::from_secs(5);

/// Whose file, what is wrong with it, what to do.
#[derive(Debug, thiserror::Error)]
#[error("--{field}: {path}: {why}")]
pub struct BadFile {
    pub field: &'static str,
    pub path: String,
    pub why: String,
}

/// A PEM file, and the setting that names it.
#[derive(Clone, Copy)]
struct Pem<'a>(&'static str, &'a Path);

/// The files of the hub's own identity and trust.
#[derive(Debug, Clone)]
pub struct Files {
    pub client_certificate: PathBuf,
    pub client_key: PathBuf,
    pub certificate_authority: PathBuf,
    pub tls_cert_file: PathBuf,
    pub tls_private_key_file: PathBuf,
}

impl Pem<'_> {
    fn bad(self, why: impl std::fmt::Display) -> BadFile {
        let Self(field, path) = self;
        BadFile { field, path: path.display().to_string(), why: why.to_string() }
    }

    fn certificates(self) -> Result<Vec<CertificateDer<'static>>, BadFile> {
        let wanted = "name a PEM file with at least one CERTIFICATE block";
        let read = CertificateDer::pem_file_iter(self.1).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match read {
            Ok(chain) if chain.is_empty() => Err(self.bad(format_args!("no certificate is in it: {wanted}"))),
            Ok(chain) => Ok(chain),
            Err(error) => Err(self.bad(format_args!("{error}: {wanted}"))),
        }
    }

    fn key(self) -> Result<PrivateKeyDer<'static>, BadFile> {
        PrivateKeyDer::from_pem_file(self.1)
            .map_err(|error| self.bad(format_args!("{error}: name a PEM file with one PRIVATE KEY block, not encrypted")))
    }

    fn roots(self) -> Result<Arc<RootCertStore>, BadFile> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots
                .add(certificate)
                .map_err(|error| self.bad(format_args!("{error}: name the certificate of the cluster's CA")))?;
        }
        Ok(Arc::new(roots))
    }

    /// Certificate and key are not of one pair.
    fn does_not_fit(self, key: Pem<'_>, error: &rustls::Error) -> BadFile {
        self.bad(format_args!("does not fit --{} {}: {error}: name a certificate and its own key", key.0, key.1.display()))
    }
}

impl Files {
    /// The configurations towards the cloud: the node's, and one without a certificate.
    pub fn client_configs(&self) -> Result<(Arc<ClientConfig>, Arc<ClientConfig>), BadFile> {
        let certificate = Pem("client-certificate", &self.client_certificate);
        let key = Pem("client-key", &self.client_key);
        let roots = self.certificate_authority().roots()?;
        let mut node = ClientConfig::builder()
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(certificate.certificates()?, key.key()?)
            .map_err(|error| certificate.does_not_fit(key, &error))?;
        let mut caller = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        for config in [&mut node, &mut caller] {
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        Ok((Arc::new(node), Arc::new(caller)))
    }

    /// The configuration towards Pods; client certificates of the cluster's CA are
    /// verified if shown.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, BadFile> {
        let authority = self.certificate_authority();
        let verifier = WebPkiClientVerifier::builder(authority.roots()?)
            .allow_unauthenticated()
            .build()
            .map_err(|error| authority.bad(error))?;
        let certificate = Pem("tls-cert-file", &self.tls_cert_file);
        let key = Pem("tls-private-key-file", &self.tls_private_key_file);
        let mut config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificate.certificates()?, key.key()?)
            .map_err(|error| certificate.does_not_fit(key, &error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn certificate_authority(&self) -> Pem<'_> {
        Pem("certificate-authority", &self.certificate_authority)
    }

    /// To be taken before they are read.
    pub fn marks(&self) -> Marks {
        let files = [
            &self.client_certificate,
            &self.client_key,
            &self.certificate_authority,
            &self.tls_cert_file,
            &self.tls_private_key_file,
        ];
        let mark = |path: &&PathBuf| std::fs::metadata(path).ok().and_then(|data| Some((data.modified().ok()?, data.len())));
        Marks(files.iter().map(mark).collect())
    }

    /// Swaps what has changed since `seen`, for ever.
    pub async fn follow(self, mut seen: Marks, credentials: Arc<Credentials>, serving: Arc<Serving>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let marks = self.marks();
            if marks == seen {
                continue;
            }
            seen = marks;
            match self.client_configs() {
                Ok((node, caller)) => {
                    credentials.replace(node, caller);
                    tracing::info!("credentials towards the cloud read again");
                }
                Err(error) => tracing::error!(%error, "changed credentials cannot be used, the former stay"),
            }
            match self.server_config() {
                Ok(config) => {
                    serving.replace(config);
                    tracing::info!("serving certificate read again");
                }
                Err(error) => tracing::error!(%error, "a changed serving certificate cannot be used, the former stays"),
            }
        }
    }
}

/// By what a change of the files is noticed.
#[derive(PartialEq, Eq)]
pub struct Marks(Vec<Option<(SystemTime, u64)>>);

/// Names and addresses of the serving certificate that is made if none is given.
pub struct OwnServing<'a> {
    pub folder: &'a Path,
    pub addresses: Vec<std::net::IpAddr>,
    pub node_name: &'a str,
}

impl OwnServing<'_> {
    /// Makes a CA of the node's own and a serving certificate from it, once for the
    /// addresses at hand. Returns certificate and key file.
    pub fn make(&self) -> Result<(PathBuf, PathBuf), BadFile> {
        let (certificate, key) = (self.folder.join("serving.crt"), self.folder.join("serving.key"));
        if self.is_for_us(&certificate) && is_pair(&certificate, &key) {
            return Ok((certificate, key));
        }
        let failed = |error: &dyn std::fmt::Display| {
            Pem("root-dir", self.folder).bad(format_args!("a serving certificate could not be made: {error}"))
        };
        std::fs::create_dir_all(self.folder).map_err(|error| failed(&error))?;
        let (ca, chain, leaf) = self.issue().map_err(|error| failed(&error))?;
        for (name, text) in [("ca.crt", ca), ("serving.crt", chain), ("serving.key", leaf)] {
            write_private(&self.folder.join(name), text.as_bytes()).map_err(|error| failed(&error))?;
        }
        Ok((certificate, key))
    }

    /// Whether the certificate that was made names the addresses the hub has now.
    fn is_for_us(&self, path: &Path) -> bool {
        let Ok(chain) = Pem("root-dir", path).certificates() else { return false };
        let Ok(leaf) = ParsedCertificate::try_from(&chain[0]) else { return false };
        let named = |address: &std::net::IpAddr| verify_server_name(&leaf, &ServerName::from(*address)).is_ok();
        self.addresses.iter().all(named)
    }

    /// The CA's key is not kept: the next certificate gets a new CA.
    fn issue(&self) -> Result<(String, String, String), rcgen::Error> {
        use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        ca.distinguished_name.push(DnType::CommonName, format!("holdfast:{}", self.node_name));
        let ca_certificate = ca.self_signed(&ca_key)?;
        let names =
            ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"];
        let mut leaf = CertificateParams::new(names.map(str::to_owned).to_vec())?;
        leaf.subject_alt_names.extend(self.addresses.iter().copied().map(SanType::IpAddress));
        leaf.distinguished_name.push(DnType::CommonName, format!("system:node:{}", self.node_name));
        leaf.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        let leaf_key = KeyPair::generate()?;
        let issuer = Issuer::from_params(&ca, &ca_key);
        let certificate = leaf.signed_by(&leaf_key, &issuer)?;
        Ok((ca_certificate.pem(), certificate.pem() + &ca_certificate.pem(), leaf_key.serialize_pem()))
    }
}

/// What was written in part, or beside another, is none.
fn is_pair(certificate: &Path, key: &Path) -> bool {
    let read = |path| Pem("root-dir", path);
    let (Ok(chain), Ok(key)) = (read(certificate).certificates(), read(key).key()) else { return false };
    ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).is_ok()
}

fn write_private(path: &Path, text: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_certificate_stays_until_the_addresses_change() {
        let folder = tempfile::tempdir().unwrap();
        let made = |address: &str| {
            let addresses = vec![address.parse().unwrap()];
            let own = OwnServing { folder: folder.path(), addresses, node_name: "n" };
            std::fs::read(own.make().unwrap().0).unwrap()
        };
        let first = made("169.254.2.1");
        assert_eq!(made("169.254.2.1"), first);
        let other = made("169.254.2.2");
        assert_ne!(other, first, "Pods could not verify it");
        std::fs::write(folder.path().join("serving.crt"), &other[..100]).unwrap();
        assert_ne!(made("169.254.2.2"), other, "half of a file is none");
    }

    /// The power may go between any two writes.
    #[test]
    fn an_own_certificate_without_its_key_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let own = OwnServing { folder: folder.path(), addresses: Vec::new(), node_name: "n" };
        let (certificate, key) = own.make().unwrap();
        let before = [&certificate, &key].map(|path| std::fs::read(path).unwrap());
        let others = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for found in [b"".as_slice(), &before[1][..20], others.as_bytes()] {
            std::fs::write(&key, found).unwrap();
            own.make().unwrap();
            assert!(is_pair(&certificate, &key));
            assert_ne!(std::fs::read(&certificate).unwrap(), before[0]);
        }
    }

    /// Whenever the loop comes to run for the first time.
    #[tokio::test(start_paused = true)]
    async fn what_changes_between_the_first_reading_and_the_first_look_is_noticed() {
        let (folder, pki) = (tempfile::tempdir().unwrap(), testkit::pki::Pki::new());
        let (client_certificate, client_key) = pki.client("n", "g").write_to(folder.path(), "node").unwrap();
        let (tls_cert_file, tls_private_key_file) = pki.server(&["127.0.0.1"]).write_to(folder.path(), "serving").unwrap();
        let certificate_authority = pki.write_to(folder.path()).unwrap();
        let files = Files { client_certificate, client_key, certificate_authority, tls_cert_file, tls_private_key_file };
        let marks = files.marks();
        let (node, anonymous) = files.client_configs().unwrap();
        let first = files.server_config().unwrap();
        let serving = Arc::new(Serving::new(first.clone()));
        // Another length at least: the clock of files is coarse.
        std::fs::write(&files.tls_cert_file, [&std::fs::read(&files.tls_cert_file).unwrap()[..], b"\n"].concat()).unwrap();
        tokio::spawn(files.follow(marks, Arc::new(Credentials::new(node, anonymous)), serving.clone()));
        tokio::time::sleep(LOOK * 2).await;
        assert!(!Arc::ptr_eq(&serving.current(), &first), "the changed one is served");
    }
}
