//! The command line.

// A command's result goes to standard output and its errors to standard error: that is what these are for.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::config::Config;
use crate::telemetry::logs::{self, Format};
use crate::{app, inspect, simulator};

/// A GB/T 28181 video gateway: cameras and platforms in, browsers out.
#[derive(Debug, Parser)]
#[command(name = "gbgate", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    /// How log lines look. RUST_LOG sets which are written (default: info).
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway. Without a file: defaults that work on one machine.
    Serve {
        /// The configuration, YAML. Any key can be overridden by the environment: GBGATE_SIP__UDP for sip.udp.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Run the gateway with simulated cameras on loopback; prints the address of the console.
    Demo,
    /// Simulated devices, for acceptance and load, against any GB/T 28181 platform.
    Simulate(Box<simulator::Options>),
    /// Look into a file of media or captured packets: streams, codecs, timing, departures from the standard.
    Inspect {
        /// A program stream (.ps), an elementary stream (.h264, .h265), or a capture (.pcap, .pcapng).
        file: PathBuf,
        /// Print JSON in place of text.
        #[arg(long)]
        json: bool,
    },
    /// Check a configuration: errors with line and key, exit status 1 if there are any.
    Check {
        /// The file to check.
        file: PathBuf,
    },
}

/// Runs the command of this process's arguments.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let format = match cli.log_format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let outcome = match cli.command {
        Command::Check { file } => return check(&file),
        Command::Inspect { file, json } => print_report(&file, json),
        Command::Serve { config } => {
            logs::init(format);
            load(config.as_deref()).and_then(|config| runtime()?.block_on(app::serve(config)))
        }
        Command::Demo => {
            logs::init(format);
            load(None).and_then(|config| runtime()?.block_on(app::demo::run(config)))
        }
        Command::Simulate(options) => {
            logs::init(format);
            runtime().and_then(|runtime| runtime.block_on(simulator::run(*options)))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gbgate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print_report(file: &Path, json: bool) -> anyhow::Result<()> {
    let report = inspect::inspect(file)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("gbgate").build()?)
}

fn load(path: Option<&Path>) -> anyhow::Result<Config> {
    let (config, warnings) = Config::load(path, std::env::vars())?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(config)
}

fn check(path: &Path) -> ExitCode {
    match Config::load(Some(path), std::env::vars()) {
        Ok((_, warnings)) => {
            for warning in &warnings {
                println!("warning: {warning}");
            }
            println!("{}: good", path.display());
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::FAILURE
        }
    }
}
