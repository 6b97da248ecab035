//! Each member's image, where the member is to be: it is there, or it is copied.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use store::XenVersion;

use super::crew::at_once;
use super::hosts::{Host, Hosts};
use super::plan::{Move, Plan};
use super::undo::Undo;
use crate::cli::{print, restore_xen};
use crate::error::{Error, Result};

/// Where a member's image is.
#[derive(Debug, PartialEq)]
enum Lies {
    /// Where it is to be, by this name.
    There(String),
    /// On its own host.
    AtHome,
}

/// Sees to it that each member's image is where the member is to be, and can be restored there. All that
/// can be known is known before anything is copied.
pub(super) fn images(
    hosts: &dyn Hosts,
    plan: &mut Plan,
    undo: &Undo<'_>,
    say: &(dyn Fn(&str) + Sync),
) -> Result<()> {
    let lies = survey(hosts, plan)?;
    let work: Vec<(Move, Lies)> = plan.moves.iter().cloned().zip(lies).collect();
    let to = plan.hosts();
    let found = at_once(&to, |host| {
        let own = work.iter().filter(|(m, _)| m.to == *host);
        own.map(|(m, lies)| match lies {
            Lies::There(image) => Ok((m.guest.clone(), image.clone())),
            Lies::AtHome => {
                let image = copy(hosts, m, undo, say).map_err(|e| m.blame(e))?;
                Ok((m.guest.clone(), image))
            }
        })
        .collect::<Result<Vec<_>>>()
    })?;
    let mut names: BTreeMap<(Host, String), String> = BTreeMap::new();
    for (host, found) in to.into_iter().zip(found) {
        names.extend(found.into_iter().map(|(guest, image)| ((host.clone(), guest), image)));
    }
    for m in &mut plan.moves {
        if let Some(image) = names.remove(&(m.to.clone(), m.guest.clone())) {
            m.image = image;
        }
    }
    for (m, (_, lies)) in plan.moves.iter_mut().zip(&work) {
        m.fresh = *lies == Lies::AtHome;
    }
    Ok(())
}

/// Asks all hosts at once for the images that are or should be there, and compares releases of Xen.
fn survey(hosts: &dyn Hosts, plan: &Plan) -> Result<Vec<Lies>> {
    let all = plan.all_hosts();
    let answers = at_once(&all, |host| {
        let asked: Vec<Value> = plan
            .moves
            .iter()
            .filter(|m| m.to == *host || m.from == *host)
            .map(|m| json!({"image": m.image, "contents": m.contents}))
            .collect();
        hosts.ask(host, &["restore-member", "find"], json!({"images": asked}).to_string().as_bytes())
    })?;
    let of = |host: &Host| all.iter().zip(&answers).find(|(h, _)| *h == host).map(|(_, answer)| answer);
    let found = |host: &Host, m: &Move| {
        let images = of(host).map(|answer| print::items(answer, "images")).unwrap_or_default();
        images.iter().find(|i| print::text(i, "contents") == m.contents)
    };
    let xen = |value: Option<&Value>| -> Option<XenVersion> {
        serde_json::from_value(value?.get("xen")?.clone()).ok()
    };
    plan.moves
        .iter()
        .map(|m| {
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
            if there.is_none() && m.disks {
                return Err(Error::new(format!("`{}` has disks, and they are on its own host", m.guest))
                    .hint("Place it there, or move the disks' snapshots by hand and restore it alone"));
            }
            Ok(there.map_or(Lies::AtHome, |i| Lies::There(print::text(i, "image").to_owned())))
        })
        .collect()
}

/// Copies a member's image; returns its name there.
fn copy(hosts: &dyn Hosts, m: &Move, undo: &Undo<'_>, say: &(dyn Fn(&str) + Sync)) -> Result<String> {
    say(&format!("copying {} to the other host", m.image));
    let copied = hosts.copy(&m.from, &m.to, &m.image)?;
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
