//! Holdfast's story on one machine: a cloud, a hub, a Pod, and a link that is cut.
//!
//! `demo small --hub FILE` needs no root: testkit's small API server is the cloud, a
//! process with the environment and files that kubelet would give it is the Pod.
//! `demo real --hub FILE` needs root: real servers, kubelet, containerd and Pod.
//!
//! Promises: exit code 0 only if each step held, 1 if one did not or could not be
//! played, 130 when interrupted; and nothing of it is left behind, however it ends.
//!
//! * [`supervise`] is the process that the user starts: it looks whether the machine
//!   has what is needed and starts itself again as the one that plays.
//! * [`story`] is what happens, in order; [`stage`] is what a stage must be able to do,
//!   [`small`] and [`real`] are the two stages.
//! * [`client`] is the small stage's Pod. It knows nothing of all this.

mod client;
mod door;
mod engine;
mod hub;
mod needs;
mod real;
mod report;
mod small;
mod stage;
mod story;
mod supervise;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(name = "demo", version, about = "Plays Holdfast's story, with a line of evidence for each step")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A small API server as the cloud, a process as the Pod; no root needed
    Small(Given),
    /// A real control plane, kubelet, containerd and Pod; as root
    Real(Given),
    /// What small and real start: the process that plays
    #[command(hide = true)]
    Play {
        stage: Kind,
        #[command(flatten)]
        given: Given,
        /// Folder to make for the logs if a step does not hold
        #[arg(long)]
        logs: PathBuf,
    },
    /// An in-cluster program
    #[command(hide = true)]
    Client,
}

#[derive(clap::Args)]
struct Given {
    /// The hub's program
    #[arg(long, value_name = "FILE")]
    hub: PathBuf,
}

/// Which stage the story is played on.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Small,
    Real,
}

impl Kind {
    /// What the user sees first.
    fn header(self) -> &'static str {
        match self {
            Kind::Small => {
                "Holdfast's story, small: testkit's API server is the cloud, an ordinary kube-rs program the Pod.\n\
                 Both and the hub run in namespaces of their own, which end with this.\n"
            }
            Kind::Real => {
                "Holdfast's story, real: etcd, kube-apiserver, its controllers and scheduler, kubelet, containerd,\n\
                 an ordinary client-go Pod. The cloud starts first; that takes some ten seconds.\n"
            }
        }
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Small(given) => supervise::run(Kind::Small, &given.hub),
        Command::Real(given) => supervise::run(Kind::Real, &given.hub),
        Command::Play { stage, given, logs } => supervise::play(stage, &given.hub, &logs),
        Command::Client => client::run().map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        report::complain(&format!("demo: {error:#}"));
        ExitCode::FAILURE
    })
}
