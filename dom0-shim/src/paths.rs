//! Where things are on a host. Each can be moved by an option of the same name.

/// The daemon's socket, lock and journal: lost at reboot, as the domains are.
pub const RUN: &str = "/run/luthier";

/// Committed images.
pub const IMAGES: &str = "/var/lib/luthier/images";

/// The socket's name within [`RUN`].
pub const SOCKET: &str = "luthierd.sock";

/// The stub domain's configuration for `xl create`.
pub const STUB_CONFIG: &str = "/etc/luthier/stub.cfg";

/// The name of the stub domain, as in [`STUB_CONFIG`].
pub const STUB_NAME: &str = "luthier-stub";

/// Where the stub publishes its channel, relative to its own xenstore directory.
pub const CHANNEL: &str = "data/luthier";

/// The stub domain's kernel.
pub const STUB_KERNEL: &str = "/usr/lib/luthier/stubdom";

/// What must outlive a reboot: the networks.
pub const STATE: &str = "/var/lib/luthier";

/// How the stub is reached by other hosts' switches.
pub const NET_CONFIG: &str = "/etc/luthier/net.toml";

/// The secret key of this host's switch.
pub const SWITCH_KEY: &str = "/etc/luthier/switch.key";

/// The hosts that keep images for this one, and how they are reached.
pub const STORAGE_CONFIG: &str = "/etc/luthier/storage.toml";
