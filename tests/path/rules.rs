//! The users' rules, from ConfigMap yurt-hub-cfg and from the hub's configuration.

use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use testkit::client::{Client, Streaming};
use testkit::fake::Fault;

use super::*;

const INGRESS: (&str, &str) = ("user-agent", "ingress/v1");
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf, */*";
const SERVICES: &str = "/api/v1/namespaces/story/services";

fn rules(rig: &Rig, rules: &str) {
    rig.fake.put("configmaps", "kube-system", "yurt-hub-cfg", json!({"data": {"rules": rules}}));
}

const HIDE: &str = "
- name: hide-internal
  match: {components: [ingress], resources: [services], expression: \"object.spec.type == 'ClusterIP'\"}
  drop: true
- name: local
  match: {components: [ingress], resources: [services], labelSelector: {matchLabels: {edge: 'yes'}}}
  set: [{path: /spec/externalTrafficPolicy, value: Local}]
  annotate: {example.com/by: holdfast}
";

async fn rig() -> Rig {
    let rig = Rig::start().await;
    let service = |name: &str, kind: &str, labels: &Value| {
        let object = json!({"metadata": {"labels": labels}, "spec": {"type": kind, "ports": [{"port": 80}]}});
        rig.fake.put("services", "story", name, object);
    };
    service("inside", "ClusterIP", &json!({}));
    service("open", "NodePort", &json!({}));
    service("outside", "LoadBalancer", &json!({"edge": "yes"}));
    rig
}

async fn ask(client: &Client, path: &str, agent: (&str, &str), accept: &str) -> testkit::client::Response {
    client.request("GET", path, &[agent, ("accept", accept)], "").await.unwrap()
}

fn names(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

async fn seen(client: &Client, expected: &[&str]) {
    let seen = async || Ok(names(&ask(client, SERVICES, INGRESS, PROTOBUF).await.json()) == expected);
    eventually("the rules apply", SECONDS(10), async || {
        let answer = ask(client, SERVICES, INGRESS, PROTOBUF).await;
        if answer.header("content-type") != "application/json" { Ok(false) } else { seen().await }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn rules_hide_and_change_for_whom_they_name_and_hold_offline() {
    let mut rig = rig().await;
    let client = rig.hub.kubelet().await.unwrap();
    rules(&rig, HIDE);
    seen(&client, &["open", "outside"]).await;
    let list = ask(&client, SERVICES, INGRESS, PROTOBUF).await;
    let others = client.get(SERVICES).await.unwrap();
    assert_eq!(names(&others.json()), ["inside", "open", "outside"], "nobody else is served");
    let hidden = ask(&client, &format!("{SERVICES}/inside"), INGRESS, PROTOBUF).await;
    assert_eq!((hidden.status.as_u16(), hidden.text().contains("NotFound")), (404, true));
    let changed = ask(&client, &format!("{SERVICES}/outside"), INGRESS, PROTOBUF).await.json();
    assert_eq!(changed["spec"]["externalTrafficPolicy"], "Local");
    assert_eq!(changed["metadata"]["annotations"]["example.com/by"], "holdfast");
    let open =
        |list: &str| list[list.find("{\"metadata\":{\"name\":\"open\"").unwrap()..].split("},{").next().unwrap().to_owned();
    assert_eq!(open(&list.text()), open(&others.text()), "what no rule touches keeps its bytes");
    let protobuf_alone = ask(&client, SERVICES, INGRESS, "application/vnd.kubernetes.protobuf").await;
    assert_eq!(protobuf_alone.status, 406, "{}", protobuf_alone.text());

    rig.cut(Fault::Refuse).await;
    let offline = ask(&client, SERVICES, INGRESS, PROTOBUF).await;
    assert_eq!((offline.status.as_u16(), offline.body), (200, list.body));
    assert_eq!(names(&client.get(SERVICES).await.unwrap().json()), ["inside", "open", "outside"], "the store has it all");
    rig.restart().await;
    let client = rig.hub.kubelet().await.unwrap();
    let first = ask(&client, SERVICES, INGRESS, PROTOBUF).await;
    assert_eq!((first.status.as_u16(), names(&first.json())), (200, vec!["open".to_owned(), "outside".to_owned()]));
}

#[tokio::test]
async fn rules_that_do_not_hold_are_named_and_those_of_before_stay() {
    let rig = rig().await;
    let client = rig.hub.kubelet().await.unwrap();
    rules(&rig, HIDE);
    seen(&client, &["open", "outside"]).await;
    rules(
        &rig,
        "- {name: fine, match: {resources: [services]}, drop: true}\n- {name: broken, match: {resources: [services], expression: 'object.'}, drop: true}",
    );
    eventually("the log names it", SECONDS(10), async || Ok(rig.hub.log().contains("rule broken: match.expression")))
        .await
        .unwrap();
    seen(&client, &["open", "outside"]).await;
    rules(&rig, "");
    eventually("no rule serves it", SECONDS(10), async || {
        Ok(ask(&client, SERVICES, INGRESS, PROTOBUF).await.header("content-type") != "application/json")
    })
    .await
    .unwrap();
}

/// A rule that hides the rules themselves must not undo itself.
#[tokio::test]
async fn the_hub_itself_is_served_by_no_rule() {
    let rig = rig().await;
    let client = rig.hub.kubelet().await.unwrap();
    let shows = async |count: usize| Ok(names(&client.get("/api/v1/configmaps").await?.json()).len() == count);
    rules(&rig, "- {name: everything, match: {resources: [configmaps]}, drop: true}");
    eventually("all are hidden", SECONDS(10), async || shows(0).await).await.unwrap();
    rules(&rig, "");
    eventually("all are back", SECONDS(10), async || shows(3).await).await.unwrap();
}

async fn next(watch: &mut Streaming) -> Option<(String, String)> {
    let event = tokio::time::timeout(SECONDS(10), watch.event()).await.expect("an event").unwrap()?;
    let object = &event["object"];
    let what =
        if event["type"] == "ERROR" { object["code"].to_string() } else { object["metadata"]["name"].as_str()?.to_owned() };
    Some((event["type"].as_str()?.to_owned(), what))
}

fn pair(kind: &str, what: &str) -> Option<(String, String)> {
    Some((kind.to_owned(), what.to_owned()))
}

#[tokio::test]
async fn a_watch_follows_the_rules_that_come_to_serve_it() {
    let rig = rig().await;
    let watch = async |path: &str| {
        let client = rig.hub.kubelet().await.unwrap();
        let list = ask(&client, path, INGRESS, "application/json").await.json();
        let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        client.stream("GET", &format!("{path}?watch=1&resourceVersion={version}"), &[INGRESS], "").await.unwrap()
    };
    let mut services = watch(SERVICES).await;
    // No filter ever looks at these.
    let secrets = "/api/v1/namespaces/story/secrets";
    let mut secrets = watch(secrets).await;
    let mut maps = watch(CONFIGMAPS).await;
    rig.remembered(3.0).await;
    rules(&rig, &format!("{HIDE}\n- {{name: secrets, match: {{resources: [secrets]}}, drop: true}}"));
    assert_eq!(next(&mut services).await, pair("DELETED", "inside"));
    assert_eq!(next(&mut services).await, pair("MODIFIED", "outside"));
    assert_eq!(next(&mut secrets).await, pair("ERROR", "410"), "it lists again, and then without them");
    assert_eq!(next(&mut secrets).await, None);
    rig.fake.put("services", "story", "inside", json!({"spec": {"type": "NodePort", "ports": [{"port": 80}]}}));
    assert_eq!(next(&mut services).await, pair("ADDED", "inside"));
    rig.fake.put("configmaps", "story", "greeting", json!({"data": {"text": "again"}}));
    assert_eq!(next(&mut maps).await, pair("MODIFIED", "greeting"), "whom no rule serves goes on");
}

/// What it was told before says nothing of what is hidden now.
#[tokio::test]
async fn a_watch_that_goes_on_from_before_the_rules_lists_again() {
    let mut rig = rig().await;
    let list = async |rig: &Rig| {
        let list = ask(&rig.hub.kubelet().await.unwrap(), SERVICES, INGRESS, PROTOBUF).await;
        (list.header("content-type").to_owned(), list.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned())
    };
    let resume = async |rig: &Rig, version: &str| {
        let path = format!("{SERVICES}?watch=1&timeoutSeconds=1&resourceVersion={version}");
        ask(&rig.hub.kubelet().await.unwrap(), &path, INGRESS, PROTOBUF).await
    };
    let before = ask(&rig.hub.kubelet().await.unwrap(), SERVICES, INGRESS, "application/json").await.json();
    let before = before["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    rules(&rig, HIDE);
    seen(&rig.hub.kubelet().await.unwrap(), &["open", "outside"]).await;
    let (_, now) = list(&rig).await;
    assert_eq!(resume(&rig, &now).await.status, 200, "who has listed under these rules goes on");
    // The hub starts anew: who knows what its clients were told?
    rig.restart().await;
    let gone = resume(&rig, &before).await;
    assert_eq!((gone.status.as_u16(), gone.text().contains("Expired")), (410, true), "{}", gone.text());
    let (content_type, now) = list(&rig).await;
    assert_eq!(content_type, "application/json", "the rules hold from the first answer on");
    assert_eq!(resume(&rig, &now).await.status, 200);
}

#[tokio::test]
async fn a_protobuf_watch_that_a_rule_comes_to_serve_loses_nothing() {
    let rig = rig().await;
    let client = rig.hub.kubelet().await.unwrap();
    let version = client.get(SERVICES).await.unwrap().json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let path = format!("{SERVICES}?watch=1&resourceVersion={version}");
    let accept = ("accept", "application/vnd.kubernetes.protobuf;stream=watch, */*");
    let mut watch = client.stream("GET", &path, &[INGRESS, accept], "").await.unwrap();
    rules(
        &rig,
        "- {name: r, match: {resources: [services], labelSelector: {matchLabels: {edge: 'yes'}}}, drop: true, onError: drop}",
    );
    let mut told = Vec::new();
    while let Some(chunk) = tokio::time::timeout(SECONDS(10), watch.chunk()).await.expect("it ends").unwrap() {
        told.extend_from_slice(&chunk);
    }
    let contains = |text: &[u8]| told.windows(text.len()).any(|window| window == text);
    assert!(contains(b"ERROR") && contains(b"Expired") && !contains(b"DELETED"), "{}", String::from_utf8_lossy(&told));
    let status = ask(&rig.hub.kubelet().await.unwrap(), &format!("{SERVICES}/outside/status"), INGRESS, PROTOBUF).await;
    assert_eq!(status.status, 404, "nor by its status: {}", status.text());
}

/// A ServiceAccount is known by its token's subject, whoever has issued it.
#[tokio::test]
async fn a_rule_for_a_user_and_a_namespace_serves_that_user_there_and_nobody_else() {
    let rig = rig().await;
    rig.fake.put("services", "other", "elsewhere", json!({"spec": {"ports": [{"port": 80}]}}));
    let account = async |name: &str| {
        let user = format!("system:serviceaccount:ingress:{name}");
        let claims = json!({"iss": "https://kubernetes.default.svc.cluster.local", "sub": user}).to_string();
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        rig.fake.add_token(&token, &user, &["system:serviceaccounts"]);
        for verb in ["get", "list"] {
            rig.fake.allow(&user, verb, "services", "*", "*");
        }
        rig.hub.pod(&token, Alpn::H2).await.unwrap()
    };
    let (nginx, other) = (account("nginx").await, account("other").await);
    rules(
        &rig,
        "- name: hide\n  match: {users: ['system:serviceaccount:ingress:nginx'], namespaces: [story], resources: [services]}\n  drop: true",
    );
    let sees = async |client: &Client, namespace: &str| {
        names(&client.get(&format!("/api/v1/namespaces/{namespace}/services")).await.unwrap().json())
    };
    eventually("the rule applies", SECONDS(10), async || Ok(sees(&nginx, "story").await.is_empty())).await.unwrap();
    for offline in [false, true] {
        assert_eq!(sees(&nginx, "story").await, Vec::<String>::new(), "offline: {offline}");
        assert_eq!(nginx.get(&format!("{SERVICES}/open")).await.unwrap().status, 404, "offline: {offline}");
        assert_eq!(sees(&nginx, "other").await, ["elsewhere"], "offline: {offline}");
        assert_eq!(sees(&other, "story").await, ["inside", "open", "outside"], "offline: {offline}");
        assert_eq!(other.get(&format!("{SERVICES}/open")).await.unwrap().status, 200, "offline: {offline}");
        if !offline {
            rig.cut(Fault::Refuse).await;
        }
    }
}

/// It says that it has seen what the node has not: its next list is to be remembered.
#[tokio::test]
async fn a_watch_that_a_rule_serves_is_sent_back_to_list_as_any_other() {
    const KUBELET: (&str, &str) = ("user-agent", "kubelet/v1.34.4");
    const PODS: &str = "/api/v1/pods?fieldSelector=spec.nodeName%3Dedge-1";
    let rig = rig().await;
    rig.fake.put("pods", "story", "p", json!({"spec": {"nodeName": "edge-1", "containers": [{"name": "c", "image": "i"}]}}));
    rules(&rig, "- {name: note, match: {components: [kubelet], resources: [pods]}, annotate: {example.com/by: holdfast}}");
    let client = rig.hub.kubelet().await.unwrap();
    eventually("the rule applies", SECONDS(10), async || {
        Ok(ask(&client, PODS, KUBELET, PROTOBUF).await.text().contains("example.com/by"))
    })
    .await
    .unwrap();
    rig.fake.put("configmaps", "story", "greeting", json!({"data": {"text": "later"}}));
    let beyond = rig.fake.resource_version();
    let watch = async || {
        let path = format!("{PODS}&watch=1&timeoutSeconds=1&resourceVersion={beyond}");
        ask(&client, &path, KUBELET, "application/vnd.kubernetes.protobuf;stream=watch, */*").await
    };
    // As long as its list is on its way to the store, nothing is missing.
    eventually("it is sent back", SECONDS(20), async || {
        let gone = watch().await;
        Ok(gone.status == 410 && gone.text().contains("Expired"))
    })
    .await
    .unwrap();
    ask(&client, PODS, KUBELET, PROTOBUF).await;
    assert_eq!(watch().await.status, 200, "and goes on from its list");
}

/// Where its events end is not known, and so it is ended without a word.
#[tokio::test]
async fn a_watch_that_is_not_read_ends_when_a_rule_comes_to_serve_it() {
    let rig = rig().await;
    let secrets = "/api/v1/namespaces/story/secrets";
    let cbor = [INGRESS, ("accept", "application/cbor-seq")];
    let watch = async |path: &str, version: &str| {
        let client = rig.hub.kubelet().await.unwrap();
        client.stream("GET", &format!("{path}?watch=1&resourceVersion={version}"), &cbor, "").await.unwrap()
    };
    let list = ask(&rig.hub.kubelet().await.unwrap(), SERVICES, INGRESS, "application/json").await.json();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    // A filter may look at Services, though not for this client; none ever looks at Secrets.
    let mut open = [watch(SERVICES, version).await, watch(secrets, version).await];
    rig.fake.put("services", "story", "inside", json!({}));
    rig.fake.put("secrets", "story", "new", json!({}));
    for watch in &mut open {
        assert_eq!((watch.status.as_u16(), &watch.headers["content-type"]), (200, &"application/cbor-seq".parse().unwrap()));
        assert!(watch.chunk().await.unwrap().is_some(), "it is passed on");
    }
    rules(&rig, &format!("{HIDE}\n- {{name: secrets, match: {{resources: [secrets]}}, drop: true}}"));
    for watch in &mut open {
        let end = tokio::time::timeout(SECONDS(10), watch.chunk()).await.expect("it ends").unwrap();
        assert_eq!(end, None);
    }
    assert_eq!(watch(SERVICES, version).await.status, 410, "it comes again and is told to list");
}

#[tokio::test]
async fn an_object_on_which_a_rule_fails_follows_its_on_error() {
    let rig = rig().await;
    for (on_error, expected) in
        [("keep", Some(&["inside", "open", "outside"][..])), ("drop", Some(&["outside"][..])), ("refuse", None)]
    {
        rules(
            &rig,
            &format!(
                "- name: fails-{on_error}\n  match: {{components: [ingress], resources: [services], expression: object.metadata.labels.edge == 'no'}}\n  drop: true\n  onError: {on_error}"
            ),
        );
        let counted = format!("filter=\"rule/fails-{on_error}\"");
        eventually("it is as the rule wants, and counted", SECONDS(10), async || {
            let client = rig.hub.kubelet().await?;
            let answer = client.request("GET", SERVICES, &[INGRESS, ("accept", "application/json")], "").await;
            let as_wanted = match expected {
                None => answer.is_err(),
                Some(expected) => answer.is_ok_and(|answer| names(&answer.json()) == expected),
            };
            let metrics = Client::http1(rig.hub.admin).await?.get("/metrics").await?.text();
            Ok(as_wanted && metrics.contains(&counted))
        })
        .await
        .unwrap_or_else(|error| panic!("{on_error}: {error:#}"));
    }
    let client = rig.hub.kubelet().await.unwrap();
    let one = client.request("GET", &format!("{SERVICES}/open"), &[INGRESS], "").await.unwrap();
    assert_eq!(one.status, 502, "{}", one.text());
    let metrics = Client::http1(rig.hub.admin).await.unwrap().get("/metrics").await.unwrap().text();
    let figures: Vec<&str> = metrics.lines().filter(|line| line.contains("\"rule/")).collect();
    assert!(matches!(figures[..], [one] if one.contains("rule/fails-refuse")), "of rules that are gone: {figures:?}");
    assert!(one.text().contains("rule/fails-refuse"), "{}", one.text());
}

#[tokio::test]
async fn rules_in_the_configuration_hold_and_a_bad_one_ends_the_hub_with_its_name() {
    let fake = Fake::start(FakeOptions::default()).await.unwrap();
    fake.put("secrets", "story", "one", json!({"data": {}}));
    let file = |name: &str, rule: &str| {
        let path = std::env::temp_dir().join(format!("holdfast-{}-{name}.yaml", std::process::id()));
        std::fs::write(&path, format!("apiVersion: holdfast.dev/v1alpha1\nkind: HubConfiguration\nfilters:\n{rule}")).unwrap();
        path
    };
    let good = file("good", "- {name: no-secrets, match: {resources: [secrets]}, drop: true}\n");
    let flags = vec![format!("--config={}", good.display()), "--enable-resource-filter=false".to_owned()];
    let options = HubOptions { binary: env!("CARGO_BIN_EXE_holdfast"), servers: vec![fake.url()], pki: fake.pki(), flags };
    let hub = Hub::start(options).await.unwrap();
    let list = hub.kubelet().await.unwrap().get("/api/v1/secrets").await.unwrap();
    assert_eq!(names(&list.json()), Vec::<String>::new());

    let bad = file("bad", "- {name: odd, match: {resources: [secrets], expression: 'object.x.map(y, y)'}, drop: true}\n");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command.args(hub.command().get_args().filter(|argument| !argument.to_string_lossy().starts_with("--config")));
    let ended = command.arg(format!("--config={}", bad.display())).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(78), "{said}");
    assert!(said.contains("rule odd: match.expression: map() and filter()"), "{said}");
    for path in [good, bad] {
        std::fs::remove_file(path).unwrap();
    }
}
