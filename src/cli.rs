//! The command line. Exit codes: 0 it ended as it was asked to; 1 it failed; 78
//! (EX_CONFIG) the configuration cannot be used.

mod yurthub;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app;
use crate::config::{self, Raw};

const EX_CONFIG: u8 = 78;

#[derive(Parser)]
#[command(name = "holdfast", version, about = "Keeps Kubernetes clients working while the control plane is out of reach")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the hub
    // As everywhere in Kubernetes: of a flag that is given twice the last one counts.
    #[command(args_override_self = true)]
    Hub(Hub),
}

#[derive(clap::Args)]
struct Hub {
    /// YAML file: apiVersion holdfast.dev/v1alpha1, kind HubConfiguration; flags override it
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(flatten)]
    raw: Box<Raw>,
}

/// The command line as a value, for its documentation.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// The program, from its arguments to its exit code.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = yurthub::translate(arguments.collect());
    let cli = match Cli::try_parse_from(&arguments.list) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EX_CONFIG) } else { ExitCode::SUCCESS };
        }
    };
    let Command::Hub(hub) = cli.command;
    app::keep_little();
    let settings = match read(hub, arguments.defaults) {
        Ok(settings) => settings,
        Err(why) => {
            eprintln!("holdfast: {why}");
            return ExitCode::from(EX_CONFIG);
        }
    };
    app::log::start(settings.verbosity);
    if !arguments.ignored.is_empty() {
        tracing::warn!(flags = ?arguments.ignored, "these flags of yurthub have no effect here");
    }
    match app::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holdfast: {error:#}");
            ExitCode::from(if error.is::<app::BadConfiguration>() { EX_CONFIG } else { 1 })
        }
    }
}

fn read(hub: Hub, defaults: Raw) -> Result<config::Settings, Box<dyn std::error::Error>> {
    let file = hub.config.as_deref().map(config::read_file).transpose()?.unwrap_or_default();
    let proxies = config::Proxies::of_environment()?;
    Ok(config::Settings { proxies, ..config::check(hub.raw.over(file).over(defaults))? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_flag_that_is_given_twice_the_last_one_counts() {
        let words = "yurthub --v=2 --node-name=a --server-addr=https://a:1 --enable-node-pool -v=3 --node-name=b --server-addr=https://b:1";
        let arguments = yurthub::translate(words.split(' ').map(OsString::from).collect());
        let Command::Hub(hub) = Cli::try_parse_from(arguments.list).unwrap().command;
        assert_eq!((hub.raw.v, hub.raw.node_name.as_deref()), (Some(config::Whole(3)), Some("b")));
        assert_eq!(hub.raw.server_addr.unwrap(), ["https://a:1", "https://b:1"], "each is one more");
    }
}
