use serde_json::{Value, json};

use super::*;

fn table(printer: Printer, include: Include) -> Table {
    Table { printer: printer.into(), include, now: Now(age::time("2026-01-01T00:00:00Z").unwrap()) }
}

/// Of an object that was created five minutes ago.
fn made(mut object: Value) -> Vec<u8> {
    object["metadata"]["name"] = "n".into();
    object["metadata"]["creationTimestamp"] = "2025-12-31T23:55:00Z".into();
    object.to_string().into_bytes()
}

fn cells_of(table: &Table, object: Value) -> Value {
    let row: Value = serde_json::from_slice(&table.row(&TypeMeta::default(), &made(object)).unwrap()).unwrap();
    let columns: Value = serde_json::from_slice(&table.columns()).unwrap();
    assert_eq!(row["cells"].as_array().unwrap().len(), columns.as_array().unwrap().len());
    row["cells"].clone()
}

fn cells(group: &str, resource: &str, object: Value) -> Value {
    cells_of(&table(Printer::built_in(group, "v1", resource).unwrap(), Include::Nothing), object)
}

#[test]
fn what_was_never_created_was_so_in_the_year_1() {
    let roles = table(Printer::built_in("rbac.authorization.k8s.io", "v1", "roles").unwrap(), Include::Nothing);
    let row = String::from_utf8(roles.row(&TypeMeta::default(), br#"{"metadata":{"resourceVersion":"7"}}"#).unwrap()).unwrap();
    assert!(row.contains(r#""cells":["","0001-01-01T00:00:00Z"]"#), "{row}");
}

#[test]
fn pods() {
    let pod = |status: Value| {
        let containers = json!([{"name": "a"}, {"name": "b"}]);
        let initial = json!([{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]);
        let spec = json!({"containers": containers, "initContainers": initial, "nodeName": "x"});
        let cells = cells("", "pods", json!({"spec": spec, "status": status}));
        cells.as_array().unwrap()[1..4].iter().map(|cell| cell.as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    let running = json!({"name": "a", "ready": true, "restartCount": 1, "state": {"running": {}},
        "lastState": {"terminated": {"finishedAt": "2025-12-31T22:00:00Z"}}});
    let ended = json!({"name": "b", "restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
    let done = json!({"name": "i", "restartCount": 3, "state": {"terminated": {"exitCode": 0}}});
    let side = json!({"name": "s", "restartCount": 2, "ready": true, "started": true, "state": {"running": {}}});
    for (status, said) in [
        (json!({"phase": "Pending"}), "0/3 Pending 0"),
        (json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "restartCount": 1, "state": {}}]}), "0/3 Init:0/2 1"),
        (
            json!({"initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 3, "signal": 9}}}]}),
            "0/3 Init:Signal:9 0",
        ),
        (
            json!({"phase": "Running", "initContainerStatuses": [done, side], "containerStatuses": [running]}),
            "2/3 Running 3 (120m ago)",
        ),
        (json!({"phase": "Running", "containerStatuses": [running, ended]}), "1/3 NotReady 1 (120m ago)"),
        (json!({"phase": "Failed", "reason": "Evicted"}), "0/3 Evicted 0"),
    ] {
        assert_eq!(pod(status), said);
    }
    let failed = made(json!({"status": {"phase": "Failed"}}));
    let pods = table(Printer::built_in("", "v1", "pods").unwrap(), Include::Nothing);
    let row = String::from_utf8(pods.row(&TypeMeta::default(), &failed).unwrap()).unwrap();
    let end =
        r#""conditions":[{"type":"Completed","status":"True","reason":"Failed","message":"The pod failed."}],"object":null}"#;
    assert!(row.ends_with(end), "{row}");
}

#[test]
fn nodes_and_what_is_mounted() {
    let labels = json!({"node-role.kubernetes.io/b": "", "kubernetes.io/role": "a", "node-role.kubernetes.io/": ""});
    let status = json!({"conditions": [{"type": "Ready", "status": "False"}], "addresses": [{"type": "InternalIP", "address": "1.2.3.4"}]});
    let node = json!({"metadata": {"labels": labels}, "spec": {"unschedulable": true}, "status": status});
    let unknown = "<unknown>";
    assert_eq!(
        cells("", "nodes", node),
        json!(["n", "NotReady,SchedulingDisabled", "a,b", "5m", "", "1.2.3.4", "<none>", unknown, unknown, unknown])
    );
    assert_eq!(cells("", "configmaps", json!({"data": {"a": ""}, "binaryData": {"b": ""}})), json!(["n", 2, "5m"]));
    assert_eq!(cells("", "secrets", json!({"type": "Opaque"})), json!(["n", "Opaque", 0, "5m"]));
    let lease = json!({"spec": {"holderIdentity": "h"}});
    assert_eq!(cells("coordination.k8s.io", "leases", lease), json!(["n", "h", "5m"]));
    assert_eq!(cells("", "limitranges", json!({})), json!(["n", "2025-12-31T23:55:00Z"]));
}

#[test]
fn services_and_what_is_behind_them() {
    let ports = json!([{"port": 80, "protocol": "TCP"}, {"port": 53, "nodePort": 30053, "protocol": "UDP"}]);
    let spec = json!({"type": "LoadBalancer", "clusterIPs": ["10.0.0.1"], "ports": ports, "externalIPs": ["1.1.1.1"], "selector": {"b": "1", "a": "2"}});
    let status = json!({"loadBalancer": {"ingress": [{"hostname": "h"}, {"ip": "2.2.2.2"}]}});
    assert_eq!(
        cells("", "services", json!({"spec": spec, "status": status})),
        json!(["n", "LoadBalancer", "10.0.0.1", "2.2.2.2,h,1.1.1.1", "80/TCP,53:30053/UDP", "5m", "a=2,b=1"])
    );
    let addresses = json!([{"ip": "1.1.1.1"}, {"ip": "fd00::1"}]);
    let subsets = json!([{"addresses": addresses, "ports": [{"port": 1}, {"port": 2}]}]);
    assert_eq!(cells("", "endpoints", json!({"subsets": subsets}))[1], "1.1.1.1:1,[fd00::1]:1,1.1.1.1:2 + 1 more...");
    let slice = json!({"addressType": "IPv4", "ports": [{"name": "x"}, {}, {"port": 5}], "endpoints": []});
    assert_eq!(cells("discovery.k8s.io", "endpointslices", slice), json!(["n", "IPv4", "x,*,5", "<unset>", "5m"]));
    let rules = json!([{"host": "a"}, {}, {"host": "b"}, {"host": "c"}, {}]);
    assert_eq!(
        cells("networking.k8s.io", "ingresses", json!({"spec": {"rules": rules}})),
        json!(["n", "<none>", "a,b,c + 2 more...", "", "80", "5m"])
    );
}

#[test]
fn what_keeps_pods_running() {
    let template = json!({"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}});
    let terms = json!([{"key": "b", "operator": "In", "values": ["2", "1"]}, {"key": "z", "operator": "DoesNotExist"}]);
    let selector = json!({"matchLabels": {"c": "d"}, "matchExpressions": terms});
    let object = json!({"spec": {"replicas": 2, "template": template, "selector": selector}, "status": {"readyReplicas": 1}});
    let said = "b in (1,2),c=d,!z";
    assert_eq!(cells("apps", "deployments", object.clone()), json!(["n", "1/2", 0, 0, "5m", "a,b", "x,y", said]));
    assert_eq!(cells("apps", "replicasets", object.clone()), json!(["n", 2, 0, 1, "5m", "a,b", "x,y", said]));
    assert_eq!(cells("apps", "statefulsets", object.clone()), json!(["n", "1/2", "5m", "a,b", "x,y"]));
    assert_eq!(cells("apps", "daemonsets", object)[6], "<none>");
    let status = json!({"startTime": "2025-12-31T23:00:00Z", "completionTime": "2025-12-31T23:01:30Z", "succeeded": 1});
    let job = cells("batch", "jobs", json!({"spec": {"parallelism": 3}, "status": status}));
    assert_eq!(job, json!(["n", "Running", "1/1 of 3", "90s", "5m", "", "", "<none>"]));
    let cron = cells("batch", "cronjobs", json!({"spec": {"schedule": "@daily", "suspend": false}}));
    assert_eq!(cron, json!(["n", "@daily", "<none>", "False", 0, "<none>", "5m", "", "", "<none>"]));
}

#[test]
fn events() {
    let event = json!({"type": "Normal", "reason": "R", "message": " m\n", "involvedObject": {"kind": "Pod", "name": "p"},
        "eventTime": "2025-12-31T23:59:00.500000Z", "reportingComponent": "c", "source": {"host": "h"}});
    let said = json!(["59s", "Normal", "R", "pod/p", "", "c, h", "m", "59s", 1, "n"]);
    assert_eq!(cells("", "events", event), said);
    let event = json!({"type": "Normal", "reason": "R", "note": "m", "regarding": {"kind": "Pod"},
        "series": {"count": 7, "lastObservedTime": "2025-12-31T23:59:50.000000Z"}});
    let said = json!(["10s", "Normal", "R", "pod", "", "", "m", "<unknown>", 7, "n"]);
    assert_eq!(cells("events.k8s.io", "events", event), said);
}

#[test]
fn volumes_and_claims() {
    let spec = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"namespace": "a", "name": "c"}, "volumeMode": "Block"});
    assert_eq!(
        cells("", "persistentvolumes", json!({"spec": spec, "status": {"phase": "Bound"}})),
        json!(["n", "1Gi", "RWO,RWX", "Retain", "Bound", "a/c", "", "<unset>", "", "5m", "Block"])
    );
    let status = json!({"phase": "Pending", "capacity": {"storage": "1Gi"}});
    let claim = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"storageClassName": "fast"}, "status": status});
    assert_eq!(
        cells("", "persistentvolumeclaims", claim),
        json!(["n", "Terminating", "", "", "", "fast", "<unset>", "5m", "<unset>"])
    );
}

#[test]
fn custom_resources_have_the_columns_of_their_definition() {
    let column = |kind: &str, path: &str| json!({"name": "C", "type": kind, "jsonPath": path});
    let definition = |columns: Value| {
        let versions = json!([{"name": "v1"}, {"name": "v2", "additionalPrinterColumns": columns}]);
        json!({"spec": {"versions": versions}}).to_string().into_bytes()
    };
    let paths = [
        column("string", ".spec.list"),
        column("string", ".spec.float"),
        column("integer", ".spec.float"),
        column("number", ".spec.whole"),
        column("date", ".spec.at"),
        column("boolean", ".spec.at"),
        column("string", ".spec.nothing"),
    ];
    let columns = definition(json!(paths));
    let object = json!({"spec": {"list": ["<"], "float": 1_234_567.5, "whole": 3, "at": "2025-12-31T23:59:00Z"}});
    let custom = |version| table(Printer::custom(&columns, version).unwrap(), Include::Nothing);
    assert_eq!(
        cells_of(&custom("v2"), object.clone()),
        json!(["n", "[\"\\u003c\"]", "1.2345675e+06", 1_234_567, 3, "60s", null, null])
    );
    assert_eq!(cells_of(&custom("v1"), object), json!(["n", "5m"]));
    assert!(Printer::custom(&columns, "v3").is_none());
    assert!(Printer::custom(&definition(json!([column("string", "..x")])), "v2").is_none(), "not guessed at");
    assert!(Printer::custom(b"no definition", "v1").is_none());
}

#[test]
fn a_row_has_of_its_object_what_is_asked_for() {
    let types = TypeMeta { api_version: "v1".to_owned(), kind: "Namespace".to_owned() };
    let item = br#"{"metadata":{"name":"<","resourceVersion":"7"},"status":{"phase":"Active"}}"#;
    for (include, object) in [
        ("None", "null"),
        ("", r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"<","resourceVersion":"7"}}"#),
        (
            "Object",
            r#"{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"<","resourceVersion":"7"},"status":{"phase":"Active"}}"#,
        ),
    ] {
        let table = table(Printer::built_in("", "v1", "namespaces").unwrap(), Include::parse(include).unwrap());
        let row = format!(r#"{{"cells":["\u003c","Active","\u003cunknown\u003e"],"object":{object}}}"#);
        assert_eq!(String::from_utf8(table.row(&types, item).unwrap()).unwrap(), row);
        let one = table.of_one(&types, item).unwrap();
        let alone = |columns: &str| {
            let start =
                r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"7"},"columnDefinitions":"#;
            format!(r#"{start}{columns},"rows":[{row}]}}"#)
        };
        assert_eq!(std::str::from_utf8(&one).unwrap(), alone("null"));
        assert_eq!(table.headed(&one).unwrap(), alone(std::str::from_utf8(&table.columns()).unwrap()).into_bytes());
    }
    assert_eq!(Include::parse("Everything"), None);
    assert!(Printer::built_in("", "v1", "podtemplates").is_none());
}
