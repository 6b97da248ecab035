//! Several begin at once.
use crate::world::World;
use vnsnap::{Cause, Mode};

#[test]
fn of_two_that_begin_at_once_the_smaller_name_wins_and_the_other_learns_who() {
    for seed in 0..100 {
        for mode in [Mode::Together, Mode::Classic] {
            let mut world = World::new(5, seed);
            world.delay = 1 + seed % 30;
            world.run(1_000);
            let winner = world.begin(2, mode).unwrap();
            world.run(seed % 5);
            let Ok(loser) = world.begin(4, mode) else { continue };
            world.run(6_000);
            assert_eq!(world.host(2).ended, [(winner, Ok(vec![]))], "seed {seed} {mode:?}");
            let (ended, result) = world.host(4).ended.pop().unwrap();
            assert_eq!(ended, loser);
            let cause = result.unwrap_err().cause;
            assert!(matches!(cause, Cause::Beaten(by) if by == winner), "seed {seed}: {cause:?}");
            world.assert_whole(winner, true);
            assert_eq!(world.on_disks(loser), (0, 0));
        }
    }
}

#[test]
fn when_all_begin_at_once_one_snapshot_is_made() {
    for seed in 0..100 {
        let mut world = World::new(6, seed);
        world.delay = 20;
        world.loss = seed % 20;
        world.run(3_000);
        let mut groups = vec![];
        for id in [5, 1, 3, 6, 2, 4] {
            groups.push(world.begin(id, Mode::Together).unwrap());
        }
        world.run(30_000);
        let made: Vec<_> = groups.iter().filter(|group| world.on_disks(**group).0 > 0).collect();
        assert_eq!(made.len(), 1, "seed {seed}");
        assert_eq!(made[0].initiator, 1);
        world.assert_whole(*made[0], true);
    }
}
