use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use super::*;

const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": ["oob"]}}"#;
const SOON: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(10);

/// A QEMU that a test plays: what it was told is kept.
pub(in super::super) struct Fake {
    pub(in super::super) folder: PathBuf,
    server: Option<JoinHandle<Vec<Value>>>,
}

impl Fake {
    /// Serves clients one after the other, as QEMU does, at the monitor of domain 5, and answers each
    /// order by what `answer` makes of it; the latter's `None` ends it all.
    pub(in super::super) fn serve(
        name: &str,
        whose: &str,
        mut answer: impl FnMut(&Value) -> Option<String> + Send + 'static,
    ) -> Self {
        let folder = std::env::temp_dir().join(format!("luthier-qmp-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let listener = UnixListener::bind(folder.join(format!("qmp-{whose}-5"))).unwrap();
        let server = thread::spawn(move || {
            let mut told = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().unwrap();
                let from = stream.try_clone().unwrap();
                let mut say = |text: &str| stream.write_all(text.as_bytes()).is_ok();
                say(&format!("{GREETING}\n"));
                let lines = BufReader::new(from).lines();
                for line in lines.map_while(io::Result::ok) {
                    let order: Value = serde_json::from_str(&line).unwrap();
                    if order["execute"] == "qmp_capabilities" {
                        say("{\"return\": {}}\n");
                        continue;
                    }
                    told.push(order);
                    let Some(text) = answer(told.last().unwrap()) else { return told };
                    say(&text);
                }
            }
        });
        Self { folder, server: Some(server) }
    }

    pub(in super::super) fn path(&self) -> PathBuf {
        monitors(&self.folder, 5)[0].clone()
    }

    /// Has it end, and returns what it was told, but the last order, which it answers by going away.
    pub(in super::super) fn end(mut self) -> Vec<Value> {
        let path = monitors(&self.folder, 5).into_iter().find(|path| path.exists()).unwrap();
        let _ = Client::connect(&path, LONG).unwrap().run("quit", Value::Null, LONG);
        let mut told = self.server.take().unwrap().join().unwrap();
        told.pop();
        told
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Answers of a QEMU that is told `quit` at the end.
pub(in super::super) fn until_quit(
    mut answer: impl FnMut(&Value) -> String + Send + 'static,
) -> impl FnMut(&Value) -> Option<String> + Send + 'static {
    move |order| (order["execute"] != "quit").then(|| format!("{}\n", answer(order)))
}

/// A socket at which `say` is said to whoever connects, and nothing else, until it hangs up.
fn says(name: &str, say: &'static [u8], n: usize) -> (PathBuf, JoinHandle<()>) {
    let path = std::env::temp_dir().join(format!("luthier-qmp-{}-{name}", std::process::id()));
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for _ in 0..n {
            if stream.write_all(say).is_err() {
                return;
            }
        }
        let _ = stream.read(&mut [0; 100]);
        let _ = stream.read(&mut [0; 100]);
    });
    (path, server)
}

#[test]
fn an_order_is_answered_whatever_happens_before() {
    let event = r#"{"event": "RTC_CHANGE", "timestamp": {"seconds": 1}}"#;
    let answer = move |order: &Value| format!("{event}\r\n{event}\n{{\"return\": {}}}", order["arguments"]);
    let fake = Fake::serve("order", "libxenstat", until_quit(answer));
    let mut client = Client::connect(&fake.path(), LONG).unwrap();
    for n in 0..3 {
        assert_eq!(client.run("say", json!({"n": n}), LONG).unwrap(), json!({"n": n}));
    }
    drop(client);
    let told = fake.end();
    assert_eq!(told.len(), 3);
    assert_eq!(told[1], json!({"execute": "say", "arguments": {"n": 1}}));
}

#[test]
fn a_no_is_told_in_qemus_words_and_without_control_characters() {
    let answer = |_: &Value| {
        json!({"error": {"class": "GenericError", "desc": "No space left\u{1b}[2J on device"}}).to_string()
    };
    let fake = Fake::serve("no", "libxenstat", until_quit(answer));
    let mut client = Client::connect(&fake.path(), LONG).unwrap();
    let error = client.run("transaction", Value::Null, LONG).unwrap_err();
    assert_eq!(error.to_string(), "QEMU says: No space left [2J on device");
    // It goes on with the next order.
    assert!(matches!(client.run("transaction", Value::Null, LONG), Err(Error::Refused(_))));
    drop(client);
    fake.end();
}

#[test]
fn one_that_does_not_answer_is_given_up_in_time() {
    let fake = Fake::serve("late", "libxenstat", |order| (order["execute"] != "quit").then(String::new));
    let mut client = Client::connect(&fake.path(), LONG).unwrap();
    let began = Instant::now();
    assert!(matches!(client.run("transaction", Value::Null, SOON), Err(Error::Late(_))));
    assert!(began.elapsed() >= SOON && began.elapsed() < LONG);
    // A second client is not greeted as long as the first is there, however many more there are.
    for _ in 0..4 {
        let error = Client::connect(&fake.path(), SOON).unwrap_err();
        assert!(matches!(error, Error::Late(_)) && error.to_string().contains("another program"), "{error}");
    }
    drop(client);
    fake.end();
}

#[test]
fn a_queue_that_is_full_is_not_waited_for_without_end() {
    let path = std::env::temp_dir().join(format!("luthier-qmp-{}-full", std::process::id()));
    let _ = fs::remove_file(&path);
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let _first = UnixStream::connect(&path).unwrap();
    let began = Instant::now();
    assert!(matches!(Client::connect(&path, SOON), Err(Error::Late(_))));
    assert!(began.elapsed() < LONG);
    fs::remove_file(path).unwrap();
}

#[test]
fn what_is_no_qmp_is_refused_and_never_kept_without_bound() {
    let garbage = |name: &str, say: &'static [u8], n: usize| {
        let (path, server) = says(name, say, n);
        let error = Client::connect(&path, LONG).unwrap_err();
        server.join().unwrap();
        fs::remove_file(path).unwrap();
        match error {
            Error::Garbage(what) => what,
            other => panic!("{name}: {other}"),
        }
    };
    assert_eq!(garbage("http", b"SSH-2.0-OpenSSH\n", 1), "a line that is not JSON");
    assert_eq!(garbage("octets", b"\xff\xfe\0\n", 1), "a line that is not JSON");
    assert_eq!(garbage("other", b"{\"hello\": 1}\n", 1), "no greeting");
    assert_eq!(garbage("list", b"[[[1]]]\n", 1), "no greeting");
    assert_eq!(garbage("endless", &[b'x'; 1 << 16], 100), "a line that does not end");
    let greeted = b"{\"QMP\": {}}\n{\"event\": \"STOP\"}\n{\"odd\": 1}\n";
    assert_eq!(garbage("odd", greeted, 1), "neither an answer nor an event");
    let (path, server) = says("events", b"{\"QMP\": {}, \"event\": \"STOP\"}\n", MAX_EVENTS + 10);
    let error = Client::connect(&path, LONG).unwrap_err();
    assert!(error.to_string().contains("events without end"), "{error}");
    server.join().unwrap();
    fs::remove_file(path).unwrap();
}

#[test]
fn one_that_goes_away_is_told() {
    let gone = std::env::temp_dir().join("luthier-qmp-that-never-was");
    assert!(matches!(Client::connect(&gone, LONG), Err(Error::Absent(_))));
    let fake = Fake::serve("away", "libxenstat", |_| None);
    let mut client = Client::connect(&fake.path(), LONG).unwrap();
    assert!(matches!(client.run("transaction", Value::Null, LONG), Err(Error::Broken(_))));
    // Nobody listens any more, though the socket is there.
    assert!(matches!(Client::connect(&fake.path(), LONG), Err(Error::Absent(_) | Error::Broken(_))));
}
