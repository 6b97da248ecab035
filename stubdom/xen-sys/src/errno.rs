//! Xen's error numbers (`errno.h`): hypercalls return them negated.

use core::fmt;

/// An error number of Xen, as a positive number: `EINVAL` is 22.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident = $value:literal, $words:literal;)*) => {
        impl Errno {
            $(#[doc = concat!($words, " (", stringify!($value), ").")]
            pub const $name: Errno = Errno($value);)*

            /// The name of the number as the header has it, if it is one of the usual ones.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// What the number says.
            pub const fn words(self) -> &'static str {
                match self.0 {
                    $($value => $words,)*
                    _ => "an error number that is not in the list",
                }
            }

            /// The number that goes with a name: xenstore sends errors as names.
            pub fn from_name(name: &str) -> Option<Errno> {
                match name {
                    $(stringify!($name) => Some(Errno::$name),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    EPERM = 1, "operation not permitted";
    ENOENT = 2, "no such entry";
    ESRCH = 3, "no such domain";
    EIO = 5, "I/O error";
    E2BIG = 7, "too big";
    EAGAIN = 11, "try again";
    ENOMEM = 12, "out of memory";
    EACCES = 13, "permission denied";
    EFAULT = 14, "bad address";
    EBUSY = 16, "in use";
    EEXIST = 17, "exists already";
    EXDEV = 18, "wrong frame";
    ENODEV = 19, "no such device";
    EISDIR = 21, "is a directory";
    EINVAL = 22, "invalid argument";
    ENOSPC = 28, "no space left";
    EROFS = 30, "read-only";
    ENOSYS = 38, "no such hypercall";
    ENOTEMPTY = 39, "not empty";
    EOPNOTSUPP = 95, "not supported";
    EISCONN = 106, "connected already";
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} ({name})", self.words()),
            None => write!(f, "error {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xenstore_s_error_names_become_numbers() {
        assert_eq!(Errno::from_name("ENOENT"), Some(Errno::ENOENT));
        assert_eq!(Errno::from_name("EWHATEVER"), None);
    }
}
