//! PersistentVolumes and the claims to them.

use serde_json::Value;

use super::age::Now;
use super::column::{AGE, NAME, text};
use super::printer::BuiltIn;
use super::value::{at, is_deleted, list, name, text as text_at, text_or};

pub(super) const VOLUMES: BuiltIn = BuiltIn::new(
    &[
        NAME,
        text("Capacity", "capacity is the description of the persistent volume's resources and capacity. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#capacity"),
        text("Access Modes", "accessModes contains all ways the volume can be mounted. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes"),
        text("Reclaim Policy", "persistentVolumeReclaimPolicy defines what happens to a persistent volume when released from its claim. Valid options are Retain (default for manually created PersistentVolumes), Delete (default for dynamically provisioned PersistentVolumes), and Recycle (deprecated). Recycle must be supported by the volume plugin underlying this PersistentVolume. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#reclaiming"),
        text("Status", "phase indicates if a volume is available, bound to a claim, or released by a claim. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#phase"),
        text("Claim", "claimRef is part of a bi-directional binding between PersistentVolume and PersistentVolumeClaim. Expected to be non-nil when bound. claim.VolumeName is the authoritative bind between PV and PVC. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#binding"),
        text("StorageClass", "StorageClass of the pv"),
        text("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
        text("Reason", "reason is a brief CamelCase string that describes any failure and is meant for machine parsing and tidy display in the CLI."),
        AGE,
        text("VolumeMode", "volumeMode defines if a volume is intended to be used with a formatted filesystem or to remain in raw block state. Value of Filesystem is implied when not included in spec.").wide(),
    ],
    volume,
);

pub(super) const CLAIMS: BuiltIn = BuiltIn::new(
    &[
        NAME,
        text("Status", "phase represents the current phase of PersistentVolumeClaim."),
        text("Volume", "volumeName is the binding reference to the PersistentVolume backing this claim."),
        text("Capacity", "capacity represents the actual resources of the underlying volume."),
        text("Access Modes", "accessModes contains the actual access modes the volume backing the PVC has. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes-1"),
        text("StorageClass", "StorageClass of the pvc"),
        text("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
        AGE,
        text("VolumeMode", "volumeMode defines what type of volume is required by the claim. Value of Filesystem is implied when not included in claim spec.").wide(),
    ],
    claim,
);

/// The older way to name a StorageClass.
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

fn volume(volume: &Value, now: Now) -> Vec<Value> {
    let spec = at(volume, "spec");
    let claim = at(spec, "claimRef");
    let claim =
        if claim.is_object() { format!("{}/{}", text_at(claim, "namespace"), text_at(claim, "name")) } else { String::new() };
    vec![
        name(volume),
        text_or(spec, "capacity.storage", "0").into(),
        modes(list(spec, "accessModes")).into(),
        text_at(spec, "persistentVolumeReclaimPolicy").into(),
        phase(volume).into(),
        claim.into(),
        class(volume).into(),
        or_unset(spec, "volumeAttributesClassName"),
        text_at(volume, "status.reason").into(),
        now.age(volume),
        or_unset(spec, "volumeMode"),
    ]
}

fn claim(claim: &Value, now: Now) -> Vec<Value> {
    let (spec, status) = (at(claim, "spec"), at(claim, "status"));
    let bound = !text_at(spec, "volumeName").is_empty();
    vec![
        name(claim),
        phase(claim).into(),
        text_at(spec, "volumeName").into(),
        if bound { text_or(status, "capacity.storage", "0") } else { "" }.into(),
        if bound { modes(list(status, "accessModes")) } else { String::new() }.into(),
        class(claim).into(),
        or_unset(spec, "volumeAttributesClassName"),
        now.age(claim),
        or_unset(spec, "volumeMode"),
    ]
}

fn phase(object: &Value) -> &str {
    if is_deleted(object) { "Terminating" } else { text_at(object, "status.phase") }
}

fn class(object: &Value) -> &str {
    let annotated = at(object, "metadata.annotations").get(CLASS).and_then(Value::as_str);
    annotated.unwrap_or_else(|| text_at(object, "spec.storageClassName"))
}

fn or_unset(spec: &Value, field: &str) -> Value {
    at(spec, field).as_str().unwrap_or("<unset>").into()
}

fn modes(modes: &[Value]) -> String {
    let short = [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let there = short.into_iter().filter(|(mode, _)| modes.iter().any(|one| one == mode));
    there.map(|(_, short)| short).collect::<Vec<_>>().join(",")
}
