//! A task for each vif: what the toolstack and the front end say in xenstore, and connecting.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use embassy_sync::signal::Signal;
use log::{error, info, warn};
use vif::back::node::{FrontNodes, NAMES, OFFER};
use vif::back::port::Port;
use vif::back::xenbus::{self, Step};
use violin::id::Mac;
use xen::DomId;
use xen::executor::Spawner;
use xen::select::select;
use xen::time::{Instant, now, sleep};
use xen::xenstore::XsError;

use super::Net;
use super::convert::Answers;
use super::state::{Device, MAX_VIFS};

/// Where the toolstack tells us of vifs, relative to our own directory.
const VIFS: &str = "backend/vif";

/// The longest value of a node that is believed: a path, a name or a number.
const MAX_VALUE: usize = 128;

/// How long a front end that broke the protocol, or can't be connected to, waits to connect again.
const PENALTY: Duration = Duration::from_secs(1);

/// How long the toolstack may take to see that a vif is closed.
const SEEN: Duration = Duration::from_millis(500);

/// How often a vif's connecting is logged: a guest may connect again and again.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Looks for vifs that come and go.
pub(super) async fn watch(net: Rc<Net>, spawner: Spawner) {
    loop {
        let Err(why) = watch_once(&net, &spawner).await;
        error!("no vif can come or go: {why}; trying again");
        sleep(Duration::from_secs(1)).await;
    }
}

async fn watch_once(net: &Rc<Net>, spawner: &Spawner) -> Result<core::convert::Infallible, XsError> {
    let mut watch = net.store.watch(VIFS).await?;
    // Those that have a task: it is told to look; it ends when the vif is gone.
    let mut known: Vec<(DomId, u16, Rc<Task>)> = Vec::new();
    loop {
        watch.next().await?;
        known.retain(|(_, _, task)| !task.ended.get());
        for (_, _, task) in &known {
            task.look.signal(());
        }
        for dom in numbers(net, VIFS).await {
            for devid in numbers(net, &format!("{VIFS}/{dom}")).await {
                if known.iter().any(|(d, v, _)| (*d, *v) == (dom, devid)) {
                    continue;
                }
                if known.len() == MAX_VIFS {
                    warn!("vif {dom}.{devid}: there are {MAX_VIFS} already; it is not served");
                    continue;
                }
                let task =
                    Rc::new(Task { look: Rc::new(Signal::new()), ended: core::cell::Cell::new(false) });
                let (net, its) = (Rc::clone(net), Rc::clone(&task));
                let serve = async move {
                    if let Err(why) = serve(&net, dom, devid, &its).await {
                        error!("vif {dom}.{devid}: given up: {why}");
                    }
                    its.ended.set(true);
                };
                match spawner.spawn("vif", serve) {
                    Ok(()) => known.push((dom, devid, task)),
                    Err(_) => warn!("vif {dom}.{devid}: there is no task left; it is not served"),
                }
            }
        }
    }
}

/// What the watch and a vif's task share.
struct Task {
    look: Rc<Signal<embassy_sync::blocking_mutex::raw::NoopRawMutex, ()>>,
    ended: core::cell::Cell<bool>,
}

/// The nodes below a node whose names are numbers.
async fn numbers(net: &Net, path: &str) -> Vec<u16> {
    let names = net.store.directory(path).await.unwrap_or_default();
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// Serves one vif until the toolstack removes it.
async fn serve(net: &Net, dom: DomId, devid: u16, task: &Task) -> Result<(), XsError> {
    let vif = Vif { net, dom, dir: format!("{VIFS}/{dom}/{devid}") };
    let front = match vif.ours("frontend").await {
        Some(front) => front,
        None => return Ok(()),
    };
    let device = Device {
        dom,
        devid,
        mac: vif.ours("mac").await.and_then(|text| parse_mac(&text)).unwrap_or(Mac([0; 6])),
        network: vif.ours("bridge").await.unwrap_or_default(),
        port: None,
        connected: false,
        failed: false,
        reason: String::new(),
        look: Rc::clone(&task.look),
        broken: None,
        answers: Answers::default(),
    };
    let Some(index) = net.state.borrow_mut().add_device(device) else {
        warn!("vif {dom}.{devid}: there is no room for it");
        return Ok(());
    };
    let result = vif.follow(index, devid, &front, task).await;
    net.state.borrow_mut().remove_device(index);
    if result.is_ok() {
        info!("vif {dom}.{devid}: removed");
    }
    result
}

/// A vif's nodes.
struct Vif<'a> {
    net: &'a Net,
    dom: DomId,
    dir: String,
}

impl Vif<'_> {
    /// A node of ours, which the toolstack wrote.
    async fn ours(&self, name: &str) -> Option<String> {
        self.net.store.read(&format!("{}/{name}", self.dir)).await.ok()
    }

    async fn write(&self, name: &str, value: &str) -> Result<(), XsError> {
        self.net.store.write(&format!("{}/{name}", self.dir), value).await
    }

    /// Follows the states of both ends.
    async fn follow(&self, index: u16, devid: u16, front: &str, task: &Task) -> Result<(), XsError> {
        let Self { net, dom, .. } = *self;
        let state_node = format!("{front}/state");
        let mut watch = net.store.watch(&state_node).await?;
        let mut ours = xenbus::State::Initialising;
        let mut told = None;
        loop {
            // The toolstack removes a vif by setting `online` to 0, and then the whole directory.
            let online = self.ours("online").await;
            let gone = online.is_none() && self.ours("state").await.is_none();
            let removed = gone || online.as_deref() == Some("0");
            let front_state = match net.store.read_bytes(&state_node).await {
                Ok(value) => xenbus::State::parse(&value),
                Err(_) => None,
            };
            let broken = net.state.borrow_mut().device(index).and_then(|d| d.broken.take());
            let next = match broken {
                Some(why) if !removed => {
                    if let Some(device) = net.state.borrow_mut().device(index) {
                        (device.failed, device.reason) = (true, format!("{why}"));
                    }
                    Step::Close(xenbus::State::Closing)
                }
                _ => xenbus::step(ours, front_state, removed),
            };
            let to = match next {
                Step::Stay => {
                    // A wait that a signal ends may leave an event of the watch for the next.
                    drop(select(watch.next(), task.look.wait()).await);
                    continue;
                }
                Step::Offer => {
                    net.state.borrow_mut().disconnect(index);
                    for (name, value) in OFFER {
                        self.write(name, value).await?;
                    }
                    xenbus::State::InitWait
                }
                Step::Connect => match self.connect(front).await {
                    Ok(port) => {
                        let mut state = net.state.borrow_mut();
                        state.connect(index, port);
                        state.give_injected(net.pool, index);
                        drop(state);
                        net.wake.signal(());
                        if told.is_none_or(|told: Instant| told.elapsed() > TELL_EVERY) {
                            info!("vif {dom}.{devid}: connected");
                            told = Some(now());
                        }
                        xenbus::State::Connected
                    }
                    Err(why) => {
                        warn!("vif {dom}.{devid}: not connected: {why}");
                        if let Some(device) = net.state.borrow_mut().device(index) {
                            (device.failed, device.reason) = (true, why);
                        }
                        sleep(PENALTY).await;
                        xenbus::State::Closing
                    }
                },
                Step::Close(state) => {
                    net.state.borrow_mut().disconnect(index);
                    if broken.is_some() {
                        sleep(PENALTY).await;
                    }
                    state
                }
                Step::End => {
                    net.state.borrow_mut().disconnect(index);
                    if !gone {
                        self.write("state", xenbus::State::Closed.value()).await?;
                        // A driver domain tidies up after itself: the toolstack waits for that.
                        // Not before it has seen the state, or it takes that for a failure.
                        sleep(SEEN).await;
                        net.store.rm(&self.dir).await?;
                    }
                    return Ok(());
                }
            };
            ours = to;
            self.write("state", to.value()).await?;
        }
    }

    /// Connects to what the front end says.
    async fn connect(&self, front: &str) -> Result<Port, String> {
        let mut nodes: Vec<(&'static str, Vec<u8>)> = Vec::new();
        for name in NAMES {
            // What is too long to mean anything is read as if it were empty.
            if let Ok(mut value) = self.net.store.read_bytes(&format!("{front}/{name}")).await {
                if value.len() > MAX_VALUE {
                    value.clear();
                }
                nodes.push((name, value));
            }
        }
        let get = |name| nodes.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_slice());
        let nodes = FrontNodes::parse(get).map_err(|e| format!("{e}"))?;
        Port::connect(self.dom, &nodes).map_err(|e| format!("{e}"))
    }
}

/// `aa:bb:cc:dd:ee:ff`.
fn parse_mac(text: &str) -> Option<Mac> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for octet in &mut mac {
        *octet = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(Mac(mac))
}
