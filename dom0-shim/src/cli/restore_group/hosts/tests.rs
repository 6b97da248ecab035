//! Commands on a host that is played by a shell script.

use std::path::PathBuf;

use super::*;

/// A `luthier` that is a shell script; its words are `$*`.
fn shell(script: &str) -> Shell {
    Shell { rsh: vec!["ssh".into()], here: ["sh", "-c", script, "luthier"].map(str::to_owned).to_vec() }
}

fn file(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("luthier-hosts-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

#[test]
fn what_is_held_ends_at_its_word_and_not_without_it() {
    for told in [true, false] {
        let done = file(&format!("told-{told}"));
        let script =
            format!("echo '{{}}'; read word; [ \"$word\" = go ] && echo \"$*\" >{}; exit 0", done.display());
        let mut held = shell(&script).hold(&Host::Here, &["freeze"]).unwrap();
        held.check().unwrap();
        assert!(!done.exists());
        if told {
            held.tell();
        }
        held.ended().unwrap();
        assert_eq!(std::fs::read_to_string(&done).ok().as_deref(), told.then_some("--json freeze\n"));
        let _ = std::fs::remove_file(done);
    }
}

#[test]
fn what_can_not_be_held_says_why_at_its_begin_meanwhile_and_at_its_word() {
    let hold = |script: &str| shell(script).hold(&Host::Here, &[]);
    let no = "echo no such network >&2; exit 1";
    assert_eq!(hold(no).err().unwrap().message, "this host: no such network");
    let said = hold(r#"echo '{"error": {"message": "no luthierd", "hint": null}}'; exit 1"#);
    assert_eq!(said.err().unwrap().message, "this host: no luthierd");
    let mut held = hold(&format!("echo '{{}}'; sleep 0.1; {no}")).unwrap();
    let late = std::time::Instant::now() + Duration::from_secs(20);
    let error = loop {
        assert!(std::time::Instant::now() < late);
        if let Err(e) = held.check() {
            break e;
        }
    };
    assert_eq!(error.message, "this host: no such network");
    let mut held = hold(&format!("echo '{{}}'; read word; {no}")).unwrap();
    held.tell();
    assert_eq!(held.ended().unwrap_err().message, "this host: no such network");
    // One that has ended though nobody told it to.
    assert!(hold("exit 0").is_err());
}

#[test]
fn a_copy_that_is_given_up_ends_and_its_taker_hears_the_end() {
    let heard = file("heard");
    let script = format!(
        "case $* in send) exec yes ;; *) cat >/dev/null; echo end >{}; exit 1 ;; esac",
        heard.display()
    );
    let give_up = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let copy =
            scope.spawn(|| shell(&script).copy((&Host::Here, &["send"]), (&Host::Here, &["take"]), &give_up));
        std::thread::sleep(Duration::from_millis(200));
        give_up.store(true, Ordering::Relaxed);
        copy.join().unwrap().unwrap_err();
    });
    assert!(heard.exists());
    let _ = std::fs::remove_file(heard);
}

#[test]
fn the_side_that_failed_first_is_blamed() {
    let copy = |script: &str| {
        let give_up = AtomicBool::new(false);
        let copied = shell(script).copy((&Host::Here, &["send"]), (&Host::Here, &["take"]), &give_up);
        copied.unwrap_err().message
    };
    assert_eq!(
        copy(
            "case $* in send) echo the disk is broken >&2; exit 1 ;; *) cat >/dev/null; echo cut >&2; exit 1 ;; esac"
        ),
        "this host: the disk is broken"
    );
    assert_eq!(
        copy(
            "case $* in send) yes || { echo Broken pipe >&2; exit 1; } ;; *) echo no room >&2; exit 1 ;; esac"
        ),
        "this host: no room"
    );
}
