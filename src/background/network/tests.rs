//! On real interfaces, each test in a network namespace of its own.

use std::process::Command;

use super::*;

const ADDRESS: &str = "169.254.2.1";
const INTERFACE: &str = "hub-dummy0";

/// Whether the process is in a namespace of its own. If not, this very test is run once more, in one.
fn is_inside(test: &str) -> bool {
    const INSIDE: &str = "HOLDFAST_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let inside = |program: &std::ffi::OsStr| {
        let mut command = Command::new("unshare");
        command.arg("--net").arg(program).env(INSIDE, "1");
        command
    };
    if !inside("true".as_ref()).output().is_ok_and(|output| output.status.success()) {
        testkit::skipped("root, to make a network namespace");
        return false;
    }
    let exe = std::env::current_exe().unwrap();
    let output = inside(exe.as_os_str()).arg("--exact").arg(format!("{}::{test}", module())).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    false
}

/// As the test harness names it: without the crate.
fn module() -> &'static str {
    module_path!().split_once("::").unwrap().1
}

fn ip(arguments: &str) -> Option<String> {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// Whether an interface that is up has the address.
fn is_up(address: &str) -> bool {
    ip(&format!("address show up to {address}")).is_some_and(|shown| shown.contains(address))
}

fn local(address: &str, interface: &str) -> LocalAddress {
    LocalAddress { address: address.parse().unwrap(), interface: interface.to_owned() }
}

async fn ensured(interface: &str) -> (String, Was) {
    let carrier = local(ADDRESS, interface).ensure().await.unwrap();
    assert!(is_up(ADDRESS), "{carrier:?}");
    (carrier.interface, carrier.was)
}

#[tokio::test]
async fn the_address_is_on_the_first_kind_of_interface_that_the_kernel_makes() {
    if !is_inside("the_address_is_on_the_first_kind_of_interface_that_the_kernel_makes") {
        return;
    }
    let can = |kind: &&str| ip(&format!("link add probe type {kind}")).and_then(|_| ip("link del probe")).is_some();
    let Some(kind) = ["dummy", "ifb", "bridge"].into_iter().find(can) else {
        return testkit::skipped("a kernel with dummy, ifb or bridge");
    };
    assert_eq!(ensured(INTERFACE).await, (INTERFACE.to_owned(), Was::Missing));
    let made = ip(&format!("-details link show {INTERFACE}")).unwrap();
    assert!(made.contains(&format!("\n    {kind} ")), "{kind}: {made}");
    assert_eq!(ensured(INTERFACE).await, (INTERFACE.to_owned(), Was::There), "a restart finds it");
}

#[tokio::test]
async fn an_interface_of_that_name_is_taken_as_it_is() {
    if !is_inside("an_interface_of_that_name_is_taken_as_it_is") {
        return;
    }
    if ip(&format!("link add {INTERFACE} type bridge")).is_none() {
        return testkit::skipped("a kernel with bridge");
    }
    assert_eq!(ensured(INTERFACE).await, (INTERFACE.to_owned(), Was::Missing));
    assert!(ip(&format!("-details link show {INTERFACE}")).unwrap().contains("\n    bridge "));
}

#[tokio::test]
async fn where_no_interface_can_be_made_lo_carries_the_address() {
    if !is_inside("where_no_interface_can_be_made_lo_carries_the_address") {
        return;
    }
    // No kernel makes one of so long a name, of whatever kind.
    assert_eq!(ensured("longer-than-15-bytes").await, ("lo".to_owned(), Was::Missing));
}

#[tokio::test(start_paused = true)]
async fn what_takes_the_address_away_is_undone() {
    if !is_inside("what_takes_the_address_away_is_undone") {
        return;
    }
    for (address, whole) in [(ADDRESS, "169.254.2.1/32"), ("fd00::2:1", "fd00::2:1/128")] {
        local(address, INTERFACE).ensure().await.unwrap();
        let keeping = tokio::spawn(local(address, INTERFACE).keep());
        for harm in ["link set INTERFACE down", "addr del ADDRESS dev INTERFACE", "link del INTERFACE"] {
            ip(&harm.replace("INTERFACE", INTERFACE).replace("ADDRESS", whole)).unwrap();
            assert!(!is_up(address), "{harm}");
            let mut looks = 0;
            while !is_up(address) {
                assert!(looks < 100, "{address}: {harm}");
                looks += 1;
                tokio::time::sleep(LOOK).await;
            }
        }
        keeping.abort();
    }
}

/// Somebody else's address is looked after where it is.
#[tokio::test]
async fn an_address_on_another_interface_stays_there() {
    if !is_inside("an_address_on_another_interface_stays_there") {
        return;
    }
    ip(&format!("addr add {ADDRESS}/32 dev lo")).unwrap();
    assert_eq!(ensured(INTERFACE).await, ("lo".to_owned(), Was::Down), "lo is down in a new namespace");
    assert_eq!(ensured(INTERFACE).await, ("lo".to_owned(), Was::There));
    assert_eq!(ip(&format!("link show {INTERFACE}")), None);
}
