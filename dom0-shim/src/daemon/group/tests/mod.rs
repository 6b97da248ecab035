//! A host's part, with a stub that is played by the test, members that wait for its word, and a real
//! directory of images.

mod crash;
mod failures;
mod fake;
mod keep;
mod whole;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use handoff::{
    CHANNEL_RECORD_LEN, ChannelRecord, ChannelTally, CutTimes, GroupId, GroupMode, GroupName, GroupNews,
    GroupOrder, Job,
};
use store::group::keep::Received;
use store::group::{Part, switch_text};
use store::{Extents, ImageId, ImageWriter, MemoryFigures, Meta, State as Records, StateKind, XenVersion};

use self::fake::{Fake, Wire, Word};
use super::inbox::{Inbox, Letters, Said, Wish};
use super::participant::Participant;
use super::{About, Epochs, Folders, Host, Member, Taken, told};
use crate::api::{Event, SnapshotOptions};
use crate::daemon::lock;
use crate::error::{Error, Result};

const GROUP: GroupId = GroupId { network: 7, epoch: 3, initiator: 0xa };
const NAME: &str = "blue@20261122T081500Z";
const OWN: u64 = 0xb;

struct World {
    fake: Arc<Fake>,
    inbox: Inbox,
    letters: Letters,
    desk: Participant,
    /// What `Prepare` says of a schedule.
    keep: Option<u16>,
    /// And of who keeps the images.
    to: Option<String>,
}

impl World {
    fn new(guests: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let images = std::env::temp_dir().join(format!("luthier-group-{}-{n}", std::process::id()));
        let _ = std::fs::remove_dir_all(&images);
        std::fs::create_dir_all(&images).unwrap();
        let member = |(i, guest): (usize, &&str)| Member {
            guest: (*guest).to_owned(),
            uuid: format!("e5d4d218-9b32-4a04-971e-bb65229d0f{i:02x}"),
            vifs: vec![format!("00:16:3e:00:00:{i:02x}")],
        };
        let fake = Arc::new(Fake {
            images,
            guests: Mutex::new(Ok(guests.iter().enumerate().map(member).collect())),
            heard: Mutex::default(),
            words: Mutex::default(),
            running: AtomicU32::new(0),
            jobs: AtomicU32::new(0),
            down: AtomicBool::new(false),
            vault: Mutex::new(Err(Error::new("storage `vault` is not known here").hint("Write it down"))),
            wire: Mutex::default(),
            reading: AtomicBool::new(false),
        });
        let (inbox, letters, desk) = Self::daemon(&fake);
        Self { fake, inbox, letters, desk, keep: None, to: None }
    }

    fn daemon(fake: &Arc<Fake>) -> (Inbox, Letters, Participant) {
        let (inbox, letters) = Inbox::new();
        let host: Arc<dyn Host> = fake.clone();
        let mut desk = Participant::new(host, Folders::new(fake.images.clone()), epochs(fake), inbox.clone());
        desk.recover();
        (inbox, letters, desk)
    }

    /// The daemon is killed: its threads end, what they had not finished is gone; then it starts
    /// again, and finds what is on the disk.
    fn kill(&mut self) {
        // Nobody reads the old letters any more; what it had open and not sealed, only the disk says.
        self.say(Word::Fail);
        self.await_members();
        if let Some(active) = self.desk.active.take_if(|a| a.is_busy()) {
            active.cancel();
            while Arc::strong_count(&self.fake) > 2 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        lock(&self.fake.words).clear();
        lock(&self.fake.heard).clear();
        (self.inbox, self.letters) = Inbox::new();
        let host: Arc<dyn Host> = self.fake.clone();
        self.desk = Participant::new(
            host,
            Folders::new(self.fake.images.clone()),
            epochs(&self.fake),
            self.inbox.clone(),
        );
        self.desk.recover();
    }

    /// Says the same to all members.
    fn say(&self, word: Word) {
        for member in lock(&self.fake.guests).clone().unwrap_or_default() {
            lock(&self.fake.words).insert(member.guest, word);
        }
    }

    /// Waits until no member's thread runs.
    fn await_members(&self) {
        let until = Instant::now() + Duration::from_secs(10);
        while self.fake.running.load(Ordering::SeqCst) > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A client asks for a group.
    fn ask(&mut self) -> Receiver<Event> {
        let (client, events) = channel();
        self.inbox.begin(Wish {
            network: 7,
            mode: GroupMode::Together,
            name: NAME.into(),
            keep: None,
            options: SnapshotOptions::default(),
            client,
        });
        self.pump();
        events
    }

    fn news(&mut self, news: GroupNews, bulk: &[u8]) {
        self.inbox.news(news, bulk.to_vec());
        self.pump();
    }

    fn pump(&mut self) {
        while let Ok(Some(letter)) = self.letters.next(Duration::ZERO) {
            self.desk.receive(letter, Instant::now());
        }
    }

    /// Waits for an order that fits.
    fn await_order(&mut self, what: &str, fits: impl Fn(&GroupOrder) -> bool) -> (GroupOrder, Vec<u8>) {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            self.pump();
            if let Some(found) = lock(&self.fake.heard).iter().find(|(order, _)| fits(order)).cloned() {
                return found;
            }
            assert!(Instant::now() < until, "no {what}: {:?}", lock(&self.fake.heard));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn heard(&self, fits: impl Fn(&GroupOrder) -> bool) -> bool {
        lock(&self.fake.heard).iter().any(|(order, _)| fits(order))
    }

    /// The stub asks this host to prepare; returns the jobs.
    fn prepare(&mut self, group: GroupId, name: &str) -> Vec<Job> {
        self.prepare_only(group, name);
        let told = self.await_order("Prepared", |o| matches!(o, GroupOrder::Prepared { .. }));
        let GroupOrder::Prepared { group: told, jobs } = told.0 else { panic!() };
        assert_eq!(told, group);
        jobs.to_vec()
    }

    fn prepare_only(&mut self, group: GroupId, name: &str) {
        let options = SnapshotOptions { to: self.to.clone(), ..SnapshotOptions::default() };
        let options = told::encode(&options, self.keep).unwrap();
        let (name, mode) = (GroupName::try_from(name).unwrap(), GroupMode::Together);
        let switches: Vec<u8> = [0xau64, OWN].iter().flat_map(|s| s.to_le_bytes()).collect();
        self.news(GroupNews::Prepare { group, mode, name, options }, &switches);
    }

    /// Everything from the cut to what is stored here; returns the part.
    fn store(&mut self, group: GroupId, jobs: &[Job]) -> Vec<u8> {
        for job in jobs {
            let times =
                CutTimes { ready_us: 900, asked_us: 1000, cut_us: 2000 + u64::from(*job), resumed_us: 9000 };
            self.news(GroupNews::Cut { group, job: *job, times }, &[]);
        }
        self.news(GroupNews::Channel { group, count: 2 }, &frames(2));
        self.say(Word::Finish);
        self.news(
            GroupNews::Drained { group, tally: ChannelTally { recorded: 2, held: 4, ..Default::default() } },
            &[],
        );
        let (_, part) = self.await_order("Stored", |o| *o == GroupOrder::Stored { group });
        part
    }

    /// All parts, joined.
    fn joined(parts: &[(u64, &[u8])]) -> Vec<u8> {
        let mut joined = Vec::new();
        for (switch, part) in parts {
            joined.extend(switch.to_le_bytes());
            joined.extend((part.len() as u32).to_le_bytes());
            joined.extend_from_slice(part);
        }
        joined
    }

    fn manifest(&mut self, group: GroupId, joined: &[u8]) {
        for (first, piece) in super::pieces::split(joined) {
            self.news(GroupNews::Manifest { group, first, total: joined.len() as u32 }, piece);
        }
    }

    fn commit(&mut self, group: GroupId, manifest: &[u8]) {
        for (first, piece) in super::pieces::split(manifest) {
            self.news(GroupNews::Commit { group, first, total: manifest.len() as u32 }, piece);
        }
    }

    /// What is in the directory: images and groups, decided or not.
    fn names(&self) -> Vec<String> {
        let names = |dir: PathBuf| {
            std::fs::read_dir(dir)
                .into_iter()
                .flatten()
                .flatten()
                .map(|f| f.file_name().into_string().unwrap())
        };
        let images = names(self.fake.images.clone()).filter(|name| name != "groups");
        let mut all: Vec<String> = images.chain(names(self.fake.images.join("groups"))).collect();
        all.sort();
        all
    }

    /// What there is without names of undecided or unfinished things.
    fn whole(&self) -> Vec<String> {
        self.names()
            .into_iter()
            .map(|name| {
                name.split('@').next().unwrap().to_owned() + if name.contains("Z.") { "!" } else { "" }
            })
            .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.say(Word::Fail);
        self.await_members();
        let _ = std::fs::remove_dir_all(&self.fake.images);
        let _ = std::fs::remove_dir_all(self.fake.images.with_extension("state"));
    }
}

fn frames(count: usize) -> Vec<u8> {
    let mut bulk = Vec::new();
    for i in 0..count {
        let record = ChannelRecord {
            time_us: i as u64,
            network: 7,
            mac: [0; 6],
            checksum: 0,
            gso: 0,
            gso_size: 0,
            len: 60,
        };
        bulk.extend(record.emit());
        bulk.extend([i as u8; 60]);
    }
    assert_eq!(bulk.len(), count * (CHANNEL_RECORD_LEN + 60));
    bulk
}

/// The part of another host, with one guest.
fn other(switch: u64, host: &str) -> Vec<u8> {
    let part = serde_json::json!({
        "host": host, "switch": switch_text(switch),
        "members": [{
            "guest": format!("{host}-guest"), "uuid": format!("e5d4d218-9b32-4a04-971e-bb65229d{switch:04x}"),
            "image": format!("{host}-guest@20261122T081500Z"), "contents": "ab".repeat(32), "cut_ms": 4.5,
        }],
    });
    let text = serde_json::to_vec(&part).unwrap();
    Part::decode(&text).unwrap();
    text
}

fn epochs(fake: &Fake) -> Epochs {
    Epochs::open(&fake.images.with_extension("state"))
}

fn last(events: &Receiver<Event>) -> Event {
    events.try_iter().last().expect("an event")
}
