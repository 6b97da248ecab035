//! The file of schedules, and the thread that takes what is due.

use std::fs;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{World, name, no, wish};
use crate::api::{ScheduleRequest, ScheduleWish};
use crate::daemon::schedule::file::Keeper;
use crate::daemon::schedule::rules::{Answer, Schedules};
use crate::daemon::schedule::{Host, Scheduler};

#[test]
fn what_is_written_comes_back_and_a_damaged_file_is_left_alone() {
    let dir = std::env::temp_dir().join(format!("luthier-schedules-{}", std::process::id()));
    let keeper = Keeper::new(&dir);
    assert_eq!(keeper.load().unwrap(), []);
    let (mut all, mut world) = (Schedules::default(), World::default());
    all.add(0, wish("web", 60, 3, true)).unwrap();
    world.take(&mut all, 0, None);
    all.add(0, wish("db", 60, 3, true)).unwrap();
    world.take(&mut all, 0, Some(Answer::Failed(no())));
    let records = all.records(0, 7);
    keeper.save(records.clone()).unwrap();
    assert_eq!(keeper.load().unwrap(), records);
    let path = dir.join("schedules.json");
    let good = fs::read_to_string(&path).unwrap();
    for damaged in [
        String::new(),
        "{}".into(),
        good[..good.len() / 2].into(),
        good.replace("\"keep\": 3", "\"keep\": 0"),
        good.replace("\"every_s\": 60", "\"every_s\": 0"),
        good.replace("web@2026", "../@2026"),
        good.replace("\"db\"", "\"web\""),
    ] {
        fs::write(&path, &damaged).unwrap();
        let error = keeper.load().unwrap_err();
        assert!(error.message.contains("schedules.json") && error.hint.is_some(), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
    }
    fs::remove_dir_all(dir).unwrap();
}

/// Images without contents.
#[derive(Default)]
struct Images(Mutex<Vec<String>>);

impl Host for Images {
    fn take(&self, wish: &ScheduleWish, _: Option<&str>, begun: &mut dyn FnMut(&str, bool)) -> Answer {
        let mut images = self.0.lock().unwrap();
        let image = name(&wish.guest, images.len() + 1);
        begun(&image, false);
        images.push(image);
        Answer::Made
    }

    fn merge(&self, _: &str) -> Answer {
        Answer::Kept
    }

    fn remove(&self, image: &str) -> Answer {
        self.0.lock().unwrap().retain(|i| i != image);
        Answer::Done
    }

    fn exists(&self, image: &str) -> bool {
        self.0.lock().unwrap().iter().any(|i| i == image)
    }
}

#[test]
fn the_thread_takes_what_is_due_until_the_daemon_ends_and_the_next_one_goes_on() {
    let dir = std::env::temp_dir().join(format!("luthier-scheduler-{}", std::process::id()));
    let host = Images::default();
    let list =
        |scheduler: &Scheduler| scheduler.answer(ScheduleRequest::List).unwrap()["schedules"][0].clone();
    for made in [2, 3] {
        let scheduler = Scheduler::open(&dir, &|image| host.exists(image));
        if made == 2 {
            let wish = wish("web", 1, 9, false);
            scheduler.answer(ScheduleRequest::Add { wish }).unwrap();
        }
        std::thread::scope(|threads| {
            threads.spawn(|| scheduler.run(&host));
            let until = Instant::now() + Duration::from_secs(20);
            while list(&scheduler)["made"].as_u64().unwrap() < made && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(20));
            }
            scheduler.stop();
        });
        let shown = list(&scheduler);
        assert!(shown["made"].as_u64().unwrap() >= made, "{shown}");
        assert_eq!(shown["images"].as_array().unwrap().len(), host.0.lock().unwrap().len());
        assert_eq!(
            (&shown["last"]["result"], &shown["in_progress"]),
            (&Value::from("made"), &Value::from(false))
        );
    }
    let scheduler = Scheduler::open(&dir, &|image| host.exists(image));
    scheduler.answer(ScheduleRequest::Remove { guest: "web".into() }).unwrap();
    assert!(scheduler.answer(ScheduleRequest::Remove { guest: "web".into() }).unwrap_err().hint.is_some());
    assert!(!host.0.lock().unwrap().is_empty());
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_damaged_file_stops_schedules_and_is_told_to_those_that_ask() {
    let dir = std::env::temp_dir().join(format!("luthier-scheduler-torn-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("schedules.json"), "{\"schedules\": [").unwrap();
    let scheduler = Scheduler::open(&dir, &|_| true);
    for request in [ScheduleRequest::List, ScheduleRequest::Add { wish: wish("web", 1, 1, false) }] {
        assert!(scheduler.answer(request).unwrap_err().message.contains("schedules.json"));
    }
    assert_eq!(fs::read_to_string(dir.join("schedules.json")).unwrap(), "{\"schedules\": [");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_schedule_that_cannot_be_written_down_is_refused() {
    let dir = std::env::temp_dir().join(format!("luthier-scheduler-none-{}", std::process::id()));
    // A folder where the new file should be.
    fs::create_dir_all(dir.join("schedules.new")).unwrap();
    let scheduler = Scheduler::open(&dir, &|_| true);
    let wish = wish("web", 1, 1, false);
    let error = scheduler.answer(ScheduleRequest::Add { wish: wish.clone() }).unwrap_err();
    assert!(error.message.contains("schedules.json") && error.hint.is_some(), "{error}");
    assert_eq!(scheduler.answer(ScheduleRequest::List).unwrap()["schedules"], Value::Array(Vec::new()));
    fs::remove_dir(dir.join("schedules.new")).unwrap();
    scheduler.answer(ScheduleRequest::Add { wish }).unwrap();
    fs::remove_dir_all(dir).unwrap();
}
