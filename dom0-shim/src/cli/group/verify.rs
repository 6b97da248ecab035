//! `luthier verify GROUP`: everything of it that is on this host, and what is not.

use serde_json::{Value, json};
use store::Image;
use store::group::{Group, Member, Part, Place as Where};

use super::super::{images, print};
use super::cut::frames;
use super::{Cli, Place};
use crate::error::{Error, Result};

/// What verifying found.
#[derive(Default)]
struct Found {
    /// Each thing that was looked at, or not, for programs.
    items: Vec<Value>,
    /// What is not looked at, for it is elsewhere: host and what.
    elsewhere: Vec<String>,
    /// What is not sound, and why.
    wrong: Vec<String>,
}

/// Verifies a group. Its manifest is verified by opening it.
pub(in crate::cli) fn verify(cli: &Cli, place: &Place) -> Result<()> {
    let group = Group::open(&place.images, &place.name)?;
    let m = group.manifest();
    let mut found = Found::default();
    if !cli.json {
        println!("{}: manifest sound; members {}, hosts {}", m.name, m.members().count(), m.hosts.len());
    }
    for host in &m.hosts {
        for member in &host.members {
            found.member(cli, &group, host, member);
        }
        found.channel(cli, &group, host);
    }
    let ok = found.wrong.is_empty();
    if cli.json {
        print::json_line(&json!({
            "group": m.name, "ok": ok, "elsewhere": found.elsewhere, "wrong": found.wrong,
            "looked_at": found.items,
        }));
    } else {
        found.elsewhere.iter().for_each(|what| println!("  not looked at: {what}"));
    }
    if !ok {
        let why = format!("group {} is not whole here: {}", m.name, found.wrong.join("; "));
        return Err(Error::new(why).hint(
            "It can't be restored as it is; `luthier list` shows the groups and images that there are",
        ));
    }
    if !cli.json {
        match found.elsewhere.is_empty() {
            true => println!("{}: whole", m.name),
            false => println!(
                "{}: what is here is whole; `luthier verify {}` on the other hosts looks at the rest",
                m.name, m.name
            ),
        }
    }
    Ok(())
}

impl Found {
    fn member(&mut self, cli: &Cli, group: &Group, host: &Part, m: &Member) {
        let what = format!("{} ({})", m.guest, m.image);
        let verified = match group.place(host, m) {
            Where::Elsewhere => {
                let keeper = group.manifest().keeper(host);
                return self.elsewhere.push(format!("{what} on host {}", keeper.host));
            }
            Where::Here(path) => Image::open(&path).map_err(Error::from).and_then(|image| {
                let verified = images::verify_all(&image)?;
                // It may have been replaced since it was looked at.
                let same = image.manifest().contents() == Some(&m.contents);
                same.then_some(verified)
                    .ok_or_else(|| Error::new("it has other pages than the manifest says"))
            }),
            Where::Missing => Err(Error::new("its image is missing")),
            Where::Unnamed => Err(Error::new("its image has not got its name yet: restart luthierd")),
            Where::Changed => Err(Error::new("its image was replaced by another one")),
            Where::Broken(e) => Err(e.into()),
        };
        match verified {
            Ok(v) => {
                let (guest, image) = (&m.guest, &m.image);
                self.items
                    .push(json!({"guest": guest, "image": image, "pages": v.pages, "images": v.images}));
                if !cli.json {
                    println!("  {what}: whole; {} pages, {} of them zero", v.pages, v.zero_pages);
                }
            }
            Err(e) => self.wrong.push(format!("{what}: {}", e.message)),
        }
    }

    fn channel(&mut self, cli: &Cli, group: &Group, host: &Part) {
        let opened = group.channels(host);
        let verified =
            opened.and_then(|reader| reader.map(|reader| reader.verify(&host.channel)).transpose());
        match verified {
            Ok(None) => self.elsewhere.push(format!("frames to members on host {}", host.host)),
            Ok(Some(())) => {
                self.items.push(json!({"host": host.host, "frames": host.channel.frames}));
                if !cli.json {
                    println!("  frames to members on {}: sound; {}", host.host, frames(&host.channel));
                }
            }
            Err(e) => self.wrong.push(format!("frames to members on {}: {e}", host.host)),
        }
    }
}
