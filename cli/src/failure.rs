//! How a command ends early.

use std::io;

/// Why a command ended.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error to tell the user.
    Message(String),
    /// Whoever read our output has closed it (`| head`): not an error.
    ReaderGone,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Message(format!("writing output: {error}")),
        }
    }
}

impl From<llm_kernels::Error> for Failure {
    fn from(error: llm_kernels::Error) -> Self {
        Self::Message(error.to_string())
    }
}
