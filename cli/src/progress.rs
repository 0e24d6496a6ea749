//! Progress on standard error, when a person watches.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// A bar for that many steps; nothing is drawn when standard error is not a terminal.
pub(crate) fn bar(steps: usize) -> ProgressBar {
    let target = if output::watched() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(steps as u64), target);
    // A template that can't be read leaves the default one.
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar
}
