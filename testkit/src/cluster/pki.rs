//! Every key and certificate of the cluster, made anew for each.
//!
//! Layout, all PEM: `NAME.pem` is a certificate and `NAME-key.pem` its key for
//! `ca`, `apiserver`, `admin`, `controller-manager`, `scheduler`,
//! `kubelet-client` (the API server's, for logs and exec), `node` and
//! `serving` (the hub's own, signed by the cluster's CA); `service-account.pem`
//! is the public key of tokens and `service-account-key.pem` the private one.

use std::fs;
use std::path::Path;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, RsaKeySize,
};

use super::network::{CLOUD_IP, SERVICE_IP};

/// Names under which a Pod knows the API server.
const SERVICE_NAMES: [&str; 4] =
    ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];

/// Who a certificate is for.
struct Subject<'a> {
    common_name: &'a str,
    organization: Option<&'a str>,
    /// Names and addresses; a certificate without any is a client's.
    names: Vec<String>,
}

/// Writes everything below `dir`, which exists.
pub(super) fn write(dir: &Path, node_name: &str) -> Result<()> {
    let ca_key = KeyPair::generate()?;
    fs::write(dir.join("ca-key.pem"), ca_key.serialize_pem())?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "kubernetes");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let ca = CertifiedIssuer::self_signed(params, ca_key)?;
    fs::write(dir.join("ca.pem"), ca.pem())?;

    let node = format!("system:node:{node_name}");
    let client = |common_name, organization| Subject { common_name, organization, names: Vec::new() };
    let server = |common_name, addresses: &[&str]| Subject {
        common_name,
        organization: None,
        names: SERVICE_NAMES.iter().chain(addresses).map(|&name| name.to_owned()).collect(),
    };
    for (name, subject) in [
        ("apiserver", server("kube-apiserver", &[CLOUD_IP, SERVICE_IP, "127.0.0.1", "localhost"])),
        ("serving", server("holdfast", &["169.254.2.1", "127.0.0.1", "localhost"])),
        ("admin", client("admin", Some("system:masters"))),
        ("kubelet-client", client("kube-apiserver-kubelet-client", Some("system:masters"))),
        ("controller-manager", client("system:kube-controller-manager", None)),
        ("scheduler", client("system:kube-scheduler", None)),
        ("node", client(&node, Some("system:nodes"))),
    ] {
        issue(dir, name, subject, &ca)?;
    }

    // RSA, as in most clusters: tokens then are RS256.
    let tokens = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    fs::write(dir.join("service-account.pem"), tokens.public_key_pem())?;
    fs::write(dir.join("service-account-key.pem"), tokens.serialize_pem())?;
    Ok(())
}

fn issue(dir: &Path, name: &str, subject: Subject<'_>, ca: &CertifiedIssuer<'_, KeyPair>) -> Result<()> {
    let key = KeyPair::generate()?;
    let usage = if subject.names.is_empty() { ExtendedKeyUsagePurpose::ClientAuth } else { ExtendedKeyUsagePurpose::ServerAuth };
    let mut params = CertificateParams::new(subject.names)?;
    params.distinguished_name.push(DnType::CommonName, subject.common_name);
    if let Some(organization) = subject.organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    fs::write(dir.join(format!("{name}-key.pem")), key.serialize_pem())?;
    fs::write(dir.join(format!("{name}.pem")), params.signed_by(&key, ca)?.pem())?;
    Ok(())
}
