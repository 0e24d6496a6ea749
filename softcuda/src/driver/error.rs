//! Error codes, their names and texts, and what is told beyond the code.

use super::{
    abi::{CuResult, Out, call},
    codes,
    faults::{self, fault_text},
};
use std::{
    ffi::c_char,
    sync::{Mutex, PoisonError},
};

pub(super) use super::codes::Code;

/// A failed call: the code for the caller, and words for a person.
#[derive(Debug)]
pub(super) struct Error {
    pub(super) code: Code,
    text: Option<String>,
    /// Whether the words go to stderr: where the code alone would leave the user puzzled.
    loud: bool,
}

impl From<Code> for Error {
    fn from(code: Code) -> Error {
        Error { code, text: None, loud: false }
    }
}

impl Error {
    /// The same, to be said on stderr, too.
    pub(super) fn aloud(self) -> Error {
        Error { loud: true, ..self }
    }

    /// An error with words for [`last_error_text`].
    pub(super) fn new(code: Code, text: impl Into<String>) -> Error {
        Error { code, text: Some(text.into()), loud: false }
    }

    /// An error whose words also go to stderr.
    pub(super) fn report(code: Code, text: impl Into<String>) -> Error {
        Error { code, text: Some(text.into()), loud: true }
    }

    /// The same error, its words after the name of what they are about.
    pub(super) fn within(self, name: &str) -> Error {
        Error { text: self.text.map(|text| format!("{name}: {text}")), ..self }
    }

    /// Its words, if it has any.
    pub(super) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// Keeps the words and gives the code.
    pub(super) fn raise(self) -> CuResult {
        if let Some(text) = self.text {
            if self.loud {
                eprintln!("softcuda: {text}");
            }
            *LAST_TEXT.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        }
        self.code.0
    }
}

static LAST_TEXT: Mutex<Option<String>> = Mutex::new(None);

/// What the last failed call that had more to say than its error code said: where a module is malformed, which
/// limit a launch exceeds. One for the whole process.
pub fn last_error_text() -> Option<String> {
    LAST_TEXT.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

pub extern "C" fn cuGetErrorName(code: CuResult, name: Out<*const c_char>) -> CuResult {
    call(|| match codes::find(code) {
        Some(known) => name.set(known.name.as_ptr()),
        None => unknown(name),
    })
}

/// The usual text; for the code of a fault that has happened, followed by the fault's report, so that whatever
/// program prints the string says what went wrong.
pub extern "C" fn cuGetErrorString(code: CuResult, text: Out<*const c_char>) -> CuResult {
    call(|| match (fault_text(code), codes::find(code)) {
        (Some(report), _) => text.set(report.as_ptr()),
        (None, Some(known)) => text.set(known.text.as_ptr()),
        (None, None) => unknown(text),
    })
}

fn unknown(out: Out<*const c_char>) -> Result<(), Error> {
    out.set(std::ptr::null())?;
    Err(Code::INVALID_VALUE.into())
}

pub use faults::last_fault;
