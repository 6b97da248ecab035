//! The stub on the network of the hosts: see [`vif::front::underlay`], where it is tested on the
//! host. Here it is only started.

use alloc::boxed::Box;

use vif::front::Front;
pub(crate) use vif::front::underlay::{Config, SendError, Underlay};
use xen::executor::{Spawner, TooManyTasks};
use xen::page::PagePool;
use xen::xenstore::Xenstore;

/// Starts the task that keeps the uplink connected, and waits for no link. Once in the image's
/// life. [`Underlay::new`] over it may come later, when it is known where we are.
pub(crate) fn open(
    spawner: &Spawner,
    store: &'static Xenstore,
    pool: &'static PagePool,
) -> Result<&'static Front, TooManyTasks> {
    let front: &'static Front = Box::leak(Box::new(Front::new(store, pool)));
    spawner.spawn("uplink", front.run())?;
    Ok(front)
}
