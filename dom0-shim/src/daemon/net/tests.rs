//! The operator's side, with a stub that only listens.

use std::fs;

use handoff::NetAnswer;

use super::*;

/// Notes orders, and answers as it was told to.
#[derive(Default)]
struct Fake {
    heard: Mutex<Vec<NetOrder>>,
    refuse: Mutex<Option<NetError>>,
    /// Said to orders that ask for something.
    items: Mutex<Vec<(NetAnswer, Vec<u8>)>>,
    /// An order to capture has no answer.
    silent: Mutex<bool>,
    down: bool,
    asks: Arc<Asks>,
}

impl Switch for Fake {
    fn ask(&self, order: NetOrder) -> Result<Answers> {
        if self.down {
            return Err(Error::new("no stub"));
        }
        let answers = Asks::open(&self.asks, false);
        let asks = matches!(
            order,
            NetOrder::Stats { .. } | NetOrder::Macs { .. } | NetOrder::Capture { on: true, .. }
        );
        lock(&self.heard).push(order);
        for (item, bulk) in lock(&self.items).iter().filter(|_| asks) {
            self.asks.post(answers.request(), item.clone(), bulk.clone());
        }
        if asks && *lock(&self.silent) {
            return Ok(answers);
        }
        let last = lock(&self.refuse).take().map_or(NetAnswer::Done, NetAnswer::Failed);
        self.asks.post(answers.request(), last, Vec::new());
        Ok(answers)
    }
}

/// A host whose guests have these vifs.
#[derive(Default)]
struct Guests(Vec<(String, Vif)>);

impl Host for Guests {
    fn vifs(&self) -> Result<Vec<(String, Vif)>> {
        Ok(self.0.clone())
    }

    fn name(&self, domid: u16) -> Option<String> {
        (domid == 5).then(|| "web".into())
    }
}

struct Desk {
    dir: PathBuf,
    fake: Arc<Fake>,
    net: Net,
}

impl Desk {
    fn new(name: &str, fake: Fake) -> Self {
        let dir = std::env::temp_dir().join(format!("luthier-net-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let files = Files { state: dir.clone(), config: dir.join("net.toml"), key: dir.join("switch.key") };
        let fake = Arc::new(fake);
        let switch: Arc<dyn Switch> = fake.clone();
        Self { dir, net: Net::new(files, switch), fake }
    }

    fn underlay(&self) {
        let key = "cd".repeat(32);
        let text = format!("address = \"10.0.0.11/24\"\n[[peer]]\naddress = \"10.0.0.13\"\nkey = \"{key}\"");
        fs::write(self.dir.join("net.toml"), text).unwrap();
    }

    fn create(&self, name: &str, id: u32) -> Result<Value> {
        self.ask(NetRequest::Create { name: name.into(), id: Some(id), mtu: None, pin: true })
    }

    fn ask(&self, request: NetRequest) -> Result<Value> {
        self.net.answer(request, &Guests::default())
    }

    fn heard(&self) -> Vec<NetOrder> {
        std::mem::take(&mut *lock(&self.fake.heard))
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// What was said, without figures.
fn kinds(orders: &[NetOrder]) -> Vec<&'static str> {
    let kind = |order: &NetOrder| match order {
        NetOrder::Underlay(_) => "underlay",
        NetOrder::Add { .. } => "add",
        NetOrder::Remove { .. } => "remove",
        NetOrder::Only { .. } => "only",
        NetOrder::Join(_) => "join",
        NetOrder::Leave => "leave",
        _ => "other",
    };
    orders.iter().map(kind).collect()
}

#[test]
fn a_stub_is_told_everything_and_the_same_again() {
    let desk = Desk::new("all", Fake::default());
    desk.create("red", 8).unwrap();
    desk.create("blue", 7).unwrap();
    assert_eq!(kinds(&desk.heard()), ["add", "add"]);
    // Local networks only.
    assert!(desk.net.sync().unwrap().is_empty());
    assert_eq!(kinds(&desk.heard()), ["only", "add", "add"]);
    desk.underlay();
    desk.net.sync().unwrap();
    let first = desk.heard();
    assert_eq!(kinds(&first), ["underlay", "only", "add", "add", "join"]);
    desk.net.sync().unwrap();
    let again = desk.heard();
    assert_eq!(first[1..], again[1..]);
    let (NetOrder::Underlay(first), NetOrder::Underlay(again)) = (&first[0], &again[0]) else { panic!() };
    assert!(again.incarnation > first.incarnation);
    assert_eq!((&first.key, first.address, first.prefix), (&again.key, [10, 0, 0, 11], 24));
}

#[test]
fn networks_are_remembered_when_there_is_no_stub() {
    let desk = Desk::new("down", Fake { down: true, ..Fake::default() });
    desk.create("blue", 7).unwrap();
    assert!(desk.net.sync().is_err());
    let listed = desk.ask(NetRequest::List).unwrap();
    assert_eq!(listed, json!([{"name": "blue", "id": 7, "mtu": mtu::DEFAULT, "pin": true}]));
}

#[test]
fn a_network_that_the_stub_refuses_is_not_made() {
    let desk = Desk::new("refused", Fake::default());
    *lock(&desk.fake.refuse) = Some(NetError { kind: NetErrorKind::Full, detail: handoff::word("no room") });
    let error = desk.create("blue", 7).unwrap_err();
    assert!(error.message.contains("no room") && error.hint.is_some());
    assert_eq!(desk.ask(NetRequest::List).unwrap(), json!([]));
}

#[test]
fn a_network_in_use_is_not_deleted_and_its_users_are_named() {
    let desk = Desk::new("delete", Fake::default());
    desk.create("blue", 7).unwrap();
    desk.heard();
    let vif = |bridge: &str| Vif {
        devid: 0,
        mac: None,
        bridge: Some(bridge.into()),
        backend: Some(crate::paths::STUB_NAME.into()),
        backend_domid: 0,
    };
    let delete = |vifs: Vec<(&str, Vif)>| {
        let vifs: Vec<(String, Vif)> = vifs.into_iter().map(|(n, v)| (n.into(), v)).collect();
        desk.net.answer(NetRequest::Delete { name: "blue".into() }, &Guests(vifs))
    };
    let error = delete(vec![("web", vif("blue")), ("db", vif("7"))]).unwrap_err();
    assert!(error.message.contains("web, db") && error.hint.is_some(), "{error}");
    assert!(desk.heard().is_empty());
    delete(vec![("db", vif("red"))]).unwrap();
    assert_eq!(desk.heard(), [NetOrder::Remove { id: 7 }]);
    assert!(delete(vec![]).unwrap_err().message.contains("does not exist"));
}

#[test]
fn a_host_joins_and_leaves_and_does_not_come_back_by_itself() {
    let desk = Desk::new("join", Fake::default());
    let join =
        |address: &str, key: &str| desk.ask(NetRequest::Join { address: address.into(), key: key.into() });
    let key = "ab".repeat(32);
    assert!(join("10.0.0.12", &key).unwrap_err().hint.unwrap().contains("net.toml"));
    desk.underlay();
    join("10.0.0.12", &key).unwrap();
    join("10.0.0.12", &key).unwrap();
    desk.heard();
    desk.net.sync().unwrap();
    assert_eq!(kinds(&desk.heard()), ["underlay", "only", "join", "join"]);
    desk.ask(NetRequest::Leave).unwrap();
    assert_eq!(kinds(&desk.heard()), ["leave"]);
    desk.net.sync().unwrap();
    assert_eq!(kinds(&desk.heard()), ["underlay", "only", "leave"]);
    join("10.0.0.12", &key).unwrap();
    assert_eq!(kinds(&desk.heard()), ["underlay", "only", "join", "join"]);
}

#[test]
fn a_host_does_not_join_itself() {
    let desk = Desk::new("self", Fake::default());
    desk.underlay();
    let own = desk.ask(NetRequest::Key).unwrap();
    let key = own["key"].as_str().unwrap().to_owned();
    assert_eq!(own["join"], format!("luthier net join 10.0.0.11:4790 --key {key}"));
    for (address, key) in [("10.0.0.12", key), ("10.0.0.11", "ab".repeat(32))] {
        let error = desk.ask(NetRequest::Join { address: address.into(), key }).unwrap_err();
        assert!(error.message.contains("own switch"), "{error}");
    }
    assert!(desk.heard().is_empty());
}

#[test]
fn figures_come_with_names_and_each_port_under_its_network() {
    let desk = Desk::new("stats", Fake::default());
    desk.create("blue", 7).unwrap();
    let mut drops = handoff::Counters::default();
    drops.add("too-big", 3);
    let port = |network| {
        NetAnswer::Port(handoff::PortStats {
            network,
            domid: 5,
            devid: 1,
            mac: [0, 0x16, 0x3e, 0, 0, 1],
            pinned: true,
            state: handoff::word("connected"),
            reason: handoff::word(""),
            from_guest: handoff::Traffic { frames: 2, bytes: 99 },
            to_guest: handoff::Traffic::default(),
            drops: drops.clone(),
            notified: 4,
            notifications: 5,
            queued: 0,
        })
    };
    let peer = |networks: &[u32]| {
        NetAnswer::Peer(handoff::PeerStats {
            switch: 0xbeef,
            address: [10, 0, 0, 12],
            port: 4790,
            state: handoff::word("up"),
            incarnation: 1,
            networks: networks.iter().copied().collect(),
            to_peer: handoff::Traffic::default(),
            from_peer: handoff::Traffic::default(),
            drops: handoff::Counters::default(),
            heard_ms: Some(20),
            rtt_us: None,
        })
    };
    let network = NetAnswer::Network(handoff::NetworkStats {
        id: 7,
        name: handoff::word("blue"),
        mtu: 1398,
        macs: 1,
        macs_limit: 512,
        ports: 1,
        peers: 1,
        flooded: 8,
        drops: handoff::Counters::default(),
    });
    let place = handoff::Place::Port { domid: 5, devid: 1 };
    let entry = handoff::MacEntry { mac: [2; 6], place, age_s: 1, pinned: false };
    let macs = NetAnswer::Macs { entries: [entry].into_iter().collect() };
    let items = [network, port(7), port(0), peer(&[7, 9]), peer(&[9]), macs];
    *lock(&desk.fake.items) = items.map(|item| (item, Vec::new())).into();
    let stats = desk.ask(NetRequest::Stats { name: None }).unwrap();
    assert_eq!(stats["networks"].as_array().unwrap().len(), 1);
    assert_eq!(stats["networks"][0]["ports"].as_array().unwrap().len(), 1);
    assert_eq!(stats["strays"].as_array().unwrap().len(), 1);
    assert_eq!(stats["networks"][0]["ports"][0]["guest"], "web");
    assert_eq!(stats["networks"][0]["ports"][0]["mac"], "00:16:3e:00:00:01");
    assert_eq!(stats["networks"][0]["ports"][0]["drops"], json!({"too-big": 3}));
    assert_eq!(stats["peers"].as_array().unwrap().len(), 2);
    assert_eq!(stats["peers"][0]["networks"], json!(["blue", "9"]));
    assert_eq!(stats["peers"][0]["address"], "10.0.0.12:4790");
    let show = desk.ask(NetRequest::Show { name: "blue".into() }).unwrap();
    assert_eq!(
        (&show["peers"][1], &show["macs_limit"], &show["pin"]),
        (&Value::Null, &json!(512), &json!(true))
    );
    assert_eq!((&show["table"][0]["guest"], &show["table"][0]["age_s"]), (&json!("web"), &json!(1)));
    let listed = desk.ask(NetRequest::List).unwrap();
    assert_eq!((&listed[0]["ports"], &listed[0]["macs"]), (&json!(1), &json!(1)));
    assert!(desk.ask(NetRequest::Stats { name: Some("red".into()) }).unwrap_err().message.contains("red"));
}

#[test]
fn a_capture_ends_at_its_count_and_counts_what_was_left_out() {
    let desk = Desk::new("capture", Fake::default());
    desk.create("blue", 7).unwrap();
    desk.heard();
    let direction = handoff::Direction::FromGuest;
    let record = handoff::CaptureRecord { time_us: 5, source: 1, len: 60, caplen: 1, direction };
    let two = [&record.emit()[..], &[1], &record.emit(), &[2]].concat();
    let captured = |missed| (NetAnswer::Captured { count: 2, missed, now_us: 5 }, two.clone());
    *lock(&desk.fake.items) = vec![captured(0), captured(4), captured(4)];
    let wish = Wish { name: "blue", snaplen: 64, count: Some(3) };
    let mut seen = Vec::new();
    let gone = std::sync::atomic::AtomicBool::new(false);
    // The client does not take the second event.
    let result = desk.net.capture(wish, &gone, &mut |event| {
        let crate::api::Event::Captured { frames, missed } = event else { panic!() };
        seen.push((frames.len(), missed));
        seen.len() != 2
    });
    assert_eq!(result.unwrap(), json!({"captured": 3, "missed": 5}));
    assert_eq!(seen, [(2, 0), (1, 4), (1, 5)]);
    let capture = |on| NetOrder::Capture { network: 7, on, snaplen: 64 };
    assert_eq!(desk.heard(), [capture(true), capture(false)]);
    // A client that is gone is no error.
    gone.store(true, std::sync::atomic::Ordering::Relaxed);
    desk.net.capture(Wish { count: None, ..wish }, &gone, &mut |_| true).unwrap();
}

#[test]
fn a_capture_that_is_refused_begins_no_file_and_a_silent_one_does() {
    let desk = Desk::new("silent", Fake::default());
    desk.create("blue", 7).unwrap();
    let wish = Wish { name: "blue", snaplen: 64, count: None };
    let gone = std::sync::atomic::AtomicBool::new(false);
    let (kind, detail) = (NetErrorKind::Full, handoff::word("no room"));
    *lock(&desk.fake.refuse) = Some(NetError { kind, detail });
    let error = desk.net.capture(wish, &gone, &mut |_| panic!("told")).unwrap_err();
    assert!(error.message.contains("no room"), "{error}");
    *lock(&desk.fake.silent) = true;
    desk.net
        .capture(wish, &gone, &mut |event| {
            assert!(matches!(event, crate::api::Event::Captured { frames, .. } if frames.is_empty()));
            gone.store(true, std::sync::atomic::Ordering::Relaxed);
            true
        })
        .unwrap();
}

#[test]
fn a_host_that_is_not_fit_is_told_why() {
    let desk = Desk::new("fitness", Fake::default());
    let marks = || {
        let found = desk.ask(NetRequest::Fitness).unwrap();
        found.as_array().unwrap().iter().map(|f| f["mark"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(marks(), ["note", "note", "ok"]);
    desk.underlay();
    desk.ask(NetRequest::Key).unwrap();
    assert_eq!(marks(), ["ok", "ok", "ok"]);
    desk.create("blue", 7).unwrap();
    fs::write(desk.dir.join("net.toml"), "address = \"10.0.0.11/24\"\nmtu = 1400").unwrap();
    fs::write(desk.dir.join("switch.key"), "nonsense").unwrap();
    assert_eq!(marks(), ["ok", "fail", "fail"]);
    fs::write(desk.dir.join("net.toml"), "nonsense").unwrap();
    fs::write(desk.dir.join("net.json"), "nonsense").unwrap();
    assert_eq!(marks(), ["fail", "fail", "fail"]);
}

#[test]
fn an_image_says_which_networks_its_guest_is_on() {
    let desk = Desk::new("image", Fake::default());
    desk.create("blue", 7).unwrap();
    desk.create("red", 8).unwrap();
    let nics = json!({"nics": [
        {"bridge": "blue", "backend_domname": "luthier-stub"}, {"bridge": "red", "backend_domid": 0},
    ]});
    let networks = desk.net.of_vifs(&crate::xl::vifs(&nics));
    assert_eq!((networks.as_array().unwrap().len(), &networks[0]["id"]), (1, &json!(7)));
}
