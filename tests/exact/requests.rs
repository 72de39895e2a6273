//! What is asked.

use crate::JSON;
use crate::compare::Answer;
use crate::objects::{NAMESPACES, RESOURCES, Resource};
use crate::random::Random;

pub const YAML: &str = "application/yaml";

#[derive(Debug, Clone)]
pub struct Asked {
    pub target: String,
    pub accept: &'static str,
}

const LABELS: [&str; 14] = [
    "app=web",
    "app%3D%3Ddb%2Ctier!%3D1",
    "app+in+(web%2Cdb)",
    "app+notin+(web)",
    "tier",
    "!tier",
    "tier%3E1",
    "tier%3C30%2Capp%3Dweb",
    "example.com/owner%3D",
    "example.com/owner+in+()",
    "missing!%3Dx",
    "app%3Dweb%2Capp%3Ddb",
    "app%3D%3D%3Dweb",
    "-app%3Dweb",
];

pub const WITH_INITIAL_EVENTS: &str = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";

/// Of protobuf and of JSON.
pub const METADATA: [&str; 2] = [
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
];
pub const METADATA_LIST: [&str; 2] = [
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
];

/// What kubectl asks for.
pub const TABLE: &str =
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

/// What was answered otherwise once: always asked.
pub const FOUND: [&str; 94] = [
    // What is no selector, in the same words.
    "/api/v1/namespaces/a/configmaps?labelSelector=app%3Db%2C",
    "/api/v1/namespaces/a/configmaps?labelSelector=app%3Db%2C%3Dc",
    "/api/v1/namespaces/a/configmaps?labelSelector=%3Da",
    "/api/v1/namespaces/a/configmaps?labelSelector=!",
    "/api/v1/namespaces/a/configmaps?labelSelector=!app%3Db",
    "/api/v1/namespaces/a/configmaps?labelSelector=app+b",
    "/api/v1/namespaces/a/configmaps?labelSelector=app%3Db+c",
    "/api/v1/namespaces/a/configmaps?labelSelector=app+in+b",
    "/api/v1/namespaces/a/configmaps?labelSelector=app+in+(b",
    "/api/v1/namespaces/a/configmaps?labelSelector=app+in",
    "/api/v1/namespaces/a/configmaps?labelSelector=app+in+(",
    "/api/v1/namespaces/a/configmaps?labelSelector=app+in+(%3D)",
    "/api/v1/namespaces/a/configmaps?labelSelector=app+in+(a%2C%2C)",
    "/api/v1/namespaces/a/configmaps?labelSelector=app+in+(%2C%2Ca)",
    "/api/v1/namespaces/a/configmaps?labelSelector=app+in+(a+b)",
    "/api/v1/namespaces/a/configmaps?labelSelector=app+in+(-a%2Cb%2Cc-)",
    "/api/v1/namespaces/a/configmaps?labelSelector=app%3Ex",
    "/api/v1/namespaces/a/configmaps?labelSelector=app%3E-",
    "/api/v1/namespaces/a/configmaps?labelSelector=app%3D-",
    "/api/v1/namespaces/a/configmaps?labelSelector=app%3D(",
    "/api/v1/namespaces/a/configmaps?labelSelector=a%2Fb%2Fc",
    "/api/v1/namespaces/a/configmaps?labelSelector=%2Fb",
    "/api/v1/namespaces/a/configmaps?labelSelector=B%2F",
    "/api/v1/namespaces/a/configmaps?labelSelector=X.y%2F-",
    "/api/v1/namespaces/a/configmaps?labelSelector=appxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "/api/v1/namespaces/a/configmaps?labelSelector=app%3Dxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "/api/v1/namespaces/a/configmaps?labelSelector=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx%2Fa",
    "/api/v1/namespaces/a/configmaps?labelSelector=app%3D%22",
    "/api/v1/namespaces/a/configmaps?labelSelector=app%3C1%2C2",
    // Nor a token to go on with, a number or a version.
    "/api/v1/namespaces/a/configmaps?continue=x",
    "/api/v1/namespaces/a/configmaps?continue=%25",
    "/api/v1/namespaces/a/configmaps?continue=eyJ2IjoieCJ9",
    "/api/v1/namespaces/a/configmaps?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MH0",
    "/api/v1/namespaces/a/configmaps?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIifQ",
    "/api/v1/namespaces/a/configmaps?continue=x&resourceVersion=7",
    "/api/v1/namespaces/a/configmaps?limit=99999999999999999999",
    "/api/v1/namespaces/a/configmaps?limit=",
    "/api/v1/namespaces/a/configmaps?resourceVersion=99999999999999999999",
    "/api/v1/namespaces/a/configmaps?resourceVersion=1_0",
    "/api/v1/namespaces/a/configmaps?resourceVersion=x&limit=3",
    "/api/v1/namespaces/a/events?resourceVersion=x",
    "/api/v1/namespaces/a/events?resourceVersion=x&limit=1",
    "/api/v1/namespaces/a/configmaps?watch=1&resourceVersion=x&timeoutSeconds=1",
    "/api/v1/namespaces/a/secrets?fieldSelector=x",
    // The limit was not reached, and a token came all the same.
    "/api/v1/services?fieldSelector=spec.clusterIP%3DNone&limit=500",
    // From a collection that is selected already nobody sees what lies behind the last one.
    "/apis/batch/v1/namespaces/a/jobs?labelSelector=app%3Dweb&limit=3",
    // Events are not in the kube-apiserver's memory: the limit counts here, too.
    "/api/v1/events?limit=7&resourceVersion=0",
    // One object is not looked for behind itself, but in the next namespace.
    "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dp-1&limit=1",
    "/api/v1/pods?fieldSelector=metadata.name%3Dp-1&limit=1",
    // Of a node's Pods and ResourceSlices there is an index, and no other is seen behind the last one.
    "/api/v1/namespaces/a/pods?fieldSelector=spec.nodeName%3Dn-1&limit=1",
    "/api/v1/namespaces/a/pods?fieldSelector=spec.nodeName%3Dn-1&limit=2",
    "/api/v1/namespaces/a/pods?fieldSelector=spec.nodeName%3Dn-1&limit=3",
    "/api/v1/namespaces/b/pods?fieldSelector=spec.host%3Dn-1&limit=3",
    "/api/v1/namespaces/b/pods?fieldSelector=spec.nodeName%3Dn-2&limit=3",
    "/api/v1/namespaces/b/pods?fieldSelector=spec.nodeName%3Dn-2&limit=4",
    "/api/v1/namespaces/b/pods?fieldSelector=spec.nodeName%3Dn-2,status.phase%3DRunning&limit=1",
    "/api/v1/namespaces/c/pods?fieldSelector=spec.nodeName%3Dn-2,status.phase%3DRunning&limit=2",
    "/api/v1/namespaces/c/pods?fieldSelector=spec.nodeName%3Dn-2&labelSelector=app+notin+(web)&limit=1",
    "/api/v1/namespaces/c/pods?fieldSelector=spec.nodeName%3Dn-2&labelSelector=app+notin+(web)&limit=2",
    "/api/v1/pods?fieldSelector=spec.nodeName%3Dn-1&limit=7",
    "/api/v1/pods?fieldSelector=spec.nodeName%3Dn-2&limit=13",
    "/apis/resource.k8s.io/v1/resourceslices?fieldSelector=spec.nodeName%3D&limit=1",
    "/apis/resource.k8s.io/v1/resourceslices?fieldSelector=spec.nodeName%3Dn-1&limit=1",
    "/apis/resource.k8s.io/v1/resourceslices?fieldSelector=spec.nodeName%3Dn-1&labelSelector=app+notin+(web)&limit=1",
    // Which of two faults is told.
    "/api/v1/nodes?fieldSelector=spec.podCIDR%3Dx&resourceVersion=x",
    "/api/v1/pods?labelSelector=app%3D%3D%3Dweb&resourceVersionMatch=Exact",
    // A GET asks for a version at least; what is none gets 500.
    "/api/v1/namespaces/a?resourceVersion=0",
    "/api/v1/namespaces/a?resourceVersion=1",
    "/api/v1/namespaces/a?resourceVersion=x",
    "/api/v1/namespaces/a?resourceVersion=-1&resourceVersionMatch=Exact",
    // What is escaped in the value of a field.
    "/api/v1/namespaces/a/configmaps?fieldSelector=metadata.name%3Da%5C,b",
    "/api/v1/namespaces/a/configmaps?fieldSelector=metadata.name!%3Da%5C,b%5C%5C",
    "/api/v1/namespaces/a/configmaps?fieldSelector=metadata.name!%3Db%3Dc",
    "/api/v1/namespaces/a/configmaps?fieldSelector=x,metadata.name%3D%3D%3Db",
    "/api/v1/namespaces/a/configmaps?fieldSelector=metadata.name%3Db%5C",
    "/api/v1/namespaces/a/configmaps?fieldSelector=metadata.name%3Db%5Cx",
    "/api/v1/namespaces/a/configmaps?fieldSelector=%3D",
    "/apis/certificates.k8s.io/v1/certificatesigningrequests?fieldSelector=spec.signerName%3Dx",
    "/apis/certificates.k8s.io/v1/certificatesigningrequests?fieldSelector=spec.username%3Dx",
    // Numbers that are none.
    "/api/v1/namespaces/a/configmaps?timeoutSeconds=x&resourceVersionMatch=Exact",
    "/api/v1/namespaces/a/configmaps?limit=1.5",
    "/api/v1/namespaces/a/configmaps?watch=1&timeoutSeconds=x&fieldSelector=spec.x%3Dy",
    "/api/v1/namespaces/a/configmaps?watch=1&limit=x&resourceVersion=x",
    // Options that do not go together.
    "/api/v1/namespaces/a/configmaps?sendInitialEvents=false",
    "/api/v1/namespaces/a/configmaps?sendInitialEvents=true&resourceVersionMatch=Newer",
    "/api/v1/namespaces/a/configmaps?watch=1&sendInitialEvents=true",
    "/api/v1/namespaces/a/configmaps?watch=1&sendInitialEvents=&resourceVersion=0",
    "/api/v1/namespaces/a/configmaps?watch=1&resourceVersionMatch=NotOlderThan",
    "/api/v1/namespaces/a/configmaps?watch=1&resourceVersionMatch=Exact&resourceVersion=1",
    "/api/v1/namespaces/a/configmaps?watch=1&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&continue=x",
    "/api/v1/namespaces/a/configmaps?watch=1&resourceVersion=x",
    "/api/v1/namespaces/a/configmaps?watch=1&resourceVersion=x&fieldSelector=spec.x%3Dy",
    "/api/v1/namespaces/a/configmaps?watch=1&resourceVersion=x&sendInitialEvents=true",
    "/api/v1/namespaces/a/configmaps?watch=1&resourceVersion=0&resourceVersionMatch=NotOlderThan&sendInitialEvents=false&timeoutSeconds=1",
];

/// Tables of what is always there, or never.
pub const TABLES: [&str; 8] = [
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    // Where there are no columns of its own and nothing is there, there are no rows at all.
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?labelSelector=no%3Done",
    "/api/v1/namespaces/nowhere/pods",
    "/apis/example.com/v1/namespaces/nowhere/widgets",
    // The columns come once.
    "/api/v1/namespaces/a/pods?watch=1&resourceVersion=0&timeoutSeconds=1",
    "/api/v1/nodes?watch=1&resourceVersion=0&timeoutSeconds=1&includeObject=Object",
    "/apis/example.com/v1/widgets?watch=1&resourceVersion=0&timeoutSeconds=1&includeObject=None",
    "/api/v1/namespaces/a/configmaps?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1",
];

/// Another request; now and then the next page of the last one, or an answer that is laid out otherwise.
pub fn next(random: &mut Random, version: u64, last: Option<(&Asked, &Answer)>) -> Asked {
    let mut asked = of_objects(random, version, last);
    let mark = if asked.target.contains('?') { '&' } else { '?' };
    match random.below(16) {
        0 | 1 if !asked.target.contains("pretty=") => {
            asked.target = format!("{}{mark}pretty={}", asked.target, random.of(&["true", "1", "no"]))
        }
        2 if asked.accept == JSON => asked.accept = YAML,
        _ => {}
    }
    asked
}

fn of_objects(random: &mut Random, version: u64, last: Option<(&Asked, &Answer)>) -> Asked {
    if let Some((asked, answer)) = last
        && let Some(token) = &answer.continues
    {
        let page = asked.target.split('&').filter(|part| !part.starts_with("continue=")).collect::<Vec<_>>().join("&");
        return Asked { target: format!("{page}&continue={token}"), accept: asked.accept };
    }
    let resource = &RESOURCES[random.below(RESOURCES.len())];
    let accept = resource.accepts()[random.below(resource.accepts().len())];
    let (metadata, table) = (random.one_in(4), random.one_in(3) && resource.has_table());
    let included = random.of(&["", "includeObject=None", "includeObject=Metadata", "includeObject=Object"]);
    let included = Some(included).filter(|text| table && !text.is_empty()).map(str::to_owned);
    if random.one_in(4) {
        let accept = if metadata { METADATA[usize::from(accept == JSON)] } else { accept };
        let accept = if table { TABLE } else { accept };
        let names = names(resource);
        let (namespace, name) = &names[random.below(names.len())];
        let query = included.map_or_else(String::new, |included| format!("?{included}"));
        return Asked { target: resource.path(namespace, name) + &query, accept };
    }
    let accept = if metadata { METADATA_LIST[usize::from(accept == JSON)] } else { accept };
    let accept = if table { TABLE } else { accept };
    let namespace = if resource.namespaced && !random.one_in(3) { random.of(&["a", "b", "c", "nowhere"]) } else { "" };
    let mut query: Vec<String> = Vec::new();
    if random.one_in(2) {
        query.push(format!("labelSelector={}", random.of(&LABELS)));
    }
    if random.one_in(2) {
        query.push(format!("fieldSelector={}", field_selector(resource, random)));
    }
    // A list that is limited to a namespace by its fields alone goes on in the wrong place in Kubernetes 1.34.
    let by_field = query.iter().any(|part| part.contains("metadata.namespace%3D"));
    if !by_field && random.one_in(3) {
        query.push(format!("limit={}", random.of(&["1", "3", "7", "500", "0"])));
    }
    query.extend(included);
    query.extend(version_wanted(random, version).map(str::to_owned));
    Asked { target: format!("{}?{}", resource.path(namespace, ""), query.join("&")), accept }
}

/// A watch of a second, of what is there and then nothing, or of nothing.
pub fn watch(random: &mut Random, version: u64) -> Asked {
    let resource = &RESOURCES[random.below(RESOURCES.len())];
    let accept = resource.accepts()[random.below(resource.accepts().len())];
    let accept = match random.below(8) {
        0 | 1 => METADATA[usize::from(accept == JSON)],
        2 if resource.has_table() => TABLE,
        _ => accept,
    };
    let namespace = if resource.namespaced && random.one_in(2) { random.of(&["a", "b", "nowhere"]) } else { "" };
    let mut query = vec!["watch=1".to_owned(), "timeoutSeconds=1".to_owned()];
    if random.one_in(2) {
        query.push(format!("labelSelector={}", random.of(&LABELS)));
    }
    if random.one_in(2) {
        query.push(format!("fieldSelector={}", field_selector(resource, random)));
    }
    let mode = match random.below(6) {
        0 => String::new(),
        1 | 2 => "resourceVersion=0".to_owned(),
        3 => format!("resourceVersion={version}"),
        4 => format!("{WITH_INITIAL_EVENTS}&resourceVersion={}", random.of(&["0", "1"])),
        _ => WITH_INITIAL_EVENTS.to_owned(),
    };
    query.extend(Some(mode).filter(|mode| !mode.is_empty()));
    query.extend(random.one_in(2).then(|| "allowWatchBookmarks=true".to_owned()));
    Asked { target: format!("{}?{}", resource.path(namespace, ""), query.join("&")), accept }
}

/// A watch of ten minutes, from now on, or of what is there as well with a word on where that ends: only then it is known
/// where its client stands.
pub fn long_watch(random: &mut Random, resource: &Resource, version: u64) -> Asked {
    let accept = resource.accepts()[random.below(resource.accepts().len())];
    let accept = if random.one_in(4) { METADATA[usize::from(accept == JSON)] } else { accept };
    let namespace = if resource.namespaced && random.one_in(2) { "a" } else { "" };
    let selector = random.of(&["", "&labelSelector=app%3Dweb", "&labelSelector=tier+in+(1%2C2)%2Capp!%3Ddb"]);
    let from = match random.below(3) {
        0 => format!("{WITH_INITIAL_EVENTS}&allowWatchBookmarks=true"),
        1 => format!("resourceVersion={version}&allowWatchBookmarks=true"),
        _ => format!("resourceVersion={version}"),
    };
    let query = format!("watch=1&timeoutSeconds=600&{from}{selector}");
    Asked { target: format!("{}?{query}", resource.path(namespace, "")), accept }
}

fn field_selector(resource: &Resource, random: &mut Random) -> String {
    let own = random.of(resource.fields).replace('=', "%3D").replace(',', "%2C").replace('\\', "%5C");
    let (_, name) = resource.place(random.below(resource.count.max(1)));
    match random.below(4) {
        0 => format!("metadata.name%3D{name}"),
        1 => format!("{own}%2Cmetadata.name!%3D{name}"),
        _ => own,
    }
}

fn version_wanted(random: &mut Random, version: u64) -> Option<&'static str> {
    // The state is of one version alone.
    let exactly: &'static str = Box::leak(format!("resourceVersion={version}").into_boxed_str());
    let exact: &'static str = Box::leak(format!("resourceVersion={version}&resourceVersionMatch=Exact").into_boxed_str());
    match random.below(12) {
        0 => Some("resourceVersion=0"),
        1 => Some(exactly),
        2 => Some(exact),
        3 => Some("resourceVersion=1&resourceVersionMatch=NotOlderThan"),
        4 => Some("resourceVersionMatch=Exact"),
        5 => Some("resourceVersion=x"),
        _ => None,
    }
}

/// Objects that are there, and a few that are not.
pub fn names(resource: &Resource) -> Vec<(String, String)> {
    let mut names: Vec<_> = (0..resource.count + 4).map(|number| resource.place(number)).collect();
    if resource.name == "namespaces" {
        names.extend(NAMESPACES.map(|name| (String::new(), name.to_owned())));
    }
    names
}
