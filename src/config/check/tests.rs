use super::*;

fn minimal(folder: &Path) -> Raw {
    let file = folder.join("any.pem");
    std::fs::write(&file, "").unwrap();
    Raw {
        node_name: Some("edge-1".into()),
        server_addr: Some(vec!["https://10.0.0.1:6443".into()]),
        client_certificate: Some(file.clone()),
        certificate_authority: Some(file),
        ..Raw::default()
    }
}

#[test]
fn defaults_are_yurthubs_listeners() {
    let folder = tempfile::tempdir().unwrap();
    let settings = check(minimal(folder.path())).unwrap();
    assert_eq!(settings.admin.to_string(), "127.0.0.1:10267");
    assert_eq!(settings.loopback.to_string(), "127.0.0.1:10261");
    assert_eq!(settings.secure.to_string(), "169.254.2.1:10268");
    assert_eq!(settings.min_request_timeout, Duration::from_secs(1800));
    assert!(settings.manage_address && settings.filters == Filter::ALL);
    let mut raw = minimal(folder.path());
    raw.proxy_secure_port = Some(Whole(10261));
    assert_eq!(check(raw).unwrap().secure.port(), 10261, "of another address");
}

#[test]
fn each_bad_value_names_its_field_and_what_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    type Spoil = Box<dyn Fn(&mut Raw)>;
    let cases: Vec<(&str, Spoil)> = vec![
        ("node-name", Box::new(|raw| raw.node_name = None)),
        ("node-name", Box::new(|raw| raw.node_name = Some("Edge_1".into()))),
        ("server-addr", Box::new(|raw| raw.server_addr = None)),
        ("server-addr", Box::new(|raw| raw.server_addr = Some(vec!["http://a".into()]))),
        ("server-addr", Box::new(|raw| raw.server_addr = Some(vec!["https://user@a".into()]))),
        ("server-addr", Box::new(|raw| raw.server_addr = Some(vec!["https://a/path".into()]))),
        ("serve-port", Box::new(|raw| raw.serve_port = Some(Whole(0)))),
        ("proxy-port", Box::new(|raw| raw.proxy_port = Some(Whole(70000)))),
        ("bind-address", Box::new(|raw| raw.bind_address = Some("localhost".into()))),
        ("bind-proxy-address", Box::new(|raw| raw.bind_proxy_address = Some("0.0.0.0".into()))),
        ("namespace", Box::new(|raw| raw.namespace = Some("Kube_System".into()))),
        ("namespace", Box::new(|raw| raw.namespace = Some(String::new()))),
        ("proxy-port", Box::new(|raw| raw.proxy_port = Some(Whole(10267)))),
        (
            "proxy-secure-port",
            Box::new(|raw| {
                (raw.bind_address, raw.proxy_secure_port) = (Some("0.0.0.0".into()), Some(Whole(10267)));
            }),
        ),
        ("dummy-if-ip", Box::new(|raw| raw.dummy_if_ip = Some("10.0.0.1".into()))),
        ("dummy-if-name", Box::new(|raw| raw.dummy_if_name = Some("much-too-long-a-name".into()))),
        ("cache-max-bytes", Box::new(|raw| raw.cache_max_bytes = Some(Whole(-1)))),
        ("cache-max-objects", Box::new(|raw| raw.cache_max_objects = Some(Whole(999)))),
        ("cache-max-idle", Box::new(|raw| raw.cache_max_idle = Some("119m".into()))),
        ("cache-max-idle", Box::new(|raw| raw.cache_max_idle = Some("30d".into()))),
        ("client-certificate", Box::new(|raw| raw.client_certificate = Some("/nowhere/x.pem".into()))),
        ("certificate-authority", Box::new(|raw| raw.certificate_authority = None)),
        ("tls-cert-file", Box::new(|raw| raw.tls_cert_file = Some("/x".into()))),
        ("working-mode", Box::new(|raw| raw.working_mode = Some("sea".into()))),
        ("lb-mode", Box::new(|raw| raw.lb_mode = Some("random".into()))),
        ("disabled-resource-filters", Box::new(|raw| raw.disabled_resource_filters = Some(vec!["masterservce".into()]))),
        ("min-request-timeout", Box::new(|raw| raw.min_request_timeout = Some("soon".into()))),
        ("min-request-timeout", Box::new(|raw| raw.min_request_timeout = Some("30".into()))),
        ("share-watches", Box::new(|raw| raw.share_watches = Some("some".into()))),
        ("pool-scope-resources", Box::new(|raw| raw.pool_scope_resources = Some(vec!["services".into()]))),
        ("access-review-period", Box::new(|raw| raw.access_review_period = Some("5".into()))),
        ("heartbeat-failed-retry", Box::new(|raw| raw.heartbeat_failed_retry = Some(Whole(0)))),
    ];
    for (field, spoil) in cases {
        let mut raw = minimal(folder.path());
        spoil(&mut raw);
        let error = check(raw).unwrap_err();
        assert_eq!(error.field, field);
        assert!(!error.allowed.is_empty());
        assert!(error.to_string().contains(&format!("--{field}")));
    }
}

#[test]
fn durations_and_servers() {
    assert_eq!(duration("x", "1h30m5s").unwrap(), Duration::from_secs(5405));
    let server = |url| server(url).unwrap().to_string();
    assert_eq!(server("https://k8s.example"), "k8s.example:443");
    assert_eq!(server("https://[fd00::1]:6443/"), "[fd00::1]:6443");
}

#[test]
fn flags_go_over_the_file() {
    let flags = Raw { serve_port: Some(Whole(1)), ..Raw::default() };
    let file = Raw { serve_port: Some(Whole(2)), proxy_port: Some(Whole(3)), ..Raw::default() };
    let raw = flags.over(file);
    assert_eq!((raw.serve_port, raw.proxy_port), (Some(Whole(1)), Some(Whole(3))));
}

#[test]
fn which_filters_are_on() {
    let folder = tempfile::tempdir().unwrap();
    let on = |spoil: &dyn Fn(&mut Raw)| -> Vec<&'static str> {
        let mut raw = minimal(folder.path());
        spoil(&mut raw);
        check(raw).unwrap().filters.iter().map(|filter| filter.name()).collect()
    };
    let all: Vec<&str> = Filter::ALL.iter().map(|filter| filter.name()).collect();
    assert_eq!(on(&|_| {}), all);
    assert_eq!(on(&|raw| raw.enable_resource_filter = Some(false)), [""; 0]);
    let off = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        on(&move |raw| raw.disabled_resource_filters = Some(names.clone()))
    };
    assert_eq!(off(&["*"]), [""; 0]);
    let others: Vec<&str> = all.iter().copied().filter(|name| !["masterservice", "servicetopology"].contains(name)).collect();
    assert_eq!(off(&["masterservice", "", "servicetopology"]), others);
    let cloud = on(&|raw| raw.working_mode = Some("cloud".into()));
    assert_eq!(cloud, ["nodeportisolation", "masterservice", "servicetopology", "inclusterconfig"]);
}

#[test]
fn a_list_in_a_file_may_have_commas_as_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hub.yaml");
    for written in ["[https://a:6443, https://b:6443]", "https://a:6443, https://b:6443"] {
        let text = format!("apiVersion: holdfast.dev/v1alpha1\nkind: HubConfiguration\nserverAddr: {written}\n");
        std::fs::write(&path, text).unwrap();
        let raw = crate::config::read_file(&path).unwrap();
        assert_eq!(raw.server_addr.unwrap(), ["https://a:6443", "https://b:6443"], "{written}");
        assert_eq!(raw.disabled_resource_filters, None);
    }
}
