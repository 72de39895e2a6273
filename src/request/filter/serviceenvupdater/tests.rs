use super::*;
use crate::request::filter::testing::{BOTH, Made, hub};

const IMAGE: Field = Field::new("image", 2);
const TARGET: Field = Field::new("targetContainerName", 2);
const FIELD_REF: Field = Field::new("fieldRef", 1);

fn variable(encoding: Encoding, name: &str, value: &str) -> Made {
    Made::new(encoding).text(pod::ENV_NAME, name).text(pod::ENV_VALUE, value)
}

fn container(encoding: Encoding, host: &str, port: &str) -> Made {
    let env = [
        variable(encoding, "A", "1"),
        variable(encoding, "KUBERNETES_SERVICE_HOST", host),
        variable(encoding, "KUBERNETES_SERVICE_PORT", port),
    ];
    Made::new(encoding).text(IMAGE, "i").messages(pod::ENV, &env)
}

fn a_pod(encoding: Encoding, host: &str, port: &str) -> Made {
    let container = container(encoding, host, port);
    let ephemeral = match encoding {
        Encoding::Json => container.clone(),
        Encoding::Protobuf => Made::new(encoding).message(pod::EPHEMERAL_COMMON, &container).text(TARGET, "t"),
    };
    let spec = Made::new(encoding)
        .messages(pod::CONTAINERS, &[container.clone(), Made::new(encoding).text(IMAGE, "plain")])
        .messages(pod::INIT_CONTAINERS, &[container])
        .messages(pod::EPHEMERAL_CONTAINERS, &[ephemeral]);
    Made::object(encoding, "a", "p", &[], &[]).message(pod::SPEC, &spec)
}

#[test]
fn every_kind_of_container_gets_the_hubs_values() {
    for encoding in BOTH {
        let Edit::Replace(after) = apply(&hub("169.254.2.1"), &a_pod(encoding, "10.96.0.1", "443").item()).unwrap() else {
            panic!("{encoding:?}: it changes")
        };
        assert_eq!(after, a_pod(encoding, "169.254.2.1", "10268").bytes);
        let right = a_pod(encoding, "169.254.2.1", "10268");
        assert_eq!(apply(&hub("169.254.2.1"), &right.item()).unwrap(), Edit::Keep);
        assert_eq!(apply(&hub("169.254.2.1"), &Made::object(encoding, "a", "p", &[], &[]).item()).unwrap(), Edit::Keep);
    }
}

#[test]
fn a_variable_made_from_something_else_gets_the_value_instead() {
    for encoding in BOTH {
        let from = Made::new(encoding).message(FIELD_REF, &Made::new(encoding));
        let made = Made::new(encoding).text(pod::ENV_NAME, "KUBERNETES_SERVICE_HOST").message(pod::ENV_VALUE_FROM, &from);
        let before = Made::new(encoding).messages(pod::ENV, &[made]);
        let Edit::Replace(after) = container_env(&hub("fd00::2:1"), encoding, &before.bytes).unwrap() else {
            panic!("it changes")
        };
        let expected = Made::new(encoding).messages(pod::ENV, &[variable(encoding, "KUBERNETES_SERVICE_HOST", "fd00::2:1")]);
        assert_eq!(after, expected.bytes);
    }
}
