//! Bearer tokens: who a ServiceAccount token says it is, without verifying it.
//!
//! Claims are only ever used for a token that the cloud has accepted or issued: the
//! signature is then the cloud's business, and what it said of the token is known.
//! Sources: RFC 7519 (JWT), Kubernetes' bound ServiceAccount tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::list::Encoding;
use super::proto;

/// SHA-256 of a token: what is kept instead of the token itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenDigest(pub [u8; 32]);

impl std::fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "token:{:02x}{:02x}{:02x}{:02x}", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

/// All of it, as `token:` and hexadecimal.
impl std::fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("token:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The digest of a token.
pub fn digest(token: &str) -> TokenDigest {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    TokenDigest(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// Whom a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Issuer and subject, together the user.
    pub user: String,
    /// Unix seconds after which the token is worth nothing; `None`: it does not expire.
    pub expires: Option<u64>,
}

#[derive(Deserialize)]
struct Payload {
    iss: String,
    sub: String,
    exp: Option<f64>,
}

/// The claims of a JWT; `None` if the token is no JWT.
pub fn claims(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let payload: Payload = serde_json::from_slice(&payload).ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "Unix seconds, clamped by the cast")]
    let expires = payload.exp.map(|exp| exp as u64);
    Some(Claims { user: format!("{} {}", payload.iss, payload.sub), expires })
}

/// The token in an answer to a TokenRequest (authentication.k8s.io/v1, full form).
pub fn issued(encoding: Encoding, body: &[u8]) -> Option<String> {
    match encoding {
        Encoding::Json => {
            #[derive(Deserialize)]
            struct Status {
                token: String,
            }
            #[derive(Deserialize)]
            struct TokenRequest {
                status: Status,
            }
            serde_json::from_slice::<TokenRequest>(body).ok().map(|request| request.status.token)
        }
        // Unknown.raw = 2; TokenRequest.status = 3; TokenRequestStatus.token = 1.
        Encoding::Protobuf => {
            let raw = field(body.strip_prefix(&proto::MAGIC)?, 2)?;
            let token = field(field(raw, 3)?, 1)?;
            String::from_utf8(token.to_vec()).ok()
        }
    }
}

/// The last length-delimited field of this number.
fn field(message: &[u8], number: u32) -> Option<&[u8]> {
    let mut found = None;
    for field in proto::fields(message) {
        let field = field.ok()?;
        if field.number == number {
            found = Some(field.bytes().ok()?);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_account_token_names_its_user() {
        let payload = URL_SAFE_NO_PAD.encode(r#"{"iss":"https://k","sub":"system:serviceaccount:a:b","exp":1700000000}"#);
        let claims = claims(&format!("e30.{payload}.c2ln")).unwrap();
        assert_eq!(claims.user, "https://k system:serviceaccount:a:b");
        assert_eq!(claims.expires, Some(1_700_000_000));
    }

    #[test]
    fn what_is_no_jwt_has_no_claims() {
        for token in ["", "abc", "a.b", "a.b.c", "a.b.c.d", "e30.e30.e30"] {
            assert_eq!(claims(token), None, "{token}");
        }
    }
}
