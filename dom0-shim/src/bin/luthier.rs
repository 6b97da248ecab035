//! The command line's entry.

use std::process::ExitCode;

use clap::Parser;
use dom0_shim::cli::{Cli, run};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if cli.json => {
            println!("{}", serde_json::json!({"event": "failed", "error": error}));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("luthier: {error}");
            ExitCode::FAILURE
        }
    }
}
