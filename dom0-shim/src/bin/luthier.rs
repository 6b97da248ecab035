//! The command line's entry.

use std::process::ExitCode;

use dom0_shim::cli::{Cli, run};

fn main() -> ExitCode {
    quiet_when_unread();
    let cli = Cli::from_args();
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

/// Whoever read the output may go before its end (`luthier list | head -1`): nothing to complain of. What
/// is under way is still undone by unwinding, which is why this is no default handler of SIGPIPE.
fn quiet_when_unread() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let said = info.payload().downcast_ref::<String>();
        if !said.is_some_and(|said| said.starts_with("failed printing to stdout")) {
            usual(info);
        }
    }));
}
