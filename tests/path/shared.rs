//! Who watches the same is told what the cloud tells one of them, if the cloud says that it may watch by itself.

use testkit::client::{Alpn, Client, Streaming};
use testkit::fake::{FakeOptions, Fault};
use testkit::hub::eventually;

use crate::held::{Watching, event, listed, put};
use crate::{CONFIGMAPS, Rig, SECONDS};

const REVIEWS: &str = "selfsubjectaccessreviews";
const WATCHES: &str = "story/configmaps?watch=";

/// A client with a token of its own.
async fn neighbour(rig: &Rig, name: &str) -> Client {
    let user = format!("system:serviceaccount:story:{name}");
    rig.fake.add_token(name, &user, &["system:serviceaccounts"]);
    for verb in ["list", "watch"] {
        rig.fake.allow(&user, verb, "configmaps", "story", "*");
    }
    rig.hub.pod(name, Alpn::H2).await.unwrap()
}

async fn three(rig: &Rig) -> [Watching; 3] {
    let clients = [rig.pod().await, neighbour(rig, "second").await, neighbour(rig, "third").await];
    let version = listed(rig, &clients[0], "").await;
    let mut watching = Vec::new();
    for client in &clients {
        watching.push(Watching::from(client, version, "").await);
    }
    watching.try_into().ok().unwrap()
}

/// How often the cloud was asked for this.
fn asked(rig: &Rig, what: &str) -> usize {
    rig.fake.requests().iter().filter(|request| request.path_and_query.contains(what)).count()
}

async fn shared(rig: &Rig) -> f64 {
    rig.hub.metric("holdfast_watches_shared_total").await.unwrap()
}

#[tokio::test]
async fn one_watch_of_the_cloud_is_for_all_who_watch_the_same_before_and_after_a_cut() {
    let rig = Rig::start().await;
    let mut watching = three(&rig).await;
    put(&rig, "one", "1");
    for watching in &mut watching {
        assert_eq!(watching.next().await, event("ADDED", "one", "1"));
    }
    assert_eq!((asked(&rig, WATCHES), asked(&rig, REVIEWS), shared(&rig).await), (1, 2, 2.0));
    rig.cut(Fault::Refuse).await;
    rig.fake.delete("configmaps", "story", "one");
    put(&rig, "two", "2");
    rig.restore().await;
    for watching in &mut watching {
        assert_eq!(watching.next().await, event("DELETED", "one", "1"));
        assert_eq!(watching.next().await, event("ADDED", "two", "2"));
    }
    assert_eq!(asked(&rig, "story/configmaps?limit"), 0, "nothing is listed again");
    assert_eq!(asked(&rig, WATCHES), 2);
    assert!(asked(&rig, REVIEWS) <= 3, "once for each, whoever comes first after the cut");
}

#[tokio::test]
async fn whoever_may_not_watch_is_told_nothing_of_what_another_one_is() {
    let rig = Rig::with(FakeOptions::default(), &["--access-review-period=2s"]).await;
    let mut first = Watching::begin(&rig, &rig.pod().await, "").await;
    let path = format!("{CONFIGMAPS}?watch=true&timeoutSeconds=600&resourceVersion={}&", first.version);
    let second = neighbour(&rig, "second").await;
    let mut watching = Watching::from(&second, first.version, "").await;
    rig.fake.add_token("stranger", "system:serviceaccount:story:stranger", &["system:serviceaccounts"]);
    let stranger = rig.hub.pod("stranger", Alpn::H2).await.unwrap();
    assert_eq!(stranger.get(&path).await.unwrap().status, 403);
    let nobody = rig.hub.pod("nobody-s-token", Alpn::H2).await.unwrap();
    assert_eq!(nobody.get(&path).await.unwrap().status, 401);
    // A right that is taken back ends what was let in by it.
    rig.fake.forbid_all();
    rig.fake.allow("system:serviceaccount:story:sample", "watch", "configmaps", "story", "*");
    let last = tokio::time::timeout(SECONDS(20), watching.stream.event()).await.unwrap().unwrap().unwrap();
    assert_eq!((&last["type"], &last["object"]["code"]), (&"ERROR".into(), &403.into()));
    put(&rig, "one", "1");
    assert_eq!(first.next().await, event("ADDED", "one", "1"));
    assert!(tokio::time::timeout(SECONDS(5), watching.stream.event()).await.unwrap().unwrap().is_none(), "it has ended");
}

#[tokio::test]
async fn one_that_reads_too_slowly_is_ended_alone() {
    let rig = Rig::start().await;
    let [mut first, mut second, mut slow] = three(&rig).await;
    let large = testkit::noise(200_000);
    for name in 0..40 {
        put(&rig, &format!("n{name}"), &large);
    }
    for name in 0..40 {
        let expected = event("ADDED", &format!("n{name}"), &large);
        assert_eq!((first.next().await, second.next().await), (expected.clone(), expected));
    }
    let mut told = 0;
    let last = loop {
        let event = tokio::time::timeout(SECONDS(20), slow.stream.event()).await.unwrap().unwrap().unwrap();
        if event["type"] == "ERROR" {
            break event;
        }
        assert_eq!(event["object"]["metadata"]["name"], format!("n{told}"));
        told += 1;
    };
    assert_eq!((&last["object"]["code"], &last["object"]["reason"]), (&410.into(), &"Expired".into()), "{last}");
    assert!(told < 40);
    assert!(slow.stream.event().await.unwrap().is_none());
    put(&rig, "after", "1");
    assert_eq!((first.next().await, second.next().await), (event("ADDED", "after", "1"), event("ADDED", "after", "1")));
}

#[tokio::test]
async fn the_others_go_on_when_the_first_one_leaves() {
    let rig = Rig::start().await;
    let [first, mut second, mut third] = three(&rig).await;
    drop(first);
    put(&rig, "one", "1");
    assert_eq!((second.next().await, third.next().await), (event("ADDED", "one", "1"), event("ADDED", "one", "1")));
    drop((second, third));
    let watch = rig.fake.requests().into_iter().find(|request| request.path_and_query.contains(WATCHES)).unwrap();
    let is_over = async || Ok(rig.fake.open(&watch.path_and_query) == 0);
    eventually("nobody watches in the cloud", SECONDS(10), is_over).await.unwrap();
}

#[tokio::test]
async fn one_that_comes_later_ends_when_its_own_time_is_up() {
    let rig = Rig::start().await;
    let first = Watching::begin(&rig, &rig.pod().await, "").await;
    let path = format!("{CONFIGMAPS}?watch=true&resourceVersion={}&timeoutSeconds=2", first.version);
    let began = std::time::Instant::now();
    let second = neighbour(&rig, "second").await.get(&path).await.unwrap();
    assert_eq!((second.status.as_u16(), second.text().as_str(), shared(&rig).await), (200, "", 1.0));
    assert!((1..10).contains(&began.elapsed().as_secs()));
}

#[tokio::test]
async fn bookmarks_are_for_those_who_asked_for_them() {
    let rig = Rig::with(FakeOptions { bookmark_every: SECONDS(1), ..FakeOptions::default() }, &[]).await;
    let client = rig.pod().await;
    let mut without = Watching::begin(&rig, &client, "").await;
    let mut with = Watching::from(&neighbour(&rig, "second").await, without.version, "allowWatchBookmarks=true").await;
    let next = async |watching: &mut Watching| {
        tokio::time::timeout(SECONDS(20), watching.stream.event()).await.unwrap().unwrap().unwrap()["type"].clone()
    };
    assert_eq!(next(&mut with).await, "BOOKMARK");
    put(&rig, "one", "1");
    assert_eq!(next(&mut without).await, "ADDED");
    assert_eq!(with.next().await, event("ADDED", "one", "1"));
    assert_eq!(shared(&rig).await, 1.0);
}

#[tokio::test]
async fn where_it_is_switched_off_each_asks_the_cloud() {
    for (flags, watches) in [
        (&["--share-watches=none"][..], 3),
        (&["--share-watches=pool"], 3),
        (&["--share-watches=pool", "--pool-scope-resources=/v1/configmaps"], 1),
    ] {
        let rig = Rig::with(FakeOptions::default(), flags).await;
        let mut watching = three(&rig).await;
        put(&rig, "one", "1");
        for watching in &mut watching {
            assert_eq!(watching.next().await, event("ADDED", "one", "1"));
        }
        assert_eq!(asked(&rig, WATCHES), watches, "{flags:?}");
    }
}

/// As clients begin that let the watch itself bring all there is.
#[tokio::test]
async fn watches_that_begin_with_all_there_is_are_one_behind_that() {
    let rig = Rig::start().await;
    let begin = "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=600";
    let mut watching = Vec::new();
    for client in [rig.pod().await, neighbour(&rig, "second").await, neighbour(&rig, "third").await] {
        let mut stream = client.stream("GET", &format!("{CONFIGMAPS}?{begin}"), &[], "").await.unwrap();
        let mut next = async || {
            let event = tokio::time::timeout(SECONDS(20), stream.event()).await.unwrap().unwrap().unwrap();
            (event["type"].clone(), event["object"]["metadata"]["name"].clone())
        };
        assert_eq!(next().await, ("ADDED".into(), "greeting".into()));
        assert_eq!(next().await, ("ADDED".into(), "zz-last".into()));
        assert_eq!(next().await.0, "BOOKMARK");
        watching.push(Watching { stream, version: 0, last: String::new() });
    }
    let open = || {
        let watches = rig.fake.requests().into_iter().filter(|request| request.path_and_query.contains(WATCHES));
        watches.map(|request| request.path_and_query).collect::<std::collections::BTreeSet<_>>()
    };
    let one = async || Ok(open().iter().map(|path| rig.fake.open(path)).sum::<usize>() == 1);
    // Who reads on finds out.
    for text in ["1", "2"] {
        put(&rig, "one", text);
        let kind = if text == "1" { "ADDED" } else { "MODIFIED" };
        for watching in &mut watching {
            assert_eq!(watching.next().await, event(kind, "one", text));
        }
    }
    eventually("one watch is left", SECONDS(10), one).await.unwrap();
    assert_eq!((asked(&rig, REVIEWS), shared(&rig).await), (0, 2.0), "the cloud itself has let each of them in");
    rig.cut(Fault::Refuse).await;
    put(&rig, "two", "2");
    rig.restore().await;
    for watching in &mut watching {
        assert_eq!(watching.next().await, event("ADDED", "two", "2"));
    }
    eventually("one watch is left", SECONDS(10), one).await.unwrap();
}

/// As clients do that come back with the version of before.
#[tokio::test]
async fn a_watch_that_begins_with_all_there_is_of_a_version_is_told_it_by_the_store() {
    let rig = Rig::start().await;
    let first = rig.pod().await;
    let version = listed(&rig, &first, "").await;
    let mut watching = vec![Watching::from(&first, version, "").await];
    put(&rig, "one", "1");
    assert_eq!(watching[0].next().await, event("ADDED", "one", "1"));
    let second = neighbour(&rig, "second").await;
    let at = watching[0].version;
    let from = |version: u64| {
        let begin = "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        format!("{CONFIGMAPS}?{begin}&resourceVersion={version}")
    };
    let by_store =
        |stream: &Streaming| stream.headers.get("cache-status").is_some_and(|said| said == "holdfast; hit; detail=shared");
    let from_store = async || Ok(by_store(&second.stream("GET", &from(at), &[], "").await?));
    eventually("the store has the event", SECONDS(10), from_store).await.unwrap();
    rig.fake.clear_requests();
    let mut stream = second.stream("GET", &from(at), &[], "").await.unwrap();
    for name in ["greeting", "one", "zz-last"] {
        let told = stream.event().await.unwrap().unwrap();
        assert_eq!((&told["type"], &told["object"]["metadata"]["name"]), (&"ADDED".into(), &name.into()));
    }
    let bookmark = stream.event().await.unwrap().unwrap();
    let version = at.to_string();
    assert_eq!((&bookmark["type"], &bookmark["object"]["metadata"]["resourceVersion"]), (&"BOOKMARK".into(), &version.into()));
    watching.push(Watching { stream, version: at, last: String::new() });
    put(&rig, "two", "2");
    for watching in &mut watching {
        assert_eq!(watching.next().await, event("ADDED", "two", "2"));
    }
    assert_eq!(asked(&rig, CONFIGMAPS), 0, "the cloud is asked for nothing");
    let newer = second.stream("GET", &from(rig.fake.resource_version() + 1), &[], "").await.unwrap();
    assert!(!by_store(&newer), "it is the cloud's to say what that means");
    rig.fake.add_token("stranger", "system:serviceaccount:story:stranger", &["system:serviceaccounts"]);
    let stranger = rig.hub.pod("stranger", Alpn::H2).await.unwrap().stream("GET", &from(at), &[], "").await.unwrap();
    assert_eq!((stranger.status.as_u16(), by_store(&stranger)), (403, false), "the cloud itself refuses");
}

/// As informers begin.
#[tokio::test]
async fn a_list_of_any_version_of_what_is_watched_comes_from_the_store_for_whoever_may_list() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    let any = format!("{CONFIGMAPS}?resourceVersion=0");
    let first = client.get(&any).await.unwrap();
    assert_eq!((first.status.as_u16(), first.header("cache-status")), (200, ""));
    let mut watching = Watching::begin(&rig, &client, "").await;
    put(&rig, "one", "1");
    assert_eq!(watching.next().await, event("ADDED", "one", "1"));
    let second = neighbour(&rig, "second").await;
    let detail = "holdfast; hit; detail=shared";
    let from_store = async || {
        let list = second.get(&any).await?;
        Ok((list.status.as_u16(), list.header("cache-status")) == (200, detail)
            && list.json()["items"][1]["metadata"]["name"] == "one")
    };
    eventually("the store has the event", SECONDS(10), from_store).await.unwrap();
    let list = second.get(&any).await.unwrap();
    let version: u64 = list.json()["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    let mut watching = [watching, Watching::from(&second, version, "").await];
    put(&rig, "two", "2");
    for watching in &mut watching {
        assert_eq!(watching.next().await, event("ADDED", "two", "2"));
    }
    assert_eq!(asked(&rig, WATCHES), 1);
    // What the watch has not told may have happened.
    let newest = second.get(CONFIGMAPS).await.unwrap();
    assert_eq!((newest.status.as_u16(), newest.header("cache-status")), (200, ""));
    let later = format!("{CONFIGMAPS}?resourceVersion={}&resourceVersionMatch=NotOlderThan", rig.fake.resource_version() + 1);
    assert_eq!(second.get(&later).await.unwrap().header("cache-status"), "", "it is the cloud's to say what that means");
    rig.fake.add_token("stranger", "system:serviceaccount:story:stranger", &["system:serviceaccounts"]);
    let stranger = rig.hub.pod("stranger", Alpn::H2).await.unwrap().get(&any).await.unwrap();
    assert_eq!((stranger.status.as_u16(), stranger.header("cache-status")), (403, ""), "the cloud itself refuses");
    drop(watching);
    let from_cloud = async || Ok(second.get(&any).await?.header("cache-status").is_empty());
    eventually("nobody tells the store any more", SECONDS(10), from_cloud).await.unwrap();
}
