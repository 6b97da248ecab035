//! What the engine makes of single answers: missing pages, bitmaps and counts that are wrong,
//! a cancel at a bad moment.

use livesave::{AnyPolicy, CleanUp, Config, Event, How, LiveSave, Outcome, Precopy, ReadDone, Step, Why};

use crate::model::{Asked, ask, live_save, xen_save};

type Engine = Precopy<AnyPolicy>;

/// 100 pages, all of them dirty at each fetch.
const CONFIG: Config = Config::new(100, 100, 128);

/// The right answer to each action: 13 bytes of bitmap, every page sent.
fn answer(engine: &mut Engine, asked: Asked) {
    let event = match asked {
        Asked::Clean { .. } => {
            engine.dirty_chunk(0, &[0xff; 13]);
            Event::Done
        }
        Asked::Read { pages, .. } => {
            Event::Read(ReadDone { sent: pages, pool_left: 100, ..ReadDone::default() })
        }
        Asked::WriteOut => Event::Written { zero: 0 },
        _ => Event::Done,
    };
    engine.on(event, 0);
}

/// Runs to the end. `odd` may answer an action itself, in its own way, by returning true.
fn run(policy: AnyPolicy, mut odd: impl FnMut(&mut Engine, Asked) -> bool) -> (Engine, Outcome) {
    let mut engine = Precopy::new(CONFIG, policy).unwrap();
    loop {
        let asked = match ask(&mut engine, 0) {
            Ok(asked) => asked,
            Err(outcome) => return (engine, outcome),
        };
        if !odd(&mut engine, asked) {
            answer(&mut engine, asked);
        }
    }
}

fn reads(asked: Asked, engine: &Engine, round: u32) -> bool {
    matches!(asked, Asked::Read { .. }) && engine.progress().round == round
}

fn missing(engine: &mut Engine, pages: u32, slots: &[u32]) {
    let sent = pages - slots.len() as u32;
    engine.on(Event::Read(ReadDone { sent, missing: slots, pool_left: 100, ..ReadDone::default() }), 0);
}

fn three_rounds() -> AnyPolicy {
    AnyPolicy::LiveSave(LiveSave { max_live_rounds: 2, few_dirty: 0, max_factor: 9 })
}

#[test]
fn a_page_that_was_missing_is_tried_again_in_the_last_round_unless_sent_before() {
    let mut last = Vec::new();
    let (engine, outcome) = run(three_rounds(), |engine, asked| {
        match asked {
            // Only slot 6 is dirty after the first round, nothing after that.
            Asked::Clean { last } => {
                let mut bitmap = [0; 13];
                bitmap[0] = if last { 0 } else { 1 << 6 };
                engine.dirty_chunk(0, &bitmap);
                engine.on(Event::Done, 0);
            }
            Asked::Read { pages, .. } if reads(asked, engine, 1) => missing(engine, pages, &[5, 6, 99]),
            Asked::Read { pages, .. } if reads(asked, engine, 3) => {
                last = engine.batch().to_vec();
                missing(engine, pages, &[99]);
            }
            _ => return false,
        }
        true
    });
    assert_eq!(outcome, Outcome::Commit);
    assert_eq!(last, [5, 99]);
    let report = engine.report();
    assert_eq!(report.missing, 1);
    assert_eq!(report.rounds.iter().map(|round| round.missing).collect::<Vec<_>>(), [3, 0, 1]);
}

#[test]
fn counts_that_do_not_add_up_end_it() {
    let wrong = [
        ReadDone { sent: 99, ..ReadDone::default() },
        ReadDone { sent: 100, zero: 1, ..ReadDone::default() },
        ReadDone { sent: u32::MAX, zero: 101, ..ReadDone::default() },
        ReadDone { sent: 99, missing: &[100], ..ReadDone::default() },
        ReadDone { sent: 98, missing: &[5, 5], ..ReadDone::default() },
        // The first round skips nothing.
        ReadDone { sent: 99, skipped: 1, ..ReadDone::default() },
    ];
    for done in wrong {
        let (engine, outcome) = run(live_save(), |engine, asked| {
            let wrong = reads(asked, engine, 1);
            if wrong {
                engine.on(Event::Read(done), 0);
            }
            wrong
        });
        assert_eq!(outcome, Outcome::Abort { step: Step::Read, why: Why::BadCount }, "{done:?}");
        assert_eq!(engine.report().log_dirty_off, CleanUp::Done);
    }
}

#[test]
fn a_suspended_guest_has_no_skipped_pages() {
    let (engine, outcome) = run(xen_save(), |engine, asked| {
        let read = matches!(asked, Asked::Read { .. });
        if read {
            engine.on(Event::Read(ReadDone { sent: 99, skipped: 1, ..ReadDone::default() }), 0);
        }
        read
    });
    assert_eq!(outcome, Outcome::Abort { step: Step::Read, why: Why::BadCount });
    assert_eq!((engine.report().resume, engine.report().log_dirty_off), (CleanUp::Done, CleanUp::NotNeeded));
}

#[test]
fn more_zero_pages_written_out_than_kept_end_it() {
    let (engine, outcome) = run(three_rounds(), |engine, asked| {
        if asked == Asked::WriteOut {
            let kept = engine.report().kept;
            engine.on(Event::Written { zero: kept + 1 }, 0);
        }
        asked == Asked::WriteOut
    });
    assert_eq!(outcome, Outcome::Abort { step: Step::WriteOut, why: Why::BadCount });
    assert_eq!((engine.report().resume, engine.report().log_dirty_off), (CleanUp::Done, CleanUp::Done));
}

#[test]
fn kept_pages_found_zero_when_written_out_are_counted_as_zero() {
    let (engine, outcome) = run(three_rounds(), |engine, asked| {
        if asked == Asked::WriteOut {
            engine.on(Event::Written { zero: 40 }, 0);
        }
        asked == Asked::WriteOut
    });
    assert_eq!(outcome, Outcome::Commit);
    let report = engine.report();
    assert_eq!((report.sent, report.zero, report.kept), (260, 40, 60));
    assert_eq!((report.rounds[2].sent, report.rounds[2].zero), (60, 40));
}

#[test]
fn a_bitmap_with_gaps_or_out_of_order_or_too_long_ends_it() {
    let wrong: [&[(u32, usize)]; 6] =
        [&[], &[(0, 12)], &[(8, 12)], &[(0, 8), (0, 8)], &[(64, 5), (0, 8)], &[(0, 8), (64, 9)]];
    for pieces in wrong {
        for at_last in [false, true] {
            let (engine, outcome) = run(three_rounds(), |engine, asked| {
                let wrong = asked == (Asked::Clean { last: at_last });
                if wrong {
                    for &(slot, len) in pieces {
                        engine.dirty_chunk(slot, &[0; 16][..len]);
                    }
                    engine.on(Event::Done, 0);
                }
                wrong
            });
            assert_eq!(outcome, Outcome::Abort { step: Step::Clean, why: Why::BadBitmap }, "{pieces:?}");
            let resumed = if at_last { CleanUp::Done } else { CleanUp::NotNeeded };
            assert_eq!((engine.report().resume, engine.report().log_dirty_off), (resumed, CleanUp::Done));
        }
    }
}

#[test]
fn a_piece_of_bitmap_when_none_was_asked_for_ends_it() {
    // Its bits are gone from the hypervisor, so its pages could be forgotten.
    let (_, outcome) = run(three_rounds(), |engine, asked| {
        if asked == Asked::State {
            engine.dirty_chunk(0, &[0; 13]);
        }
        false
    });
    assert_eq!(outcome, Outcome::Abort { step: Step::State, why: Why::BadBitmap });
    let mut first = true;
    let (_, outcome) = run(three_rounds(), |engine, asked| {
        if reads(asked, engine, 1) && std::mem::take(&mut first) {
            engine.dirty_chunk(0, &[]);
        }
        false
    });
    assert_eq!(outcome, Outcome::Abort { step: Step::Read, why: Why::BadBitmap });
}

#[test]
fn a_cancel_during_clean_up_changes_nothing() {
    let (engine, outcome) = run(three_rounds(), |engine, asked| {
        match asked {
            Asked::State => engine.on(Event::Failed(7), 0),
            Asked::Resume | Asked::LogDirty(false) => {
                engine.on(Event::Cancelled, 0);
                engine.on(Event::Done, 0);
            }
            _ => return false,
        }
        true
    });
    assert_eq!(outcome, Outcome::Abort { step: Step::State, why: Why::Failed(7) });
    assert_eq!((engine.report().resume, engine.report().log_dirty_off), (CleanUp::Done, CleanUp::Done));
}

#[test]
fn the_last_round_is_kept_and_the_live_ones_are_not() {
    run(three_rounds(), |engine, asked| {
        if let Asked::Read { how, .. } = asked {
            let round = engine.progress().round;
            assert_eq!(how, [How::Send, How::SendUnlessDirty, How::Keep][round as usize - 1]);
        }
        false
    });
}
