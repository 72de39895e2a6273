//! What happens, in order, and whether each step held. The same on both stages: every
//! step is judged by what a user of the node would see.
//!
//! The first step that does not hold ends the story: later ones would build on it.

mod back;
mod offline;
mod online;

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use serde_json::Value;

use crate::door::{Answer, Door};
use crate::hub::Hub;
use crate::report::{self, Outcome, Row};
use crate::stage::{Stage, Told, wait_for};

const MINUTE: Duration = Duration::from_secs(60);
/// What an answer may take at most, whatever the link does: the hub's two seconds, and
/// one for a busy machine.
const AT_ONCE: Duration = Duration::from_secs(3);
const CONFIGMAPS: &str = "/api/v1/namespaces/story/configmaps";
const GREETING: &str = "/api/v1/namespaces/story/configmaps/greeting";
const FORBIDDEN: &str = "/api/v1/namespaces/story/secrets/forbidden";

/// A step that held: its line's end, and the evidence beneath.
struct Shown {
    summary: String,
    evidence: Vec<String>,
}

struct Step {
    what: String,
    play: fn(&mut Play<'_>) -> Result<Shown>,
}

/// The stage, and what one step leaves for the next.
struct Play<'a> {
    stage: &'a mut dyn Stage,
    hub: Option<Hub>,
    told: Option<Told>,
    /// Tokens with the Pod's own rights, and of somebody who may write.
    sample: String,
    operator: String,
    /// The list of ConfigMaps, and the Pod's view, as they were before the cut.
    items: Value,
    view: Value,
    restored: Option<Instant>,
}

fn steps(stage: &dyn Stage) -> Vec<Step> {
    let step = |what: &str, play| Step { what: what.to_owned(), play };
    vec![
        step("start the hub", online::hub),
        step("ask for the Service kubernetes, as kubelet does", online::service),
        step("start the Pod's program with what it says", online::pod),
        step("list and write ConfigMaps while the link is up", online::list),
        step(&format!("cut the link ({})", stage.way_of_cutting()), offline::cut),
        step("list again", offline::list),
        step("kill -9 the Pod's program, start it again", offline::restart),
        step("try what may not be had", offline::refused),
        step("change a ConfigMap in the cloud", offline::change),
        step("kill -9 the hub, start it again", offline::hub),
        step("kill -9 the Pod's program once more", offline::restart),
        step("restore the link", back::restore),
        step("wait for the change", back::arrives),
        step("write again", back::write),
    ]
}

/// Plays all; whether every step held. The hub's end is the story's.
pub fn play(stage: &mut dyn Stage) -> bool {
    let steps = steps(stage);
    let mut play = Play {
        stage,
        hub: None,
        told: None,
        sample: String::new(),
        operator: String::new(),
        items: Value::Null,
        view: Value::Null,
        restored: None,
    };
    let mut failed = None;
    let rows: Vec<Row> = steps
        .into_iter()
        .enumerate()
        .map(|(index, step)| {
            let outcome = if failed.is_some() { Outcome::NotPlayed } else { one(index + 1, &step, &mut play) };
            if matches!(outcome, Outcome::Failed { .. }) {
                failed = Some(format!("step {} did not hold: {}", index + 1, step.what));
            }
            Row { what: step.what, outcome }
        })
        .collect();
    report::table(&rows);
    report::say(failed.as_deref().unwrap_or("all steps held"));
    failed.is_none()
}

fn one(number: usize, step: &Step, play: &mut Play<'_>) -> Outcome {
    report::begin(number, &step.what);
    let started = Instant::now();
    let result = (step.play)(play);
    let took = started.elapsed();
    match result {
        Ok(Shown { summary, evidence }) => {
            report::end(&summary, &evidence);
            Outcome::Held { took, summary }
        }
        Err(error) => {
            report::end("DOES NOT HOLD", &[format!("{error:#}")]);
            Outcome::Failed { took }
        }
    }
}

impl Play<'_> {
    /// Starts the hub (again), and waits until it is ready.
    fn start_hub(&mut self) -> Result<Duration> {
        self.hub = None;
        let started = Instant::now();
        let mut hub = Hub::start(self.stage.hub_command(), &self.stage.log_folder().join("hub.log"))?;
        wait_for("the hub is ready", Duration::from_secs(20), || {
            // The end of the hub ends the wait.
            if let Some(status) = hub.ended()? {
                return Ok(Err(anyhow!("the hub ended with {status}")));
            }
            Door::Admin.get(self.stage, "/v1/readyz")?.expect(200, "the hub's readiness").map(|_| Ok(()))
        })??;
        self.hub = Some(hub);
        Ok(started.elapsed())
    }

    /// GET with the Pod's own rights.
    fn get(&self, path: &str) -> Result<Answer> {
        Door::Pods(&self.sample).get(self.stage, path)
    }

    /// Tries to make a ConfigMap, as somebody who may.
    fn create(&self, name: &str) -> Result<Answer> {
        let body =
            serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": name}});
        Door::Pods(&self.operator).ask(self.stage, "POST", CONFIGMAPS, &body)
    }

    /// The hub's verdict on the link; none yet if it has just started.
    async fn link_is_up(&self) -> Result<Option<bool>> {
        let metrics = Door::Admin.request(self.stage, "GET", "/metrics", &Value::Null).await?.text();
        let line = metrics.lines().find(|line| line.starts_with("node_yurthub_server_healthy_status"));
        Ok(line.map(|line| line.ends_with(" 1")))
    }

    /// Waits for that verdict; how long it took since `since`.
    async fn verdict(&self, up: bool, since: Instant) -> Result<Duration> {
        while self.link_is_up().await? != Some(up) {
            ensure!(since.elapsed() < MINUTE, "the hub has not noticed after {}", report::time(since.elapsed()));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(since.elapsed())
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.stage.handle().block_on(work)
    }

    /// Waits until the Pod has all that it may have and not more: the greeting's text is
    /// `text`, one Secret is read, the other is refused.
    fn wait_view(&self, text: &str) -> Result<Value> {
        wait_for(&format!("the Pod sees {text:?}"), MINUTE, || {
            let view = Door::Other(self.stage.pod_address()?).get(self.stage, "/")?.json();
            ensure!(view["synced"] == true && view["configmaps"]["greeting"]["text"] == *text, "{view}");
            ensure!(view["secret"] == "open" && view["secretError"] == "", "{view}");
            let refusal = view["forbidden"].as_str().unwrap_or_default();
            // In the cloud's words, or in the hub's.
            let refused = ["cannot get resource", "has not granted this"].iter().any(|words| refusal.contains(words));
            ensure!(refused, "{view}");
            Ok(view)
        })
    }
}

/// The names in a list, with commas between.
fn names(items: &Value) -> String {
    let items = items.as_array().into_iter().flatten();
    items.filter_map(|item| item["metadata"]["name"].as_str()).collect::<Vec<_>>().join(", ")
}

/// How many there are in a list.
fn count(items: &Value) -> usize {
    items.as_array().map_or(0, Vec::len)
}
