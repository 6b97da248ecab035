//! Drivers that do it right never break a cut; each that does something wrong is found out.

use std::collections::BTreeMap;

use violin::cut::Mode;

use super::world::{Mutant, World};

/// What is wrong, by kind, over many worlds.
fn complaints(mutant: Mutant, mode: Mode, worlds: u64) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for seed in 0..worlds {
        let mut world = World::new(seed, mutant, mode);
        if let Err(why) = world.run() {
            let kind = why.split(':').next().unwrap_or_default().to_string();
            if mutant == Mutant::None {
                panic!("seed {seed}: {why}");
            }
            *all.entry(kind).or_default() += 1;
        }
    }
    all
}

#[test]
fn every_cut_is_consistent_and_what_is_in_transit_is_recorded_or_lost() {
    complaints(Mutant::None, Mode::Hold, 600);
}

#[test]
fn dropping_as_published_is_consistent_too() {
    complaints(Mutant::None, Mode::Drop, 200);
}

#[test]
fn the_worlds_are_worth_it() {
    let (mut held, mut recorded, mut asked) = (0, 0, 0);
    for seed in 0..20 {
        let mut world = World::new(seed, Mutant::None, Mode::Hold);
        world.run().unwrap();
        held += world.orphans_avoided;
        recorded += world.records;
        asked += world.asked;
    }
    assert!(held > 1000, "{held} frames had to wait");
    assert!(recorded > 1000, "{recorded} frames were recorded");
    assert!(asked > 0, "nobody ever missed the beginning of a snapshot");
}

#[test]
fn each_mutant_is_found() {
    for (mutant, kind) in [
        (Mutant::DeliverEarly, "orphan"),
        (Mutant::OneBit, "stuck"),
        (Mutant::Doubles, "doubled"),
        (Mutant::EpochPerHost, "orphan"),
        (Mutant::NoBacklog, "unrecorded"),
        (Mutant::TagLate, "unrecorded"),
        (Mutant::AbortBack, "unrecorded"),
    ] {
        let found = complaints(mutant, Mode::Hold, 20);
        println!("{mutant:?}: {found:?}");
        assert!(found.contains_key(kind), "{mutant:?}: {found:?}");
    }
}
