//! What a host's part has to do with, played: its guests, the stub's ear, and a host that keeps images.

use super::*;

/// What a member's thread is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Finish,
    Fail,
}

/// The guests, the stub's ear, and the disk's folder.
pub(super) struct Fake {
    pub(super) images: PathBuf,
    pub(super) guests: Mutex<Result<Vec<Member>>>,
    pub(super) heard: Mutex<Vec<(GroupOrder, Vec<u8>)>>,
    pub(super) words: Mutex<HashMap<String, Word>>,
    pub(super) running: AtomicU32,
    pub(super) jobs: AtomicU32,
    pub(super) down: AtomicBool,
    /// The host that keeps images: its directory, or why it can't be reached.
    pub(super) vault: Mutex<Result<PathBuf>>,
    /// What becomes of the stream on its way there.
    pub(super) wire: Mutex<Wire>,
    /// An image is being read for it.
    pub(super) reading: AtomicBool,
}

/// A stream's way to the host that keeps images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wire {
    #[default]
    Good,
    /// One octet of it is another.
    Flips,
    /// It ends before its end.
    CutOff,
    /// Nobody reads it, until it is called off.
    Stuck,
    /// It is received, and something else is told.
    Lies,
}

impl Host for Fake {
    fn host(&self) -> String {
        "left".into()
    }

    fn switch(&self) -> Result<u64> {
        Ok(OWN)
    }

    fn members(&self, _network: u32) -> Result<Vec<Member>> {
        lock(&self.guests).clone()
    }

    fn take(
        &self,
        member: &Member,
        _about: &About,
        _options: &SnapshotOptions,
        said: &mut dyn FnMut(Said),
    ) -> Result<Taken> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let taken = self.play(member, said);
        self.running.fetch_sub(1, Ordering::SeqCst);
        taken
    }

    fn reach(&self, to: &str, name: &str, _stop: &AtomicBool) -> Result<String> {
        assert_eq!(to, "vault");
        let vault = lock(&self.vault).clone()?;
        let begun = store::group::keep::begun(&vault, &name.parse()?)?;
        begun.ok_or_else(|| Error::new("storage `vault`: no such group").hint("Join"))
    }

    fn keep(&self, to: &str, name: &str, stop: &AtomicBool) -> Result<Received> {
        assert_eq!(to, "vault");
        let vault = lock(&self.vault).clone()?;
        let wire = *lock(&self.wire);
        let mut stream = Vec::new();
        store::group::keep::send(&self.images, &name.parse()?, &mut stream)?;
        let middle = stream.len() / 2;
        match wire {
            Wire::Good | Wire::Lies => {}
            Wire::Flips => stream[middle] ^= 1,
            Wire::CutOff => stream.truncate(middle),
            Wire::Stuck => store::group::keep::send(&self.images, &name.parse()?, &mut Slow(self, stop, 0))?,
        }
        let mut received = store::group::keep::receive(&vault, &mut &stream[..], Duration::ZERO)?;
        if wire == Wire::Lies {
            received.images[0].1 = "00".repeat(32);
        }
        Ok(received)
    }

    fn send(&self, order: GroupOrder, bulk: &[u8]) -> Result<()> {
        if self.down.load(Ordering::SeqCst) {
            return Err(Error::new("no stub"));
        }
        lock(&self.heard).push((order, bulk.to_vec()));
        Ok(())
    }
}

/// Takes a few pieces, and then none until it is called off; an image is being read by then.
struct Slow<'a>(&'a Fake, &'a AtomicBool, u32);

impl std::io::Write for Slow<'_> {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.2 += 1;
        if self.2 < 8 {
            return Ok(octets.len());
        }
        self.0.reading.store(true, Ordering::SeqCst);
        while !self.1.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        // As long as it may take until a process is gone.
        std::thread::sleep(Duration::from_millis(200));
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Fake {
    fn play(&self, member: &Member, said: &mut dyn FnMut(Said)) -> Result<Taken> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&cancelled);
        said(Said::Begun(Arc::new(move || flag.store(true, Ordering::SeqCst))));
        said(Said::Enlisted(self.jobs.fetch_add(1, Ordering::SeqCst) + 1));
        loop {
            let word = lock(&self.words).get(&member.guest).copied();
            match word {
                Some(Word::Finish) => return Ok(pending(&self.images, member)),
                Some(Word::Fail) => return Err(Error::new("the guest did not suspend").hint("Look at it")),
                None if cancelled.load(Ordering::SeqCst) => return Err(Error::new("cancelled")),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

/// A pending image of a guest of one page.
fn pending(images: &std::path::Path, member: &Member) -> Taken {
    let id = ImageId::unused(images, &member.guest, SystemTime::now());
    let meta = Meta {
        guest: member.guest.clone(),
        uuid: member.uuid.clone(),
        created: SystemTime::now(),
        xen: XenVersion { major: 4, minor: 17 },
        vcpus: 1,
        memory: MemoryFigures::default(),
        extents: Extents::new([store::Extent { pfn: 0, count: 1 }]).unwrap(),
        policy: "downtime".into(),
    };
    let mut writer = ImageWriter::create(images, id, meta).unwrap();
    writer.put_zero(0).unwrap();
    let mut records = Records::new();
    let mut put = |kind, body| records.insert(kind, body).unwrap();
    put(StateKind::TscInfo, store::state::tsc_info(0, 1, 1, 1).to_vec());
    put(StateKind::HvmParams, store::state::hvm_params(&[(1, 0), (17, 0)]));
    put(StateKind::HvmContext, vec![1; 32]);
    put(StateKind::DomainConfig, br#"{"c_info": {}, "b_info": {}}"#.to_vec());
    writer.set_state(records);
    let pending = writer.prepare(serde_json::json!({})).unwrap();
    let figures = serde_json::json!({"suspended_ms": 8.5});
    Taken { image: pending.id().to_string(), contents: pending.contents().to_owned(), figures }
}
