//! How large a packet inside a network may be.

use crate::error::{Error, Result};

/// The MTU of a network if none is named, where the physical network allows it: fits one of 1500.
pub(super) const DEFAULT: u16 = 1398;

/// What every IPv4 host must take.
const SMALLEST: u16 = 576;

/// The largest, where no physical network sets a limit.
const LARGEST: u16 = 9000;

/// The largest MTU inside, on a physical network of this one. `None`: not even the smallest.
pub(super) fn largest_inside(underlay: u16) -> Option<u16> {
    violin::wire::largest_inner_mtu(underlay).filter(|mtu| *mtu >= SMALLEST)
}

/// The MTU of a new network: what was asked for, or what fits.
pub(super) fn choose(asked: Option<u16>, underlay: Option<u16>) -> Result<u16> {
    let largest = underlay.and_then(largest_inside).unwrap_or(LARGEST);
    match asked {
        None => Ok(DEFAULT.min(largest)),
        Some(mtu) if mtu < SMALLEST => {
            Err(Error::new(format!("an MTU of {mtu} is too small")).hint(format!("At least {SMALLEST}; IPv6 needs 1280")))
        }
        Some(mtu) if mtu > largest => Err(match underlay {
            Some(underlay) => Error::new(format!(
                "an MTU of {mtu} does not fit the underlay's of {underlay}: the largest that fits is {largest}"
            ))
            .hint(format!("Use --mtu {largest}, or raise the physical network's MTU on all hosts and in net.toml")),
            None => Error::new(format!("an MTU of {mtu} is too large: the largest is {largest}"))
                .hint(format!("Use --mtu {largest} or less")),
        }),
        Some(mtu) => Ok(mtu),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mtu_too_large_is_refused_with_the_number_that_fits() {
        let fits = largest_inside(1500).unwrap();
        assert_eq!(choose(Some(fits), Some(1500)).unwrap(), fits);
        let error = choose(Some(fits + 1), Some(1500)).unwrap_err();
        assert!(error.message.contains(&format!("that fits is {fits}")), "{error}");
        assert!(error.hint.unwrap().contains(&format!("--mtu {fits}")));
        assert!(choose(Some(LARGEST + 1), None).is_err());
        assert!(choose(Some(SMALLEST - 1), None).is_err());
    }

    #[test]
    fn what_is_not_asked_for_fits() {
        assert_eq!(choose(None, None).unwrap(), DEFAULT);
        assert_eq!(largest_inside(1500), Some(DEFAULT));
        assert_eq!(choose(None, Some(9000)).unwrap(), DEFAULT);
        assert_eq!(choose(None, Some(1400)).unwrap(), largest_inside(1400).unwrap());
    }
}
