//! Each member's image, with its disks, where the member is to be: it is there, or it is copied.
//!
//! All that can be known is known before the first is copied: whether `luthier` is the same everywhere, each
//! image is where it should be, the Xen there can restore it, and there is a place for its disks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use store::XenVersion;

use super::crew::at_once;
use super::hosts::{Host, Hosts};
use super::plan::{Move, Plan};
use super::release;
use super::undo::Undo;
use crate::cli::{print, restore_xen};
use crate::disks::travel::Traveller;
use crate::error::{Context, Error, Result};

/// Where a member's image is.
#[derive(Clone, Debug, PartialEq)]
enum Lies {
    /// Where it is to be, by this name.
    There(String),
    /// On its own host, or where it is kept, by this name.
    AtHome(String),
}

/// Sees to it that each member's image is where the member is to be.
pub(super) fn images(
    hosts: &dyn Hosts,
    plan: &mut Plan,
    undo: &Undo<'_>,
    say: &(dyn Fn(&str) + Sync),
) -> Result<()> {
    let lies = survey(hosts, plan)?;
    places(hosts, plan, &lies)?;
    let work: Vec<(&Move, Lies)> = plan.moves.iter().zip(lies).collect();
    let to = plan.hosts();
    // When one fails, the others need not go on for minutes.
    let give_up = AtomicBool::new(false);
    let found = at_once(&to, |host| {
        let own = work.iter().filter(|(m, _)| m.to == *host);
        own.map(|(m, lies)| match lies {
            Lies::There(image) => Ok((m.guest.clone(), (image.clone(), false))),
            Lies::AtHome(image) => {
                let copied = copy(hosts, m, image, undo, say, &give_up);
                let image = copied.map_err(|e| {
                    give_up.store(true, Ordering::Relaxed);
                    m.blame(e)
                })?;
                Ok((m.guest.clone(), (image, true)))
            }
        })
        .collect::<Result<BTreeMap<_, _>>>()
    })?;
    for (host, mut found) in to.into_iter().zip(found) {
        for m in plan.moves.iter_mut().filter(|m| m.to == host) {
            if let Some((image, fresh)) = found.remove(&m.guest) {
                (m.image, m.fresh) = (image, fresh);
            }
        }
    }
    Ok(())
}

/// Asks all hosts at once for the images that are or should be there, and compares releases of Xen.
fn survey(hosts: &dyn Hosts, plan: &Plan) -> Result<Vec<Lies>> {
    let all = plan.all_hosts();
    let answers = at_once(&all, |host| {
        let own = plan.moves.iter().filter(|m| m.to == *host || m.from == *host);
        let ask: Vec<Value> =
            own.map(|m| json!({"image": m.image, "contents": m.contents, "disks": m.disks})).collect();
        let ask = release::told(json!({"images": ask}));
        let answer = hosts.ask(host, &["restore-member", "find"], ask.to_string().as_bytes())?;
        release::check(&answer, &plan.label(host), "this host").map(|()| answer)
    })?;
    let of = |host: &Host| all.iter().zip(&answers).find(|(h, _)| *h == host).map(|(_, answer)| answer);
    let found = |host: &Host, m: &Move| {
        let images = of(host).map(|answer| print::items(answer, "images")).unwrap_or_default();
        images.iter().find(|i| print::text(i, "contents") == m.contents)
    };
    let xen = |value: Option<&Value>| -> Option<XenVersion> {
        serde_json::from_value(value?.get("xen")?.clone()).ok()
    };
    let lies = |m: &Move| {
        let (there, home) = (found(&m.to, m), found(&m.from, m));
        let Some(image) = there.or(home) else {
            return Err(Error::new(format!(
                "the image {} of `{}` is on none of its hosts",
                m.image, m.guest
            ))
            .hint("`luthier show` of the group says where each should be"));
        };
        restore_xen::check(&m.image, xen(Some(image)), xen(of(&m.to)), &plan.label(&m.to))
            .map_err(|e| m.blame(e))?;
        let name = print::text(image, "image").to_owned();
        Ok(if there.is_some() { Lies::There(name) } else { Lies::AtHome(name) })
    };
    plan.moves.iter().map(lies).collect()
}

/// Looks for a place for the disks of all images that are to be copied.
fn places(hosts: &dyn Hosts, plan: &Plan, lies: &[Lies]) -> Result<()> {
    let work: Vec<(&Move, &str)> = plan
        .moves
        .iter()
        .zip(lies)
        // Of what is kept elsewhere, the disks are where they are to be.
        .filter(|(m, _)| !m.disks.is_empty() && !m.kept)
        .filter_map(|(m, lies)| match lies {
            Lies::AtHome(image) => Some((m, image.as_str())),
            Lies::There(_) => None,
        })
        .collect();
    // What there is, by its own host.
    let homes = plan.all_hosts();
    let disks = at_once(&homes, |host| {
        let own: Vec<&(&Move, &str)> = work.iter().filter(|(m, _)| m.from == *host).collect();
        if own.is_empty() {
            return Ok(Vec::new());
        }
        let ask = json!({"images": own.iter().map(|(_, image)| image).collect::<Vec<_>>()});
        let answer = hosts.ask(host, &["restore-member", "disks"], ask.to_string().as_bytes())?;
        let lists: Vec<Vec<Traveller>> =
            serde_json::from_value(answer.get("disks").cloned().unwrap_or_default())
                .context(format!("the disks on {}", plan.label(host)))?;
        own.into_iter().zip(lists).map(|((m, _), disks)| Ok((*m, placed(m, disks)?))).collect()
    })?;
    let disks: Vec<(&Move, Vec<Traveller>)> = disks.into_iter().flatten().collect();
    // Whether it fits, where it goes.
    at_once(&plan.hosts(), |host| {
        let own = disks.iter().filter(|(m, _)| m.to == *host);
        let members: Vec<Value> = own.map(|(m, disks)| json!({"guest": m.guest, "disks": disks})).collect();
        if members.is_empty() {
            return Ok(());
        }
        let ask = json!({"members": members});
        hosts.ask(host, &["restore-member", "room"], ask.to_string().as_bytes()).map(drop)
    })?;
    Ok(())
}

/// A member's disks, those sent elsewhere for which that was asked.
fn placed(m: &Move, mut disks: Vec<Traveller>) -> Result<Vec<Traveller>> {
    for (vdev, place) in &m.places {
        let disk = disks.iter_mut().find(|d| d.record.vdev == *vdev);
        let disk = disk.ok_or_else(|| Error::new(format!("`{}` has no disk {vdev}", m.guest)))?;
        disk.send_to(place.clone()).map_err(|e| m.blame(e))?;
    }
    Ok(disks)
}

/// Copies a member's image with its disks; returns its name there.
fn copy(
    hosts: &dyn Hosts,
    m: &Move,
    image: &str,
    undo: &Undo<'_>,
    say: &(dyn Fn(&str) + Sync),
    give_up: &AtomicBool,
) -> Result<String> {
    let disks = match m.disks.len() {
        _ if m.kept => String::new(),
        0 => String::new(),
        1 => " and its disk".into(),
        n => format!(" and its {n} disks"),
    };
    say(&format!("copying {image}{disks} to the other host"));
    let mut import = vec!["restore-member".to_owned(), "import".to_owned()];
    for (vdev, place) in &m.places {
        import.extend(["--disk".to_owned(), format!("{vdev}={place}")]);
    }
    let import: Vec<&str> = import.iter().map(String::as_str).collect();
    // As it is, with what it says of the disks that are there; or with its disks.
    let (send, take): (&[&str], &[&str]) = match m.kept {
        true => (&["restore-member", "send", image], &["restore-member", "take"]),
        false => (&["restore-member", "export", image], &import),
    };
    let copied = hosts.copy((&m.from, send), (&m.to, take), give_up)?;
    let image = print::text(&copied, "image").to_owned();
    undo.imported(&m.to, &image);
    if print::text(&copied, "contents") != m.contents {
        return Err(Error::new(format!(
            "the copy of {} has other pages than the group's manifest says",
            m.image
        ))
        .hint("`luthier verify` on its own host tells whether the image there is damaged"));
    }
    Ok(image)
}
