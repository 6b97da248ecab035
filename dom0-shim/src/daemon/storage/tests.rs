//! Remote shells that are played by `sh`.

use std::sync::atomic::Ordering;

use super::*;
use crate::error::Error;

/// A file with one host, `vault`, whose command is this script.
fn storage(name: &str, script: &str) -> (Storage, PathBuf) {
    let dir = std::env::temp_dir().join(format!("luthier-storage-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("shell"), script).unwrap();
    let shell = dir.join("shell").display().to_string();
    std::fs::write(dir.join("storage.toml"), format!("[vault]\ncommand = \"sh {shell} here\"\n")).unwrap();
    (Storage::new(dir.join("storage.toml")), dir)
}

fn ask(storage: &Storage, octets: usize, stop: &AtomicBool, until: Option<Instant>) -> Result<Value> {
    let feed = |out: &mut dyn Write| out.write_all(&vec![7; octets]).context("feeding");
    storage.ask("vault", &["receive"], feed, stop, until)
}

#[test]
fn the_command_gets_its_words_and_its_input_and_the_last_line_is_the_answer() {
    let (storage, dir) =
        storage("good", "echo noise; n=$(wc -c); echo \"{\\\"words\\\": \\\"$*\\\", \\\"octets\\\": $n}\"");
    let answer = ask(&storage, 3 << 20, &AtomicBool::new(false), None).unwrap();
    assert_eq!(answer["words"], "here luthier --json receive");
    assert_eq!(answer["octets"], 3 << 20);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn what_the_other_side_says_is_the_error_also_when_it_reads_no_more() {
    let words = r#"echo '{"event":"failed","error":{"message":"no space left","hint":"Free some"}}'; exit 1"#;
    let (storage, dir) = storage("refuses", words);
    let Error { message, hint } = ask(&storage, 3 << 20, &AtomicBool::new(false), None).unwrap_err();
    assert_eq!((&*message, hint.as_deref()), ("storage `vault`: no space left", Some("Free some")));
    std::fs::write(dir.join("shell"), "echo lost the way >&2; exit 255").unwrap();
    let error = ask(&storage, 0, &AtomicBool::new(false), None).unwrap_err();
    assert!(error.message.contains("vault") && error.message.contains("lost the way"), "{error}");
    assert!(error.hint.unwrap().contains("storage.toml"));
    for odd in ["kill -9 $$", "exit 0", "echo '{}' ; exit 3"] {
        std::fs::write(dir.join("shell"), odd).unwrap();
        assert!(ask(&storage, 9, &AtomicBool::new(false), None).is_err(), "{odd}");
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn what_is_not_wanted_any_more_or_late_is_ended_with_all_that_it_has_started() {
    // Its own child holds the pipes.
    let (storage, dir) = storage("slow", "sleep 60 & echo $! >\"$0.child\"; wait");
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !dir.join("shell.child").exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
            stop.store(true, Ordering::SeqCst);
        });
        let error = ask(&storage, 3 << 20, &stop, None).unwrap_err();
        assert!(error.message.contains("not wanted"), "{error}");
    });
    let until = Some(Instant::now() + Duration::from_millis(100));
    let error = ask(&storage, 0, &AtomicBool::new(false), until).unwrap_err();
    assert!(error.message.contains("in time") && error.hint.is_some(), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20));
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_host_that_is_not_in_the_file_is_named_with_what_to_write() {
    let (storage, dir) = storage("unknown", "");
    let error = storage.shell("attic").unwrap_err();
    assert!(error.message.contains("`attic`"), "{error}");
    assert!(error.hint.as_deref().unwrap().contains("storage.toml: [attic]"), "{error}");
    for bad in ["[vault]\ncommand = \"\"", "[vault]\nkommand = \"ssh\"", "vault = 1", "["] {
        std::fs::write(dir.join("storage.toml"), bad).unwrap();
        assert!(storage.shell("vault").unwrap_err().hint.is_some(), "{bad}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(storage.shell("vault").unwrap_err().message.contains("not known"));
}
