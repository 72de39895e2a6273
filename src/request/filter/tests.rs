use super::*;
use crate::state::rules::Agents;

fn decided(rules: &RuleSet, component: &str, resource: (&str, &str), verb: &str) -> Vec<&'static str> {
    let decision = Filters::decide(rules, &testing::ask(component, resource, verb));
    decision.filters().iter().map(|filter| filter.name()).collect()
}

/// Who is served with what, without any configuration.
#[test]
fn the_defaults_are_yurthubs() {
    const NONE: [&str; 0] = [];
    let rules = RuleSet::new(Agents::parse("*"), &Filter::ALL);
    let (services, pods, maps) = (("", "services"), ("", "pods"), ("", "configmaps"));
    let (slices, endpoints) = (("discovery.k8s.io", "endpointslices"), ("", "endpoints"));
    for verb in ["get", "list", "watch"] {
        assert_eq!(decided(&rules, "kubelet", services, verb), ["masterservice"], "{verb}");
        assert_eq!(decided(&rules, "kubelet", pods, verb), ["serviceenvupdater"], "{verb}");
        assert_eq!(decided(&rules, "kubelet", maps, verb), ["inclusterconfig"], "{verb}");
        assert_eq!(decided(&rules, "kubelet", slices, verb), NONE, "{verb}");
        assert_eq!(decided(&rules, "kube-proxy", services, verb), ["discardcloudservice", "nodeportisolation"], "{verb}");
        assert_eq!(decided(&rules, "kube-proxy", slices, verb), ["servicetopology", "forwardkubesvctraffic"], "{verb}");
        assert_eq!(decided(&rules, "kube-proxy", endpoints, verb), ["servicetopology"], "{verb}");
        for other in ["coredns", "CoreDNS", "nginx-ingress-controller"] {
            assert_eq!(decided(&rules, other, slices, verb), ["servicetopology"], "{other} {verb}");
            assert_eq!(decided(&rules, other, endpoints, verb), ["servicetopology"], "{other} {verb}");
            assert_eq!(decided(&rules, other, services, verb), NONE, "{other} {verb}");
        }
        assert_eq!(decided(&rules, "sample", services, verb), NONE, "{verb}");
        assert_eq!(decided(&rules, "kubelet", ("example.com", "services"), verb), NONE, "another group's");
    }
    for verb in ["patch", "update"] {
        assert_eq!(decided(&rules, "kubelet", pods, verb), ["serviceenvupdater"], "{verb}");
        assert_eq!(decided(&rules, "kubelet", services, verb), NONE, "{verb}");
        assert_eq!(decided(&rules, "kube-proxy", services, verb), NONE, "{verb}");
    }
}

/// What is waited for is waited for once, however many want it.
#[tokio::test(start_paused = true)]
async fn all_that_a_request_waits_for_takes_two_seconds_together() {
    let written =
        "match: {resources: [endpointslices.discovery.k8s.io], expression: 'object.a == node.zone'}, drop: true, onError: keep";
    let yaml: String = (0..20).map(|number| format!("- {{name: r{number}, {written}}}\n")).collect();
    let mut rules = RuleSet::new(Agents::parse("*"), &Filter::ALL);
    rules.user = crate::state::user_rule::parse(&yaml, &[]).unwrap();
    let filters = testing::filters(rules);
    let ask = testing::ask("kube-proxy", ("discovery.k8s.io", "endpointslices"), "list");
    let began = Instant::now();
    let chain = filters.chain_for(ask).await.unwrap();
    assert_eq!(began.elapsed(), PATIENCE);
    assert_eq!(chain.decision().to_string(), "forwardkubesvctraffic", "the others do not know what they go by");
}

#[test]
fn a_rule_that_is_gone_has_no_figure() {
    let mut rules = RuleSet::new(Agents::parse("*"), &[]);
    rules.user = user_rule::parse("- {name: there, match: {resources: [pods]}, drop: true}", &[]).unwrap();
    let filters = testing::filters(rules);
    let counted = ["rule/there", "rule/gone", "servicetopology"].map(|label| {
        filters.count(label);
        filters.metrics.filter_errors.get(&FilterLabel { filter: label.to_owned() }).is_some()
    });
    assert_eq!(counted, [true, false, true]);
}

/// The order that users are told is the one that holds.
#[test]
fn the_docs_list_the_filters_in_their_order() {
    let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/filters.md"));
    let told: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| [")?.split(']').next()).collect();
    assert_eq!(told, Filter::ALL.map(Filter::name));
}
