//! The guest's settings. The kernel hands the words of its command line that it doesn't know
//! (`name=value`, no dot in the name) to process 1 as environment variables.
//!
//! | word | meaning | default |
//! | --- | --- | --- |
//! | `rate` | links of the chain a second, 1 to 1000; 0: as fast as the console takes them | 10 |
//! | `seed` | word from which the chain starts | luthier |
//! | `rewrite_mib` | memory that is rewritten over and over, in MiB, shared out to the vCPUs | 0 |
//! | `rewrite_rate` | pages rewritten a second by all vCPUs together, or `max` | 1000 |
//! | `rewrite_order` | `random` (each page once a sweep, in a new order) or `cyclic` | random |
//! | `dirty_mib` | memory overwritten in pages drawn at random, unchecked, in MiB | 0 |
//! | `dirty_rate` | pages of it a second, or `max`; 0: filled once | max |
//! | `fill_mib` | memory filled once with incompressible data, in MiB | 0 |
//! | `fill_rate` | pages of the fill that are checked a second | 2000 |
//! | `edit_mib` | memory with text of which a few words change at a time, in MiB | 0 |
//! | `edit_rate` | pages of it that are changed a second | 1000 |
//! | `journal` | disk, as in `xvda`, with ext4 on it, to which each link of the chain goes (see `journal.rs`) | none |
//! | `disk_load` | blocks of another file there that are overwritten a second | 0 |
//! | `load` | program that is run over and over, of the guest with programs (see `load.rs`) | none |
//! | `stats` | seconds between `stats` lines; 0: none | 5 |
//! | `stall_ms` | print `stall MS` when the guest stood still longer than this; 0: never | 0 |
//! | `gap_ms` | tick of the thread that notes how long the guest stood still (`guest gap`); 0: none | 0 |
//! | `exit_after` | power off after this many seconds; 0: never | 0 |
//! | `crash_after` | panic the kernel after this many seconds; 0: never | 0 |

use std::time::Duration;

/// What the guest shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) rate: u64,
    pub(crate) seed: String,
    pub(crate) rewrite_mib: u64,
    /// Pages a second; `None`: as fast as possible.
    pub(crate) rewrite_rate: Option<u64>,
    pub(crate) cyclic: bool,
    pub(crate) dirty_mib: u64,
    /// Pages a second; `None`: as fast as possible.
    pub(crate) dirty_rate: Option<u64>,
    pub(crate) fill_mib: u64,
    pub(crate) fill_rate: u64,
    pub(crate) edit_mib: u64,
    pub(crate) edit_rate: u64,
    pub(crate) journal: Option<String>,
    pub(crate) disk_load: u64,
    pub(crate) load: Option<String>,
    pub(crate) stats: Option<Duration>,
    pub(crate) stall: Option<Duration>,
    pub(crate) gap: Option<Duration>,
    pub(crate) exit_after: Option<Duration>,
    pub(crate) crash_after: Option<Duration>,
}

impl Settings {
    /// The settings of this guest, from its environment.
    pub(crate) fn from_environment() -> Self {
        Self::from(|name| std::env::var(name).ok())
    }

    fn from(get: impl Fn(&str) -> Option<String>) -> Self {
        let number = |name: &str, default: u64| match get(name) {
            None => default,
            Some(word) => word.parse().unwrap_or_else(|_| {
                println!("guest: {name}={word} is not a number, taking {default}");
                default
            }),
        };
        let seconds = |name, default| match number(name, default) {
            0 => None,
            seconds => Some(Duration::from_secs(seconds)),
        };
        let milliseconds = |name| match number(name, 0) {
            0 => None,
            ms => Some(Duration::from_millis(ms)),
        };
        Self {
            rate: number("rate", 10).min(1000),
            seed: get("seed").unwrap_or_else(|| "luthier".into()),
            rewrite_mib: number("rewrite_mib", 0),
            rewrite_rate: match get("rewrite_rate").as_deref() {
                Some("max") => None,
                _ => Some(number("rewrite_rate", 1000).max(1)),
            },
            cyclic: get("rewrite_order").as_deref() == Some("cyclic"),
            dirty_mib: number("dirty_mib", 0),
            dirty_rate: match get("dirty_rate").as_deref() {
                None | Some("max") => None,
                _ => Some(number("dirty_rate", 0)),
            },
            fill_mib: number("fill_mib", 0),
            fill_rate: number("fill_rate", 2000).max(1),
            edit_mib: number("edit_mib", 0),
            edit_rate: number("edit_rate", 1000),
            journal: get("journal"),
            disk_load: number("disk_load", 0).min(1000),
            load: get("load"),
            stats: seconds("stats", 5),
            stall: milliseconds("stall_ms"),
            gap: milliseconds("gap_ms"),
            exit_after: seconds("exit_after", 0),
            crash_after: seconds("crash_after", 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[(&str, &str)]) -> Settings {
        Settings::from(|name| {
            let found = words.iter().find(|(word, _)| *word == name);
            found.map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn without_words_there_is_only_a_chain() {
        let settings = of(&[]);
        assert_eq!(settings.rate, 10);
        assert_eq!((settings.rewrite_mib, settings.fill_mib), (0, 0));
        assert_eq!((settings.exit_after, settings.crash_after), (None, None));
    }

    #[test]
    fn words_are_taken_and_nonsense_is_not() {
        let settings =
            of(&[("rewrite_rate", "max"), ("rewrite_mib", "64"), ("exit_after", "3"), ("rate", "many")]);
        assert_eq!(settings.rewrite_rate, None);
        assert_eq!(settings.rewrite_mib, 64);
        assert_eq!(settings.exit_after, Some(Duration::from_secs(3)));
        assert_eq!(settings.rate, 10);
    }
}
