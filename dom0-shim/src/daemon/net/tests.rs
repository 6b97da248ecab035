//! The operator's side, with a stub that only listens.

use std::fs;

use handoff::NetAnswer;

use super::*;

/// Notes orders, and answers as it was told to.
#[derive(Default)]
struct Fake {
    heard: Mutex<Vec<NetOrder>>,
    refuse: Mutex<Option<NetError>>,
    down: bool,
    asks: Arc<Asks>,
}

impl Switch for Fake {
    fn ask(&self, order: NetOrder) -> Result<Answers> {
        if self.down {
            return Err(Error::new("no stub"));
        }
        lock(&self.heard).push(order);
        let answers = Asks::open(&self.asks, false);
        let last = lock(&self.refuse).take().map_or(NetAnswer::Done, NetAnswer::Failed);
        self.asks.post(answers.request(), last, Vec::new());
        Ok(answers)
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
        self.net.answer(request, &|| Ok(Vec::new()))
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
        desk.net.answer(NetRequest::Delete { name: "blue".into() }, &|| Ok(vifs.clone()))
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
