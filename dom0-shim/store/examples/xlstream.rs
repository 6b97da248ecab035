//! Works with images and the files of stock `xl save` by hand, without daemon and Xen.
//!
//! ```text
//! xlstream import FILE DIR                 make an image of FILE in DIR, print its path
//! xlstream verify IMAGE                    check an image completely
//! xlstream export IMAGE FILE [NAME [UUID]] write what `xl restore` takes
//! xlstream diff IMAGE FILE                 compare with what `xl save` wrote; status 3 if not same
//! xlstream list DIR                        images in DIR
//! xlstream sweep DIR                       remove what killed processes left in DIR
//! ```

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use store::{ExportOptions, Image, ImportOptions, diff, export_xl, import_xl, list, sweep};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let start = Instant::now();
    match run(&args) {
        Ok(code) => {
            eprintln!("{} ms", start.elapsed().as_millis());
            code
        }
        Err(e) => {
            eprintln!("xlstream: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Result<ExitCode, Box<dyn Error>> {
    match *args {
        ["import", file, dir] => {
            let file = File::open(file)?;
            let created = file.metadata()?.modified()?;
            let image = import_xl(Path::new(dir), file, ImportOptions { created, ..Default::default() })?;
            println!("{}", image.path().display());
        }
        ["verify", image] => {
            let image = Image::open(Path::new(image))?;
            println!("{:?}", image.verify(&mut |_, _| {})?);
        }
        ["export", image, file, ref rest @ ..] => {
            let image = Image::open(Path::new(image))?;
            let text = |s: Option<&&str>| s.map(|s| s.to_string());
            let options =
                ExportOptions { name: text(rest.first()), uuid: text(rest.get(1)), ..Default::default() };
            println!("{:?}", export_xl(&image, File::create(file)?, options)?);
        }
        ["diff", image, file] => {
            let report = diff(&Image::open(Path::new(image))?, File::open(file)?)?;
            println!("{report:#?}");
            if !report.is_same() {
                return Ok(ExitCode::from(3));
            }
        }
        ["list", dir] => {
            for entry in list(Path::new(dir))? {
                match entry.manifest {
                    Ok(m) => println!("{}  {} pages, {} zero", entry.id, m.pages, m.zero_pages),
                    Err(e) => println!("{}  unreadable: {e}", entry.id),
                }
            }
        }
        ["sweep", dir] => {
            for path in sweep(Path::new(dir))? {
                println!("removed {}", path.display());
            }
        }
        _ => return Err("usage: xlstream import|verify|export|diff|list|sweep ...".into()),
    }
    Ok(ExitCode::SUCCESS)
}
