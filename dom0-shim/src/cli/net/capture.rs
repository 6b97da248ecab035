//! `luthier net capture`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::pcap;
use crate::api::{Event, Frame, NetRequest, Request};
use crate::cli::print::number;
use crate::cli::{Cli, client, print};
use crate::error::{Context, Error, Result};

/// Where frames go.
type Output = Box<dyn Write>;

/// Options of `luthier net capture`.
#[derive(Debug, Args)]
pub struct Capture {
    /// The network's name
    pub name: String,
    /// The pcap file to write; - is the standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// The most octets to keep of each frame
    #[arg(long, value_name = "OCTETS", default_value_t = u16::MAX, value_parser = clap::value_parser!(u16).range(14..))]
    pub snaplen: u16,
    /// End after so many frames [default: at Ctrl-C]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// Captures until the count is reached, or for ever.
pub(super) fn run(cli: &Cli, capture: &Capture) -> Result<()> {
    let Capture { name, output, snaplen, count } = capture;
    if cli.json && is_stdout(output) {
        return Err(
            Error::new("the standard output can't take both JSON and frames").hint("Name a file with -o")
        );
    }
    let writing = || format!("writing {}", output.display());
    let net = NetRequest::Capture { name: name.clone(), snaplen: *snaplen, count: *count };
    let (mut out, mut failed) = (None, None);
    let result = client::ask_until(&cli.run, &Request::Net { net }, &mut |event| {
        if let Event::Captured { frames, .. } = event {
            failed = write(&mut out, frames, output, *snaplen).err();
        }
        failed.is_none()
    });
    match failed {
        // Whoever read the pipe has seen enough.
        Some(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        Some(e) => return Err(e).context(writing()),
        None => {}
    }
    told(cli, &result?);
    Ok(())
}

/// Writes frames; the file is made with the first, so that a request that is refused spoils none.
/// It is whole after each event, so that Ctrl-C leaves a good one.
fn write(out: &mut Option<BufWriter<Output>>, frames: &[Frame], path: &Path, snaplen: u16) -> io::Result<()> {
    let out = match out {
        Some(out) => out,
        None => {
            let file: Output =
                if is_stdout(path) { Box::new(io::stdout()) } else { Box::new(File::create(path)?) };
            let new = out.insert(BufWriter::new(file));
            pcap::head(new, snaplen)?;
            new
        }
    };
    frames.iter().try_for_each(|f| pcap::frame(out, f))?;
    out.flush()
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

fn told(cli: &Cli, result: &Value) {
    if cli.json {
        print::json_line(result);
        return;
    }
    eprintln!("{} frames captured", number(result, "captured"));
    match number(result, "missed") {
        0 => {}
        n => eprintln!("{n} more were left out, as the capture was too slow: a smaller --snaplen helps"),
    }
}
