//! Files that come from elsewhere, good and hostile.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

use super::super::header::tests::header;
use super::*;
use crate::disks::tool::fake;

const SIZE: u64 = 64 << 20;

/// A file that came, and what tools were run.
struct Came {
    path: PathBuf,
    tools: Rc<RefCell<Vec<String>>>,
}

impl Came {
    /// Of which `qemu-img info` says this.
    fn new(name: &str, octets: &[u8], info: Value) -> Self {
        let path = std::env::temp_dir().join(format!("luthier-came-{}-{name}", std::process::id()));
        fs::write(&path, octets).unwrap();
        let tools: Rc<RefCell<Vec<String>>> = Rc::default();
        let told = Rc::clone(&tools);
        fake::set("/nowhere", move |tool, args| {
            told.borrow_mut().push(format!("{tool} {}", args.join(" ")));
            Ok(info.to_string())
        });
        Self { path, tools }
    }

    fn check(&self) -> Result<()> {
        check_came(&self.path, &File::open(&self.path).unwrap(), SIZE)
    }
}

impl Drop for Came {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn info() -> Value {
    serde_json::json!({"virtual-size": SIZE, "format": "qcow2", "format-specific": {"data": {}}})
}

#[test]
fn a_file_that_is_what_was_sent_is_taken_and_its_format_is_never_guessed() {
    let came = Came::new("good", &header(SIZE), info());
    came.check().unwrap();
    let path = came.path.display();
    assert_eq!(*came.tools.borrow(), [format!("qemu-img info -f qcow2 --output=json {path}")]);
    assert_eq!(check_own(&came.path).unwrap(), SIZE);
}

#[test]
fn no_tool_gets_to_see_a_file_that_names_another_or_is_not_the_disk() {
    for (n, (at, octet, words)) in [
        (15, 200, "has a backing file"),
        (79, 4, "data in another file"),
        (0, 0, "is no qcow2"),
        (28, 1, "octets, not of"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut bad = header(SIZE);
        bad[at] = octet;
        let came = Came::new(&format!("bad-{n}"), &bad, info());
        let error = came.check().unwrap_err();
        assert!(error.message.contains(words) && error.message.contains("not used"), "{error}");
        assert!(came.tools.borrow().is_empty(), "{:?}", came.tools);
    }
    let came = Came::new("short", b"QFI", info());
    assert!(came.check().unwrap_err().message.contains("can't be read"));
}

#[test]
fn what_qemu_img_sees_otherwise_is_refused() {
    for (n, (key, value)) in [
        ("virtual-size", serde_json::json!(SIZE + 512)),
        ("virtual-size", Value::Null),
        ("backing-filename", serde_json::json!("/etc/shadow")),
        ("encrypted", serde_json::json!(true)),
        ("format-specific", serde_json::json!({"data": {"data-file": "/dev/sda"}})),
    ]
    .into_iter()
    .enumerate()
    {
        let mut said = info();
        said[key] = value;
        let error = Came::new(&format!("other-{n}"), &header(SIZE), said).check().unwrap_err();
        assert!(error.message.contains("something else to qemu-img"), "{key}: {error}");
    }
}

#[test]
fn what_is_taken_out_has_no_name_and_is_all_of_a_disk() {
    let folder = std::env::temp_dir().join(format!("luthier-out-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let source = folder.join("web.qcow2");
    let made = Rc::new(RefCell::new(header(SIZE)));
    let given = Rc::clone(&made);
    fake::set("/nowhere", move |_, args| {
        assert_eq!(args[..4], ["convert", "-q", "-U", "-f"]);
        fs::write(args.last().unwrap(), &*given.borrow()).map(|()| String::new()).context("writing")
    });
    let (file, size) = take_out(&source, "luthier_web").unwrap();
    assert_eq!((size, file.metadata().unwrap().len()), (SIZE, header(SIZE).len() as u64));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    made.borrow_mut()[15] = 1;
    let error = take_out(&source, "luthier_web").unwrap_err();
    assert!(error.message.contains("web.qcow2 has a backing file"), "{error}");
    fs::remove_dir(&folder).unwrap();
    let error = take_out(&source, "luthier_web").unwrap_err();
    assert!(error.message.contains("a file without a name in"), "{error}");
}
