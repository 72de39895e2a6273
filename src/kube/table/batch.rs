//! Jobs and CronJobs.

use serde_json::Value;

use super::age::{Now, human, since, time};
use super::apps::containers;
use super::column::{AGE, CONTAINERS, IMAGES, NAME, boolean, integer, text};
use super::printer::BuiltIn;
use super::value::{at, condition, count, is_deleted, list, name, number, selector_or_none, text as text_at};

pub(super) const JOBS: BuiltIn = BuiltIn::new(
    &[
        NAME,
        text("Status", "Status of the job."),
        text("Completions", "The number of pods which reached phase Succeeded. The value increases monotonically for a given spec. However, it may decrease in reaction to scale down of elastic indexed jobs."),
        text("Duration", "Time required to complete the job."),
        AGE,
        CONTAINERS,
        IMAGES,
        text("Selector", "A label query over pods that should match the pod count. Normally, the system sets this field for you. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors").wide(),
    ],
    job,
);

pub(super) const CRON_JOBS: BuiltIn = BuiltIn::new(
    &[
        NAME,
        text("Schedule", "The schedule in Cron format, see https://en.wikipedia.org/wiki/Cron."),
        text("Timezone", "The time zone name for the given schedule, see https://en.wikipedia.org/wiki/List_of_tz_database_time_zones. If not specified, this will default to the time zone of the kube-controller-manager process. The set of valid time zone names and the time zone offset is loaded from the system-wide time zone database by the API server during CronJob validation and the controller manager during execution. If no system-wide time zone database can be found a bundled version of the database is used instead. If the time zone name becomes invalid during the lifetime of a CronJob or due to a change in host configuration, the controller will stop creating new new Jobs and will create a system event with the reason UnknownTimeZone. More information can be found in https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#time-zones"),
        boolean("Suspend", "This flag tells the controller to suspend subsequent executions, it does not apply to already started executions.  Defaults to false."),
        integer("Active", "A list of pointers to currently running jobs."),
        text("Last Schedule", "Information when was the last time the job was successfully scheduled."),
        AGE,
        CONTAINERS,
        IMAGES,
        text("Selector", "A label query over pods that should match the pod count. Normally, the system sets this field for you. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors").wide(),
    ],
    cron_job,
);

fn job(job: &Value, now: Now) -> Vec<Value> {
    let spec = at(job, "spec");
    let [containers, images] = containers(spec);
    vec![
        name(job),
        status(job).into(),
        completions(job).into(),
        duration(at(job, "status"), now).into(),
        now.age(job),
        containers,
        images,
        selector_or_none(at(spec, "selector")).into(),
    ]
}

fn status(job: &Value) -> &'static str {
    let is = |kind: &&str| condition(job, kind) == Some("True");
    let ended = ["Complete", "Failed"].into_iter().find(is);
    let deleted = is_deleted(job).then_some("Terminating");
    let others = || ["Suspended", "FailureTarget", "SuccessCriteriaMet"].into_iter().find(is);
    ended.or(deleted).or_else(others).unwrap_or("Running")
}

fn completions(job: &Value) -> String {
    let done = number(job, "status.succeeded");
    match (at(job, "spec.completions").as_i64(), number(job, "spec.parallelism")) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{done}/1 of {parallel}"),
        (None, _) => format!("{done}/1"),
    }
}

/// How long it has run; empty: it has not begun.
fn duration(status: &Value, now: Now) -> String {
    let ended = time(text_at(status, "completionTime")).map_or(now, Now);
    time(text_at(status, "startTime")).map_or_else(String::new, |begun| human(ended.0 - begun))
}

fn cron_job(job: &Value, now: Now) -> Vec<Value> {
    let (spec, of_jobs) = (at(job, "spec"), at(job, "spec.jobTemplate.spec"));
    let [containers, images] = containers(of_jobs);
    let suspended = match at(spec, "suspend").as_bool() {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    vec![
        name(job),
        text_at(spec, "schedule").into(),
        at(spec, "timeZone").as_str().unwrap_or("<none>").into(),
        suspended.into(),
        count(list(job, "status.active").len()).into(),
        since(now, job, "status.lastScheduleTime").unwrap_or_else(|| "<none>".to_owned()).into(),
        now.age(job),
        containers,
        images,
        selector_or_none(at(of_jobs, "selector")).into(),
    ]
}
