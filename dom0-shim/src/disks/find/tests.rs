use std::os::unix::fs::symlink;

use super::*;

fn disk(vdev: &str, device: (u32, u32)) -> Disk {
    Disk {
        domid: 5,
        vdev: vdev.into(),
        writable: true,
        params: format!("/srv/{vdev}"),
        back_end: "vbd".into(),
        in_dom0: true,
        device: Some(device),
    }
}

/// A `/sys` with one block device that has these files.
fn sys(name: &str, device: &str, files: &[(&str, &str)]) -> PathBuf {
    let sys = std::env::temp_dir().join(format!("luthier-find-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&sys);
    let real = sys.join("devices/it");
    for (file, text) in files {
        let path = real.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::create_dir_all(&real).unwrap();
    fs::create_dir_all(sys.join("dev/block")).unwrap();
    symlink(&real, sys.join("dev/block").join(device)).unwrap();
    sys
}

#[test]
fn a_device_is_read_as_scripts_write_it() {
    assert_eq!(device("fe:4"), Some((254, 4)));
    assert_eq!(device("7:1f"), Some((7, 31)));
    for bad in ["", "7", "7:", "x:1"] {
        assert_eq!(device(bad), None, "{bad:?}");
    }
}

#[test]
fn a_file_behind_a_loop_device_is_copied_by_reflink() {
    let file = std::env::temp_dir().join(format!("luthier-find-{}.raw", std::process::id()));
    fs::write(&file, "disk").unwrap();
    let sys = sys("loop", "7:3", &[("loop/backing_file", &format!("{}\n", file.display()))]);
    assert_eq!(way(&disk("xvda", (7, 3)), &sys).unwrap(), Way::Reflink(file.clone()));
    fs::remove_file(&file).unwrap();
    let error = way(&disk("xvda", (7, 3)), &sys).unwrap_err();
    assert!(error.message.contains("can't be opened"), "{error}");
    fs::remove_dir_all(sys).unwrap();
}

#[test]
fn what_cannot_be_snapshotted_is_refused_with_its_reason() {
    let sys = sys("refused", "8:1", &[]);
    let refused = |disk: Disk| refusal("web", &disk, way(&disk, &sys).unwrap_err());
    let partition = refused(disk("xvda", (8, 1)));
    assert!(partition.message.contains("disk xvda of `web`") && partition.message.contains("partition"));
    assert!(partition.hint.unwrap().contains("--no-disk xvda"));
    let qemu = refused(Disk { back_end: "qdisk".into(), ..disk("xvdb", (8, 1)) });
    assert!(qemu.message.contains("QEMU serves it") && qemu.hint.unwrap().contains("--no-disk xvdb"));
    let other = refused(Disk { back_end: "vtpm".into(), ..disk("xvdb", (8, 1)) });
    assert!(other.message.contains("its back end is vtpm"), "{other}");
    let elsewhere = refused(Disk { in_dom0: false, ..disk("xvdc", (8, 1)) });
    assert!(elsewhere.message.contains("another domain"));
    let unknown = refused(Disk { device: None, ..disk("xvdd", (8, 1)) });
    assert!(unknown.message.contains("not known"));
    fs::remove_dir_all(&sys).unwrap();
    let crypt = self::sys("crypt", "254:9", &[("dm/uuid", "CRYPT-LUKS2-x\n"), ("dm/name", "secret\n")]);
    let error = way(&disk("xvde", (254, 9)), &crypt).unwrap_err();
    assert!(error.message.contains("not LVM's"), "{error}");
    fs::remove_dir_all(crypt).unwrap();
}

#[test]
fn disks_are_left_out_by_name_and_those_that_are_read_only_need_nothing() {
    let odd = Disk { back_end: "qdisk".into(), ..disk("xvda", (8, 1)) };
    let cdrom = Disk { writable: false, back_end: "qdisk".into(), ..disk("xvdc", (8, 1)) };
    let ways = |out: &[&str]| {
        let out: Vec<String> = out.iter().map(|o| o.to_string()).collect();
        let all = super::ways("web", vec![odd.clone(), cdrom.clone()], &out)?;
        Ok::<_, Error>(all.into_iter().map(|(_, way)| way).collect::<Vec<_>>())
    };
    assert!(ways(&[]).is_err());
    assert_eq!(ways(&["xvda"]).unwrap(), [Way::LeftOut, Way::ReadOnly]);
    assert_eq!(ways(&["all"]).unwrap(), [Way::LeftOut, Way::ReadOnly]);
    // A typing error must not leave a disk in that was to be left out.
    let error = ways(&["xvdb"]).unwrap_err();
    assert!(error.message.contains("no disk xvdb"), "{error}");
}

#[test]
fn volumes_of_lvm_are_snapshotted_by_their_kind() {
    let volume = |kind: &str, pool: &str, origin: &str| lvm::Volume {
        group: "vg".into(),
        name: "web".into(),
        kind: kind.into(),
        pool: pool.into(),
        origin: origin.into(),
        octets: 4 << 20,
        tags: Vec::new(),
    };
    let way = |kind, pool, origin| of_volume(volume(kind, pool, origin));
    assert!(matches!(way("thin", "pool", "").unwrap(), Way::Thin(_)));
    // A clone of a thin snapshot, as restored guests have.
    assert!(matches!(way("thin", "pool", "luthier_web").unwrap(), Way::Thin(_)));
    for kind in ["linear", "striped"] {
        let Way::Thick(found) = way(kind, "", "").unwrap() else { panic!("{kind}") };
        let id = "web@20261122T081500Z".parse().unwrap();
        let record = record(&id, &disk("xvda", (254, 1)), &Way::Thick(found));
        assert!(record.is_of(&id) && record.has_snapshot());
    }
    let snapshot = way("linear", "", "other").unwrap_err();
    assert!(snapshot.message.contains("vg/web is a snapshot of other itself"), "{snapshot}");
    let raid = way("raid1", "", "").unwrap_err();
    assert!(raid.message.contains("of type raid1") && raid.hint.unwrap().contains("lvconvert"));
}
