//! The error that an operator sees: what happened, and what to do next.

use serde::{Deserialize, Serialize};

/// What went wrong, in one sentence, and the next step where there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// One sentence without a full stop.
    pub message: String,
    /// What the operator can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The result of most things here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with nothing to advise.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// The same error with a next step.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl From<store::Error> for Error {
    /// The store's words; most say what to do themselves.
    fn from(e: store::Error) -> Self {
        use store::Error as E;
        let hint = match &e {
            E::Damaged { .. } | E::MissingRecord(_) | E::BadRecord { .. } => {
                Some("It can't be restored as it is: use another image (luthier list) or a copy of this one")
            }
            E::Malformed { .. } => Some("`luthier list` shows the images that there are"),
            E::Stream { .. } | E::Unsupported { .. } => {
                Some("`luthier import` reads what stock `xl save` wrote")
            }
            _ => None,
        };
        let error = Self::new(e.to_string());
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// Says what was being done when a lower layer failed.
pub trait Context<T> {
    /// Puts `doing` before the lower layer's message.
    fn context(self, doing: impl std::fmt::Display) -> Result<T>;
}

impl<T, E: std::fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl std::fmt::Display) -> Result<T> {
        self.map_err(|e| Error::new(format!("{doing}: {e}")))
    }
}
