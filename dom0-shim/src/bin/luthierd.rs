//! The daemon's entry: command line, logs, and the daemon itself.

use std::process::ExitCode;

use clap::Parser;
use dom0_shim::daemon::{self, Options};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let options = Options::parse();
    let filter = EnvFilter::try_from_env("LUTHIER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if options.log_json {
        logs.json().init();
    } else {
        // systemd adds the time; a terminal has no need of colours in a log.
        logs.with_ansi(false).with_target(false).init();
    }
    match daemon::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("luthierd: {error}");
            ExitCode::FAILURE
        }
    }
}
