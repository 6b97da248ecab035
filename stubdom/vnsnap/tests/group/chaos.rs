//! Everything at once, for many seeds: at the end, when all is healed, of each snapshot there is all or
//! nothing, and all hosts are at one epoch, and free.
use std::collections::BTreeSet;

use crate::world::{Disk, World};
use vnsnap::{GroupId, Mode};

fn schedule(seed: u64) -> (World, Vec<GroupId>) {
    let mut world = World::new(2 + seed % 4, seed);
    let most = [5, 60, 400][world.random(3) as usize];
    world.delay = 1 + world.random(most);
    world.loss = world.random(30);
    world.doubles = world.random(20);
    if seed.is_multiple_of(3) {
        for host in world.hosts.values_mut() {
            host.highest = None;
        }
    }
    world.shim_delay = [0, 5, 100, 1_000, 4_000][world.random(5) as usize];
    world.run(2_000);
    let mut groups = vec![];
    for _ in 0..4 + world.random(12) {
        let count = world.hosts.len() as u64;
        let id = 1 + world.random(count);
        let up = world.hosts[&id].node.is_some();
        match world.random(10) {
            0..=2 if up => {
                let mode = if world.random(2) == 0 { Mode::Together } else { Mode::Classic };
                groups.extend(world.begin(id, mode));
            }
            3 if up => {
                world.stop(id);
                if world.random(2) == 0 {
                    world.tell_peers();
                }
            }
            3 | 4 if !up => {
                world.host(id).here = seed.is_multiple_of(2) || id.is_multiple_of(2);
                world.start(id);
                world.tell_peers();
            }
            5 => {
                let other = 1 + world.random(count);
                world.cut.insert((id, other));
                if world.random(3) > 0 {
                    world.cut.insert((other, id));
                }
                if world.random(2) == 0 {
                    world.tell_peers();
                }
            }
            6 => {
                world.cut.clear();
                world.tell_peers();
            }
            7 if up => {
                let trouble = world.random(4);
                let host = world.host(id);
                match trouble {
                    0 => host.no_space = true,
                    1 => host.refuse = Some("not now"),
                    _ => {
                        host.no_space = false;
                        host.refuse = None;
                    }
                }
            }
            8 if up => {
                let host = world.host(id);
                host.here = !host.here;
                world.tell_peers();
            }
            _ => world.tell_peers(),
        }
        let ms = [3, 10, 30, 100, 300, 1_000, 5_000, 20_000][world.random(8) as usize];
        world.run(ms);
    }
    (world, groups)
}

#[test]
fn whatever_happens_all_hosts_agree_in_the_end() {
    let seeds = std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    let first = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut made = 0;
    for seed in first..first + seeds {
        let (mut world, groups) = schedule(seed);
        world.cut.clear();
        for id in 1..=world.hosts.len() as u64 {
            if world.hosts[&id].node.is_none() {
                world.start(id);
            }
        }
        world.tell_peers();
        world.run(100_000);
        for (id, host) in &world.hosts {
            assert_eq!(host.node.as_ref().unwrap().running(), None, "seed {seed}: host {id} is busy");
        }
        for group in &groups {
            // When all have forgotten all epochs, an id may come twice; what is left then may be of either.
            if groups.iter().filter(|other| *other == group).count() > 1 {
                continue;
            }
            let members: BTreeSet<u64> = world
                .hosts
                .values()
                .find_map(|host| host.members.get(group))
                .into_iter()
                .flatten()
                .copied()
                .collect();
            let states: Vec<_> = members.iter().map(|id| world.hosts[id].disk.get(group)).collect();
            assert!(!states.contains(&Some(&Disk::Pending)), "seed {seed}: {group} is undecided");
            assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "seed {seed}: half of {group}");
            made += u32::from(states.first().is_some_and(Option::is_some));
        }
        world.loss = 0;
        world.run(5_000);
        world.assert_one_epoch();
    }
    assert!(u64::from(made) > seeds / 20, "only {made} snapshots were made at all");
}
