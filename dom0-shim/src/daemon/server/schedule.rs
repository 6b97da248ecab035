//! `luthier schedule`: what schedules have done by the daemon.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use store::Image;

use super::group::GroupWish;
use super::{Server, lock};
use crate::api::{Event, ScheduleWish};
use crate::daemon::group::{self, Host as _};
use crate::daemon::schedule::{Answer, Host};
use crate::disks;
use crate::error::{Error, Result};

impl Server {
    /// Takes the snapshots that are scheduled until the daemon ends.
    pub(in crate::daemon) fn take_scheduled(&self) {
        self.schedules.run(self);
    }

    fn image(&self, image: &str) -> PathBuf {
        self.options.images.join(image)
    }

    /// Takes a snapshot of a network.
    fn take_network(&self, net: &str, wish: &ScheduleWish, begun: &mut dyn FnMut(&str, bool)) -> Answer {
        let ready = self.link.connection().and_then(|_| self.net.find(net));
        if let Err(why) = ready.and_then(|network| self.members(network.id)) {
            return Answer::NotReady(why);
        }
        let ask = GroupWish { net, classic: false, keep: Some(wish.keep), options: wish.options.clone() };
        let mut begin = |name: &str| {
            begun(name, false);
            Ok(())
        };
        match self.group_with(ask, &mut |_| {}, &mut begin) {
            Ok(_) => Answer::Made,
            Err(why) if why.message == group::BUSY => Answer::Busy,
            Err(why) => Answer::Failed(why),
        }
    }

    /// Whether a snapshot can begin. `Ok(false)`: another one is in progress.
    fn is_ready(&self, guest: &str) -> Result<bool> {
        let who = lock(&self.allowed).find(guest)?.clone();
        self.link.connection()?;
        self.xen.check_attached(&who)?;
        Ok(!self.desk.snapshots().contains(&who.domid))
    }
}

impl Host for Server {
    fn take(&self, wish: &ScheduleWish, parent: Option<&str>, begun: &mut dyn FnMut(&str, bool)) -> Answer {
        if let Some(net) = wish.network() {
            return self.take_network(net, wish, begun);
        }
        match self.is_ready(&wish.guest) {
            Ok(true) => {}
            Ok(false) => return Answer::Busy,
            Err(why) => return Answer::NotReady(why),
        }
        let began = Cell::new(false);
        let mut take = |parent: Option<&str>| {
            let mut tell = |event| {
                if let Event::Started { image, .. } = event {
                    began.set(true);
                    begun(&image, parent.is_some());
                }
            };
            self.snapshot_with(&wish.guest, &wish.options_on(parent), &mut tell, &mut |_| Ok(()))
        };
        let parent = parent.filter(|parent| match Image::open(&self.image(parent)) {
            Ok(_) => true,
            Err(e) => {
                tracing::warn!(parent, error = %e, "the next image stands alone");
                false
            }
        });
        let mut taken = take(parent);
        // A parent that does not fit, as of a guest whose memory was resized, must not be in the way.
        if let (Err(why), Some(parent), false) = (&taken, parent, began.get()) {
            tracing::warn!(parent, error = %why.message, "the next image stands alone");
            taken = take(None);
        }
        match taken {
            Ok(_) => Answer::Made,
            Err(why) => Answer::Failed(why),
        }
    }

    fn merge(&self, image: &str) -> Answer {
        match store::merge(&self.image(image), &mut |_, _| {}) {
            Ok(_) => Answer::Done,
            Err(e) => kept(image, &e),
        }
    }

    fn remove(&self, image: &str) -> Answer {
        if is_group(&self.options.images, image) {
            return match group::remove(&self.options.images, image) {
                Ok(()) => Answer::Done,
                Err(why) => {
                    tracing::warn!(group = image, why = %why.message, "the old group stays for now");
                    Answer::Kept
                }
            };
        }
        match disks::remove_image(&self.image(image)) {
            Ok(snapshots) => {
                if let Err(e) = snapshots {
                    tracing::error!(image, error = %e.message, "snapshots of its disks are left");
                }
                Answer::Done
            }
            Err(store::Error::NotFound { .. }) => Answer::Done,
            Err(e) => kept(image, &e),
        }
    }

    fn exists(&self, image: &str) -> bool {
        is_there(&self.options.images, image)
    }
}

fn kept(image: &str, why: &store::Error) -> Answer {
    let why = Error::new(why.to_string());
    tracing::warn!(image, why = %why.message, "the old image stays for now");
    Answer::Kept
}

fn is_group(images: &Path, name: &str) -> bool {
    images.join(store::group::GROUPS).join(name).is_dir()
}

/// Whether there is an image, or a group, of this name.
pub(super) fn is_there(images: &Path, name: &str) -> bool {
    images.join(name).is_dir() || is_group(images, name)
}
