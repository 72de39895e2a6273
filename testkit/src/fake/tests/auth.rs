//! Who may do what.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::super::{Fake, FakeOptions};
use super::{config_map, connect, start, start_with, try_connect};
use crate::client::{Alpn, Client};
use crate::pki::{Identity, Pki};

async fn connect_as(fake: &Fake, identity: &Identity) -> Client {
    Client::https_as(fake.addr(), fake.ca_pem(), "127.0.0.1", Alpn::H2, Some(identity)).await.expect("accepts")
}

#[tokio::test]
async fn nobody_and_a_wrong_token_are_refused() {
    let fake = start().await;
    let nobody = try_connect(&fake, Alpn::H1).await.expect("accepts");
    let answer = nobody.get("/api/v1/pods").await.expect("answers");
    assert_eq!(
        answer.text(),
        "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"Unauthorized\",\"reason\":\"Unauthorized\",\"code\":401}\n"
    );
    let wrong = nobody.with_token("wrong");
    assert_eq!(wrong.get("/api/v1/pods").await.expect("answers").status, 401);

    let fake = start_with(FakeOptions { anonymous: true, ..FakeOptions::default() }).await;
    let nobody = try_connect(&fake, Alpn::H1).await.expect("accepts");
    let answer = nobody.get("/api/v1/nodes/x").await.expect("answers");
    let why = "nodes \"x\" is forbidden: User \"system:anonymous\" cannot get resource \"nodes\" in API group \"\" at the cluster scope";
    assert_eq!((answer.status.as_u16(), &answer.json()["message"]), (403, &json!(why)));
    assert_eq!(nobody.get("/readyz").await.expect("answers").status, 200);
}

#[tokio::test]
async fn rules_allow_in_the_words_of_the_real_one() {
    let fake = start().await;
    fake.put("configmaps", "ns", "x", config_map("1"));
    fake.add_token("t", "u", &["team"]);
    let client = try_connect(&fake, Alpn::H2).await.expect("accepts").with_token("t");
    let answer = client.get("/api/v1/namespaces/ns/configmaps/x").await.expect("answers");
    let why =
        "configmaps \"x\" is forbidden: User \"u\" cannot get resource \"configmaps\" in API group \"\" in the namespace \"ns\"";
    assert_eq!((answer.status.as_u16(), &answer.json()["message"]), (403, &json!(why)));
    fake.allow("team", "get", "configmaps", "ns", "*");
    fake.allow("u", "list", "configmaps", "ns", "x");
    assert_eq!(client.get("/api/v1/namespaces/ns/configmaps/x").await.expect("answers").status, 200);
    assert_eq!(client.get("/api/v1/namespaces/ns/configmaps").await.expect("answers").status, 403);
    let named = "/api/v1/namespaces/ns/configmaps?fieldSelector=metadata.name=x";
    assert_eq!(client.get(named).await.expect("answers").status, 200);
    let body = r#"{"spec":{"namespace":"ns"}}"#;
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let review = client.request("POST", path, &[], body).await.expect("answers").json();
    assert_eq!(review["status"]["resourceRules"][0]["verbs"], json!(["get"]));
    fake.forbid_all();
    assert_eq!(client.get(named).await.expect("answers").status, 403);
}

#[tokio::test]
async fn a_certificate_comes_before_a_token() {
    let fake = start().await;
    let identity = fake.pki().client("system:node:n1", "system:nodes");
    let client = connect_as(&fake, &identity).await.with_token("wrong");
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let review = client.request("POST", path, &[], "{}").await.expect("answers").json();
    let info = json!({"username": "system:node:n1", "groups": ["system:nodes", "system:authenticated"]});
    assert_eq!(review["status"]["userInfo"], info);
    assert_eq!(fake.requests()[0].client_cn.as_deref(), Some("system:node:n1"));
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_passed_over() {
    let fake = start().await;
    let stranger = Pki::new().client("admin", "system:masters");
    let client = connect_as(&fake, &stranger).await;
    assert_eq!(client.get("/api/v1/pods").await.expect("answers").status, 401);
    let client = client.with_token("root");
    assert_eq!(client.get("/api/v1/pods").await.expect("answers").status, 200);
}

#[tokio::test]
async fn a_certificate_expires_within_a_connection() {
    let fake = start().await;
    let short = fake.pki().client_for("system:node:n1", "system:nodes", Duration::from_secs(1));
    let client = connect_as(&fake, &short).await;
    assert_eq!(client.get("/api/v1/pods").await.expect("answers").status, 200);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(client.get("/api/v1/pods").await.expect("answers").status, 401);
}

#[tokio::test]
async fn issued_tokens_are_accepted() {
    let fake = start().await;
    let client = connect(&fake, Alpn::H2).await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let body = r#"{"spec":{"expirationSeconds":600,"boundObjectRef":{"kind":"Pod","name":"p","uid":"u"}}}"#;
    let made = client.request("POST", path, &[], body).await.expect("answers");
    assert_eq!(made.status, 201);
    let token = made.json()["status"]["token"].as_str().expect("a token").to_owned();
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("three parts")).expect("base64");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    assert_eq!(claims["sub"], "system:serviceaccount:default:default");
    assert_eq!(claims["kubernetes.io"]["pod"]["name"], "p");
    let bearer = try_connect(&fake, Alpn::H2).await.expect("accepts").with_token(&token);
    let answer = bearer.get("/api/v1/pods").await.expect("answers");
    assert!(answer.text().contains("User \\\"system:serviceaccount:default:default\\\" cannot list"));
    let missing = client.request("POST", "/api/v1/namespaces/a/serviceaccounts/x/token", &[], body).await.expect("answers");
    assert_eq!(missing.status, 404);
}
