//! What `luthier` does with its output.

use std::io::Read;
use std::process::{Command, Stdio};

#[test]
fn a_reader_that_has_gone_is_nothing_to_complain_of() {
    let mut luthier = Command::new(env!("CARGO_BIN_EXE_luthier"))
        .args(["--images", "/nonexistent", "list"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("luthier starts");
    // Before it has come to print: it takes longer to start than this.
    drop(luthier.stdout.take());
    let mut said = String::new();
    luthier.stderr.take().expect("a pipe").read_to_string(&mut said).expect("it ends");
    let status = luthier.wait().expect("it ends");
    assert!(said.is_empty(), "{said}");
    assert!(!status.success(), "it did print");
}
